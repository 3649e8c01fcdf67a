/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests of the VFS on file trees: one in memory, mounted at /t, and short ways to make and find things in it. */
#ifndef WFSD_TESTS_UNIT_CORE_VFS_TREE_FIXTURE_H
#define WFSD_TESTS_UNIT_CORE_VFS_TREE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/core/vfs/treefs.h"

TREEFS_DEFINE_OPS;

struct tree_env {
	struct vfs *vfs;
	struct treefs fs;
	struct vfs_handle *top; /* of the tree */
};

#define ROOT (&vfs_cred_root)

static inline int tree_setup(void **state)
{
	struct tree_env *e = calloc(1, sizeof(*e));

	assert_non_null(e);
	e->vfs = vfs_new();
	treefs_init(&e->fs);
	assert_int_equal(vfs_mount(e->vfs, "t", &e->fs.root->node, false), 0);
	assert_int_equal(vfs_walk(e->vfs, ROOT, NULL, NULL, "/t", 0, &e->top), 0);
	*state = e;
	return 0;
}

/* All references must have been given up by then: treefs_done() looks. */
static inline int tree_teardown(void **state)
{
	struct tree_env *e = *state;

	vfs_close(e->top);
	assert_int_equal(vfs_unmount(e->vfs, "t", false), 0);
	vfs_free(e->vfs);
	treefs_done(&e->fs);
	free(e);
	return 0;
}

static inline struct vfs_handle *must_walk(struct tree_env *e, const char *path)
{
	struct vfs_handle *h;

	assert_int_equal(vfs_walk(e->vfs, ROOT, NULL, NULL, path, 0, &h), 0);
	return h;
}

static inline int walk_as(struct tree_env *e, const struct vfs_cred *cred, const char *path, unsigned flags)
{
	struct vfs_handle *h;
	int ret = vfs_walk(e->vfs, cred, NULL, NULL, path, flags, &h);

	if (!ret)
		vfs_close(h);
	return ret;
}

static inline uint64_t object_of(struct vfs_handle *h)
{
	struct vfs_stat st;

	assert_int_equal(vfs_stat(h, &st), 0);
	return st.object;
}

/* The object that @path leads to, symbolic links followed. */
static inline uint64_t object_at(struct tree_env *e, const char *path)
{
	struct vfs_handle *h;
	uint64_t object;

	assert_int_equal(vfs_walk(e->vfs, ROOT, NULL, NULL, path, VFS_WALK_FOLLOW, &h), 0);
	object = object_of(h);
	vfs_close(h);
	return object;
}

static inline struct vfs_stat stat_at(struct tree_env *e, const char *path)
{
	struct vfs_handle *h = must_walk(e, path);
	struct vfs_stat st;

	assert_int_equal(vfs_stat(h, &st), 0);
	vfs_close(h);
	return st;
}

static inline int create_as(struct vfs_handle *dir, const struct vfs_cred *cred, const char *name, enum vfs_type type,
                            uint32_t mode, const char *target)
{
	const struct vfs_new attr = {
		.type = type, .mode = mode, .target = target, .target_len = target ? strlen(target) : 0
	};
	struct vfs_handle *h;
	int ret = vfs_create(dir, cred, name, strlen(name), &attr, 0, &h, NULL);

	if (!ret)
		vfs_close(h);
	return ret;
}

/* @path: "/t/..." */
static inline struct vfs_handle *make_as(struct tree_env *e, const struct vfs_cred *cred, const char *path,
                                         enum vfs_type type, uint32_t mode, const char *target)
{
	const char *name = strrchr(path, '/') + 1;
	char *dir_path = strndup(path, (size_t)(name - path));
	struct vfs_handle *dir = must_walk(e, dir_path);

	assert_int_equal(create_as(dir, cred, name, type, mode, target), 0);
	vfs_close(dir);
	free(dir_path);
	return must_walk(e, path);
}

static inline void make(struct tree_env *e, const char *path, enum vfs_type type, uint32_t mode)
{
	vfs_close(make_as(e, ROOT, path, type, mode, NULL));
}

static inline void make_link(struct tree_env *e, const char *path, const char *target)
{
	vfs_close(make_as(e, ROOT, path, VFS_TYPE_SYMLINK, 0777, target));
}

static inline void set_attr_at(struct tree_env *e, const char *path, const struct vfs_set_attr *a)
{
	struct vfs_handle *h = must_walk(e, path);

	assert_int_equal(vfs_set_attr(h, ROOT, a, NULL), 0);
	vfs_close(h);
}

static inline void own(struct tree_env *e, const char *path, uint32_t uid, uint32_t gid, uint32_t mode)
{
	set_attr_at(e, path, &(struct vfs_set_attr){ .valid = VFS_SET_UID | VFS_SET_GID, .uid = uid, .gid = gid });
	set_attr_at(e, path, &(struct vfs_set_attr){ .valid = VFS_SET_MODE, .mode = mode });
}

static inline void set_flags(struct tree_env *e, const char *path, uint32_t flags)
{
	set_attr_at(e, path, &(struct vfs_set_attr){ .valid = VFS_SET_FLAGS, .flags = flags });
}

#endif
