/* SPDX-License-Identifier: BSD-3-Clause */
/* Objects of file trees between memory, log and disk: those in use stay, and what a crash undoes leaves no trace. */
#include "tests/unit/core/fs/wfs3/filetree_fixture.h"

/* More objects than are kept in memory. */
static void visit_many(struct tree_fixture *t, unsigned count)
{
	char name[16];

	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		vfs_node_unref(make_file(t->top, name));
	}
	assert_ok(t->top->ops->flush(t->top, 0));
	assert_ok(txg_sync(t->pool));
	for (unsigned i = 0; i < 2 * count; i++) {
		snprintf(name, sizeof(name), "f%u", i % count);
		vfs_node_unref(node_at(t->top, name));
	}
}

static void test_nameless_file_in_use_is_not_evicted(void **state)
{
	struct tree_fixture t;
	struct vfs_node *n;
	uint8_t buf[100], got[100];

	(void)state;
	tree_init(&t, 64 * MIB);
	n = make_file(t.top, "a");
	pattern(buf, sizeof(buf), 1);
	assert_ok(node_write(n, 0, buf, sizeof(buf), 0));
	assert_ok(remove_name(t.top, "a", false));
	assert_ok(n->ops->flush(n, 0));
	assert_ok(txg_sync(t.pool));
	visit_many(&t, 8000);
	assert_ok(node_read(n, 0, got, sizeof(got)));
	assert_memory_equal(got, buf, sizeof(buf));
	vfs_node_unref(n);
	tree_restart(&t);
	tree_done(&t);
}

static void test_number_of_a_file_that_a_crash_undid_is_not_given_again(void **state)
{
	struct tree_fixture t;
	struct vfs_node *n;
	uint64_t lost;

	(void)state;
	tree_init(&t, 64 * MIB);
	n = make_file(t.top, "a");
	lost = node_stat(n).object;
	vfs_node_unref(n);
	for (unsigned i = 0; i < 2; i++) {
		tree_crash(&t, 1);
		assert_int_equal(lookup_error(t.top, "a"), -ENOENT);
		n = make_file(t.top, "a");
		assert_true(node_stat(n).object > lost);
		lost = node_stat(n).object;
		vfs_node_unref(n);
	}
	tree_done(&t);
}

static void test_largest_size_is_recovered(void **state)
{
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	tree_init(&t, 64 * MIB);
	n = make_file(t.top, "a");
	assert_ok(node_truncate(n, VFS_FILE_BYTES_MAX));
	assert_ok(node_truncate(n, VFS_FILE_BYTES_MAX - 1));
	assert_ok(n->ops->flush(n, 0));
	vfs_node_unref(n);
	tree_crash(&t, 1);
	n = node_at(t.top, "a");
	assert_int_equal(node_stat(n).size_bytes, VFS_FILE_BYTES_MAX - 1);
	vfs_node_unref(n);
	tree_done(&t);
}

static void test_times_of_reading_are_kept_when_they_tell_something_new(void **state)
{
	struct tree_fixture t;
	struct vfs_node *n;
	uint64_t first, records;
	char c;

	(void)state;
	tree_init(&t, 64 * MIB);
	n = make_file(t.top, "f");
	assert_ok(node_write(n, 0, "x", 1, 0));
	assert_ok(n->ops->flush(n, 0));
	records = node_stat(n).change;
	assert_ok(node_read(n, 0, &c, 1));
	first = node_stat(n).atime_ns;
	assert_true(first >= node_stat(n).mtime_ns);
	/* It is no change of the file. */
	assert_int_equal(node_stat(n).change, records);
	assert_ok(node_read(n, 0, &c, 1));
	assert_int_equal(node_stat(n).atime_ns, first);
	assert_ok(node_write(n, 0, "y", 1, 0));
	assert_ok(node_read(n, 0, &c, 1));
	assert_true(node_stat(n).atime_ns > first);
	first = node_stat(n).atime_ns;
	vfs_node_unref(n);
	tree_restart(&t);
	n = node_at(t.top, "f");
	assert_int_equal(node_stat(n).atime_ns, first);
	vfs_node_unref(n);
	tree_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nameless_file_in_use_is_not_evicted),
		cmocka_unit_test(test_number_of_a_file_that_a_crash_undid_is_not_given_again),
		cmocka_unit_test(test_largest_size_is_recovered),
		cmocka_unit_test(test_times_of_reading_are_kept_when_they_tell_something_new),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
