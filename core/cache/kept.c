/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages that a file system's log has and that cannot be written back: which these are, and what is in them, so that the
 * log can get them once more.
 */
#include "core/cache/cache_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/checksum.h"
#include "core/base/err.h"

struct kept {
	uint64_t *pages;
	unsigned max, count;
	bool too_many;
};

static bool has(const struct kept *s, uint64_t index)
{
	for (unsigned i = 0; i < s->count; i++)
		if (s->pages[i] == index)
			return true;
	return false;
}

static SYNC_NO_ANALYSIS enum walk note_kept(struct chunk *k, void *ctx)
{
	struct kept *s = ctx;

	for (uint32_t m = k->kept; m && !s->too_many; m &= m - 1) {
		uint64_t index = k->index * CACHE_CHUNK_PAGES + (unsigned)__builtin_ctz(m);

		if (has(s, index))
			continue;
		s->too_many = s->count == s->max;
		if (!s->too_many)
			s->pages[s->count++] = index;
	}
	return s->too_many ? WALK_STOP : WALK_NEXT;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

int cache_flush_kept_all(struct cache_file *f, uint64_t ret[], unsigned max, unsigned *ret_count)
{
	struct kept s = { .pages = ret, .max = max };
	int rc = flush_kept_chunks(f, max);

	if (rc)
		return rc;
	/* With those that somebody else is writing back: that may fail. */
	chunk_walk(f, 0, UINT64_MAX, note_kept, &s);
	if (s.too_many)
		return err_set(-E2BIG, "more than %u pages cannot be written back", max);
	qsort(ret, s.count, sizeof(ret[0]), compare);
	*ret_count = s.count;
	return 0;
}

static int copy_locked(struct cache_file *f, struct chunk *k, uint64_t index, void *buf, uint32_t *ret_crc)
        SYNC_REQUIRES(k->lock)
{
	unsigned slot = index % CACHE_CHUNK_PAGES;

	if (!(k->kept & 1u << slot))
		return -ENOENT;
	/* The map may have a hole there already, and the page is still to be dropped. */
	if (punch_covers(f, index, index + 1))
		return -EAGAIN;
	memcpy(buf, page_data(&f->cache->pages, k->page[slot]), CACHE_PAGE_BYTES);
	*ret_crc = k->crc[slot];
	return 0;
}

int cache_copy_kept(struct cache_file *f, uint64_t index, void *buf, uint32_t *ret_crc)
{
	struct chunk *k = chunk_get(f, index / CACHE_CHUNK_PAGES);
	int rc;

	if (!k)
		return -ENOENT;
	sync_mutex_lock(&k->lock);
	rc = copy_locked(f, k, index, buf, ret_crc);
	sync_mutex_unlock(&k->lock);
	chunk_unref(k);
	if (!rc && crc32c(buf, CACHE_PAGE_BYTES) != *ret_crc)
		rc = err_set(-EIO, "page %" PRIu64 " of a file changed in memory", index);
	return rc;
}
