/* SPDX-License-Identifier: BSD-3-Clause */
/* Handles: opening a file, and every operation on it, with the checks that no file system has to repeat. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/vfs/attr_lock.h"
#include "core/vfs/lease.h"
#include "core/vfs/watch.h"

static void handle_ref(struct vfs_handle *h)
{
	__atomic_add_fetch(&h->refs, 1, __ATOMIC_RELAXED);
}

static void handle_unref(struct vfs_handle *h)
{
	if (__atomic_sub_fetch(&h->refs, 1, __ATOMIC_ACQ_REL))
		return;
	if (h->opened && h->node->ops->close)
		h->node->ops->close(h->node, h->access & VFS_ACCESS_WRITE);
	vfs_node_unref(h->node);
	__atomic_sub_fetch(&h->mount->handle_count, 1, __ATOMIC_SEQ_CST);
	mount_unref(h->mount);
	free(h);
}

static int open_data(struct vfs_handle *h)
{
	bool writable = h->access & VFS_ACCESS_WRITE;
	struct vfs_stat st;
	int ret;

	if (h->node->type == VFS_TYPE_DIR)
		return err_set(-EISDIR, "it is a directory");
	if (h->node->type != VFS_TYPE_FILE)
		return err_set(-ENXIO, "it is not a file");
	ret = handle_stat(h, &st);
	if (ret)
		return ret;
	if (writable && st.read_only)
		return err_set(-EROFS, "it is read-only");
	if (writable && st.flags & VFS_FLAG_IMMUTABLE)
		return err_set(-EPERM, "it is immutable");
	ret = lease_settle(h->vfs, h->node, h->access, false);
	if (!ret && h->node->ops->open)
		ret = h->node->ops->open(h->node, writable);
	h->opened = !ret;
	return ret;
}

int handle_new(struct vfs *v, struct place *at, unsigned access, bool by_root, struct vfs_handle **ret_handle)
{
	struct vfs_handle *h = calloc(1, sizeof(*h));
	int ret = 0;

	if (!h) {
		place_drop(at);
		return err_set(-ENOMEM, "no memory for a handle");
	}
	*h = (struct vfs_handle){ .vfs = v,
		                  .mount = at->mount,
		                  .node = at->node,
		                  .access = access & (VFS_ACCESS_READ | VFS_ACCESS_WRITE),
		                  .by_root = by_root,
		                  .refs = 1 };
	/* Counted before the mark is looked at: an unmount does these two the other way round. */
	__atomic_add_fetch(&h->mount->handle_count, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&h->mount->gone, __ATOMIC_SEQ_CST))
		ret = err_set(-ESTALE, "%s is not mounted any more", h->mount->path);
	else if (h->access)
		ret = open_data(h);
	if (ret)
		handle_unref(h);
	else
		*ret_handle = h;
	return ret;
}

int vfs_open(struct vfs *v, const char *path, bool writable, struct vfs_handle **ret_handle)
{
	struct place at;
	int ret = walk_plain(v, path, &at);

	if (ret)
		return ret;
	ret = handle_new(v, &at, writable ? VFS_ACCESS_READ | VFS_ACCESS_WRITE : VFS_ACCESS_READ, true, ret_handle);
	return ret ? err_add(ret, "open '%s'", path) : 0;
}

void vfs_close(struct vfs_handle *h)
{
	if (h)
		handle_unref(h);
}

int handle_stat(struct vfs_handle *h, struct vfs_stat *ret_stat)
{
	int ret = h->node->ops->stat(h->node, ret_stat);

	if (!ret)
		ret_stat->read_only |= h->mount->read_only;
	return ret;
}

int vfs_stat(struct vfs_handle *h, struct vfs_stat *ret_stat)
{
	return handle_stat(h, ret_stat);
}

bool vfs_is_remote(const struct vfs_handle *h)
{
	return h->node->ops->remote;
}

int vfs_stat_path(struct vfs *v, const char *path, struct vfs_stat *ret_stat)
{
	struct place at;
	int ret = walk_plain(v, path, &at);

	if (ret)
		return ret;
	ret = at.node->ops->stat(at.node, ret_stat);
	if (!ret)
		ret_stat->read_only |= at.mount->read_only;
	place_drop(&at);
	return ret;
}

/* Is [offset, offset + len) within the file? Otherwise @error. */
static int check_range(struct vfs_handle *h, uint64_t offset, uint64_t len, int error)
{
	struct vfs_stat st;
	int ret = h->node->ops->stat(h->node, &st);

	if (ret)
		return ret;
	if (!range_within(offset, len, st.size_bytes))
		return err_set(error, "range %" PRIu64 "+%" PRIu64 " is outside the file of %" PRIu64 " bytes", offset,
		               len, st.size_bytes);
	return 0;
}

static int clear_suid(struct vfs_handle *h)
{
	const struct vfs_set_attr kill = { .valid = VFS_SET_KILL_SUID };
	struct sync_mutex *lock = attr_lock_of(h->vfs, h->node);
	int ret;

	if (!attr_lock(lock))
		return -EAGAIN;
	ret = h->node->ops->set_attr(h->node, &kill);
	sync_mutex_unlock(lock);
	return ret;
}

/*
 * May something be written there? What lies beyond the end extends a file that grows. Whoever is not root makes the
 * file lose its setuid bit by writing (POSIX.1-2017, write()).
 */
static int check_write(struct vfs_handle *h, uint64_t offset, uint64_t len, unsigned flags)
{
	struct vfs_stat st;
	int ret = h->node->ops->stat(h->node, &st);

	if (ret)
		return ret;
	if (st.flags && (st.flags & VFS_FLAG_IMMUTABLE || !(flags & VFS_APPEND)))
		return err_set(-EPERM, "the file is immutable, or takes data at its end only");
	if (flags & VFS_APPEND)
		offset = st.size_bytes;
	if (!range_within(offset, len, st.grows ? VFS_FILE_BYTES_MAX : st.size_bytes))
		return err_set(st.grows ? -EFBIG : -ENOSPC,
		               "range %" PRIu64 "+%" PRIu64 " is outside the file's bounds", offset, len);
	if (!(st.mode & 06000) || h->by_root || !h->node->ops->set_attr)
		return 0;
	/* It waits for a device, perhaps. */
	return flags & VFS_NOWAIT ? -EAGAIN : clear_suid(h);
}

static int check_writable(struct vfs_handle *h)
{
	return h->access & VFS_ACCESS_WRITE ? 0 : err_set(-EROFS, "the file is not open for writing");
}

static int check_readable(struct vfs_handle *h)
{
	return h->access & VFS_ACCESS_READ ? 0 : err_set(-EBADF, "the file is not open for reading");
}

static int iov_total(const struct iovec *iov, int iov_count, uint64_t *ret_len)
{
	uint64_t len = 0;

	if (iov_count < 0)
		return err_set(-EINVAL, "negative number of buffers");
	for (int i = 0; i < iov_count; i++)
		if (!checked_add(len, iov[i].iov_len, &len))
			return err_set(-EINVAL, "the buffers' lengths overflow");
	if (len > VFS_IO_BYTES_MAX)
		return err_set(-EINVAL, "%" PRIu64 " bytes are more than one operation may move (%u)", len,
		               VFS_IO_BYTES_MAX);
	*ret_len = len;
	return 0;
}

/* The first @len bytes of what @iov describes, or NULL: memory. */
static struct iovec *iov_head(const struct iovec *iov, int iov_count, uint64_t len, int *ret_count)
{
	struct iovec *part = malloc((size_t)iov_count * sizeof(*part));
	int n = 0;

	while (part && len) {
		part[n] = iov[n];
		part[n].iov_len = min_u64(len, iov[n].iov_len);
		len -= part[n++].iov_len;
	}
	*ret_count = n;
	return part;
}

int vfs_read(struct vfs_handle *h, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
	struct op_timer t = op_begin_sampled(h->vfs->stats, OP_READ);
	uint64_t len = 0;
	int ret = check_readable(h);

	if (!ret)
		ret = iov_total(iov, iov_count, &len);
	if (!ret)
		ret = check_range(h, offset, len, -EINVAL);
	if (!ret && len)
		ret = lease_settle(h->vfs, h->node, VFS_ACCESS_READ, flags & VFS_NOWAIT);
	if (ret || !len)
		return op_end(&t, ret, 0, flags);
	handle_ref(h);
	ret = h->node->ops->read(h->node, iov, iov_count, offset, flags);
	handle_unref(h);
	return op_end(&t, ret, len, flags);
}

static void data_changed(struct vfs_handle *h)
{
	lease_changed(h->vfs, h->node);
	watch_object(h->vfs, h->mount, VFS_CHANGE_DATA, h->node);
}

int vfs_write(struct vfs_handle *h, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
	struct op_timer t = op_begin_sampled(h->vfs->stats, OP_WRITE);
	uint64_t len = 0;
	int ret = check_writable(h);

	if (!ret)
		ret = iov_total(iov, iov_count, &len);
	if (!ret)
		ret = check_write(h, offset, len, flags);
	if (!ret && len)
		ret = lease_settle(h->vfs, h->node, VFS_ACCESS_WRITE, flags & VFS_NOWAIT);
	if (ret || !len)
		return op_end(&t, ret, 0, flags);
	if (!h->node->ops->write)
		return op_end(&t, err_set(-EOPNOTSUPP, "the file system cannot write"), 0, flags);
	handle_ref(h);
	ret = h->node->ops->write(h->node, iov, iov_count, offset, flags);
	/* Also what failed in the middle may have changed something. */
	if (ret != -EAGAIN)
		data_changed(h);
	handle_unref(h);
	return op_end(&t, ret, len, flags);
}

int vfs_append(struct vfs_handle *h, const struct iovec *iov, int iov_count, unsigned flags, const struct vfs_tag *tag)
{
	struct op_timer t;
	uint64_t len = 0;
	int ret;

	if (!h->node->ops->append)
		return vfs_write(h, iov, iov_count, 0, flags | VFS_APPEND);
	t = op_begin_sampled(h->vfs->stats, OP_WRITE);
	ret = check_writable(h);
	if (!ret)
		ret = iov_total(iov, iov_count, &len);
	if (!ret)
		ret = check_write(h, 0, len, flags | VFS_APPEND);
	if (!ret && len)
		ret = lease_settle(h->vfs, h->node, VFS_ACCESS_WRITE, flags & VFS_NOWAIT);
	if (ret || !len)
		return op_end(&t, ret, 0, flags);
	handle_ref(h);
	ret = h->node->ops->append(h->node, iov, iov_count, flags | VFS_APPEND, tag);
	if (ret != -EAGAIN)
		data_changed(h);
	handle_unref(h);
	return op_end(&t, ret, len, flags);
}

static int read_head(struct vfs_handle *h, const struct iovec *iov, int iov_count, uint64_t len, uint64_t offset,
                     unsigned flags)
{
	int count;
	struct iovec *part = iov_head(iov, iov_count, len, &count);
	int ret = part ? vfs_read(h, part, count, offset, flags)
	               : err_set(-ENOMEM, "no memory to read the end of a file");

	free(part);
	return ret;
}

int vfs_read_some(struct vfs_handle *h, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags,
                  size_t *ret_len)
{
	uint64_t want, size_bytes = UINT64_MAX;
	int ret = iov_total(iov, iov_count, &want);

	*ret_len = 0;
	if (ret)
		return ret;
	for (;;) {
		struct vfs_stat st;
		uint64_t there;

		ret = vfs_stat(h, &st);
		if (ret || offset >= st.size_bytes)
			return ret;
		there = min_u64(want, st.size_bytes - offset);
		ret = there == want ? vfs_read(h, iov, iov_count, offset, flags)
		                    : read_head(h, iov, iov_count, there, offset, flags);
		if (!ret)
			*ret_len = there;
		/* It may have become shorter after the look at its size. */
		if (ret != -EINVAL || st.size_bytes >= size_bytes)
			return ret;
		size_bytes = st.size_bytes;
	}
}

int vfs_read_ref(struct vfs_handle *h, uint64_t offset, size_t len, unsigned flags, struct vfs_ref *ret_ref)
{
	struct op_timer t = op_begin_sampled(h->vfs->stats, OP_READ);
	int ret = check_readable(h);

	if (!ret)
		ret = check_range(h, offset, len, -EINVAL);
	if (!ret)
		ret = lease_settle(h->vfs, h->node, VFS_ACCESS_READ, flags & VFS_NOWAIT);
	if (ret)
		return op_end(&t, ret, 0, flags);
	if (!h->node->ops->read_ref || !len || len > VFS_REF_BYTES_MAX)
		return -EOPNOTSUPP;
	handle_ref(h);
	ret = h->node->ops->read_ref(h->node, offset, len, flags, ret_ref);
	handle_unref(h);
	/* What cannot be done without a copy is done with one, and counted then. */
	return ret == -EOPNOTSUPP ? ret : op_end(&t, ret, len, flags);
}

void vfs_ref_release(struct vfs_ref *r)
{
	r->release(r);
}

static int flush(struct vfs_handle *h, unsigned flags)
{
	int ret;

	if (!h->node->ops->flush)
		return 0;
	handle_ref(h);
	ret = h->node->ops->flush(h->node, flags);
	handle_unref(h);
	return ret;
}

int vfs_flush(struct vfs_handle *h, unsigned flags)
{
	struct op_timer t = op_begin(h->vfs->stats, OP_FLUSH);

	return op_end(&t, flush(h, flags), 0, flags);
}

static int flush_range(struct vfs_handle *h, uint64_t offset, uint64_t len, unsigned flags)
{
	int ret;

	if (h->node->type == VFS_TYPE_DIR)
		return err_set(-EISDIR, "a directory has no ranges");
	if (h->node->type != VFS_TYPE_FILE)
		return err_set(-EINVAL, "not a regular file");
	if (len > UINT64_MAX - offset)
		return err_set(-EINVAL, "%" PRIu64 "+%" PRIu64 " is beyond all ends", offset, len);
	if (!h->node->ops->flush_range)
		return flush(h, flags);
	handle_ref(h);
	ret = h->node->ops->flush_range(h->node, offset, len ? len : UINT64_MAX - offset, flags);
	handle_unref(h);
	return ret;
}

int vfs_flush_range(struct vfs_handle *h, uint64_t offset, uint64_t len, unsigned flags)
{
	struct op_timer t = op_begin(h->vfs->stats, OP_FLUSH);

	return op_end(&t, flush_range(h, offset, len, flags), 0, flags);
}

typedef int range_fn(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags);

static int change_checked(struct vfs_handle *h, range_fn *fn, uint64_t offset, uint64_t len, unsigned flags,
                          int outside)
{
	int ret = check_writable(h);

	if (!ret)
		ret = check_range(h, offset, len, outside);
	if (!ret)
		ret = check_write(h, offset, len, 0);
	if (!ret && len)
		ret = lease_settle(h->vfs, h->node, VFS_ACCESS_WRITE, flags & VFS_NOWAIT);
	if (ret || !len)
		return ret;
	if (!fn)
		return err_set(-EOPNOTSUPP, "the file system cannot do that");
	handle_ref(h);
	ret = fn(h->node, offset, len, flags);
	if (ret != -EAGAIN)
		data_changed(h);
	handle_unref(h);
	return ret;
}

static int change_range(struct vfs_handle *h, range_fn *fn, uint64_t offset, uint64_t len, unsigned flags, int outside)
{
	struct op_timer t = op_begin(h->vfs->stats, OP_PUNCH);

	return op_end(&t, change_checked(h, fn, offset, len, flags, outside), 0, flags);
}

int vfs_discard(struct vfs_handle *h, uint64_t offset, uint64_t len, unsigned flags)
{
	return change_range(h, h->node->ops->discard, offset, len, flags, -EINVAL);
}

int vfs_zero(struct vfs_handle *h, uint64_t offset, uint64_t len, unsigned flags)
{
	return change_range(h, h->node->ops->zero, offset, len, flags, -ENOSPC);
}

static int collapse_checked(struct vfs_handle *h, uint64_t offset, uint64_t len, const struct vfs_tag *tag)
{
	int ret = check_writable(h);

	if (!ret && !len)
		ret = err_set(-EINVAL, "an empty range");
	if (!ret)
		ret = check_range(h, offset, len, -EINVAL);
	if (!ret && !h->node->ops->collapse)
		ret = err_set(-EOPNOTSUPP, "the file system cannot take ranges out of files");
	if (!ret)
		ret = check_write(h, offset, len, 0);
	if (!ret)
		ret = lease_settle(h->vfs, h->node, VFS_ACCESS_WRITE, false);
	if (ret)
		return ret;
	handle_ref(h);
	ret = h->node->ops->collapse(h->node, offset, len, tag);
	if (ret != -EAGAIN)
		data_changed(h);
	handle_unref(h);
	return ret;
}

int vfs_collapse(struct vfs_handle *h, uint64_t offset, uint64_t len, const struct vfs_tag *tag)
{
	struct op_timer t = op_begin(h->vfs->stats, OP_PUNCH);

	return op_end(&t, collapse_checked(h, offset, len, tag), 0, 0);
}

int vfs_extents(struct vfs_handle *h, uint64_t offset, uint64_t len, unsigned flags, struct vfs_extent *ret_extents,
                unsigned max, unsigned *ret_count)
{
	int ret = check_readable(h);

	if (!ret)
		ret = check_range(h, offset, len, -EINVAL);
	if (ret)
		return ret;
	if (!len || !max)
		return err_set(-EINVAL, "no range, or no room for extents");
	if (!h->node->ops->extents) {
		ret_extents[0] = (struct vfs_extent){ .offset = offset, .len_bytes = len };
		*ret_count = 1;
		return 0;
	}
	handle_ref(h);
	ret = h->node->ops->extents(h->node, offset, len, flags, ret_extents, max, ret_count);
	handle_unref(h);
	return ret;
}

int vfs_prefetch(struct vfs_handle *h, uint64_t offset, uint64_t len)
{
	int ret = check_readable(h);

	if (!ret)
		ret = check_range(h, offset, len, -EINVAL);
	if (ret || !len || !h->node->ops->prefetch)
		return ret;
	handle_ref(h);
	ret = h->node->ops->prefetch(h->node, offset, len);
	handle_unref(h);
	return ret;
}
