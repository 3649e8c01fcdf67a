/* SPDX-License-Identifier: BSD-3-Clause */
/* What the cache promises to a file system with a log: what goes there, what stays dirty, what must be written back. */
#include "core/base/assert.h"
#include "core/cache/cache_priv.h"
#include "tests/unit/core/cache/store.h"

/* The log of a test: which version (first byte) of a page it has last, 0 none. */
struct test_log {
	struct store store; /* first: it is the ops' ctx */
	uint8_t version[4096];
	unsigned calls;
	unsigned pages;
	int error;
	bool closed;
	bool waiting;
};

static void log_pages(void *ctx, struct cache_page *pages, unsigned count)
{
	struct test_log *l = ctx;

	sync_mutex_lock(&l->store.lock);
	l->calls++;
	l->waiting = true;
	sync_cond_broadcast(&l->store.cond);
	while (l->closed)
		sync_cond_wait(&l->store.cond, &l->store.lock);
	l->waiting = false;
	for (unsigned i = 0; i < count; i++) {
		if (crc32c(pages[i].data, PAGE) != pages[i].crc)
			l->store.crc_wrong = true;
		pages[i].result = l->error;
		if (!l->error) {
			l->version[pages[i].index] = *(const uint8_t *)pages[i].data;
			l->pages++;
		}
	}
	sync_mutex_unlock(&l->store.lock);
}

static const struct cache_file_ops log_ops = { .fill = store_fill, .writeback = store_writeback, .log = log_pages };

struct log_rig {
	struct test_log log;
	struct budget *budget;
	struct cache *cache;
	struct cache_file *file;
};

static void setup(struct log_rig *r)
{
	struct cache_config config = { .min_bytes = 4 * MIB,
		                       .dirty_max_bytes = 4 * MIB,
		                       .dirty_background_bytes = 3 * MIB,
		                       .writeback_age_ms = 3600 * 1000,
		                       .writeback_threads = 1 };

	memset(r, 0, sizeof(*r));
	store_init(&r->log.store, 4096);
	r->budget = budget_new(16 * MIB);
	config.budget = r->budget;
	assert_int_equal(cache_new(&config, &r->cache), 0);
	assert_int_equal(cache_file_new(r->cache, &log_ops, &r->log, 4096 * PAGE, &r->file), 0);
}

static void teardown(struct log_rig *r)
{
	cache_file_free(r->file);
	cache_free(r->cache);
	budget_free(r->budget);
	store_done(&r->log.store);
}

static void put(struct log_rig *r, uint64_t page, uint8_t version)
{
	uint8_t buf[PAGE];
	struct iovec iov = { .iov_base = buf, .iov_len = PAGE };

	memset(buf, version, PAGE);
	assert_int_equal(cache_write(r->file, page * PAGE, &iov, 1, 0), 0);
}

static int flush_log(struct log_rig *r)
{
	return cache_flush_log(r->file, 0, UINT64_MAX);
}

static void test_few_pages_go_to_the_log_once_and_stay_dirty(void **state)
{
	struct log_rig r;

	(void)state;
	setup(&r);
	put(&r, 5, 1);
	put(&r, 1000, 1);
	assert_int_equal(flush_log(&r), 0);
	assert_int_equal(r.log.version[5], 1);
	assert_int_equal(r.log.version[1000], 1);
	assert_int_equal(r.log.store.writebacks, 0);
	assert_int_equal(cache_file_dirty_bytes(r.file), 2 * PAGE);
	/* Nothing new: nothing to log. */
	assert_int_equal(flush_log(&r), 0);
	assert_int_equal(r.log.pages, 2);
	/* Only what was written again. */
	put(&r, 5, 2);
	assert_int_equal(flush_log(&r), 0);
	assert_int_equal(r.log.version[5], 2);
	assert_int_equal(r.log.pages, 3);
	/* A range: its own pages only. */
	put(&r, 6, 1);
	put(&r, 7, 1);
	assert_int_equal(cache_flush_log(r.file, 7 * PAGE, PAGE), 0);
	assert_int_equal(r.log.version[6], 0);
	assert_int_equal(r.log.version[7], 1);
	assert_int_equal(cache_flush(r.file, 0, UINT64_MAX), 0);
	assert_int_equal(cache_file_dirty_bytes(r.file), 0);
	assert_int_equal(r.log.store.data[5 * PAGE], 2);
	teardown(&r);
}

static void test_many_pages_are_written_back_instead(void **state)
{
	struct log_rig r;

	(void)state;
	setup(&r);
	for (unsigned i = 0; i < 300; i++)
		put(&r, i * 3, 1);
	assert_int_equal(flush_log(&r), 0);
	assert_int_equal(r.log.pages, 0);
	assert_int_equal(cache_file_dirty_bytes(r.file), 0);
	for (unsigned i = 0; i < 300; i++)
		assert_int_equal(r.log.store.data[(size_t)i * 3 * PAGE], 1);
	teardown(&r);
}

static void test_kept_pages_are_written_back_others_not(void **state)
{
	struct log_rig r;

	(void)state;
	setup(&r);
	put(&r, 5, 1);
	put(&r, 6, 1);
	assert_int_equal(flush_log(&r), 0);
	put(&r, 6, 2); /* newer than the log's: must be written back all the same */
	put(&r, 7, 1); /* unknown to the log */
	assert_int_equal(cache_flush_kept(r.file), 0);
	assert_int_equal(r.log.store.data[5 * PAGE], 1);
	assert_int_equal(r.log.store.data[6 * PAGE], 2);
	assert_false(r.log.store.mapped[7]);
	assert_int_equal(cache_file_dirty_bytes(r.file), PAGE);
	assert_int_equal(cache_flush_kept(r.file), 0);
	assert_int_equal(r.log.store.writebacks, 1);
	teardown(&r);
}

static void test_kept_page_stays_kept_when_its_writeback_fails(void **state)
{
	struct log_rig r;

	(void)state;
	setup(&r);
	put(&r, 5, 1);
	assert_int_equal(flush_log(&r), 0);
	store_set(&r.log.store, false, false, 0, -EIO);
	assert_int_equal(cache_flush_kept(r.file), -EIO);
	assert_int_equal(cache_file_dirty_bytes(r.file), PAGE);
	store_set(&r.log.store, false, false, 0, 0);
	assert_int_equal(cache_flush_kept(r.file), 0);
	assert_int_equal(r.log.store.data[5 * PAGE], 1);
	assert_int_equal(cache_file_dirty_bytes(r.file), 0);
	teardown(&r);
}

static void test_failing_log_is_reported_and_the_page_is_logged_later(void **state)
{
	struct log_rig r;

	(void)state;
	setup(&r);
	put(&r, 5, 1);
	r.log.error = -ENOSPC;
	assert_int_equal(flush_log(&r), -ENOSPC);
	r.log.error = 0;
	assert_int_equal(flush_log(&r), 0);
	assert_int_equal(r.log.version[5], 1);
	assert_int_equal(cache_file_dirty_bytes(r.file), PAGE);
	teardown(&r);
}

static void test_dropped_pages_are_forgotten(void **state)
{
	struct log_rig r;

	(void)state;
	setup(&r);
	put(&r, 5, 1);
	assert_int_equal(flush_log(&r), 0);
	assert_int_equal(cache_punch_begin(r.file, 5 * PAGE, PAGE, 0), 0);
	cache_punch_end(r.file, 5 * PAGE, PAGE, false);
	assert_int_equal(cache_flush_kept(r.file), 0);
	assert_int_equal(r.log.store.writebacks, 0);
	put(&r, 5, 3);
	assert_int_equal(cache_flush_kept(r.file), 0);
	assert_int_equal(r.log.store.writebacks, 0);
	assert_int_equal(flush_log(&r), 0);
	assert_int_equal(r.log.version[5], 3);
	teardown(&r);
}

struct flush_kept {
	struct log_rig *rig;
	struct sync_thread thread;
	bool punched; /* atomic */
};

static void flush_kept_thread(void *arg)
{
	struct flush_kept *t = arg;

	always(cache_flush_kept(t->rig->file) == 0);
	always(__atomic_load_n(&t->punched, __ATOMIC_ACQUIRE));
}

/* Whoever gives up a part of the log relies on it. */
static void test_flush_of_kept_pages_waits_for_a_punch(void **state)
{
	struct log_rig r;
	struct flush_kept t = { .rig = &r };

	(void)state;
	setup(&r);
	put(&r, 5, 1);
	put(&r, 100, 1);
	assert_int_equal(flush_log(&r), 0);
	assert_int_equal(cache_punch_begin(r.file, 5 * PAGE, PAGE, 0), 0);
	assert_int_equal(sync_thread_start(&t.thread, "flusher", flush_kept_thread, &t), 0);
	/* Its other page is written back; time enough to end too early. */
	while (cache_is_dirty(r.file, 100 * PAGE, PAGE))
		put(&r, 4000, 1);
	for (unsigned i = 0; i < 10000; i++)
		put(&r, 4000, 1);
	__atomic_store_n(&t.punched, true, __ATOMIC_RELEASE);
	cache_punch_end(r.file, 5 * PAGE, PAGE, false);
	sync_thread_join(&t.thread);
	assert_int_equal(r.log.store.data[100 * PAGE], 1);
	assert_false(r.log.store.mapped[5]);
	teardown(&r);
}

static void test_logged_page_is_logged_again_after_a_failed_punch(void **state)
{
	struct log_rig r;

	(void)state;
	setup(&r);
	put(&r, 5, 1);
	assert_int_equal(flush_log(&r), 0);
	assert_int_equal(cache_punch_begin(r.file, 5 * PAGE, PAGE, 0), 0);
	cache_punch_end(r.file, 5 * PAGE, PAGE, true);
	r.log.version[5] = 0;
	assert_int_equal(flush_log(&r), 0);
	assert_int_equal(r.log.version[5], 1);
	teardown(&r);
}

static void flush_log_thread(void *arg)
{
	struct log_rig *r = arg;

	always(cache_flush_log(r->file, 0, UINT64_MAX) == 0);
}

static void test_page_written_while_it_is_logged_is_logged_again(void **state)
{
	struct log_rig r;
	struct sync_thread t;

	(void)state;
	setup(&r);
	put(&r, 5, 1);
	r.log.closed = true;
	assert_int_equal(sync_thread_start(&t, "flusher", flush_log_thread, &r), 0);
	sync_mutex_lock(&r.log.store.lock);
	while (!r.log.waiting)
		sync_cond_wait(&r.log.store.cond, &r.log.store.lock);
	sync_mutex_unlock(&r.log.store.lock);
	put(&r, 5, 2);
	sync_mutex_lock(&r.log.store.lock);
	r.log.closed = false;
	sync_cond_broadcast(&r.log.store.cond);
	sync_mutex_unlock(&r.log.store.lock);
	sync_thread_join(&t);
	assert_int_equal(flush_log(&r), 0);
	assert_int_equal(r.log.version[5], 2);
	assert_int_equal(cache_flush_kept(r.file), 0);
	assert_int_equal(r.log.store.data[5 * PAGE], 2);
	assert_int_equal(cache_file_dirty_bytes(r.file), 0);
	teardown(&r);
}

static void flush_log_of_5(void *arg)
{
	struct log_rig *r = arg;

	always(cache_flush_log(r->file, 5 * PAGE, PAGE) == 0);
}

static void flush_5(void *arg)
{
	struct log_rig *r = arg;

	always(cache_flush(r->file, 5 * PAGE, PAGE) == 0);
}

/* It has found nothing to take, and the page is in the other flusher's hands. */
static void wait_for_second_flusher(struct cache_file *f)
{
	bool there = false;

	while (!there) {
		sync_mutex_lock(&f->lock);
		there = f->batch_seq >= 2 && f->batches.next->next == &f->batches;
		sync_mutex_unlock(&f->lock);
		sync_sleep_ns(1000);
	}
}

static void test_flush_writes_back_a_page_that_somebody_else_was_logging(void **state)
{
	struct sync_thread logger, flusher;
	struct log_rig r;

	(void)state;
	setup(&r);
	put(&r, 5, 1);
	/* It keeps their chunk in the list of what is dirty. */
	put(&r, 6, 1);
	r.log.closed = true;
	assert_int_equal(sync_thread_start(&logger, "logger", flush_log_of_5, &r), 0);
	sync_mutex_lock(&r.log.store.lock);
	while (!r.log.waiting)
		sync_cond_wait(&r.log.store.cond, &r.log.store.lock);
	sync_mutex_unlock(&r.log.store.lock);
	assert_int_equal(sync_thread_start(&flusher, "flusher", flush_5, &r), 0);
	wait_for_second_flusher(r.file);
	sync_mutex_lock(&r.log.store.lock);
	r.log.closed = false;
	sync_cond_broadcast(&r.log.store.cond);
	sync_mutex_unlock(&r.log.store.lock);
	sync_thread_join(&logger);
	sync_thread_join(&flusher);
	assert_int_equal(r.log.store.data[5 * PAGE], 1);
	assert_int_equal(cache_file_dirty_bytes(r.file), PAGE);
	teardown(&r);
}

static void test_when_too_many_pages_cannot_be_written_back_the_rest_is_not_tried(void **state)
{
	uint64_t pages[4];
	struct log_rig r;
	unsigned count;

	(void)state;
	setup(&r);
	for (unsigned i = 0; i < 20; i++)
		put(&r, i * 50, 1);
	assert_int_equal(flush_log(&r), 0);
	store_set(&r.log.store, false, false, 0, -EIO);
	r.log.store.writebacks = 0;
	assert_int_equal(cache_flush_kept_all(r.file, pages, 4, &count), -E2BIG);
	assert_int_equal(r.log.store.writebacks, 5);
	store_set(&r.log.store, false, false, 0, 0);
	teardown(&r);
}

static void test_pages_that_cannot_be_written_back_are_named_and_not_in_the_way_of_others(void **state)
{
	uint64_t pages[2];
	uint8_t buf[PAGE];
	struct log_rig r;
	unsigned count = 9;
	uint32_t crc;

	(void)state;
	setup(&r);
	for (unsigned i = 0; i < 20; i++)
		put(&r, i * 50, 1);
	assert_int_equal(flush_log(&r), 0);
	put(&r, 3, 1);
	store_set(&r.log.store, false, false, 0, -EIO);
	r.log.store.writeback_error_page = 400;
	assert_int_equal(cache_flush_kept_all(r.file, pages, 0, &count), -E2BIG);
	assert_int_equal(cache_flush_kept_all(r.file, pages, 2, &count), 0);
	assert_int_equal(count, 1);
	assert_int_equal(pages[0], 400);
	/* It, and what no log has. */
	assert_int_equal(cache_file_dirty_bytes(r.file), 2 * PAGE);
	put(&r, 400, 2);
	assert_int_equal(cache_copy_kept(r.file, 400, buf, &crc), 0);
	assert_int_equal(buf[0], 2);
	assert_int_equal(crc, crc32c(buf, PAGE));
	assert_int_equal(cache_copy_kept(r.file, 3, buf, &crc), -ENOENT);
	assert_int_equal(cache_copy_kept(r.file, 4000, buf, &crc), -ENOENT);
	assert_int_equal(cache_punch_begin(r.file, 400 * PAGE, PAGE, 0), 0);
	assert_int_equal(cache_copy_kept(r.file, 400, buf, &crc), -EAGAIN);
	cache_punch_end(r.file, 400 * PAGE, PAGE, true);
	store_set(&r.log.store, false, false, 0, 0);
	assert_int_equal(cache_flush_kept_all(r.file, pages, 0, &count), 0);
	assert_int_equal(count, 0);
	assert_int_equal(cache_copy_kept(r.file, 400, buf, &crc), -ENOENT);
	teardown(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_few_pages_go_to_the_log_once_and_stay_dirty),
		cmocka_unit_test(test_many_pages_are_written_back_instead),
		cmocka_unit_test(test_kept_pages_are_written_back_others_not),
		cmocka_unit_test(test_kept_page_stays_kept_when_its_writeback_fails),
		cmocka_unit_test(test_failing_log_is_reported_and_the_page_is_logged_later),
		cmocka_unit_test(test_dropped_pages_are_forgotten),
		cmocka_unit_test(test_flush_of_kept_pages_waits_for_a_punch),
		cmocka_unit_test(test_logged_page_is_logged_again_after_a_failed_punch),
		cmocka_unit_test(test_page_written_while_it_is_logged_is_logged_again),
		cmocka_unit_test(test_flush_writes_back_a_page_that_somebody_else_was_logging),
		cmocka_unit_test(test_when_too_many_pages_cannot_be_written_back_the_rest_is_not_tried),
		cmocka_unit_test(test_pages_that_cannot_be_written_back_are_named_and_not_in_the_way_of_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
