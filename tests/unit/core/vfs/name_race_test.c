/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who may take a name from what was his, or was not protected, does not take it from what has it by then: another file
 * that comes there between the check and the change.
 */
#include "tests/unit/core/vfs/tree_fixture.h"

static const struct vfs_cred user = { .uid = 100, .gid = 200 };

/* What root does in the middle of the user's operation: "other" gets the name "n". */
struct race {
	struct tree_env *e;
	uint64_t other; /* its number */
	uint32_t flags; /* that it gets then */
	bool empty; /* nothing has the name before */
	bool done;
};

static int rename_as(struct tree_env *e, const struct vfs_cred *cred, const char *from, const char *to, unsigned flags)
{
	return vfs_rename(e->top, cred, from, strlen(from), e->top, to, strlen(to), flags);
}

static void root_comes_between(void *ctx)
{
	struct race *r = ctx;

	if (r->done)
		return;
	r->done = true;
	assert_int_equal(rename_as(r->e, ROOT, "other", "n", r->empty ? 0 : VFS_RENAME_EXCHANGE), 0);
	set_flags(r->e, "/t/n", r->flags);
}

/* "mine" is the user's, as is "n", unless there is none. */
static void start(struct race *r, struct tree_env *e, uint32_t dir_mode, uint32_t uid)
{
	e->fs.root->st.mode = dir_mode;
	make(e, "/t/mine", VFS_TYPE_FILE, 0644);
	own(e, "/t/mine", user.uid, user.gid, 0644);
	if (!r->empty) {
		make(e, "/t/n", VFS_TYPE_FILE, 0644);
		own(e, "/t/n", user.uid, user.gid, 0644);
	}
	make(e, "/t/other", VFS_TYPE_FILE, 0644);
	own(e, "/t/other", uid, 0, 0644);
	r->e = e;
	r->other = object_at(e, "/t/other");
	e->fs.before_removal_ctx = r;
	e->fs.before_removal = root_comes_between;
}

static void check_refused(const struct race *r, int err)
{
	assert_true(r->done);
	assert_int_equal(err, -EPERM);
	assert_int_equal(object_at(r->e, "/t/n"), r->other);
	assert_int_equal(walk_as(r->e, ROOT, "/t/mine", 0), 0);
}

static void test_roots_file_that_comes_to_a_sticky_directory_is_not_removed(void **state)
{
	struct race r = { 0 };

	start(&r, *state, 01777, 0);
	check_refused(&r, vfs_unlink(r.e->top, &user, "n", 1, false));
}

static void test_roots_file_that_comes_to_a_sticky_directory_is_not_renamed(void **state)
{
	struct race r = { 0 };

	start(&r, *state, 01777, 0);
	check_refused(&r, rename_as(r.e, &user, "n", "x", 0));
	assert_int_equal(walk_as(r.e, ROOT, "/t/x", 0), -ENOENT);
}

static void test_roots_file_that_comes_to_a_sticky_directory_is_not_replaced(void **state)
{
	struct race r = { 0 };

	start(&r, *state, 01777, 0);
	check_refused(&r, rename_as(r.e, &user, "mine", "n", 0));
}

static void test_roots_file_that_takes_an_empty_name_is_not_replaced(void **state)
{
	struct race r = { .empty = true };

	start(&r, *state, 01777, 0);
	check_refused(&r, rename_as(r.e, &user, "mine", "n", 0));
}

static void test_roots_file_that_comes_to_a_sticky_directory_is_not_exchanged(void **state)
{
	struct race r = { 0 };

	start(&r, *state, 01777, 0);
	check_refused(&r, rename_as(r.e, &user, "mine", "n", VFS_RENAME_EXCHANGE));
}

static void test_an_immutable_file_that_comes_is_neither_removed_nor_replaced(void **state)
{
	struct race r = { .flags = VFS_FLAG_IMMUTABLE };

	start(&r, *state, 0777, user.uid);
	check_refused(&r, vfs_unlink(r.e->top, &user, "n", 1, false));
	set_flags(r.e, "/t/n", 0);
	assert_int_equal(rename_as(r.e, ROOT, "other", "n", VFS_RENAME_EXCHANGE), 0);
	r.done = false;
	check_refused(&r, rename_as(r.e, &user, "mine", "n", 0));
}

static void test_what_comes_and_is_the_users_own_goes(void **state)
{
	struct race r = { 0 };

	start(&r, *state, 01777, user.uid);
	assert_int_equal(vfs_unlink(r.e->top, &user, "n", 1, false), 0);
	assert_true(r.done);
	assert_int_equal(walk_as(r.e, ROOT, "/t/n", 0), -ENOENT);
}

#define T(f) cmocka_unit_test_setup_teardown(f, tree_setup, tree_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_roots_file_that_comes_to_a_sticky_directory_is_not_removed),
		T(test_roots_file_that_comes_to_a_sticky_directory_is_not_renamed),
		T(test_roots_file_that_comes_to_a_sticky_directory_is_not_replaced),
		T(test_roots_file_that_takes_an_empty_name_is_not_replaced),
		T(test_roots_file_that_comes_to_a_sticky_directory_is_not_exchanged),
		T(test_an_immutable_file_that_comes_is_neither_removed_nor_replaced),
		T(test_what_comes_and_is_the_users_own_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
