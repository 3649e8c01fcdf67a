/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file tree in memory for tests of front ends: everything that vfs_ops.h asks for but volumes' zero-copy reads. Nodes
 * live as long as the tree; one whose last name is gone is not found by its number any more.
 */
#ifndef WFSD_TESTS_UNIT_SERVER_RPC_MEMTREE_H
#define WFSD_TESTS_UNIT_SERVER_RPC_MEMTREE_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/nowait.h"
#include "core/base/sync.h"
#include "core/vfs/vfs_ops.h"

#define MEMTREE_NODES_MAX 20000u
#define MEMTREE_FSID 0x5eedu

struct memtree_entry {
	char *name;
	size_t len;
	uint64_t cookie;
	struct memtree_node *node;
};

struct memtree_xattr {
	struct memtree_xattr *next;
	char *name;
	void *value;
	size_t len;
};

struct memtree_node {
	struct vfs_node node;
	struct memtree *tree;
	struct memtree_node *parent; /* of a directory */
	struct vfs_stat st;
	uint8_t *data; /* of files; the target of symbolic links */
	size_t data_cap;
	struct memtree_entry *entries; /* of directories, by cookie */
	unsigned entry_count, entry_cap;
	struct memtree_xattr *xattrs;
};

/* Of a request that changed something, as file systems keep it that can. */
struct memtree_result {
	struct vfs_tag tag;
	uint64_t number;
};
#define MEMTREE_RESULTS_MAX 1024u

struct memtree {
	struct sync_mutex lock;
	struct memtree_node *nodes[MEMTREE_NODES_MAX]; /* by object - 1 */
	unsigned node_count;
	uint64_t next_cookie;
	size_t file_max_bytes; /* 0: 1 GiB */
	unsigned creates; /* calls that made something */
	unsigned flushes;
	/* Of the calls by threads that must not wait the one with this number, and those after it, are not answered; 0:
	 * all are. Atomic. */
	unsigned nowait_until;
	bool forgets; /* it keeps no results */
	struct memtree_result results[MEMTREE_RESULTS_MAX];
	unsigned result_count;
};

static inline struct memtree_node *mt(struct vfs_node *n)
{
	return (struct memtree_node *)(void *)n;
}

static inline bool mt_must_wait(struct memtree *t)
{
	unsigned left = __atomic_load_n(&t->nowait_until, __ATOMIC_RELAXED);

	if (!nowait_here() || !left)
		return false;
	if (left > 1)
		__atomic_store_n(&t->nowait_until, left - 1, __ATOMIC_RELAXED);
	return left == 1;
}

#include "tests/unit/server/rpc/memtree_result.h"
#include "tests/unit/server/rpc/memtree_data.h"

static inline void mt_release(struct vfs_node *n)
{
	(void)n;
}

static inline int mt_stat(struct vfs_node *n, struct vfs_stat *ret)
{
	sync_mutex_lock(&mt(n)->tree->lock);
	*ret = mt(n)->st;
	sync_mutex_unlock(&mt(n)->tree->lock);
	return 0;
}

static inline struct memtree_entry *mt_find(struct memtree_node *d, const char *name, size_t len)
{
	for (unsigned i = 0; i < d->entry_count; i++) {
		if (d->entries[i].len == len && memcmp(d->entries[i].name, name, len) == 0)
			return &d->entries[i];
	}
	return NULL;
}

static inline int mt_lookup(struct vfs_node *dir, const char *name, size_t len, struct vfs_node **ret)
{
	struct memtree *t = mt(dir)->tree;
	struct memtree_entry *e;

	if (mt_must_wait(t))
		return -EAGAIN;
	sync_mutex_lock(&t->lock);
	e = mt_find(mt(dir), name, len);
	if (e) {
		vfs_node_ref(&e->node->node);
		*ret = &e->node->node;
	}
	sync_mutex_unlock(&t->lock);
	return e ? 0 : err_set(-ENOENT, "%.*s", (int)len, name);
}

static inline int mt_readdir(struct vfs_node *dir, uint64_t cookie, vfs_dir_fn *fn, void *ctx)
{
	struct memtree *t = mt(dir)->tree;
	bool more = true;

	while (more) {
		char name[VFS_NAME_MAX + 1];
		struct vfs_dirent out;
		bool found = false;

		sync_mutex_lock(&t->lock);
		for (unsigned i = 0; i < mt(dir)->entry_count && !found; i++) {
			struct memtree_entry *e = &mt(dir)->entries[i];

			if (e->cookie <= cookie)
				continue;
			memcpy(name, e->name, e->len);
			out = (struct vfs_dirent){ .name = name,
				                   .name_len = e->len,
				                   .type = e->node->st.type,
				                   .object = e->node->st.object,
				                   .cookie = e->cookie };
			cookie = e->cookie;
			found = true;
		}
		sync_mutex_unlock(&t->lock);
		more = found && fn(ctx, &out);
	}
	return 0;
}

static inline int mt_parent(struct vfs_node *dir, struct vfs_node **ret)
{
	struct memtree_node *p = mt(dir)->parent;

	if (!p)
		return -ENOENT;
	vfs_node_ref(&p->node);
	*ret = &p->node;
	return 0;
}

static const struct vfs_node_ops mt_ops;

static inline struct memtree_xattr **mt_xattr(struct memtree_node *n, const char *name)
{
	struct memtree_xattr **at = &n->xattrs;

	while (*at && strcmp((*at)->name, name) != 0)
		at = &(*at)->next;
	return at;
}

static inline void mt_drop_xattr(struct memtree_xattr **at)
{
	struct memtree_xattr *x = *at;

	*at = x->next;
	free(x->name);
	free(x->value);
	free(x);
}

static inline void mt_put_xattr(struct memtree_node *n, const char *name, const void *value, size_t len)
{
	struct memtree_xattr **at = mt_xattr(n, name), *x = malloc(sizeof(*x));

	if (*at)
		mt_drop_xattr(at);
	*x = (struct memtree_xattr){ .next = *at, .name = strdup(name), .value = malloc(len + 1), .len = len };
	memcpy(x->value, value, len);
	*at = x;
}

static inline struct memtree_node *mt_new(struct memtree *t, struct memtree_node *parent, const struct vfs_new *a)
{
	struct memtree_node *n = calloc(1, sizeof(*n));

	if (!n || t->node_count == MEMTREE_NODES_MAX) {
		free(n);
		return NULL;
	}
	vfs_node_init(&n->node, &mt_ops, a->type);
	n->tree = t;
	n->parent = a->type == VFS_TYPE_DIR ? parent : NULL;
	n->st = (struct vfs_stat){ .type = a->type,
		                   .fsid = MEMTREE_FSID,
		                   .object = t->node_count + 1,
		                   .mode = a->mode,
		                   .uid = a->uid,
		                   .gid = a->gid,
		                   .link_count = 1,
		                   .change = 1,
		                   .rdev = a->rdev,
		                   .block_bytes = 4096,
		                   .grows = a->type == VFS_TYPE_FILE };
	if (a->type == VFS_TYPE_SYMLINK) {
		n->data = malloc(a->target_len);
		memcpy(n->data, a->target, a->target_len);
		n->data_cap = a->target_len;
		n->st.size_bytes = a->target_len;
	}
	if (a->access_acl)
		mt_put_xattr(n, VFS_ACL_ACCESS, a->access_acl, a->access_acl_len);
	if (a->default_acl)
		mt_put_xattr(n, VFS_ACL_DEFAULT, a->default_acl, a->default_acl_len);
	t->nodes[t->node_count++] = n;
	return n;
}

static inline void mt_enter(struct memtree_node *d, const char *name, size_t len, struct memtree_node *n)
{
	struct memtree *t = d->tree;

	if (d->entry_count == d->entry_cap) {
		d->entry_cap = d->entry_cap ? 2 * d->entry_cap : 8;
		d->entries = realloc(d->entries, d->entry_cap * sizeof(d->entries[0]));
	}
	d->entries[d->entry_count++] = (struct memtree_entry){ strndup(name, len), len, ++t->next_cookie, n };
	d->st.change++;
}

static inline void mt_drop(struct memtree_node *d, struct memtree_entry *e)
{
	unsigned i = (unsigned)(e - d->entries);

	free(e->name);
	memmove(e, e + 1, (d->entry_count - i - 1) * sizeof(*e));
	d->entry_count--;
	d->st.change++;
}

static inline int mt_create(struct vfs_node *dir, const char *name, size_t len, const struct vfs_new *attr,
                            struct vfs_node **ret)
{
	struct memtree *t = mt(dir)->tree;
	struct memtree_node *n = NULL;
	int err = 0;

	if (mt_must_wait(t))
		return -EAGAIN;
	sync_mutex_lock(&t->lock);
	if (mt_find(mt(dir), name, len))
		err = err_set(-EEXIST, "%.*s", (int)len, name);
	else if (!(n = mt_new(t, mt(dir), attr)))
		err = err_set(-ENOSPC, "the tree is full");
	if (n) {
		mt_enter(mt(dir), name, len, n);
		vfs_node_ref(&n->node);
		*ret = &n->node;
		t->creates++;
		mt_note(t, attr->tag, n->st.object);
	}
	sync_mutex_unlock(&t->lock);
	return err;
}

static inline int mt_create_nameless(struct vfs_node *dir, const struct vfs_new *attr, struct vfs_node **ret)
{
	struct memtree *t = mt(dir)->tree;
	struct memtree_node *n;

	sync_mutex_lock(&t->lock);
	n = mt_new(t, mt(dir), attr);
	if (n) {
		n->st.link_count = 0;
		mt_note(t, attr->tag, n->st.object);
		vfs_node_ref(&n->node);
		*ret = &n->node;
	}
	sync_mutex_unlock(&t->lock);
	return n ? 0 : err_set(-ENOSPC, "the tree is full");
}

static inline int mt_link(struct vfs_node *dir, const char *name, size_t len, struct vfs_node *target,
                          const struct vfs_tag *tag)
{
	struct memtree *t = mt(dir)->tree;
	int err = 0;

	sync_mutex_lock(&t->lock);
	if (mt_find(mt(dir), name, len)) {
		err = err_set(-EEXIST, "%.*s", (int)len, name);
	} else {
		mt_enter(mt(dir), name, len, mt(target));
		mt(target)->st.link_count++;
	}
	if (!err)
		mt_note(t, tag, 0);
	sync_mutex_unlock(&t->lock);
	return err;
}

static inline int mt_unlink(struct vfs_node *dir, const char *name, size_t len, bool want_dir,
                            const struct vfs_tag *tag)
{
	struct memtree *t = mt(dir)->tree;
	struct memtree_entry *e;
	int err = 0;

	if (mt_must_wait(t))
		return -EAGAIN;
	sync_mutex_lock(&t->lock);
	e = mt_find(mt(dir), name, len);
	if (!e)
		err = err_set(-ENOENT, "%.*s", (int)len, name);
	else if (want_dir != (e->node->st.type == VFS_TYPE_DIR))
		err = err_set(want_dir ? -ENOTDIR : -EISDIR, "%.*s", (int)len, name);
	else if (e->node->entry_count)
		err = err_set(-ENOTEMPTY, "%.*s", (int)len, name);
	if (!err) {
		e->node->st.link_count--;
		mt_drop(mt(dir), e);
	}
	if (!err)
		mt_note(t, tag, 0);
	sync_mutex_unlock(&t->lock);
	return err;
}

static inline int mt_rename(struct vfs_node *dir, const char *name, size_t len, struct vfs_node *new_dir,
                            const char *new_name, size_t new_len, unsigned flags, const struct vfs_tag *tag)
{
	struct memtree *t = mt(dir)->tree;
	struct memtree_entry *from, *to;
	int err = 0;

	sync_mutex_lock(&t->lock);
	from = mt_find(mt(dir), name, len);
	to = mt_find(mt(new_dir), new_name, new_len);
	if (!from || ((flags & VFS_RENAME_EXCHANGE) && !to)) {
		err = err_set(-ENOENT, "%.*s", (int)len, name);
	} else if (to && to->node == from->node && !(flags & VFS_RENAME_NOREPLACE)) {
		err = 0; /* two names of one object: nothing is done */
	} else if (to && (flags & VFS_RENAME_NOREPLACE)) {
		err = err_set(-EEXIST, "%.*s", (int)new_len, new_name);
	} else if (flags & VFS_RENAME_EXCHANGE) {
		struct memtree_node *n = from->node;

		from->node = to->node;
		to->node = n;
	} else {
		struct memtree_node *n = from->node;

		if (to) {
			to->node->st.link_count--;
			mt_drop(mt(new_dir), to);
			from = mt_find(mt(dir), name, len);
		}
		mt_drop(mt(dir), from);
		mt_enter(mt(new_dir), new_name, new_len, n);
		if (n->st.type == VFS_TYPE_DIR)
			n->parent = mt(new_dir);
	}
	if (!err)
		mt_note(t, tag, 0);
	sync_mutex_unlock(&t->lock);
	return err;
}

static inline int mt_set_attr(struct vfs_node *node, const struct vfs_set_attr *a)
{
	struct memtree_node *n = mt(node);
	int err = 0;

	sync_mutex_lock(&n->tree->lock);
	if (a->valid & VFS_SET_SIZE) {
		err = mt_reserve(n, a->size_bytes);
		if (!err && a->size_bytes < n->st.size_bytes)
			memset(n->data + a->size_bytes, 0, n->st.size_bytes - a->size_bytes);
		if (!err)
			n->st.size_bytes = a->size_bytes;
	}
	if (a->valid & VFS_SET_ACL && a->access_acl)
		mt_put_xattr(n, VFS_ACL_ACCESS, a->access_acl, a->access_acl_len);
	else if (a->valid & VFS_SET_ACL && *mt_xattr(n, VFS_ACL_ACCESS))
		mt_drop_xattr(mt_xattr(n, VFS_ACL_ACCESS));
	if (a->valid & VFS_SET_MODE)
		n->st.mode = a->mode;
	if (a->valid & VFS_SET_UID)
		n->st.uid = a->uid;
	if (a->valid & VFS_SET_GID)
		n->st.gid = a->gid;
	if (a->valid & VFS_SET_FLAGS)
		n->st.flags = a->flags;
	if (a->valid & VFS_SET_ATIME)
		n->st.atime_ns = a->atime_ns;
	if (a->valid & VFS_SET_MTIME)
		n->st.mtime_ns = a->mtime_ns;
	n->st.change++;
	if (!err)
		mt_note(n->tree, a->tag, 0);
	sync_mutex_unlock(&n->tree->lock);
	return err;
}

static inline int mt_read_link(struct vfs_node *node, char *buf, size_t *ret_len)
{
	memcpy(buf, mt(node)->data, mt(node)->st.size_bytes);
	*ret_len = mt(node)->st.size_bytes;
	return 0;
}

static inline int mt_get_xattr(struct vfs_node *node, const char *name, void *buf, size_t cap, size_t *ret_len)
{
	struct memtree *t = mt(node)->tree;
	struct memtree_xattr *x;
	int err = 0;

	sync_mutex_lock(&t->lock);
	x = *mt_xattr(mt(node), name);
	if (!x) {
		err = -ENODATA;
	} else {
		*ret_len = x->len;
		if (cap && x->len > cap)
			err = -ERANGE;
		else if (cap)
			memcpy(buf, x->value, x->len);
	}
	sync_mutex_unlock(&t->lock);
	return err;
}

static inline int mt_set_xattr(struct vfs_node *node, const char *name, const void *value, size_t len, unsigned flags,
                               const struct vfs_tag *tag)
{
	struct memtree *t = mt(node)->tree;
	struct memtree_xattr **at;
	int err = 0;

	sync_mutex_lock(&t->lock);
	at = mt_xattr(mt(node), name);
	if (*at && (flags & VFS_XATTR_CREATE))
		err = -EEXIST;
	else if (!*at && (flags & VFS_XATTR_REPLACE))
		err = -ENODATA;
	if (!err) {
		mt_put_xattr(mt(node), name, value, len);
	}
	if (!err)
		mt_note(t, tag, 0);
	sync_mutex_unlock(&t->lock);
	return err;
}

static inline int mt_remove_xattr(struct vfs_node *node, const char *name, const struct vfs_tag *tag)
{
	struct memtree *t = mt(node)->tree;
	struct memtree_xattr **at;
	int err = -ENODATA;

	sync_mutex_lock(&t->lock);
	at = mt_xattr(mt(node), name);
	if (*at) {
		mt_drop_xattr(at);
		err = 0;
	}
	if (!err)
		mt_note(t, tag, 0);
	sync_mutex_unlock(&t->lock);
	return err;
}

static inline int mt_list_xattr(struct vfs_node *node, vfs_xattr_fn *fn, void *ctx)
{
	for (struct memtree_xattr *x = mt(node)->xattrs; x; x = x->next) {
		if (!fn(ctx, x->name, strlen(x->name)))
			break;
	}
	return 0;
}

static inline int mt_statfs(struct vfs_node *node, struct vfs_statfs *ret)
{
	*ret = (struct vfs_statfs){ .fsid = MEMTREE_FSID,
		                    .total_bytes = 1u << 30,
		                    .free_bytes = 1u << 29,
		                    .available_bytes = 1u << 28,
		                    .object_count = mt(node)->tree->node_count,
		                    .objects_free = 7,
		                    .block_bytes = 4096,
		                    .name_max = VFS_NAME_MAX };
	return 0;
}

static inline int mt_by_object(struct vfs_node *any, uint64_t fsid, uint64_t object, struct vfs_node **ret)
{
	struct memtree *t = mt(any)->tree;
	struct memtree_node *n;

	if (mt_must_wait(t))
		return -EAGAIN;
	sync_mutex_lock(&t->lock);
	n = fsid == MEMTREE_FSID && object && object <= t->node_count ? t->nodes[object - 1] : NULL;
	if (n && !n->st.link_count)
		n = NULL;
	if (n) {
		vfs_node_ref(&n->node);
		*ret = &n->node;
	}
	sync_mutex_unlock(&t->lock);
	return n ? 0 : err_set(-ESTALE, "object %llu is gone", (unsigned long long)object);
}

static const struct vfs_node_ops mt_ops = {
	.nowait = true,
	.release = mt_release,
	.stat = mt_stat,
	.lookup = mt_lookup,
	.readdir = mt_readdir,
	.parent = mt_parent,
	.create = mt_create,
	.create_nameless = mt_create_nameless,
	.link = mt_link,
	.unlink = mt_unlink,
	.rename = mt_rename,
	.set_attr = mt_set_attr,
	.read_link = mt_read_link,
	.get_xattr = mt_get_xattr,
	.set_xattr = mt_set_xattr,
	.remove_xattr = mt_remove_xattr,
	.append = mt_append,
	.recall = mt_recall,
	.list_xattr = mt_list_xattr,
	.statfs = mt_statfs,
	.get_figures = mt_get_figures,
	.by_object = mt_by_object,
	.read = mt_read,
	.write = mt_write,
	.flush = mt_flush,
	.discard = mt_zero,
	.zero = mt_zero,
	.extents = mt_extents,
};

/* @uid owns the top. */
static inline struct memtree *memtree_new(uint32_t uid, uint32_t gid)
{
	struct memtree *t = calloc(1, sizeof(*t));
	struct vfs_new top = { .type = VFS_TYPE_DIR, .mode = 0755, .uid = uid, .gid = gid };

	if (t) {
		sync_mutex_init(&t->lock, SYNC_RANK_OBJECT, "memtree");
		(void)mt_new(t, NULL, &top);
	}
	return t;
}

static inline struct vfs_node *memtree_root(struct memtree *t)
{
	return &t->nodes[0]->node;
}

static inline void memtree_free(struct memtree *t)
{
	for (unsigned i = 0; i < t->node_count; i++) {
		struct memtree_node *n = t->nodes[i];

		while (n->entry_count)
			mt_drop(n, &n->entries[n->entry_count - 1]);
		while (n->xattrs)
			mt_drop_xattr(&n->xattrs);
		free(n->entries);
		free(n->data);
		free(n);
	}
	sync_mutex_done(&t->lock);
	free(t);
}

#endif
