/* SPDX-License-Identifier: BSD-3-Clause */
/* Arguments in JSON bodies: what is wrong is named. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "core/base/err.h"
#include "server/admin/body.h"

struct arguments {
	const char *name;
	const char *text;
	uint64_t size;
	bool force;
	struct body_paths paths;
};

static int read_body(const char *json, struct arguments *a)
{
	const struct body_field fields[] = {
		{ .key = "name", .type = BODY_STRING, .required = true, .max = 4, .ret = &a->name },
		{ .key = "text", .type = BODY_TEXT, .max = 4, .ret = &a->text },
		{ .key = "size", .type = BODY_SIZE, .ret = &a->size },
		{ .key = "force", .type = BODY_BOOL, .ret = &a->force },
		{ .key = "paths", .type = BODY_PATHS, .max = 2, .ret = &a->paths },
	};
	static json_t *body;
	int rc;

	json_decref(body);
	body = NULL;
	rc = body_parse(json, strlen(json), &body);
	return rc < 0 ? rc : body_read(body, fields, sizeof(fields) / sizeof(fields[0]));
}

static void refused(const char *json, const char *message)
{
	struct arguments a = { 0 };

	assert_int_equal(read_body(json, &a), -EINVAL);
	assert_string_equal(err_get()->frames[0].text, message);
}

static void test_right_arguments_arrive(void **state)
{
	struct arguments a = { 0 };

	(void)state;
	assert_int_equal(read_body("{\"name\":\"n\",\"text\":\"\",\"size\":9007199254740993,\"force\":true,"
	                           "\"paths\":[\"/a\",\"/b\"]}",
	                           &a),
	                 0);
	assert_string_equal(a.name, "n");
	assert_string_equal(a.text, "");
	assert_true(a.size == UINT64_C(9007199254740993));
	assert_true(a.force);
	assert_int_equal(a.paths.count, 2);
	assert_string_equal(a.paths.paths[1], "/b");
}

static void test_missing_optional_keys_leave_defaults(void **state)
{
	struct arguments a = { .size = 7, .force = true };

	(void)state;
	assert_int_equal(read_body("{\"name\":\"n\"}", &a), 0);
	assert_int_equal(a.size, 7);
	assert_true(a.force);
	assert_null(a.text);
}

static void test_wrong_arguments_are_named(void **state)
{
	(void)state;
	refused("", "key 'name' is missing");
	refused("{\"name\":\"n\",\"foo\":1}", "unknown key 'foo'");
	refused("{\"name\":3}", "'name' must be a string");
	refused("{\"name\":\"\"}", "'name' is empty");
	refused("{\"name\":\"12345\"}", "'name' is longer than 4 bytes");
	refused("{\"name\":\"n\",\"size\":-1}", "'size' must be a whole number, 0 or more");
	refused("{\"name\":\"n\",\"size\":1.5}", "'size' must be a whole number, 0 or more");
	refused("{\"name\":\"n\",\"size\":\"1\"}", "'size' must be a whole number, 0 or more");
	refused("{\"name\":\"n\",\"force\":1}", "'force' must be true or false");
	refused("{\"name\":\"n\",\"force\":null}", "'force' must be true or false");
	refused("{\"name\":\"n\",\"paths\":\"/a\"}", "'paths' must be a list of paths");
	refused("{\"name\":\"n\",\"paths\":[]}", "'paths' must be a list of paths");
	refused("{\"name\":\"n\",\"paths\":[\"/a\",\"b\"]}", "'paths': entry 2 is not an absolute path");
	refused("{\"name\":\"n\",\"paths\":[\"/a\",\"/b\",\"/c\"]}", "'paths' has more than 2 entries");
}

static void test_bodies_that_are_no_object_are_refused(void **state)
{
	struct arguments a;

	(void)state;
	refused("[]", "the body must be a JSON object");
	refused("[[[[[[[[[[1]]]]]]]]]]", "the body is nested too deeply");
	assert_int_equal(read_body("{", &a), -EINVAL);
	assert_int_equal(read_body("{\"name\":\"a\",\"name\":\"b\"}", &a), -EINVAL);
	assert_int_equal(read_body("{\"name\":\"\xff\"}", &a), -EINVAL);
	assert_int_equal(read_body("{\"name\":\"a\\u0000b\"}", &a), -EINVAL);
	assert_int_equal(read_body("{\"name\":\"a\",\"size\":18446744073709551616}", &a), -EINVAL);
	read_body("", &a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_right_arguments_arrive),
		cmocka_unit_test(test_missing_optional_keys_leave_defaults),
		cmocka_unit_test(test_wrong_arguments_are_named),
		cmocka_unit_test(test_bodies_that_are_no_object_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
