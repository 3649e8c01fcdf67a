/* SPDX-License-Identifier: BSD-3-Clause */
/* Data of the files of a tree. */
#include <errno.h>
#include <inttypes.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/iov.h"
#include "core/base/nowait.h"
#include "core/fs/wfs3/filetree.h"
#include "core/fs/wfs3/quota.h"

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define STORE(field, value) __atomic_store_n(&(field), value, __ATOMIC_RELAXED)

static int enter_file(struct vfs_node *n, unsigned flags, struct object **ret, struct cache_file **ret_file)
{
	struct object *o = filetree_object(n);
	int rc;

	if (n->type != VFS_TYPE_FILE)
		return err_set(n->type == VFS_TYPE_DIR ? -EISDIR : -ENXIO, "object %" PRIu64 " has no data", o->number);
	rc = dataset_enter(o->ds, flags);
	if (rc)
		return rc;
	if (__atomic_load_n(&o->shifting, __ATOMIC_ACQUIRE))
		rc = flags & VFS_NOWAIT || nowait_here() ? -EAGAIN : filetree_settle(o);
	if (!rc)
		rc = object_open_file(o, ret_file);
	if (rc)
		dataset_exit(o->ds);
	*ret = o;
	return rc;
}

/* ---- reading ---- */

int filetree_read(struct vfs_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
	struct cache_file *file;
	struct object *o;
	int rc = enter_file(n, flags, &o, &file);

	if (rc)
		return rc;
	rc = cache_read(file, offset, iov, iov_count, flags & VFS_NOWAIT ? CACHE_NOWAIT : 0);
	if (!rc)
		object_accessed(o);
	dataset_note(o->ds, DATASET_READ, rc, iov_len(iov, iov_count));
	dataset_exit(o->ds);
	return rc;
}

static void ref_release(struct vfs_ref *r)
{
	object_ref_free(r->priv);
}

int filetree_read_ref(struct vfs_node *n, uint64_t offset, size_t len, unsigned flags, struct vfs_ref *ret)
{
	struct cache_file *file;
	struct object_ref *ref;
	struct object *o;
	int rc = enter_file(n, flags, &o, &file);

	if (rc)
		return rc;
	rc = object_ref_new(o, &ref);
	if (!rc) {
		rc = cache_read_ref(file, offset, len, flags & VFS_NOWAIT ? CACHE_NOWAIT : 0, &ref->cache);
		if (rc)
			object_ref_drop(ref);
	}
	if (!rc)
		object_accessed(o);
	dataset_note(o->ds, DATASET_READ, rc, len);
	dataset_exit(o->ds);
	if (!rc)
		*ret = (struct vfs_ref){
			.iov = ref->cache.iov, .iov_count = ref->cache.iov_count, .release = ref_release, .priv = ref
		};
	return rc;
}

int filetree_extents(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags, struct vfs_extent *ret,
                     unsigned max, unsigned *ret_count)
{
	struct cache_file *file;
	struct object *o;
	int rc;

	if (flags & VFS_NOWAIT)
		return -EAGAIN;
	rc = enter_file(n, flags, &o, &file);
	if (rc)
		return rc;
	if (!range_within(offset, len, LOAD(o->inode.size_bytes)) || !len)
		rc = err_set(-EINVAL, "extents of %" PRIu64 "+%" PRIu64 " are asked for", offset, len);
	if (!rc && cache_is_dirty(file, offset, len))
		rc = cache_flush(file, offset, len);
	if (!rc)
		rc = object_extents(o, offset, len, flags, ret, max, ret_count);
	dataset_exit(o->ds);
	return rc;
}

int filetree_prefetch(struct vfs_node *n, uint64_t offset, uint64_t len)
{
	struct cache_file *file;
	struct object *o;
	int rc = enter_file(n, 0, &o, &file);

	if (rc)
		return rc;
	rc = cache_prefetch(file, offset, len);
	dataset_exit(o->ds);
	return rc;
}

/* ---- writing ---- */

/*
 * A file becomes longer: its data may reach the map before the size is known to readers. While writers extend it,
 * write_end is where they will end; without any it is the size.
 */
static void extend_begin(struct object *o, uint64_t end)
{
	sync_mutex_lock(&o->size_lock);
	STORE(o->write_end, max_u64(o->write_end, end));
	o->extending++;
	sync_mutex_unlock(&o->size_lock);
}

static void extend_end(struct object *o, uint64_t end, bool written)
{
	uint64_t size_bytes;

	sync_mutex_lock(&o->size_lock);
	size_bytes = LOAD(o->inode.size_bytes);
	if (written && end > size_bytes) {
		size_bytes = end;
		STORE(o->inode.size_bytes, end);
	}
	if (!--o->extending)
		STORE(o->write_end, size_bytes);
	sync_mutex_unlock(&o->size_lock);
}

/* io_lock is held. */
static int write_locked(struct object *o, struct cache_file *file, const struct iovec *iov, int iov_count,
                        uint64_t offset, uint64_t len, unsigned flags)
{
	uint64_t end = offset + len;
	bool extends = end > LOAD(o->inode.size_bytes);
	int rc;

	if (extends && o->behind_end)
		return err_set(-EIO, "what is behind the end of object %" PRIu64 " could not be dropped", o->number);
	object_stamp(o);
	if (extends)
		extend_begin(o, end);
	rc = cache_write(file, offset, iov, iov_count, object_cache_flags(flags));
	if (extends)
		extend_end(o, end, rc == 0);
	if (rc)
		return rc;
	if (extends)
		cache_file_resize(file, end);
	object_touch(o);
	return 0;
}

static int lock_io(struct object *o, unsigned flags) SYNC_NO_ANALYSIS;
static int lock_io(struct object *o, unsigned flags)
{
	if (flags & VFS_APPEND)
		sync_rwlock_wrlock(&o->io_lock);
	else if (!(flags & VFS_NOWAIT) && !nowait_here())
		sync_rwlock_rdlock(&o->io_lock);
	else if (!sync_rwlock_tryrdlock(&o->io_lock))
		return -EAGAIN;
	return 0;
}

static void unlock_io(struct object *o, unsigned flags) SYNC_NO_ANALYSIS;
static void unlock_io(struct object *o, unsigned flags)
{
	if (flags & VFS_APPEND)
		sync_rwlock_wrunlock(&o->io_lock);
	else
		sync_rwlock_rdunlock(&o->io_lock);
}

/* The same, when no range is being taken out. */
static int lock_io_settled(struct object *o, unsigned flags) SYNC_NO_ANALYSIS;
static int lock_io_settled(struct object *o, unsigned flags)
{
	int rc = lock_io(o, flags);

	while (!rc && LOAD(o->shifting)) {
		unlock_io(o, flags);
		rc = flags & VFS_NOWAIT || nowait_here() ? -EAGAIN : filetree_settle(o);
		if (!rc)
			rc = lock_io(o, flags);
	}
	return rc;
}

/* io_lock is held exclusively. -EAGAIN: too many results wait. */
static int append_tagged(struct object *o, struct cache_file *file, const struct iovec *iov, int iov_count,
                         uint64_t offset, uint64_t len, unsigned flags, const struct vfs_tag *tag)
{
	int rc = object_append_begin(o, offset, tag);

	if (rc)
		return rc;
	rc = write_locked(o, file, iov, iov_count, offset, len, flags);
	if (rc)
		object_append_cancel(o, tag);
	return rc;
}

/* io_lock is held. 0: it was written; 1: there is no room in a quota without a closer look. */
static int write_at(struct object *o, struct cache_file *file, const struct iovec *iov, int iov_count, uint64_t *offset,
                    uint64_t len, unsigned flags, const struct vfs_tag *tag, struct quota_hold *hold)
{
	if (flags & VFS_APPEND)
		*offset = LOAD(o->inode.size_bytes);
	if (!range_within(*offset, len, VFS_FILE_BYTES_MAX))
		return err_set(-EFBIG, "a file does not reach %" PRIu64 "+%" PRIu64, *offset, len);
	if (!quota_try_write(o, *offset, len, hold))
		return 1;
	return tag ? append_tagged(o, file, iov, iov_count, *offset, len, flags, tag)
	           : write_locked(o, file, iov, iov_count, *offset, len, flags);
}

/* *@offset: where it was, if it is at the end. */
static int write_entered(struct object *o, struct cache_file *file, const struct iovec *iov, int iov_count,
                         uint64_t *offset, uint64_t len, unsigned flags, const struct vfs_tag *tag)
{
	struct quota_hold hold = { 0 };
	int rc, waited = 0;

	do {
		rc = lock_io_settled(o, flags);
		if (rc)
			break;
		rc = write_at(o, file, iov, iov_count, offset, len, flags, tag, &hold);
		unlock_io(o, flags);
		/* Of a file that has other owners by now, or another end. */
		quota_done(&hold);
		if (rc == 1 && flags & VFS_NOWAIT)
			rc = -EAGAIN;
		if (rc == 1)
			waited = quota_wait_write(o, *offset, len, &hold);
	} while (rc == 1 && !waited);
	quota_done(&hold);
	if (waited)
		return waited;
	if (rc && rc != -EAGAIN && rc != -EFBIG && !o->behind_end)
		filetree_trim(o, *offset + len);
	return rc;
}

static int write_tagged(struct vfs_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags,
                        const struct vfs_tag *tag)
{
	uint64_t len = iov_len(iov, iov_count);
	struct dataset *ds = filetree_object(n)->ds;
	struct admission adm = { 0 };
	struct cache_file *file;
	struct object *o;
	int rc = pool_check_writable(ds->pool);

	if (rc || !len)
		return rc;
	if (flags & (VFS_FUA | VFS_APPEND) && (flags & VFS_NOWAIT || nowait_here()))
		return -EAGAIN;
	if (!(flags & VFS_ROOM))
		rc = admit_write(ds, len, flags, &adm);
	if (rc)
		return rc;
	rc = enter_file(n, flags, &o, &file);
	if (rc) {
		admit_done(ds->pool, &adm);
		return rc;
	}
	while ((rc = write_entered(o, file, iov, iov_count, &offset, len, flags, tag)) == -EAGAIN && tag) {
		rc = object_append_settle(o);
		if (rc)
			break;
	}
	if (!rc && flags & VFS_FUA)
		rc = object_persist(o, offset, len);
	admit_done(ds->pool, &adm);
	if (!rc && flags & VFS_FUA)
		rc = txg_sync_log(ds);
	dataset_note(ds, DATASET_WRITE, rc, len);
	dataset_exit(ds);
	return rc;
}

static void give_room_back(struct vfs_room *r)
{
	struct admission adm = { .blocks = r->blocks };

	admit_done(r->of, &adm);
}

int filetree_take_room(struct vfs_node *n, uint64_t len, struct vfs_room *ret)
{
	struct dataset *ds = filetree_object(n)->ds;
	struct admission adm;
	int rc = pool_check_writable(ds->pool);

	/* Whoever looks closer at a quota waits until nobody has taken room in it: that is not kept for long. */
	if (!rc)
		rc = quota_is_limited(ds) ? -EAGAIN : admit_write(ds, len, VFS_NOWAIT, &adm);
	if (!rc)
		*ret = (struct vfs_room){ .give_back = give_room_back, .of = ds->pool, .blocks = adm.blocks };
	return rc;
}

int filetree_write(struct vfs_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
	return write_tagged(n, iov, iov_count, offset, flags, NULL);
}

int filetree_append(struct vfs_node *n, const struct iovec *iov, int iov_count, unsigned flags,
                    const struct vfs_tag *tag)
{
	return write_tagged(n, iov, iov_count, 0, flags | VFS_APPEND, tag);
}

int filetree_flush_range(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags)
{
	struct object *o = filetree_object(n);
	int rc;

	if (o->ds->pool->read_only)
		return 0;
	if (flags & VFS_NOWAIT)
		return -EAGAIN;
	rc = pool_check_writable(o->ds->pool);
	if (!rc)
		rc = dataset_enter(o->ds, flags);
	if (rc)
		return rc;
	/* Names and attributes are in the log since they were changed. */
	if (n->type == VFS_TYPE_FILE)
		rc = object_persist(o, offset, len);
	if (!rc)
		rc = txg_sync_log(o->ds);
	dataset_exit(o->ds);
	return rc;
}

int filetree_flush(struct vfs_node *n, unsigned flags)
{
	return filetree_flush_range(n, 0, UINT64_MAX, flags);
}

/* ---- holes ---- */

static int clear(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags, bool edges)
{
	struct cache_file *file;
	struct object *o;
	int rc = pool_check_writable(filetree_object(n)->ds->pool);

	if (rc)
		return rc;
	if (flags & VFS_NOWAIT)
		return -EAGAIN;
	rc = enter_file(n, flags, &o, &file);
	if (rc)
		return rc;
	rc = lock_io_settled(o, 0);
	if (rc) {
		dataset_exit(o->ds);
		return rc;
	}
	object_stamp(o);
	if (!range_within(offset, len, LOAD(o->inode.size_bytes))) {
		rc = err_set(edges ? -ENOSPC : -EINVAL, "%" PRIu64 "+%" PRIu64 " is not within the file", offset, len);
	} else if (edges) {
		rc = object_zero(o, offset, len);
	} else {
		uint64_t first = div_round_up_u64(offset, WFS3_BLOCK_BYTES), end = (offset + len) / WFS3_BLOCK_BYTES;

		rc = first < end ? object_punch(o, first, end) : 0;
	}
	/* Also after an error: a part of it may have been done. */
	object_touch(o);
	unlock_io(o, 0);
	if (!rc && flags & VFS_FUA)
		rc = object_persist(o, offset, len);
	if (!rc && flags & VFS_FUA)
		rc = txg_sync_log(o->ds);
	dataset_exit(o->ds);
	return rc;
}

int filetree_discard(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags)
{
	return clear(n, offset, len, flags, false);
}

int filetree_zero(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags)
{
	return clear(n, offset, len, flags, true);
}
