/* SPDX-License-Identifier: BSD-3-Clause */
/* Pools end to end on simulated devices: volumes, restarts, power cuts, damage, full pools, failing devices. */
#include "tests/unit/core/fs/wfs3/pool_fixture.h"

#define VOL (64 * MIB)

static struct vfs_handle *open_vol(struct fixture *f, const char *path)
{
	struct vfs_handle *h = NULL;

	assert_ok(vfs_open(f->vfs, path, true, &h));
	return h;
}

static void start(struct fixture *f, unsigned devices, uint64_t bytes, struct vfs_handle **ret)
{
	fixture_init(f, devices, bytes);
	assert_ok(pool_create(f, "tank", devices));
	assert_ok(volume_create(f, "vm1", VOL));
	*ret = open_vol(f, "/tank/vm1");
}

static void expect_pattern(struct vfs_handle *h, uint64_t offset, size_t len, uint64_t seed)
{
	uint8_t *want = malloc(len), *got = malloc(len);

	pattern(want, len, seed);
	assert_ok(read_at(h, offset, got, len));
	assert_memory_equal(got, want, len);
	free(want);
	free(got);
}

static void put_pattern(struct vfs_handle *h, uint64_t offset, size_t len, uint64_t seed, unsigned flags)
{
	uint8_t *buf = malloc(len);

	pattern(buf, len, seed);
	assert_ok(write_at(h, offset, buf, len, flags));
	free(buf);
}

static void test_written_data_survives_export_and_import(void **state)
{
	struct fixture f;
	struct vfs_handle *h;

	(void)state;
	start(&f, 2, 128 * MIB, &h);
	put_pattern(h, 12345 * 8, 3 * MIB + 8, 7, 0);
	expect_pattern(h, 12345 * 8, 3 * MIB + 8, 7);
	assert_int_equal(pool_export(&f, "tank", false), -EBUSY);
	vfs_close(h);
	assert_ok(pool_export(&f, "tank", false));
	assert_ok(pool_import(&f, 2));
	assert_string_equal(pool_info(&f, "tank").reason, "");
	h = open_vol(&f, "/tank/vm1");
	expect_pattern(h, 12345 * 8, 3 * MIB + 8, 7);
	vfs_close(h);
	fixture_done(&f);
}

static void test_flushed_data_survives_a_power_cut(void **state)
{
	struct fixture f;
	struct vfs_handle *h;

	(void)state;
	start(&f, 1, 128 * MIB, &h);
	for (uint64_t round = 1; round <= 20; round++) {
		for (uint64_t i = 0; i < 50; i++)
			put_pattern(h, (i * 7919 * round % 16384) * 4096, 4096, round * 1000 + i, 0);
		assert_ok(vfs_flush(h, 0));
		for (uint64_t i = 0; i < 50; i++)
			put_pattern(h, (i * 104729 * round % 16384) * 4096, 4096, 99, 0);
		/* The second half is overwritten data: write the first half again so that its state is known. */
		for (uint64_t i = 0; i < 50; i++)
			put_pattern(h, (i * 7919 * round % 16384) * 4096, 4096, round * 1000 + i, 0);
		assert_ok(vfs_flush(h, 0));
		vfs_close(h);
		fixture_crash(&f, round % 3 ? round * 77 : 0);
		assert_ok(pool_import(&f, 1));
		h = open_vol(&f, "/tank/vm1");
		for (uint64_t i = 0; i < 50; i++) {
			bool last = true;

			for (uint64_t j = i + 1; j < 50; j++)
				last &= (j * 7919 * round % 16384) != (i * 7919 * round % 16384);
			if (last)
				expect_pattern(h, (i * 7919 * round % 16384) * 4096, 4096, round * 1000 + i);
		}
	}
	vfs_close(h);
	fixture_done(&f);
}

static void test_fua_write_survives_a_power_cut(void **state)
{
	struct fixture f;
	struct vfs_handle *h;

	(void)state;
	start(&f, 1, 64 * MIB, &h);
	put_pattern(h, 8192, 4096, 5, VFS_FUA);
	vfs_close(h);
	fixture_crash(&f, 0);
	assert_ok(pool_import(&f, 1));
	h = open_vol(&f, "/tank/vm1");
	expect_pattern(h, 8192, 4096, 5);
	vfs_close(h);
	fixture_done(&f);
}

static void test_discard_frees_space_and_reads_zeros(void **state)
{
	struct fixture f;
	struct vfs_handle *h;
	struct vfs_extent e[8];
	unsigned count;
	uint8_t *buf = malloc(MIB);
	uint64_t used;

	(void)state;
	start(&f, 1, 128 * MIB, &h);
	put_pattern(h, 0, 8 * MIB, 1, 0);
	assert_ok(vfs_flush(h, 0));
	assert_ok(volume_create(&f, "late", MIB)); /* a commit: what the flush left in the log gets its place */
	used = pool_info(&f, "tank").used_bytes;
	assert_true(used >= 8 * MIB);
	assert_ok(vfs_discard(h, MIB + 100, 4 * MIB, 0));
	assert_ok(read_at(h, 2 * MIB, buf, MIB));
	for (size_t i = 0; i < MIB; i++)
		assert_int_equal(buf[i], 0);
	assert_ok(vfs_extents(h, 0, 8 * MIB, 0, e, 8, &count));
	assert_int_equal(count, 3);
	assert_false(e[0].hole);
	assert_int_equal(e[0].len_bytes, MIB + 4096);
	assert_true(e[1].hole);
	assert_int_equal(e[1].offset + e[1].len_bytes, 5 * MIB);
	assert_ok(vfs_flush(h, 0));
	assert_true(pool_info(&f, "tank").used_bytes + 3 * MIB < used);
	free(buf);
	vfs_close(h);
	fixture_done(&f);
}

static void test_zeros_written_become_holes(void **state)
{
	struct fixture f;
	struct vfs_handle *h;
	struct vfs_extent e[4];
	unsigned count;
	uint8_t *zeros = calloc(1, MIB);

	(void)state;
	start(&f, 1, 128 * MIB, &h);
	put_pattern(h, 0, 2 * MIB, 1, 0);
	assert_ok(vfs_flush(h, 0));
	assert_ok(write_at(h, 0, zeros, MIB, 0));
	assert_ok(vfs_extents(h, 0, 2 * MIB, 0, e, 4, &count));
	assert_int_equal(count, 2);
	assert_true(e[0].hole && e[0].len_bytes == MIB);
	assert_ok(vfs_zero(h, MIB + 10, MIB - 20, VFS_FAST));
	assert_ok(vfs_extents(h, MIB, MIB, 0, e, 4, &count));
	assert_int_equal(count, 3);
	free(zeros);
	vfs_close(h);
	fixture_done(&f);
}

static void test_full_pool_refuses_writes_and_recovers_space(void **state)
{
	struct fixture f;
	struct vfs_handle *h;
	uint8_t *buf = malloc(MIB);
	uint64_t written = 0;
	int ret = 0;

	(void)state;
	fixture_init(&f, 1, 64 * MIB);
	assert_ok(pool_create(&f, "tank", 1));
	assert_ok(volume_create(&f, "big", 256 * MIB));
	h = open_vol(&f, "/tank/big");
	for (; !ret; written += MIB) {
		pattern(buf, MIB, written);
		ret = write_at(h, written, buf, MIB, 0);
	}
	assert_int_equal(ret, -ENOSPC);
	written -= MIB;
	assert_in_range(written, 36 * MIB, 64 * MIB);
	assert_ok(vfs_flush(h, 0));
	for (uint64_t at = 0; at < written; at += MIB)
		expect_pattern(h, at, MIB, at);
	assert_int_equal(f.admin.driver->volume_delete(f.admin.ctx, "tank", "big"), -EBUSY);
	vfs_close(h);
	assert_ok(f.admin.driver->volume_delete(f.admin.ctx, "tank", "big"));
	assert_ok(volume_create(&f, "again", 256 * MIB));
	h = open_vol(&f, "/tank/again");
	/* The space comes back in the background; a writer that finds the pool full helps it along. */
	for (uint64_t at = 0; at < written - 2 * MIB; at += MIB) {
		unsigned tries = 0;

		pattern(buf, MIB, at + 1);
		while ((ret = write_at(h, at, buf, MIB, 0)) == -ENOSPC && tries++ < 1000)
			sync_sleep_ns(SYNC_NS_PER_MS);
		assert_ok(ret);
	}
	vfs_close(h);
	assert_ok(pool_export(&f, "tank", false));
	assert_ok(pool_import(&f, 1));
	assert_int_equal(pool_info(&f, "tank").volume_count, 1);
	free(buf);
	fixture_done(&f);
}

static void test_overwriting_forever_never_fills_the_pool(void **state)
{
	struct fixture f;
	struct vfs_handle *h;

	(void)state;
	fixture_init(&f, 1, 64 * MIB);
	assert_ok(pool_create(&f, "tank", 1));
	assert_ok(volume_create(&f, "v", 32 * MIB));
	h = open_vol(&f, "/tank/v");
	for (uint64_t round = 0; round < 12; round++) {
		for (uint64_t at = 0; at < 32 * MIB; at += MIB)
			put_pattern(h, at, MIB, round * 100 + at, 0);
		if (round % 4 == 0)
			assert_ok(vfs_flush(h, 0));
	}
	for (uint64_t at = 0; at < 32 * MIB; at += MIB)
		expect_pattern(h, at, MIB, 1100 + at);
	vfs_close(h);
	fixture_done(&f);
}

static void test_rename_resize_and_list(void **state)
{
	struct fixture f;
	struct vfs_handle *h;
	struct volume_info info;
	const struct pool_driver *d;
	uint8_t tail[4096], zeros[4096] = { 0 };

	(void)state;
	start(&f, 1, 128 * MIB, &h);
	d = f.admin.driver;
	put_pattern(h, 32 * MIB, MIB, 3, 0);
	assert_int_equal(d->volume_resize(f.admin.ctx, "tank", "vm1", 16 * MIB, false), -EINVAL);
	assert_ok(d->volume_resize(f.admin.ctx, "tank", "vm1", 33 * MIB - 4096, true));
	assert_int_equal(write_at(h, 33 * MIB - 4096, "x", 1, 0), -ENOSPC);
	assert_ok(d->volume_resize(f.admin.ctx, "tank", "vm1", 64 * MIB, false));
	expect_pattern(h, 32 * MIB, MIB - 4096, 3);
	assert_ok(read_at(h, 33 * MIB - 4096, tail, sizeof(tail)));
	assert_memory_equal(tail, zeros, sizeof(tail));
	assert_ok(d->volume_rename(f.admin.ctx, "tank", "vm1", "vm2"));
	assert_int_equal(d->volume_get(f.admin.ctx, "tank", "vm1", &info), -ENOENT);
	assert_ok(d->volume_get(f.admin.ctx, "tank", "vm2", &info));
	assert_int_equal(info.size_bytes, 64 * MIB);
	assert_int_equal(info.open_count, 1);
	assert_int_equal(volume_create(&f, "vm2", MIB), -EEXIST);
	assert_int_equal(volume_create(&f, "a/b", MIB), -EINVAL);
	assert_int_equal(volume_create(&f, "", MIB), -EINVAL);
	assert_int_equal(volume_create(&f, "odd", 4097), -EINVAL);
	assert_int_equal(volume_create(&f, "none", 0), -EINVAL);
	assert_int_equal(volume_create(&f, "huge", UINT64_C(1) << 61), -EINVAL);
	vfs_close(h);
	fixture_done(&f);
}

static void test_forced_export_makes_handles_stale(void **state)
{
	struct fixture f;
	struct vfs_handle *h;
	uint8_t buf[4096];

	(void)state;
	start(&f, 1, 64 * MIB, &h);
	put_pattern(h, 0, 4096, 1, 0);
	assert_ok(pool_export(&f, "tank", true));
	assert_int_equal(read_at(h, 0, buf, sizeof(buf)), -ESTALE);
	vfs_close(h);
	assert_ok(pool_import(&f, 1));
	h = open_vol(&f, "/tank/vm1");
	expect_pattern(h, 0, 4096, 1);
	vfs_close(h);
	fixture_done(&f);
}

static void test_damaged_newest_root_falls_back_and_says_so(void **state)
{
	struct fixture f;
	struct vfs_handle *h;
	uint64_t txg;
	uint8_t zeros[4096] = { 0 };

	(void)state;
	start(&f, 1, 64 * MIB, &h);
	put_pattern(h, 0, 4096, 1, VFS_FUA);
	put_pattern(h, 0, 4096, 2, VFS_FUA);
	vfs_close(h);
	assert_ok(volume_create(&f, "late", MIB)); /* a commit */
	txg = pool_info(&f, "tank").txg;
	fixture_crash(&f, 0);
	for (unsigned i = 0; i < 2; i++)
		blk_sim_poke(f.devs[0], (i ? 63 * MIB : 0) + MIB / 2 + txg % 64 * 4096 + 100, zeros, 64);
	assert_ok(pool_import(&f, 1));
	assert_non_null(strstr(pool_info(&f, "tank").reason, "older root"));
	h = open_vol(&f, "/tank/vm1");
	expect_pattern(h, 0, 4096, 2); /* the log has it */
	put_pattern(h, 0, 4096, 3, VFS_FUA);
	vfs_close(h);
	fixture_crash(&f, 0);
	assert_ok(pool_import(&f, 1));
	h = open_vol(&f, "/tank/vm1");
	expect_pattern(h, 0, 4096, 3);
	vfs_close(h);
	fixture_done(&f);
}

static void test_wrong_data_is_an_error_never_data(void **state)
{
	struct fixture f;
	struct vfs_handle *h;
	uint8_t buf[4096], block[4096];
	uint64_t found = 0;
	char text[512];

	(void)state;
	start(&f, 1, 64 * MIB, &h);
	put_pattern(h, 16 * 4096, 4096, 1, VFS_FUA);
	vfs_close(h);
	assert_ok(pool_export(&f, "tank", false));
	pattern(buf, sizeof(buf), 1);
	for (uint64_t at = 0; at < 64 * MIB && !found; at += 4096) {
		blk_sim_peek(f.devs[0], at, block, sizeof(block));
		if (!memcmp(block, buf, sizeof(buf)))
			found = at;
	}
	assert_true(found);
	buf[77] ^= 1;
	blk_sim_poke(f.devs[0], found, buf, sizeof(buf));
	assert_ok(pool_import(&f, 1));
	h = open_vol(&f, "/tank/vm1");
	assert_int_equal(read_at(h, 16 * 4096, block, sizeof(block)), -EIO);
	err_text(err_get(), -EIO, 0, text, sizeof(text));
	assert_non_null(strstr(text, "offset 65536"));
	assert_non_null(strstr(text, "sim0"));
	assert_int_equal(pool_info(&f, "tank").devices[0].checksum_errors, 1);
	assert_ok(read_at(h, 0, block, sizeof(block)));
	vfs_close(h);
	fixture_done(&f);
}

static void test_failed_flush_is_latched_and_reads_go_on(void **state)
{
	struct fixture f;
	struct vfs_handle *h;
	struct blk_sim_faults faults = { .fail_nth = { -1, -1, 0, -1, -1 }, .fail_from_nth = true, .error = -EIO };

	(void)state;
	start(&f, 1, 64 * MIB, &h);
	log_set_level((enum log_level)0);
	put_pattern(h, 0, 4096, 1, VFS_FUA);
	put_pattern(h, 4096, 4096, 2, 0);
	blk_sim_set_faults(f.devs[0], &faults);
	assert_int_equal(vfs_flush(h, 0), -EIO);
	blk_sim_set_faults(f.devs[0], NULL);
	assert_int_equal(vfs_flush(h, 0), -EIO);
	assert_int_equal(write_at(h, 0, "x", 1, 0), -EIO);
	expect_pattern(h, 0, 4096, 1);
	assert_int_equal(pool_info(&f, "tank").health, POOL_HEALTH_READ_ONLY);
	assert_string_not_equal(pool_info(&f, "tank").reason, "");
	vfs_close(h);
	fixture_crash(&f, 0);
	assert_ok(pool_import(&f, 1));
	h = open_vol(&f, "/tank/vm1");
	expect_pattern(h, 0, 4096, 1);
	vfs_close(h);
	fixture_done(&f);
}

static void test_failed_data_write_is_reported_and_stays_dirty(void **state)
{
	struct fixture f;
	struct vfs_handle *h;
	struct blk_sim_faults faults = { .fail_nth = { -1, 0, -1, -1, -1 }, .fail_from_nth = true, .error = -EIO };

	(void)state;
	start(&f, 1, 64 * MIB, &h);
	log_set_level((enum log_level)0);
	/* More than a flush puts into the log. */
	put_pattern(h, 0, (CACHE_LOG_PAGES_MAX + 1) * 4096, 1, 0);
	blk_sim_set_faults(f.devs[0], &faults);
	assert_int_equal(vfs_flush(h, 0), -EIO);
	blk_sim_set_faults(f.devs[0], NULL);
	expect_pattern(h, 0, (CACHE_LOG_PAGES_MAX + 1) * 4096, 1);
	assert_ok(vfs_flush(h, 0));
	vfs_close(h);
	fixture_crash(&f, 0);
	assert_ok(pool_import(&f, 1));
	h = open_vol(&f, "/tank/vm1");
	expect_pattern(h, 0, (CACHE_LOG_PAGES_MAX + 1) * 4096, 1);
	vfs_close(h);
	fixture_done(&f);
}

static void test_failed_data_write_is_done_again_in_another_place(void **state)
{
	struct fixture f;
	struct vfs_handle *h;

	(void)state;
	start(&f, 1, 64 * MIB, &h);
	log_set_level((enum log_level)0);
	put_pattern(h, 0, (CACHE_LOG_PAGES_MAX + 1) * 4096, 1, 0);
	for (uint64_t at = 8 * MIB; at < 63 * MIB; at += 64 << 10)
		blk_sim_break(f.devs[0], at, 4096, true);
	assert_ok(vfs_flush(h, 0));
	assert_int_equal(pool_info(&f, "tank").health, POOL_HEALTH_ONLINE);
	/* What is near a bad block is not given up with it. */
	assert_in_range(pool_info(&f, "tank").bad_bytes, 4096, 8 * 4096);
	vfs_close(h);
	fixture_crash(&f, 0);
	assert_ok(pool_import(&f, 1));
	h = open_vol(&f, "/tank/vm1");
	expect_pattern(h, 0, (CACHE_LOG_PAGES_MAX + 1) * 4096, 1);
	vfs_close(h);
	fixture_done(&f);
}

static void test_missing_wrong_and_foreign_devices_are_refused(void **state)
{
	struct fixture f;
	struct vfs_handle *h;
	char what[512];

	(void)state;
	start(&f, 2, 64 * MIB, &h);
	vfs_close(h);
	assert_ok(pool_export(&f, "tank", false));
	assert_int_equal(pool_import(&f, 1), -ENODEV);
	err_text(err_get(), -ENODEV, 0, what, sizeof(what));
	assert_non_null(strstr(what, "missing"));
	assert_int_equal(pool_create(&f, "other", 1), -EEXIST);
	assert_ok(pool_import(&f, 2));
	assert_int_equal(pool_import(&f, 2), -EBUSY);
	assert_ok(f.admin.driver->pool_destroy(f.admin.ctx, "tank"));
	assert_int_equal(pool_import(&f, 2), -EMEDIUMTYPE);
	assert_ok(pool_create(&f, "other", 1));
	fixture_done(&f);
}

static void test_interrupted_delete_goes_on_after_restart(void **state)
{
	struct fixture f;
	struct vfs_handle *h;
	uint64_t used;

	(void)state;
	start(&f, 1, 128 * MIB, &h);
	used = pool_info(&f, "tank").used_bytes;
	put_pattern(h, 0, 32 * MIB, 1, 0);
	assert_ok(vfs_flush(h, 0));
	vfs_close(h);
	assert_ok(f.admin.driver->volume_delete(f.admin.ctx, "tank", "vm1"));
	fixture_crash(&f, 0);
	assert_ok(pool_import(&f, 1));
	assert_int_equal(pool_info(&f, "tank").volume_count, 0);
	for (unsigned tries = 0; pool_info(&f, "tank").used_bytes > used && tries < 5000; tries++)
		sync_sleep_ns(SYNC_NS_PER_MS);
	assert_true(pool_info(&f, "tank").used_bytes <= used);
	fixture_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_written_data_survives_export_and_import),
		cmocka_unit_test(test_flushed_data_survives_a_power_cut),
		cmocka_unit_test(test_fua_write_survives_a_power_cut),
		cmocka_unit_test(test_discard_frees_space_and_reads_zeros),
		cmocka_unit_test(test_zeros_written_become_holes),
		cmocka_unit_test(test_full_pool_refuses_writes_and_recovers_space),
		cmocka_unit_test(test_overwriting_forever_never_fills_the_pool),
		cmocka_unit_test(test_rename_resize_and_list),
		cmocka_unit_test(test_forced_export_makes_handles_stale),
		cmocka_unit_test(test_damaged_newest_root_falls_back_and_says_so),
		cmocka_unit_test(test_wrong_data_is_an_error_never_data),
		cmocka_unit_test(test_failed_flush_is_latched_and_reads_go_on),
		cmocka_unit_test(test_failed_data_write_is_reported_and_stays_dirty),
		cmocka_unit_test(test_failed_data_write_is_done_again_in_another_place),
		cmocka_unit_test(test_missing_wrong_and_foreign_devices_are_refused),
		cmocka_unit_test(test_interrupted_delete_goes_on_after_restart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
