/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of the page cache: one arena of address space as large as the budget, with free lists. Pages are charged to
 * the budget while they are resident, used or free.
 *
 * The arena grows from both ends: from the front by blocks of the size of a huge page, which somebody adds who has time
 * for it (stock.c), since the system may take long to find one; from the end by a few small pages for whoever needs
 * them now. A host may take very long to find a huge page for a virtual machine: then blocks consist of small pages for
 * a while. So does, for good, a block of which something was given back, since a huge page could only become resident
 * as a whole.
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
#define BLOCK_BYTES (2u << 20) /* a huge page; where those are larger, nothing is lost but speed */
#define BLOCK_PAGES (BLOCK_BYTES / CACHE_PAGE_BYTES)
#define GIVE_BACK_BATCH 512u
#define HUGE_NS_MAX (SYNC_NS_PER_MS / 2) /* the small pages of a block take about so long */
#define SMALL_BLOCKS 32u /* so many blocks are small pages when a huge one took longer */
#define BLOCK_MARGIN 8u /* no blocks are added for the last eighth of the budget */

static void *map_lazily(size_t bytes)
{
	void *m = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (m == MAP_FAILED)
		return NULL;
	/* A huge page would be resident as a whole where single pages are charged. */
	(void)madvise(m, bytes, MADV_NOHUGEPAGE);
	return m;
}

/* The mapping begins with room for what aligning it takes. */
static size_t map_bytes(const struct pages *p)
{
	return (size_t)p->total * CACHE_PAGE_BYTES + 2 * BLOCK_BYTES;
}

/* Blocks begin with page 1. */
static uint32_t block_of(uint32_t id)
{
	return (id - 1) / BLOCK_PAGES;
}

/* What pages_init() has mapped so far. */
static void unmap(struct pages *p)
{
	if (p->map)
		(void)munmap(p->map, map_bytes(p));
	if (p->desc)
		(void)munmap(p->desc, (size_t)p->total * sizeof(struct page));
	if (p->huge)
		(void)munmap(p->huge, block_of(p->total) + 1);
}

int pages_init(struct pages *p, struct budget *budget, size_t min_bytes, budget_shrink_fn *shrink, void *shrink_ctx)
{
	size_t total = budget_limit(budget) / CACHE_PAGE_BYTES + 1;

	if (total > UINT32_MAX)
		total = UINT32_MAX;
	*p = (struct pages){ .budget = budget, .min_bytes = min_bytes, .total = (uint32_t)total, .front = 1 };
	p->end = p->total;
	p->map = map_lazily(map_bytes(p));
	p->desc = map_lazily(total * sizeof(struct page));
	p->huge = map_lazily(block_of(p->total) + 1);
	if (p->map && p->desc && p->huge)
		p->consumer = budget_join(budget, "pages", min_bytes, shrink, shrink_ctx);
	if (!p->consumer) {
		unmap(p);
		return err_set(-ENOMEM, "page cache: no memory for an arena of %zu pages", total);
	}
	/* Page 1 is aligned to huge pages, with page 0 before it. */
	p->base = p->map + 2 * BLOCK_BYTES - (uintptr_t)p->map % BLOCK_BYTES - CACHE_PAGE_BYTES;
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
	unmap(p);
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
	while (n < want && p->end > p->front) {
		ids[n++] = run_first = --p->end;
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

bool pages_want_block(const struct pages *p, uint64_t free_pages)
{
	size_t limit = budget_limit(p->budget);
	uint64_t charged = __atomic_load_n(&p->charged, __ATOMIC_RELAXED);

	return charged < __atomic_load_n(&p->used, __ATOMIC_RELAXED) + free_pages &&
	       !__atomic_load_n(&p->blocks_used_up, __ATOMIC_RELAXED) &&
	       budget_used(p->budget) + BLOCK_PAGES * PAGE_COST <= limit - limit / BLOCK_MARGIN;
}

/* A part of the arena that was never used; false: there is no whole block any more. */
static bool front_take(struct pages *p, uint32_t *ret_first)
{
	bool taken;

	sync_mutex_lock(&p->cold_lock);
	taken = p->end - p->front >= BLOCK_PAGES;
	if (taken) {
		*ret_first = p->front;
		p->front += BLOCK_PAGES;
	}
	sync_mutex_unlock(&p->cold_lock);
	return taken;
}

/* As one huge page, unless these take long to get. */
static void make_resident(struct pages *p, uint32_t first)
{
	uint64_t start_ns = sync_now_ns();
	bool huge = !p->small_blocks && madvise(page_data(p, first), BLOCK_BYTES, MADV_HUGEPAGE) == 0;

	__atomic_store_n(&p->huge[block_of(first)], huge, __ATOMIC_RELAXED);
	/* One fault, or one for each page, but not one call: that would keep others from changing any mapping
	 * meanwhile. */
	for (unsigned i = 0; i < BLOCK_PAGES; i++)
		*(volatile uint8_t *)page_data(p, first + i) = 0;
	if (p->small_blocks)
		p->small_blocks--;
	else if (sync_now_ns() - start_ns > HUGE_NS_MAX)
		p->small_blocks = SMALL_BLOCKS;
}

bool pages_add_block(struct pages *p)
{
	uint32_t ids[BLOCK_PAGES], first;

	if (!budget_try_charge(p->consumer, BLOCK_PAGES * PAGE_COST))
		return false;
	if (!front_take(p, &first)) {
		__atomic_store_n(&p->blocks_used_up, true, __ATOMIC_RELAXED);
		budget_uncharge(p->consumer, BLOCK_PAGES * PAGE_COST);
		return false;
	}
	make_resident(p, first);
	/* They are taken from the list in ascending order. */
	for (unsigned i = 0; i < BLOCK_PAGES; i++)
		ids[i] = first + BLOCK_PAGES - 1 - i;
	(void)__atomic_add_fetch(&p->charged, BLOCK_PAGES, __ATOMIC_RELAXED);
	list_put(p, ids, BLOCK_PAGES);
	return true;
}

/* Pages from @first on are to become resident one by one again. */
static void break_blocks(struct pages *p, uint32_t first, unsigned count)
{
	for (uint32_t b = block_of(first); b <= block_of(first + count - 1); b++)
		if (__atomic_exchange_n(&p->huge[b], false, __ATOMIC_RELAXED))
			(void)madvise(page_data(p, 1 + b * BLOCK_PAGES), BLOCK_BYTES, MADV_NOHUGEPAGE);
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
		break_blocks(p, ids[i], run);
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
