/* SPDX-License-Identifier: BSD-3-Clause */
/* Attributes: bits that lend identities, frozen objects, sizes; and the name spaces of extended attributes. */
#include "tests/unit/core/vfs/tree_fixture.h"

static const uint32_t groups[] = { 201, 202 };
static const struct vfs_cred owner = { .uid = 100, .gid = 200, .group_count = 2, .groups = groups };
static const struct vfs_cred other = { .uid = 101, .gid = 200 };

static int setup(void **state)
{
	struct tree_env *e;

	(void)tree_setup(state);
	e = *state;
	make(e, "/t/f", VFS_TYPE_FILE, 0644);
	make(e, "/t/d", VFS_TYPE_DIR, 0755);
	own(e, "/t/f", owner.uid, owner.gid, 0644);
	own(e, "/t/d", owner.uid, owner.gid, 0755);
	return 0;
}

static int set_as(struct tree_env *e, const struct vfs_cred *cred, const char *path, struct vfs_set_attr a)
{
	struct vfs_handle *h = must_walk(e, path);
	int ret = vfs_set_attr(h, cred, &a, NULL);

	vfs_close(h);
	return ret;
}

#define SET(path, cred, ...) set_as(e, cred, path, (struct vfs_set_attr){ __VA_ARGS__ })

static int write_as(struct tree_env *e, const struct vfs_cred *cred, const char *path)
{
	struct vfs_handle *h = must_walk(e, path), *data;
	struct iovec iov = { "x", 1 };
	int ret = vfs_open_handle(h, cred, VFS_ACCESS_WRITE, &data);

	if (!ret) {
		ret = vfs_write(data, &iov, 1, 0, 0);
		vfs_close(data);
	}
	vfs_close(h);
	return ret;
}

static void test_changes_by_others_clear_setuid_bits(void **state)
{
	struct tree_env *e = *state;

	own(e, "/t/f", owner.uid, owner.gid, 06777);
	assert_int_equal(write_as(e, ROOT, "/t/f"), 0);
	assert_int_equal(stat_at(e, "/t/f").mode, 06777);
	assert_int_equal(write_as(e, &other, "/t/f"), 0);
	assert_int_equal(stat_at(e, "/t/f").mode, 0777);
	/* Without group execution, setgid means something else. */
	own(e, "/t/f", owner.uid, owner.gid, 06767);
	assert_int_equal(write_as(e, &owner, "/t/f"), 0);
	assert_int_equal(stat_at(e, "/t/f").mode, 02767);
	own(e, "/t/f", owner.uid, owner.gid, 06777);
	assert_int_equal(SET("/t/f", &owner, .valid = VFS_SET_SIZE, .size_bytes = 5), 0);
	assert_int_equal(stat_at(e, "/t/f").mode, 0777);
	own(e, "/t/f", owner.uid, owner.gid, 06777);
	assert_int_equal(SET("/t/f", &owner, .valid = VFS_SET_GID, .gid = 201), 0);
	assert_int_equal(stat_at(e, "/t/f").mode, 0777);
	own(e, "/t/d", owner.uid, owner.gid, 02755);
	assert_int_equal(SET("/t/d", &owner, .valid = VFS_SET_GID, .gid = 202), 0);
	assert_int_equal(stat_at(e, "/t/d").mode, 02755);
}

static void test_a_write_that_may_not_wait_leaves_clearing_to_one_that_may(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *h = must_walk(e, "/t/f"), *data;
	struct iovec iov = { "x", 1 };

	own(e, "/t/f", owner.uid, owner.gid, 04777);
	assert_int_equal(vfs_open_handle(h, &other, VFS_ACCESS_WRITE, &data), 0);
	assert_int_equal(vfs_write(data, &iov, 1, 0, VFS_NOWAIT), -EAGAIN);
	assert_int_equal(stat_at(e, "/t/f").mode, 04777);
	assert_int_equal(vfs_write(data, &iov, 1, 0, 0), 0);
	assert_int_equal(stat_at(e, "/t/f").mode, 0777);
	assert_int_equal(vfs_write(data, &iov, 1, 0, VFS_NOWAIT), 0);
	vfs_close(data);
	vfs_close(h);
}

static void test_a_handle_that_is_reopened_unchecked_stays_whose_it_was(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *h, *again;
	struct iovec iov = { "x", 1 };

	own(e, "/t/f", owner.uid, owner.gid, 04777);
	assert_int_equal(vfs_walk(e->vfs, &other, NULL, NULL, "/t/f", 0, &h), 0);
	assert_int_equal(vfs_open_handle(h, NULL, VFS_ACCESS_WRITE, &again), 0);
	assert_int_equal(vfs_write(again, &iov, 1, 0, 0), 0);
	assert_int_equal(stat_at(e, "/t/f").mode, 0777);
	vfs_close(again);
	vfs_close(h);
}

static void test_setgid_is_given_to_members_of_the_group_only(void **state)
{
	struct tree_env *e = *state;

	assert_int_equal(SET("/t/f", &owner, .valid = VFS_SET_MODE, .mode = 02755), 0);
	assert_int_equal(stat_at(e, "/t/f").mode, 02755);
	own(e, "/t/f", owner.uid, 999, 0644);
	assert_int_equal(SET("/t/f", &owner, .valid = VFS_SET_MODE, .mode = 02755), 0);
	assert_int_equal(stat_at(e, "/t/f").mode, 0755);
	assert_int_equal(SET("/t/f", &other, .valid = VFS_SET_MODE, .mode = 0777), -EPERM);
}

static void test_owners_give_files_to_their_groups_only(void **state)
{
	struct tree_env *e = *state;

	assert_int_equal(SET("/t/f", &owner, .valid = VFS_SET_GID, .gid = 202), 0);
	assert_int_equal(SET("/t/f", &owner, .valid = VFS_SET_GID, .gid = 203), -EPERM);
	assert_int_equal(SET("/t/f", &owner, .valid = VFS_SET_UID, .uid = 101), -EPERM);
	assert_int_equal(SET("/t/f", &owner, .valid = VFS_SET_UID, .uid = 100), 0);
	assert_int_equal(SET("/t/f", &other, .valid = VFS_SET_UID, .uid = 100), -EPERM);
	assert_int_equal(stat_at(e, "/t/f").gid, 202);
}

static void test_values_that_do_not_exist_are_refused(void **state)
{
	struct tree_env *e = *state;

	make_link(e, "/t/l", "f");
	assert_int_equal(SET("/t/f", ROOT, .valid = VFS_SET_MODE, .mode = 010000), -EINVAL);
	assert_int_equal(SET("/t/f", ROOT, .valid = VFS_SET_FLAGS, .flags = 4), -EINVAL);
	assert_int_equal(SET("/t/f", ROOT, .valid = VFS_SET_KILL_SUID), -EINVAL);
	assert_int_equal(SET("/t/f", ROOT, .valid = 1u << 31), -EINVAL);
	assert_int_equal(SET("/t/f", ROOT, .valid = VFS_SET_ATIME | VFS_SET_ATIME_NOW), -EINVAL);
	assert_int_equal(SET("/t/f", ROOT, .valid = VFS_SET_SIZE, .size_bytes = VFS_FILE_BYTES_MAX + 1), -EFBIG);
	assert_int_equal(SET("/t/d", ROOT, .valid = VFS_SET_SIZE), -EISDIR);
	assert_int_equal(SET("/t/l", ROOT, .valid = VFS_SET_SIZE), -EINVAL);
	assert_int_equal(SET("/t/l", ROOT, .valid = VFS_SET_MODE, .mode = 0600), -EOPNOTSUPP);
}

static void test_a_handle_for_writing_sets_the_size_whatever_the_mode_says(void **state)
{
	struct tree_env *e = *state;
	const struct vfs_new new = { .type = VFS_TYPE_FILE, .mode = 0 };
	const struct vfs_set_attr size = { .valid = VFS_SET_SIZE, .size_bytes = 7 };
	struct vfs_handle *d = must_walk(e, "/t/d"), *h;
	struct vfs_stat st;

	assert_int_equal(vfs_create(d, &owner, "n", 1, &new, VFS_ACCESS_WRITE, &h, &st), 0);
	assert_int_equal(vfs_set_attr(h, &owner, &size, &st), 0);
	assert_int_equal(st.size_bytes, 7);
	assert_int_equal(SET("/t/d/n", &owner, .valid = VFS_SET_SIZE), -EACCES);
	vfs_close(h);
	vfs_close(d);
}

static void test_append_only_files_grow_at_their_end_only(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *h = must_walk(e, "/t/f"), *data;
	struct iovec iov = { "abc", 3 };

	set_flags(e, "/t/f", VFS_FLAG_APPEND);
	assert_int_equal(vfs_open_handle(h, &owner, VFS_ACCESS_WRITE, &data), 0);
	assert_int_equal(vfs_write(data, &iov, 1, 0, 0), -EPERM);
	assert_int_equal(vfs_write(data, &iov, 1, 0, VFS_APPEND), 0);
	assert_int_equal(vfs_write(data, &iov, 1, 0, VFS_APPEND), 0);
	assert_int_equal(stat_at(e, "/t/f").size_bytes, 6);
	assert_int_equal(vfs_zero(data, 0, 1, 0), -EPERM);
	assert_int_equal(vfs_discard(data, 0, 1, 0), -EPERM);
	assert_int_equal(SET("/t/f", &owner, .valid = VFS_SET_SIZE), -EPERM);
	assert_int_equal(SET("/t/f", ROOT, .valid = VFS_SET_MODE, .mode = 0600), -EPERM);
	assert_int_equal(SET("/t/f", &owner, .valid = VFS_SET_MTIME_NOW), 0);
	vfs_close(data);
	vfs_close(h);
	set_flags(e, "/t/f", 0);
}

static void test_an_immutable_directory_takes_no_names(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *d = must_walk(e, "/t/d");

	make(e, "/t/d/x", VFS_TYPE_FILE, 0644);
	set_flags(e, "/t/d", VFS_FLAG_APPEND);
	assert_int_equal(create_as(d, ROOT, "y", VFS_TYPE_FILE, 0644, NULL), 0);
	assert_int_equal(vfs_unlink(d, ROOT, "x", 1, false), -EPERM);
	assert_int_equal(vfs_rename(d, ROOT, "x", 1, d, "z", 1, 0), -EPERM);
	set_flags(e, "/t/d", VFS_FLAG_IMMUTABLE);
	assert_int_equal(create_as(d, ROOT, "z", VFS_TYPE_FILE, 0644, NULL), -EPERM);
	set_flags(e, "/t/d", 0);
	assert_int_equal(vfs_unlink(d, ROOT, "x", 1, false), 0);
	vfs_close(d);
}

/* ---- extended attributes ---- */

static int xset(struct tree_env *e, const struct vfs_cred *cred, const char *path, const char *name, size_t len,
                unsigned flags)
{
	static const uint8_t bytes[VFS_XATTR_BYTES_MAX + 1];
	struct vfs_handle *h = must_walk(e, path);
	int ret = vfs_set_xattr(h, cred, name, bytes, len, flags);

	vfs_close(h);
	return ret;
}

static int xget(struct tree_env *e, const struct vfs_cred *cred, const char *path, const char *name, size_t cap,
                size_t *ret_len)
{
	static uint8_t buf[VFS_XATTR_BYTES_MAX];
	struct vfs_handle *h = must_walk(e, path);
	int ret = vfs_get_xattr(h, cred, name, buf, cap, ret_len);

	vfs_close(h);
	return ret;
}

static void test_name_spaces_are_for_those_they_are_meant_for(void **state)
{
	struct tree_env *e = *state;
	size_t len;

	make(e, "/t/p", VFS_TYPE_FIFO, 0666);
	make_link(e, "/t/l", "f");
	own(e, "/t/d", owner.uid, owner.gid, 01777);
	assert_int_equal(xset(e, &owner, "/t/f", "user.a", 1, 0), 0);
	assert_int_equal(xset(e, &other, "/t/f", "user.a", 1, 0), -EACCES);
	assert_int_equal(xset(e, &owner, "/t/f", "trusted.a", 1, 0), -EPERM);
	assert_int_equal(xset(e, ROOT, "/t/f", "trusted.a", 1, 0), 0);
	assert_int_equal(xset(e, &owner, "/t/f", "security.a", 1, 0), -EPERM);
	assert_int_equal(xset(e, ROOT, "/t/f", "security.a", 1, 0), 0);
	assert_int_equal(xset(e, ROOT, "/t/f", "system.a", 1, 0), -EOPNOTSUPP);
	assert_int_equal(xset(e, ROOT, "/t/f", "a", 1, 0), -EOPNOTSUPP);
	assert_int_equal(xset(e, ROOT, "/t/f", "user.", 1, 0), -EINVAL);
	assert_int_equal(xset(e, ROOT, "/t/p", "user.a", 1, 0), -EPERM);
	assert_int_equal(xset(e, ROOT, "/t/l", "user.a", 1, 0), -EPERM);
	assert_int_equal(xset(e, ROOT, "/t/l", "trusted.a", 1, 0), 0);
	assert_int_equal(xset(e, &other, "/t/d", "user.a", 1, 0), -EPERM); /* sticky */
	assert_int_equal(xset(e, &owner, "/t/d", "user.a", 1, 0), 0);
	assert_int_equal(xget(e, &owner, "/t/f", "trusted.a", 8, &len), -ENODATA);
	assert_int_equal(xget(e, &other, "/t/f", "security.a", 8, &len), 0);
	assert_int_equal(xget(e, ROOT, "/t/p", "user.a", 8, &len), -ENODATA);
}

static bool count_name(void *ctx, const char *name, size_t len)
{
	(void)name, (void)len;
	(*(unsigned *)ctx)++;
	return true;
}

static void test_trusted_attributes_are_listed_to_root_only(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *h = must_walk(e, "/t/f");
	unsigned mine = 0, all = 0;

	assert_int_equal(xset(e, ROOT, "/t/f", "trusted.a", 1, 0), 0);
	assert_int_equal(xset(e, ROOT, "/t/f", "user.a", 1, 0), 0);
	assert_int_equal(vfs_list_xattr(h, &owner, count_name, &mine), 0);
	assert_int_equal(vfs_list_xattr(h, ROOT, count_name, &all), 0);
	assert_int_equal(mine, 1);
	assert_int_equal(all, 2);
	vfs_close(h);
}

static void test_lengths_and_flags_of_extended_attributes_are_checked(void **state)
{
	struct tree_env *e = *state;
	char name[VFS_XATTR_NAME_MAX + 2];
	size_t len;

	memset(name, 'n', sizeof(name));
	memcpy(name, "user.", 5);
	name[VFS_XATTR_NAME_MAX + 1] = 0;
	assert_int_equal(xset(e, ROOT, "/t/f", name, 1, 0), -ERANGE);
	name[VFS_XATTR_NAME_MAX] = 0;
	assert_int_equal(xset(e, ROOT, "/t/f", name, 1, 0), 0);
	assert_int_equal(xset(e, ROOT, "/t/f", "user.big", VFS_XATTR_BYTES_MAX + 1, 0), -E2BIG);
	assert_int_equal(xset(e, ROOT, "/t/f", "user.big", VFS_XATTR_BYTES_MAX, VFS_XATTR_REPLACE), -ENODATA);
	assert_int_equal(xset(e, ROOT, "/t/f", "user.big", VFS_XATTR_BYTES_MAX, VFS_XATTR_CREATE), 0);
	assert_int_equal(xset(e, ROOT, "/t/f", "user.big", 1, VFS_XATTR_CREATE), -EEXIST);
	assert_int_equal(xset(e, ROOT, "/t/f", "user.big", 1, VFS_XATTR_CREATE | VFS_XATTR_REPLACE), -EINVAL);
	assert_int_equal(xget(e, ROOT, "/t/f", "user.big", 0, &len), 0);
	assert_int_equal(len, VFS_XATTR_BYTES_MAX);
	assert_int_equal(xget(e, ROOT, "/t/f", "user.big", 10, &len), -ERANGE);
	assert_int_equal(len, VFS_XATTR_BYTES_MAX);
	assert_int_equal(xset(e, ROOT, "/t/f", "user.empty", 0, 0), 0);
	assert_int_equal(xget(e, ROOT, "/t/f", "user.empty", 10, &len), 0);
	assert_int_equal(len, 0);
}

static void test_frozen_objects_keep_their_extended_attributes(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *h = must_walk(e, "/t/f");

	assert_int_equal(xset(e, ROOT, "/t/f", "user.a", 1, 0), 0);
	set_flags(e, "/t/f", VFS_FLAG_IMMUTABLE);
	assert_int_equal(xset(e, ROOT, "/t/f", "user.a", 2, 0), -EPERM);
	assert_int_equal(vfs_remove_xattr(h, ROOT, "user.a"), -EPERM);
	set_flags(e, "/t/f", 0);
	assert_int_equal(vfs_remove_xattr(h, &other, "user.a"), -EACCES);
	assert_int_equal(vfs_remove_xattr(h, &owner, "user.a"), 0);
	assert_int_equal(vfs_remove_xattr(h, &owner, "user.a"), -ENODATA);
	vfs_close(h);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, tree_teardown)
	const struct CMUnitTest tests[] = {
		T(test_changes_by_others_clear_setuid_bits),
		T(test_a_write_that_may_not_wait_leaves_clearing_to_one_that_may),
		T(test_a_handle_that_is_reopened_unchecked_stays_whose_it_was),
		T(test_setgid_is_given_to_members_of_the_group_only),
		T(test_owners_give_files_to_their_groups_only),
		T(test_values_that_do_not_exist_are_refused),
		T(test_a_handle_for_writing_sets_the_size_whatever_the_mode_says),
		T(test_append_only_files_grow_at_their_end_only),
		T(test_an_immutable_directory_takes_no_names),
		T(test_name_spaces_are_for_those_they_are_meant_for),
		T(test_trusted_attributes_are_listed_to_root_only),
		T(test_lengths_and_flags_of_extended_attributes_are_checked),
		T(test_frozen_objects_keep_their_extended_attributes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
