/* SPDX-License-Identifier: BSD-3-Clause */
/* The one name space: lookup, list, create, unlink, rename. Each change is one slot, durable when it returns. */
#include <errno.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/err.h"
#include "core/blk/blk.h"
#include "core/fs/wfs2/wfs2_priv.h"

static int no_such_file(const char *name, size_t len)
{
	return err_set(-ENOENT, "no file '%.*s'", (int)len, name);
}

/* The slot of that name and what it has; WFS2_NO_SLOT. */
static uint32_t find(struct wfs2_fs *fs, const char *name, size_t len, struct wfs2_entry *ret)
{
	uint32_t slot;

	sync_mutex_lock(&fs->lock);
	slot = wfs2_index_find(&fs->v.index, fs->v.table, name, len);
	if (slot != WFS2_NO_SLOT && wfs2_entry_decode(wfs2_slot(&fs->v, slot), ret))
		slot = WFS2_NO_SLOT;
	sync_mutex_unlock(&fs->lock);
	return slot;
}

int wfs2_lookup(struct wfs2_fs *fs, const char *name, size_t len, struct wfs2_node **ret)
{
	struct wfs2_entry e;
	uint32_t slot = find(fs, name, len, &e);

	return slot == WFS2_NO_SLOT ? no_such_file(name, len) : wfs2_node_get(fs, slot, e.generation, ret);
}

int wfs2_list(struct wfs2_fs *fs, uint64_t cookie, wfs2_dir_fn *fn, void *ctx)
{
	for (uint64_t slot = cookie; slot < fs->v.super.file_count; slot++) {
		struct wfs2_dir_item item = { .next_cookie = slot + 1 };
		struct wfs2_entry e = { 0 };
		struct wfs2_node *n;
		bool seen;

		sync_mutex_lock(&fs->lock);
		n = fs->nodes[slot];
		/* Of two with one name, only that which can be opened. */
		seen = get_le16(wfs2_slot(&fs->v, (uint32_t)slot) + SLOT_FLAGS) &&
		       wfs2_entry_decode(wfs2_slot(&fs->v, (uint32_t)slot), &e) == 0 &&
		       wfs2_index_find(&fs->v.index, fs->v.table, e.name, e.name_len) == slot;
		if (seen && n) {
			sync_mutex_lock(&n->map_lock);
			wfs2_entry_stat(&n->e, n->slot, &item.stat);
			sync_mutex_unlock(&n->map_lock);
		} else if (seen) {
			wfs2_entry_stat(&e, (uint32_t)slot, &item.stat);
		}
		sync_mutex_unlock(&fs->lock);
		item.name = e.name;
		item.name_len = e.name_len;
		if (seen && !fn(ctx, &item))
			break;
	}
	return 0;
}

/* The change_lock is held. */
static int create(struct wfs2_fs *fs, const char *name, size_t len, uint32_t *ret_slot, uint32_t *ret_generation)
{
	struct wfs2_entry e;
	uint32_t slot;
	int rc;

	if (find(fs, name, len, &e) != WFS2_NO_SLOT)
		return err_set(-EEXIST, "there is a file '%.*s' already", (int)len, name);
	if (!fs->free_slot_count)
		return err_set(-ENOSPC, "device %s: the file table is full", blk_name(fs->dev));
	slot = fs->free_slots[fs->free_slot_count - 1];
	rc = wfs2_entry_decode(wfs2_slot(&fs->v, slot), &e);
	if (rc)
		return rc;
	e = (struct wfs2_entry){
		.flags = WFS2_FLAG_USED,
		.name_len = (uint16_t)len,
		.created_ns = wfs2_now(),
		.change = 1,
		.generation = e.generation == UINT32_MAX ? 1 : e.generation + 1,
	};
	e.modified_ns = e.created_ns;
	memcpy(e.name, name, len);
	rc = wfs2_write_slot(fs, slot, &e);
	if (rc)
		return rc;
	sync_mutex_lock(&fs->lock);
	fs->free_slot_count--;
	fs->v.used_files++;
	sync_mutex_unlock(&fs->lock);
	*ret_slot = slot;
	*ret_generation = e.generation;
	return 0;
}

int wfs2_create(struct wfs2_fs *fs, const char *name, size_t len, struct wfs2_node **ret)
{
	uint32_t slot, generation;
	int rc = wfs2_name_check(name, len);

	if (rc)
		return rc;
	sync_mutex_lock(&fs->change_lock);
	rc = wfs2_check_writable(fs);
	if (rc == 0)
		rc = create(fs, name, len, &slot, &generation);
	sync_mutex_unlock(&fs->change_lock);
	return rc ? rc : wfs2_node_get(fs, slot, generation, ret);
}

/* What is left of a file that was removed, to be given up when no lock is held. */
struct removed {
	struct wfs2_node *node; /* referenced, or NULL: nobody has it */
	struct wfs2_entry e;
};

/* The change_lock is held. */
static int remove_slot(struct wfs2_fs *fs, uint32_t slot, const struct wfs2_entry *e, struct removed *ret)
{
	struct wfs2_entry none = { .generation = e->generation };
	struct wfs2_node *n;
	int rc = wfs2_write_slot(fs, slot, &none);

	if (rc)
		return rc;
	sync_mutex_lock(&fs->lock);
	n = fs->nodes[slot];
	if (n) {
		wfs2_node_remove(n);
		fs->nodes[slot] = NULL;
	}
	fs->free_slots[fs->free_slot_count++] = slot;
	fs->v.used_files--;
	sync_mutex_unlock(&fs->lock);
	ret->node = n;
	ret->e = *e;
	return 0;
}

static void finish_removal(struct wfs2_fs *fs, struct removed *r)
{
	if (r->node)
		wfs2_put(r->node);
	else
		wfs2_map_free(fs, r->e.extents, r->e.extent_count);
}

int wfs2_unlink(struct wfs2_fs *fs, const char *name, size_t len)
{
	struct removed removed;
	struct wfs2_entry e;
	uint32_t slot;
	int rc;

	sync_mutex_lock(&fs->change_lock);
	rc = wfs2_check_writable(fs);
	if (rc == 0) {
		slot = find(fs, name, len, &e);
		rc = slot == WFS2_NO_SLOT ? no_such_file(name, len) : remove_slot(fs, slot, &e, &removed);
	}
	sync_mutex_unlock(&fs->change_lock);
	if (rc == 0)
		finish_removal(fs, &removed);
	return rc;
}

/* The slot gets its new name; the file in memory, too. The change_lock is held. */
static int rename_slot(struct wfs2_fs *fs, uint32_t slot, struct wfs2_entry *e, const char *to, size_t to_len)
{
	struct wfs2_node *n;
	int rc;

	memset(e->name, 0, sizeof(e->name));
	memcpy(e->name, to, to_len);
	e->name_len = (uint16_t)to_len;
	rc = wfs2_write_slot(fs, slot, e);
	if (rc)
		return rc;
	sync_mutex_lock(&fs->lock);
	n = fs->nodes[slot];
	if (n) {
		sync_mutex_lock(&n->map_lock);
		memcpy(n->e.name, e->name, sizeof(e->name));
		n->e.name_len = e->name_len;
		n->e.change++;
		n->entry_changed = true;
		sync_mutex_unlock(&n->map_lock);
	}
	sync_mutex_unlock(&fs->lock);
	return 0;
}

/* The change_lock is held. @n: the file, whose contents are durable. */
static int rename_locked(struct wfs2_node *n, const char *from, size_t from_len, const char *to, size_t to_len,
                         bool no_replace, struct removed *ret, bool *ret_replaced)
{
	struct wfs2_fs *fs = n->fs;
	struct wfs2_entry e, old;
	uint32_t slot = find(fs, from, from_len, &e), target = find(fs, to, to_len, &old);
	int rc;

	if (slot != n->slot || e.generation != n->e.generation)
		return no_such_file(from, from_len);
	if (target == slot)
		return 0;
	if (target != WFS2_NO_SLOT && no_replace)
		return err_set(-EEXIST, "there is a file '%.*s' already", (int)to_len, to);
	e.change++;
	e.replaces = e.replaces_generation = 0;
	if (target != WFS2_NO_SLOT) {
		e.replaces = target + 1;
		e.replaces_generation = old.generation;
	}
	rc = rename_slot(fs, slot, &e, to, to_len);
	if (rc == 0 && target != WFS2_NO_SLOT) {
		rc = remove_slot(fs, target, &old, ret);
		*ret_replaced = rc == 0;
	}
	return rc;
}

int wfs2_rename(struct wfs2_fs *fs, const char *from, size_t from_len, const char *to, size_t to_len, bool no_replace)
{
	struct removed removed;
	struct wfs2_node *n;
	bool replaced = false;
	int rc = wfs2_name_check(to, to_len);

	if (rc == 0)
		rc = wfs2_check_writable(fs);
	if (rc == 0)
		rc = wfs2_lookup(fs, from, from_len, &n);
	if (rc)
		return rc;
	rc = wfs2_flush(n);
	if (rc == 0) {
		sync_mutex_lock(&fs->change_lock);
		rc = wfs2_check_writable(fs);
		if (rc == 0)
			rc = rename_locked(n, from, from_len, to, to_len, no_replace, &removed, &replaced);
		sync_mutex_unlock(&fs->change_lock);
	}
	if (replaced)
		finish_removal(fs, &removed);
	if (rc == 0)
		wfs2_node_changed(n);
	wfs2_put(n);
	return rc;
}
