/* SPDX-License-Identifier: BSD-3-Clause */
/* File trees: what all objects have in common. Attributes, where they are, the table of operations. */
#include "core/fs/wfs3/filetx.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/base/nowait.h"
#include "core/fs/wfs3/members.h"
#include "core/fs/wfs3/quota.h"

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define LOCKED_MAX 4u

static const uint32_t formats[] = {
	[VFS_TYPE_FILE] = S_IFREG, [VFS_TYPE_DIR] = S_IFDIR,   [VFS_TYPE_SYMLINK] = S_IFLNK, [VFS_TYPE_FIFO] = S_IFIFO,
	[VFS_TYPE_CHAR] = S_IFCHR, [VFS_TYPE_BLOCK] = S_IFBLK, [VFS_TYPE_SOCKET] = S_IFSOCK,
};

uint32_t filetree_format(enum vfs_type type)
{
	return formats[type];
}

enum vfs_type filetree_type(uint32_t mode)
{
	for (unsigned i = VFS_TYPE_FILE; i <= VFS_TYPE_SOCKET; i++)
		if (formats[i] == (mode & S_IFMT))
			return (enum vfs_type)i;
	return VFS_TYPE_FILE;
}

/* ---- the frame of changes ---- */

int filetree_begin(struct dataset *ds, bool gives_back, struct filetree_op *ret)
{
	int rc = pool_check_writable(ds->pool);

	ret->ds = ds;
	if (!rc)
		rc = admit_change(ds->pool, gives_back, &ret->adm);
	if (rc)
		return rc;
	rc = dataset_enter(ds, 0);
	if (rc)
		admit_done(ds->pool, &ret->adm);
	return rc;
}

void filetree_end(struct filetree_op *op)
{
	dataset_exit(op->ds);
	admit_done(op->ds->pool, &op->adm);
}

static int compare(const void *a, const void *b)
{
	const struct object *const *x = a, *const *y = b;

	return (*x)->number < (*y)->number ? -1 : (*x)->number > (*y)->number;
}

/* Sorted, each once. */
static unsigned distinct(struct object *const objects[], unsigned count, struct object *ret[LOCKED_MAX])
{
	unsigned n = 0, kept = 0;

	always(count <= LOCKED_MAX);
	for (unsigned i = 0; i < count; i++)
		if (objects[i])
			ret[n++] = objects[i];
	qsort(ret, n, sizeof(ret[0]), compare);
	for (unsigned i = 0; i < n; i++)
		if (!kept || ret[kept - 1] != ret[i])
			ret[kept++] = ret[i];
	return kept;
}

int filetree_lock_one(struct object *o)
{
	if (!nowait_here())
		sync_mutex_lock(&o->lock);
	else if (!sync_mutex_trylock(&o->lock))
		return -EAGAIN;
	return 0;
}

void filetree_unlock_one(struct object *o)
{
	sync_mutex_unlock(&o->lock);
}

int filetree_lock(struct object *const objects[], unsigned count)
{
	struct object *all[LOCKED_MAX];
	unsigned n = distinct(objects, count, all), i = 0;

	while (i < n && !filetree_lock_one(all[i]))
		i++;
	if (i == n)
		return 0;
	while (i)
		sync_mutex_unlock(&all[--i]->lock);
	return -EAGAIN;
}

void filetree_unlock(struct object *const objects[], unsigned count)
{
	struct object *all[LOCKED_MAX];
	unsigned n = distinct(objects, count, all);

	while (n)
		sync_mutex_unlock(&all[--n]->lock);
}

int filetree_check_dir(const struct object *dir)
{
	if (dir->node.type != VFS_TYPE_DIR)
		return err_set(-ENOTDIR, "object %" PRIu64 " is no directory", dir->number);
	return LOAD(dir->inode.link_count) ? 0 : err_set(-ENOENT, "directory %" PRIu64 " was removed", dir->number);
}

/* ---- attributes ---- */

static int filetree_stat(struct vfs_node *n, struct vfs_stat *ret)
{
	struct object *o = filetree_object(n);
	const struct inode *i = &o->inode;

	*ret = (struct vfs_stat){
		.type = n->type,
		.fsid = filetree_fsid(o->ds),
		.object = o->number,
		.size_bytes = LOAD(i->size_bytes),
		.allocated_bytes = LOAD(i->blocks) * WFS3_BLOCK_BYTES,
		.change = LOAD(i->change),
		.atime_ns = (uint64_t)LOAD(i->atime_ns),
		.mtime_ns = (uint64_t)LOAD(i->mtime_ns),
		.ctime_ns = (uint64_t)LOAD(i->ctime_ns),
		.btime_ns = (uint64_t)i->btime_ns,
		.mode = LOAD(i->mode) & 07777,
		.uid = LOAD(i->uid),
		.gid = LOAD(i->gid),
		.link_count = LOAD(i->link_count),
		.flags = (uint32_t)(LOAD(i->flags) & ~FILETREE_FLAG_ACL),
		.project = LOAD(i->project),
		.rdev = i->rdev,
		.block_bytes = WFS3_BLOCK_BYTES,
		.read_only = o->ds->pool->read_only,
		.grows = true,
		.has_acl = LOAD(i->flags) & FILETREE_FLAG_ACL,
		.exact_names = n->type == VFS_TYPE_DIR,
	};
	return 0;
}

void filetree_apply_attr(struct inode *i, const struct vfs_set_attr *attr, int64_t now_ns, unsigned *ret_set)
{
	unsigned set = 0;

	if (attr->valid & VFS_SET_MODE) {
		i->mode = (i->mode & S_IFMT) | (attr->mode & 07777);
		set |= EDIT_MODE;
	}
	if (attr->valid & VFS_SET_KILL_SUID) {
		i->mode &= ~(uint32_t)S_ISUID;
		if (i->mode & S_IXGRP)
			i->mode &= ~(uint32_t)S_ISGID;
		set |= EDIT_MODE;
	}
	if (attr->valid & VFS_SET_UID) {
		i->uid = attr->uid;
		set |= EDIT_UID;
	}
	if (attr->valid & VFS_SET_GID) {
		i->gid = attr->gid;
		set |= EDIT_GID;
	}
	if (attr->valid & VFS_SET_FLAGS) {
		i->flags = (i->flags & FILETREE_FLAG_ACL) | attr->flags;
		set |= EDIT_FLAGS;
	}
	if (attr->valid & VFS_SET_PROJECT) {
		i->project = attr->project;
		set |= EDIT_PROJECT;
	}
	if (attr->valid & (VFS_SET_ATIME | VFS_SET_ATIME_NOW)) {
		i->atime_ns = attr->valid & VFS_SET_ATIME_NOW ? now_ns : (int64_t)attr->atime_ns;
		set |= EDIT_ATIME;
	}
	if (attr->valid & (VFS_SET_MTIME | VFS_SET_MTIME_NOW)) {
		i->mtime_ns = attr->valid & VFS_SET_MTIME_NOW ? now_ns : (int64_t)attr->mtime_ns;
		set |= EDIT_MTIME;
	}
	*ret_set |= set;
}

/* @io_locked: so is the file's data. */
static int set_attr_locked(struct object *o, const struct vfs_set_attr *attr, bool io_locked)
{
	unsigned set = 0;
	uint8_t acl_head[XATTR_PART_BYTES];
	struct edit e;
	int rc = 0;

	if (attr->valid & VFS_SET_FLAGS && attr->flags & ~(VFS_FLAG_IMMUTABLE | VFS_FLAG_APPEND))
		return err_set(-EINVAL, "unknown flags %#x", attr->flags);
	edit_init(&e, o->ds);
	edit_tag(&e, attr->tag, 0);
	filetree_apply_attr(edit_inode(&e, o, 0), attr, e.now_ns, &set);
	(void)edit_inode(&e, o, set);
	if (attr->valid & VFS_SET_ACL)
		rc = filetree_edit_acl(&e, o, attr->access_acl, attr->access_acl_len, acl_head);
	if (rc)
		return rc;
	if (!(attr->valid & VFS_SET_SIZE))
		return edit_run(&e);
	if (o->node.type != VFS_TYPE_FILE)
		return err_set(o->node.type == VFS_TYPE_DIR ? -EISDIR : -EINVAL, "only a file has a size");
	return io_locked ? filetree_resize_locked(o, &e, attr->size_bytes) : filetree_resize(o, &e, attr->size_bytes);
}

/* Who gets a file that somebody else has, if there are limits? */
static struct quota_who new_owners(const struct object *o, const struct vfs_set_attr *attr)
{
	struct quota_who who = {
		.ids = { [QUOTA_USER] = attr->uid, [QUOTA_GROUP] = attr->gid, [QUOTA_PROJECT] = attr->project }
	};

	if (attr->valid & VFS_SET_UID && attr->uid != LOAD(o->inode.uid))
		who.classes |= 1u << QUOTA_USER;
	if (attr->valid & VFS_SET_GID && attr->gid != LOAD(o->inode.gid))
		who.classes |= 1u << QUOTA_GROUP;
	if (attr->valid & VFS_SET_PROJECT && attr->project != LOAD(o->inode.project) && attr->project)
		who.classes |= 1u << QUOTA_PROJECT;
	return who;
}

/* The new owners must have room for all of the file. So nobody writes to it meanwhile, and nothing of it is dirty. */
static int give_away(struct object *o, const struct vfs_set_attr *attr, const struct quota_who *who)
{
	struct quota_hold hold = { 0 };
	bool done = false;
	int rc = 0;

	while (!done && !rc) {
		struct cache_file *file;
		uint64_t blocks;

		sync_mutex_lock(&o->lock);
		sync_rwlock_wrlock(&o->io_lock);
		file = __atomic_load_n(&o->file, __ATOMIC_ACQUIRE);
		rc = filetree_settle_locked(o);
		if (!rc && file)
			rc = cache_flush(file, 0, UINT64_MAX);
		blocks = LOAD(o->inode.blocks);
		done = !rc && quota_try_blocks(o->ds, who, blocks, &hold);
		if (done)
			rc = set_attr_locked(o, attr, true);
		sync_rwlock_wrunlock(&o->io_lock);
		sync_mutex_unlock(&o->lock);
		if (!done)
			quota_done(&hold);
		if (!done && !rc)
			rc = quota_wait_blocks(o->ds, who, blocks, &hold);
	}
	quota_done(&hold);
	return rc;
}

static int filetree_set_attr(struct vfs_node *n, const struct vfs_set_attr *attr)
{
	struct object *o = filetree_object(n);
	bool gives_back = attr->valid == VFS_SET_SIZE && attr->size_bytes < LOAD(o->inode.size_bytes);
	struct quota_who who = new_owners(o, attr);
	struct filetree_op op;
	int rc = 0;

	/* What is behind a new end is dropped in steps. */
	if (attr->valid & (VFS_SET_SIZE | VFS_SET_PROJECT) && nowait_here())
		return -EAGAIN;
	/* An older version of this program does not know of projects. */
	if (attr->valid & VFS_SET_PROJECT && attr->project)
		rc = members_add_feature(o->ds->pool, WFS3_FEATURE_QUOTAS);
	if (!rc)
		rc = filetree_begin(o->ds, gives_back, &op);
	if (rc)
		return rc;
	if (who.classes && o->node.type == VFS_TYPE_FILE && quota_is_limited(o->ds)) {
		rc = nowait_here() ? -EAGAIN : give_away(o, attr, &who);
		filetree_end(&op);
		return rc;
	}
	rc = filetree_lock_one(o);
	if (!rc) {
		rc = set_attr_locked(o, attr, false);
		filetree_unlock_one(o);
	}
	filetree_end(&op);
	return rc;
}

/* ---- places ---- */

static int filetree_parent(struct vfs_node *dir, struct vfs_node **ret)
{
	struct object *o = filetree_object(dir), *parent;
	struct pool *p = o->ds->pool;
	int rc;

	if (o->number == WFS3_ROOT_OBJECT) {
		vfs_node_ref(&p->dir);
		*ret = &p->dir;
		return 0;
	}
	rc = dataset_enter(o->ds, 0);
	if (rc)
		return rc;
	rc = object_get(o->ds, LOAD(o->inode.parent), &parent);
	dataset_exit(o->ds);
	if (!rc)
		*ret = &parent->node;
	return rc == -ESTALE ? err_add(-ENOENT, "it was removed") : rc;
}

static int filetree_by_object(struct vfs_node *any, uint64_t fsid, uint64_t number, struct vfs_node **ret)
{
	return pool_find_object(filetree_object(any)->ds->pool, fsid, number, ret);
}

int filetree_statfs_of(struct dataset *ds, struct vfs_statfs *ret)
{
	uint64_t objects = LOAD(ds->object_count);
	struct space_stats s;

	space_get_stats(ds->pool->space, &s);
	*ret = (struct vfs_statfs){
		.fsid = filetree_fsid(ds),
		.total_bytes = s.total_blocks * WFS3_BLOCK_BYTES,
		.free_bytes = s.free_blocks * WFS3_BLOCK_BYTES,
		.available_bytes = pool_available_blocks(ds->pool) * WFS3_BLOCK_BYTES,
		.object_count = objects,
		.objects_free = UINT64_MAX - objects,
		.block_bytes = WFS3_BLOCK_BYTES,
		.name_max = DIRENT_NAME_MAX,
		.read_only = ds->pool->read_only,
	};
	return 0;
}

static int filetree_statfs(struct vfs_node *n, struct vfs_statfs *ret)
{
	int rc = filetree_statfs_of(filetree_object(n)->ds, ret);

	quota_statfs(filetree_object(n), ret);
	return rc;
}

static void filetree_get_figures(struct vfs_node *n, struct vfs_figures *ret)
{
	dataset_get_figures(filetree_object(n)->ds, ret);
}

const struct vfs_node_ops filetree_node_ops = {
	.nowait = true,
	.release = object_release,
	.stat = filetree_stat,
	.lookup = filetree_lookup,
	.readdir = filetree_readdir,
	.parent = filetree_parent,
	.create = filetree_create,
	.create_nameless = filetree_create_nameless,
	.link = filetree_link,
	.unlink = filetree_unlink,
	.rename = filetree_rename,
	.set_attr = filetree_set_attr,
	.read_link = filetree_read_link,
	.get_xattr = filetree_get_xattr,
	.set_xattr = filetree_set_xattr,
	.remove_xattr = filetree_remove_xattr,
	.list_xattr = filetree_list_xattr,
	.statfs = filetree_statfs,
	.get_figures = filetree_get_figures,
	.by_object = filetree_by_object,
	.recall = filetree_recall,
	.read = filetree_read,
	.read_ref = filetree_read_ref,
	.write = filetree_write,
	.take_room = filetree_take_room,
	.append = filetree_append,
	.flush = filetree_flush,
	.flush_range = filetree_flush_range,
	.discard = filetree_discard,
	.zero = filetree_zero,
	.collapse = filetree_collapse,
	.extents = filetree_extents,
	.prefetch = filetree_prefetch,
	.tx_begin = filetx_begin,
	.tx_status = filetx_status,
};
