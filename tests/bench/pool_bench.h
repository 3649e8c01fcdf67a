/* SPDX-License-Identifier: BSD-3-Clause */
/* For benchmarks of the core: a pool "tank" on one device, with the cache and the driver that it needs. */
#ifndef WFSD_TESTS_BENCH_POOL_BENCH_H
#define WFSD_TESTS_BENCH_POOL_BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/budget.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/blk/blk.h"
#include "core/cache/cache.h"
#include "core/fs/wfs3/pool.h"
#include "core/fs/wfs3/wfs3.h"
#include "core/vfs/vfs_pool.h"

#define MIB ((size_t)1 << 20)

struct bench_pool {
	struct blk_dev *device;
	struct budget *budget;
	struct cache *cache;
	struct vfs *vfs;
	struct wfs3 *w;
	struct pool_admin admin;
};

static inline void check(int rc, const char *what)
{
	char text[256];

	if (!rc)
		return;
	(void)fprintf(stderr, "%s: %s\n", what, err_text(err_get(), rc, 0, text, sizeof(text)));
	exit(1);
}

static inline int bench_open_device(void *ctx, const char *path, unsigned flags, struct blk_dev **ret)
{
	(void)path;
	(void)flags;
	*ret = ((struct bench_pool *)ctx)->device;
	return 0;
}

static inline void bench_close_device(void *ctx, struct blk_dev *dev)
{
	(void)ctx;
	(void)dev;
}

/* On @device, a device or file that is overwritten; NULL: in memory, of @mem_bytes. @b stays where it is. */
static inline void bench_pool_init(struct bench_pool *b, const char *device, uint64_t mem_bytes, size_t budget_bytes,
                                   size_t dirty_max_bytes)
{
	struct cache_config cache = { .min_bytes = MIB,
		                      .dirty_max_bytes = dirty_max_bytes,
		                      .dirty_background_bytes = dirty_max_bytes / 2,
		                      .writeback_age_ms = 5000,
		                      .writeback_threads = 1 };
	struct wfs3_config config = { .open = bench_open_device, .close = bench_close_device, .open_ctx = b };
	const char *path = "device";
	struct pool_create_args args = { .name = "tank", .devices = &path, .device_count = 1, .force = true };

	log_set_level(LOG_LEVEL_ERROR);
	if (device)
		check(blk_open(device, 0, &b->device), "open the device");
	else
		check(blk_mem_new("mem", mem_bytes, &b->device), "make a device");
	b->budget = cache.budget = config.budget = budget_new(budget_bytes);
	check(cache_new(&cache, &b->cache), "make a cache");
	b->vfs = vfs_new();
	config.cache = b->cache;
	config.vfs = b->vfs;
	check(wfs3_new(&config, &b->w), "make the driver");
	b->admin = wfs3_pool_admin(b->w);
	check(b->admin.driver->pool_create(b->admin.ctx, &args), "create a pool");
}

static inline void bench_pool_done(struct bench_pool *b)
{
	wfs3_free(b->w);
	vfs_free(b->vfs);
	cache_free(b->cache);
	budget_free(b->budget);
	blk_close(b->device);
	blk_thread_done();
}

#endif
