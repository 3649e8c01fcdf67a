/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit tests of the objects that the kernel knows. */
#include "plugins/fuse/node.h"

#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

static int setup(void **state)
{
	static struct node_table table;

	*state = &table;
	return node_table_init(&table);
}

static int teardown(void **state)
{
	node_table_done(*state);
	return 0;
}

static struct node *get(struct node_table *t, uint64_t fsid, uint64_t file_id)
{
	struct wfs_attr attr = { .fsid = fsid, .file_id = file_id };
	struct wfs_fh fh = { .len_bytes = 8 };
	struct node *n;

	memcpy(fh.bytes, &file_id, 8);
	n = node_get(t, &attr, &fh);
	assert_non_null(n);
	return n;
}

static void test_the_same_object_is_the_same_node(void **state)
{
	struct node_table *t = *state;
	struct node *n = get(t, 1, 7);

	assert_ptr_equal(get(t, 1, 7), n);
	assert_int_equal(n->lookups, 2);
	assert_int_equal(t->count, 1);
}

static void test_the_same_number_in_another_file_system_is_another_node(void **state)
{
	struct node_table *t = *state;

	assert_ptr_not_equal(get(t, 1, 7), get(t, 2, 7));
	assert_int_equal(t->count, 2);
}

static void test_a_node_goes_with_the_last_time_it_was_told(void **state)
{
	struct node_table *t = *state;
	struct node *n = get(t, 1, 7);

	get(t, 1, 7);
	get(t, 1, 7);
	node_forget(t, n, 2);
	assert_int_equal(t->count, 1);
	assert_ptr_equal(get(t, 1, 7), n);
	node_forget(t, n, 2);
	assert_int_equal(t->count, 0);
}

static void test_many_nodes_are_found_again_and_forgotten_in_any_order(void **state)
{
	struct node_table *t = *state;
	static struct node *nodes[20000];
	const size_t count = sizeof(nodes) / sizeof(nodes[0]);

	for (size_t i = 0; i < count; i++)
		nodes[i] = get(t, 1, i * 1024);
	for (size_t i = 0; i < count; i++)
		assert_ptr_equal(get(t, 1, i * 1024), nodes[i]);
	assert_true(t->bucket_count >= count / 2);
	for (size_t i = 1; i < count; i += 2)
		node_forget(t, nodes[i], 2);
	for (size_t i = 0; i < count; i += 2)
		node_forget(t, nodes[i], 2);
	assert_int_equal(t->count, 0);
}

static void test_touched_is_told_by_sequence(void **state)
{
	struct node_table *t = *state;
	struct node *n = get(t, 1, 7);

	assert_false(node_touched_since(t, 1, 7, 0));
	n->touched = 5;
	assert_true(node_touched_since(t, 1, 7, 4));
	assert_false(node_touched_since(t, 1, 7, 5));
	assert_false(node_touched_since(t, 1, 8, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_the_same_object_is_the_same_node, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_same_number_in_another_file_system_is_another_node, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(test_a_node_goes_with_the_last_time_it_was_told, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_nodes_are_found_again_and_forgotten_in_any_order, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(test_touched_is_told_by_sequence, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
