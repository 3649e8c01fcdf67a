/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the page cache share: its structs, who guards which field, and the calls between its parts.
 *
 * Locks, outermost first. No device is waited for under any of them.
 *   shard->lock    (RANK_CACHE)  hash chains, queues and free headers of one shard
 *   chunk->lock    (RANK_CACHE)  taken after the shard's lock or alone; several only by a write, in ascending index of
 *                                one file, and then without a shard's lock
 *   file->lock     (RANK_PAGES)  dirty trees, batches, flushers and punches of one file
 *   wait->lock     (RANK_PAGES)  one bucket of those who wait for a chunk
 *   pages' locks   (RANK_PAGES)  free lists; nothing is taken under them
 *   cache->wb_lock, ra_lock, throttle_lock, mem_lock, stock_lock, file->ra_lock (RANK_LEAF)
 *
 * A chunk is evicted only with no references, checked under its shard's lock; the count leaves zero only under that
 * lock. Being in a dirty tree, in a batch, or worked on by a thread are references.
 */
#ifndef WFSD_CORE_CACHE_CACHE_PRIV_H
#define WFSD_CORE_CACHE_CACHE_PRIV_H

#include <urcu/list.h>

#include "core/base/budget.h"
#include "core/base/metrics.h"
#include "core/base/sync.h"
#include "core/cache/cache.h"
#include "core/cache/dirty_tree.h"
#include "core/cache/pace.h"

#define CACHE_SHARDS 64u
#define CACHE_WAITS 64u
#define CACHE_THREADS_MAX 8u
#define CACHE_RA_THREADS 2u
#define CACHE_RA_QUEUE 64u
#define CACHE_RA_STREAMS 8u
#define CACHE_GROUP_CHUNKS (CACHE_NOWAIT_WRITE_BYTES / CACHE_CHUNK_BYTES) /* chunks that one write locks together */
#define CACHE_PAGES_MIN 256u /* smallest budget the cache works with */
#define PAGE_LISTS 8u
#define PAGE_ZERO 0u /* the shared page of zeros, and "no page" in an empty slot */
#define STASH_PAGES 256u

/* ---- memory of pages ---- */

struct page {
	uint32_t refs; /* atomic */
	uint32_t next; /* in a free list */
};

struct page_list {
	_Alignas(64) struct sync_mutex lock;
	uint32_t head;
	uint32_t count;
};

struct pages {
	struct budget *budget;
	struct budget_consumer *consumer;
	size_t min_bytes;
	uint8_t *map; /* what is mapped for the arena */
	uint8_t *base; /* the arena; page 0 is never written */
	struct page *desc; /* one per page of the arena */
	uint32_t total; /* pages of the arena */
	struct page_list lists[PAGE_LISTS]; /* free, resident and charged */
	struct sync_mutex cold_lock;
	uint32_t cold_head; /* free, given back to the system */
	uint32_t front, end; /* pages between these were never used */
	bool *huge; /* for each block of pages (atomic): the system is asked for a huge page */
	unsigned small_blocks; /* of who adds blocks: so many more without huge pages */
	bool blocks_used_up; /* atomic: no whole block was left */
	uint64_t charged; /* atomic: pages charged */
	uint64_t used; /* atomic: pages handed out */
};

/* A few pages that belong to the calling thread, each with one reference. */
struct stash {
	unsigned count;
	uint32_t ids[STASH_PAGES];
};

int pages_init(struct pages *p, struct budget *budget, size_t min_bytes, budget_shrink_fn *shrink, void *shrink_ctx);
/* Every page was put back. */
void pages_done(struct pages *p);
/* Take up to @want pages: resident ones; or new ones, charged. @press: also when that means shrinking others. */
unsigned pages_take(struct pages *p, uint32_t *ids, unsigned want);
unsigned pages_take_fresh(struct pages *p, uint32_t *ids, unsigned want, bool press);
/* Are fewer than @free_pages free and resident, while a block may be added? */
bool pages_want_block(const struct pages *p, uint64_t free_pages);
/* Add a block of free pages. False: there is none, or no room. May take some milliseconds. One thread at a time. */
bool pages_add_block(struct pages *p);
/* Back to the free lists, resident. Their count is ignored. */
void pages_put(struct pages *p, const uint32_t *ids, unsigned count);
/* Give free pages back to the system; returns the bytes uncharged. */
size_t pages_give_back(struct pages *p, size_t bytes);

static inline void *page_data(const struct pages *p, uint32_t id)
{
	return p->base + (size_t)id * CACHE_PAGE_BYTES;
}

static inline uint32_t page_id(const struct pages *p, const void *data)
{
	return (uint32_t)((size_t)((const uint8_t *)data - p->base) / CACHE_PAGE_BYTES);
}

static inline void page_ref(struct pages *p, uint32_t id)
{
	if (id != PAGE_ZERO)
		(void)__atomic_add_fetch(&p->desc[id].refs, 1, __ATOMIC_RELAXED);
}

/* Drop a reference; true: it was the last and the page is the caller's to put back. */
static inline bool page_drop(struct pages *p, uint32_t id)
{
	return id != PAGE_ZERO && __atomic_sub_fetch(&p->desc[id].refs, 1, __ATOMIC_ACQ_REL) == 0;
}

static inline void page_unref(struct pages *p, uint32_t id)
{
	if (page_drop(p, id))
		pages_put(p, &id, 1);
}

/* Does anyone besides the chunk hold the page? Stable under the chunk's lock when the answer is no. */
static inline bool page_shared(const struct pages *p, uint32_t id)
{
	return __atomic_load_n(&p->desc[id].refs, __ATOMIC_ACQUIRE) > 1;
}

/* ---- chunks ---- */

struct chunk {
	struct sync_mutex lock;
	uint32_t refs; /* atomic */
	uint8_t freq; /* atomic, 0..3: S3-FIFO's counter */
	bool in_main; /* shard lock */
	bool waited_for; /* chunk lock: somebody waits for a change of state */
	bool listed; /* chunk lock: in one of the file's trees; so exactly when dirty & ~writeback is not empty */
	bool listed_logged; /* chunk lock: namely on that of chunks whose dirty pages are all in the log */
	/* Set when the chunk enters its shard. */
	struct cache_file *file;
	uint64_t index;
	/* Shard lock. */
	struct chunk *hash_next;
	struct cds_list_head queue;
	/* File lock. */
	struct chunk *dirty_left, *dirty_right; /* in one of the file's trees */
	uint64_t dirty_seq; /* order of first dirtying; valid while dirty is not empty */
	uint64_t dirty_ns;
	/* Chunk lock: one bit per page. */
	uint32_t valid, dirty, writeback, filling, hole;
	uint32_t seen; /* was accessed since it came in */
	uint32_t logged; /* of the dirty ones: the log has their contents */
	uint32_t kept; /* dirty or in write-back: the log has these or older contents, and must keep them until written
	                */
	uint32_t mark; /* a reader who comes here wants the next window of read-ahead */
	uint32_t page[CACHE_CHUNK_PAGES];
	uint32_t crc[CACHE_CHUNK_PAGES];
	uint8_t pad[8]; /* to whole cache lines */
};
_Static_assert(sizeof(struct chunk) == 320, "headers lie on cache lines, and share a page with little waste");
#define CHUNKS_PER_PAGE (CACHE_PAGE_BYTES / sizeof(struct chunk))

struct ghost {
	uint32_t print;
	uint32_t seq;
};

struct shard {
	_Alignas(64) struct sync_mutex lock;
	struct chunk **buckets;
	struct chunk *free; /* headers, linked by hash_next */
	struct cds_list_head small_queue, main_queue; /* newest first */
	unsigned small_count, main_count;
	struct ghost *ghosts; /* evicted from the small queue, by hash */
	uint32_t ghost_seq;
};

struct wait_bucket {
	_Alignas(64) struct sync_mutex lock;
	struct sync_cond cond;
};

/* Bits of the pages [first, end) of the file that lie in chunk @index. */
static inline uint32_t chunk_mask(uint64_t index, uint64_t first, uint64_t end)
{
	uint64_t base = index * CACHE_CHUNK_PAGES;
	uint32_t lo = first > base ? (uint32_t)(first - base) : 0;
	uint32_t hi = end - base < CACHE_CHUNK_PAGES ? (uint32_t)(end - base) : CACHE_CHUNK_PAGES;

	if (end <= base || lo >= hi)
		return 0;
	return ((1u << hi) - 1) & ~((1u << lo) - 1);
}

static inline unsigned mask_count(uint32_t mask)
{
	return (unsigned)__builtin_popcount(mask);
}

/* The caller holds a reference, or the shard's lock. */
static inline void chunk_ref(struct chunk *k)
{
	(void)__atomic_add_fetch(&k->refs, 1, __ATOMIC_RELAXED);
}

static inline void chunk_unref(struct chunk *k)
{
	(void)__atomic_sub_fetch(&k->refs, 1, __ATOMIC_RELEASE);
}

/* Referenced, or NULL when absent. */
struct chunk *chunk_get(struct cache_file *f, uint64_t index);
/* Referenced; made when absent. 0, -EAGAIN (NOWAIT and no memory at hand), -ENOMEM. */
int chunk_get_or_new(struct cache_file *f, uint64_t index, unsigned flags, struct chunk **ret);
/* Pages of @mask were accessed. */
void chunk_touch(struct chunk *k, uint32_t mask) SYNC_REQUIRES(k->lock);
/* Wait until somebody calls chunk_wake(), or for no reason. */
void chunk_wait(struct cache *c, struct chunk *k) SYNC_RELEASE(k->lock);
void chunk_wake(struct cache *c, struct chunk *k) SYNC_REQUIRES(k->lock);
/* Forget the pages of @mask, dirty or not; none of them is filling or in write-back. */
void chunk_drop(struct cache *c, struct chunk *k, uint32_t mask) SYNC_REQUIRES(k->lock);

enum walk { WALK_NEXT, WALK_WAIT, WALK_STOP };
/* Called with the chunk's lock held, and perhaps its shard's. WALK_WAIT: call again after its state changed. */
typedef enum walk walk_fn(struct chunk *k, void *ctx);
/* Visit the file's resident chunks among [first, end), in any order, some perhaps twice. */
void chunk_walk(struct cache_file *f, uint64_t first, uint64_t end, walk_fn *fn, void *ctx);

int shards_init(struct cache *c);
void shards_done(struct cache *c);
/* Evict clean chunks until about @want pages are free; returns the pages freed. Waits for nothing. */
unsigned shards_evict(struct cache *c, unsigned want);
/* Drop everything the file has; its dirty pages too. Nobody else works on the file. */
void shards_drop_file(struct cache_file *f);

/* ---- files ---- */

struct stream {
	uint64_t next; /* page expected next */
	uint64_t ahead; /* end of what was read ahead */
	uint32_t window; /* pages; 0: not yet */
	uint32_t streak;
	uint64_t used; /* tick of the last match */
};

struct flusher {
	struct cds_list_head link;
	uint64_t limit; /* dirty_seq of interest up to here */
	bool late; /* one of interest came (back) onto the list */
};

struct cache_file {
	struct cache *cache;
	const struct cache_file_ops *ops;
	void *ctx;
	uint64_t seed; /* of the hash */
	uint64_t size_bytes; /* atomic */
	uint64_t end_bytes; /* atomic: there was never anything behind; never shrinks */
	uint64_t chunk_count; /* atomic: resident */
	uint64_t index_max; /* atomic: no chunk above */
	uint64_t dirty_pages; /* atomic: dirty, and in write-back (both: twice) */
	uint64_t oldest_ns; /* atomic: when the oldest of the dirty trees became dirty; UINT64_MAX: none */
	uint64_t retry_ns; /* atomic: background write-back leaves it alone until then */
	int wb_error; /* atomic: of the last write-back; 0 when it went well */
	unsigned punch_count; /* atomic */
	uint64_t pace_ns; /* cache->throttle_lock: see pace.h */

	struct sync_mutex lock;
	struct sync_cond cond; /* a batch ended, a punch went on or ended */
	/* Chunks by dirty_seq: with dirty pages that no log has, and with others only. */
	struct dirty_tree dirty SYNC_GUARDED_BY(lock);
	struct dirty_tree logged SYNC_GUARDED_BY(lock);
	uint64_t dirty_seq SYNC_GUARDED_BY(lock);
	struct cds_list_head batches SYNC_GUARDED_BY(lock);
	uint64_t batch_seq SYNC_GUARDED_BY(lock);
	struct cds_list_head flushers SYNC_GUARDED_BY(lock);
	struct cds_list_head punches SYNC_GUARDED_BY(lock);
	uint64_t punch_events SYNC_GUARDED_BY(lock);

	/* cache->wb_lock */
	struct cds_list_head wb_link;
	bool wb_queued; /* in one of the cache's lists of files with something dirty */
	uint64_t wb_since_ns; /* when it got its place in that */
	bool wb_closing;
	unsigned wb_pins;
	unsigned wb_flushing; /* large flushes that want help */

	/* cache->ra_lock */
	unsigned ra_running;

	struct sync_mutex ra_lock;
	struct stream streams[CACHE_RA_STREAMS] SYNC_GUARDED_BY(ra_lock);
	uint64_t ra_tick SYNC_GUARDED_BY(ra_lock);
};

/* ---- the cache ---- */

struct ra_job {
	struct cache_file *file;
	uint64_t first;
	uint64_t count;
};

struct cache {
	struct cache_config config;
	struct pages pages;
	uint64_t dirty_max_pages, dirty_background_pages;
	unsigned fill_pages_max; /* of one fill */
	unsigned group_chunks; /* of one write */
	uint32_t bucket_mask, ghost_mask;
	uint64_t header_pages_max;

	struct shard shards[CACHE_SHARDS];
	struct wait_bucket waits[CACHE_WAITS];
	uint32_t evict_cursor; /* atomic */
	uint64_t chunk_count; /* atomic: resident */
	uint64_t small_count; /* atomic: those in small queues */
	uint64_t header_pages; /* atomic */
	uint64_t file_seed; /* atomic */
	_Alignas(64) uint64_t dirty_pages; /* atomic */
	_Alignas(64) uint64_t writeback_pages; /* atomic */

	_Alignas(64) struct sync_mutex throttle_lock;
	struct cds_list_head throttled SYNC_GUARDED_BY(throttle_lock);
	unsigned throttled_count; /* atomic */
	struct pace pace SYNC_GUARDED_BY(throttle_lock);

	struct sync_mutex mem_lock;
	struct sync_cond mem_cond;
	unsigned mem_waiters; /* atomic */

	struct sync_mutex wb_lock;
	struct sync_cond wb_cond; /* there may be work */
	struct sync_cond wb_idle_cond; /* a file lost a pin */
	/* Files with something dirty: by when they came, those that were begun with, those that flushes want help with,
	 * and those that are not to be tried now, by when they are. */
	struct cds_list_head wb_files SYNC_GUARDED_BY(wb_lock);
	struct cds_list_head wb_begun SYNC_GUARDED_BY(wb_lock);
	struct cds_list_head wb_helped SYNC_GUARDED_BY(wb_lock);
	struct cds_list_head wb_later SYNC_GUARDED_BY(wb_lock);
	bool wb_turn SYNC_GUARDED_BY(wb_lock);
	bool wb_stop SYNC_GUARDED_BY(wb_lock);
	bool wb_kicked; /* atomic */
	unsigned wb_thread_count;
	struct sync_thread wb_threads[CACHE_THREADS_MAX];

	struct sync_mutex ra_lock;
	struct sync_cond ra_cond; /* there is a job */
	struct sync_cond ra_idle_cond; /* a job ended */
	struct ra_job ra_jobs[CACHE_RA_QUEUE] SYNC_GUARDED_BY(ra_lock);
	unsigned ra_head SYNC_GUARDED_BY(ra_lock), ra_count SYNC_GUARDED_BY(ra_lock);
	bool ra_stop SYNC_GUARDED_BY(ra_lock);
	unsigned ra_thread_count;
	struct sync_thread ra_threads[CACHE_RA_THREADS];

	struct sync_mutex stock_lock;
	struct sync_cond stock_cond; /* there may be too few free pages */
	bool stock_stop SYNC_GUARDED_BY(stock_lock);
	bool stock_kicked; /* atomic */
	bool stock_started;
	struct sync_thread stock_thread;

	struct metrics *metrics;
	struct counter hits, misses, fills, writebacks, evictions, readahead, throttle_waits, paced;
};

/* Fill the stash up to @want pages; 0 when it holds at least @min. -EAGAIN (NOWAIT), -ENOMEM. Waits for write-back. */
int stash_fill(struct cache *c, struct stash *s, unsigned min, unsigned want, unsigned flags);
void stash_empty(struct cache *c, struct stash *s);
/* Pages became clean or free. */
void memory_wake(struct cache *c);

/* ---- stock.c ---- */

int stock_start(struct cache *c);
void stock_stop(struct cache *c);
/* Pages were taken. */
void stock_look(struct cache *c);

/* ---- fill.c ---- */

/*
 * Fill the absent pages from @first on, up to @max of them and to the first that is present, being filled or punched.
 * Returns 0 (perhaps having filled none; the caller looks again), -EAGAIN (NOWAIT, no memory), -ENOMEM, or fill's
 * error.
 */
int fill_run(struct cache_file *f, uint64_t first, uint64_t max, unsigned flags, unsigned *ret_count);
/*
 * Make @page present, waiting for whoever is at it. @k is its chunk, referenced. Further pages up to @end are wanted,
 * too.
 * *@ret_count: pages filled here.
 */
int fill_want(struct cache_file *f, struct chunk *k, uint64_t page, uint64_t end, unsigned flags, unsigned *ret_count);
/* Fill what is absent in [first, end), skipping what is present or busy. Returns 0 or the first error. */
int fill_absent(struct cache_file *f, uint64_t first, uint64_t end, unsigned flags, uint64_t *ret_filled);

/* ---- readahead.c ---- */

int readahead_start(struct cache *c);
void readahead_stop(struct cache *c);
/* A read of [first, first + count) had to fill; or came to a marked page. */
void readahead_miss(struct cache_file *f, uint64_t first, uint64_t count);
void readahead_hit(struct cache_file *f, uint64_t page);
/* Forget the file's jobs and wait for the running ones. */
void readahead_forget(struct cache_file *f);

/* ---- write.c ---- */

/* Something is written up to @end, under the lock of its last chunk. */
void cache_raise_end(struct cache_file *f, uint64_t end);

/* ---- dirty.c ---- */

/* The pages of @mask were written. */
void dirty_set(struct chunk *k, uint32_t mask) SYNC_REQUIRES(k->lock);
/* The same, and the log has what was written. None of them is in write-back. */
void dirty_set_logged(struct chunk *k, uint32_t mask) SYNC_REQUIRES(k->lock);
/* The pages of @mask, none of them in write-back, are not dirty any more (they are dropped). */
void dirty_clear(struct chunk *k, uint32_t mask) SYNC_REQUIRES(k->lock);
/* dirty -> in write-back. */
void dirty_to_writeback(struct chunk *k, uint32_t mask) SYNC_REQUIRES(k->lock);
/* Write-back of @done ended; those of @failed are dirty again, as old as @seq and @ns say. */
void dirty_from_writeback(struct chunk *k, uint32_t done, uint32_t failed, uint64_t seq, uint64_t ns)
        SYNC_REQUIRES(k->lock);
/* Likewise when @done went to the log, except for @failed: all of them are dirty again. */
void dirty_from_log(struct chunk *k, uint32_t done, uint32_t failed, uint64_t seq, uint64_t ns) SYNC_REQUIRES(k->lock);
/* Wait until @pages more may become dirty: for a moment when much is dirty already, or until there is room below the
 * limit. 0, -EAGAIN (NOWAIT), or the error why the file's pages stay dirty. */
int dirty_throttle(struct cache_file *f, uint64_t pages, unsigned flags);
/* So many pages were written back, since @from_ns. */
void dirty_written(struct cache *c, uint64_t from_ns, uint64_t pages);
void dirty_throttle_wake(struct cache *c, bool all);

/* ---- writeback.c ---- */

struct wb_slot {
	uint64_t index; /* page number */
	struct chunk *chunk;
	bool holds_chunk; /* with a reference: the first of those taken together. A chunk may be taken from twice */
	uint64_t seq, ns; /* of the chunk, when the page was taken */
	uint32_t page;
	uint32_t crc;
};

/* Which dirty pages a batch takes, and where they go. */
enum batch_kind {
	BATCH_ALL,
	BATCH_KEPT, /* those that the log has in some version */
	BATCH_UNLOGGED, /* those whose contents the log does not have */
	BATCH_TO_LOG, /* the same, into the log */
};

struct wb_batch {
	enum batch_kind kind;
	struct cds_list_head link; /* file lock */
	uint64_t seq;
	uint64_t first, end; /* file lock: pages it may hold */
	unsigned count, capacity;
	struct wb_slot *slots;
	struct cache_page *pages;
	bool blocked; /* something dirty was left because of a punch */
	bool full; /* ... because there was no room */
};

int batch_new(unsigned capacity, struct wb_batch **ret);
void batch_free(struct wb_batch *b);
/* A batch is announced before it takes pages, sealed when it has them, and ends when their states are settled. */
void batch_begin(struct cache_file *f, struct wb_batch *b, enum batch_kind kind);
/* Take what is wanted of the pages [first, end) of a chunk. */
void batch_take(struct wb_batch *b, struct chunk *k, uint64_t first, uint64_t end) SYNC_REQUIRES(k->lock);
/* The oldest chunk of @tree younger than *@seq, referenced, or NULL; *@seq becomes its age. */
struct chunk *list_next(struct cache_file *f, const struct dirty_tree *tree, uint64_t first, uint64_t end,
                        uint64_t limit, uint64_t ns, uint64_t *seq);
/* Take dirty chunks of the pages [first, end), oldest first, with dirty_seq up to @limit and dirtied by @ns. */
void batch_take_list(struct cache_file *f, struct wb_batch *b, uint64_t first, uint64_t end, uint64_t limit,
                     uint64_t ns);
/* Write back what the log has, as far as that is possible. 0, -ENOMEM, or -E2BIG: more than @max chunks of one kind
 * failed. Blocks. */
int flush_kept_chunks(struct cache_file *f, unsigned max);
/* Write what was taken, settle the pages, end the batch. 0 or the first page's error. Blocks. */
int batch_run(struct cache_file *f, struct wb_batch *b);

int writeback_start(struct cache *c);
void writeback_stop(struct cache *c);
/* There may be work for the threads. */
void writeback_kick(struct cache *c);
/* The file has something dirty, or nothing any more; under the file's lock. */
void writeback_queue(struct cache_file *f, bool dirty);
void writeback_help(struct cache_file *f, bool want);
/* Wait until no thread works on the file; none will. */
void writeback_forget(struct cache_file *f);

/* ---- punch.c ---- */

struct punch {
	struct cds_list_head link;
	uint64_t first, end; /* pages */
};

/* Is one of the pages [first, end) being punched? Under the chunk's lock the answer is stable for starting work. */
bool punch_covers(struct cache_file *f, uint64_t first, uint64_t end);
/* Wait until none is. */
void punch_wait(struct cache_file *f, uint64_t first, uint64_t end);
/* Keep others from the pages, and wait until nothing is in hand; until punch_end(). Errors as cache_punch_begin(). */
int punch_begin(struct cache_file *f, uint64_t first, uint64_t end, unsigned flags, struct punch **ret);
void punch_end(struct cache_file *f, struct punch *p);

#endif
