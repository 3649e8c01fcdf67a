/* SPDX-License-Identifier: BSD-3-Clause */
/* The log: what reaches the sink, and how often. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/base/log.h"

struct lines {
	unsigned count;
	char last[256];
};

static void keep(void *ctx, enum log_level level, const char *area, const char *text)
{
	struct lines *l = ctx;

	(void)level;
	(void)area;
	l->count++;
	snprintf(l->last, sizeof(l->last), "%s", text);
}

static void test_a_place_that_is_reached_often_is_logged_some_times_and_then_counted(void **state)
{
	struct log_limit limit = { 0 };
	struct lines lines = { 0 };
	unsigned taken = 0;

	(void)state;
	log_set_sink(keep, &lines);
	for (unsigned i = 0; i < LOG_LIMIT_LINES + 1000; i++)
		taken += log_limit_take(&limit, LOG_LEVEL_WARNING, "test", SYNC_NS_PER_S + i);
	assert_int_equal(taken, LOG_LIMIT_LINES);
	assert_int_equal(lines.count, 0);
	assert_true(log_limit_take(&limit, LOG_LEVEL_WARNING, "test", SYNC_NS_PER_S + LOG_LIMIT_NS));
	assert_int_equal(lines.count, 1);
	assert_string_equal(lines.last, "lines like the next were left out count=1000");
	assert_true(log_limit_take(&limit, LOG_LEVEL_WARNING, "test", SYNC_NS_PER_S + LOG_LIMIT_NS + 1));
	assert_true(log_limit_take(&limit, LOG_LEVEL_WARNING, "test", SYNC_NS_PER_S + 3 * LOG_LIMIT_NS));
	assert_int_equal(lines.count, 1);
	log_set_sink(NULL, NULL);
}

static void test_a_time_that_was_taken_before_others_began_to_count_does_not_begin_anew(void **state)
{
	struct log_limit limit = { 0 };
	unsigned taken = 0;

	(void)state;
	for (unsigned i = 0; i < LOG_LIMIT_LINES + 1000; i++)
		taken += log_limit_take(&limit, LOG_LEVEL_WARNING, "test", SYNC_NS_PER_S - i);
	assert_int_equal(taken, LOG_LIMIT_LINES);
}

static void test_a_level_above_that_of_the_log_is_dropped(void **state)
{
	struct lines lines = { 0 };

	(void)state;
	log_set_sink(keep, &lines);
	log_debug("test", "unheard");
	assert_int_equal(lines.count, 0);
	log_limited(LOG_LEVEL_INFO, "test", "heard number=%d", 1);
	assert_int_equal(lines.count, 1);
	assert_string_equal(lines.last, "heard number=1");
	log_set_sink(NULL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_place_that_is_reached_often_is_logged_some_times_and_then_counted),
		cmocka_unit_test(test_a_time_that_was_taken_before_others_began_to_count_does_not_begin_anew),
		cmocka_unit_test(test_a_level_above_that_of_the_log_is_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
