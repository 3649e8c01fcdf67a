/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checking root slots, and choosing the newest root.
 *
 * What a crash may leave: the newest root in the front rings only, and a torn slot of the root that was being written.
 * Everything older was complete in all rings before the next one was begun.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/wfs3/check_priv.h"
#include "core/fs/wfs3/label_priv.h"

enum slot_state {
	SLOT_EMPTY,
	SLOT_VALID,
	SLOT_BAD,
};

struct slot {
	enum slot_state state;
	struct root root; /* of a valid one */
	uint64_t claimed_txg; /* of a bad one, as far as it can be told; else 0 */
};

/* One ring: a device's front or back one. */
struct ring {
	unsigned device; /* a member */
	bool back;
	uint64_t offset;
	struct slot slots[LABEL_ROOT_SLOTS];
};

struct rings {
	struct ring *rings;
	unsigned count;
	uint8_t *block;
};

static void look_at(struct check *c, struct rings *rs, struct ring *ring, unsigned index)
{
	const struct check_member *m = &c->members[ring->device];
	struct slot *s = &ring->slots[index];
	unsigned tries = 0;
	int rc;

	do {
		*s = (struct slot){ .state = SLOT_BAD };
		rc = blk_read(m->dev, ring->offset + index * WFS3_BLOCK_BYTES, rs->block, WFS3_BLOCK_BYTES);
		if (rc)
			continue;
		if (bytes_are_zero(rs->block, WFS3_BLOCK_BYTES)) {
			s->state = SLOT_EMPTY;
		} else if (!root_decode(rs->block, m->label.pool_uuid, &s->root) &&
		           s->root.txg % LABEL_ROOT_SLOTS == index) {
			s->state = SLOT_VALID;
		} else {
			uint64_t txg = get_le64(rs->block + ROOT_OFF_TXG);

			if (get_le64(rs->block) == ROOT_MAGIC && txg <= WFS3_TXG_MAX && txg % LABEL_ROOT_SLOTS == index)
				s->claimed_txg = txg;
		}
	} while (s->state == SLOT_BAD && check_again(c, &tries));
}

static void read_ring(struct check *c, struct rings *rs, unsigned member, bool back)
{
	struct ring *ring = &rs->rings[rs->count++];
	uint64_t device_bytes = c->members[member].label.layout.device_bytes;

	ring->device = member;
	ring->back = back;
	ring->offset = LABEL_ROOTS_OFFSET + (back ? label_back_offset(device_bytes) : 0);
	for (unsigned i = 0; i < LABEL_ROOT_SLOTS; i++)
		look_at(c, rs, ring, i);
}

static int read_rings(struct check *c, struct rings *ret)
{
	ret->rings = calloc((size_t)2 * WFS3_DEVICES_MAX, sizeof(*ret->rings));
	ret->block = aligned_alloc(4096, WFS3_BLOCK_BYTES);
	if (!ret->rings || !ret->block)
		return err_set(-ENOMEM, "no memory for roots");
	for (unsigned g = 0; g < c->group_count; g++)
		for (unsigned i = 0; i < c->groups[g].copy_count; i++) {
			read_ring(c, ret, c->groups[g].copies[i], false);
			read_ring(c, ret, c->groups[g].copies[i], true);
		}
	return check_step(c, (uint64_t)ret->count * LABEL_ROOTS_BYTES);
}

/* The newest valid root below @limit. NULL: none. */
static const struct root *newest_below(const struct rings *rs, uint64_t limit)
{
	const struct root *best = NULL;

	for (unsigned i = 0; i < rs->count; i++)
		for (unsigned j = 0; j < LABEL_ROOT_SLOTS; j++) {
			const struct slot *s = &rs->rings[i].slots[j];

			if (s->state == SLOT_VALID && s->root.txg < limit && (!best || s->root.txg > best->txg))
				best = &s->root;
		}
	return best;
}

/* Of a pool in use only the tree is known. */
static bool same(const struct check *c, const struct root *a, const struct root *b)
{
	uint8_t x[WFS3_BLOCK_BYTES], y[WFS3_BLOCK_BYTES];

	if (c->live)
		return a->pool_tree.addr == b->pool_tree.addr && hash128_equal(a->pool_tree.hash, b->pool_tree.hash);
	root_encode(a, x);
	root_encode(b, y);
	return !memcmp(x, y, sizeof(x));
}

static bool is_anywhere(const struct rings *rs, uint64_t txg)
{
	for (unsigned i = 0; i < rs->count; i++) {
		const struct slot *s = &rs->rings[i].slots[txg % LABEL_ROOT_SLOTS];

		if (s->state == SLOT_VALID && s->root.txg == txg)
			return true;
	}
	return false;
}

/* Front rings are durable before back rings are written. */
static bool is_in_a_back_ring(const struct rings *rs, const struct root *r)
{
	for (unsigned i = 0; i < rs->count; i++) {
		const struct slot *s = &rs->rings[i].slots[r->txg % LABEL_ROOT_SLOTS];

		if (rs->rings[i].back && s->state == SLOT_VALID && s->root.txg == r->txg)
			return true;
	}
	return false;
}

/* A root that should stand in every ring. @may_miss: a crash while it was written may be the reason when it does not.
 */
static void check_copies(struct check *c, const struct rings *rs, const struct root *r, bool may_miss)
{
	unsigned index = r->txg % LABEL_ROOT_SLOTS;
	bool in_back = is_in_a_back_ring(rs, r);

	for (unsigned i = 0; i < rs->count; i++) {
		const struct ring *ring = &rs->rings[i];
		const struct slot *s = &ring->slots[index];
		const char *where = ring->back ? "back" : "front", *what = NULL;
		bool by_crash = may_miss && (ring->back || !in_back);
		struct pool_finding *f;

		if (s->state == SLOT_VALID && s->root.txg == r->txg && !same(c, &s->root, r)) {
			what = "differs from its other copies";
			by_crash = false;
		}
		if (s->state == SLOT_BAD)
			what = "is damaged";
		else if (s->state != SLOT_VALID || s->root.txg != r->txg)
			what = "is missing";
		/* While the pool works, newer roots take the place of this one. */
		if (!what || (c->live && s->state == SLOT_VALID && s->root.txg > r->txg))
			continue;
		if (by_crash)
			f = check_note(c, POOL_FINDING_ROOT, "root %" PRIu64 " %s in the %s ring", r->txg, what, where);
		else
			f = check_damage(c, POOL_FINDING_ROOT, "root %" PRIu64 " %s in the %s ring", r->txg, what,
			                 where);
		check_at_device(f, ring->device, ring->offset + index * WFS3_BLOCK_BYTES);
	}
}

static void check_others(struct check *c, const struct rings *rs, const struct root *newest, const struct root *before)
{
	for (unsigned i = 0; i < rs->count; i++)
		for (unsigned j = 0; j < LABEL_ROOT_SLOTS; j++) {
			const struct ring *ring = &rs->rings[i];
			const struct slot *s = &ring->slots[j];
			struct pool_finding *f;

			if (s->state != SLOT_BAD || j == newest->txg % LABEL_ROOT_SLOTS ||
			    (before && j == before->txg % LABEL_ROOT_SLOTS))
				continue;
			/* Back rings are written when the front ones are durable: this one had been complete. */
			if (ring->back && s->claimed_txg > newest->txg)
				f = check_damage(c, POOL_FINDING_ROOT, "root %" PRIu64 ", a newer one, is damaged",
				                 s->claimed_txg);
			else
				f = check_note(c, POOL_FINDING_ROOT, "an old root slot is damaged; it is not needed");
			check_at_device(f, ring->device, ring->offset + j * WFS3_BLOCK_BYTES);
		}
}

int check_roots(struct check *c)
{
	struct rings rs = { 0 };
	const struct root *newest, *before;
	int rc = read_rings(c, &rs);

	if (rc)
		goto out;
	newest = c->live ? &c->root : newest_below(&rs, UINT64_MAX);
	if (!newest) {
		check_damage(c, POOL_FINDING_ROOT, "no valid root on any device");
		c->report->partial = true;
		goto out;
	}
	/* While the pool works, the rings were not read at one moment: only the root that was given is known to be
	 * there, unless it was overwritten meanwhile (or is not the newest: the pool is read-only). */
	before = c->live ? NULL : newest_below(&rs, newest->txg);
	if (!c->live || is_anywhere(&rs, newest->txg))
		check_copies(c, &rs, newest, !c->live);
	/* A crash in the middle of the one before leaves it so until the ring comes round. An orderly end has two whole
	 * ones: the import's first, and the last. */
	if (before)
		check_copies(c, &rs, before, !newest->clean);
	if (!c->live) {
		c->root = *newest;
		c->ring = newest->space;
		c->ring_txg = newest->txg;
		c->has_root = true;
	}
	check_others(c, &rs, newest, before);
	c->report->txg = c->root.txg;
	c->report->total_blocks = c->root.space.used_blocks;
out:
	free(rs.rings);
	free(rs.block);
	return rc;
}
