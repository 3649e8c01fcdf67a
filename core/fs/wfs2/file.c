/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading, writing and resizing files, and making them durable. */
#include <errno.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/iov.h"
#include "core/blk/blk.h"
#include "core/fs/wfs2/wfs2_priv.h"

#define IOV_PARTS_MAX 64

/* The map_lock is held. */
static void touch(struct wfs2_node *n)
{
	n->e.modified_ns = wfs2_now();
	n->e.change++;
	n->entry_changed = true;
}

static void set_size(struct wfs2_node *n, uint64_t size)
{
	sync_mutex_lock(&n->map_lock);
	n->e.size_bytes = size;
	touch(n);
	sync_mutex_unlock(&n->map_lock);
	cache_file_resize(n->data, size);
	wfs2_node_changed(n);
}

static bool lock_shared(struct wfs2_node *n, unsigned flags)
        SYNC_ANNOTATE(try_acquire_shared_capability(true, n->io_lock)) SYNC_NO_ANALYSIS
{
	if (flags & WFS2_NOWAIT)
		return sync_rwlock_tryrdlock(&n->io_lock);
	sync_rwlock_rdlock(&n->io_lock);
	return true;
}

int wfs2_read(struct wfs2_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags,
              size_t *ret_len)
{
	size_t len = iov_len(iov, iov_count);
	struct iovec part[IOV_PARTS_MAX];
	uint64_t size;
	int rc = 0;

	if (iov_count > IOV_PARTS_MAX)
		return err_set(-EINVAL, "more than %d pieces of memory", IOV_PARTS_MAX);
	if (!lock_shared(n, flags))
		return -EAGAIN;
	size = wfs2_size_of(n);
	len = offset >= size ? 0 : (size_t)min_u64(len, size - offset);
	if (len)
		rc = cache_read(n->data, offset, part, iov_head(iov, len, part),
		                flags & WFS2_NOWAIT ? CACHE_NOWAIT : 0);
	sync_rwlock_rdunlock(&n->io_lock);
	if (rc == 0)
		*ret_len = len;
	return rc;
}

static int commit_locked(struct wfs2_node *n)
{
	struct wfs2_fs *fs = n->fs;
	struct wfs2_entry e;
	bool changed, deleted;
	int rc;

	sync_mutex_lock(&fs->lock);
	deleted = n->deleted;
	sync_mutex_unlock(&fs->lock);
	sync_mutex_lock(&n->map_lock);
	e = n->e;
	changed = n->entry_changed && !deleted;
	n->entry_changed = false;
	sync_mutex_unlock(&n->map_lock);
	rc = wfs2_check_writable(fs);
	if (rc == 0 && changed)
		rc = wfs2_write_bitmap(fs);
	if (rc == 0) {
		rc = blk_flush(fs->dev);
		if (rc)
			(void)wfs2_fail(fs, rc);
	}
	e.replaces = e.replaces_generation = 0;
	if (rc == 0 && changed)
		rc = wfs2_write_slot(fs, n->slot, &e);
	if (rc && changed) {
		sync_mutex_lock(&n->map_lock);
		n->entry_changed = true;
		sync_mutex_unlock(&n->map_lock);
	}
	return rc;
}

int wfs2_commit(struct wfs2_node *n)
{
	struct wfs2_fs *fs = n->fs;
	bool was_listed;
	int rc;

	/* Before the flush: who writes from now on lists it again. */
	sync_mutex_lock(&fs->lock);
	was_listed = n->listed;
	if (was_listed)
		cds_list_del(&n->changed_link);
	n->listed = false;
	sync_mutex_unlock(&fs->lock);
	rc = cache_flush(n->data, 0, UINT64_MAX);
	if (rc == 0) {
		sync_mutex_lock(&fs->change_lock);
		rc = commit_locked(n);
		sync_mutex_unlock(&fs->change_lock);
	}
	if (rc)
		wfs2_node_changed(n);
	if (was_listed)
		wfs2_put(n); /* not the last one: the caller has another */
	return rc;
}

int wfs2_flush(struct wfs2_node *n)
{
	int rc;

	sync_rwlock_rdlock(&n->io_lock);
	rc = wfs2_commit(n);
	sync_rwlock_rdunlock(&n->io_lock);
	return rc;
}

int wfs2_set_attr(struct wfs2_node *n, const bool *read_only, const uint64_t *modified_ns)
{
	int rc = wfs2_check_writable(n->fs);

	if (rc)
		return rc;
	sync_rwlock_rdlock(&n->io_lock);
	sync_mutex_lock(&n->map_lock);
	if (read_only && *read_only)
		n->e.flags |= WFS2_FLAG_READ_ONLY;
	else if (read_only)
		n->e.flags &= (uint16_t)~WFS2_FLAG_READ_ONLY;
	if (modified_ns)
		n->e.modified_ns = *modified_ns;
	n->e.change++;
	n->entry_changed = true;
	sync_mutex_unlock(&n->map_lock);
	rc = wfs2_commit(n);
	sync_rwlock_rdunlock(&n->io_lock);
	return rc;
}

static int write_zeros(struct wfs2_node *n, uint64_t offset, uint64_t end)
{
	static const uint8_t zeros[WFS2_BLOCK_BYTES];
	struct iovec iov = { .iov_len = (size_t)(end - offset) };
	const void *p = zeros;

	if (offset >= end)
		return 0;
	memcpy(&iov.iov_base, &p, sizeof(p)); /* it is only read */
	return cache_write(n->data, offset, &iov, 1, 0);
}

/* Zeros on the device for blocks [from, to) of the file, which no page shows yet. */
static int zero_blocks(struct wfs2_node *n, uint64_t from, uint64_t to)
{
	int rc = 0;

	while (rc == 0 && from < to) {
		struct blk_io io = { .op = BLK_WRITE_ZEROES };
		struct blk_batch batch;
		uint32_t run;

		sync_mutex_lock(&n->map_lock);
		io.offset = (uint64_t)wfs2_map_find(&n->e, from, &run) * WFS2_BLOCK_BYTES;
		sync_mutex_unlock(&n->map_lock);
		run = (uint32_t)min_u64(run, to - from);
		io.len_bytes = (uint64_t)run * WFS2_BLOCK_BYTES;
		blk_batch_init(&batch);
		blk_batch_add(&batch, n->fs->dev, &io);
		rc = blk_batch_wait(&batch);
		from += run;
	}
	return rc;
}

/* What did not succeed leaves nothing behind the size: pages go, and blocks to which no slot ever referred. */
static void undo(struct wfs2_node *n, uint64_t size, uint64_t reached)
{
	uint64_t start = round_up_u64(size, CACHE_PAGE_BYTES), end = round_up_u64(reached, CACHE_PAGE_BYTES);
	struct wfs2_extent extents[WFS2_EXTENTS_MAX];
	struct err e;
	unsigned count;

	err_take(&e);
	if (end <= start || cache_punch_begin(n->data, start, end - start, 0) == 0) {
		count = wfs2_map_cut(n, wfs2_blocks_of(size), extents);
		if (end > start)
			cache_punch_end(n->data, start, end - start, false);
		wfs2_map_free(n->fs, extents, count);
	}
	err_restore(&e);
}

/*
 * Longer by zeros. The io_lock is held alone. The rest of the last page may have anything, blocks that are new as well:
 * the former gets zeros through the cache, the latter directly.
 */
static int extend(struct wfs2_node *n, uint64_t size)
{
	uint64_t old = wfs2_size_of(n), had = wfs2_blocks_of(old);
	int rc = wfs2_map_grow(n, wfs2_blocks_of(size));

	if (rc == 0)
		rc = zero_blocks(n, had, wfs2_blocks_of(size));
	if (rc == 0)
		rc = write_zeros(n, old, min_u64(size, had * WFS2_BLOCK_BYTES));
	if (rc)
		undo(n, old, size);
	else
		set_size(n, size);
	return rc;
}

/* The io_lock is held alone; the range ends behind the size. */
static int write_beyond(struct wfs2_node *n, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t end)
{
	uint64_t old = wfs2_size_of(n);
	int rc = wfs2_map_grow(n, wfs2_blocks_of(end)); /* all of it, or nothing changes */

	if (rc == 0 && offset > old)
		rc = extend(n, offset);
	if (rc == 0)
		rc = cache_write(n->data, offset, iov, iov_count, 0);
	if (rc)
		undo(n, wfs2_size_of(n), end);
	else
		set_size(n, end);
	return rc;
}

static int write_within(struct wfs2_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
	int rc = cache_write(n->data, offset, iov, iov_count,
	                     (flags & WFS2_NOWAIT ? CACHE_NOWAIT : 0) |
	                             (flags & WFS2_MAKES_ROOM ? CACHE_MAKES_ROOM : 0));

	if (rc)
		return rc;
	sync_mutex_lock(&n->map_lock);
	touch(n);
	sync_mutex_unlock(&n->map_lock);
	wfs2_node_changed(n);
	return 0;
}

static int check_size(struct wfs2_node *n, uint64_t size)
{
	if (size > (uint64_t)WFS2_BLOCKS_MAX * WFS2_BLOCK_BYTES)
		return err_set(-EFBIG, "device %s: no file can be that large", blk_name(n->fs->dev));
	return wfs2_check_writable(n->fs);
}

/* The io_lock is held alone. */
static int write_alone(struct wfs2_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
	size_t len = iov_len(iov, iov_count);
	uint64_t size = wfs2_size_of(n), end;
	int rc;

	if (flags & WFS2_APPEND)
		offset = size;
	if (!checked_add(offset, (uint64_t)len, &end))
		return err_set(-EFBIG, "a write ends behind all numbers");
	rc = check_size(n, end);
	if (rc)
		return rc;
	if (end <= size)
		return write_within(n, iov, iov_count, offset, flags);
	return write_beyond(n, iov, iov_count, offset, end);
}

int wfs2_write(struct wfs2_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
	size_t len = iov_len(iov, iov_count);
	uint64_t size;
	bool within;
	int rc = wfs2_check_writable(n->fs);

	if (rc || !len)
		return rc;
	if (!lock_shared(n, flags))
		return -EAGAIN;
	size = wfs2_size_of(n);
	within = !(flags & WFS2_APPEND) && range_within(offset, len, size);
	rc = within ? write_within(n, iov, iov_count, offset, flags) : -EAGAIN;
	sync_rwlock_rdunlock(&n->io_lock);
	if (within || (flags & WFS2_NOWAIT))
		return rc;
	sync_rwlock_wrlock(&n->io_lock);
	rc = write_alone(n, iov, iov_count, offset, flags);
	sync_rwlock_wrunlock(&n->io_lock);
	return rc;
}

/*
 * The io_lock is held alone. What the last page has behind the new size stays: whoever makes the file longer writes
 * over it, with data or with zeros.
 */
static int shrink(struct wfs2_node *n, uint64_t size)
{
	uint64_t start = round_up_u64(size, CACHE_PAGE_BYTES);
	uint64_t end = round_up_u64(wfs2_size_of(n), CACHE_PAGE_BYTES);
	struct wfs2_extent extents[WFS2_EXTENTS_MAX];
	unsigned count;
	int rc = end > start ? cache_punch_begin(n->data, start, end - start, 0) : 0;

	if (rc)
		return rc;
	count = wfs2_map_cut(n, wfs2_blocks_of(size), extents);
	set_size(n, size);
	if (end > start)
		cache_punch_end(n->data, start, end - start, false);
	rc = wfs2_commit(n);
	if (rc)
		return rc; /* the slot may still refer to the blocks: they stay used */
	sync_mutex_lock(&n->fs->lock);
	wfs2_map_release(n);
	sync_mutex_unlock(&n->fs->lock);
	wfs2_map_free(n->fs, extents, count);
	return 0;
}

int wfs2_truncate(struct wfs2_node *n, uint64_t size_bytes)
{
	int rc = check_size(n, size_bytes);

	if (rc)
		return rc;
	sync_rwlock_wrlock(&n->io_lock);
	if (size_bytes < wfs2_size_of(n))
		rc = shrink(n, size_bytes);
	else if (size_bytes > wfs2_size_of(n)) {
		rc = extend(n, size_bytes);
		if (rc == 0)
			rc = wfs2_commit(n);
	}
	sync_rwlock_wrunlock(&n->io_lock);
	return rc;
}
