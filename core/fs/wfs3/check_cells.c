/* SPDX-License-Identifier: BSD-3-Clause */
/* Checking cells, of volumes and of files: what they map, and where a scrub goes on. */
#include <errno.h>
#include <inttypes.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/wfs3/cell.h"
#include "core/fs/wfs3/check_priv.h"

/* An item that cannot be understood; what it maps is unknown. */
struct pool_finding *check_bad_item(struct check *c, struct check_dataset *ds, const struct wfs3_key *key,
                                    enum pool_finding_kind kind, const char *why)
{
	struct pool_finding *f = check_damage(c, kind, "%s", why);

	check_in_object(f, ds, key->object, key->kind == WFS3_KIND_CELL ? key->offset * WFS3_CELL_BYTES : key->offset);
	ds->broken = true;
	c->report->partial = true;
	return f;
}

/* A run of adjacent blocks of a cell. */
static int check_run(struct check *c, struct check_dataset *ds, uint64_t object, uint64_t offset,
                     const struct cell_block *blocks, uint32_t count, uint64_t node_birth)
{
	struct blk_dev *dev;
	uint64_t place;
	struct pool_finding *f = NULL;
	int rc = 0;

	if (check_locate(c, blocks[0].addr, count, 0, &dev, &place)) {
		f = check_damage(c, POOL_FINDING_ADDRESS, "the address of data is nowhere in the pool");
		ds->broken = true;
		c->report->partial = true;
	} else if (blocks[0].birth > node_birth) {
		f = check_damage(c, POOL_FINDING_BIRTH,
		                 "data is of txg %" PRIu64 ", the tree node that maps it of %" PRIu64, blocks[0].birth,
		                 node_birth);
	}
	if (f) {
		check_in_object(f, ds, object, offset);
		check_at_address(c, f, blocks[0].addr, count);
		if (f->kind == POOL_FINDING_ADDRESS)
			return 0;
	}
	check_use(c, ds, blocks[0].addr, count, "data", object, offset);
	for (uint32_t i = 0; i < count && c->data && !rc; i++)
		rc = check_data_add(c, ds, object, offset + i * WFS3_BLOCK_BYTES, blocks[i].addr, blocks[i].crc);
	return rc;
}

/* Adjacent addresses, of one birth, in one region. */
static bool continues(const struct check *c, const struct cell_block *a, const struct cell_block *b)
{
	return b->addr == a->addr + 1 && b->birth == a->birth && b->addr % c->locator->region_blocks;
}

int check_cell(struct check *c, struct check_dataset *ds, const struct wfs3_key *key, const void *value, size_t len,
               uint64_t node_birth, unsigned *ret_mapped)
{
	struct cell cell;
	char why[CHECK_WHY_BYTES];
	unsigned mapped = 0, to, last = 0;
	int rc = key->offset < UINT64_MAX / WFS3_CELL_BYTES ? cell_decode(value, len, &cell)
	                                                    : err_set(-EUCLEAN, "a cell beyond every size");

	*ret_mapped = 0;
	if (!rc && !len)
		rc = err_set(-EUCLEAN, "a cell without a value");
	if (rc) {
		check_bad_item(c, ds, key, POOL_FINDING_CELL, check_why(rc, why));
		return 0;
	}
	for (unsigned i = 0; i < WFS3_CELL_BLOCKS && !rc; i = to) {
		to = i + 1;
		if (!cell.blocks[i].addr)
			continue;
		while (to < WFS3_CELL_BLOCKS && continues(c, &cell.blocks[to - 1], &cell.blocks[to]))
			to++;
		mapped += to - i;
		last = to;
		rc = check_run(c, ds, key->object, key->offset * WFS3_CELL_BYTES + i * WFS3_BLOCK_BYTES,
		               &cell.blocks[i], to - i, node_birth);
	}
	*ret_mapped = mapped;
	ds->mapped_blocks += mapped;
	c->report->data_block_count += mapped;
	c->blocks_left -= mapped < c->blocks_left ? mapped : c->blocks_left;
	/* The inode stands before the cells. */
	if (ds->has_inode && ds->state == DATASET_STATE_LIVE &&
	    key->offset * WFS3_CELL_BYTES + (uint64_t)last * WFS3_BLOCK_BYTES >
	            round_up_u64(ds->size_bytes, WFS3_BLOCK_BYTES))
		check_in_object(check_damage(c, POOL_FINDING_SIZE, "data is mapped beyond the end of %" PRIu64 " bytes",
		                             ds->size_bytes),
		                ds, key->object, key->offset * WFS3_CELL_BYTES);
	return rc;
}

bool check_is_enough(struct check *c, const struct check_dataset *ds, const struct wfs3_key *key)
{
	if (!c->scrub || c->blocks_left)
		return false;
	c->at = (struct check_cursor){ .dataset = ds->id, .object = key->object, .cell = key->offset };
	return true;
}

bool check_resume_key(const struct check *c, const struct check_dataset *ds, struct wfs3_key *ret)
{
	*ret = (struct wfs3_key){ .object = c->at.object, .kind = WFS3_KIND_CELL, .offset = c->at.cell };
	return c->scrub && ds->id == c->at.dataset && (c->at.object || c->at.cell);
}
