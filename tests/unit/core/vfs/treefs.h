/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file tree in memory that implements all of vfs_ops.h, in the simplest way: one lock, lists, names kept as they
 * come. For tests of what stands above a file system.
 */
#ifndef WFSD_TESTS_UNIT_CORE_VFS_TREEFS_H
#define WFSD_TESTS_UNIT_CORE_VFS_TREEFS_H

#include "tests/unit/core/vfs/treefs_names.h"

static inline void treefs_resize(struct treefs_node *t, uint64_t size_bytes)
{
	t->data = realloc(t->data, size_bytes + 1);
	if (size_bytes > t->st.size_bytes)
		memset(t->data + t->st.size_bytes, 0, size_bytes - t->st.size_bytes);
	t->st.size_bytes = t->st.allocated_bytes = size_bytes;
}

static inline void treefs_note_acl(struct treefs_node *t)
{
	t->st.has_acl = *treefs_find_xattr(t, VFS_ACL_ACCESS);
	treefs_changed(t, false);
}

static inline int treefs_set_attr(struct vfs_node *n, const struct vfs_set_attr *a)
{
	struct treefs_node *t = treefs_of(n);

	if (t->fs->before_set)
		t->fs->before_set(t->fs->before_set_ctx, a);
	sync_mutex_lock(&t->fs->lock);
	if (a->valid & VFS_SET_MODE)
		t->st.mode = a->mode;
	if (a->valid & VFS_SET_UID)
		t->st.uid = a->uid;
	if (a->valid & VFS_SET_GID)
		t->st.gid = a->gid;
	if (a->valid & VFS_SET_FLAGS)
		t->st.flags = a->flags;
	if (a->valid & VFS_SET_KILL_SUID)
		t->st.mode &= ~(UINT32_C(04000) | (t->st.mode & 010 ? UINT32_C(02000) : 0));
	if (a->valid & VFS_SET_SIZE)
		treefs_resize(t, a->size_bytes);
	if (a->valid & VFS_SET_ATIME)
		t->st.atime_ns = a->atime_ns;
	if (a->valid & VFS_SET_ACL && a->access_acl)
		treefs_put_xattr(t, VFS_ACL_ACCESS, a->access_acl, a->access_acl_len);
	else if (a->valid & VFS_SET_ACL)
		(void)treefs_drop_xattr(t, VFS_ACL_ACCESS);
	treefs_note_acl(t);
	treefs_changed(t, a->valid & VFS_SET_SIZE);
	if (a->valid & VFS_SET_MTIME)
		t->st.mtime_ns = a->mtime_ns;
	sync_mutex_unlock(&t->fs->lock);
	return 0;
}

static inline int treefs_read_link(struct vfs_node *n, char *buf, size_t *ret_len)
{
	*ret_len = treefs_of(n)->st.size_bytes;
	memcpy(buf, treefs_of(n)->data, *ret_len);
	return 0;
}

static inline int treefs_get_xattr(struct vfs_node *n, const char *name, void *buf, size_t cap, size_t *ret_len)
{
	struct treefs_node *t = treefs_of(n);
	const struct treefs_xattr *x;
	int err = 0;

	sync_mutex_lock(&t->fs->lock);
	x = *treefs_find_xattr(t, name);
	if (!x) {
		err = -ENODATA;
	} else {
		*ret_len = x->len;
		if (cap && cap < x->len)
			err = -ERANGE;
		else if (cap && x->len)
			memcpy(buf, x->value, x->len);
	}
	sync_mutex_unlock(&t->fs->lock);
	return err;
}

static inline int treefs_set_xattr(struct vfs_node *n, const char *name, const void *value, size_t len, unsigned flags,
                                   const struct vfs_tag *tag)
{
	struct treefs_node *t = treefs_of(n);
	struct treefs_xattr **at;
	int err = 0;

	(void)tag;
	sync_mutex_lock(&t->fs->lock);
	at = treefs_find_xattr(t, name);
	if (*at && flags & VFS_XATTR_CREATE) {
		err = err_set(-EEXIST, "'%s' is there", name);
	} else if (!*at && flags & VFS_XATTR_REPLACE) {
		err = err_set(-ENODATA, "no '%s'", name);
	} else {
		treefs_put_xattr(t, name, value, len);
		treefs_note_acl(t);
	}
	sync_mutex_unlock(&t->fs->lock);
	return err;
}

static inline int treefs_remove_xattr(struct vfs_node *n, const char *name, const struct vfs_tag *tag)
{
	struct treefs_node *t = treefs_of(n);
	bool found;

	(void)tag;
	sync_mutex_lock(&t->fs->lock);
	found = treefs_drop_xattr(t, name);
	if (found)
		treefs_note_acl(t);
	sync_mutex_unlock(&t->fs->lock);
	return found ? 0 : -ENODATA;
}

/* Not to be changed meanwhile. */
static inline int treefs_list_xattr(struct vfs_node *n, vfs_xattr_fn *fn, void *ctx)
{
	const struct treefs_xattr *x;

	for (x = treefs_of(n)->xattrs; x; x = x->next)
		if (!fn(ctx, x->name, strlen(x->name)))
			break;
	return 0;
}

static inline int treefs_statfs(struct vfs_node *n, struct vfs_statfs *ret)
{
	struct treefs *fs = treefs_of(n)->fs;

	*ret = (struct vfs_statfs){ .fsid = TREEFS_FSID,
		                    .total_bytes = 1 << 30,
		                    .free_bytes = 1 << 29,
		                    .available_bytes = 1 << 28,
		                    .object_count = fs->next_object,
		                    .objects_free = 7,
		                    .block_bytes = 4096,
		                    .name_max = VFS_NAME_MAX };
	return 0;
}

static inline int treefs_by_object(struct vfs_node *any, uint64_t fsid, uint64_t object, struct vfs_node **ret)
{
	struct treefs *fs = treefs_of(any)->fs;
	struct treefs_node *t;

	sync_mutex_lock(&fs->lock);
	for (t = fs->all; t && t->st.object != object;)
		t = t->next;
	if (t && fsid == TREEFS_FSID && t->st.link_count)
		vfs_node_ref(&t->node);
	else
		t = NULL;
	sync_mutex_unlock(&fs->lock);
	*ret = t ? &t->node : NULL;
	return t ? 0 : err_set(-ESTALE, "there is no object %llu", (unsigned long long)object);
}

static inline int treefs_read(struct vfs_node *n, const struct iovec *iov, int count, uint64_t offset, unsigned flags)
{
	struct treefs_node *t = treefs_of(n);
	int err = 0;

	(void)flags;
	sync_mutex_lock(&t->fs->lock);
	for (int i = 0; i < count && !err; offset += iov[i++].iov_len) {
		if (offset + iov[i].iov_len > t->st.size_bytes)
			err = err_set(-EINVAL, "beyond the end");
		else if (iov[i].iov_len)
			memcpy(iov[i].iov_base, t->data + offset, iov[i].iov_len);
	}
	sync_mutex_unlock(&t->fs->lock);
	return err;
}

/* With the lock held. */
static inline void treefs_write_at(struct treefs_node *t, const struct iovec *iov, int count, uint64_t offset)
{
	for (int i = 0; i < count; offset += iov[i++].iov_len) {
		if (offset + iov[i].iov_len > t->st.size_bytes)
			treefs_resize(t, offset + iov[i].iov_len);
		if (iov[i].iov_len)
			memcpy(t->data + offset, iov[i].iov_base, iov[i].iov_len);
	}
	treefs_changed(t, true);
}

static inline int treefs_write(struct vfs_node *n, const struct iovec *iov, int count, uint64_t offset, unsigned flags)
{
	struct treefs_node *t = treefs_of(n);

	sync_mutex_lock(&t->fs->lock);
	treefs_write_at(t, iov, count, flags & VFS_APPEND ? t->st.size_bytes : offset);
	sync_mutex_unlock(&t->fs->lock);
	return 0;
}

static inline int treefs_flush(struct vfs_node *n, unsigned flags)
{
	(void)flags;
	__atomic_add_fetch(&treefs_of(n)->fs->flushes, 1, __ATOMIC_RELAXED);
	return 0;
}

static inline int treefs_zero(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags)
{
	struct treefs_node *t = treefs_of(n);

	(void)flags;
	sync_mutex_lock(&t->fs->lock);
	if (offset + len > t->st.size_bytes)
		treefs_resize(t, offset + len);
	memset(t->data + offset, 0, len);
	sync_mutex_unlock(&t->fs->lock);
	return 0;
}

/* One translation unit of a test program says TREEFS_DEFINE_OPS. */
#define TREEFS_DEFINE_OPS                                                                                              \
	const struct vfs_node_ops treefs_ops = {                                                                       \
		.release = treefs_release,                                                                             \
		.stat = treefs_stat,                                                                                   \
		.lookup = treefs_lookup,                                                                               \
		.readdir = treefs_readdir,                                                                             \
		.parent = treefs_parent,                                                                               \
		.create = treefs_create,                                                                               \
		.create_nameless = treefs_create_nameless,                                                             \
		.link = treefs_link,                                                                                   \
		.unlink = treefs_unlink,                                                                               \
		.rename = treefs_rename,                                                                               \
		.set_attr = treefs_set_attr,                                                                           \
		.read_link = treefs_read_link,                                                                         \
		.get_xattr = treefs_get_xattr,                                                                         \
		.set_xattr = treefs_set_xattr,                                                                         \
		.remove_xattr = treefs_remove_xattr,                                                                   \
		.list_xattr = treefs_list_xattr,                                                                       \
		.statfs = treefs_statfs,                                                                               \
		.by_object = treefs_by_object,                                                                         \
		.read = treefs_read,                                                                                   \
		.write = treefs_write,                                                                                 \
		.flush = treefs_flush,                                                                                 \
		.discard = treefs_zero,                                                                                \
		.zero = treefs_zero,                                                                                   \
	}

static inline void treefs_init(struct treefs *fs)
{
	const struct vfs_new top = { .type = VFS_TYPE_DIR, .mode = 0755 };

	memset(fs, 0, sizeof(*fs));
	sync_mutex_init(&fs->lock, SYNC_RANK_OBJECT, "treefs");
	fs->root = treefs_new_node(fs, &top);
	fs->root->st.link_count = 2;
}

static inline void treefs_empty(struct treefs_node *dir)
{
	while (dir->entries) {
		struct vfs_node *gone;

		treefs_empty(dir->entries->node);
		treefs_remove(dir, &dir->entries, &gone);
		vfs_node_unref(gone);
	}
}

/* It is not mounted any more, and nobody has a handle. */
static inline void treefs_done(struct treefs *fs)
{
	treefs_empty(fs->root);
	vfs_node_unref(&fs->root->node);
	if (fs->all)
		abort(); /* somebody kept a reference */
	sync_mutex_done(&fs->lock);
}

#endif
