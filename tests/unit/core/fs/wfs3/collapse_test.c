/* SPDX-License-Identifier: BSD-3-Clause */
/* Ranges that are taken out of files: contents, space, refusals, and a power cut at every step. */
#include "tests/unit/core/fs/wfs3/collapse_fixture.h"

#include "core/base/nowait.h"
#include "core/fs/wfs3/members.h"
#include "core/vfs/vfs_tree.h"

static void test_what_is_behind_a_range_moves_down_and_its_space_is_free(void **state)
{
	static const struct {
		unsigned first, count;
		bool flushed;
	} cases[] = { { 0, 1, false }, { 0, 1, true },   { 5, 3, true },
		      { 1, 30, true }, { 30, 1, false }, { 2, 13, true } };
	size_t size = 32 * CELL + 5000;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t *data = bytes_new(size, i + 1);
		size_t offset = (size_t)cases[i].first * CELL, len = (size_t)cases[i].count * CELL;
		struct tree_fixture t;
		struct vfs_node *n;
		size_t left;

		n = tree_init_with(&t, data, size);
		if (cases[i].flushed)
			assert_ok(object_flush(NULL, filetree_object(n)));
		assert_ok(collapse(n, offset, len));
		left = cut_out(data, size, offset, len);
		expect_data(n, data, left);
		assert_ok(object_flush(NULL, filetree_object(n)));
		assert_int_equal(filetree_object(n)->inode.blocks, (left + BLOCK - 1) / BLOCK);
		assert_int_equal(filetree_object(n)->ds->used_blocks, (left + BLOCK - 1) / BLOCK);
		vfs_node_unref(n);
		tree_restart(&t);
		n = node_at(t.top, "f");
		expect_data(n, data, left);
		/* And it can grow again: nothing old comes back. */
		assert_ok(node_truncate(n, size));
		memset(data + left, 0, size - left);
		expect_data(n, data, size);
		vfs_node_unref(n);
		tree_done(&t);
		free(data);
	}
}

static void test_holes_and_small_contents_keep_their_places_in_order(void **state)
{
	size_t size = 200 * CELL;
	uint8_t *data = calloc(1, size);
	struct tree_fixture t;
	struct vfs_node *n;
	size_t left;

	(void)state;
	tree_init(&t, 64 * MIB);
	n = make_file(t.top, "f");
	assert_ok(node_truncate(n, size));
	pattern(data, 1000, 1);
	assert_ok(node_write(n, 0, data, 1000, 0));
	assert_ok(object_flush(NULL, filetree_object(n)));
	for (size_t cell = 3; cell < 200; cell += cell % 7 + 1) {
		size_t at = cell * CELL + cell % 16 * BLOCK;

		pattern(data + at, BLOCK, cell);
		assert_ok(node_write(n, at, data + at, BLOCK, 0));
	}
	/* Something of it is cached, and not dirty. */
	assert_ok(object_flush(NULL, filetree_object(n)));
	expect_data(n, data, size);
	assert_ok(collapse(n, 2 * CELL, 5 * CELL));
	left = cut_out(data, size, 2 * CELL, 5 * CELL);
	expect_data(n, data, left);
	assert_ok(collapse(n, 0, CELL));
	left = cut_out(data, left, 0, CELL);
	expect_data(n, data, left);
	vfs_node_unref(n);
	tree_restart(&t);
	n = node_at(t.top, "f");
	expect_data(n, data, left);
	vfs_node_unref(n);
	tree_done(&t);
	free(data);
}

static void test_the_labels_tell_that_ranges_are_taken_out_of_files(void **state)
{
	uint8_t *data = bytes_new(3 * CELL, 3);
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	n = tree_init_with(&t, data, 3 * CELL);
	assert_false(t.pool->has_collapse || t.pool->members->label.features_incompat & WFS3_FEATURE_COLLAPSE);
	assert_ok(collapse(n, 0, CELL));
	assert_true(t.pool->has_collapse && t.pool->members->label.features_incompat & WFS3_FEATURE_COLLAPSE);
	vfs_node_unref(n);
	tree_restart(&t);
	assert_true(t.pool->has_collapse && t.pool->members->label.features_incompat & WFS3_FEATURE_COLLAPSE);
	tree_done(&t);
	free(data);
}

static void test_what_is_not_whole_cells_before_the_end_is_refused(void **state)
{
	static const uint64_t bad[][2] = { { 0, 0 },
		                           { 1, CELL },
		                           { 0, CELL - 1 },
		                           { BLOCK, CELL },
		                           { 0, 4 * CELL },
		                           { 3 * CELL, CELL },
		                           { 0, 8 * CELL },
		                           { 8 * CELL, CELL },
		                           { UINT64_MAX - CELL + 1, CELL },
		                           { CELL, UINT64_MAX - CELL + 1 } };
	uint8_t *data = bytes_new(4 * CELL, 3);
	struct tree_fixture t;
	struct vfs_node *n, *dir;

	(void)state;
	tree_init(&t, 64 * MIB);
	n = make_file(t.top, "f");
	dir = make_dir(t.top, "d");
	assert_ok(node_write(n, 0, data, 4 * CELL, 0));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (collapse(n, bad[i][0], bad[i][1]) != -EINVAL)
			fail_msg("range %zu was taken out", i);
	assert_int_equal(collapse(dir, 0, CELL), -EISDIR);
	nowait_begin();
	assert_int_equal(collapse(n, 0, CELL), -EAGAIN);
	nowait_end();
	expect_data(n, data, 4 * CELL);
	vfs_node_unref(dir);
	vfs_node_unref(n);
	tree_done(&t);
	free(data);
}

static void test_a_power_cut_at_any_step_leaves_all_of_it_or_nothing(void **state)
{
	size_t size = CUT_CELLS * CELL - 100, left;

	(void)state;
	for (unsigned step = 0; step < 9; step++) {
		for (enum durable durable = BY_LOG; durable <= BOTH; durable++) {
			uint8_t *data = bytes_new(size, step + 1);
			struct tree_fixture t;
			struct vfs_node *n;

			n = tree_init_with(&t, data, size);
			assert_ok(n->ops->flush(n, 0));
			/* Contents that only the log has, in the range and behind it. */
			for (unsigned cell = CUT_FIRST; cell < CUT_CELLS; cell += 9) {
				pattern(data + cell * CELL, BLOCK, cell);
				assert_ok(node_write(n, cell * CELL, data + cell * CELL, BLOCK, 0));
			}
			assert_ok(n->ops->flush(n, 0));
			stop_at(filetree_object(n), step, durable);
			vfs_node_unref(n);
			tree_crash(&t, 0);
			left = cut(data, size);
			expect_cut(&t, data, left);
			tree_restart(&t);
			expect_cut(&t, data, left);
			tree_done(&t);
			free(data);
		}
	}
}

static void test_without_a_flush_a_power_cut_may_undo_it_as_a_whole(void **state)
{
	size_t size = CUT_CELLS * CELL;
	uint8_t *data = bytes_new(size, 8);
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	n = tree_init_with(&t, data, size);
	assert_ok(n->ops->flush(n, 0));
	assert_ok(collapse(n, 0, CELL));
	vfs_node_unref(n);
	tree_crash(&t, 0);
	n = node_at(t.top, "f");
	expect_data(n, data, size);
	assert_ok(collapse(n, 0, CELL));
	assert_ok(n->ops->flush(n, 0));
	vfs_node_unref(n);
	tree_crash(&t, 0);
	expect_cut(&t, data, cut_out(data, size, 0, CELL));
	tree_done(&t);
	free(data);
}

static void test_the_check_accepts_a_range_that_is_half_taken_out(void **state)
{
	size_t size = CUT_CELLS * CELL;
	uint8_t *data = bytes_new(size, 9);
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	for (unsigned step = 0; step < 5; step++) {
		n = tree_init_with(&t, data, size);
		assert_ok(n->ops->flush(n, 0));
		stop_at(filetree_object(n), step, BY_GROUP);
		vfs_node_unref(n);
		tree_close(&t);
		fixture_crash(&t.f, 0);
		expect_clean(&t.f, 1);
		assert_ok(pool_import(&t.f, 1));
		tree_open(&t);
		tree_done(&t);
	}
	free(data);
}

static void test_whoever_wants_the_data_finishes_it_first(void **state)
{
	size_t size = CUT_CELLS * CELL, left;
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	for (unsigned how = 0; how < 5; how++) {
		uint8_t *data = bytes_new(size, how + 1), byte = 1;

		n = tree_init_with(&t, data, size);
		stop_at(filetree_object(n), how % 2 ? 4 : 0, BY_LOG);
		left = cut(data, size);
		if (how == 0) {
			expect_data(n, data, left);
		} else if (how == 1) {
			assert_ok(node_write(n, 3 * CELL, &byte, 1, 0));
			data[3 * CELL] = byte;
		} else if (how == 2) {
			assert_ok(node_truncate(n, 10 * CELL));
			left = 10 * CELL;
		} else if (how == 3) {
			assert_ok(collapse(n, 0, CELL));
			left = cut_out(data, left, 0, CELL);
		} else {
			assert_ok(n->ops->discard(n, CELL, BLOCK, 0));
			memset(data + CELL, 0, BLOCK);
		}
		assert_false(filetree_object(n)->shifting);
		expect_data(n, data, left);
		vfs_node_unref(n);
		tree_restart(&t);
		expect_cut(&t, data, left);
		tree_done(&t);
		free(data);
	}
}

static void test_a_file_without_a_name_goes_as_any_other(void **state)
{
	size_t size = CUT_CELLS * CELL;
	uint8_t *data = bytes_new(size, 4);
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	for (unsigned named = 0; named < 3; named++) {
		n = tree_init_with(&t, data, size);
		if (named == 2)
			stop_at(filetree_object(n), 3, BY_LOG);
		assert_ok(remove_name(t.top, "f", false));
		if (named != 2)
			assert_ok(collapse(n, CUT_FIRST * CELL, CUT_COUNT * CELL));
		if (named == 1)
			assert_ok(link_to(t.top, "g", n));
		if (named == 2) {
			uint8_t *want = bytes_new(size, 4);

			expect_data(n, want, cut(want, size));
			free(want);
		}
		assert_ok(n->ops->flush(n, 0));
		vfs_node_unref(n);
		tree_crash(&t, 0);
		assert_int_equal(lookup_error(t.top, "g"), named == 1 ? 0 : -ENOENT);
		tree_restart(&t);
		tree_done(&t);
	}
	free(data);
}

static void test_the_vfs_refuses_what_must_not_or_cannot_be_done(void **state)
{
	struct vfs_set_attr freeze = { .valid = VFS_SET_FLAGS, .flags = VFS_FLAG_APPEND };
	uint8_t *data = bytes_new(3 * CELL, 6);
	struct tree_fixture t;
	struct vfs_handle *h;
	struct vfs_node *n;

	(void)state;
	tree_init(&t, 64 * MIB);
	assert_ok(volume_create(&t.f, "vm1", 4 * CELL));
	n = make_file(t.top, "f");
	assert_ok(node_write(n, 0, data, 3 * CELL, 0));
	assert_ok(vfs_open(t.f.vfs, "/tank/fs/f", false, &h));
	assert_int_equal(vfs_collapse(h, 0, CELL, NULL), -EROFS);
	vfs_close(h);
	assert_ok(vfs_open(t.f.vfs, "/tank/fs/f", true, &h));
	assert_int_equal(vfs_collapse(h, 0, 0, NULL), -EINVAL);
	assert_int_equal(vfs_collapse(h, CELL, 3 * CELL, NULL), -EINVAL);
	assert_ok(vfs_collapse(h, 0, CELL, NULL));
	expect_data(n, data, cut_out(data, 3 * CELL, 0, CELL));
	assert_ok(vfs_set_attr(h, &vfs_cred_root, &freeze, NULL));
	assert_int_equal(vfs_collapse(h, 0, CELL, NULL), -EPERM);
	expect_data(n, data, 2 * CELL);
	vfs_close(h);
	assert_ok(vfs_open(t.f.vfs, "/tank/vm1", true, &h));
	assert_int_equal(vfs_collapse(h, 0, CELL, NULL), -EOPNOTSUPP);
	vfs_close(h);
	vfs_node_unref(n);
	tree_done(&t);
	free(data);
}

static void test_states_that_make_no_sense_are_refused(void **state)
{
	static const struct collapse bad[] = {
		{ 0, 0, 0 }, { WFS3_CELLS_MAX, 1, WFS3_CELLS_MAX }, { 1, WFS3_CELLS_MAX, 1 }, { 5, 2, 4 }, { 5, 2, 6 },
		{ 5, 2, 7 }, { 5, 2, WFS3_CELLS_MAX + 1 },
	};
	static const struct collapse good = { 5, 2, 8 };
	uint8_t buf[COLLAPSE_BYTES + 1] = { 0 };
	struct collapse got;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		collapse_encode(&bad[i], buf);
		assert_int_equal(collapse_decode(buf, COLLAPSE_BYTES, &got), -EUCLEAN);
	}
	collapse_encode(&good, buf);
	assert_int_equal(collapse_decode(buf, COLLAPSE_BYTES - 1, &got), -EUCLEAN);
	assert_int_equal(collapse_decode(buf, COLLAPSE_BYTES + 1, &got), -EUCLEAN);
	assert_ok(collapse_decode(buf, COLLAPSE_BYTES, &got));
	assert_memory_equal(&got, &good, sizeof(got));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_behind_a_range_moves_down_and_its_space_is_free),
		cmocka_unit_test(test_holes_and_small_contents_keep_their_places_in_order),
		cmocka_unit_test(test_the_labels_tell_that_ranges_are_taken_out_of_files),
		cmocka_unit_test(test_what_is_not_whole_cells_before_the_end_is_refused),
		cmocka_unit_test(test_a_power_cut_at_any_step_leaves_all_of_it_or_nothing),
		cmocka_unit_test(test_without_a_flush_a_power_cut_may_undo_it_as_a_whole),
		cmocka_unit_test(test_the_check_accepts_a_range_that_is_half_taken_out),
		cmocka_unit_test(test_whoever_wants_the_data_finishes_it_first),
		cmocka_unit_test(test_a_file_without_a_name_goes_as_any_other),
		cmocka_unit_test(test_the_vfs_refuses_what_must_not_or_cannot_be_done),
		cmocka_unit_test(test_states_that_make_no_sense_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
