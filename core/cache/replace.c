/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Replacing whole pages in two steps: everything that can fail or wait comes first, so that a file system can make the
 * second step a part of a change that must not fail in the middle.
 */
#include "core/cache/cache_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/checked.h"
#include "core/base/err.h"

struct incoming {
	struct chunk *chunk; /* referenced; NULL: that of the page before it */
	unsigned slot;
	uint32_t page; /* ours until the commit */
	uint32_t crc;
};

struct cache_replacement {
	struct cache_file *file;
	struct punch *punch;
	unsigned count;
	struct incoming pages[];
};

static void give_back(struct cache_replacement *r)
{
	struct pages *p = &r->file->cache->pages;

	for (unsigned i = 0; i < r->count; i++) {
		pages_put(p, &r->pages[i].page, 1);
		if (r->pages[i].chunk)
			chunk_unref(r->pages[i].chunk);
	}
	r->count = 0;
}

static int take_page(struct cache_replacement *r, const struct cache_new_page *from, struct stash *s, unsigned left)
{
	struct cache_file *f = r->file;
	struct incoming *to = &r->pages[r->count];
	uint64_t index = from->index / CACHE_CHUNK_PAGES;
	int rc = 0;

	*to = (struct incoming){ .slot = from->index % CACHE_CHUNK_PAGES, .crc = from->crc };
	if (!s->count)
		rc = stash_fill(f->cache, s, 1, (unsigned)min_u64(left, STASH_PAGES), 0);
	if (!rc && (!r->count || from[-1].index / CACHE_CHUNK_PAGES != index))
		rc = chunk_get_or_new(f, index, 0, &to->chunk);
	if (rc)
		return rc;
	to->page = s->ids[--s->count];
	if (from->data)
		memcpy(page_data(&f->cache->pages, to->page), from->data, CACHE_PAGE_BYTES);
	else
		memset(page_data(&f->cache->pages, to->page), 0, CACHE_PAGE_BYTES);
	r->count++;
	return 0;
}

int cache_replace_begin(struct cache_file *f, const struct cache_new_page pages[], unsigned count,
                        struct cache_replacement **ret)
{
	struct cache_replacement *r = malloc(sizeof(*r) + count * sizeof(r->pages[0]));
	struct stash s = { .count = 0 };
	int rc = 0;

	always(count);
	if (!r)
		return err_set(-ENOMEM, "no memory to replace %u pages", count);
	r->file = f;
	r->count = 0;
	for (unsigned i = 0; i < count && !rc; i++) {
		always(!i || pages[i].index > pages[i - 1].index);
		rc = take_page(r, &pages[i], &s, count - i);
	}
	stash_empty(f->cache, &s);
	if (!rc)
		rc = punch_begin(f, pages[0].index, pages[count - 1].index + 1, 0, &r->punch);
	if (rc) {
		give_back(r);
		free(r);
		return rc;
	}
	*ret = r;
	return 0;
}

static void end(struct cache_replacement *r)
{
	struct cache *c = r->file->cache;

	punch_end(r->file, r->punch);
	free(r);
	if (__atomic_load_n(&c->dirty_pages, __ATOMIC_RELAXED) > c->dirty_background_pages)
		writeback_kick(c);
}

/* Pages [from, to) of one chunk. */
static void install(struct cache_replacement *r, struct chunk *k, unsigned from, unsigned to)
{
	struct pages *p = &r->file->cache->pages;
	uint32_t mask = 0;

	sync_mutex_lock(&k->lock);
	for (unsigned i = from; i < to; i++) {
		struct incoming *in = &r->pages[i];

		page_unref(p, k->page[in->slot]);
		k->page[in->slot] = in->page;
		k->crc[in->slot] = in->crc;
		mask |= 1u << in->slot;
	}
	always(!(k->writeback & mask));
	cache_raise_end(r->file, (k->index * CACHE_CHUNK_PAGES + r->pages[to - 1].slot + 1) * CACHE_PAGE_BYTES);
	k->valid |= mask;
	k->hole &= ~mask;
	chunk_touch(k, mask);
	dirty_set_logged(k, mask);
	sync_mutex_unlock(&k->lock);
	chunk_unref(k);
}

void cache_replace_commit(struct cache_replacement *r)
{
	for (unsigned from = 0, to; from < r->count; from = to) {
		for (to = from + 1; to < r->count && !r->pages[to].chunk;)
			to++;
		install(r, r->pages[from].chunk, from, to);
	}
	end(r);
}

void cache_replace_abort(struct cache_replacement *r)
{
	if (!r)
		return;
	give_back(r);
	end(r);
}
