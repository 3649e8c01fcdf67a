/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs mount add, list, remove: what the daemon mounts in its namespace. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/ctl/command.h"
#include "server/ctl/url.h"

#define UMASK_DEFAULT 022

/* A relative path is one of this machine: the daemon has another folder. Malloc'ed; NULL: no memory. */
static char *source_of(const char *given)
{
	char *path, *source = NULL;

	if (given[0] == '/' || strchr(given, ':'))
		return strdup(given);
	path = path_absolute(given);
	if (path && asprintf(&source, "host:%s", path) < 0)
		source = NULL;
	free(path);
	return source;
}

enum ctl_status cmd_mount_add(struct ctl *c)
{
	const char *kind = c->operands[0], *path = c->operands[2];
	unsigned given = c->args.given;
	char *source = source_of(c->operands[1]);
	enum ctl_status status;
	json_t *body;

	if (!source)
		return command_fail(CTL_FAILED, "out of memory");
	body = json_pack("{s:s, s:s, s:s, s:b, s:I, s:I, s:I}", "kind", kind, "source", source, "path", path,
	                 "read_only", (int)((given & ARGS_READ_ONLY) != 0), "uid", (json_int_t)c->args.uid, "gid",
	                 (json_int_t)c->args.gid, "umask",
	                 (json_int_t)(given & ARGS_UMASK ? c->args.umask : UMASK_DEFAULT));
	status = command_change(
	        c,
	        (struct command_request){
	                .method = "POST", .path = strdup("/v1/mounts"), .body = body, .body_wanted = true },
	        "%s is mounted at %s", c->operands[1], path);
	free(source);
	return status;
}

static void add_row(struct table *t, const json_t *info, const char *access, const char *state)
{
	table_add(t, command_text(info, "path"));
	table_add(t, command_text(info, "kind"));
	table_add(t, command_text(info, "source"));
	table_add(t, access);
	table_add(t, state);
}

static const char *state_of(const json_t *info)
{
	const char *reason = command_text(info, "reason");

	if (command_flag(info, "leaving"))
		return "leaving: files are still open";
	return *reason ? reason : "mounted";
}

static void add_mounted(struct table *t, const json_t *info)
{
	add_row(t, info, command_flag(info, "is_read_only") ? "read-only" : "read-write", state_of(info));
}

static void add_missing(struct table *t, const json_t *info)
{
	add_row(t, info, "none", "missing: wfs status tells why");
}

enum ctl_status cmd_mount_list(struct ctl *c)
{
	static const char *const titles[] = { "PATH", "KIND", "SOURCE", "ACCESS", "STATE", NULL };
	static const struct command_rows rows[] = { { "mounts", add_mounted },
		                                    { "missing", add_missing },
		                                    { NULL, NULL } };

	return command_list(c, strdup("/v1/mounts"), titles, rows);
}

enum ctl_status cmd_mount_remove(struct ctl *c)
{
	const char *path = c->operands[0];
	json_t *body = json_pack("{s:s, s:b}", "path", path, "force", (int)((c->args.given & ARGS_FORCE) != 0));

	return command_change(
	        c,
	        (struct command_request){
	                .method = "POST", .path = strdup("/v1/mounts/remove"), .body = body, .body_wanted = true },
	        "%s is unmounted", path);
}
