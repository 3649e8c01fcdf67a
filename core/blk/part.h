/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to core/blk: cutting a request into parts that the kernel takes in one call, and continuing a part after a
 * short transfer. A WRITE_ZEROES request is cut like a write of zeros.
 */
#ifndef WFSD_CORE_BLK_PART_H
#define WFSD_CORE_BLK_PART_H

#include "core/blk/blk.h"

#define BLK_PART_IOVS 64

struct blk_part {
	uint64_t offset; /* on the device, of what is left */
	size_t left_bytes;
	int iov_first; /* iov[iov_first .. iov_count) is left */
	int iov_count;
	struct iovec iov[BLK_PART_IOVS];
};

struct blk_part_cursor {
	const struct blk_io *io;
	uint64_t pos; /* bytes of the request already cut */
	int iov_index;
	size_t iov_pos;
};

/* The next part, of at most @max_bytes (>= 4096) bytes. False when the request is used up. */
bool blk_part_next(struct blk_part_cursor *c, size_t max_bytes, struct blk_part *ret);
/* @done bytes (at most what is left) were transferred. */
void blk_part_advance(struct blk_part *p, size_t done);
/* Is the whole request one part? */
bool blk_part_is_whole(const struct blk_io *io, size_t max_bytes);

#endif
