/* SPDX-License-Identifier: BSD-3-Clause */
/* What the cache promises about what is dirty: write-back, flush, failures, the dirty limit, punching. */
#include "tests/unit/core/cache/store.h"

struct flusher_thread {
	struct rig *rig;
	struct sync_thread thread;
	int rc;
};

static void flush_everything(void *arg)
{
	struct flusher_thread *t = arg;

	t->rc = cache_flush(t->rig->file, 0, UINT64_MAX);
}

static void test_write_during_writeback_stays_dirty_and_leaves_the_batch_alone(void **state)
{
	struct rig r;
	struct flusher_thread t = { .rig = &r };
	uint8_t *buf = filled(1, PAGE);

	(void)state;
	rig_init(&r, 8 * MIB, 64, NULL);
	assert_int_equal(rig_write(&r, 0, buf, PAGE, 0), 0);
	store_set(&r.store, false, true, 0, 0);
	assert_int_equal(sync_thread_start(&t.thread, "flusher", flush_everything, &t), 0);
	store_await(&r.store, 0, 1);
	memset(buf, 2, PAGE);
	assert_int_equal(rig_write(&r, 0, buf, PAGE, CACHE_NOWAIT), 0);
	assert_int_equal(rig_write(&r, 10, buf, 10, CACHE_NOWAIT), 0);
	store_set(&r.store, false, false, 0, 0);
	sync_thread_join(&t.thread);
	assert_int_equal(t.rc, 0);
	assert_bytes(r.store.data, 1, PAGE);
	assert_true(cache_is_dirty(r.file, 0, PAGE));
	assert_false(cache_is_dirty(r.file, PAGE, UINT64_MAX));
	assert_int_equal(cache_flush(r.file, 0, PAGE), 0);
	assert_bytes(r.store.data, 2, PAGE);
	assert_false(cache_is_dirty(r.file, 0, UINT64_MAX));
	rig_done(&r);
	free(buf);
}

static void test_flush_waits_for_what_another_flush_has_in_hand(void **state)
{
	struct rig r;
	struct flusher_thread a = { .rig = &r };
	struct flusher_thread b = { .rig = &r };
	uint8_t *buf = filled(1, PAGE);

	(void)state;
	rig_init(&r, 8 * MIB, 64, NULL);
	assert_int_equal(rig_write(&r, 0, buf, PAGE, 0), 0);
	store_set(&r.store, false, true, 0, 0);
	assert_int_equal(sync_thread_start(&a.thread, "a", flush_everything, &a), 0);
	store_await(&r.store, 0, 1);
	/* The page in hand is rewritten before b comes: b has to see it written twice. */
	memset(buf, 2, PAGE);
	assert_int_equal(rig_write(&r, 0, buf, PAGE, 0), 0);
	assert_int_equal(sync_thread_start(&b.thread, "b", flush_everything, &b), 0);
	store_set(&r.store, false, false, 0, 0);
	sync_thread_join(&b.thread);
	assert_int_equal(b.rc, 0);
	assert_bytes(r.store.data, 2, PAGE);
	sync_thread_join(&a.thread);
	assert_int_equal(r.store.writebacks, 2);
	rig_done(&r);
	free(buf);
}

static void test_failing_writeback_keeps_pages_dirty_and_flush_reports_it(void **state)
{
	struct rig r;
	uint8_t *buf = filled(3, 8 * PAGE);

	(void)state;
	rig_init(&r, 8 * MIB, 64, NULL);
	assert_int_equal(rig_write(&r, 0, buf, 8 * PAGE, 0), 0);
	store_set(&r.store, false, false, 0, -ENOSPC);
	r.store.writeback_error_page = 5;
	assert_int_equal(cache_flush(r.file, 0, UINT64_MAX), -ENOSPC);
	assert_true(cache_is_dirty(r.file, 5 * PAGE, PAGE));
	assert_false(cache_is_dirty(r.file, 0, 5 * PAGE));
	assert_int_equal(cache_flush(r.file, 0, UINT64_MAX), -ENOSPC);
	assert_int_equal(cache_flush(r.file, 0, 5 * PAGE), 0);
	store_set(&r.store, false, false, 0, 0);
	assert_int_equal(cache_flush(r.file, 0, UINT64_MAX), 0);
	assert_memory_equal(r.store.data, buf, 8 * PAGE);
	rig_done(&r);
	free(buf);
}

static void test_flush_of_a_range_leaves_the_rest_dirty(void **state)
{
	struct rig r;
	uint8_t *buf = filled(3, MIB);

	(void)state;
	rig_init(&r, 16 * MIB, 256, NULL);
	assert_int_equal(rig_write(&r, 0, buf, MIB, 0), 0);
	assert_int_equal(cache_flush(r.file, 100 * PAGE + 5, 1), 0);
	assert_int_equal(stats_of(&r).writebacks, 1);
	assert_false(cache_is_dirty(r.file, 100 * PAGE, PAGE));
	assert_true(cache_is_dirty(r.file, 99 * PAGE, PAGE));
	assert_true(cache_is_dirty(r.file, 101 * PAGE, PAGE));
	rig_done(&r);
	free(buf);
}

static void test_aged_page_is_written_back_without_a_flush(void **state)
{
	struct cache_config cfg = rig_config(8 * MIB);
	struct rig r;
	uint8_t *buf = filled(3, PAGE);

	(void)state;
	cfg.writeback_age_ms = 5;
	rig_init(&r, 8 * MIB, 64, &cfg);
	store_set(&r.store, false, true, 0, 0);
	assert_int_equal(rig_write(&r, 0, buf, PAGE, 0), 0);
	store_await(&r.store, 0, 1);
	assert_true(cache_is_dirty(r.file, 0, PAGE));
	assert_int_equal(stats_of(&r).writeback_bytes, PAGE);
	store_set(&r.store, false, false, 0, 0);
	assert_int_equal(cache_flush(r.file, 0, UINT64_MAX), 0);
	assert_int_equal(r.store.writebacks, 1);
	rig_done(&r);
	free(buf);
}

struct writer {
	struct rig *rig;
	struct sync_thread thread;
	uint64_t first, count; /* pages */
	int rc;
};

static void write_pages(void *arg)
{
	struct writer *t = arg;
	uint8_t buf[PAGE];

	for (uint64_t i = 0; i < t->count && !t->rc; i++) {
		memset(buf, (int)((t->first + i) & 0xff), PAGE);
		t->rc = rig_write(t->rig, (t->first + i) * PAGE, buf, PAGE, 0);
	}
}

/* Asked once or more: -ETIMEDOUT the third time. */
static int lose_patience(void *ctx)
{
	unsigned *asked = ctx;

	return ++*asked == 3 ? -ETIMEDOUT : 0;
}

static void test_writers_wait_at_the_dirty_limit(void **state)
{
	struct cache_config cfg = rig_config(8 * MIB);
	struct rig r;
	struct writer t = { .rig = &r, .count = 300 };
	uint8_t buf[PAGE] = { 0 };
	uint64_t pace_ns = 0;
	unsigned asked = 0;

	(void)state;
	cfg.dirty_max_bytes = MIB;
	cfg.dirty_background_bytes = 512 * KIB;
	rig_init(&r, 8 * MIB, 512, &cfg);
	store_set(&r.store, false, true, 0, 0);
	assert_int_equal(sync_thread_start(&t.thread, "writer", write_pages, &t), 0);
	while (stats_of(&r).throttled == 0)
		sync_sleep_ns(SYNC_NS_PER_MS);
	assert_int_equal(stats_of(&r).dirty_bytes + stats_of(&r).writeback_bytes, MIB);
	assert_int_equal(rig_write(&r, 400 * PAGE, buf, PAGE, CACHE_NOWAIT), -EAGAIN);
	assert_int_equal(rig_write(&r, 400 * PAGE, buf, PAGE, CACHE_MAKES_ROOM), 0);
	assert_int_equal(stats_of(&r).dirty_bytes + stats_of(&r).writeback_bytes, MIB + PAGE);
	/* Without a file, too, as long as the caller likes. */
	assert_int_equal(cache_wait_room(r.cache, &pace_ns, 1, lose_patience, &asked), -ETIMEDOUT);
	assert_int_equal(asked, 3);
	store_set(&r.store, false, false, 0, 0);
	sync_thread_join(&t.thread);
	assert_int_equal(cache_wait_room(r.cache, &pace_ns, 1, lose_patience, &asked), 0);
	assert_int_equal(t.rc, 0);
	assert_int_equal(cache_flush(r.file, 0, UINT64_MAX), 0);
	for (unsigned i = 0; i < 300; i++)
		assert_int_equal(r.store.data[i * PAGE], i & 0xff);
	rig_done(&r);
}

static void test_writers_at_the_limit_learn_that_writeback_fails(void **state)
{
	struct cache_config cfg = rig_config(8 * MIB);
	struct rig r;
	struct writer t = { .rig = &r, .count = 300 };

	(void)state;
	cfg.dirty_max_bytes = MIB;
	cfg.dirty_background_bytes = 512 * KIB;
	rig_init(&r, 8 * MIB, 512, &cfg);
	store_set(&r.store, false, false, 0, -EROFS);
	write_pages(&t);
	assert_int_equal(t.rc, -EROFS);
	rig_done(&r);
}

static void test_punch_drops_dirty_pages_at_its_end_and_makes_writers_wait(void **state)
{
	struct rig r;
	struct writer t = { .rig = &r, .first = 3, .count = 1 };
	uint8_t *buf = filled(6, 8 * PAGE);

	(void)state;
	rig_init(&r, 8 * MIB, 64, NULL);
	assert_int_equal(rig_write(&r, 0, buf, 8 * PAGE, 0), 0);
	assert_int_equal(cache_punch_begin(r.file, 2 * PAGE, 4 * PAGE, 0), 0);
	assert_int_equal(cache_file_dirty_bytes(r.file), 8 * PAGE);
	assert_int_equal(rig_write(&r, 2 * PAGE, buf, PAGE, CACHE_NOWAIT), -EAGAIN);
	assert_int_equal(rig_read(&r, 5 * PAGE, buf, PAGE, CACHE_NOWAIT), 0);
	assert_int_equal(cache_punch_begin(r.file, 5 * PAGE, 2 * PAGE, CACHE_NOWAIT), -EAGAIN);
	assert_int_equal(rig_write(&r, 6 * PAGE, buf, PAGE, CACHE_NOWAIT), 0);
	assert_int_equal(cache_flush(r.file, 0, 2 * PAGE), 0);
	assert_int_equal(cache_flush(r.file, 6 * PAGE, UINT64_MAX), 0);
	assert_int_equal(cache_file_dirty_bytes(r.file), 4 * PAGE);
	assert_int_equal(sync_thread_start(&t.thread, "writer", write_pages, &t), 0);
	cache_punch_end(r.file, 2 * PAGE, 4 * PAGE, false);
	sync_thread_join(&t.thread);
	assert_int_equal(t.rc, 0);
	assert_int_equal(rig_read(&r, 2 * PAGE, buf, 2 * PAGE, 0), 0);
	assert_bytes(buf, 0, PAGE);
	assert_bytes(buf + PAGE, 3, PAGE);
	rig_done(&r);
	free(buf);
}

static void test_punch_that_failed_keeps_what_is_dirty(void **state)
{
	struct rig r;
	uint8_t *buf = filled(6, 4 * PAGE);

	(void)state;
	rig_init(&r, 8 * MIB, 64, NULL);
	assert_int_equal(rig_write(&r, 0, buf, 4 * PAGE, 0), 0);
	assert_int_equal(cache_flush(r.file, 0, UINT64_MAX), 0);
	assert_int_equal(rig_write(&r, PAGE, buf, PAGE, 0), 0);
	assert_int_equal(cache_punch_begin(r.file, 0, 4 * PAGE, 0), 0);
	cache_punch_end(r.file, 0, 4 * PAGE, true);
	assert_int_equal(rig_read(&r, 0, buf, PAGE, CACHE_NOWAIT), -EAGAIN);
	assert_int_equal(rig_read(&r, PAGE, buf, PAGE, CACHE_NOWAIT), 0);
	assert_true(cache_is_dirty(r.file, PAGE, PAGE));
	rig_done(&r);
	free(buf);
}

static void test_punch_without_waiting_during_writeback_changes_nothing(void **state)
{
	struct rig r;
	struct flusher_thread t = { .rig = &r };
	uint8_t *buf = filled(6, 8 * PAGE);

	(void)state;
	rig_init(&r, 8 * MIB, 64, NULL);
	assert_int_equal(rig_write(&r, 0, buf, PAGE, 0), 0);
	store_set(&r.store, false, true, 0, 0);
	assert_int_equal(sync_thread_start(&t.thread, "flusher", flush_everything, &t), 0);
	store_await(&r.store, 0, 1);
	assert_int_equal(rig_write(&r, PAGE, buf, PAGE, 0), 0);
	assert_int_equal(cache_punch_begin(r.file, 0, 8 * PAGE, CACHE_NOWAIT), -EAGAIN);
	assert_true(cache_is_dirty(r.file, PAGE, PAGE));
	store_set(&r.store, false, false, 0, 0);
	sync_thread_join(&t.thread);
	assert_int_equal(cache_flush(r.file, 0, UINT64_MAX), 0);
	assert_memory_equal(r.store.data, buf, 2 * PAGE);
	rig_done(&r);
	free(buf);
}

static void test_punch_of_a_huge_range_visits_only_what_is_there(void **state)
{
	struct rig r;
	uint8_t *buf = filled(6, PAGE);

	(void)state;
	rig_init(&r, 8 * MIB, 64, NULL);
	assert_int_equal(rig_write(&r, UINT64_C(1) << 40, buf, PAGE, 0), 0);
	assert_int_equal(rig_write(&r, 0, buf, PAGE, 0), 0);
	assert_int_equal(cache_punch_begin(r.file, PAGE, UINT64_C(1) << 59, 0), 0);
	cache_punch_end(r.file, PAGE, UINT64_C(1) << 59, false);
	assert_true(cache_is_dirty(r.file, 0, PAGE));
	assert_false(cache_is_dirty(r.file, PAGE, UINT64_MAX));
	rig_done(&r);
	free(buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_write_during_writeback_stays_dirty_and_leaves_the_batch_alone),
		cmocka_unit_test(test_flush_waits_for_what_another_flush_has_in_hand),
		cmocka_unit_test(test_failing_writeback_keeps_pages_dirty_and_flush_reports_it),
		cmocka_unit_test(test_flush_of_a_range_leaves_the_rest_dirty),
		cmocka_unit_test(test_aged_page_is_written_back_without_a_flush),
		cmocka_unit_test(test_writers_wait_at_the_dirty_limit),
		cmocka_unit_test(test_writers_at_the_limit_learn_that_writeback_fails),
		cmocka_unit_test(test_punch_drops_dirty_pages_at_its_end_and_makes_writers_wait),
		cmocka_unit_test(test_punch_that_failed_keeps_what_is_dirty),
		cmocka_unit_test(test_punch_without_waiting_during_writeback_changes_nothing),
		cmocka_unit_test(test_punch_of_a_huge_range_visits_only_what_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
