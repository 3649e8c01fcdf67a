/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shards: where chunks are found, made and evicted.
 *
 * Eviction is S3-FIFO. A new chunk enters the small queue (a tenth of the shard); one that is used again there moves to
 * the main queue, the rest leaves and is remembered in the ghost table, from where it enters the main queue directly.
 * The main queue gives each use one more round. A hit only bumps a counter.
 */
#include "core/cache/cache_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/err.h"

#define SMALL_SHARE 10u /* the small queue's part of a shard is one of so many */
#define EVICT_STEPS 64u /* chunks looked at under one lock, first round */
#define FREED_BATCH 64u
#define FREQ_ROUNDS 5u /* a chunk of the main queue leaves after at most so many looks */
#define BUCKETS_MIN 16u
#define HEADER_SHARE 12u /* headers take at most one page of so many */

/* A run of adjacent chunks spreads over the shards; so do the files. */
static uint64_t chunk_hash(const struct cache_file *f, uint64_t index)
{
	uint64_t h = (index + f->seed) * UINT64_C(0x9e3779b97f4a7c15);

	h ^= h >> 32;
	h *= UINT64_C(0xd6e8feb86659fd93);
	return h ^ (h >> 29);
}

static struct shard *shard_of(struct cache *c, uint64_t hash)
{
	return &c->shards[hash % CACHE_SHARDS];
}

static struct chunk **bucket_of(const struct cache *c, struct shard *sh, uint64_t hash)
{
	return &sh->buckets[(hash / CACHE_SHARDS) & c->bucket_mask];
}

static uint32_t pow2_at_least(uint64_t v, uint32_t least)
{
	uint32_t n = least;

	while (n < v && n < (1u << 30))
		n *= 2;
	return n;
}

int shards_init(struct cache *c)
{
	uint32_t buckets = pow2_at_least(c->pages.total / 4 / CACHE_SHARDS, BUCKETS_MIN);
	uint32_t ghosts = pow2_at_least(c->pages.total / CACHE_CHUNK_PAGES / CACHE_SHARDS, BUCKETS_MIN);

	c->bucket_mask = buckets - 1;
	c->ghost_mask = ghosts - 1;
	c->header_pages_max = c->pages.total / HEADER_SHARE;
	for (unsigned i = 0; i < CACHE_SHARDS; i++) {
		struct shard *sh = &c->shards[i];

		sync_mutex_init(&sh->lock, SYNC_RANK_CACHE, "cache shard");
		CDS_INIT_LIST_HEAD(&sh->small_queue);
		CDS_INIT_LIST_HEAD(&sh->main_queue);
	}
	for (unsigned i = 0; i < CACHE_SHARDS; i++) {
		struct shard *sh = &c->shards[i];

		sh->buckets = calloc(buckets, sizeof(struct chunk *));
		sh->ghosts = calloc(ghosts, sizeof(struct ghost));
		if (!sh->buckets || !sh->ghosts)
			return err_set(-ENOMEM, "page cache: no memory for tables");
	}
	return 0;
}

/* The headers' pages go back; every chunk was dropped. */
static void free_headers(struct cache *c, struct shard *sh)
{
	while (sh->free) {
		struct chunk *page = NULL;
		struct chunk **at = &sh->free;

		/* All headers of one page are in the free list of one shard: unlink them together. */
		page = (struct chunk *)page_data(&c->pages, page_id(&c->pages, sh->free));
		while (*at) {
			if (*at >= page && *at < page + CHUNKS_PER_PAGE) {
				sync_mutex_done(&(*at)->lock);
				*at = (*at)->hash_next;
			} else {
				at = &(*at)->hash_next;
			}
		}
		page_unref(&c->pages, page_id(&c->pages, page));
	}
}

void shards_done(struct cache *c)
{
	for (unsigned i = 0; i < CACHE_SHARDS; i++) {
		struct shard *sh = &c->shards[i];

		always(sh->small_count == 0 && sh->main_count == 0);
		sync_mutex_lock(&sh->lock);
		free_headers(c, sh);
		sync_mutex_unlock(&sh->lock);
	}
}

static struct chunk *find(struct cache_file *f, struct shard *sh, uint64_t hash, uint64_t index) SYNC_REQUIRES(sh->lock)
{
	struct chunk *k = *bucket_of(f->cache, sh, hash);

	while (k) {
		/* Whoever looks for it will lock it and look for a page: with many small files each is a miss. */
		__builtin_prefetch(&k->lock, 1);
		__builtin_prefetch(&k->page);
		if (k->index == index && k->file == f)
			break;
		k = k->hash_next;
	}
	return k;
}

struct chunk *chunk_get(struct cache_file *f, uint64_t index)
{
	uint64_t hash = chunk_hash(f, index);
	struct shard *sh = shard_of(f->cache, hash);
	struct chunk *k;

	sync_mutex_lock(&sh->lock);
	k = find(f, sh, hash, index);
	if (k)
		chunk_ref(k);
	sync_mutex_unlock(&sh->lock);
	return k;
}

/* ---- making ---- */

static bool ghost_take(struct cache *c, struct shard *sh, uint64_t hash)
{
	struct ghost *g = &sh->ghosts[(hash / CACHE_SHARDS) & c->ghost_mask];
	uint32_t print = (uint32_t)(hash >> 32) | 1;
	unsigned span = sh->main_count > BUCKETS_MIN ? sh->main_count : BUCKETS_MIN;

	if (g->print != print || sh->ghost_seq - g->seq > span)
		return false;
	g->print = 0;
	return true;
}

static void ghost_put(struct cache *c, struct shard *sh, uint64_t hash)
{
	sh->ghosts[(hash / CACHE_SHARDS) & c->ghost_mask] =
	        (struct ghost){ .print = (uint32_t)(hash >> 32) | 1, .seq = sh->ghost_seq++ };
}

static void queue_add(struct cache *c, struct shard *sh, struct chunk *k, bool in_main)
{
	k->in_main = in_main;
	if (in_main) {
		cds_list_add(&k->queue, &sh->main_queue);
		sh->main_count++;
	} else {
		cds_list_add(&k->queue, &sh->small_queue);
		sh->small_count++;
		(void)__atomic_add_fetch(&c->small_count, 1, __ATOMIC_RELAXED);
	}
}

static void queue_del(struct cache *c, struct shard *sh, struct chunk *k)
{
	cds_list_del(&k->queue);
	if (k->in_main) {
		sh->main_count--;
	} else {
		sh->small_count--;
		(void)__atomic_sub_fetch(&c->small_count, 1, __ATOMIC_RELAXED);
	}
}

static struct chunk *insert(struct cache_file *f, struct shard *sh, uint64_t hash, uint64_t index)
        SYNC_REQUIRES(sh->lock)
{
	struct cache *c = f->cache;
	struct chunk **bucket = bucket_of(c, sh, hash);
	struct chunk *k = sh->free;
	uint64_t max = __atomic_load_n(&f->index_max, __ATOMIC_RELAXED);

	sh->free = k->hash_next;
	k->file = f;
	k->index = index;
	k->hash_next = *bucket;
	*bucket = k;
	__atomic_store_n(&k->refs, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&k->freq, 0, __ATOMIC_RELAXED);
	queue_add(c, sh, k, ghost_take(c, sh, hash));
	while (index > max &&
	       !__atomic_compare_exchange_n(&f->index_max, &max, index, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
	}
	(void)__atomic_add_fetch(&f->chunk_count, 1, __ATOMIC_RELAXED);
	(void)__atomic_add_fetch(&c->chunk_count, 1, __ATOMIC_RELAXED);
	return k;
}

static unsigned evict_shard(struct cache *c, struct shard *sh, unsigned want, unsigned round);

/* Carve a page into headers for the shard. */
static int add_headers(struct cache *c, struct shard *sh, unsigned flags)
{
	struct stash s = { .count = 0 };
	struct chunk *headers;
	bool have;
	int rc;

	if (__atomic_load_n(&c->header_pages, __ATOMIC_RELAXED) >= c->header_pages_max) {
		(void)evict_shard(c, sh, CACHE_CHUNK_PAGES, 1);
		sync_mutex_lock(&sh->lock);
		have = sh->free;
		sync_mutex_unlock(&sh->lock);
		if (have)
			return 0;
	}
	rc = stash_fill(c, &s, 1, 1, flags);
	if (rc)
		return rc;
	headers = page_data(&c->pages, s.ids[0]);
	memset(headers, 0, CACHE_PAGE_BYTES);
	for (unsigned i = 0; i < CHUNKS_PER_PAGE; i++)
		sync_mutex_init(&headers[i].lock, SYNC_RANK_CACHE, "cache chunk");
	sync_mutex_lock(&sh->lock);
	for (unsigned i = 0; i < CHUNKS_PER_PAGE; i++) {
		headers[i].hash_next = sh->free;
		sh->free = &headers[i];
	}
	sync_mutex_unlock(&sh->lock);
	(void)__atomic_add_fetch(&c->header_pages, 1, __ATOMIC_RELAXED);
	return 0;
}

int chunk_get_or_new(struct cache_file *f, uint64_t index, unsigned flags, struct chunk **ret)
{
	uint64_t hash = chunk_hash(f, index);
	struct shard *sh = shard_of(f->cache, hash);
	struct chunk *k = NULL;

	for (;;) {
		int rc;

		sync_mutex_lock(&sh->lock);
		k = find(f, sh, hash, index);
		if (k)
			chunk_ref(k);
		else if (sh->free)
			k = insert(f, sh, hash, index);
		sync_mutex_unlock(&sh->lock);
		if (k)
			break;
		rc = add_headers(f->cache, sh, flags);
		if (rc)
			return rc;
	}
	*ret = k;
	return 0;
}

/* ---- eviction ---- */

/* Pages on their way to the free lists. */
struct freed {
	unsigned total;
	unsigned count;
	uint32_t ids[FREED_BATCH];
};

static void freed_add(struct cache *c, struct freed *fr, uint32_t id)
{
	if (!page_drop(&c->pages, id))
		return;
	if (fr->count == FREED_BATCH) {
		pages_put(&c->pages, fr->ids, fr->count);
		fr->count = 0;
	}
	fr->ids[fr->count++] = id;
	fr->total++;
}

static void drop_pages(struct cache *c, struct chunk *k, uint32_t mask, struct freed *fr) SYNC_REQUIRES(k->lock)
{
	for (uint32_t m = mask; m; m &= m - 1) {
		unsigned i = (unsigned)__builtin_ctz(m);

		freed_add(c, fr, k->page[i]);
		k->page[i] = PAGE_ZERO;
	}
	k->valid &= ~mask;
	k->hole &= ~mask;
	k->seen &= ~mask;
	k->mark &= ~mask;
}

/* Take a chunk without references out of the shard; its header becomes free. */
static void remove_chunk(struct cache *c, struct shard *sh, struct chunk *k, uint64_t hash, struct freed *fr)
        SYNC_REQUIRES(sh->lock)
{
	struct chunk **at = bucket_of(c, sh, hash);

	while (*at != k)
		at = &(*at)->hash_next;
	*at = k->hash_next;
	queue_del(c, sh, k);
	sync_mutex_lock(&k->lock);
	always(!k->dirty && !k->writeback && !k->filling && !k->listed);
	counter_add(&c->evictions, mask_count(k->valid & ~k->hole));
	drop_pages(c, k, k->valid, fr);
	k->waited_for = false;
	sync_mutex_unlock(&k->lock);
	(void)__atomic_sub_fetch(&k->file->chunk_count, 1, __ATOMIC_RELAXED);
	(void)__atomic_sub_fetch(&c->chunk_count, 1, __ATOMIC_RELAXED);
	k->file = NULL;
	k->hash_next = sh->free;
	sh->free = k;
}

/* The clean pages of a chunk that is in use, when nothing else is left. */
static void steal_clean(struct cache *c, struct chunk *k, struct freed *fr)
{
	uint32_t mask;

	if (!sync_mutex_trylock(&k->lock))
		return;
	mask = k->valid & ~k->dirty & ~k->writeback & ~k->filling;
	counter_add(&c->evictions, mask_count(mask & ~k->hole));
	drop_pages(c, k, mask, fr);
	sync_mutex_unlock(&k->lock);
}

static void requeue(struct cache *c, struct shard *sh, struct chunk *k, bool in_main)
{
	queue_del(c, sh, k);
	queue_add(c, sh, k, in_main);
}

/* Look at the oldest chunk of a queue: evict it, or give it another round. */
static void evict_step(struct cache *c, struct shard *sh, struct chunk *k, bool steal, struct freed *fr)
        SYNC_REQUIRES(sh->lock)
{
	uint8_t freq = __atomic_load_n(&k->freq, __ATOMIC_RELAXED);
	uint64_t hash;

	if (__atomic_load_n(&k->refs, __ATOMIC_ACQUIRE)) {
		if (steal)
			steal_clean(c, k, fr);
		requeue(c, sh, k, k->in_main);
		return;
	}
	if (freq) {
		__atomic_store_n(&k->freq, k->in_main ? (uint8_t)(freq - 1) : 0, __ATOMIC_RELAXED);
		requeue(c, sh, k, true);
		return;
	}
	hash = chunk_hash(k->file, k->index);
	if (!k->in_main)
		ghost_put(c, sh, hash);
	remove_chunk(c, sh, k, hash, fr);
}

/* Whose turn is it? By the whole cache's proportions: one shard has few chunks. */
static bool small_turn(const struct cache *c)
{
	return __atomic_load_n(&c->small_count, __ATOMIC_RELAXED) * SMALL_SHARE >=
	       __atomic_load_n(&c->chunk_count, __ATOMIC_RELAXED);
}

/* Give each of a queue's oldest chunks a look, until @want pages are free. */
static void evict_queue(struct cache *c, struct shard *sh, bool small, unsigned want, unsigned steps, bool steal,
                        struct freed *fr) SYNC_REQUIRES(sh->lock)
{
	struct cds_list_head *queue = small ? &sh->small_queue : &sh->main_queue;

	for (unsigned step = 0; step < steps && fr->total < want && !cds_list_empty(queue); step++)
		evict_step(c, sh, cds_list_entry(queue->prev, struct chunk, queue), steal, fr);
}

/* First round: a few chunks of the queue whose turn it is. Then: everything, to the end of its rounds. */
static unsigned evict_shard(struct cache *c, struct shard *sh, unsigned want, unsigned round)
{
	struct freed fr = { .total = 0 };

	sync_mutex_lock(&sh->lock);
	if (round == 0) {
		if (want > CACHE_CHUNK_PAGES)
			want = CACHE_CHUNK_PAGES;
		evict_queue(c, sh, small_turn(c), want, EVICT_STEPS, false, &fr);
	} else {
		unsigned rounds = FREQ_ROUNDS * (sh->small_count + sh->main_count);

		evict_queue(c, sh, true, want, sh->small_count, round > 1, &fr);
		evict_queue(c, sh, false, want, rounds, round > 1, &fr);
	}
	sync_mutex_unlock(&sh->lock);
	pages_put(&c->pages, fr.ids, fr.count);
	return fr.total;
}

unsigned shards_evict(struct cache *c, unsigned want)
{
	unsigned freed = 0;

	for (unsigned round = 0; round < 3 && freed == 0; round++) {
		for (unsigned i = 0; i < CACHE_SHARDS && freed < want; i++) {
			unsigned at = __atomic_fetch_add(&c->evict_cursor, 1, __ATOMIC_RELAXED) % CACHE_SHARDS;

			freed += evict_shard(c, &c->shards[at], want - freed, round);
		}
	}
	return freed;
}

/* ---- visiting ---- */

/* One chunk, held by a reference or, when @sh is given, by that shard's lock, which is then left and not taken again
 * for WALK_WAIT. */
static SYNC_NO_ANALYSIS enum walk visit(struct cache *c, struct shard *sh, struct chunk *k, walk_fn *fn, void *ctx)
{
	enum walk w;

	sync_mutex_lock(&k->lock);
	w = fn(k, ctx);
	if (w != WALK_WAIT) {
		sync_mutex_unlock(&k->lock);
		return w;
	}
	if (sh) {
		chunk_ref(k);
		sync_mutex_unlock(&sh->lock);
	}
	chunk_wait(c, k);
	if (sh)
		chunk_unref(k);
	return w;
}

static void walk_by_index(struct cache_file *f, uint64_t first, uint64_t end, walk_fn *fn, void *ctx)
{
	enum walk w = WALK_NEXT;

	for (uint64_t i = first; i < end && w != WALK_STOP; i++) {
		struct chunk *k = chunk_get(f, i);

		if (!k)
			continue;
		do {
			w = visit(f->cache, NULL, k, fn, ctx);
		} while (w == WALK_WAIT);
		chunk_unref(k);
	}
}

static SYNC_NO_ANALYSIS enum walk walk_bucket(struct cache_file *f, struct shard *sh, uint32_t bucket, uint64_t first,
                                              uint64_t end, walk_fn *fn, void *ctx)
{
	struct chunk *k = sh->buckets[bucket];
	enum walk w = WALK_NEXT;

	while (k && w == WALK_NEXT) {
		if (k->file == f && k->index >= first && k->index < end)
			w = visit(f->cache, sh, k, fn, ctx);
		if (w == WALK_NEXT)
			k = k->hash_next;
	}
	if (w == WALK_WAIT)
		sync_mutex_lock(&sh->lock);
	return w;
}

static void walk_by_scan(struct cache_file *f, uint64_t first, uint64_t end, walk_fn *fn, void *ctx)
{
	struct cache *c = f->cache;
	enum walk w = WALK_NEXT;

	for (unsigned i = 0; i < CACHE_SHARDS && w != WALK_STOP; i++) {
		struct shard *sh = &c->shards[i];

		sync_mutex_lock(&sh->lock);
		for (uint32_t b = 0; b <= c->bucket_mask && w != WALK_STOP; b++) {
			do {
				w = walk_bucket(f, sh, b, first, end, fn, ctx);
			} while (w == WALK_WAIT);
		}
		sync_mutex_unlock(&sh->lock);
	}
}

void chunk_walk(struct cache_file *f, uint64_t first, uint64_t end, walk_fn *fn, void *ctx)
{
	struct cache *c = f->cache;
	uint64_t max = __atomic_load_n(&f->index_max, __ATOMIC_RELAXED);
	uint64_t slots = __atomic_load_n(&c->chunk_count, __ATOMIC_RELAXED) + (uint64_t)c->bucket_mask * CACHE_SHARDS;

	if (__atomic_load_n(&f->chunk_count, __ATOMIC_RELAXED) == 0)
		return;
	if (end > max + 1)
		end = max + 1;
	if (first >= end)
		return;
	if (end - first <= slots)
		walk_by_index(f, first, end, fn, ctx);
	else
		walk_by_scan(f, first, end, fn, ctx);
}

/* ---- dropping a file ---- */

static void drop_in_bucket(struct cache_file *f, struct shard *sh, uint32_t bucket, struct freed *fr)
        SYNC_REQUIRES(sh->lock)
{
	struct chunk *next = NULL;

	for (struct chunk *k = sh->buckets[bucket]; k; k = next) {
		next = k->hash_next;
		if (k->file != f)
			continue;
		sync_mutex_lock(&k->lock);
		if (k->dirty)
			dirty_clear(k, k->dirty);
		sync_mutex_unlock(&k->lock);
		always(__atomic_load_n(&k->refs, __ATOMIC_ACQUIRE) == 0);
		remove_chunk(f->cache, sh, k, chunk_hash(f, k->index), fr);
	}
}

void shards_drop_file(struct cache_file *f)
{
	struct cache *c = f->cache;
	uint64_t end = __atomic_load_n(&f->index_max, __ATOMIC_RELAXED) + 1;
	bool by_index = end < __atomic_load_n(&c->chunk_count, __ATOMIC_RELAXED);
	struct freed fr = { .total = 0 };

	for (uint64_t i = 0; by_index && i < end && __atomic_load_n(&f->chunk_count, __ATOMIC_RELAXED); i++) {
		uint64_t hash = chunk_hash(f, i);
		struct shard *sh = shard_of(c, hash);

		sync_mutex_lock(&sh->lock);
		drop_in_bucket(f, sh, (uint32_t)(hash / CACHE_SHARDS) & c->bucket_mask, &fr);
		sync_mutex_unlock(&sh->lock);
	}
	for (unsigned i = 0; !by_index && i < CACHE_SHARDS && __atomic_load_n(&f->chunk_count, __ATOMIC_RELAXED); i++) {
		struct shard *sh = &c->shards[i];

		sync_mutex_lock(&sh->lock);
		for (uint32_t b = 0; b <= c->bucket_mask; b++)
			drop_in_bucket(f, sh, b, &fr);
		sync_mutex_unlock(&sh->lock);
	}
	pages_put(&c->pages, fr.ids, fr.count);
}
