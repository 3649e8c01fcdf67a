/* SPDX-License-Identifier: BSD-3-Clause */
/* Pools on mirrors: repair, devices that fail, are missing, come back, are old, or went their own way; attach, detach,
 * replace. */
#include "tests/unit/core/fs/wfs3/mirror_fixture.h"

static void crash(struct fixture *f, struct vfs_handle *h)
{
	vfs_close(h);
	fixture_crash(f, 12345);
	log_set_level((enum log_level)0);
}

static const char *last_error(int code)
{
	static char text[512];

	return err_text(err_get(), code, 0, text, sizeof(text));
}

static void test_damage_on_one_device_is_repaired_from_the_other(void **state)
{
	struct pool_info info;
	struct fixture f;
	struct vfs_handle *h;
	uint8_t junk[4096];

	(void)state;
	start(&f, 2, 2, &h);
	assert_int_equal(pool_info(&f, "tank").devices[1].group, 0);
	export_pool(&f, h);
	/* Data and nodes: every second block of one device. */
	memset(junk, 0x5a, sizeof(junk));
	for (uint64_t at = 8 * MIB; at < DEVICE - MIB; at += 8192)
		blk_sim_poke(f.devs[0], at, junk, sizeof(junk));
	assert_ok(pool_import(&f, 2));
	h = open_vol(&f);
	expect_blocks(h, 0, 1024, 0);
	info = pool_info(&f, "tank");
	assert_int_equal(info.health, POOL_HEALTH_ONLINE);
	assert_int_not_equal(info.devices[0].repairs, 0);
	assert_int_not_equal(info.devices[0].checksum_errors, 0);
	assert_int_equal(info.devices[1].checksum_errors, 0);
	vfs_close(h);
	fixture_done(&f);
}

static void test_device_that_fails_under_load_is_not_noticed_by_clients(void **state)
{
	struct pool_info info;
	struct fixture f;
	struct vfs_handle *h;

	(void)state;
	start(&f, 2, 2, &h);
	blk_sim_unplug(f.devs[1]);
	for (uint64_t round = 1; round <= 5; round++) {
		put_blocks(h, 0, 512, round * 10000);
		assert_ok(vfs_flush(h, 0));
	}
	info = pool_info(&f, "tank");
	assert_int_equal(info.health, POOL_HEALTH_DEGRADED);
	assert_non_null(strstr(info.reason, "sim1"));
	assert_int_equal(info.devices[1].state, POOL_DEVICE_AWAY);
	expect_blocks(h, 0, 512, 50000);
	/* After a crash it is known to be old, and gets what it missed. */
	crash(&f, h);
	assert_ok(pool_import(&f, 2));
	h = open_vol(&f);
	expect_blocks(h, 0, 512, 50000);
	expect_blocks(h, 512, 1024, 0);
	wait_until_whole(&f);
	/* Now it is as good as the other. */
	blk_sim_unplug(f.devs[0]);
	put_blocks(h, 100, 200, 7);
	assert_ok(vfs_flush(h, 0));
	crash(&f, h);
	assert_ok(import_these(&f, "sim1", NULL, NULL, false));
	h = open_vol(&f);
	expect_blocks(h, 0, 100, 50000);
	expect_blocks(h, 100, 200, 7);
	expect_blocks(h, 200, 512, 50000);
	expect_blocks(h, 512, 1024, 0);
	vfs_close(h);
	fixture_done(&f);
}

static void test_failed_flush_of_one_device_loses_nothing(void **state)
{
	struct blk_sim_faults faults = { .fail_nth = { -1, -1, 0, -1, -1 }, .fail_from_nth = true };
	struct fixture f;
	struct vfs_handle *h;

	(void)state;
	start(&f, 2, 2, &h);
	put_blocks(h, 0, 300, 99);
	blk_sim_set_faults(f.devs[0], &faults);
	assert_ok(vfs_flush(h, 0));
	assert_int_equal(pool_info(&f, "tank").devices[0].state, POOL_DEVICE_AWAY);
	vfs_close(h);
	blk_sim_set_faults(f.devs[0], NULL);
	fixture_crash(&f, 0);
	log_set_level((enum log_level)0);
	assert_ok(pool_import(&f, 2));
	h = open_vol(&f);
	expect_blocks(h, 0, 300, 99);
	wait_until_whole(&f);
	vfs_close(h);
	fixture_done(&f);
}

static void test_import_without_a_device_goes_on_and_the_device_is_old_then(void **state)
{
	struct pool_info info;
	struct fixture f;
	struct vfs_handle *h;

	(void)state;
	start(&f, 2, 2, &h);
	export_pool(&f, h);
	assert_ok(import_these(&f, "sim0", "sim9", NULL, false));
	info = pool_info(&f, "tank");
	assert_int_equal(info.health, POOL_HEALTH_DEGRADED);
	assert_string_equal(info.devices[1].path, "");
	h = open_vol(&f);
	put_blocks(h, 0, 100, 5);
	export_pool(&f, h);
	/* Read-only, the old one stays as it is. */
	assert_ok(import_these(&f, "sim1", "sim0", NULL, true));
	assert_int_equal(pool_info(&f, "tank").devices[1].state, POOL_DEVICE_AWAY);
	assert_ok(pool_export(&f, "tank", false));
	assert_ok(import_these(&f, "sim1", "sim0", NULL, false));
	h = open_vol(&f);
	expect_blocks(h, 0, 100, 5);
	wait_until_whole(&f);
	export_pool(&f, h);
	assert_ok(import_these(&f, "sim1", NULL, NULL, false));
	h = open_vol(&f);
	expect_blocks(h, 0, 100, 5);
	expect_blocks(h, 100, 1024, 0);
	vfs_close(h);
	fixture_done(&f);
}

static void test_halves_that_were_used_apart_are_not_mixed(void **state)
{
	struct fixture f;
	struct vfs_handle *h;
	int ret;

	(void)state;
	start(&f, 2, 2, &h);
	export_pool(&f, h);
	for (unsigned i = 0; i < 2; i++) {
		assert_ok(import_these(&f, fixture_paths[i], NULL, NULL, false));
		h = open_vol(&f);
		put_blocks(h, 0, 100, i + 1);
		export_pool(&f, h);
	}
	ret = pool_import(&f, 2);
	assert_int_equal(ret, -EUCLEAN);
	assert_non_null(strstr(last_error(ret), "used apart"));
	/* With more changes on one side than on the other it is the same. */
	assert_ok(import_these(&f, "sim1", NULL, NULL, false));
	assert_ok(f.admin.driver->pool_detach(f.admin.ctx, "tank", "sim0") == -ENOENT ? 0 : -1);
	assert_ok(pool_export(&f, "tank", false));
	assert_int_equal(pool_import(&f, 2), -EUCLEAN);
	fixture_done(&f);
}

/* The last label that reached one device says that the other is away; that one is whole since, and went on alone. */
static void test_half_that_failed_before_it_knew_that_the_other_was_back_is_old(void **state)
{
	uint8_t front[8192], back[8192];
	struct fixture f;
	struct vfs_handle *h;

	(void)state;
	start(&f, 2, 2, &h);
	blk_sim_unplug(f.devs[0]);
	put_blocks(h, 0, 100, 1);
	assert_ok(vfs_flush(h, 0));
	blk_sim_peek(f.devs[1], 0, front, sizeof(front));
	blk_sim_peek(f.devs[1], DEVICE - MIB, back, sizeof(back));
	blk_sim_replug(f.devs[0]);
	assert_ok(f.admin.driver->pool_online(f.admin.ctx, "tank", "sim0"));
	wait_until_whole(&f);
	blk_sim_unplug(f.devs[1]);
	put_blocks(h, 100, 200, 2);
	assert_ok(vfs_flush(h, 0));
	export_pool(&f, h);
	blk_sim_replug(f.devs[1]);
	blk_sim_poke(f.devs[1], 0, front, sizeof(front));
	blk_sim_poke(f.devs[1], DEVICE - MIB, back, sizeof(back));
	assert_ok(pool_import(&f, 2));
	h = open_vol(&f);
	wait_until_whole(&f);
	expect_blocks(h, 0, 100, 1);
	expect_blocks(h, 100, 200, 2);
	vfs_close(h);
	fixture_done(&f);
}

static void test_old_half_does_not_stand_in_for_its_group(void **state)
{
	struct fixture f;
	struct vfs_handle *h;
	char uuid[sizeof(((struct pool_device_info *)0)->uuid)];
	int ret;

	(void)state;
	start(&f, 4, 2, &h);
	snprintf(uuid, sizeof(uuid), "%s", pool_info(&f, "tank").devices[0].uuid);
	export_pool(&f, h);
	assert_ok(import_these(&f, "sim0", "sim2", "sim3", false));
	h = open_vol(&f);
	put_blocks(h, 0, 500, 5);
	export_pool(&f, h);
	ret = import_these(&f, "sim1", "sim2", "sim3", false);
	assert_int_equal(ret, -ENODEV);
	assert_non_null(strstr(last_error(ret), "sim1 is from an older time"));
	assert_non_null(strstr(last_error(ret), uuid));
	ret = import_these(&f, "sim0", "sim1", NULL, false);
	assert_int_equal(ret, -ENODEV);
	assert_ok(pool_import(&f, 4));
	h = open_vol(&f);
	expect_blocks(h, 0, 500, 5);
	wait_until_whole(&f);
	vfs_close(h);
	fixture_done(&f);
}

static void test_copy_from_an_older_time_with_the_same_labels_is_not_used(void **state)
{
	uint8_t *image = malloc(DEVICE);
	struct fixture f;
	struct vfs_handle *h;

	(void)state;
	start(&f, 2, 2, &h);
	export_pool(&f, h);
	blk_sim_peek(f.devs[0], 0, image, DEVICE);
	assert_ok(pool_import(&f, 2));
	h = open_vol(&f);
	for (uint64_t i = 1; i < 5; i++) {
		put_blocks(h, 0, 100, i);
		assert_ok(f.admin.driver->pool_sync(f.admin.ctx, "tank"));
	}
	export_pool(&f, h);
	blk_sim_poke(f.devs[0], 0, image, DEVICE);
	assert_ok(pool_import(&f, 2));
	h = open_vol(&f);
	expect_blocks(h, 0, 100, 4);
	wait_until_whole(&f);
	export_pool(&f, h);
	assert_ok(import_these(&f, "sim0", NULL, NULL, false));
	h = open_vol(&f);
	expect_blocks(h, 0, 100, 4);
	expect_blocks(h, 100, 1024, 0);
	vfs_close(h);
	free(image);
	fixture_done(&f);
}

static void test_attach_makes_a_mirror_of_a_single_device(void **state)
{
	struct fixture f;
	struct vfs_handle *h;

	(void)state;
	start(&f, 2, 2, &h);
	assert_ok(f.admin.driver->pool_detach(f.admin.ctx, "tank", "sim1"));
	assert_int_equal(pool_info(&f, "tank").device_count, 1);
	assert_int_equal(f.admin.driver->pool_detach(f.admin.ctx, "tank", "sim0"), -EBUSY);
	assert_int_equal(import_these(&f, "sim1", NULL, NULL, false), -EMEDIUMTYPE);
	assert_int_equal(f.admin.driver->pool_attach(f.admin.ctx, "tank", "sim7", "sim1", false, false), -ENOENT);
	assert_ok(f.admin.driver->pool_attach(f.admin.ctx, "tank", "sim0", "sim1", false, false));
	put_blocks(h, 0, 200, 3);
	wait_until_whole(&f);
	assert_ok(vfs_flush(h, 0));
	blk_sim_unplug(f.devs[0]);
	crash(&f, h);
	assert_ok(import_these(&f, "sim1", NULL, NULL, false));
	h = open_vol(&f);
	expect_blocks(h, 0, 200, 3);
	expect_blocks(h, 200, 1024, 0);
	vfs_close(h);
	fixture_done(&f);
}

static void test_crash_while_a_device_is_filled(void **state)
{
	struct fixture f;
	struct vfs_handle *h;

	(void)state;
	start(&f, 2, 2, &h);
	assert_ok(f.admin.driver->pool_detach(f.admin.ctx, "tank", "sim1"));
	assert_ok(f.admin.driver->pool_attach(f.admin.ctx, "tank", "sim0", "sim1", false, false));
	put_blocks(h, 0, 200, 3);
	assert_ok(vfs_flush(h, 0));
	crash(&f, h);
	/* Whether it became whole before is a matter of time. Alone it is of use only then. */
	assert_ok(pool_import(&f, 2));
	h = open_vol(&f);
	expect_blocks(h, 0, 200, 3);
	wait_until_whole(&f);
	export_pool(&f, h);
	assert_ok(import_these(&f, "sim1", NULL, NULL, false));
	h = open_vol(&f);
	expect_blocks(h, 0, 200, 3);
	expect_blocks(h, 200, 1024, 0);
	vfs_close(h);
	fixture_done(&f);
}

static void test_replaced_device_leaves_when_the_new_one_is_whole(void **state)
{
	struct pool_info info;
	struct fixture f;
	struct vfs_handle *h;

	(void)state;
	start(&f, 4, 2, &h);
	blk_sim_unplug(f.devs[3]);
	put_blocks(h, 0, 1024, 3);
	assert_ok(vfs_flush(h, 0));
	assert_ok(f.admin.driver->pool_detach(f.admin.ctx, "tank", "sim2") == -EBUSY ? 0 : -1);
	assert_ok(f.admin.driver->pool_detach(f.admin.ctx, "tank", "sim1"));
	assert_ok(f.admin.driver->pool_attach(f.admin.ctx, "tank", "sim3", "sim1", false, true));
	while (pool_info(&f, "tank").device_count == 4 || pool_info(&f, "tank").health == POOL_HEALTH_DEGRADED)
		sync_sleep_ns(SYNC_NS_PER_MS);
	info = pool_info(&f, "tank");
	assert_int_equal(info.device_count, 3);
	assert_string_equal(info.devices[2].path, "sim1");
	assert_int_equal(info.devices[2].group, 1);
	expect_blocks(h, 0, 1024, 3);
	export_pool(&f, h);
	assert_ok(import_these(&f, "sim1", "sim0", NULL, false));
	h = open_vol(&f);
	expect_blocks(h, 0, 1024, 3);
	vfs_close(h);
	fixture_done(&f);
}

static void test_replacing_goes_on_after_a_crash(void **state)
{
	struct pool_info info;
	struct fixture f;
	struct vfs_handle *h;

	(void)state;
	start(&f, 2, 2, &h);
	assert_ok(f.admin.driver->pool_detach(f.admin.ctx, "tank", "sim1"));
	f.fill_rate_bytes = MIB; /* too slow to end before the crash */
	vfs_close(h);
	assert_ok(pool_export(&f, "tank", false));
	fixture_restart(&f);
	assert_ok(import_these(&f, "sim0", NULL, NULL, false));
	h = open_vol(&f);
	assert_ok(f.admin.driver->pool_attach(f.admin.ctx, "tank", "sim0", "sim1", false, true));
	assert_int_equal(pool_info(&f, "tank").device_count, 2);
	f.fill_rate_bytes = 0;
	crash(&f, h);
	assert_ok(pool_import(&f, 2));
	while (pool_info(&f, "tank").device_count == 2 || pool_info(&f, "tank").health == POOL_HEALTH_DEGRADED)
		sync_sleep_ns(SYNC_NS_PER_MS);
	info = pool_info(&f, "tank");
	assert_string_equal(info.devices[0].path, "sim1");
	h = open_vol(&f);
	expect_blocks(h, 0, 1024, 0);
	vfs_close(h);
	fixture_done(&f);
}

static void test_device_is_brought_back_by_hand(void **state)
{
	struct fixture f;
	struct vfs_handle *h;

	(void)state;
	start(&f, 3, 3, &h);
	assert_int_equal(f.admin.driver->pool_online(f.admin.ctx, "tank", "sim1"), -EBUSY);
	for (unsigned round = 1; round < 4; round++) {
		blk_sim_unplug(f.devs[1]);
		put_blocks(h, 0, 300, round);
		assert_ok(vfs_flush(h, 0));
		assert_int_equal(pool_info(&f, "tank").devices[1].state, POOL_DEVICE_AWAY);
		blk_sim_replug(f.devs[1]);
		assert_ok(f.admin.driver->pool_online(f.admin.ctx, "tank", "sim1"));
		wait_until_whole(&f);
	}
	export_pool(&f, h);
	assert_ok(import_these(&f, "sim1", NULL, NULL, false));
	h = open_vol(&f);
	expect_blocks(h, 0, 300, 3);
	expect_blocks(h, 300, 1024, 0);
	vfs_close(h);
	fixture_done(&f);
}

static void test_when_the_last_device_fails_the_pool_is_read_only_and_says_why(void **state)
{
	struct blk_sim_faults faults = { .fail_nth = { -1, -1, 0, -1, -1 }, .fail_from_nth = true };
	struct fixture f;
	struct vfs_handle *h;

	(void)state;
	start(&f, 2, 2, &h);
	blk_sim_unplug(f.devs[0]);
	put_blocks(h, 0, 10, 1);
	assert_ok(vfs_flush(h, 0));
	blk_sim_set_faults(f.devs[1], &faults);
	put_blocks(h, 0, 10, 2);
	assert_int_equal(vfs_flush(h, 0), -EIO);
	assert_int_equal(vfs_flush(h, 0), -EIO);
	assert_int_equal(pool_info(&f, "tank").health, POOL_HEALTH_READ_ONLY);
	assert_non_null(strstr(pool_info(&f, "tank").reason, "flush"));
	expect_blocks(h, 100, 1024, 0);
	blk_sim_set_faults(f.devs[1], NULL);
	crash(&f, h);
	assert_ok(pool_import(&f, 2));
	h = open_vol(&f);
	expect_blocks(h, 10, 1024, 0);
	vfs_close(h);
	fixture_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_damage_on_one_device_is_repaired_from_the_other),
		cmocka_unit_test(test_device_that_fails_under_load_is_not_noticed_by_clients),
		cmocka_unit_test(test_failed_flush_of_one_device_loses_nothing),
		cmocka_unit_test(test_import_without_a_device_goes_on_and_the_device_is_old_then),
		cmocka_unit_test(test_halves_that_were_used_apart_are_not_mixed),
		cmocka_unit_test(test_half_that_failed_before_it_knew_that_the_other_was_back_is_old),
		cmocka_unit_test(test_old_half_does_not_stand_in_for_its_group),
		cmocka_unit_test(test_copy_from_an_older_time_with_the_same_labels_is_not_used),
		cmocka_unit_test(test_attach_makes_a_mirror_of_a_single_device),
		cmocka_unit_test(test_crash_while_a_device_is_filled),
		cmocka_unit_test(test_replaced_device_leaves_when_the_new_one_is_whole),
		cmocka_unit_test(test_replacing_goes_on_after_a_crash),
		cmocka_unit_test(test_device_is_brought_back_by_hand),
		cmocka_unit_test(test_when_the_last_device_fails_the_pool_is_read_only_and_says_why),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
