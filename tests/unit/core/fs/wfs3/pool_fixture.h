/* SPDX-License-Identifier: BSD-3-Clause */
/* A whole storage core on simulated devices, for tests of pools: devices outlive the core, so that it can be restarted.
 */
#ifndef WFSD_TESTS_UNIT_CORE_FS_WFS3_POOL_FIXTURE_H
#define WFSD_TESTS_UNIT_CORE_FS_WFS3_POOL_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/budget.h"
#include "core/base/bytes.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/sync.h"
#include "core/blk/sim.h"
#include "core/cache/cache.h"
#include "core/fs/wfs3/wfs3.h"
#include "core/vfs/vfs.h"
#include "core/vfs/vfs_pool.h"

#define MIB (UINT64_C(1) << 20)
#define FIXTURE_DEVICES 4

struct fixture {
	struct blk_dev *devs[FIXTURE_DEVICES]; /* "sim0", "sim1", ... */
	struct budget *budget;
	struct cache *cache;
	struct vfs *vfs;
	struct wfs3 *w;
	struct pool_admin admin;
	size_t cache_bytes;
	uint64_t scrub_rate_bytes, scrub_interval_s, fill_rate_bytes;
	bool opened[FIXTURE_DEVICES];
};

static int fixture_open(void *ctx, const char *path, unsigned flags, struct blk_dev **ret)
{
	struct fixture *f = ctx;

	(void)flags;
	for (unsigned i = 0; i < FIXTURE_DEVICES; i++) {
		if (!f->devs[i] || strcmp(blk_name(f->devs[i]), path))
			continue;
		if (f->opened[i])
			return err_set(-EBUSY, "%s is open", path);
		f->opened[i] = true;
		*ret = f->devs[i];
		return 0;
	}
	return err_set(-ENOENT, "no device %s", path);
}

static void fixture_close(void *ctx, struct blk_dev *dev)
{
	struct fixture *f = ctx;

	for (unsigned i = 0; i < FIXTURE_DEVICES; i++)
		if (f->devs[i] == dev)
			f->opened[i] = false;
}

static void fixture_start(struct fixture *f)
{
	struct cache_config cache = { .min_bytes = MIB,
		                      .dirty_max_bytes = f->cache_bytes / 2,
		                      .dirty_background_bytes = f->cache_bytes / 4,
		                      .writeback_age_ms = 5000,
		                      .writeback_threads = 1,
		                      .readahead_max_bytes = 256 << 10 };
	struct wfs3_config config = { .txg_age_ms = 5000,
		                      .open = fixture_open,
		                      .close = fixture_close,
		                      .open_ctx = f,
		                      .scrub_rate_bytes = f->scrub_rate_bytes,
		                      .scrub_interval_s = f->scrub_interval_s,
		                      .resilver_rate_bytes = f->fill_rate_bytes,
		                      .node_cache_min_bytes = MIB };

	f->budget = budget_new(f->cache_bytes);
	assert_non_null(f->budget);
	cache.budget = f->budget;
	assert_int_equal(cache_new(&cache, &f->cache), 0);
	f->vfs = vfs_new();
	assert_non_null(f->vfs);
	config.vfs = f->vfs;
	config.cache = f->cache;
	config.budget = f->budget;
	assert_int_equal(wfs3_new(&config, &f->w), 0);
	f->admin = wfs3_pool_admin(f->w);
}

static void fixture_stop(struct fixture *f)
{
	wfs3_free(f->w);
	vfs_free(f->vfs);
	cache_free(f->cache);
	budget_free(f->budget);
}

/* With other settings. Pools are closed. */
static inline void fixture_restart(struct fixture *f)
{
	fixture_stop(f);
	fixture_start(f);
}

static void fixture_init(struct fixture *f, unsigned device_count, uint64_t device_bytes)
{
	*f = (struct fixture){ .cache_bytes = 16 * MIB };
	log_set_level(LOG_LEVEL_ERROR);
	for (unsigned i = 0; i < device_count; i++) {
		char name[16];

		snprintf(name, sizeof(name), "sim%u", i);
		assert_int_equal(blk_sim_new(name, device_bytes, &f->devs[i]), 0);
	}
	fixture_start(f);
}

static void fixture_done(struct fixture *f)
{
	fixture_stop(f);
	for (unsigned i = 0; i < FIXTURE_DEVICES; i++)
		blk_close(f->devs[i]);
	blk_thread_done();
}

/* The machine dies: whatever the core still writes while it is being torn down does not reach the devices. */
static inline void fixture_crash(struct fixture *f, uint64_t seed)
{
	for (unsigned i = 0; i < FIXTURE_DEVICES; i++)
		if (f->devs[i])
			blk_sim_unplug(f->devs[i]);
	log_set_level((enum log_level)0);
	fixture_stop(f);
	log_set_level(LOG_LEVEL_ERROR);
	for (unsigned i = 0; i < FIXTURE_DEVICES; i++) {
		if (!f->devs[i])
			continue;
		blk_sim_replug(f->devs[i]);
		blk_sim_power_cut(f->devs[i], seed ? seed + i : 0);
	}
	fixture_start(f);
}

static const char *const fixture_paths[] = { "sim0", "sim1", "sim2", "sim3" };

#define assert_ok(expr) assert_ok_at((expr), #expr, __FILE__, __LINE__)
static inline void assert_ok_at(int code, const char *what, const char *file, int line)
{
	char text[512];

	if (code)
		print_error("%s:%d: %s: %s\n", file, line, what, err_text(err_get(), code, 1, text, sizeof(text)));
	_assert_int_equal((LargestIntegralType)code, 0, file, line);
}

static inline int pool_create(struct fixture *f, const char *name, unsigned device_count)
{
	struct pool_create_args args = { .name = name, .devices = fixture_paths, .device_count = device_count };

	return f->admin.driver->pool_create(f->admin.ctx, &args);
}

static inline int pool_import(struct fixture *f, unsigned device_count)
{
	char *name = NULL;
	int ret = f->admin.driver->pool_import(f->admin.ctx, fixture_paths, device_count, false, &name);

	free(name);
	return ret;
}

static inline int pool_export(struct fixture *f, const char *name, bool force)
{
	return f->admin.driver->pool_export(f->admin.ctx, name, force);
}

static inline struct pool_info pool_info(struct fixture *f, const char *name)
{
	struct pool_info info;

	assert_ok(f->admin.driver->pool_get(f->admin.ctx, name, &info));
	return info;
}

static inline int volume_create(struct fixture *f, const char *name, uint64_t size_bytes)
{
	return f->admin.driver->volume_create(f->admin.ctx, "tank", name, size_bytes);
}

/* A block's contents follow from a number. */
static inline void pattern(uint8_t *buf, size_t len, uint64_t seed)
{
	size_t i;

	for (i = 0; i + 8 <= len; i += 8) {
		seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		put_le64(buf + i, seed);
	}
	for (; i < len; i++)
		buf[i] = (uint8_t)(seed >> 8 * (i % 8));
}

static inline int write_at(struct vfs_handle *h, uint64_t offset, const void *buf, size_t len, unsigned flags)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = len };

	return vfs_write(h, &iov, 1, offset, flags);
}

static inline int read_at(struct vfs_handle *h, uint64_t offset, void *buf, size_t len)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };

	return vfs_read(h, &iov, 1, offset, 0);
}

#endif
