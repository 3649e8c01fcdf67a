/* SPDX-License-Identifier: BSD-3-Clause */
/* Paths: ".", "..", symbolic links, confinement, mounts below directories, drive letters; and bad ones. */
#include "tests/unit/core/vfs/tree_fixture.h"

static const struct vfs_cred user = { .uid = 1000, .gid = 1000 };

/* /t/a/b/f, and symbolic links beside them. */
static int setup(void **state)
{
	struct tree_env *e;

	(void)tree_setup(state);
	e = *state;
	make(e, "/t/a", VFS_TYPE_DIR, 0755);
	make(e, "/t/a/b", VFS_TYPE_DIR, 0755);
	make(e, "/t/a/b/f", VFS_TYPE_FILE, 0644);
	return 0;
}

static void test_dots_and_repeated_slashes_lead_where_posix_says(void **state)
{
	struct tree_env *e = *state;
	uint64_t b = object_at(e, "/t/a/b");

	assert_int_equal(object_at(e, "/t//a/./b/"), b);
	assert_int_equal(object_at(e, "/t/a/b/../b"), b);
	assert_int_equal(object_at(e, "/t/a/../../t/a/b/."), b);
	assert_int_equal(object_at(e, "//t/a/b"), b);
	assert_int_equal(object_at(e, "/../../../t/a/b"), b);
}

static void test_top_is_a_directory_like_others(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *h = must_walk(e, "/t/..");
	struct vfs_stat st;

	assert_int_equal(vfs_stat(h, &st), 0);
	assert_int_equal(st.type, VFS_TYPE_DIR);
	assert_int_equal(st.fsid, 0);
	assert_int_equal(create_as(h, ROOT, "x", VFS_TYPE_FILE, 0644, NULL), -EROFS);
	vfs_close(h);
}

static void test_a_file_in_the_middle_of_a_path_is_enotdir(void **state)
{
	struct tree_env *e = *state;

	assert_int_equal(walk_as(e, ROOT, "/t/a/b/f/x", 0), -ENOTDIR);
	assert_int_equal(walk_as(e, ROOT, "/t/a/b/f/.", 0), -ENOTDIR);
	assert_int_equal(walk_as(e, ROOT, "/t/a/b/f/..", 0), -ENOTDIR);
	assert_int_equal(walk_as(e, ROOT, "/t/a/b/f/", 0), -ENOTDIR);
	assert_int_equal(walk_as(e, ROOT, "/t/a/b/g", 0), -ENOENT);
	assert_int_equal(walk_as(e, ROOT, "", 0), -ENOENT);
}

static void test_symbolic_links_are_followed_at_the_end_only_when_asked(void **state)
{
	struct tree_env *e = *state;
	uint64_t f = object_at(e, "/t/a/b/f");

	make_link(e, "/t/rel", "a/b/f");
	make_link(e, "/t/abs", "/t/a/b");
	make_link(e, "/t/a/up", "../a/./b");
	make_link(e, "/t/chain", "rel");
	assert_int_equal(object_at(e, "/t/rel"), f);
	assert_int_equal(object_at(e, "/t/chain"), f);
	assert_int_equal(object_at(e, "/t/abs/f"), f);
	assert_int_equal(object_at(e, "/t/a/up/f"), f);
	assert_int_equal(object_at(e, "/t/a/up/../b/f"), f);
	assert_int_equal(stat_at(e, "/t/rel").type, VFS_TYPE_SYMLINK);
	assert_int_equal(stat_at(e, "/t/abs").type, VFS_TYPE_SYMLINK);
	/* A '/' at the end asks for the directory. */
	assert_int_equal(stat_at(e, "/t/abs/").type, VFS_TYPE_DIR);
	assert_int_equal(walk_as(e, ROOT, "/t/rel/", 0), -ENOTDIR);
}

static void test_loops_of_symbolic_links_are_eloop(void **state)
{
	struct tree_env *e = *state;

	make_link(e, "/t/one", "two");
	make_link(e, "/t/two", "one");
	make_link(e, "/t/self", "self/x");
	assert_int_equal(walk_as(e, ROOT, "/t/one", VFS_WALK_FOLLOW), -ELOOP);
	assert_int_equal(walk_as(e, ROOT, "/t/one/x", 0), -ELOOP);
	assert_true(walk_as(e, ROOT, "/t/self", VFS_WALK_FOLLOW) == -ELOOP);
}

static void test_as_many_symbolic_links_as_allowed_are_followed_and_no_more(void **state)
{
	struct tree_env *e = *state;
	char path[64], target[64];

	make_link(e, "/t/l1", "a");
	for (unsigned i = 2; i <= VFS_SYMLINKS_MAX + 1; i++) {
		(void)snprintf(path, sizeof(path), "/t/l%u", i);
		(void)snprintf(target, sizeof(target), "l%u", i - 1);
		make_link(e, path, target);
	}
	(void)snprintf(path, sizeof(path), "/t/l%u", VFS_SYMLINKS_MAX);
	assert_int_equal(walk_as(e, ROOT, path, VFS_WALK_FOLLOW), 0);
	(void)snprintf(path, sizeof(path), "/t/l%u", VFS_SYMLINKS_MAX + 1);
	assert_int_equal(walk_as(e, ROOT, path, VFS_WALK_FOLLOW), -ELOOP);
}

static void test_names_and_paths_that_are_too_long_are_refused(void **state)
{
	struct tree_env *e = *state;
	char path[VFS_PATH_MAX + 2], long_target[VFS_PATH_MAX];

	memset(path, 'x', sizeof(path));
	memcpy(path, "/t/", 3);
	path[3 + VFS_NAME_MAX] = 0;
	assert_int_equal(walk_as(e, ROOT, path, 0), -ENOENT);
	path[3 + VFS_NAME_MAX] = 'x';
	path[3 + VFS_NAME_MAX + 1] = 0;
	assert_int_equal(walk_as(e, ROOT, path, 0), -ENAMETOOLONG);
	for (size_t i = 2; i < sizeof(path); i++)
		path[i] = i & 1 ? '.' : '/';
	path[VFS_PATH_MAX - 1] = 0;
	assert_int_equal(walk_as(e, ROOT, path, 0), 0);
	path[VFS_PATH_MAX - 1] = '/';
	path[VFS_PATH_MAX] = 0;
	assert_int_equal(walk_as(e, ROOT, path, 0), -ENAMETOOLONG);
	/* A link's target, and what comes behind it, are one path. */
	memset(long_target, '/', sizeof(long_target));
	long_target[sizeof(long_target) - 1] = 0;
	make_link(e, "/t/far", long_target);
	assert_int_equal(walk_as(e, ROOT, "/t/far", VFS_WALK_FOLLOW), 0);
	assert_int_equal(walk_as(e, ROOT, "/t/far/x", 0), -ENAMETOOLONG);
}

static void test_names_are_bytes(void **state)
{
	struct tree_env *e = *state;
	const char *names[] = { "\xff\xfe", "a\x01\n", "A", " ", "...", "C:", "a\\b", "\xc3\xa9", "e\xcc\x81" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char path[64];

		(void)snprintf(path, sizeof(path), "/t/%s", names[i]);
		make(e, path, VFS_TYPE_FILE, 0644);
		assert_int_equal(walk_as(e, ROOT, path, 0), 0);
	}
}

static void test_bad_names_are_refused_in_lookups(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *h;

	assert_int_equal(vfs_lookup(e->top, ROOT, "", 0, &h), -EINVAL);
	assert_int_equal(vfs_lookup(e->top, ROOT, "a/b", 3, &h), -EINVAL);
	assert_int_equal(vfs_lookup(e->top, ROOT, "a\0b", 3, &h), -EINVAL);
	assert_int_equal(vfs_lookup(e->top, ROOT, "a", 1, &h), 0);
	vfs_close(h);
}

static void test_search_permission_is_needed_in_each_directory(void **state)
{
	struct tree_env *e = *state;

	assert_int_equal(walk_as(e, &user, "/t/a/b/f", 0), 0);
	own(e, "/t/a", 0, 0, 0744);
	assert_int_equal(walk_as(e, &user, "/t/a", 0), 0);
	assert_int_equal(walk_as(e, &user, "/t/a/b/f", 0), -EACCES);
	assert_int_equal(walk_as(e, &user, "/t/a/nope", 0), -EACCES);
	assert_int_equal(walk_as(e, &user, "/t/a/.", 0), -EACCES);
	assert_int_equal(walk_as(e, ROOT, "/t/a/b/f", 0), 0);
}

static int confined(struct tree_env *e, struct vfs_handle *root, struct vfs_handle *base, const char *path,
                    uint64_t *ret_object)
{
	struct vfs_handle *h;
	int ret = vfs_walk(e->vfs, ROOT, root, base, path, VFS_WALK_FOLLOW, &h);

	if (!ret) {
		*ret_object = object_of(h);
		vfs_close(h);
	}
	return ret;
}

static void test_nothing_leads_above_the_root_of_a_walk(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *root = must_walk(e, "/t/a"), *base = must_walk(e, "/t/a/b");
	uint64_t a = object_of(root), b = object_of(base), at;

	make_link(e, "/t/a/out", "../../t");
	make_link(e, "/t/a/abs", "/b");
	assert_int_equal(confined(e, root, NULL, "..", &at), 0);
	assert_int_equal(at, a);
	assert_int_equal(confined(e, root, base, "../../..", &at), 0);
	assert_int_equal(at, a);
	assert_int_equal(confined(e, root, base, "/", &at), 0);
	assert_int_equal(at, a);
	assert_int_equal(confined(e, root, NULL, "/abs", &at), 0);
	assert_int_equal(at, b);
	assert_int_equal(confined(e, root, NULL, "/out", &at), -ENOENT);
	assert_int_equal(confined(e, root, NULL, "/t", &at), -ENOENT);
	assert_int_equal(confined(e, root, base, "f", &at), 0);
	vfs_close(root);
	vfs_close(base);
}

/* ---- mounts below directories ---- */

static void test_mounts_lie_over_directories_and_dotdot_leads_out_of_them(void **state)
{
	struct tree_env *e = *state;
	struct treefs other;
	struct vfs_handle *b;

	treefs_init(&other);
	assert_int_equal(vfs_mount(e->vfs, "/t/a/b", &other.root->node, false), 0);
	assert_int_equal(walk_as(e, ROOT, "/t/a/b/f", 0), -ENOENT);
	b = must_walk(e, "/t/a/b");
	assert_int_equal(create_as(b, ROOT, "in", VFS_TYPE_DIR, 0755, NULL), 0);
	vfs_close(b);
	assert_int_equal(object_at(e, "/t/a/b/in/../../../a"), object_at(e, "/t/a"));
	assert_int_equal(vfs_mount(e->vfs, "/t/a/b/in", &e->fs.root->node, true), 0);
	assert_int_equal(object_at(e, "/t/a/b/in/a"), object_at(e, "/t/a"));
	assert_int_equal(object_at(e, "/t/a/b/in/.."), object_at(e, "/t/a/b"));
	assert_int_equal(vfs_unmount(e->vfs, "/t/a/b", false), -EBUSY);
	assert_int_equal(vfs_unmount(e->vfs, "/t/a/b/in", false), 0);
	assert_int_equal(vfs_unmount(e->vfs, "/t/a/b", false), 0);
	assert_int_equal(walk_as(e, ROOT, "/t/a/b/f", 0), 0);
	treefs_done(&other);
}

static void test_objects_of_what_lies_over_a_directory_are_found_by_number(void **state)
{
	struct tree_env *e = *state;
	struct treefs other;
	struct vfs_handle *top = must_walk(e, "/t"), *b, *h;
	struct vfs_fid fid;
	char name[8];

	treefs_init(&other);
	assert_int_equal(vfs_mount(e->vfs, "/t/a/b", &other.root->node, false), 0);
	b = must_walk(e, "/t/a/b");
	/* The last one has a number that the tree below has not given out. */
	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		assert_int_equal(create_as(b, ROOT, name, VFS_TYPE_DIR, 0755, NULL), 0);
	}
	vfs_close(b);
	h = must_walk(e, "/t/a/b/d99");
	assert_int_equal(vfs_get_fid(h, &fid), 0);
	vfs_close(h);
	assert_int_equal(vfs_open_fid(top, &fid, &h), 0);
	vfs_close(h);
	fid.object += 100;
	assert_int_equal(vfs_open_fid(top, &fid, &h), -ESTALE);
	fid.object -= 100;
	assert_int_equal(vfs_unmount(e->vfs, "/t/a/b", false), 0);
	assert_int_equal(vfs_open_fid(top, &fid, &h), -ESTALE);
	vfs_close(top);
	treefs_done(&other);
}

static void test_a_directory_that_is_mounted_over_stays(void **state)
{
	struct tree_env *e = *state;
	struct treefs other;
	struct vfs_handle *a;

	treefs_init(&other);
	make(e, "/t/a/m", VFS_TYPE_DIR, 0755);
	assert_int_equal(vfs_mount(e->vfs, "/t/a/m", &other.root->node, false), 0);
	a = must_walk(e, "/t/a");
	assert_int_equal(vfs_unlink(a, ROOT, "m", 1, true), -EBUSY);
	assert_int_equal(vfs_rename(a, ROOT, "m", 1, a, "n", 1, 0), -EBUSY);
	assert_int_equal(vfs_unmount(e->vfs, "/t/a/m", false), 0);
	assert_int_equal(vfs_unlink(a, ROOT, "m", 1, true), 0);
	vfs_close(a);
	treefs_done(&other);
}

static void test_bad_places_for_mounts_are_refused(void **state)
{
	struct tree_env *e = *state;
	struct vfs_node *root = &e->fs.root->node;
	char path[VFS_PATH_MAX + 8];

	assert_int_equal(vfs_mount(e->vfs, "/t", root, false), -EEXIST);
	assert_int_equal(vfs_mount(e->vfs, "t", root, false), -EEXIST);
	assert_int_equal(vfs_mount(e->vfs, "/t/none", root, false), -ENOENT);
	assert_int_equal(vfs_mount(e->vfs, "/t/a/b/f", root, false), -ENOTDIR);
	assert_int_equal(vfs_mount(e->vfs, "/t/a/../a", root, false), -EINVAL);
	assert_int_equal(vfs_mount(e->vfs, "/", root, false), -EINVAL);
	assert_int_equal(vfs_mount(e->vfs, "", root, false), -EINVAL);
	assert_int_equal(vfs_mount(e->vfs, "/x\n", root, false), -EINVAL);
	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = 0;
	assert_int_equal(vfs_mount(e->vfs, path, root, false), -ENAMETOOLONG);
	assert_int_equal(vfs_mount(e->vfs, "/t/a", root, false), 0);
	assert_int_equal(vfs_mount(e->vfs, "/t/a", root, false), -EEXIST);
	assert_int_equal(vfs_unmount(e->vfs, "/t/a", false), 0);
	assert_int_equal(vfs_unmount(e->vfs, "/t/a", false), -ENOENT);
}

static bool see_entry(void *ctx, const struct vfs_dirent *e)
{
	(void)snprintf((char *)ctx + strlen(ctx), 64 - strlen(ctx), "%.*s ", (int)e->name_len, e->name);
	return true;
}

static void test_the_top_lists_its_mounts_and_no_nested_ones(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *top = must_walk(e, "/");
	char seen[64] = "";

	assert_int_equal(vfs_mount(e->vfs, "/t/a", &e->fs.root->node, false), 0);
	assert_int_equal(vfs_mount(e->vfs, "/u", &e->fs.root->node, false), 0);
	assert_int_equal(vfs_readdir(top, ROOT, 0, see_entry, seen), 0);
	assert_string_equal(seen, "t u ");
	assert_int_equal(vfs_unmount(e->vfs, "/u", false), 0);
	assert_int_equal(vfs_unmount(e->vfs, "/t/a", false), 0);
	vfs_close(top);
}

/* ---- drives ---- */

static void test_a_drive_is_reached_with_slashes_of_both_kinds(void **state)
{
	struct tree_env *e = *state;
	uint64_t f = object_at(e, "/t/a/b/f");

	assert_int_equal(walk_as(e, ROOT, "C:\\a", 0), -ENOENT);
	assert_int_equal(vfs_set_drive(e->vfs, "/t", 'C'), 0);
	assert_int_equal(object_at(e, "C:\\a\\b\\f"), f);
	assert_int_equal(object_at(e, "C:/a/b/f"), f);
	assert_int_equal(object_at(e, "c:\\a/b\\f"), f);
	assert_int_equal(object_at(e, "C:"), object_at(e, "/t"));
	assert_int_equal(object_at(e, "C:\\"), object_at(e, "/t"));
	assert_int_equal(object_at(e, "C:\\..\\..\\a"), object_at(e, "/t/a"));
	make_link(e, "/t/abs", "/a/b/f");
	assert_int_equal(object_at(e, "C:\\abs"), f);
	assert_int_equal(walk_as(e, ROOT, "D:\\a", 0), -ENOENT);
	assert_int_equal(walk_as(e, ROOT, "CC:\\a", 0), -ENOENT);
	assert_int_equal(vfs_set_drive(e->vfs, "/t", 0), 0);
	assert_int_equal(walk_as(e, ROOT, "C:\\a", 0), -ENOENT);
}

static void test_a_confined_walk_knows_no_drives(void **state)
{
	struct tree_env *e = *state;
	uint64_t at;

	assert_int_equal(vfs_set_drive(e->vfs, "t", 'c'), 0);
	assert_int_equal(confined(e, e->top, NULL, "C:/a", &at), -ENOENT);
	assert_int_equal(confined(e, NULL, e->top, "C:/a", &at), -ENOENT);
	make(e, "/t/C:", VFS_TYPE_DIR, 0755);
	assert_int_equal(confined(e, e->top, NULL, "C:/", &at), 0);
	assert_int_equal(at, object_at(e, "/t/C:"));
}

static void test_drive_letters_are_given_once(void **state)
{
	struct tree_env *e = *state;

	assert_int_equal(vfs_set_drive(e->vfs, "/t", '1'), -EINVAL);
	assert_int_equal(vfs_set_drive(e->vfs, "/none", 'C'), -ENOENT);
	assert_int_equal(vfs_set_drive(e->vfs, "/t", 'C'), 0);
	assert_int_equal(vfs_set_drive(e->vfs, "/t", 'c'), 0);
	assert_int_equal(vfs_mount(e->vfs, "/u", &e->fs.root->node, false), 0);
	assert_int_equal(vfs_set_drive(e->vfs, "/u", 'c'), -EEXIST);
	assert_int_equal(vfs_unmount(e->vfs, "/u", false), 0);
}

static void expect_drive_path(struct tree_env *e, const char *given, const char *path)
{
	char got[VFS_PATH_MAX];

	assert_int_equal(vfs_drive_path(e->vfs, given, got), 0);
	assert_string_equal(got, path);
}

static void test_a_path_with_a_drive_is_told_from_the_top(void **state)
{
	struct tree_env *e = *state;
	char got[VFS_PATH_MAX], *path;

	assert_int_equal(vfs_drive_path(e->vfs, "C:\\a", got), -ENOENT);
	assert_int_equal(vfs_set_drive(e->vfs, "/t", 'C'), 0);
	expect_drive_path(e, "C:", "/t");
	expect_drive_path(e, "c:\\", "/t");
	expect_drive_path(e, "C:\\a/b\\f", "/t/a/b/f");
	expect_drive_path(e, "C:/a/", "/t/a");
	expect_drive_path(e, "/t/a\\b", "/t/a\\b");
	expect_drive_path(e, "C:a", "C:a");
	expect_drive_path(e, "", "");
	path = malloc(VFS_PATH_MAX + 8u);
	memset(path, 'x', VFS_PATH_MAX + 7u);
	path[VFS_PATH_MAX + 7] = '\0';
	assert_int_equal(vfs_drive_path(e->vfs, path, got), -ENAMETOOLONG);
	memcpy(path, "C:/", 3);
	assert_int_equal(vfs_drive_path(e->vfs, path, got), -ENAMETOOLONG);
	/* "/t" is as long as "C:". */
	path[VFS_PATH_MAX] = '\0';
	assert_int_equal(vfs_drive_path(e->vfs, path, got), -ENAMETOOLONG);
	path[VFS_PATH_MAX - 1] = '\0';
	assert_int_equal(vfs_drive_path(e->vfs, path, got), 0);
	assert_int_equal(strlen(got), VFS_PATH_MAX - 1);
	free(path);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, tree_teardown)
	const struct CMUnitTest tests[] = {
		T(test_dots_and_repeated_slashes_lead_where_posix_says),
		T(test_top_is_a_directory_like_others),
		T(test_a_file_in_the_middle_of_a_path_is_enotdir),
		T(test_symbolic_links_are_followed_at_the_end_only_when_asked),
		T(test_loops_of_symbolic_links_are_eloop),
		T(test_as_many_symbolic_links_as_allowed_are_followed_and_no_more),
		T(test_names_and_paths_that_are_too_long_are_refused),
		T(test_names_are_bytes),
		T(test_bad_names_are_refused_in_lookups),
		T(test_search_permission_is_needed_in_each_directory),
		T(test_nothing_leads_above_the_root_of_a_walk),
		T(test_mounts_lie_over_directories_and_dotdot_leads_out_of_them),
		T(test_objects_of_what_lies_over_a_directory_are_found_by_number),
		T(test_a_directory_that_is_mounted_over_stays),
		T(test_bad_places_for_mounts_are_refused),
		T(test_the_top_lists_its_mounts_and_no_nested_ones),
		T(test_a_drive_is_reached_with_slashes_of_both_kinds),
		T(test_a_confined_walk_knows_no_drives),
		T(test_drive_letters_are_given_once),
		T(test_a_path_with_a_drive_is_told_from_the_top),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
