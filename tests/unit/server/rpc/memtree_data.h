/* SPDX-License-Identifier: BSD-3-Clause */
/* The data of the files of memtree.h, and figures, which includes this behind its structures. */
#ifndef WFSD_TESTS_UNIT_SERVER_RPC_MEMTREE_DATA_H
#define WFSD_TESTS_UNIT_SERVER_RPC_MEMTREE_DATA_H

static inline int mt_check_size(struct vfs_node *n, uint64_t size_bytes)
{
	size_t max = mt(n)->file_max_bytes;

	return size_bytes > (max ? max : 1u << 30) ? err_set(-ENOSPC, "the tree is full") : 0;
}

static inline int mt_read(struct vfs_node *n, const struct iovec *iov, int count, uint64_t offset, unsigned flags)
{
	return mt_must_wait(n) ? -EAGAIN : treefs_read(n, iov, count, offset, flags);
}

static inline void mt_give_room_back(struct vfs_room *r)
{
	struct memtree *t = r->of;

	assert_int_not_equal(__atomic_fetch_sub(&t->rooms, 1, __ATOMIC_RELAXED), 0);
}

static inline int mt_take_room(struct vfs_node *n, uint64_t len, struct vfs_room *ret)
{
	struct memtree *t = mt(n);

	if (mt_must_wait(n))
		return -EAGAIN;
	*ret = (struct vfs_room){ .give_back = mt_give_room_back, .of = t, .blocks = len };
	__atomic_add_fetch(&t->rooms, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&t->rooms_taken, 1, __ATOMIC_RELAXED);
	return 0;
}

static inline int mt_write_tagged(struct vfs_node *n, const struct iovec *iov, int count, uint64_t offset,
                                  unsigned flags, const struct vfs_tag *tag)
{
	struct treefs_node *t = treefs_of(n);
	uint64_t len = 0;
	int err;

	if (mt_must_wait(n))
		return -EAGAIN;
	for (int i = 0; i < count; i++)
		len += iov[i].iov_len;
	sync_mutex_lock(&t->fs->lock);
	if (flags & VFS_APPEND)
		offset = t->st.size_bytes;
	err = mt_check_size(n, offset + len);
	if (!err) {
		treefs_write_at(t, iov, count, offset);
		mt_note(mt(n), tag, offset);
	}
	sync_mutex_unlock(&t->fs->lock);
	return err;
}

static inline int mt_write(struct vfs_node *n, const struct iovec *iov, int count, uint64_t offset, unsigned flags)
{
	return mt_write_tagged(n, iov, count, offset, flags, NULL);
}

static inline int mt_append(struct vfs_node *n, const struct iovec *iov, int count, unsigned flags,
                            const struct vfs_tag *tag)
{
	return mt_write_tagged(n, iov, count, 0, flags | VFS_APPEND, tag);
}

static inline int mt_zero(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags)
{
	int err = mt_check_size(n, offset + len);

	return err ? err : treefs_zero(n, offset, len, flags);
}

/* Every block is by itself; those that start with a zero are holes. */
static inline int mt_extents(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags, struct vfs_extent *ret,
                             unsigned max, unsigned *ret_count)
{
	struct treefs_node *t = treefs_of(n);
	uint64_t end = offset + len;

	if (flags & VFS_ONE)
		max = 1;
	*ret_count = 0;
	sync_mutex_lock(&t->fs->lock);
	while (offset < end && *ret_count < max) {
		uint64_t start = offset / MEMTREE_HOLE_BYTES * MEMTREE_HOLE_BYTES, to = start + MEMTREE_HOLE_BYTES;
		bool zero = start >= t->st.size_bytes || t->data[start] == 0;

		if (to > end)
			to = end;
		ret[(*ret_count)++] =
		        (struct vfs_extent){ .offset = offset, .len_bytes = to - offset, .hole = zero, .zero = zero };
		offset = to;
	}
	sync_mutex_unlock(&t->fs->lock);
	return 0;
}

static inline void mt_get_figures(struct vfs_node *n, struct vfs_figures *ret)
{
	*ret = (struct vfs_figures){ 1, 2, 3, 4, 5, 6, mt(n)->creates, 8 };
}

#endif
