/* SPDX-License-Identifier: BSD-3-Clause */
/* A storage core on crafted devices: the pool to start from, and everything that can be asked of a pool. Nothing here
 * expects success: what a crafted pool answers is for the caller. */
#ifndef WFSD_TESTS_UNIT_CORE_FS_WFS3_CRAFT_CORE_H
#define WFSD_TESTS_UNIT_CORE_FS_WFS3_CRAFT_CORE_H

#include <errno.h>
#include <stdio.h>

#include "core/base/budget.h"
#include "core/base/log.h"
#include "core/cache/cache.h"
#include "core/fs/wfs3/wfs3.h"
#include "core/vfs/vfs_tree.h"
#include "tests/unit/core/fs/wfs3/craft.h"

#define CRAFT_MIB (UINT64_C(1) << 20)
#define CRAFT_VOLUME_BYTES (64 * CRAFT_MIB)
#define CRAFT_CELLS 900u /* enough for a tree with a node above its leaves */

struct craft_core {
	unsigned device_count;
	struct craft_disk *disks[CRAFT_DEVICES_MAX];
	bool opened[CRAFT_DEVICES_MAX];
	struct budget *budget;
	struct cache *cache;
	struct vfs *vfs;
	struct wfs3 *w;
	struct pool_admin admin;
};

static const char *const craft_paths[] = { "/disk0", "/disk1" };

static inline int craft_core_open(void *ctx, const char *path, unsigned flags, struct blk_dev **ret)
{
	struct craft_core *k = ctx;
	unsigned i = 0;

	(void)flags;
	while (i < k->device_count && strcmp(path, craft_paths[i]))
		i++;
	if (i == k->device_count)
		return err_set(-ENOENT, "no device %s", path);
	if (k->opened[i])
		return err_set(-EBUSY, "%s is open", path);
	k->opened[i] = true;
	*ret = &k->disks[i]->dev;
	return 0;
}

static inline void craft_core_close(void *ctx, struct blk_dev *dev)
{
	struct craft_core *k = ctx;

	for (unsigned i = 0; i < k->device_count; i++)
		if (&k->disks[i]->dev == dev)
			k->opened[i] = false;
}

static inline void craft_core_start(struct craft_core *k)
{
	struct cache_config cache = { .min_bytes = CRAFT_MIB,
		                      .dirty_max_bytes = 4 * CRAFT_MIB,
		                      .dirty_background_bytes = 2 * CRAFT_MIB,
		                      .writeback_age_ms = 5000,
		                      .writeback_threads = 1,
		                      .readahead_max_bytes = 256 << 10 };
	struct wfs3_config config = { .txg_age_ms = 5000,
		                      .open = craft_core_open,
		                      .close = craft_core_close,
		                      .open_ctx = k,
		                      .node_cache_min_bytes = CRAFT_MIB };

	k->budget = budget_new(16 * CRAFT_MIB);
	k->vfs = vfs_new();
	always(k->budget && k->vfs);
	cache.budget = config.budget = k->budget;
	always(cache_new(&cache, &k->cache) == 0);
	config.vfs = k->vfs;
	config.cache = k->cache;
	always(wfs3_new(&config, &k->w) == 0);
	k->admin = wfs3_pool_admin(k->w);
}

static inline void craft_core_stop(struct craft_core *k)
{
	wfs3_free(k->w);
	vfs_free(k->vfs);
	cache_free(k->cache);
	budget_free(k->budget);
}

static inline int craft_import(struct craft_core *k, bool read_only)
{
	char *name = NULL;
	int ret = k->admin.driver->pool_import(k->admin.ctx, craft_paths, k->device_count, read_only, &name);

	free(name);
	return ret;
}

static inline int craft_write(struct vfs_handle *h, uint64_t offset, uint64_t seed, size_t len)
{
	uint8_t buf[2 * WFS3_BLOCK_BYTES];
	struct iovec iov = { .iov_base = buf, .iov_len = len };

	always(len <= sizeof(buf));
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)((seed + i / 8) * 0x9e3779b1u >> 24);
	return vfs_write(h, &iov, 1, offset, 0);
}

static inline int craft_read(struct vfs_handle *h, uint64_t offset, size_t len)
{
	uint8_t buf[2 * WFS3_BLOCK_BYTES];
	struct iovec iov = { .iov_base = buf, .iov_len = len };

	return vfs_read(h, &iov, 1, offset, 0);
}

/* Changes of every kind that only the log has. */
static inline void craft_fill_log(struct craft_core *k, struct vfs_handle *a, struct vfs_handle *b)
{
	const struct pool_driver *d = k->admin.driver;

	always(!d->pool_sync(k->admin.ctx, "tank"));
	always(!craft_write(a, 3 * WFS3_CELL_BYTES, 5000, WFS3_BLOCK_BYTES) && !vfs_flush(a, 0));
	always(!craft_write(b, 0, 5001, 2 * WFS3_BLOCK_BYTES) && !vfs_flush(b, 0));
	for (uint64_t i = 0; i < 100; i++)
		always(!craft_write(b, i * 2 * WFS3_BLOCK_BYTES, 6000 + i, 2 * WFS3_BLOCK_BYTES));
	always(!vfs_flush(b, 0));
	always(!vfs_discard(b, 32 * WFS3_BLOCK_BYTES, 32 * WFS3_BLOCK_BYTES, 0) && !vfs_flush(b, 0));
	always(!vfs_zero(a, 40 * WFS3_CELL_BYTES, WFS3_BLOCK_BYTES, 0) && !vfs_flush(a, 0));
}

/* The pool to start from: "tank" with the volume "a", a block in each of many cells; "b", some blocks side by side; and
 * changes in a few transaction groups. */
#define CRAFT_WITH_LOG 1u /* it was not exported: the newest changes are in the log only */
#define CRAFT_MIRROR 2u /* two devices that mirror each other */

static inline void craft_core_make(struct craft_core *k, unsigned device_count, unsigned how)
{
	struct pool_create_args args = { .name = "tank", .devices = craft_paths, .device_count = device_count };
	static const unsigned one_group[CRAFT_DEVICES_MAX];
	const struct pool_driver *d;
	struct vfs_handle *a, *b;

	if (how & CRAFT_MIRROR)
		args.groups = one_group;
	*k = (struct craft_core){ .device_count = device_count };
	for (unsigned i = 0; i < device_count; i++)
		k->disks[i] = craft_disk_new(craft_paths[i], WFS3_POOL_BYTES_MIN);
	craft_core_start(k);
	d = k->admin.driver;
	always(!d->pool_create(k->admin.ctx, &args));
	always(!d->volume_create(k->admin.ctx, "tank", "a", CRAFT_VOLUME_BYTES));
	always(!d->volume_create(k->admin.ctx, "tank", "b", CRAFT_MIB));
	always(!vfs_open(k->vfs, "/tank/a", true, &a) && !vfs_open(k->vfs, "/tank/b", true, &b));
	for (uint64_t i = 0; i < CRAFT_CELLS; i++)
		always(!craft_write(a, i * WFS3_CELL_BYTES, i, WFS3_BLOCK_BYTES));
	always(!vfs_flush(a, 0));
	for (uint64_t i = 0; i < 40; i++)
		always(!craft_write(b, i * WFS3_BLOCK_BYTES, 1000 + i, WFS3_BLOCK_BYTES));
	always(!vfs_flush(b, 0));
	for (uint64_t i = 0; i < 20; i++)
		always(!craft_write(a, i * 40 * WFS3_CELL_BYTES, 2000 + i, WFS3_BLOCK_BYTES));
	always(!vfs_discard(b, 4 * WFS3_BLOCK_BYTES, 4 * WFS3_BLOCK_BYTES, 0) && !vfs_flush(b, 0));
	if (how & CRAFT_WITH_LOG) {
		craft_fill_log(k, a, b);
		for (unsigned i = 0; i < device_count; i++)
			craft_disk_save(k->disks[i]);
	}
	vfs_close(a);
	vfs_close(b);
	always(!d->pool_export(k->admin.ctx, "tank", false));
	for (unsigned i = 0; i < device_count; i++) {
		if (!(how & CRAFT_WITH_LOG))
			craft_disk_save(k->disks[i]);
		craft_disk_reset(k->disks[i]);
	}
}

static inline void craft_core_new(struct craft_core *k, unsigned device_count)
{
	craft_core_make(k, device_count, 0);
}

static inline void craft_core_free(struct craft_core *k)
{
	craft_core_stop(k);
	for (unsigned i = 0; i < k->device_count; i++)
		blk_close(&k->disks[i]->dev);
	blk_thread_done();
}

static inline void craft_core_reset(struct craft_core *k)
{
	for (unsigned i = 0; i < k->device_count; i++)
		craft_disk_reset(k->disks[i]);
}

static inline bool craft_core_written(const struct craft_core *k)
{
	bool written = false;

	for (unsigned i = 0; i < k->device_count; i++)
		written |= __atomic_load_n(&k->disks[i]->written, __ATOMIC_RELAXED);
	return written;
}

static inline struct craft craft_of(const struct craft_core *k)
{
	struct craft c = { .device_count = k->device_count };

	for (unsigned i = 0; i < k->device_count; i++)
		c.images[i] = k->disks[i]->bytes;
	return c;
}

static inline void craft_ignore_pool(void *ctx, const struct pool_info *info)
{
	*(unsigned *)ctx += info->device_count;
}

static inline void craft_ignore_volume(void *ctx, const struct volume_info *info)
{
	*(unsigned *)ctx += info->open_count;
}

static inline bool craft_ignore_entry(void *ctx, const struct vfs_dirent *e)
{
	*(uint64_t *)ctx += e->name_len + e->object;
	return true;
}

static inline void craft_list(struct vfs *v, const char *path)
{
	struct vfs_handle *h;
	uint64_t sum = 0;

	if (vfs_walk(v, &vfs_cred_root, NULL, NULL, path, 0, &h))
		return;
	(void)vfs_readdir(h, &vfs_cred_root, 0, craft_ignore_entry, &sum);
	vfs_close(h);
}

/* Read, overwrite and discard here and there. */
static inline void craft_use_volume(struct craft_core *k, const char *path)
{
	static const uint64_t places[] = { 0, 2, 39, 40, 41, 899, 900 };
	struct vfs_extent extents[64];
	struct vfs_handle *h;
	struct vfs_stat st;
	unsigned count;

	if (vfs_open(k->vfs, path, true, &h) && vfs_open(k->vfs, path, false, &h))
		return;
	(void)vfs_stat(h, &st);
	(void)vfs_extents(h, 0, CRAFT_MIB, 0, extents, 64, &count);
	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		(void)craft_read(h, places[i] * WFS3_CELL_BYTES, WFS3_BLOCK_BYTES);
		(void)craft_write(h, places[i] * WFS3_CELL_BYTES, i, 2 * WFS3_BLOCK_BYTES);
	}
	(void)vfs_flush(h, 0);
	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		(void)vfs_discard(h, places[i] * WFS3_CELL_BYTES, WFS3_BLOCK_BYTES, 0);
	(void)vfs_zero(h, 0, CRAFT_MIB, 0);
	(void)vfs_flush(h, 0);
	vfs_close(h);
}

/* Everything that can be asked of an imported pool, the answers do not matter; the pool is gone afterwards. */
static inline void craft_use_pool(struct craft_core *k)
{
	const struct pool_driver *d = k->admin.driver;
	void *ctx = k->admin.ctx;
	struct pool_info info;
	unsigned n = 0;

	(void)d->pool_each(ctx, craft_ignore_pool, &n);
	(void)d->volume_each(ctx, "tank", craft_ignore_volume, &n);
	craft_list(k->vfs, "/tank");
	craft_use_volume(k, "/tank/a");
	craft_use_volume(k, "/tank/b");
	(void)d->volume_create(ctx, "tank", "c", CRAFT_MIB);
	craft_use_volume(k, "/tank/c");
	(void)d->volume_rename(ctx, "tank", "b", "d");
	(void)d->volume_resize(ctx, "tank", "a", 32 * CRAFT_MIB, true);
	(void)d->volume_delete(ctx, "tank", "d");
	(void)d->volume_delete(ctx, "tank", "a");
	(void)d->pool_sync(ctx, "tank");
	(void)d->pool_get(ctx, "tank", &info);
}

/* Whatever its name is by now. */
static inline void craft_export_all(struct craft_core *k)
{
	craft_core_stop(k);
	craft_core_start(k);
}

#endif
