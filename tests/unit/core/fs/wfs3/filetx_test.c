/* SPDX-License-Identifier: BSD-3-Clause */
/* Transactions on a file tree: what is seen inside and outside, and conflicts. */
#include "tests/unit/core/fs/wfs3/filetx_fixture.h"

#define DEVICE_BYTES (256u << 20)

static void test_changes_are_seen_inside_and_outside_only_after_the_commit(void **state)
{
	struct tree_fixture t;
	struct vfs_node *top, *dir, *file;
	struct vfs_tx *tx;

	(void)state;
	tree_init(&t, DEVICE_BYTES);
	put_text(t.top, "old", "before");
	tx = tx_begin(&t, VFS_TX_SNAPSHOT);
	top = tx_top(&t, tx);
	dir = make_dir(top, "dir");
	file = make_file(dir, "new");
	assert_ok(node_write(file, 0, "hello", 5, 0));
	put_text(top, "old", "after all");
	assert_ok(rename_to(top, "old", dir, "moved", 0));
	assert_string_equal(text_of(dir, "new"), "hello");
	assert_string_equal(text_of(dir, "moved"), "after all");
	assert_int_equal(lookup_error(top, "old"), -ENOENT);
	assert_int_equal(lookup_error(t.top, "dir"), -ENOENT);
	assert_string_equal(text_of(t.top, "old"), "before");
	assert_int_equal(node_stat(top).size_bytes, 1);
	assert_int_equal(node_stat(top).link_count, 3);
	vfs_node_unref(file);
	vfs_node_unref(dir);
	vfs_node_unref(top);
	assert_ok(tx_end(tx));
	dir = node_at(t.top, "dir");
	assert_string_equal(text_of(dir, "new"), "hello");
	assert_string_equal(text_of(dir, "moved"), "after all");
	assert_int_equal(lookup_error(t.top, "old"), -ENOENT);
	assert_int_equal(node_stat(t.top).size_bytes, 1);
	assert_int_equal(node_stat(t.top).link_count, 3);
	vfs_node_unref(dir);
	tree_restart(&t);
	dir = node_at(t.top, "dir");
	assert_string_equal(text_of(dir, "new"), "hello");
	assert_string_equal(text_of(dir, "moved"), "after all");
	vfs_node_unref(dir);
	tree_done(&t);
}

static void test_abort_leaves_nothing(void **state)
{
	struct tree_fixture t;
	struct vfs_node *top, *file;
	struct vfs_tx *tx;
	char byte;

	(void)state;
	tree_init(&t, DEVICE_BYTES);
	put_text(t.top, "a", "one");
	tx = tx_begin(&t, VFS_TX_SNAPSHOT);
	top = tx_top(&t, tx);
	put_text(top, "a", "two");
	file = make_file(top, "b");
	assert_ok(tx->ops->abort(tx, -ECANCELED));
	assert_int_equal(node_read(file, 0, &byte, 1), -ECANCELED);
	assert_int_equal(lookup_error(top, "a"), -ECANCELED);
	assert_int_equal(tx->ops->commit(tx, false, NULL, NULL, NULL), -ECANCELED);
	tx->ops->free(tx);
	vfs_node_unref(file);
	vfs_node_unref(top);
	assert_string_equal(text_of(t.top, "a"), "one");
	assert_int_equal(lookup_error(t.top, "b"), -ENOENT);
	tree_restart(&t);
	tree_done(&t);
}

static void test_first_committer_wins_and_the_loser_is_told_about_what(void **state)
{
	struct tree_fixture t;
	struct vfs_node *top[2];
	struct vfs_tx *tx[2];
	struct vfs_tx_info info;

	(void)state;
	tree_init(&t, DEVICE_BYTES);
	put_text(t.top, "a", "one");
	for (unsigned i = 0; i < 2; i++) {
		tx[i] = tx_begin(&t, VFS_TX_SNAPSHOT);
		top[i] = tx_top(&t, tx[i]);
		put_text(top[i], "a", i ? "second" : "first");
		vfs_node_unref(top[i]);
	}
	assert_ok(tx_end(tx[1]));
	assert_int_equal(tx[0]->ops->commit(tx[0], false, NULL, NULL, NULL), -EBUSY);
	info = tx_info(tx[0]);
	assert_int_equal(info.state, VFS_TX_ABORTED);
	assert_int_equal(info.reason, -EBUSY);
	top[0] = node_at(t.top, "a");
	assert_int_equal(info.conflict.object, node_stat(top[0]).object);
	vfs_node_unref(top[0]);
	tx[0]->ops->free(tx[0]);
	assert_string_equal(text_of(t.top, "a"), "second");
	tree_done(&t);
}

static void test_a_change_outside_conflicts_like_one_inside_another(void **state)
{
	struct tree_fixture t;
	struct vfs_node *top;
	struct vfs_tx *tx;

	(void)state;
	tree_init(&t, DEVICE_BYTES);
	put_text(t.top, "a", "one");
	tx = tx_begin(&t, VFS_TX_SNAPSHOT);
	top = tx_top(&t, tx);
	put_text(top, "a", "inside");
	put_text(t.top, "a", "outside");
	vfs_node_unref(top);
	assert_int_equal(tx_end(tx), -EBUSY);
	assert_string_equal(text_of(t.top, "a"), "outside");
	tree_done(&t);
}

static void test_different_names_in_one_directory_do_not_conflict(void **state)
{
	struct tree_fixture t;
	struct vfs_node *top[2], *dir;
	struct vfs_tx *tx[2];
	uint64_t change;

	(void)state;
	tree_init(&t, DEVICE_BYTES);
	dir = make_dir(t.top, "dir");
	change = node_stat(dir).change;
	vfs_node_unref(dir);
	for (unsigned i = 0; i < 2; i++) {
		tx[i] = tx_begin(&t, VFS_TX_SERIALIZABLE);
		top[i] = tx_top(&t, tx[i]);
		dir = node_at(top[i], "dir");
		put_text(dir, i ? "x" : "y", "text");
		put_text(dir, i ? "xx" : "yy", "text");
		vfs_node_unref(dir);
	}
	put_text(t.top, "z", "outside");
	for (unsigned i = 0; i < 2; i++) {
		vfs_node_unref(top[i]);
		assert_ok(tx_end(tx[i]));
	}
	dir = node_at(t.top, "dir");
	/* Each name moves the counter. */
	assert_int_equal(node_stat(dir).size_bytes, 4);
	assert_int_equal(node_stat(dir).change, change + 4);
	vfs_node_unref(dir);
	tree_restart(&t);
	tree_done(&t);
}

static void test_the_same_name_conflicts(void **state)
{
	struct tree_fixture t;
	struct vfs_node *top[2];
	struct vfs_tx *tx[2];

	(void)state;
	tree_init(&t, DEVICE_BYTES);
	for (unsigned i = 0; i < 2; i++) {
		tx[i] = tx_begin(&t, VFS_TX_SNAPSHOT);
		top[i] = tx_top(&t, tx[i]);
		vfs_node_unref(make_file(top[i], "same"));
		vfs_node_unref(top[i]);
	}
	assert_ok(tx_end(tx[0]));
	assert_int_equal(tx[1]->ops->commit(tx[1], false, NULL, NULL, NULL), -EBUSY);
	assert_string_equal(tx_info(tx[1]).conflict_name, "same");
	tx[1]->ops->free(tx[1]);
	tree_done(&t);
}

/* Both read both files and change one: allowed where each only has to see a snapshot. */
static void write_skew(enum vfs_tx_isolation isolation, int want)
{
	struct tree_fixture t;
	struct vfs_node *top[2];
	struct vfs_tx *tx[2];

	tree_init(&t, DEVICE_BYTES);
	put_text(t.top, "a", "1");
	put_text(t.top, "b", "1");
	for (unsigned i = 0; i < 2; i++) {
		tx[i] = tx_begin(&t, isolation);
		top[i] = tx_top(&t, tx[i]);
		assert_string_equal(text_of(top[i], "a"), "1");
		assert_string_equal(text_of(top[i], "b"), "1");
		put_text(top[i], i ? "a" : "b", "0");
		vfs_node_unref(top[i]);
	}
	assert_ok(tx_end(tx[0]));
	assert_int_equal(tx_end(tx[1]), want);
	tree_done(&t);
}

static void test_write_skew_is_allowed_in_a_snapshot(void **state)
{
	(void)state;
	write_skew(VFS_TX_SNAPSHOT, 0);
}

static void test_write_skew_is_refused_where_serializable(void **state)
{
	(void)state;
	write_skew(VFS_TX_SERIALIZABLE, -EBUSY);
}

static void test_a_name_that_was_not_there_is_a_phantom(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		struct tree_fixture t;
		struct vfs_node *top;
		struct vfs_tx *tx;

		(void)state;
		tree_init(&t, DEVICE_BYTES);
		tx = tx_begin(&t, i ? VFS_TX_SERIALIZABLE : VFS_TX_SNAPSHOT);
		top = tx_top(&t, tx);
		assert_int_equal(lookup_error(top, "guard"), -ENOENT);
		put_text(top, "result", "x");
		put_text(t.top, "guard", "here");
		vfs_node_unref(top);
		assert_int_equal(tx_end(tx), i ? -EBUSY : 0);
		tree_done(&t);
	}
}

static bool count_entry(void *ctx, const struct vfs_dirent *e)
{
	(void)e;
	++*(unsigned *)ctx;
	return true;
}

static void test_a_listed_directory_has_no_phantoms(void **state)
{
	struct tree_fixture t;
	struct vfs_node *top;
	struct vfs_tx *tx;
	unsigned count = 0;

	(void)state;
	tree_init(&t, DEVICE_BYTES);
	put_text(t.top, "a", "1");
	tx = tx_begin(&t, VFS_TX_SERIALIZABLE);
	top = tx_top(&t, tx);
	put_text(top, "b", "2");
	assert_ok(top->ops->readdir(top, 0, count_entry, &count));
	assert_int_equal(count, 2);
	put_text(t.top, "c", "3");
	vfs_node_unref(top);
	assert_int_equal(tx_end(tx), -EBUSY);
	tree_done(&t);
}

/* What is read at different times belongs to one moment. */
static void test_reads_show_one_moment(void **state)
{
	struct tree_fixture t;
	struct vfs_node *top, *n;
	struct vfs_tx *tx;

	(void)state;
	tree_init(&t, DEVICE_BYTES);
	put_text(t.top, "a", "1");
	put_text(t.top, "b", "1");
	put_text(t.top, "c", "1");
	tx = tx_begin(&t, VFS_TX_SNAPSHOT);
	top = tx_top(&t, tx);
	assert_string_equal(text_of(top, "a"), "1");
	put_text(t.top, "a", "2");
	/* "b" is as old as what was read. */
	assert_string_equal(text_of(top, "b"), "1");
	put_text(t.top, "c", "2");
	/* This one is newer, and "a" is not what it was. */
	assert_int_equal(top->ops->lookup(top, "c", 1, &n), -EBUSY);
	vfs_node_unref(top);
	assert_int_equal(tx_end(tx), -EBUSY);
	tree_done(&t);
}

static void test_unrelated_changes_move_the_moment_on(void **state)
{
	struct tree_fixture t;
	struct vfs_node *top;
	struct vfs_tx *tx;

	(void)state;
	tree_init(&t, DEVICE_BYTES);
	put_text(t.top, "a", "1");
	put_text(t.top, "b", "1");
	tx = tx_begin(&t, VFS_TX_SERIALIZABLE);
	top = tx_top(&t, tx);
	assert_string_equal(text_of(top, "a"), "1");
	put_text(t.top, "b", "2");
	assert_string_equal(text_of(top, "b"), "2");
	put_text(top, "a", "3");
	vfs_node_unref(top);
	assert_ok(tx_end(tx));
	tree_done(&t);
}

static void test_truncation_and_growth_leave_zeros(void **state)
{
	struct tree_fixture t;
	struct vfs_node *top, *n;
	static char data[20000], back[20000];
	struct vfs_tx *tx;

	(void)state;
	memset(data, 'd', sizeof(data));
	tree_init(&t, DEVICE_BYTES);
	n = make_file(t.top, "f");
	assert_ok(node_write(n, 0, data, sizeof(data), 0));
	vfs_node_unref(n);
	tree_restart(&t);
	tx = tx_begin(&t, VFS_TX_SNAPSHOT);
	top = tx_top(&t, tx);
	n = node_at(top, "f");
	assert_ok(node_truncate(n, 5000));
	assert_ok(node_truncate(n, 18000));
	assert_ok(node_write(n, 12000, "xyz", 3, 0));
	memset(data + 5000, 0, 15000);
	memcpy(data + 12000, "xyz", 3);
	assert_ok(node_read(n, 0, back, 18000));
	assert_memory_equal(back, data, 18000);
	vfs_node_unref(n);
	vfs_node_unref(top);
	assert_ok(tx_end(tx));
	for (unsigned i = 0; i < 2; i++) {
		n = node_at(t.top, "f");
		assert_int_equal(node_stat(n).size_bytes, 18000);
		memset(back, 1, sizeof(back));
		assert_ok(node_read(n, 0, back, 18000));
		assert_memory_equal(back, data, 18000);
		assert_ok(node_truncate(n, 20000));
		assert_ok(node_read(n, 0, back, 20000));
		assert_memory_equal(back, data, 20000);
		assert_ok(node_truncate(n, 18000));
		vfs_node_unref(n);
		tree_restart(&t);
	}
	tree_done(&t);
}

static void test_attributes_links_and_removed_objects(void **state)
{
	struct vfs_set_attr mode = { .valid = VFS_SET_MODE, .mode = 0600 };
	struct tree_fixture t;
	struct vfs_node *top, *a, *d;
	static char big[9000], back[9000];
	struct vfs_tx *tx;
	size_t len;

	(void)state;
	memset(big, 'v', sizeof(big));
	tree_init(&t, DEVICE_BYTES);
	put_text(t.top, "a", "1");
	put_text(t.top, "gone", "data of it");
	vfs_node_unref(make_dir(t.top, "d"));
	a = node_at(t.top, "a");
	assert_ok(a->ops->set_xattr(a, "user.old", big, sizeof(big), 0, NULL));
	vfs_node_unref(a);
	tx = tx_begin(&t, VFS_TX_SNAPSHOT);
	top = tx_top(&t, tx);
	a = node_at(top, "a");
	assert_ok(a->ops->set_attr(a, &mode));
	assert_ok(a->ops->set_xattr(a, "user.new", big, 5000, 0, NULL));
	assert_ok(a->ops->set_xattr(a, "user.old", "short", 5, 0, NULL));
	assert_ok(link_to(top, "b", a));
	assert_int_equal(node_stat(a).link_count, 2);
	assert_ok(remove_name(top, "gone", false));
	assert_ok(remove_name(top, "d", true));
	d = make_dir(top, "e");
	assert_int_equal(remove_name(top, "e", false), -EISDIR);
	vfs_node_unref(make_file(d, "in"));
	assert_int_equal(remove_name(top, "e", true), -ENOTEMPTY);
	assert_int_equal(rename_to(top, "e", d, "itself", 0), -EINVAL);
	vfs_node_unref(d);
	vfs_node_unref(a);
	vfs_node_unref(top);
	assert_ok(tx_end(tx));
	for (unsigned i = 0; i < 2; i++) {
		a = node_at(t.top, "b");
		assert_int_equal(node_stat(a).mode, 0600);
		assert_int_equal(node_stat(a).link_count, 2);
		assert_ok(a->ops->get_xattr(a, "user.new", back, sizeof(back), &len));
		assert_int_equal(len, 5000);
		assert_ok(a->ops->get_xattr(a, "user.old", back, sizeof(back), &len));
		assert_int_equal(len, 5);
		vfs_node_unref(a);
		assert_int_equal(lookup_error(t.top, "gone"), -ENOENT);
		assert_int_equal(lookup_error(t.top, "d"), -ENOENT);
		assert_int_equal(lookup_error(t.top, "e"), 0);
		tree_restart(&t);
	}
	tree_done(&t);
}

static void test_directories_that_move_into_each_other_conflict(void **state)
{
	struct tree_fixture t;
	struct vfs_node *top[2], *a, *b;
	struct vfs_tx *tx[2];

	(void)state;
	tree_init(&t, DEVICE_BYTES);
	vfs_node_unref(make_dir(t.top, "a"));
	vfs_node_unref(make_dir(t.top, "b"));
	for (unsigned i = 0; i < 2; i++) {
		tx[i] = tx_begin(&t, VFS_TX_SNAPSHOT);
		top[i] = tx_top(&t, tx[i]);
		a = node_at(top[i], "a");
		b = node_at(top[i], "b");
		if (i)
			assert_ok(rename_to(top[i], "a", b, "a", 0));
		else
			assert_ok(rename_to(top[i], "b", a, "b", 0));
		vfs_node_unref(a);
		vfs_node_unref(b);
		vfs_node_unref(top[i]);
	}
	assert_ok(tx_end(tx[0]));
	assert_int_equal(tx_end(tx[1]), -EBUSY);
	tree_restart(&t);
	tree_done(&t);
}

static void test_hundreds_of_files_in_one(void **state)
{
	struct tree_fixture t;
	struct vfs_node *top, *dir;
	struct vfs_tx *tx;
	unsigned count = 0;

	(void)state;
	/* One transaction takes a quarter of the log at most. */
	tree_init(&t, 1u << 30);
	for (unsigned round = 0; round < 3; round++) {
		tx = tx_begin(&t, VFS_TX_SERIALIZABLE);
		top = tx_top(&t, tx);
		dir = round ? node_at(top, "d") : make_dir(top, "d");
		for (unsigned i = 0; i < 400; i++) {
			char name[32];

			snprintf(name, sizeof(name), "file-%u-%u", round, i);
			put_text(dir, name, "some text");
			snprintf(name, sizeof(name), "file-%u-%u", round - 1, i);
			if (round)
				assert_ok(remove_name(dir, name, false));
		}
		vfs_node_unref(dir);
		vfs_node_unref(top);
		assert_ok(tx_end(tx));
	}
	dir = node_at(t.top, "d");
	assert_ok(dir->ops->readdir(dir, 0, count_entry, &count));
	assert_int_equal(count, 400);
	vfs_node_unref(dir);
	tree_restart(&t);
	tree_done(&t);
}

static void test_those_that_are_over_take_no_place(void **state)
{
	const struct vfs_tx_args args = { .isolation = VFS_TX_SNAPSHOT };
	struct vfs_tx *over[300], *running[300];
	struct tree_fixture t;
	unsigned count = 0;
	int rc;

	(void)state;
	tree_init(&t, DEVICE_BYTES);
	for (unsigned i = 0; i < 300; i++) {
		over[i] = tx_begin(&t, VFS_TX_SNAPSHOT);
		if (i % 2)
			assert_ok(over[i]->ops->abort(over[i], -ECANCELED));
		else
			assert_ok(over[i]->ops->commit(over[i], false, NULL, NULL, NULL));
	}
	while ((rc = t.top->ops->tx_begin(t.top, &args, &running[count])) == 0)
		count++;
	assert_int_equal(rc, -EAGAIN);
	assert_int_equal(count, 256);
	for (unsigned i = 0; i < 300; i++)
		over[i]->ops->free(over[i]);
	assert_int_equal(t.top->ops->tx_begin(t.top, &args, &running[count]), -EAGAIN);
	running[0]->ops->free(running[0]);
	running[0] = tx_begin(&t, VFS_TX_SNAPSHOT);
	for (unsigned i = 0; i < count; i++)
		running[i]->ops->free(running[i]);
	tree_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_changes_are_seen_inside_and_outside_only_after_the_commit),
		cmocka_unit_test(test_abort_leaves_nothing),
		cmocka_unit_test(test_first_committer_wins_and_the_loser_is_told_about_what),
		cmocka_unit_test(test_a_change_outside_conflicts_like_one_inside_another),
		cmocka_unit_test(test_different_names_in_one_directory_do_not_conflict),
		cmocka_unit_test(test_the_same_name_conflicts),
		cmocka_unit_test(test_write_skew_is_allowed_in_a_snapshot),
		cmocka_unit_test(test_write_skew_is_refused_where_serializable),
		cmocka_unit_test(test_a_name_that_was_not_there_is_a_phantom),
		cmocka_unit_test(test_a_listed_directory_has_no_phantoms),
		cmocka_unit_test(test_reads_show_one_moment),
		cmocka_unit_test(test_unrelated_changes_move_the_moment_on),
		cmocka_unit_test(test_truncation_and_growth_leave_zeros),
		cmocka_unit_test(test_attributes_links_and_removed_objects),
		cmocka_unit_test(test_directories_that_move_into_each_other_conflict),
		cmocka_unit_test(test_hundreds_of_files_in_one),
		cmocka_unit_test(test_those_that_are_over_take_no_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
