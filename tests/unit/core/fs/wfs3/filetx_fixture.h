/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests of transactions on a file tree. */
#ifndef WFSD_TESTS_UNIT_CORE_FS_WFS3_FILETX_FIXTURE_H
#define WFSD_TESTS_UNIT_CORE_FS_WFS3_FILETX_FIXTURE_H

#include "tests/unit/core/fs/wfs3/filetree_fixture.h"

#include "core/fs/wfs3/filetx.h"

static inline struct vfs_tx *tx_begin(struct tree_fixture *t, enum vfs_tx_isolation isolation)
{
	struct vfs_tx_args args = { .isolation = isolation };
	struct vfs_tx *tx;

	assert_ok(t->top->ops->tx_begin(t->top, &args, &tx));
	return tx;
}

/* The top directory inside. */
static inline struct vfs_node *tx_top(struct tree_fixture *t, struct vfs_tx *tx)
{
	struct vfs_node *n;

	assert_ok(tx->ops->node(tx, t->top, &n));
	return n;
}

static inline struct vfs_tx_info tx_info(struct vfs_tx *tx)
{
	struct vfs_tx_info info;

	tx->ops->get_info(tx, &info);
	return info;
}

/* Commit and free. */
static inline int tx_end(struct vfs_tx *tx)
{
	int rc = tx->ops->commit(tx, false, NULL, NULL, NULL);

	tx->ops->free(tx);
	return rc;
}

static inline void put_text(struct vfs_node *dir, const char *name, const char *text)
{
	struct vfs_node *n;

	if (dir->ops->lookup(dir, name, strlen(name), &n))
		n = make_file(dir, name);
	assert_ok(node_truncate(n, 0));
	assert_ok(node_write(n, 0, text, strlen(text), 0));
	vfs_node_unref(n);
}

/* What a file says, or "-". */
static inline const char *text_of(struct vfs_node *dir, const char *name)
{
	static char buf[4096];
	struct vfs_node *n;
	size_t len;

	if (dir->ops->lookup(dir, name, strlen(name), &n))
		return "-";
	len = (size_t)node_stat(n).size_bytes;
	assert_true(len < sizeof(buf));
	if (len)
		assert_ok(node_read(n, 0, buf, len));
	buf[len] = 0;
	vfs_node_unref(n);
	return buf;
}

#endif
