/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of a cache and of its files. */
#include "core/cache/cache_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/err.h"

/* Called by the budget when somebody needs room: free pages first, then clean ones. */
static size_t shrink(void *ctx, size_t bytes)
{
	struct cache *c = ctx;
	size_t freed = pages_give_back(&c->pages, bytes);

	while (freed < bytes) {
		size_t pages = (bytes - freed) / CACHE_PAGE_BYTES + 1;

		if (shards_evict(c, pages < UINT32_MAX ? (unsigned)pages : UINT32_MAX) == 0)
			break;
		freed += pages_give_back(&c->pages, bytes - freed);
	}
	return freed;
}

static void init_locks(struct cache *c)
{
	for (unsigned i = 0; i < CACHE_WAITS; i++) {
		sync_mutex_init(&c->waits[i].lock, SYNC_RANK_PAGES, "cache wait");
		sync_cond_init(&c->waits[i].cond);
	}
	sync_mutex_init(&c->throttle_lock, SYNC_RANK_LEAF, "cache throttle");
	sync_mutex_init(&c->mem_lock, SYNC_RANK_LEAF, "cache memory");
	sync_cond_init(&c->mem_cond);
	sync_mutex_init(&c->wb_lock, SYNC_RANK_LEAF, "cache write-back");
	sync_cond_init(&c->wb_cond);
	sync_cond_init(&c->wb_idle_cond);
	sync_mutex_init(&c->ra_lock, SYNC_RANK_LEAF, "cache read-ahead");
	sync_cond_init(&c->ra_cond);
	sync_cond_init(&c->ra_idle_cond);
	sync_mutex_init(&c->stock_lock, SYNC_RANK_LEAF, "cache stock");
	sync_cond_init(&c->stock_cond);
}

static void done_locks(struct cache *c)
{
	for (unsigned i = 0; i < CACHE_WAITS; i++) {
		sync_mutex_done(&c->waits[i].lock);
		sync_cond_done(&c->waits[i].cond);
	}
	sync_mutex_done(&c->throttle_lock);
	sync_mutex_done(&c->mem_lock);
	sync_cond_done(&c->mem_cond);
	sync_mutex_done(&c->wb_lock);
	sync_cond_done(&c->wb_cond);
	sync_cond_done(&c->wb_idle_cond);
	sync_mutex_done(&c->ra_lock);
	sync_cond_done(&c->ra_cond);
	sync_cond_done(&c->ra_idle_cond);
	sync_mutex_done(&c->stock_lock);
	sync_cond_done(&c->stock_cond);
}

static int check_config(const struct cache_config *config)
{
	size_t limit = budget_limit(config->budget);

	if (limit / CACHE_PAGE_BYTES < CACHE_PAGES_MIN)
		return err_set(-EINVAL, "page cache: a budget of %zu bytes is too small", limit);
	if (config->dirty_max_bytes > limit / 2 || config->dirty_max_bytes < CACHE_CHUNK_BYTES)
		return err_set(-EINVAL, "page cache: dirty limit of %zu bytes with a budget of %zu",
		               config->dirty_max_bytes, limit);
	if (config->writeback_threads < 1 || config->writeback_threads > CACHE_THREADS_MAX)
		return err_set(-EINVAL, "page cache: %u write-back threads", config->writeback_threads);
	return 0;
}

/* A small cache works in smaller steps, so that a few callers do not hold all of it. */
static unsigned clamp(size_t v, unsigned least, unsigned most)
{
	return v < least ? least : v > most ? most : (unsigned)v;
}

int cache_new(const struct cache_config *config, struct cache **ret)
{
	struct cache *c;
	int rc = check_config(config);

	if (rc)
		return rc;
	c = aligned_alloc(64, sizeof(*c));
	if (!c)
		return err_set(-ENOMEM, "page cache: no memory");
	memset(c, 0, sizeof(*c));
	c->config = *config;
	rc = pages_init(&c->pages, config->budget, config->min_bytes, shrink, c);
	if (rc) {
		free(c);
		return rc;
	}
	c->dirty_max_pages = config->dirty_max_bytes / CACHE_PAGE_BYTES;
	c->dirty_background_pages = config->dirty_background_bytes / CACHE_PAGE_BYTES;
	c->fill_pages_max = clamp(c->pages.total / 32, CACHE_CHUNK_PAGES, CACHE_FILL_PAGES_MAX);
	c->group_chunks = clamp(c->pages.total / 1024, 1, CACHE_GROUP_CHUNKS);
	init_locks(c);
	CDS_INIT_LIST_HEAD(&c->throttled);
	CDS_INIT_LIST_HEAD(&c->wb_files);
	CDS_INIT_LIST_HEAD(&c->wb_begun);
	CDS_INIT_LIST_HEAD(&c->wb_helped);
	CDS_INIT_LIST_HEAD(&c->wb_later);
	rc = shards_init(c);
	if (rc == 0)
		rc = writeback_start(c);
	if (rc == 0)
		rc = readahead_start(c);
	if (rc == 0)
		rc = stock_start(c);
	if (rc) {
		cache_free(c);
		return rc;
	}
	*ret = c;
	return 0;
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	if (c->metrics)
		metrics_unregister(c->metrics, c);
	stock_stop(c);
	readahead_stop(c);
	writeback_stop(c);
	shards_done(c);
	pages_done(&c->pages);
	for (unsigned i = 0; i < CACHE_SHARDS; i++) {
		sync_mutex_done(&c->shards[i].lock);
		free(c->shards[i].buckets);
		free(c->shards[i].ghosts);
	}
	done_locks(c);
	free(c);
}

int cache_file_new(struct cache *c, const struct cache_file_ops *ops, void *ctx, uint64_t size_bytes,
                   struct cache_file **ret)
{
	struct cache_file *f = calloc(1, sizeof(*f));

	if (!f)
		return err_set(-ENOMEM, "page cache: no memory for a file");
	f->cache = c;
	f->ops = ops;
	f->ctx = ctx;
	f->size_bytes = f->end_bytes = size_bytes;
	f->oldest_ns = UINT64_MAX;
	f->seed = __atomic_add_fetch(&c->file_seed, 1, __ATOMIC_RELAXED) * UINT64_C(0x2545f4914f6cdd1d);
	sync_mutex_init(&f->lock, SYNC_RANK_PAGES, "cache file");
	sync_cond_init(&f->cond);
	sync_mutex_init(&f->ra_lock, SYNC_RANK_LEAF, "cache streams");
	CDS_INIT_LIST_HEAD(&f->batches);
	CDS_INIT_LIST_HEAD(&f->flushers);
	CDS_INIT_LIST_HEAD(&f->punches);
	*ret = f;
	return 0;
}

void cache_file_free(struct cache_file *f)
{
	struct cache *c;

	if (!f)
		return;
	c = f->cache;
	readahead_forget(f);
	writeback_forget(f);
	shards_drop_file(f);
	always(__atomic_load_n(&f->chunk_count, __ATOMIC_RELAXED) == 0 && f->dirty_pages == 0);
	sync_mutex_done(&f->lock);
	sync_cond_done(&f->cond);
	sync_mutex_done(&f->ra_lock);
	free(f);
	dirty_throttle_wake(c, false);
	memory_wake(c);
}

void cache_file_resize(struct cache_file *f, uint64_t size_bytes)
{
	__atomic_store_n(&f->size_bytes, size_bytes, __ATOMIC_RELAXED);
}
