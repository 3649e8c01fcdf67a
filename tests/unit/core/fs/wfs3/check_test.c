/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of pools that nobody uses: clean ones of every shape, and damage of each structure on the device. */
#include "tests/unit/core/fs/wfs3/check_fixture.h"
#include "tests/unit/slow.h"

static void test_fresh_pool_is_clean(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, 3, 64 * MIB);
	assert_ok(pool_create(&f, "tank", 3));
	expect_clean(&f, 3);
	assert_ok(pool_export(&f, "tank", false));
	expect_clean(&f, 3);
	fixture_done(&f);
}

static void test_pool_with_data_is_clean(void **state)
{
	struct fixture f;
	struct pool_check_report r;

	(void)state;
	make_pool(&f);
	expect_clean(&f, 1);
	r = check(&f, 1, false);
	assert_int_equal(r.dataset_count, 1);
	assert_int_equal(r.data_block_count, 48 + 20);
	assert_int_equal(r.read_block_count, 0);
	assert_string_equal(r.pool, "tank");
	assert_string_equal(r.devices[0], "sim0");
	pool_check_report_done(&r);
	fixture_done(&f);
}

/* Writes, discards, resizes, creates and deletes at random. */
static void random_changes(struct fixture *f, uint64_t *seed, unsigned count)
{
	uint8_t *buf = malloc(256 << 10);

	for (unsigned i = 0; i < count; i++) {
		char name[16], path[32];
		struct vfs_handle *h = NULL;
		uint64_t r;

		*seed = *seed * UINT64_C(6364136223846793005) + 1;
		r = *seed >> 20;
		snprintf(name, sizeof(name), "v%u", (unsigned)(r % 5));
		snprintf(path, sizeof(path), "/tank/%s", name);
		if (vfs_open(f->vfs, path, true, &h)) {
			assert_ok(volume_create(f, name, 8 * MIB));
			continue;
		}
		if (r / 5 % 16 == 0) {
			vfs_close(h);
			assert_ok(f->admin.driver->volume_delete(f->admin.ctx, "tank", name));
			continue;
		}
		if (r / 5 % 16 == 1) {
			assert_ok(f->admin.driver->volume_resize(f->admin.ctx, "tank", name, (1 + r / 80 % 16) * MIB,
			                                         true));
		} else if (r / 5 % 16 < 5) {
			(void)vfs_discard(h, r / 80 % 1000 * 4096, (1 + r / 80000 % 64) * 4096, 0);
		} else {
			size_t len = 4096 * (size_t)(1 + r / 80000 % 64);

			pattern(buf, len, r);
			(void)write_at(h, r / 80 % 1000 * 4096, buf, len, 0);
		}
		if (r / 5000000 % 4 == 0)
			assert_ok(vfs_flush(h, 0));
		vfs_close(h);
	}
	free(buf);
}

static void test_pool_is_clean_after_random_operations(void **state)
{
	struct fixture f;
	uint64_t seed = 42;

	(void)state;
	fixture_init(&f, 2, 96 * MIB);
	assert_ok(pool_create(&f, "tank", 2));
	for (unsigned round = 0; round < 12; round++) {
		random_changes(&f, &seed, 100);
		assert_ok(pool_export(&f, "tank", false));
		expect_clean(&f, 2);
		assert_ok(pool_import(&f, 2));
	}
	fixture_done(&f);
}

static void test_pool_is_undamaged_after_power_cuts(void **state)
{
	struct fixture f;
	uint64_t seed = 4242;

	(void)state;
	fixture_init(&f, 2, 96 * MIB);
	assert_ok(pool_create(&f, "tank", 2));
	for (uint64_t round = 1; round <= 20; round++) {
		struct pool_check_report r;

		random_changes(&f, &seed, 30);
		fixture_crash(&f, round % 4 ? round * 991 : 0);
		r = check(&f, 2, true);
		if (r.damage_count)
			print_findings(&r);
		assert_int_equal(r.damage_count, 0);
		pool_check_report_done(&r);
		assert_ok(pool_import(&f, 2));
	}
	fixture_done(&f);
}

/* Damage of bytes, which checksums find. */

static void test_damaged_label_is_found_in_either_copy(void **state)
{
	static const uint64_t offsets[] = { 4096 + 48, 128 * MIB - MIB + 4096 + 600 };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct fixture f;
		struct pool_check_report r;

		make_pool(&f);
		flip(&f, offsets[i]);
		r = expect_one(&f, POOL_FINDING_LABEL, false);
		assert_true(r.findings[0].has_place);
		assert_int_equal(r.findings[0].device_offset, offsets[i] / 4096 * 4096);
		pool_check_report_done(&r);
		fixture_done(&f);
	}
}

/* Labels are written in the back first: an older one in front, or a mixture of both in either place. */
static void test_label_that_a_crash_cut_off_is_a_note(void **state)
{
	uint8_t older[4096], newer[4096];
	char note[LABEL_NOTE_BYTES];
	struct pool_check_report r;
	struct fixture f;
	struct label l;

	(void)state;
	make_pool(&f);
	assert_ok(label_read(f.devs[0], &l, note));
	blk_sim_peek(f.devs[0], 4096, older, 4096);
	l.generation++;
	assert_ok(label_write(f.devs[0], &l));
	blk_sim_peek(f.devs[0], 4096, newer, 4096);
	blk_sim_poke(f.devs[0], 4096, older, 4096);
	r = expect_one(&f, POOL_FINDING_LABEL, true);
	pool_check_report_done(&r);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t at = i ? 4096 : 127 * MIB + 4096;

		/* The beginning of one and the end of the other. */
		blk_sim_poke(f.devs[0], 4096, i ? newer : older, 4096);
		blk_sim_poke(f.devs[0], 127 * MIB + 4096, i ? newer : older, 4096);
		blk_sim_poke(f.devs[0], at, newer, 512);
		blk_sim_poke(f.devs[0], at + 512, older + 512, 4096 - 512);
		r = expect_one(&f, POOL_FINDING_LABEL, true);
		pool_check_report_done(&r);
	}
	/* The back one is never the older one of two whole ones. */
	blk_sim_poke(f.devs[0], 4096, newer, 4096);
	blk_sim_poke(f.devs[0], 127 * MIB + 4096, older, 4096);
	expect_damage(&f, POOL_FINDING_LABEL);
	/* Nor does a writable import leave it so. */
	assert_ok(pool_import(&f, 1));
	assert_ok(pool_export(&f, "tank", false));
	expect_clean(&f, 1);
	fixture_done(&f);
}

static void test_both_labels_damaged_is_found_and_ends_the_check(void **state)
{
	struct fixture f;
	struct pool_check_report r;

	(void)state;
	make_pool(&f);
	flip(&f, 4096 + 48);
	flip(&f, 127 * MIB + 4096 + 48);
	r = expect_one(&f, POOL_FINDING_LABEL, false);
	assert_true(r.partial);
	pool_check_report_done(&r);
	fixture_done(&f);
}

static void test_damaged_copy_of_the_newest_root_is_found(void **state)
{
	struct fixture f;
	struct forge g;
	struct pool_check_report r;
	uint64_t offset;

	(void)state;
	make_pool(&f);
	forge_open(&g, f.devs[0]);
	offset = LABEL_ROOTS_OFFSET + g.root.txg % 64 * 4096;
	flip(&f, offset + 100);
	r = expect_one(&f, POOL_FINDING_ROOT, false);
	assert_int_equal(r.findings[0].device_offset, offset);
	pool_check_report_done(&r);
	forge_close(&g);
	fixture_done(&f);
}

static void test_damaged_old_root_is_noted(void **state)
{
	struct fixture f;
	struct forge g;
	struct pool_check_report r;

	(void)state;
	make_pool(&f);
	forge_open(&g, f.devs[0]);
	flip(&f, LABEL_ROOTS_OFFSET + (g.root.txg - 5) % 64 * 4096 + 100);
	r = expect_one(&f, POOL_FINDING_ROOT, true);
	pool_check_report_done(&r);
	forge_close(&g);
	fixture_done(&f);
}

static void test_root_that_differs_between_rings_is_found(void **state)
{
	struct fixture f;
	struct forge g;
	uint8_t block[WFS3_BLOCK_BYTES];

	(void)state;
	make_pool(&f);
	forge_open(&g, f.devs[0]);
	g.root.time_ns++;
	root_encode(&g.root, block);
	blk_sim_poke(f.devs[0], 127 * MIB + LABEL_ROOTS_OFFSET + g.root.txg % 64 * 4096, block, sizeof(block));
	expect_damage(&f, POOL_FINDING_ROOT);
	forge_close(&g);
	fixture_done(&f);
}

static void test_no_root_at_all_is_found(void **state)
{
	struct fixture f;
	uint8_t *garbage = malloc(64 * 4096);

	(void)state;
	make_pool(&f);
	memset(garbage, 7, 64 * 4096);
	blk_sim_poke(f.devs[0], LABEL_ROOTS_OFFSET, garbage, 64 * 4096);
	blk_sim_poke(f.devs[0], 127 * MIB + LABEL_ROOTS_OFFSET, garbage, 64 * 4096);
	expect_damage(&f, POOL_FINDING_ROOT);
	free(garbage);
	fixture_done(&f);
}

static void test_one_damaged_slot_is_noted_and_two_are_found(void **state)
{
	struct fixture f;
	struct forge g;
	struct pool_check_report r;

	(void)state;
	make_pool(&f);
	forge_open(&g, f.devs[0]);
	flip(&f, forge_slot_offset(&g, 3, !g.space->regions[3].newest_slot) + 200);
	r = expect_one(&f, POOL_FINDING_SLOT, true);
	assert_int_equal(r.findings[0].device_offset, forge_slot_offset(&g, 3, !g.space->regions[3].newest_slot));
	pool_check_report_done(&r);
	flip(&f, forge_slot_offset(&g, 3, g.space->regions[3].newest_slot) + 200);
	r = check(&f, 1, true);
	assert_int_equal(r.damage_count, 1);
	assert_int_equal(r.kind_counts[POOL_FINDING_REGION], 1);
	assert_int_equal(r.kind_counts[POOL_FINDING_SLOT], 2);
	assert_true(r.partial);
	pool_check_report_done(&r);
	forge_close(&g);
	fixture_done(&f);
}

static void same_region(struct space_slot *s, uint64_t *bitmap)
{
	(void)bitmap;
	s->virtual_region = 1;
}

static void test_region_that_is_there_twice_is_found(void **state)
{
	struct fixture f;
	struct forge g;
	struct pool_check_report r;

	(void)state;
	make_pool(&f);
	forge_open(&g, f.devs[0]);
	forge_edit_slots(&g, 5, same_region);
	r = check(&f, 1, true);
	assert_int_equal(r.kind_counts[POOL_FINDING_REGION], 1);
	assert_int_equal(r.damage_count, 1);
	pool_check_report_done(&r);
	forge_close(&g);
	fixture_done(&f);
}

static uint32_t unused_region(const struct forge *g)
{
	for (uint32_t i = g->space->region_count; i-- > 0;)
		if (g->space->free_count[i] == g->space->region_blocks)
			return i;
	fail_msg("no region is unused");
	return 0;
}

static void allocate_some(struct space_slot *s, uint64_t *bitmap)
{
	(void)s;
	bits_set(bitmap, 100, 7);
	bits_set(bitmap, 300, 1);
}

static void test_leaks_are_found_as_runs(void **state)
{
	struct fixture f;
	struct forge g;
	struct pool_check_report r;
	uint32_t region;

	(void)state;
	make_pool(&f);
	forge_open(&g, f.devs[0]);
	region = unused_region(&g);
	forge_edit_slots(&g, g.space->regions[region].physical, allocate_some);
	g.root.space.used_blocks += 8;
	forge_root(&g);
	r = check(&f, 1, true);
	assert_int_equal(r.damage_count, 2);
	assert_int_equal(r.kind_counts[POOL_FINDING_LEAK], 2);
	assert_int_equal(r.findings[0].address, space_addr(g.space, region, 100));
	assert_int_equal(r.findings[0].block_count, 7);
	assert_int_equal(r.findings[1].block_count, 1);
	pool_check_report_done(&r);
	forge_close(&g);
	fixture_done(&f);
}

static void test_wrong_count_of_used_blocks_is_found(void **state)
{
	struct fixture f;
	struct forge g;

	(void)state;
	make_pool(&f);
	forge_open(&g, f.devs[0]);
	g.root.space.used_blocks += 3;
	forge_root(&g);
	expect_damage(&f, POOL_FINDING_COUNTER);
	forge_close(&g);
	fixture_done(&f);
}

static void test_damaged_ring_is_found(void **state)
{
	struct fixture f;
	struct forge g;
	uint64_t ring;

	(void)state;
	make_pool(&f);
	forge_open(&g, f.devs[0]);
	ring = g.label.layout.ring_offset;
	flip(&f, ring + (g.root.space.ring_head - 4096) % g.label.layout.ring_bytes + 100);
	expect_damage(&f, POOL_FINDING_RING);
	flip(&f, ring + (g.root.space.ring_head - 4096) % g.label.layout.ring_bytes + 100);
	flip(&f, ring + g.root.space.ring_tail % g.label.layout.ring_bytes + 100);
	expect_damage(&f, POOL_FINDING_RING);
	forge_close(&g);
	fixture_done(&f);
}

/* Plain damage below the root. */

static void test_damaged_node_is_one_finding(void **state)
{
	struct fixture f;
	struct forge g;
	struct pool_check_report r;
	uint64_t offset;

	(void)state;
	make_pool(&f);
	forge_open(&g, f.devs[0]);
	offset = forge_offset(&g, g.root.pool_tree.addr);
	flip(&f, offset + 16000);
	r = expect_one(&f, POOL_FINDING_NODE_HASH, false);
	assert_int_equal(r.findings[0].dataset, 0);
	assert_int_equal(r.findings[0].device_offset, offset);
	assert_true(r.partial);
	pool_check_report_done(&r);
	forge_close(&g);
	fixture_done(&f);
}

static struct {
	uint64_t txg;
	uint32_t block;
} forged_slot;

/* Of the newest state, so that the ring has nothing to add. */
static void free_a_node(struct space_slot *s, uint64_t *bitmap)
{
	s->txg = forged_slot.txg;
	bits_clear(bitmap, forged_slot.block, 4);
}

static void test_blocks_in_use_that_count_as_free_are_found(void **state)
{
	struct fixture f;
	struct forge g;
	struct pool_check_report r;
	struct space_place at;

	(void)state;
	make_pool(&f);
	forge_open(&g, f.devs[0]);
	assert_true(space_place_find(g.space, g.root.pool_tree.addr, 4, &at));
	forged_slot.txg = g.root.txg;
	forged_slot.block = at.block;
	forge_write_slots(&g, at.region, free_a_node);
	g.root.space.used_blocks -= 4;
	forge_root(&g);
	r = expect_one(&f, POOL_FINDING_NOT_ALLOCATED, false);
	assert_int_equal(r.findings[0].address, g.root.pool_tree.addr);
	assert_int_equal(r.findings[0].block_count, 4);
	assert_int_equal(r.findings[0].device_offset, forge_offset(&g, g.root.pool_tree.addr));
	pool_check_report_done(&r);
	forge_close(&g);
	fixture_done(&f);
}

static void test_read_error_of_a_node_is_found(void **state)
{
	struct fixture f;
	struct blk_sim_faults faults = { .fail_nth = { -1, -1, -1, -1, -1 } };
	struct pool_check_report r;
	struct check_config config = { .with_data = true };
	bool failed_node = false, failed_data = false;

	(void)state;
	make_pool(&f);
	for (int64_t nth = 0; nth < 400; nth++) {
		int rc;

		faults.fail_nth[BLK_READ] = nth;
		blk_sim_set_faults(f.devs[0], &faults);
		rc = check_devices(f.devs, 1, &config, &r);
		failed_node |= r.kind_counts[POOL_FINDING_NODE_READ];
		failed_data |= r.kind_counts[POOL_FINDING_DATA_READ];
		assert_true(!rc || rc == -EIO);
		assert_int_equal(r.state, rc ? POOL_CHECK_FAILED : POOL_CHECK_DONE);
		pool_check_report_done(&r);
	}
	blk_sim_set_faults(f.devs[0], NULL);
	assert_true(failed_node);
	/* A long read that fails is repeated block by block, so that only a lasting error is a finding. */
	assert_false(failed_data);
	expect_clean(&f, 1);
	fixture_done(&f);
}

/* The rest. */

static void test_findings_beyond_the_limit_are_counted(void **state)
{
	struct fixture f;
	struct forge g;
	struct check_config config = { .findings_max = 1 };
	struct pool_check_report r;

	(void)state;
	make_pool(&f);
	forge_open(&g, f.devs[0]);
	forge_edit_slots(&g, g.space->regions[unused_region(&g)].physical, allocate_some);
	forge_root(&g);
	assert_ok(check_devices(f.devs, 1, &config, &r));
	assert_int_equal(r.finding_count, 1);
	assert_int_equal(r.damage_count, 3);
	pool_check_report_done(&r);
	forge_close(&g);
	fixture_done(&f);
}

static void test_wrong_sets_of_devices_are_refused(void **state)
{
	struct fixture f;
	struct check_config config = { 0 };
	struct pool_check_report r;
	struct blk_dev *twice[2];

	(void)state;
	fixture_init(&f, 3, 64 * MIB);
	assert_ok(pool_create(&f, "tank", 2));
	assert_int_equal(check_devices(f.devs, 1, &config, &r), -ENODEV);
	assert_int_equal(r.state, POOL_CHECK_FAILED);
	assert_non_null(strstr(r.error, "missing"));
	pool_check_report_done(&r);
	twice[0] = twice[1] = f.devs[1];
	assert_int_equal(check_devices(twice, 2, &config, &r), -EINVAL);
	pool_check_report_done(&r);
	assert_int_equal(check_devices(&f.devs[2], 1, &config, &r), -EMEDIUMTYPE);
	pool_check_report_done(&r);
	twice[0] = f.devs[1];
	twice[1] = f.devs[0];
	assert_ok(check_devices(twice, 2, &config, &r));
	assert_int_equal(r.damage_count, 0);
	pool_check_report_done(&r);
	fixture_done(&f);
}

static int stop_at_once(void *ctx, const struct pool_check_report *so_far, uint64_t read_bytes)
{
	(void)ctx, (void)so_far, (void)read_bytes;
	return err_set(-ECANCELED, "enough");
}

static void test_check_can_be_stopped(void **state)
{
	struct fixture f;
	struct check_config config = { .step = stop_at_once };
	struct pool_check_report r;

	(void)state;
	make_pool(&f);
	assert_int_equal(check_devices(f.devs, 1, &config, &r), -ECANCELED);
	assert_int_equal(r.state, POOL_CHECK_STOPPED);
	pool_check_report_done(&r);
	fixture_done(&f);
}

/* Random bytes anywhere: whatever is found, the check ends and says so. */
static void test_random_damage_neither_crashes_nor_hangs(void **state)
{
	struct fixture f;
	uint64_t seed = 7;

	(void)state;
	make_pool(&f);
	for (unsigned i = 0; i < 300; i += test_slow()) {
		struct check_config config = { .with_data = true };
		struct pool_check_report r;
		uint8_t was[64], now[64];
		uint64_t at;

		seed = seed * UINT64_C(6364136223846793005) + 1;
		at = (seed >> 20) % (i % 2 ? 16 * MIB : MIB);
		blk_sim_peek(f.devs[0], at, was, sizeof(was));
		pattern(now, sizeof(now), seed);
		blk_sim_poke(f.devs[0], at, now, sizeof(now));
		(void)check_devices(f.devs, 1, &config, &r);
		pool_check_report_done(&r);
		blk_sim_poke(f.devs[0], at, was, sizeof(was));
	}
	expect_clean(&f, 1);
	fixture_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fresh_pool_is_clean),
		cmocka_unit_test(test_pool_with_data_is_clean),
		cmocka_unit_test(test_pool_is_clean_after_random_operations),
		cmocka_unit_test(test_pool_is_undamaged_after_power_cuts),
		cmocka_unit_test(test_damaged_label_is_found_in_either_copy),
		cmocka_unit_test(test_label_that_a_crash_cut_off_is_a_note),
		cmocka_unit_test(test_both_labels_damaged_is_found_and_ends_the_check),
		cmocka_unit_test(test_damaged_copy_of_the_newest_root_is_found),
		cmocka_unit_test(test_damaged_old_root_is_noted),
		cmocka_unit_test(test_root_that_differs_between_rings_is_found),
		cmocka_unit_test(test_no_root_at_all_is_found),
		cmocka_unit_test(test_one_damaged_slot_is_noted_and_two_are_found),
		cmocka_unit_test(test_region_that_is_there_twice_is_found),
		cmocka_unit_test(test_leaks_are_found_as_runs),
		cmocka_unit_test(test_wrong_count_of_used_blocks_is_found),
		cmocka_unit_test(test_damaged_ring_is_found),
		cmocka_unit_test(test_damaged_node_is_one_finding),
		cmocka_unit_test(test_blocks_in_use_that_count_as_free_are_found),
		cmocka_unit_test(test_read_error_of_a_node_is_found),
		cmocka_unit_test(test_findings_beyond_the_limit_are_counted),
		cmocka_unit_test(test_wrong_sets_of_devices_are_refused),
		cmocka_unit_test(test_check_can_be_stopped),
		cmocka_unit_test(test_random_damage_neither_crashes_nor_hangs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
