/* SPDX-License-Identifier: BSD-3-Clause */
/* Lines of the daemon's log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "server/jobs/log_sink.h"

#define WALL_NS UINT64_C(1700000000123456789)

static void test_plain_line_has_time_level_and_area(void **state)
{
	char line[128];
	size_t len = log_sink_format(line, sizeof(line), false, WALL_NS, LOG_LEVEL_WARNING, "nbd", "text a=1");

	(void)state;
	line[len] = '\0';
	assert_string_equal(line, "2023-11-14T22:13:20.123Z warning nbd: text a=1\n");
}

static void test_journal_line_has_its_priority(void **state)
{
	char line[128];
	size_t len = log_sink_format(line, sizeof(line), true, WALL_NS, LOG_LEVEL_ERROR, "nbd", "text");

	(void)state;
	line[len] = '\0';
	assert_string_equal(line, "<3>nbd: text\n");
}

static void test_an_event_is_one_line_whatever_its_length(void **state)
{
	char line[32];
	size_t len = log_sink_format(line, sizeof(line), true, WALL_NS, LOG_LEVEL_INFO, "a",
	                             "1\n2\r3\tabcdefghijklmnopqrstuvwxyz");

	(void)state;
	assert_true(len < sizeof(line));
	assert_int_equal(line[len - 1], '\n');
	assert_ptr_equal(memchr(line, '\n', len), line + len - 1);
	assert_null(memchr(line, '\r', len));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain_line_has_time_level_and_area),
		cmocka_unit_test(test_journal_line_has_its_priority),
		cmocka_unit_test(test_an_event_is_one_line_whatever_its_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
