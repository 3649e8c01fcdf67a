/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Damaged volumes: every field of the boot sector with every bad value, and chains and directories with each kind of
 * damage. Nothing crashes or hangs, what can be read is read, and a repair leaves a clean volume.
 */
#include "core/fs/fat/bpb.h"
#include "core/fs/fat/format.h"
#include "tests/unit/core/fs/fat/fat_fixture.h"
#include "tests/unit/slow.h"

static const struct {
	uint64_t size;
	struct fat_mkfs_options mkfs;
} shapes[] = {
	{ 1 * MIB, { .type = 12, .sector_bytes = 512, .label = "damaged" } },
	{ 16 * MIB, { .type = 16, .cluster_bytes = 2048, .sector_bytes = 512 } },
	{ 40 * MIB, { .type = 32, .cluster_bytes = 512, .sector_bytes = 512 } },
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

#define FILES 6u
#define FILE_BYTES 9000u

static void fill_volume(struct volume *v)
{
	uint8_t data[FILE_BYTES];
	struct fat_node *dir, *n;
	char name[64];

	vol_mount(v);
	dir = vol_mkdir(v->root, "A folder with a long name");
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file with a long name %u", i);
		n = vol_create(i % 2 ? dir : v->root, name);
		vol_fill(data, sizeof(data), i);
		must(vol_write(n, data, sizeof(data), 0));
		fat_node_put(n);
	}
	fat_node_put(dir);
	must(vol_unmount(v));
}

static bool read_item(void *ctx, const struct fat_dir_item *item)
{
	struct {
		char names[64][128];
		unsigned count;
	} *found = ctx;

	if (found->count < 64 && item->name_len < 128)
		memcpy(found->names[found->count++], item->name, item->name_len + 1);
	return true;
}

/* Read everything, as deep as a few levels. Errors are fine. */
static void walk(struct fat_node *dir, unsigned depth)
{
	struct {
		char names[64][128];
		unsigned count;
	} found = { .count = 0 };
	uint8_t buf[4096];

	if (fat_readdir(dir, 0, read_item, &found))
		return;
	for (unsigned i = 0; i < found.count; i++) {
		struct fat_node *n;
		struct fat_stat st;

		if (fat_lookup(dir, found.names[i], strlen(found.names[i]), &n))
			continue;
		fat_stat(n, &st);
		if (st.is_dir && depth < 4) {
			walk(n, depth + 1);
		} else if (!st.is_dir) {
			struct iovec iov = { .iov_base = buf, .iov_len = sizeof(buf) };
			size_t got = 1;

			for (uint64_t at = 0; at < 10 * sizeof(buf) && got; at += got) {
				if (fat_read(n, &iov, 1, at, 0, &got))
					break;
			}
		}
		fat_node_put(n);
	}
}

static void use_whatever_it_is(struct volume *v)
{
	struct fat_mount_options options = { .cache = v->cache, .budget = v->budget };
	struct fat_node *n;

	if (fat_mount(v->dev, &options, &v->fs))
		return;
	v->root = fat_root(v->fs);
	walk(v->root, 0);
	if (fat_create(v->root, "new file", 8, &n) == 0) {
		(void)vol_write(n, "data", 4, 3000);
		fat_node_put(n);
	}
	(void)fat_unlink(v->root, "file with a long name 0", 23);
	(void)vol_unmount(v);
}

/* Is it clean after a repair, when there is a boot sector to go by? */
static void repair(struct volume *v)
{
	struct fat_check_options options = { .repair = true };
	struct fat_check_report report;

	if (fat_check(v->dev, &options, &report))
		return;
	assert_int_equal(report.left_count, 0);
	assert_int_equal(vol_check(v, false, true, NULL), 0);
}

static uint8_t *snapshot(struct volume *v)
{
	uint64_t size = blk_caps(v->dev)->size_bytes;
	uint8_t *bytes = malloc(size);

	assert_non_null(bytes);
	blk_sim_peek(v->dev, 0, bytes, size);
	return bytes;
}

static struct fat_geometry geometry(const uint8_t *image, uint64_t size)
{
	struct fat_geometry g;

	must(fat_bpb_decode(image, size, 1, &g));
	return g;
}

static void restore(struct volume *v, const uint8_t *image)
{
	/* Files are small: what matters lies in front. */
	blk_sim_poke(v->dev, 0, image, blk_caps(v->dev)->size_bytes < 2 * MIB ? blk_caps(v->dev)->size_bytes : 2 * MIB);
}

static void test_any_boot_sector_field_with_any_value_is_survived(void **state)
{
	static const uint8_t values[] = { 0, 1, 2, 3, 0x7f, 0x80, 0xfe, 0xff };

	(void)state;
	for (unsigned shape = 0; shape < SHAPES; shape++) {
		struct volume v;
		uint8_t *image;

		vol_make(&v, shapes[shape].size, &shapes[shape].mkfs);
		fill_volume(&v);
		image = snapshot(&v);
		for (unsigned at = BOOT_SECTOR_BYTES; at < 90; at++) {
			for (unsigned i = 0; i < sizeof(values); i++) {
				if (at >= 54 && i > 1)
					break;
				if (!test_tries(at * 8 + i))
					continue;
				blk_sim_poke(v.dev, at, &values[i], 1);
				use_whatever_it_is(&v);
				repair(&v);
				restore(&v, image);
			}
		}
		free(image);
		vol_done(&v);
	}
}

/* Random entries of the FAT, in one copy or both: free, bad, out of range, loops, cross-links. */
static void test_any_damage_to_the_fat_is_survived_and_repaired(void **state)
{
	(void)state;
	for (unsigned shape = 0; shape < SHAPES; shape++) {
		struct fat_geometry g;
		struct volume v;
		uint8_t *image;

		vol_make(&v, shapes[shape].size, &shapes[shape].mkfs);
		fill_volume(&v);
		image = snapshot(&v);
		g = geometry(image, shapes[shape].size);
		for (uint64_t seed = 1; seed <= 60; seed += test_slow()) {
			uint64_t r = seed * 1001;
			uint8_t *fat = malloc(g.fat_bytes);

			memcpy(fat, image + g.fat_offset, g.fat_bytes);
			for (unsigned k = 0; k < 1 + seed % 5; k++) {
				const uint32_t targets[] = { 0, 1, 2, FAT_BAD, 0x0ffffff0, FAT_END };
				uint32_t cluster = (uint32_t)(vol_random(&r) >> 20) % 60;
				uint32_t value = (vol_random(&r) & 64) ? (uint32_t)(vol_random(&r) >> 20) % 60
				                                       : targets[(vol_random(&r) >> 20) % 6];

				vol_set_entry(fat, g.type, cluster, value);
			}
			blk_sim_poke(v.dev, g.fat_offset, fat, g.fat_bytes);
			if (seed % 3)
				blk_sim_poke(v.dev, g.fat_offset + g.fat_bytes, fat, g.fat_bytes);
			free(fat);
			if (seed % 2)
				use_whatever_it_is(&v);
			repair(&v);
			use_whatever_it_is(&v);
			restore(&v, image);
		}
		free(image);
		vol_done(&v);
	}
}

/* Random bytes of the root directory and of the folder behind it. */
static void test_any_damage_to_directories_is_survived_and_repaired(void **state)
{
	(void)state;
	for (unsigned shape = 0; shape < SHAPES; shape++) {
		struct fat_geometry g;
		struct volume v;
		uint8_t *image;

		vol_make(&v, shapes[shape].size, &shapes[shape].mkfs);
		fill_volume(&v);
		image = snapshot(&v);
		g = geometry(image, shapes[shape].size);
		for (uint64_t seed = 1; seed <= 150; seed += test_slow()) {
			uint64_t r = seed * 77, start = g.root_bytes && seed % 3 ? g.root_offset : g.data_offset;

			for (unsigned k = 0; k < 1 + seed % 8; k++) {
				uint64_t at = start + (vol_random(&r) >> 20) % 640;
				uint8_t byte = (uint8_t)(vol_random(&r) >> 30);

				if (seed % 5 == 0)
					byte = k % 2 ? SLOT_DELETED : 0;
				blk_sim_poke(v.dev, at, &byte, 1);
			}
			if (seed % 2)
				use_whatever_it_is(&v);
			repair(&v);
			use_whatever_it_is(&v);
			restore(&v, image);
		}
		free(image);
		vol_done(&v);
	}
}

static void assert_found_and_repaired(struct volume *v, enum fat_finding_kind kind)
{
	struct fat_check_report report;

	(void)vol_check(v, false, false, &report);
	if (!report.by_kind[kind]) {
		(void)vol_check(v, false, true, NULL);
		fail_msg("%s was not found", fat_finding_name(kind));
	}
	repair(v);
}

/* Clusters of the FAT16 volume: 2 is the folder, then files of 5 clusters. */
static void test_each_kind_of_damage_is_found_by_its_name(void **state)
{
	static const struct {
		uint32_t cluster, value;
		enum fat_finding_kind kind;
	} cases[] = {
		{ 4, 3, FAT_FINDING_LOOP },          { 3, 8, FAT_FINDING_CROSS_LINK },
		{ 4, 0, FAT_FINDING_CHAIN },         { 4, 0xfff7, FAT_FINDING_CHAIN },
		{ 4, 0x7fff, FAT_FINDING_CHAIN },    { 4, 0xffff, FAT_FINDING_LOST },
		{ 4, 0xffff, FAT_FINDING_SIZE },     { 7, 200, FAT_FINDING_CHAIN },
		{ 500, 0xffff, FAT_FINDING_LOST },   { 500, 500, FAT_FINDING_LOST },
		{ 1, 0x7fff, FAT_FINDING_DIRTY },    { 0, 0xff00, FAT_FINDING_MEDIA },
		{ 500, 0xffff, FAT_FINDING_COPIES },
	};
	struct fat_geometry g;
	struct volume v;
	uint8_t *image;

	(void)state;
	vol_make(&v, shapes[1].size, &shapes[1].mkfs);
	fill_volume(&v);
	image = snapshot(&v);
	g = geometry(image, shapes[1].size);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t value[2];

		put_le16(value, (uint16_t)cases[i].value);
		blk_sim_poke(v.dev, g.fat_offset + cases[i].cluster * 2, value, 2);
		if (cases[i].kind != FAT_FINDING_COPIES)
			blk_sim_poke(v.dev, g.fat_offset + g.fat_bytes + cases[i].cluster * 2, value, 2);
		assert_found_and_repaired(&v, cases[i].kind);
		restore(&v, image);
	}
	free(image);
	vol_done(&v);
}

static void test_a_lost_boot_sector_comes_back_from_its_backup(void **state)
{
	static const uint8_t zeros[512];
	struct fat_check_report report;
	struct volume v;

	(void)state;
	vol_make(&v, shapes[2].size, &shapes[2].mkfs);
	fill_volume(&v);
	blk_sim_poke(v.dev, 0, zeros, sizeof(zeros));
	(void)vol_check(&v, true, false, &report);
	assert_int_equal(report.by_kind[FAT_FINDING_BOOT], 1);
	assert_int_equal(vol_check(&v, false, true, NULL), 0);
	vol_mount(&v);
	must(vol_unmount(&v));
	vol_done(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_any_boot_sector_field_with_any_value_is_survived),
		cmocka_unit_test(test_any_damage_to_the_fat_is_survived_and_repaired),
		cmocka_unit_test(test_any_damage_to_directories_is_survived_and_repaired),
		cmocka_unit_test(test_each_kind_of_damage_is_found_by_its_name),
		cmocka_unit_test(test_a_lost_boot_sector_comes_back_from_its_backup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
