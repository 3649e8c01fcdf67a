/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Repair of the allocation state on mirrors: slots and ring records that one copy has and another one lacks. What is to
 * be done is noted while the state is loaded, and done when it is certain that this state is the pool's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/blk/mirror.h"
#include "core/fs/wfs3/space_load.h"

#define REPAIR_BYTES (UINT64_C(1) << 20)

struct slot_repair {
	uint64_t offset;
	uint32_t device;
	uint8_t good, lacking; /* a copy; a mask of copies */
};

struct space_repairs {
	struct slot_repair *slots;
	size_t count, room;
	struct space_chain chain;
};

struct space_repairs *space_repairs_new(void)
{
	return calloc(1, sizeof(struct space_repairs));
}

int space_repairs_add_slot(struct space_repairs *r, uint64_t offset, uint32_t device, unsigned good, unsigned lacking)
{
	if (r->count == r->room) {
		size_t room = r->room ? 2 * r->room : 64;
		struct slot_repair *p = realloc(r->slots, room * sizeof(*p));

		if (!p)
			return err_set(-ENOMEM, "bitmap slots");
		r->slots = p;
		r->room = room;
	}
	r->slots[r->count++] = (struct slot_repair){
		.offset = offset, .device = device, .good = (uint8_t)good, .lacking = (uint8_t)lacking
	};
	return 0;
}

void space_repairs_set_chain(struct space_repairs *r, struct space_chain *c)
{
	r->chain = *c;
	*c = (struct space_chain){ 0 };
}

void space_repairs_free(struct space_repairs *r)
{
	if (!r)
		return;
	space_chain_done(&r->chain);
	free(r->slots);
	free(r);
}

static void repair_slot(const struct space *s, const struct slot_repair *r, uint8_t *buf)
{
	struct blk_dev *dev = s->devices[r->device].dev;
	size_t len = space_slot_bytes(s->region_bytes);

	if (!mirror_read_copy(dev, r->good, r->offset, buf, len))
		mirror_rewrite(dev, r->lacking, r->offset, buf, len);
}

/* A copy that goes away meanwhile needs nothing more. */
static void repair_ring(const struct space *s, const struct space_chain *c, unsigned copy, uint8_t *buf)
{
	const struct space_record *last = &c->records[c->count - 1];
	uint64_t start = c->records[0].position, len = last->position + last->len_bytes - start;
	struct blk_dev *dev = s->devices[0].dev;
	int rc = 0;

	for (uint64_t done = 0, offset, n; done < len && !rc; done += n) {
		const uint8_t *want = c->bytes + (start - c->position) + done;

		n = space_ring_locate(s, start + done, min_u64(REPAIR_BYTES, len - done), &offset);
		rc = space_read_copy(dev, copy, offset, buf, n, WFS3_BLOCK_BYTES);
		if (rc || !memcmp(buf, want, n))
			continue;
		memcpy(buf, want, n);
		mirror_rewrite(dev, 1u << copy, offset, buf, n);
	}
}

_Static_assert(SPACE_RECORD_HEADER_BYTES < REPAIR_BYTES, "a buffer for both");

void space_repair(struct space *s)
{
	struct space_repairs *r = s->repairs;
	uint8_t *buf = r ? aligned_alloc(WFS3_BLOCK_BYTES, REPAIR_BYTES) : NULL;

	for (size_t i = 0; buf && i < r->count; i++)
		repair_slot(s, &r->slots[i], buf);
	for (unsigned i = 0; buf && r->chain.count && i < MIRROR_COPIES_MAX; i++)
		repair_ring(s, &r->chain, i, buf);
	free(buf);
	space_repairs_free(r);
	s->repairs = NULL;
}
