/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writing. A request is done in groups of a few chunks, each locked as a whole: everything a group needs (pages, edges
 * filled, no punch in the way) is checked before the first byte is copied, so a group is done or not begun.
 */
#include "core/cache/cache_priv.h"

#include <errno.h>
#include <string.h>

#include "core/base/checksum.h"
#include "core/base/iov.h"

enum verdict { VERDICT_GO, VERDICT_PAGES, VERDICT_FILL, VERDICT_PUNCH };

struct group {
	struct cache_file *file;
	uint64_t offset, end; /* bytes */
	uint64_t first_page, end_page;
	unsigned chunk_count;
	struct chunk *chunks[CACHE_GROUP_CHUNKS + 1];
	/* What the verdict is about. */
	unsigned pages_needed;
	uint64_t fill_page;
};

static bool covers_page(const struct group *g, uint64_t page)
{
	return g->offset <= page * CACHE_PAGE_BYTES && g->end >= (page + 1) * CACHE_PAGE_BYTES;
}

/* Is the page in slot @i not ours to change in place? */
static bool needs_new_page(const struct group *g, const struct chunk *k, unsigned i)
{
	return !(k->valid & ~k->hole & (1u << i)) || page_shared(&g->file->cache->pages, k->page[i]);
}

/* All chunks of the group are locked. */
static enum verdict group_check(struct group *g)
{
	/* It is raised with the chunk locked: what is behind it was never written. */
	uint64_t end =
	        g->file->ops->zero_behind_end ? __atomic_load_n(&g->file->end_bytes, __ATOMIC_RELAXED) : UINT64_MAX;

	g->pages_needed = 0;
	if (punch_covers(g->file, g->first_page, g->end_page))
		return VERDICT_PUNCH;
	for (unsigned i = 0; i < g->chunk_count; i++) {
		const struct chunk *k = g->chunks[i];
		uint32_t mask = chunk_mask(k->index, g->first_page, g->end_page);

		for (uint32_t m = mask; m; m &= m - 1) {
			unsigned slot = (unsigned)__builtin_ctz(m);
			uint64_t page = k->index * CACHE_CHUNK_PAGES + slot;

			if (!(k->valid & (1u << slot)) && !covers_page(g, page) && page * CACHE_PAGE_BYTES < end) {
				g->fill_page = page;
				return VERDICT_FILL;
			}
			if (needs_new_page(g, k, slot))
				g->pages_needed++;
		}
	}
	return g->pages_needed ? VERDICT_PAGES : VERDICT_GO;
}

static void write_page(struct group *g, struct chunk *k, unsigned slot, struct iov_cursor *it, struct stash *s)
{
	struct pages *p = &g->file->cache->pages;
	uint64_t base = (k->index * CACHE_CHUNK_PAGES + slot) * CACHE_PAGE_BYTES;
	size_t from = g->offset > base ? (size_t)(g->offset - base) : 0;
	size_t to = g->end - base < CACHE_PAGE_BYTES ? (size_t)(g->end - base) : CACHE_PAGE_BYTES;
	bool whole = from == 0 && to == CACHE_PAGE_BYTES;
	uint32_t old = k->page[slot];
	uint8_t *data;

	if (needs_new_page(g, k, slot)) {
		uint32_t id = s->ids[--s->count];

		data = page_data(p, id);
		if (!whole)
			memcpy(data, page_data(p, old), CACHE_PAGE_BYTES);
		k->page[slot] = id;
		page_unref(p, old);
	} else {
		data = page_data(p, old);
	}
	iov_copy_in(it, data + from, to - from);
	k->crc[slot] = crc32c(data, CACHE_PAGE_BYTES);
}

void cache_raise_end(struct cache_file *f, uint64_t end)
{
	uint64_t old = __atomic_load_n(&f->end_bytes, __ATOMIC_RELAXED);

	while (old < end &&
	       !__atomic_compare_exchange_n(&f->end_bytes, &old, end, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

/* All chunks of the group are locked, the stash holds what is needed. */
static SYNC_NO_ANALYSIS void group_commit(struct group *g, struct iov_cursor *it, struct stash *s)
{
	cache_raise_end(g->file, g->end);
	for (unsigned i = 0; i < g->chunk_count; i++) {
		struct chunk *k = g->chunks[i];
		uint32_t mask = chunk_mask(k->index, g->first_page, g->end_page);

		for (uint32_t m = mask; m; m &= m - 1)
			write_page(g, k, (unsigned)__builtin_ctz(m), it, s);
		k->valid |= mask;
		k->hole &= ~mask;
		chunk_touch(k, mask);
		dirty_set(k, mask);
	}
}

static SYNC_NO_ANALYSIS void group_lock(struct group *g)
{
	for (unsigned i = 0; i < g->chunk_count; i++)
		sync_mutex_lock(&g->chunks[i]->lock);
}

static SYNC_NO_ANALYSIS void group_unlock(struct group *g)
{
	for (unsigned i = g->chunk_count; i > 0; i--)
		sync_mutex_unlock(&g->chunks[i - 1]->lock);
}

static int group_get_chunks(struct group *g, unsigned flags)
{
	uint64_t first = g->first_page / CACHE_CHUNK_PAGES;
	uint64_t last = (g->end_page - 1) / CACHE_CHUNK_PAGES;

	for (uint64_t i = first; i <= last; i++) {
		int rc = chunk_get_or_new(g->file, i, flags, &g->chunks[g->chunk_count]);

		if (rc)
			return rc;
		g->chunk_count++;
	}
	return 0;
}

/* Make possible what @v says is missing. */
static int group_prepare(struct group *g, enum verdict v, struct stash *s, unsigned flags)
{
	struct chunk *k;
	unsigned n;

	if (v == VERDICT_PAGES)
		return stash_fill(g->file->cache, s, g->pages_needed, g->pages_needed, flags);
	if (flags & CACHE_NOWAIT)
		return -EAGAIN;
	/* Whoever waits holds no pages. */
	stash_empty(g->file->cache, s);
	if (v == VERDICT_PUNCH) {
		punch_wait(g->file, g->first_page, g->end_page);
		return 0;
	}
	k = g->chunks[g->fill_page / CACHE_CHUNK_PAGES - g->first_page / CACHE_CHUNK_PAGES];
	return fill_want(g->file, k, g->fill_page, g->fill_page + 1, flags, &n);
}

static int write_group(struct group *g, struct iov_cursor *it, struct stash *s, unsigned flags)
{
	int rc = group_get_chunks(g, flags);

	while (rc == 0) {
		enum verdict v;

		group_lock(g);
		v = group_check(g);
		if (v == VERDICT_GO || (v == VERDICT_PAGES && g->pages_needed <= s->count)) {
			group_commit(g, it, s);
			group_unlock(g);
			break;
		}
		group_unlock(g);
		rc = group_prepare(g, v, s, flags);
	}
	for (unsigned i = 0; i < g->chunk_count; i++)
		chunk_unref(g->chunks[i]);
	return rc;
}

/* A group ends with a chunk, or with the request. */
static uint64_t group_end(const struct cache *c, uint64_t pos, uint64_t end)
{
	uint64_t limit = (pos / CACHE_CHUNK_BYTES + c->group_chunks) * CACHE_CHUNK_BYTES;

	return limit < end ? limit : end;
}

int cache_write(struct cache_file *f, uint64_t offset, const struct iovec *iov, int iov_count, unsigned flags)
{
	struct cache *c = f->cache;
	struct iov_cursor it = { .iov = iov };
	size_t len = iov_len(iov, iov_count);
	uint64_t pos = offset;
	struct stash s;
	int rc = 0;

	if (len == 0)
		return 0;
	/* All or nothing: only what one group holds can be done without waiting. */
	if ((flags & CACHE_NOWAIT) && group_end(c, pos, offset + len) != offset + len)
		return -EAGAIN;
	s.count = 0;
	while (pos < offset + len && rc == 0) {
		uint64_t end = group_end(c, pos, offset + len);
		struct group g = {
			.file = f,
			.offset = pos,
			.end = end,
			.first_page = pos / CACHE_PAGE_BYTES,
			.end_page = (end - 1) / CACHE_PAGE_BYTES + 1,
		};

		rc = dirty_throttle(f, g.end_page - g.first_page, flags);
		if (rc == 0)
			rc = write_group(&g, &it, &s, flags);
		pos = end;
	}
	stash_empty(c, &s);
	if (__atomic_load_n(&c->dirty_pages, __ATOMIC_RELAXED) > c->dirty_background_pages)
		writeback_kick(c);
	return rc;
}
