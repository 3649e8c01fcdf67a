/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Renaming. Two names for one chain would be a cross-link, so the old name is gone from the device before the new one
 * comes, unless both lie in one sector. A crash in between loses the name, and the chain is found by a check; a file
 * that was to be replaced is whole all the time.
 */
#include <errno.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/err.h"
#include "core/fs/fat/fat_priv.h"

struct rename {
	struct fat_fs *fs;
	struct fat_node *from_dir, *to_dir;
	struct fat_dir_entry *from, *target; /* target: NULL when there is none */
	struct fat_node *node, *target_node; /* referenced */
	struct fat_name to_name;
	bool old_may_stay; /* on the device, until the sector of the new name is written */
};

static bool is_below(const struct fat_node *n, const struct fat_node *top)
{
	for (; n; n = n->parent) {
		if (n == top)
			return true;
	}
	return false;
}

static int check_target(struct rename *r, bool no_replace)
{
	if (fat_node_is_dir(r->node) && is_below(r->to_dir, r->node))
		return err_set(-EINVAL, "a directory does not go into itself");
	if (!r->target)
		return 0;
	if (no_replace)
		return err_set(-EEXIST, "the name exists");
	if (fat_node_is_dir(r->target_node) && !fat_node_is_dir(r->node))
		return err_set(-EISDIR, "a file does not replace a directory");
	if (!fat_node_is_dir(r->target_node) && fat_node_is_dir(r->node))
		return err_set(-ENOTDIR, "a directory does not replace a file");
	return fat_node_is_dir(r->target_node) ? fat_ops_check_empty(r->target_node) : 0;
}

/* Does everything about the old name and the new one reach the device at once? */
static bool is_atomic(const struct rename *r, const struct fat_dir_entry *to)
{
	uint32_t first = to->first_slot < r->from->first_slot ? to->first_slot : r->from->first_slot;
	uint32_t last = to->slot > r->from->slot ? to->slot : r->from->slot;

	return r->from_dir == r->to_dir && fat_dir_is_atomic(first, last);
}

/* Take the old name away. Changes nothing when it fails, unless the volume becomes read-only. */
static int remove_old(struct rename *r, bool atomic)
{
	bool on_device = r->from->born_sync < r->fs->sync_count;
	int rc = 0;

	if (!atomic && on_device)
		rc = fat_sync_locked(r->fs);
	if (rc)
		return rc;
	r->old_may_stay = atomic && on_device;
	r->node->entry = NULL;
	fat_dir_remove(r->from_dir, r->from);
	r->from = NULL;
	return !atomic && on_device ? fat_sync_directories(r->fs) : 0;
}

/* While it has no name, the ".." of a directory that moves can change. */
static int change_dots(struct rename *r)
{
	struct fat_node *n = r->node;
	uint32_t cluster = fat_ops_parent_cluster(r->to_dir);
	uint8_t *slot;
	int rc;

	if (!fat_node_is_dir(n) || r->from_dir == r->to_dir)
		return 0;
	rc = fat_dir_load(n);
	if (rc)
		return rc;
	slot = n->dir->raw + SLOT_BYTES;
	if (n->dir->slot_count < 2 || memcmp(slot, "..         ", SHORT_NAME_BYTES) != 0)
		return 0;
	put_le16(slot + SLOT_CLUSTER_LOW, (uint16_t)cluster);
	if (r->fs->g.type == FAT_TYPE_32)
		put_le16(slot + SLOT_CLUSTER_HIGH, (uint16_t)(cluster >> 16));
	fat_dir_touch(n, 1, 1);
	return fat_sync_locked(r->fs);
}

static void attach(struct rename *r, struct fat_dir_entry *e)
{
	struct fat_node *old_parent = r->node->parent;

	/* Who moves on from here must know that the device still has a name for it. */
	if (r->old_may_stay)
		e->born_sync = 0;
	e->node = r->node;
	r->node->entry = e;
	r->node->parent = r->to_dir;
	fat_node_ref(r->to_dir);
	fat_node_unref(old_parent);
	r->node->entry_changed = true;
	fat_node_changed(r->node);
}

static int to_new_name(struct rename *r)
{
	struct fat_dir_plan plan;
	int rc = fat_dir_plan_name(r->to_dir, &r->to_name, r->from_dir == r->to_dir ? r->from : NULL, &plan);

	if (rc)
		return rc;
	r->node->d.size_bytes = fat_node_is_dir(r->node) ? 0 : (uint32_t)r->node->size_bytes;
	rc = remove_old(r, is_atomic(r, plan.entry));
	if (rc == 0)
		rc = change_dots(r);
	if (rc) {
		fat_dir_plan_drop(&plan);
		return rc;
	}
	attach(r, fat_dir_insert(r->to_dir, &plan, &r->node->d, r->node->object));
	return 0;
}

/* The target's slots stay, and lead to the other file. */
static int to_target(struct rename *r)
{
	struct fat_dirent kept;
	int rc = remove_old(r, is_atomic(r, r->target));

	if (rc == 0)
		rc = change_dots(r);
	if (rc)
		return rc;
	fat_dir_entry_decode(r->to_dir, r->target, &kept);
	memcpy(r->node->d.short_name, kept.short_name, SHORT_NAME_BYTES);
	r->node->d.case_flags = kept.case_flags;
	fat_node_detach(r->target_node);
	fat_dir_renumber(r->target, r->node->object);
	attach(r, r->target);
	return 0;
}

static bool same_spelling(const struct fat_name *a, const struct fat_name *b)
{
	return a->count == b->count && memcmp(a->units, b->units, a->count * sizeof(a->units[0])) == 0;
}

static int move(struct rename *r, bool no_replace)
{
	int rc = fat_node_for_entry(r->from_dir, r->from, &r->node);

	if (rc == 0 && r->target)
		rc = fat_node_for_entry(r->to_dir, r->target, &r->target_node);
	if (rc == 0)
		rc = check_target(r, no_replace);
	if (rc == 0)
		rc = fat_fs_begin_change(r->fs);
	if (rc)
		return rc;
	if (r->target) {
		rc = to_target(r);
		if (rc || same_spelling(&r->node->entry->name, &r->to_name))
			return rc;
		/* The same name, but not letter by letter. */
		r->from_dir = r->to_dir;
		r->from = r->node->entry;
	}
	return to_new_name(r);
}

int fat_rename(struct fat_node *from_dir, const char *from, size_t from_len, struct fat_node *to_dir, const char *to,
               size_t to_len, bool no_replace)
{
	struct rename r = { .fs = from_dir->fs, .from_dir = from_dir, .to_dir = to_dir };
	struct fat_name name;
	int rc;

	if (to_dir->fs != from_dir->fs)
		return err_set(-EXDEV, "a file does not move between file systems");
	sync_mutex_lock(&r.fs->lock);
	rc = fat_ops_begin(from_dir, from, from_len, &name);
	if (rc == 0)
		rc = fat_ops_begin(to_dir, to, to_len, &r.to_name);
	if (rc == 0)
		rc = fat_name_check(&r.to_name);
	if (rc == 0) {
		r.from = fat_dir_find(from_dir->dir, &name);
		r.target = fat_dir_find(to_dir->dir, &r.to_name);
		if (r.target == r.from)
			r.target = NULL;
		rc = r.from ? 0 : err_set(-ENOENT, "no such file");
	}
	/* To its own name, as it is spelled: nothing to do. */
	if (rc == 0 && !(from_dir == to_dir && same_spelling(&r.from->name, &r.to_name)))
		rc = move(&r, no_replace);
	if (r.node)
		fat_node_unref(r.node);
	if (r.target_node)
		fat_node_unref(r.target_node);
	sync_mutex_unlock(&r.fs->lock);
	return rc;
}
