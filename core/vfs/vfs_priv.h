/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to the VFS: mounts, handles, and the walk along a path. */
#ifndef WFSD_CORE_VFS_VFS_PRIV_H
#define WFSD_CORE_VFS_VFS_PRIV_H

#include <urcu/list.h>

#include "core/base/sync.h"
#include "core/vfs/vfs_ops.h"

struct vfs_mount_point {
	struct cds_list_head link; /* vfs->mounts */
	struct vfs_node *root; /* referenced */
	bool read_only;
	unsigned refs; /* atomic: one for the table, one for each handle or walk in progress */
	unsigned handle_count; /* vfs->lock */
	size_t name_len;
	char name[VFS_NAME_MAX + 1];
};

struct vfs {
	struct sync_mutex lock; /* SYNC_RANK_NAMESPACE: the table of mounts */
	struct cds_list_head mounts;
};

/*
 * An open file. References: one for the opener, given up by vfs_close(); operations hold one while they run, so that a
 * close on another thread never pulls the node away from under them.
 */
struct vfs_handle {
	struct vfs *vfs;
	struct vfs_mount_point *mount;
	struct vfs_node *node;
	bool writable;
	uint64_t refs; /* atomic */
};

void mount_unref(struct vfs_mount_point *m);
/*
 * Find what @path names. On success *ret_node is referenced and so is *ret_mount; for "/" both are NULL. May block.
 */
int path_walk(struct vfs *v, const char *path, struct vfs_mount_point **ret_mount, struct vfs_node **ret_node);

#endif
