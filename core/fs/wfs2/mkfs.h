/* SPDX-License-Identifier: BSD-3-Clause */
/* Making a WFS v2 volume. */
#ifndef WFSD_CORE_FS_WFS2_MKFS_H
#define WFSD_CORE_FS_WFS2_MKFS_H

#include <stdint.h>

#include "core/fs/wfs2/format.h"

struct blk_dev;

struct wfs2_mkfs_options {
	uint32_t file_count; /* 0: by size */
	const char *label; /* at most WFS2_LABEL_MAX bytes; NULL: none */
	uint8_t id[WFS2_ID_BYTES]; /* random */
	uint64_t now_ns;
};

/*
 * What was on the device is lost. Durable when it returns 0; until the last step there is no valid volume. -EINVAL: an
 * option, or the size; nothing was written then. Waits for the device.
 */
int wfs2_mkfs(struct blk_dev *dev, const struct wfs2_mkfs_options *options);

#endif
