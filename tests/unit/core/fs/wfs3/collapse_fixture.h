/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests of ranges that are taken out of files: contents, and files in which that stopped half way. */
#ifndef WFSD_TESTS_UNIT_CORE_FS_WFS3_COLLAPSE_FIXTURE_H
#define WFSD_TESTS_UNIT_CORE_FS_WFS3_COLLAPSE_FIXTURE_H

#include "tests/unit/core/fs/wfs3/filetree_fixture.h"

#define CELL 65536u
#define BLOCK 4096u

static inline uint8_t *bytes_new(size_t len, uint64_t seed)
{
	uint8_t *p = malloc(len);

	assert_non_null(p);
	pattern(p, len, seed);
	return p;
}

static inline int collapse(struct vfs_node *n, uint64_t offset, uint64_t len)
{
	return n->ops->collapse(n, offset, len, NULL);
}

/* What a file's contents become. Returns the new length. */
static inline size_t cut_out(uint8_t *data, size_t size, size_t offset, size_t len)
{
	memmove(data + offset, data + offset + len, size - offset - len);
	return size - len;
}

static inline void expect_data(struct vfs_node *n, const uint8_t *want, size_t len)
{
	uint8_t *got = malloc(len);

	assert_int_equal(node_stat(n).size_bytes, len);
	assert_ok(node_read(n, 0, got, len));
	assert_memory_equal(got, want, len);
	free(got);
}

/* A new file system, and the file "f" with these contents in it; they are perhaps not durable. Its node. */
static inline struct vfs_node *tree_init_with(struct tree_fixture *t, const uint8_t *data, size_t len)
{
	struct vfs_node *n;

	tree_init(t, 64 * MIB);
	n = make_file(t->top, "f");
	assert_ok(node_write(n, 0, data, len, 0));
	return n;
}

#define CUT_CELLS 41u
#define CUT_FIRST 2u
#define CUT_COUNT 3u

/* How a step became durable before the power was cut. */
enum durable { BY_LOG, BY_GROUP, BOTH };

/* A range is being taken out: up to step @step of it is done, and durable. */
static inline void stop_at(struct object *o, unsigned step, enum durable durable)
{
	struct collapse c;

	sync_mutex_lock(&o->lock);
	sync_rwlock_wrlock(&o->io_lock);
	assert_ok(filetree_collapse_begin(o, CUT_FIRST * CELL, CUT_COUNT * CELL, NULL));
	/* The log stands behind what a root has. */
	if (durable == BOTH)
		assert_ok(txg_force(o->ds->pool, 1));
	assert_ok(object_get_collapse(o, &c));
	assert_int_equal(c.next, c.first);
	if (step)
		assert_ok(object_punch(o, CUT_FIRST * WFS3_CELL_BLOCKS, (CUT_FIRST + CUT_COUNT) * WFS3_CELL_BLOCKS));
	if (step > 1) {
		uint64_t from = (CUT_FIRST + CUT_COUNT) * CELL, len = (uint64_t)CUT_CELLS * CELL - from;

		assert_ok(cache_punch_begin(o->file, from, len, 0));
		assert_ok(object_move_cells(o, &c, CUT_FIRST + CUT_COUNT + (step - 1) * 6));
		cache_punch_end(o->file, from, len, false);
	}
	sync_rwlock_wrunlock(&o->io_lock);
	sync_mutex_unlock(&o->lock);
	assert_ok(durable == BY_GROUP ? txg_force(o->ds->pool, 1) : txg_sync_log(o->ds));
}

/* What stop_at() leads to in the end. Returns the new length. */
static inline size_t cut(uint8_t *data, size_t size)
{
	return cut_out(data, size, CUT_FIRST * CELL, CUT_COUNT * CELL);
}

static inline void expect_cut(struct tree_fixture *t, uint8_t *data, size_t size)
{
	struct vfs_node *n = node_at(t->top, "f");

	expect_data(n, data, size);
	vfs_node_unref(n);
}

#endif
