/* SPDX-License-Identifier: BSD-3-Clause */
/* Percent-encoding, names of volumes, absolute paths. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/ctl/url.h"

static void check_url(const char *name, const char *expected)
{
	char *url = url_format("/v1/pools/%s/sync", name);

	assert_non_null(url);
	assert_string_equal(url, expected);
	free(url);
}

static void test_url_format_keeps_plain_characters(void **state)
{
	(void)state;
	check_url("tank", "/v1/pools/tank/sync");
	check_url("A-z.0_9~", "/v1/pools/A-z.0_9~/sync");
	check_url("", "/v1/pools//sync");
}

static void test_url_format_encodes_everything_else(void **state)
{
	(void)state;
	check_url("a b", "/v1/pools/a%20b/sync");
	check_url("../x?y#z%", "/v1/pools/..%2Fx%3Fy%23z%25/sync");
	check_url("\xc3\xa4\n\"", "/v1/pools/%C3%A4%0A%22/sync");
}

static void test_url_format_takes_several_names(void **state)
{
	char *url = url_format("/v1/volumes/%s/%s/resize", "ta/nk", "vm 1");

	(void)state;
	assert_string_equal(url, "/v1/volumes/ta%2Fnk/vm%201/resize");
	free(url);
}

static void test_volume_name_parse_splits_at_the_slash(void **state)
{
	struct volume_name name;

	(void)state;
	assert_int_equal(volume_name_parse("tank/vm 1", &name), 0);
	assert_string_equal(name.pool, "tank");
	assert_string_equal(name.volume, "vm 1");
}

static void test_volume_name_parse_without_two_parts_returns_einval(void **state)
{
	static const char *const cases[] = { "", "/", "tank", "tank/", "/vm1", "a/b/c", "/a/b" };
	struct volume_name name = { "old", "old" };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(volume_name_parse(cases[i], &name), -EINVAL);
	assert_string_equal(name.pool, "old");
}

static void test_volume_name_parse_of_overlong_parts_returns_einval(void **state)
{
	struct volume_name name;
	char text[700];

	(void)state;
	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	text[2] = '/';
	assert_int_equal(volume_name_parse(text, &name), -EINVAL);
	text[2] = 'a';
	text[600] = '/';
	assert_int_equal(volume_name_parse(text, &name), -EINVAL);
	/* The longest that fit: 255 each. */
	text[600] = 'a';
	text[255] = '/';
	text[511] = '\0';
	assert_int_equal(volume_name_parse(text, &name), 0);
	assert_int_equal(strlen(name.pool), 255);
	assert_int_equal(strlen(name.volume), 255);
}

static void test_path_absolute_leaves_absolute_paths_and_completes_others(void **state)
{
	char *folder = getcwd(NULL, 0), *path = path_absolute("/dev/sda");

	(void)state;
	assert_string_equal(path, "/dev/sda");
	free(path);
	path = path_absolute("pool.img");
	assert_memory_equal(path, folder, strlen(folder));
	assert_string_equal(path + strlen(folder), "/pool.img");
	free(path);
	free(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_url_format_keeps_plain_characters),
		cmocka_unit_test(test_url_format_encodes_everything_else),
		cmocka_unit_test(test_url_format_takes_several_names),
		cmocka_unit_test(test_volume_name_parse_splits_at_the_slash),
		cmocka_unit_test(test_volume_name_parse_without_two_parts_returns_einval),
		cmocka_unit_test(test_volume_name_parse_of_overlong_parts_returns_einval),
		cmocka_unit_test(test_path_absolute_leaves_absolute_paths_and_completes_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
