/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ranges that are taken out of files beside a log that cannot be released, and has gaps: what the log has of such a
 * file from before must not come back after a crash, where something else stands by then.
 */
#include "tests/unit/core/fs/wfs3/collapse_fixture.h"
#include "tests/unit/core/fs/wfs3/log_fixture.h"

#define CELLS 12u
#define FIRST 2u
#define COUNT 3u

/* When the log refuses what comes, until the group ends. */
enum gap {
	GAP_NEVER,
	GAP_GROUP_BEFORE, /* the places of the pages are missing, not the change */
	GAP_BEFORE,
	GAP_BETWEEN, /* the pieces that are moved are missing */
	GAP_AFTER,
	GAP_COUNT
};

static void finish(struct object *o)
{
	assert_ok(filetree_settle(o));
	assert_false(o->shifting);
}

/* Take the range out, with a gap in the log. */
static void collapse_beside_gap(struct vfs_node *n, enum gap gap)
{
	struct object *o = filetree_object(n);
	struct pool *p = o->ds->pool;

	if (gap == GAP_GROUP_BEFORE) {
		close_log(p);
		assert_ok(object_flush(NULL, o));
		(void)txg_force(p, 1);
	} else if (gap == GAP_BEFORE) {
		close_log(p);
	}
	if (gap != GAP_BETWEEN) {
		assert_ok(collapse(n, FIRST * CELL, COUNT * CELL));
	} else {
		sync_mutex_lock(&o->lock);
		sync_rwlock_wrlock(&o->io_lock);
		assert_ok(filetree_collapse_begin(o, FIRST * CELL, COUNT * CELL, NULL));
		sync_rwlock_wrunlock(&o->io_lock);
		sync_mutex_unlock(&o->lock);
		close_log(p);
		finish(o);
	}
	if (gap == GAP_AFTER)
		close_log(p);
}

/* One page was logged, at @page of the file; *@ret_failed: the pool gave up. Returns what is there after a crash. */
static size_t crash_after_collapse(enum gap gap, unsigned page, const uint8_t *was, size_t size, bool *ret_failed)
{
	struct tree_fixture t;
	struct vfs_node *bad, *n;
	uint8_t *got = malloc(size);
	size_t left;

	tree_init(&t, 64 * MIB);
	bad = make_file(t.top, "bad");
	n = make_file(t.top, "f");
	assert_ok(node_write(n, 0, was, size, 0));
	assert_ok(object_flush(NULL, filetree_object(n)));
	assert_ok(txg_force(t.pool, 1));
	keep_log(bad);
	/* As it was, but now the log has it. */
	assert_ok(node_write(n, (uint64_t)page * BLOCK, was + (size_t)page * BLOCK, BLOCK, 0));
	assert_ok(n->ops->flush(n, 0));
	collapse_beside_gap(n, gap);
	(void)txg_force(t.pool, 1);
	*ret_failed = t.pool->failed;
	vfs_node_unref(n);
	vfs_node_unref(bad);
	tree_crash(&t, 0);
	n = node_at(t.top, "f");
	left = node_stat(n).size_bytes;
	assert_true(left <= size);
	assert_ok(node_read(n, 0, got, left));
	assert_true(left == size || left == size - COUNT * CELL);
	if (left == size) {
		assert_memory_equal(got, was, size);
	} else {
		assert_memory_equal(got, was, FIRST * CELL);
		assert_memory_equal(got + FIRST * CELL, was + (FIRST + COUNT) * CELL, left - FIRST * CELL);
	}
	vfs_node_unref(n);
	tree_restart(&t);
	tree_done(&t);
	free(got);
	return left;
}

static void test_what_a_kept_log_has_of_a_file_never_comes_back_where_something_else_has_moved_to(void **state)
{
	/* Before the range, in it, behind it where something comes to, and near the end. */
	static const unsigned pages[] = { 3, (FIRST + 1) * 16, (FIRST + COUNT) * 16 + 5, (CELLS - 1) * 16 - 1 };
	size_t size = CELLS * CELL;
	uint8_t *was = bytes_new(size, 9);
	bool failed;

	(void)state;
	for (enum gap gap = 0; gap < GAP_COUNT; gap++) {
		for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
			size_t left = crash_after_collapse(gap, pages[i], was, size, &failed);

			/* A root that has the change without the log's record of it must not be. */
			assert_int_equal(failed, gap == GAP_BEFORE);
			assert_int_equal(left, gap == GAP_BEFORE ? size : size - COUNT * CELL);
		}
	}
	free(was);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_a_kept_log_has_of_a_file_never_comes_back_where_something_else_has_moved_to),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
