/* SPDX-License-Identifier: BSD-3-Clause */
/* One chunk: access counting, waiting for a change of its state, forgetting pages. */
#include "core/cache/cache_priv.h"

#include "core/base/assert.h"

#define FREQ_MAX 3u

/*
 * Only an access to a page that had been accessed before counts as one more use of the chunk: a sequential reader with
 * small requests is not a reason to keep it.
 */
void chunk_touch(struct chunk *k, uint32_t mask)
{
	uint8_t freq;

	if (!(k->seen & mask)) {
		k->seen |= mask;
		return;
	}
	k->seen |= mask;
	freq = __atomic_load_n(&k->freq, __ATOMIC_RELAXED);
	if (freq < FREQ_MAX)
		__atomic_store_n(&k->freq, (uint8_t)(freq + 1), __ATOMIC_RELAXED);
}

static struct wait_bucket *bucket_of(struct cache *c, const struct chunk *k)
{
	return &c->waits[((uintptr_t)k / sizeof(*k)) % CACHE_WAITS];
}

void chunk_wait(struct cache *c, struct chunk *k)
{
	struct wait_bucket *w = bucket_of(c, k);

	k->waited_for = true;
	/* Taken before the chunk's lock is released: who changes the state afterwards finds us waiting. */
	sync_mutex_lock(&w->lock);
	sync_mutex_unlock(&k->lock);
	sync_cond_wait(&w->cond, &w->lock);
	sync_mutex_unlock(&w->lock);
}

void chunk_wake(struct cache *c, struct chunk *k)
{
	struct wait_bucket *w = bucket_of(c, k);

	if (!k->waited_for)
		return;
	k->waited_for = false;
	sync_mutex_lock(&w->lock);
	sync_cond_broadcast(&w->cond);
	sync_mutex_unlock(&w->lock);
}

void chunk_drop(struct cache *c, struct chunk *k, uint32_t mask)
{
	uint32_t ids[CACHE_CHUNK_PAGES];
	unsigned n = 0;

	mask &= k->valid;
	always(!(mask & (k->filling | k->writeback)));
	if (mask & k->dirty)
		dirty_clear(k, mask & k->dirty);
	for (uint32_t m = mask; m; m &= m - 1) {
		unsigned i = (unsigned)__builtin_ctz(m);

		if (page_drop(&c->pages, k->page[i]))
			ids[n++] = k->page[i];
		k->page[i] = PAGE_ZERO;
	}
	k->valid &= ~mask;
	k->hole &= ~mask;
	k->seen &= ~mask;
	k->mark &= ~mask;
	pages_put(&c->pages, ids, n);
}
