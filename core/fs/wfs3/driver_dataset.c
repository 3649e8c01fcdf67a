/* SPDX-License-Identifier: BSD-3-Clause */
/* What administrators' calls on volumes and on file trees have in common. */
#include <stdio.h>
#include <string.h>

#include "core/fs/wfs3/driver.h"

int driver_dataset_create(void *ctx, enum dataset_type type, const char *pool, const char *name, uint64_t size_bytes)
{
	struct pool *p;
	int ret = pool_get(ctx, pool, &p);

	if (ret)
		return ret;
	ret = dataset_create(p, type, name, size_bytes);
	pool_put(p);
	return ret;
}

int driver_dataset_rename(void *ctx, enum dataset_type type, const char *pool, const char *name, const char *new_name)
{
	struct pool *p;
	int ret = vfs_check_name(new_name, strlen(new_name));

	if (!ret)
		ret = pool_get(ctx, pool, &p);
	if (ret)
		return ret;
	ret = dataset_rename(p, type, name, new_name);
	pool_put(p);
	return ret;
}

int driver_dataset_delete(void *ctx, enum dataset_type type, const char *pool, const char *name)
{
	struct pool *p;
	int ret = pool_get(ctx, pool, &p);

	if (ret)
		return ret;
	ret = dataset_delete(p, type, name);
	pool_put(p);
	return ret;
}

int driver_dataset_find(void *ctx, enum dataset_type type, const char *pool, const char *name, struct pool **ret_pool,
                        struct dataset **ret)
{
	struct pool *p;
	int rc = pool_get(ctx, pool, &p);

	if (rc)
		return rc;
	rc = dataset_find(p, name, strlen(name), type, ret);
	if (rc)
		pool_put(p);
	else
		*ret_pool = p;
	return rc;
}

void driver_dataset_put(struct pool *p, struct dataset *ds)
{
	vfs_node_unref(&ds->self.node);
	pool_put(p);
}

bool driver_dataset_names(struct dataset *ds, char pool[POOL_NAME_MAX + 1], char name[VFS_NAME_MAX + 1])
{
	bool deleting;

	snprintf(pool, POOL_NAME_MAX + 1, "%s", ds->pool->name);
	sync_mutex_lock(&ds->pool->table_lock);
	snprintf(name, VFS_NAME_MAX + 1, "%s", ds->name);
	deleting = ds->state == DATASET_STATE_DELETING;
	sync_mutex_unlock(&ds->pool->table_lock);
	return deleting;
}

int driver_dataset_each(void *ctx, const char *pool, int (*fn)(void *fn_ctx, struct dataset *ds), void *fn_ctx)
{
	struct pool *p;
	int ret = pool_get(ctx, pool, &p);

	if (ret)
		return ret;
	ret = dataset_each(p, fn, fn_ctx);
	pool_put(p);
	return ret;
}
