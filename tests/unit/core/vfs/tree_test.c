/* SPDX-License-Identifier: BSD-3-Clause */
/* Changes of the namespace through the VFS, on a file tree in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/core/vfs/treefs.h"

TREEFS_DEFINE_OPS;

static const struct vfs_cred alice = { .uid = 1000, .gid = 1000 };
static const struct vfs_cred bob = { .uid = 1001, .gid = 1001 };

struct env {
	struct treefs fs;
	struct vfs *vfs;
	struct vfs_handle *top; /* of the file tree; everybody may write */
};

static int setup(void **state)
{
	struct env *e = calloc(1, sizeof(*e));

	treefs_init(&e->fs);
	e->fs.root->st.mode = 0777;
	e->vfs = vfs_new();
	assert_int_equal(vfs_mount(e->vfs, "t", &e->fs.root->node, false), 0);
	assert_int_equal(vfs_walk(e->vfs, &vfs_cred_root, NULL, NULL, "/t", 0, &e->top), 0);
	*state = e;
	return 0;
}

static int teardown(void **state)
{
	struct env *e = *state;

	vfs_close(e->top);
	assert_int_equal(vfs_unmount(e->vfs, "t", false), 0);
	vfs_free(e->vfs);
	treefs_done(&e->fs);
	free(e);
	return 0;
}

static int make(struct env *e, const struct vfs_cred *cred, const char *name, enum vfs_type type, uint32_t mode,
                struct vfs_handle **ret)
{
	const struct vfs_new new = { .type = type, .mode = mode, .target = "target", .target_len = 6 };

	return vfs_create(e->top, cred, name, strlen(name), &new, VFS_ACCESS_READ | VFS_ACCESS_WRITE, ret, NULL);
}

static void make_ok(struct env *e, const struct vfs_cred *cred, const char *name, enum vfs_type type, uint32_t mode)
{
	struct vfs_handle *h;

	assert_int_equal(make(e, cred, name, type, mode, &h), 0);
	vfs_close(h);
}

static int unlink_name(struct env *e, const struct vfs_cred *cred, const char *name, bool want_dir)
{
	return vfs_unlink(e->top, cred, name, strlen(name), want_dir);
}

static int rename_name(struct env *e, const struct vfs_cred *cred, const char *name, const char *new_name,
                       unsigned flags)
{
	return vfs_rename(e->top, cred, name, strlen(name), e->top, new_name, strlen(new_name), flags);
}

static int stat_path(struct env *e, const char *path, struct vfs_stat *ret)
{
	struct vfs_handle *h;
	int err = vfs_walk(e->vfs, &vfs_cred_root, NULL, NULL, path, 0, &h);

	if (err)
		return err;
	err = vfs_stat(h, ret);
	vfs_close(h);
	return err;
}

static void test_new_objects_belong_to_who_made_them(void **state)
{
	struct env *e = *state;
	struct vfs_handle *h;
	struct vfs_stat st;

	make_ok(e, &alice, "dir", VFS_TYPE_DIR, 0750);
	assert_int_equal(stat_path(e, "/t/dir", &st), 0);
	assert_int_equal(st.uid, 1000);
	assert_int_equal(st.gid, 1000);
	assert_int_equal(st.mode, 0750);
	assert_int_equal(make(e, &alice, "dir", VFS_TYPE_FILE, 0644, &h), -EEXIST);
	assert_int_equal(make(e, &alice, "null", VFS_TYPE_CHAR, 0644, &h), -EPERM);
	assert_int_equal(make(e, &alice, "a/b", VFS_TYPE_FILE, 0644, &h), -EINVAL);
	assert_int_equal(make(e, &alice, "..", VFS_TYPE_FILE, 0644, &h), -EINVAL);
	make_ok(e, &alice, "\x01\xff", VFS_TYPE_FILE, 0644);
	assert_int_equal(stat_path(e, "/t/\x01\xff", &st), 0);
}

static void test_setgid_directory_passes_its_group_on(void **state)
{
	struct env *e = *state;
	struct vfs_stat st;

	e->fs.root->st.mode = 02777;
	e->fs.root->st.gid = 50;
	make_ok(e, &alice, "f", VFS_TYPE_FILE, 0644);
	make_ok(e, &alice, "d", VFS_TYPE_DIR, 0755);
	assert_int_equal(stat_path(e, "/t/f", &st), 0);
	assert_int_equal(st.gid, 50);
	assert_int_equal(st.mode, 0644);
	assert_int_equal(stat_path(e, "/t/d", &st), 0);
	assert_int_equal(st.gid, 50);
	assert_int_equal(st.mode, 02755);
}

static void test_handle_of_a_removed_file_goes_on_working(void **state)
{
	struct env *e = *state;
	struct vfs_handle *h;
	char buf[4];
	struct iovec out = { (char[]){ "abcd" }, 4 }, in = { buf, 4 };

	assert_int_equal(make(e, &alice, "f", VFS_TYPE_FILE, 0, &h), 0);
	assert_int_equal(unlink_name(e, &alice, "f", false), 0);
	assert_int_equal(unlink_name(e, &alice, "f", false), -ENOENT);
	assert_int_equal(vfs_write(h, &out, 1, 0, 0), 0);
	assert_int_equal(vfs_read(h, &in, 1, 0, 0), 0);
	assert_memory_equal(buf, "abcd", 4);
	vfs_close(h);
}

static void test_sticky_directory_protects_what_others_made(void **state)
{
	struct env *e = *state;

	e->fs.root->st.mode = 01777;
	make_ok(e, &alice, "f", VFS_TYPE_FILE, 0666);
	make_ok(e, &bob, "g", VFS_TYPE_FILE, 0666);
	assert_int_equal(unlink_name(e, &bob, "f", false), -EPERM);
	assert_int_equal(rename_name(e, &bob, "f", "h", 0), -EPERM);
	assert_int_equal(rename_name(e, &bob, "g", "f", 0), -EPERM);
	assert_int_equal(unlink_name(e, &alice, "f", false), 0);
	assert_int_equal(unlink_name(e, &vfs_cred_root, "g", false), 0);
}

static void test_rename_replaces_exchanges_or_refuses(void **state)
{
	struct env *e = *state;
	struct vfs_stat a, b, st;

	make_ok(e, &alice, "a", VFS_TYPE_FILE, 0600);
	make_ok(e, &alice, "b", VFS_TYPE_FILE, 0600);
	make_ok(e, &alice, "d", VFS_TYPE_DIR, 0700);
	assert_int_equal(stat_path(e, "/t/a", &a), 0);
	assert_int_equal(stat_path(e, "/t/b", &b), 0);
	assert_int_equal(rename_name(e, &alice, "a", "b", VFS_RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(rename_name(e, &alice, "a", "b", VFS_RENAME_EXCHANGE), 0);
	assert_int_equal(stat_path(e, "/t/a", &st), 0);
	assert_int_equal(st.object, b.object);
	assert_int_equal(rename_name(e, &alice, "a", "x", VFS_RENAME_EXCHANGE), -ENOENT);
	assert_int_equal(rename_name(e, &alice, "a", "d", 0), -EISDIR);
	assert_int_equal(rename_name(e, &alice, "d", "a", 0), -ENOTDIR);
	assert_int_equal(rename_name(e, &alice, "a", "b", 0), 0);
	assert_int_equal(stat_path(e, "/t/a", &st), -ENOENT);
	assert_int_equal(stat_path(e, "/t/b", &st), 0);
	assert_int_equal(st.object, b.object);
	assert_int_equal(rename_name(e, &alice, "b", "c", 8), -EINVAL);
}

static void test_links_count_and_directories_have_one_name(void **state)
{
	struct env *e = *state;
	struct vfs_handle *h, *d;
	struct vfs_stat st;

	assert_int_equal(make(e, &alice, "f", VFS_TYPE_FILE, 0600, &h), 0);
	assert_int_equal(make(e, &alice, "d", VFS_TYPE_DIR, 0700, &d), 0);
	assert_int_equal(vfs_link(e->top, &alice, "g", 1, h), 0);
	assert_int_equal(vfs_link(e->top, &alice, "g", 1, h), -EEXIST);
	assert_int_equal(vfs_link(e->top, &alice, "e", 1, d), -EPERM);
	assert_int_equal(vfs_link(d, &bob, "x", 1, h), -EACCES);
	assert_int_equal(vfs_stat(h, &st), 0);
	assert_int_equal(st.link_count, 2);
	assert_int_equal(unlink_name(e, &alice, "d", false), -EISDIR);
	assert_int_equal(unlink_name(e, &alice, "f", true), -ENOTDIR);
	assert_int_equal(unlink_name(e, &alice, "d", true), 0);
	vfs_close(h);
	vfs_close(d);
}

static void test_nameless_file_gets_a_name_or_goes(void **state)
{
	struct env *e = *state;
	struct vfs_handle *h;
	struct vfs_stat st;

	assert_int_equal(vfs_create_nameless(e->top, &alice, 0600, &h), 0);
	assert_int_equal(vfs_link(e->top, &alice, "f", 1, h), 0);
	vfs_close(h);
	assert_int_equal(stat_path(e, "/t/f", &st), 0);
	assert_int_equal(st.link_count, 1);
	assert_int_equal(vfs_create_nameless(e->top, &alice, 0600, &h), 0);
	vfs_close(h);
}

static void test_frozen_objects_stay_as_they_are(void **state)
{
	const struct vfs_set_attr freeze = { .valid = VFS_SET_FLAGS, .flags = VFS_FLAG_APPEND };
	struct env *e = *state;
	struct vfs_handle *h;
	struct iovec out = { (char[]){ "abcd" }, 4 };

	assert_int_equal(make(e, &alice, "f", VFS_TYPE_FILE, 0600, &h), 0);
	assert_int_equal(vfs_set_attr(h, &alice, &freeze, NULL), -EPERM);
	assert_int_equal(vfs_set_attr(h, &vfs_cred_root, &freeze, NULL), 0);
	assert_int_equal(vfs_write(h, &out, 1, 0, 0), -EPERM);
	assert_int_equal(vfs_write(h, &out, 1, 0, VFS_APPEND), 0);
	assert_int_equal(unlink_name(e, &alice, "f", false), -EPERM);
	assert_int_equal(rename_name(e, &alice, "f", "g", 0), -EPERM);
	assert_int_equal(vfs_link(e->top, &alice, "g", 1, h), -EPERM);
	vfs_close(h);
}

static void test_fid_finds_the_object_again_until_it_is_gone(void **state)
{
	struct env *e = *state;
	struct vfs_handle *h, *again;
	struct vfs_fid fid;

	assert_int_equal(make(e, &alice, "f", VFS_TYPE_FILE, 0600, &h), 0);
	assert_int_equal(vfs_get_fid(h, &fid), 0);
	vfs_close(h);
	assert_int_equal(vfs_open_fid(e->top, &fid, &again), 0);
	vfs_close(again);
	fid.fsid++;
	assert_int_equal(vfs_open_fid(e->top, &fid, &again), -ESTALE);
	fid.fsid--;
	assert_int_equal(unlink_name(e, &alice, "f", false), 0);
	assert_int_equal(vfs_open_fid(e->top, &fid, &again), -ESTALE);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_new_objects_belong_to_who_made_them),         T(test_setgid_directory_passes_its_group_on),
		T(test_handle_of_a_removed_file_goes_on_working),    T(test_sticky_directory_protects_what_others_made),
		T(test_rename_replaces_exchanges_or_refuses),        T(test_links_count_and_directories_have_one_name),
		T(test_nameless_file_gets_a_name_or_goes),           T(test_frozen_objects_stay_as_they_are),
		T(test_fid_finds_the_object_again_until_it_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
