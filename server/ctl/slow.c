/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs stats slow: the slowest requests, and where their time went; wfs stats clients: who is there. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/sync.h"
#include "server/ctl/command.h"
#include "server/ctl/size.h"
#include "server/ctl/table.h"

static void add_time(struct table *t, const json_t *o, const char *key)
{
	char text[SIZE_TEXT_MAX];
	uint64_t ns = command_number(o, key);

	table_add(t, ns ? latency_format((double)ns / SYNC_NS_PER_S, text) : "-");
}

static void add_request(struct table *t, const json_t *o)
{
	char text[128], when[SIZE_TEXT_MAX];
	const char *slowest = command_text(o, "slowest");

	table_add(t, time_format(command_number(o, "ended_ns"), when));
	add_time(t, o, "total_ns");
	add_time(t, o, "queued_ns");
	add_time(t, o, "device_ns");
	add_time(t, o, "others_ns");
	add_time(t, o, "busy_ns");
	snprintf(text, sizeof(text), "%s%s%s", command_text(o, "procedure"), *slowest ? ": " : "", slowest);
	table_add(t, text);
	table_add(t, command_text(o, "client"));
	table_add(t, command_text(o, "export"));
	table_add(t, command_number(o, "errno") ? strerror((int)command_number(o, "errno")) : "ok");
}

enum ctl_status cmd_stats_slow(struct ctl *c)
{
	static const char *const titles[] = { "ENDED",   ">TOTAL", ">QUEUED", ">DEVICE", ">OTHERS", ">BUSY",
		                              "REQUEST", "CLIENT", "EXPORT",  "RESULT",  NULL };
	static const struct command_rows rows[] = { { "slow", add_request }, { NULL, NULL } };

	return command_list(c, strdup("/v1/slow"), titles, rows);
}

static void add_client(struct table *t, const json_t *o)
{
	char text[SIZE_TEXT_MAX];

	table_add(t, command_text(o, "client"));
	table_add(t, command_text(o, "program"));
	table_add(t, command_flag(o, "tls") ? "yes" : "no");
	table_add(t, duration_format((uint64_t)json_number_value(json_object_get(o, "age_seconds")), text));
	table_add(t, count_format((double)command_number(o, "requests"), text));
	table_add(t, count_format((double)command_number(o, "errors"), text));
	command_add_size(t, o, "read_bytes");
	command_add_size(t, o, "written_bytes");
	table_add(t, count_format((double)command_number(o, "under_way"), text));
	table_add(t, count_format((double)command_number(o, "open_files"), text));
}

enum ctl_status cmd_stats_clients(struct ctl *c)
{
	static const char *const titles[] = { "CLIENT", "PROGRAM",  "TLS",        ">AGE",   ">REQUESTS", ">ERRORS",
		                              ">READ",  ">WRITTEN", ">UNDER WAY", ">FILES", NULL };
	static const struct command_rows rows[] = { { "rpc", add_client }, { NULL, NULL } };

	return command_list(c, strdup("/v1/connections"), titles, rows);
}
