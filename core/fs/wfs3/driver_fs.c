/* SPDX-License-Identifier: BSD-3-Clause */
/* Administrators' calls on file trees (pool_driver). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/err.h"
#include "core/fs/wfs3/driver.h"

int driver_fs_create(void *ctx, const char *pool, const char *name)
{
	struct pool *p;
	int ret = vfs_check_name(name, strlen(name));

	if (!ret)
		ret = pool_get(ctx, pool, &p);
	if (ret)
		return ret;
	ret = dataset_create(p, DATASET_TYPE_TREE, name, 0);
	pool_put(p);
	return ret;
}

int driver_fs_rename(void *ctx, const char *pool, const char *name, const char *new_name)
{
	struct pool *p;
	int ret = vfs_check_name(new_name, strlen(new_name));

	if (!ret)
		ret = pool_get(ctx, pool, &p);
	if (ret)
		return ret;
	ret = dataset_rename(p, DATASET_TYPE_TREE, name, new_name);
	pool_put(p);
	return ret;
}

int driver_fs_delete(void *ctx, const char *pool, const char *name)
{
	struct pool *p;
	int ret = pool_get(ctx, pool, &p);

	if (ret)
		return ret;
	ret = dataset_delete(p, DATASET_TYPE_TREE, name);
	pool_put(p);
	return ret;
}

/* -ENOENT: it has no name any more, and only its space is still to be freed. */
static int fs_info(struct dataset *ds, struct fs_info *ret)
{
	bool deleting;

	memset(ret, 0, sizeof(*ret));
	snprintf(ret->pool, sizeof(ret->pool), "%s", ds->pool->name);
	sync_mutex_lock(&ds->pool->table_lock);
	snprintf(ret->name, sizeof(ret->name), "%s", ds->name);
	deleting = ds->state == DATASET_STATE_DELETING;
	sync_mutex_unlock(&ds->pool->table_lock);
	ret->id = ds->id;
	ret->used_bytes = __atomic_load_n(&ds->used_blocks, __ATOMIC_RELAXED) * WFS3_BLOCK_BYTES;
	ret->object_count = __atomic_load_n(&ds->object_count, __ATOMIC_RELAXED);
	ret->created_ns = ds->created_ns;
	return deleting ? err_set(-ENOENT, "the file system is deleted") : 0;
}

int driver_fs_get(void *ctx, const char *pool, const char *name, struct fs_info *ret_info)
{
	struct pool *p;
	struct dataset *ds;
	int ret = pool_get(ctx, pool, &p);

	if (ret)
		return ret;
	ret = dataset_find(p, name, strlen(name), DATASET_TYPE_TREE, &ds);
	if (!ret) {
		ret = fs_info(ds, ret_info);
		vfs_node_unref(&ds->self.node);
	}
	pool_put(p);
	return ret;
}

struct each_fs {
	void (*fn)(void *fn_ctx, const struct fs_info *info);
	void *fn_ctx;
};

static int each_fs_one(void *ctx, struct dataset *ds)
{
	struct each_fs *e = ctx;
	struct fs_info info;

	if (ds->type != DATASET_TYPE_TREE)
		return 0;
	if (!fs_info(ds, &info))
		e->fn(e->fn_ctx, &info);
	return 0;
}

int driver_fs_each(void *ctx, const char *pool, void (*fn)(void *fn_ctx, const struct fs_info *info), void *fn_ctx)
{
	struct each_fs e = { .fn = fn, .fn_ctx = fn_ctx };
	struct pool *p;
	int ret = pool_get(ctx, pool, &p);

	if (ret)
		return ret;
	ret = dataset_each(p, each_fs_one, &e);
	pool_put(p);
	return ret;
}
