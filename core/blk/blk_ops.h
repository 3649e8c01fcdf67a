/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to core/blk: what a back end provides, and what blk.c gives it. */
#ifndef WFSD_CORE_BLK_BLK_OPS_H
#define WFSD_CORE_BLK_BLK_OPS_H

#include "core/base/metrics.h"
#include "core/blk/blk.h"

#define BLK_OP_COUNT 5
#define BLK_ALIGN_MAX 4096u

struct blk_ops {
	/*
	 * Start @io, which was checked: within the device, aligned, permitted, not empty. It completes by
	 * blk_io_complete(), either before start() returns or inside reap() of the same thread.
	 */
	void (*start)(struct blk_io *io);
	/* Hand to the system what start() queued. NULL when start() completes everything itself; so is reap. */
	void (*kick)(void);
	/* Kick, then wait until @want (>= 1) more completions of the calling thread were taken, or an interruption. */
	void (*reap)(unsigned want);
	/* A request that is alone: complete it in the calling thread (true), or leave it to start() (false). May be
	 * NULL. */
	bool (*try_run)(struct blk_io *io);
	/*
	 * Set by a device that is made of others: start() does nothing but add parts (blk_part_add) to the batch of
	 * @io, or complete it with blk_whole_complete(). finish() is called when all parts are complete, in the thread
	 * that waits and outside of any back end, so that it may block; it adds more parts or completes @io.
	 */
	void (*finish)(struct blk_io *io);
	/* Release everything, ending with blk_dev_free(). */
	void (*close)(struct blk_dev *dev);
};

/* First member of each back end's device. */
struct blk_dev {
	const struct blk_ops *ops;
	struct blk_caps caps;
	char *name;
	struct metrics *metrics; /* where it is registered, or NULL */
	struct counter ops_count[BLK_OP_COUNT];
	struct counter bytes_count[BLK_OP_COUNT];
	struct counter error_count[BLK_OP_COUNT];
	struct histogram latency[BLK_OP_COUNT];
};

/* A zeroed back end's device of @bytes with its common part filled in; -ENOMEM. */
int blk_dev_alloc(size_t bytes, const struct blk_ops *ops, const char *name, void *ret_dev);
void blk_dev_free(struct blk_dev *dev);

/*
 * Make @part (its op, flags, range and memory are set) a request of its own to @dev, on behalf of @whole. @part_done is
 * called as it completes; at the last one it calls blk_parts_are_done().
 */
void blk_part_add(struct blk_io *whole, struct blk_dev *dev, struct blk_io *part, void *owner,
                  void (*part_done)(struct blk_io *part));
void blk_parts_are_done(struct blk_io *whole);
void blk_whole_complete(struct blk_io *whole, int result);

/* Called once per started request. */
void blk_io_complete(struct blk_io *io, int result);

#endif
