/* SPDX-License-Identifier: BSD-3-Clause */
/* A stack of free buffers under one short lock; memory is taken and charged outside it. */
#include "core/base/bufpool.h"

#include <stdlib.h>

#include "core/base/assert.h"
#include "core/base/budget.h"
#include "core/base/sync.h"

#define BUF_ALIGN 4096

struct bufpool {
	struct sync_mutex lock;
	size_t buf_bytes;
	size_t keep_max;
	struct budget_consumer *charge;
	size_t free_count SYNC_GUARDED_BY(lock);
	size_t out_count SYNC_GUARDED_BY(lock);
	void *free_bufs[] SYNC_GUARDED_BY(lock); /* keep_max places */
};

struct bufpool *bufpool_new(size_t buf_bytes, size_t keep_max, struct budget_consumer *charge)
{
	struct bufpool *p;

	always(buf_bytes && buf_bytes % BUF_ALIGN == 0);
	p = calloc(1, sizeof(*p) + keep_max * sizeof(p->free_bufs[0]));
	if (!p)
		return NULL;
	sync_mutex_init(&p->lock, SYNC_RANK_LEAF, "bufpool");
	p->buf_bytes = buf_bytes;
	p->keep_max = keep_max;
	p->charge = charge;
	return p;
}

/* Nobody else uses the pool any more. */
SYNC_NO_ANALYSIS void bufpool_free(struct bufpool *p)
{
	if (!p)
		return;
	always(p->out_count == 0);
	bufpool_trim(p);
	sync_mutex_done(&p->lock);
	free(p);
}

void *bufpool_get(struct bufpool *p)
{
	void *buf = NULL;

	sync_mutex_lock(&p->lock);
	p->out_count++;
	if (p->free_count)
		buf = p->free_bufs[--p->free_count];
	sync_mutex_unlock(&p->lock);
	if (buf)
		return buf;

	if (p->charge)
		budget_charge(p->charge, p->buf_bytes);
	buf = aligned_alloc(BUF_ALIGN, p->buf_bytes);
	if (buf)
		return buf;
	if (p->charge)
		budget_uncharge(p->charge, p->buf_bytes);
	sync_mutex_lock(&p->lock);
	p->out_count--;
	sync_mutex_unlock(&p->lock);
	return NULL;
}

void bufpool_put(struct bufpool *p, void *buf)
{
	bool kept = false;

	if (!buf)
		return;
	sync_mutex_lock(&p->lock);
	always(p->out_count > 0);
	p->out_count--;
	if (p->free_count < p->keep_max) {
		p->free_bufs[p->free_count++] = buf;
		kept = true;
	}
	sync_mutex_unlock(&p->lock);
	if (kept)
		return;
	free(buf);
	if (p->charge)
		budget_uncharge(p->charge, p->buf_bytes);
}

size_t bufpool_trim(struct bufpool *p)
{
	size_t freed = 0;

	for (;;) {
		void *buf = NULL;

		sync_mutex_lock(&p->lock);
		if (p->free_count)
			buf = p->free_bufs[--p->free_count];
		sync_mutex_unlock(&p->lock);
		if (!buf)
			break;
		free(buf);
		freed += p->buf_bytes;
	}
	if (freed && p->charge)
		budget_uncharge(p->charge, freed);
	return freed;
}
