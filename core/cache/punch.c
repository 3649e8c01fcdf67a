/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Punching. A punch is announced first: from then on nobody starts filling, writing or writing back a page of its range
 * (they ask under the chunk's lock). Then each chunk is visited, and what is in hand is waited for. The pages are
 * dropped at the end: until the file system has removed the range from its map, what the log has of them must stay
 * here, and a flush waits.
 */
#include "core/cache/cache_priv.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/assert.h"
#include "core/base/err.h"

static bool overlaps(struct cache_file *f, uint64_t first, uint64_t end) SYNC_REQUIRES(f->lock)
{
	const struct punch *p;

	cds_list_for_each_entry (p, &f->punches, link) {
		if (p->first < end && first < p->end)
			return true;
	}
	return false;
}

bool punch_covers(struct cache_file *f, uint64_t first, uint64_t end)
{
	bool yes;

	if (__atomic_load_n(&f->punch_count, __ATOMIC_ACQUIRE) == 0)
		return false;
	sync_mutex_lock(&f->lock);
	yes = overlaps(f, first, end);
	sync_mutex_unlock(&f->lock);
	return yes;
}

void punch_wait(struct cache_file *f, uint64_t first, uint64_t end)
{
	sync_assert_may_block();
	sync_mutex_lock(&f->lock);
	while (overlaps(f, first, end))
		sync_cond_wait(&f->cond, &f->lock);
	sync_mutex_unlock(&f->lock);
}

static int announce(struct cache_file *f, struct punch *p, unsigned flags)
{
	int rc = 0;

	sync_mutex_lock(&f->lock);
	if ((flags & CACHE_NOWAIT) && overlaps(f, p->first, p->end)) {
		rc = -EAGAIN;
	} else {
		while (overlaps(f, p->first, p->end))
			sync_cond_wait(&f->cond, &f->lock);
		cds_list_add_tail(&p->link, &f->punches);
		(void)__atomic_add_fetch(&f->punch_count, 1, __ATOMIC_RELEASE);
	}
	sync_mutex_unlock(&f->lock);
	return rc;
}

void punch_end(struct cache_file *f, struct punch *p)
{
	sync_mutex_lock(&f->lock);
	cds_list_del(&p->link);
	(void)__atomic_sub_fetch(&f->punch_count, 1, __ATOMIC_RELEASE);
	f->punch_events++;
	sync_cond_broadcast(&f->cond);
	sync_mutex_unlock(&f->lock);
	free(p);
}

struct visit {
	struct cache *cache;
	uint64_t first, end;
	bool busy;
};

/* Without waiting: is anything in hand? */
static enum walk look(struct chunk *k, void *ctx)
{
	struct visit *v = ctx;

	if ((k->filling | k->writeback) & chunk_mask(k->index, v->first, v->end))
		v->busy = true;
	return v->busy ? WALK_STOP : WALK_NEXT;
}

static enum walk await(struct chunk *k, void *ctx)
{
	struct visit *v = ctx;

	return (k->filling | k->writeback) & chunk_mask(k->index, v->first, v->end) ? WALK_WAIT : WALK_NEXT;
}

static SYNC_NO_ANALYSIS enum walk drop(struct chunk *k, void *ctx)
{
	struct visit *v = ctx;
	uint32_t mask = chunk_mask(k->index, v->first, v->end);

	always(!((k->filling | k->writeback) & mask));
	chunk_drop(v->cache, k, mask);
	return WALK_NEXT;
}

/* What is clean may not be what the map says now. What is dirty stays, and the log may have dropped its contents. */
static SYNC_NO_ANALYSIS enum walk drop_clean(struct chunk *k, void *ctx)
{
	struct visit *v = ctx;
	uint32_t mask = chunk_mask(k->index, v->first, v->end);

	dirty_set(k, mask & k->dirty);
	chunk_drop(v->cache, k, mask & ~k->dirty);
	return WALK_NEXT;
}

static void visit(struct cache_file *f, walk_fn *fn, struct visit *v)
{
	chunk_walk(f, v->first / CACHE_CHUNK_PAGES, (v->end - 1) / CACHE_CHUNK_PAGES + 1, fn, v);
}

int punch_begin(struct cache_file *f, uint64_t first, uint64_t end, unsigned flags, struct punch **ret)
{
	struct visit v = { .first = first, .end = end };
	struct punch *p = malloc(sizeof(*p));
	int rc;

	if (!p)
		return err_set(-ENOMEM, "no memory for a punch");
	p->first = first;
	p->end = end;
	if (!(flags & CACHE_NOWAIT))
		sync_assert_may_block();
	rc = announce(f, p, flags);
	if (rc) {
		free(p);
		return rc;
	}
	if (flags & CACHE_NOWAIT) {
		visit(f, look, &v);
		if (v.busy) {
			punch_end(f, p);
			return -EAGAIN;
		}
	}
	visit(f, await, &v);
	*ret = p;
	return 0;
}

int cache_punch_begin(struct cache_file *f, uint64_t offset, uint64_t len, unsigned flags)
{
	uint64_t first = offset / CACHE_PAGE_BYTES;
	struct punch *p;

	always(len > 0 && offset % CACHE_PAGE_BYTES == 0 && len % CACHE_PAGE_BYTES == 0);
	return punch_begin(f, first, first + len / CACHE_PAGE_BYTES, flags, &p);
}

void cache_punch_end(struct cache_file *f, uint64_t offset, uint64_t len, bool failed)
{
	uint64_t first = offset / CACHE_PAGE_BYTES;
	struct visit v = { .cache = f->cache, .first = first, .end = first + len / CACHE_PAGE_BYTES };
	struct punch *found = NULL;
	struct punch *p;

	visit(f, failed ? drop_clean : drop, &v);
	sync_mutex_lock(&f->lock);
	cds_list_for_each_entry (p, &f->punches, link) {
		if (p->first == v.first && p->end == v.end)
			found = p;
	}
	sync_mutex_unlock(&f->lock);
	always(found);
	punch_end(f, found);
	dirty_throttle_wake(f->cache, false);
	memory_wake(f->cache);
}
