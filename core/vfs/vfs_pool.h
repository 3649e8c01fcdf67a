/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pools and volumes as administrators see them: what the admin socket calls, and what a pooled file system implements.
 * The front end knows this header only; the driver is registered by the composition root.
 *
 * All calls may block; any thread. Names follow vfs_check_name(). Everything that changes a pool is durable when it
 * returns 0.
 */
#ifndef WFSD_CORE_VFS_VFS_POOL_H
#define WFSD_CORE_VFS_VFS_POOL_H

#include "core/vfs/vfs.h"
#include "core/vfs/vfs_check.h"

#define POOL_DEVICES_MAX 64
#define POOL_NAME_MAX 63
#define POOL_REASON_MAX 512

enum pool_health {
	POOL_HEALTH_ONLINE,
	POOL_HEALTH_DEGRADED, /* it works, but some of its devices are away or not whole; reason says which */
	POOL_HEALTH_READ_ONLY, /* it could not go on writing; reason says why */
};

enum pool_device_state {
	POOL_DEVICE_ONLINE,
	POOL_DEVICE_FILLING, /* gets what it missed; not read yet */
	POOL_DEVICE_AWAY, /* missing, or it failed */
};

struct pool_device_info {
	char path[VFS_PATH_MAX]; /* "": it is not there */
	char uuid[37];
	unsigned group; /* devices of one group mirror each other */
	enum pool_device_state state;
	uint64_t away_txg; /* what it holds is whole up to this transaction group; 0: all, or nothing */
	uint64_t repairs; /* contents renewed from another device */
	char transport[16];
	char model[64];
	uint64_t size_bytes;
	uint32_t queue_depth;
	uint32_t logical_block_bytes;
	bool volatile_cache, fua, discard;
	uint64_t read_errors, write_errors, checksum_errors;
};

/* The log, and what the last import found in it. */
struct pool_log_info {
	uint64_t size_bytes, used_bytes; /* of the area; since the newest root */
	bool clean_start; /* the pool had been closed in an orderly way */
	uint64_t recovered_bytes; /* of log read at import */
	uint64_t recovered_records; /* in it */
	uint64_t recovered_changes, recovered_pages; /* applied */
	uint64_t recovery_ns;
};

/* As the driver stores them; 0: never. */
enum pool_scrub_state {
	POOL_SCRUB_NEVER,
	POOL_SCRUB_RUNNING,
	POOL_SCRUB_PAUSED,
	POOL_SCRUB_FINISHED,
	POOL_SCRUB_STOPPED,
};

enum pool_scrub_verb {
	POOL_SCRUB_START, /* anew, or on when it is paused */
	POOL_SCRUB_PAUSE,
	POOL_SCRUB_STOP,
};

/* Reading and verifying everything in the background. */
struct pool_scrub_info {
	enum pool_scrub_state state;
	uint64_t started_ns, ended_ns; /* since 1970 */
	uint64_t done_bytes, total_bytes; /* of data */
	uint64_t rate_bytes; /* per second, now */
	uint64_t damage_count; /* what is still damaged */
	uint64_t repaired_count; /* what was written anew from another copy */
	char error[160]; /* why it does not get on, "" otherwise */
};

struct pool_info {
	char name[POOL_NAME_MAX + 1];
	char uuid[37];
	enum pool_health health;
	char reason[POOL_REASON_MAX]; /* why it is read-only, or what was noticed at import (older root used, ...); ""
	                                 otherwise */
	uint64_t size_bytes; /* usable for data and metadata */
	uint64_t used_bytes; /* referenced by the newest state */
	uint64_t freeing_bytes; /* freed, not yet reusable */
	uint64_t reserved_bytes; /* kept back so that deleting always works */
	uint64_t available_bytes; /* for new writes */
	uint64_t bad_bytes; /* could not be written, and are not used any more */
	uint64_t txg; /* newest durable transaction group */
	uint64_t dirty_bytes;
	struct pool_log_info log;
	struct pool_scrub_info scrub;
	unsigned volume_count, fs_count;
	unsigned device_count;
	struct pool_device_info devices[POOL_DEVICES_MAX];
};

struct volume_info {
	char pool[POOL_NAME_MAX + 1];
	char name[VFS_NAME_MAX + 1];
	uint64_t id; /* dataset id, never reused in the pool */
	uint64_t size_bytes;
	uint64_t used_bytes; /* data blocks mapped, excluding metadata */
	uint64_t created_ns, modified_ns; /* since 1970 */
	unsigned open_count;
};

/* A tree of files. */
struct fs_info {
	char pool[POOL_NAME_MAX + 1];
	char name[VFS_NAME_MAX + 1];
	uint64_t id; /* dataset id, never reused in the pool */
	uint64_t used_bytes; /* of data, excluding metadata */
	uint64_t object_count; /* files, directories, ... */
	uint64_t created_ns; /* since 1970 */
};

enum pool_quota_owner {
	POOL_QUOTA_DATASET, /* the volume or file system itself */
	POOL_QUOTA_USER,
	POOL_QUOTA_GROUP,
	POOL_QUOTA_PROJECT,
};

/* What an owner may have in a volume or file system, and what it has. */
struct quota_info {
	enum pool_quota_owner owner;
	uint32_t id; /* of the user, group or project */
	uint64_t limit_bytes, limit_objects; /* 0: none */
	uint64_t used_bytes; /* of data, in whole blocks; holes take none */
	uint64_t used_objects; /* files, directories, ... */
};
#define POOL_QUOTA_KEEP UINT64_MAX /* a limit that stays as it is */

struct pool_create_args {
	const char *name;
	const char *const *devices; /* paths */
	unsigned device_count;
	const unsigned
	        *groups; /* by device, from 0 without gaps: those of one group mirror each other. NULL: none do */
	uint64_t file_size_bytes; /* != 0: paths are regular files to be created with this size (each) */
	bool force; /* overwrite what looks like another pool or file system */
};

/* Implemented by the driver. Every info array or object is filled by value. */
struct pool_driver {
	/* Errors: -EEXIST (name in use, file exists, or device holds something and !force), -EINVAL, -ENOSPC (too
	 * small), -EBUSY. The pool is imported (mounted at /NAME) when it returns 0. */
	int (*pool_create)(void *ctx, const struct pool_create_args *args);
	/* Import from device paths; *ret_name (malloc'ed, caller frees) is its name. -EMEDIUMTYPE not a pool, -ENOTSUP
	 * newer format, -EUCLEAN damaged, -ENODEV a device is missing, -EBUSY held by another (named), -EEXIST name
	 * taken. */
	int (*pool_import)(void *ctx, const char *const *devices, unsigned device_count, bool read_only,
	                   char **ret_name);
	/* Commit, close, unmount. -EBUSY while volumes are open, unless @force (their handles then answer -ESTALE). */
	int (*pool_export)(void *ctx, const char *name, bool force);
	/* Export and erase the labels. -EBUSY while volumes are open. */
	int (*pool_destroy)(void *ctx, const char *name);
	/* Commit everything. */
	int (*pool_sync)(void *ctx, const char *name);
	int (*pool_get)(void *ctx, const char *name, struct pool_info *ret);
	/*
	 * Let @new_device mirror @device (a path as the pool knows it, or a uuid); with @replace, @device leaves the
	 * pool once that is whole. It is filled in the background. -ENOENT no such device in the pool, -EEXIST it holds
	 * something and !force, -ENOSPC too small, -E2BIG too many devices, -EBUSY.
	 */
	int (*pool_attach)(void *ctx, const char *name, const char *device, const char *new_device, bool force,
	                   bool replace);
	/* -EBUSY: its group has no other whole one. */
	int (*pool_detach)(void *ctx, const char *name, const char *device);
	/* A device that was away is back, by this path. What it missed is copied to it in the background. */
	int (*pool_online)(void *ctx, const char *name, const char *path);
	/*
	 * Check the pool as its newest root has it, in the background: everything but the contents of volumes, or
	 * those, too. -EBUSY: it is being checked already.
	 */
	int (*pool_check)(void *ctx, const char *name, bool with_data);
	/* How far it is, or what the last one found since the import; the caller frees it with
	 * pool_check_report_done(). */
	int (*pool_check_get)(void *ctx, const char *name, struct pool_check_report *ret);
	/* Let it end early. */
	int (*pool_check_stop)(void *ctx, const char *name);
	/* -EINVAL: it is not being scrubbed. Goes on after a restart. */
	int (*pool_scrub)(void *ctx, const char *name, enum pool_scrub_verb verb);
	/* What the scrub found since it was started, or the pool was imported; the caller frees it. */
	int (*pool_scrub_get)(void *ctx, const char *name, struct pool_check_report *ret);
	/* Calls @fn for every imported pool. */
	int (*pool_each)(void *ctx, void (*fn)(void *fn_ctx, const struct pool_info *info), void *fn_ctx);

	/* @size: multiple of 4096, 4096..VOLUME_BYTES_MAX. */
	int (*volume_create)(void *ctx, const char *pool, const char *name, uint64_t size_bytes);
	/* Shrinking below the current size needs @shrink, else -EINVAL. Data beyond the end is dropped. */
	int (*volume_resize)(void *ctx, const char *pool, const char *name, uint64_t size_bytes, bool shrink);
	int (*volume_rename)(void *ctx, const char *pool, const char *name, const char *new_name);
	/* -EBUSY while it is open. Its space comes back in the background. */
	int (*volume_delete)(void *ctx, const char *pool, const char *name);
	int (*volume_get)(void *ctx, const char *pool, const char *name, struct volume_info *ret);
	int (*volume_each)(void *ctx, const char *pool, void (*fn)(void *fn_ctx, const struct volume_info *info),
	                   void *fn_ctx);

	/* Trees of files: directories in the pool's one. Names are those of volumes, too. */
	int (*fs_create)(void *ctx, const char *pool, const char *name);
	int (*fs_rename)(void *ctx, const char *pool, const char *name, const char *new_name);
	/* -EBUSY while somebody uses anything in it. Its space comes back in the background. */
	int (*fs_delete)(void *ctx, const char *pool, const char *name);
	int (*fs_get)(void *ctx, const char *pool, const char *name, struct fs_info *ret);
	int (*fs_each)(void *ctx, const char *pool, void (*fn)(void *fn_ctx, const struct fs_info *info), void *fn_ctx);

	/* Limits of an owner in a volume or file system, which stands still meanwhile; with the first one all files are
	 * counted. -EINVAL: a volume has no owners. */
	int (*quota_set)(void *ctx, const char *pool, const char *name, const struct quota_info *limits);
	/* The dataset, then owners that have something, or a limit; without any quota only the dataset. */
	int (*quota_each)(void *ctx, const char *pool, const char *name,
	                  void (*fn)(void *fn_ctx, const struct quota_info *info), void *fn_ctx);
};
#define VOLUME_BYTES_MAX (UINT64_C(1) << 60)

/* What the composition root hands to the admin front end. */
struct pool_admin {
	const struct pool_driver *driver;
	void *ctx;
};

#endif
