/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A block device at any byte offset: sectors and clusters may be smaller than what the device demands, so what is not
 * aligned goes through a bounce buffer, with its edges read and written back under one lock. Calls wait for the device:
 * never under a lock of rank TREE or above.
 */
#ifndef WFSD_CORE_FS_FAT_MEDIUM_H
#define WFSD_CORE_FS_FAT_MEDIUM_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/sync.h"
#include "core/blk/blk.h"

struct fat_medium {
	struct blk_dev *dev; /* the caller's */
	uint32_t align;
	struct sync_mutex edge_lock; /* who writes a part of an aligned block */
};

void fat_medium_init(struct fat_medium *m, struct blk_dev *dev);
void fat_medium_done(struct fat_medium *m);

/* [@offset, @offset + @len) lies within the device. 0 or the device's error. */
int fat_medium_read(struct fat_medium *m, uint64_t offset, void *buf, size_t len);
int fat_medium_write(struct fat_medium *m, uint64_t offset, const void *buf, size_t len);
int fat_medium_zero(struct fat_medium *m, uint64_t offset, uint64_t len);
int fat_medium_flush(struct fat_medium *m);

/*
 * Many ranges as one batch of requests; adjacent ones become one request. Ranges must not overlap. Memory stays the
 * caller's and must live until the run. Not shared between threads.
 */
struct fat_medium_range {
	uint64_t offset;
	uint64_t len_bytes;
	unsigned iov_first, iov_count;
};
struct fat_medium_batch {
	struct fat_medium *m;
	enum blk_op op; /* BLK_READ or BLK_WRITE */
	struct fat_medium_range *ranges;
	struct iovec *iovs;
	unsigned range_count, range_max, iov_count, iov_max;
	int rc; /* -ENOMEM: an add failed */
};
void fat_medium_batch_init(struct fat_medium_batch *b, struct fat_medium *m, enum blk_op op);
void fat_medium_batch_add(struct fat_medium_batch *b, uint64_t offset, void *mem, size_t len);
/* Do everything, wait, and release the batch. 0 or an error of one request; then any of them may have failed. */
int fat_medium_batch_run(struct fat_medium_batch *b);
/* Release it without doing anything. */
void fat_medium_batch_drop(struct fat_medium_batch *b);

#endif
