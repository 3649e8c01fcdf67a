/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading Prometheus text, sums and quantiles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/ctl/prom.h"

static const char text[] = "# HELP ops_total Operations.\n"
                           "# TYPE ops_total counter\n"
                           "ops_total{front_end=\"rpc\",op=\"read\"} 10\n"
                           "ops_total{front_end=\"rpc\",op=\"write\"} 5\n"
                           "ops_total{front_end=\"nbd\",op=\"read\"} 1\n"
                           "plain 2.5e3\n"
                           "\n"
                           "broken\n"
                           "broken{a=\"b\" 7\n"
                           "nonumber x\n"
                           "odd{path=\"/a}b\",text=\"say \\\"hi\\\", op=\"} 3\n"
                           "last 1";

static void test_prom_parse_keeps_samples_and_skips_the_rest(void **state)
{
	struct prom p;

	(void)state;
	assert_int_equal(prom_parse(text, &p), 0);
	assert_int_equal(p.count, 6);
	assert_true(prom_has(&p, "plain"));
	assert_true(prom_has(&p, "last"));
	assert_false(prom_has(&p, "broken"));
	assert_false(prom_has(&p, "nonumber"));
	prom_done(&p);
}

static void test_prom_parse_of_nothing_has_no_samples(void **state)
{
	struct prom p;

	(void)state;
	assert_int_equal(prom_parse("", &p), 0);
	assert_int_equal(p.count, 0);
	assert_false(prom_has(&p, ""));
	prom_done(&p);
}

static void test_prom_sum_adds_what_the_filter_leaves(void **state)
{
	struct prom p;

	(void)state;
	assert_int_equal(prom_parse(text, &p), 0);
	assert_true(prom_sum(&p, "ops_total", "") == 16);
	assert_true(prom_sum(&p, "ops_total", "op=\"read\"") == 11);
	assert_true(prom_sum(&p, "ops_total", "op=\"read\",front_end=\"rpc\"") == 10);
	assert_true(prom_sum(&p, "ops_total", "op=\"rea\"") == 0);
	assert_true(prom_sum(&p, "plain", "") == 2500);
	assert_true(prom_sum(&p, "absent", "") == 0);
	prom_done(&p);
}

static void test_prom_labels_with_braces_and_quotes_stay_whole(void **state)
{
	struct prom p;
	char value[64];

	(void)state;
	assert_int_equal(prom_parse(text, &p), 0);
	assert_true(prom_sum(&p, "odd", "path=\"/a}b\"") == 3);
	assert_true(prom_label(p.samples[4].labels, "text", value, sizeof(value)));
	assert_string_equal(value, "say \\\"hi\\\", op=");
	assert_false(prom_label(p.samples[4].labels, "op", value, sizeof(value)));
	assert_string_equal(value, "");
	prom_done(&p);
}

static const char histogram_before[] = "h_bucket{op=\"r\",le=\"0.001\"} 100\n"
                                       "h_bucket{op=\"r\",le=\"0.002\"} 100\n"
                                       "h_bucket{op=\"r\",le=\"0.004\"} 100\n"
                                       "h_bucket{op=\"r\",le=\"+Inf\"} 100\n";
static const char histogram_now[] = "h_bucket{op=\"r\",le=\"0.001\"} 101\n"
                                    "h_bucket{op=\"r\",le=\"0.002\"} 109\n"
                                    "h_bucket{op=\"r\",le=\"0.004\"} 110\n"
                                    "h_bucket{op=\"r\",le=\"+Inf\"} 110\n"
                                    "h_bucket{op=\"w\",le=\"0.001\"} 0\n"
                                    "h_bucket{op=\"w\",le=\"0.002\"} 0\n"
                                    "h_bucket{op=\"w\",le=\"+Inf\"} 4\n"
                                    "h_bucket{op=\"z\",le=\"0.001\"} 0\n"
                                    "h_bucket{op=\"z\",le=\"+Inf\"} 0\n";

static void test_prom_quantile_looks_at_what_was_added(void **state)
{
	struct prom before, now;

	(void)state;
	assert_int_equal(prom_parse(histogram_before, &before), 0);
	assert_int_equal(prom_parse(histogram_now, &now), 0);
	assert_true(prom_quantile(&now, NULL, "h", "op=\"r\"", 0.5) == 0.001);
	assert_true(prom_quantile(&now, &before, "h", "op=\"r\"", 0.05) == 0.001);
	assert_true(prom_quantile(&now, &before, "h", "op=\"r\"", 0.5) == 0.002);
	assert_true(prom_quantile(&now, &before, "h", "op=\"r\"", 0.99) == 0.004);
	prom_done(&before);
	prom_done(&now);
}

static void test_prom_quantile_beyond_the_last_bound_is_that_bound(void **state)
{
	struct prom now;

	(void)state;
	assert_int_equal(prom_parse(histogram_now, &now), 0);
	assert_true(prom_quantile(&now, NULL, "h", "op=\"w\"", 0.5) == 0.002);
	prom_done(&now);
}

static void test_prom_quantile_of_nothing_is_negative(void **state)
{
	struct prom now;

	(void)state;
	assert_int_equal(prom_parse(histogram_now, &now), 0);
	assert_true(prom_quantile(&now, NULL, "h", "op=\"z\"", 0.5) == -1);
	assert_true(prom_quantile(&now, &now, "h", "op=\"r\"", 0.5) == -1);
	assert_true(prom_quantile(&now, NULL, "absent", "", 0.5) == -1);
	prom_done(&now);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prom_parse_keeps_samples_and_skips_the_rest),
		cmocka_unit_test(test_prom_parse_of_nothing_has_no_samples),
		cmocka_unit_test(test_prom_sum_adds_what_the_filter_leaves),
		cmocka_unit_test(test_prom_labels_with_braces_and_quotes_stay_whole),
		cmocka_unit_test(test_prom_quantile_looks_at_what_was_added),
		cmocka_unit_test(test_prom_quantile_beyond_the_last_bound_is_that_bound),
		cmocka_unit_test(test_prom_quantile_of_nothing_is_negative),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
