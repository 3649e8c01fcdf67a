/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening, reading and writing files. Readers and writers share the io_lock; who truncates or appends holds it alone.
 * A writer behind the end sets the size when its data is in the cache.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <nfsc/libnfs-raw-nfs.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/iov.h"
#include "core/base/nowait.h"
#include "core/cache/cache.h"
#include "core/fs/nfs/nfs_priv.h"

static unsigned cache_flags(unsigned flags)
{
	return flags & VFS_NOWAIT ? CACHE_NOWAIT : 0;
}

/* What has to wait, waits for the server. */
static int told(int rc)
{
	if (rc == -EAGAIN)
		nowait_tell_remote();
	return rc;
}

static int check_there(const struct nfs_node *n)
{
	if (__atomic_load_n(&n->gone, __ATOMIC_ACQUIRE))
		return err_set(-ESTALE, "the file is gone from the server");
	return 0;
}

static int take_access(void *ctx, const void *res)
{
	*(uint32_t *)ctx = ((const ACCESS3res *)res)->ACCESS3res_u.resok.access;
	return 0;
}

/* What the server would refuse later, when nobody can be told any more, is refused now. */
static int check_writable(struct nfs_node *n)
{
	uint32_t granted = 0;
	ACCESS3args args = { .object = nfs_handle_arg(&n->fh), .access = ACCESS3_MODIFY | ACCESS3_EXTEND };
	struct nfs_call c = { .proc = NFS_ACCESS, .args = &args, .take = take_access, .ctx = &granted };
	int rc = nfs_call_run(n->im->net, &c);

	if (rc == 0 && !(granted & ACCESS3_MODIFY))
		rc = err_set(-EACCES, "the server does not let us write this file");
	return rc;
}

int nfs_file_open(struct vfs_node *node, bool writable)
{
	struct nfs_node *n = nfs_node_of(node);
	struct cache_file *f;
	int rc = nfs_check_alive(n->im);

	if (rc == 0)
		rc = nfs_file_data(n, &f);
	if (rc == 0)
		rc = nfs_node_refresh(n);
	if (rc == 0 && writable)
		rc = check_writable(n);
	if (rc)
		return rc;
	sync_mutex_lock(&n->lock);
	n->opens++;
	sync_mutex_unlock(&n->lock);
	return 0;
}

void nfs_file_close(struct vfs_node *node, bool writable)
{
	struct nfs_node *n = nfs_node_of(node);

	sync_mutex_lock(&n->lock);
	n->opens--;
	sync_mutex_unlock(&n->lock);
	if (!writable || !cache_file_dirty_bytes(n->data))
		return;
	sync_mutex_lock(&n->im->table_lock);
	nfs_janitor_add(n);
	sync_mutex_unlock(&n->im->table_lock);
}

static SYNC_NO_ANALYSIS int lock_shared(struct nfs_node *n, unsigned flags)
{
	if (!(flags & VFS_NOWAIT))
		sync_rwlock_rdlock(&n->io_lock);
	else if (!sync_rwlock_tryrdlock(&n->io_lock))
		return told(-EAGAIN);
	return 0;
}

SYNC_NO_ANALYSIS int nfs_file_read(struct vfs_node *node, const struct iovec *iov, int iov_count, uint64_t offset,
                                   unsigned flags)
{
	struct nfs_node *n = nfs_node_of(node);
	struct cache_file *f;
	int rc = nfs_check_alive(n->im);

	if (rc == 0)
		rc = nfs_file_data(n, &f);
	if (rc == 0)
		rc = lock_shared(n, flags);
	if (rc)
		return rc;
	rc = cache_read(f, offset, iov, iov_count, cache_flags(flags));
	sync_rwlock_rdunlock(&n->io_lock);
	return told(rc);
}

/* Pages that somebody refers to keep their file, and so the import and the cache. */
struct held_ref {
	struct cache_ref ref;
	struct vfs_node *node;
};

static void release_ref(struct vfs_ref *r)
{
	struct held_ref *h = r->priv;

	cache_ref_release(&h->ref);
	vfs_node_unref(h->node);
	free(h);
}

int nfs_file_read_ref(struct vfs_node *node, uint64_t offset, size_t len, unsigned flags, struct vfs_ref *ret)
{
	struct nfs_node *n = nfs_node_of(node);
	struct held_ref *h = malloc(sizeof(*h));
	struct cache_file *f;
	int rc = h ? nfs_check_alive(n->im) : err_set(-ENOMEM, "a read: no memory");

	if (rc == 0)
		rc = nfs_file_data(n, &f);
	if (rc == 0)
		rc = cache_read_ref(f, offset, len, cache_flags(flags), &h->ref);
	if (rc) {
		free(h);
		return told(rc);
	}
	h->node = node;
	vfs_node_ref(node);
	*ret = (struct vfs_ref){ .iov = h->ref.iov, .iov_count = h->ref.iov_count, .release = release_ref, .priv = h };
	return 0;
}

static void set_size(struct nfs_node *n, struct cache_file *f, uint64_t size)
{
	__atomic_store_n(&n->size_bytes, size, __ATOMIC_RELEASE);
	cache_file_resize(f, size);
}

/* The io_lock is held. Until the data is in the cache, and thereby dirty, nothing but this write says how long the file
 * is. */
static int write_at(struct nfs_node *n, struct cache_file *f, const struct iovec *iov, int iov_count, uint64_t offset,
                    uint64_t end, unsigned flags)
{
	int rc;

	sync_mutex_lock(&n->lock);
	n->writing++;
	n->writing_end = max_u64(n->writing_end, end);
	sync_mutex_unlock(&n->lock);
	rc = cache_write(f, offset, iov, iov_count, cache_flags(flags));
	sync_mutex_lock(&n->lock);
	if (rc == 0) {
		if (end > n->size_bytes)
			set_size(n, f, end);
		n->written_ns = sync_wall_ns();
		n->change++;
		n->own_ns = sync_now_ns();
	}
	if (--n->writing == 0)
		n->writing_end = 0;
	sync_mutex_unlock(&n->lock);
	return rc;
}

static int append(struct nfs_node *n, struct cache_file *f, const struct iovec *iov, int iov_count, size_t len)
{
	uint64_t offset;
	int rc;

	sync_rwlock_wrlock(&n->io_lock);
	offset = __atomic_load_n(&n->size_bytes, __ATOMIC_ACQUIRE);
	if (len > VFS_FILE_BYTES_MAX - offset)
		rc = err_set(-EFBIG, "a file of more than %llu bytes", (unsigned long long)VFS_FILE_BYTES_MAX);
	else
		rc = write_at(n, f, iov, iov_count, offset, offset + len, 0);
	sync_rwlock_wrunlock(&n->io_lock);
	return rc;
}

SYNC_NO_ANALYSIS int nfs_file_write(struct vfs_node *node, const struct iovec *iov, int iov_count, uint64_t offset,
                                    unsigned flags)
{
	struct nfs_node *n = nfs_node_of(node);
	size_t len = iov_len(iov, iov_count);
	struct cache_file *f;
	int rc = nfs_check_alive(n->im);

	if (rc == 0 && (flags & VFS_NOWAIT) && (flags & (VFS_FUA | VFS_APPEND)))
		return told(-EAGAIN);
	if (rc == 0)
		rc = nfs_file_data(n, &f);
	if (rc || !len)
		return rc;
	if (flags & VFS_APPEND) {
		rc = append(n, f, iov, iov_count, len);
	} else {
		rc = lock_shared(n, flags);
		if (rc)
			return rc;
		rc = write_at(n, f, iov, iov_count, offset, offset + len, flags);
		sync_rwlock_rdunlock(&n->io_lock);
	}
	if (rc == 0 && (flags & VFS_FUA))
		rc = cache_flush(f, flags & VFS_APPEND ? 0 : offset, flags & VFS_APPEND ? UINT64_MAX : len);
	return rc ? told(rc) : check_there(n);
}

int nfs_file_flush(struct vfs_node *node, unsigned flags)
{
	struct nfs_node *n = nfs_node_of(node);
	struct cache_file *f = __atomic_load_n(&n->data, __ATOMIC_ACQUIRE);
	int rc = nfs_check_alive(n->im);

	if (rc == 0 && (flags & VFS_NOWAIT) && f && cache_file_dirty_bytes(f))
		return told(-EAGAIN);
	if (rc == 0 && f)
		rc = cache_flush(f, 0, UINT64_MAX);
	return rc ? rc : check_there(n);
}

int nfs_file_prefetch(struct vfs_node *node, uint64_t offset, uint64_t len)
{
	struct nfs_node *n = nfs_node_of(node);
	struct cache_file *f;
	int rc = nfs_check_alive(n->im);

	if (rc == 0)
		rc = nfs_file_data(n, &f);
	return rc ? rc : cache_prefetch(f, offset, len);
}

static int setattr_size(struct nfs_node *n, uint64_t size)
{
	sattr3 set = { .size = { .set_it = 1, .set_size3_u.size = size } };

	return nfs_setattr_call(n, &set);
}

int nfs_file_truncate(struct nfs_node *n, uint64_t size_bytes)
{
	uint64_t start = round_down_u64(size_bytes, CACHE_PAGE_BYTES), len = 0, old;
	struct cache_file *f;
	int rc = nfs_file_data(n, &f);

	if (rc)
		return rc;
	sync_rwlock_wrlock(&n->io_lock);
	old = __atomic_load_n(&n->size_bytes, __ATOMIC_ACQUIRE);
	/* The page that the new end divides is read again, with zeros behind it. */
	if (size_bytes < old && size_bytes > start)
		rc = cache_flush(f, start, CACHE_PAGE_BYTES);
	if (rc == 0 && size_bytes < old) {
		len = round_up_u64(old, CACHE_PAGE_BYTES) - start;
		rc = cache_punch_begin(f, start, len, 0);
		len = rc ? 0 : len;
	}
	if (rc == 0)
		rc = setattr_size(n, size_bytes);
	if (rc == 0) {
		sync_mutex_lock(&n->lock);
		set_size(n, f, size_bytes);
		sync_mutex_unlock(&n->lock);
	}
	if (len)
		cache_punch_end(f, start, len, rc != 0);
	sync_rwlock_wrunlock(&n->io_lock);
	return rc;
}
