/* SPDX-License-Identifier: BSD-3-Clause */
/* Layouts, allocation in memory, reserve, fragmentation, and when freed blocks come back. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/core/fs/wfs3/space_fixture.h"

struct pool {
	struct fixture f;
	struct space *s;
	struct space_root root;
	uint64_t txg; /* open */
};

static void pool_init(struct pool *p)
{
	fixture_init(&p->f, 1, 64 * MIB, MIB, 0);
	assert_int_equal(space_create(&p->f.config, FIRST_TXG, &p->s, &p->root), 0);
	p->txg = FIRST_TXG + 1;
}

static void pool_done(struct pool *p)
{
	space_free(p->s);
	fixture_done(&p->f);
}

static void pool_commit(struct pool *p)
{
	p->root = commit_txg(&p->f, p->s, p->txg);
	p->txg++;
}

static struct space_stats stats(struct pool *p)
{
	struct space_stats t;

	space_get_stats(p->s, &t);
	assert_int_equal(t.total_blocks, t.used_blocks + t.in_flight_blocks + t.pending_blocks + t.free_blocks);
	return t;
}

static struct space_run alloc(struct pool *p, enum space_stream stream, uint32_t min, uint32_t want)
{
	struct space_run run = { 0 };

	assert_int_equal(space_alloc(p->s, stream, min, want, &run), 0);
	return run;
}

/* Everything in use, block by block, all committed. */
static void fill(struct pool *p)
{
	struct space_run run;

	while (!space_alloc(p->s, SPACE_STREAM_NODE, 1, 1000, &run))
		commit_one(p->s, p->txg, run);
	assert_int_equal(stats(p).free_blocks, 0);
	pool_commit(p);
}

static void test_layouts_of_all_sizes_are_valid(void **state)
{
	(void)state;
	for (uint64_t bytes = WFS3_POOL_BYTES_MIN; bytes < UINT64_C(200) << 40; bytes = bytes * 13 / 10 + 4097) {
		uint64_t region = space_region_bytes(bytes);
		struct space_layout l;

		assert_int_equal(space_layout_make(bytes, region, &l), 0);
		assert_int_equal(space_layout_check(&l, region), 0);
		assert_true(l.region_count >= 32);
		assert_true(l.region_count * region >= bytes / 10 * 7);
		assert_true(l.log_bytes >= 4 * MIB && l.log_bytes <= 1024 * MIB);
	}
}

static void test_layout_of_a_small_or_huge_second_device(void **state)
{
	struct space_layout l;

	(void)state;
	assert_int_equal(space_layout_make(WFS3_POOL_BYTES_MIN - 1, MIB, &l), -ENOSPC);
	assert_int_equal(space_layout_make(200 * MIB, 256 * MIB, &l), -ENOSPC);
	assert_int_equal(space_layout_make(UINT64_C(1) << 50, MIB, &l), 0);
	assert_int_equal(space_layout_check(&l, MIB), 0);
}

static void test_locate_translates_and_refuses_outside_addresses(void **state)
{
	struct pool p;
	unsigned device = 9;
	uint64_t offset = 0;

	(void)state;
	fixture_init(&p.f, 2, 64 * MIB, MIB, 0);
	assert_int_equal(space_create(&p.f.config, FIRST_TXG, &p.s, &p.root), 0);
	assert_int_equal(space_locate(p.s, 256 + 3, 253, &device, &offset), 0);
	assert_int_equal(device, 0);
	assert_int_equal(offset, p.f.devices[0].layout.regions_offset + 3 * 4096);
	assert_int_equal(space_locate(p.s, fixture_addr(&p.f, fixture_blocks(&p.f) - 1), 1, &device, &offset), 0);
	assert_int_equal(device, 1);
	assert_int_equal(offset,
	                 p.f.devices[1].layout.regions_offset + p.f.devices[1].layout.region_count * MIB - 4096);
	assert_int_equal(space_locate(p.s, 0, 1, &device, &offset), -EUCLEAN);
	assert_int_equal(space_locate(p.s, 255, 1, &device, &offset), -EUCLEAN);
	assert_int_equal(space_locate(p.s, 256 + 3, 254, &device, &offset), -EUCLEAN);
	assert_int_equal(space_locate(p.s, 256, 0, &device, &offset), -EUCLEAN);
	assert_int_equal(space_locate(p.s, fixture_addr(&p.f, fixture_blocks(&p.f)), 1, &device, &offset), -EUCLEAN);
	assert_int_equal(space_locate(p.s, UINT64_MAX, 1, &device, &offset), -EUCLEAN);
	pool_done(&p);
}

static void test_data_stops_at_the_reserve_and_nodes_use_it(void **state)
{
	struct pool p;
	struct space_run run, first = { 0 };
	struct space_stats t;

	(void)state;
	pool_init(&p);
	t = stats(&p);
	assert_true(t.reserved_blocks >= t.total_blocks * 3 / 100);
	while (!space_alloc(p.s, SPACE_STREAM_DATA, 1, 4000, &run)) {
		if (!first.addr)
			first = run;
		commit_one(p.s, p.txg, run);
	}
	/* What was accepted from writers may still need a part of the reserve. */
	assert_int_equal(stats(&p).free_blocks, t.reserved_blocks / 4);
	while (!space_alloc(p.s, SPACE_STREAM_NODE, 1, 4, &run))
		commit_one(p.s, p.txg, run);
	assert_int_equal(stats(&p).free_blocks, 0);
	assert_int_equal(space_alloc(p.s, SPACE_STREAM_NODE, 1, 1, &run), -ENOSPC);
	pool_commit(&p);
	free_one(p.s, p.txg, first);
	pool_commit(&p);
	pool_commit(&p);
	assert_int_equal(stats(&p).free_blocks, first.block_count);
	pool_done(&p);
}

static void test_streams_stay_in_different_regions(void **state)
{
	struct pool p;

	(void)state;
	pool_init(&p);
	for (unsigned i = 0; i < 200; i++) {
		struct space_run data = alloc(&p, SPACE_STREAM_DATA, 1, 7);
		struct space_run node = alloc(&p, SPACE_STREAM_NODE, 4, 4);

		assert_true(data.addr >> p.f.region_shift != node.addr >> p.f.region_shift);
	}
	pool_done(&p);
}

static void test_fresh_allocations_are_contiguous(void **state)
{
	struct pool p;
	struct space_run run, last = { 0 };
	unsigned jumps = 0;

	(void)state;
	pool_init(&p);
	for (unsigned i = 0; i < 1000; i++) {
		run = alloc(&p, SPACE_STREAM_DATA, 1, 4);
		assert_int_equal(run.block_count, 4);
		jumps += last.addr + last.block_count != run.addr;
		last = run;
	}
	assert_true(jumps <= 1000 * 4 / p.f.region_blocks + 2);
	pool_done(&p);
}

static void test_checkerboard_is_used_to_the_last_block(void **state)
{
	struct pool p;
	struct space_run run;
	uint32_t holes = 0;

	(void)state;
	pool_init(&p);
	fill(&p);
	for (uint32_t i = 0; i < fixture_blocks(&p.f); i += 2, holes++)
		free_one(p.s, p.txg, (struct space_run){ fixture_addr(&p.f, i), 1 });
	pool_commit(&p);
	assert_int_equal(space_alloc(p.s, SPACE_STREAM_NODE, 1, 1, &run), -ENOSPC);
	pool_commit(&p);
	assert_int_equal(stats(&p).free_blocks, holes);
	assert_int_equal(space_alloc(p.s, SPACE_STREAM_NODE, 2, 100, &run), -ENOSPC);
	for (uint32_t i = 0; i < holes; i++) {
		run = alloc(&p, SPACE_STREAM_NODE, 1, 100);
		assert_int_equal(run.block_count, 1);
	}
	assert_int_equal(space_alloc(p.s, SPACE_STREAM_NODE, 1, 1, &run), -ENOSPC);
	pool_done(&p);
}

static void test_longest_run_is_found_when_none_is_long_enough(void **state)
{
	struct pool p;
	struct space_run run;

	(void)state;
	pool_init(&p);
	fill(&p);
	for (uint32_t i = 0; i < fixture_blocks(&p.f); i += 16)
		free_one(p.s, p.txg, (struct space_run){ fixture_addr(&p.f, i), 1 + i / 16 % 5 });
	/* 6 more before the 4 at 9008. */
	free_one(p.s, p.txg, (struct space_run){ fixture_addr(&p.f, 9002), 6 });
	pool_commit(&p);
	pool_commit(&p);
	run = alloc(&p, SPACE_STREAM_NODE, 1, 200);
	assert_int_equal(run.block_count, 10);
	run = alloc(&p, SPACE_STREAM_NODE, 5, 200);
	assert_int_equal(run.block_count, 5);
	pool_done(&p);
}

static void test_want_above_a_region_is_cut(void **state)
{
	struct pool p;
	struct space_run run;

	(void)state;
	pool_init(&p);
	run = alloc(&p, SPACE_STREAM_DATA, 1, 100000);
	assert_int_equal(run.block_count, p.f.region_blocks);
	pool_done(&p);
}

static void test_cancel_gives_everything_back(void **state)
{
	struct pool p;
	struct space_run runs[300];
	uint64_t before;

	(void)state;
	pool_init(&p);
	before = stats(&p).free_blocks;
	for (unsigned i = 0; i < 300; i++)
		runs[i] = alloc(&p, SPACE_STREAM_DATA, 1, 1 + i % 40);
	assert_true(stats(&p).in_flight_blocks > 300);
	for (unsigned i = 0; i < 300; i++)
		space_cancel(p.s, runs[i]);
	assert_int_equal(stats(&p).free_blocks, before);
	assert_int_equal(alloc(&p, SPACE_STREAM_DATA, 256, 256).block_count, 256);
	pool_done(&p);
}

static void test_freed_blocks_return_with_the_root_after(void **state)
{
	struct pool p;
	struct space_run run;

	(void)state;
	pool_init(&p);
	run = alloc(&p, SPACE_STREAM_DATA, 10, 10);
	commit_one(p.s, p.txg, run);
	assert_true(space_is_used(p.s, run.addr + 9));
	pool_commit(&p);
	free_one(p.s, p.txg, run);
	assert_false(space_is_used(p.s, run.addr));
	assert_int_equal(stats(&p).pending_blocks, 10);
	pool_commit(&p);
	assert_int_equal(stats(&p).pending_blocks, 10);
	pool_commit(&p);
	assert_int_equal(stats(&p).pending_blocks, 0);
	pool_done(&p);
}

static void test_block_allocated_and_freed_in_one_txg_leaves_no_trace(void **state)
{
	struct pool p;
	struct space_run run;
	struct space *loaded;

	(void)state;
	pool_init(&p);
	run = alloc(&p, SPACE_STREAM_NODE, 4, 4);
	commit_one(p.s, p.txg, run);
	free_one(p.s, p.txg, run);
	pool_commit(&p);
	assert_int_equal(p.root.used_blocks, 0);
	assert_int_equal(stats(&p).pending_blocks, 4);
	assert_int_equal(space_load(&p.f.config, p.txg - 1, &p.root, &loaded), 0);
	assert_false(space_is_used(loaded, run.addr));
	space_free(loaded);
	pool_commit(&p);
	assert_int_equal(stats(&p).free_blocks, stats(&p).total_blocks);
	pool_done(&p);
}

static void test_pins_hold_back_reuse(void **state)
{
	struct pool p;
	struct space_run run;
	struct space_pin old, young;

	(void)state;
	pool_init(&p);
	run = alloc(&p, SPACE_STREAM_DATA, 8, 8);
	commit_one(p.s, p.txg, run);
	pool_commit(&p);
	space_pin(p.s, &old);
	assert_int_equal(old.txg, p.txg);
	free_one(p.s, p.txg, (struct space_run){ run.addr, 4 });
	pool_commit(&p);
	space_pin(p.s, &young);
	free_one(p.s, p.txg, (struct space_run){ run.addr + 4, 4 });
	for (unsigned i = 0; i < 40; i++)
		pool_commit(&p);
	assert_int_equal(stats(&p).pending_blocks, 8);
	space_unpin(p.s, old);
	pool_commit(&p);
	assert_int_equal(stats(&p).pending_blocks, 4);
	space_unpin(p.s, young);
	pool_commit(&p);
	assert_int_equal(stats(&p).pending_blocks, 0);
	pool_done(&p);
}

/* More txgs with a pin each than there are slots: the newest pins count as older ones. */
static void test_pins_of_very_many_txgs_hold_back_reuse(void **state)
{
	struct space_pin pins[60];
	struct pool p;

	(void)state;
	pool_init(&p);
	for (unsigned i = 0; i < 60; i++) {
		struct space_run run = alloc(&p, SPACE_STREAM_DATA, 1, 1);

		commit_one(p.s, p.txg, run);
		pool_commit(&p);
		space_pin(p.s, &pins[i]);
		assert_true(pins[i].txg <= p.txg);
		free_one(p.s, p.txg, run);
	}
	pool_commit(&p);
	pool_commit(&p);
	assert_int_equal(stats(&p).pending_blocks, 60);
	for (unsigned i = 60; i-- > 1;)
		space_unpin(p.s, pins[i]);
	pool_commit(&p);
	assert_int_equal(stats(&p).pending_blocks, 60);
	space_unpin(p.s, pins[0]);
	pool_commit(&p);
	assert_int_equal(stats(&p).pending_blocks, 0);
	pool_done(&p);
}

static void test_long_freed_runs_are_discarded_and_short_ones_are_not(void **state)
{
	struct pool p;
	struct space_run run;
	uint64_t before;

	(void)state;
	pool_init(&p);
	if (!blk_caps(p.f.devs[0])->discard)
		skip();
	run = alloc(&p, SPACE_STREAM_DATA, 200, 200);
	commit_one(p.s, p.txg, run);
	pool_commit(&p);
	before = blk_sim_count(p.f.devs[0], BLK_DISCARD);
	free_one(p.s, p.txg, (struct space_run){ run.addr, 3 });
	pool_commit(&p);
	pool_commit(&p);
	assert_int_equal(blk_sim_count(p.f.devs[0], BLK_DISCARD), before);
	/* Two neighbours make one discard. */
	free_one(p.s, p.txg, (struct space_run){ run.addr + 103, 97 });
	free_one(p.s, p.txg, (struct space_run){ run.addr + 3, 100 });
	pool_commit(&p);
	assert_int_equal(blk_sim_count(p.f.devs[0], BLK_DISCARD), before);
	pool_commit(&p);
	assert_int_equal(blk_sim_count(p.f.devs[0], BLK_DISCARD), before + 1);
	pool_done(&p);
}

static void test_failing_discard_still_releases(void **state)
{
	struct blk_sim_faults faults = { .fail_nth = { -1, -1, -1, 0, -1 }, .fail_from_nth = true };
	struct pool p;
	struct space_run run;

	(void)state;
	pool_init(&p);
	run = alloc(&p, SPACE_STREAM_DATA, 200, 200);
	commit_one(p.s, p.txg, run);
	pool_commit(&p);
	blk_sim_set_faults(p.f.devs[0], &faults);
	free_one(p.s, p.txg, run);
	pool_commit(&p);
	pool_commit(&p);
	assert_int_equal(stats(&p).free_blocks, stats(&p).total_blocks);
	pool_done(&p);
}

static void test_reservations_outlive_many_txgs(void **state)
{
	struct pool p;

	(void)state;
	pool_init(&p);
	assert_int_equal(space_reserve(p.s, 5000), 0);
	for (unsigned i = 0; i < 200; i++) {
		space_commit_run(p.s, p.txg, alloc(&p, SPACE_STREAM_NODE, 4, 4));
		space_commit_run(p.s, p.txg + 1, alloc(&p, SPACE_STREAM_DATA, 1, 1));
		pool_commit(&p);
	}
	space_unreserve(p.s, 5000 - 400);
	pool_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layouts_of_all_sizes_are_valid),
		cmocka_unit_test(test_layout_of_a_small_or_huge_second_device),
		cmocka_unit_test(test_locate_translates_and_refuses_outside_addresses),
		cmocka_unit_test(test_data_stops_at_the_reserve_and_nodes_use_it),
		cmocka_unit_test(test_streams_stay_in_different_regions),
		cmocka_unit_test(test_fresh_allocations_are_contiguous),
		cmocka_unit_test(test_checkerboard_is_used_to_the_last_block),
		cmocka_unit_test(test_longest_run_is_found_when_none_is_long_enough),
		cmocka_unit_test(test_want_above_a_region_is_cut),
		cmocka_unit_test(test_cancel_gives_everything_back),
		cmocka_unit_test(test_freed_blocks_return_with_the_root_after),
		cmocka_unit_test(test_block_allocated_and_freed_in_one_txg_leaves_no_trace),
		cmocka_unit_test(test_pins_hold_back_reuse),
		cmocka_unit_test(test_pins_of_very_many_txgs_hold_back_reuse),
		cmocka_unit_test(test_long_freed_runs_are_discarded_and_short_ones_are_not),
		cmocka_unit_test(test_failing_discard_still_releases),
		cmocka_unit_test(test_reservations_outlive_many_txgs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
