/* SPDX-License-Identifier: BSD-3-Clause */
/* Which records of the ring of allocation changes are kept. FORMAT.md, "Ring of allocation changes". No I/O. */
#include <errno.h>
#include <stdlib.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/fs/wfs3/space_priv.h"

int space_ring_new(struct space_ring *r, uint64_t bytes)
{
	*r = (struct space_ring){ .bytes = bytes };
	r->capacity = (uint32_t)(bytes / WFS3_BLOCK_BYTES) + 1;
	r->records = calloc(r->capacity, sizeof(*r->records));
	return r->records ? 0 : err_set(-ENOMEM, "ring of allocation changes");
}

void space_ring_done(struct space_ring *r)
{
	free(r->records);
}

static const struct space_ring_record *record_at(const struct space_ring *r, uint32_t index)
{
	return &r->records[(r->first + index) % r->capacity];
}

uint64_t space_ring_tail(const struct space_ring *r)
{
	return r->count ? record_at(r, 0)->position : r->head;
}

uint64_t space_ring_needed(const struct space_ring *r, uint64_t txg)
{
	uint32_t low = 0, high = r->count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (record_at(r, mid)->txg > txg)
			high = mid;
		else
			low = mid + 1;
	}
	return low < r->count ? record_at(r, low)->position : r->head;
}

void space_ring_push(struct space_ring *r, uint64_t txg, uint64_t len_bytes)
{
	always(r->count < r->capacity && txg > r->last_txg);
	r->records[(r->first + r->count) % r->capacity] = (struct space_ring_record){ txg, r->head };
	r->count++;
	r->last_txg = txg;
	r->last_position = r->head;
	r->head += len_bytes;
}

static void drop_oldest(struct space_ring *r)
{
	r->first = (r->first + 1) % r->capacity;
	r->count--;
}

void space_ring_trim(struct space_ring *r, uint64_t base_txg)
{
	uint64_t needed = space_ring_needed(r, base_txg);

	while (r->head - space_ring_tail(r) > r->bytes / 2 && space_ring_tail(r) < needed)
		drop_oldest(r);
	/* Only after damage: the older slots that were loaded reach far back, and the fallback root gives way. */
	while (r->head - space_ring_tail(r) > r->bytes / 4 * 3)
		drop_oldest(r);
}
