/* SPDX-License-Identifier: BSD-3-Clause */
/* A mounted FAT volume as a part of the namespace. */
#ifndef WFSD_CORE_FS_FAT_FAT_VFS_H
#define WFSD_CORE_FS_FAT_FAT_VFS_H

#include "core/fs/fat/fat.h"
#include "core/vfs/vfs_ops.h"

struct fat_vfs;

/* FAT keeps neither owners nor permissions: everything belongs to one user. */
struct fat_vfs_options {
	uint32_t uid, gid;
	uint32_t file_mode, dir_mode; /* 07777; a read-only file loses its write bits */
	/*
	 * The last node is gone and the volume is unmounted; @rc: what fat_unmount() said. In the thread that gave up
	 * the node. May be NULL.
	 */
	void (*gone)(void *ctx, int rc);
	void *ctx;
};

/*
 * Takes over @fs, which is unmounted when the last node of it is gone. *ret_root: for vfs_mount(), the caller's
 * reference. -ENOMEM: nothing was taken.
 */
int fat_vfs_new(struct fat_fs *fs, const struct fat_vfs_options *options, struct fat_vfs **ret,
                struct vfs_node **ret_root);
/* For a forced unmount: whoever still holds a node is answered -ESTALE from now on. A node is held by the caller. */
void fat_vfs_kill(struct fat_vfs *v);

#endif
