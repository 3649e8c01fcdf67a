/* SPDX-License-Identifier: BSD-3-Clause */
/* Files in memory: found by slot, counted, kept for a while when nobody uses them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/blk/blk.h"
#include "core/fs/wfs2/wfs2_priv.h"

#define IDLE_MAX 1024u

void wfs2_entry_stat(const struct wfs2_entry *e, uint32_t slot, struct wfs2_stat *ret)
{
	*ret = (struct wfs2_stat){
		.object = (uint64_t)e->generation << 32 | (slot + 2),
		.size_bytes = e->size_bytes,
		.allocated_bytes = wfs2_blocks_of(e->size_bytes) * WFS2_BLOCK_BYTES,
		.change = e->change,
		.created_ns = e->created_ns,
		.modified_ns = e->modified_ns,
		.read_only = e->flags & WFS2_FLAG_READ_ONLY,
	};
}

void **wfs2_node_user(struct wfs2_node *n)
{
	return &n->user;
}

void wfs2_stat(struct wfs2_node *n, struct wfs2_stat *ret)
{
	sync_mutex_lock(&n->map_lock);
	wfs2_entry_stat(&n->e, n->slot, ret);
	sync_mutex_unlock(&n->map_lock);
}

static void node_free(struct wfs2_node *n)
{
	cache_file_free(n->data);
	sync_rwlock_done(&n->io_lock);
	sync_mutex_done(&n->map_lock);
	free(n);
}

static int node_new(struct wfs2_fs *fs, uint32_t slot, const struct wfs2_entry *e, struct wfs2_node **ret)
{
	struct wfs2_node *n = calloc(1, sizeof(*n));
	int rc;

	if (!n)
		return err_set(-ENOMEM, "no memory for a file");
	n->fs = fs;
	n->slot = slot;
	n->e = *e;
	n->refs = 1;
	sync_rwlock_init(&n->io_lock, SYNC_RANK_OBJECT_IO, "wfs2 file");
	sync_mutex_init(&n->map_lock, SYNC_RANK_LOG, "wfs2 entry");
	rc = cache_file_new(fs->cache, &wfs2_data_ops, n, e->size_bytes, &n->data);
	if (rc)
		node_free(n);
	else
		*ret = n;
	return rc;
}

/* The file system's lock is held. */
static void ref(struct wfs2_node *n)
{
	if (n->idle) {
		cds_list_del(&n->idle_link);
		n->idle = false;
		n->fs->idle_count--;
	}
	n->refs++;
}

/*
 * 0: *ret is referenced. When the file is not in memory, it is @mine from now on; without one *ret is NULL, and *e is
 * what to make it of.
 */
static int find(struct wfs2_fs *fs, uint32_t slot, uint32_t generation, struct wfs2_node *mine, struct wfs2_entry *e,
                struct wfs2_node **ret)
{
	struct wfs2_node *n;
	int rc;

	sync_mutex_lock(&fs->lock);
	rc = wfs2_entry_decode(wfs2_slot(&fs->v, slot), e);
	if (rc == 0 && (!e->flags || e->generation != generation))
		rc = err_set(-ENOENT, "the file is gone");
	n = rc ? NULL : fs->nodes[slot];
	if (n) {
		ref(n);
	} else if (rc == 0 && mine) {
		/* A file that is not in memory is as new as its slot. */
		mine->e = *e;
		fs->nodes[slot] = n = mine;
	}
	sync_mutex_unlock(&fs->lock);
	*ret = n;
	return rc;
}

int wfs2_node_get(struct wfs2_fs *fs, uint32_t slot, uint32_t generation, struct wfs2_node **ret)
{
	struct wfs2_node *n, *mine;
	struct wfs2_entry e;
	int rc = find(fs, slot, generation, NULL, &e, &n);

	if (rc == 0 && !n) {
		rc = node_new(fs, slot, &e, &mine);
		if (rc)
			return rc;
		rc = find(fs, slot, generation, mine, &e, &n);
		if (n != mine)
			node_free(mine);
		else
			cache_file_resize(n->data, e.size_bytes);
	}
	if (rc == 0)
		*ret = n;
	return rc;
}

int wfs2_by_object(struct wfs2_fs *fs, uint64_t object, struct wfs2_node **ret)
{
	uint32_t slot = (uint32_t)object - 2;
	int rc = slot < fs->v.super.file_count ? wfs2_node_get(fs, slot, (uint32_t)(object >> 32), ret) : -ENOENT;

	return rc == -ENOENT ? err_set(-ESTALE, "the file is gone") : rc;
}

struct cache_file *wfs2_node_cache(struct wfs2_node *n)
{
	return n->data;
}

void wfs2_node_changed(struct wfs2_node *n)
{
	struct wfs2_fs *fs = n->fs;

	sync_mutex_lock(&fs->lock);
	if (!n->listed && !n->deleted) {
		n->listed = true;
		n->refs++;
		cds_list_add_tail(&n->changed_link, &fs->changed);
	}
	sync_mutex_unlock(&fs->lock);
}

void wfs2_node_remove(struct wfs2_node *n)
{
	ref(n);
	n->deleted = true;
	if (n->listed) {
		cds_list_del(&n->changed_link);
		n->listed = false;
		n->refs--;
	}
}

/* The file system's lock is held. Nobody uses @n. */
static void forget(struct wfs2_node *n)
{
	struct wfs2_fs *fs = n->fs;

	wfs2_map_release(n);
	if (n->idle) {
		cds_list_del(&n->idle_link);
		n->idle = false;
		fs->idle_count--;
	}
	if (!n->deleted)
		fs->nodes[n->slot] = NULL;
}

void wfs2_put(struct wfs2_node *n)
{
	struct wfs2_fs *fs;
	struct wfs2_node *gone = NULL;

	if (!n)
		return;
	fs = n->fs;
	sync_mutex_lock(&fs->lock);
	if (--n->refs == 0) {
		wfs2_map_release(n);
		if (n->deleted) {
			gone = n;
		} else {
			n->idle = true;
			fs->idle_count++;
			cds_list_add_tail(&n->idle_link, &fs->idle);
			if (fs->idle_count > IDLE_MAX)
				gone = cds_list_first_entry(&fs->idle, struct wfs2_node, idle_link);
		}
	}
	if (gone)
		forget(gone);
	sync_mutex_unlock(&fs->lock);
	if (gone && gone->deleted) {
		struct wfs2_entry e = gone->e;

		/* Its dirty pages go first: they must not be written to what is another file's by then. */
		node_free(gone);
		wfs2_map_free(fs, e.extents, e.extent_count);
	} else if (gone) {
		node_free(gone);
	}
}

void wfs2_node_drop_idle(struct wfs2_fs *fs)
{
	struct wfs2_node *n, *next;

	cds_list_for_each_entry_safe (n, next, &fs->idle, idle_link) {
		sync_mutex_lock(&fs->lock);
		forget(n);
		sync_mutex_unlock(&fs->lock);
		node_free(n);
	}
}
