/* SPDX-License-Identifier: BSD-3-Clause */
/* A FAT volume in the VFS's namespace: what front ends do with it. */
#include "core/fs/fat/fat_vfs.h"

#include "tests/unit/core/fs/fat/fat_fixture.h"
#include "tests/unit/core/vfs/mounted.h"

struct env {
	struct volume v;
	struct vfs *vfs;
	struct fat_vfs *mount;
	struct vfs_handle *root;
	int gone; /* how often, or the error */
};

static void gone(void *ctx, int rc)
{
	struct env *e = ctx;

	e->gone = rc ? rc : e->gone + 1;
}

static void setup(struct env *e)
{
	static const struct fat_mkfs_options mkfs = { .type = 16, .cluster_bytes = 2048, .sector_bytes = 512 };
	struct fat_vfs_options options = {
		.uid = 7, .gid = 8, .file_mode = 0644, .dir_mode = 0755, .gone = gone, .ctx = e
	};
	struct fat_mount_options mount = { 0 };
	struct vfs_node *top;

	*e = (struct env){ 0 };
	vol_make(&e->v, 16 * MIB, &mkfs);
	mount.cache = e->v.cache;
	mount.budget = e->v.budget;
	must(fat_mount(e->v.dev, &mount, &e->v.fs));
	must(fat_vfs_new(e->v.fs, &options, &e->mount, &top));
	e->vfs = vfs_new();
	assert_non_null(e->vfs);
	must(vfs_mount(e->vfs, "stick", top, false));
	vfs_node_unref(top);
	must(vfs_walk(e->vfs, &vfs_cred_root, NULL, NULL, "/stick", 0, &e->root));
}

static void finish(struct env *e)
{
	vfs_close(e->root);
	must(vfs_unmount(e->vfs, "stick", false));
	assert_int_equal(e->gone, 1);
	vfs_free(e->vfs);
	assert_int_equal(vol_check(&e->v, false, true, NULL), 0);
	vol_done(&e->v);
}

static struct vfs_handle *create(struct env *e, struct vfs_handle *dir, const char *name, enum vfs_type type)
{
	struct vfs_new attr = { .type = type, .mode = 0644 };
	unsigned access = type == VFS_TYPE_FILE ? VFS_ACCESS_READ | VFS_ACCESS_WRITE : 0;
	struct vfs_handle *h = NULL;

	(void)e;
	must(vfs_create(dir, &vfs_cred_root, name, strlen(name), &attr, access, &h, NULL));
	return h;
}

static void test_files_are_written_appended_and_read(void **state)
{
	struct vfs_handle *h, *again;
	struct vfs_stat st;
	struct env e;

	(void)state;
	setup(&e);
	h = create(&e, e.root, "A file.txt", VFS_TYPE_FILE);
	put(h, "hello", 0, 0);
	put(h, " world", 0, VFS_APPEND | VFS_FUA);
	assert_content(h, "hello world");
	must(vfs_stat(h, &st));
	assert_int_equal(st.size_bytes, 11);
	assert_int_equal(st.uid, 7);
	assert_int_equal(st.mode, 0644);
	assert_true(st.grows);
	must(vfs_open(e.vfs, "/stick/a FILE.txt", false, &again));
	assert_content(again, "hello world");
	vfs_close(again);
	vfs_close(h);
	finish(&e);
}

static void test_sizes_times_and_modes_are_set(void **state)
{
	struct vfs_set_attr set = { .valid = VFS_SET_SIZE | VFS_SET_MTIME | VFS_SET_MODE,
		                    .mode = 0444,
		                    .size_bytes = 3,
		                    .mtime_ns = UINT64_C(1600000001000000000) };
	struct vfs_set_attr owner = { .valid = VFS_SET_UID, .uid = 1 };
	struct vfs_handle *h;
	struct vfs_stat st;
	struct env e;

	(void)state;
	setup(&e);
	h = create(&e, e.root, "f", VFS_TYPE_FILE);
	put(h, "content", 0, 0);
	must(vfs_set_attr(h, &vfs_cred_root, &set, &st));
	assert_int_equal(st.size_bytes, 3);
	assert_int_equal(st.mode, 0444);
	assert_int_equal(st.mtime_ns, UINT64_C(1600000000000000000));
	assert_content(h, "con");
	assert_int_equal(vfs_set_attr(h, &vfs_cred_root, &owner, NULL), -EPERM);
	vfs_close(h);
	finish(&e);
}

struct seen {
	struct env *e;
	unsigned count;
	uint64_t last;
};

static bool see(void *ctx, const struct vfs_dirent *entry)
{
	struct seen *s = ctx;
	struct vfs_handle *h;
	struct vfs_stat st;

	/* Whoever is told may call back. */
	must(vfs_lookup(s->e->root, &vfs_cred_root, entry->name, entry->name_len, &h));
	must(vfs_stat(h, &st));
	assert_int_equal(st.object, entry->object);
	vfs_close(h);
	assert_true(entry->cookie > s->last);
	s->last = entry->cookie;
	s->count++;
	return s->count % 50 != 0;
}

static void test_directories_are_listed_in_parts(void **state)
{
	struct seen s = { 0 };
	char name[64];
	struct env e;

	(void)state;
	setup(&e);
	s.e = &e;
	for (unsigned i = 0; i < 120; i++) {
		snprintf(name, sizeof(name), "file number %u", i);
		vfs_close(create(&e, e.root, name, i % 10 ? VFS_TYPE_FILE : VFS_TYPE_DIR));
	}
	for (unsigned i = 0; i < 3; i++)
		must(vfs_readdir(e.root, &vfs_cred_root, s.last, see, &s));
	assert_int_equal(s.count, 120);
	finish(&e);
}

static void test_names_are_removed_moved_and_found_by_number(void **state)
{
	struct vfs_handle *dir, *h, *by_fid;
	struct vfs_new fifo = { .type = VFS_TYPE_FIFO, .mode = 0644 };
	struct vfs_statfs fs;
	struct vfs_fid fid;
	struct env e;

	(void)state;
	setup(&e);
	dir = create(&e, e.root, "dir", VFS_TYPE_DIR);
	h = create(&e, e.root, "f", VFS_TYPE_FILE);
	put(h, "content", 0, 0);
	must(vfs_rename(e.root, &vfs_cred_root, "f", 1, dir, "another name", 12, 0));
	must(vfs_get_fid(h, &fid));
	must(vfs_open_fid(e.root, &fid, &by_fid));
	vfs_close(by_fid);
	assert_int_equal(vfs_unlink(e.root, &vfs_cred_root, "dir", 3, true), -ENOTEMPTY);
	must(vfs_unlink(dir, &vfs_cred_root, "another name", 12, false));
	assert_content(h, "content");
	assert_int_equal(vfs_open_fid(e.root, &fid, &by_fid), -ESTALE);
	assert_int_equal(vfs_create(dir, &vfs_cred_root, "p", 1, &fifo, 0, &by_fid, NULL), -EPERM);
	must(vfs_unlink(e.root, &vfs_cred_root, "dir", 3, true));
	must(vfs_statfs(e.root, &fs));
	assert_true(fs.free_bytes > 15 * MIB && fs.free_bytes < fs.total_bytes);
	must(vfs_flush(e.root, 0));
	vfs_close(dir);
	vfs_close(h);
	finish(&e);
}

static void test_a_forced_unmount_leaves_stale_handles(void **state)
{
	struct vfs_handle *h;
	struct vfs_stat st;
	struct env e;

	(void)state;
	setup(&e);
	h = create(&e, e.root, "f", VFS_TYPE_FILE);
	put(h, "content", 0, 0);
	assert_int_equal(vfs_unmount(e.vfs, "stick", false), -EBUSY);
	fat_vfs_kill(e.mount);
	must(vfs_unmount(e.vfs, "stick", true));
	assert_int_equal(vfs_stat(h, &st), -ESTALE);
	assert_int_equal(e.gone, 0);
	vfs_close(h);
	vfs_close(e.root);
	assert_int_equal(e.gone, 1);
	vfs_free(e.vfs);
	assert_int_equal(vol_check(&e.v, false, true, NULL), 0);
	vol_done(&e.v);
}

static void test_an_object_has_one_node_however_it_was_found(void **state)
{
	struct env e;

	(void)state;
	setup(&e);
	check_one_node(e.vfs, create(&e, e.root, "f", VFS_TYPE_FILE), "/stick/f");
	finish(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files_are_written_appended_and_read),
		cmocka_unit_test(test_sizes_times_and_modes_are_set),
		cmocka_unit_test(test_directories_are_listed_in_parts),
		cmocka_unit_test(test_names_are_removed_moved_and_found_by_number),
		cmocka_unit_test(test_an_object_has_one_node_however_it_was_found),
		cmocka_unit_test(test_a_forced_unmount_leaves_stale_handles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
