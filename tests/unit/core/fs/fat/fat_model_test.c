/* SPDX-License-Identifier: BSD-3-Clause */
/* Random operations on volumes of every type, cluster and sector size, compared with a model, mounted again, checked.
 */
#include "tests/unit/core/fs/fat/fat_model.h"

static const struct {
	uint64_t size;
	struct fat_mkfs_options mkfs;
} shapes[] = {
	{ 1 * MIB, { .type = 12, .sector_bytes = 512 } },
	{ 8 * MIB, { .type = 12, .cluster_bytes = 4096 } },
	{ 8 * MIB, { .type = 12, .cluster_bytes = 65536, .sector_bytes = 1024 } },
	{ 8 * MIB, { .type = 16, .cluster_bytes = 1024, .sector_bytes = 512 } },
	{ 32 * MIB, { .type = 16, .cluster_bytes = 4096, .sector_bytes = 4096 } },
	{ 40 * MIB, { .type = 32, .cluster_bytes = 512, .sector_bytes = 512 } },
	{ 140 * MIB, { .type = 32, .cluster_bytes = 2048, .sector_bytes = 2048 } },
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static void run_shape(unsigned shape, uint64_t seed, unsigned rounds)
{
	struct volume v;
	struct model m;

	print_message("shape %u, seed %llu\n", shape, (unsigned long long)seed);
	vol_make(&v, shapes[shape].size, &shapes[shape].mkfs);
	vol_mount(&v);
	model_init(&m, &v, seed);
	for (unsigned round = 0; round < rounds; round++) {
		for (unsigned i = 0; i < 150; i++)
			must(model_step(&m));
		model_verify(&m);
		model_close_dirs(&m);
		must(vol_unmount(&v));
		assert_int_equal(vol_check(&v, false, true, NULL), 0);
		vol_mount(&v);
		model_open_dirs(&m, false);
		model_verify(&m);
	}
	model_close_dirs(&m);
	must(vol_unmount(&v));
	model_done(&m);
	vol_done(&v);
}

static void test_random_operations_come_to_what_the_model_says(void **state)
{
	(void)state;
	for (unsigned shape = 0; shape < SHAPES; shape++) {
		for (uint64_t seed = 1; seed <= 3; seed++)
			run_shape(shape, seed * 7919 + shape, 3);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_operations_come_to_what_the_model_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
