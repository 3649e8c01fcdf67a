/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Flushing: the caller writes back (or logs) what was dirty when it came, and waits for what others already have in
 * hand.
 *
 * Pages of interest are in chunks whose dirty_seq is at most the limit noted at the start. One of them is listed, or in
 * an active batch; from a batch it leaves clean, or comes back onto the list with its old dirty_seq (it failed, or was
 * rewritten before we came), which sets the flusher's mark. So: take until the list has none, wait for the batches of
 * that moment, and look again only when the mark was set or a punch stood in the way.
 */
#include "core/cache/cache_priv.h"

#include <errno.h>

#include "core/base/err.h"

#define LOOKUP_CHUNKS_MAX 1024u /* ranges up to this are looked up, longer ones go through the dirty list */

struct flush {
	struct cache_file *file;
	uint64_t first, end; /* pages */
	struct flusher flusher;
	enum batch_kind kind;
	struct wb_batch *batch;
};

static SYNC_NO_ANALYSIS enum walk take_chunk(struct chunk *k, void *ctx)
{
	struct flush *fl = ctx;

	if (k->dirty && k->dirty_seq <= fl->flusher.limit)
		batch_take(fl->batch, k, fl->first, fl->end);
	return fl->batch->full ? WALK_STOP : WALK_NEXT;
}

/* One batch of what is of interest. *@ret_more: there may be more. */
static int write_batch(struct flush *fl, bool *ret_more)
{
	struct wb_batch *b = fl->batch;
	uint64_t first = fl->first / CACHE_CHUNK_PAGES;
	uint64_t end = (fl->end - 1) / CACHE_CHUNK_PAGES + 1;

	batch_begin(fl->file, b, fl->kind);
	if (end - first <= LOOKUP_CHUNKS_MAX)
		chunk_walk(fl->file, first, end, take_chunk, fl);
	else
		batch_take_list(fl->file, b, fl->first, fl->end, fl->flusher.limit, UINT64_MAX);
	*ret_more = b->count > 0;
	if (b->kind == BATCH_TO_LOG && b->full)
		fl->kind = b->kind = BATCH_UNLOGGED;
	return batch_run(fl->file, b);
}

/* What was to be logged turned out to be too much: from now on it is written back, in larger pieces. */
static int enlarge_batch(struct flush *fl)
{
	struct wb_batch *b;
	int rc;

	if (fl->kind != BATCH_UNLOGGED || fl->batch->capacity == CACHE_WRITEBACK_PAGES_MAX)
		return 0;
	rc = batch_new(CACHE_WRITEBACK_PAGES_MAX, &b);
	if (rc)
		return rc;
	b->blocked = fl->batch->blocked;
	batch_free(fl->batch);
	fl->batch = b;
	return 0;
}

static bool batch_active(struct cache_file *f, const struct flush *fl, uint64_t seq) SYNC_REQUIRES(f->lock)
{
	const struct wb_batch *b;

	cds_list_for_each_entry (b, &f->batches, link) {
		if (b->seq <= seq && b->first < fl->end && b->end > fl->first)
			return true;
	}
	return false;
}

/* Wait for the batches of this moment. */
static void wait_for_batches(struct cache_file *f, const struct flush *fl) SYNC_REQUIRES(f->lock)
{
	uint64_t seq = f->batch_seq;

	while (batch_active(f, fl, seq))
		sync_cond_wait(&f->cond, &f->lock);
}

/* Wait for what others have in hand. True: look again. */
static bool wait_for_others(struct flush *fl, uint64_t punch_events)
{
	struct cache_file *f = fl->file;
	bool again;

	sync_mutex_lock(&f->lock);
	wait_for_batches(f, fl);
	again = fl->flusher.late || fl->batch->blocked;
	fl->flusher.late = false;
	/* A punch holds dirty pages until the map is changed: it drops them then, or gives up. */
	while (fl->batch->blocked && f->punch_events == punch_events)
		sync_cond_wait(&f->cond, &f->lock);
	sync_mutex_unlock(&f->lock);
	return again;
}

static uint64_t note_punches(struct cache_file *f)
{
	uint64_t events;

	sync_mutex_lock(&f->lock);
	events = f->punch_events;
	sync_mutex_unlock(&f->lock);
	return events;
}

static int flush_all(struct flush *fl)
{
	bool again = true;
	int rc = 0;

	while (again && rc == 0) {
		uint64_t punch_events = note_punches(fl->file);

		rc = write_batch(fl, &again);
		if (rc == 0)
			rc = enlarge_batch(fl);
		if (rc == 0 && !again)
			again = wait_for_others(fl, punch_events);
	}
	return rc;
}

static void flusher_begin(struct flush *fl)
{
	struct cache_file *f = fl->file;

	sync_mutex_lock(&f->lock);
	fl->flusher.limit = f->dirty_seq;
	fl->flusher.late = false;
	cds_list_add_tail(&fl->flusher.link, &f->flushers);
	sync_mutex_unlock(&f->lock);
}

static void flusher_end(struct flush *fl)
{
	struct cache_file *f = fl->file;

	sync_mutex_lock(&f->lock);
	cds_list_del(&fl->flusher.link);
	sync_mutex_unlock(&f->lock);
}

static int flush_kind(struct cache_file *f, uint64_t offset, uint64_t len, enum batch_kind kind)
{
	uint64_t dirty = __atomic_load_n(&f->dirty_pages, __ATOMIC_ACQUIRE);
	bool help = kind == BATCH_ALL && dirty > 2 * (uint64_t)CACHE_WRITEBACK_PAGES_MAX;
	struct flush fl = { .file = f, .kind = kind };
	bool small;
	int rc;

	if (dirty == 0 || len == 0)
		return 0;
	sync_assert_may_block();
	if (len > UINT64_MAX - offset)
		len = UINT64_MAX - offset;
	fl.first = offset / CACHE_PAGE_BYTES;
	fl.end = (offset + len - 1) / CACHE_PAGE_BYTES + 1;
	small = kind == BATCH_TO_LOG || dirty <= CACHE_LOG_PAGES_MAX || fl.end - fl.first <= CACHE_LOG_PAGES_MAX;
	rc = batch_new(small ? CACHE_LOG_PAGES_MAX : CACHE_WRITEBACK_PAGES_MAX, &fl.batch);
	if (rc)
		return rc;
	if (help)
		writeback_help(f, true);
	flusher_begin(&fl);
	err_clear();
	rc = flush_all(&fl);
	flusher_end(&fl);
	if (help)
		writeback_help(f, false);
	batch_free(fl.batch);
	return rc;
}

int cache_flush(struct cache_file *f, uint64_t offset, uint64_t len)
{
	return flush_kind(f, offset, len, BATCH_ALL);
}

int cache_flush_log(struct cache_file *f, uint64_t offset, uint64_t len)
{
	return flush_kind(f, offset, len, BATCH_TO_LOG);
}

int cache_flush_kept(struct cache_file *f)
{
	return flush_kind(f, 0, UINT64_MAX, BATCH_KEPT);
}

static bool has_kept(struct chunk *k)
{
	bool kept;

	sync_mutex_lock(&k->lock);
	kept = k->kept;
	sync_mutex_unlock(&k->lock);
	return kept;
}

/* The chunks of one tree, one by one: an error ends the flush of that one only. More than @max of them that fail are
 * not tried. */
static int flush_kept_of(struct cache_file *f, const struct dirty_tree *tree, uint64_t limit, unsigned max)
{
	uint64_t seq = 0;
	struct chunk *k;
	int rc = 0;

	while (!rc && (k = list_next(f, tree, 0, UINT64_MAX, limit, UINT64_MAX, &seq))) {
		uint64_t bytes = (uint64_t)CACHE_CHUNK_PAGES * CACHE_PAGE_BYTES;

		if (has_kept(k))
			rc = flush_kind(f, k->index * bytes, bytes, BATCH_KEPT);
		chunk_unref(k);
		if (rc && rc != -ENOMEM)
			rc = max-- ? 0 : err_set(-E2BIG, "too many pages cannot be written back");
	}
	return rc;
}

int flush_kept_chunks(struct cache_file *f, unsigned max)
{
	const struct flush all = { .file = f, .end = UINT64_MAX };
	uint64_t limit;
	int rc;

	sync_assert_may_block();
	sync_mutex_lock(&f->lock);
	/* What they log counts as kept only when they end. */
	wait_for_batches(f, &all);
	limit = f->dirty_seq;
	sync_mutex_unlock(&f->lock);
	rc = flush_kept_of(f, &f->dirty, limit, max);
	return rc ? rc : flush_kept_of(f, &f->logged, limit, max);
}

struct look {
	uint64_t first, end; /* pages */
	bool dirty;
};

static enum walk is_dirty(struct chunk *k, void *ctx)
{
	struct look *l = ctx;

	l->dirty = (k->dirty | k->writeback) & chunk_mask(k->index, l->first, l->end);
	return l->dirty ? WALK_STOP : WALK_NEXT;
}

bool cache_is_dirty(struct cache_file *f, uint64_t offset, uint64_t len)
{
	struct look l = { 0 };

	if (len == 0 || __atomic_load_n(&f->dirty_pages, __ATOMIC_ACQUIRE) == 0)
		return false;
	if (len > UINT64_MAX - offset)
		len = UINT64_MAX - offset;
	l.first = offset / CACHE_PAGE_BYTES;
	l.end = (offset + len - 1) / CACHE_PAGE_BYTES + 1;
	chunk_walk(f, l.first / CACHE_CHUNK_PAGES, (l.end - 1) / CACHE_CHUNK_PAGES + 1, is_dirty, &l);
	return l.dirty;
}
