/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading, writing and resizing files. Who changes the size holds the io_lock alone; readers, and writers within the
 * size, share it.
 */
#include <errno.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/iov.h"
#include "core/cache/cache.h"
#include "core/fs/fat/fat_priv.h"

#define ZEROS_BYTES 65536u

static uint64_t size_of(const struct fat_node *n)
{
	return __atomic_load_n(&n->size_bytes, __ATOMIC_ACQUIRE);
}

static void set_size(struct fat_node *n, uint64_t size)
{
	__atomic_store_n(&n->size_bytes, size, __ATOMIC_RELEASE);
	cache_file_resize(n->data, size);
	n->entry_changed = true;
	fat_node_changed(n);
}

int fat_read(struct fat_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags,
             size_t *ret_len)
{
	size_t len = iov_len(iov, iov_count);
	struct iovec part[64];
	uint64_t size;
	int rc = 0;

	if (fat_node_is_dir(n))
		return err_set(-EISDIR, "a directory is not read like a file");
	if (iov_count > 64)
		return err_set(-EINVAL, "more than 64 pieces of memory");
	if (!(flags & FAT_NOWAIT))
		sync_rwlock_rdlock(&n->io_lock);
	else if (!sync_rwlock_tryrdlock(&n->io_lock))
		return -EAGAIN;
	size = size_of(n);
	len = offset >= size ? 0 : (size_t)min_u64(len, size - offset);
	if (len)
		rc = cache_read(n->data, offset, part, iov_head(iov, len, part), flags & FAT_NOWAIT ? CACHE_NOWAIT : 0);
	sync_rwlock_rdunlock(&n->io_lock);
	if (rc == 0)
		*ret_len = len;
	return rc;
}

/* Forget pages from @size on, after the one that it divides was written, and cut the chain. The io_lock is held alone.
 */
static int drop_beyond(struct fat_node *n, uint64_t size)
{
	struct fat_fs *fs = n->fs;
	uint64_t start = round_down_u64(size, CACHE_PAGE_BYTES), len;
	int rc = size > start ? cache_flush(n->data, start, CACHE_PAGE_BYTES) : 0;

	if (rc)
		return rc;
	/* A sync waits for a punch: it must not come in between. */
	sync_mutex_lock(&fs->lock);
	len = max_u64(max_u64(size_of(n), (uint64_t)n->map.cluster_count * fs->g.cluster_bytes), size);
	len = round_up_u64(len, CACHE_PAGE_BYTES) - start;
	if (len)
		rc = cache_punch_begin(n->data, start, len, 0);
	if (rc == 0) {
		rc = fat_space_cut(n, (uint32_t)div_round_up_u64(size, fs->g.cluster_bytes));
		if (rc == 0 && size_of(n) != size)
			set_size(n, size);
		if (len)
			cache_punch_end(n->data, start, len, rc != 0);
	}
	sync_mutex_unlock(&fs->lock);
	return rc;
}

/* What made the file longer failed with @rc, which is what counts. */
static int undo(struct fat_node *n, uint64_t old_size, int rc)
{
	struct err e;

	err_take(&e);
	(void)drop_beyond(n, old_size);
	err_restore(&e);
	return rc;
}

static int grow_clusters(struct fat_node *n, uint64_t size)
{
	struct fat_fs *fs = n->fs;
	int rc;

	sync_mutex_lock(&fs->lock);
	rc = fat_fs_begin_change(fs);
	if (rc == 0)
		rc = fat_space_grow(n, (uint32_t)div_round_up_u64(size, fs->g.cluster_bytes));
	sync_mutex_unlock(&fs->lock);
	return rc;
}

static int write_zeros(struct fat_node *n, uint64_t offset, uint64_t end)
{
	static const uint8_t zeros[ZEROS_BYTES];
	int rc = 0;

	while (rc == 0 && offset < end) {
		struct iovec iov = { .iov_len = (size_t)min_u64(end - offset, sizeof(zeros)) };
		const void *p = zeros;

		memcpy(&iov.iov_base, &p, sizeof(p)); /* it is only read */
		rc = cache_write(n->data, offset, &iov, 1, 0);
		offset += iov.iov_len;
	}
	return rc;
}

/* Zeros on the device for clusters [from, to) of the file, which no page shows yet. */
static int zero_clusters(struct fat_node *n, uint32_t from, uint32_t to)
{
	const struct fat_geometry *g = &n->fs->g;
	int rc = 0;

	while (rc == 0 && from < to) {
		uint32_t run, cluster;

		sync_mutex_lock(&n->map_lock);
		cluster = fat_map_find(&n->map, from, &run);
		sync_mutex_unlock(&n->map_lock);
		if (run > to - from)
			run = to - from;
		rc = fat_medium_zero(&n->fs->medium, fat_cluster_offset(g, cluster), (uint64_t)run * g->cluster_bytes);
		from += run;
	}
	return rc;
}

/* Longer by zeros. The io_lock is held alone. What the clusters held before must not show: the old ones get zeros
 * through the cache, the new ones directly. */
static int extend(struct fat_node *n, uint64_t size)
{
	struct fat_fs *fs = n->fs;
	uint64_t old = size_of(n), had, covered;
	int rc;

	sync_mutex_lock(&fs->lock);
	had = n->map.cluster_count;
	sync_mutex_unlock(&fs->lock);
	covered = round_up_u64(had * fs->g.cluster_bytes, CACHE_PAGE_BYTES);
	rc = grow_clusters(n, size);
	if (rc == 0)
		rc = zero_clusters(n, (uint32_t)had, (uint32_t)div_round_up_u64(size, fs->g.cluster_bytes));
	if (rc == 0)
		rc = write_zeros(n, old, min_u64(size, covered));
	if (rc)
		return undo(n, old, rc);
	sync_mutex_lock(&fs->lock);
	set_size(n, size);
	sync_mutex_unlock(&fs->lock);
	return 0;
}

/* The io_lock is held alone; the range ends behind the size. */
static int write_beyond(struct fat_node *n, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t end)
{
	struct fat_fs *fs = n->fs;
	uint64_t old = size_of(n);
	int rc = 0;

	if (offset > old)
		rc = extend(n, offset);
	if (rc == 0)
		rc = grow_clusters(n, end);
	if (rc == 0)
		rc = cache_write(n->data, offset, iov, iov_count, 0);
	if (rc)
		return undo(n, old, rc);
	sync_mutex_lock(&fs->lock);
	set_size(n, end);
	fat_data_touch(n);
	sync_mutex_unlock(&fs->lock);
	return 0;
}

/* The io_lock is shared; the range lies within the size. */
static int write_within(struct fat_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
	struct fat_fs *fs = n->fs;
	int rc;

	if (!(flags & FAT_NOWAIT))
		sync_mutex_lock(&fs->lock);
	else if (!sync_mutex_trylock(&fs->lock))
		return -EAGAIN;
	if ((flags & FAT_NOWAIT) && fat_fs_begin_waits(fs))
		rc = -EAGAIN;
	else
		rc = fat_fs_begin_change(fs);
	if (rc == 0) {
		fat_data_touch(n);
		(void)__atomic_add_fetch(&n->writing, 1, __ATOMIC_SEQ_CST);
	}
	sync_mutex_unlock(&fs->lock);
	if (rc)
		return rc;
	rc = cache_write(n->data, offset, iov, iov_count,
	                 (flags & FAT_NOWAIT ? CACHE_NOWAIT : 0) | (flags & FAT_MAKES_ROOM ? CACHE_MAKES_ROOM : 0));
	(void)__atomic_add_fetch(&n->write_seq, 1, __ATOMIC_SEQ_CST);
	(void)__atomic_sub_fetch(&n->writing, 1, __ATOMIC_SEQ_CST);
	return rc;
}

static int check_file(const struct fat_node *n)
{
	return fat_node_is_dir(n) ? err_set(-EISDIR, "a directory is not written like a file") : 0;
}

static int append(struct fat_node *n, const struct iovec *iov, int iov_count, size_t len, unsigned flags)
{
	uint64_t offset;
	int rc;

	if (flags & FAT_NOWAIT)
		return -EAGAIN;
	sync_rwlock_wrlock(&n->io_lock);
	offset = size_of(n);
	if (len > FAT_FILE_BYTES_MAX - offset)
		rc = err_set(-EFBIG, "a file on FAT has at most 4 GiB - 1 bytes");
	else
		rc = write_beyond(n, iov, iov_count, offset, offset + len);
	sync_rwlock_wrunlock(&n->io_lock);
	return rc;
}

int fat_write(struct fat_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
	size_t len = iov_len(iov, iov_count);
	uint64_t end;
	bool alone = false;
	int rc = check_file(n);

	if (rc || !len)
		return rc;
	if (flags & FAT_APPEND)
		return append(n, iov, iov_count, len, flags);
	if (!checked_add(offset, (uint64_t)len, &end) || end > FAT_FILE_BYTES_MAX)
		return err_set(-EFBIG, "a file on FAT has at most 4 GiB - 1 bytes");
	if (flags & FAT_NOWAIT) {
		if (!sync_rwlock_tryrdlock(&n->io_lock))
			return -EAGAIN;
	} else {
		sync_rwlock_rdlock(&n->io_lock);
	}
	rc = end <= size_of(n) ? write_within(n, iov, iov_count, offset, flags) : -EAGAIN;
	alone = rc == -EAGAIN && end > size_of(n) && !(flags & FAT_NOWAIT);
	sync_rwlock_rdunlock(&n->io_lock);
	if (!alone)
		return rc;
	sync_rwlock_wrlock(&n->io_lock);
	if (end <= size_of(n))
		rc = write_within(n, iov, iov_count, offset, flags);
	else
		rc = write_beyond(n, iov, iov_count, offset, end);
	sync_rwlock_wrunlock(&n->io_lock);
	return rc;
}

int fat_truncate(struct fat_node *n, uint64_t size_bytes)
{
	struct fat_fs *fs = n->fs;
	int rc = check_file(n);

	if (rc)
		return rc;
	if (size_bytes > FAT_FILE_BYTES_MAX)
		return err_set(-EFBIG, "a file on FAT has at most 4 GiB - 1 bytes");
	sync_rwlock_wrlock(&n->io_lock);
	sync_mutex_lock(&fs->lock);
	rc = fat_fs_begin_change(fs);
	sync_mutex_unlock(&fs->lock);
	if (rc == 0 && size_bytes > size_of(n))
		rc = extend(n, size_bytes);
	else if (rc == 0 && size_bytes < size_of(n))
		rc = drop_beyond(n, size_bytes);
	if (rc == 0) {
		sync_mutex_lock(&fs->lock);
		fat_data_touch(n);
		sync_mutex_unlock(&fs->lock);
	}
	sync_rwlock_wrunlock(&n->io_lock);
	return rc;
}

struct cache_file *fat_node_cache(struct fat_node *n)
{
	return n->data;
}
