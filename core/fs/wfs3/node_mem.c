/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of node pages: slabs of 2 MiB, so that a page costs what it holds (aligned pieces from the general allocator
 * cost a quarter more) and the processor's address cache covers many nodes. Who charges the budget is node_cache.c.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/base/assert.h"
#include "core/fs/wfs3/tree_priv.h"

#define SLAB_BYTES ((size_t)2 << 20)
#define SLAB_PAGES (SLAB_BYTES / WFS3_NODE_BYTES)
#define SLAB_WORDS (SLAB_PAGES / 64)

struct node_slab {
	struct cds_list_head link; /* in mem->partial while it has free pages */
	uint8_t *base;
	unsigned free_count;
	uint64_t free_bits[SLAB_WORDS];
};

_Static_assert(offsetof(struct node_slab, link) == 0, "a link in the list is its slab");

static struct node_slab *slab_new(void)
{
	struct node_slab *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->base = aligned_alloc(SLAB_BYTES, SLAB_BYTES);
	if (!s->base) {
		free(s);
		return NULL;
	}
	/* Only speed depends on it. */
	(void)madvise(s->base, SLAB_BYTES, MADV_HUGEPAGE);
	s->free_count = SLAB_PAGES;
	memset(s->free_bits, 0xff, sizeof(s->free_bits));
	return s;
}

static void slab_free(struct node_slab *s)
{
	if (!s)
		return;
	free(s->base);
	free(s);
}

static uint8_t *slab_take(struct node_slab *s)
{
	for (unsigned i = 0; i < SLAB_WORDS; i++) {
		unsigned bit;

		if (!s->free_bits[i])
			continue;
		bit = (unsigned)__builtin_ctzll(s->free_bits[i]);
		s->free_bits[i] &= s->free_bits[i] - 1;
		s->free_count--;
		return s->base + (size_t)(i * 64 + bit) * WFS3_NODE_BYTES;
	}
	return NULL;
}

void node_mem_init(struct node_mem *m)
{
	sync_mutex_init(&m->lock, SYNC_RANK_LEAF, "node memory");
	CDS_INIT_LIST_HEAD(&m->partial);
	m->empty = NULL;
}

void node_mem_done(struct node_mem *m)
{
	always(cds_list_empty(&m->partial));
	slab_free(m->empty);
	sync_mutex_done(&m->lock);
}

uint8_t *node_mem_get(struct node_mem *m, struct node_slab **ret_slab)
{
	struct node_slab *s = NULL, *fresh = NULL;
	uint8_t *page;

	sync_mutex_lock(&m->lock);
	if (cds_list_empty(&m->partial) && !m->empty) {
		sync_mutex_unlock(&m->lock);
		fresh = slab_new();
		if (!fresh)
			return NULL;
		sync_mutex_lock(&m->lock);
	}
	if (!cds_list_empty(&m->partial)) {
		s = (void *)m->partial.next;
	} else {
		s = m->empty ? m->empty : fresh;
		if (s == fresh)
			fresh = NULL;
		else
			m->empty = NULL;
		cds_list_add(&s->link, &m->partial);
	}
	page = slab_take(s);
	if (!s->free_count)
		cds_list_del(&s->link);
	sync_mutex_unlock(&m->lock);
	slab_free(fresh);
	*ret_slab = s;
	return page;
}

void node_mem_put(struct node_mem *m, struct node_slab *s, uint8_t *page)
{
	unsigned at = (unsigned)((size_t)(page - s->base) / WFS3_NODE_BYTES);
	struct node_slab *unused = NULL;

	sync_mutex_lock(&m->lock);
	always(!(s->free_bits[at / 64] & UINT64_C(1) << at % 64));
	s->free_bits[at / 64] |= UINT64_C(1) << at % 64;
	if (!s->free_count++)
		cds_list_add_tail(&s->link, &m->partial);
	if (s->free_count == SLAB_PAGES) {
		/* One is kept, so that the last node's coming and going does not cost a slab each time. */
		cds_list_del(&s->link);
		unused = m->empty;
		m->empty = s;
	}
	sync_mutex_unlock(&m->lock);
	slab_free(unused);
}
