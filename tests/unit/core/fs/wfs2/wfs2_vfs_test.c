/* SPDX-License-Identifier: BSD-3-Clause */
/* A WFS v2 volume in the VFS's namespace: what front ends do with it. */
#include "core/fs/wfs2/wfs2_vfs.h"

#include "tests/unit/core/fs/wfs2/fixture.h"
#include "tests/unit/core/vfs/mounted.h"

#define ROOT &vfs_cred_root

struct env {
	struct fixture f;
	struct vfs *vfs;
	struct wfs2_vfs *mount;
	struct vfs_handle *root;
	int gone; /* how often, or the error */
};

static void gone(void *ctx, int rc)
{
	struct env *e = ctx;

	e->gone = rc ? rc : e->gone + 1;
}

static void attach(struct env *e)
{
	struct wfs2_vfs_options options = {
		.uid = 7, .gid = 8, .file_mode = 0644, .dir_mode = 0755, .gone = gone, .ctx = e
	};
	struct vfs_node *top;

	fixture_mount(&e->f);
	assert_int_equal(wfs2_vfs_new(e->f.fs, &options, &e->mount, &top), 0);
	e->f.fs = NULL;
	assert_int_equal(vfs_mount(e->vfs, "legacy", top, false), 0);
	vfs_node_unref(top);
	assert_int_equal(vfs_walk(e->vfs, ROOT, NULL, NULL, "/legacy", 0, &e->root), 0);
}

static void detach(struct env *e)
{
	e->gone = 0;
	vfs_close(e->root);
	assert_int_equal(vfs_unmount(e->vfs, "legacy", false), 0);
	assert_int_equal(e->gone, 1);
	fixture_assert_clean(&e->f);
}

static void setup(struct env *e)
{
	*e = (struct env){ .vfs = vfs_new() };
	assert_non_null(e->vfs);
	fixture_init(&e->f, (uint64_t)2 << 20);
	attach(e);
}

static void finish(struct env *e)
{
	detach(e);
	vfs_free(e->vfs);
	fixture_done(&e->f);
}

static struct vfs_handle *create(struct env *e, const char *name, uint32_t mode)
{
	struct vfs_new attr = { .type = VFS_TYPE_FILE, .mode = mode };
	struct vfs_handle *h = NULL;

	assert_int_equal(
	        vfs_create(e->root, ROOT, name, strlen(name), &attr, VFS_ACCESS_READ | VFS_ACCESS_WRITE, &h, NULL), 0);
	return h;
}

static void test_files_are_written_appended_found_by_number_and_resized(void **state)
{
	struct vfs_set_attr set = { .valid = VFS_SET_SIZE | VFS_SET_MTIME | VFS_SET_MODE, .size_bytes = 4 };
	struct vfs_handle *h, *again;
	struct vfs_stat st;
	struct vfs_fid fid;
	struct env e;

	(void)state;
	setup(&e);
	h = create(&e, "file", 0644);
	put(h, "hello", 0, 0);
	put(h, " world", 0, VFS_APPEND);
	assert_content(h, "hello world");
	assert_int_equal(vfs_flush(h, 0), 0);
	assert_int_equal(vfs_get_fid(h, &fid), 0);
	set.mtime_ns = 12345;
	set.mode = 0444;
	assert_int_equal(vfs_set_attr(h, ROOT, &set, &st), 0);
	assert_true(st.size_bytes == 4 && st.mtime_ns == 12345 && st.mode == 0444);
	assert_true(st.uid == 7 && st.gid == 8 && st.link_count == 1);
	vfs_close(h);
	detach(&e);
	attach(&e);
	assert_int_equal(vfs_open_fid(e.root, &fid, &again), 0);
	assert_int_equal(vfs_open_handle(again, ROOT, VFS_ACCESS_READ, &h), 0);
	assert_content(h, "hell");
	vfs_close(h);
	vfs_close(again);
	assert_int_equal(vfs_unlink(e.root, ROOT, "file", 4, false), 0);
	assert_int_equal(vfs_open_fid(e.root, &fid, &again), -ESTALE);
	finish(&e);
}

static void test_a_file_is_read_without_a_copy_and_zeroed(void **state)
{
	struct vfs_handle *h;
	struct vfs_ref ref;
	struct vfs_stat st;
	struct env e;

	(void)state;
	setup(&e);
	h = create(&e, "file", 0644);
	put(h, "hello world", 0, 0);
	assert_int_equal(vfs_read_ref(h, 6, 5, 0, &ref), 0);
	assert_int_equal(ref.iov_count, 1);
	assert_int_equal(ref.iov[0].iov_len, 5);
	/* What is written meanwhile does not show in it. */
	put(h, "nobody", 5, 0);
	assert_memory_equal(ref.iov[0].iov_base, "world", 5);
	vfs_ref_release(&ref);
	assert_int_equal(vfs_zero(h, 1, 3, 0), 0);
	assert_int_equal(vfs_read_ref(h, 0, 11, 0, &ref), 0);
	assert_memory_equal(ref.iov[0].iov_base, "h\0\0\0onobody", 11);
	vfs_ref_release(&ref);
	/* Zeros take space like any data, so there is no fast way. */
	assert_int_equal(vfs_zero(h, 0, 11, VFS_FAST), -EOPNOTSUPP);
	assert_int_equal(vfs_zero(h, 0, 11, VFS_NOWAIT), -EAGAIN);
	assert_int_equal(vfs_zero(h, 0, 11, VFS_FUA), 0);
	assert_int_equal(vfs_stat(h, &st), 0);
	assert_int_equal(st.size_bytes, 11);
	vfs_close(h);
	finish(&e);
}

static bool count_entry(void *ctx, const struct vfs_dirent *e)
{
	(void)e;
	++*(unsigned *)ctx;
	return true;
}

static void test_names_are_listed_renamed_and_what_is_no_file_is_refused(void **state)
{
	struct vfs_new dir = { .type = VFS_TYPE_DIR, .mode = 0755 };
	struct vfs_stat before, after;
	struct vfs_statfs fs;
	struct vfs_handle *h;
	unsigned count = 0;
	struct env e;

	(void)state;
	setup(&e);
	assert_int_equal(vfs_stat(e.root, &before), 0);
	vfs_close(create(&e, "a", 0644));
	vfs_close(create(&e, "b", 0444));
	assert_int_equal(vfs_stat(e.root, &after), 0);
	assert_true(after.change > before.change);
	assert_int_equal(vfs_readdir(e.root, ROOT, 0, count_entry, &count), 0);
	assert_int_equal(count, 2);
	assert_int_equal(vfs_rename(e.root, ROOT, "a", 1, e.root, "b", 1, VFS_RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(vfs_rename(e.root, ROOT, "a", 1, e.root, "b", 1, VFS_RENAME_EXCHANGE), -EINVAL);
	assert_int_equal(vfs_rename(e.root, ROOT, "a", 1, e.root, "b", 1, 0), 0);
	assert_int_equal(vfs_create(e.root, ROOT, "d", 1, &dir, 0, &h, NULL), -EPERM);
	assert_int_equal(vfs_unlink(e.root, ROOT, "b", 1, true), -ENOTDIR);
	assert_int_equal(vfs_statfs(e.root, &fs), 0);
	assert_int_equal(fs.object_count, 1);
	assert_true(fs.free_bytes && fs.free_bytes < fs.total_bytes);
	assert_int_equal(vfs_flush(e.root, 0), 0);
	finish(&e);
}

static void test_a_forced_unmount_leaves_stale_handles(void **state)
{
	struct vfs_handle *h;
	struct vfs_stat st;
	struct env e;

	(void)state;
	setup(&e);
	h = create(&e, "f", 0644);
	put(h, "content", 0, 0);
	wfs2_vfs_kill(e.mount);
	assert_int_equal(vfs_unmount(e.vfs, "legacy", true), 0);
	assert_int_equal(vfs_stat(h, &st), -ESTALE);
	assert_int_equal(e.gone, 0);
	vfs_close(h);
	vfs_close(e.root);
	assert_int_equal(e.gone, 1);
	vfs_free(e.vfs);
	fixture_assert_clean(&e.f);
	fixture_done(&e.f);
}

static void test_an_object_has_one_node_however_it_was_found(void **state)
{
	struct env e;

	(void)state;
	setup(&e);
	check_one_node(e.vfs, create(&e, "f", 0644), "/legacy/f");
	finish(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files_are_written_appended_found_by_number_and_resized),
		cmocka_unit_test(test_a_file_is_read_without_a_copy_and_zeroed),
		cmocka_unit_test(test_names_are_listed_renamed_and_what_is_no_file_is_refused),
		cmocka_unit_test(test_an_object_has_one_node_however_it_was_found),
		cmocka_unit_test(test_a_forced_unmount_leaves_stale_handles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
