/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes, counts, latencies and times: reading and writing them. */
#include <errno.h>
#include <stdlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/ctl/size.h"

static void test_size_parse_takes_numbers_with_binary_suffixes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} cases[] = {
		{ "0", 0 },
		{ "1", 1 },
		{ "4096", 4096 },
		{ "1K", 1024 },
		{ "64k", 65536 },
		{ "3M", UINT64_C(3) << 20 },
		{ "10G", UINT64_C(10) << 30 },
		{ "10GiB", UINT64_C(10) << 30 },
		{ "10gib", UINT64_C(10) << 30 },
		{ "2T", UINT64_C(2) << 40 },
		{ "5P", UINT64_C(5) << 50 },
		{ "7E", UINT64_C(7) << 60 },
		{ "9223372036854775807", INT64_MAX },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t bytes = 1234567;

		assert_int_equal(size_parse(cases[i].text, &bytes), 0);
		assert_true(bytes == cases[i].bytes);
	}
}

static void test_size_parse_of_what_is_no_size_returns_einval(void **state)
{
	static const char *const cases[] = { "",   "K",   "-1",  "+1",   " 1",    "1 ", "1.5G",
		                             "1X", "1KB", "1Kx", "0x10", "1GiBs", "G1" };
	uint64_t bytes = 77;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(size_parse(cases[i], &bytes), -EINVAL);
	assert_true(bytes == 77);
}

static void test_size_parse_beyond_63_bits_returns_erange(void **state)
{
	static const char *const cases[] = { "9223372036854775808", "18446744073709551616", "8E", "99999999999P",
		                             "17179869184G" };
	uint64_t bytes = 77;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(size_parse(cases[i], &bytes), -ERANGE);
	assert_true(bytes == 77);
}

static void test_size_format_uses_the_largest_unit_that_fits(void **state)
{
	char buf[SIZE_TEXT_MAX];

	(void)state;
	assert_string_equal(size_format(0, buf), "0");
	assert_string_equal(size_format(1023, buf), "1023");
	assert_string_equal(size_format(1024, buf), "1K");
	assert_string_equal(size_format(1536, buf), "1.5K");
	assert_string_equal(size_format(UINT64_C(10) << 30, buf), "10G");
	assert_string_equal(size_format((UINT64_C(10) << 30) + (UINT64_C(1) << 29), buf), "10.5G");
	assert_string_equal(size_format(UINT64_MAX, buf), "16.0E");
}

static void test_size_format_of_whole_units_is_read_back(void **state)
{
	char buf[SIZE_TEXT_MAX];

	(void)state;
	for (unsigned shift = 0; shift < 63; shift++) {
		uint64_t bytes = 0;

		assert_int_equal(size_parse(size_format(UINT64_C(1) << shift, buf), &bytes), 0);
		assert_true(bytes == UINT64_C(1) << shift);
	}
}

static void test_count_format_uses_powers_of_1000(void **state)
{
	char buf[SIZE_TEXT_MAX];

	(void)state;
	assert_string_equal(count_format(0, buf), "0");
	assert_string_equal(count_format(999, buf), "999");
	assert_string_equal(count_format(1500, buf), "1.5k");
	assert_string_equal(count_format(2.5e6, buf), "2.5M");
	assert_string_equal(count_format(1e30, buf), "1000000000000.0E");
}

static void test_latency_format_picks_a_readable_unit(void **state)
{
	char buf[SIZE_TEXT_MAX];

	(void)state;
	assert_string_equal(latency_format(-1, buf), "-");
	assert_string_equal(latency_format(0.000016, buf), "16us");
	assert_string_equal(latency_format(0.0015, buf), "1.5ms");
	assert_string_equal(latency_format(2, buf), "2.0s");
}

static void test_duration_format_shows_two_units(void **state)
{
	char buf[SIZE_TEXT_MAX];

	(void)state;
	assert_string_equal(duration_format(0, buf), "0s");
	assert_string_equal(duration_format(59, buf), "59s");
	assert_string_equal(duration_format(123, buf), "2m03s");
	assert_string_equal(duration_format(4 * 3600 + 600, buf), "4h10m");
	assert_string_equal(duration_format(3 * 86400 + 4 * 3600, buf), "3d04h");
}

static void test_time_format_is_local_time_and_a_dash_for_never(void **state)
{
	char buf[SIZE_TEXT_MAX];

	(void)state;
	setenv("TZ", "UTC", 1);
	assert_string_equal(time_format(0, buf), "-");
	assert_string_equal(time_format(UINT64_C(1738343100) * 1000000000, buf), "2025-01-31 17:05");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_size_parse_takes_numbers_with_binary_suffixes),
		cmocka_unit_test(test_size_parse_of_what_is_no_size_returns_einval),
		cmocka_unit_test(test_size_parse_beyond_63_bits_returns_erange),
		cmocka_unit_test(test_size_format_uses_the_largest_unit_that_fits),
		cmocka_unit_test(test_size_format_of_whole_units_is_read_back),
		cmocka_unit_test(test_count_format_uses_powers_of_1000),
		cmocka_unit_test(test_latency_format_picks_a_readable_unit),
		cmocka_unit_test(test_duration_format_shows_two_units),
		cmocka_unit_test(test_time_format_is_local_time_and_a_dash_for_never),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
