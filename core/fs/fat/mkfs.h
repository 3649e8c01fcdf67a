/* SPDX-License-Identifier: BSD-3-Clause */
/* Making a FAT file system. */
#ifndef WFSD_CORE_FS_FAT_MKFS_H
#define WFSD_CORE_FS_FAT_MKFS_H

#include <stdint.h>

struct blk_dev;

struct fat_mkfs_options {
	unsigned type; /* 12, 16, 32; 0: by size */
	uint32_t cluster_bytes; /* 0: by size */
	uint32_t sector_bytes; /* 0: that of the device, 512 in a file */
	const char *label; /* NULL: none */
	uint32_t serial;
	uint64_t now_ns; /* of the label; as it is to be stored */
};

/*
 * What was on the device is lost. Durable when it returns 0. -EINVAL: an option, or they do not fit together or the
 * size; nothing was written then. Waits for the device.
 */
int fat_mkfs(struct blk_dev *dev, const struct fat_mkfs_options *options);

#endif
