/* SPDX-License-Identifier: BSD-3-Clause */
/* Getting pages: from the free lists, from the budget, by eviction, and, when all that fails, by waiting. */
#include "core/cache/cache_priv.h"

#include <errno.h>

#include "core/base/err.h"

#define EVICT_MIN 32u /* pages asked for at once, so that the next callers find some */
#define WAIT_NS (10 * SYNC_NS_PER_MS)
#define WAITS_MAX 1000u /* then nobody frees anything any more */

void stash_empty(struct cache *c, struct stash *s)
{
	pages_put(&c->pages, s->ids, s->count);
	s->count = 0;
}

/* As many as there are without waiting. */
static void take_some(struct cache *c, struct stash *s, unsigned want)
{
	unsigned evicted = 1;

	while (s->count < want && evicted) {
		s->count += pages_take(&c->pages, s->ids + s->count, want - s->count);
		if (s->count < want)
			s->count += pages_take_fresh(&c->pages, s->ids + s->count, want - s->count, false);
		if (s->count == want)
			return;
		/* The budget is used up: above our guaranteed share we make room ourselves, below it others do. */
		if (budget_consumer_used(c->pages.consumer) <= c->pages.min_bytes) {
			unsigned n = pages_take_fresh(&c->pages, s->ids + s->count, want - s->count, true);

			s->count += n;
			if (n)
				continue;
		}
		evicted = shards_evict(c, want - s->count > EVICT_MIN ? want - s->count : EVICT_MIN);
	}
	if (s->count == 0)
		s->count = pages_take_fresh(&c->pages, s->ids, 1, true);
}

static void wait_for_memory(struct cache *c)
{
	sync_assert_may_block();
	(void)__atomic_add_fetch(&c->mem_waiters, 1, __ATOMIC_RELAXED);
	writeback_kick(c);
	sync_mutex_lock(&c->mem_lock);
	(void)sync_cond_wait_until(&c->mem_cond, &c->mem_lock, sync_now_ns() + WAIT_NS);
	sync_mutex_unlock(&c->mem_lock);
	(void)__atomic_sub_fetch(&c->mem_waiters, 1, __ATOMIC_RELAXED);
}

void memory_wake(struct cache *c)
{
	if (__atomic_load_n(&c->mem_waiters, __ATOMIC_RELAXED) == 0)
		return;
	sync_mutex_lock(&c->mem_lock);
	sync_cond_broadcast(&c->mem_cond);
	sync_mutex_unlock(&c->mem_lock);
}

int stash_fill(struct cache *c, struct stash *s, unsigned min, unsigned want, unsigned flags)
{
	for (unsigned i = 0; i < WAITS_MAX; i++) {
		take_some(c, s, want);
		stock_look(c);
		if (s->count >= min)
			return 0;
		/* Holding some while waiting for more could stop everybody. */
		stash_empty(c, s);
		if (flags & CACHE_NOWAIT) {
			writeback_kick(c);
			return -EAGAIN;
		}
		wait_for_memory(c);
	}
	return err_set(-ENOMEM, "page cache: no page can be freed");
}
