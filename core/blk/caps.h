/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to core/blk: what a device can do, as sysfs and ioctls tell it. */
#ifndef WFSD_CORE_BLK_CAPS_H
#define WFSD_CORE_BLK_CAPS_H

#include "core/blk/blk.h"

struct stat;

/* Careful assumptions, for what nobody tells. */
void caps_defaults(struct blk_caps *caps);

/*
 * What @sysfs_root (usually "/sys") tells about block device @major:@minor; a partition has its disk's queue.
 * Attributes that are missing or unreadable leave @caps as it was. False when the device is not there.
 */
bool caps_from_sysfs(const char *sysfs_root, unsigned major, unsigned minor, struct blk_caps *caps);

/*
 * Everything about the open block device or regular file @fd (@direct: opened with O_DIRECT). 0; -EINVAL: it demands an
 * alignment above 4096 or is smaller than one block; other errors of the ioctls.
 */
int caps_probe(const char *sysfs_root, int fd, const char *name, const struct stat *st, bool direct,
               struct blk_caps *caps);

#endif
