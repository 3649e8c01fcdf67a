/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of pools in use: no false findings while others write, commit and delete, and true ones of what is damaged. */
#include "tests/unit/core/fs/wfs3/check_fixture.h"

static struct pool_check_report wait_for_check(struct fixture *f)
{
	struct pool_check_report r;

	for (;;) {
		assert_ok(f->admin.driver->pool_check_get(f->admin.ctx, "tank", &r));
		if (r.state != POOL_CHECK_RUNNING)
			return r;
		pool_check_report_done(&r);
		sync_sleep_ns(SYNC_NS_PER_MS);
	}
}

static struct pool_check_report check_online(struct fixture *f)
{
	assert_ok(f->admin.driver->pool_check(f->admin.ctx, "tank", true));
	return wait_for_check(f);
}

static void test_idle_pool_is_clean(void **state)
{
	struct fixture f;
	struct pool_check_report r;

	(void)state;
	fixture_init(&f, 2, 64 * MIB);
	assert_ok(pool_create(&f, "tank", 2));
	assert_ok(f.admin.driver->pool_check_get(f.admin.ctx, "tank", &r));
	assert_int_equal(r.state, POOL_CHECK_NEVER);
	pool_check_report_done(&r);
	assert_int_equal(f.admin.driver->pool_check(f.admin.ctx, "none", true), -ENOENT);
	assert_ok(volume_create(&f, "vm1", 16 * MIB));
	put(&f, "/tank/vm1", 0, MIB, 5);
	r = check_online(&f);
	print_findings(&r);
	assert_int_equal(r.state, POOL_CHECK_DONE);
	assert_true(r.online);
	assert_int_equal(r.damage_count + r.note_count, 0);
	assert_int_equal(r.done_blocks, r.total_blocks);
	assert_int_equal(r.read_block_count, 256);
	pool_check_report_done(&r);
	fixture_done(&f);
}

struct writer {
	struct fixture *f;
	uint64_t seed;
	bool stop; /* atomic */
};

static uint64_t next(struct writer *w)
{
	w->seed = w->seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return w->seed >> 24;
}

static void write_all_the_time(void *arg)
{
	struct writer *w = arg;
	uint8_t *buf = malloc(64 << 10);
	struct vfs_handle *h = NULL;

	assert_ok(vfs_open(w->f->vfs, "/tank/vm1", true, &h));
	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
		uint64_t r = next(w);
		size_t len = 4096 * (size_t)(1 + r % 16);

		pattern(buf, len, r);
		if (r % 10 == 0)
			assert_ok(vfs_discard(h, r / 16 % 3000 * 4096, len, 0));
		else
			assert_ok(write_at(h, r / 16 % 3000 * 4096, buf, len, 0));
		if (r % 7 == 0)
			assert_ok(vfs_flush(h, 0));
		if (r % 50 == 0)
			assert_ok(w->f->admin.driver->pool_sync(w->f->admin.ctx, "tank"));
		if (r % 61 == 0) {
			assert_ok(volume_create(w->f, "short", 4 * MIB));
			put(w->f, "/tank/short", 0, 64 << 10, r);
			assert_ok(w->f->admin.driver->volume_delete(w->f->admin.ctx, "tank", "short"));
		}
	}
	vfs_close(h);
	free(buf);
	blk_thread_done();
}

static void test_pool_that_is_written_to_has_no_findings(void **state)
{
	struct fixture f;
	struct writer w = { .f = &f, .seed = 99 };
	struct sync_thread thread;
	uint64_t first_txg = 0, last_txg = 0;

	(void)state;
	fixture_init(&f, 2, 96 * MIB);
	assert_ok(pool_create(&f, "tank", 2));
	assert_ok(volume_create(&f, "vm1", 16 * MIB));
	assert_ok(sync_thread_start(&thread, "writer", write_all_the_time, &w));
	for (unsigned i = 0; i < 40; i++) {
		struct pool_check_report r = check_online(&f);

		print_findings(&r);
		assert_int_equal(r.state, POOL_CHECK_DONE);
		assert_int_equal(r.damage_count + r.note_count, 0);
		assert_int_equal(r.done_blocks, r.total_blocks);
		assert_false(r.partial);
		last_txg = r.txg;
		first_txg = first_txg ? first_txg : r.txg;
		pool_check_report_done(&r);
	}
	assert_true(last_txg > first_txg + 40);
	__atomic_store_n(&w.stop, true, __ATOMIC_RELAXED);
	sync_thread_join(&thread);
	fixture_done(&f);
}

static void test_damage_is_found_while_the_pool_is_in_use(void **state)
{
	struct fixture f;
	struct pool_check_report r;
	uint8_t want[4096], got[4096], byte = 0;
	uint64_t at;

	(void)state;
	fixture_init(&f, 1, 64 * MIB);
	assert_ok(pool_create(&f, "tank", 1));
	assert_ok(volume_create(&f, "vm1", 16 * MIB));
	put(&f, "/tank/vm1", MIB, 4096, 77);
	assert_ok(f.admin.driver->pool_sync(f.admin.ctx, "tank"));
	pattern(want, sizeof(want), 77);
	/* In a region: the log holds it, too. */
	for (at = 60 * MIB; at > 5 * MIB; at -= 4096) {
		blk_sim_peek(f.devs[0], at, got, sizeof(got));
		if (!memcmp(want, got, sizeof(got)))
			break;
	}
	blk_sim_poke(f.devs[0], at + 5, &byte, 1);
	r = check_online(&f);
	assert_int_equal(r.damage_count, 1);
	assert_int_equal(r.findings[0].kind, POOL_FINDING_DATA_CRC);
	assert_int_equal(r.findings[0].offset, MIB);
	assert_int_equal(r.findings[0].device_offset, at);
	pool_check_report_done(&r);
	fixture_done(&f);
}

static void test_damaged_label_is_found_while_the_pool_is_in_use(void **state)
{
	static const uint64_t offsets[] = { 4096 + 48, 63 * MIB + 4096 + 48 };
	struct fixture f;

	(void)state;
	fixture_init(&f, 1, 64 * MIB);
	assert_ok(pool_create(&f, "tank", 1));
	for (unsigned i = 0; i < 2; i++) {
		struct pool_check_report r;

		flip(&f, offsets[i]);
		r = check_online(&f);
		flip(&f, offsets[i]);
		assert_int_equal(r.damage_count, 1);
		assert_int_equal(r.findings[0].kind, POOL_FINDING_LABEL);
		pool_check_report_done(&r);
	}
	fixture_done(&f);
}

static void test_damaged_ring_is_found_while_the_pool_is_in_use(void **state)
{
	struct fixture f;
	struct forge g;
	struct pool_check_report r;

	(void)state;
	fixture_init(&f, 1, 64 * MIB);
	assert_ok(pool_create(&f, "tank", 1));
	assert_ok(volume_create(&f, "vm1", 16 * MIB));
	for (unsigned i = 0; i < 30; i++)
		put(&f, "/tank/vm1", i * 4096, 4096, i);
	assert_ok(f.admin.driver->pool_sync(f.admin.ctx, "tank"));
	forge_open(&g, f.devs[0]);
	flip(&f, g.label.layout.ring_offset + g.root.space.ring_tail % g.label.layout.ring_bytes + 50);
	r = check_online(&f);
	assert_int_equal(r.damage_count, 1);
	assert_int_equal(r.findings[0].kind, POOL_FINDING_RING);
	pool_check_report_done(&r);
	forge_close(&g);
	fixture_done(&f);
}

static void test_check_ends_when_the_pool_is_closed(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, 1, 64 * MIB);
	assert_ok(pool_create(&f, "tank", 1));
	assert_ok(volume_create(&f, "vm1", 16 * MIB));
	put(&f, "/tank/vm1", 0, 8 * MIB, 3);
	for (unsigned i = 0; i < 20; i++) {
		assert_ok(f.admin.driver->pool_check(f.admin.ctx, "tank", true));
		if (i % 2)
			assert_ok(f.admin.driver->pool_check_stop(f.admin.ctx, "tank"));
		assert_ok(pool_export(&f, "tank", false));
		assert_ok(pool_import(&f, 1));
	}
	fixture_done(&f);
}

static void test_read_only_pool_can_be_checked(void **state)
{
	struct fixture f;
	struct pool_check_report r;
	char *name = NULL;

	(void)state;
	fixture_init(&f, 1, 64 * MIB);
	assert_ok(pool_create(&f, "tank", 1));
	assert_ok(volume_create(&f, "vm1", 16 * MIB));
	put(&f, "/tank/vm1", 0, MIB, 3);
	assert_ok(pool_export(&f, "tank", false));
	assert_ok(f.admin.driver->pool_import(f.admin.ctx, fixture_paths, 1, true, &name));
	free(name);
	r = check_online(&f);
	print_findings(&r);
	assert_int_equal(r.damage_count + r.note_count, 0);
	assert_int_equal(r.done_blocks, r.total_blocks);
	pool_check_report_done(&r);
	fixture_done(&f);
}

static void test_failed_pool_can_be_checked_but_for_its_allocation(void **state)
{
	struct fixture f;
	struct blk_sim_faults faults = { .fail_nth = { -1, 0, 0, -1, -1 }, .fail_from_nth = true };
	struct pool_check_report r;

	(void)state;
	fixture_init(&f, 1, 64 * MIB);
	assert_ok(pool_create(&f, "tank", 1));
	assert_ok(volume_create(&f, "vm1", 16 * MIB));
	put(&f, "/tank/vm1", 0, MIB, 3);
	assert_ok(f.admin.driver->pool_sync(f.admin.ctx, "tank"));
	log_set_level((enum log_level)0);
	blk_sim_set_faults(f.devs[0], &faults);
	assert_int_not_equal(volume_create(&f, "vm2", 16 * MIB), 0);
	blk_sim_set_faults(f.devs[0], NULL);
	assert_int_equal(pool_info(&f, "tank").health, POOL_HEALTH_READ_ONLY);
	r = check_online(&f);
	assert_int_equal(r.state, POOL_CHECK_DONE);
	assert_int_equal(r.damage_count, 0);
	assert_int_equal(r.kind_counts[POOL_FINDING_ALLOCATION], 1);
	assert_true(r.partial);
	assert_int_equal(r.read_block_count, 256);
	pool_check_report_done(&r);
	fixture_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle_pool_is_clean),
		cmocka_unit_test(test_pool_that_is_written_to_has_no_findings),
		cmocka_unit_test(test_damage_is_found_while_the_pool_is_in_use),
		cmocka_unit_test(test_damaged_label_is_found_while_the_pool_is_in_use),
		cmocka_unit_test(test_damaged_ring_is_found_while_the_pool_is_in_use),
		cmocka_unit_test(test_check_ends_when_the_pool_is_closed),
		cmocka_unit_test(test_read_only_pool_can_be_checked),
		cmocka_unit_test(test_failed_pool_can_be_checked_but_for_its_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
