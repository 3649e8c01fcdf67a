/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs fs ... */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "server/ctl/command.h"
#include "server/ctl/size.h"
#include "server/ctl/url.h"

enum ctl_status cmd_fs_create(struct ctl *c)
{
	struct volume_name name;

	if (volume_name_parse(c->operands[0], &name))
		return command_usage_err();
	return command_change(
	        c,
	        (struct command_request){ .method = "POST",
	                                  .path = strdup("/v1/filesystems"),
	                                  .body = json_pack("{s:s, s:s}", "pool", name.pool, "name", name.volume),
	                                  .body_wanted = true,
	                                  .doing = "creating the file system" },
	        "file system %s is created", c->operands[0]);
}

static void add_row(struct table *t, const json_t *fs)
{
	char text[600];

	snprintf(text, sizeof(text), "%s/%s", command_text(fs, "pool"), command_text(fs, "name"));
	table_add(t, text);
	command_add_size(t, fs, "used_bytes");
	command_add_number(t, fs, "object_count");
	table_add(t, time_format(command_number(fs, "created_ns"), text));
}

enum ctl_status cmd_fs_list(struct ctl *c)
{
	static const char *const titles[] = { "NAME", ">USED", ">OBJECTS", "CREATED", NULL };
	static const struct command_rows rows[] = { { "filesystems", add_row }, { NULL, NULL } };

	return command_list(
	        c, c->operand_count ? url_format("/v1/filesystems?pool=%s", c->operands[0]) : strdup("/v1/filesystems"),
	        titles, rows);
}

enum ctl_status cmd_fs_rename(struct ctl *c)
{
	struct volume_name name;

	if (volume_name_parse(c->operands[0], &name))
		return command_usage_err();
	return command_change(
	        c,
	        (struct command_request){ .method = "POST",
	                                  .path = url_format("/v1/filesystems/%s/%s/rename", name.pool, name.volume),
	                                  .body = json_pack("{s:s}", "new_name", c->operands[1]),
	                                  .body_wanted = true },
	        "file system %s is now %s/%s", c->operands[0], name.pool, c->operands[1]);
}

enum ctl_status cmd_fs_delete(struct ctl *c)
{
	struct volume_name name;
	enum ctl_status status;

	if (volume_name_parse(c->operands[0], &name))
		return command_usage_err();
	status = command_confirm(c, "Delete file system %s and all files in it?", c->operands[0]);
	if (status != CTL_OK)
		return status;
	return command_change(
	        c,
	        (struct command_request){ .method = "DELETE",
	                                  .path = url_format("/v1/filesystems/%s/%s", name.pool, name.volume),
	                                  .doing = "deleting the file system" },
	        "file system %s is deleted", c->operands[0]);
}
