/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to the driver's files: the calls on volumes. Contracts: vfs_pool.h. */
#ifndef WFSD_CORE_FS_WFS3_DRIVER_H
#define WFSD_CORE_FS_WFS3_DRIVER_H

#include "core/fs/wfs3/pool.h"

int driver_volume_create(void *ctx, const char *pool, const char *name, uint64_t size_bytes);
int driver_volume_resize(void *ctx, const char *pool, const char *name, uint64_t size_bytes, bool shrink);
int driver_volume_rename(void *ctx, const char *pool, const char *name, const char *new_name);
int driver_volume_delete(void *ctx, const char *pool, const char *name);
int driver_volume_get(void *ctx, const char *pool, const char *name, struct volume_info *ret_info);
int driver_volume_each(void *ctx, const char *pool, void (*fn)(void *fn_ctx, const struct volume_info *info),
                       void *fn_ctx);

/* driver_fs.c */
int driver_fs_create(void *ctx, const char *pool, const char *name);
int driver_fs_rename(void *ctx, const char *pool, const char *name, const char *new_name);
int driver_fs_delete(void *ctx, const char *pool, const char *name);
int driver_fs_get(void *ctx, const char *pool, const char *name, struct fs_info *ret_info);
int driver_fs_each(void *ctx, const char *pool, void (*fn)(void *fn_ctx, const struct fs_info *info), void *fn_ctx);

/* driver_quota.c */
int driver_quota_set(void *ctx, const char *pool, const char *name, const struct quota_info *limits);
int driver_quota_each(void *ctx, const char *pool, const char *name,
                      void (*fn)(void *fn_ctx, const struct quota_info *info), void *fn_ctx);

#endif
