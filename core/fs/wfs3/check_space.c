/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checking the allocation state: every bitmap slot, the region table, the ring of changes, and whether they agree.
 *
 * One damaged slot of a pair is only noted: a crash may have torn it, the other one carries the region, and the next
 * commit replaces it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/fs/wfs3/check_priv.h"
#include "core/fs/wfs3/space_load.h"

#define CHUNK_BYTES (UINT64_C(1) << 20)
#define RING_TRIES 4u

struct scan {
	struct check *c;
	struct space *s; /* its region table is filled */
	bool *placed; /* by region */
	unsigned copy; /* of each group that is looked at */
	uint64_t slot_bytes;
	uint64_t *bitmap; /* scratch */
};

enum slot_use {
	SLOT_USABLE,
	SLOT_NEWER, /* whole, of a group that did not become a root */
	SLOT_DAMAGED,
};

/* Why a slot is not usable is in the err chain. */
static enum slot_use judge(struct scan *n, unsigned group, uint32_t physical, const uint8_t *buf,
                           struct space_slot *ret)
{
	if (space_slot_decode(buf, n->s->pool_uuid, n->s->region_blocks, ret, n->bitmap))
		return SLOT_DAMAGED;
	if (ret->device_index != group || ret->physical_region != physical ||
	    ret->virtual_region > n->s->region_count) {
		err_set(-EUCLEAN, "it is of group %u, region %u", ret->device_index, ret->physical_region);
		return SLOT_DAMAGED;
	}
	return ret->txg <= n->c->root.txg || n->c->live ? SLOT_USABLE : SLOT_NEWER;
}

static void at_slot(struct scan *n, struct pool_finding *f, unsigned group, uint32_t physical, unsigned slot)
{
	check_at_device(f, n->c->groups[group].copies[n->copy], space_slot_offset(n->s, group, physical, slot));
}

static void check_slot(struct scan *n, unsigned group, uint32_t physical, unsigned slot, uint8_t *buf,
                       struct space_slot *ret, enum slot_use *ret_use)
{
	struct check *c = n->c;
	uint64_t offset = space_slot_offset(n->s, group, physical, slot);
	unsigned tries = 0;
	char why[CHECK_WHY_BYTES];

	*ret_use = judge(n, group, physical, buf, ret);
	while (*ret_use == SLOT_DAMAGED && check_again(c, &tries)) {
		if (!blk_read(check_copy(c, group, n->copy), offset, buf, n->slot_bytes))
			*ret_use = judge(n, group, physical, buf, ret);
	}
	if (*ret_use == SLOT_DAMAGED)
		at_slot(n,
		        check_note(c, POOL_FINDING_SLOT, "bitmap slot %u of region %u: %s", slot, physical,
		                   check_why(-EUCLEAN, why)),
		        group, physical, slot);
}

static void check_pair(struct scan *n, unsigned group, uint32_t physical, uint8_t *buf)
{
	struct space_slot slots[2];
	enum slot_use use[2];
	unsigned newest;
	uint32_t region;

	for (unsigned i = 0; i < 2; i++)
		check_slot(n, group, physical, i, buf + i * n->slot_bytes, &slots[i], &use[i]);
	if (use[0] != SLOT_USABLE && use[1] != SLOT_USABLE) {
		at_slot(n, check_damage(n->c, POOL_FINDING_REGION, "region %u has no usable bitmap", physical), group,
		        physical, 0);
		return;
	}
	newest = use[0] != SLOT_USABLE || (use[1] == SLOT_USABLE && slots[1].txg > slots[0].txg);
	region = slots[newest].virtual_region - 1;
	if (n->placed[region]) {
		/* Another copy may say it again. */
		if (n->s->regions[region].device != group || n->s->regions[region].physical != physical)
			at_slot(n,
			        check_damage(n->c, POOL_FINDING_REGION,
			                     "region %u says that it is virtual region %u, as another one does",
			                     physical, region + 1),
			        group, physical, newest);
		return;
	}
	n->placed[region] = true;
	n->s->regions[region].device = group;
	n->s->regions[region].physical = physical;
}

static int check_slots(struct scan *n, unsigned group)
{
	uint32_t count = n->s->devices[group].layout.region_count;
	uint32_t step = (uint32_t)(CHUNK_BYTES / (2 * n->slot_bytes));
	uint8_t *buf = aligned_alloc(4096, step * 2 * n->slot_bytes);
	int rc = buf ? 0 : err_set(-ENOMEM, "no memory for bitmap slots");

	for (uint32_t at = 0; at < count && !rc; at += step) {
		uint32_t now = count - at < step ? count - at : step;

		rc = space_read_tolerant(check_copy(n->c, group, n->copy), space_slot_offset(n->s, group, at, 0), buf,
		                         now * 2 * n->slot_bytes, n->slot_bytes);
		for (uint32_t i = 0; i < now && !rc; i++)
			check_pair(n, group, at + i, buf + i * 2 * n->slot_bytes);
		if (!rc)
			rc = check_step(n->c, now * 2 * n->slot_bytes);
	}
	free(buf);
	return rc;
}

/* All copies of all groups. Then every region has its place, or something is lost. */
static int check_all_slots(struct scan *n)
{
	struct check *c = n->c;
	int rc = 0;

	for (n->copy = 0; n->copy < c->copies_max; n->copy++)
		for (unsigned g = 0; g < c->group_count && !rc; g++)
			if (n->copy < c->groups[g].copy_count)
				rc = check_slots(n, g);
	for (uint32_t i = 0; i < n->s->region_count; i++)
		c->report->partial |= !n->placed[i];
	return rc;
}

/* -EUCLEAN: it is damaged, wholly (there is no chain) or at its older end. */
static int read_ring(const struct check *c, const struct space *s, struct space_chain *ret)
{
	int rc;

	space_chain_done(ret);
	*ret = (struct space_chain){ 0 };
	rc = space_chain_read(s, c->ring_txg, &c->ring, ret);
	if (!rc && ret->count && ret->records[0].position > c->ring.ring_tail)
		rc = err_set(-EUCLEAN, "records of allocation changes before txg %" PRIu64 " are damaged",
		             ret->records[0].txg);
	return rc;
}

static int check_ring(struct check *c, const struct space *s, unsigned copy)
{
	const struct space_layout *l = &c->groups[0].layout;
	struct space_chain chain = { 0 };
	char why[CHECK_WHY_BYTES];
	unsigned tries = 0;
	int rc = read_ring(c, s, &chain);

	/* What the pool wrote over meanwhile is not damage. */
	while (rc == -EUCLEAN && c->live && tries++ < RING_TRIES && check_retake_ring(c))
		rc = read_ring(c, s, &chain);
	if (rc && rc != -EUCLEAN)
		return rc;
	if (rc)
		check_at_device(check_damage(c, POOL_FINDING_RING, "%s", check_why(rc, why)), c->groups[0].copies[copy],
		                l->ring_offset + c->ring.ring_tail % l->ring_bytes);
	space_chain_done(&chain);
	return check_step(c, c->ring.ring_head - c->ring.ring_tail);
}

static int check_rings(struct check *c, struct space *s)
{
	int rc = 0;

	for (unsigned copy = 0; copy < c->groups[0].copy_count && !rc; copy++) {
		s->devices[0].dev = check_copy(c, 0, copy);
		rc = check_ring(c, s, copy);
	}
	return rc;
}

/* The state as an import would load it, from the first copies with which that works. */
static int load(struct check *c, struct space_device devs[], const struct space_config *config)
{
	bool damaged = c->report->partial || c->report->kind_counts[POOL_FINDING_RING];
	char why[CHECK_WHY_BYTES];
	int rc = -EUCLEAN;

	for (unsigned copy = 0; copy < c->copies_max && rc == -EUCLEAN; copy++) {
		for (unsigned g = 0; g < c->group_count; g++)
			devs[g].dev = check_copy(c, g, copy);
		rc = space_load(config, c->root.txg, &c->root.space, &c->owned_disk);
	}
	if (!rc) {
		c->disk = c->owned_disk->disk;
		return 0;
	}
	if (rc != -EUCLEAN)
		return rc;
	/* What is damaged was told already. */
	if (!damaged)
		check_damage(c, POOL_FINDING_ALLOCATION, "%s", check_why(rc, why));
	c->report->partial = true;
	return 0;
}

static int scan_init(struct scan *n, struct check *c, const struct space_config *config)
{
	int rc = space_new(config, &c->owned_locator);

	*n = (struct scan){ .c = c, .s = c->owned_locator, .slot_bytes = space_slot_bytes(config->region_bytes) };
	if (rc)
		return rc;
	n->placed = c->owned_placed = calloc(n->s->region_count, sizeof(*n->placed));
	n->bitmap = malloc(n->s->region_words * sizeof(*n->bitmap));
	c->seen = calloc((size_t)n->s->region_count * n->s->region_words, sizeof(*c->seen));
	if (!n->placed || !n->bitmap || !c->seen)
		return err_set(-ENOMEM, "no memory for %u regions", n->s->region_count);
	return 0;
}

int check_space(struct check *c)
{
	struct space_device devs[WFS3_DEVICES_MAX];
	struct space_config config = { .devices = devs,
		                       .device_count = c->group_count,
		                       .region_bytes = c->label.region_bytes,
		                       .any_used_blocks = true };
	struct scan n;
	char why[CHECK_WHY_BYTES];
	int rc;

	if (!c->has_root)
		return 0;
	memcpy(config.pool_uuid, c->label.pool_uuid, 16);
	for (unsigned g = 0; g < c->group_count; g++)
		devs[g] = (struct space_device){ .dev = check_copy(c, g, 0), .layout = c->groups[g].layout };
	rc = scan_init(&n, c, &config);
	if (!rc)
		rc = check_all_slots(&n);
	if (!rc && (!c->live || c->disk))
		rc = check_rings(c, n.s);
	if (!rc && !c->live)
		rc = load(c, devs, &config);
	if (rc == -EUCLEAN) {
		check_damage(c, POOL_FINDING_LABEL, "%s", check_why(rc, why));
		c->report->partial = true;
		rc = 0;
	} else if (!rc) {
		c->locator = c->owned_locator;
		c->placed = n.placed;
	}
	free(n.bitmap);
	return rc;
}
