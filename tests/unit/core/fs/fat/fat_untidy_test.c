/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is wrong with a volume, but does no harm: it is mounted for writing all the same and works, the check finds each
 * by its name, before and after, and mends it. And the marks that say so: FSInfo is not believed, and is right after a
 * mount; the dirty mark stays until a check.
 */
#include "tests/unit/core/fs/fat/fat_damage.h"

static uint8_t *root_slot(struct damage_image *i, unsigned at)
{
	uint64_t root = i->g.type == FAT_TYPE_32 ? fat_cluster_offset(&i->g, i->g.root_cluster) : i->g.root_offset;

	return i->bytes + root + (size_t)at * SLOT_BYTES;
}

/* The first slot of the root directory that was never used. */
static unsigned root_end(struct damage_image *i)
{
	unsigned at = 0;

	while (*root_slot(i, at) != SLOT_END)
		at++;
	return at;
}

static void backup_differs(struct damage_image *i)
{
	i->bytes[i->g.backup_sector * i->g.sector_bytes + 5] ^= 0x20; /* the name of who made it */
}

static void copies_differ(struct damage_image *i)
{
	vol_set_entry(i->bytes + i->g.fat_offset + i->g.fat_bytes, i->g.type, damage_first_of(i, DAMAGE_KEEP), 77);
}

static void wrong_dots(struct damage_image *i)
{
	uint8_t *dots = i->bytes + fat_cluster_offset(&i->g, damage_first_of(i, DAMAGE_INNER)) + SLOT_BYTES;

	put_le16(dots + SLOT_CLUSTER_LOW, 77);
}

static void second_label(struct damage_image *i)
{
	for (unsigned k = 0; k < 2; k++) {
		uint8_t *slot = root_slot(i, root_end(i));

		memcpy(slot, "SOME LABEL ", SHORT_NAME_BYTES);
		slot[SLOT_ATTR] = FAT_ATTR_VOLUME;
	}
}

static void impossible_name(struct damage_image *i)
{
	damage_slot_of(i, DAMAGE_VICTIM)[3] = '?';
}

static void duplicate_name(struct damage_image *i)
{
	uint8_t *slot = root_slot(i, root_end(i));

	memcpy(slot, DAMAGE_KEEP, SHORT_NAME_BYTES);
	slot[SLOT_ATTR] = FAT_ATTR_ARCHIVE;
}

static void chain_too_long(struct damage_image *i)
{
	put_le32(damage_slot_of(i, DAMAGE_VICTIM) + SLOT_SIZE, 100);
}

static void directory_with_a_size(struct damage_image *i)
{
	put_le32(damage_slot_of(i, DAMAGE_OUTER) + SLOT_SIZE, 100);
}

static void behind_the_end(struct damage_image *i)
{
	memset(root_slot(i, root_end(i) + 1), 'x', SLOT_BYTES);
}

static void lost_chain(struct damage_image *i)
{
	damage_set_next(i, i->g.cluster_count - 9, i->g.cluster_count - 8);
	damage_set_next(i, i->g.cluster_count - 8, FAT_END);
}

static void lost_chain_into_free(struct damage_image *i)
{
	damage_set_next(i, i->g.cluster_count - 9, i->g.cluster_count - 8);
}

static void wrong_media(struct damage_image *i)
{
	damage_set_next(i, 0, 0x0ffffff0);
}

static void wrong_fsinfo(struct damage_image *i)
{
	uint8_t *fsinfo = i->bytes + i->g.fsinfo_sector * i->g.sector_bytes;

	put_le32(fsinfo + FSINFO_FREE_COUNT, 5);
	put_le32(fsinfo + FSINFO_NEXT_FREE, 0xfffffff0);
}

static const struct {
	const char *name;
	void (*damage)(struct damage_image *i);
	enum fat_finding_kind kind;
	bool only_32, mended_by_use;
} untidy[] = {
	{ "backup of the boot sector", backup_differs, FAT_FINDING_BACKUP, true, false },
	{ "copies of the FAT", copies_differ, FAT_FINDING_COPIES, false, true },
	{ "media type", wrong_media, FAT_FINDING_MEDIA, false, false },
	{ "entry of the directory above", wrong_dots, FAT_FINDING_DOTS, false, false },
	{ "two labels", second_label, FAT_FINDING_LABEL, false, false },
	{ "impossible short name", impossible_name, FAT_FINDING_NAME, false, false },
	{ "two files of one name", duplicate_name, FAT_FINDING_DUPLICATE, false, false },
	{ "chain longer than its file", chain_too_long, FAT_FINDING_EXCESS, false, false },
	{ "directory with a size", directory_with_a_size, FAT_FINDING_SIZE, false, false },
	{ "something behind the end of a directory", behind_the_end, FAT_FINDING_BEHIND_END, false, true },
	{ "lost chain", lost_chain, FAT_FINDING_LOST, false, false },
	{ "lost chain into a free cluster", lost_chain_into_free, FAT_FINDING_LOST, false, false },
	{ "FSInfo", wrong_fsinfo, FAT_FINDING_FSINFO, true, true },
};
#define UNTIDY (sizeof(untidy) / sizeof(untidy[0]))

static void use(struct volume *v)
{
	uint8_t data[DAMAGE_FILE_BYTES], got[DAMAGE_FILE_BYTES];
	struct fat_info info;
	struct fat_node *n;

	vol_mount(v);
	n = vol_create(v->root, "a new file with a long name");
	vol_fill(data, sizeof(data), 9);
	must(vol_write(n, data, sizeof(data), 0));
	fat_node_put(n);
	fat_get_info(v->fs, &info);
	assert_false(info.read_only);
	assert_string_equal(info.reason, "");
	assert_false(info.was_dirty);
	must(vol_unmount(v));
	vol_mount(v);
	n = vol_find(v->root, "A NEW FILE with a long name");
	assert_non_null(n);
	assert_int_equal(vol_read(n, got, sizeof(got), 0), sizeof(got));
	assert_memory_equal(got, data, sizeof(got));
	fat_node_put(n);
	damage_assert_kept(v);
	must(vol_unmount(v));
}

static void test_what_does_no_harm_is_found_and_does_not_keep_anybody_from_writing(void **state)
{
	static struct damage_image whole, damaged;

	(void)state;
	for (unsigned shape = 0; shape < DAMAGE_SHAPES; shape++) {
		struct volume v;

		damage_make(&v, shape, &whole);
		for (unsigned k = 0; k < UNTIDY; k++) {
			struct fat_check_report report;

			if (untidy[k].only_32 && whole.g.type != FAT_TYPE_32)
				continue;
			print_message("FAT%u: %s\n", damage_shapes[shape].mkfs.type, untidy[k].name);
			damaged = whole;
			untidy[k].damage(&damaged);
			blk_sim_poke(v.dev, 0, damaged.bytes, sizeof(damaged.bytes));
			(void)vol_check(&v, false, false, &report);
			assert_true(report.by_kind[untidy[k].kind] > 0);
			use(&v);
			if (untidy[k].mended_by_use)
				assert_int_equal(vol_check(&v, false, true, NULL), 0);
			else
				damage_assert_mended(&v, untidy[k].kind);
		}
		vol_done(&v);
	}
}

static void test_a_dirty_mark_stays_until_a_check(void **state)
{
	static struct damage_image image;
	struct fat_check_report report;
	struct fat_info info;

	(void)state;
	for (unsigned shape = 0; shape < DAMAGE_SHAPES; shape++) {
		struct fat_node *n;
		struct volume v;

		damage_make(&v, shape, &image);
		/* While it is in use, the mark is there. */
		vol_mount(&v);
		n = vol_create(v.root, "new");
		fat_node_put(n);
		blk_sim_peek(v.dev, 0, image.bytes, sizeof(image.bytes));
		must(vol_unmount(&v));
		assert_int_equal(vol_check(&v, false, true, NULL), 0);
		/* As after a power cut right then. */
		blk_sim_poke(v.dev, 0, image.bytes, sizeof(image.bytes));
		for (unsigned round = 0; round < 2; round++) {
			vol_mount(&v);
			fat_get_info(v.fs, &info);
			assert_true(info.was_dirty);
			assert_false(info.read_only);
			n = vol_create(v.root, round ? "second" : "first");
			fat_node_put(n);
			must(vol_unmount(&v));
		}
		(void)vol_check(&v, true, false, &report);
		assert_int_equal(report.by_kind[FAT_FINDING_DIRTY], 1);
		assert_int_equal(vol_check(&v, false, true, NULL), 0);
		vol_mount(&v);
		fat_get_info(v.fs, &info);
		assert_false(info.was_dirty);
		must(vol_unmount(&v));
		vol_done(&v);
	}
}

static void test_fsinfo_is_not_believed(void **state)
{
	static struct damage_image image;
	struct fat_info before, after;
	struct volume v;

	(void)state;
	damage_make(&v, 2, &image);
	vol_mount(&v);
	fat_get_info(v.fs, &before);
	must(vol_unmount(&v));
	wrong_fsinfo(&image);
	blk_sim_poke(v.dev, 0, image.bytes, sizeof(image.bytes));
	vol_mount(&v);
	fat_get_info(v.fs, &after);
	assert_int_equal(after.free_clusters, before.free_clusters);
	must(vol_unmount(&v));
	vol_done(&v);
}

/* What is written with an offset is read with it, to the resolution of each time. */
static void test_times_are_local_to_the_offset_of_the_mount(void **state)
{
	struct fat_mount_options options = { 0 };
	const uint64_t s = 1000000000, at = UINT64_C(1700000001) * s + 567890000; /* 2023-11-14 22:13:21 UTC */
	struct fat_set set = {
		.what = FAT_SET_CTIME | FAT_SET_MTIME | FAT_SET_ATIME, .ctime_ns = at, .mtime_ns = at, .atime_ns = at
	};
	static struct damage_image image;
	struct fat_stat st;
	struct fat_node *n;
	struct volume v;
	uint8_t *slot;

	(void)state;
	damage_make(&v, 1, &image);
	options.cache = v.cache;
	options.utc_offset_minutes = 120;
	must(fat_mount(v.dev, &options, &v.fs));
	v.root = fat_root(v.fs);
	n = vol_find(v.root, "KEEP.BIN");
	must(fat_setattr(n, &set));
	fat_node_put(n);
	must(vol_unmount(&v));
	blk_sim_peek(v.dev, 0, image.bytes, sizeof(image.bytes));
	slot = damage_slot_of(&image, DAMAGE_KEEP);
	/* 2023-11-15 00:13:20 there; created at .56 of the second after. */
	assert_int_equal(get_le16(slot + SLOT_MDATE), (2023 - 1980) << 9 | 11 << 5 | 15);
	assert_int_equal(get_le16(slot + SLOT_MTIME), 0 << 11 | 13 << 5 | 20 / 2);
	assert_int_equal(get_le16(slot + SLOT_ADATE), (2023 - 1980) << 9 | 11 << 5 | 15);
	assert_int_equal(slot[SLOT_CTIME_CENTI], 156);
	must(fat_mount(v.dev, &options, &v.fs));
	v.root = fat_root(v.fs);
	n = vol_find(v.root, "KEEP.BIN");
	fat_stat(n, &st);
	assert_true(st.mtime_ns == UINT64_C(1700000000) * s);
	assert_true(st.ctime_ns == UINT64_C(1700000001) * s + 560000000);
	assert_true(st.atime_ns == UINT64_C(1699999200) * s); /* midnight there */
	fat_node_put(n);
	must(vol_unmount(&v));
	vol_mount(&v);
	n = vol_find(v.root, "KEEP.BIN");
	fat_stat(n, &st);
	assert_true(st.mtime_ns == UINT64_C(1700007200) * s);
	fat_node_put(n);
	must(vol_unmount(&v));
	vol_done(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_does_no_harm_is_found_and_does_not_keep_anybody_from_writing),
		cmocka_unit_test(test_a_dirty_mark_stays_until_a_check),
		cmocka_unit_test(test_fsinfo_is_not_believed),
		cmocka_unit_test(test_times_are_local_to_the_offset_of_the_mount),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
