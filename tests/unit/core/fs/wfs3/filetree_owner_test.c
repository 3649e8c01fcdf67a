/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the VFS saw at a name may have changed when a file tree takes the name away: it is the owner and the flags of
 * what has the name by then that count. In a transaction: when it is committed.
 */
#include "tests/unit/core/fs/wfs3/filetx_fixture.h"

#define DEVICE_BYTES (UINT64_C(128) << 20)
#define ROUNDS 2000u
#define HIS 7u /* what make_file() makes is his */

static const struct vfs_taker his[2] = { { .uid = HIS, .owner_only = true }, { .uid = HIS, .owner_only = true } };

static int his_unlink(struct vfs_node *dir, const char *name)
{
	return dir->ops->unlink(dir, name, strlen(name), false, his, NULL);
}

static int his_rename(struct vfs_node *dir, const char *from, const char *to, unsigned flags)
{
	return dir->ops->rename(dir, from, strlen(from), dir, to, strlen(to), flags, his, NULL);
}

static void change_file(struct vfs_node *dir, const char *name, const struct vfs_set_attr *attr)
{
	struct vfs_node *n = node_at(dir, name);

	assert_ok(n->ops->set_attr(n, attr));
	vfs_node_unref(n);
}

static void make_files(struct vfs_node *dir)
{
	const struct vfs_set_attr take = { .valid = VFS_SET_UID, .uid = 0 };

	put_text(dir, "mine", "mine");
	put_text(dir, "other", "other");
	change_file(dir, "other", &take);
}

static void check_other_stays(struct vfs_node *dir)
{
	assert_int_equal(his_unlink(dir, "other"), -EPERM);
	assert_int_equal(his_rename(dir, "other", "x", 0), -EPERM);
	assert_int_equal(his_rename(dir, "mine", "other", 0), -EPERM);
	assert_int_equal(his_rename(dir, "mine", "other", VFS_RENAME_EXCHANGE), -EPERM);
	assert_int_equal(his_rename(dir, "other", "mine", VFS_RENAME_EXCHANGE), -EPERM);
	assert_string_equal(text_of(dir, "mine"), "mine");
	assert_string_equal(text_of(dir, "other"), "other");
}

static void check_names_in(struct vfs_node *dir)
{
	struct vfs_set_attr attr = { .valid = VFS_SET_UID, .uid = HIS };

	check_other_stays(dir);
	change_file(dir, "other", &attr);
	attr = (struct vfs_set_attr){ .valid = VFS_SET_FLAGS, .flags = VFS_FLAG_APPEND };
	change_file(dir, "other", &attr);
	check_other_stays(dir);
	attr.flags = 0;
	change_file(dir, "other", &attr);
	assert_ok(his_rename(dir, "mine", "other", 0));
	assert_string_equal(text_of(dir, "other"), "mine");
	assert_ok(his_unlink(dir, "other"));
}

static void test_names_are_taken_from_what_is_his_and_not_protected(void **state)
{
	struct tree_fixture t;

	(void)state;
	tree_init(&t, DEVICE_BYTES);
	make_files(t.top);
	check_names_in(t.top);
	tree_done(&t);
}

static void test_a_transaction_takes_names_from_what_is_his_and_not_protected(void **state)
{
	struct tree_fixture t;
	struct vfs_node *top;
	struct vfs_tx *tx;

	(void)state;
	tree_init(&t, DEVICE_BYTES);
	make_files(t.top);
	tx = tx_begin(&t, VFS_TX_SNAPSHOT);
	top = tx_top(&t, tx);
	check_names_in(top);
	vfs_node_unref(top);
	assert_ok(tx_end(tx));
	assert_int_equal(lookup_error(t.top, "other"), -ENOENT);
	tree_done(&t);
}

/* @op is done inside; then the file gets another owner, or another file its name. */
static void check_conflicts(int (*op)(struct vfs_node *dir), bool swaps)
{
	const struct vfs_set_attr take = { .valid = VFS_SET_UID, .uid = 0 };
	struct tree_fixture t;
	struct vfs_node *top;
	struct vfs_tx *tx;

	tree_init(&t, DEVICE_BYTES);
	make_files(t.top);
	put_text(t.top, "n", "n");
	tx = tx_begin(&t, VFS_TX_SNAPSHOT);
	top = tx_top(&t, tx);
	assert_ok(op(top));
	if (swaps)
		assert_ok(rename_to(t.top, "other", t.top, "n", VFS_RENAME_EXCHANGE));
	else
		change_file(t.top, "n", &take);
	vfs_node_unref(top);
	assert_int_equal(tx_end(tx), -EBUSY);
	assert_string_equal(text_of(t.top, "n"), swaps ? "other" : "n");
	tree_done(&t);
}

static int remove_n(struct vfs_node *dir)
{
	return his_unlink(dir, "n");
}

static int move_n(struct vfs_node *dir)
{
	return his_rename(dir, "n", "x", 0);
}

static int replace_n(struct vfs_node *dir)
{
	return his_rename(dir, "mine", "n", 0);
}

static void test_what_changed_before_a_commit_keeps_its_name(void **state)
{
	(void)state;
	for (unsigned swaps = 0; swaps < 2; swaps++) {
		check_conflicts(remove_n, swaps);
		check_conflicts(move_n, swaps);
		check_conflicts(replace_n, swaps);
	}
}

struct swapper {
	struct tree_fixture t;
	unsigned stop; /* atomic */
};

/* "n" is his and root's in turns. */
static void swap_files(void *arg)
{
	struct swapper *s = arg;

	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		int rc = rename_to(s->t.top, "other", s->t.top, "n", VFS_RENAME_EXCHANGE);

		assert_true(rc == 0 || rc == -ENOENT); /* there is no "n" */
	}
}

static bool is_at(struct vfs_node *dir, const char *name, const struct vfs_node *file)
{
	struct vfs_node *n;

	if (dir->ops->lookup(dir, name, strlen(name), &n))
		return false;
	vfs_node_unref(n);
	return n == file;
}

static int take_n(struct vfs_node *dir, unsigned round)
{
	if (round % 3 == 0)
		return his_unlink(dir, "n");
	if (round % 3 == 1)
		return his_rename(dir, "mine", "n", 0);
	return his_rename(dir, "n", "mine", 0);
}

/* There is a "mine", and an "n", again, which are his. */
static void put_back(struct vfs_node *dir)
{
	const char *const names[] = { "mine", "n" };

	for (unsigned i = 0; i < 2; i++) {
		struct vfs_node *n;
		int rc = make_type(dir, names[i], VFS_TYPE_FILE, &n);

		if (!rc)
			vfs_node_unref(n);
		else
			assert_int_equal(rc, -EEXIST);
	}
}

static void test_names_that_are_swapped_all_the_time_are_never_taken_from_roots_file(void **state)
{
	struct swapper s = { 0 };
	struct sync_thread thread;
	struct vfs_node *file;
	unsigned taken = 0, refused = 0;

	(void)state;
	tree_init(&s.t, DEVICE_BYTES);
	make_files(s.t.top);
	put_back(s.t.top);
	file = node_at(s.t.top, "other");
	assert_int_equal(sync_thread_start(&thread, "swapper", swap_files, &s), 0);
	for (unsigned i = 0; i < ROUNDS || !taken || !refused; i++) {
		int rc = take_n(s.t.top, i);

		assert_true(rc == 0 || rc == -EPERM || rc == -ENOENT);
		taken += rc == 0;
		refused += rc == -EPERM;
		assert_int_equal(node_stat(file).link_count, 1);
		put_back(s.t.top);
	}
	__atomic_store_n(&s.stop, 1, __ATOMIC_RELAXED);
	sync_thread_join(&thread);
	assert_true(is_at(s.t.top, "n", file) || is_at(s.t.top, "other", file));
	vfs_node_unref(file);
	tree_done(&s.t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_are_taken_from_what_is_his_and_not_protected),
		cmocka_unit_test(test_a_transaction_takes_names_from_what_is_his_and_not_protected),
		cmocka_unit_test(test_what_changed_before_a_commit_keeps_its_name),
		cmocka_unit_test(test_names_that_are_swapped_all_the_time_are_never_taken_from_roots_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
