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

struct medium {
	struct blk_dev *dev; /* the caller's */
	uint32_t align;
	struct sync_mutex edge_lock; /* who writes a part of an aligned block */
};

void medium_init(struct medium *m, struct blk_dev *dev);
void medium_done(struct medium *m);

/* [@offset, @offset + @len) lies within the device. 0 or the device's error. */
int medium_read(struct medium *m, uint64_t offset, void *buf, size_t len);
int medium_write(struct medium *m, uint64_t offset, const void *buf, size_t len);
int medium_zero(struct medium *m, uint64_t offset, uint64_t len);
int medium_flush(struct medium *m);

/*
 * Many ranges as one batch of requests; adjacent ones become one request. Ranges must not overlap. Memory stays the
 * caller's and must live until the run. Not shared between threads.
 */
struct medium_range {
	uint64_t offset;
	uint64_t len_bytes;
	unsigned iov_first, iov_count;
};
struct medium_batch {
	struct medium *m;
	enum blk_op op; /* BLK_READ or BLK_WRITE */
	struct medium_range *ranges;
	struct iovec *iovs;
	unsigned range_count, range_max, iov_count, iov_max;
	int rc; /* -ENOMEM: an add failed */
};
void medium_batch_init(struct medium_batch *b, struct medium *m, enum blk_op op);
void medium_batch_add(struct medium_batch *b, uint64_t offset, void *mem, size_t len);
/* Do everything, wait, and release the batch. 0 or an error of one request; then any of them may have failed. */
int medium_batch_run(struct medium_batch *b);
/* Release it without doing anything. */
void medium_batch_drop(struct medium_batch *b);

#endif
