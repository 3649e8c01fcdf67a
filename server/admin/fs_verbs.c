/* SPDX-License-Identifier: BSD-3-Clause */
/* POST and DELETE: create, rename and delete file systems (trees of files) in pools. */
#include "core/base/err.h"
#include "core/base/log.h"
#include "server/admin/body.h"
#include "server/admin/call.h"

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

int fs_verb_create(struct call *c)
{
	const struct pool_admin *p = &c->admin->config.pools;
	const char *pool, *name;
	const struct body_field fields[] = {
		{ .key = "pool", .type = BODY_STRING, .required = true, .max = POOL_NAME_MAX, .ret = &pool },
		{ .key = "name", .type = BODY_STRING, .required = true, .max = VFS_NAME_MAX, .ret = &name },
	};
	int rc = body_read(c->body, fields, COUNT_OF(fields));

	if (rc == 0)
		rc = p->driver->fs_create(p->ctx, pool, name);
	if (rc < 0)
		return rc;
	log_notice("admin", "file system created fs=%s/%s", pool, name);
	c->status = 201;
	return answer_fs(c, pool, name);
}

int fs_verb_rename(struct call *c)
{
	return call_rename(c, "file system", "fs", c->admin->config.pools.driver->fs_rename, answer_fs);
}

int fs_verb_delete(struct call *c)
{
	return call_delete(c, "file system", "fs", c->admin->config.pools.driver->fs_delete);
}
