/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What has a name in a watched directory: files do not know their directories, so the watches that hear of a file's
 * data are found by its number. An entry that is not true any more does no harm.
 */
#include <stdlib.h>

#include "core/vfs/watch.h"

struct cds_list_head *watch_children_at(struct watch_hub *hub, uint64_t fsid, uint64_t object)
{
	/* Multiplicative hashing (Knuth, volume 3, section 6.4). */
	return &hub->children[((fsid << 32 | fsid >> 32) ^ object) * UINT64_C(0x9e3779b97f4a7c15) >> 54];
}

static struct watch_child *find(struct watch_hub *hub, const struct vfs_watch *w, uint64_t fsid, uint64_t object)
{
	struct watch_child *c;

	cds_list_for_each_entry (c, watch_children_at(hub, fsid, object), link)
		if (c->watch == w && c->object == object && c->fsid == fsid)
			return c;
	return NULL;
}

static void drop(struct watch_child *c)
{
	cds_list_del(&c->link);
	cds_list_del(&c->of_watch);
	c->watch->child_count--;
	c->watch->vfs->watches->child_count--;
	free(c);
}

void watch_children_drop(struct vfs_watch *w)
{
	struct watch_child *c, *next;

	cds_list_for_each_entry_safe (c, next, &w->children, of_watch)
		drop(c);
}

void watch_child_add(struct watch_hub *hub, struct vfs_watch *w, uint64_t fsid, uint64_t object)
{
	struct watch_child *c;

	if (w->full || find(hub, w, fsid, object))
		return;
	c = w->child_count < WATCH_CHILDREN_MAX && hub->child_count < hub->child_max ? malloc(sizeof(*c)) : NULL;
	if (!c) {
		w->full = true;
		watch_children_drop(w);
		return;
	}
	*c = (struct watch_child){ .watch = w, .fsid = fsid, .object = object };
	cds_list_add(&c->link, watch_children_at(hub, fsid, object));
	cds_list_add(&c->of_watch, &w->children);
	w->child_count++;
	hub->child_count++;
}

void watch_child_remove(struct watch_hub *hub, struct vfs_watch *w, uint64_t fsid, uint64_t object)
{
	struct watch_child *c = find(hub, w, fsid, object);

	if (c)
		drop(c);
}
