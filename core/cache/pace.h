/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How fast writers may go while much is dirty: so that they slow down smoothly before the limit, where they would stand
 * still for as long as a batch of write-back takes.
 *
 * A written page costs time on the clock of its file. Half way between the level where pacing begins and the limit, it
 * costs what the write-back of a page takes, as measured; below less, above more (the curve of OpenZFS's write
 * throttle, x / (1 - x)). So the amount of dirty data settles where as much comes as goes, and of two files the one
 * with few writes does not wait for the other's. Nothing here reads a clock or takes a lock.
 */
#ifndef WFSD_CORE_CACHE_PACE_H
#define WFSD_CORE_CACHE_PACE_H

#include <stdint.h>

#define PACE_SLACK_NS UINT64_C(500000) /* nobody waits for less: waking up costs more */
#define PACE_WAIT_NS_MAX UINT64_C(500000000) /* and nobody for more, whatever others have ordered */

/* What a page costs. */
struct pace {
	uint64_t page_ns; /* of write-back; 0: not measured yet */
	/* The measurement that is going on. */
	uint64_t pages;
	uint64_t busy_ns; /* time with write-back under way */
	uint64_t end_ns; /* of the last write-back */
};

/* How much is dirty, in pages: now, where pacing begins, and at most. */
struct pace_level {
	uint64_t used, start, max;
};

/* When somebody who comes now may go on; at most @now_ns: at once. @clock_ns: what was ordered is paid by then. */
uint64_t pace_due(uint64_t clock_ns, uint64_t now_ns);
/* The clock after an order of @pages more. */
uint64_t pace_order(const struct pace *p, uint64_t clock_ns, uint64_t now_ns, uint64_t pages,
                    const struct pace_level *level);
/* Write-back of @pages, begun at @from_ns, has ended. */
void pace_measure(struct pace *p, uint64_t from_ns, uint64_t now_ns, uint64_t pages);

#endif
