/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line and the tables of wfs. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/ctl/args.h"
#include "server/ctl/command.h"
#include "server/ctl/table.h"

#define ARGV_MAX 16

/* Split @line at blanks into @argv (@line must be writable) and parse. */
static int parse(char *line, char *argv[ARGV_MAX], struct args *ret)
{
	int argc = 0;

	argv[argc++] = (char[]){ "wfs" };
	for (char *word = strtok(line, " "); word && argc < ARGV_MAX - 1; word = strtok(NULL, " "))
		argv[argc++] = word;
	argv[argc] = NULL;
	return args_parse(argc, argv, ret);
}

static void test_args_options_may_stand_anywhere(void **state)
{
	char line[] = "--json pool --size 10G create tank --force disk.img --socket s", *argv[ARGV_MAX];
	struct args a;

	(void)state;
	assert_int_equal(parse(line, argv, &a), 0);
	assert_true(a.json);
	assert_string_equal(a.size, "10G");
	assert_string_equal(a.socket, "s");
	assert_int_equal(a.given, ARGS_SIZE | ARGS_FORCE);
	assert_int_equal(a.word_count, 4);
	assert_string_equal(a.words[0], "pool");
	assert_string_equal(a.words[3], "disk.img");
}

static void test_args_socket_comes_from_option_then_environment_then_default(void **state)
{
	char first[] = "status", second[] = "status", third[] = "status --socket opt", fourth[] = "status",
	     *argv[ARGV_MAX];
	struct args a;

	(void)state;
	unsetenv("WFSD_ADMIN");
	assert_int_equal(parse(first, argv, &a), 0);
	assert_string_equal(a.socket, ARGS_SOCKET_DEFAULT);
	setenv("WFSD_ADMIN", "env", 1);
	assert_int_equal(parse(second, argv, &a), 0);
	assert_string_equal(a.socket, "env");
	assert_int_equal(parse(third, argv, &a), 0);
	assert_string_equal(a.socket, "opt");
	setenv("WFSD_ADMIN", "", 1);
	assert_int_equal(parse(fourth, argv, &a), 0);
	assert_string_equal(a.socket, ARGS_SOCKET_DEFAULT);
}

static void test_args_with_an_unknown_option_or_a_bad_number_returns_einval(void **state)
{
	static const char *const cases[] = { "--frob",    "--size",   "--interval 0", "--interval 1s", "--count -1",
		                             "--count x", "--uid -1", "--gid x",      "--umask 8" };
	char line[64], *argv[ARGV_MAX];
	struct args a;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(line, sizeof(line), "stats %s", cases[i]);
		assert_int_equal(parse(line, argv, &a), -EINVAL);
	}
}

static void test_command_with_wrong_usage_is_refused_before_anything_is_asked(void **state)
{
	static const char *const cases[] = {
		"",
		"frob",
		"pool",
		"pool frob",
		"pool list x",
		"pool list --size 3",
		"pool create tank",
		"pool create tank f --size 0",
		"pool create tank f --size ten",
		"volume create vm1 1G",
		"volume create tank/vm1 1X",
		"volume show a/b/c",
		"volume rename tank/vm1",
		"export add vm1",
		"stats extra",
	};
	char line[64], *argv[ARGV_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ctl c = { 0 };

		snprintf(line, sizeof(line), "%s", cases[i]);
		assert_int_equal(parse(line, argv, &c.args), 0);
		c.admin.socket = "/nonexistent/admin.sock";
		assert_int_equal(command_run(&c), CTL_USAGE);
	}
}

static void test_command_without_a_daemon_says_unreachable(void **state)
{
	static const char *const cases[] = { "status", "pool list", "volume delete tank/vm1 --yes",
		                             "export add tank/vm1", "stats" };
	char line[64], *argv[ARGV_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ctl c = { 0 };

		snprintf(line, sizeof(line), "%s", cases[i]);
		assert_int_equal(parse(line, argv, &c.args), 0);
		c.admin.socket = "/nonexistent/admin.sock";
		assert_int_equal(command_run(&c), CTL_UNREACHABLE);
	}
}

static void test_table_aligns_columns_and_hides_control_characters(void **state)
{
	static const char *const titles[] = { "NAME", ">SIZE", "LAST", NULL };
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	struct table t;

	(void)state;
	table_init(&t, titles);
	table_add(&t, "tank");
	table_add(&t, "10G");
	table_add(&t, "x");
	table_add(&t, "longer\n");
	table_add(&t, "1.5G");
	table_add(&t, "");
	assert_int_equal(table_print(&t, out), 0);
	table_done(&t);
	fclose(out);
	assert_string_equal(text, "NAME     SIZE  LAST\n"
	                          "tank      10G  x\n"
	                          "longer?  1.5G\n");
	free(text);
}

static void test_args_of_files_have_short_forms(void **state)
{
	char line[] = "-l find home --name *.c --server tcp:h:1 -r", *argv[ARGV_MAX];
	struct args a;

	(void)state;
	assert_int_equal(parse(line, argv, &a), 0);
	assert_int_equal(a.given, ARGS_LONG | ARGS_NAME | ARGS_SERVER | ARGS_RECURSIVE);
	assert_string_equal(a.name, "*.c");
	assert_string_equal(a.server, "tcp:h:1");
	assert_int_equal(a.word_count, 2);
}

static void test_args_of_mounts_are_numbers_and_a_mask_in_octal(void **state)
{
	char line[] = "mount add fat a /a --uid 0 --gid 1000 --umask 027", *argv[ARGV_MAX];
	struct args a;

	(void)state;
	assert_int_equal(parse(line, argv, &a), 0);
	assert_int_equal(a.given, ARGS_UID | ARGS_GID | ARGS_UMASK);
	assert_int_equal(a.uid, 0);
	assert_int_equal(a.gid, 1000);
	assert_int_equal(a.umask, 027);
}

static void test_args_jobs_are_counted_from_1_to_32(void **state)
{
	static const char *const bad[] = {
		"put -j 0", "put --jobs 33", "put -j -1", "put -j x", "put -j 4x", "put -j"
	};
	char none[] = "put a b", some[] = "put a b -j 16", most[] = "put --jobs 32 a b", *argv[ARGV_MAX];
	struct args a;

	(void)state;
	assert_int_equal(parse(none, argv, &a), 0);
	assert_int_equal(a.jobs, ARGS_JOBS_DEFAULT);
	assert_int_equal(a.given, 0);
	assert_int_equal(parse(some, argv, &a), 0);
	assert_int_equal(a.jobs, 16);
	assert_int_equal(a.given, ARGS_JOBS);
	assert_int_equal(parse(most, argv, &a), 0);
	assert_int_equal(a.jobs, 32);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char line[32];

		strcpy(line, bad[i]);
		assert_int_equal(parse(line, argv, &a), -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_args_options_may_stand_anywhere),
		cmocka_unit_test(test_args_of_files_have_short_forms),
		cmocka_unit_test(test_args_of_mounts_are_numbers_and_a_mask_in_octal),
		cmocka_unit_test(test_args_socket_comes_from_option_then_environment_then_default),
		cmocka_unit_test(test_args_with_an_unknown_option_or_a_bad_number_returns_einval),
		cmocka_unit_test(test_command_with_wrong_usage_is_refused_before_anything_is_asked),
		cmocka_unit_test(test_command_without_a_daemon_says_unreachable),
		cmocka_unit_test(test_table_aligns_columns_and_hides_control_characters),
		cmocka_unit_test(test_args_jobs_are_counted_from_1_to_32),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
