/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * WFS v3, for the composition root: a driver that creates, imports and serves pools. Everything else goes through vfs.h
 * (files) and vfs_pool.h (administration).
 */
#ifndef WFSD_CORE_FS_WFS3_WFS3_H
#define WFSD_CORE_FS_WFS3_WFS3_H

#include <stddef.h>

#include "core/vfs/vfs_pool.h"

struct blk_dev;
struct budget;
struct cache;
struct metrics;
struct wfs3;

/* Opens a device by path; the default is blk_open(). Tests hand in simulated devices. */
typedef int wfs3_open_fn(void *ctx, const char *path, unsigned blk_flags, struct blk_dev **ret);
typedef void wfs3_close_fn(void *ctx, struct blk_dev *dev);

/* Bounds of transactions on file trees; 0: a default. */
struct wfs3_tx_limits {
	size_t bytes_max; /* of memory that one holds: what it changes, and what it has to remember; 8 MiB */
	uint64_t ops_max; /* operations in one; 20000 */
	unsigned count_max; /* running in one pool; 256 */
	uint32_t age_max_ms; /* 300000 */
};

struct wfs3_config {
	struct vfs *vfs; /* pools are mounted here as /NAME */
	struct cache *cache;
	struct budget *budget; /* the node caches join it */
	struct metrics *metrics; /* or NULL */
	size_t node_cache_min_bytes; /* guaranteed share of each pool's node cache */
	unsigned txg_age_ms; /* a transaction group is committed at the latest this long after its first change */
	uint64_t scrub_rate_bytes; /* per second; 0: 64 MiB */
	uint64_t resilver_rate_bytes; /* per second, of filling a device of a mirror; 0: 256 MiB */
	uint64_t scrub_interval_s; /* a scrub begins so long after the last one; 0: only when it is asked for */
	struct wfs3_tx_limits tx_limits;
	wfs3_open_fn *open; /* NULL: blk_open(), blk_close() */
	wfs3_close_fn *close;
	void *open_ctx;
};

/* 0 or -ENOMEM. */
int wfs3_new(const struct wfs3_config *config, struct wfs3 **ret);
/* Exports every pool by force first. */
void wfs3_free(struct wfs3 *w);
struct pool_admin wfs3_pool_admin(struct wfs3 *w);

#endif
