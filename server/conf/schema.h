/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to server/conf: which keys there are, of which type and range, and where their values go in struct conf. */
#ifndef WFSD_SERVER_CONF_SCHEMA_H
#define WFSD_SERVER_CONF_SCHEMA_H

#include <stddef.h>
#include <stdint.h>

#include "server/conf/conf.h"

enum conf_type {
	CONF_STRING, /* const char *; min..max bytes */
	CONF_PATH, /* const char *; made absolute */
	CONF_ADDRESS, /* const char *; "HOST:PORT" or "[HOST]:PORT" */
	CONF_PROGRAM, /* const char *; a path when it has a '/', else a name to be found in PATH */
	CONF_TEXT, /* char[max + 1] inside the struct */
	CONF_SIZE, /* uint64_t; bytes, with K, M, G, T */
	CONF_UINT, /* unsigned */
	CONF_MODE, /* unsigned; octal */
	CONF_BOOL, /* bool */
	CONF_LOG_LEVEL, /* int */
	CONF_SQUASH, /* enum export_squash */
	CONF_NETWORKS, /* struct export_network[max] and the count at count_offset */
	CONF_TEXTS, /* char[max][item_bytes], 1..item_bytes - 1 bytes each, and the count at count_offset */
	CONF_AUDIT_CLASSES, /* a list; unsigned, bits by enum audit_class, and the count at count_offset */
	CONF_SECTION, /* keys of their own, in the same struct */
	CONF_PATHS, /* const char *[max] and the count at count_offset */
	CONF_ADDRESSES, /* likewise */
	CONF_LIST, /* heap array of structs of item_bytes, each with keys of its own, and the count at count_offset */
};

struct conf_field {
	const char *key; /* NULL ends the table */
	enum conf_type type;
	size_t offset;
	uint64_t min;
	uint64_t max;
	bool required;
	size_t count_offset;
	size_t item_bytes;
	const struct conf_field *fields; /* SECTION, LIST */
};

extern const struct conf_field conf_schema[];

/* Fills in every default. */
void conf_defaults(struct conf *c);

#endif
