/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A stock of free pages. The system takes longer to provide a page than it takes to fill it, above all on a virtual
 * machine: a thread asks for them before they are needed, as huge pages.
 */
#include "core/cache/cache_priv.h"

#include <sys/resource.h>
#include <unistd.h>

#include "core/base/checked.h"

/* It is filled up when less than half of it is left, so that the thread is not woken for each write. */
#define LOW_DIVISOR 2u
#define NICEST 19
#define STOCK_BYTES_MAX (256u << 20)

static uint64_t stock_pages(const struct cache *c)
{
	return min_u64(c->config.stock_bytes, STOCK_BYTES_MAX) / CACHE_PAGE_BYTES;
}

void stock_look(struct cache *c)
{
	if (!c->stock_started || !pages_want_block(&c->pages, stock_pages(c) / LOW_DIVISOR) ||
	    __atomic_exchange_n(&c->stock_kicked, true, __ATOMIC_RELAXED))
		return;
	sync_mutex_lock(&c->stock_lock);
	sync_cond_signal(&c->stock_cond);
	sync_mutex_unlock(&c->stock_lock);
}

static void thread_main(void *arg)
{
	struct cache *c = arg;
	bool added = true;

	/* Only where a processor has time for it: whoever finds no stock has small pages as quickly. */
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICEST);
	sync_mutex_lock(&c->stock_lock);
	while (!c->stock_stop) {
		if (added && pages_want_block(&c->pages, stock_pages(c))) {
			sync_mutex_unlock(&c->stock_lock);
			added = pages_add_block(&c->pages);
			sync_mutex_lock(&c->stock_lock);
			continue;
		}
		__atomic_store_n(&c->stock_kicked, false, __ATOMIC_RELAXED);
		sync_cond_wait(&c->stock_cond, &c->stock_lock);
		added = true;
	}
	sync_mutex_unlock(&c->stock_lock);
}

int stock_start(struct cache *c)
{
	int rc;

	if (!stock_pages(c))
		return 0;
	rc = sync_thread_start(&c->stock_thread, "cache-stock", thread_main, c);
	c->stock_started = rc == 0;
	return rc;
}

void stock_stop(struct cache *c)
{
	if (!c->stock_started)
		return;
	sync_mutex_lock(&c->stock_lock);
	c->stock_stop = true;
	sync_cond_signal(&c->stock_cond);
	sync_mutex_unlock(&c->stock_lock);
	sync_thread_join(&c->stock_thread);
	c->stock_started = false;
}
