/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Read-ahead. A miss tells about a stream of reads; a stream that continued twice is sequential and gets a window read
 * in the background. The window's first page is marked; a reader who comes to a mark asks for the next window, twice as
 * large. So a hit costs nothing here, and a sequential reader seldom misses.
 */
#include "core/cache/cache_priv.h"

#include <string.h>

#include "core/blk/blk.h"

#define STREAK_MIN 2u
#define WINDOW_MIN 32u /* pages */
#define SLACK_MIN 16u /* pages by which requests may come out of order */

static uint64_t max_u64_of(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint32_t window_max(const struct cache *c)
{
	return (uint32_t)(c->config.readahead_max_bytes / CACHE_PAGE_BYTES);
}

static void submit(struct cache_file *f, uint64_t first, uint64_t count)
{
	struct cache *c = f->cache;

	sync_mutex_lock(&c->ra_lock);
	if (c->ra_count < CACHE_RA_QUEUE && !c->ra_stop) {
		c->ra_jobs[(c->ra_head + c->ra_count) % CACHE_RA_QUEUE] =
		        (struct ra_job){ .file = f, .first = first, .count = count };
		c->ra_count++;
		sync_cond_signal(&c->ra_cond);
	}
	sync_mutex_unlock(&c->ra_lock);
}

/* The stream's next window, within the file. *@ret_count is 0 when there is nothing to read. */
static void advance(struct cache_file *f, struct stream *s, uint64_t *ret_first, uint64_t *ret_count)
        SYNC_REQUIRES(f->ra_lock)
{
	uint64_t size = __atomic_load_n(&f->size_bytes, __ATOMIC_RELAXED);
	uint64_t end_page = size / CACHE_PAGE_BYTES + (size % CACHE_PAGE_BYTES != 0);
	uint32_t max = window_max(f->cache);

	s->window = s->window ? s->window * 2 : WINDOW_MIN;
	if (s->window > max)
		s->window = max;
	*ret_first = s->ahead;
	*ret_count = s->ahead < end_page ? end_page - s->ahead : 0;
	if (*ret_count > s->window)
		*ret_count = s->window;
	s->ahead += *ret_count;
}

void readahead_miss(struct cache_file *f, uint64_t first, uint64_t count)
{
	uint64_t slack = 4 * count > SLACK_MIN ? 4 * count : SLACK_MIN;
	uint64_t ra_first = 0;
	uint64_t ra_count = 0;
	struct stream *s = NULL;

	if (f->cache->config.readahead_max_bytes == 0)
		return;
	sync_mutex_lock(&f->ra_lock);
	for (unsigned i = 0; i < CACHE_RA_STREAMS && !s; i++) {
		struct stream *t = &f->streams[i];

		if (t->used && first + slack >= t->next && first <= max_u64_of(t->next, t->ahead) + slack)
			s = t;
	}
	if (s) {
		s->streak++;
		s->next = max_u64_of(s->next, first + count);
		s->ahead = max_u64_of(s->ahead, s->next);
		if (s->streak >= STREAK_MIN && first + count + s->window >= s->ahead)
			advance(f, s, &ra_first, &ra_count);
	} else {
		s = &f->streams[0];
		for (unsigned i = 1; i < CACHE_RA_STREAMS; i++) {
			if (f->streams[i].used < s->used)
				s = &f->streams[i];
		}
		*s = (struct stream){ .next = first + count };
	}
	s->used = ++f->ra_tick;
	sync_mutex_unlock(&f->ra_lock);
	if (ra_count)
		submit(f, ra_first, ra_count);
}

void readahead_hit(struct cache_file *f, uint64_t page)
{
	uint64_t max = window_max(f->cache);
	uint64_t ra_first = 0;
	uint64_t ra_count = 0;

	sync_mutex_lock(&f->ra_lock);
	for (unsigned i = 0; i < CACHE_RA_STREAMS; i++) {
		struct stream *s = &f->streams[i];

		if (!s->used || page >= s->ahead || page + 2 * max < s->ahead)
			continue;
		s->used = ++f->ra_tick;
		s->next = max_u64_of(s->next, page);
		advance(f, s, &ra_first, &ra_count);
		break;
	}
	sync_mutex_unlock(&f->ra_lock);
	if (ra_count)
		submit(f, ra_first, ra_count);
}

static void set_mark(struct cache_file *f, uint64_t page)
{
	struct chunk *k = chunk_get(f, page / CACHE_CHUNK_PAGES);

	if (!k)
		return;
	sync_mutex_lock(&k->lock);
	k->mark |= k->valid & (1u << (page % CACHE_CHUNK_PAGES));
	sync_mutex_unlock(&k->lock);
	chunk_unref(k);
}

/* Errors are not ours to tell: the pages stay absent, and who reads them meets the error. */
static void run_job(const struct ra_job *job)
{
	uint64_t filled;

	(void)fill_absent(job->file, job->first, job->first + job->count, CACHE_NOWAIT, &filled);
	counter_add(&job->file->cache->readahead, filled);
	set_mark(job->file, job->first);
}

static void thread_main(void *arg)
{
	struct cache *c = arg;

	sync_mutex_lock(&c->ra_lock);
	while (!c->ra_stop) {
		struct ra_job job;

		if (c->ra_count == 0) {
			sync_cond_wait(&c->ra_cond, &c->ra_lock);
			continue;
		}
		job = c->ra_jobs[c->ra_head];
		c->ra_head = (c->ra_head + 1) % CACHE_RA_QUEUE;
		c->ra_count--;
		job.file->ra_running++;
		sync_mutex_unlock(&c->ra_lock);
		run_job(&job);
		sync_mutex_lock(&c->ra_lock);
		job.file->ra_running--;
		sync_cond_broadcast(&c->ra_idle_cond);
	}
	sync_mutex_unlock(&c->ra_lock);
	blk_thread_done();
}

void readahead_forget(struct cache_file *f)
{
	struct cache *c = f->cache;
	unsigned kept = 0;

	sync_mutex_lock(&c->ra_lock);
	for (unsigned i = 0; i < c->ra_count; i++) {
		struct ra_job job = c->ra_jobs[(c->ra_head + i) % CACHE_RA_QUEUE];

		if (job.file != f)
			c->ra_jobs[(c->ra_head + kept++) % CACHE_RA_QUEUE] = job;
	}
	c->ra_count = kept;
	while (f->ra_running)
		sync_cond_wait(&c->ra_idle_cond, &c->ra_lock);
	sync_mutex_unlock(&c->ra_lock);
}

int readahead_start(struct cache *c)
{
	for (unsigned i = 0; i < CACHE_RA_THREADS && c->config.readahead_max_bytes; i++) {
		int rc = sync_thread_start(&c->ra_threads[i], "cache-ra", thread_main, c);

		if (rc)
			return rc;
		c->ra_thread_count++;
	}
	return 0;
}

void readahead_stop(struct cache *c)
{
	sync_mutex_lock(&c->ra_lock);
	c->ra_stop = true;
	sync_cond_broadcast(&c->ra_cond);
	sync_mutex_unlock(&c->ra_lock);
	for (unsigned i = 0; i < c->ra_thread_count; i++)
		sync_thread_join(&c->ra_threads[i]);
}
