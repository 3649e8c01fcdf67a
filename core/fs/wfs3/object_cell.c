/* SPDX-License-Identifier: BSD-3-Clause */
/* Changing the map of one cell: the tree's item, and which blocks are referenced. */
#include <errno.h>

#include "core/fs/wfs3/cell.h"
#include "core/fs/wfs3/pool.h"

struct change {
	struct dataset *ds;
	uint64_t txg;
	const struct cell_change *c;
	unsigned dropped_count;
	unsigned entries; /* runs recorded as free */
};

/* Runs of adjacent blocks, none of them across regions. Returns their number. */
static unsigned make_runs(struct pool *p, const uint64_t addrs[], unsigned count, struct space_run ret[])
{
	uint64_t region_blocks = pool_region_blocks(p);
	unsigned runs = 0;

	for (unsigned from = 0, to; from < count; from = to) {
		for (to = from + 1; to < count; to++)
			if (addrs[to] != addrs[from] + (to - from) || addrs[to] % region_blocks == 0)
				break;
		ret[runs++] = (struct space_run){ .addr = addrs[from], .block_count = to - from };
	}
	return runs;
}

static int change_fn(void *ctx, const void *old_value, size_t old_len, void *new_value)
{
	struct change *ch = ctx;
	struct pool *p = ch->ds->pool;
	uint64_t dropped[WFS3_CELL_BLOCKS];
	struct space_run runs[WFS3_CELL_BLOCKS];
	struct cell cell;
	int ret = cell_decode(old_value, old_len, &cell);

	if (ret)
		return ret;
	ch->dropped_count = 0;
	for (unsigned i = 0; i < WFS3_CELL_BLOCKS; i++) {
		struct cell_block *b = &cell.blocks[i];

		if (!(ch->c->mask & 1u << i))
			continue;
		if (b->addr)
			dropped[ch->dropped_count++] = b->addr;
		*b = (struct cell_block){ 0 };
		if (ch->c->addrs[i])
			*b = (struct cell_block){ .addr = ch->c->addrs[i], .birth = ch->txg, .crc = ch->c->crcs[i] };
	}
	ch->entries = make_runs(p, dropped, ch->dropped_count, runs);
	ret = pool_free_runs(p, ch->txg, runs, ch->entries);
	return ret ? ret : (int)cell_encode(&cell, new_value);
}

int dataset_change_cell(struct dataset *ds, uint64_t object, uint64_t txg, const struct cell_change *c,
                        int64_t *ret_delta)
{
	struct space *space = ds->pool->space;
	struct change ch = { .ds = ds, .txg = txg, .c = c };
	struct wfs3_key key = { .object = object, .kind = WFS3_KIND_CELL, .offset = c->cell_index };
	uint64_t added[WFS3_CELL_BLOCKS];
	struct space_run runs[WFS3_CELL_BLOCKS];
	unsigned added_count = 0, run_count;
	int ret = space_reserve(space, 2 * WFS3_CELL_BLOCKS);

	if (ret)
		return ret;
	ret = tree_update(ds->tree, txg, &key, change_fn, &ch);
	if (ret) {
		space_unreserve(space, 2 * WFS3_CELL_BLOCKS);
		return ret;
	}
	for (unsigned i = 0; i < WFS3_CELL_BLOCKS; i++)
		if (c->mask & 1u << i && c->addrs[i])
			added[added_count++] = c->addrs[i];
	run_count = make_runs(ds->pool, added, added_count, runs);
	for (unsigned i = 0; i < run_count; i++)
		space_commit_run(space, txg, runs[i]);
	space_unreserve(space, 2 * WFS3_CELL_BLOCKS - ch.entries - run_count);
	dataset_count_used(ds, added_count, ch.dropped_count);
	txg_changed(ds->pool, ds, txg);
	*ret_delta = (int64_t)added_count - (int64_t)ch.dropped_count;
	return 0;
}

int object_change_cell(struct object *o, uint64_t txg, const struct cell_change *c)
{
	int64_t delta;
	int ret = dataset_change_cell(o->ds, o->number, txg, c, &delta);

	if (!ret)
		object_count_blocks(o, delta);
	if (!ret && !c->cell_index && c->mask & 1u)
		object_drop_inline(o, txg);
	return ret;
}
