/* SPDX-License-Identifier: BSD-3-Clause */
/* Nodes: their references, and what any file system can do with its own. */
#include <string.h>

#include "core/base/assert.h"
#include "core/base/checked.h"
#include "core/vfs/vfs_priv.h"

#define ZEROS_BYTES 65536u

void vfs_node_init(struct vfs_node *n, const struct vfs_node_ops *ops, enum vfs_type type)
{
	*n = (struct vfs_node){ .ops = ops, .type = type, .refs = 1 };
}

void vfs_node_ref(struct vfs_node *n)
{
	always(__atomic_fetch_add(&n->refs, 1, __ATOMIC_RELAXED) > 0);
}

bool vfs_node_try_ref(struct vfs_node *n)
{
	uint64_t refs = __atomic_load_n(&n->refs, __ATOMIC_RELAXED);

	while (refs &&
	       !__atomic_compare_exchange_n(&n->refs, &refs, refs + 1, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		;
	return refs != 0;
}

void vfs_node_unref(struct vfs_node *n)
{
	if (n && __atomic_sub_fetch(&n->refs, 1, __ATOMIC_ACQ_REL) == 0)
		n->ops->release(n);
}

int vfs_node_zero(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags)
{
	static const uint8_t zeros[ZEROS_BYTES];
	int ret = 0;

	if (flags & VFS_FAST)
		return -EOPNOTSUPP;
	if (flags & VFS_NOWAIT) {
		if (n->ops->remote)
			nowait_tell_remote();
		return -EAGAIN;
	}
	while (!ret && len) {
		struct iovec iov = { .iov_len = (size_t)min_u64(len, sizeof(zeros)) };
		const void *p = zeros;

		memcpy(&iov.iov_base, &p, sizeof(p)); /* it is only read */
		ret = n->ops->write(n, &iov, 1, offset, 0);
		offset += iov.iov_len;
		len -= iov.iov_len;
	}
	return !ret && (flags & VFS_FUA) ? n->ops->flush(n, 0) : ret;
}
