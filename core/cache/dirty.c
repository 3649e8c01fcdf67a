/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is dirty: page states and counts, each file's dirty chunks in order of first dirtying, the pace of
 * writers while much is dirty, and the limit at which they wait.
 */
#include "core/cache/cache_priv.h"

#include <errno.h>

#include "core/base/assert.h"
#include "core/base/checked.h"
#include "core/base/err.h"

/* A sleeper looks again after this long even when nobody woke it. */
#define THROTTLE_LOOK_NS (100 * SYNC_NS_PER_MS)

static void update_oldest(struct cache_file *f) SYNC_REQUIRES(f->lock)
{
	const struct chunk *dirty = dirty_tree_after(&f->dirty, 0);
	const struct chunk *logged = dirty_tree_after(&f->logged, 0);
	uint64_t ns = dirty ? dirty->dirty_ns : UINT64_MAX;

	if (logged)
		ns = min_u64(ns, logged->dirty_ns);
	__atomic_store_n(&f->oldest_ns, ns, __ATOMIC_RELAXED);
}

static bool nothing_listed(struct cache_file *f) SYNC_REQUIRES(f->lock)
{
	return !f->dirty.root && !f->logged.root;
}

/* Something of the chunk can be taken that could not before. */
static void tell_flushers(struct cache_file *f, const struct chunk *k) SYNC_REQUIRES(f->lock)
{
	struct flusher *w;

	cds_list_for_each_entry (w, &f->flushers, link) {
		if (k->dirty_seq <= w->limit)
			w->late = true;
	}
}

/* Into one of the file's trees. */
static void list_insert(struct cache_file *f, struct chunk *k, bool logged) SYNC_REQUIRES(f->lock)
{
	bool was_empty = nothing_listed(f);

	k->listed = true;
	k->listed_logged = logged;
	chunk_ref(k);
	dirty_tree_insert(logged ? &f->logged : &f->dirty, k);
	tell_flushers(f, k);
	update_oldest(f);
	if (was_empty)
		writeback_queue(f, true);
}

static void list_remove(struct cache_file *f, struct chunk *k) SYNC_REQUIRES(f->lock)
{
	dirty_tree_remove(k->listed_logged ? &f->logged : &f->dirty, k);
	k->listed = false;
	chunk_unref(k);
	update_oldest(f);
	if (nothing_listed(f))
		writeback_queue(f, false);
}

/* The chunk is listed exactly when it has dirty pages that are not in write-back. */
static void relist(struct cache_file *f, struct chunk *k) SYNC_REQUIRES(k->lock) SYNC_REQUIRES(f->lock)
{
	bool want = k->dirty & ~k->writeback;
	bool logged = !(k->dirty & ~k->writeback & ~k->logged);

	if (k->listed && (!want || k->listed_logged != logged))
		list_remove(f, k);
	if (want && !k->listed)
		list_insert(f, k, logged);
}

/* Whoever sees no dirty pages (cache_flush) sees what their write-back did. */
static void count(struct cache_file *f, uint64_t *what, int64_t pages)
{
	(void)__atomic_add_fetch(what, (uint64_t)pages, __ATOMIC_RELAXED);
	(void)__atomic_add_fetch(&f->dirty_pages, (uint64_t)pages, __ATOMIC_ACQ_REL);
}

void dirty_set(struct chunk *k, uint32_t mask)
{
	struct cache_file *f = k->file;
	bool first = !k->dirty;
	bool outdated = k->logged & mask;

	k->logged &= ~mask;
	mask &= ~k->dirty;
	if (!mask && !outdated)
		return;
	k->dirty |= mask;
	count(f, &f->cache->dirty_pages, mask_count(mask));
	if (!first && k->listed && !k->listed_logged)
		return;
	sync_mutex_lock(&f->lock);
	if (first) {
		k->dirty_seq = ++f->dirty_seq;
		k->dirty_ns = sync_now_ns();
	}
	relist(f, k);
	sync_mutex_unlock(&f->lock);
}

void dirty_set_logged(struct chunk *k, uint32_t mask)
{
	struct cache_file *f = k->file;

	dirty_set(k, mask);
	sync_mutex_lock(&f->lock);
	k->logged |= mask;
	k->kept |= mask;
	relist(f, k);
	sync_mutex_unlock(&f->lock);
}

void dirty_clear(struct chunk *k, uint32_t mask)
{
	struct cache_file *f = k->file;

	always((mask & ~k->dirty) == 0 && !(mask & k->writeback));
	k->dirty &= ~mask;
	k->logged &= ~mask;
	k->kept &= ~mask;
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
	k->logged &= ~mask;
	k->writeback |= mask;
	count(f, &f->cache->dirty_pages, -(int64_t)mask_count(mask));
	sync_mutex_lock(&f->lock);
	relist(f, k);
	sync_mutex_unlock(&f->lock);
}

/* @done leave write-back; @again of them are dirty, as old as @seq and @ns say, and @logged is what the log has. */
static void leave_writeback(struct chunk *k, uint32_t done, uint32_t again, uint32_t logged, uint64_t seq, uint64_t ns)
        SYNC_REQUIRES(k->lock)
{
	struct cache_file *f = k->file;
	uint32_t more = again & ~k->dirty;

	sync_mutex_lock(&f->lock);
	if (again) {
		if (!k->dirty || k->dirty_seq > seq) {
			/* It may be listed as younger; find its old place. */
			if (k->listed)
				list_remove(f, k);
			k->dirty_seq = seq;
			k->dirty_ns = ns;
		}
		k->dirty |= more;
		k->logged |= logged & more; /* what was rewritten meanwhile is not in the log */
		count(f, &f->cache->dirty_pages, mask_count(more));
	}
	k->writeback &= ~done;
	relist(f, k);
	/* Rewritten meanwhile, or logged and still to be written back. The chunk may have been listed all the time,
	 * because of other pages. */
	if (k->dirty & done)
		tell_flushers(f, k);
	sync_mutex_unlock(&f->lock);
	count(f, &f->cache->writeback_pages, -(int64_t)mask_count(done));
}

void dirty_from_writeback(struct chunk *k, uint32_t done, uint32_t failed, uint64_t seq, uint64_t ns)
{
	k->kept &= ~(done & ~failed);
	leave_writeback(k, done, failed, 0, seq, ns);
}

void dirty_from_log(struct chunk *k, uint32_t done, uint32_t failed, uint64_t seq, uint64_t ns)
{
	k->kept |= done & ~failed;
	leave_writeback(k, done, done, done & ~failed, seq, ns);
}

/* ---- the dirty limit ---- */

struct throttled {
	struct cds_list_head link;
	struct sync_cond cond;
};

static struct pace_level level_of(const struct cache *c)
{
	return (struct pace_level){ .used = __atomic_load_n(&c->dirty_pages, __ATOMIC_RELAXED) +
		                            __atomic_load_n(&c->writeback_pages, __ATOMIC_RELAXED),
		                    .start = c->dirty_background_pages,
		                    .max = c->dirty_max_pages };
}

static bool have_room(const struct cache *c)
{
	struct pace_level l = level_of(c);

	return l.used < l.max;
}

static int file_failed(void *ctx)
{
	const struct cache_file *f = ctx;

	return __atomic_load_n(&f->wb_error, __ATOMIC_RELAXED);
}

/* First come, first served. @failed tells that it makes no sense to wait. */
static int throttle_wait(struct cache *c, cache_failed_fn *failed, void *ctx)
{
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
		rc = failed(ctx);
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
	return rc ? err_set(rc, "no room for more unwritten data: what is to be written back stays") : 0;
}

/* Above the background level. */
static int wait_for_turn(struct cache *c, uint64_t *pace_ns, uint64_t pages, const struct pace_level *level,
                         unsigned flags)
{
	uint64_t now = sync_now_ns(), due;

	sync_mutex_lock(&c->throttle_lock);
	due = pace_due(*pace_ns, now);
	if (due <= now || !(flags & CACHE_NOWAIT))
		*pace_ns = pace_order(&c->pace, *pace_ns, now, pages, level);
	sync_mutex_unlock(&c->throttle_lock);
	if (due <= now)
		return 0;
	writeback_kick(c);
	if (flags & CACHE_NOWAIT)
		return -EAGAIN;
	sync_assert_may_block();
	counter_add(&c->paced, 1);
	sync_sleep_ns(due - now);
	return 0;
}

static int throttle(struct cache *c, uint64_t *pace_ns, uint64_t pages, unsigned flags, cache_failed_fn *failed,
                    void *ctx)
{
	struct pace_level level = level_of(c);
	int rc = 0;

	if (level.used > level.start)
		rc = wait_for_turn(c, pace_ns, pages, &level, flags);
	if (rc || (have_room(c) && __atomic_load_n(&c->throttled_count, __ATOMIC_RELAXED) == 0))
		return rc;
	if (flags & CACHE_NOWAIT) {
		writeback_kick(c);
		return -EAGAIN;
	}
	return throttle_wait(c, failed, ctx);
}

int dirty_throttle(struct cache_file *f, uint64_t pages, unsigned flags)
{
	return flags & CACHE_MAKES_ROOM ? 0 : throttle(f->cache, &f->pace_ns, pages, flags, file_failed, f);
}

int cache_wait_room(struct cache *c, uint64_t *pace_ns, uint64_t pages, cache_failed_fn *failed, void *ctx)
{
	return throttle(c, pace_ns, pages, 0, failed, ctx);
}

void dirty_written(struct cache *c, uint64_t from_ns, uint64_t pages)
{
	uint64_t now = sync_now_ns();

	sync_mutex_lock(&c->throttle_lock);
	pace_measure(&c->pace, from_ns, now, pages);
	sync_mutex_unlock(&c->throttle_lock);
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
