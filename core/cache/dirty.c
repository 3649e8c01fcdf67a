/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is dirty: page states and counts, each file's list of dirty chunks in order of first dirtying, and the limit at
 * which writers wait.
 */
#include "core/cache/cache_priv.h"

#include <errno.h>

#include "core/base/assert.h"
#include "core/base/err.h"

/* A sleeper looks again after this long even when nobody woke it. */
#define THROTTLE_LOOK_NS (100 * SYNC_NS_PER_MS)

static void update_oldest(struct cache_file *f) SYNC_REQUIRES(f->lock)
{
	uint64_t ns = UINT64_MAX;

	if (!cds_list_empty(&f->dirty))
		ns = cds_list_first_entry(&f->dirty, struct chunk, dirty_link)->dirty_ns;
	__atomic_store_n(&f->oldest_ns, ns, __ATOMIC_RELAXED);
}

/* Into the file's list, which stays sorted by dirty_seq. New ones are the youngest; what comes back is old. */
static void list_insert(struct cache_file *f, struct chunk *k) SYNC_REQUIRES(f->lock)
{
	bool was_empty = cds_list_empty(&f->dirty);
	struct cds_list_head *at = f->dirty.next;
	struct flusher *w;

	k->listed = true;
	chunk_ref(k);
	if (was_empty || cds_list_entry(f->dirty.prev, struct chunk, dirty_link)->dirty_seq <= k->dirty_seq) {
		cds_list_add_tail(&k->dirty_link, &f->dirty);
	} else {
		while (cds_list_entry(at, struct chunk, dirty_link)->dirty_seq < k->dirty_seq)
			at = at->next;
		cds_list_add_tail(&k->dirty_link, at);
	}
	cds_list_for_each_entry (w, &f->flushers, link) {
		if (k->dirty_seq <= w->limit)
			w->late = true;
	}
	update_oldest(f);
	if (was_empty)
		writeback_queue(f, true);
}

static void list_remove(struct cache_file *f, struct chunk *k) SYNC_REQUIRES(f->lock)
{
	cds_list_del(&k->dirty_link);
	k->listed = false;
	chunk_unref(k);
	update_oldest(f);
	if (cds_list_empty(&f->dirty))
		writeback_queue(f, false);
}

/* The chunk is on the list exactly when it has dirty pages that are not in write-back. */
static void relist(struct cache_file *f, struct chunk *k) SYNC_REQUIRES(k->lock) SYNC_REQUIRES(f->lock)
{
	bool want = k->dirty & ~k->writeback;

	if (want && !k->listed)
		list_insert(f, k);
	else if (!want && k->listed)
		list_remove(f, k);
}

static void count(struct cache_file *f, uint64_t *what, int64_t pages)
{
	(void)__atomic_add_fetch(what, (uint64_t)pages, __ATOMIC_RELAXED);
	(void)__atomic_add_fetch(&f->dirty_pages, (uint64_t)pages, __ATOMIC_RELAXED);
}

void dirty_set(struct chunk *k, uint32_t mask)
{
	struct cache_file *f = k->file;
	bool first = !k->dirty;

	mask &= ~k->dirty;
	if (!mask)
		return;
	k->dirty |= mask;
	count(f, &f->cache->dirty_pages, mask_count(mask));
	if (!first && k->listed)
		return;
	sync_mutex_lock(&f->lock);
	if (first) {
		k->dirty_seq = ++f->dirty_seq;
		k->dirty_ns = sync_now_ns();
	}
	relist(f, k);
	sync_mutex_unlock(&f->lock);
}

void dirty_clear(struct chunk *k, uint32_t mask)
{
	struct cache_file *f = k->file;

	always((mask & ~k->dirty) == 0 && !(mask & k->writeback));
	k->dirty &= ~mask;
	count(f, &f->cache->dirty_pages, -(int64_t)mask_count(mask));
	sync_mutex_lock(&f->lock);
	relist(f, k);
	sync_mutex_unlock(&f->lock);
}

void dirty_to_writeback(struct chunk *k, uint32_t mask)
{
	struct cache_file *f = k->file;

	always((mask & ~k->dirty) == 0 && !(mask & k->writeback));
	count(f, &f->cache->writeback_pages, mask_count(mask));
	k->dirty &= ~mask;
	k->writeback |= mask;
	count(f, &f->cache->dirty_pages, -(int64_t)mask_count(mask));
	sync_mutex_lock(&f->lock);
	relist(f, k);
	sync_mutex_unlock(&f->lock);
}

void dirty_from_writeback(struct chunk *k, uint32_t done, uint32_t failed, uint64_t seq, uint64_t ns)
{
	struct cache_file *f = k->file;
	uint32_t again = failed & ~k->dirty;

	sync_mutex_lock(&f->lock);
	if (failed) {
		if (!k->dirty || k->dirty_seq > seq) {
			/* It may be listed as younger; find its old place. */
			if (k->listed)
				list_remove(f, k);
			k->dirty_seq = seq;
			k->dirty_ns = ns;
		}
		k->dirty |= again;
		count(f, &f->cache->dirty_pages, mask_count(again));
	}
	k->writeback &= ~done;
	relist(f, k);
	sync_mutex_unlock(&f->lock);
	count(f, &f->cache->writeback_pages, -(int64_t)mask_count(done));
}

/* ---- the dirty limit ---- */

struct throttled {
	struct cds_list_head link;
	struct sync_cond cond;
};

static bool have_room(const struct cache *c)
{
	return __atomic_load_n(&c->dirty_pages, __ATOMIC_RELAXED) +
	               __atomic_load_n(&c->writeback_pages, __ATOMIC_RELAXED) <
	       c->dirty_max_pages;
}

/* First come, first served. */
static int throttle_wait(struct cache_file *f)
{
	struct cache *c = f->cache;
	struct throttled me;
	int rc = 0;

	sync_assert_may_block();
	counter_add(&c->throttle_waits, 1);
	sync_cond_init(&me.cond);
	sync_mutex_lock(&c->throttle_lock);
	cds_list_add_tail(&me.link, &c->throttled);
	(void)__atomic_add_fetch(&c->throttled_count, 1, __ATOMIC_RELAXED);
	sync_mutex_unlock(&c->throttle_lock);
	writeback_kick(c);
	sync_mutex_lock(&c->throttle_lock);
	while (c->throttled.next != &me.link || !have_room(c)) {
		rc = __atomic_load_n(&f->wb_error, __ATOMIC_RELAXED);
		if (rc)
			break;
		(void)sync_cond_wait_until(&me.cond, &c->throttle_lock, sync_now_ns() + THROTTLE_LOOK_NS);
	}
	cds_list_del(&me.link);
	(void)__atomic_sub_fetch(&c->throttled_count, 1, __ATOMIC_RELAXED);
	if (!cds_list_empty(&c->throttled))
		sync_cond_signal(&cds_list_first_entry(&c->throttled, struct throttled, link)->cond);
	sync_mutex_unlock(&c->throttle_lock);
	sync_cond_done(&me.cond);
	return rc ? err_set(rc, "no room for more unwritten data: earlier write-back of the file failed") : 0;
}

int dirty_throttle(struct cache_file *f, unsigned flags)
{
	struct cache *c = f->cache;

	if (have_room(c) && __atomic_load_n(&c->throttled_count, __ATOMIC_RELAXED) == 0)
		return 0;
	if (flags & CACHE_NOWAIT) {
		writeback_kick(c);
		return -EAGAIN;
	}
	return throttle_wait(f);
}

void dirty_throttle_wake(struct cache *c, bool all)
{
	struct throttled *w;

	if (__atomic_load_n(&c->throttled_count, __ATOMIC_RELAXED) == 0)
		return;
	sync_mutex_lock(&c->throttle_lock);
	cds_list_for_each_entry (w, &c->throttled, link) {
		sync_cond_signal(&w->cond);
		if (!all)
			break;
	}
	sync_mutex_unlock(&c->throttle_lock);
}
