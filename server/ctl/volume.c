/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs volume ... */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "server/ctl/command.h"
#include "server/ctl/size.h"
#include "server/ctl/url.h"

enum ctl_status cmd_volume_create(struct ctl *c)
{
	struct volume_name name;
	uint64_t size_bytes;
	int rc;

	rc = volume_name_parse(c->operands[0], &name);
	if (!rc)
		rc = size_parse(c->operands[1], &size_bytes);
	if (rc)
		return command_usage_err();
	return command_change(
	        c,
	        (struct command_request){ .method = "POST",
	                                  .path = strdup("/v1/volumes"),
	                                  .body = json_pack("{s:s, s:s, s:I}", "pool", name.pool, "name", name.volume,
	                                                    "size_bytes", (json_int_t)size_bytes),
	                                  .body_wanted = true,
	                                  .doing = "creating the volume" },
	        "volume %s is created", c->operands[0]);
}

static void add_row(struct table *t, const json_t *volume)
{
	char text[600];

	snprintf(text, sizeof(text), "%s/%s", command_text(volume, "pool"), command_text(volume, "name"));
	table_add(t, text);
	command_add_size(t, volume, "size_bytes");
	command_add_size(t, volume, "used_bytes");
	command_add_number(t, volume, "open_count");
	table_add(t, time_format(command_number(volume, "created_ns"), text));
}

enum ctl_status cmd_volume_list(struct ctl *c)
{
	static const char *const titles[] = { "NAME", ">SIZE", ">USED", ">OPEN", "CREATED", NULL };
	static const struct command_rows rows[] = { { "volumes", add_row }, { NULL, NULL } };

	return command_list(
	        c, c->operand_count ? url_format("/v1/volumes?pool=%s", c->operands[0]) : strdup("/v1/volumes"), titles,
	        rows);
}

enum ctl_status cmd_volume_show(struct ctl *c)
{
	struct volume_name name;
	json_t *volume = NULL;
	enum ctl_status status;
	char text[SIZE_TEXT_MAX];
	int rc;

	rc = volume_name_parse(c->operands[0], &name);
	if (rc)
		return command_usage_err();
	status = command_get(c, url_format("/v1/volumes/%s/%s", name.pool, name.volume), &volume);
	if (status != CTL_OK)
		return status;
	if (c->args.json) {
		command_print_json(volume);
	} else {
		command_print_pair("volume", "%s/%s", command_text(volume, "pool"), command_text(volume, "name"));
		command_print_pair("id", "%" PRIu64, command_number(volume, "id"));
		command_print_size("size", command_number(volume, "size_bytes"));
		command_print_size("used", command_number(volume, "used_bytes"));
		command_print_pair("open", "%" PRIu64, command_number(volume, "open_count"));
		command_print_pair("created", "%s", time_format(command_number(volume, "created_ns"), text));
		command_print_pair("modified", "%s", time_format(command_number(volume, "modified_ns"), text));
	}
	json_decref(volume);
	return CTL_OK;
}

enum ctl_status cmd_volume_resize(struct ctl *c)
{
	bool shrink = c->args.given & ARGS_SHRINK;
	struct volume_name name;
	enum ctl_status status;
	uint64_t size_bytes;
	json_t *body;
	int rc;

	rc = volume_name_parse(c->operands[0], &name);
	if (!rc)
		rc = size_parse(c->operands[1], &size_bytes);
	if (rc)
		return command_usage_err();
	if (shrink) {
		status = command_confirm(c, "Cut %s off at %s? What lies beyond is lost.", c->operands[0],
		                         c->operands[1]);
		if (status != CTL_OK)
			return status;
	}
	body = json_pack("{s:I}", "size_bytes", (json_int_t)size_bytes);
	if (body && shrink)
		json_object_set_new(body, "shrink", json_true());
	return command_change(
	        c,
	        (struct command_request){ .method = "POST",
	                                  .path = url_format("/v1/volumes/%s/%s/resize", name.pool, name.volume),
	                                  .body = body,
	                                  .body_wanted = true,
	                                  .doing = "resizing the volume" },
	        "volume %s is resized", c->operands[0]);
}

enum ctl_status cmd_volume_rename(struct ctl *c)
{
	struct volume_name name;
	int rc;

	rc = volume_name_parse(c->operands[0], &name);
	if (rc)
		return command_usage_err();
	return command_change(
	        c,
	        (struct command_request){ .method = "POST",
	                                  .path = url_format("/v1/volumes/%s/%s/rename", name.pool, name.volume),
	                                  .body = json_pack("{s:s}", "new_name", c->operands[1]),
	                                  .body_wanted = true },
	        "volume %s is now %s/%s", c->operands[0], name.pool, c->operands[1]);
}

enum ctl_status cmd_volume_delete(struct ctl *c)
{
	struct volume_name name;
	enum ctl_status status;
	int rc;

	rc = volume_name_parse(c->operands[0], &name);
	if (rc)
		return command_usage_err();
	status = command_confirm(c, "Delete volume %s and its data?", c->operands[0]);
	if (status != CTL_OK)
		return status;
	return command_change(c,
	                      (struct command_request){ .method = "DELETE",
	                                                .path = url_format("/v1/volumes/%s/%s", name.pool, name.volume),
	                                                .doing = "deleting the volume" },
	                      "volume %s is deleted", c->operands[0]);
}
