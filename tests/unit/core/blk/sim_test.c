/* SPDX-License-Identifier: BSD-3-Clause */
/* The simulated device: what survives a power cut, and faults on demand. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/checksum.h"
#include "core/blk/sim.h"

#define SIZE (UINT64_C(1) << 20)
#define BLOCK 4096

static _Alignas(4096) uint8_t buf[16 * BLOCK];
static struct blk_dev *dev;

static int setup(void **state)
{
	(void)state;
	return blk_sim_new("sim0", SIZE, &dev);
}

static int teardown(void **state)
{
	(void)state;
	blk_close(dev);
	return 0;
}

static void write_byte(uint64_t block, uint8_t byte, unsigned flags)
{
	memset(buf, byte, BLOCK);
	assert_int_equal(blk_write(dev, block * BLOCK, buf, BLOCK, flags), 0);
}

/* The byte that fills @block; fails when the block is mixed. */
static int byte_of(uint64_t block)
{
	assert_int_equal(blk_read(dev, block * BLOCK, buf, BLOCK), 0);
	for (int i = 1; i < BLOCK; i++)
		assert_int_equal(buf[i], buf[0]);
	return buf[0];
}

static void test_unflushed_is_lost_and_flushed_stays(void **state)
{
	(void)state;
	write_byte(1, 0x11, 0);
	assert_int_equal(blk_flush(dev), 0);
	write_byte(1, 0x22, 0);
	write_byte(2, 0x33, 0);
	write_byte(3, 0x44, BLK_FUA);
	assert_int_equal(byte_of(1), 0x22);
	blk_sim_power_cut(dev, 0);
	assert_int_equal(byte_of(1), 0x11);
	assert_int_equal(byte_of(2), 0);
	assert_int_equal(byte_of(3), 0x44);
}

static void test_everything_may_survive(void **state)
{
	(void)state;
	write_byte(1, 0x11, 0);
	blk_sim_power_cut(dev, UINT64_MAX);
	blk_sim_power_cut(dev, 0);
	assert_int_equal(byte_of(1), 0x11);
}

static void test_a_seed_mixes_old_and_new_by_sector(void **state)
{
	static uint8_t first[16 * BLOCK];
	int kept = 0;

	(void)state;
	for (int round = 0; round < 2; round++) {
		memset(buf, 0, sizeof(buf));
		assert_int_equal(blk_write(dev, 0, buf, sizeof(buf), BLK_FUA), 0);
		memset(buf, 0xaa, sizeof(buf));
		assert_int_equal(blk_write(dev, 0, buf, sizeof(buf), 0), 0);
		blk_sim_power_cut(dev, 42);
		assert_int_equal(blk_read(dev, 0, buf, sizeof(buf)), 0);
		if (round == 0)
			memcpy(first, buf, sizeof(buf));
	}
	assert_memory_equal(first, buf, sizeof(buf));
	for (size_t s = 0; s < sizeof(buf); s += 512) {
		for (int i = 1; i < 512; i++)
			assert_int_equal(buf[s + i], buf[s]);
		kept += buf[s] == 0xaa;
	}
	assert_in_range(kept, 32, 96);
}

static void test_discard_and_zeroes_are_volatile_too(void **state)
{
	struct blk_io ios[2] = {
		{ .op = BLK_DISCARD, .offset = 0, .len_bytes = BLOCK },
		{ .op = BLK_WRITE_ZEROES, .flags = BLK_FUA, .offset = BLOCK, .len_bytes = BLOCK },
	};
	struct blk_batch b;

	(void)state;
	write_byte(0, 1, BLK_FUA);
	write_byte(1, 1, BLK_FUA);
	blk_batch_init(&b);
	blk_batch_add(&b, dev, &ios[0]);
	blk_batch_add(&b, dev, &ios[1]);
	assert_int_equal(blk_batch_wait(&b), 0);
	assert_int_equal(byte_of(0), 0);
	blk_sim_power_cut(dev, 0);
	assert_int_equal(byte_of(0), 1);
	assert_int_equal(byte_of(1), 0);
}

static void test_the_nth_request_fails_once(void **state)
{
	struct blk_sim_faults faults = { .fail_nth = { 1, 0, -1, -1, -1 } };

	(void)state;
	blk_sim_set_faults(dev, &faults);
	assert_int_equal(blk_write(dev, 0, buf, BLOCK, 0), -EIO);
	assert_int_equal(blk_write(dev, 0, buf, BLOCK, 0), 0);
	assert_int_equal(blk_read(dev, 0, buf, BLOCK), 0);
	assert_int_equal(blk_read(dev, 0, buf, BLOCK), -EIO);
	assert_int_equal(blk_read(dev, 0, buf, BLOCK), 0);
	assert_int_equal(blk_sim_count(dev, BLK_READ), 3);
	assert_int_equal(blk_sim_count(dev, BLK_FLUSH), 0);
}

static void test_a_failed_flush_makes_nothing_durable(void **state)
{
	struct blk_sim_faults faults = { .fail_nth = { -1, -1, 1, -1, -1 }, .fail_from_nth = true, .error = -ENXIO };

	(void)state;
	blk_sim_set_faults(dev, &faults);
	assert_int_equal(blk_flush(dev), 0);
	write_byte(5, 5, 0);
	assert_int_equal(blk_flush(dev), -ENXIO);
	assert_int_equal(blk_flush(dev), -ENXIO);
	blk_sim_set_faults(dev, NULL);
	blk_sim_power_cut(dev, 0);
	assert_int_equal(byte_of(5), 0);
	assert_int_equal(blk_flush(dev), 0);
}

static void test_a_failed_write_changes_nothing(void **state)
{
	struct blk_sim_faults faults = { .fail_nth = { -1, 0, -1, -1, -1 } };

	(void)state;
	write_byte(5, 5, 0);
	blk_sim_set_faults(dev, &faults);
	memset(buf, 6, BLOCK);
	assert_int_equal(blk_write(dev, 5 * BLOCK, buf, BLOCK, 0), -EIO);
	assert_int_equal(byte_of(5), 5);
}

static void test_unplugged_device_answers_enxio(void **state)
{
	(void)state;
	write_byte(1, 9, 0);
	blk_sim_unplug(dev);
	assert_int_equal(blk_read(dev, 0, buf, BLOCK), -ENXIO);
	assert_int_equal(blk_flush(dev), -ENXIO);
	blk_sim_replug(dev);
	assert_int_equal(byte_of(1), 9);
}

static void test_resize_drops_what_lies_beyond(void **state)
{
	(void)state;
	write_byte(0, 1, 0);
	write_byte(SIZE / BLOCK - 1, 2, 0);
	assert_int_equal(blk_sim_resize(dev, SIZE / 2), 0);
	assert_int_equal(blk_caps(dev)->size_bytes, SIZE / 2);
	assert_int_equal(blk_read(dev, SIZE / 2, buf, BLOCK), -EINVAL);
	assert_int_equal(blk_sim_resize(dev, 2 * SIZE), 0);
	assert_int_equal(byte_of(SIZE / BLOCK - 1), 0);
	write_byte(2 * SIZE / BLOCK - 1, 3, 0);
	blk_sim_power_cut(dev, 0);
	assert_int_equal(byte_of(0), 1);
	assert_int_equal(byte_of(2 * SIZE / BLOCK - 1), 0);
	assert_int_equal(blk_sim_resize(dev, 100), -EINVAL);
}

static void test_poke_survives_a_power_cut(void **state)
{
	uint8_t byte = 0;

	(void)state;
	blk_sim_poke(dev, 777, "\x5a", 1);
	blk_sim_power_cut(dev, 0);
	blk_sim_peek(dev, 777, &byte, 1);
	assert_int_equal(byte, 0x5a);
	assert_int_equal(blk_sim_count(dev, BLK_WRITE), 0);
}

int main(void)
{
#define SIM_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		SIM_TEST(test_unflushed_is_lost_and_flushed_stays), SIM_TEST(test_everything_may_survive),
		SIM_TEST(test_a_seed_mixes_old_and_new_by_sector),  SIM_TEST(test_discard_and_zeroes_are_volatile_too),
		SIM_TEST(test_the_nth_request_fails_once),          SIM_TEST(test_a_failed_flush_makes_nothing_durable),
		SIM_TEST(test_a_failed_write_changes_nothing),      SIM_TEST(test_unplugged_device_answers_enxio),
		SIM_TEST(test_resize_drops_what_lies_beyond),       SIM_TEST(test_poke_survives_a_power_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
