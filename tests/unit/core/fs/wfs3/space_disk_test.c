/* SPDX-License-Identifier: BSD-3-Clause */
/* The allocation state on the devices: wrapping ring, roots in flight, damage, write errors, and the codecs. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/base/bytes.h"
#include "core/fs/wfs3/space_codec.h"
#include "tests/unit/core/fs/wfs3/space_fixture.h"
#include "tests/unit/slow.h"

/* Of regions of 1 MiB. */
#define SLOT_BYTES 4096

struct pool {
	struct fixture f;
	struct space *s;
	struct space_root root, before; /* of txg - 1, of txg - 2 */
	uint64_t txg; /* open */
	uint64_t seed;
};

static void pool_init(struct pool *p, uint64_t ring_bytes)
{
	*p = (struct pool){ .txg = FIRST_TXG + 1, .seed = 7 };
	fixture_init(&p->f, 1, 64 * MIB, MIB, ring_bytes);
	assert_int_equal(space_create(&p->f.config, FIRST_TXG, &p->s, &p->root), 0);
	fixture_flush(&p->f);
}

static void pool_done(struct pool *p)
{
	space_free(p->s);
	fixture_done(&p->f);
}

static void pool_commit(struct pool *p)
{
	p->before = p->root;
	p->root = commit_txg(&p->f, p->s, p->txg);
	p->txg++;
}

/* @count runs of random places come or go; few of them lie side by side. */
static void change(struct pool *p, unsigned count)
{
	struct space_run run;

	for (unsigned i = 0; i < count; i++) {
		uint64_t addr = fixture_addr(&p->f, rnd_below(&p->seed, fixture_blocks(&p->f)));

		if (space_is_used(p->s, addr)) {
			free_one(p->s, p->txg, (struct space_run){ addr, 1 });
		} else if (!space_alloc(p->s, SPACE_STREAM_DATA, 1, 1 + rnd_below(&p->seed, 8), &run)) {
			commit_one(p->s, p->txg, run);
		}
	}
}

static int load(struct pool *p, uint64_t txg, const struct space_root *root)
{
	struct space *s = NULL;
	int rc = space_load(&p->f.config, txg, root, &s);

	if (!rc)
		check_stats(s);
	space_free(s);
	return rc;
}

static void reload(struct pool *p)
{
	space_free(p->s);
	p->s = NULL;
	assert_int_equal(space_load(&p->f.config, p->txg - 1, &p->root, &p->s), 0);
	space_set_open_txg(p->s, p->txg);
}

static uint64_t slot_offset(struct pool *p, unsigned region, unsigned slot)
{
	return p->f.devices[0].layout.slots_offset + (2 * (uint64_t)region + slot) * SLOT_BYTES;
}

static uint64_t slot_txg(struct pool *p, unsigned region, unsigned slot)
{
	uint8_t b[8];

	blk_sim_peek(p->f.devs[0], slot_offset(p, region, slot) + 40, b, 8);
	return get_le64(b);
}

static void flip(struct pool *p, uint64_t offset)
{
	uint8_t b;

	blk_sim_peek(p->f.devs[0], offset, &b, 1);
	b ^= 4;
	blk_sim_poke(p->f.devs[0], offset, &b, 1);
}

static void test_ring_wraps_over_hundreds_of_txgs(void **state)
{
	static const uint64_t rings[] = { 16 << 10, 32 << 10, 80 << 10, 0 };

	(void)state;
	for (unsigned r = 0; r < 4; r++) {
		struct pool p;
		uint64_t ring;

		pool_init(&p, rings[r]);
		ring = p.f.devices[0].layout.ring_bytes;
		for (unsigned i = 0; i < 300; i++) {
			change(&p, rnd_below(&p.seed, 40));
			pool_commit(&p);
			assert_true(p.root.ring_head - p.root.ring_tail <= ring / 2);
			assert_int_equal(load(&p, p.txg - 1, &p.root), 0);
			assert_int_equal(load(&p, p.txg - 2, &p.before), 0);
			if (i % 50 == 49)
				reload(&p);
		}
		assert_true(p.root.ring_head >= 300 * 4096);
		pool_done(&p);
	}
}

static void test_txg_larger_than_the_ring_is_written_as_bitmaps(void **state)
{
	struct pool p;

	(void)state;
	pool_init(&p, 16 << 10);
	for (unsigned i = 0; i < 30; i++) {
		/* More than the 500 entries of a record, now and then; every other one twice in a row. */
		change(&p, i % 4 < 2 ? 3000 : 10);
		pool_commit(&p);
		assert_int_equal(load(&p, p.txg - 1, &p.root), 0);
		assert_int_equal(load(&p, p.txg - 2, &p.before), 0);
		if (i % 5 == 4)
			reload(&p);
	}
	pool_done(&p);
}

static void test_frees_of_a_loaded_txg_are_pending(void **state)
{
	static const unsigned strides[] = { 100, 3 }; /* recorded in the ring; so many that bitmaps are written */

	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		struct pool p;
		struct space_stats before, after;

		pool_init(&p, 16 << 10);
		change(&p, 6000);
		pool_commit(&p);
		pool_commit(&p);
		for (uint32_t i = 0; i < fixture_blocks(&p.f); i += strides[k])
			if (space_is_used(p.s, fixture_addr(&p.f, i)))
				free_one(p.s, p.txg, (struct space_run){ fixture_addr(&p.f, i), 1 });
		pool_commit(&p);
		space_get_stats(p.s, &before);
		assert_true(before.pending_blocks > 0);
		reload(&p);
		space_get_stats(p.s, &after);
		assert_int_equal(before.pending_blocks, after.pending_blocks);
		assert_int_equal(before.used_blocks, after.used_blocks);
		pool_commit(&p);
		space_get_stats(p.s, &after);
		assert_int_equal(after.pending_blocks, 0);
		pool_done(&p);
	}
}

/* The metadata areas, to try many ends of one commit. */
static uint8_t *snapshot(struct pool *p)
{
	uint8_t *copy = malloc(p->f.devices[0].layout.regions_offset);

	fixture_flush(&p->f);
	blk_sim_peek(p->f.devs[0], 0, copy, p->f.devices[0].layout.regions_offset);
	return copy;
}

/* While a commit is under way, the newest root and the one before it can be loaded, whatever of it arrived. */
static void test_commit_under_way_keeps_two_roots(void **state)
{
	struct pool p;

	(void)state;
	pool_init(&p, 32 << 10);
	for (unsigned i = 0; i < 5 * FIXTURE_EFFORT; i += test_slow()) {
		uint8_t *copy;
		struct space *victim;
		struct space_root root;

		change(&p, 30);
		pool_commit(&p);
		copy = snapshot(&p);
		for (unsigned cut = 0; cut < 3; cut++) {
			uint64_t seed = cut ? rnd(&p.seed) : UINT64_MAX;
			struct space_run run;

			assert_int_equal(space_load(&p.f.config, p.txg - 1, &p.root, &victim), 0);
			for (unsigned j = 0; j < 20; j++) {
				assert_int_equal(space_alloc(victim, SPACE_STREAM_DATA, 1, 3, &run), 0);
				commit_one(victim, p.txg, run);
			}
			assert_int_equal(space_write(victim, p.txg, &root), 0);
			blk_sim_power_cut(p.f.devs[0], seed);
			assert_int_equal(load(&p, p.txg - 1, &p.root), 0);
			if (i)
				assert_int_equal(load(&p, p.txg - 2, &p.before), 0);
			space_free(victim);
			blk_sim_poke(p.f.devs[0], 0, copy, p.f.devices[0].layout.regions_offset);
		}
		free(copy);
	}
	pool_done(&p);
}

static void test_damaged_newer_slot_is_replaced_by_the_older_one_and_repaired(void **state)
{
	struct pool p;
	unsigned region = 5, newer;

	(void)state;
	pool_init(&p, 0);
	for (unsigned i = 0; i < 200; i++) {
		change(&p, 30);
		pool_commit(&p);
	}
	newer = slot_txg(&p, region, 1) > slot_txg(&p, region, 0);
	assert_true(slot_txg(&p, region, newer) > slot_txg(&p, region, !newer));
	flip(&p, slot_offset(&p, region, newer) + 100);
	reload(&p);
	change(&p, 10);
	pool_commit(&p);
	/* The damaged one was written anew, so now the other one may go. */
	assert_int_equal(slot_txg(&p, region, newer), p.txg - 1);
	flip(&p, slot_offset(&p, region, !newer) + 50);
	assert_int_equal(load(&p, p.txg - 1, &p.root), 0);
	pool_done(&p);
}

static void test_lost_bitmap_is_an_error_that_names_region_and_device(void **state)
{
	struct pool p;
	char text[512];
	int rc;

	(void)state;
	pool_init(&p, 0);
	for (unsigned i = 0; i < 50; i++) {
		change(&p, 30);
		pool_commit(&p);
	}
	flip(&p, slot_offset(&p, 17, 0) + 30);
	flip(&p, slot_offset(&p, 17, 1) + 96);
	rc = load(&p, p.txg - 1, &p.root);
	assert_int_equal(rc, -EUCLEAN);
	err_text(err_get(), rc, 0, text, sizeof(text));
	assert_non_null(strstr(text, "region 17"));
	assert_non_null(strstr(text, "device 0"));
	pool_done(&p);
}

/* What is loaded is what was committed, or nothing. */
static bool loads_the_truth(struct pool *p)
{
	struct space *s = NULL;
	int rc = space_load(&p->f.config, p->txg - 1, &p->root, &s);

	if (rc) {
		assert_int_equal(rc, -EUCLEAN);
		return false;
	}
	for (uint32_t i = 0; i < fixture_blocks(&p->f); i++)
		assert_int_equal(space_is_used(s, fixture_addr(&p->f, i)), space_is_used(p->s, fixture_addr(&p->f, i)));
	space_free(s);
	return true;
}

/* Every txg moves one block within a region, so that counts never tell. */
static void test_older_slot_is_refused_when_the_ring_does_not_reach_it(void **state)
{
	const uint64_t ring = 256 << 10;
	struct space_run runs[64], run;
	struct pool p;
	unsigned refused = 0, loaded = 0;

	(void)state;
	pool_init(&p, ring);
	for (unsigned i = 0; i < 64; i++) {
		assert_int_equal(space_alloc(p.s, SPACE_STREAM_DATA, 1, 1, &runs[i]), 0);
		commit_one(p.s, p.txg, runs[i]);
	}
	pool_commit(&p);
	for (unsigned i = 0; i < 150; i++) {
		unsigned region = (unsigned)(runs[i % 64].addr >> p.f.region_shift) - 1, newer;
		uint64_t record;

		assert_int_equal(space_alloc(p.s, SPACE_STREAM_DATA, 1, 1, &run), 0);
		commit_one(p.s, p.txg, run);
		free_one(p.s, p.txg, runs[i % 64]);
		runs[i % 64] = run;
		pool_commit(&p);
		newer = slot_txg(&p, region, 1) > slot_txg(&p, region, 0);
		if (i < 20)
			continue;
		/* Ten records back the ring is damaged, too: all that is older is of no use. */
		record = p.f.devices[0].layout.ring_offset + (p.root.ring_head - 10 * 4096) % ring;
		flip(&p, record);
		assert_true(loads_the_truth(&p));
		flip(&p, slot_offset(&p, region, newer) + 100);
		if (loads_the_truth(&p))
			loaded++;
		else
			refused++;
		flip(&p, slot_offset(&p, region, newer) + 100);
		flip(&p, record);
	}
	assert_true(loaded > 0 && refused > 0);
	pool_done(&p);
}

static void test_misplaced_and_foreign_slots_are_not_used(void **state)
{
	struct pool p;
	uint8_t block[2 * SLOT_BYTES];

	(void)state;
	pool_init(&p, 0);
	change(&p, 100);
	pool_commit(&p);
	blk_sim_peek(p.f.devs[0], slot_offset(&p, 3, 0), block, sizeof(block));
	blk_sim_poke(p.f.devs[0], slot_offset(&p, 4, 0), block, sizeof(block));
	assert_int_equal(load(&p, p.txg - 1, &p.root), -EUCLEAN);
	blk_sim_poke(p.f.devs[0], slot_offset(&p, 4, 0), block, SLOT_BYTES);
	p.f.config.pool_uuid[0] ^= 1;
	assert_int_equal(load(&p, p.txg - 1, &p.root), -EUCLEAN);
	pool_done(&p);
}

static void test_damaged_ring_records(void **state)
{
	struct pool p;
	uint64_t ring, tail;

	(void)state;
	pool_init(&p, 256 << 10);
	ring = p.f.devices[0].layout.ring_offset;
	for (unsigned i = 0; i < 300; i++) {
		change(&p, 20);
		pool_commit(&p);
	}
	/* The newest one is needed. */
	flip(&p, ring + (p.root.ring_head - 4096) % (256 << 10) + 96);
	assert_int_equal(load(&p, p.txg - 1, &p.root), -EUCLEAN);
	flip(&p, ring + (p.root.ring_head - 4096) % (256 << 10) + 96);
	/* The oldest ones are there for the case of damage only. */
	tail = ring + p.root.ring_tail % (256 << 10);
	flip(&p, tail);
	assert_int_equal(load(&p, p.txg - 1, &p.root), 0);
	reload(&p);
	change(&p, 20);
	pool_commit(&p);
	assert_int_equal(load(&p, p.txg - 1, &p.root), 0);
	pool_done(&p);
}

static void test_root_that_contradicts_the_bitmaps_is_refused(void **state)
{
	struct pool p;
	struct space_root root;

	(void)state;
	pool_init(&p, 0);
	change(&p, 100);
	pool_commit(&p);
	change(&p, 100);
	pool_commit(&p);
	root = p.root;
	root.used_blocks++;
	assert_int_equal(load(&p, p.txg - 1, &root), -EUCLEAN);
	root = p.root;
	root.ring_head += 4096;
	assert_int_equal(load(&p, p.txg - 1, &root), -EUCLEAN);
	root.ring_head = root.ring_tail - 4096;
	assert_int_equal(load(&p, p.txg - 1, &root), -EUCLEAN);
	root = p.root;
	root.ring_head = root.ring_tail + (UINT64_C(1) << 40);
	assert_int_equal(load(&p, p.txg - 1, &root), -EUCLEAN);
	/* A txg before the state was created. */
	assert_int_equal(load(&p, 1, &p.before), -EUCLEAN);
	pool_done(&p);
}

static void test_write_error_makes_nothing_reusable(void **state)
{
	(void)state;
	for (int64_t nth = 0; nth < 20; nth += 3) {
		struct blk_sim_faults faults = { .fail_nth = { -1, nth, -1, -1, -1 }, .error = -EIO };
		struct pool p;
		struct space_root root;
		struct space_stats before, after;

		pool_init(&p, 16 << 10);
		for (unsigned i = 0; i < 20; i++) {
			change(&p, 50);
			pool_commit(&p);
		}
		change(&p, 5000); /* many bitmaps */
		space_get_stats(p.s, &before);
		blk_sim_set_faults(p.f.devs[0], &faults);
		assert_int_equal(space_write(p.s, p.txg, &root), -EIO);
		space_root_durable(p.s, p.txg);
		space_get_stats(p.s, &after);
		assert_int_equal(before.free_blocks, after.free_blocks);
		assert_int_equal(space_write(p.s, p.txg + 1, &root), -EIO);
		assert_int_equal(load(&p, p.txg - 1, &p.root), 0);
		pool_done(&p);
	}
}

static void test_unreadable_slot_is_replaced_by_the_other_one(void **state)
{
	struct pool p;
	unsigned survived = 0;

	(void)state;
	pool_init(&p, 0);
	for (unsigned i = 0; i < 30; i++) {
		change(&p, 30);
		pool_commit(&p);
	}
	/* The ring is read first, then all slots at once; then, for a part that fails, slot by slot. */
	for (int64_t nth = 1; nth < 3; nth++) {
		struct blk_sim_faults faults = { .fail_nth = { nth, -1, -1, -1, -1 }, .error = -EIO };

		blk_sim_set_faults(p.f.devs[0], &faults);
		survived += load(&p, p.txg - 1, &p.root) == 0;
		blk_sim_set_faults(p.f.devs[0], NULL);
	}
	assert_true(survived > 0);
	pool_done(&p);
}

/* Regions of 256 MiB: a slot has three blocks, and one run needs several entries. */
static void test_largest_regions_survive(void **state)
{
	const uint64_t bytes = UINT64_C(12) << 30;
	struct space_device device = { 0 };
	struct space_config config = { .devices = &device, .device_count = 1, .pool_uuid = "large" };
	struct space_run run, half;
	struct space_root root;
	struct space *s, *loaded;
	struct blk_dev *dev;

	(void)state;
	assert_int_equal(blk_mem_new("mem", bytes, &dev), 0);
	config.region_bytes = space_region_bytes(bytes);
	assert_int_equal(config.region_bytes, 256 * MIB);
	assert_int_equal(space_layout_make(bytes, config.region_bytes, &device.layout), 0);
	device.dev = dev;
	assert_int_equal(space_create(&config, 1, &s, &root), 0);
	assert_int_equal(space_alloc(s, SPACE_STREAM_DATA, 1, 1000000, &run), 0);
	assert_int_equal(run.block_count, 65536);
	commit_one(s, 2, run);
	assert_int_equal(space_write(s, 2, &root), 0);
	space_root_durable(s, 2);
	half = (struct space_run){ run.addr + 100, 40000 };
	free_one(s, 3, half);
	assert_int_equal(space_write(s, 3, &root), 0);
	assert_int_equal(root.used_blocks, 65536 - 40000);
	assert_int_equal(space_load(&config, 3, &root, &loaded), 0);
	assert_true(space_is_used(loaded, run.addr + 99));
	assert_false(space_is_used(loaded, run.addr + 100));
	assert_false(space_is_used(loaded, run.addr + 40099));
	assert_true(space_is_used(loaded, run.addr + 40100));
	check_stats(loaded);
	space_free(loaded);
	space_free(s);
	blk_close(dev);
}

static void test_entries_pack_all_bits(void **state)
{
	const struct space_entry entries[] = {
		{ 1, 1, false },
		{ WFS3_VBA_MAX, SPACE_ENTRY_BLOCKS_MAX, true },
		{ UINT64_C(0x123456789abc), 12345, true },
	};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct space_entry got = space_entry_unpack(space_entry_pack(&entries[i]));

		assert_int_equal(got.addr, entries[i].addr);
		assert_int_equal(got.block_count, entries[i].block_count);
		assert_int_equal(got.freed, entries[i].freed);
	}
}

static void test_every_flip_in_a_slot_or_record_is_detected(void **state)
{
	static const uint8_t uuid[16] = "uuid";
	struct space_slot slot = { .txg = 3, .virtual_region = 1, .block_count = 256, .free_count = 256 - 3 }, got;
	struct space_record record = { .txg = 9,
		                       .position = 8192,
		                       .prev_txg = 8,
		                       .prev_position = 4096,
		                       .len_bytes = 4096,
		                       .entry_count = 2 },
	                    got_record;
	uint64_t bitmap[4] = { 7, 0, 0, 0 }, words[4];
	uint8_t buf[4096] = { 0 };

	(void)state;
	space_slot_encode(&slot, uuid, bitmap, buf);
	assert_int_equal(space_slot_decode(buf, uuid, 256, &got, words), 0);
	assert_memory_equal(words, bitmap, sizeof(words));
	for (unsigned i = 0; i < sizeof(buf); i++) {
		buf[i] ^= 2;
		assert_int_equal(space_slot_decode(buf, uuid, 256, &got, words), -EUCLEAN);
		buf[i] ^= 2;
	}
	memset(buf, 0, sizeof(buf));
	space_record_encode(&record, uuid, buf);
	assert_int_equal(space_record_decode(buf, 4096, uuid, 8192, &got_record), 0);
	assert_int_equal(space_record_decode(buf, 4096, uuid, 4096, &got_record), -EUCLEAN);
	assert_int_equal(space_record_decode(buf, 2048, uuid, 8192, &got_record), -EUCLEAN);
	for (unsigned i = 0; i < sizeof(buf); i++) {
		buf[i] ^= 2;
		assert_int_equal(space_record_decode(buf, 4096, uuid, 8192, &got_record), -EUCLEAN);
		buf[i] ^= 2;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ring_wraps_over_hundreds_of_txgs),
		cmocka_unit_test(test_txg_larger_than_the_ring_is_written_as_bitmaps),
		cmocka_unit_test(test_frees_of_a_loaded_txg_are_pending),
		cmocka_unit_test(test_commit_under_way_keeps_two_roots),
		cmocka_unit_test(test_damaged_newer_slot_is_replaced_by_the_older_one_and_repaired),
		cmocka_unit_test(test_lost_bitmap_is_an_error_that_names_region_and_device),
		cmocka_unit_test(test_older_slot_is_refused_when_the_ring_does_not_reach_it),
		cmocka_unit_test(test_misplaced_and_foreign_slots_are_not_used),
		cmocka_unit_test(test_damaged_ring_records),
		cmocka_unit_test(test_root_that_contradicts_the_bitmaps_is_refused),
		cmocka_unit_test(test_write_error_makes_nothing_reusable),
		cmocka_unit_test(test_unreadable_slot_is_replaced_by_the_other_one),
		cmocka_unit_test(test_largest_regions_survive),
		cmocka_unit_test(test_entries_pack_all_bits),
		cmocka_unit_test(test_every_flip_in_a_slot_or_record_is_detected),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
