/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs pool ... */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "server/ctl/command.h"
#include "server/ctl/size.h"
#include "server/ctl/url.h"

/* The paths as the daemon must see them; NULL when one is no UTF-8 or memory is short. */
static json_t *absolute_paths(char *const *paths, int count)
{
	json_t *array = json_array();

	for (int i = 0; i < count && array; i++) {
		char *path = path_absolute(paths[i]);

		if (!path || json_array_append_new(array, json_string(path))) {
			json_decref(array);
			array = NULL;
		}
		free(path);
	}
	return array;
}

/*
 * Take the words "mirror" out of @operands. *ret_width: how many devices stand behind each of them, 1 without the word;
 * 0 when their numbers differ.
 */
static int take_mirrors(char **operands, int count, int *ret_width)
{
	int kept = 0, width = 0, mirrors = 0;

	for (int i = 0; i < count; i++) {
		if (!strcmp(operands[i], "mirror"))
			mirrors++;
		else
			operands[kept++] = operands[i];
		if (mirrors && (i + 1 == count || !strcmp(operands[i + 1], "mirror")) && kept) {
			width = width ? width : kept;
			if (kept != width * mirrors)
				width = -1;
		}
	}
	*ret_width = !mirrors ? 1 : width < 0 ? 0 : width;
	return kept;
}

enum ctl_status cmd_pool_create(struct ctl *c)
{
	const char *name = c->operands[0];
	int width, count = take_mirrors(c->operands + 1, c->operand_count - 1, &width);
	json_t *devices, *body;
	uint64_t size_bytes = 0;
	int rc;

	if (c->args.size) {
		rc = size_parse(c->args.size, &size_bytes);
		if (rc)
			return command_usage_err();
		if (!size_bytes)
			return command_fail(CTL_USAGE, "--size 0: a pool needs room");
	}
	if (!width)
		return command_fail(CTL_USAGE, "all mirrors of a pool have the same number of devices");
	devices = absolute_paths(c->operands + 1, count);
	body = json_pack("{s:s, s:o}", "name", name, "devices", devices);
	if (body && width > 1)
		json_object_set_new(body, "mirror", json_integer(width));
	if (body && size_bytes)
		json_object_set_new(body, "size_bytes", json_integer((json_int_t)size_bytes));
	if (body && (c->args.given & ARGS_FORCE))
		json_object_set_new(body, "force", json_true());
	return command_change(c,
	                      (struct command_request){ .method = "POST",
	                                                .path = strdup("/v1/pools"),
	                                                .body = body,
	                                                .body_wanted = true,
	                                                .doing = "creating the pool" },
	                      "pool %s is created", name);
}

static void add_pool(struct table *t, const json_t *pool)
{
	table_add(t, command_text(pool, "name"));
	table_add(t, command_text(pool, "health"));
	command_add_size(t, pool, "size_bytes");
	command_add_size(t, pool, "used_bytes");
	command_add_size(t, pool, "available_bytes");
	command_add_number(t, pool, "volume_count");
}

enum ctl_status cmd_pool_list(struct ctl *c)
{
	static const char *const titles[] = { "NAME", "HEALTH", ">SIZE", ">USED", ">AVAILABLE", ">VOLUMES", NULL };
	static const struct command_rows rows[] = { { "pools", add_pool }, { NULL, NULL } };

	return command_list(c, strdup("/v1/pools"), titles, rows);
}

static void add_device(struct table *t, const json_t *device)
{
	char path[4096 + 4];

	/* What is not there is named by its uuid. */
	snprintf(path, sizeof(path), "  %s", command_text(device, *command_text(device, "path") ? "path" : "uuid"));
	table_add(t, path);
	table_add(t, command_text(device, "transport"));
	command_add_size(t, device, "size_bytes");
	command_add_number(t, device, "queue_depth");
	table_add(t, command_text(device, "model"));
	command_add_number(t, device, "read_errors");
	command_add_number(t, device, "write_errors");
	command_add_number(t, device, "checksum_errors");
	command_add_number(t, device, "mirror");
	table_add(t, command_text(device, "state"));
}

static enum ctl_status print_devices(const json_t *pool)
{
	static const char *const titles[] = { "  DEVICE",   "TRANSPORT",     ">SIZE",   ">QUEUE", "MODEL", ">READ ERR",
		                              ">WRITE ERR", ">CHECKSUM ERR", ">MIRROR", "STATE",  NULL };
	static const struct command_rows rows[] = { { "devices", add_device }, { NULL, NULL } };

	return command_print_rows(pool, titles, rows);
}

static void print_log(const json_t *log)
{
	command_print_size("log used", command_number(log, "used_bytes"));
	if (json_is_true(json_object_get(log, "clean_start")))
		command_print_pair("start", "clean");
	else
		command_print_pair("start",
		                   "after a crash: %" PRIu64 " records, %" PRIu64 " changes and %" PRIu64
		                   " pages recovered in %.3f s",
		                   command_number(log, "recovered_records"), command_number(log, "recovered_changes"),
		                   command_number(log, "recovered_pages"),
		                   json_number_value(json_object_get(log, "recovery_seconds")));
}

static enum ctl_status print_pool(const json_t *pool)
{
	command_print_pair("pool", "%s", command_text(pool, "name"));
	command_print_pair("uuid", "%s", command_text(pool, "uuid"));
	command_print_pair("health", "%s", command_text(pool, "health"));
	if (*command_text(pool, "reason"))
		command_print_pair("note", "%s", command_text(pool, "reason"));
	command_print_size("size", command_number(pool, "size_bytes"));
	command_print_size("used", command_number(pool, "used_bytes"));
	command_print_size("freeing", command_number(pool, "freeing_bytes"));
	if (command_number(pool, "bad_bytes"))
		command_print_size("bad", command_number(pool, "bad_bytes"));
	command_print_size("reserved", command_number(pool, "reserved_bytes"));
	command_print_size("available", command_number(pool, "available_bytes"));
	command_print_size("dirty", command_number(pool, "dirty_bytes"));
	command_print_pair("txg", "%" PRIu64, command_number(pool, "txg"));
	command_print_pair("volumes", "%" PRIu64, command_number(pool, "volume_count"));
	print_log(json_object_get(pool, "log"));
	scrub_print(json_object_get(pool, "scrub"));
	return print_devices(pool);
}

enum ctl_status cmd_pool_status(struct ctl *c)
{
	bool one = c->operand_count == 1;
	json_t *root = NULL, *pool;
	enum ctl_status status;
	size_t i;

	status = command_get(c, one ? url_format("/v1/pools/%s", c->operands[0]) : strdup("/v1/pools"), &root);
	if (status != CTL_OK)
		return status;
	if (c->args.json) {
		command_print_json(root);
	} else if (one) {
		status = print_pool(root);
	} else {
		json_array_foreach (json_object_get(root, "pools"), i, pool) {
			if (i)
				putchar('\n');
			status = print_pool(pool);
		}
	}
	json_decref(root);
	return status;
}

enum ctl_status cmd_pool_import(struct ctl *c)
{
	json_t *body = json_pack("{s:o}", "devices", absolute_paths(c->operands, c->operand_count)), *answer = NULL;
	enum ctl_status status;

	if (!body)
		return command_fail(CTL_USAGE, "a path is not valid UTF-8");
	if (c->args.given & ARGS_READ_ONLY)
		json_object_set_new(body, "read_only", json_true());
	status = admin_request(&c->admin, "POST", "/v1/pools/import", body, "importing the pool", &answer);
	if (status != CTL_OK)
		return status;
	if (c->args.json) {
		command_print_json(answer);
	} else {
		printf("pool %s is imported, %s\n", command_text(answer, "name"), command_text(answer, "health"));
		if (*command_text(answer, "reason"))
			printf("note: %s\n", command_text(answer, "reason"));
	}
	json_decref(answer);
	return CTL_OK;
}

enum ctl_status cmd_pool_export(struct ctl *c)
{
	const char *name = c->operands[0];
	json_t *body = json_object();

	if (body && (c->args.given & ARGS_FORCE))
		json_object_set_new(body, "force", json_true());
	return command_change(c,
	                      (struct command_request){ .method = "POST",
	                                                .path = url_format("/v1/pools/%s/export", name),
	                                                .body = body,
	                                                .doing = "closing the pool" },
	                      "pool %s is exported", name);
}

enum ctl_status cmd_pool_destroy(struct ctl *c)
{
	const char *name = c->operands[0];
	enum ctl_status status = command_confirm(c, "Destroy pool %s and everything in it?", name);

	if (status != CTL_OK)
		return status;
	return command_change(c,
	                      (struct command_request){ .method = "POST",
	                                                .path = url_format("/v1/pools/%s/destroy", name),
	                                                .doing = "destroying the pool" },
	                      "pool %s is destroyed", name);
}

enum ctl_status cmd_pool_sync(struct ctl *c)
{
	const char *name = c->operands[0];

	return command_change(c,
	                      (struct command_request){ .method = "POST",
	                                                .path = url_format("/v1/pools/%s/sync", name),
	                                                .doing = "writing" },
	                      "pool %s is durable", name);
}
