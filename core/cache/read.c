/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading: by copy, and by reference to the pages. */
#include "core/cache/cache_priv.h"

#include <errno.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/base/iov.h"

/* A request, and the part of it in one chunk. */
struct read_op {
	struct cache_file *file;
	uint64_t offset, end; /* bytes */
	uint64_t end_page;
	unsigned flags;
	uint64_t misses; /* pages */
	uint64_t marked; /* page of a read-ahead mark that was met; UINT64_MAX: none */
	bool told_readahead;
};

static void op_init(struct read_op *op, struct cache_file *f, uint64_t offset, uint64_t len, unsigned flags)
{
	*op = (struct read_op){
		.file = f,
		.offset = offset,
		.end = offset + len,
		.end_page = (offset + len - 1) / CACHE_PAGE_BYTES + 1,
		.flags = flags,
		.marked = UINT64_MAX,
	};
}

/* Statistics, and what the read means for read-ahead. */
static void op_done(struct read_op *op, int rc)
{
	struct cache *c = op->file->cache;
	uint64_t pages = op->end_page - op->offset / CACHE_PAGE_BYTES;

	if (op->marked != UINT64_MAX)
		readahead_hit(op->file, op->marked);
	if (rc)
		return;
	if (op->misses > pages)
		op->misses = pages;
	if (op->misses < pages)
		counter_add(&c->hits, pages - op->misses);
	if (op->misses)
		counter_add(&c->misses, op->misses);
}

/* Not all pages of @want are there: bring in the first absent one and, with it, what follows. */
static int bring_in(struct read_op *op, struct chunk *k, uint32_t absent)
{
	struct cache_file *f = op->file;
	uint64_t page = k->index * CACHE_CHUNK_PAGES + (unsigned)__builtin_ctz(absent);
	unsigned filled;
	int rc;

	if (op->flags & CACHE_NOWAIT)
		return -EAGAIN;
	if (!op->told_readahead) {
		op->told_readahead = true;
		readahead_miss(f, op->offset / CACHE_PAGE_BYTES, op->end_page - op->offset / CACHE_PAGE_BYTES);
	}
	rc = fill_want(f, k, page, op->end_page, op->flags, &filled);
	op->misses += filled ? filled : 1;
	return rc;
}

/* Lock the chunk with all pages of @want valid. */
static SYNC_NO_ANALYSIS int lock_valid(struct read_op *op, struct chunk *k, uint32_t want)
{
	for (;;) {
		uint32_t absent;
		int rc;

		sync_mutex_lock(&k->lock);
		absent = want & ~k->valid;
		if (!absent)
			break;
		sync_mutex_unlock(&k->lock);
		rc = bring_in(op, k, absent);
		if (rc)
			return rc;
	}
	chunk_touch(k, want);
	if (k->mark & want) {
		op->marked = k->index * CACHE_CHUNK_PAGES + (unsigned)__builtin_ctz(k->mark & want);
		k->mark &= ~want;
	}
	return 0;
}

/* The chunk of @pos, locked, with the pages up to @chunk_end valid. */
static SYNC_NO_ANALYSIS int lock_chunk_at(struct read_op *op, uint64_t pos, uint64_t chunk_end, struct chunk **ret)
{
	uint64_t index = pos / CACHE_CHUNK_BYTES;
	struct chunk *k = chunk_get(op->file, index);
	int rc;

	if (!k) {
		if (op->flags & CACHE_NOWAIT)
			return -EAGAIN;
		rc = chunk_get_or_new(op->file, index, op->flags, &k);
		if (rc)
			return rc;
	}
	rc = lock_valid(op, k, chunk_mask(index, pos / CACHE_PAGE_BYTES, (chunk_end - 1) / CACHE_PAGE_BYTES + 1));
	if (rc) {
		chunk_unref(k);
		return rc;
	}
	*ret = k;
	return 0;
}

static uint64_t end_in_chunk(uint64_t pos, uint64_t end)
{
	uint64_t next = (pos / CACHE_CHUNK_BYTES + 1) * CACHE_CHUNK_BYTES;

	return next < end ? next : end;
}

SYNC_NO_ANALYSIS int cache_read(struct cache_file *f, uint64_t offset, const struct iovec *iov, int iov_count,
                                unsigned flags)

{
	struct iov_cursor it = { .iov = iov };
	size_t len = iov_len(iov, iov_count);
	struct read_op op;
	uint64_t pos = offset;
	int rc = 0;

	if (len == 0)
		return 0;
	op_init(&op, f, offset, len, flags);
	while (pos < op.end && rc == 0) {
		uint64_t chunk_end = end_in_chunk(pos, op.end);
		struct chunk *k;

		rc = lock_chunk_at(&op, pos, chunk_end, &k);
		if (rc)
			break;
		while (pos < chunk_end) {
			unsigned slot = (unsigned)(pos / CACHE_PAGE_BYTES % CACHE_CHUNK_PAGES);
			size_t in_page = pos % CACHE_PAGE_BYTES;
			size_t n = CACHE_PAGE_BYTES - in_page;

			if (n > chunk_end - pos)
				n = (size_t)(chunk_end - pos);
			if (k->hole & (1u << slot))
				iov_copy_out(&it, NULL, n);
			else
				iov_copy_out(&it, (uint8_t *)page_data(&f->cache->pages, k->page[slot]) + in_page, n);
			pos += n;
		}
		sync_mutex_unlock(&k->lock);
		chunk_unref(k);
	}
	op_done(&op, rc);
	return rc;
}

/* Add a piece; one that continues the last in memory extends it. */
static void ref_add(struct cache_ref *r, uint8_t *data, size_t len)
{
	struct iovec *last = r->iov_count ? &r->iov[r->iov_count - 1] : NULL;

	if (last && (uint8_t *)last->iov_base + last->iov_len == data)
		last->iov_len += len;
	else
		r->iov[r->iov_count++] = (struct iovec){ .iov_base = data, .iov_len = len };
}

SYNC_NO_ANALYSIS int cache_read_ref(struct cache_file *f, uint64_t offset, size_t len, unsigned flags,
                                    struct cache_ref *ret)

{
	struct pages *p = &f->cache->pages;
	struct read_op op;
	uint64_t pos = offset;
	int rc = 0;

	ret->cache = f->cache;
	ret->iov_count = 0;
	ret->page_count = 0;
	if (len == 0)
		return 0;
	op_init(&op, f, offset, len, flags);
	if (op.end_page - offset / CACHE_PAGE_BYTES > CACHE_REF_PAGES_MAX)
		return err_set(-EINVAL, "a reference of %zu bytes is too long", len);
	while (pos < op.end) {
		uint64_t chunk_end = end_in_chunk(pos, op.end);
		struct chunk *k;

		rc = lock_chunk_at(&op, pos, chunk_end, &k);
		if (rc)
			break;
		while (pos < chunk_end) {
			uint32_t id = k->page[pos / CACHE_PAGE_BYTES % CACHE_CHUNK_PAGES];
			size_t in_page = pos % CACHE_PAGE_BYTES;
			size_t n = CACHE_PAGE_BYTES - in_page;

			if (n > chunk_end - pos)
				n = (size_t)(chunk_end - pos);
			page_ref(p, id);
			ret->pages[ret->page_count++] = page_data(p, id);
			ref_add(ret, (uint8_t *)page_data(p, id) + in_page, n);
			pos += n;
		}
		sync_mutex_unlock(&k->lock);
		chunk_unref(k);
	}
	op_done(&op, rc);
	if (rc)
		cache_ref_release(ret);
	return rc;
}

void cache_ref_release(struct cache_ref *r)
{
	struct pages *p = &r->cache->pages;

	for (unsigned i = 0; i < r->page_count; i++)
		page_unref(p, page_id(p, r->pages[i]));
	r->page_count = 0;
	r->iov_count = 0;
}
