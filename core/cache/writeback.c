/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Write-back: batches of dirty pages on their way to the file system.
 *
 * Taking a page holds a reference to it, so that a write meanwhile goes to a new page; taking a chunk's pages holds a
 * reference to the chunk. A page is in one batch at a time.
 */
#include "core/cache/cache_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/base/mutate.h"

int batch_new(unsigned capacity, struct wb_batch **ret)
{
	struct wb_batch *b = calloc(1, sizeof(*b));

	if (b) {
		b->capacity = capacity;
		b->slots = malloc(capacity * sizeof(b->slots[0]));
		b->pages = malloc(capacity * sizeof(b->pages[0]));
	}
	if (!b || !b->slots || !b->pages) {
		batch_free(b);
		return err_set(-ENOMEM, "no memory for a batch of %u pages", capacity);
	}
	*ret = b;
	return 0;
}

void batch_free(struct wb_batch *b)
{
	if (!b)
		return;
	free(b->slots);
	free(b->pages);
	free(b);
}

void batch_begin(struct cache_file *f, struct wb_batch *b, enum batch_kind kind)
{
	b->kind = kind;
	b->count = 0;
	b->blocked = false;
	b->full = false;
	b->first = 0;
	b->end = UINT64_MAX;
	sync_mutex_lock(&f->lock);
	b->seq = ++f->batch_seq;
	cds_list_add_tail(&b->link, &f->batches);
	sync_mutex_unlock(&f->lock);
}

static uint32_t wanted_pages(const struct wb_batch *b, const struct chunk *k) SYNC_REQUIRES(k->lock)
{
	uint32_t mask = k->dirty & ~k->writeback;

	if (b->kind == BATCH_UNLOGGED || b->kind == BATCH_TO_LOG)
		mask &= ~k->logged;
	else if (b->kind == BATCH_KEPT)
		mask &= k->kept;
	return mask;
}

void batch_take(struct wb_batch *b, struct chunk *k, uint64_t first, uint64_t end)
{
	struct cache_file *f = k->file;
	uint64_t base = k->index * CACHE_CHUNK_PAGES;
	uint32_t mask = wanted_pages(b, k) & chunk_mask(k->index, first, end);

	if (mask && punch_covers(f, base, base + CACHE_CHUNK_PAGES)) {
		for (uint32_t m = mask; m; m &= m - 1) {
			uint64_t page = base + (unsigned)__builtin_ctz(m);

			if (punch_covers(f, page, page + 1)) {
				mask &= ~(m & -m);
				b->blocked = true;
			}
		}
	}
	if (!mask)
		return;
	if (b->count + mask_count(mask) > b->capacity) {
		b->full = true;
		return;
	}
	for (uint32_t m = mask; m; m &= m - 1) {
		unsigned i = (unsigned)__builtin_ctz(m);

		page_ref(&f->cache->pages, k->page[i]);
		b->slots[b->count++] = (struct wb_slot){
			.index = base + i,
			.chunk = k,
			.holds_chunk = m == mask,
			.seq = k->dirty_seq,
			.ns = k->dirty_ns,
			.page = k->page[i],
			.crc = k->crc[i],
		};
	}
	chunk_ref(k);
	dirty_to_writeback(k, mask);
}

struct chunk *list_next(struct cache_file *f, const struct dirty_tree *tree, uint64_t first, uint64_t end,
                        uint64_t limit, uint64_t ns, uint64_t *seq)
{
	struct chunk *k;

	sync_mutex_lock(&f->lock);
	do {
		k = dirty_tree_after(tree, *seq);
		if (k && (k->dirty_seq > limit || k->dirty_ns > ns))
			k = NULL;
		if (k)
			*seq = k->dirty_seq;
	} while (k && !chunk_mask(k->index, first, end));
	if (k)
		chunk_ref(k); /* the tree has one, so it is not going away */
	sync_mutex_unlock(&f->lock);
	return k;
}

static void take_list(struct cache_file *f, const struct dirty_tree *tree, struct wb_batch *b, uint64_t first,
                      uint64_t end, uint64_t limit, uint64_t ns)
{
	uint64_t seq = 0;

	while (!b->full) {
		struct chunk *k = list_next(f, tree, first, end, limit, ns, &seq);

		if (!k)
			break;
		sync_mutex_lock(&k->lock);
		batch_take(b, k, first, end);
		sync_mutex_unlock(&k->lock);
		chunk_unref(k);
	}
}

void batch_take_list(struct cache_file *f, struct wb_batch *b, uint64_t first, uint64_t end, uint64_t limit,
                     uint64_t ns)
{
	take_list(f, &f->dirty, b, first, end, limit, ns);
	if (b->kind == BATCH_ALL || b->kind == BATCH_KEPT)
		take_list(f, &f->logged, b, first, end, limit, ns);
}

static int compare_slots(const void *a, const void *b)
{
	const struct wb_slot *x = a;
	const struct wb_slot *y = b;

	return (x->index > y->index) - (x->index < y->index);
}

static void sort_slots(struct wb_batch *b)
{
	bool sorted = true;

	for (unsigned i = 1; i < b->count && sorted; i++)
		sorted = b->slots[i - 1].index < b->slots[i].index;
	if (!sorted)
		qsort(b->slots, b->count, sizeof(b->slots[0]), compare_slots);
}

/* Settle the pages of one chunk from slot @at on. Returns how many there are. */
static unsigned settle_chunk(struct cache *c, struct wb_batch *b, unsigned at)
{
	struct wb_slot *slot = &b->slots[at];
	struct chunk *k = slot->chunk;
	uint64_t seq = slot->seq, ns = slot->ns;
	uint32_t done = 0;
	uint32_t failed = 0;
	unsigned n = 0, refs = 0;

	sync_mutex_lock(&k->lock);
	while (at + n < b->count && b->slots[at + n].chunk == k) {
		uint32_t bit = 1u << (b->slots[at + n].index % CACHE_CHUNK_PAGES);

		done |= bit;
		if (b->pages[at + n].result)
			failed |= bit;
		refs += b->slots[at + n].holds_chunk;
		if (b->slots[at + n].seq < seq) {
			seq = b->slots[at + n].seq;
			ns = b->slots[at + n].ns;
		}
		page_unref(&c->pages, b->slots[at + n].page);
		n++;
	}
	if (b->kind == BATCH_TO_LOG)
		dirty_from_log(k, done, failed, seq, ns);
	else
		dirty_from_writeback(k, done, failed, seq, ns);
	chunk_wake(c, k);
	sync_mutex_unlock(&k->lock);
	while (refs--)
		chunk_unref(k);
	return n;
}

static void batch_end(struct cache_file *f, struct wb_batch *b)
{
	sync_mutex_lock(&f->lock);
	cds_list_del(&b->link);
	sync_cond_broadcast(&f->cond);
	sync_mutex_unlock(&f->lock);
}

/* Now it is known which pages the batch has; who waits for others need not wait for it. */
static void batch_seal(struct cache_file *f, struct wb_batch *b)
{
	sync_mutex_lock(&f->lock);
	b->first = b->slots[0].index;
	b->end = b->slots[b->count - 1].index + 1;
	sync_cond_broadcast(&f->cond);
	sync_mutex_unlock(&f->lock);
}

static int batch_write(struct cache_file *f, struct wb_batch *b)
{
	struct cache *c = f->cache;
	unsigned good = 0;
	uint64_t from_ns;
	int rc = 0;

	sort_slots(b);
	batch_seal(f, b);
	for (unsigned i = 0; i < b->count; i++) {
		b->pages[i] = (struct cache_page){
			.index = b->slots[i].index,
			.data = page_data(&c->pages, b->slots[i].page),
			.crc = b->slots[i].crc,
			.result = -EIO,
		};
	}
	sync_assert_may_block();
	from_ns = sync_now_ns();
	if (b->kind == BATCH_TO_LOG)
		f->ops->log(f->ctx, b->pages, b->count);
	else
		f->ops->writeback(f->ctx, b->pages, b->count - MUTATE(DIRTY_PAGE_LOST));
	if (MUTATE(DIRTY_PAGE_LOST) && b->kind != BATCH_TO_LOG)
		b->pages[b->count - 1].result = 0;
	for (unsigned i = 0; i < b->count; i++) {
		if (b->pages[i].result == 0)
			good++;
		else if (rc == 0)
			rc = err_add(b->pages[i].result, "%s of page %llu",
			             b->kind == BATCH_TO_LOG ? "logging" : "write-back",
			             (unsigned long long)b->pages[i].index);
	}
	for (unsigned i = 0; i < b->count;)
		i += settle_chunk(c, b, i);
	if (b->kind == BATCH_TO_LOG)
		return rc;
	counter_add(&c->writebacks, good);
	dirty_written(c, from_ns, good);
	__atomic_store_n(&f->wb_error, rc, __ATOMIC_RELAXED);
	return rc;
}

int batch_run(struct cache_file *f, struct wb_batch *b)
{
	int rc = 0;

	if (b->count)
		rc = batch_write(f, b);
	batch_end(f, b);
	if (b->count && b->kind != BATCH_TO_LOG) {
		dirty_throttle_wake(f->cache, rc != 0);
		memory_wake(f->cache);
	}
	return rc;
}
