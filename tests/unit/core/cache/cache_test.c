/* SPDX-License-Identifier: BSD-3-Clause */
/* What the cache promises to readers: holes, fills, no waiting, references, eviction, read-ahead, statistics. */
#include "tests/unit/core/cache/store.h"

#include "core/base/metrics.h"

static void test_new_with_bad_limits_returns_einval(void **state)
{
	struct budget *b = budget_new(8 * MIB);
	struct cache_config cfg = rig_config(8 * MIB);
	struct cache *c;

	(void)state;
	cfg.budget = b;
	cfg.dirty_max_bytes = 5 * MIB;
	assert_int_equal(cache_new(&cfg, &c), -EINVAL);
	cfg = rig_config(8 * MIB);
	cfg.budget = b;
	cfg.writeback_threads = 0;
	assert_int_equal(cache_new(&cfg, &c), -EINVAL);
	budget_free(b);
}

static void test_hole_reads_as_zeros_and_costs_no_page(void **state)
{
	struct rig r;
	uint8_t *buf = filled(1, MIB);

	(void)state;
	rig_init(&r, 8 * MIB, 4096, NULL);
	assert_int_equal(rig_read(&r, 0, buf, MIB, 0), 0);
	assert_bytes(buf, 0, MIB);
	assert_true(stats_of(&r).resident_bytes < 32 * CACHE_PAGE_BYTES);
	/* A write into a hole gets a page of its own. */
	buf[0] = 7;
	assert_int_equal(rig_write(&r, 100, buf, 1, 0), 0);
	assert_int_equal(rig_read(&r, 99, buf, 3, 0), 0);
	assert_int_equal(buf[0], 0);
	assert_int_equal(buf[1], 7);
	assert_int_equal(buf[2], 0);
	rig_done(&r);
	free(buf);
}

static void test_large_read_is_few_large_fills(void **state)
{
	struct rig r;
	uint8_t *buf = filled(0, 2 * MIB);

	(void)state;
	rig_init(&r, 64 * MIB, 1024, NULL);
	store_stamp(&r.store);
	assert_int_equal(rig_read(&r, 0, buf, 2 * MIB, 0), 0);
	assert_memory_equal(buf, r.store.data, 2 * MIB);
	assert_int_equal(r.store.fills, 2);
	assert_int_equal(r.store.fill_pages_max, CACHE_FILL_PAGES_MAX);
	assert_int_equal(stats_of(&r).misses, 512);
	assert_int_equal(rig_read(&r, 0, buf, 2 * MIB, CACHE_NOWAIT), 0);
	assert_int_equal(stats_of(&r).hits, 512);
	assert_int_equal(r.store.fills, 2);
	rig_done(&r);
	free(buf);
}

static void test_whole_page_write_does_not_fill(void **state)
{
	struct rig r;
	uint8_t *buf = filled(5, 64 * KIB);

	(void)state;
	rig_init(&r, 8 * MIB, 64, NULL);
	assert_int_equal(rig_write(&r, 4096, buf, 64 * KIB, CACHE_NOWAIT), 0);
	assert_int_equal(r.store.fills, 0);
	assert_int_equal(rig_write(&r, 100, buf, 10, CACHE_NOWAIT), -EAGAIN);
	assert_int_equal(rig_write(&r, 100, buf, 10, 0), 0);
	assert_int_equal(r.store.fills, 1);
	assert_int_equal(cache_file_dirty_bytes(r.file), 64 * KIB + 4096);
	rig_done(&r);
	free(buf);
}

static void test_failing_fill_is_reported_and_leaves_nothing(void **state)
{
	struct rig r;
	uint8_t *buf = filled(0, 8192);

	(void)state;
	rig_init(&r, 8 * MIB, 64, NULL);
	store_stamp(&r.store);
	store_set(&r.store, false, false, -EUCLEAN, 0);
	assert_int_equal(rig_read(&r, 0, buf, 8192, 0), -EUCLEAN);
	assert_int_equal(rig_write(&r, 10, buf, 100, 0), -EUCLEAN);
	assert_false(cache_is_dirty(r.file, 0, UINT64_MAX));
	store_set(&r.store, false, false, 0, 0);
	assert_int_equal(rig_read(&r, 0, buf, 8192, 0), 0);
	assert_memory_equal(buf, r.store.data, 8192);
	rig_done(&r);
	free(buf);
}

struct reader {
	struct rig *rig;
	struct sync_thread thread;
	uint8_t buf[PAGE];
	int rc;
};

static void read_first_page(void *arg)
{
	struct reader *t = arg;

	t->rc = rig_read(t->rig, 0, t->buf, PAGE, 0);
}

static void test_nowait_while_another_fills_returns_eagain(void **state)
{
	struct rig r;
	struct reader t = { .rig = &r };
	uint8_t buf[PAGE];

	(void)state;
	rig_init(&r, 8 * MIB, 64, NULL);
	store_stamp(&r.store);
	store_set(&r.store, true, false, 0, 0);
	assert_int_equal(rig_read(&r, 0, buf, PAGE, CACHE_NOWAIT), -EAGAIN);
	assert_int_equal(r.store.fills, 0);
	assert_int_equal(sync_thread_start(&t.thread, "reader", read_first_page, &t), 0);
	store_await(&r.store, 1, 0);
	assert_int_equal(rig_read(&r, 0, buf, PAGE, CACHE_NOWAIT), -EAGAIN);
	assert_int_equal(rig_write(&r, 1, buf, 1, CACHE_NOWAIT), -EAGAIN);
	assert_int_equal(cache_punch_begin(r.file, 0, PAGE, CACHE_NOWAIT), -EAGAIN);
	store_set(&r.store, false, false, 0, 0);
	sync_thread_join(&t.thread);
	assert_int_equal(t.rc, 0);
	assert_memory_equal(t.buf, r.store.data, PAGE);
	assert_int_equal(rig_read(&r, 0, buf, PAGE, CACHE_NOWAIT), 0);
	rig_done(&r);
}

static void test_write_of_a_page_being_filled_wins(void **state)
{
	struct rig r;
	struct reader t = { .rig = &r };
	uint8_t buf[PAGE];

	(void)state;
	rig_init(&r, 8 * MIB, 64, NULL);
	store_stamp(&r.store);
	store_set(&r.store, true, false, 0, 0);
	assert_int_equal(sync_thread_start(&t.thread, "reader", read_first_page, &t), 0);
	store_await(&r.store, 1, 0);
	memset(buf, 0xee, PAGE);
	assert_int_equal(rig_write(&r, 0, buf, PAGE, CACHE_NOWAIT), 0);
	store_set(&r.store, false, false, 0, 0);
	sync_thread_join(&t.thread);
	assert_int_equal(t.rc, 0);
	assert_int_equal(rig_read(&r, 0, buf, PAGE, CACHE_NOWAIT), 0);
	assert_bytes(buf, 0xee, PAGE);
	rig_done(&r);
}

static void test_reference_stays_as_it_was_while_pages_are_overwritten_and_dropped(void **state)
{
	static struct cache_ref ref;
	struct rig r;
	uint8_t *buf = filled(9, 64 * KIB);

	(void)state;
	rig_init(&r, 8 * MIB, 64, NULL);
	store_stamp(&r.store);
	assert_int_equal(cache_read_ref(r.file, 1000, 20000, CACHE_NOWAIT, &ref), -EAGAIN);
	assert_int_equal(cache_read_ref(r.file, 1000, 20000, 0, &ref), 0);
	assert_int_equal(rig_write(&r, 0, buf, 64 * KIB, 0), 0);
	assert_int_equal(cache_punch_begin(r.file, 0, 64 * KIB, 0), 0);
	cache_punch_end(r.file, 0, 64 * KIB, false);
	for (int i = 0, at = 1000; i < ref.iov_count; at += (int)ref.iov[i++].iov_len)
		assert_memory_equal(ref.iov[i].iov_base, r.store.data + at, ref.iov[i].iov_len);
	cache_ref_release(&ref);
	assert_int_equal(cache_read_ref(r.file, 0, (CACHE_REF_PAGES_MAX + 1) * (size_t)PAGE, 0, &ref), -EINVAL);
	rig_done(&r);
	free(buf);
}

static void test_everything_beyond_the_budget_is_evicted_and_the_budget_holds(void **state)
{
	struct rig r;
	uint8_t buf[PAGE];
	uint64_t want;

	(void)state;
	rig_init(&r, 2 * MIB, 4096, NULL);
	store_stamp(&r.store);
	for (uint64_t i = 0; i < 4096; i++) {
		assert_int_equal(rig_read(&r, i * PAGE, buf, PAGE, 0), 0);
		memcpy(&want, buf, sizeof(want));
		assert_int_equal(want, i);
		assert_true(budget_used(r.budget) <= 2 * MIB);
	}
	assert_true(stats_of(&r).evictions > 3000);
	assert_true(stats_of(&r).resident_bytes > 1536 * KIB);
	rig_done(&r);
}

static void test_what_is_used_again_survives_a_scan(void **state)
{
	struct rig r;
	uint8_t *buf = filled(0, 64 * KIB);
	uint64_t misses;

	(void)state;
	rig_init(&r, 16 * MIB, 32768, NULL);
	store_stamp(&r.store);
	for (unsigned round = 0; round < 3; round++) {
		for (uint64_t at = 0; at < 2 * MIB; at += 64 * KIB)
			assert_int_equal(rig_read(&r, at, buf, 64 * KIB, 0), 0);
	}
	for (uint64_t at = 2 * MIB; at < 128 * MIB; at += 64 * KIB)
		assert_int_equal(rig_read(&r, at, buf, 64 * KIB, 0), 0);
	misses = stats_of(&r).misses;
	for (uint64_t at = 0; at < 2 * MIB; at += 64 * KIB)
		assert_int_equal(rig_read(&r, at, buf, 64 * KIB, 0), 0);
	assert_int_equal(stats_of(&r).misses, misses);
	rig_done(&r);
	free(buf);
}

static void test_cache_gives_way_to_other_consumers(void **state)
{
	struct rig r;
	struct budget_consumer *other;
	uint8_t *buf = filled(0, MIB);

	(void)state;
	rig_init(&r, 8 * MIB, 4096, NULL);
	store_stamp(&r.store);
	for (uint64_t at = 0; at < 16 * MIB; at += MIB)
		assert_int_equal(rig_read(&r, at, buf, MIB, 0), 0);
	assert_true(budget_used(r.budget) > 7 * MIB);
	other = budget_join(r.budget, "other", 0, NULL, NULL);
	assert_true(budget_try_charge(other, 6 * MIB));
	assert_true(budget_used(r.budget) <= 8 * MIB);
	assert_int_equal(rig_read(&r, 0, buf, MIB, 0), 0);
	assert_memory_equal(buf, r.store.data, MIB);
	assert_true(budget_used(r.budget) <= 8 * MIB);
	budget_uncharge(other, 6 * MIB);
	budget_leave(other);
	rig_done(&r);
	free(buf);
}

static void test_clean_pages_of_a_failing_file_still_make_room_for_reads(void **state)
{
	struct cache_config cfg = rig_config(2 * MIB);
	struct rig r;
	uint8_t *buf = filled(4, 64 * KIB);

	(void)state;
	cfg.dirty_background_bytes = MIB;
	rig_init(&r, 2 * MIB, 4096, &cfg);
	store_stamp(&r.store);
	store_set(&r.store, false, false, 0, -EIO);
	/* One dirty page in every chunk: no chunk as a whole can leave. */
	for (uint64_t at = 0; at < 16 * MIB; at += 64 * KIB)
		assert_int_equal(rig_write(&r, at, buf, PAGE, 0), 0);
	for (uint64_t at = 0; at < 16 * MIB; at += 64 * KIB) {
		assert_int_equal(rig_read(&r, at, buf, 64 * KIB, 0), 0);
		assert_bytes(buf, 4, PAGE);
		assert_memory_equal(buf + PAGE, r.store.data + at + PAGE, 15 * PAGE);
	}
	rig_done(&r);
	free(buf);
}

static void test_sequential_reader_is_read_ahead_of(void **state)
{
	struct cache_config cfg = rig_config(64 * MIB);
	struct rig r;
	uint8_t *buf = filled(0, 64 * KIB);
	struct cache_stats st;

	(void)state;
	cfg.readahead_max_bytes = MIB;
	rig_init(&r, 64 * MIB, 4096, &cfg);
	store_stamp(&r.store);
	for (uint64_t at = 0; at < 16 * MIB; at += 64 * KIB) {
		assert_int_equal(rig_read(&r, at, buf, 64 * KIB, 0), 0);
		assert_memory_equal(buf, r.store.data + at, 64 * KIB);
		/* Let the background have its say: the window that was asked for arrives. */
		while (at == 2 * MIB && stats_of(&r).readahead_pages < 64)
			sync_sleep_ns(SYNC_NS_PER_MS);
	}
	st = stats_of(&r);
	assert_true(st.readahead_pages > 64);
	assert_true(st.readahead_pages <= 4096);
	assert_int_equal(st.hits + st.misses, 4096);
	rig_done(&r);
	free(buf);
}

static void test_random_reader_is_not_read_ahead_of(void **state)
{
	struct cache_config cfg = rig_config(64 * MIB);
	struct rig r;
	uint8_t buf[PAGE];
	uint64_t seed = 88172645463325252u;

	(void)state;
	cfg.readahead_max_bytes = MIB;
	rig_init(&r, 64 * MIB, 1u << 15, &cfg);
	for (unsigned i = 0; i < 500; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		assert_int_equal(rig_read(&r, seed % (1u << 15) * PAGE, buf, PAGE, 0), 0);
	}
	assert_true(r.store.fill_pages < 600);
	rig_done(&r);
}

static void test_prefetch_brings_a_range_in(void **state)
{
	struct rig r;
	uint8_t *buf = filled(0, MIB);

	(void)state;
	rig_init(&r, 16 * MIB, 1024, NULL);
	store_stamp(&r.store);
	assert_int_equal(cache_prefetch(r.file, 100, MIB), 0);
	assert_int_equal(rig_read(&r, 100, buf, MIB, CACHE_NOWAIT), 0);
	assert_memory_equal(buf, r.store.data + 100, MIB);
	rig_done(&r);
	free(buf);
}

static void test_files_of_one_cache_do_not_mix(void **state)
{
	struct rig r;
	struct store other;
	struct cache_file *f;
	uint8_t buf[PAGE];
	struct iovec iov = { buf, PAGE };

	(void)state;
	rig_init(&r, 8 * MIB, 64, NULL);
	store_init(&other, 64);
	assert_int_equal(cache_file_new(r.cache, &store_ops, &other, 64 * PAGE, &f), 0);
	for (unsigned i = 0; i < 64; i++) {
		memset(buf, 1, PAGE);
		assert_int_equal(rig_write(&r, i * PAGE, buf, PAGE, 0), 0);
		memset(buf, 2, PAGE);
		assert_int_equal(cache_write(f, i * PAGE, &iov, 1, 0), 0);
	}
	cache_file_free(f);
	assert_int_equal(other.writebacks, 0);
	for (unsigned i = 0; i < 64; i++) {
		assert_int_equal(rig_read(&r, i * PAGE, buf, PAGE, CACHE_NOWAIT), 0);
		assert_bytes(buf, 1, PAGE);
	}
	store_done(&other);
	rig_done(&r);
}

static void test_what_replaced_pages_behind_the_end_have_is_kept_when_a_part_is_written(void **state)
{
	struct cache_file_ops ops = store_ops;
	struct cache_replacement *replacement;
	struct cache_file *f;
	struct store other;
	struct rig r;
	uint8_t *buf = filled(9, PAGE), part = 7;
	struct cache_new_page page = { .index = 10, .data = buf, .crc = crc32c(buf, PAGE) };
	struct iovec whole = { .iov_base = buf, .iov_len = PAGE }, one = { .iov_base = &part, .iov_len = 1 };

	(void)state;
	ops.zero_behind_end = true;
	rig_init(&r, 2 * MIB, 4096, NULL);
	store_stamp(&r.store);
	store_init(&other, 64);
	assert_int_equal(cache_file_new(r.cache, &ops, &other, 0, &f), 0);
	assert_int_equal(cache_replace_begin(f, &page, 1, &replacement), 0);
	cache_replace_commit(replacement);
	assert_int_equal(cache_flush_kept(f), 0);
	assert_true(other.mapped[10]);
	/* It leaves the memory. */
	for (uint64_t i = 0; i < 4096; i++)
		assert_int_equal(rig_read(&r, i * PAGE, buf, PAGE, 0), 0);
	assert_int_equal(cache_write(f, 10 * PAGE + 100, &one, 1, 0), 0);
	assert_int_equal(cache_read(f, 10 * PAGE, &whole, 1, 0), 0);
	assert_int_equal(buf[100], 7);
	assert_bytes(buf, 9, 100);
	cache_file_free(f);
	store_done(&other);
	rig_done(&r);
	free(buf);
}

static void test_metrics_show_the_cache(void **state)
{
	struct metrics *m = metrics_new();
	struct rig r;
	uint8_t buf[PAGE] = { 1 };
	size_t len;
	char *text;

	(void)state;
	rig_init(&r, 8 * MIB, 64, NULL);
	assert_int_equal(cache_register_metrics(r.cache, m), 0);
	assert_int_equal(rig_write(&r, 0, buf, PAGE, 0), 0);
	text = metrics_render(m, &len);
	assert_non_null(strstr(text, "wfsd_cache_dirty_bytes 4096"));
	assert_non_null(strstr(text, "wfsd_cache_hits_total 0"));
	free(text);
	rig_done(&r);
	metrics_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_with_bad_limits_returns_einval),
		cmocka_unit_test(test_hole_reads_as_zeros_and_costs_no_page),
		cmocka_unit_test(test_large_read_is_few_large_fills),
		cmocka_unit_test(test_whole_page_write_does_not_fill),
		cmocka_unit_test(test_failing_fill_is_reported_and_leaves_nothing),
		cmocka_unit_test(test_nowait_while_another_fills_returns_eagain),
		cmocka_unit_test(test_write_of_a_page_being_filled_wins),
		cmocka_unit_test(test_reference_stays_as_it_was_while_pages_are_overwritten_and_dropped),
		cmocka_unit_test(test_everything_beyond_the_budget_is_evicted_and_the_budget_holds),
		cmocka_unit_test(test_what_is_used_again_survives_a_scan),
		cmocka_unit_test(test_cache_gives_way_to_other_consumers),
		cmocka_unit_test(test_clean_pages_of_a_failing_file_still_make_room_for_reads),
		cmocka_unit_test(test_sequential_reader_is_read_ahead_of),
		cmocka_unit_test(test_random_reader_is_not_read_ahead_of),
		cmocka_unit_test(test_prefetch_brings_a_range_in),
		cmocka_unit_test(test_files_of_one_cache_do_not_mix),
		cmocka_unit_test(test_what_replaced_pages_behind_the_end_have_is_kept_when_a_part_is_written),
		cmocka_unit_test(test_metrics_show_the_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
