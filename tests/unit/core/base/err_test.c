/* SPDX-License-Identifier: BSD-3-Clause */
/* Error chains and the text of log events. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/sync.h"

static void test_set_starts_a_chain_and_returns_the_code(void **state)
{
	(void)state;
	assert_int_equal(err_set(-EIO, "old"), -EIO);
	assert_int_equal(err_set(-EUCLEAN, "node at %d", 7), -EUCLEAN);
	assert_int_equal(err_get()->code, -EUCLEAN);
	assert_int_equal(err_get()->frame_count, 1);
	assert_string_equal(err_get()->frames[0].text, "node at 7");
	assert_non_null(strstr(err_get()->frames[0].file, "err_test.c"));
}

static void test_text_names_the_outermost_caller_first(void **state)
{
	char buf[256];

	(void)state;
	err_set(-EIO, "device 0 offset 4096");
	err_add(-EIO, "read volume vm1");
	err_add(-EIO, "export tank");
	err_text(err_get(), 0, 0, buf, sizeof(buf));
	assert_string_equal(buf, "export tank: read volume vm1: device 0 offset 4096: Input/output error");
	err_text(err_get(), 0, 1, buf, sizeof(buf));
	assert_non_null(strstr(buf, "err_test.c:"));
}

static void test_add_with_another_code_starts_a_new_chain(void **state)
{
	(void)state;
	err_set(-EIO, "stale");
	err_add(-ENOSPC, "fresh");
	assert_int_equal(err_get()->frame_count, 1);
	assert_string_equal(err_get()->frames[0].text, "fresh");
}

static void test_full_chain_keeps_the_origin_and_the_outermost_caller(void **state)
{
	(void)state;
	err_set(-EIO, "origin");
	for (int i = 0; i < 2 * ERR_FRAMES_MAX; i++)
		err_add(-EIO, "caller %d", i);
	assert_int_equal(err_get()->frame_count, ERR_FRAMES_MAX);
	assert_string_equal(err_get()->frames[0].text, "origin");
	assert_string_equal(err_get()->frames[ERR_FRAMES_MAX - 1].text, "caller 11");
}

static void test_arguments_may_point_into_the_chain(void **state)
{
	(void)state;
	err_set(-EIO, "inner");
	err_set(-EROFS, "outer of %s", err_get()->frames[0].text);
	assert_string_equal(err_get()->frames[0].text, "outer of inner");
}

static void test_text_of_an_empty_chain_is_that_of_the_code(void **state)
{
	struct err e = { 0 };
	char buf[64];

	(void)state;
	assert_string_equal(err_text(&e, -ENOENT, 0, buf, sizeof(buf)), "No such file or directory");
	assert_string_equal(err_text(NULL, -99999, 0, buf, sizeof(buf)), "error -99999");
}

static void test_text_is_cut_to_the_buffer(void **state)
{
	char buf[8];

	(void)state;
	err_set(-EIO, "a long explanation");
	assert_string_equal(err_text(err_get(), 0, 0, buf, sizeof(buf)), "a long ");
	assert_string_equal(err_text(err_get(), 0, 0, buf, 1), "");
}

static void other_thread(void *arg)
{
	assert_int_equal(err_get()->frame_count, 0);
	err_restore(arg);
	err_add(-EIO, "other thread");
	err_take(arg);
	assert_int_equal(err_get()->code, 0);
}

static void test_chain_moves_between_threads(void **state)
{
	struct sync_thread t;
	struct err e;

	(void)state;
	err_set(-EIO, "here");
	err_take(&e);
	assert_int_equal(err_get()->frame_count, 0);
	assert_int_equal(sync_thread_start(&t, "other", other_thread, &e), 0);
	sync_thread_join(&t);
	assert_int_equal(e.frame_count, 2);
	assert_string_equal(e.frames[1].text, "other thread");
}

static char last_text[64];
static int sink_calls;

static void sink(void *ctx, enum log_level level, const char *area, const char *text)
{
	assert_ptr_equal(ctx, &sink_calls);
	sink_calls++;
	snprintf(last_text, sizeof(last_text), "%d %s %s", (int)level, area, text);
}

static void test_log_goes_to_the_sink_up_to_the_level(void **state)
{
	(void)state;
	log_set_sink(sink, &sink_calls);
	log_warning("blk", "slow device=%s", "sda");
	assert_string_equal(last_text, "4 blk slow device=sda");
	log_debug("blk", "dropped");
	assert_int_equal(sink_calls, 1);
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("blk", "told");
	assert_string_equal(last_text, "7 blk told");
	log_set_sink(NULL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set_starts_a_chain_and_returns_the_code),
		cmocka_unit_test(test_text_names_the_outermost_caller_first),
		cmocka_unit_test(test_add_with_another_code_starts_a_new_chain),
		cmocka_unit_test(test_full_chain_keeps_the_origin_and_the_outermost_caller),
		cmocka_unit_test(test_arguments_may_point_into_the_chain),
		cmocka_unit_test(test_text_of_an_empty_chain_is_that_of_the_code),
		cmocka_unit_test(test_text_is_cut_to_the_buffer),
		cmocka_unit_test(test_chain_moves_between_threads),
		cmocka_unit_test(test_log_goes_to_the_sink_up_to_the_level),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
