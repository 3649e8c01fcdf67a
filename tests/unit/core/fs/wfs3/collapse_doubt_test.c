/* SPDX-License-Identifier: BSD-3-Clause */
/* Ranges that are being taken out of files when something else is wrong: errors, damage, pools that are only read. */
#include "tests/unit/core/fs/wfs3/collapse_fixture.h"

#include "core/base/nowait.h"

static void test_an_error_in_the_middle_keeps_the_data_back_until_it_is_over(void **state)
{
	size_t size = CUT_CELLS * CELL;
	uint8_t *data = bytes_new(size, 5), byte;
	struct tree_fixture t;
	struct vfs_node *n;
	struct object *o;

	(void)state;
	n = tree_init_with(&t, data, size);
	o = filetree_object(n);
	stop_at(o, 3, BY_LOG);
	/* As after such an error. */
	o->ds->pool->read_only = true;
	assert_int_equal(node_read(n, 0, &byte, 1), -EIO);
	assert_true(o->shifting && o->behind_end);
	o->ds->pool->read_only = false;
	expect_data(n, data, cut(data, size));
	assert_false(o->behind_end);
	vfs_node_unref(n);
	tree_restart(&t);
	tree_done(&t);
	free(data);
}

static void test_what_a_failed_write_drops_behind_the_end_is_none_of_what_is_still_to_move(void **state)
{
	size_t size = CUT_CELLS * CELL, left;
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	for (unsigned step = 0; step < 5; step += 2) {
		uint8_t *data = bytes_new(size + CELL, step + 1);

		n = tree_init_with(&t, data, size);
		stop_at(filetree_object(n), step, BY_LOG);
		/* As a write does that would have made the file longer. */
		filetree_trim(filetree_object(n), size + CELL);
		assert_false(filetree_object(n)->shifting || filetree_object(n)->behind_end);
		left = cut(data, size);
		expect_data(n, data, left);
		assert_ok(node_truncate(n, size));
		memset(data + left, 0, size - left);
		expect_data(n, data, size);
		vfs_node_unref(n);
		tree_restart(&t);
		expect_cut(&t, data, size);
		tree_done(&t);
		free(data);
	}
}

static void test_what_a_failed_write_left_is_dropped_when_an_error_is_over(void **state)
{
	size_t size = CUT_CELLS * CELL, left;
	uint8_t *data = bytes_new(size + CELL, 7);
	struct tree_fixture t;
	struct vfs_node *n;
	struct object *o;

	(void)state;
	n = tree_init_with(&t, data, size + CELL);
	o = filetree_object(n);
	assert_ok(object_flush(NULL, o));
	/* The last cell is what a write has left that failed, and the size never came to. */
	__atomic_store_n(&o->inode.size_bytes, size, __ATOMIC_RELAXED);
	stop_at(o, 3, BY_LOG);
	o->ds->pool->read_only = true;
	filetree_trim(o, size + CELL);
	assert_true(o->shifting && o->behind_end);
	o->ds->pool->read_only = false;
	left = cut(data, size);
	expect_data(n, data, left);
	assert_false(o->behind_end);
	assert_ok(node_truncate(n, size));
	memset(data + left, 0, size - left);
	expect_data(n, data, size);
	vfs_node_unref(n);
	tree_restart(&t);
	tree_done(&t);
	free(data);
}

/* An orphan item, or an inode, of another file; it is durable with the group. */
static void put_item(struct object *o, struct wfs3_key key, const void *value, size_t len)
{
	struct edit e;

	edit_init(&e, o->ds);
	edit_put(&e, &key, value, len);
	assert_ok(edit_run(&e));
}

static void test_damage_of_one_orphan_is_not_in_the_way_of_the_others(void **state)
{
	static const uint8_t odd[COLLAPSE_BYTES + 8] = { 1, 2, 3 };
	static const size_t lens[] = { 3, COLLAPSE_BYTES, sizeof(odd) };
	size_t size = CUT_CELLS * CELL, left;

	(void)state;
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		uint8_t *data = bytes_new(size, i), byte;
		struct tree_fixture t;
		struct vfs_node *a, *n;

		tree_init(&t, 64 * MIB);
		a = make_file(t.top, "a");
		n = make_file(t.top, "f");
		assert_ok(node_write(a, 0, data, 100, 0));
		assert_ok(node_write(n, 0, data, size, 0));
		assert_ok(n->ops->flush(n, 0));
		put_item(filetree_object(a), filetree_orphan_key(filetree_object(a)->number), odd, lens[i]);
		stop_at(filetree_object(n), 3, BY_GROUP);
		vfs_node_unref(n);
		vfs_node_unref(a);
		tree_crash(&t, 0);
		left = cut(data, size);
		n = node_at(t.top, "f");
		assert_false(filetree_object(n)->shifting);
		expect_data(n, data, left);
		vfs_node_unref(n);
		a = node_at(t.top, "a");
		assert_int_equal(node_read(a, 0, &byte, 1), -EUCLEAN);
		assert_int_equal(node_write(a, 0, &byte, 1, 0), -EUCLEAN);
		vfs_node_unref(a);
		assert_ok(remove_name(t.top, "a", false));
		tree_restart(&t);
		tree_done(&t);
		free(data);
	}
}

static void test_an_orphan_that_cannot_be_read_makes_files_ask(void **state)
{
	static const uint8_t odd[INODE_BYTES] = { 0xff };
	size_t size = CUT_CELLS * CELL, left;
	uint8_t *data = bytes_new(size, 3);
	struct tree_fixture t;
	struct vfs_node *a, *n;
	struct object *o;

	(void)state;
	tree_init(&t, 64 * MIB);
	a = make_file(t.top, "a");
	n = make_file(t.top, "f");
	assert_ok(node_write(n, 0, data, size, 0));
	assert_ok(n->ops->flush(n, 0));
	put_item(filetree_object(a), filetree_orphan_key(filetree_object(a)->number), NULL, 0);
	put_item(filetree_object(a), object_inode_key(filetree_object(a)), odd, sizeof(odd));
	stop_at(filetree_object(n), 3, BY_GROUP);
	vfs_node_unref(n);
	vfs_node_unref(a);
	tree_crash(&t, 0);
	left = cut(data, size);
	n = node_at(t.top, "f");
	o = filetree_object(n);
	assert_true(o->ds->orphans_unknown && o->shifting && o->shift_unasked);
	nowait_begin();
	assert_int_equal(node_read(n, 0, data, 1), -EAGAIN);
	nowait_end();
	expect_data(n, data, left);
	assert_false(o->shifting || o->shift_unasked || o->behind_end);
	/* The same of one whose range nobody has come to. */
	stop_at(o, 2, BY_GROUP);
	o->shift_unasked = true;
	expect_data(n, data, cut(data, left));
	vfs_node_unref(n);
	tree_done(&t);
	free(data);
}

static void test_a_file_in_doubt_has_its_truncation_finished(void **state)
{
	uint8_t *data = bytes_new(3 * CELL, 3);
	struct tree_fixture t;
	struct vfs_node *n;
	struct object *o;

	(void)state;
	n = tree_init_with(&t, data, 3 * CELL);
	o = filetree_object(n);
	assert_ok(object_flush(NULL, o));
	put_item(o, filetree_orphan_key(o->number), NULL, 0);
	o->inode.size_bytes = o->write_end = 100;
	o->shifting = o->shift_unasked = true;
	expect_data(n, data, 100);
	assert_false(o->shifting || o->behind_end);
	assert_ok(node_write(n, 2 * CELL, data, 1, 0));
	memset(data + 100, 0, 2 * CELL - 100);
	data[2 * CELL] = data[0];
	expect_data(n, data, 2 * CELL + 1);
	vfs_node_unref(n);
	tree_restart(&t);
	expect_cut(&t, data, 2 * CELL + 1);
	tree_done(&t);
	free(data);
}

static void test_a_file_in_doubt_is_removed_with_its_item(void **state)
{
	size_t size = CUT_CELLS * CELL;
	uint8_t *data = bytes_new(size, 3);
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	for (unsigned how = 0; how < 4; how++) {
		n = tree_init_with(&t, data, how % 2 ? size : 0);
		if (how == 3)
			stop_at(filetree_object(n), 3, BY_LOG);
		filetree_object(n)->ds->orphans_unknown = true;
		filetree_doubt(filetree_object(n));
		filetree_object(n)->shift_unasked = true;
		if (how == 2)
			vfs_node_unref(n);
		assert_ok(remove_name(t.top, "f", false));
		if (how != 2) {
			assert_ok(n->ops->flush(n, 0));
			vfs_node_unref(n);
		}
		tree_crash(&t, 0);
		tree_restart(&t);
		tree_done(&t);
	}
	free(data);
}

static void test_a_pool_that_is_only_read_does_not_give_half_of_it(void **state)
{
	size_t size = CUT_CELLS * CELL, left;
	uint8_t *data = bytes_new(size, 3), byte;
	struct vfs_node *n, *g;
	struct tree_fixture t;
	char *name = NULL;

	(void)state;
	tree_init(&t, 64 * MIB);
	n = make_file(t.top, "f");
	g = make_file(t.top, "g");
	assert_ok(node_write(g, 0, data, CELL, 0));
	assert_ok(node_write(n, 0, data, size, 0));
	assert_ok(object_flush(NULL, filetree_object(g)));
	assert_ok(object_flush(NULL, filetree_object(n)));
	stop_at(filetree_object(n), 3, BY_GROUP);
	vfs_node_unref(n);
	vfs_node_unref(g);
	tree_close(&t);
	fixture_crash(&t.f, 0);
	assert_ok(t.f.admin.driver->pool_import(t.f.admin.ctx, fixture_paths, 1, true, &name));
	free(name);
	tree_open(&t);
	n = node_at(t.top, "f");
	g = node_at(t.top, "g");
	assert_int_equal(node_read(n, 0, &byte, 1), -EIO);
	assert_int_equal(node_read(n, 0, &byte, 1), -EIO);
	expect_data(g, data, CELL);
	vfs_node_unref(n);
	vfs_node_unref(g);
	tree_close(&t);
	assert_ok(pool_export(&t.f, "tank", false));
	assert_ok(pool_import(&t.f, 1));
	tree_open(&t);
	left = cut(data, size);
	expect_cut(&t, data, left);
	tree_done(&t);
	free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_error_in_the_middle_keeps_the_data_back_until_it_is_over),
		cmocka_unit_test(test_what_a_failed_write_drops_behind_the_end_is_none_of_what_is_still_to_move),
		cmocka_unit_test(test_what_a_failed_write_left_is_dropped_when_an_error_is_over),
		cmocka_unit_test(test_damage_of_one_orphan_is_not_in_the_way_of_the_others),
		cmocka_unit_test(test_an_orphan_that_cannot_be_read_makes_files_ask),
		cmocka_unit_test(test_a_file_in_doubt_has_its_truncation_finished),
		cmocka_unit_test(test_a_file_in_doubt_is_removed_with_its_item),
		cmocka_unit_test(test_a_pool_that_is_only_read_does_not_give_half_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
