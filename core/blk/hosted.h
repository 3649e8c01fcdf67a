/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device whose requests are answered by whoever made it: for one that stands on something which is no device, like a
 * file of another file system.
 *
 * The functions are called in the thread that waits for the batch, outside of any back end, with all that is above the
 * device (locks included) as it was; they may block, and do device I/O of their own. What they stand on must never wait
 * for anything above this device: then locks of both sides cannot be waited for in a circle, and ranks are checked on
 * each side by itself.
 */
#ifndef WFSD_CORE_BLK_HOSTED_H
#define WFSD_CORE_BLK_HOSTED_H

#include "core/blk/blk.h"

/* Ranges are checked: within the device, aligned as its caps say, not empty, permitted. 0 or a negative errno. */
struct blk_hosted_ops {
	int (*read)(void *host, const struct iovec *iov, int iov_count, uint64_t offset);
	int (*write)(void *host, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags);
	int (*flush)(void *host);
	int (*discard)(void *host, uint64_t offset, uint64_t len); /* only with caps.discard */
	int (*zero)(void *host, uint64_t offset, uint64_t len, unsigned flags);
	void (*close)(void *host); /* blk_close(): nothing is called any more */
};

/*
 * @name and @caps are copied; @ops and @host outlive the device, whose blk_close() calls ops->close. -ENOMEM: nothing
 * was taken.
 */
int blk_hosted_new(const char *name, const struct blk_caps *caps, const struct blk_hosted_ops *ops, void *host,
                   struct blk_dev **ret);

#endif
