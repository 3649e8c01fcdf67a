/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to the driver's files: the calls on volumes and file trees. Contracts, unless said here: vfs_pool.h. */
#ifndef WFSD_CORE_FS_WFS3_DRIVER_H
#define WFSD_CORE_FS_WFS3_DRIVER_H

#include "core/fs/wfs3/pool.h"

/* driver_dataset.c: for both types; @ctx is that of the calls. */
int driver_dataset_create(void *ctx, enum dataset_type type, const char *pool, const char *name, uint64_t size_bytes);
int driver_dataset_rename(void *ctx, enum dataset_type type, const char *pool, const char *name, const char *new_name);
int driver_dataset_delete(void *ctx, enum dataset_type type, const char *pool, const char *name);
/* The one of that name, and its pool, which stay until driver_dataset_put(). Errors of pool_get() and dataset_find().
 */
int driver_dataset_find(void *ctx, enum dataset_type type, const char *pool, const char *name, struct pool **ret_pool,
                        struct dataset **ret);
void driver_dataset_put(struct pool *p, struct dataset *ds);
/* The names of the pool and of the dataset. True: it has no name any more, and only its space is still to be freed. */
bool driver_dataset_names(struct dataset *ds, char pool[POOL_NAME_MAX + 1], char name[VFS_NAME_MAX + 1]);
/* As dataset_each(), of the pool with that name. */
int driver_dataset_each(void *ctx, const char *pool, int (*fn)(void *fn_ctx, struct dataset *ds), void *fn_ctx);

/* driver_volume.c */
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
