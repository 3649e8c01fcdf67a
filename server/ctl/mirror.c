/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs pool attach, replace, detach, online */
#include <stdlib.h>
#include <string.h>

#include "server/ctl/command.h"
#include "server/ctl/url.h"

/* A path as the daemon must see it; a uuid (which is how a device that is not there is named) stays as it is. */
static json_t *device_name(const char *text)
{
	char *path = strlen(text) == 36 && !strchr(text, '/') ? strdup(text) : path_absolute(text);
	json_t *v = path ? json_string(path) : NULL;

	free(path);
	return v;
}

static enum ctl_status add(struct ctl *c, bool replace, const char *what)
{
	const char *name = c->operands[0];
	json_t *body = json_pack("{s:o, s:o, s:b}", "device", device_name(c->operands[1]), "new_device",
	                         device_name(c->operands[2]), "replace", (int)replace);

	if (body && (c->args.given & ARGS_FORCE))
		json_object_set_new(body, "force", json_true());
	return command_change(c,
	                      (struct command_request){ .method = "POST",
	                                                .path = url_format("/v1/pools/%s/attach", name),
	                                                .body = body,
	                                                .body_wanted = true,
	                                                .doing = "preparing the device" },
	                      "pool %s: %s is being filled%s", name, c->operands[2], what);
}

enum ctl_status cmd_pool_attach(struct ctl *c)
{
	return add(c, false, "");
}

enum ctl_status cmd_pool_replace(struct ctl *c)
{
	return add(c, true, "; the other one leaves the pool then");
}

static enum ctl_status change(struct ctl *c, const char *verb, const char *done)
{
	const char *name = c->operands[0];

	return command_change(
	        c,
	        (struct command_request){ .method = "POST",
	                                  .path = url_format("/v1/pools/%s/%s", name, verb),
	                                  .body = json_pack("{s:o}", "device", device_name(c->operands[1])),
	                                  .body_wanted = true,
	                                  .doing = "changing the pool" },
	        "pool %s: %s %s", name, c->operands[1], done);
}

enum ctl_status cmd_pool_detach(struct ctl *c)
{
	return change(c, "detach", "is not part of it any more");
}

enum ctl_status cmd_pool_online(struct ctl *c)
{
	return change(c, "online", "is back and gets what it missed");
}
