/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A block device that is a file of the namespace. It has the size that the file has now.
 *
 * What it stands on never waits for what stands on it: its writes are not held up at the limit of unwritten data
 * (VFS_MAKES_ROOM), where the write-back that makes room would wait for itself.
 */
#ifndef WFSD_SERVER_MOUNT_VFS_BLK_H
#define WFSD_SERVER_MOUNT_VFS_BLK_H

#include <stdbool.h>

#include "core/vfs/vfs.h"

struct blk_dev;

/* @name as blk_name() says it. Errors of vfs_open(); -EINVAL: the file is too short for a device. May block. */
int vfs_blk_open(struct vfs *v, const char *path, const char *name, bool read_only, struct blk_dev **ret);

#endif
