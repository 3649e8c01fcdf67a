/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of the page cache: one arena of address space as large as the budget, with free lists. Pages are charged to
 * the budget while they are resident, used or free.
 */
#include "core/cache/cache_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "core/base/assert.h"
#include "core/base/checked.h"
#include "core/base/err.h"

/* What a resident page costs: itself and its descriptor. */
#define PAGE_COST (CACHE_PAGE_BYTES + sizeof(struct page))
#define FRESH_BATCH 64u /* pages made resident together */
#define GIVE_BACK_BATCH 512u

static void *map_lazily(size_t bytes)
{
	void *m = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (m == MAP_FAILED)
		return NULL;
	/* A huge page would be resident as a whole where single pages are charged. */
	(void)madvise(m, bytes, MADV_NOHUGEPAGE);
	return m;
}

int pages_init(struct pages *p, struct budget *budget, size_t min_bytes, budget_shrink_fn *shrink, void *shrink_ctx)
{
	size_t total = budget_limit(budget) / CACHE_PAGE_BYTES + 1;

	if (total > UINT32_MAX)
		total = UINT32_MAX;
	*p = (struct pages){ .budget = budget, .min_bytes = min_bytes, .total = (uint32_t)total, .fresh = 1 };
	p->base = map_lazily(total * CACHE_PAGE_BYTES);
	p->desc = map_lazily(total * sizeof(struct page));
	if (p->base && p->desc)
		p->consumer = budget_join(budget, "pages", min_bytes, shrink, shrink_ctx);
	if (!p->consumer) {
		if (p->base)
			(void)munmap(p->base, total * CACHE_PAGE_BYTES);
		if (p->desc)
			(void)munmap(p->desc, total * sizeof(struct page));
		return err_set(-ENOMEM, "page cache: no memory for an arena of %zu pages", total);
	}
	for (unsigned i = 0; i < PAGE_LISTS; i++)
		sync_mutex_init(&p->lists[i].lock, SYNC_RANK_PAGES, "cache free pages");
	sync_mutex_init(&p->cold_lock, SYNC_RANK_PAGES, "cache cold pages");
	return 0;
}

void pages_done(struct pages *p)
{
	(void)pages_give_back(p, SIZE_MAX);
	always(__atomic_load_n(&p->used, __ATOMIC_RELAXED) == 0);
	budget_leave(p->consumer);
	for (unsigned i = 0; i < PAGE_LISTS; i++)
		sync_mutex_done(&p->lists[i].lock);
	sync_mutex_done(&p->cold_lock);
	(void)munmap(p->base, (size_t)p->total * CACHE_PAGE_BYTES);
	(void)munmap(p->desc, (size_t)p->total * sizeof(struct page));
}

static unsigned list_take(struct pages *p, struct page_list *l, uint32_t *ids, unsigned want)
{
	unsigned n = 0;

	if (__atomic_load_n(&l->count, __ATOMIC_RELAXED) == 0)
		return 0;
	sync_mutex_lock(&l->lock);
	while (n < want && l->head) {
		ids[n] = l->head;
		l->head = p->desc[l->head].next;
		n++;
	}
	__atomic_store_n(&l->count, l->count - n, __ATOMIC_RELAXED);
	sync_mutex_unlock(&l->lock);
	return n;
}

static unsigned lists_take(struct pages *p, uint32_t *ids, unsigned want)
{
	unsigned slot = sync_thread_slot();
	unsigned n = 0;

	for (unsigned i = 0; i < PAGE_LISTS && n < want; i++)
		n += list_take(p, &p->lists[(slot + i) % PAGE_LISTS], ids + n, want - n);
	return n;
}

static void hand_out(struct pages *p, const uint32_t *ids, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		__atomic_store_n(&p->desc[ids[i]].refs, 1, __ATOMIC_RELAXED);
	(void)__atomic_add_fetch(&p->used, n, __ATOMIC_RELAXED);
}

unsigned pages_take(struct pages *p, uint32_t *ids, unsigned want)
{
	unsigned n = lists_take(p, ids, want);

	if (n)
		hand_out(p, ids, n);
	return n;
}

static void list_put(struct pages *p, const uint32_t *ids, unsigned count)
{
	struct page_list *l = &p->lists[sync_thread_slot() % PAGE_LISTS];

	sync_mutex_lock(&l->lock);
	for (unsigned i = 0; i < count; i++) {
		p->desc[ids[i]].next = l->head;
		l->head = ids[i];
	}
	__atomic_store_n(&l->count, l->count + count, __ATOMIC_RELAXED);
	sync_mutex_unlock(&l->lock);
}

void pages_put(struct pages *p, const uint32_t *ids, unsigned count)
{
	if (count == 0)
		return;
	(void)__atomic_sub_fetch(&p->used, count, __ATOMIC_RELAXED);
	list_put(p, ids, count);
}

/* Pages that are not resident; the caller has charged them. */
static unsigned cold_take(struct pages *p, uint32_t *ids, unsigned want)
{
	unsigned n = 0;
	uint32_t run_first = 0;
	unsigned run = 0;

	sync_mutex_lock(&p->cold_lock);
	while (n < want && p->cold_head) {
		ids[n] = p->cold_head;
		p->cold_head = p->desc[p->cold_head].next;
		n++;
	}
	run_first = p->fresh;
	while (n < want && p->fresh < p->total) {
		ids[n++] = p->fresh++;
		run++;
	}
	sync_mutex_unlock(&p->cold_lock);
	/* One call instead of a page fault for each; an old kernel says no and nothing is lost. */
	if (run > 1)
		(void)madvise(page_data(p, run_first), (size_t)run * CACHE_PAGE_BYTES, MADV_POPULATE_WRITE);
	return n;
}

unsigned pages_take_fresh(struct pages *p, uint32_t *ids, unsigned want, bool press)
{
	uint32_t batch[FRESH_BATCH];
	unsigned n = want < FRESH_BATCH ? FRESH_BATCH : want;
	uint32_t *to = want < FRESH_BATCH ? batch : ids;
	unsigned got;

	if (budget_used(p->budget) + n * PAGE_COST > budget_limit(p->budget)) {
		if (!press)
			return 0;
		n = want;
		to = ids;
	}
	if (!budget_try_charge(p->consumer, n * PAGE_COST))
		return 0;
	got = cold_take(p, to, n);
	if (got < n)
		budget_uncharge(p->consumer, (n - got) * PAGE_COST);
	(void)__atomic_add_fetch(&p->charged, got, __ATOMIC_RELAXED);
	if (to == batch) {
		unsigned keep = got < want ? got : want;

		for (unsigned i = 0; i < keep; i++)
			ids[i] = batch[i];
		if (got > keep)
			list_put(p, batch + keep, got - keep);
		got = keep;
	}
	hand_out(p, ids, got);
	return got;
}

static int compare_ids(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a;
	uint32_t y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void give_back(struct pages *p, uint32_t *ids, unsigned n)
{
	qsort(ids, n, sizeof(ids[0]), compare_ids);
	for (unsigned i = 0; i < n;) {
		unsigned run = 1;

		while (i + run < n && ids[i + run] == ids[i] + run)
			run++;
		(void)madvise(page_data(p, ids[i]), (size_t)run * CACHE_PAGE_BYTES, MADV_DONTNEED);
		i += run;
	}
	sync_mutex_lock(&p->cold_lock);
	for (unsigned i = 0; i < n; i++) {
		p->desc[ids[i]].next = p->cold_head;
		p->cold_head = ids[i];
	}
	sync_mutex_unlock(&p->cold_lock);
	(void)__atomic_sub_fetch(&p->charged, n, __ATOMIC_RELAXED);
	budget_uncharge(p->consumer, n * PAGE_COST);
}

size_t pages_give_back(struct pages *p, size_t bytes)
{
	uint32_t ids[GIVE_BACK_BATCH];
	size_t freed = 0;

	while (freed < bytes) {
		size_t left = (bytes - freed - 1) / PAGE_COST + 1;
		unsigned n = lists_take(p, ids, left < GIVE_BACK_BATCH ? (unsigned)left : GIVE_BACK_BATCH);

		if (n == 0)
			break;
		give_back(p, ids, n);
		freed += n * PAGE_COST;
	}
	return freed;
}
