/* SPDX-License-Identifier: BSD-3-Clause */
/* Administrators' calls on volumes (pool_driver). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/fs/wfs3/driver.h"

static int check_volume_args(const char *name, uint64_t size_bytes)
{
	int ret = vfs_check_name(name, strlen(name));

	if (ret)
		return ret;
	if (!size_bytes || size_bytes % WFS3_BLOCK_BYTES || size_bytes > VOLUME_BYTES_MAX)
		return err_set(-EINVAL, "size %" PRIu64 " is not a multiple of %u between %u and %" PRIu64, size_bytes,
		               WFS3_BLOCK_BYTES, WFS3_BLOCK_BYTES, VOLUME_BYTES_MAX);
	return 0;
}

int driver_volume_create(void *ctx, const char *pool, const char *name, uint64_t size_bytes)
{
	int ret = check_volume_args(name, size_bytes);

	return ret ? ret : driver_dataset_create(ctx, DATASET_TYPE_VOLUME, pool, name, size_bytes);
}

int driver_volume_resize(void *ctx, const char *pool, const char *name, uint64_t size_bytes, bool shrink)
{
	struct dataset *ds;
	struct pool *p;
	int ret = check_volume_args(name, size_bytes);

	if (!ret)
		ret = driver_dataset_find(ctx, DATASET_TYPE_VOLUME, pool, name, &p, &ds);
	if (ret)
		return ret;
	ret = volume_resize(ds, size_bytes, shrink);
	driver_dataset_put(p, ds);
	return ret;
}

int driver_volume_rename(void *ctx, const char *pool, const char *name, const char *new_name)
{
	return driver_dataset_rename(ctx, DATASET_TYPE_VOLUME, pool, name, new_name);
}

int driver_volume_delete(void *ctx, const char *pool, const char *name)
{
	return driver_dataset_delete(ctx, DATASET_TYPE_VOLUME, pool, name);
}

/* -ENOENT: it has no name any more, and only its space is still to be freed. */
static int volume_info(struct dataset *ds, struct volume_info *ret)
{
	bool deleting;
	int err;

	memset(ret, 0, sizeof(*ret));
	deleting = driver_dataset_names(ds, ret->pool, ret->name);
	err = deleting ? err_set(-ENOENT, "the volume is deleted") : dataset_load(ds);
	ret->id = ds->id;
	ret->size_bytes = __atomic_load_n(&ds->self.inode.size_bytes, __ATOMIC_RELAXED);
	ret->used_bytes = __atomic_load_n(&ds->used_blocks, __ATOMIC_RELAXED) * WFS3_BLOCK_BYTES;
	ret->created_ns = ds->created_ns;
	ret->modified_ns = (uint64_t)__atomic_load_n(&ds->self.inode.mtime_ns, __ATOMIC_RELAXED);
	ret->open_count = __atomic_load_n(&ds->open_count, __ATOMIC_SEQ_CST);
	return err;
}

int driver_volume_get(void *ctx, const char *pool, const char *name, struct volume_info *ret_info)
{
	struct dataset *ds;
	struct pool *p;
	int ret = driver_dataset_find(ctx, DATASET_TYPE_VOLUME, pool, name, &p, &ds);

	if (ret)
		return ret;
	ret = volume_info(ds, ret_info);
	driver_dataset_put(p, ds);
	return ret;
}

struct each_volume {
	void (*fn)(void *fn_ctx, const struct volume_info *info);
	void *fn_ctx;
};

static int each_volume_one(void *ctx, struct dataset *ds)
{
	struct each_volume *e = ctx;
	struct volume_info info;
	int ret;

	if (ds->type != DATASET_TYPE_VOLUME)
		return 0;
	ret = volume_info(ds, &info);
	if (!ret)
		e->fn(e->fn_ctx, &info);
	return ret == -ENOENT ? 0 : ret;
}

int driver_volume_each(void *ctx, const char *pool, void (*fn)(void *fn_ctx, const struct volume_info *info),
                       void *fn_ctx)
{
	struct each_volume e = { .fn = fn, .fn_ctx = fn_ctx };

	return driver_dataset_each(ctx, pool, each_volume_one, &e);
}
