/* SPDX-License-Identifier: BSD-3-Clause */
/* Checked arguments from a JSON body: every key is known, has the right type, and is there when it must be. */
#ifndef WFSD_SERVER_ADMIN_BODY_H
#define WFSD_SERVER_ADMIN_BODY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum body_type {
	BODY_STRING, /* const char *; not empty, no zero byte; at most max bytes */
	BODY_TEXT, /* likewise, but may be empty */
	BODY_SIZE, /* uint64_t; 0 and more */
	BODY_BOOL, /* bool */
	BODY_OBJECT, /* const json_t *; an object */
	BODY_PATHS, /* struct body_paths; absolute ones, at least one, at most max */
};

#define BODY_PATHS_MAX 64
struct body_paths {
	const char *paths[BODY_PATHS_MAX];
	unsigned count;
};

struct body_field {
	const char *key;
	enum body_type type;
	bool required;
	size_t max;
	void *ret; /* left as it is when an optional key is missing */
};

/*
 * The document in @text, which must be an object; nothing at all is an empty object. *ret: caller's reference. -EINVAL
 * with the place, -ENOMEM.
 */
int body_parse(const char *text, size_t len, json_t **ret);

/* Read the fields; strings stay valid as long as @body. -EINVAL names the key. */
int body_read(json_t *body, const struct body_field *fields, size_t count);

#endif
