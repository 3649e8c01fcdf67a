/* SPDX-License-Identifier: BSD-3-Clause */
/* The write-back threads: which file they turn to, and when. */
#include "core/cache/cache_priv.h"

#include <errno.h>

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

void writeback_queue(struct cache_file *f, bool dirty)
{
	struct cache *c = f->cache;

	sync_mutex_lock(&c->wb_lock);
	if (dirty && !f->wb_queued && !f->wb_closing) {
		cds_list_add_tail(&f->wb_link, &c->wb_files);
		f->wb_queued = true;
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
	if (want) {
		f->wb_flushing++;
		sync_cond_broadcast(&c->wb_cond);
	} else {
		f->wb_flushing--;
	}
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

/*
 * The next file to work on, pinned, or NULL; then *@look_ns is when to look again. *@ret_ns: chunks dirtied up to
 * then are to be written.
 */
static struct cache_file *pick_file(struct cache *c, uint64_t *look_ns, uint64_t *ret_ns) SYNC_REQUIRES(c->wb_lock)
{
	uint64_t now = sync_now_ns();
	uint64_t age = c->config.writeback_age_ms * SYNC_NS_PER_MS;
	bool pressure = have_pressure(c);
	struct cache_file *f;

	*look_ns = UINT64_MAX;
	cds_list_for_each_entry (f, &c->wb_files, wb_link) {
		uint64_t oldest = __atomic_load_n(&f->oldest_ns, __ATOMIC_RELAXED);
		uint64_t due = oldest > UINT64_MAX - age ? now + age : oldest + age;
		uint64_t retry = __atomic_load_n(&f->retry_ns, __ATOMIC_RELAXED);
		bool hurry = pressure || f->wb_flushing;

		if (retry <= now && (hurry || due <= now)) {
			/* When it is only age, those soon to be due go along. */
			*ret_ns = hurry ? UINT64_MAX : now - age / 2;
			cds_list_del(&f->wb_link);
			cds_list_add_tail(&f->wb_link, &c->wb_files);
			f->wb_pins++;
			return f;
		}
		if (retry > now)
			due = hurry ? retry : due > retry ? due : retry;
		if (due < *look_ns)
			*look_ns = due;
	}
	return NULL;
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
