/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests of file trees: a pool "tank" with a tree "fs", and short forms of what its nodes can do. */
#ifndef WFSD_TESTS_UNIT_CORE_FS_WFS3_FILETREE_FIXTURE_H
#define WFSD_TESTS_UNIT_CORE_FS_WFS3_FILETREE_FIXTURE_H

#include "tests/unit/core/fs/wfs3/check_fixture.h"

#include "core/fs/wfs3/filetree.h"

struct tree_fixture {
	struct fixture f;
	struct pool *pool; /* in use by the fixture while imported */
	struct vfs_node *top;
};

static inline void tree_open(struct tree_fixture *t)
{
	assert_ok(pool_get(t->f.w, "tank", &t->pool));
	pool_put(t->pool);
	assert_ok(t->pool->dir.ops->lookup(&t->pool->dir, "fs", 2, &t->top));
}

static inline void tree_close(struct tree_fixture *t)
{
	vfs_node_unref(t->top);
	t->top = NULL;
}

static inline void tree_init(struct tree_fixture *t, uint64_t device_bytes)
{
	struct pool *p;

	fixture_init(&t->f, 1, device_bytes);
	assert_ok(pool_create(&t->f, "tank", 1));
	assert_ok(pool_get(t->f.w, "tank", &p));
	assert_ok(dataset_create(p, DATASET_TYPE_TREE, "fs", 0));
	pool_put(p);
	tree_open(t);
}

static inline void check_is_clean(struct tree_fixture *t);

static inline void tree_done(struct tree_fixture *t)
{
	tree_close(t);
	fixture_done(&t->f);
}

/* Export, check, import. */
static inline void tree_restart(struct tree_fixture *t)
{
	tree_close(t);
	assert_ok(pool_export(&t->f, "tank", false));
	check_is_clean(t);
	assert_ok(pool_import(&t->f, 1));
	tree_open(t);
}

/* The power fails. Nodes that the test still holds must be given back before. */
static inline void tree_crash(struct tree_fixture *t, uint64_t seed)
{
	tree_close(t);
	fixture_crash(&t->f, seed);
	assert_ok(pool_import(&t->f, 1));
	tree_open(t);
}

/* Nothing of what stands in the regions now can be read, unless it is in memory. */
static inline void break_regions(struct tree_fixture *t)
{
	const struct space_layout *layout = &t->pool->devices[0].label.layout;

	blk_sim_break(t->f.devs[0], layout->regions_offset,
	              layout->region_count * pool_region_blocks(t->pool) * WFS3_BLOCK_BYTES, false);
}

static inline struct vfs_node *node_at(struct vfs_node *dir, const char *name)
{
	struct vfs_node *n;

	assert_ok(dir->ops->lookup(dir, name, strlen(name), &n));
	return n;
}

static inline int lookup_error(struct vfs_node *dir, const char *name)
{
	struct vfs_node *n;
	int rc = dir->ops->lookup(dir, name, strlen(name), &n);

	if (!rc)
		vfs_node_unref(n);
	return rc;
}

/* *@dir becomes the directory of that name in it. False: there is none. */
static inline bool step_down(struct vfs_node **dir, char name)
{
	struct vfs_node *n;

	if ((*dir)->ops->lookup(*dir, &name, 1, &n))
		return false;
	if (n->type != VFS_TYPE_DIR) {
		vfs_node_unref(n);
		return false;
	}
	vfs_node_unref(*dir);
	*dir = n;
	return true;
}

static inline int make_type(struct vfs_node *dir, const char *name, enum vfs_type type, struct vfs_node **ret)
{
	struct vfs_new attr = { .type = type, .mode = type == VFS_TYPE_DIR ? 0755 : 0644, .uid = 7, .gid = 8 };

	return dir->ops->create(dir, name, strlen(name), &attr, ret);
}

static inline struct vfs_node *make_file(struct vfs_node *dir, const char *name)
{
	struct vfs_node *n;

	assert_ok(make_type(dir, name, VFS_TYPE_FILE, &n));
	return n;
}

static inline struct vfs_node *make_dir(struct vfs_node *dir, const char *name)
{
	struct vfs_node *n;

	assert_ok(make_type(dir, name, VFS_TYPE_DIR, &n));
	return n;
}

static inline int remove_name(struct vfs_node *dir, const char *name, bool is_dir)
{
	return dir->ops->unlink(dir, name, strlen(name), is_dir, NULL, NULL);
}

static inline int rename_to(struct vfs_node *dir, const char *name, struct vfs_node *new_dir, const char *new_name,
                            unsigned flags)
{
	return dir->ops->rename(dir, name, strlen(name), new_dir, new_name, strlen(new_name), flags, NULL, NULL);
}

static inline int link_to(struct vfs_node *dir, const char *name, struct vfs_node *target)
{
	return dir->ops->link(dir, name, strlen(name), target, NULL);
}

static inline int node_write(struct vfs_node *n, uint64_t offset, const void *buf, size_t len, unsigned flags)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = len };

	return n->ops->write(n, &iov, 1, offset, flags);
}

static inline int node_read(struct vfs_node *n, uint64_t offset, void *buf, size_t len)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };

	return n->ops->read(n, &iov, 1, offset, 0);
}

static inline int node_truncate(struct vfs_node *n, uint64_t size_bytes)
{
	struct vfs_set_attr attr = { .valid = VFS_SET_SIZE, .size_bytes = size_bytes };

	return n->ops->set_attr(n, &attr);
}

static inline struct vfs_stat node_stat(struct vfs_node *n)
{
	struct vfs_stat st;

	assert_ok(n->ops->stat(n, &st));
	return st;
}

/* Of the exported pool. */
static inline void check_is_clean(struct tree_fixture *t)
{
	expect_clean(&t->f, 1);
}

#endif
