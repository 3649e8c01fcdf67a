/* SPDX-License-Identifier: BSD-3-Clause */
/* What one device of a mirror lost of labels, roots and allocation state: taken from the other one, and repaired. */
#include "core/fs/wfs3/check.h"
#include "core/fs/wfs3/label.h"
#include "core/fs/wfs3/space_codec.h"
#include "tests/unit/core/fs/wfs3/mirror_fixture.h"

/* Nothing to complain of on any device. */
static void expect_clean(struct fixture *f, unsigned device_count)
{
	struct check_config config = { .with_data = true };
	struct pool_check_report r;

	assert_ok(check_devices(f->devs, device_count, &config, &r));
	for (unsigned i = 0; i < r.finding_count; i++)
		print_error("%s: %s\n", pool_finding_name(r.findings[i].kind), r.findings[i].text);
	assert_int_equal(r.damage_count + r.note_count, 0);
	pool_check_report_done(&r);
}

/* The newest root's. */
static uint64_t pool_txg(struct fixture *f)
{
	struct check_config config = { 0 };
	struct pool_check_report r;
	uint64_t txg;

	assert_ok(check_devices(f->devs, 2, &config, &r));
	txg = r.txg;
	pool_check_report_done(&r);
	return txg;
}

static void spoil(struct blk_dev *dev, uint64_t offset, uint64_t len, bool unreadable)
{
	uint8_t *junk = malloc(len);

	memset(junk, 0xa5, len);
	if (unreadable)
		blk_sim_break(dev, offset, len, false);
	else
		blk_sim_poke(dev, offset, junk, len);
	free(junk);
}

static void test_state_that_one_device_lost_is_taken_from_the_other_and_repaired(void **state)
{
	struct space_layout layout;
	struct fixture f;
	struct vfs_handle *h;
	char note[LABEL_NOTE_BYTES];
	struct label l;

	(void)state;
	start(&f, 2, 2, &h);
	for (uint64_t i = 1; i < 4; i++) {
		put_blocks(h, 0, 100, i);
		assert_ok(f.admin.driver->pool_sync(f.admin.ctx, "tank"));
	}
	export_pool(&f, h);
	assert_ok(label_read(f.devs[0], &l, note));
	layout = l.layout;
	for (unsigned i = 0; i < 20; i++) {
		const struct {
			uint64_t offset, len;
		} areas[] = {
			{ layout.slots_offset, layout.slots_bytes }, /* all bitmaps */
			{ layout.ring_offset, layout.ring_bytes },
			{ (512 + 4) << 10, 32 << 10 }, /* roots in front */
			{ 4096, 4096 }, /* a label */
			{ DEVICE - MIB + ((512 + 4) << 10), 32 << 10 }, /* roots in the back */
		};
		unsigned device = i % 2, area = i / 2 % 5;

		spoil(f.devs[device], areas[area].offset, areas[area].len, i >= 10);
		assert_ok(pool_import(&f, 2));
		assert_int_equal(pool_info(&f, "tank").health, POOL_HEALTH_ONLINE);
		h = open_vol(&f);
		expect_blocks(h, 0, 100, 3);
		expect_blocks(h, 100, 1024, 0);
		export_pool(&f, h);
		expect_clean(&f, 2);
		/* Either one is as good as the other. */
		assert_ok(import_these(&f, fixture_paths[device], NULL, NULL, true));
		assert_ok(vfs_open(f.vfs, "/tank/vm1", false, &h));
		expect_blocks(h, 0, 100, 3);
		vfs_close(h);
		assert_ok(pool_export(&f, "tank", false));
	}
	fixture_done(&f);
}

static void test_read_only_import_repairs_nothing(void **state)
{
	struct fixture f;
	struct vfs_handle *h;
	uint64_t writes;

	(void)state;
	start(&f, 2, 2, &h);
	export_pool(&f, h);
	spoil(f.devs[0], 4096, 4096, false);
	spoil(f.devs[0], 5 * MIB, 2 * MIB, false);
	writes = blk_sim_count(f.devs[0], BLK_WRITE) + blk_sim_count(f.devs[1], BLK_WRITE);
	assert_ok(import_these(&f, "sim0", "sim1", NULL, true));
	assert_ok(pool_export(&f, "tank", false));
	assert_int_equal(blk_sim_count(f.devs[0], BLK_WRITE) + blk_sim_count(f.devs[1], BLK_WRITE), writes);
	fixture_done(&f);
}

/* Give the older bitmap of each region, where it differs from the newer one, the number of a group that is to come. */
static unsigned forge_bitmaps(struct blk_dev *dev, const struct label *l, uint64_t txg)
{
	uint64_t len = space_slot_bytes(l->region_bytes);
	uint8_t *pair = malloc(2 * len);
	unsigned count = 0;

	for (uint32_t i = 0; i < l->layout.region_count; i++) {
		uint64_t at = l->layout.slots_offset + 2 * i * len;
		uint8_t *old;
		struct hash128 h;

		blk_sim_peek(dev, at, pair, 2 * len);
		old = get_le64(pair + 40) < get_le64(pair + len + 40) ? pair : pair + len;
		if (!memcmp(pair + 96, pair + len + 96, len - 96))
			continue;
		put_le64(old + 40, txg);
		h = hash128(old + 24, len - 24);
		put_le64(old + 8, h.lo);
		put_le64(old + 16, h.hi);
		blk_sim_poke(dev, at + (uint64_t)(old - pair), old, len);
		count++;
	}
	free(pair);
	return count;
}

/* A crash left bitmaps of a group that never became a root on one device only. The next group has their number. */
static void test_bitmaps_of_a_lost_group_on_one_device_are_never_used(void **state)
{
	char note[LABEL_NOTE_BYTES];
	struct vfs_handle *h;
	struct fixture f;
	struct label l;

	(void)state;
	for (unsigned device = 0; device < 2; device++) {
		uint64_t txg;

		start(&f, 2, 2, &h);
		/* Until bitmaps of most regions were written twice. */
		for (uint64_t i = 1; i < 60; i++) {
			put_blocks(h, 1024, 2048, i);
			assert_ok(f.admin.driver->pool_sync(f.admin.ctx, "tank"));
		}
		export_pool(&f, h);
		txg = pool_txg(&f);
		assert_ok(label_read(f.devs[0], &l, note));
		assert_int_not_equal(forge_bitmaps(f.devs[device], &l, txg + 1), 0);
		assert_ok(pool_import(&f, 2));
		h = open_vol(&f);
		put_blocks(h, 0, 1, 7);
		export_pool(&f, h);
		assert_true(pool_txg(&f) > txg + 1);
		assert_ok(import_these(&f, fixture_paths[device], NULL, NULL, false));
		h = open_vol(&f);
		expect_blocks(h, 1, 1024, 0);
		expect_blocks(h, 1024, 2048, 59);
		vfs_close(h);
		fixture_done(&f);
	}
}

/* On a single device there is no other copy, but there are other places: for data, and for nodes of trees. */
static void test_bad_blocks_of_a_single_device_are_passed_over(void **state)
{
	struct check_config config = { .with_data = true };
	struct pool_check_report r;
	struct vfs_handle *h;
	struct fixture f;

	(void)state;
	start(&f, 1, 1, &h);
	for (uint64_t at = 9 * MIB; at < DEVICE - MIB; at += 128 << 10)
		blk_sim_break(f.devs[0], at, 4096, true);
	for (uint64_t i = 1; i < 30; i++) {
		for (uint64_t n = i % 3; n < 1024; n += 3)
			put_blocks(h, n, n + 1, i * 10000);
		assert_ok(f.admin.driver->pool_sync(f.admin.ctx, "tank"));
	}
	assert_int_equal(pool_info(&f, "tank").health, POOL_HEALTH_ONLINE);
	assert_true(blk_error_count(f.devs[0], BLK_WRITE) > 50);
	export_pool(&f, h);
	assert_ok(check_devices(f.devs, 1, &config, &r));
	assert_int_equal(r.damage_count, 0);
	pool_check_report_done(&r);
	assert_ok(import_these(&f, "sim0", NULL, NULL, false));
	h = open_vol(&f);
	for (uint64_t n = 0; n < 1024; n++)
		expect_blocks(h, n, n + 1, n % 3 == 2 ? 290000 : n % 3 == 1 ? 280000 : 270000);
	vfs_close(h);
	fixture_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_state_that_one_device_lost_is_taken_from_the_other_and_repaired),
		cmocka_unit_test(test_read_only_import_repairs_nothing),
		cmocka_unit_test(test_bad_blocks_of_a_single_device_are_passed_over),
		cmocka_unit_test(test_bitmaps_of_a_lost_group_on_one_device_are_never_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
