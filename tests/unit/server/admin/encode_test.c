/* SPDX-License-Identifier: BSD-3-Clause */
/* Errors as HTTP, structs as JSON, and which path goes where. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/base/err.h"
#include "server/admin/call.h"
#include "server/admin/encode.h"

static void test_each_errno_has_its_http_status(void **state)
{
	static const struct {
		int code, status;
	} table[] = {
		{ EINVAL, 400 },  { ENAMETOOLONG, 400 }, { ENOTDIR, 400 }, { EISDIR, 400 },    { EBADMSG, 400 },
		{ ENOTSUP, 400 }, { EMEDIUMTYPE, 400 },  { ENOTBLK, 400 }, { EPERM, 403 },     { EACCES, 403 },
		{ ENOENT, 404 },  { ENODEV, 404 },       { ENXIO, 404 },   { EEXIST, 409 },    { EBUSY, 409 },
		{ EROFS, 409 },   { ESTALE, 409 },       { EAGAIN, 503 },  { ESHUTDOWN, 503 }, { ENOSPC, 507 },
		{ EDQUOT, 507 },  { EIO, 500 },          { ENOMEM, 500 },  { EUCLEAN, 500 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		assert_int_equal(encode_http_status(-table[i].code), table[i].status);
}

static void test_error_has_name_number_and_text(void **state)
{
	json_t *v;
	const json_t *error;

	(void)state;
	err_set(-EUCLEAN, "node \xff");
	v = encode_error(err_get(), -EUCLEAN);
	error = json_object_get(v, "error");
	assert_string_equal(json_string_value(json_object_get(error, "code")), "EUCLEAN");
	assert_int_equal(json_integer_value(json_object_get(error, "errno")), EUCLEAN);
	assert_ptr_equal(strstr(json_string_value(json_object_get(error, "message")), "node ?"),
	                 json_string_value(json_object_get(error, "message")));
	json_decref(v);
}

static void test_pool_object_has_every_documented_key(void **state)
{
	static const char *const keys[] = {
		"name",          "uuid",
		"health",        "reason",
		"size_bytes",    "used_bytes",
		"freeing_bytes", "reserved_bytes",
		"dirty_bytes",   "volume_count",
		"device_count",  "devices",
		"txg",           "available_bytes",
		"log",           "scrub",
		"bad_bytes",     "fs_count",
	};
	struct pool_info *info = calloc(1, sizeof(*info));
	json_t *pool;

	(void)state;
	strcpy(info->name, "tank");
	info->health = POOL_HEALTH_READ_ONLY;
	info->used_bytes = UINT64_C(1) << 53;
	info->device_count = 2;
	strcpy(info->devices[1].path, "/dev/b");
	pool = encode_pool(info);
	assert_int_equal(json_object_size(pool), sizeof(keys) / sizeof(keys[0]));
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		assert_non_null(json_object_get(pool, keys[i]));
	assert_string_equal(json_string_value(json_object_get(pool, "health")), "read-only");
	assert_int_equal(json_array_size(json_object_get(pool, "devices")), 2);
	json_decref(pool);
	free(info);
}

static const struct route *find(enum http_method method, const char *target, bool *ret_other_method)
{
	static struct http_path path;
	static const char *names[CALL_NAMES_MAX];

	assert_int_equal(http_parse_target(target, &path), 0);
	return route_find(method, &path, names, ret_other_method);
}

static void test_paths_go_to_their_handlers(void **state)
{
	const struct route *r;
	bool other;

	(void)state;
	r = find(HTTP_GET, "/v1/pools/import", &other);
	assert_ptr_equal(r->handle, read_pool);
	r = find(HTTP_POST, "/v1/pools/import", &other);
	assert_ptr_equal(r->handle, pool_verb_import);
	r = find(HTTP_POST, "/v1/pools/tank/export", &other);
	assert_ptr_equal(r->handle, pool_verb_export);
	r = find(HTTP_DELETE, "/v1/volumes/tank/vm1", &other);
	assert_ptr_equal(r->handle, volume_verb_delete);
	assert_null(find(HTTP_DELETE, "/v1/pools/tank", &other));
	assert_true(other);
	assert_null(find(HTTP_GET, "/v1/pool", &other));
	assert_false(other);
	assert_null(find(HTTP_GET, "/v1/volumes/tank/vm1/x/y", &other));
	assert_false(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_errno_has_its_http_status),
		cmocka_unit_test(test_error_has_name_number_and_text),
		cmocka_unit_test(test_pool_object_has_every_documented_key),
		cmocka_unit_test(test_paths_go_to_their_handlers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
