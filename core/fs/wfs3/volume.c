/* SPDX-License-Identifier: BSD-3-Clause */
/* A volume as a file of the namespace (vfs_node_ops). */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/iov.h"
#include "core/base/log.h"
#include "core/base/mutate.h"
#include "core/fs/wfs3/pool.h"
#include "core/fs/wfs3/quota.h"

static struct dataset *to_dataset(struct vfs_node *n)
{
	return (struct dataset *)n;
}

static int volume_stat(struct vfs_node *n, struct vfs_stat *ret)
{
	struct dataset *ds = to_dataset(n);
	uint64_t mtime_ns = (uint64_t)__atomic_load_n(&ds->self.inode.mtime_ns, __ATOMIC_RELAXED);

	*ret = (struct vfs_stat){
		.type = VFS_TYPE_FILE,
		.mode = 0600,
		.link_count = 1,
		.fsid = ds->pool->fsid,
		.object = ds->id,
		.size_bytes = __atomic_load_n(&ds->self.inode.size_bytes, __ATOMIC_RELAXED),
		.allocated_bytes = __atomic_load_n(&ds->used_blocks, __ATOMIC_RELAXED) * WFS3_BLOCK_BYTES,
		.change = __atomic_load_n(&ds->self.inode.change, __ATOMIC_RELAXED),
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
	uint64_t size_bytes = __atomic_load_n(&ds->self.inode.size_bytes, __ATOMIC_RELAXED);

	if (range_within(offset, len, size_bytes))
		return 0;
	return err_set(error, "range %" PRIu64 "+%" PRIu64 " is outside the volume of %" PRIu64 " bytes", offset, len,
	               size_bytes);
}

static int volume_read(struct vfs_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
	struct dataset *ds = to_dataset(n);
	int ret = dataset_enter(ds, flags);

	if (ret)
		return ret;
	ret = check_range(ds, offset, iov_len(iov, iov_count), -EINVAL);
	if (!ret)
		ret = cache_read(ds->self.file, offset, iov, iov_count, flags & VFS_NOWAIT ? CACHE_NOWAIT : 0);
	dataset_note(ds, DATASET_READ, ret, iov_len(iov, iov_count));
	dataset_exit(ds);
	return ret;
}

static void read_ref_release(struct vfs_ref *r)
{
	object_ref_free(r->priv);
}

static int volume_read_ref(struct vfs_node *n, uint64_t offset, size_t len, unsigned flags, struct vfs_ref *ret)
{
	struct dataset *ds = to_dataset(n);
	struct object_ref *ref;
	int err = object_ref_new(&ds->self, &ref);

	if (err)
		return err;
	err = dataset_enter(ds, flags);
	if (!err) {
		err = check_range(ds, offset, len, -EINVAL);
		if (!err)
			err = cache_read_ref(ds->self.file, offset, len, flags & VFS_NOWAIT ? CACHE_NOWAIT : 0,
			                     &ref->cache);
		dataset_note(ds, DATASET_READ, err, len);
		dataset_exit(ds);
	}
	if (err) {
		object_ref_drop(ref);
		return err;
	}
	*ret = (struct vfs_ref){
		.iov = ref->cache.iov, .iov_count = ref->cache.iov_count, .release = read_ref_release, .priv = ref
	};
	return 0;
}

static int write_cached(struct dataset *ds, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
	int ret = check_range(ds, offset, iov_len(iov, iov_count), -ENOSPC);

	if (!ret)
		ret = cache_write(ds->self.file, offset, iov, iov_count, object_cache_flags(flags));
	if (!ret)
		object_touch(&ds->self);
	return ret;
}

/* With the dataset entered: room in its quota, then the write. */
static int write_counted(struct dataset *ds, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t len,
                         unsigned flags)
{
	struct quota_hold hold = { 0 };
	int ret = 0;

	if (!quota_try_write(&ds->self, offset, len, &hold))
		ret = flags & VFS_NOWAIT ? -EAGAIN : quota_wait_write(&ds->self, offset, len, &hold);
	if (!ret)
		ret = write_cached(ds, iov, iov_count, offset, flags);
	quota_done(&hold);
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
		ret = write_counted(ds, iov, iov_count, offset, len, flags);
		if (!ret && flags & VFS_FUA)
			ret = object_persist(&ds->self, offset, len);
		admit_done(ds->pool, &adm);
		if (!ret && flags & VFS_FUA)
			ret = txg_sync_log(ds);
		dataset_note(ds, DATASET_WRITE, ret, len);
		dataset_exit(ds);
	} else {
		admit_done(ds->pool, &adm);
	}
	return ret;
}

/* For what changes something, and has to wait. Leave with dataset_exit(). */
static int enter_to_change(struct dataset *ds, unsigned flags)
{
	int ret = pool_check_writable(ds->pool);

	if (ret)
		return ret;
	return flags & VFS_NOWAIT ? -EAGAIN : dataset_enter(ds, flags);
}

static int volume_flush_range(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags)
{
	struct dataset *ds = to_dataset(n);
	int ret;

	if (ds->pool->read_only)
		return 0;
	ret = enter_to_change(ds, flags);
	if (ret)
		return ret;
	ret = object_persist(&ds->self, offset, len);
	/* Inside: a forced export closes the devices when nobody is inside any more. */
	if (!ret)
		ret = txg_sync_log(ds);
	dataset_exit(ds);
	return ret;
}

static int volume_flush(struct vfs_node *n, unsigned flags)
{
	return volume_flush_range(n, 0, UINT64_MAX, flags);
}

static int volume_discard(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags)
{
	struct dataset *ds = to_dataset(n);
	uint64_t first = div_round_up_u64(offset, WFS3_BLOCK_BYTES);
	uint64_t end = (offset + len) / WFS3_BLOCK_BYTES;
	int ret = enter_to_change(ds, flags);

	if (ret)
		return ret;
	ret = check_range(ds, offset, len, -EINVAL);
	if (!ret && first < end) {
		ret = object_punch(&ds->self, first, end);
		object_touch(&ds->self);
	}
	if (!ret && flags & VFS_FUA)
		ret = txg_sync_log(ds);
	dataset_exit(ds);
	return ret;
}

/* VFS_NO_HOLE is accepted: on a copy-on-write volume keeping old blocks would not save a later write from needing new
 * ones. */
static int volume_zero(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags)
{
	struct dataset *ds = to_dataset(n);
	int ret = enter_to_change(ds, flags);

	if (ret)
		return ret;
	ret = check_range(ds, offset, len, -ENOSPC);
	if (!ret)
		ret = object_zero(&ds->self, offset, len);
	if (!ret) {
		object_touch(&ds->self);
		if (flags & VFS_FUA)
			ret = object_persist(&ds->self, offset, len);
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
	if (!err && cache_is_dirty(ds->self.file, offset, len))
		err = cache_flush(ds->self.file, offset, len);
	if (!err)
		err = object_extents(&ds->self, offset, len, flags, ret, max, ret_count);
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
		ret = cache_prefetch(ds->self.file, offset, len);
	dataset_exit(ds);
	return ret;
}

/* With the volume quiet. */
static int resize_quiet(struct dataset *ds, uint64_t size_bytes, uint64_t old_bytes)
{
	int ret = 0;

	if (size_bytes < old_bytes)
		ret = object_punch(&ds->self, size_bytes / WFS3_BLOCK_BYTES,
		                   div_round_up_u64(old_bytes, WFS3_BLOCK_BYTES));
	if (ret)
		return ret;
	__atomic_store_n(&ds->self.inode.size_bytes, size_bytes, __ATOMIC_RELAXED);
	ret = object_put_inode(&ds->self);
	if (ret)
		__atomic_store_n(&ds->self.inode.size_bytes, old_bytes, __ATOMIC_RELAXED);
	else
		cache_file_resize(ds->self.file, size_bytes);
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
	sync_mutex_lock(&ds->quiet_lock);
	sync_mutex_lock(&ds->lock);
	old_bytes = ds->self.inode.size_bytes;
	if (size_bytes < old_bytes && !shrink) {
		ret = err_set(-EINVAL, "%" PRIu64 " is less than the current %" PRIu64 " bytes; shrinking drops data",
		              size_bytes, old_bytes);
	} else {
		dataset_quiesce(ds);
		object_touch(&ds->self);
		ret = resize_quiet(ds, size_bytes, old_bytes);
		dataset_unquiesce(ds, DATASET_GATE_OPEN);
	}
	sync_mutex_unlock(&ds->lock);
	sync_mutex_unlock(&ds->quiet_lock);
	return ret ? ret : txg_sync(ds->pool);
}

static int volume_by_object(struct vfs_node *any, uint64_t fsid, uint64_t object, struct vfs_node **ret)
{
	return pool_find_object(to_dataset(any)->pool, fsid, object, ret);
}

static void volume_get_figures(struct vfs_node *n, struct vfs_figures *ret)
{
	dataset_get_figures(to_dataset(n), ret);
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
	.flush_range = volume_flush_range,
	.discard = volume_discard,
	.zero = volume_zero,
	.extents = volume_extents_op,
	.prefetch = volume_prefetch,
	.by_object = volume_by_object,
	.get_figures = volume_get_figures,
};
