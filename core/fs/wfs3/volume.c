/* SPDX-License-Identifier: BSD-3-Clause */
/* A volume as a file of the namespace (vfs_node_ops), and the directory of a pool that holds the volumes. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/mutate.h"
#include "core/fs/wfs3/pool.h"

static struct dataset *to_dataset(struct vfs_node *n)
{
	return (struct dataset *)n;
}

static int volume_stat(struct vfs_node *n, struct vfs_stat *ret)
{
	struct dataset *ds = to_dataset(n);
	uint64_t mtime_ns = (uint64_t)__atomic_load_n(&ds->inode.mtime_ns, __ATOMIC_RELAXED);

	*ret = (struct vfs_stat){
		.type = VFS_TYPE_FILE,
		.mode = 0600,
		.link_count = 1,
		.fsid = ds->pool->fsid,
		.object = ds->id,
		.size_bytes = __atomic_load_n(&ds->inode.size_bytes, __ATOMIC_RELAXED),
		.allocated_bytes = __atomic_load_n(&ds->used_blocks, __ATOMIC_RELAXED) * WFS3_BLOCK_BYTES,
		.change = __atomic_load_n(&ds->inode.change, __ATOMIC_RELAXED),
		.mtime_ns = mtime_ns,
		.atime_ns = mtime_ns,
		.ctime_ns = mtime_ns,
		.btime_ns = ds->created_ns,
		.block_bytes = WFS3_BLOCK_BYTES,
		.read_only = ds->pool->read_only,
	};
	return 0;
}

static int volume_open(struct vfs_node *n, bool writable)
{
	struct dataset *ds = to_dataset(n);
	struct pool *p = ds->pool;
	int ret = 0;

	if (writable)
		ret = pool_check_writable(p);
	if (ret)
		return ret == -EIO ? err_add(-EROFS, "open for writing") : ret;
	/* Counted under the lock that deletion takes: a volume is opened or deleted, not both. */
	sync_mutex_lock(&p->table_lock);
	if (ds->state != DATASET_STATE_LIVE)
		ret = err_set(-ENOENT, "the volume was deleted");
	else
		__atomic_add_fetch(&ds->open_count, 1, __ATOMIC_SEQ_CST);
	sync_mutex_unlock(&p->table_lock);
	return ret;
}

static void volume_close(struct vfs_node *n, bool writable)
{
	(void)writable;
	__atomic_sub_fetch(&to_dataset(n)->open_count, 1, __ATOMIC_SEQ_CST);
}

/* With the volume entered: a shrink may have happened between the caller's check and now. */
static int check_range(struct dataset *ds, uint64_t offset, uint64_t len, int error)
{
	uint64_t size_bytes = __atomic_load_n(&ds->inode.size_bytes, __ATOMIC_RELAXED);

	if (range_within(offset, len, size_bytes))
		return 0;
	return err_set(error, "range %" PRIu64 "+%" PRIu64 " is outside the volume of %" PRIu64 " bytes", offset, len,
	               size_bytes);
}

static uint64_t iov_len(const struct iovec *iov, int iov_count)
{
	uint64_t len = 0;

	for (int i = 0; i < iov_count; i++)
		len += iov[i].iov_len;
	return len;
}

static int volume_read(struct vfs_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
	struct dataset *ds = to_dataset(n);
	int ret = dataset_enter(ds, flags);

	if (ret)
		return ret;
	ret = check_range(ds, offset, iov_len(iov, iov_count), -EINVAL);
	if (!ret)
		ret = cache_read(ds->file, offset, iov, iov_count, flags & VFS_NOWAIT ? CACHE_NOWAIT : 0);
	dataset_exit(ds);
	return ret;
}

static void read_ref_release(struct vfs_ref *r)
{
	struct volume_ref *ref = r->priv;

	cache_ref_release(&ref->cache);
	bufpool_put(ref->pool, ref);
}

static int volume_read_ref(struct vfs_node *n, uint64_t offset, size_t len, unsigned flags, struct vfs_ref *ret)
{
	struct dataset *ds = to_dataset(n);
	struct bufpool *pool = ds->pool->w->refs;
	struct volume_ref *ref = bufpool_get(pool);
	int err;

	if (!ref)
		return err_set(-ENOMEM, "no memory for a reference");
	ref->pool = pool;
	err = dataset_enter(ds, flags);
	if (!err) {
		err = check_range(ds, offset, len, -EINVAL);
		if (!err)
			err = cache_read_ref(ds->file, offset, len, flags & VFS_NOWAIT ? CACHE_NOWAIT : 0, &ref->cache);
		dataset_exit(ds);
	}
	if (err) {
		bufpool_put(pool, ref);
		return err;
	}
	*ret = (struct vfs_ref){
		.iov = ref->cache.iov, .iov_count = ref->cache.iov_count, .release = read_ref_release, .priv = ref
	};
	return 0;
}

static void touch(struct dataset *ds)
{
	__atomic_add_fetch(&ds->inode.change, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&ds->inode.mtime_ns, (int64_t)sync_wall_ns(), __ATOMIC_RELAXED);
}

static int write_cached(struct dataset *ds, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
	int ret = check_range(ds, offset, iov_len(iov, iov_count), -ENOSPC);

	if (!ret)
		ret = cache_write(ds->file, offset, iov, iov_count, flags & VFS_NOWAIT ? CACHE_NOWAIT : 0);
	if (!ret)
		touch(ds);
	return ret;
}

static int volume_write(struct vfs_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
	struct dataset *ds = to_dataset(n);
	uint64_t len = iov_len(iov, iov_count);
	struct admission adm;
	int ret = pool_check_writable(ds->pool);

	if (ret)
		return ret;
	if (flags & VFS_FUA && flags & VFS_NOWAIT)
		return -EAGAIN;
	ret = admit_write(ds, len, flags, &adm);
	if (ret)
		return ret;
	ret = dataset_enter(ds, flags);
	if (!ret) {
		ret = write_cached(ds, iov, iov_count, offset, flags);
		if (!ret && flags & VFS_FUA)
			ret = volume_persist(ds, offset, len);
		admit_done(ds->pool, &adm);
		if (!ret && flags & VFS_FUA)
			ret = txg_sync_log(ds);
		dataset_exit(ds);
	} else {
		admit_done(ds->pool, &adm);
	}
	return ret;
}

static int volume_flush(struct vfs_node *n, unsigned flags)
{
	struct dataset *ds = to_dataset(n);
	int ret;

	if (ds->pool->read_only)
		return 0;
	if (flags & VFS_NOWAIT)
		return -EAGAIN;
	ret = pool_check_writable(ds->pool);
	if (ret)
		return ret;
	ret = dataset_enter(ds, flags);
	if (ret)
		return ret;
	ret = volume_persist(ds, 0, UINT64_MAX);
	/* Inside: a forced export closes the devices when nobody is inside any more. */
	if (!ret)
		ret = txg_sync_log(ds);
	dataset_exit(ds);
	return ret;
}

/* Some blocks become holes, in memory and in the map. */
static int punch_some(struct dataset *ds, uint64_t first, uint64_t count)
{
	uint64_t offset = first * WFS3_BLOCK_BYTES, len = count * WFS3_BLOCK_BYTES;
	int ret;

	if (MUTATE(DISCARD_BEHIND_CACHE))
		return volume_unmap(ds, first, count);
	ret = cache_punch_begin(ds->file, offset, len, 0);
	if (ret)
		return ret;
	ret = volume_unmap(ds, first, count);
	cache_punch_end(ds->file, offset, len, ret != 0);
	return ret;
}

/* Whole blocks [first, end) become holes, in pieces: a commit waits until the one in hand is done. */
static int punch(struct dataset *ds, uint64_t first, uint64_t end)
{
	struct volume_stride stride = { 0 };
	int ret = 0;

	while (first < end && !ret) {
		uint64_t count = min_u64(volume_stride_next(&stride, ds), end - first);

		ret = punch_some(ds, first, count);
		first += count;
	}
	return ret;
}

static int volume_discard(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags)
{
	struct dataset *ds = to_dataset(n);
	uint64_t first = div_round_up_u64(offset, WFS3_BLOCK_BYTES);
	uint64_t end = (offset + len) / WFS3_BLOCK_BYTES;
	int ret = pool_check_writable(ds->pool);

	if (ret)
		return ret;
	if (flags & VFS_NOWAIT)
		return -EAGAIN;
	ret = dataset_enter(ds, flags);
	if (ret)
		return ret;
	ret = check_range(ds, offset, len, -EINVAL);
	if (!ret && first < end) {
		ret = punch(ds, first, end);
		touch(ds);
	}
	if (!ret && flags & VFS_FUA)
		ret = txg_sync_log(ds);
	dataset_exit(ds);
	return ret;
}

/* Zeros over a part of one block, by writing them. */
static int zero_edge(struct dataset *ds, uint64_t from, uint64_t to)
{
	static const uint8_t zeros[WFS3_BLOCK_BYTES];
	struct iovec iov = { .iov_base = (void *)(uintptr_t)zeros, .iov_len = to - from };
	int ret;

	if (from >= to)
		return 0;
	ret = cache_write(ds->file, from, &iov, 1, 0);
	return ret;
}

static int zero_range(struct dataset *ds, uint64_t offset, uint64_t len)
{
	uint64_t end = offset + len;
	uint64_t first = div_round_up_u64(offset, WFS3_BLOCK_BYTES);
	uint64_t last = end / WFS3_BLOCK_BYTES;
	int ret;

	if (first > last)
		return zero_edge(ds, offset, end);
	ret = zero_edge(ds, offset, first * WFS3_BLOCK_BYTES);
	if (!ret)
		ret = zero_edge(ds, last * WFS3_BLOCK_BYTES, end);
	if (!ret && first < last)
		ret = punch(ds, first, last);
	return ret;
}

/* VFS_NO_HOLE is accepted: on a copy-on-write volume keeping old blocks would not save a later write from needing new
 * ones. */
static int volume_zero(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags)
{
	struct dataset *ds = to_dataset(n);
	int ret = pool_check_writable(ds->pool);

	if (ret)
		return ret;
	if (flags & VFS_NOWAIT)
		return -EAGAIN;
	ret = dataset_enter(ds, flags);
	if (ret)
		return ret;
	ret = check_range(ds, offset, len, -ENOSPC);
	if (!ret)
		ret = zero_range(ds, offset, len);
	if (!ret) {
		touch(ds);
		if (flags & VFS_FUA)
			ret = volume_persist(ds, offset, len);
	}
	if (!ret && flags & VFS_FUA)
		ret = txg_sync_log(ds);
	dataset_exit(ds);
	return ret;
}

static int volume_extents_op(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags, struct vfs_extent *ret,
                             unsigned max, unsigned *ret_count)
{
	struct dataset *ds = to_dataset(n);
	int err;

	if (flags & VFS_NOWAIT)
		return -EAGAIN;
	err = dataset_enter(ds, flags);
	if (err)
		return err;
	err = check_range(ds, offset, len, -EINVAL);
	if (!err && cache_is_dirty(ds->file, offset, len))
		err = cache_flush(ds->file, offset, len);
	if (!err)
		err = volume_extents(ds, offset, len, flags, ret, max, ret_count);
	dataset_exit(ds);
	return err;
}

static int volume_prefetch(struct vfs_node *n, uint64_t offset, uint64_t len)
{
	struct dataset *ds = to_dataset(n);
	int ret = dataset_enter(ds, 0);

	if (ret)
		return ret;
	ret = check_range(ds, offset, len, -EINVAL);
	if (!ret)
		ret = cache_prefetch(ds->file, offset, len);
	dataset_exit(ds);
	return ret;
}

/* With the volume quiet. */
static int resize_quiet(struct dataset *ds, uint64_t size_bytes, uint64_t old_bytes)
{
	int ret = 0;

	if (size_bytes < old_bytes)
		ret = punch(ds, size_bytes / WFS3_BLOCK_BYTES, div_round_up_u64(old_bytes, WFS3_BLOCK_BYTES));
	if (ret)
		return ret;
	__atomic_store_n(&ds->inode.size_bytes, size_bytes, __ATOMIC_RELAXED);
	ret = volume_put_inode(ds);
	if (ret)
		__atomic_store_n(&ds->inode.size_bytes, old_bytes, __ATOMIC_RELAXED);
	else
		cache_file_resize(ds->file, size_bytes);
	return ret;
}

int volume_resize(struct dataset *ds, uint64_t size_bytes, bool shrink)
{
	uint64_t old_bytes;
	int ret = pool_check_writable(ds->pool);

	if (!ret)
		ret = dataset_load(ds);
	if (ret)
		return ret;
	sync_mutex_lock(&ds->lock);
	old_bytes = ds->inode.size_bytes;
	if (size_bytes < old_bytes && !shrink) {
		ret = err_set(-EINVAL, "%" PRIu64 " is less than the current %" PRIu64 " bytes; shrinking drops data",
		              size_bytes, old_bytes);
	} else {
		dataset_quiesce(ds);
		touch(ds);
		ret = resize_quiet(ds, size_bytes, old_bytes);
		dataset_unquiesce(ds, DATASET_GATE_OPEN);
	}
	sync_mutex_unlock(&ds->lock);
	return ret ? ret : txg_sync(ds->pool);
}

const struct vfs_node_ops volume_node_ops = {
	.release = dataset_release,
	.stat = volume_stat,
	.open = volume_open,
	.close = volume_close,
	.read = volume_read,
	.read_ref = volume_read_ref,
	.write = volume_write,
	.flush = volume_flush,
	.discard = volume_discard,
	.zero = volume_zero,
	.extents = volume_extents_op,
	.prefetch = volume_prefetch,
};

static struct pool *to_pool(struct vfs_node *n)
{
	return (struct pool *)(void *)((char *)n - offsetof(struct pool, dir));
}

static int dir_stat(struct vfs_node *n, struct vfs_stat *ret)
{
	*ret = (struct vfs_stat){ .type = VFS_TYPE_DIR,
		                  .mode = 0755,
		                  .link_count = 2,
		                  .fsid = to_pool(n)->fsid,
		                  .block_bytes = WFS3_BLOCK_BYTES,
		                  .read_only = to_pool(n)->read_only };
	return 0;
}

static int dir_lookup(struct vfs_node *n, const char *name, size_t name_len, struct vfs_node **ret)
{
	struct dataset *ds;
	int err = dataset_find(to_pool(n), name, name_len, &ds);

	if (err)
		return err;
	err = dataset_load(ds);
	if (err) {
		vfs_node_unref(&ds->node);
		return err;
	}
	*ret = &ds->node;
	return 0;
}

struct dir_list {
	uint64_t cookie;
	vfs_dir_fn *fn;
	void *ctx;
};

static int dir_list_one(void *ctx, struct dataset *ds)
{
	struct dir_list *l = ctx;
	char name[WFS3_DATASET_NAME_MAX + 1];
	struct vfs_dirent e = { .name = name, .type = VFS_TYPE_FILE, .object = ds->id, .cookie = ds->id };

	if (ds->id <= l->cookie)
		return 0;
	sync_mutex_lock(&ds->pool->table_lock);
	memcpy(name, ds->name, sizeof(name));
	sync_mutex_unlock(&ds->pool->table_lock);
	e.name_len = strlen(name);
	if (!e.name_len)
		return 0;
	return l->fn(l->ctx, &e) ? 0 : -ECANCELED;
}

/* In the order of their numbers, which is the order of the table. */
static int dir_readdir(struct vfs_node *n, uint64_t cookie, vfs_dir_fn *fn, void *ctx)
{
	struct dir_list l = { .cookie = cookie, .fn = fn, .ctx = ctx };
	int ret = dataset_each(to_pool(n), dir_list_one, &l);

	return ret == -ECANCELED ? 0 : ret;
}

static void dir_release(struct vfs_node *n)
{
	pool_unref(to_pool(n));
}

const struct vfs_node_ops pool_dir_ops = {
	.release = dir_release,
	.stat = dir_stat,
	.lookup = dir_lookup,
	.readdir = dir_readdir,
};
