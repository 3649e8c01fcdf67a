/* SPDX-License-Identifier: BSD-3-Clause */
/* Administrators' calls on pools (pool_driver), and the life of the whole driver. On volumes: driver_volume.c. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/budget.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/fs/wfs3/driver.h"
#include "core/fs/wfs3/members.h"
#include "core/fs/wfs3/driver_check.h"
#include "core/fs/wfs3/pool.h"

#define REFS_KEPT 64
#define TXG_AGE_MS_DEFAULT 5000u

static int open_path(void *ctx, const char *path, unsigned blk_flags, struct blk_dev **ret)
{
	(void)ctx;
	return blk_open(path, blk_flags, ret);
}

static void close_dev(void *ctx, struct blk_dev *dev)
{
	(void)ctx;
	blk_close(dev);
}

static struct pool *find_pool(struct wfs3 *w, const char *name) SYNC_REQUIRES(w->lock)
{
	struct pool *p;

	cds_list_for_each_entry (p, &w->pools, link)
		if (!strcmp(p->name, name))
			return p;
	return NULL;
}

int pool_get(struct wfs3 *w, const char *name, struct pool **ret)
{
	struct pool *p;

	sync_mutex_lock(&w->lock);
	p = find_pool(w, name);
	if (p)
		__atomic_add_fetch(&p->users, 1, __ATOMIC_SEQ_CST);
	sync_mutex_unlock(&w->lock);
	if (!p)
		return err_set(-ENOENT, "no pool '%s' is imported", name);
	*ret = p;
	return 0;
}

void pool_put(struct pool *p)
{
	__atomic_sub_fetch(&p->users, 1, __ATOMIC_SEQ_CST);
}

static void close_devices(struct wfs3 *w, struct blk_dev *devs[], unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (devs[i])
			w->config.close(w->config.open_ctx, devs[i]);
}

static int open_devices(struct wfs3 *w, const char *const *paths, unsigned count, unsigned flags,
                        struct blk_dev *devs[])
{
	int ret = 0;

	memset(devs, 0, sizeof(devs[0]) * WFS3_DEVICES_MAX);
	if (!count || count > WFS3_DEVICES_MAX)
		return err_set(-EINVAL, "a pool has 1 to %u devices, not %u", WFS3_DEVICES_MAX, count);
	for (unsigned i = 0; i < count && !ret; i++)
		ret = w->config.open(w->config.open_ctx, paths[i], flags, &devs[i]);
	if (ret)
		close_devices(w, devs, count);
	return ret;
}

/* What a mirror can do without. A device that somebody else uses is not missing. */
static bool is_missing(int error)
{
	return error == -ENOENT || error == -ENXIO || error == -ENODEV || error == -EIO;
}

/*
 * Those that can be opened, without gaps; @ret_error is 0 or why the first of the others could not be. Negative: none
 * is open.
 */
static int open_some_devices(struct wfs3 *w, const char *const *paths, unsigned count, unsigned flags,
                             struct blk_dev *devs[], unsigned *ret_count, int *ret_error, struct err *ret_why)
{
	unsigned n = 0;
	int ret = 0;

	*ret_error = 0;
	if (!count || count > WFS3_DEVICES_MAX)
		return err_set(-EINVAL, "a pool has 1 to %u devices, not %u", WFS3_DEVICES_MAX, count);
	for (unsigned i = 0; i < count && !ret; i++) {
		ret = w->config.open(w->config.open_ctx, paths[i], flags, &devs[n]);
		if (!ret)
			n++;
		if (!is_missing(ret))
			continue;
		if (!*ret_error) {
			*ret_error = ret;
			err_take(ret_why);
		}
		ret = 0;
	}
	*ret_count = n;
	if (!ret && !n) {
		err_restore(ret_why);
		ret = *ret_error;
	}
	if (ret)
		close_devices(w, devs, n);
	return ret;
}

static int check_pool_name(const char *name)
{
	int ret = vfs_check_name(name, strlen(name));

	if (!ret && strlen(name) > POOL_NAME_MAX)
		ret = err_set(-ENAMETOOLONG, "a pool's name has at most %d bytes", POOL_NAME_MAX);
	return ret;
}

/* With the devices open: make the pool live and visible. The devices are the pool's on success, else still the
 * caller's. */
static int attach(struct wfs3 *w, struct blk_dev *const devs[], unsigned count, bool read_only, char **ret_name)
{
	struct pool *p;
	char *name;
	int ret = pool_open_devices(w, devs, count, read_only, &p);

	if (ret)
		return ret;
	name = strdup(p->name);
	if (!name)
		ret = err_set(-ENOMEM, "no memory for a name");
	if (!ret)
		ret = pool_register_metrics(p);
	if (!ret) {
		ret = vfs_mount(w->config.vfs, p->name, &p->dir, p->read_only);
		if (ret && w->config.metrics)
			metrics_unregister(w->config.metrics, p);
	}
	if (ret) {
		pool_stop_threads(p);
		members_disown(p);
		pool_free(p);
		free(name);
		return ret;
	}
	members_close_useless(p);
	sync_mutex_lock(&w->lock);
	cds_list_add_tail(&p->link, &w->pools);
	sync_mutex_unlock(&w->lock);
	*ret_name = name;
	return 0;
}

static int driver_import(void *ctx, const char *const *paths, unsigned count, bool read_only, char **ret_name)
{
	struct wfs3 *w = ctx;
	struct blk_dev *devs[WFS3_DEVICES_MAX];
	struct err why;
	unsigned opened;
	int ret, missing;

	sync_mutex_lock(&w->admin_lock);
	ret = open_some_devices(w, paths, count, read_only ? BLK_OPEN_READ_ONLY : 0, devs, &opened, &missing, &why);
	if (!ret) {
		ret = attach(w, devs, opened, read_only, ret_name);
		if (ret)
			close_devices(w, devs, opened);
	}
	/* Why a device that is needed is not there says more than that it is not there. */
	if (ret == -ENODEV && missing) {
		err_restore(&why);
		ret = missing;
	}
	sync_mutex_unlock(&w->admin_lock);
	return ret;
}

/* How much of a new file is written with zeros: everything before the regions, so that commits change no host metadata.
 */
static int create_files(const struct pool_create_args *args, unsigned *ret_created)
{
	struct space_layout layout;
	int ret = space_layout_make(args->file_size_bytes, space_region_bytes(args->file_size_bytes), &layout);

	*ret_created = 0;
	for (unsigned i = 0; i < args->device_count && !ret; i++) {
		ret = blk_create_file(args->devices[i], args->file_size_bytes, layout.regions_offset);
		if (!ret)
			++*ret_created;
	}
	return ret;
}

static int create_locked(struct wfs3 *w, const struct pool_create_args *args)
{
	struct blk_dev *devs[WFS3_DEVICES_MAX];
	char *name = NULL;
	int ret = open_devices(w, args->devices, args->device_count, 0, devs);

	if (ret)
		return ret;
	ret = pool_format(args, devs);
	if (!ret)
		ret = attach(w, devs, args->device_count, false, &name);
	if (ret)
		close_devices(w, devs, args->device_count);
	free(name);
	return ret;
}

static int driver_create(void *ctx, const struct pool_create_args *args)
{
	struct wfs3 *w = ctx;
	unsigned created = 0;
	bool taken;
	int ret = check_pool_name(args->name);

	if (ret)
		return ret;
	if (!args->device_count || args->device_count > WFS3_DEVICES_MAX)
		return err_set(-EINVAL, "a pool has 1 to %u devices, not %u", WFS3_DEVICES_MAX, args->device_count);
	sync_mutex_lock(&w->admin_lock);
	sync_mutex_lock(&w->lock);
	taken = find_pool(w, args->name) != NULL;
	sync_mutex_unlock(&w->lock);
	if (taken)
		ret = err_set(-EEXIST, "a pool named '%s' is already imported", args->name);
	if (!ret && args->file_size_bytes)
		ret = create_files(args, &created);
	if (!ret)
		ret = create_locked(w, args);
	if (ret)
		for (unsigned i = 0; i < created; i++)
			(void)remove(args->devices[i]);
	sync_mutex_unlock(&w->admin_lock);
	return ret;
}

static int kill_one(void *ctx, struct dataset *ds)
{
	(void)ctx;
	sync_mutex_lock(&ds->lock);
	dataset_quiesce(ds);
	dataset_unquiesce(ds, DATASET_GATE_DEAD);
	sync_mutex_unlock(&ds->lock);
	return 0;
}

static void drop_pages(struct object *o)
{
	cache_file_free(__atomic_exchange_n(&o->file, NULL, __ATOMIC_ACQ_REL));
}

/* Handles that outlive the pool find it dead; its pages must not outlive it. */
static int drop_cache(void *ctx, struct dataset *ds)
{
	struct cache_file *file;

	(void)ctx;
	sync_mutex_lock(&ds->lock);
	dataset_quiesce(ds);
	file = ds->self.file;
	ds->self.file = NULL;
	dataset_unquiesce(ds, DATASET_GATE_DEAD);
	sync_mutex_unlock(&ds->lock);
	cache_file_free(file);
	if (ds->type == DATASET_TYPE_TREE)
		(void)object_table_each(ds->pool->objects, ds, drop_pages);
	return 0;
}

/* Invisible to lookups and administrators; with @force its handles are cut off, otherwise there must be none. */
static int detach(struct wfs3 *w, struct pool *p, bool force)
{
	int ret = vfs_unmount(w->config.vfs, p->name, false);

	if (ret == -EBUSY && force) {
		(void)dataset_each(p, kill_one, NULL);
		ret = vfs_unmount(w->config.vfs, p->name, true);
	}
	if (ret)
		return err_add(ret, "export pool %s", p->name);
	sync_mutex_lock(&w->lock);
	cds_list_del(&p->link);
	sync_mutex_unlock(&w->lock);
	while (__atomic_load_n(&p->users, __ATOMIC_SEQ_CST))
		sync_sleep_ns(SYNC_NS_PER_MS);
	return 0;
}

/* Write everything, stop, close. The pool is gone afterwards, whatever is returned. */
static int close_pool(struct wfs3 *w, struct pool *p, bool erase)
{
	int ret = 0;

	members_stop(p);
	if (!p->read_only && !erase)
		ret = object_each_dirty(p, object_flush, NULL);
	if (!p->read_only && !erase && !ret)
		ret = pool_close_clean(p);
	pool_stop_threads(p);
	if (w->config.metrics)
		metrics_unregister(w->config.metrics, p);
	if (erase)
		ret = members_erase(p);
	log_info("wfs3", "pool=%s %s", p->name, erase ? "destroyed" : "exported");
	(void)dataset_each(p, drop_cache, NULL);
	pool_close_devices(p);
	pool_free(p);
	return ret;
}

static int driver_export_or_destroy(struct wfs3 *w, const char *name, bool force, bool erase)
{
	struct pool *p;
	int ret = 0;

	sync_mutex_lock(&w->admin_lock);
	sync_mutex_lock(&w->lock);
	p = find_pool(w, name);
	sync_mutex_unlock(&w->lock);
	if (!p)
		ret = err_set(-ENOENT, "no pool '%s' is imported", name);
	else if (erase && p->read_only)
		ret = err_set(-EROFS, "pool %s was imported read-only", name);
	if (!ret)
		ret = detach(w, p, force);
	if (!ret)
		ret = close_pool(w, p, erase);
	sync_mutex_unlock(&w->admin_lock);
	return ret;
}

static int driver_export(void *ctx, const char *name, bool force)
{
	return driver_export_or_destroy(ctx, name, force, false);
}

static int driver_destroy(void *ctx, const char *name)
{
	return driver_export_or_destroy(ctx, name, false, true);
}

static int driver_sync(void *ctx, const char *name)
{
	struct pool *p;
	int ret = pool_get(ctx, name, &p);

	if (ret)
		return ret;
	ret = pool_check_writable(p);
	if (!ret)
		ret = object_each_dirty(p, object_flush, NULL);
	if (!ret)
		ret = txg_sync_pages(p);
	pool_put(p);
	return ret;
}

static int driver_get(void *ctx, const char *name, struct pool_info *ret_info)
{
	struct pool *p;
	int ret = pool_get(ctx, name, &p);

	if (ret)
		return ret;
	pool_get_info(p, ret_info);
	pool_put(p);
	return 0;
}

static int driver_each(void *ctx, void (*fn)(void *fn_ctx, const struct pool_info *info), void *fn_ctx)
{
	struct wfs3 *w = ctx;
	struct pool_info *info = malloc(sizeof(*info));
	struct pool **all = NULL;
	struct pool *p;
	size_t count = 0, n = 0;

	sync_mutex_lock(&w->lock);
	cds_list_for_each_entry (p, &w->pools, link)
		count++;
	all = calloc(count ? count : 1, sizeof(*all));
	if (all && info) {
		cds_list_for_each_entry (p, &w->pools, link) {
			__atomic_add_fetch(&p->users, 1, __ATOMIC_SEQ_CST);
			all[n++] = p;
		}
	}
	sync_mutex_unlock(&w->lock);
	for (size_t i = 0; i < n; i++) {
		pool_get_info(all[i], info);
		fn(fn_ctx, info);
		pool_put(all[i]);
	}
	free(info);
	if (!all || n < count) {
		free(all);
		return err_set(-ENOMEM, "no memory to list %zu pools", count);
	}
	free(all);
	return 0;
}

/* A pool whose devices are to change: nobody else administers any until change_end(). */
static int change_begin(struct wfs3 *w, const char *name, struct pool **ret) SYNC_TRY_ACQUIRE(0, w->admin_lock)
{
	int rc = pool_get(w, name, ret);

	if (rc)
		return rc;
	sync_mutex_lock(&w->admin_lock);
	rc = pool_check_writable(*ret);
	if (rc) {
		sync_mutex_unlock(&w->admin_lock);
		pool_put(*ret);
	}
	return rc;
}

static void change_end(struct wfs3 *w, struct pool *p) SYNC_RELEASE(w->admin_lock)
{
	sync_mutex_unlock(&w->admin_lock);
	pool_put(p);
}

static int driver_attach(void *ctx, const char *name, const char *device, const char *new_device, bool force,
                         bool replace)
{
	struct wfs3 *w = ctx;
	struct blk_dev *dev;
	struct pool *p;
	int ret = change_begin(w, name, &p);

	if (ret)
		return ret;
	ret = w->config.open(w->config.open_ctx, new_device, 0, &dev);
	if (!ret) {
		ret = members_attach(p, device, dev, force, replace);
		if (ret)
			w->config.close(w->config.open_ctx, dev);
	}
	change_end(w, p);
	return ret;
}

static int driver_detach(void *ctx, const char *name, const char *device)
{
	struct wfs3 *w = ctx;
	struct pool *p;
	int ret = change_begin(w, name, &p);

	if (ret)
		return ret;
	ret = members_detach(p, device);
	change_end(w, p);
	return ret;
}

static int driver_online(void *ctx, const char *name, const char *path)
{
	struct wfs3 *w = ctx;
	struct blk_dev *dev;
	struct pool *p;
	int ret = change_begin(w, name, &p);

	if (ret)
		return ret;
	members_close_away(p, path);
	ret = w->config.open(w->config.open_ctx, path, 0, &dev);
	if (!ret) {
		ret = members_online(p, dev);
		if (ret)
			w->config.close(w->config.open_ctx, dev);
	}
	change_end(w, p);
	return ret;
}

int wfs3_new(const struct wfs3_config *config, struct wfs3 **ret)
{
	struct wfs3 *w = calloc(1, sizeof(*w));

	if (!w)
		return err_set(-ENOMEM, "no memory for the WFS v3 driver");
	w->config = *config;
	if (!w->config.open) {
		w->config.open = open_path;
		w->config.close = close_dev;
	}
	if (!w->config.txg_age_ms)
		w->config.txg_age_ms = TXG_AGE_MS_DEFAULT;
	w->refs = bufpool_new((sizeof(struct object_ref) + 4095) / 4096 * 4096, REFS_KEPT, NULL);
	if (!w->refs) {
		free(w);
		return err_set(-ENOMEM, "no memory for the WFS v3 driver");
	}
	CDS_INIT_LIST_HEAD(&w->pools);
	sync_mutex_init(&w->lock, SYNC_RANK_NAMESPACE, "wfs3 pools");
	sync_mutex_init(&w->admin_lock, SYNC_RANK_SERVER, "wfs3 admin");
	*ret = w;
	return 0;
}

void wfs3_free(struct wfs3 *w)
{
	if (!w)
		return;
	for (;;) {
		char name[LABEL_POOL_NAME_MAX + 1] = "";
		int ret;

		sync_mutex_lock(&w->lock);
		if (!cds_list_empty(&w->pools))
			memcpy(name, cds_list_first_entry(&w->pools, struct pool, link)->name, sizeof(name));
		sync_mutex_unlock(&w->lock);
		if (!name[0])
			break;
		ret = driver_export(w, name, true);
		if (ret) {
			char text[256];

			log_error("wfs3", "%s", err_text(err_get(), ret, 0, text, sizeof(text)));
		}
	}
	sync_mutex_done(&w->lock);
	sync_mutex_done(&w->admin_lock);
	bufpool_free(w->refs);
	free(w);
}

struct pool_admin wfs3_pool_admin(struct wfs3 *w)
{
	static const struct pool_driver driver = {
		.pool_create = driver_create,
		.pool_import = driver_import,
		.pool_export = driver_export,
		.pool_destroy = driver_destroy,
		.pool_sync = driver_sync,
		.pool_get = driver_get,
		.pool_each = driver_each,
		.pool_attach = driver_attach,
		.pool_detach = driver_detach,
		.pool_online = driver_online,
		.pool_check = driver_check,
		.pool_check_get = driver_check_get,
		.pool_check_stop = driver_check_stop,
		.pool_scrub = driver_scrub,
		.pool_scrub_get = driver_scrub_get,
		.volume_create = driver_volume_create,
		.volume_resize = driver_volume_resize,
		.volume_rename = driver_volume_rename,
		.volume_delete = driver_volume_delete,
		.volume_get = driver_volume_get,
		.volume_each = driver_volume_each,
		.quota_set = driver_quota_set,
		.quota_each = driver_quota_each,
		.fs_create = driver_fs_create,
		.fs_rename = driver_fs_rename,
		.fs_delete = driver_fs_delete,
		.fs_get = driver_fs_get,
		.fs_each = driver_fs_each,
	};

	return (struct pool_admin){ .driver = &driver, .ctx = w };
}
