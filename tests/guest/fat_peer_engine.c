/* SPDX-License-Identifier: BSD-3-Clause */
/* fat_peer's volume, driven by our engine. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/budget.h"
#include "core/base/err.h"
#include "core/blk/blk.h"
#include "core/cache/cache.h"
#include "core/fs/fat/fat.h"
#include "tests/guest/fat_peer.h"

#define BUDGET_BYTES ((size_t)64 << 20)
#define NS_PER_S INT64_C(1000000000)
#define NS_PER_CS INT64_C(10000000)

struct engine {
	struct budget *budget;
	struct cache *cache;
	struct blk_dev *dev;
	struct fat_fs *fs;
};

/* The node at the first @len bytes of @path. */
static int find(struct engine *e, const char *path, size_t len, struct fat_node **ret)
{
	struct fat_node *n = fat_root(e->fs), *next;
	int rc = 0;

	while (rc == 0 && len) {
		const char *slash = memchr(path, '/', len);
		size_t part = slash ? (size_t)(slash - path) : len;

		rc = fat_lookup(n, path, part, &next);
		fat_node_put(n);
		n = next;
		part += slash != NULL;
		path += part;
		len -= part;
	}
	if (rc == 0)
		*ret = n;
	return rc;
}

/* The directory of @path, and its last name. */
static int find_dir(struct engine *e, const char *path, struct fat_node **ret, const char **ret_name)
{
	const char *slash = strrchr(path, '/');

	*ret_name = slash ? slash + 1 : path;
	return find(e, path, slash ? (size_t)(slash - path) : 0, ret);
}

typedef int make_fn(struct fat_node *dir, const char *name, size_t len, struct fat_node **ret);
typedef int remove_fn(struct fat_node *dir, const char *name, size_t len);

static int make(struct engine *e, const char *path, make_fn *fn)
{
	struct fat_node *dir, *n;
	const char *name;
	int rc = find_dir(e, path, &dir, &name);

	if (rc)
		return rc;
	rc = fn(dir, name, strlen(name), &n);
	if (rc == 0)
		fat_node_put(n);
	fat_node_put(dir);
	return rc;
}

static int engine_create(void *ctx, const char *path)
{
	return make(ctx, path, fat_create);
}

static int engine_make_dir(void *ctx, const char *path)
{
	return make(ctx, path, fat_mkdir);
}

static int take_away(struct engine *e, const char *path, remove_fn *fn)
{
	struct fat_node *dir;
	const char *name;
	int rc = find_dir(e, path, &dir, &name);

	if (rc)
		return rc;
	rc = fn(dir, name, strlen(name));
	fat_node_put(dir);
	return rc;
}

static int engine_unlink(void *ctx, const char *path)
{
	return take_away(ctx, path, fat_unlink);
}

static int engine_remove_dir(void *ctx, const char *path)
{
	return take_away(ctx, path, fat_rmdir);
}

static int engine_rename(void *ctx, const char *from, const char *to)
{
	struct fat_node *from_dir, *to_dir;
	const char *from_name, *to_name;
	int rc = find_dir(ctx, from, &from_dir, &from_name);

	if (rc)
		return rc;
	rc = find_dir(ctx, to, &to_dir, &to_name);
	if (rc == 0) {
		rc = fat_rename(from_dir, from_name, strlen(from_name), to_dir, to_name, strlen(to_name), false);
		fat_node_put(to_dir);
	}
	fat_node_put(from_dir);
	return rc;
}

static int engine_write(void *ctx, const char *path, uint64_t offset, const void *data, size_t len)
{
	struct iovec iov = { .iov_len = len };
	struct fat_node *n;
	int rc = find(ctx, path, strlen(path), &n);

	if (rc)
		return rc;
	memcpy(&iov.iov_base, &data, sizeof(data));
	rc = fat_write(n, &iov, 1, offset, 0);
	fat_node_put(n);
	return rc;
}

static int engine_read(void *ctx, const char *path, uint64_t offset, void *buf, size_t len, size_t *ret)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct fat_node *n;
	int rc = find(ctx, path, strlen(path), &n);

	if (rc)
		return rc;
	rc = fat_read(n, &iov, 1, offset, 0, ret);
	fat_node_put(n);
	return rc;
}

static int engine_truncate(void *ctx, const char *path, uint64_t size_bytes)
{
	struct fat_node *n;
	int rc = find(ctx, path, strlen(path), &n);

	if (rc)
		return rc;
	rc = fat_truncate(n, size_bytes);
	fat_node_put(n);
	return rc;
}

static int engine_set(void *ctx, const char *path, uint8_t attr, int64_t mtime_s)
{
	struct fat_set set = { .what = FAT_SET_ATTR | FAT_SET_MTIME, .attr = attr };
	struct fat_node *n;
	int rc = find(ctx, path, strlen(path), &n);

	if (rc)
		return rc;
	set.mtime_ns = (uint64_t)(mtime_s * NS_PER_S);
	rc = fat_setattr(n, &set);
	fat_node_put(n);
	return rc;
}

static int engine_stat(void *ctx, const char *path, struct peer_stat *ret)
{
	struct fat_node *n;
	struct fat_stat st;
	int rc = find(ctx, path, strlen(path), &n);

	if (rc)
		return rc;
	fat_stat(n, &st);
	*ret = (struct peer_stat){
		.is_dir = st.is_dir,
		.attr = st.attr,
		.size_bytes = st.size_bytes,
		.mtime_s = (int64_t)st.mtime_ns / NS_PER_S,
		.atime_s = (int64_t)st.atime_ns / NS_PER_S,
		.created_cs = (int64_t)st.ctime_ns / NS_PER_CS,
	};
	fat_node_put(n);
	return 0;
}

struct listing {
	peer_name_fn *fn;
	void *ctx;
};

static bool take_item(void *ctx, const struct fat_dir_item *item)
{
	const struct listing *l = ctx;

	l->fn(l->ctx, item->name);
	return true;
}

static int engine_list(void *ctx, const char *path, peer_name_fn *fn, void *fn_ctx)
{
	struct listing l = { fn, fn_ctx };
	struct fat_node *n;
	int rc = find(ctx, path, strlen(path), &n);

	if (rc)
		return rc;
	rc = fat_readdir(n, 0, take_item, &l);
	fat_node_put(n);
	return rc;
}

static int engine_close(void *ctx)
{
	struct engine *e = ctx;
	int rc = e->fs ? fat_unmount(e->fs) : 0;

	if (e->cache)
		cache_free(e->cache);
	budget_free(e->budget);
	blk_close(e->dev);
	free(e);
	return rc;
}

static int open_all(struct engine *e, const char *target)
{
	struct cache_config config = {
		.dirty_max_bytes = BUDGET_BYTES / 4,
		.dirty_background_bytes = BUDGET_BYTES / 8,
		.writeback_age_ms = 100,
		.writeback_threads = 1,
		.readahead_max_bytes = 256 * 1024,
	};
	struct fat_mount_options options = { .sync_interval_ms = 20 };
	int rc = blk_open(target, 0, &e->dev);

	if (rc)
		return rc;
	e->budget = budget_new(BUDGET_BYTES);
	if (!e->budget)
		return -ENOMEM;
	config.budget = e->budget;
	rc = cache_new(&config, &e->cache);
	options.budget = e->budget;
	options.cache = e->cache;
	return rc ? rc : fat_mount(e->dev, &options, &e->fs);
}

int peer_open_engine(const char *target, struct peer *ret)
{
	struct engine *e = calloc(1, sizeof(*e));
	int rc = e ? open_all(e, target) : -ENOMEM;

	if (rc) {
		if (e)
			(void)engine_close(e);
		return rc;
	}
	*ret = (struct peer){
		.ctx = e,
		.create = engine_create,
		.make_dir = engine_make_dir,
		.write = engine_write,
		.truncate = engine_truncate,
		.unlink = engine_unlink,
		.remove_dir = engine_remove_dir,
		.rename = engine_rename,
		.set = engine_set,
		.stat = engine_stat,
		.read = engine_read,
		.list = engine_list,
		.close = engine_close,
	};
	return 0;
}
