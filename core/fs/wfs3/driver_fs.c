/* SPDX-License-Identifier: BSD-3-Clause */
/* Administrators' calls on file trees (pool_driver). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/err.h"
#include "core/fs/wfs3/driver.h"

int driver_fs_create(void *ctx, const char *pool, const char *name)
{
	int ret = vfs_check_name(name, strlen(name));

	return ret ? ret : driver_dataset_create(ctx, DATASET_TYPE_TREE, pool, name, 0);
}

int driver_fs_rename(void *ctx, const char *pool, const char *name, const char *new_name)
{
	return driver_dataset_rename(ctx, DATASET_TYPE_TREE, pool, name, new_name);
}

int driver_fs_delete(void *ctx, const char *pool, const char *name)
{
	return driver_dataset_delete(ctx, DATASET_TYPE_TREE, pool, name);
}

/* -ENOENT: it has no name any more, and only its space is still to be freed. */
static int fs_info(struct dataset *ds, struct fs_info *ret)
{
	bool deleting;

	memset(ret, 0, sizeof(*ret));
	deleting = driver_dataset_names(ds, ret->pool, ret->name);
	ret->id = ds->id;
	ret->used_bytes = __atomic_load_n(&ds->used_blocks, __ATOMIC_RELAXED) * WFS3_BLOCK_BYTES;
	ret->object_count = __atomic_load_n(&ds->object_count, __ATOMIC_RELAXED);
	ret->created_ns = ds->created_ns;
	return deleting ? err_set(-ENOENT, "the file system is deleted") : 0;
}

int driver_fs_get(void *ctx, const char *pool, const char *name, struct fs_info *ret_info)
{
	struct dataset *ds;
	struct pool *p;
	int ret = driver_dataset_find(ctx, DATASET_TYPE_TREE, pool, name, &p, &ds);

	if (ret)
		return ret;
	ret = fs_info(ds, ret_info);
	driver_dataset_put(p, ds);
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

	return driver_dataset_each(ctx, pool, each_fs_one, &e);
}
