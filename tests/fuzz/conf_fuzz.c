/* SPDX-License-Identifier: BSD-3-Clause */
/* Any bytes as a configuration file, as a request head and target, and as the JSON body of a request. */
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/log.h"
#include "server/admin/body.h"
#include "server/admin/http_parse.h"
#include "server/conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_body(const char *text, size_t len)
{
	const char *name = NULL, *description = NULL;
	struct body_paths paths = { 0 };
	uint64_t size_bytes = 0;
	bool force = false;
	const struct body_field fields[] = {
		{ "name", BODY_STRING, false, 63, &name },
		{ "description", BODY_TEXT, false, 255, &description },
		{ "size_bytes", BODY_SIZE, false, 0, &size_bytes },
		{ "force", BODY_BOOL, false, 0, &force },
		{ "devices", BODY_PATHS, false, 8, &paths },
	};
	json_t *body;

	if (body_parse(text, len, &body))
		return;
	if (!body_read(body, fields, sizeof(fields) / sizeof(fields[0]))) {
		always(!name || (*name && strlen(name) <= 63));
		always(paths.count <= 8);
	}
	json_decref(body);
}

static void try_head(const char *text, size_t len)
{
	struct http_head head;
	struct http_path path;

	if (len > HTTP_HEAD_MAX)
		len = HTTP_HEAD_MAX;
	if (http_parse_head(text, len, &head) == 1) {
		always(head.head_len <= len);
		(void)http_parse_target(head.target, &path);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf *conf;
	char *text;

	if (!size)
		return 0;
	text = malloc(size);
	always(text);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	log_set_level((enum log_level)0);
	switch (data[0] % 4) {
	case 0:
		try_body(text, size - 1);
		break;
	case 1:
		try_head(text, size - 1);
		break;
	default:
		if (!conf_parse("/etc/wfsd.yaml", text, size - 1, &conf))
			conf_free(conf);
	}
	free(text);
	return 0;
}
