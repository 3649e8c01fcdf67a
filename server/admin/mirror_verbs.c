/* SPDX-License-Identifier: BSD-3-Clause */
/* POST: attach, detach and bring back devices of a pool; and remember which devices it has now. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "server/admin/body.h"
#include "server/admin/call.h"
#include "server/conf/state.h"

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/* The devices that are there now. One that is missing has to be brought back by its path. */
static int remember_devices(struct call *c, const char *name)
{
	const struct pool_admin *p = &c->admin->config.pools;
	struct pool_info *info = malloc(sizeof(*info));
	const char *paths[POOL_DEVICES_MAX];
	struct state_pool pool = { .name = name, .devices = paths };
	int rc = info ? p->driver->pool_get(p->ctx, name, info) : err_set(-ENOMEM, "pool '%s'", name);

	for (unsigned i = 0; rc == 0 && i < info->device_count; i++)
		if (info->devices[i].path[0])
			paths[pool.device_count++] = info->devices[i].path;
	if (rc == 0)
		rc = state_put_pool(c->admin->config.state, &pool);
	free(info);
	return rc < 0 ? err_add(rc, "pool '%s' is changed, but will be looked for on the old devices", name) : 0;
}

static int finish(struct call *c, int rc, const char *what)
{
	if (rc < 0)
		return rc;
	log_notice("admin", "pool changed pool=%s what=%s", c->names[0], what);
	rc = remember_devices(c, c->names[0]);
	return rc < 0 ? rc : answer_pool(c, c->names[0]);
}

int pool_verb_attach(struct call *c)
{
	const struct pool_admin *p = &c->admin->config.pools;
	const char *device = NULL, *new_device = NULL;
	bool force = false, replace = false;
	const struct body_field fields[] = {
		{ .key = "device", .type = BODY_STRING, .required = true, .max = VFS_PATH_MAX - 1, .ret = &device },
		{ .key = "new_device",
		  .type = BODY_STRING,
		  .required = true,
		  .max = VFS_PATH_MAX - 1,
		  .ret = &new_device },
		{ .key = "force", .type = BODY_BOOL, .ret = &force },
		{ .key = "replace", .type = BODY_BOOL, .ret = &replace },
	};
	int rc = body_read(c->body, fields, COUNT_OF(fields));

	if (rc == 0 && *new_device != '/')
		rc = err_set(-EINVAL, "'new_device' must be an absolute path");
	if (rc == 0)
		rc = p->driver->pool_attach(p->ctx, c->names[0], device, new_device, force, replace);
	return finish(c, rc, "attach");
}

/* A change of one device that is named. */
static int change_device(struct call *c, int (*change)(void *ctx, const char *pool, const char *device),
                         const char *what)
{
	const char *device = NULL;
	const struct body_field fields[] = {
		{ .key = "device", .type = BODY_STRING, .required = true, .max = VFS_PATH_MAX - 1, .ret = &device },
	};
	int rc = body_read(c->body, fields, COUNT_OF(fields));

	if (rc == 0)
		rc = change(c->admin->config.pools.ctx, c->names[0], device);
	return finish(c, rc, what);
}

int pool_verb_detach(struct call *c)
{
	return change_device(c, c->admin->config.pools.driver->pool_detach, "detach");
}

int pool_verb_online(struct call *c)
{
	return change_device(c, c->admin->config.pools.driver->pool_online, "online");
}
