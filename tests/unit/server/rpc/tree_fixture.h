/* SPDX-License-Identifier: BSD-3-Clause */
/* The running server of fixture.h, with a file tree in memory as the exports "tree", "tree-ro" and "below" (a folder).
 */
#ifndef WFSD_TESTS_UNIT_SERVER_RPC_TREE_FIXTURE_H
#define WFSD_TESTS_UNIT_SERVER_RPC_TREE_FIXTURE_H

#include "protocol/client/wfs_tree.h"
#include "tests/unit/server/rpc/fixture.h"
#include "tests/unit/server/rpc/memtree.h"

struct tree_fixture {
	struct fixture *f;
	struct memtree *tree;
	struct wfs *w;
	struct wfs_fh root;
};

static inline void tree_export(struct fixture *f, const char *name, const char *path, bool read_only)
{
	struct export_info *info = calloc(1, sizeof(*info));

	strcpy(info->name, name);
	strcpy(info->path, path);
	info->read_only = read_only;
	assert_int_equal(export_add(f->exports, info), 0);
	free(info);
}

static inline int tree_setup(void **state)
{
	struct tree_fixture *t = calloc(1, sizeof(*t));
	struct vfs_handle *top, *below;
	struct vfs_new folder = { .type = VFS_TYPE_DIR, .mode = 0755 };
	void *inner;

	assert_int_equal(fixture_setup(&inner), 0);
	t->f = inner;
	t->tree = memtree_new(geteuid(), getegid());
	assert_int_equal(vfs_mount(t->f->vfs, "tree", memtree_root(t->tree), false), 0);
	assert_int_equal(vfs_walk(t->f->vfs, &vfs_cred_root, NULL, NULL, "/tree", 0, &top), 0);
	assert_int_equal(vfs_create(top, &vfs_cred_root, "sub", 3, &folder, 0, &below, NULL), 0);
	vfs_close(below);
	vfs_close(top);
	t->tree->creates = 0;
	tree_export(t->f, "tree", "/tree", false);
	tree_export(t->f, "tree-ro", "/tree", true);
	tree_export(t->f, "below", "/tree/sub", false);
	assert_int_equal(wfs_connect(t->f->address, NULL, &t->w), 0);
	assert_int_equal(wfs_attach(t->w, NULL, "tree", &t->root, NULL), 0);
	*state = t;
	return 0;
}

static inline int tree_teardown(void **state)
{
	struct tree_fixture *t = *state;
	void *inner = t->f;

	wfs_disconnect(t->w);
	if (t->f->server)
		fixture_unserve(t->f);
	assert_int_equal(vfs_unmount(t->f->vfs, "tree", false), 0);
	assert_int_equal(fixture_teardown(&inner), 0);
	memtree_free(t->tree);
	free(t);
	return 0;
}

#endif
