/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of mirrored pools: every copy is looked at, and one good copy is enough to go on. */
#include "tests/unit/core/fs/wfs3/check_fixture.h"

#define DEVICES 2u

/* The second device becomes a copy of the first one, and both labels say so. */
static void mirror_by_hand(struct fixture *f)
{
	uint8_t *buf = malloc(MIB);
	char note[LABEL_NOTE_BYTES];
	struct label l;

	for (uint64_t at = 0; at < 64 * MIB; at += MIB) {
		blk_sim_peek(f->devs[0], at, buf, MIB);
		blk_sim_poke(f->devs[1], at, buf, MIB);
	}
	free(buf);
	assert_ok(label_read(f->devs[0], &l, note));
	l.generation++;
	l.device_count = DEVICES;
	l.devices[1] = l.devices[0];
	l.devices[1].uuid[0] ^= 1;
	for (l.device_index = 0; l.device_index < DEVICES; l.device_index++)
		assert_ok(label_write(f->devs[l.device_index], &l));
}

/* One group of two devices, closed. */
static void make_mirrors(struct fixture *f)
{
	fixture_init(f, DEVICES, 64 * MIB);
	assert_ok(pool_create(f, "tank", 1));
	assert_ok(volume_create(f, "vm1", VOL));
	for (unsigned i = 0; i < 20; i++)
		put(f, "/tank/vm1", i * MIB, 256 << 10, i);
	assert_ok(pool_export(f, "tank", false));
	mirror_by_hand(f);
}

/* Where a block of data is, on one device. */
static uint64_t find_data(struct fixture *f, unsigned device, uint64_t seed)
{
	uint8_t want[4096], got[4096];

	pattern(want, sizeof(want), seed);
	for (uint64_t at = 0; at < 64 * MIB; at += 4096) {
		blk_sim_peek(f->devs[device], at, got, sizeof(got));
		if (!memcmp(got, want, sizeof(got)))
			return at;
	}
	return 0;
}

/* The first tree node in use that lies on this device; 0: none does. */
static uint64_t find_node(struct fixture *f, unsigned device)
{
	struct check_config config = { 0 };
	uint8_t got[4096];

	for (uint64_t at = 4 * MIB; at < 62 * MIB; at += 4096) {
		struct pool_check_report r;
		bool used;

		blk_sim_peek(f->devs[device], at, got, sizeof(got));
		if (get_le32(got) != NODE_MAGIC)
			continue;
		got[100] ^= 1;
		blk_sim_poke(f->devs[device], at, got, sizeof(got));
		assert_ok(check_devices(f->devs, DEVICES, &config, &r));
		got[100] ^= 1;
		blk_sim_poke(f->devs[device], at, got, sizeof(got));
		used = r.damage_count;
		pool_check_report_done(&r);
		if (used)
			return at;
	}
	return 0;
}

static void test_mirrored_pool_is_clean(void **state)
{
	struct fixture f;

	(void)state;
	make_mirrors(&f);
	expect_clean(&f, DEVICES);
	fixture_done(&f);
}

static void test_data_of_one_copy_that_is_damaged_is_found_with_its_device(void **state)
{
	struct fixture f;
	struct pool_check_report r;
	unsigned found = 0;

	(void)state;
	make_mirrors(&f);
	for (unsigned device = 0; device < DEVICES; device++) {
		uint64_t at = find_data(&f, device, 3);
		uint8_t byte = 0;

		if (!at)
			continue;
		found++;
		blk_sim_poke(f.devs[device], at, &byte, 1);
		r = check(&f, DEVICES, true);
		assert_int_equal(r.damage_count, 1);
		assert_int_equal(r.findings[0].kind, POOL_FINDING_DATA_CRC);
		assert_int_equal(r.findings[0].device, device);
		assert_int_equal(r.findings[0].device_offset, at);
		assert_int_equal(r.findings[0].offset, 3 * MIB);
		assert_false(r.partial);
		pool_check_report_done(&r);
		blk_sim_peek(f.devs[device ^ 1], at, &byte, 1);
		blk_sim_poke(f.devs[device], at, &byte, 1);
	}
	assert_int_equal(found, 2);
	expect_clean(&f, DEVICES);
	fixture_done(&f);
}

static void test_node_of_one_copy_that_is_damaged_is_found_and_the_check_goes_on(void **state)
{
	struct fixture f;
	struct pool_check_report r;
	unsigned found = 0;

	(void)state;
	make_mirrors(&f);
	for (unsigned device = 0; device < DEVICES; device++) {
		uint64_t at = find_node(&f, device);
		uint8_t byte = 0x77;

		if (!at)
			continue;
		found++;
		blk_sim_poke(f.devs[device], at + 99, &byte, 1);
		r = check(&f, DEVICES, true);
		assert_int_equal(r.damage_count, 1);
		assert_int_equal(r.findings[0].kind, POOL_FINDING_NODE_HASH);
		assert_int_equal(r.findings[0].device, device);
		assert_int_equal(r.findings[0].device_offset, at);
		assert_int_equal(r.done_blocks, r.total_blocks);
		assert_false(r.partial);
		pool_check_report_done(&r);
		blk_sim_peek(f.devs[device ^ 1], at + 99, &byte, 1);
		blk_sim_poke(f.devs[device], at + 99, &byte, 1);
	}
	assert_true(found >= 2);
	fixture_done(&f);
}

static void test_missing_copy_is_noted_and_the_rest_is_checked(void **state)
{
	struct fixture f;
	struct check_config config = { .with_data = true };
	struct pool_check_report r;

	(void)state;
	make_mirrors(&f);
	assert_ok(check_devices(&f.devs[1], 1, &config, &r));
	assert_int_equal(r.damage_count, 0);
	assert_int_equal(r.note_count, 1);
	assert_int_equal(r.kind_counts[POOL_FINDING_LABEL], 1);
	assert_int_equal(r.done_blocks, r.total_blocks);
	pool_check_report_done(&r);
	fixture_done(&f);
}

/* Damage one copy of a block of data and of a tree node; their places. */
static void damage_copies(struct fixture *f, unsigned device, uint64_t places[2])
{
	places[0] = find_node(f, device);
	places[1] = find_data(f, device, 3);
	for (unsigned i = 0; i < 2; i++) {
		uint8_t byte;

		if (!places[i])
			continue;
		blk_sim_peek(f->devs[device], places[i] + 99, &byte, 1);
		byte ^= 1;
		blk_sim_poke(f->devs[device], places[i] + 99, &byte, 1);
	}
}

static void test_scrub_repairs_a_damaged_copy(void **state)
{
	struct fixture f;
	unsigned damaged = 0, repaired = 0;

	(void)state;
	make_mirrors(&f);
	for (unsigned device = 0; device < DEVICES; device++) {
		struct pool_check_report r;
		struct pool_info info;
		uint64_t places[2];

		damage_copies(&f, device, places);
		damaged += !!places[0] + !!places[1];
		assert_ok(pool_import(&f, DEVICES));
		assert_ok(f.admin.driver->pool_scrub(f.admin.ctx, "tank", POOL_SCRUB_START));
		do {
			info = pool_info(&f, "tank");
			sync_sleep_ns(SYNC_NS_PER_MS);
		} while (info.scrub.state != POOL_SCRUB_FINISHED);
		assert_int_equal(info.scrub.damage_count, 0);
		repaired += (unsigned)info.scrub.repaired_count;
		assert_ok(f.admin.driver->pool_scrub_get(f.admin.ctx, "tank", &r));
		for (unsigned i = 0; i < r.finding_count; i++) {
			assert_true(r.findings[i].repaired);
			assert_string_equal(r.devices[r.findings[i].device], fixture_paths[device]);
		}
		pool_check_report_done(&r);
		assert_ok(pool_export(&f, "tank", false));
		expect_clean(&f, DEVICES);
	}
	assert_true(damaged >= 4);
	/* A node may have been read, and repaired, by the import. */
	assert_in_range(repaired, 2, damaged);
	fixture_done(&f);
}

static void test_check_of_a_mirror_in_use_names_the_device(void **state)
{
	struct fixture f;
	struct pool_check_report r;
	uint64_t at;
	uint8_t byte = 0;
	unsigned device = 1;

	(void)state;
	make_mirrors(&f);
	at = find_data(&f, device, 3);
	blk_sim_poke(f.devs[device], at, &byte, 1);
	assert_ok(pool_import(&f, DEVICES));
	assert_ok(f.admin.driver->pool_check(f.admin.ctx, "tank", true));
	for (;;) {
		assert_ok(f.admin.driver->pool_check_get(f.admin.ctx, "tank", &r));
		if (r.state != POOL_CHECK_RUNNING)
			break;
		pool_check_report_done(&r);
		sync_sleep_ns(SYNC_NS_PER_MS);
	}
	assert_int_equal(r.damage_count, 1);
	assert_int_equal(r.findings[0].kind, POOL_FINDING_DATA_CRC);
	assert_string_equal(r.devices[r.findings[0].device], fixture_paths[device]);
	assert_int_equal(r.findings[0].device_offset, at);
	assert_false(r.findings[0].repaired);
	pool_check_report_done(&r);
	fixture_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mirrored_pool_is_clean),
		cmocka_unit_test(test_data_of_one_copy_that_is_damaged_is_found_with_its_device),
		cmocka_unit_test(test_node_of_one_copy_that_is_damaged_is_found_and_the_check_goes_on),
		cmocka_unit_test(test_missing_copy_is_noted_and_the_rest_is_checked),
		cmocka_unit_test(test_scrub_repairs_a_damaged_copy),
		cmocka_unit_test(test_check_of_a_mirror_in_use_names_the_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
