/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs drive set, list, remove: drive letters of what is mounted in the daemon's namespace. */
#include <stdio.h>
#include <string.h>

#include "server/ctl/command.h"
#include "server/ctl/url.h"

enum ctl_status cmd_drive_set(struct ctl *c)
{
	const char *letter = c->operands[0], *path = c->operands[1];
	json_t *body = json_pack("{s:s, s:s}", "letter", letter, "path", path);

	return command_change(
	        c,
	        (struct command_request){
	                .method = "POST", .path = strdup("/v1/drives"), .body = body, .body_wanted = true },
	        "%s is drive %.1s:", path, letter);
}

static void add_row(struct table *t, const json_t *info)
{
	char drive[3];

	snprintf(drive, sizeof(drive), "%.1s:", command_text(info, "letter"));
	table_add(t, drive);
	table_add(t, command_text(info, "path"));
	table_add(t, command_flag(info, "mounted") ? "mounted" : "nothing is mounted there");
}

enum ctl_status cmd_drive_list(struct ctl *c)
{
	static const char *const titles[] = { "DRIVE", "PATH", "STATE", NULL };
	static const struct command_rows rows[] = { { "drives", add_row }, { NULL, NULL } };

	return command_list(c, strdup("/v1/drives"), titles, rows);
}

enum ctl_status cmd_drive_remove(struct ctl *c)
{
	const char *letter = c->operands[0];

	return command_change(
	        c, (struct command_request){ .method = "DELETE", .path = url_format("/v1/drives/%s", letter) },
	        "drive %.1s: is nobody's", letter);
}
