/* SPDX-License-Identifier: BSD-3-Clause */
/* Loading the allocation state of a root: the newest usable slot of every region, then the ring. */
#include "core/fs/wfs3/space_load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/blk/mirror.h"

#define CHUNK_BYTES (UINT64_C(1) << 20)

struct loader {
	struct space *s;
	uint64_t txg;
	struct space_chain chain;
	struct space_before *before; /* by region */
	bool *known; /* regions found so far */
	uint64_t *bitmaps[2]; /* of the pair at hand */
	uint64_t slot_bytes;
	uint8_t *copies[MIRROR_COPIES_MAX]; /* slots as each copy of the group has them; NULL: it has no such copy */
};

/* What the copies of a group make of a slot. */
struct judged {
	struct space_slot slot;
	unsigned copy; /* that has it; MIRROR_COPIES_MAX: none */
	unsigned lacking; /* bit mask of copies that hold something else */
};

/* A slot that belongs where it is. */
static bool decode_slot(const struct loader *l, uint32_t device, uint32_t physical, const uint8_t *buf, unsigned slot,
                        struct space_slot *ret)
{
	return !space_slot_decode(buf, l->s->pool_uuid, l->s->region_blocks, ret, l->bitmaps[slot]) &&
	       ret->device_index == device && ret->physical_region == physical &&
	       ret->virtual_region <= l->s->region_count;
}

static int lost(const struct loader *l, uint32_t device, uint32_t physical, const char *why)
{
	return err_set(-EUCLEAN, "device %u (%s), region %u: bitmap is lost: %s", device,
	               blk_name(l->s->devices[device].dev), physical, why);
}

/* Keep the older slot of a region that the last txg changed without telling what. */
static int keep_before(struct loader *l, uint32_t region, const struct space_slot *older, const uint64_t *bitmap)
{
	size_t bytes = l->s->region_words * sizeof(uint64_t);
	uint64_t *copy;

	if (older->txg < l->chain.covered_txg || !space_chain_last_is_large(&l->chain, l->txg, region))
		return 0;
	copy = malloc(bytes);
	if (!copy)
		return err_set(-ENOMEM, "bitmap of region %u", region + 1);
	memcpy(copy, bitmap, bytes);
	l->before[region] = (struct space_before){ copy, older->txg };
	return 0;
}

/* The newest contents, not newer than the root, that any copy has. @at: of the slot in the buffers. */
static void judge(struct loader *l, uint32_t device, uint32_t physical, uint64_t at, unsigned slot, struct judged *ret)
{
	unsigned decoded = MIRROR_COPIES_MAX;
	struct space_slot one;

	*ret = (struct judged){ .copy = MIRROR_COPIES_MAX };
	for (unsigned i = 0; i < MIRROR_COPIES_MAX; i++) {
		const uint8_t *buf = l->copies[i];
		bool same = ret->copy < i && buf && !memcmp(buf + at, l->copies[ret->copy] + at, l->slot_bytes);

		if (!buf || same)
			continue;
		decoded = i;
		if (!decode_slot(l, device, physical, buf + at, slot, &one) || one.txg > l->txg)
			continue;
		if (ret->copy == MIRROR_COPIES_MAX || one.txg > ret->slot.txg)
			*ret = (struct judged){ .slot = one, .copy = i };
	}
	if (ret->copy == MIRROR_COPIES_MAX)
		return;
	for (unsigned i = 0; i < MIRROR_COPIES_MAX; i++)
		if (l->copies[i] && memcmp(l->copies[i] + at, l->copies[ret->copy] + at, l->slot_bytes) != 0)
			ret->lacking |= 1u << i;
	if (decoded != ret->copy)
		(void)decode_slot(l, device, physical, l->copies[ret->copy] + at, slot, &ret->slot);
}

/* A void slot is written with the next commit, to all copies; the one that is used now must be on all of them, too. */
static int note_repair(const struct loader *l, uint32_t device, uint32_t physical, unsigned slot,
                       const struct judged *j)
{
	if (!l->s->repairs || !j->lacking)
		return 0;
	return space_repairs_add_slot(l->s->repairs, space_slot_offset(l->s, device, physical, slot), device, j->copy,
	                              j->lacking);
}

static int take_pair(struct loader *l, uint32_t device, uint32_t physical, uint64_t at)
{
	struct space *s = l->s;
	struct judged h[2];
	bool usable[2];
	unsigned newest;
	uint32_t region;
	int rc;

	for (unsigned i = 0; i < 2; i++) {
		judge(l, device, physical, at + i * l->slot_bytes, i, &h[i]);
		usable[i] = h[i].copy < MIRROR_COPIES_MAX;
	}
	if (!usable[0] && !usable[1])
		return lost(l, device, physical, "both slots are damaged or newer than the root");
	newest = !usable[0] || (usable[1] && h[1].slot.txg > h[0].slot.txg);
	if (h[newest].slot.txg < l->chain.covered_txg)
		return lost(l, device, physical,
		            "the newer slot is damaged, and the ring does not reach back far enough");
	region = h[newest].slot.virtual_region - 1;
	if (l->known[region])
		return lost(l, device, physical, "another region has the same number");
	l->known[region] = true;
	s->regions[region] = (struct space_region){
		.device = device,
		.physical = physical,
		.newest_txg = h[newest].slot.txg,
		.newest_slot = (uint8_t)newest,
		.rewrite = !usable[!newest] || h[!newest].lacking,
	};
	s->rewrite_count += s->regions[region].rewrite;
	memcpy(space_bitmap(s, s->disk, region), l->bitmaps[newest], s->region_words * sizeof(uint64_t));
	rc = note_repair(l, device, physical, newest, &h[newest]);
	if (!rc && usable[!newest] && h[newest].slot.txg == l->txg && h[!newest].slot.txg < l->txg)
		return keep_before(l, region, &h[!newest].slot, l->bitmaps[!newest]);
	return rc;
}

/* The slots of @count regions as all copies have them. */
static int read_copies(struct loader *l, uint32_t device, uint32_t first, uint32_t count, uint8_t *bufs[])
{
	struct blk_dev *dev = l->s->devices[device].dev;
	bool any = false;
	int rc, error = -ENXIO;

	for (unsigned i = 0; i < MIRROR_COPIES_MAX; i++) {
		l->copies[i] = NULL;
		rc = space_read_copy(dev, i, space_slot_offset(l->s, device, first, 0), bufs[i],
		                     count * 2 * l->slot_bytes, l->slot_bytes);
		if (rc && rc != -ENOENT)
			error = rc;
		if (rc)
			continue;
		l->copies[i] = bufs[i];
		any = true;
	}
	return any ? 0 : error;
}

static int read_slots(struct loader *l, uint32_t device)
{
	uint32_t count = l->s->devices[device].layout.region_count;
	uint32_t step = (uint32_t)(CHUNK_BYTES / (2 * l->slot_bytes));
	uint8_t *bufs[MIRROR_COPIES_MAX] = { NULL };
	int rc = 0;

	for (unsigned i = 0; i < MIRROR_COPIES_MAX && !rc; i++) {
		bufs[i] = aligned_alloc(4096, step * 2 * l->slot_bytes);
		if (!bufs[i])
			rc = err_set(-ENOMEM, "bitmap slots");
	}
	for (uint32_t at = 0; at < count && !rc; at += step) {
		uint32_t n = count - at < step ? count - at : step;

		rc = read_copies(l, device, at, n, bufs);
		for (uint32_t i = 0; i < n && !rc; i++)
			rc = take_pair(l, device, at + i, i * 2 * l->slot_bytes);
	}
	for (unsigned i = 0; i < MIRROR_COPIES_MAX; i++)
		free(bufs[i]);
	return rc;
}

static int loader_init(struct loader *l, struct space *s, uint64_t txg)
{
	size_t bytes = s->region_words * sizeof(uint64_t);

	*l = (struct loader){ .s = s, .txg = txg };
	l->slot_bytes = space_slot_bytes(s->region_bytes);
	l->before = calloc(s->region_count, sizeof(*l->before));
	l->known = calloc(s->region_count, sizeof(*l->known));
	l->bitmaps[0] = malloc(bytes);
	l->bitmaps[1] = malloc(bytes);
	if (!l->before || !l->known || !l->bitmaps[0] || !l->bitmaps[1])
		return err_set(-ENOMEM, "load %u regions", s->region_count);
	return 0;
}

static void loader_done(struct loader *l)
{
	for (uint32_t i = 0; l->before && i < l->s->region_count; i++)
		free(l->before[i].bitmap);
	free(l->before);
	free(l->known);
	free(l->bitmaps[0]);
	free(l->bitmaps[1]);
	space_chain_done(&l->chain);
}

static void start_ring(struct space *s, const struct space_chain *c, const struct space_root *root)
{
	s->ring.head = c->count ? c->records[0].position : 0;
	for (uint32_t i = 0; i < c->count; i++)
		space_ring_push(&s->ring, c->records[i].txg, c->records[i].len_bytes);
	always(s->ring.head == root->ring_head);
}

/* What the loaded txg freed is not free yet: the root before it may still be needed. */
static int hold_freed(struct loader *l)
{
	struct space *s = l->s;
	struct space_pending *p = NULL;
	int rc = space_chain_freed(s, &l->chain, l->txg, l->before, &p);

	if (rc || !p)
		return rc;
	for (uint32_t i = 0; i < p->run_count; i++) {
		struct space_place at = space_place_of(s, p->runs[i]);
		uint64_t *busy = space_bitmap(s, s->busy, at.region);

		if (!bits_all_clear(busy, at.block, p->runs[i].block_count)) {
			rc = err_set(-EUCLEAN, "ring record of txg %" PRIu64 ": 0x%" PRIx64 " + %u is freed and in use",
			             l->txg, p->runs[i].addr, p->runs[i].block_count);
			free(p);
			return rc;
		}
		bits_set(busy, at.block, p->runs[i].block_count);
		s->free_count[at.region] -= p->runs[i].block_count;
		s->free_blocks -= p->runs[i].block_count;
		s->pending_blocks += p->runs[i].block_count;
	}
	space_add_pending(s, p);
	return 0;
}

static int load(struct loader *l, const struct space_root *root, bool any_used_blocks)
{
	struct space *s = l->s;
	int rc = space_chain_read(s, l->txg, root, &l->chain);

	for (unsigned d = 0; d < s->device_count && !rc; d++)
		rc = read_slots(l, d);
	if (!rc)
		rc = space_chain_apply(s, &l->chain, l->before);
	if (!rc)
		rc = space_order_regions(s);
	if (rc)
		return rc;
	space_start(s, l->txg);
	if (s->used_blocks != root->used_blocks && !any_used_blocks)
		return err_set(-EUCLEAN, "%" PRIu64 " blocks are in use, the root says %" PRIu64, s->used_blocks,
		               root->used_blocks);
	start_ring(s, &l->chain, root);
	rc = hold_freed(l);
	if (!rc && s->repairs)
		space_repairs_set_chain(s->repairs, &l->chain);
	return rc;
}

int space_load(const struct space_config *config, uint64_t txg, const struct space_root *root, struct space **ret)
{
	struct loader l;
	struct space *s;
	int rc;

	rc = space_new(config, &s);
	if (rc)
		return rc;
	rc = loader_init(&l, s, txg);
	if (!rc && config->repair) {
		s->repairs = space_repairs_new();
		rc = s->repairs ? 0 : err_set(-ENOMEM, "load %u regions", s->region_count);
	}
	if (!rc)
		rc = load(&l, root, config->any_used_blocks);
	loader_done(&l);
	if (rc) {
		space_free(s);
		return err_add(rc, "load allocation state of txg %" PRIu64, txg);
	}
	*ret = s;
	return 0;
}
