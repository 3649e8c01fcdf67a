/* SPDX-License-Identifier: BSD-3-Clause */
/* Pools on mirrors: repair, devices that fail, are missing, come back, are old, or went their own way; attach, detach,
 * replace. */
#include "core/fs/wfs3/check.h"
#include "core/fs/wfs3/label.h"
#include "core/fs/wfs3/space_codec.h"
#include "tests/unit/core/fs/wfs3/pool_fixture.h"

#define VOL (16 * MIB)
#define DEVICE (64 * MIB)

static int create_mirrors(struct fixture *f, unsigned device_count, unsigned width)
{
	unsigned groups[FIXTURE_DEVICES];
	struct pool_create_args args = {
		.name = "tank", .devices = fixture_paths, .device_count = device_count, .groups = groups
	};

	for (unsigned i = 0; i < FIXTURE_DEVICES; i++)
		groups[i] = i / width;
	return f->admin.driver->pool_create(f->admin.ctx, &args);
}

static int import_these(struct fixture *f, const char *a, const char *b, const char *c, bool read_only)
{
	const char *paths[] = { a, b, c };
	char *name = NULL;
	int ret = f->admin.driver->pool_import(f->admin.ctx, paths, c ? 3 : b ? 2 : 1, read_only, &name);

	free(name);
	return ret;
}

static struct vfs_handle *open_vol(struct fixture *f)
{
	struct vfs_handle *h = NULL;

	assert_ok(vfs_open(f->vfs, "/tank/vm1", true, &h));
	return h;
}

/* Block @n holds pattern @n + @generation. */
static void put_blocks(struct vfs_handle *h, uint64_t from, uint64_t to, uint64_t generation)
{
	uint8_t *buf = malloc(4096);

	for (uint64_t n = from; n < to; n++) {
		pattern(buf, 4096, n + generation);
		assert_ok(write_at(h, n * 4096, buf, 4096, 0));
	}
	free(buf);
}

static void expect_blocks(struct vfs_handle *h, uint64_t from, uint64_t to, uint64_t generation)
{
	uint8_t *want = malloc(4096), *got = malloc(4096);

	for (uint64_t n = from; n < to; n++) {
		pattern(want, 4096, n + generation);
		assert_ok(read_at(h, n * 4096, got, 4096));
		assert_memory_equal(got, want, 4096);
	}
	free(want);
	free(got);
}

static void start(struct fixture *f, unsigned devices, unsigned width, struct vfs_handle **ret)
{
	fixture_init(f, devices, DEVICE);
	log_set_level((enum log_level)0);
	assert_ok(create_mirrors(f, devices, width));
	assert_ok(volume_create(f, "vm1", VOL));
	*ret = open_vol(f);
	put_blocks(*ret, 0, 1024, 0);
	assert_ok(vfs_flush(*ret, 0));
}

static void wait_until_whole(struct fixture *f)
{
	while (pool_info(f, "tank").health == POOL_HEALTH_DEGRADED)
		sync_sleep_ns(SYNC_NS_PER_MS);
	assert_int_equal(pool_info(f, "tank").health, POOL_HEALTH_ONLINE);
}

static void export_pool(struct fixture *f, struct vfs_handle *h)
{
	vfs_close(h);
	assert_ok(pool_export(f, "tank", false));
}

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

static void test_old_half_does_not_stand_in_for_its_group(void **state)
{
	struct fixture f;
	struct vfs_handle *h;
	int ret;

	(void)state;
	start(&f, 4, 2, &h);
	export_pool(&f, h);
	assert_ok(import_these(&f, "sim0", "sim2", "sim3", false));
	h = open_vol(&f);
	put_blocks(h, 0, 500, 5);
	export_pool(&f, h);
	ret = import_these(&f, "sim1", "sim2", "sim3", false);
	assert_int_equal(ret, -ENODEV);
	assert_non_null(strstr(last_error(ret), "sim1 is from an older time"));
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
		cmocka_unit_test(test_state_that_one_device_lost_is_taken_from_the_other_and_repaired),
		cmocka_unit_test(test_read_only_import_repairs_nothing),
		cmocka_unit_test(test_bitmaps_of_a_lost_group_on_one_device_are_never_used),
		cmocka_unit_test(test_old_half_does_not_stand_in_for_its_group),
		cmocka_unit_test(test_copy_from_an_older_time_with_the_same_labels_is_not_used),
		cmocka_unit_test(test_attach_makes_a_mirror_of_a_single_device),
		cmocka_unit_test(test_crash_while_a_device_is_filled),
		cmocka_unit_test(test_replaced_device_leaves_when_the_new_one_is_whole),
		cmocka_unit_test(test_device_is_brought_back_by_hand),
		cmocka_unit_test(test_when_the_last_device_fails_the_pool_is_read_only_and_says_why),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
