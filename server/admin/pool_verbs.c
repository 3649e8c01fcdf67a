/* SPDX-License-Identifier: BSD-3-Clause */
/* POST: create, import, export, destroy and sync pools; and remember which ones belong to us. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "server/admin/body.h"
#include "server/admin/call.h"
#include "server/admin/restore.h"
#include "server/admin/status.h"
#include "server/conf/state.h"
#include "server/export/export.h"

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

static int remember(struct call *c, const char *name, const struct body_paths *devices, bool read_only)
{
	struct state_pool pool = {
		.name = name,
		.devices = devices->paths,
		.device_count = devices->count,
		.read_only = read_only,
	};
	int rc = state_put_pool(c->admin->config.state, &pool);

	daemon_problem_clear(c->admin->config.status, name);
	return rc < 0 ? err_add(rc, "pool '%s' is imported, but will not be at the next start", name) : 0;
}

int pool_verb_create(struct call *c)
{
	const struct pool_admin *p = &c->admin->config.pools;
	struct pool_create_args args = { 0 };
	struct body_paths devices;
	unsigned groups[BODY_PATHS_MAX];
	uint64_t mirror = 1;
	const struct body_field fields[] = {
		{ .key = "mirror", .type = BODY_SIZE, .ret = &mirror },
		{ .key = "name", .type = BODY_STRING, .required = true, .max = POOL_NAME_MAX, .ret = &args.name },
		{ .key = "devices", .type = BODY_PATHS, .required = true, .max = POOL_DEVICES_MAX, .ret = &devices },
		{ .key = "size_bytes", .type = BODY_SIZE, .ret = &args.file_size_bytes },
		{ .key = "force", .type = BODY_BOOL, .ret = &args.force },
	};
	int rc = body_read(c->body, fields, COUNT_OF(fields));

	if (rc < 0)
		return rc;
	args.devices = devices.paths;
	args.device_count = devices.count;
	if (!mirror || devices.count % mirror)
		return err_set(-EINVAL, "'mirror': %u devices do not make mirrors of that many each", devices.count);
	for (unsigned i = 0; i < devices.count; i++)
		groups[i] = (unsigned)(i / mirror);
	args.groups = groups;
	rc = p->driver->pool_create(p->ctx, &args);
	if (rc < 0)
		return rc;
	log_notice("admin", "pool created pool=%s devices=%u", args.name, devices.count);
	rc = remember(c, args.name, &devices, false);
	c->status = 201;
	return rc < 0 ? rc : answer_pool(c, args.name);
}

int pool_verb_import(struct call *c)
{
	const struct pool_admin *p = &c->admin->config.pools;
	struct body_paths devices;
	bool read_only = false;
	char *name = NULL;
	const struct body_field fields[] = {
		{ .key = "devices", .type = BODY_PATHS, .required = true, .max = POOL_DEVICES_MAX, .ret = &devices },
		{ .key = "read_only", .type = BODY_BOOL, .ret = &read_only },
	};
	int rc = body_read(c->body, fields, COUNT_OF(fields));

	if (rc < 0)
		return rc;
	rc = p->driver->pool_import(p->ctx, devices.paths, devices.count, read_only, &name);
	if (rc < 0)
		return rc;
	log_notice("admin", "pool imported pool=%s read_only=%d", name, read_only);
	rc = remember(c, name, &devices, read_only);
	sync_mutex_lock(&c->admin->verb_lock);
	restore_mounts(c->admin->config.mounts, c->admin->config.state, c->admin->config.status, true);
	restore_drives(c->admin->config.mounts, c->admin->config.state, c->admin->config.status);
	sync_mutex_unlock(&c->admin->verb_lock);
	if (rc == 0)
		rc = answer_pool(c, name);
	free(name);
	return rc;
}

/* Refuse when an export uses a volume of the pool, or a mount stands on one. */
static int check_unused(struct call *c, const char *pool)
{
	char path[VFS_PATH_MAX], name[EXPORT_NAME_MAX + 1];

	snprintf(path, sizeof(path), "/%s", pool);
	if (export_find_user(c->admin->config.exports, path, name))
		return err_set(-EBUSY, "export '%s' uses a volume of pool '%s': remove it first", name, pool);
	return call_check_no_mount(c, path);
}

/* What stands on files of the pool ends before it. */
static void remove_mounts(struct call *c, const char *pool)
{
	char path[VFS_PATH_MAX];

	snprintf(path, sizeof(path), "/%s", pool);
	call_remove_mounts(c, path);
}

static int forget(struct call *c, const char *pool)
{
	bool problem = daemon_problem_clear(c->admin->config.status, pool);
	int rc = state_drop_pool(c->admin->config.state, pool);

	if (rc < 0)
		return err_add(rc, "pool '%s' is gone, but will be looked for at the next start", pool);
	return problem ? 1 : 0;
}

int pool_verb_export(struct call *c)
{
	const struct pool_admin *p = &c->admin->config.pools;
	bool force = false;
	const struct body_field fields[] = { { .key = "force", .type = BODY_BOOL, .ret = &force } };
	int rc = body_read(c->body, fields, COUNT_OF(fields));

	if (rc < 0)
		return rc;
	sync_mutex_lock(&c->admin->verb_lock);
	rc = force ? 0 : check_unused(c, c->names[0]);
	if (force)
		remove_mounts(c, c->names[0]);
	if (rc == 0)
		rc = p->driver->pool_export(p->ctx, c->names[0], force);
	sync_mutex_unlock(&c->admin->verb_lock);
	/* One that could not be imported at the start can be given up, too. */
	if (rc == -ENOENT)
		return forget(c, c->names[0]) > 0 ? 0 : err_set(-ENOENT, "no pool '%s'", c->names[0]);
	if (rc < 0)
		return rc;
	log_notice("admin", "pool exported pool=%s force=%d", c->names[0], force);
	rc = forget(c, c->names[0]);
	return rc < 0 ? rc : 0;
}

int pool_verb_destroy(struct call *c)
{
	const struct pool_admin *p = &c->admin->config.pools;
	int rc = body_read(c->body, NULL, 0);

	if (rc < 0)
		return rc;
	sync_mutex_lock(&c->admin->verb_lock);
	rc = check_unused(c, c->names[0]);
	if (rc == 0)
		rc = p->driver->pool_destroy(p->ctx, c->names[0]);
	sync_mutex_unlock(&c->admin->verb_lock);
	if (rc < 0)
		return rc;
	log_notice("admin", "pool destroyed pool=%s", c->names[0]);
	rc = forget(c, c->names[0]);
	return rc < 0 ? rc : 0;
}

int pool_verb_sync(struct call *c)
{
	const struct pool_admin *p = &c->admin->config.pools;
	int rc = body_read(c->body, NULL, 0);

	if (rc == 0)
		rc = p->driver->pool_sync(p->ctx, c->names[0]);
	return rc < 0 ? rc : answer_pool(c, c->names[0]);
}
