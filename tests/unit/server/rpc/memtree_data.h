/* SPDX-License-Identifier: BSD-3-Clause */
/* The data of the files of memtree.h, and figures, which includes this behind its structures. */
#ifndef WFSD_TESTS_UNIT_SERVER_RPC_MEMTREE_DATA_H
#define WFSD_TESTS_UNIT_SERVER_RPC_MEMTREE_DATA_H

/* Room for the file's data up to @size. */
static inline int mt_reserve(struct memtree_node *n, uint64_t size)
{
	size_t cap = n->data_cap ? n->data_cap : 4096;
	uint8_t *p;

	if (size <= n->data_cap)
		return 0;
	while (cap < size)
		cap *= 2;
	p = cap <= (n->tree->file_max_bytes ? n->tree->file_max_bytes : 1u << 30) ? realloc(n->data, cap) : NULL;
	if (!p)
		return err_set(-ENOSPC, "the tree is full");
	memset(p + n->data_cap, 0, cap - n->data_cap);
	n->data = p;
	n->data_cap = cap;
	return 0;
}

static inline int mt_read(struct vfs_node *node, const struct iovec *iov, int iov_count, uint64_t offset,
                          unsigned flags)
{
	struct memtree_node *n = mt(node);

	(void)flags;
	if (mt_must_wait(n->tree))
		return -EAGAIN;
	sync_mutex_lock(&n->tree->lock);
	for (int i = 0; i < iov_count; i++) {
		uint64_t have = offset < n->data_cap ? n->data_cap - offset : 0;
		size_t len = iov[i].iov_len < have ? iov[i].iov_len : have;

		if (len)
			memcpy(iov[i].iov_base, n->data + offset, len);
		memset((uint8_t *)iov[i].iov_base + len, 0, iov[i].iov_len - len);
		offset += iov[i].iov_len;
	}
	sync_mutex_unlock(&n->tree->lock);
	return 0;
}

static inline int mt_write_tagged(struct vfs_node *node, const struct iovec *iov, int iov_count, uint64_t offset,
                                  unsigned flags, const struct vfs_tag *tag)
{
	struct memtree_node *n = mt(node);
	int err = 0;

	if (mt_must_wait(n->tree))
		return -EAGAIN;
	sync_mutex_lock(&n->tree->lock);
	if (flags & VFS_APPEND)
		offset = n->st.size_bytes;
	mt_note(n->tree, tag, offset);
	for (int i = 0; i < iov_count && !err; i++) {
		err = mt_reserve(n, offset + iov[i].iov_len);
		if (err)
			break;
		memcpy(n->data + offset, iov[i].iov_base, iov[i].iov_len);
		offset += iov[i].iov_len;
		if (offset > n->st.size_bytes)
			n->st.size_bytes = offset;
	}
	n->st.change++;
	sync_mutex_unlock(&n->tree->lock);
	return err;
}

static inline int mt_write(struct vfs_node *node, const struct iovec *iov, int iov_count, uint64_t offset,
                           unsigned flags)
{
	return mt_write_tagged(node, iov, iov_count, offset, flags, NULL);
}

static inline int mt_append(struct vfs_node *node, const struct iovec *iov, int iov_count, unsigned flags,
                            const struct vfs_tag *tag)
{
	return mt_write_tagged(node, iov, iov_count, 0, flags | VFS_APPEND, tag);
}

static inline int mt_flush(struct vfs_node *node, unsigned flags)
{
	(void)flags;
	__atomic_add_fetch(&mt(node)->tree->flushes, 1, __ATOMIC_RELAXED);
	return 0;
}

static inline int mt_zero(struct vfs_node *node, uint64_t offset, uint64_t len, unsigned flags)
{
	struct memtree_node *n = mt(node);
	int err;

	(void)flags;
	sync_mutex_lock(&n->tree->lock);
	err = mt_reserve(n, offset + len);
	if (!err) {
		memset(n->data + offset, 0, len);
		if (offset + len > n->st.size_bytes)
			n->st.size_bytes = offset + len;
	}
	sync_mutex_unlock(&n->tree->lock);
	return err;
}

/* Every block of 4096 bytes is by itself; those that start with a zero are holes. */
static inline int mt_extents(struct vfs_node *node, uint64_t offset, uint64_t len, unsigned flags,
                             struct vfs_extent *ret, unsigned max, unsigned *ret_count)
{
	struct memtree_node *n = mt(node);
	uint64_t end = offset + len;

	if (flags & VFS_ONE)
		max = 1;
	*ret_count = 0;
	sync_mutex_lock(&n->tree->lock);
	while (offset < end && *ret_count < max) {
		uint64_t to = (offset / 4096 + 1) * 4096;
		bool zero = offset >= n->data_cap || n->data[offset / 4096 * 4096] == 0;

		if (to > end)
			to = end;
		ret[(*ret_count)++] =
		        (struct vfs_extent){ .offset = offset, .len_bytes = to - offset, .hole = zero, .zero = zero };
		offset = to;
	}
	sync_mutex_unlock(&n->tree->lock);
	return 0;
}

static inline void mt_get_figures(struct vfs_node *node, struct vfs_figures *ret)
{
	*ret = (struct vfs_figures){ 1, 2, 3, 4, 5, 6, mt(node)->tree->creates, 8 };
}

#endif
