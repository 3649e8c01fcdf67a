/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file tree of treefs.h for tests of front ends: it also keeps results of requests, has holes and figures, is full
 * at some point, and may refuse to answer those that must not wait.
 */
#ifndef WFSD_TESTS_UNIT_SERVER_RPC_MEMTREE_H
#define WFSD_TESTS_UNIT_SERVER_RPC_MEMTREE_H

#include "core/base/nowait.h"
#include "tests/unit/core/vfs/treefs.h"

#define MEMTREE_NODES_MAX 20000u /* ever made */
#define MEMTREE_HOLE_BYTES 4096u

/* Of a request that changed something, as file systems keep it that can. */
struct memtree_result {
	struct vfs_tag tag;
	uint64_t number;
};
#define MEMTREE_RESULTS_MAX 1024u

struct memtree {
	struct treefs fs; /* first; its lock guards what is below */
	size_t file_max_bytes; /* 0: 1 GiB */
	unsigned creates; /* calls that made something */
	/* Of the calls by threads that must not wait the one with this number, and those after it, are not answered; 0:
	 * all are. Atomic. */
	unsigned nowait_until;
	bool forgets; /* it keeps no results */
	int by_object_err; /* of whoever looks for an object by its number; while no server runs */
	unsigned rooms, rooms_taken; /* atomic: those that are held, and all there were */
	struct memtree_result results[MEMTREE_RESULTS_MAX];
	unsigned result_count;
};

static inline struct memtree *mt(struct vfs_node *n)
{
	return (struct memtree *)(void *)treefs_of(n)->fs;
}

static inline bool mt_must_wait(struct vfs_node *n)
{
	struct memtree *t = mt(n);
	unsigned left = __atomic_load_n(&t->nowait_until, __ATOMIC_RELAXED);

	if (!nowait_here() || !left)
		return false;
	if (left > 1)
		__atomic_store_n(&t->nowait_until, left - 1, __ATOMIC_RELAXED);
	return left == 1;
}

#include "tests/unit/server/rpc/memtree_result.h"
#include "tests/unit/server/rpc/memtree_data.h"

static inline int mt_lookup(struct vfs_node *dir, const char *name, size_t len, struct vfs_node **ret)
{
	return mt_must_wait(dir) ? -EAGAIN : treefs_lookup(dir, name, len, ret);
}

static inline int mt_by_object(struct vfs_node *any, uint64_t fsid, uint64_t object, struct vfs_node **ret)
{
	if (mt_must_wait(any))
		return -EAGAIN;
	return mt(any)->by_object_err ? err_set(mt(any)->by_object_err, "not found")
	                              : treefs_by_object(any, fsid, object, ret);
}

static inline int mt_check_room(struct vfs_node *n)
{
	struct memtree *t = mt(n);
	bool full;

	sync_mutex_lock(&t->fs.lock);
	full = t->fs.next_object >= MEMTREE_NODES_MAX;
	sync_mutex_unlock(&t->fs.lock);
	return full ? err_set(-ENOSPC, "the tree is full") : 0;
}

static inline int mt_create(struct vfs_node *dir, const char *name, size_t len, const struct vfs_new *attr,
                            struct vfs_node **ret)
{
	int err = mt_must_wait(dir) ? -EAGAIN : mt_check_room(dir);

	if (!err)
		err = treefs_create(dir, name, len, attr, ret);
	if (!err)
		mt_made(mt(dir), attr->tag, treefs_of(*ret)->st.object);
	return err;
}

static inline int mt_create_nameless(struct vfs_node *dir, const struct vfs_new *attr, struct vfs_node **ret)
{
	int err = mt_check_room(dir);

	if (!err)
		err = treefs_create_nameless(dir, attr, ret);
	return err ? err : mt_done(mt(dir), attr->tag, 0, treefs_of(*ret)->st.object);
}

static inline int mt_link(struct vfs_node *dir, const char *name, size_t len, struct vfs_node *target,
                          const struct vfs_tag *tag)
{
	return mt_done(mt(dir), tag, treefs_link(dir, name, len, target, tag), 0);
}

static inline int mt_unlink(struct vfs_node *dir, const char *name, size_t len, bool want_dir,
                            const struct vfs_taker *taker, const struct vfs_tag *tag)
{
	if (mt_must_wait(dir))
		return -EAGAIN;
	return mt_done(mt(dir), tag, treefs_unlink(dir, name, len, want_dir, taker, tag), 0);
}

static inline int mt_rename(struct vfs_node *dir, const char *name, size_t len, struct vfs_node *new_dir,
                            const char *new_name, size_t new_len, unsigned flags, const struct vfs_taker *takers,
                            const struct vfs_tag *tag)
{
	return mt_done(mt(dir), tag, treefs_rename(dir, name, len, new_dir, new_name, new_len, flags, takers, tag), 0);
}

static inline int mt_set_attr(struct vfs_node *n, const struct vfs_set_attr *a)
{
	int err = a->valid & VFS_SET_SIZE ? mt_check_size(n, a->size_bytes) : 0;

	return mt_done(mt(n), a->tag, err ? err : treefs_set_attr(n, a), 0);
}

static inline int mt_set_xattr(struct vfs_node *n, const char *name, const void *value, size_t len, unsigned flags,
                               const struct vfs_tag *tag)
{
	return mt_done(mt(n), tag, treefs_set_xattr(n, name, value, len, flags, tag), 0);
}

static inline int mt_remove_xattr(struct vfs_node *n, const char *name, const struct vfs_tag *tag)
{
	return mt_done(mt(n), tag, treefs_remove_xattr(n, name, tag), 0);
}

/* A program with this has no TREEFS_DEFINE_OPS. */
const struct vfs_node_ops treefs_ops = {
	.nowait = true,
	.release = treefs_release,
	.stat = treefs_stat,
	.lookup = mt_lookup,
	.readdir = treefs_readdir,
	.parent = treefs_parent,
	.create = mt_create,
	.create_nameless = mt_create_nameless,
	.link = mt_link,
	.unlink = mt_unlink,
	.rename = mt_rename,
	.set_attr = mt_set_attr,
	.read_link = treefs_read_link,
	.get_xattr = treefs_get_xattr,
	.set_xattr = mt_set_xattr,
	.remove_xattr = mt_remove_xattr,
	.append = mt_append,
	.recall = mt_recall,
	.list_xattr = treefs_list_xattr,
	.statfs = treefs_statfs,
	.get_figures = mt_get_figures,
	.by_object = mt_by_object,
	.read = mt_read,
	.write = mt_write,
	.take_room = mt_take_room,
	.flush = treefs_flush,
	.discard = mt_zero,
	.zero = mt_zero,
	.extents = mt_extents,
};

/* @uid owns the top. */
static inline struct memtree *memtree_new(uint32_t uid, uint32_t gid)
{
	struct memtree *t = calloc(1, sizeof(*t));

	if (t) {
		treefs_init(&t->fs);
		t->fs.root->st.uid = uid;
		t->fs.root->st.gid = gid;
	}
	return t;
}

static inline struct vfs_node *memtree_root(struct memtree *t)
{
	return &t->fs.root->node;
}

static inline void memtree_free(struct memtree *t)
{
	treefs_done(&t->fs);
	free(t);
}

#endif
