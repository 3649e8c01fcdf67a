/* SPDX-License-Identifier: BSD-3-Clause */
/* Which bytes of a device hold allocation state: for copying it to another device. */
#include "core/base/checked.h"
#include "core/fs/wfs3/space_priv.h"

int space_copy_state(struct space *s, unsigned device, space_copy_fn *copy, void *ctx)
{
	const struct space_layout *l = &s->devices[device].layout;
	uint64_t tail = space_ring_tail(&s->ring), len = s->ring.head - tail, at = tail % s->ring.bytes;
	uint64_t first = min_u64(len, s->ring.bytes - at);
	int rc = copy(ctx, l->slots_offset, l->region_count * 2 * space_slot_bytes(s->region_bytes));

	if (device)
		return rc;
	if (!rc && first)
		rc = copy(ctx, l->ring_offset + at, first);
	if (!rc && len > first)
		rc = copy(ctx, l->ring_offset, len - first);
	return rc;
}

uint64_t space_oldest_pin(struct space *s)
{
	return space_pins_oldest(&s->pins);
}
