/* SPDX-License-Identifier: BSD-3-Clause */
/* The FAT in memory, whole and in part, and the bitmap of free clusters: both against plain arrays. */
#include "core/fs/fat/alloc.h"
#include "core/fs/fat/format.h"
#include "core/fs/fat/table.h"
#include "tests/unit/core/fs/fat/fat_fixture.h"
#include "tests/unit/slow.h"

static struct fat_geometry geometry(enum fat_type type, uint32_t clusters)
{
	uint64_t bytes = (((uint64_t)clusters + 2) * (unsigned)type / 8 / 512 + 1) * 512;

	return (struct fat_geometry){
		.type = type,
		.sector_bytes = 512,
		.cluster_bytes = 512,
		.cluster_count = clusters,
		.fat_offset = 512,
		.fat_bytes = bytes,
		.fat_count = 2,
		.fat_mirrored = true,
	};
}

static uint32_t random_value(uint64_t *seed, uint32_t clusters)
{
	uint32_t r = (uint32_t)(vol_random(seed) >> 20);

	return r % 8 == 0 ? FAT_FREE : r % 8 == 1 ? FAT_BAD : r % 8 == 2 ? FAT_END : 2 + r / 8 % clusters;
}

/* With room for everything, and for a part (FAT32 has more than the least that is kept). */
static void run_table(enum fat_type type, uint32_t clusters, size_t limit)
{
	struct fat_geometry g = geometry(type, clusters);
	uint32_t *model = calloc(clusters + 2, sizeof(*model)), value;
	uint64_t seed = 99 + clusters;
	struct fat_medium m;
	struct fat_table t;
	struct blk_dev *dev;

	must(blk_sim_new("fat", 4 * MIB, &dev));
	fat_medium_init(&m, dev);
	must(fat_table_init(&t, &m, &g, NULL, limit));
	for (unsigned i = 0; i < 60000 / test_slow(); i++) {
		uint32_t c = 2 + (uint32_t)(vol_random(&seed) >> 20) % clusters;

		must(fat_table_get(&t, c, &value));
		assert_int_equal(value, model[c]);
		model[c] = random_value(&seed, clusters);
		must(fat_table_set(&t, c, model[c]));
		if (i % 97 == 0) {
			must(fat_table_write(&t));
			assert_false(fat_table_is_dirty(&t));
		}
	}
	must(fat_table_write(&t));
	fat_table_done(&t);
	for (uint32_t copy = 0; copy < 2; copy++) {
		g.fat_active = copy;
		must(fat_table_init(&t, &m, &g, NULL, limit));
		for (uint32_t c = 2; c < clusters + 2; c++) {
			must(fat_table_get(&t, c, &value));
			assert_int_equal(value, model[c]);
		}
		fat_table_done(&t);
	}
	fat_medium_done(&m);
	blk_close(dev);
	free(model);
}

static void test_entries_are_kept_whether_or_not_the_fat_fits_into_memory(void **state)
{
	(void)state;
	run_table(FAT_TYPE_12, 4084, SIZE_MAX);
	run_table(FAT_TYPE_16, 65524, SIZE_MAX);
	run_table(FAT_TYPE_32, 150000, SIZE_MAX);
	run_table(FAT_TYPE_32, 150000, 0);
}

static void test_a_fat_that_cannot_be_read_is_read_from_its_copy(void **state)
{
	struct blk_sim_faults faults = { .fail_nth = { 0, -1, -1, -1, -1 } };
	struct fat_geometry g = geometry(FAT_TYPE_16, 5000);
	struct fat_medium m;
	struct fat_table t;
	struct blk_dev *dev;
	uint32_t value;

	(void)state;
	must(blk_sim_new("fat", 1 * MIB, &dev));
	fat_medium_init(&m, dev);
	must(fat_table_init(&t, &m, &g, NULL, SIZE_MAX));
	must(fat_table_set(&t, 7, 8));
	must(fat_table_write(&t));
	fat_table_done(&t);
	must(fat_table_init(&t, &m, &g, NULL, SIZE_MAX));
	blk_sim_set_faults(dev, &faults);
	must(fat_table_get(&t, 7, &value));
	assert_int_equal(value, 8);
	fat_table_done(&t);
	/* Reading ahead fails where reading falls back to the copy. */
	must(fat_table_init(&t, &m, &g, NULL, SIZE_MAX));
	blk_sim_set_faults(dev, NULL);
	blk_sim_break(dev, g.fat_offset / 4096 * 4096, 4096, false);
	fat_table_read_ahead(&t, 0);
	must(fat_table_get(&t, 7, &value));
	assert_int_equal(value, 8);
	fat_table_done(&t);
	fat_medium_done(&m);
	blk_close(dev);
}

#define CLUSTERS 9000u

static void test_runs_are_free_and_none_is_given_twice(void **state)
{
	static bool used[CLUSTERS + 2];
	uint32_t held[64][2] = { { 0 } }, free_count = CLUSTERS;
	uint64_t seed = 5;
	struct fat_alloc a;

	(void)state;
	must(fat_alloc_init(&a, CLUSTERS));
	must(fat_alloc_give(&a, 2, CLUSTERS));
	for (unsigned i = 0; i < 20000 / test_slow(); i++) {
		uint32_t *h = held[(vol_random(&seed) >> 20) % 64],
		         want = 1 + (uint32_t)(vol_random(&seed) >> 20) % 400;
		uint32_t goal = (vol_random(&seed) & 32) ? 2 + (uint32_t)(vol_random(&seed) >> 20) % CLUSTERS : 0;

		if (h[1]) {
			must(fat_alloc_give(&a, h[0], h[1]));
			memset(used + h[0], 0, h[1]);
			free_count += h[1];
			h[1] = 0;
			continue;
		}
		if (!fat_alloc_take(&a, goal, want, &h[0], &h[1])) {
			assert_int_equal(free_count, 0);
			continue;
		}
		assert_true(h[1] >= 1 && h[1] <= want && h[0] >= 2 && h[0] + h[1] <= CLUSTERS + 2);
		if (goal && !used[goal])
			assert_int_equal(h[0], goal);
		for (uint32_t c = h[0]; c < h[0] + h[1]; c++) {
			assert_false(used[c]);
			used[c] = true;
		}
		free_count -= h[1];
		assert_int_equal(a.free_count, free_count);
	}
	fat_alloc_done(&a);
}

static void test_what_is_free_cannot_be_given_back(void **state)
{
	struct fat_alloc a;

	(void)state;
	must(fat_alloc_init(&a, 100));
	must(fat_alloc_give(&a, 10, 5));
	assert_int_equal(fat_alloc_give(&a, 12, 1), -EUCLEAN);
	assert_int_equal(fat_alloc_give(&a, 101, 2), -EUCLEAN);
	assert_int_equal(a.free_count, 5);
	fat_alloc_done(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_entries_are_kept_whether_or_not_the_fat_fits_into_memory),
		cmocka_unit_test(test_a_fat_that_cannot_be_read_is_read_from_its_copy),
		cmocka_unit_test(test_runs_are_free_and_none_is_given_twice),
		cmocka_unit_test(test_what_is_free_cannot_be_given_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
