/* SPDX-License-Identifier: BSD-3-Clause */
/* Roots: the codec, and the two rings on every device. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/bytes.h"
#include "core/blk/sim.h"
#include "core/fs/wfs3/label.h"

#define MIB (UINT64_C(1) << 20)
#define DEVICE_BYTES (64 * MIB)
#define RING (512 << 10)
#define BACK (DEVICE_BYTES - MIB)

static const uint8_t uuid[16] = "0123456789abcde";

static struct root sample(uint64_t txg)
{
	struct root r = {
		.txg = txg,
		.time_ns = 1000 * txg,
		.pool_tree = { .addr = 300, .birth = txg, .hash = { txg, ~txg } },
		.space = { .ring_head = 4096 * txg, .ring_tail = 4096, .used_blocks = txg },
		.next_dataset_id = 3,
		.log_position = 4096,
		.log_epoch = 2,
	};

	memcpy(r.pool_uuid, uuid, 16);
	return r;
}

static void assert_same(const struct root *a, const struct root *b)
{
	uint8_t x[WFS3_BLOCK_BYTES], y[WFS3_BLOCK_BYTES];

	root_encode(a, x);
	root_encode(b, y);
	assert_memory_equal(x, y, sizeof(x));
}

struct pool {
	struct blk_dev *devs[2];
	struct label label;
	const struct label *labels[2];
	struct root_list list;
};

static struct pool *pool_new(void)
{
	struct pool *p = calloc(1, sizeof(*p));

	memcpy(p->label.pool_uuid, uuid, 16);
	assert_int_equal(space_layout_make(DEVICE_BYTES, MIB, &p->label.layout), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(blk_sim_new("sim", DEVICE_BYTES, &p->devs[i]), 0);
		p->labels[i] = &p->label;
	}
	return p;
}

static void pool_free(struct pool *p)
{
	blk_close(p->devs[0]);
	blk_close(p->devs[1]);
	free(p);
}

static void write_txgs(struct pool *p, uint64_t from, uint64_t to)
{
	for (uint64_t txg = from; txg <= to; txg++) {
		struct root r = sample(txg);

		assert_int_equal(root_write(p->devs, p->labels, 2, &r), 0);
	}
}

static void damage(struct blk_dev *dev, uint64_t offset)
{
	uint8_t b;

	blk_sim_peek(dev, offset, &b, 1);
	b ^= 1;
	blk_sim_poke(dev, offset, &b, 1);
}

static void test_root_survives_encoding_and_every_flip_is_detected(void **state)
{
	struct root r = sample(WFS3_TXG_MAX), got;
	uint8_t block[WFS3_BLOCK_BYTES];

	(void)state;
	r.clean = true;
	root_encode(&r, block);
	assert_int_equal(root_decode(block, uuid, &got), 0);
	assert_same(&r, &got);
	assert_true(got.clean);
	for (unsigned i = 0; i < sizeof(block); i++) {
		block[i] ^= 0x80;
		assert_int_equal(root_decode(block, uuid, &got), i < 8 ? -EMEDIUMTYPE : -EUCLEAN);
		block[i] ^= 0x80;
	}
	assert_int_equal(root_decode(block, (const uint8_t *)"another pool....", &got), -EMEDIUMTYPE);
}

static void test_impossible_fields_are_refused(void **state)
{
	static const struct {
		unsigned offset;
		uint64_t value;
	} cases[] = {
		{ 40, 0 }, /* txg */
		{ 40, WFS3_TXG_MAX + 1 },
		{ 56, WFS3_VBA_MAX + 1 }, /* pool tree */
		{ 56, 0 },
		{ 64, 0 },
		{ 64, 51 }, /* born after the root */
		{ 88, 4097 }, /* ring */
		{ 88, 0 },
		{ 96, UINT64_MAX - 4095 },
		{ 136, 2 }, /* flags */
		{ 144, 1 }, /* reserved */
		{ 4088, 1 },
	};
	uint8_t block[WFS3_BLOCK_BYTES];
	struct root r = sample(50), got;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hash128 h;

		root_encode(&r, block);
		put_le64(block + cases[i].offset, cases[i].value);
		h = hash128(block + 24, sizeof(block) - 24);
		put_le64(block + 8, h.lo);
		put_le64(block + 16, h.hi);
		if (root_decode(block, uuid, &got) != -EUCLEAN)
			fail_msg("offset %u value 0x%llx was accepted", cases[i].offset,
			         (unsigned long long)cases[i].value);
	}
}

static void test_all_roots_are_listed_newest_first_and_once(void **state)
{
	struct pool *p = pool_new();

	(void)state;
	assert_int_equal(root_read_all(p->devs[0], &p->label, &p->list), 0);
	assert_int_equal(p->list.count, 0);
	write_txgs(p, 1, 100);
	for (unsigned d = 0; d < 2; d++) {
		assert_int_equal(root_read_all(p->devs[d], &p->label, &p->list), 0);
		assert_int_equal(p->list.count, LABEL_ROOT_SLOTS);
		assert_int_equal(p->list.bad_count, 0);
		for (unsigned i = 0; i < LABEL_ROOT_SLOTS; i++) {
			struct root want = sample(100 - i);

			assert_same(&p->list.roots[i], &want);
		}
	}
	pool_free(p);
}

static void test_torn_newest_root_gives_way_to_the_copy_then_to_the_older_one(void **state)
{
	struct pool *p = pool_new();

	(void)state;
	write_txgs(p, 1, 70);
	damage(p->devs[0], RING + 70 % 64 * 4096 + 2000);
	assert_int_equal(root_read_all(p->devs[0], &p->label, &p->list), 0);
	assert_int_equal(p->list.roots[0].txg, 70);
	assert_int_equal(p->list.bad_count, 1);
	assert_int_equal(p->list.bad_txg_max, 70);
	damage(p->devs[0], BACK + RING + 70 % 64 * 4096 + 100);
	assert_int_equal(root_read_all(p->devs[0], &p->label, &p->list), 0);
	assert_int_equal(p->list.roots[0].txg, 69);
	assert_int_equal(p->list.bad_count, 2);
	assert_int_equal(p->list.bad_txg_max, 70);
	damage(p->devs[0], BACK + RING + 70 % 64 * 4096 + 41); /* its txg cannot be true any more */
	damage(p->devs[0], RING + 70 % 64 * 4096); /* no magic */
	assert_int_equal(root_read_all(p->devs[0], &p->label, &p->list), 0);
	assert_int_equal(p->list.bad_count, 2);
	pool_free(p);
}

static void test_root_in_the_wrong_slot_is_bad(void **state)
{
	struct pool *p = pool_new();
	uint8_t block[WFS3_BLOCK_BYTES];
	struct root r = sample(9);

	(void)state;
	write_txgs(p, 1, 5);
	root_encode(&r, block);
	blk_sim_poke(p->devs[0], RING + 8 * 4096, block, sizeof(block));
	assert_int_equal(root_read_all(p->devs[0], &p->label, &p->list), 0);
	assert_int_equal(p->list.roots[0].txg, 5);
	assert_int_equal(p->list.bad_count, 1);
	assert_int_equal(p->list.bad_txg_max, 0);
	pool_free(p);
}

static void test_one_unreadable_ring_is_survived(void **state)
{
	struct blk_sim_faults faults = { .fail_nth = { 0, -1, -1, -1, -1 }, .error = -EIO };
	struct pool *p = pool_new();

	(void)state;
	write_txgs(p, 1, 3);
	blk_sim_set_faults(p->devs[0], &faults);
	assert_int_equal(root_read_all(p->devs[0], &p->label, &p->list), 0);
	assert_int_equal(p->list.roots[0].txg, 3);
	faults.fail_from_nth = true;
	blk_sim_set_faults(p->devs[0], &faults);
	assert_int_equal(root_read_all(p->devs[0], &p->label, &p->list), -EIO);
	pool_free(p);
}

/* Newest txg over both devices. */
static uint64_t newest_txg(struct pool *p)
{
	uint64_t txg = 0;

	for (unsigned d = 0; d < 2; d++) {
		assert_int_equal(root_read_all(p->devs[d], &p->label, &p->list), 0);
		if (p->list.count && p->list.roots[0].txg > txg)
			txg = p->list.roots[0].txg;
	}
	return txg;
}

/* Whichever request is the last one: the old root or the new one is there, and the new one when it was reported. */
static void test_power_cut_at_any_request_leaves_a_newest_root(void **state)
{
	(void)state;
	for (unsigned op = BLK_WRITE; op <= BLK_FLUSH; op++)
		for (int64_t nth = 0; nth < 3; nth++)
			for (uint64_t seed = 0; seed < 40; seed++) {
				struct blk_sim_faults faults = { .fail_nth = { -1, -1, -1, -1, -1 },
					                         .fail_from_nth = true };
				struct pool *p = pool_new();
				struct root r = sample(101);
				uint64_t got;
				int rc;

				write_txgs(p, 36, 100);
				faults.fail_nth[op] = nth;
				for (unsigned d = 0; d < 2; d++)
					if (seed & 1u << d)
						blk_sim_set_faults(p->devs[d], &faults);
				rc = root_write(p->devs, p->labels, 2, &r);
				for (unsigned d = 0; d < 2; d++) {
					blk_sim_set_faults(p->devs[d], NULL);
					blk_sim_power_cut(p->devs[d], seed * 7 + d);
				}
				got = newest_txg(p);
				assert_true(got == 101 || (got == 100 && rc));
				pool_free(p);
				if (op == BLK_FLUSH && nth == 2)
					break;
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_root_survives_encoding_and_every_flip_is_detected),
		cmocka_unit_test(test_impossible_fields_are_refused),
		cmocka_unit_test(test_all_roots_are_listed_newest_first_and_once),
		cmocka_unit_test(test_torn_newest_root_gives_way_to_the_copy_then_to_the_older_one),
		cmocka_unit_test(test_root_in_the_wrong_slot_is_bad),
		cmocka_unit_test(test_one_unreadable_ring_is_survived),
		cmocka_unit_test(test_power_cut_at_any_request_leaves_a_newest_root),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
