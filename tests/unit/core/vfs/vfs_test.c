/* SPDX-License-Identifier: BSD-3-Clause */
/* The VFS over a file system of one directory and one file in memory. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/err.h"
#include "core/base/sync.h"
#include "core/vfs/vfs_ops.h"

#define FILE_BYTES 65536u

struct memfile {
	struct vfs_node node;
	uint8_t bytes[FILE_BYTES];
	unsigned opens, flushes;
	uint64_t flush_offset, flush_len; /* of the last one of a range */
	bool read_only;
	bool grows;
	bool released;
};

struct memdir {
	struct vfs_node node;
	struct memfile *file;
};

static void file_release(struct vfs_node *n)
{
	((struct memfile *)n)->released = true;
}

static void dir_release(struct vfs_node *n)
{
	(void)n;
}

static int file_stat(struct vfs_node *n, struct vfs_stat *ret)
{
	*ret = (struct vfs_stat){ .type = VFS_TYPE_FILE,
		                  .size_bytes = FILE_BYTES,
		                  .grows = ((struct memfile *)n)->grows,
		                  .read_only = ((struct memfile *)n)->read_only };
	return 0;
}

static int dir_stat(struct vfs_node *n, struct vfs_stat *ret)
{
	(void)n;
	*ret = (struct vfs_stat){ .type = VFS_TYPE_DIR };
	return 0;
}

static int dir_lookup(struct vfs_node *n, const char *name, size_t len, struct vfs_node **ret)
{
	struct memdir *d = (struct memdir *)n;

	if (len != 1 || name[0] != 'f')
		return err_set(-ENOENT, "no '%.*s'", (int)len, name);
	vfs_node_ref(&d->file->node);
	*ret = &d->file->node;
	return 0;
}

static int dir_readdir(struct vfs_node *n, uint64_t cookie, vfs_dir_fn *fn, void *ctx)
{
	struct vfs_dirent e = { .name = "f", .name_len = 1, .type = VFS_TYPE_FILE, .cookie = 1 };

	(void)n;
	if (!cookie)
		fn(ctx, &e);
	return 0;
}

static int file_open(struct vfs_node *n, bool writable)
{
	(void)writable;
	((struct memfile *)n)->opens++;
	return 0;
}

static void file_close(struct vfs_node *n, bool writable)
{
	(void)writable;
	((struct memfile *)n)->opens--;
}

static int file_read(struct vfs_node *n, const struct iovec *iov, int count, uint64_t offset, unsigned flags)
{
	(void)flags;
	for (int i = 0; i < count; offset += iov[i++].iov_len)
		memcpy(iov[i].iov_base, ((struct memfile *)n)->bytes + offset, iov[i].iov_len);
	return 0;
}

static int file_write(struct vfs_node *n, const struct iovec *iov, int count, uint64_t offset, unsigned flags)
{
	if (((struct memfile *)n)->grows && (flags & VFS_APPEND || offset + iov[0].iov_len > FILE_BYTES))
		return 0; /* what it would store does not matter */
	for (int i = 0; i < count; offset += iov[i++].iov_len)
		memcpy(((struct memfile *)n)->bytes + offset, iov[i].iov_base, iov[i].iov_len);
	return 0;
}

static int file_flush(struct vfs_node *n, unsigned flags)
{
	(void)flags;
	((struct memfile *)n)->flushes++;
	return 0;
}

static int file_flush_range(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags)
{
	(void)flags;
	((struct memfile *)n)->flush_offset = offset;
	((struct memfile *)n)->flush_len = len;
	return 0;
}

static const struct vfs_node_ops file_ops = {
	.release = file_release,
	.stat = file_stat,
	.open = file_open,
	.close = file_close,
	.read = file_read,
	.write = file_write,
	.flush = file_flush,
};
/* One that can tell the parts of a file apart. */
static const struct vfs_node_ops parted_ops = {
	.release = file_release,
	.stat = file_stat,
	.open = file_open,
	.close = file_close,
	.flush = file_flush,
	.flush_range = file_flush_range,
};
static const struct vfs_node_ops dir_ops = {
	.release = dir_release,
	.stat = dir_stat,
	.lookup = dir_lookup,
	.readdir = dir_readdir,
};

struct env {
	struct vfs *vfs;
	struct memfile file;
	struct memdir dir;
};

static int setup(void **state)
{
	struct env *e = calloc(1, sizeof(*e));

	vfs_node_init(&e->file.node, &file_ops, VFS_TYPE_FILE);
	vfs_node_init(&e->dir.node, &dir_ops, VFS_TYPE_DIR);
	e->dir.file = &e->file;
	e->vfs = vfs_new();
	assert_int_equal(vfs_mount(e->vfs, "tank", &e->dir.node, false), 0);
	*state = e;
	return 0;
}

static int teardown(void **state)
{
	struct env *e = *state;

	(void)vfs_unmount(e->vfs, "tank", true);
	vfs_free(e->vfs);
	free(e);
	return 0;
}

static void test_open_read_write_flush_close(void **state)
{
	struct env *e = *state;
	struct vfs_handle *h;
	char buf[8];
	struct iovec out[2] = { { .iov_base = (char[]){ "abcd" }, .iov_len = 4 },
		                { .iov_base = (char[]){ "efg" }, .iov_len = 4 } };
	struct iovec in = { .iov_base = buf, .iov_len = 8 };

	assert_int_equal(vfs_open(e->vfs, "/tank/f", true, &h), 0);
	assert_int_equal(e->file.opens, 1);
	assert_int_equal(vfs_write(h, out, 2, 1000, 0), 0);
	assert_int_equal(vfs_read(h, &in, 1, 1000, 0), 0);
	assert_string_equal(buf, "abcdefg");
	assert_int_equal(vfs_flush(h, 0), 0);
	assert_int_equal(e->file.flushes, 1);
	vfs_close(h);
	assert_int_equal(e->file.opens, 0);
	assert_false(e->file.released);
}

static void test_a_range_is_flushed_with_the_file_where_parts_are_not_told_apart(void **state)
{
	static const struct {
		uint64_t offset, len, whole_len;
	} rows[] = { { 0, 1, 1 },
		     { 5000, 0, UINT64_MAX - 5000 },
		     { UINT64_MAX, 0, 0 },
		     { UINT64_MAX - 7, 7, 7 },
		     { 0, UINT64_MAX, UINT64_MAX } };
	struct env *e = *state;
	struct vfs_handle *h;

	assert_int_equal(vfs_open(e->vfs, "/tank/f", false, &h), 0);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		e->file.node.ops = &file_ops;
		e->file.flushes = 0;
		assert_int_equal(vfs_flush_range(h, rows[i].offset, rows[i].len, 0), 0);
		assert_int_equal(e->file.flushes, 1);
		e->file.node.ops = &parted_ops;
		assert_int_equal(vfs_flush_range(h, rows[i].offset, rows[i].len, 0), 0);
		assert_int_equal(e->file.flushes, 1);
		assert_int_equal(e->file.flush_offset, rows[i].offset);
		assert_int_equal(e->file.flush_len, rows[i].whole_len);
	}
	e->file.flush_offset = 1;
	assert_int_equal(vfs_flush_range(h, UINT64_MAX, 1, 0), -EINVAL);
	assert_int_equal(vfs_flush_range(h, 2, UINT64_MAX, 0), -EINVAL);
	assert_int_equal(e->file.flush_offset, 1);
	e->file.node.ops = &file_ops;
	assert_int_equal(vfs_flush_range(h, 2, UINT64_MAX, 0), -EINVAL);
	assert_int_equal(e->file.flushes, 1);
	vfs_close(h);
}

static void test_read_some_ends_with_the_file(void **state)
{
	struct env *e = *state;
	struct vfs_handle *h;
	char a[4], b[4];
	struct iovec in[2] = { { .iov_base = a, .iov_len = 4 }, { .iov_base = b, .iov_len = 4 } };
	size_t len;

	memset(e->file.bytes, 'x', FILE_BYTES);
	memset(a, 0, sizeof(a));
	memset(b, 0, sizeof(b));
	assert_int_equal(vfs_open(e->vfs, "/tank/f", false, &h), 0);
	assert_int_equal(vfs_read_some(h, in, 2, FILE_BYTES - 5, 0, &len), 0);
	assert_int_equal(len, 5);
	assert_memory_equal(a, "xxxx", 4);
	assert_memory_equal(b, "x\0\0\0", 4);
	assert_int_equal(vfs_read_some(h, in, 2, FILE_BYTES - 8, 0, &len), 0);
	assert_int_equal(len, 8);
	assert_int_equal(vfs_read_some(h, in, 2, FILE_BYTES, 0, &len), 0);
	assert_int_equal(len, 0);
	assert_int_equal(vfs_read_some(h, in, 2, UINT64_MAX, 0, &len), 0);
	assert_int_equal(len, 0);
	vfs_close(h);
}

static void test_writes_beyond_the_end_extend_only_what_grows(void **state)
{
	struct env *e = *state;
	struct vfs_handle *h;
	struct iovec out = { .iov_base = (char[]){ "abcd" }, .iov_len = 4 };

	assert_int_equal(vfs_open(e->vfs, "/tank/f", true, &h), 0);
	assert_int_equal(vfs_write(h, &out, 1, FILE_BYTES - 2, 0), -ENOSPC);
	e->file.grows = true;
	assert_int_equal(vfs_write(h, &out, 1, FILE_BYTES - 2, 0), 0);
	assert_int_equal(vfs_write(h, &out, 1, VFS_FILE_BYTES_MAX - 2, 0), -EFBIG);
	assert_int_equal(vfs_write(h, &out, 1, UINT64_MAX, VFS_APPEND), 0);
	vfs_close(h);
}

static void test_paths_that_are_not_paths_are_refused(void **state)
{
	static const struct {
		const char *path;
		int error;
	} rows[] = {
		{ "", -EINVAL },
		{ "tank/f", -EINVAL },
		{ "/tank//f", -EINVAL },
		{ "/tank/../f", -EINVAL },
		{ "/tank/.", -EINVAL },
		{ "//f", -EINVAL },
		{ "/tank/f/", -EINVAL },
		{ "/tank/\001", -EINVAL },
		{ "/tank/x", -ENOENT },
		{ "/other", -ENOENT },
		{ "/tank", -EISDIR },
		{ "/", -EISDIR },
		{ "/tank/f/deep", -ENOTDIR },
	};
	struct env *e = *state;
	struct vfs_handle *h;
	char *longest = calloc(1, VFS_PATH_MAX + 10);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(vfs_open(e->vfs, rows[i].path, false, &h), rows[i].error);
	memset(longest, 'a', VFS_PATH_MAX + 5);
	longest[0] = '/';
	assert_int_equal(vfs_open(e->vfs, longest, false, &h), -ENAMETOOLONG);
	longest[300] = 0;
	assert_int_equal(vfs_open(e->vfs, longest, false, &h), -ENAMETOOLONG);
	free(longest);
	assert_int_equal(e->file.opens, 0);
}

static void test_ranges_beyond_the_end_are_refused(void **state)
{
	struct env *e = *state;
	struct vfs_handle *h;
	char buf[16] = { 0 };
	struct iovec iov = { .iov_base = buf, .iov_len = sizeof(buf) };
	struct iovec huge[2] = { { .iov_base = buf, .iov_len = SIZE_MAX }, { .iov_base = buf, .iov_len = 2 } };
	struct vfs_extent ext;
	unsigned count;

	assert_int_equal(vfs_open(e->vfs, "/tank/f", true, &h), 0);
	assert_int_equal(vfs_read(h, &iov, 1, FILE_BYTES - 15, 0), -EINVAL);
	assert_int_equal(vfs_write(h, &iov, 1, FILE_BYTES - 15, 0), -ENOSPC);
	assert_int_equal(vfs_write(h, &iov, 1, UINT64_MAX - 3, 0), -ENOSPC);
	assert_int_equal(vfs_read(h, &iov, 1, FILE_BYTES - 16, 0), 0);
	assert_int_equal(vfs_read(h, huge, 2, 0, 0), -EINVAL);
	assert_int_equal(vfs_read(h, huge, 1, 0, 0), -EINVAL);
	assert_int_equal(vfs_discard(h, FILE_BYTES, 1, 0), -EINVAL);
	assert_int_equal(vfs_zero(h, FILE_BYTES, 1, 0), -ENOSPC);
	assert_int_equal(vfs_zero(h, 0, 1, 0), -EOPNOTSUPP);
	assert_int_equal(vfs_extents(h, 0, FILE_BYTES, 0, &ext, 1, &count), 0);
	assert_int_equal(count, 1);
	assert_int_equal(ext.len_bytes, FILE_BYTES);
	vfs_close(h);
}

static void test_read_only_is_enforced(void **state)
{
	struct env *e = *state;
	struct vfs_handle *h;
	struct iovec iov = { .iov_base = (char[]){ "x" }, .iov_len = 1 };

	assert_int_equal(vfs_open(e->vfs, "/tank/f", false, &h), 0);
	assert_int_equal(vfs_write(h, &iov, 1, 0, 0), -EROFS);
	assert_int_equal(vfs_discard(h, 0, 4096, 0), -EROFS);
	vfs_close(h);
	e->file.read_only = true;
	assert_int_equal(vfs_open(e->vfs, "/tank/f", true, &h), -EROFS);
	assert_int_equal(vfs_unmount(e->vfs, "tank", false), 0);
	e->file.read_only = false;
	assert_int_equal(vfs_mount(e->vfs, "tank", &e->dir.node, true), 0);
	assert_int_equal(vfs_open(e->vfs, "/tank/f", true, &h), -EROFS);
	assert_int_equal(vfs_open(e->vfs, "/tank/f", false, &h), 0);
	vfs_close(h);
}

static void test_unmount_waits_for_nobody_but_tells(void **state)
{
	struct env *e = *state;
	struct vfs_handle *h;

	assert_int_equal(vfs_open(e->vfs, "/tank/f", false, &h), 0);
	assert_int_equal(vfs_unmount(e->vfs, "tank", false), -EBUSY);
	assert_int_equal(vfs_unmount(e->vfs, "nope", false), -ENOENT);
	assert_int_equal(vfs_mount(e->vfs, "tank", &e->dir.node, false), -EEXIST);
	assert_int_equal(vfs_unmount(e->vfs, "tank", true), 0);
	vfs_close(h);
	assert_int_equal(e->file.opens, 0);
}

static void count_call(void *ctx)
{
	++*(unsigned *)ctx;
}

static void test_the_holder_of_a_mount_is_told_when_nobody_uses_it_any_more(void **state)
{
	struct env *e = *state;
	struct vfs_handle *h;
	unsigned left = 0;

	assert_int_equal(vfs_mount_held(e->vfs, "tank", &e->dir.node, false, count_call, &left), -EEXIST);
	assert_int_equal(vfs_mount_held(e->vfs, "/none/here", &e->dir.node, false, count_call, &left), -ENOENT);
	assert_int_equal(left, 0);
	assert_int_equal(vfs_mount_held(e->vfs, "boot", &e->dir.node, false, count_call, &left), 0);
	assert_int_equal(vfs_open(e->vfs, "/boot/f", false, &h), 0);
	assert_int_equal(vfs_unmount(e->vfs, "boot", false), -EBUSY);
	assert_int_equal(vfs_unmount(e->vfs, "boot", true), 0);
	assert_int_equal(left, 0);
	vfs_close(h);
	assert_int_equal(left, 1);
	assert_int_equal(vfs_mount_held(e->vfs, "boot", &e->dir.node, false, count_call, &left), 0);
	assert_int_equal(vfs_unmount(e->vfs, "boot", false), 0);
	assert_int_equal(left, 2);
}

static bool count_entry(void *ctx, const struct vfs_dirent *e)
{
	(void)e;
	++*(unsigned *)ctx;
	return true;
}

static int list(struct vfs *v, const char *path, unsigned *ret_count)
{
	struct vfs_handle *h;
	int ret = vfs_walk(v, &vfs_cred_root, NULL, NULL, path, 0, &h);

	*ret_count = 0;
	if (ret)
		return ret;
	ret = vfs_readdir(h, &vfs_cred_root, 0, count_entry, ret_count);
	vfs_close(h);
	return ret;
}

static void test_directories_are_listed(void **state)
{
	struct env *e = *state;
	unsigned n;

	assert_int_equal(vfs_mount(e->vfs, "boot", &e->dir.node, true), 0);
	assert_int_equal(list(e->vfs, "/", &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(list(e->vfs, "/tank", &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(list(e->vfs, "/tank/f", &n), -ENOTDIR);
	assert_int_equal(vfs_unmount(e->vfs, "boot", false), 0);
}

static void open_and_close(void *arg)
{
	struct env *e = arg;

	for (unsigned i = 0; i < 2000; i++) {
		struct vfs_handle *h;
		char buf[16];
		struct iovec iov = { .iov_base = buf, .iov_len = sizeof(buf) };

		if (!vfs_open(e->vfs, "/tank/f", false, &h)) {
			(void)vfs_read(h, &iov, 1, 0, 0);
			vfs_close(h);
		}
	}
}

static int count_open(struct vfs_node *n, bool writable)
{
	(void)writable;
	__atomic_add_fetch(&((struct memfile *)n)->opens, 1, __ATOMIC_RELAXED);
	return 0;
}

static void count_close(struct vfs_node *n, bool writable)
{
	(void)writable;
	__atomic_sub_fetch(&((struct memfile *)n)->opens, 1, __ATOMIC_RELAXED);
}

static void test_handles_are_safe_against_mounts_coming_and_going(void **state)
{
	struct env *e = *state;
	struct vfs_node_ops ops = file_ops;
	struct sync_thread t[2];

	ops.open = count_open;
	ops.close = count_close;
	e->file.node.ops = &ops;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(sync_thread_start(&t[i], "opener", open_and_close, e), 0);
	for (unsigned i = 0; i < 500; i++)
		if (!vfs_unmount(e->vfs, "tank", i & 1))
			assert_int_equal(vfs_mount(e->vfs, "tank", &e->dir.node, false), 0);
	for (unsigned i = 0; i < 2; i++)
		sync_thread_join(&t[i]);
	assert_int_equal(e->file.opens, 0);
	assert_int_equal(e->file.node.refs, 1);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_open_read_write_flush_close),
		T(test_a_range_is_flushed_with_the_file_where_parts_are_not_told_apart),
		T(test_read_some_ends_with_the_file),
		T(test_writes_beyond_the_end_extend_only_what_grows),
		T(test_paths_that_are_not_paths_are_refused),
		T(test_ranges_beyond_the_end_are_refused),
		T(test_read_only_is_enforced),
		T(test_unmount_waits_for_nobody_but_tells),
		T(test_the_holder_of_a_mount_is_told_when_nobody_uses_it_any_more),
		T(test_directories_are_listed),
		T(test_handles_are_safe_against_mounts_coming_and_going),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
