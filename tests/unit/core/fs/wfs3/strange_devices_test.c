/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices that are not what they were: shrunk, exchanged, from another time, of another pool with the same name; clocks
 * that go back. Nothing is written to what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/core/fs/wfs3/craft_core.h"

static int import_paths(struct craft_core *k, const char *first, const char *second, bool read_only)
{
	const char *const paths[] = { first, second };
	char *name = NULL;
	int ret = k->admin.driver->pool_import(k->admin.ctx, paths, second ? 2 : 1, read_only, &name);

	free(name);
	return ret;
}

static void forget_writes(struct craft_core *k)
{
	for (unsigned i = 0; i < k->device_count; i++)
		k->disks[i]->written = false;
}

static const char *last_error(int code)
{
	static char text[512];

	return err_text(err_get(), code, 0, text, sizeof(text));
}

static void expect_refused(struct craft_core *k, int want, const char *because)
{
	forget_writes(k);
	for (int read_only = 0; read_only < 2; read_only++) {
		int ret = import_paths(k, "/disk0", k->device_count > 1 ? "/disk1" : NULL, read_only);

		assert_int_equal(ret, want);
		if (!strstr(last_error(ret), because))
			fail_msg("'%s' does not say '%s'", last_error(ret), because);
	}
	assert_false(craft_core_written(k));
}

/* A few commits by a pool that is imported and exported again. */
static void use_for_a_while(struct craft_core *k, unsigned commits)
{
	struct vfs_handle *h;

	assert_int_equal(craft_import(k, false), 0);
	assert_int_equal(vfs_open(k->vfs, "/tank/b", true, &h), 0);
	for (unsigned i = 0; i < commits; i++) {
		assert_int_equal(craft_write(h, 0, 77 + i, WFS3_BLOCK_BYTES), 0);
		assert_int_equal(vfs_flush(h, 0), 0);
	}
	vfs_close(h);
	assert_int_equal(k->admin.driver->pool_export(k->admin.ctx, "tank", false), 0);
}

static void test_truncated_devices_are_refused(void **state)
{
	static const uint64_t sizes[] = { WFS3_POOL_BYTES_MIN - WFS3_LABEL_BYTES, WFS3_POOL_BYTES_MIN / 2,
		                          2 * WFS3_LABEL_BYTES, WFS3_LABEL_BYTES };
	struct craft_core k;

	(void)state;
	craft_core_new(&k, 2);
	for (unsigned device = 0; device < 2; device++)
		for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			k.disks[device]->dev.caps.size_bytes = sizes[i];
			expect_refused(&k, sizes[i] < 2 * WFS3_LABEL_BYTES ? -EMEDIUMTYPE : -EUCLEAN,
			               device ? "disk1" : "disk0");
			k.disks[device]->dev.caps.size_bytes = WFS3_POOL_BYTES_MIN;
		}
	assert_int_equal(craft_import(&k, false), 0);
	craft_core_free(&k);
}

static void test_devices_may_be_given_in_any_order(void **state)
{
	struct craft_core k;

	(void)state;
	craft_core_new(&k, 2);
	assert_int_equal(import_paths(&k, "/disk1", "/disk0", false), 0);
	craft_use_pool(&k);
	assert_int_equal(k.admin.driver->pool_export(k.admin.ctx, "tank", false), 0);
	assert_int_equal(craft_import(&k, false), 0);
	craft_core_free(&k);
}

static void test_a_device_from_an_older_time_is_refused(void **state)
{
	struct craft_core k;

	(void)state;
	for (unsigned old = 0; old < 2; old++) {
		craft_core_new(&k, 2);
		use_for_a_while(&k, 3);
		craft_disk_save(k.disks[!old]);
		craft_disk_reset(k.disks[old]);
		expect_refused(&k, -EUCLEAN, old ? "disk1 is from an older time" : "disk0 is from an older time");
		craft_core_free(&k);
	}
}

static void test_a_device_whose_newest_roots_are_damaged_is_not_taken_for_old(void **state)
{
	struct craft_core k;
	struct craft c;

	(void)state;
	craft_core_new(&k, 2);
	use_for_a_while(&k, 3);
	c = craft_of(&k);
	assert_true(craft_open(&c));
	for (unsigned back = 0; back < 2; back++)
		for (uint64_t txg = c.root_txg - 2; txg <= c.root_txg; txg++)
			craft_root_slot(&c, 1, back, txg)[100] ^= 1;
	assert_int_equal(craft_import(&k, false), 0);
	craft_core_free(&k);
}

static void test_a_damaged_root_slot_cannot_claim_any_txg(void **state)
{
	struct craft_core k;
	struct craft c;

	(void)state;
	craft_core_new(&k, 1);
	c = craft_of(&k);
	assert_true(craft_open(&c));
	craft_root_slot(&c, 0, false, c.root_txg - 3)[40 + 5] = 0x7f;
	assert_int_equal(craft_import(&k, false), 0);
	craft_use_pool(&k);
	craft_core_free(&k);
}

static void test_two_pools_of_one_name_are_not_imported_together_nor_mixed(void **state)
{
	struct pool_create_args args = { .name = "tank", .devices = &craft_paths[1], .device_count = 1 };
	struct craft_core k;

	(void)state;
	craft_core_new(&k, 1);
	k.device_count = 2;
	k.disks[1] = craft_disk_new("/disk1", WFS3_POOL_BYTES_MIN);
	assert_int_equal(k.admin.driver->pool_create(k.admin.ctx, &args), 0);
	k.disks[0]->written = false;
	assert_int_equal(import_paths(&k, "/disk0", NULL, false), -EEXIST);
	assert_false(k.disks[0]->written);
	assert_int_equal(k.admin.driver->pool_export(k.admin.ctx, "tank", false), 0);
	expect_refused(&k, -EINVAL, "belongs to pool");
	assert_int_equal(import_paths(&k, "/disk0", NULL, false), 0);
	craft_core_free(&k);
}

/* Which root is the newest is a matter of txgs alone. */
static void test_a_clock_that_went_back_changes_nothing(void **state)
{
	struct craft_core k;
	struct craft c;
	struct vfs_stat before, after;
	struct vfs_handle *h;

	(void)state;
	craft_core_new(&k, 1);
	c = craft_of(&k);
	assert_true(craft_open(&c));
	put_le64(c.root + 48, UINT64_C(4000000000) * SYNC_NS_PER_S);
	craft_reseal(&c, false);
	assert_int_equal(craft_import(&k, false), 0);
	assert_int_equal(vfs_open(k.vfs, "/tank/b", true, &h), 0);
	assert_int_equal(vfs_stat(h, &before), 0);
	assert_int_equal(craft_write(h, 0, 5, WFS3_BLOCK_BYTES), 0);
	assert_int_equal(vfs_flush(h, 0), 0);
	vfs_close(h);
	assert_int_equal(k.admin.driver->pool_export(k.admin.ctx, "tank", false), 0);
	assert_int_equal(craft_import(&k, false), 0);
	assert_int_equal(vfs_open(k.vfs, "/tank/b", true, &h), 0);
	assert_int_equal(vfs_stat(h, &after), 0);
	assert_true(after.change > before.change);
	vfs_close(h);
	craft_core_free(&k);
}

static uint8_t first_byte(struct craft_core *k, const char *path, uint64_t offset)
{
	uint8_t byte = 0;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct vfs_handle *h;

	assert_int_equal(vfs_open(k->vfs, path, false, &h), 0);
	assert_int_equal(vfs_read(h, &iov, 1, offset, 0), 0);
	vfs_close(h);
	return byte;
}

/* What craft_write() begins with. */
static uint8_t byte_of_seed(uint64_t seed)
{
	return (uint8_t)(seed * 0x9e3779b1u >> 24);
}

static uint8_t *log_area(struct craft_core *k, size_t *ret_len)
{
	struct craft c = craft_of(k);

	assert_true(craft_open(&c));
	*ret_len = c.labels[0].layout.log_bytes;
	return c.images[0] + c.labels[0].layout.log_offset;
}

static void test_a_log_of_another_pool_is_not_replayed(void **state)
{
	struct craft_core k, other;
	uint8_t *log, *other_log;
	size_t len, other_len;

	(void)state;
	craft_core_make(&k, 1, CRAFT_WITH_LOG);
	craft_core_make(&other, 1, CRAFT_WITH_LOG);
	log = log_area(&k, &len);
	other_log = log_area(&other, &other_len);
	assert_int_equal(len, other_len);
	assert_int_equal(craft_import(&k, false), 0);
	assert_int_equal(first_byte(&k, "/tank/a", 3 * WFS3_CELL_BYTES), byte_of_seed(5000));
	assert_int_equal(k.admin.driver->pool_export(k.admin.ctx, "tank", false), 0);
	craft_core_reset(&k);
	memcpy(log, other_log, len);
	assert_int_equal(craft_import(&k, false), 0);
	assert_int_equal(first_byte(&k, "/tank/a", 3 * WFS3_CELL_BYTES), byte_of_seed(3));
	craft_core_free(&other);
	craft_core_free(&k);
}

static void test_a_log_from_an_older_time_is_not_replayed(void **state)
{
	struct craft_core k;
	struct vfs_handle *h;
	uint8_t *log, *old;
	size_t len;

	(void)state;
	craft_core_make(&k, 1, CRAFT_WITH_LOG);
	log = log_area(&k, &len);
	old = malloc(len);
	assert_non_null(old);
	memcpy(old, log, len);
	assert_int_equal(craft_import(&k, false), 0);
	assert_int_equal(vfs_open(k.vfs, "/tank/a", true, &h), 0);
	assert_int_equal(craft_write(h, 3 * WFS3_CELL_BYTES, 7000, WFS3_BLOCK_BYTES), 0);
	vfs_close(h);
	assert_int_equal(k.admin.driver->pool_export(k.admin.ctx, "tank", false), 0);
	memcpy(log, old, len);
	free(old);
	assert_int_equal(craft_import(&k, false), 0);
	assert_int_equal(first_byte(&k, "/tank/a", 3 * WFS3_CELL_BYTES), byte_of_seed(7000));
	craft_core_free(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_truncated_devices_are_refused),
		cmocka_unit_test(test_devices_may_be_given_in_any_order),
		cmocka_unit_test(test_a_device_from_an_older_time_is_refused),
		cmocka_unit_test(test_a_device_whose_newest_roots_are_damaged_is_not_taken_for_old),
		cmocka_unit_test(test_a_damaged_root_slot_cannot_claim_any_txg),
		cmocka_unit_test(test_two_pools_of_one_name_are_not_imported_together_nor_mixed),
		cmocka_unit_test(test_a_log_of_another_pool_is_not_replayed),
		cmocka_unit_test(test_a_log_from_an_older_time_is_not_replayed),
		cmocka_unit_test(test_a_clock_that_went_back_changes_nothing),
	};

	log_set_level((enum log_level)0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
