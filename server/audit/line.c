/* SPDX-License-Identifier: BSD-3-Clause */
/* The audit log: events as lines of JSON. */
#include "server/audit/line.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/base/sync.h"

#define NS_PER_US 1000u

/* RFC 3339, to the microsecond. */
static json_t *time_text(uint64_t wall_ns)
{
	time_t seconds = (time_t)(wall_ns / SYNC_NS_PER_S);
	char text[64], fraction[16];
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(fraction, sizeof(fraction), ".%06uZ", (unsigned)(wall_ns % SYNC_NS_PER_S / NS_PER_US));
	strcat(text, fraction);
	return json_string(text);
}

/* Under @key, or under @key with "_hex". */
static void set_name(json_t *o, const char *key, const struct audit_name *name)
{
	char hex[2 * AUDIT_NAME_BYTES + 1], hex_key[32];
	json_t *text = json_stringn(name->bytes, name->len);

	if (text) {
		json_object_set_new(o, key, text);
		return;
	}
	for (unsigned i = 0; i < name->len; i++)
		snprintf(hex + 2 * i, 3, "%02x", (uint8_t)name->bytes[i]);
	snprintf(hex_key, sizeof(hex_key), "%s_hex", key);
	json_object_set_new(o, hex_key, json_string(hex));
}

static void set_number(json_t *o, const char *key, uint64_t value)
{
	json_object_set_new(o, key, json_integer((json_int_t)value));
}

static void set_client(json_t *o, const struct audit_event *e)
{
	if (e->is_unix)
		json_object_set_new(
		        o, "client",
		        json_pack("{s:I,s:I}", "pid", (json_int_t)e->client_pid, "uid", (json_int_t)e->client_uid));
	else if (e->client[0])
		json_object_set_new(o, "client", json_string(e->client));
}

/* Numbers of objects are beyond what many readers of JSON keep exactly: told as text. */
static void set_object(json_t *o, const struct audit_event *e)
{
	char text[40];

	if (!e->object)
		return;
	snprintf(text, sizeof(text), "%" PRIx64 ":%" PRIu64, e->fsid, e->object);
	json_object_set_new(o, "object", json_string(text));
}

static char *dump(json_t *o)
{
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

	json_decref(o);
	return text;
}

char *audit_line(const struct audit_event *e)
{
	json_t *o = json_object();
	const char *status = e->err ? strerrorname_np(-e->err) : "OK";

	json_object_set_new(o, "time", time_text(e->wall_ns));
	json_object_set_new(o, "class", json_string(audit_class_name(e->class)));
	if (e->method)
		json_object_set_new(o, "method", json_string(e->method));
	json_object_set_new(o, "operation", json_string(e->operation));
	set_client(o, e);
	if (e->has_identity) {
		set_number(o, "uid", e->uid);
		set_number(o, "gid", e->gid);
	}
	if (e->export_name[0])
		json_object_set_new(o, "export", json_string(e->export_name));
	set_object(o, e);
	if (e->name.len)
		set_name(o, "name", &e->name);
	if (e->new_name.len)
		set_name(o, "new_name", &e->new_name);
	if (e->detail.len)
		set_name(o, "detail", &e->detail);
	if (e->len_bytes) {
		set_number(o, "offset", e->offset);
		set_number(o, "bytes", e->len_bytes);
	}
	json_object_set_new(o, "status", json_string(status ? status : "?"));
	set_number(o, "us", e->duration_ns / NS_PER_US);
	return dump(o);
}

char *audit_line_dropped(uint64_t count, uint64_t wall_ns)
{
	json_t *o = json_object();

	json_object_set_new(o, "time", time_text(wall_ns));
	json_object_set_new(o, "operation", json_string("dropped"));
	set_number(o, "events", count);
	return dump(o);
}
