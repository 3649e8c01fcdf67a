/* SPDX-License-Identifier: BSD-3-Clause */
/* Arguments from JSON bodies. */
#include "server/admin/body.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "core/base/err.h"
#include "core/vfs/vfs.h"

#define BODY_DEPTH_MAX 8

/* jansson itself goes 2048 levels deep, on our stack. */
static bool too_deep(const char *text, size_t len)
{
	unsigned depth = 0;

	for (size_t i = 0; i < len; i++) {
		if (text[i] == '[' || text[i] == '{')
			depth++;
		else if ((text[i] == ']' || text[i] == '}') && depth)
			depth--;
		if (depth > BODY_DEPTH_MAX)
			return true;
	}
	return false;
}

int body_parse(const char *text, size_t len, json_t **ret)
{
	json_error_t error;
	json_t *body;

	if (len == 0) {
		body = json_object();
		if (!body)
			return err_set(-ENOMEM, "read the request's body");
		*ret = body;
		return 0;
	}
	if (too_deep(text, len))
		return err_set(-EINVAL, "the body is nested too deeply");
	body = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	if (!body)
		return err_set(-EINVAL, "the body is not JSON: line %d, column %d: %s", error.line, error.column,
		               error.text);
	if (!json_is_object(body)) {
		json_decref(body);
		return err_set(-EINVAL, "the body must be a JSON object");
	}
	*ret = body;
	return 0;
}

static int read_text(const json_t *v, const struct body_field *f)
{
	const char *text = json_string_value(v);

	if (!text)
		return err_set(-EINVAL, "'%s' must be a string", f->key);
	if (f->type == BODY_STRING && *text == '\0')
		return err_set(-EINVAL, "'%s' is empty", f->key);
	if (json_string_length(v) > f->max)
		return err_set(-EINVAL, "'%s' is longer than %zu bytes", f->key, f->max);
	if (strlen(text) != json_string_length(v))
		return err_set(-EINVAL, "'%s' holds a zero byte", f->key);
	*(const char **)f->ret = text;
	return 0;
}

static int read_paths(const json_t *list, const struct body_field *f)
{
	struct body_paths *paths = f->ret;
	const json_t *v;
	size_t i;

	if (!json_is_array(list) || json_array_size(list) == 0)
		return err_set(-EINVAL, "'%s' must be a list of paths", f->key);
	if (json_array_size(list) > f->max || json_array_size(list) > BODY_PATHS_MAX)
		return err_set(-EINVAL, "'%s' has more than %zu entries", f->key, f->max);
	json_array_foreach (list, i, v) {
		const char *path = json_string_value(v);

		if (!path || strlen(path) != json_string_length(v) || *path != '/')
			return err_set(-EINVAL, "'%s': entry %zu is not an absolute path", f->key, i + 1);
		if (strlen(path) >= VFS_PATH_MAX)
			return err_set(-EINVAL, "'%s': entry %zu is too long", f->key, i + 1);
		paths->paths[i] = path;
	}
	paths->count = (unsigned)json_array_size(list);
	return 0;
}

static int read_field(const json_t *v, const struct body_field *f)
{
	switch (f->type) {
	case BODY_SIZE:
		if (!json_is_integer(v) || json_integer_value(v) < 0)
			return err_set(-EINVAL, "'%s' must be a whole number, 0 or more", f->key);
		*(uint64_t *)f->ret = (uint64_t)json_integer_value(v);
		return 0;
	case BODY_BOOL:
		if (!json_is_boolean(v))
			return err_set(-EINVAL, "'%s' must be true or false", f->key);
		*(bool *)f->ret = json_is_true(v);
		return 0;
	case BODY_OBJECT:
		if (!json_is_object(v))
			return err_set(-EINVAL, "'%s' must be an object", f->key);
		*(const json_t **)f->ret = v;
		return 0;
	case BODY_PATHS:
		return read_paths(v, f);
	default:
		return read_text(v, f);
	}
}

static bool is_known(const char *key, const struct body_field *fields, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(fields[i].key, key) == 0)
			return true;
	}
	return false;
}

int body_read(json_t *body, const struct body_field *fields, size_t count)
{
	const char *key;
	json_t *v;
	int rc = 0;

	json_object_foreach (body, key, v) {
		if (rc == 0 && !is_known(key, fields, count))
			rc = err_set(-EINVAL, "unknown key '%s'", key);
	}
	for (size_t i = 0; i < count && rc == 0; i++) {
		v = json_object_get(body, fields[i].key);
		if (v)
			rc = read_field(v, &fields[i]);
		else if (fields[i].required)
			rc = err_set(-EINVAL, "key '%s' is missing", fields[i].key);
	}
	return rc;
}
