/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading the ring of allocation changes back and applying it. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/blk/blk.h"
#include "core/blk/mirror.h"
#include "core/fs/wfs3/space_load.h"

static const uint8_t *entries_of(const struct space_chain *c, const struct space_record *r)
{
	return c->bytes + (r->position - c->position) + SPACE_RECORD_HEADER_BYTES;
}

uint64_t space_ring_locate(const struct space *s, uint64_t position, uint64_t len, uint64_t *ret_offset)
{
	const struct space_layout *l = &s->devices[0].layout;
	uint64_t at = position % l->ring_bytes;

	*ret_offset = l->ring_offset + at;
	return min_u64(l->ring_bytes - at, len);
}

static int read_bytes(const struct space *s, struct space_chain *c, uint64_t len)
{
	int rc = 0;

	for (uint64_t done = 0, offset, n; done < len && !rc; done += n) {
		n = space_ring_locate(s, c->position + done, len - done, &offset);
		rc = space_read_tolerant(s->devices[0].dev, offset, c->bytes + done, n, WFS3_BLOCK_BYTES);
	}
	return rc;
}

static int read_of_copy(const struct space *s, unsigned copy, uint64_t position, uint8_t *buf, uint64_t len)
{
	int rc = 0;

	for (uint64_t done = 0, offset, n; done < len && !rc; done += n) {
		n = space_ring_locate(s, position + done, len - done, &offset);
		rc = space_read_copy(s->devices[0].dev, copy, offset, buf + done, n, WFS3_BLOCK_BYTES);
	}
	return rc;
}

/* The record at @at is damaged in the copy that was read: is it whole in another one? */
static int take_from_copies(const struct space *s, struct space_chain *c, uint64_t at, uint64_t len,
                            struct space_record *ret)
{
	int rc = err_set(-EUCLEAN, "ring position %" PRIu64 ": damaged", c->position + at);

	for (unsigned i = 0; i < MIRROR_COPIES_MAX && blk_is_mirror(s->devices[0].dev); i++) {
		uint8_t *buf = c->bytes + at;
		uint64_t bytes;

		if (read_of_copy(s, i, c->position + at, buf, WFS3_BLOCK_BYTES))
			continue;
		bytes = space_record_probe(buf);
		if (!bytes || bytes > len - at)
			continue;
		if (!read_of_copy(s, i, c->position + at, buf, bytes) &&
		    !space_record_decode(buf, len - at, s->pool_uuid, c->position + at, ret))
			return 0;
	}
	return rc;
}

static int append(struct space_chain *c, const struct space_record *r)
{
	if (c->count == c->capacity) {
		uint32_t capacity = c->capacity ? 2 * c->capacity : 64;
		struct space_record *p = realloc(c->records, capacity * sizeof(*p));

		if (!p)
			return err_set(-ENOMEM, "ring of allocation changes");
		c->records = p;
		c->capacity = capacity;
	}
	c->records[c->count++] = *r;
	return 0;
}

/* Behind a damaged record the chain begins anew. */
static int parse(const struct space *s, struct space_chain *c, uint64_t txg, uint64_t len)
{
	for (uint64_t at = 0; at < len;) {
		const struct space_record *last = c->count ? &c->records[c->count - 1] : NULL;
		struct space_record r;
		int rc = space_record_decode(c->bytes + at, len - at, s->pool_uuid, c->position + at, &r);

		if (rc)
			rc = take_from_copies(s, c, at, len, &r);
		if (!rc && r.txg > txg)
			rc = err_set(-EUCLEAN, "ring position %" PRIu64 ": txg %" PRIu64 " is newer than the root",
			             r.position, r.txg);
		if (rc || (last && (r.prev_txg != last->txg || r.prev_position != last->position)))
			c->count = 0;
		if (rc) {
			at += WFS3_BLOCK_BYTES;
			continue;
		}
		rc = append(c, &r);
		if (rc)
			return rc;
		at += r.len_bytes;
	}
	return c->count ? 0 : err_add(-EUCLEAN, "newest record of allocation changes");
}

int space_chain_read(const struct space *s, uint64_t txg, const struct space_root *root, struct space_chain *ret)
{
	struct space_chain c = { .position = root->ring_tail };
	uint64_t len = root->ring_head - root->ring_tail;
	int rc;

	if (root->ring_tail > root->ring_head || ((root->ring_tail | root->ring_head) & (WFS3_BLOCK_BYTES - 1)) ||
	    len > s->ring.bytes / 4 * 3 || (!len && root->ring_head))
		return err_set(-EUCLEAN, "ring of allocation changes from %" PRIu64 " to %" PRIu64, root->ring_tail,
		               root->ring_head);
	if (!len) {
		*ret = c;
		return 0;
	}
	c.bytes = aligned_alloc(4096, len);
	rc = c.bytes ? read_bytes(s, &c, len) : err_set(-ENOMEM, "ring of %" PRIu64 " bytes", len);
	if (!rc)
		rc = parse(s, &c, txg, len);
	if (rc) {
		space_chain_done(&c);
		return rc;
	}
	c.covered_txg = c.records[0].prev_txg;
	*ret = c;
	return 0;
}

void space_chain_done(struct space_chain *c)
{
	free(c->bytes);
	free(c->records);
}

static bool names_region(const struct space_chain *c, const struct space_record *r, uint32_t region)
{
	return region / 64 < r->entry_count && get_le64(entries_of(c, r) + region / 64 * 8) >> region % 64 & 1;
}

bool space_chain_last_is_large(const struct space_chain *c, uint64_t txg, uint32_t region)
{
	const struct space_record *r = c->count ? &c->records[c->count - 1] : NULL;

	return r && r->txg == txg && r->large && names_region(c, r, region);
}

static int get_entry(const struct space *s, const struct space_chain *c, const struct space_record *r, uint32_t i,
                     struct space_entry *ret, struct space_place *ret_place)
{
	*ret = space_entry_unpack(get_le64(entries_of(c, r) + (uint64_t)i * SPACE_ENTRY_BYTES));
	if (!space_place_find(s, ret->addr, ret->block_count, ret_place))
		return err_set(-EUCLEAN, "ring record of txg %" PRIu64 ": entry 0x%" PRIx64 " + %u is outside the pool",
		               r->txg, ret->addr, ret->block_count);
	return 0;
}

/* False: it contradicts the bitmap. */
static bool change_bits(uint64_t *bm, uint32_t block, const struct space_entry *e)
{
	if (e->freed) {
		if (!bits_all_set(bm, block, e->block_count))
			return false;
		bits_clear(bm, block, e->block_count);
	} else {
		if (!bits_all_clear(bm, block, e->block_count))
			return false;
		bits_set(bm, block, e->block_count);
	}
	return true;
}

static int apply_record(struct space *s, const struct space_chain *c, const struct space_record *r,
                        struct space_before *before)
{
	bool last = r == &c->records[c->count - 1];

	for (uint32_t i = 0; i < r->entry_count; i++) {
		struct space_entry e;
		struct space_place p;
		int rc = get_entry(s, c, r, i, &e, &p);

		if (rc)
			return rc;
		if (s->regions[p.region].newest_txg < r->txg &&
		    !change_bits(space_bitmap(s, s->disk, p.region), p.block, &e))
			return err_set(-EUCLEAN, "ring record of txg %" PRIu64 ": 0x%" PRIx64 " + %u is %s already",
			               r->txg, e.addr, e.block_count, e.freed ? "free" : "in use");
		if (!last && before[p.region].bitmap && before[p.region].txg < r->txg &&
		    !change_bits(before[p.region].bitmap, p.block, &e))
			return err_set(-EUCLEAN,
			               "ring record of txg %" PRIu64 ": 0x%" PRIx64 " + %u does not fit older slot",
			               r->txg, e.addr, e.block_count);
	}
	return 0;
}

/* The changes are in slots only: they have to be there. */
static int check_large(const struct space *s, const struct space_chain *c, const struct space_record *r,
                       struct space_before *before)
{
	bool last = r == &c->records[c->count - 1];

	for (uint32_t i = 0; i < s->region_count; i++) {
		if (!names_region(c, r, i))
			continue;
		if (s->regions[i].newest_txg < r->txg)
			return err_set(-EUCLEAN,
			               "region %u (device %u, physical %u): its bitmap of txg %" PRIu64 " is lost",
			               i + 1, s->regions[i].device, s->regions[i].physical, r->txg);
		if (!last && before[i].bitmap && before[i].txg < r->txg) {
			free(before[i].bitmap);
			before[i].bitmap = NULL;
		}
	}
	return 0;
}

int space_chain_apply(struct space *s, const struct space_chain *c, struct space_before *before)
{
	int rc = 0;

	for (uint32_t i = 0; i < c->count && !rc; i++) {
		const struct space_record *r = &c->records[i];

		rc = r->large ? check_large(s, c, r, before) : apply_record(s, c, r, before);
	}
	return rc;
}

struct freed {
	struct space_pending *list;
	uint32_t capacity;
};

static int add_freed(struct freed *f, struct space_run run)
{
	if (!f->list || f->list->run_count == f->capacity) {
		uint32_t capacity = f->capacity ? 2 * f->capacity : 64;
		struct space_pending *p = realloc(f->list, sizeof(*p) + capacity * sizeof(p->runs[0]));

		if (!p)
			return err_set(-ENOMEM, "freed runs");
		if (!f->list)
			*p = (struct space_pending){ 0 };
		f->list = p;
		f->capacity = capacity;
	}
	f->list->runs[f->list->run_count++] = run;
	return 0;
}

static int freed_of_record(const struct space *s, const struct space_chain *c, struct freed *f)
{
	const struct space_record *r = &c->records[c->count - 1];
	int rc = 0;

	for (uint32_t i = 0; i < r->entry_count && !rc; i++) {
		struct space_entry e;
		struct space_place p;

		rc = get_entry(s, c, r, i, &e, &p);
		if (!rc && e.freed)
			rc = add_freed(f, (struct space_run){ e.addr, e.block_count });
	}
	return rc;
}

static int freed_of_region(const struct space *s, uint32_t region, const uint64_t *before, struct freed *f)
{
	const uint64_t *now = space_bitmap(s, s->disk, region);
	int rc = 0;

	for (uint32_t w = 0; w < s->region_words && !rc; w++)
		for (uint64_t bits = before[w] & ~now[w]; bits && !rc;) {
			uint32_t first = (uint32_t)__builtin_ctzll(bits);
			uint64_t rest = bits >> first;
			uint32_t n = rest == UINT64_MAX ? 64 : (uint32_t)__builtin_ctzll(~rest);

			rc = add_freed(f, (struct space_run){ space_addr(s, region, w * 64 + first), n });
			bits &= ~bits_mask(0, first, n);
		}
	return rc;
}

int space_chain_freed(const struct space *s, const struct space_chain *c, uint64_t txg,
                      const struct space_before *before, struct space_pending **ret)
{
	const struct space_record *last = c->count ? &c->records[c->count - 1] : NULL;
	struct freed f = { 0 };
	int rc = 0;

	if (last && last->txg == txg && !last->large)
		rc = freed_of_record(s, c, &f);
	for (uint32_t i = 0; i < s->region_count && !rc; i++)
		if (before[i].bitmap)
			rc = freed_of_region(s, i, before[i].bitmap, &f);
	if (rc) {
		free(f.list);
		return rc;
	}
	if (f.list)
		f.list->txg = txg;
	*ret = f.list;
	return 0;
}
