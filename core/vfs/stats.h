/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to the VFS: how many operations of each class there were, how they went, and how long they took.
 *
 * Counting adds one or two relaxed additions to an operation. The clock is not read for each read and write but for one
 * of OP_SAMPLE of those that a thread does; all other operations are timed. An operation that returned -EAGAIN because
 * it was not to wait is not counted: it comes again.
 */
#ifndef WFSD_CORE_VFS_STATS_H
#define WFSD_CORE_VFS_STATS_H

#include <errno.h>

#include "core/base/metrics.h"
#include "core/base/nowait.h"
#include "core/base/sync.h"

#define OP_SAMPLE 64u /* a power of two */

enum op_class {
	OP_READ,
	OP_WRITE,
	OP_FLUSH,
	OP_PUNCH, /* discard, zero */
	OP_LOOKUP,
	OP_LIST,
	OP_CREATE,
	OP_LINK,
	OP_REMOVE,
	OP_RENAME,
	OP_SET_ATTR,
	OP_GET_XATTR,
	OP_SET_XATTR,
	OP_LOCK,
	OP_CLASSES,
};

struct op_stats {
	struct counter count, errors, bytes;
	struct histogram latency;
};

struct op_timer {
	struct op_stats *stats;
	unsigned slot;
	uint64_t start_ns; /* 0: it is not timed */
};

static inline struct op_timer op_begin(struct op_stats *all, enum op_class c)
{
	return (struct op_timer){ .stats = &all[c],
		                  .slot = sync_thread_slot() % METRIC_SLOTS,
		                  .start_ns = sync_now_ns() };
}

static inline struct op_timer op_begin_sampled(struct op_stats *all, enum op_class c)
{
	struct op_timer t = { .stats = &all[c], .slot = sync_thread_slot() % METRIC_SLOTS };

	if (counter_read_slot(&t.stats->count, t.slot) % OP_SAMPLE == 0)
		t.start_ns = sync_now_ns();
	return t;
}

/* Returns @ret. */
static inline int op_end(const struct op_timer *t, int ret, uint64_t bytes, unsigned flags)
{
	if (ret == -EAGAIN && (flags & VFS_NOWAIT || nowait_here()))
		return ret;
	counter_add_slot(&t->stats->count, t->slot, 1);
	if (ret)
		counter_add_slot(&t->stats->errors, t->slot, 1);
	else if (bytes)
		counter_add_slot(&t->stats->bytes, t->slot, bytes);
	if (t->start_ns)
		histogram_add(&t->stats->latency, sync_now_ns() - t->start_ns);
	return ret;
}

#endif
