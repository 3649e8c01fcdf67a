/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to core/blk: block devices and regular files behind a descriptor. */
#ifndef WFSD_CORE_BLK_FILE_H
#define WFSD_CORE_BLK_FILE_H

#include "core/blk/blk_ops.h"

struct file_dev {
	struct blk_dev dev;
	int fd;
	bool is_block;
	bool buffered; /* the host's page cache copies: a ring would only hand the request to worker threads of the
	                  kernel */
	int no_zero_range; /* atomic: FALLOC_FL_ZERO_RANGE was refused as unsupported */
};

/* uring.c: requests through the calling thread's ring. */
extern const struct blk_ops uring_ops;

/*
 * direct.c: the same in the calling thread, by system calls that wait.
 */
/* All of @io. Returns its result. */
int direct_run(struct blk_io *io);
int direct_discard(struct blk_io *io);
/* Efficient zeroing, durable if the flags say so; -EOPNOTSUPP: write zeros instead, nothing was changed. */
int direct_zero(struct blk_io *io);

/*
 * lock.c: take the exclusive flock of @fd. -EBUSY: held elsewhere; the err text names the process.
 */
int lock_take(int fd, const char *path);
/* Give it up at once, whoever else still has the open file. */
void lock_release(int fd);

#endif
