/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs status, wfs reload. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "server/ctl/command.h"
#include "server/ctl/size.h"

static void add_pool(struct table *t, const json_t *pool)
{
	table_add(t, command_text(pool, "name"));
	table_add(t, command_text(pool, "health"));
	command_add_size(t, pool, "size_bytes");
	command_add_size(t, pool, "used_bytes");
	command_add_size(t, pool, "available_bytes");
	command_add_number(t, pool, "volume_count");
	table_add(t, command_text(pool, "reason"));
}

static enum ctl_status print_pools(const json_t *status)
{
	static const char *const titles[] = { "POOL", "HEALTH", ">SIZE", ">USED", ">AVAILABLE", ">VOLUMES", "", NULL };
	static const struct command_rows rows[] = { { "pools", add_pool }, { NULL, NULL } };

	return command_print_rows(status, titles, rows);
}

static enum ctl_status print_status(const json_t *s)
{
	const json_t *memory = json_object_get(s, "memory"), *nbd = json_object_get(s, "nbd"), *problem;
	char used[SIZE_TEXT_MAX], limit[SIZE_TEXT_MAX];
	size_t i;

	command_print_pair("wfsd", "%s, version %s, process %" PRIu64 ", up %s", command_text(s, "state"),
	                   command_text(s, "version"), command_number(s, "pid"),
	                   duration_format(command_number(s, "uptime_seconds"), used));
	command_print_pair("memory", "%s of %s", size_format(command_number(memory, "used_bytes"), used),
	                   size_format(command_number(memory, "limit_bytes"), limit));
	command_print_pair("nbd",
	                   "%" PRIu64 " of at most %" PRIu64 " connections; %" PRIu64 " accepted, %" PRIu64
	                   " refused; ended: %" PRIu64 " well, %" PRIu64 " with an error, %" PRIu64 " by a signal",
	                   command_number(nbd, "connections"), command_number(nbd, "max_connections"),
	                   command_number(nbd, "accepted"), command_number(nbd, "refused"),
	                   command_number(nbd, "ended_ok"), command_number(nbd, "ended_error"),
	                   command_number(nbd, "ended_signal"));
	command_print_pair("exports", "%" PRIu64, command_number(s, "export_count"));
	json_array_foreach (json_object_get(s, "problems"), i, problem)
		command_print_pair("problem", "%s", json_is_string(problem) ? json_string_value(problem) : "?");
	putchar('\n');
	return print_pools(s);
}

enum ctl_status cmd_status(struct ctl *c)
{
	json_t *root = NULL;
	enum ctl_status status = command_get(c, strdup("/v1/status"), &root);

	if (status != CTL_OK)
		return status;
	if (c->args.json)
		command_print_json(root);
	else
		status = print_status(root);
	json_decref(root);
	return status;
}

enum ctl_status cmd_reload(struct ctl *c)
{
	return command_change(c, (struct command_request){ .method = "POST", .path = strdup("/v1/reload") },
	                      "the configuration is read again");
}
