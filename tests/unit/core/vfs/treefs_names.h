/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file tree in memory that implements all of vfs_ops.h, in the simplest way: one lock, lists, names kept as they
 * come. For tests of what stands above a file system.
 */
#ifndef WFSD_TESTS_UNIT_CORE_VFS_TREEFS_NAMES_H
#define WFSD_TESTS_UNIT_CORE_VFS_TREEFS_NAMES_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/sync.h"
#include "core/vfs/vfs_ops.h"

#define TREEFS_FSID 77u

struct treefs_entry {
	struct treefs_entry *next; /* ascending cookie */
	struct treefs_node *node;
	uint64_t cookie;
	size_t len;
	char name[VFS_NAME_MAX];
};

struct treefs_xattr {
	struct treefs_xattr *next;
	char *name;
	void *value;
	size_t len;
};

struct treefs_node {
	struct vfs_node node; /* first */
	struct treefs *fs;
	struct treefs_node *next; /* of all */
	struct treefs_node *parent; /* of directories */
	struct vfs_stat st;
	struct treefs_entry *entries;
	struct treefs_xattr *xattrs;
	uint8_t *data; /* st.size_bytes of it; the target of a symbolic link */
};

struct treefs {
	struct sync_mutex lock; /* SYNC_RANK_OBJECT */
	struct treefs_node *all; /* live ones: linked, or in use */
	struct treefs_node *root;
	uint64_t next_object, next_cookie;
	uint64_t flushes;
	/* NULL, or called when attributes are about to be changed, with no lock held. */
	void (*before_set)(void *ctx, const struct vfs_set_attr *attr);
	void *before_set_ctx;
	/* The same, of names that are about to go. */
	void (*before_removal)(void *ctx);
	void *before_removal_ctx;
};

static inline struct treefs_node *treefs_of(struct vfs_node *n)
{
	return (struct treefs_node *)n;
}

static inline void treefs_free_node(struct treefs_node *t)
{
	struct treefs_node **at = &t->fs->all;

	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	while (t->xattrs) {
		struct treefs_xattr *x = t->xattrs;

		t->xattrs = x->next;
		free(x->name);
		free(x->value);
		free(x);
	}
	free(t->data);
	free(t);
}

/* Its names, each of which holds a reference, are gone by then. */
static inline void treefs_release(struct vfs_node *n)
{
	struct treefs *fs = treefs_of(n)->fs;

	sync_mutex_lock(&fs->lock);
	treefs_free_node(treefs_of(n));
	sync_mutex_unlock(&fs->lock);
}

static inline void treefs_changed(struct treefs_node *t, bool data)
{
	t->st.change++;
	t->st.ctime_ns++;
	if (data)
		t->st.mtime_ns++;
}

static inline int treefs_stat(struct vfs_node *n, struct vfs_stat *ret)
{
	struct treefs *fs = treefs_of(n)->fs;

	sync_mutex_lock(&fs->lock);
	*ret = treefs_of(n)->st;
	sync_mutex_unlock(&fs->lock);
	return 0;
}

static inline struct treefs_entry **treefs_find(struct treefs_node *dir, const char *name, size_t len)
{
	struct treefs_entry **at = &dir->entries;

	while (*at && ((*at)->len != len || memcmp((*at)->name, name, len)))
		at = &(*at)->next;
	return at;
}

static inline int treefs_lookup(struct vfs_node *n, const char *name, size_t len, struct vfs_node **ret)
{
	struct treefs *fs = treefs_of(n)->fs;
	struct treefs_entry *e;
	int err = 0;

	sync_mutex_lock(&fs->lock);
	e = *treefs_find(treefs_of(n), name, len);
	if (e) {
		vfs_node_ref(&e->node->node);
		*ret = &e->node->node;
	} else {
		err = err_set(-ENOENT, "no '%.*s'", (int)len, name);
	}
	sync_mutex_unlock(&fs->lock);
	return err;
}

static inline int treefs_readdir(struct vfs_node *n, uint64_t cookie, vfs_dir_fn *fn, void *ctx)
{
	struct treefs *fs = treefs_of(n)->fs;
	bool go_on = true;

	while (go_on) {
		struct treefs_entry copy = { 0 };
		struct vfs_dirent d;
		const struct treefs_entry *e;

		sync_mutex_lock(&fs->lock);
		for (e = treefs_of(n)->entries; e && e->cookie <= cookie;)
			e = e->next;
		if (e) {
			copy = *e;
			d = (struct vfs_dirent){ .type = e->node->st.type, .object = e->node->st.object };
		}
		sync_mutex_unlock(&fs->lock);
		if (!copy.cookie)
			break;
		d.name = copy.name;
		d.name_len = copy.len;
		d.cookie = cookie = copy.cookie;
		go_on = fn(ctx, &d);
	}
	return 0;
}

static inline int treefs_parent(struct vfs_node *n, struct vfs_node **ret)
{
	struct treefs *fs = treefs_of(n)->fs;
	struct treefs_node *up;

	sync_mutex_lock(&fs->lock);
	up = treefs_of(n)->parent;
	if (up)
		vfs_node_ref(&up->node);
	sync_mutex_unlock(&fs->lock);
	*ret = up ? &up->node : NULL;
	return up ? 0 : -ENOENT;
}

extern const struct vfs_node_ops treefs_ops;

/* With one reference. */
static inline struct treefs_xattr **treefs_find_xattr(struct treefs_node *t, const char *name)
{
	struct treefs_xattr **at = &t->xattrs;

	while (*at && strcmp((*at)->name, name))
		at = &(*at)->next;
	return at;
}

static inline void treefs_put_xattr(struct treefs_node *t, const char *name, const void *value, size_t len)
{
	struct treefs_xattr **at = treefs_find_xattr(t, name);

	if (!*at) {
		*at = calloc(1, sizeof(**at));
		(*at)->name = strdup(name);
	}
	free((*at)->value);
	(*at)->value = malloc(len + 1);
	if (len)
		memcpy((*at)->value, value, len);
	(*at)->len = len;
}

static inline bool treefs_drop_xattr(struct treefs_node *t, const char *name)
{
	struct treefs_xattr **at = treefs_find_xattr(t, name), *x = *at;

	if (!x)
		return false;
	*at = x->next;
	free(x->name);
	free(x->value);
	free(x);
	return true;
}

static inline struct treefs_node *treefs_new_node(struct treefs *fs, const struct vfs_new *attr)
{
	struct treefs_node *t = calloc(1, sizeof(*t));

	vfs_node_init(&t->node, &treefs_ops, attr->type);
	t->fs = fs;
	t->next = fs->all;
	fs->all = t;
	t->st = (struct vfs_stat){ .type = attr->type,
		                   .fsid = TREEFS_FSID,
		                   .object = ++fs->next_object,
		                   .mode = attr->mode,
		                   .uid = attr->uid,
		                   .gid = attr->gid,
		                   .rdev = attr->rdev,
		                   .change = 1,
		                   .mtime_ns = 1,
		                   .ctime_ns = 1,
		                   .block_bytes = 4096,
		                   .grows = attr->type == VFS_TYPE_FILE };
	if (attr->type == VFS_TYPE_SYMLINK) {
		t->data = malloc(attr->target_len);
		memcpy(t->data, attr->target, attr->target_len);
		t->st.size_bytes = attr->target_len;
	}
	if (attr->access_acl)
		treefs_put_xattr(t, VFS_ACL_ACCESS, attr->access_acl, attr->access_acl_len);
	if (attr->default_acl)
		treefs_put_xattr(t, VFS_ACL_DEFAULT, attr->default_acl, attr->default_acl_len);
	t->st.has_acl = attr->access_acl != NULL;
	return t;
}

/* The entry takes a reference of @t. */
static inline void treefs_add(struct treefs_node *dir, const char *name, size_t len, struct treefs_node *t)
{
	struct treefs_entry *e = calloc(1, sizeof(*e)), **at = &dir->entries;

	while (*at)
		at = &(*at)->next;
	*at = e;
	e->cookie = ++dir->fs->next_cookie;
	e->len = len;
	memcpy(e->name, name, len);
	e->node = t;
	vfs_node_ref(&t->node);
	t->st.link_count++;
	if (t->st.type == VFS_TYPE_DIR) {
		t->st.link_count++;
		t->parent = dir;
		dir->st.link_count++;
	}
	treefs_changed(t, false);
	treefs_changed(dir, true);
}

/* *@ret is to be given back without the lock. */
static inline void treefs_remove(struct treefs_node *dir, struct treefs_entry **at, struct vfs_node **ret)
{
	struct treefs_entry *e = *at;
	struct treefs_node *t = e->node;

	*at = e->next;
	free(e);
	t->st.link_count--;
	if (t->st.type == VFS_TYPE_DIR) {
		t->st.link_count--;
		t->parent = NULL;
		dir->st.link_count--;
	}
	treefs_changed(t, false);
	treefs_changed(dir, true);
	*ret = &t->node;
}

static inline int treefs_create(struct vfs_node *n, const char *name, size_t len, const struct vfs_new *attr,
                                struct vfs_node **ret)
{
	struct treefs *fs = treefs_of(n)->fs;
	int err = 0;

	sync_mutex_lock(&fs->lock);
	if (*treefs_find(treefs_of(n), name, len)) {
		err = err_set(-EEXIST, "'%.*s' is there", (int)len, name);
	} else if (n->type == VFS_TYPE_DIR && !treefs_of(n)->st.link_count) {
		err = err_set(-ENOENT, "the directory was removed");
	} else {
		struct treefs_node *t = treefs_new_node(fs, attr);

		treefs_add(treefs_of(n), name, len, t);
		*ret = &t->node;
	}
	sync_mutex_unlock(&fs->lock);
	return err;
}

static inline int treefs_create_nameless(struct vfs_node *n, const struct vfs_new *attr, struct vfs_node **ret)
{
	struct treefs *fs = treefs_of(n)->fs;

	sync_mutex_lock(&fs->lock);
	*ret = &treefs_new_node(fs, attr)->node;
	sync_mutex_unlock(&fs->lock);
	return 0;
}

static inline int treefs_link(struct vfs_node *n, const char *name, size_t len, struct vfs_node *target,
                              const struct vfs_tag *tag)
{
	struct treefs *fs = treefs_of(n)->fs;
	int err = 0;

	(void)tag;
	sync_mutex_lock(&fs->lock);
	if (*treefs_find(treefs_of(n), name, len))
		err = err_set(-EEXIST, "'%.*s' is there", (int)len, name);
	else if (!treefs_of(n)->st.link_count)
		err = err_set(-ENOENT, "the directory was removed");
	else
		treefs_add(treefs_of(n), name, len, treefs_of(target));
	sync_mutex_unlock(&fs->lock);
	return err;
}

static inline int treefs_check_victim(const struct treefs_entry *e, bool want_dir)
{
	bool is_dir = e->node->st.type == VFS_TYPE_DIR;

	if (want_dir && !is_dir)
		return err_set(-ENOTDIR, "it is not a directory");
	if (!want_dir && is_dir)
		return err_set(-EISDIR, "it is a directory");
	return is_dir && e->node->entries ? err_set(-ENOTEMPTY, "the directory is not empty") : 0;
}

static inline int treefs_unlink(struct vfs_node *n, const char *name, size_t len, bool want_dir,
                                const struct vfs_taker *taker, const struct vfs_tag *tag)
{
	struct treefs *fs = treefs_of(n)->fs;
	struct vfs_node *gone = NULL;
	struct treefs_entry **at;
	int err;

	(void)tag;
	if (fs->before_removal)
		fs->before_removal(fs->before_removal_ctx);
	sync_mutex_lock(&fs->lock);
	at = treefs_find(treefs_of(n), name, len);
	err = *at ? treefs_check_victim(*at, want_dir) : err_set(-ENOENT, "no '%.*s'", (int)len, name);
	if (!err)
		err = vfs_taker_check(taker, (*at)->node->st.uid, (*at)->node->st.flags);
	if (!err)
		treefs_remove(treefs_of(n), at, &gone);
	sync_mutex_unlock(&fs->lock);
	vfs_node_unref(gone);
	return err;
}

static inline bool treefs_is_below(const struct treefs_node *t, const struct treefs_node *top)
{
	while (t && t != top)
		t = t->parent;
	return t;
}

static inline void treefs_exchange(struct treefs_node *a_dir, struct treefs_entry *a, struct treefs_node *b_dir,
                                   struct treefs_entry *b)
{
	struct treefs_node *t = a->node;

	a->node = b->node;
	b->node = t;
	if (a->node->st.type == VFS_TYPE_DIR)
		a->node->parent = a_dir;
	if (b->node->st.type == VFS_TYPE_DIR)
		b->node->parent = b_dir;
	a_dir->st.link_count += (a->node->st.type == VFS_TYPE_DIR) - (b->node->st.type == VFS_TYPE_DIR);
	b_dir->st.link_count += (b->node->st.type == VFS_TYPE_DIR) - (a->node->st.type == VFS_TYPE_DIR);
}

static inline int treefs_check_rename(struct treefs_node *dir, const struct treefs_entry *e,
                                      struct treefs_node *new_dir, const struct treefs_entry *old, unsigned flags)
{
	if (!e || (flags & VFS_RENAME_EXCHANGE && !old) || !new_dir->st.link_count)
		return err_set(-ENOENT, "there is no such name");
	if (treefs_is_below(new_dir, e->node) || (flags & VFS_RENAME_EXCHANGE && treefs_is_below(dir, old->node)))
		return err_set(-EINVAL, "a directory cannot go into itself");
	if (old && flags & VFS_RENAME_NOREPLACE)
		return err_set(-EEXIST, "the new name is there");
	if (old && !(flags & VFS_RENAME_EXCHANGE) && old->node != e->node)
		return treefs_check_victim(old, e->node->st.type == VFS_TYPE_DIR);
	return 0;
}

static inline int treefs_rename(struct vfs_node *n, const char *name, size_t len, struct vfs_node *new_n,
                                const char *new_name, size_t new_len, unsigned flags, const struct vfs_taker *takers,
                                const struct vfs_tag *tag)
{
	struct treefs_node *dir = treefs_of(n), *new_dir = treefs_of(new_n);
	struct vfs_node *replaced = NULL, *moved = NULL;
	struct treefs_entry **at, **old;
	int err;

	(void)tag;
	if (dir->fs->before_removal)
		dir->fs->before_removal(dir->fs->before_removal_ctx);
	sync_mutex_lock(&dir->fs->lock);
	at = treefs_find(dir, name, len);
	old = treefs_find(new_dir, new_name, new_len);
	err = treefs_check_rename(dir, *at, new_dir, *old, flags);
	if (!err && takers)
		err = vfs_taker_check(&takers[0], (*at)->node->st.uid, (*at)->node->st.flags);
	if (!err && takers && *old)
		err = vfs_taker_check(&takers[1], (*old)->node->st.uid, (*old)->node->st.flags);
	if (!err && flags & VFS_RENAME_EXCHANGE) {
		treefs_exchange(dir, *at, new_dir, *old);
	} else if (!err && (!*old || (*old)->node != (*at)->node)) {
		if (*old)
			treefs_remove(new_dir, old, &replaced);
		treefs_remove(dir, treefs_find(dir, name, len), &moved);
		treefs_add(new_dir, new_name, new_len, treefs_of(moved));
	}
	sync_mutex_unlock(&dir->fs->lock);
	vfs_node_unref(replaced);
	vfs_node_unref(moved);
	return err;
}

#endif
