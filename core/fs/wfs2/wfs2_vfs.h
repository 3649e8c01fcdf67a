/* SPDX-License-Identifier: BSD-3-Clause */
/* A mounted WFS v2 volume as a part of the namespace: one directory with files in it. */
#ifndef WFSD_CORE_FS_WFS2_WFS2_VFS_H
#define WFSD_CORE_FS_WFS2_WFS2_VFS_H

#include "core/fs/wfs2/wfs2.h"
#include "core/vfs/vfs_ops.h"

struct wfs2_vfs;

/* WFS v2 keeps neither owners nor permissions: everything belongs to one user. */
struct wfs2_vfs_options {
	uint32_t uid, gid;
	uint32_t file_mode, dir_mode; /* 07777; a read-only file loses its write bits */
	/*
	 * The last node is gone and the volume is unmounted; @rc: what wfs2_unmount() said. In the thread that gave up
	 * the node. May be NULL.
	 */
	void (*gone)(void *ctx, int rc);
	void *ctx;
};

/*
 * Takes over @fs, which is unmounted when the last node of it is gone. *ret_root: for vfs_mount(), the caller's
 * reference. -ENOMEM: nothing was taken.
 */
int wfs2_vfs_new(struct wfs2_fs *fs, const struct wfs2_vfs_options *options, struct wfs2_vfs **ret,
                 struct vfs_node **ret_root);
/* For a forced unmount: whoever still holds a node is answered -ESTALE from now on. A node is held by the caller. */
void wfs2_vfs_kill(struct wfs2_vfs *v);

#endif
