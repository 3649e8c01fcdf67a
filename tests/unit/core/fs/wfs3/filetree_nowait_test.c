/* SPDX-License-Identifier: BSD-3-Clause */
/* File trees under threads that must not wait: what is in memory is done, and the rest leaves everything as it was. */
#include "tests/unit/core/fs/wfs3/filetree_fixture.h"

#include "core/base/nowait.h"

static int nowait_lookup(struct vfs_node *dir, const char *name)
{
	int rc;

	nowait_begin();
	rc = lookup_error(dir, name);
	nowait_end();
	return rc;
}

static void test_what_is_in_memory_is_done_without_waiting(void **state)
{
	struct vfs_set_attr mode = { .valid = VFS_SET_MODE, .mode = 0600 };
	struct tree_fixture t;
	uint8_t buf[WFS3_BLOCK_BYTES], got[WFS3_BLOCK_BYTES];
	struct vfs_node *n;

	(void)state;
	tree_init(&t, 64 * MIB);
	pattern(buf, sizeof(buf), 1);
	nowait_begin();
	n = make_file(t.top, "a");
	assert_ok(node_write(n, 0, buf, sizeof(buf), VFS_NOWAIT));
	assert_ok(n->ops->set_attr(n, &mode));
	assert_ok(node_read(n, 0, got, sizeof(got)));
	assert_memory_equal(got, buf, sizeof(buf));
	vfs_node_unref(n);
	n = node_at(t.top, "a");
	assert_ok(link_to(t.top, "c", n));
	assert_ok(rename_to(t.top, "a", t.top, "b", 0));
	assert_ok(remove_name(t.top, "b", false));
	nowait_end();
	n = node_at(t.top, "c");
	assert_int_equal(node_stat(n).mode, 0600);
	vfs_node_unref(n);
	vfs_node_unref(n); /* of link_to() */
	tree_restart(&t);
	tree_done(&t);
}

/* The page need not be read: there was never anything. */
static void test_part_of_a_page_behind_the_end_is_written_without_waiting(void **state)
{
	uint8_t got[3 * WFS3_BLOCK_BYTES], want[3 * WFS3_BLOCK_BYTES] = { 0 };
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	tree_init(&t, 64 * MIB);
	n = make_file(t.top, "a");
	memcpy(want + 10, "first", 5);
	memcpy(want + 2 * WFS3_BLOCK_BYTES + 7, "second", 6);
	nowait_begin();
	assert_ok(node_write(n, 10, "first", 5, VFS_NOWAIT));
	assert_ok(node_write(n, 2 * WFS3_BLOCK_BYTES + 7, "second", 6, VFS_NOWAIT));
	nowait_end();
	assert_ok(node_read(n, 0, got, 2 * WFS3_BLOCK_BYTES + 13));
	assert_memory_equal(got, want, 2 * WFS3_BLOCK_BYTES + 13);
	/* What was cut off does not come back either. */
	assert_ok(node_truncate(n, 12));
	assert_ok(node_write(n, 2 * WFS3_BLOCK_BYTES, "x", 1, 0));
	memset(want + 12, 0, sizeof(want) - 12);
	want[2 * WFS3_BLOCK_BYTES] = 'x';
	assert_ok(node_read(n, 0, got, 2 * WFS3_BLOCK_BYTES + 1));
	assert_memory_equal(got, want, 2 * WFS3_BLOCK_BYTES + 1);
	vfs_node_unref(n);
	tree_restart(&t);
	n = node_at(t.top, "a");
	assert_ok(node_read(n, 0, got, 2 * WFS3_BLOCK_BYTES + 1));
	assert_memory_equal(got, want, 2 * WFS3_BLOCK_BYTES + 1);
	vfs_node_unref(n);
	tree_done(&t);
}

#define MANY 2000u

static void test_names_that_are_on_the_device_only_are_not_waited_for(void **state)
{
	struct tree_fixture t;
	unsigned i = 0;
	char name[16];

	(void)state;
	tree_init(&t, 64 * MIB);
	for (unsigned k = 0; k < MANY; k++) {
		snprintf(name, sizeof(name), "f%u", k);
		vfs_node_unref(make_file(t.top, name));
	}
	tree_restart(&t);
	do {
		assert_true(i < MANY);
		snprintf(name, sizeof(name), "f%u", i++);
	} while (nowait_lookup(t.top, name) != -EAGAIN);
	nowait_begin();
	assert_int_equal(remove_name(t.top, name, false), -EAGAIN);
	assert_int_equal(rename_to(t.top, name, t.top, "b", 0), -EAGAIN);
	nowait_end();
	assert_int_equal(lookup_error(t.top, "b"), -ENOENT);
	assert_ok(lookup_error(t.top, name));
	assert_ok(nowait_lookup(t.top, name));
	tree_restart(&t);
	tree_done(&t);
}

/* What another thread has locked, perhaps while it reads. */
static void test_locked_directory_is_not_waited_for(void **state)
{
	struct object *dir;
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	tree_init(&t, 64 * MIB);
	vfs_node_unref(make_file(t.top, "a"));
	dir = filetree_object(t.top);
	sync_mutex_lock(&dir->lock);
	nowait_begin();
	assert_int_equal(make_type(t.top, "b", VFS_TYPE_FILE, &n), -EAGAIN);
	assert_int_equal(remove_name(t.top, "a", false), -EAGAIN);
	assert_ok(lookup_error(t.top, "a"));
	nowait_end();
	sync_mutex_unlock(&dir->lock);
	assert_int_equal(lookup_error(t.top, "b"), -ENOENT);
	tree_restart(&t);
	tree_done(&t);
}

/* Each of these takes several steps, or writes. */
static void test_what_takes_steps_is_left_to_others(void **state)
{
	struct vfs_set_attr cut = { .valid = VFS_SET_SIZE };
	struct vfs_node *a, *b, *d, *e;
	struct tree_fixture t;

	(void)state;
	tree_init(&t, 64 * MIB);
	a = make_file(t.top, "a");
	b = make_file(t.top, "b");
	d = make_dir(t.top, "d");
	e = make_dir(t.top, "e");
	assert_ok(node_write(a, 0, "x", 1, 0));
	nowait_begin();
	assert_int_equal(a->ops->set_attr(a, &cut), -EAGAIN);
	assert_int_equal(rename_to(t.top, "a", t.top, "b", 0), -EAGAIN);
	assert_int_equal(rename_to(t.top, "d", e, "d", 0), -EAGAIN);
	nowait_end();
	assert_int_equal(node_stat(a).size_bytes, 1);
	assert_int_equal(node_stat(b).link_count, 1);
	assert_ok(lookup_error(t.top, "d"));
	vfs_node_unref(a);
	vfs_node_unref(b);
	vfs_node_unref(d);
	vfs_node_unref(e);
	tree_restart(&t);
	tree_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_in_memory_is_done_without_waiting),
		cmocka_unit_test(test_part_of_a_page_behind_the_end_is_written_without_waiting),
		cmocka_unit_test(test_names_that_are_on_the_device_only_are_not_waited_for),
		cmocka_unit_test(test_locked_directory_is_not_waited_for),
		cmocka_unit_test(test_what_takes_steps_is_left_to_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
