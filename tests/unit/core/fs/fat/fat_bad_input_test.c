/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Each kind of damage by itself, on every type of FAT: the damaged file is refused or goes by its short name, the
 * volume is read-only when writing could do harm, other files are whole, the device is not written, and the check finds
 * it by its name and mends it.
 */
#include "tests/unit/core/fs/fat/fat_damage.h"

/* Clusters of a file follow each other on a new volume. */
static void next_of_victim(struct damage_image *i, uint32_t value)
{
	damage_set_next(i, damage_first_of(i, DAMAGE_VICTIM) + 2, value);
}

static void loop(struct damage_image *i)
{
	next_of_victim(i, damage_first_of(i, DAMAGE_VICTIM) + 1);
}

static void loop_of_one(struct damage_image *i)
{
	next_of_victim(i, damage_first_of(i, DAMAGE_VICTIM) + 2);
}

static void cross_link(struct damage_image *i)
{
	next_of_victim(i, damage_first_of(i, DAMAGE_KEEP) + 3);
}

static void out_of_range(struct damage_image *i)
{
	next_of_victim(i, i->g.cluster_count + FAT_FIRST_CLUSTER);
}

static void to_one(struct damage_image *i)
{
	next_of_victim(i, 1);
}

static void bad_in_chain(struct damage_image *i)
{
	next_of_victim(i, FAT_BAD);
}

static void into_free(struct damage_image *i)
{
	next_of_victim(i, i->g.cluster_count - 3);
}

static void too_short(struct damage_image *i)
{
	next_of_victim(i, FAT_END);
}

static void without_chain(struct damage_image *i)
{
	damage_set_first(i, DAMAGE_VICTIM, 0);
}

static void first_out_of_range(struct damage_image *i)
{
	damage_set_first(i, DAMAGE_VICTIM, i->g.cluster_count + FAT_FIRST_CLUSTER);
}

static void first_is_free(struct damage_image *i)
{
	damage_set_first(i, DAMAGE_VICTIM, i->g.cluster_count - 3);
}

static void first_is_bad(struct damage_image *i)
{
	damage_set_next(i, damage_first_of(i, DAMAGE_VICTIM), FAT_BAD);
}

static void same_first(struct damage_image *i)
{
	damage_set_first(i, DAMAGE_VICTIM, damage_first_of(i, DAMAGE_KEEP));
}

static void into_the_middle(struct damage_image *i)
{
	damage_set_first(i, DAMAGE_VICTIM, damage_first_of(i, DAMAGE_KEEP) + 1);
}

static void dir_in_itself(struct damage_image *i)
{
	damage_set_first(i, DAMAGE_INNER, damage_first_of(i, DAMAGE_OUTER));
}

static void dir_without_chain(struct damage_image *i)
{
	damage_set_first(i, DAMAGE_INNER, 0);
}

static void dir_loop(struct damage_image *i)
{
	damage_set_next(i, damage_first_of(i, DAMAGE_INNER), damage_first_of(i, DAMAGE_INNER));
}

static const struct {
	const char *name;
	void (*damage)(struct damage_image *i);
	const char *refused; /* this cannot be opened */
	enum fat_finding_kind kind;
} harmful[] = {
	{ "loop", loop, DAMAGE_LONG_NAME, FAT_FINDING_LOOP },
	{ "loop of one cluster", loop_of_one, DAMAGE_LONG_NAME, FAT_FINDING_LOOP },
	{ "cross-link", cross_link, NULL, FAT_FINDING_CROSS_LINK },
	{ "cluster that is not there", out_of_range, DAMAGE_LONG_NAME, FAT_FINDING_CHAIN },
	{ "cluster 1", to_one, DAMAGE_LONG_NAME, FAT_FINDING_CHAIN },
	{ "bad cluster in a chain", bad_in_chain, DAMAGE_LONG_NAME, FAT_FINDING_CHAIN },
	{ "chain into a free cluster", into_free, DAMAGE_LONG_NAME, FAT_FINDING_CHAIN },
	{ "chain that is too short", too_short, DAMAGE_LONG_NAME, FAT_FINDING_SIZE },
	{ "entry without a chain", without_chain, DAMAGE_LONG_NAME, FAT_FINDING_SIZE },
	{ "entry to nowhere", first_out_of_range, DAMAGE_LONG_NAME, FAT_FINDING_CHAIN },
	{ "entry to a free cluster", first_is_free, DAMAGE_LONG_NAME, FAT_FINDING_CHAIN },
	{ "entry to a bad cluster", first_is_bad, DAMAGE_LONG_NAME, FAT_FINDING_CHAIN },
	{ "two entries to one chain", same_first, NULL, FAT_FINDING_CROSS_LINK },
	{ "entry into another chain", into_the_middle, DAMAGE_LONG_NAME, FAT_FINDING_CROSS_LINK },
	{ "directory in itself", dir_in_itself, "OUTER/INNER", FAT_FINDING_CROSS_LINK },
	{ "directory without a chain", dir_without_chain, "OUTER/INNER", FAT_FINDING_DIRECTORY },
	{ "directory that loops", dir_loop, "OUTER/INNER", FAT_FINDING_LOOP },
};
#define HARMFUL (sizeof(harmful) / sizeof(harmful[0]))

static int open_path(struct volume *v, const char *path, struct fat_node **ret)
{
	const char *slash = strchr(path, '/');
	struct fat_node *dir;
	int rc;

	if (!slash)
		return fat_lookup(v->root, path, strlen(path), ret);
	rc = fat_lookup(v->root, path, (size_t)(slash - path), &dir);
	if (rc)
		return rc;
	rc = fat_lookup(dir, slash + 1, strlen(slash + 1), ret);
	fat_node_put(dir);
	return rc;
}

static void assert_refused(struct volume *v, unsigned k)
{
	struct fat_node *n;
	struct fat_info info;

	if (harmful[k].refused)
		assert_int_equal(open_path(v, harmful[k].refused, &n), -EUCLEAN);
	else
		assert_int_equal(fat_lookup(v->root, DAMAGE_LONG_NAME, strlen(DAMAGE_LONG_NAME), &n), 0);
	if (!harmful[k].refused)
		fat_node_put(n);
	fat_get_info(v->fs, &info);
	assert_true(info.read_only);
	assert_string_not_equal(info.reason, "");
	assert_int_equal(fat_create(v->root, "NEW", 3, &n), -EROFS);
	assert_int_equal(fat_unlink(v->root, "KEEP.BIN", 8), -EROFS);
}

static void test_what_would_do_harm_makes_the_volume_read_only(void **state)
{
	static struct damage_image whole, damaged;

	(void)state;
	for (unsigned shape = 0; shape < DAMAGE_SHAPES; shape++) {
		struct volume v;

		damage_make(&v, shape, &whole);
		for (unsigned k = 0; k < HARMFUL; k++) {
			uint64_t writes;

			print_message("FAT%u: %s\n", damage_shapes[shape].mkfs.type, harmful[k].name);
			damaged = whole;
			harmful[k].damage(&damaged);
			blk_sim_poke(v.dev, 0, damaged.bytes, sizeof(damaged.bytes));
			writes = blk_sim_count(v.dev, BLK_WRITE);
			vol_mount(&v);
			damage_assert_kept(&v);
			assert_refused(&v, k);
			damage_assert_kept(&v);
			must(vol_unmount(&v));
			assert_int_equal(blk_sim_count(v.dev, BLK_WRITE), writes);
			damage_assert_mended(&v, harmful[k].kind);
		}
		vol_done(&v);
	}
}

/* A file that was being written when somebody else's damage was found is not lost. */
static void test_changes_from_before_a_damage_was_found_are_written(void **state)
{
	static struct damage_image image;
	uint8_t data[DAMAGE_FILE_BYTES], got[DAMAGE_FILE_BYTES];
	struct fat_node *n, *none;
	struct volume v;

	(void)state;
	damage_make(&v, 1, &image);
	too_short(&image);
	blk_sim_poke(v.dev, 0, image.bytes, sizeof(image.bytes));
	vol_mount(&v);
	n = vol_create(v.root, "NEW");
	vol_fill(data, sizeof(data), 3);
	must(vol_write(n, data, sizeof(data), 0));
	assert_int_equal(fat_lookup(v.root, DAMAGE_LONG_NAME, strlen(DAMAGE_LONG_NAME), &none), -EUCLEAN);
	assert_int_equal(vol_write(n, "x", 1, 0), -EROFS);
	fat_node_put(n);
	must(vol_unmount(&v));
	blk_sim_power_cut(v.dev, 0);
	vol_mount(&v);
	n = vol_find(v.root, "NEW");
	assert_non_null(n);
	assert_int_equal(vol_read(n, got, sizeof(got), 0), sizeof(got));
	assert_memory_equal(got, data, sizeof(got));
	fat_node_put(n);
	must(vol_unmount(&v));
	vol_done(&v);
}

/* The parts of the long name: the second stands first. */
static uint8_t *parts(struct damage_image *i)
{
	return damage_slot_of(i, DAMAGE_VICTIM) - 2 * SLOT_BYTES;
}

static void swapped_parts(struct damage_image *i)
{
	uint8_t kept[SLOT_BYTES], *p = parts(i);

	memcpy(kept, p, SLOT_BYTES);
	memcpy(p, p + SLOT_BYTES, SLOT_BYTES);
	memcpy(p + SLOT_BYTES, kept, SLOT_BYTES);
}

static void wrong_number(struct damage_image *i)
{
	parts(i)[SLOT_BYTES] = 3;
}

static void wrong_checksum(struct damage_image *i)
{
	parts(i)[13] ^= 1;
}

static void half_a_surrogate(struct damage_image *i)
{
	put_le16(parts(i) + SLOT_BYTES + 1, 0xd800);
}

static void deleted_part(struct damage_image *i)
{
	parts(i)[SLOT_BYTES] = SLOT_DELETED;
}

static void control_character(struct damage_image *i)
{
	put_le16(parts(i) + SLOT_BYTES + 1, 7);
}

static void slash_in_name(struct damage_image *i)
{
	put_le16(parts(i) + SLOT_BYTES + 1, '/');
}

static const struct {
	const char *name;
	void (*damage)(struct damage_image *i);
	bool found; /* by a check */
} harmless[] = {
	{ "parts out of order", swapped_parts, true },
	{ "part with a wrong number", wrong_number, true },
	{ "wrong checksum", wrong_checksum, true },
	{ "deleted part", deleted_part, true },
	{ "half of a surrogate pair", half_a_surrogate, false },
	{ "control character", control_character, false },
	{ "slash", slash_in_name, false },
};
#define HARMLESS (sizeof(harmless) / sizeof(harmless[0]))

static void test_a_broken_long_name_leaves_the_file_its_short_name(void **state)
{
	static struct damage_image whole, damaged;
	struct fat_check_report report;

	(void)state;
	for (unsigned shape = 0; shape < DAMAGE_SHAPES; shape++) {
		struct volume v;

		damage_make(&v, shape, &whole);
		for (unsigned k = 0; k < HARMLESS; k++) {
			struct fat_node *n;
			uint8_t got[DAMAGE_FILE_BYTES];

			print_message("FAT%u: %s\n", damage_shapes[shape].mkfs.type, harmless[k].name);
			damaged = whole;
			harmless[k].damage(&damaged);
			blk_sim_poke(v.dev, 0, damaged.bytes, sizeof(damaged.bytes));
			(void)vol_check(&v, false, false, &report);
			assert_true(!harmless[k].found || report.by_kind[FAT_FINDING_LONG_NAME]);
			vol_mount(&v);
			assert_null(vol_find(v.root, DAMAGE_LONG_NAME));
			n = vol_find(v.root, "victim~1.bin");
			assert_non_null(n);
			assert_int_equal(vol_read(n, got, sizeof(got), 0), sizeof(got));
			must(vol_write(n, "new", 3, 0));
			fat_node_put(n);
			must(fat_unlink(v.root, "VICTIM~1.BIN", 12));
			damage_assert_kept(&v);
			must(vol_unmount(&v));
			(void)vol_check(&v, true, false, &report);
			assert_int_equal(report.left_count, 0);
			assert_int_equal(vol_check(&v, false, true, NULL), 0);
		}
		vol_done(&v);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_would_do_harm_makes_the_volume_read_only),
		cmocka_unit_test(test_changes_from_before_a_damage_was_found_are_written),
		cmocka_unit_test(test_a_broken_long_name_leaves_the_file_its_short_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
