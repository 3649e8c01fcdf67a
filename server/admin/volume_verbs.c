/* SPDX-License-Identifier: BSD-3-Clause */
/* POST and DELETE: create, resize, rename and delete volumes. */
#include <errno.h>
#include <stdio.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "server/admin/body.h"
#include "server/admin/call.h"
#include "server/export/export.h"

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

int volume_verb_create(struct call *c)
{
	const struct pool_admin *p = &c->admin->config.pools;
	const char *pool, *name;
	uint64_t size_bytes;
	const struct body_field fields[] = {
		{ .key = "pool", .type = BODY_STRING, .required = true, .max = POOL_NAME_MAX, .ret = &pool },
		{ .key = "name", .type = BODY_STRING, .required = true, .max = VFS_NAME_MAX, .ret = &name },
		{ .key = "size_bytes", .type = BODY_SIZE, .required = true, .ret = &size_bytes },
	};
	int rc = body_read(c->body, fields, COUNT_OF(fields));

	if (rc < 0)
		return rc;
	rc = p->driver->volume_create(p->ctx, pool, name, size_bytes);
	if (rc < 0)
		return rc;
	log_notice("admin", "volume created volume=%s/%s size_bytes=%llu", pool, name, (unsigned long long)size_bytes);
	c->status = 201;
	return answer_volume(c, pool, name);
}

int volume_verb_resize(struct call *c)
{
	const struct pool_admin *p = &c->admin->config.pools;
	uint64_t size_bytes;
	bool shrink = false;
	const struct body_field fields[] = {
		{ .key = "size_bytes", .type = BODY_SIZE, .required = true, .ret = &size_bytes },
		{ .key = "shrink", .type = BODY_BOOL, .ret = &shrink },
	};
	int rc = body_read(c->body, fields, COUNT_OF(fields));
	char path[VFS_PATH_MAX];

	if (rc < 0)
		return rc;
	snprintf(path, sizeof(path), "/%s/%s", c->names[0], c->names[1]);
	sync_mutex_lock(&c->admin->verb_lock);
	rc = shrink ? call_check_no_mount(c, path) : 0;
	if (rc == 0)
		rc = p->driver->volume_resize(p->ctx, c->names[0], c->names[1], size_bytes, shrink);
	sync_mutex_unlock(&c->admin->verb_lock);
	if (rc < 0)
		return rc;
	log_notice("admin", "volume resized volume=%s/%s size_bytes=%llu", c->names[0], c->names[1],
	           (unsigned long long)size_bytes);
	return answer_volume(c, c->names[0], c->names[1]);
}

int call_check_unused(struct call *c, const char *what)
{
	char path[VFS_PATH_MAX], name[EXPORT_NAME_MAX + 1];

	snprintf(path, sizeof(path), "/%s/%s", c->names[0], c->names[1]);
	if (export_find_user(c->admin->config.exports, path, name))
		return err_set(-EBUSY, "export '%s' uses %s '%s/%s': remove it first", name, what, c->names[0],
		               c->names[1]);
	return call_check_no_mount(c, path);
}

int call_rename(struct call *c, const char *what, const char *key, call_rename_fn *rename, call_answer_fn *answer)
{
	const char *new_name;
	const struct body_field fields[] = {
		{ .key = "new_name", .type = BODY_STRING, .required = true, .max = VFS_NAME_MAX, .ret = &new_name },
	};
	int rc = body_read(c->body, fields, COUNT_OF(fields));

	if (rc < 0)
		return rc;
	sync_mutex_lock(&c->admin->verb_lock);
	rc = call_check_unused(c, what);
	if (rc == 0)
		rc = rename(c->admin->config.pools.ctx, c->names[0], c->names[1], new_name);
	sync_mutex_unlock(&c->admin->verb_lock);
	if (rc < 0)
		return rc;
	log_notice("admin", "%s renamed %s=%s/%s new_name=%s", what, key, c->names[0], c->names[1], new_name);
	return answer(c, c->names[0], new_name);
}

int call_delete(struct call *c, const char *what, const char *key, call_delete_fn *remove)
{
	int rc = body_read(c->body, NULL, 0);

	if (rc < 0)
		return rc;
	sync_mutex_lock(&c->admin->verb_lock);
	rc = call_check_unused(c, what);
	if (rc == 0)
		rc = remove(c->admin->config.pools.ctx, c->names[0], c->names[1]);
	sync_mutex_unlock(&c->admin->verb_lock);
	if (rc == 0)
		log_notice("admin", "%s deleted %s=%s/%s", what, key, c->names[0], c->names[1]);
	return rc;
}

int volume_verb_rename(struct call *c)
{
	return call_rename(c, "volume", "volume", c->admin->config.pools.driver->volume_rename, answer_volume);
}

int volume_verb_delete(struct call *c)
{
	return call_delete(c, "volume", "volume", c->admin->config.pools.driver->volume_delete);
}
