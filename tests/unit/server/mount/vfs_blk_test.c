/* SPDX-License-Identifier: BSD-3-Clause */
/* A file of the namespace as a device: sizes, flags, errors, and requests longer than the VFS takes at once. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/blk/blk.h"
#include "server/mount/vfs_blk.h"
#include "tests/unit/server/rpc/memfs.h"

#define SECTOR 512u

struct env {
	struct memfs fs;
	struct vfs *vfs;
	struct blk_dev *dev;
};

static void setup(struct env *e, uint64_t size_bytes, bool read_only)
{
	assert_int_equal(memfs_init(&e->fs, size_bytes), 0);
	e->vfs = vfs_new();
	assert_non_null(e->vfs);
	assert_int_equal(vfs_mount(e->vfs, "mem", &e->fs.node, false), 0);
	assert_int_equal(vfs_blk_open(e->vfs, "/mem", "wfs:/mem", read_only, &e->dev), 0);
}

static void finish(struct env *e)
{
	blk_close(e->dev);
	assert_int_equal(vfs_unmount(e->vfs, "/mem", false), 0);
	vfs_free(e->vfs);
	memfs_done(&e->fs);
}

static void test_size_is_in_sectors_and_writes_make_room(void **state)
{
	_Alignas(SECTOR) uint8_t out[SECTOR], in[SECTOR];
	struct env e;

	(void)state;
	setup(&e, 3 * SECTOR + 100, false);
	assert_int_equal(blk_caps(e.dev)->size_bytes, 3 * SECTOR);
	assert_string_equal(blk_name(e.dev), "wfs:/mem");
	memset(out, 7, sizeof(out));
	assert_int_equal(blk_write(e.dev, 2 * SECTOR, out, sizeof(out), 0), 0);
	assert_int_equal(e.fs.last_flags, VFS_MAKES_ROOM);
	assert_int_equal(blk_write(e.dev, 0, out, sizeof(out), BLK_FUA), 0);
	assert_int_equal(e.fs.last_flags, VFS_MAKES_ROOM | VFS_FUA);
	assert_int_equal(blk_read(e.dev, 2 * SECTOR, in, sizeof(in)), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(blk_flush(e.dev), 0);
	assert_int_equal(e.fs.flushes, 1);
	assert_int_equal(blk_write(e.dev, 3 * SECTOR, out, sizeof(out), 0), -EINVAL);
	finish(&e);
}

static void test_zeroing_works_with_and_without_the_file_system(void **state)
{
	struct blk_io io = { .op = BLK_WRITE_ZEROES, .offset = SECTOR, .len_bytes = 512 * SECTOR };
	struct blk_batch b;
	struct env e;

	(void)state;
	setup(&e, 1024 * SECTOR, false);
	for (unsigned round = 0; round < 2; round++) {
		struct vfs_node_ops ops = *e.fs.node.ops;

		if (round == 1) {
			ops.zero = NULL;
			e.fs.node.ops = &ops;
		}
		memset(e.fs.data, 1, 1024 * SECTOR);
		blk_batch_init(&b);
		blk_batch_add(&b, e.dev, &io);
		assert_int_equal(blk_batch_wait(&b), 0);
		assert_int_equal(e.fs.data[SECTOR - 1], 1);
		for (unsigned i = 0; i < 512 * SECTOR; i++)
			assert_int_equal(e.fs.data[SECTOR + i], 0);
		assert_int_equal(e.fs.data[513 * SECTOR], 1);
		if (round == 1) {
			finish(&e);
			return;
		}
	}
}

static void test_errors_are_those_of_a_device(void **state)
{
	static const struct {
		int said, heard;
	} cases[] = {
		{ -EIO, -EIO }, { -ESTALE, -ENXIO }, { -EINVAL, -EIO }, { -ENOSPC, -ENOSPC }, { -EROFS, -EROFS },
	};
	_Alignas(SECTOR) uint8_t buf[SECTOR] = { 0 };
	struct env e;

	(void)state;
	setup(&e, SECTOR, false);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		e.fs.fail = cases[i].said;
		assert_int_equal(blk_write(e.dev, 0, buf, sizeof(buf), 0), cases[i].heard);
		assert_int_equal(blk_read(e.dev, 0, buf, sizeof(buf)), cases[i].heard);
		assert_int_equal(blk_flush(e.dev), cases[i].heard);
	}
	e.fs.fail = 0;
	/* The file became shorter. */
	e.fs.size_bytes = 100;
	assert_int_equal(blk_read(e.dev, 0, buf, sizeof(buf)), -EIO);
	finish(&e);
}

static void test_more_than_one_operation_may_move_is_done_in_pieces(void **state)
{
	const size_t len = (size_t)VFS_IO_BYTES_MAX + 64 * SECTOR;
	uint8_t *out = aligned_alloc(SECTOR, len), *in = aligned_alloc(SECTOR, len);
	struct env e;

	(void)state;
	assert_non_null(out);
	assert_non_null(in);
	setup(&e, len + SECTOR, false);
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(i * 2654435761u >> 24);
	assert_int_equal(blk_write(e.dev, SECTOR, out, len, 0), 0);
	assert_int_equal(blk_read(e.dev, SECTOR, in, len), 0);
	assert_memory_equal(in, out, len);
	finish(&e);
	free(out);
	free(in);
}

static void test_read_only_devices_and_files_without_room_for_one(void **state)
{
	_Alignas(SECTOR) uint8_t buf[SECTOR] = { 0 };
	struct blk_dev *dev;
	struct env e;

	(void)state;
	setup(&e, SECTOR, true);
	assert_true(blk_caps(e.dev)->read_only);
	assert_int_equal(blk_write(e.dev, 0, buf, sizeof(buf), 0), -EROFS);
	assert_int_equal(vfs_blk_open(e.vfs, "/none", "wfs:/none", true, &dev), -ENOENT);
	e.fs.read_only = true;
	assert_int_equal(vfs_blk_open(e.vfs, "/mem", "wfs:/mem", false, &dev), -EROFS);
	e.fs.size_bytes = SECTOR - 1;
	assert_int_equal(vfs_blk_open(e.vfs, "/mem", "wfs:/mem", true, &dev), -EINVAL);
	finish(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_size_is_in_sectors_and_writes_make_room),
		cmocka_unit_test(test_zeroing_works_with_and_without_the_file_system),
		cmocka_unit_test(test_errors_are_those_of_a_device),
		cmocka_unit_test(test_more_than_one_operation_may_move_is_done_in_pieces),
		cmocka_unit_test(test_read_only_devices_and_files_without_room_for_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
