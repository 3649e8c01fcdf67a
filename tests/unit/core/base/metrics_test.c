/* SPDX-License-Identifier: BSD-3-Clause */
/* Counters, histograms, and their rendering as Prometheus text. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/metrics.h"
#include "core/base/sync.h"

#define THREADS 4
#define ROUNDS 5000

static struct counter counter;
static struct histogram histogram;

static void count(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		counter_add(&counter, 2);
		histogram_add(&histogram, 1500);
	}
}

static void test_no_count_is_lost_between_threads(void **state)
{
	struct sync_thread t[THREADS];
	struct histogram_view v;

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(sync_thread_start(&t[i], "count", count, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		sync_thread_join(&t[i]);
	assert_int_equal(counter_read(&counter), THREADS * ROUNDS * 2);
	histogram_read(&histogram, &v);
	assert_int_equal(v.count, THREADS * ROUNDS);
	assert_int_equal(v.buckets[1], THREADS * ROUNDS);
	assert_int_equal(v.sum_ns, THREADS * ROUNDS * 1500);
}

static void test_histogram_bounds_are_inclusive(void **state)
{
	static struct histogram h;
	struct histogram_view v;

	(void)state;
	histogram_add(&h, 0);
	histogram_add(&h, 1000);
	histogram_add(&h, 1001);
	histogram_add(&h, 4000);
	histogram_add(&h, UINT64_C(1000) << 24);
	histogram_add(&h, (UINT64_C(1000) << 24) + 1);
	histogram_add(&h, UINT64_C(1) << 62);
	histogram_read(&h, &v);
	assert_int_equal(v.buckets[0], 2);
	assert_int_equal(v.buckets[1], 1);
	assert_int_equal(v.buckets[2], 1);
	assert_int_equal(v.buckets[24], 1);
	assert_int_equal(v.buckets[25], 2);
}

static struct histogram_small small;

static void count_small(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++)
		histogram_small_add(&small, 1500);
}

static void test_a_small_histogram_counts_as_a_large_one(void **state)
{
	struct sync_thread t[THREADS];
	struct histogram_view v;

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(sync_thread_start(&t[i], "count", count_small, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		sync_thread_join(&t[i]);
	histogram_small_read(&small, &v);
	assert_int_equal(v.count, THREADS * ROUNDS);
	assert_int_equal(v.buckets[1], THREADS * ROUNDS);
	assert_int_equal(v.sum_ns, THREADS * ROUNDS * 1500);
}

static void test_percentiles_are_bounds_of_buckets(void **state)
{
	struct histogram_view v = { .count = 0 };

	(void)state;
	assert_int_equal(histogram_percentile_us(&v, 50), 0);
	v = (struct histogram_view){ .count = 100, .buckets = { [2] = 50, [5] = 49, [25] = 1 } };
	assert_int_equal(histogram_percentile_us(&v, 1), 4);
	assert_int_equal(histogram_percentile_us(&v, 50), 4);
	assert_int_equal(histogram_percentile_us(&v, 51), 32);
	assert_int_equal(histogram_percentile_us(&v, 99), 32);
	assert_int_equal(histogram_percentile_us(&v, 100), 1u << 25);
	v = (struct histogram_view){ .count = 1, .buckets = { [7] = 1 } };
	assert_int_equal(histogram_percentile_us(&v, 1), 128);
	v = (struct histogram_view){ .count = UINT64_MAX / 2, .buckets = { [3] = UINT64_MAX / 2 } };
	assert_int_equal(histogram_percentile_us(&v, 99), 8);
}

static double gauge(void *ctx)
{
	return *(double *)ctx;
}

static void collect(void *ctx, struct metrics_sink *sink)
{
	(void)ctx;
	metrics_emit(sink, "pool=\"a\"", 1);
	metrics_emit(sink, "pool=\"b\"", 2.5);
}

static void test_render_groups_families_and_escapes_help(void **state)
{
	static struct counter c1, c2;
	double value = -INFINITY;
	struct metrics *m = metrics_new();
	char *text;
	size_t len;

	(void)state;
	counter_add(&c1, 3);
	counter_add(&c2, UINT64_C(1) << 60);
	assert_int_equal(metrics_add_counter(m, &c1, "z_total", "Zs\nseen", "op=\"read\"", &c1), 0);
	assert_int_equal(metrics_add_collector(m, &c1, "pools", "gauge", "Pools", collect, NULL), 0);
	assert_int_equal(metrics_add_gauge(m, &c1, "a_gauge", "A", NULL, gauge, &value), 0);
	assert_int_equal(metrics_add_counter(m, &c2, "z_total", "Zs\nseen", "op=\"write\"", &c2), 0);
	text = metrics_render(m, &len);
	assert_string_equal(text, "# HELP a_gauge A\n# TYPE a_gauge gauge\na_gauge -Inf\n"
	                          "# HELP pools Pools\n# TYPE pools gauge\npools{pool=\"a\"} 1\npools{pool=\"b\"} 2.5\n"
	                          "# HELP z_total Zs\\nseen\n# TYPE z_total counter\n"
	                          "z_total{op=\"read\"} 3\nz_total{op=\"write\"} 1152921504606846976\n");
	assert_int_equal(strlen(text), len);
	free(text);
	metrics_unregister(m, &c1);
	text = metrics_render(m, &len);
	assert_string_equal(text, "# HELP z_total Zs\\nseen\n# TYPE z_total counter\n"
	                          "z_total{op=\"write\"} 1152921504606846976\n");
	free(text);
	metrics_free(m);
}

static void test_render_makes_histogram_buckets_cumulative(void **state)
{
	static struct histogram h;
	struct metrics *m = metrics_new();
	char *text;
	size_t len;

	(void)state;
	histogram_add(&h, 500);
	histogram_add(&h, 3000);
	assert_int_equal(metrics_add_histogram(m, &h, "lat_seconds", "Latency", "op=\"read\"", &h), 0);
	text = metrics_render(m, &len);
	assert_non_null(strstr(text, "lat_seconds_bucket{op=\"read\",le=\"1e-06\"} 1\n"));
	assert_non_null(strstr(text, "lat_seconds_bucket{op=\"read\",le=\"4e-06\"} 2\n"));
	assert_non_null(strstr(text, "lat_seconds_bucket{op=\"read\",le=\"16.777216\"} 2\n"));
	assert_non_null(strstr(text, "lat_seconds_bucket{op=\"read\",le=\"+Inf\"} 2\n"));
	assert_non_null(strstr(text, "lat_seconds_sum{op=\"read\"} 0.000003500\n"));
	assert_non_null(strstr(text, "lat_seconds_count{op=\"read\"} 2\n"));
	free(text);
	metrics_free(m);
}

static void collect_histograms(void *ctx, struct metrics_sink *sink)
{
	const struct histogram_view v = { .sum_ns = 5000, .count = 2, .buckets = { [1] = 1, [2] = 1 } };

	(void)ctx;
	metrics_emit_histogram(sink, "pool=\"a\"", &v);
	metrics_emit_histogram(sink, "pool=\"b\"", &v);
}

static void test_render_takes_histograms_of_a_collector(void **state)
{
	struct metrics *m = metrics_new();
	char *text;
	size_t len;

	(void)state;
	assert_int_equal(metrics_add_collector(m, m, "l_seconds", "histogram", "L", collect_histograms, NULL), 0);
	text = metrics_render(m, &len);
	assert_ptr_equal(strstr(text, "# HELP l_seconds L\n# TYPE l_seconds histogram\n"), text);
	assert_non_null(strstr(text, "l_seconds_bucket{pool=\"a\",le=\"2e-06\"} 1\n"));
	assert_non_null(strstr(text, "l_seconds_bucket{pool=\"b\",le=\"+Inf\"} 2\n"));
	assert_non_null(strstr(text, "l_seconds_sum{pool=\"b\"} 0.000005000\n"));
	assert_non_null(strstr(text, "l_seconds_count{pool=\"b\"} 2\n"));
	free(text);
	metrics_free(m);
}

static void test_register_refuses_what_is_taken(void **state)
{
	static struct counter c;
	double value = 0;
	struct metrics *m = metrics_new();

	(void)state;
	assert_int_equal(metrics_add_counter(m, &c, "x_total", "X", NULL, &c), 0);
	assert_int_equal(metrics_add_counter(m, &c, "x_total", "X", NULL, &c), -EEXIST);
	assert_int_equal(metrics_add_gauge(m, &c, "x_total", "X", "a=\"b\"", gauge, &value), -EEXIST);
	assert_int_equal(metrics_add_collector(m, &c, "x_total", "counter", "X", collect, NULL), -EEXIST);
	assert_int_equal(metrics_add_collector(m, &c, "y", "gauge", "Y", collect, NULL), 0);
	assert_int_equal(metrics_add_collector(m, &c, "y", "gauge", "Y", collect, NULL), -EEXIST);
	assert_int_equal(metrics_add_collector(m, m, "y", "gauge", "Y", collect, NULL), 0);
	metrics_free(m);
}

static void test_escape_cuts_whole_characters(void **state)
{
	char buf[16];

	(void)state;
	assert_string_equal(metrics_escape("a\"b\\c\nd", buf, sizeof(buf)), "a\\\"b\\\\c\\nd");
	assert_string_equal(metrics_escape("abc\"", buf, 5), "abc");
}

static int stop;

static void render_all_the_time(void *arg)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		size_t len;
		char *text = metrics_render(arg, &len);

		assert_non_null(text);
		free(text);
	}
}

static void test_unregister_waits_for_a_rendering(void **state)
{
	struct metrics *m = metrics_new();
	struct sync_thread t;

	(void)state;
	assert_int_equal(sync_thread_start(&t, "render", render_all_the_time, m), 0);
	for (int i = 0; i < 300; i++) {
		struct counter *c = aligned_alloc(64, sizeof(*c));
		double *value = malloc(sizeof(*value));

		memset(c, 0, sizeof(*c));
		*value = i;
		assert_int_equal(metrics_add_counter(m, c, "n_total", "N", NULL, c), 0);
		assert_int_equal(metrics_add_gauge(m, c, "g", "G", NULL, gauge, value), 0);
		metrics_unregister(m, c);
		free(value);
		free(c);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	sync_thread_join(&t);
	metrics_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_count_is_lost_between_threads),
		cmocka_unit_test(test_histogram_bounds_are_inclusive),
		cmocka_unit_test(test_a_small_histogram_counts_as_a_large_one),
		cmocka_unit_test(test_percentiles_are_bounds_of_buckets),
		cmocka_unit_test(test_render_takes_histograms_of_a_collector),
		cmocka_unit_test(test_render_groups_families_and_escapes_help),
		cmocka_unit_test(test_render_makes_histogram_buckets_cumulative),
		cmocka_unit_test(test_register_refuses_what_is_taken),
		cmocka_unit_test(test_escape_cuts_whole_characters),
		cmocka_unit_test(test_unregister_waits_for_a_rendering),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
