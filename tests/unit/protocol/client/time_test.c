/* SPDX-License-Identifier: BSD-3-Clause */
/* Times of files: before 1970, and further away than 64 bits of nanoseconds reach. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "protocol/client/wfs_tree.h"

static void test_times_are_the_same_there_and_back(void **state)
{
	static const struct {
		struct timespec time;
		int64_t ns;
	} pairs[] = {
		{ { 0, 0 }, 0 },
		{ { 1, 999999999 }, 1999999999 },
		{ { -1, 0 }, -1000000000 },
		{ { -1, 999999999 }, -1 },
		{ { -2, 1 }, -1999999999 },
		{ { 9223372036, 854775807 }, INT64_MAX },
		{ { -9223372037, 500000000 }, -9223372036500000000 },
		{ { -9223372037, 145224192 }, INT64_MIN },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		struct timespec back;

		assert_int_equal(wfs_time_to_ns(&pairs[i].time), pairs[i].ns);
		wfs_time_from_ns((uint64_t)pairs[i].ns, &back);
		assert_int_equal(back.tv_sec, pairs[i].time.tv_sec);
		assert_int_equal(back.tv_nsec, pairs[i].time.tv_nsec);
	}
}

static void test_times_too_far_away_become_the_first_and_the_last(void **state)
{
	static const struct timespec late[] = { { 9223372036, 854775808 },
		                                { 9223372037, 0 },
		                                { INT64_MAX, 999999999 } };
	static const struct timespec early[] = { { -9223372037, 145224191 },
		                                 { INT64_MIN, 0 },
		                                 { INT64_MIN, 999999999 } };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(wfs_time_to_ns(&late[i]), INT64_MAX);
		assert_int_equal(wfs_time_to_ns(&early[i]), INT64_MIN);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_times_are_the_same_there_and_back),
		cmocka_unit_test(test_times_too_far_away_become_the_first_and_the_last),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
