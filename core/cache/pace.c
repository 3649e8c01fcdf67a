/* SPDX-License-Identifier: BSD-3-Clause */
/* The price of a page, and the clock on which it is paid. */
#include "core/cache/pace.h"

#include "core/base/checked.h"

#define PAGE_NS_DEFAULT 4000u /* 1 GB/s */
#define PAGE_NS_MAX 10000000u /* a device that stands still must not stop writers for minutes afterwards */
#define MEASURE_NS UINT64_C(20000000)
#define PRICE_MAX 64u /* times the write-back of a page */

uint64_t pace_due(uint64_t clock_ns, uint64_t now_ns)
{
	return clock_ns > now_ns + PACE_SLACK_NS ? min_u64(clock_ns, now_ns + PACE_WAIT_NS_MAX) : now_ns;
}

static uint64_t price_ns(const struct pace *p, uint64_t pages, const struct pace_level *l)
{
	uint64_t page_ns = p->page_ns ? p->page_ns : PAGE_NS_DEFAULT;
	uint64_t over = l->used - l->start, left = l->max > l->used ? l->max - l->used : 0;

	if (over >= left * PRICE_MAX)
		return pages * page_ns * PRICE_MAX;
	return pages * page_ns * over / left;
}

uint64_t pace_order(const struct pace *p, uint64_t clock_ns, uint64_t now_ns, uint64_t pages,
                    const struct pace_level *level)
{
	if (level->used <= level->start)
		return clock_ns;
	clock_ns = max_u64(clock_ns, now_ns) + price_ns(p, pages, level);
	return min_u64(clock_ns, now_ns + PACE_WAIT_NS_MAX);
}

void pace_measure(struct pace *p, uint64_t from_ns, uint64_t now_ns, uint64_t pages)
{
	uint64_t sample;

	/* Threads that write back at the same time share the time. */
	from_ns = max_u64(from_ns, p->end_ns);
	if (now_ns > from_ns)
		p->busy_ns += now_ns - from_ns;
	p->end_ns = max_u64(p->end_ns, now_ns);
	p->pages += pages;
	if (p->busy_ns < MEASURE_NS || !p->pages)
		return;
	sample = max_u64(min_u64(p->busy_ns / p->pages, PAGE_NS_MAX), 1);
	p->page_ns = p->page_ns ? (3 * p->page_ns + sample) / 4 : sample;
	p->busy_ns = 0;
	p->pages = 0;
}
