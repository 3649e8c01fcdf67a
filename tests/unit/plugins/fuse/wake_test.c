/* SPDX-License-Identifier: BSD-3-Clause */
/* What is asked of the kernel about sleeping processors: a file takes the place of its device. */
#include "plugins/fuse/wake.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ANY_USEC 2000000000

static char path[] = "/tmp/wfsd-wake-XXXXXX";

static void put(const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* Or -1: nothing. */
static int32_t asked(void)
{
	int32_t usec = -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_true(read(fd, &usec, sizeof(usec)) >= 0);
	close(fd);
	return usec;
}

static int setup(void **state)
{
	int fd;

	(void)state;
	strcpy(path + sizeof(path) - 7, "XXXXXX");
	fd = mkstemp(path);
	close(fd);
	return fd < 0;
}

static int teardown(void **state)
{
	(void)state;
	return unlink(path);
}

static void test_what_is_asked_holds_until_it_is_taken_back(void **state)
{
	struct wake w;

	(void)state;
	wake_init(&w, path, 7);
	assert_int_equal(asked(), -1);
	wake_hold(&w, true);
	assert_int_equal(asked(), 7);
	wake_hold(&w, false);
	assert_int_equal(asked(), ANY_USEC);
	wake_done(&w);
}

static void test_nothing_is_written_that_stands_already(void **state)
{
	struct wake w;

	(void)state;
	wake_init(&w, path, 7);
	wake_hold(&w, false);
	assert_int_equal(asked(), -1);
	wake_hold(&w, true);
	put("");
	wake_hold(&w, true);
	assert_int_equal(asked(), -1);
	wake_done(&w);
}

static void test_any_latency_and_a_missing_device_ask_for_nothing(void **state)
{
	struct wake w;

	(void)state;
	wake_init(&w, path, -1);
	wake_hold(&w, true);
	assert_int_equal(asked(), -1);
	wake_done(&w);
	wake_init(&w, "/nowhere/device", 7);
	wake_hold(&w, true);
	assert_false(w.held);
	wake_done(&w);
}

static void test_without_a_number_it_depends_on_the_driver(void **state)
{
	int32_t usec;

	(void)state;
	put("haltpoll\n");
	assert_int_equal(wake_parse(NULL, path, &usec), 0);
	assert_int_equal(usec, 0);
	put("intel_idle\n");
	assert_int_equal(wake_parse(NULL, path, &usec), 0);
	assert_int_equal(usec, 10);
	put("");
	assert_int_equal(wake_parse(NULL, path, &usec), 0);
	assert_int_equal(usec, 10);
	assert_int_equal(wake_parse(NULL, "/nowhere/driver", &usec), 0);
	assert_int_equal(usec, 10);
}

static void test_numbers_are_microseconds_and_nonsense_is_refused(void **state)
{
	static const char *const wrong[] = { "", "-1", "7us", "some", "2000000000", "99999999999999999999" };
	int32_t usec;

	(void)state;
	assert_int_equal(wake_parse("0", path, &usec), 0);
	assert_int_equal(usec, 0);
	assert_int_equal(wake_parse("250", path, &usec), 0);
	assert_int_equal(usec, 250);
	assert_int_equal(wake_parse("any", path, &usec), 0);
	assert_int_equal(usec, -1);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		assert_int_equal(wake_parse(wrong[i], path, &usec), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_is_asked_holds_until_it_is_taken_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_is_written_that_stands_already, setup, teardown),
		cmocka_unit_test_setup_teardown(test_any_latency_and_a_missing_device_ask_for_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_without_a_number_it_depends_on_the_driver, setup, teardown),
		cmocka_unit_test_setup_teardown(test_numbers_are_microseconds_and_nonsense_is_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
