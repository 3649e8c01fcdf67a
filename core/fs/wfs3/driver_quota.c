/* SPDX-License-Identifier: BSD-3-Clause */
/* Administrators' calls on quotas (pool_driver). */
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/fs/wfs3/driver.h"
#include "core/fs/wfs3/quota.h"

static const enum quota_class classes[] = {
	[POOL_QUOTA_DATASET] = QUOTA_DATASET,
	[POOL_QUOTA_USER] = QUOTA_USER,
	[POOL_QUOTA_GROUP] = QUOTA_GROUP,
	[POOL_QUOTA_PROJECT] = QUOTA_PROJECT,
};

static int find(void *ctx, const char *pool, const char *name, struct pool **ret_pool, struct dataset **ret)
{
	int rc = pool_get(ctx, pool, ret_pool);

	if (rc)
		return rc;
	rc = dataset_find(*ret_pool, name, strlen(name), 0, ret);
	if (rc)
		pool_put(*ret_pool);
	return rc;
}

static void let_go(struct pool *p, struct dataset *ds)
{
	vfs_node_unref(&ds->self.node);
	pool_put(p);
}

int driver_quota_set(void *ctx, const char *pool, const char *name, const struct quota_info *limits)
{
	struct quota_item item = { .class = classes[limits->owner],
		                   .id = limits->id,
		                   .limit_bytes = limits->limit_bytes,
		                   .limit_objects = limits->limit_objects };
	struct dataset *ds;
	struct pool *p;
	int rc = find(ctx, pool, name, &p, &ds);

	if (rc)
		return rc;
	rc = quota_set(ds, &item);
	let_go(p, ds);
	return rc;
}

int driver_quota_each(void *ctx, const char *pool, const char *name,
                      void (*fn)(void *fn_ctx, const struct quota_info *info), void *fn_ctx)
{
	struct quota_item *all = NULL;
	struct dataset *ds;
	struct pool *p;
	size_t count = 0;
	int rc = find(ctx, pool, name, &p, &ds);

	if (rc)
		return rc;
	rc = quota_list(ds, &all, &count);
	for (size_t i = 0; i < count; i++) {
		const struct quota_item *q = &all[i];
		struct quota_info info = { .id = q->id,
			                   .limit_bytes = q->limit_bytes,
			                   .limit_objects = q->limit_objects,
			                   .used_bytes = q->used_blocks * WFS3_BLOCK_BYTES,
			                   .used_objects = q->used_objects };

		for (unsigned k = 0; k < sizeof(classes) / sizeof(classes[0]); k++)
			if (classes[k] == q->class)
				info.owner = (enum pool_quota_owner)k;
		fn(fn_ctx, &info);
	}
	free(all);
	let_go(p, ds);
	return rc;
}
