/* SPDX-License-Identifier: BSD-3-Clause */
/* A file's backing store in memory for tests of the cache: it can be made to fail, and to wait at a gate. */
#ifndef WFSD_TESTS_UNIT_CORE_CACHE_STORE_H
#define WFSD_TESTS_UNIT_CORE_CACHE_STORE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/budget.h"
#include "core/base/checksum.h"
#include "core/base/sync.h"
#include "core/cache/cache.h"

#define PAGE CACHE_PAGE_BYTES
#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)

struct store {
	struct sync_mutex lock;
	struct sync_cond cond;
	uint64_t page_count;
	uint8_t *data;
	bool *mapped; /* others are holes */
	bool fill_closed, writeback_closed; /* calls wait while true */
	unsigned fills_waiting, writebacks_waiting;
	int fill_error, writeback_error;
	uint64_t writeback_error_page; /* UINT64_MAX: all */
	unsigned fills, writebacks; /* calls */
	uint64_t fill_pages;
	unsigned fill_pages_max;
	bool crc_wrong; /* a page came with a wrong checksum, or changed while it was held */
};

static inline int store_fill(void *ctx, uint64_t first, unsigned count, void *const data[], uint32_t crc[], bool hole[])
{
	struct store *s = ctx;
	int rc;

	sync_mutex_lock(&s->lock);
	s->fills++;
	s->fill_pages += count;
	if (count > s->fill_pages_max)
		s->fill_pages_max = count;
	s->fills_waiting++;
	sync_cond_broadcast(&s->cond);
	while (s->fill_closed)
		sync_cond_wait(&s->cond, &s->lock);
	s->fills_waiting--;
	rc = s->fill_error;
	for (unsigned i = 0; i < count && !rc; i++) {
		hole[i] = first + i >= s->page_count || !s->mapped[first + i];
		if (!hole[i] && data[i]) {
			memcpy(data[i], s->data + (first + i) * PAGE, PAGE);
			crc[i] = crc32c(data[i], PAGE);
		}
	}
	sync_mutex_unlock(&s->lock);
	return rc;
}

static inline void store_writeback(void *ctx, struct cache_page *pages, unsigned count)
{
	struct store *s = ctx;

	sync_mutex_lock(&s->lock);
	s->writebacks++;
	for (unsigned i = 0; i < count; i++) {
		if (crc32c(pages[i].data, PAGE) != pages[i].crc || (i && pages[i].index <= pages[i - 1].index))
			s->crc_wrong = true;
	}
	s->writebacks_waiting++;
	sync_cond_broadcast(&s->cond);
	while (s->writeback_closed)
		sync_cond_wait(&s->cond, &s->lock);
	s->writebacks_waiting--;
	for (unsigned i = 0; i < count; i++) {
		bool fails = s->writeback_error &&
		             (s->writeback_error_page == UINT64_MAX || s->writeback_error_page == pages[i].index);

		if (crc32c(pages[i].data, PAGE) != pages[i].crc)
			s->crc_wrong = true;
		pages[i].result = fails ? s->writeback_error : 0;
		if (fails || pages[i].index >= s->page_count)
			continue;
		memcpy(s->data + pages[i].index * PAGE, pages[i].data, PAGE);
		s->mapped[pages[i].index] = true;
	}
	sync_mutex_unlock(&s->lock);
}

static const struct cache_file_ops store_ops = { .fill = store_fill, .writeback = store_writeback };

static inline void store_init(struct store *s, uint64_t page_count)
{
	*s = (struct store){ .page_count = page_count, .writeback_error_page = UINT64_MAX };
	sync_mutex_init(&s->lock, SYNC_RANK_LEAF, "store");
	sync_cond_init(&s->cond);
	s->data = calloc(page_count, PAGE);
	s->mapped = calloc(page_count, sizeof(bool));
	assert_non_null(s->data);
	assert_non_null(s->mapped);
}

static inline void store_done(struct store *s)
{
	assert_false(s->crc_wrong);
	sync_mutex_done(&s->lock);
	sync_cond_done(&s->cond);
	free(s->data);
	free(s->mapped);
}

/* Every page says which it is. */
static inline void store_stamp(struct store *s)
{
	for (uint64_t i = 0; i < s->page_count; i++) {
		memset(s->data + i * PAGE, (int)(i % 251) + 1, PAGE);
		memcpy(s->data + i * PAGE, &i, sizeof(i));
		s->mapped[i] = true;
	}
}

static inline void store_set(struct store *s, bool fill_closed, bool writeback_closed, int fill_error,
                             int writeback_error)
{
	sync_mutex_lock(&s->lock);
	s->fill_closed = fill_closed;
	s->writeback_closed = writeback_closed;
	s->fill_error = fill_error;
	s->writeback_error = writeback_error;
	sync_cond_broadcast(&s->cond);
	sync_mutex_unlock(&s->lock);
}

static inline void store_await(struct store *s, unsigned fills, unsigned writebacks)
{
	sync_mutex_lock(&s->lock);
	while (s->fills_waiting < fills || s->writebacks_waiting < writebacks)
		sync_cond_wait(&s->cond, &s->lock);
	sync_mutex_unlock(&s->lock);
}

/* A cache with a file on a store. */
struct rig {
	struct budget *budget;
	struct cache *cache;
	struct store store;
	struct cache_file *file;
};

static inline struct cache_config rig_config(size_t budget_bytes)
{
	return (struct cache_config){
		.dirty_max_bytes = budget_bytes / 2,
		.dirty_background_bytes = budget_bytes / 4,
		.writeback_age_ms = 3600 * 1000, /* only when a test wants it */
		.writeback_threads = 2,
	};
}

static inline void rig_init(struct rig *r, size_t budget_bytes, uint64_t page_count, const struct cache_config *config)
{
	struct cache_config cfg = config ? *config : rig_config(budget_bytes);

	r->budget = budget_new(budget_bytes);
	assert_non_null(r->budget);
	cfg.budget = r->budget;
	assert_int_equal(cache_new(&cfg, &r->cache), 0);
	store_init(&r->store, page_count);
	assert_int_equal(cache_file_new(r->cache, &store_ops, &r->store, page_count * PAGE, &r->file), 0);
}

static inline void rig_done(struct rig *r)
{
	cache_file_free(r->file);
	store_done(&r->store);
	cache_free(r->cache);
	assert_int_equal(budget_used(r->budget), 0);
	budget_free(r->budget);
}

static inline int rig_read(struct rig *r, uint64_t offset, void *buf, size_t len, unsigned flags)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };

	return cache_read(r->file, offset, &iov, 1, flags);
}

static inline int rig_write(struct rig *r, uint64_t offset, void *buf, size_t len, unsigned flags)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };

	return cache_write(r->file, offset, &iov, 1, flags);
}

static inline void *filled(int byte, size_t len)
{
	void *p = malloc(len);

	assert_non_null(p);
	memset(p, byte, len);
	return p;
}

static inline void assert_bytes(const void *buf, int byte, size_t len)
{
	const uint8_t *p = buf;

	for (size_t i = 0; i < len; i++)
		assert_int_equal(p[i], byte);
}

static inline struct cache_stats stats_of(struct rig *r)
{
	struct cache_stats st;

	cache_get_stats(r->cache, &st);
	return st;
}

#endif
