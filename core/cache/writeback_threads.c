/* SPDX-License-Identifier: BSD-3-Clause */
/* The write-back threads: which file they turn to, and when. */
#include "core/cache/cache_priv.h"

#include <errno.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/blk/blk.h"

#define RETRY_NS SYNC_NS_PER_S /* after a failure */
#define BUSY_RETRY_NS (10 * SYNC_NS_PER_MS) /* nothing could be taken just now */

void writeback_kick(struct cache *c)
{
	if (__atomic_exchange_n(&c->wb_kicked, true, __ATOMIC_RELAXED))
		return;
	sync_mutex_lock(&c->wb_lock);
	sync_cond_broadcast(&c->wb_cond);
	sync_mutex_unlock(&c->wb_lock);
}

/* Last among those that it belongs to. */
static void enlist(struct cache *c, struct cache_file *f) SYNC_REQUIRES(c->wb_lock)
{
	f->wb_since_ns = sync_now_ns();
	cds_list_add_tail(&f->wb_link, f->wb_flushing ? &c->wb_helped : &c->wb_files);
}

void writeback_queue(struct cache_file *f, bool dirty)
{
	struct cache *c = f->cache;

	sync_mutex_lock(&c->wb_lock);
	if (dirty && !f->wb_queued && !f->wb_closing) {
		/* With others before it the threads know when to look, which is before its time comes. */
		bool tell = cds_list_empty(&c->wb_files) || f->wb_flushing;

		enlist(c, f);
		f->wb_queued = true;
		if (tell)
			sync_cond_signal(&c->wb_cond);
	} else if (!dirty && f->wb_queued) {
		cds_list_del(&f->wb_link);
		f->wb_queued = false;
	}
	sync_mutex_unlock(&c->wb_lock);
}

void writeback_help(struct cache_file *f, bool want)
{
	struct cache *c = f->cache;

	sync_mutex_lock(&c->wb_lock);
	f->wb_flushing += want ? 1u : -1u;
	if (f->wb_queued) {
		cds_list_del(&f->wb_link);
		enlist(c, f);
	}
	if (want)
		sync_cond_broadcast(&c->wb_cond);
	sync_mutex_unlock(&c->wb_lock);
}

void writeback_forget(struct cache_file *f)
{
	struct cache *c = f->cache;

	sync_mutex_lock(&c->wb_lock);
	f->wb_closing = true;
	if (f->wb_queued) {
		cds_list_del(&f->wb_link);
		f->wb_queued = false;
	}
	while (f->wb_pins)
		sync_cond_wait(&c->wb_idle_cond, &c->wb_lock);
	sync_mutex_unlock(&c->wb_lock);
}

/* Is memory, or a writer, waiting for write-back? */
static bool have_pressure(const struct cache *c)
{
	return __atomic_load_n(&c->dirty_pages, __ATOMIC_RELAXED) > c->dirty_background_pages ||
	       __atomic_load_n(&c->mem_waiters, __ATOMIC_RELAXED) ||
	       __atomic_load_n(&c->throttled_count, __ATOMIC_RELAXED);
}

/* When it may be tried. */
static uint64_t retry_of(const struct cache_file *f)
{
	return __atomic_load_n(&f->retry_ns, __ATOMIC_RELAXED);
}

/* It is not to be tried now: among those that wait for their time, by that. */
static void set_aside(struct cache *c, struct cache_file *f) SYNC_REQUIRES(c->wb_lock)
{
	struct cds_list_head *at = c->wb_later.prev;

	while (at != &c->wb_later && retry_of(cds_list_entry(at, struct cache_file, wb_link)) > retry_of(f))
		at = at->prev;
	cds_list_del(&f->wb_link);
	cds_list_add(&f->wb_link, at);
}

/* Those whose time has come go before all others. Returns when the next one's comes. */
static uint64_t take_back(struct cache *c, uint64_t now) SYNC_REQUIRES(c->wb_lock)
{
	while (!cds_list_empty(&c->wb_later)) {
		struct cache_file *f = cds_list_first_entry(&c->wb_later, struct cache_file, wb_link);

		if (retry_of(f) > now)
			return retry_of(f);
		cds_list_del(&f->wb_link);
		cds_list_add(&f->wb_link, &c->wb_files);
	}
	return UINT64_MAX;
}

static struct cache_file *pick_helped(struct cache *c, uint64_t now, uint64_t *look_ns) SYNC_REQUIRES(c->wb_lock)
{
	struct cache_file *f;

	cds_list_for_each_entry (f, &c->wb_helped, wb_link) {
		if (retry_of(f) <= now)
			return f;
		*look_ns = min_u64(*look_ns, retry_of(f));
	}
	return NULL;
}

static bool is_due(struct cache *c, const struct cache_file *f, uint64_t now)
{
	uint64_t oldest = __atomic_load_n(&f->oldest_ns, __ATOMIC_RELAXED);

	return oldest <= now && now - oldest >= c->config.writeback_age_ms * SYNC_NS_PER_MS;
}

/* Of those that write-back has begun with: whatever has nothing to be written now goes back to the others. */
static struct cache_file *pick_begun(struct cache *c, uint64_t now, bool pressure, uint64_t *look_ns)
        SYNC_REQUIRES(c->wb_lock)
{
	while (!cds_list_empty(&c->wb_begun)) {
		struct cache_file *f = cds_list_first_entry(&c->wb_begun, struct cache_file, wb_link);

		if (retry_of(f) > now) {
			set_aside(c, f);
			*look_ns = min_u64(*look_ns, retry_of(f));
		} else if (pressure || is_due(c, f, now)) {
			return f;
		} else {
			cds_list_del(&f->wb_link);
			enlist(c, f);
			*look_ns = min_u64(*look_ns, now + c->config.writeback_age_ms * SYNC_NS_PER_MS);
		}
	}
	return NULL;
}

/*
 * The list is in the order in which files came to it, and what is dirty in one came not earlier: only the first is
 * looked at. One whose time has not come after all goes to the end, so that nothing waits for more than twice the age,
 * and a look takes no longer the more files there are.
 */
static struct cache_file *pick_oldest(struct cache *c, uint64_t now, bool pressure, uint64_t *look_ns)
        SYNC_REQUIRES(c->wb_lock)
{
	uint64_t age = c->config.writeback_age_ms * SYNC_NS_PER_MS;

	while (!cds_list_empty(&c->wb_files)) {
		struct cache_file *f = cds_list_first_entry(&c->wb_files, struct cache_file, wb_link);

		if (retry_of(f) > now) {
			set_aside(c, f);
			*look_ns = min_u64(*look_ns, retry_of(f));
		} else if (pressure || is_due(c, f, now)) {
			return f;
		} else if (f->wb_since_ns >= now || now - f->wb_since_ns < age) {
			/* The clock may have begun less than an age ago. */
			*look_ns = min_u64(*look_ns, max_u64(f->wb_since_ns, now > age ? now - age : 0) + age);
			break;
		} else {
			cds_list_del(&f->wb_link);
			enlist(c, f);
		}
	}
	return NULL;
}

/*
 * The next file to work on, pinned, or NULL; then *@look_ns is when to look again. *@ret_ns: chunks dirtied up to
 * then are to be written.
 */
static struct cache_file *pick_file(struct cache *c, uint64_t *look_ns, uint64_t *ret_ns) SYNC_REQUIRES(c->wb_lock)
{
	uint64_t now = sync_now_ns(), age = c->config.writeback_age_ms * SYNC_NS_PER_MS;
	bool pressure = have_pressure(c), hurry;
	struct cache_file *f;

	*look_ns = take_back(c, now);
	f = pick_helped(c, now, look_ns);
	hurry = pressure || f;
	/* Those that are new and those that have much take turns. */
	c->wb_turn = !c->wb_turn;
	if (!f && c->wb_turn)
		f = pick_begun(c, now, pressure, look_ns);
	if (!f)
		f = pick_oldest(c, now, pressure, look_ns);
	if (!f && !c->wb_turn)
		f = pick_begun(c, now, pressure, look_ns);
	if (!f)
		return NULL;
	/* When it is only age, those soon to be due go along. */
	*ret_ns = hurry ? UINT64_MAX : now - age / 2;
	cds_list_del(&f->wb_link);
	cds_list_add_tail(&f->wb_link, f->wb_flushing ? &c->wb_helped : &c->wb_begun);
	f->wb_pins++;
	return f;
}

static void write_some(struct cache_file *f, struct wb_batch *b, uint64_t ns)
{
	uint64_t limit;
	bool first_failure = !__atomic_load_n(&f->wb_error, __ATOMIC_RELAXED);
	int rc;

	sync_mutex_lock(&f->lock);
	limit = f->dirty_seq;
	sync_mutex_unlock(&f->lock);
	err_clear();
	batch_begin(f, b, BATCH_ALL);
	batch_take_list(f, b, 0, UINT64_MAX, limit, ns);
	rc = batch_run(f, b);
	if (rc) {
		char text[512];

		__atomic_store_n(&f->retry_ns, sync_now_ns() + RETRY_NS, __ATOMIC_RELAXED);
		if (first_failure)
			log_error("cache", "%s; it will be tried again",
			          err_text(err_get(), rc, 0, text, sizeof(text)));
	} else if (b->count == 0) {
		__atomic_store_n(&f->retry_ns, sync_now_ns() + BUSY_RETRY_NS, __ATOMIC_RELAXED);
	}
}

static void thread_main(void *arg)
{
	struct cache *c = arg;
	struct wb_batch *b = NULL;

	sync_mutex_lock(&c->wb_lock);
	while (!c->wb_stop) {
		uint64_t look_ns;
		uint64_t ns;
		struct cache_file *f;

		__atomic_store_n(&c->wb_kicked, false, __ATOMIC_RELAXED);
		f = pick_file(c, &look_ns, &ns);
		if (!f && look_ns == UINT64_MAX) {
			sync_cond_wait(&c->wb_cond, &c->wb_lock);
			continue;
		}
		if (!f) {
			(void)sync_cond_wait_until(&c->wb_cond, &c->wb_lock, look_ns);
			continue;
		}
		sync_mutex_unlock(&c->wb_lock);
		if (b || batch_new(CACHE_WRITEBACK_PAGES_MAX, &b) == 0)
			write_some(f, b, ns);
		else
			__atomic_store_n(&f->retry_ns, sync_now_ns() + RETRY_NS, __ATOMIC_RELAXED);
		sync_mutex_lock(&c->wb_lock);
		if (--f->wb_pins == 0)
			sync_cond_broadcast(&c->wb_idle_cond);
	}
	sync_mutex_unlock(&c->wb_lock);
	batch_free(b);
	blk_thread_done();
}

int writeback_start(struct cache *c)
{
	for (unsigned i = 0; i < c->config.writeback_threads; i++) {
		int rc = sync_thread_start(&c->wb_threads[i], "cache-wb", thread_main, c);

		if (rc)
			return rc;
		c->wb_thread_count++;
	}
	return 0;
}

void writeback_stop(struct cache *c)
{
	sync_mutex_lock(&c->wb_lock);
	c->wb_stop = true;
	sync_cond_broadcast(&c->wb_cond);
	sync_mutex_unlock(&c->wb_lock);
	for (unsigned i = 0; i < c->wb_thread_count; i++)
		sync_thread_join(&c->wb_threads[i]);
}
