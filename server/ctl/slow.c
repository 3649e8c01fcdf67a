/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs stats slow: the slowest requests, and where their time went; wfs stats clients: who is there. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/sync.h"
#include "server/ctl/command.h"
#include "server/ctl/size.h"
#include "server/ctl/table.h"

static void add_time(struct table *t, json_t *o, const char *key)
{
	char text[SIZE_TEXT_MAX];
	uint64_t ns = command_number(o, key);

	table_add(t, ns ? latency_format((double)ns / SYNC_NS_PER_S, text) : "-");
}

static void add_request(struct table *t, json_t *o)
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
	json_t *root = NULL, *request;
	enum ctl_status status = command_get(c, strdup("/v1/slow"), &root);
	struct table t;
	size_t i;

	if (status != CTL_OK)
		return status;
	if (c->args.json) {
		command_print_json(root);
	} else {
		table_init(&t, titles);
		json_array_foreach (json_object_get(root, "slow"), i, request)
			add_request(&t, request);
		status = command_finish_table(&t);
	}
	json_decref(root);
	return status;
}

static void add_client(struct table *t, json_t *o)
{
	char text[SIZE_TEXT_MAX];

	table_add(t, command_text(o, "client"));
	table_add(t, command_text(o, "program"));
	table_add(t, command_flag(o, "tls") ? "yes" : "no");
	table_add(t, duration_format((uint64_t)json_number_value(json_object_get(o, "age_seconds")), text));
	table_add(t, count_format((double)command_number(o, "requests"), text));
	table_add(t, count_format((double)command_number(o, "errors"), text));
	table_add(t, size_format(command_number(o, "read_bytes"), text));
	table_add(t, size_format(command_number(o, "written_bytes"), text));
	table_add(t, count_format((double)command_number(o, "under_way"), text));
	table_add(t, count_format((double)command_number(o, "open_files"), text));
}

enum ctl_status cmd_stats_clients(struct ctl *c)
{
	static const char *const titles[] = { "CLIENT", "PROGRAM",  "TLS",        ">AGE",   ">REQUESTS", ">ERRORS",
		                              ">READ",  ">WRITTEN", ">UNDER WAY", ">FILES", NULL };
	json_t *root = NULL, *client;
	enum ctl_status status = command_get(c, strdup("/v1/connections"), &root);
	struct table t;
	size_t i;

	if (status != CTL_OK)
		return status;
	if (c->args.json) {
		command_print_json(root);
	} else {
		table_init(&t, titles);
		json_array_foreach (json_object_get(root, "rpc"), i, client)
			add_client(&t, client);
		status = command_finish_table(&t);
	}
	json_decref(root);
	return status;
}
