/* SPDX-License-Identifier: BSD-3-Clause */
/* Quotas: what owners have in a volume or file system, and setting their limits. */
#include <errno.h>
#include <inttypes.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "server/admin/body.h"
#include "server/admin/call.h"

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))
#define NOT_GIVEN UINT64_MAX

static const char *const owners[] = {
	[POOL_QUOTA_DATASET] = "dataset",
	[POOL_QUOTA_USER] = "user",
	[POOL_QUOTA_GROUP] = "group",
	[POOL_QUOTA_PROJECT] = "project",
};

struct quotas {
	json_t *list;
	bool failed;
};

static void add_quota(void *ctx, const struct quota_info *info)
{
	struct quotas *q = ctx;
	json_t *one = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "owner", owners[info->owner], "id",
	                        (json_int_t)info->id, "limit_bytes", (json_int_t)info->limit_bytes, "used_bytes",
	                        (json_int_t)info->used_bytes, "limit_objects", (json_int_t)info->limit_objects,
	                        "used_objects", (json_int_t)info->used_objects);

	q->failed |= !one || json_array_append_new(q->list, one);
}

int read_quotas(struct call *c)
{
	const struct pool_admin *p = &c->admin->config.pools;
	struct quotas q = { .list = json_array() };
	int rc = p->driver->quota_each(p->ctx, c->names[0], c->names[1], add_quota, &q);

	if (!rc && (!q.list || q.failed))
		rc = err_set(-ENOMEM, "no memory for a list of quotas");
	if (rc) {
		json_decref(q.list);
		return rc;
	}
	return answer_object(c, c->status, json_pack("{s:o}", "quotas", q.list));
}

/* At most one of @numbers, by enum pool_quota_owner, is given. */
static int choose_owner(const uint64_t numbers[COUNT_OF(owners)], struct quota_info *ret)
{
	for (unsigned i = 0; i < COUNT_OF(owners); i++) {
		if (numbers[i] == NOT_GIVEN)
			continue;
		if (ret->owner != POOL_QUOTA_DATASET)
			return err_set(-EINVAL, "a quota is of a %s or of a %s", owners[ret->owner], owners[i]);
		if (numbers[i] >= UINT32_MAX)
			return err_set(-EINVAL, "there is no %s %" PRIu64, owners[i], numbers[i]);
		ret->owner = (enum pool_quota_owner)i;
		ret->id = (uint32_t)numbers[i];
	}
	return 0;
}

int quota_verb_set(struct call *c)
{
	const struct pool_admin *p = &c->admin->config.pools;
	struct quota_info limits = { .limit_bytes = POOL_QUOTA_KEEP, .limit_objects = POOL_QUOTA_KEEP };
	uint64_t numbers[COUNT_OF(owners)] = { NOT_GIVEN, NOT_GIVEN, NOT_GIVEN, NOT_GIVEN };
	const struct body_field fields[] = {
		{ .key = "user", .type = BODY_SIZE, .ret = &numbers[POOL_QUOTA_USER] },
		{ .key = "group", .type = BODY_SIZE, .ret = &numbers[POOL_QUOTA_GROUP] },
		{ .key = "project", .type = BODY_SIZE, .ret = &numbers[POOL_QUOTA_PROJECT] },
		{ .key = "limit_bytes", .type = BODY_SIZE, .ret = &limits.limit_bytes },
		{ .key = "limit_objects", .type = BODY_SIZE, .ret = &limits.limit_objects },
	};
	int rc = body_read(c->body, fields, COUNT_OF(fields));

	if (rc == 0)
		rc = choose_owner(numbers, &limits);
	if (rc == 0)
		rc = p->driver->quota_set(p->ctx, c->names[0], c->names[1], &limits);
	if (rc < 0)
		return rc;
	log_notice("admin", "quota set dataset=%s/%s owner=%s id=%u", c->names[0], c->names[1], owners[limits.owner],
	           limits.id);
	return read_quotas(c);
}
