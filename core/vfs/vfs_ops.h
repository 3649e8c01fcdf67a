/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VFS, for file systems: what one implements to be mounted.
 *
 * A node is one file or directory of a mounted file system, reference counted. The VFS checks arguments (bounds of
 * ranges against the size, writability, flags) before it calls; file systems check what only they know.
 */
#ifndef WFSD_CORE_VFS_VFS_OPS_H
#define WFSD_CORE_VFS_VFS_OPS_H

#include "core/vfs/vfs.h"

struct vfs_node;

struct vfs_node_ops {
	/* The last reference is gone. */
	void (*release)(struct vfs_node *n);
	int (*stat)(struct vfs_node *n, struct vfs_stat *ret); /* never blocks */

	/* Directories. Name: one component, length given, not terminated. -ENOENT. *ret is referenced. */
	int (*lookup)(struct vfs_node *dir, const char *name, size_t name_len, struct vfs_node **ret);
	int (*readdir)(struct vfs_node *dir, vfs_dir_fn *fn, void *ctx);

	/* Files. Contracts as in vfs.h; ranges are within the size that stat reported. NULL: -EOPNOTSUPP. */
	int (*open)(struct vfs_node *n, bool writable); /* NULL: always allowed */
	void (*close)(struct vfs_node *n, bool writable);
	int (*read)(struct vfs_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags);
	int (*read_ref)(struct vfs_node *n, uint64_t offset, size_t len, unsigned flags, struct vfs_ref *ret);
	int (*write)(struct vfs_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags);
	int (*flush)(struct vfs_node *n, unsigned flags);
	int (*discard)(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags);
	int (*zero)(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags);
	int (*extents)(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags, struct vfs_extent *ret,
	               unsigned max, unsigned *ret_count);
	int (*prefetch)(struct vfs_node *n, uint64_t offset, uint64_t len);
};

/* Embedded at the start of the file system's own node. */
struct vfs_node {
	const struct vfs_node_ops *ops;
	enum vfs_type type;
	uint64_t refs; /* atomic */
};

/* A new node has one reference. */
void vfs_node_init(struct vfs_node *n, const struct vfs_node_ops *ops, enum vfs_type type);
void vfs_node_ref(struct vfs_node *n);
/* NULL is fine. The last one calls ops->release. */
void vfs_node_unref(struct vfs_node *n);

/*
 * Mount: @root (a directory or a file; one reference is taken) appears at "/@name". -EEXIST, -EINVAL (bad name),
 * -ENOMEM. Unmount: no new lookups. -ENOENT. While handles are open: -EBUSY, or with @force it goes all the same; the
 * file system then answers -ESTALE on the nodes that the handles still hold.
 */
int vfs_mount(struct vfs *v, const char *name, struct vfs_node *root, bool read_only);
int vfs_unmount(struct vfs *v, const char *name, bool force);

/* One path component or a pool's or volume's name: 1..VFS_NAME_MAX bytes, no '/', no control characters, not "." or
 * "..". 0 or -EINVAL / -ENAMETOOLONG with context. */
int vfs_check_name(const char *name, size_t len);

#endif
