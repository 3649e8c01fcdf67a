/* SPDX-License-Identifier: BSD-3-Clause */
/* Names: looking up, creating, removing, listing, attributes. Renaming is in rename.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/cache/cache.h"
#include "core/fs/fat/fat_priv.h"

int fat_ops_begin(struct fat_node *dir, const char *name, size_t len, struct fat_name *ret)
{
	int rc;

	if (!fat_node_is_dir(dir))
		return err_set(-ENOTDIR, "not a directory");
	if (dir->deleted)
		return err_set(-ENOENT, "the directory was removed");
	rc = fat_name_from_utf8(name, len, ret);
	return rc ? rc : fat_dir_load(dir);
}

int fat_lookup(struct fat_node *dir, const char *name, size_t len, struct fat_node **ret)
{
	struct fat_fs *fs = dir->fs;
	struct fat_name wanted;
	struct fat_dir_entry *e;
	int rc;

	sync_mutex_lock(&fs->lock);
	rc = fat_ops_begin(dir, name, len, &wanted);
	if (rc == 0) {
		e = fat_dir_find(dir->dir, &wanted);
		rc = e ? fat_node_for_entry(dir, e, ret) : -ENOENT;
	}
	sync_mutex_unlock(&fs->lock);
	return rc == -ENOENT ? err_set(-ENOENT, "no such file") : rc;
}

static void init_dirent(struct fat_fs *fs, uint8_t attr, struct fat_dirent *d)
{
	uint64_t now = fat_fs_now();

	*d = (struct fat_dirent){
		.attr = attr,
		.ctime_ns = fat_dirent_round_ctime(now),
		.mtime_ns = fat_dirent_round_mtime(now),
		.atime_ns = fat_dirent_round_atime(now, fs->utc_offset_s),
	};
}

/* The number that ".." has: the root directory counts as 0. */
uint32_t fat_ops_parent_cluster(const struct fat_node *dir)
{
	return dir == dir->fs->root ? 0 : dir->d.cluster;
}

/* A new directory's cluster, written at once: nothing leads there yet. */
static int fill_new_dir(struct fat_node *n, struct fat_node *parent)
{
	struct fat_fs *fs = n->fs;
	uint8_t *bytes;
	int rc = fat_space_grow(n, 1);

	if (rc)
		return rc;
	bytes = calloc(1, fs->g.cluster_bytes);
	if (!bytes)
		return err_set(-ENOMEM, "a directory: no memory");
	fat_dir_init_slots(n, fat_ops_parent_cluster(parent), bytes);
	rc = fat_medium_write(&fs->medium, fat_cluster_offset(&fs->g, n->d.cluster), bytes, fs->g.cluster_bytes);
	free(bytes);
	return rc;
}

/* A node whose entry was just inserted. When it cannot be had, the entry goes again. */
static int make_node(struct fat_node *dir, struct fat_dir_entry *e, struct fat_node **ret)
{
	int rc = fat_node_for_entry(dir, e, ret);

	if (rc)
		fat_dir_remove(dir, e);
	return rc;
}

static int create_locked(struct fat_node *dir, const char *name, size_t len, uint8_t attr, struct fat_node **ret)
{
	struct fat_fs *fs = dir->fs;
	struct fat_name wanted;
	struct fat_dir_plan plan;
	struct fat_dirent d;
	int rc = fat_ops_begin(dir, name, len, &wanted);

	if (rc == 0 && fat_dir_find(dir->dir, &wanted))
		rc = err_set(-EEXIST, "the name exists");
	if (rc == 0)
		rc = fat_fs_begin_change(fs);
	if (rc == 0)
		rc = fat_dir_plan_name(dir, &wanted, NULL, &plan);
	if (rc)
		return rc;
	init_dirent(fs, attr, &d);
	return make_node(dir, fat_dir_insert(dir, &plan, &d, fs->next_object++), ret);
}

int fat_create(struct fat_node *dir, const char *name, size_t len, struct fat_node **ret)
{
	struct fat_fs *fs = dir->fs;
	int rc;

	sync_mutex_lock(&fs->lock);
	rc = create_locked(dir, name, len, FAT_ATTR_ARCHIVE, ret);
	sync_mutex_unlock(&fs->lock);
	return rc;
}

/*
 * Made as a file, which becomes a directory when its cluster is there. Nothing of it can reach the device in between:
 * a sync that makes room finds a whole, empty file.
 */
static int mkdir_locked(struct fat_node *dir, const char *name, size_t len, struct fat_node **ret)
{
	struct fat_node *n;
	int rc = create_locked(dir, name, len, 0, &n);

	if (rc)
		return rc;
	rc = fill_new_dir(n, dir);
	if (rc) {
		struct fat_dir_entry *e = n->entry;

		fat_dir_remove(dir, e);
		fat_node_detach(n);
		fat_node_unref(n);
		return rc;
	}
	cache_file_free(n->data);
	n->data = NULL;
	n->is_dir = true;
	n->d.attr = FAT_ATTR_DIR;
	n->entry_changed = true;
	fat_node_changed(n);
	*ret = n;
	return 0;
}

int fat_mkdir(struct fat_node *dir, const char *name, size_t len, struct fat_node **ret)
{
	struct fat_fs *fs = dir->fs;
	int rc;

	sync_mutex_lock(&fs->lock);
	rc = mkdir_locked(dir, name, len, ret);
	sync_mutex_unlock(&fs->lock);
	return rc;
}

int fat_ops_check_empty(struct fat_node *n)
{
	int rc = fat_dir_load(n);

	if (rc == 0 && n->dir->entry_count + n->dir->hidden_count)
		rc = err_set(-ENOTEMPTY, "the directory is not empty");
	return rc;
}

static int remove_locked(struct fat_node *dir, const char *name, size_t len, bool want_dir)
{
	struct fat_node *n = NULL;
	struct fat_name wanted;
	struct fat_dir_entry *e;
	int rc = fat_ops_begin(dir, name, len, &wanted);

	if (rc)
		return rc;
	e = fat_dir_find(dir->dir, &wanted);
	if (!e)
		return err_set(-ENOENT, "no such file");
	rc = fat_node_for_entry(dir, e, &n);
	if (rc)
		return rc;
	if (want_dir && !fat_node_is_dir(n))
		rc = err_set(-ENOTDIR, "not a directory");
	else if (!want_dir && fat_node_is_dir(n))
		rc = err_set(-EISDIR, "a directory");
	else if (want_dir)
		rc = fat_ops_check_empty(n);
	if (rc == 0)
		rc = fat_fs_begin_change(dir->fs);
	if (rc == 0) {
		fat_dir_remove(dir, e);
		fat_node_detach(n);
	}
	fat_node_unref(n);
	return rc;
}

int fat_unlink(struct fat_node *dir, const char *name, size_t len)
{
	struct fat_fs *fs = dir->fs;
	int rc;

	sync_mutex_lock(&fs->lock);
	rc = remove_locked(dir, name, len, false);
	sync_mutex_unlock(&fs->lock);
	return rc;
}

int fat_rmdir(struct fat_node *dir, const char *name, size_t len)
{
	struct fat_fs *fs = dir->fs;
	int rc;

	sync_mutex_lock(&fs->lock);
	rc = remove_locked(dir, name, len, true);
	sync_mutex_unlock(&fs->lock);
	return rc;
}

void fat_stat(struct fat_node *n, struct fat_stat *ret)
{
	sync_mutex_lock(&n->map_lock);
	*ret = n->published;
	sync_mutex_unlock(&n->map_lock);
}

static void describe(const struct fat_node *dir, const struct fat_dir_entry *e, struct fat_stat *ret)
{
	struct fat_dirent d;

	if (e->node) {
		fat_stat(e->node, ret);
		return;
	}
	fat_dir_entry_decode(dir, e, &d);
	*ret = (struct fat_stat){
		.is_dir = d.attr & FAT_ATTR_DIR,
		.attr = d.attr,
		.object = e->object,
		.size_bytes = d.attr & FAT_ATTR_DIR ? 0 : d.size_bytes,
		.allocated_bytes = round_up_u64(d.size_bytes, dir->fs->g.cluster_bytes),
		.ctime_ns = d.ctime_ns,
		.mtime_ns = d.mtime_ns,
		.atime_ns = d.atime_ns,
	};
}

int fat_readdir(struct fat_node *dir, uint64_t cookie, fat_dir_fn *fn, void *ctx)
{
	struct fat_fs *fs = dir->fs;
	struct fat_name none, short_name;
	char name[NAME_UTF8_MAX], text[NAME_UTF8_MAX];
	bool more = true;
	int rc;

	sync_mutex_lock(&fs->lock);
	rc = fat_ops_begin(dir, "", 0, &none);
	if (rc == 0 && cookie > dir->dir->slot_count)
		cookie = dir->dir->slot_count;
	for (uint32_t i = (uint32_t)cookie; rc == 0 && more && i < dir->dir->slot_count; i++) {
		const struct fat_dir_entry *e = dir->dir->at[i];
		struct fat_dir_item item = { .name = name, .next_cookie = i + 1 };
		size_t len;

		if (!e || !fat_name_to_utf8(&e->name, name, &item.name_len))
			continue;
		fat_name_from_short(dir->dir->raw + (size_t)i * SLOT_BYTES, 0, &short_name);
		if (fat_name_to_utf8(&short_name, text, &len))
			memcpy(item.short_name, text, len + 1);
		describe(dir, e, &item.stat);
		more = fn(ctx, &item);
	}
	sync_mutex_unlock(&fs->lock);
	return rc;
}

int fat_setattr(struct fat_node *n, const struct fat_set *set)
{
	const uint8_t settable = FAT_ATTR_READ_ONLY | FAT_ATTR_HIDDEN | FAT_ATTR_SYSTEM | FAT_ATTR_ARCHIVE;
	struct fat_fs *fs = n->fs;
	int rc;

	sync_mutex_lock(&fs->lock);
	rc = fat_fs_begin_change(fs);
	if (rc == 0 && n == fs->root)
		rc = err_set(-EPERM, "the root directory of FAT has no attributes and times");
	if (rc == 0 && !n->deleted) {
		if (set->what & FAT_SET_ATTR)
			n->d.attr = (uint8_t)((n->d.attr & ~settable) | (set->attr & settable));
		if (set->what & FAT_SET_CTIME)
			n->d.ctime_ns = fat_dirent_round_ctime(set->ctime_ns);
		if (set->what & FAT_SET_MTIME)
			n->d.mtime_ns = fat_dirent_round_mtime(set->mtime_ns);
		if (set->what & FAT_SET_ATIME)
			n->d.atime_ns = fat_dirent_round_atime(set->atime_ns, fs->utc_offset_s);
		n->entry_changed = true;
		fat_node_changed(n);
	}
	sync_mutex_unlock(&fs->lock);
	return rc;
}

int fat_parent(struct fat_node *dir, struct fat_node **ret)
{
	struct fat_fs *fs = dir->fs;
	int rc = 0;

	sync_mutex_lock(&fs->lock);
	if (dir->parent) {
		fat_node_ref(dir->parent);
		*ret = dir->parent;
	} else {
		rc = err_set(-ENOENT, "no directory is above");
	}
	sync_mutex_unlock(&fs->lock);
	return rc;
}

int fat_by_object(struct fat_fs *fs, uint64_t object, struct fat_node **ret)
{
	struct fat_dir_entry *e;
	int rc;

	sync_mutex_lock(&fs->lock);
	for (e = fs->objects[object % FAT_OBJECT_BUCKETS]; e && e->object != object; e = e->object_next)
		;
	if (object == fs->root->object) {
		fat_node_ref(fs->root);
		*ret = fs->root;
		rc = 0;
	} else if (e) {
		rc = fat_node_for_entry(e->dir, e, ret);
	} else {
		rc = err_set(-ESTALE, "no such file any more");
	}
	sync_mutex_unlock(&fs->lock);
	return rc;
}

void fat_node_get(struct fat_node *n)
{
	struct fat_fs *fs = n->fs;

	sync_mutex_lock(&fs->lock);
	fat_node_ref(n);
	sync_mutex_unlock(&fs->lock);
}

void fat_node_put(struct fat_node *n)
{
	struct fat_fs *fs;

	if (!n)
		return;
	fs = n->fs;
	sync_mutex_lock(&fs->lock);
	fat_node_unref(n);
	sync_mutex_unlock(&fs->lock);
}

void **fat_node_user(struct fat_node *n)
{
	return &n->user;
}

struct fat_node *fat_root(struct fat_fs *fs)
{
	fat_node_get(fs->root);
	return fs->root;
}
