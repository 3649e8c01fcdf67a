/* SPDX-License-Identifier: BSD-3-Clause */
/* Large files: the limit of the format, and one in as many pieces as it has clusters. */
#include <unistd.h>

#include "core/fs/fat/bpb.h"
#include "core/fs/fat/format.h"
#include "tests/unit/core/fs/fat/fat_fixture.h"

static const struct fat_mkfs_options fat32 = { .type = 32, .cluster_bytes = 512, .sector_bytes = 512 };

static void test_a_file_beyond_4_gib_is_refused(void **state)
{
	struct fat_node *n;
	struct volume v;

	(void)state;
	vol_make(&v, 40 * MIB, &fat32);
	vol_mount(&v);
	n = vol_create(v.root, "big");
	assert_int_equal(vol_write(n, "xx", 2, UINT32_MAX - 1), -EFBIG);
	assert_int_equal(vol_write(n, "xx", 2, UINT64_MAX - 1), -EFBIG);
	assert_int_equal(fat_truncate(n, UINT64_C(1) << 32), -EFBIG);
	assert_int_equal(vol_write(n, "x", 1, UINT32_MAX - 1), -ENOSPC);
	assert_int_equal(fat_truncate(n, UINT32_MAX), -ENOSPC);
	fat_node_put(n);
	must(vol_unmount(&v));
	assert_int_equal(vol_check(&v, false, true, NULL), 0);
	vol_done(&v);
}

/* On a sparse file: what grows by zeros takes no space there. */
static struct blk_dev *open_sparse_file(char *path, uint64_t size, unsigned flags)
{
	struct blk_dev *dev;

	if (size)
		must(blk_create_file(path, size, 0));
	must(blk_open(path, flags, &dev));
	return dev;
}

static void test_a_file_of_4_gib_less_a_byte_is_written_and_read(void **state)
{
	static const struct fat_mkfs_options mkfs = { .type = 32, .cluster_bytes = 65536, .sector_bytes = 512 };
	char path[] = "/tmp/wfsd-fat-XXXXXX", got[4];
	struct volume v;
	struct fat_node *n, *other;
	struct fat_stat st;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	unlink(path);
	vol_make(&v, 40 * MIB, &fat32);
	blk_close(v.dev);
	v.dev = open_sparse_file(path, 4500 * MIB, 0);
	must(fat_mkfs(v.dev, &mkfs));
	vol_mount(&v);
	n = vol_create(v.root, "big");
	must(fat_truncate(n, UINT32_MAX - 1));
	must(vol_write(n, "z", 1, UINT32_MAX - 1));
	assert_int_equal(vol_write(n, "z", 1, UINT32_MAX), -EFBIG);
	assert_int_equal(vol_write(n, "zz", 2, UINT32_MAX - 1), -EFBIG);
	fat_node_put(n);
	must(vol_unmount(&v));
	assert_int_equal(vol_check(&v, false, true, NULL), 0);
	/* Again, where nothing can be written. */
	blk_close(v.dev);
	v.dev = open_sparse_file(path, 0, BLK_OPEN_READ_ONLY);
	vol_mount(&v);
	n = vol_find(v.root, "big");
	fat_stat(n, &st);
	assert_true(st.size_bytes == UINT32_MAX);
	assert_int_equal(vol_read(n, got, sizeof(got), UINT32_MAX - 3), 3);
	assert_memory_equal(got, "\0\0z", 3);
	assert_int_equal(vol_write(n, "x", 1, 0), -EROFS);
	assert_int_equal(fat_create(v.root, "new", 3, &other), -EROFS);
	fat_node_put(n);
	must(vol_unmount(&v));
	vol_done(&v);
	unlink(path);
}

#define SCATTERED_BYTES (UINT64_C(1) << 30)
#define SCATTERED_PAGES ((uint32_t)(SCATTERED_BYTES / 4096))

/* A file of 1 GiB in clusters of 4 KiB, none behind the one before it: the chain is written as a driver would find it.
 */
static void make_scattered_file(struct volume *v)
{
	static const struct fat_mkfs_options mkfs = { .type = 32, .cluster_bytes = 4096, .sector_bytes = 512 };
	struct fat_geometry g;
	struct fat_node *n;
	uint8_t boot[512], *fat;
	uint64_t slot;

	vol_make(v, SCATTERED_BYTES + 64 * MIB, &mkfs);
	vol_mount(v);
	n = vol_create(v->root, "f");
	must(vol_write(n, "x", 1, 0));
	fat_node_put(n);
	must(vol_unmount(v));
	blk_sim_peek(v->dev, 0, boot, sizeof(boot));
	must(fat_bpb_decode(boot, blk_caps(v->dev)->size_bytes, 4096, &g));
	fat = malloc(g.fat_bytes);
	assert_non_null(fat);
	blk_sim_peek(v->dev, g.fat_offset, fat, g.fat_bytes);
	/* From 3 on; the step has no divisor in common with the number of pages. */
	for (uint32_t i = 0, at = 0; i < SCATTERED_PAGES; i++) {
		uint32_t next = (at + 99991) % SCATTERED_PAGES;

		put_le32(fat + (at + 3) * 4, i + 1 < SCATTERED_PAGES ? next + 3 : FAT_END);
		at = next;
	}
	blk_sim_poke(v->dev, g.fat_offset, fat, g.fat_bytes);
	blk_sim_poke(v->dev, g.fat_offset + g.fat_bytes, fat, g.fat_bytes);
	free(fat);
	slot = fat_cluster_offset(&g, g.root_cluster);
	blk_sim_peek(v->dev, slot, boot, 32);
	assert_int_equal(get_le16(boot + SLOT_CLUSTER_LOW), 3);
	put_le32(boot + SLOT_SIZE, (uint32_t)SCATTERED_BYTES);
	blk_sim_poke(v->dev, slot, boot, 32);
}

static void test_random_reads_of_a_scattered_file_read_no_fat_sector_twice(void **state)
{
	uint64_t seed = 5, before, pages = 0;
	uint8_t *seen = calloc(SCATTERED_PAGES, 1), page[4096];
	struct fat_node *n;
	struct volume v;

	(void)state;
	make_scattered_file(&v);
	before = blk_sim_count(v.dev, BLK_READ);
	vol_mount(&v);
	/* The boot sector, the root directory, and all of the FAT, which is a little more than 1 MiB. */
	assert_in_range(blk_sim_count(v.dev, BLK_READ) - before, 3, 6);
	before = blk_sim_count(v.dev, BLK_READ);
	n = vol_find(v.root, "f");
	assert_int_equal(blk_sim_count(v.dev, BLK_READ), before);
	for (unsigned i = 0; i < 3000; i++) {
		uint32_t index = (uint32_t)(vol_random(&seed) >> 20) % SCATTERED_PAGES;

		pages += !seen[index];
		seen[index] = 1;
		assert_int_equal(vol_read(n, page, sizeof(page), (uint64_t)index * sizeof(page)), sizeof(page));
	}
	assert_int_equal(blk_sim_count(v.dev, BLK_READ) - before, pages);
	fat_node_put(n);
	free(seen);
	must(vol_unmount(&v));
	vol_done(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_file_beyond_4_gib_is_refused),
		cmocka_unit_test(test_a_file_of_4_gib_less_a_byte_is_written_and_read),
		cmocka_unit_test(test_random_reads_of_a_scattered_file_read_no_fat_sector_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
