/* SPDX-License-Identifier: BSD-3-Clause */
/* Filling: absent pages are claimed (state filling), read by the file system without locks, and made valid. */
#include "core/cache/cache_priv.h"

#include <errno.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/checksum.h"
#include "core/base/err.h"

#define FILL_CHUNKS_MAX (CACHE_FILL_PAGES_MAX / CACHE_CHUNK_PAGES + 1)

struct fill {
	struct cache_file *file;
	uint64_t first; /* page */
	unsigned count;
	unsigned chunk_count;
	struct chunk *chunks[FILL_CHUNKS_MAX];
	struct stash stash;
	void *data[CACHE_FILL_PAGES_MAX];
	uint32_t crc[CACHE_FILL_PAGES_MAX];
	bool hole[CACHE_FILL_PAGES_MAX];
};

/* Claim pages of one chunk from @page on, up to @max. Returns how many. */
static unsigned claim_in_chunk(struct fill *fl, struct chunk *k, uint64_t page, unsigned max)
{
	unsigned start = (unsigned)(page % CACHE_CHUNK_PAGES);
	unsigned n = 0;

	if (max > CACHE_CHUNK_PAGES - start)
		max = CACHE_CHUNK_PAGES - start;
	sync_mutex_lock(&k->lock);
	while (n < max && !((k->valid | k->filling) & (1u << (start + n))) &&
	       !punch_covers(fl->file, page + n, page + n + 1)) {
		k->filling |= 1u << (start + n);
		n++;
	}
	sync_mutex_unlock(&k->lock);
	return n;
}

/* Claim up to @max pages; every chunk touched is referenced. */
static int claim(struct fill *fl, unsigned max, unsigned flags)
{
	bool more = true;

	while (more && fl->count < max) {
		uint64_t page = fl->first + fl->count;
		struct chunk *k;
		unsigned n;
		/* What is claimed must not wait: others may be waiting for it. */
		int rc = chunk_get_or_new(fl->file, page / CACHE_CHUNK_PAGES, fl->count ? CACHE_NOWAIT : flags, &k);

		if (rc)
			return fl->count ? 0 : rc;
		n = claim_in_chunk(fl, k, page, max - fl->count);
		if (n) {
			fl->chunks[fl->chunk_count++] = k;
			fl->count += n;
		} else {
			chunk_unref(k);
		}
		more = n && (page + n) % CACHE_CHUNK_PAGES == 0;
	}
	return 0;
}

/* Settle the claimed pages of one chunk; @at: index of the first of them in the fill. Returns how many there were. */
static unsigned settle_chunk(struct fill *fl, struct chunk *k, unsigned at, bool good)
{
	struct cache *c = fl->file->cache;
	unsigned start = (unsigned)((fl->first + at) % CACHE_CHUNK_PAGES);
	unsigned n = CACHE_CHUNK_PAGES - start;

	if (n > fl->count - at)
		n = fl->count - at;
	sync_mutex_lock(&k->lock);
	for (unsigned i = 0; i < n; i++) {
		unsigned slot = start + i;
		uint32_t bit = 1u << slot;

		k->filling &= ~bit;
		/* Somebody wrote the whole page meanwhile: that is newer. */
		if (!good || (k->valid & bit))
			continue;
		k->valid |= bit;
		if (fl->hole[at + i]) {
			k->hole |= bit;
			k->page[slot] = PAGE_ZERO;
			k->crc[slot] = CRC32C_ZERO_4K;
		} else {
			k->page[slot] = fl->stash.ids[at + i];
			k->crc[slot] = fl->crc[at + i];
			fl->stash.ids[at + i] = PAGE_ZERO;
		}
	}
	chunk_wake(c, k);
	sync_mutex_unlock(&k->lock);
	return n;
}

static void settle(struct fill *fl, bool good)
{
	unsigned at = 0;
	unsigned left = 0;

	for (unsigned i = 0; i < fl->chunk_count; i++) {
		at += settle_chunk(fl, fl->chunks[i], at, good);
		chunk_unref(fl->chunks[i]);
	}
	always(at == fl->count);
	for (unsigned i = 0; i < fl->stash.count; i++) {
		if (fl->stash.ids[i] != PAGE_ZERO)
			fl->stash.ids[left++] = fl->stash.ids[i];
	}
	fl->stash.count = left;
}

int fill_run(struct cache_file *f, uint64_t first, uint64_t max, unsigned flags, unsigned *ret_count)
{
	struct cache *c = f->cache;
	unsigned want = max < c->fill_pages_max ? (unsigned)max : c->fill_pages_max;
	struct fill fl;
	int rc;

	fl.file = f;
	fl.first = first;
	fl.count = 0;
	fl.chunk_count = 0;
	fl.stash.count = 0;
	*ret_count = 0;
	rc = stash_fill(c, &fl.stash, 1, want, flags);
	if (rc)
		return rc;
	rc = claim(&fl, fl.stash.count, flags);
	if (!rc && fl.count) {
		for (unsigned i = 0; i < fl.count; i++)
			fl.data[i] = page_data(&c->pages, fl.stash.ids[i]);
		memset(fl.hole, 0, fl.count * sizeof(fl.hole[0]));
		sync_assert_may_block();
		rc = f->ops->fill(f->ctx, first, fl.count, fl.data, fl.crc, fl.hole);
		settle(&fl, rc == 0);
		if (!rc) {
			counter_add(&c->fills, fl.count);
			*ret_count = fl.count;
		}
	}
	stash_empty(c, &fl.stash);
	return rc;
}

int fill_want(struct cache_file *f, struct chunk *k, uint64_t page, uint64_t end, unsigned flags, unsigned *ret_count)
{
	uint32_t bit = 1u << (page % CACHE_CHUNK_PAGES);
	int rc = 0;

	if (!(flags & CACHE_NOWAIT))
		sync_assert_may_block();
	*ret_count = 0;
	while (rc == 0) {
		sync_mutex_lock(&k->lock);
		if (k->valid & bit) {
			sync_mutex_unlock(&k->lock);
			break;
		}
		if (flags & CACHE_NOWAIT) {
			sync_mutex_unlock(&k->lock);
			return -EAGAIN;
		}
		if (k->filling & bit) {
			chunk_wait(f->cache, k);
		} else if (punch_covers(f, page, page + 1)) {
			sync_mutex_unlock(&k->lock);
			punch_wait(f, page, page + 1);
		} else {
			sync_mutex_unlock(&k->lock);
			rc = fill_run(f, page, end - page, flags, ret_count);
		}
	}
	return rc;
}

/* Pages from @page on, to the end of their chunk, that need no filling or cannot have it now. */
static unsigned skip_present(struct cache_file *f, uint64_t page)
{
	unsigned start = (unsigned)(page % CACHE_CHUNK_PAGES);
	unsigned n = 0;
	struct chunk *k = chunk_get(f, page / CACHE_CHUNK_PAGES);

	if (!k)
		return 0;
	sync_mutex_lock(&k->lock);
	while (start + n < CACHE_CHUNK_PAGES && ((k->valid | k->filling) & (1u << (start + n))))
		n++;
	sync_mutex_unlock(&k->lock);
	chunk_unref(k);
	return n;
}

int fill_absent(struct cache_file *f, uint64_t first, uint64_t end, unsigned flags, uint64_t *ret_filled)
{
	uint64_t page = first;
	int rc = 0;

	*ret_filled = 0;
	while (page < end && rc == 0) {
		unsigned skip = skip_present(f, page);
		unsigned n = 0;

		if (skip) {
			page += skip;
			continue;
		}
		rc = fill_run(f, page, end - page, flags, &n);
		*ret_filled += n;
		page += n ? n : 1; /* being punched: not now */
	}
	return rc;
}

int cache_prefetch(struct cache_file *f, uint64_t offset, uint64_t len)
{
	uint64_t first = offset / CACHE_PAGE_BYTES;
	uint64_t count = len / CACHE_PAGE_BYTES + 2;
	uint64_t most = f->cache->pages.total / 4; /* more would only push out what came before */
	uint64_t filled;
	uint64_t end;

	if (len == 0)
		return 0;
	if (len > UINT64_MAX - offset)
		len = UINT64_MAX - offset;
	end = (offset + len - 1) / CACHE_PAGE_BYTES + 1;
	if (count > most)
		end = first + most < end ? first + most : end;
	return fill_absent(f, first, end, 0, &filled);
}
