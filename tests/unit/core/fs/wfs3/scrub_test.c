/* SPDX-License-Identifier: BSD-3-Clause */
/* Scrubs: their verbs, what they find, their schedule, and that they go on after a restart. */
#include "tests/unit/core/fs/wfs3/check_fixture.h"

#define FAST (UINT64_C(1) << 40)

static int change(struct fixture *f, enum pool_scrub_verb verb)
{
	return f->admin.driver->pool_scrub(f->admin.ctx, "tank", verb);
}

static struct pool_scrub_info wait_for_state(struct fixture *f, enum pool_scrub_state state)
{
	for (;;) {
		struct pool_info info = pool_info(f, "tank");

		if (info.scrub.state == state)
			return info.scrub;
		sync_sleep_ns(SYNC_NS_PER_MS);
	}
}

static struct pool_check_report report(struct fixture *f)
{
	struct pool_check_report r;

	assert_ok(f->admin.driver->pool_scrub_get(f->admin.ctx, "tank", &r));
	return r;
}

/* A pool in use, with 4 MiB of data in vm1. */
static void begin(struct fixture *f, uint64_t rate_bytes)
{
	fixture_init(f, 1, 128 * MIB);
	fixture_stop(f);
	f->scrub_rate_bytes = rate_bytes;
	fixture_start(f);
	assert_ok(pool_create(f, "tank", 1));
	assert_ok(volume_create(f, "vm1", VOL));
	put(f, "/tank/vm1", 0, 2 * MIB, 1);
	put(f, "/tank/vm1", 20 * MIB, 2 * MIB, 2);
	assert_ok(f->admin.driver->pool_sync(f->admin.ctx, "tank"));
}

static void test_scrub_reads_everything_and_finishes(void **state)
{
	struct fixture f;
	struct pool_scrub_info info;
	struct pool_check_report r;

	(void)state;
	begin(&f, FAST);
	info = pool_info(&f, "tank").scrub;
	assert_int_equal(info.state, POOL_SCRUB_NEVER);
	assert_int_equal(change(&f, POOL_SCRUB_PAUSE), -EINVAL);
	assert_int_equal(change(&f, POOL_SCRUB_STOP), -EINVAL);
	assert_ok(change(&f, POOL_SCRUB_START));
	info = wait_for_state(&f, POOL_SCRUB_FINISHED);
	assert_int_equal(info.done_bytes, 4 * MIB);
	assert_int_equal(info.total_bytes, 4 * MIB);
	assert_int_equal(info.damage_count, 0);
	assert_true(info.ended_ns >= info.started_ns && info.started_ns);
	r = report(&f);
	assert_int_equal(r.state, POOL_CHECK_DONE);
	assert_int_equal(r.damage_count + r.note_count, 0);
	pool_check_report_done(&r);
	/* It is in the pool. */
	assert_ok(pool_export(&f, "tank", false));
	expect_clean(&f, 1);
	assert_ok(pool_import(&f, 1));
	info = pool_info(&f, "tank").scrub;
	assert_int_equal(info.state, POOL_SCRUB_FINISHED);
	assert_int_equal(info.done_bytes, 4 * MIB);
	/* And again. */
	assert_ok(change(&f, POOL_SCRUB_START));
	wait_for_state(&f, POOL_SCRUB_FINISHED);
	fixture_done(&f);
}

static void test_scrub_counts_and_lists_what_is_damaged(void **state)
{
	struct fixture f;
	struct pool_scrub_info info;
	struct pool_check_report r;
	uint8_t want[4096], got[4096];
	uint64_t at;

	(void)state;
	begin(&f, FAST);
	pattern(want, sizeof(want), 2);
	for (at = 126 * MIB; at > 8 * MIB; at -= 4096) {
		blk_sim_peek(f.devs[0], at, got, sizeof(got));
		if (!memcmp(want, got, sizeof(got)))
			break;
	}
	flip(&f, at + 7);
	assert_ok(change(&f, POOL_SCRUB_START));
	info = wait_for_state(&f, POOL_SCRUB_FINISHED);
	assert_int_equal(info.damage_count, 1);
	assert_int_equal(info.repaired_count, 0);
	r = report(&f);
	assert_int_equal(r.finding_count, 1);
	assert_int_equal(r.findings[0].kind, POOL_FINDING_DATA_CRC);
	assert_int_equal(r.findings[0].offset, 20 * MIB);
	assert_int_equal(r.findings[0].device_offset, at);
	assert_false(r.findings[0].repaired);
	pool_check_report_done(&r);
	fixture_done(&f);
}

static void test_scrub_can_be_paused_and_stopped(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, 4096);
	assert_ok(change(&f, POOL_SCRUB_START));
	assert_int_equal(pool_info(&f, "tank").scrub.state, POOL_SCRUB_RUNNING);
	assert_ok(change(&f, POOL_SCRUB_PAUSE));
	assert_int_equal(pool_info(&f, "tank").scrub.state, POOL_SCRUB_PAUSED);
	assert_int_equal(change(&f, POOL_SCRUB_PAUSE), -EINVAL);
	assert_ok(pool_export(&f, "tank", false));
	assert_ok(pool_import(&f, 1));
	assert_int_equal(pool_info(&f, "tank").scrub.state, POOL_SCRUB_PAUSED);
	assert_ok(change(&f, POOL_SCRUB_START));
	assert_int_equal(pool_info(&f, "tank").scrub.state, POOL_SCRUB_RUNNING);
	assert_ok(change(&f, POOL_SCRUB_STOP));
	assert_int_equal(pool_info(&f, "tank").scrub.state, POOL_SCRUB_STOPPED);
	assert_true(pool_info(&f, "tank").scrub.ended_ns);
	fixture_done(&f);
}

/* With 1 MiB/s a part has 2 MiB. */
static void test_scrub_goes_on_where_it_was_after_a_restart(void **state)
{
	struct fixture f;
	struct pool_scrub_info info;

	(void)state;
	begin(&f, MIB);
	assert_ok(change(&f, POOL_SCRUB_START));
	do {
		info = pool_info(&f, "tank").scrub;
		assert_int_equal(info.state, POOL_SCRUB_RUNNING);
		sync_sleep_ns(SYNC_NS_PER_MS);
	} while (info.done_bytes <= 2 * MIB);
	assert_ok(pool_export(&f, "tank", false));
	fixture_stop(&f);
	f.scrub_rate_bytes = 4096;
	fixture_start(&f);
	assert_ok(pool_import(&f, 1));
	info = pool_info(&f, "tank").scrub;
	assert_int_equal(info.state, POOL_SCRUB_RUNNING);
	assert_in_range(info.done_bytes, 2 * MIB, 4 * MIB - 1);
	assert_ok(pool_export(&f, "tank", false));
	fixture_stop(&f);
	f.scrub_rate_bytes = FAST;
	fixture_start(&f);
	assert_ok(pool_import(&f, 1));
	info = wait_for_state(&f, POOL_SCRUB_FINISHED);
	/* Nothing was read twice, nothing left out. */
	assert_int_equal(info.done_bytes, 4 * MIB);
	fixture_done(&f);
}

static void test_scrub_begins_by_its_schedule(void **state)
{
	struct fixture f;
	uint64_t created_ns;

	(void)state;
	begin(&f, FAST);
	created_ns = sync_wall_ns();
	assert_ok(pool_export(&f, "tank", false));
	fixture_stop(&f);
	f.scrub_interval_s = 1;
	fixture_start(&f);
	while (sync_wall_ns() - created_ns < SYNC_NS_PER_S)
		sync_sleep_ns(SYNC_NS_PER_MS);
	assert_ok(pool_import(&f, 1));
	assert_int_equal(wait_for_state(&f, POOL_SCRUB_FINISHED).done_bytes, 4 * MIB);
	fixture_done(&f);
}

static void test_scrub_while_others_write_finds_nothing(void **state)
{
	struct fixture f;
	uint64_t seed = 5;
	uint8_t *buf = malloc(64 << 10);
	struct vfs_handle *h = NULL;

	(void)state;
	begin(&f, FAST);
	assert_ok(vfs_open(f.vfs, "/tank/vm1", true, &h));
	for (unsigned round = 0; round < 10; round++) {
		assert_ok(change(&f, POOL_SCRUB_START));
		for (unsigned i = 0; i < 100; i++) {
			seed = seed * UINT64_C(6364136223846793005) + 1;
			pattern(buf, 64 << 10, seed);
			assert_ok(write_at(h, (seed >> 40) % 5000 * 4096, buf, 4096 * (1 + (seed >> 30) % 16), 0));
			if (i % 20 == 0)
				assert_ok(f.admin.driver->pool_sync(f.admin.ctx, "tank"));
		}
		assert_int_equal(wait_for_state(&f, POOL_SCRUB_FINISHED).damage_count, 0);
	}
	vfs_close(h);
	free(buf);
	fixture_done(&f);
}

static void test_scrub_of_a_read_only_pool_is_refused(void **state)
{
	struct fixture f;
	char *name = NULL;

	(void)state;
	begin(&f, FAST);
	assert_ok(pool_export(&f, "tank", false));
	assert_ok(f.admin.driver->pool_import(f.admin.ctx, fixture_paths, 1, true, &name));
	free(name);
	assert_int_equal(change(&f, POOL_SCRUB_START), -EROFS);
	fixture_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scrub_reads_everything_and_finishes),
		cmocka_unit_test(test_scrub_counts_and_lists_what_is_damaged),
		cmocka_unit_test(test_scrub_can_be_paused_and_stopped),
		cmocka_unit_test(test_scrub_goes_on_where_it_was_after_a_restart),
		cmocka_unit_test(test_scrub_begins_by_its_schedule),
		cmocka_unit_test(test_scrub_while_others_write_finds_nothing),
		cmocka_unit_test(test_scrub_of_a_read_only_pool_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
