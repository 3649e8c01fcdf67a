/* SPDX-License-Identifier: BSD-3-Clause */
/* What commands share that work on a file system without a daemon: a device with a cache, and copying. One thread. */
#ifndef WFSD_SERVER_CTL_OFFLINE_H
#define WFSD_SERVER_CTL_OFFLINE_H

#include <sys/uio.h>

#include "server/ctl/command.h"

struct blk_dev;
struct budget;
struct cache;

struct offline {
	struct blk_dev *dev;
	struct budget *budget;
	struct cache *cache;
};

/* A line on standard error with what the thread's error says. CTL_FAILED. */
enum ctl_status offline_fail(int rc, const char *what);

/* 0 or a negative errno, with context. */
int offline_open(const char *path, bool read_only, struct offline *ret);
/* Nothing uses it any more. */
void offline_close(struct offline *o);

/* Before a file system is made on @dev: ask if there is anything on it. CTL_OK to go on. */
enum ctl_status offline_confirm_loss(struct ctl *c, struct blk_dev *dev, const char *path);

/*
 * Copy between a file of ours and a local one ("-": standard output or input). @io reads or writes one piece at an
 * offset; when reading, *@ret_len is how much, 0 at the end. 0 or a negative errno, with context.
 */
typedef int offline_io_fn(void *ctx, const struct iovec *iov, uint64_t at, size_t *ret_len);
int offline_copy_out(const char *local, offline_io_fn *io, void *ctx);
int offline_copy_in(const char *local, offline_io_fn *io, void *ctx);

#endif
