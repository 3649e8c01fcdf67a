/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Write-back of an object's dirty pages: check, place, write, map. Blocks are allocated fresh and in runs, so that
 * random writes become long sequential ones on the device; the map is changed only after the data is on its way to the
 * device and was accepted by it (it becomes durable with the flush that precedes the root). What the device does not
 * accept in one place is tried in another.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/mutate.h"
#include "core/fs/wfs3/cell.h"
#include "core/fs/wfs3/pool.h"

#define WB_PAGES_PER_IO 256u /* 1 MiB */
#define WB_WRITES_MAX 3u /* places that are tried */
#define WB_CELLS_PER_GROUP 32u /* cells mapped in one stay inside the gate */

struct wb {
	struct object *o;
	struct cache_page *pages;
	unsigned count;
	uint64_t *addrs; /* per page; 0: a hole (or the page failed) */
	uint64_t *bad_addrs; /* per page: where it could not be written at first; 0: it could */
	bool *written; /* per page */
	struct blk_io *ios;
	unsigned *io_first; /* page that an io starts with */
	unsigned io_count;
	struct iovec *iov; /* of pages in order of addresses */
};

/* Data whose checksum does not match any more was damaged in our memory: it must not reach the device. */
static void wb_check(struct wb *w, bool is_hole[])
{
	for (unsigned i = 0; i < w->count; i++) {
		struct cache_page *pg = &w->pages[i];

		pg->result = 0;
		is_hole[i] = false;
		if (crc32c(pg->data, WFS3_BLOCK_BYTES) != pg->crc) {
			pg->result =
			        err_set(-EIO, "page at offset %" PRIu64 " of dataset %" PRIu64 " changed in memory",
			                pg->index * WFS3_BLOCK_BYTES, w->o->ds->id);
			log_error("wfs3",
			          "pool=%s dataset=%" PRIu64 " offset=%" PRIu64
			          ": data was damaged in memory and is not written",
			          w->o->ds->pool->name, w->o->ds->id, pg->index * WFS3_BLOCK_BYTES);
		} else if (pg->crc == CRC32C_ZERO_4K) {
			is_hole[i] = bytes_are_zero(pg->data, WFS3_BLOCK_BYTES);
		}
	}
}

/* Give every page that needs one a block; runs as long as the allocator has them. */
static void wb_place(struct wb *w, const bool is_hole[])
{
	struct space *space = w->o->ds->pool->space;
	struct space_run run = { 0 };
	unsigned left = 0;
	int ret = 0;

	for (unsigned i = 0; i < w->count; i++)
		left += !w->pages[i].result && !is_hole[i] && !w->addrs[i];
	for (unsigned i = 0; i < w->count; i++) {
		if (w->pages[i].result || is_hole[i] || w->addrs[i])
			continue;
		if (!run.block_count && !ret)
			ret = space_alloc(space, SPACE_STREAM_DATA, 1, left, &run);
		left--;
		if (ret) {
			w->pages[i].result = ret;
			continue;
		}
		w->addrs[i] = run.addr++;
		run.block_count--;
	}
	if (run.block_count)
		space_cancel(space, run);
}

static void wb_give_back(const struct wb *w, uint64_t addr)
{
	space_cancel(w->o->ds->pool->space, (struct space_run){ .addr = addr, .block_count = 1 });
}

static int wb_add_io(struct wb *w, struct blk_batch *batch, const unsigned *order, unsigned from, unsigned to)
{
	struct blk_io *io = &w->ios[w->io_count];
	struct pool_device *d;
	uint64_t offset;
	int ret = pool_locate(w->o->ds->pool, w->addrs[order[from]], to - from, &d, &offset);

	if (ret)
		return ret;
	for (unsigned i = from; i < to; i++)
		w->iov[i] = (struct iovec){ .iov_base = (void *)(uintptr_t)w->pages[order[i]].data,
			                    .iov_len = WFS3_BLOCK_BYTES };
	*io = (struct blk_io){ .op = BLK_WRITE,
		               .offset = offset,
		               .len_bytes = (uint64_t)(to - from) * WFS3_BLOCK_BYTES,
		               .iov = &w->iov[from],
		               .iov_count = (int)(to - from) };
	w->io_first[w->io_count++] = from;
	blk_batch_add(batch, d->dev, io);
	return 0;
}

/* Pages of a run follow each other in @order. Where they could not be written at first, nothing else shall be until
 * they are written elsewhere. */
static void wb_fail_pages(struct wb *w, const unsigned *order, unsigned from, unsigned to, int error)
{
	for (unsigned i = from; i < to; i++) {
		unsigned page = order[i];

		if (w->bad_addrs[page])
			wb_give_back(w, w->addrs[page]);
		else
			w->bad_addrs[page] = w->addrs[page];
		w->addrs[page] = 0;
		w->pages[page].result = error;
	}
}

/* All pages that have a place and are not there yet, up to @max with one request. True: longer ones failed, and shorter
 * ones may do better. */
static bool wb_write_runs(struct wb *w, unsigned *order, unsigned max)
{
	uint64_t region_blocks = pool_region_blocks(w->o->ds->pool);
	struct blk_batch batch;
	bool again = false;
	unsigned n = 0;

	for (unsigned i = 0; i < w->count; i++)
		if (w->addrs[i] && !w->written[i])
			order[n++] = i;
	w->io_count = 0;
	blk_batch_init(&batch);
	for (unsigned from = 0, to; from < n; from = to) {
		uint64_t first = w->addrs[order[from]];
		int ret;

		for (to = from + 1; to < n && to - from < max; to++)
			if (w->addrs[order[to]] != first + (to - from) || w->addrs[order[to]] % region_blocks == 0)
				break;
		ret = wb_add_io(w, &batch, order, from, to);
		if (ret)
			wb_fail_pages(w, order, from, to, ret);
	}
	(void)blk_batch_wait(&batch);
	for (unsigned i = 0; i < w->io_count; i++) {
		unsigned from = w->io_first[i], to = from + (unsigned)w->ios[i].iov_count;

		if (!w->ios[i].result || MUTATE(WRITE_ERROR_IGNORED))
			for (unsigned at = from; at < to; at++)
				w->written[order[at]] = true;
		else if (w->ios[i].result == -EIO && to - from > 1)
			again = true;
		else
			wb_fail_pages(w, order, from, to, w->ios[i].result);
	}
	return again;
}

/* One bad block fails a long request, and it alone is not to be used any more. */
static void wb_write_placed(struct wb *w, unsigned *order)
{
	if (wb_write_runs(w, order, WB_PAGES_PER_IO))
		(void)wb_write_runs(w, order, 1);
}

/* Can another place help? */
static unsigned wb_forgive(struct wb *w)
{
	unsigned count = 0;

	for (unsigned i = 0; i < w->count; i++) {
		int result = w->pages[i].result;

		if (!w->bad_addrs[i] || w->addrs[i] || (result != -EIO && result != -ENXIO))
			continue;
		w->pages[i].result = 0;
		count++;
	}
	return count;
}

/* A block that did not take what another one took stays out of use while the pool is imported. */
static void wb_judge_blocks(struct wb *w)
{
	unsigned bad = 0;

	for (unsigned i = 0; i < w->count; i++) {
		if (!w->bad_addrs[i])
			continue;
		if (w->pages[i].result)
			wb_give_back(w, w->bad_addrs[i]);
		else
			bad++;
	}
	if (!bad)
		return;
	__atomic_add_fetch(&w->o->ds->pool->bad_blocks, bad, __ATOMIC_RELAXED);
	log_warning("wfs3",
	            "pool=%s: %u blocks could not be written and are not used any more; their data is elsewhere",
	            w->o->ds->pool->name, bad);
}

static void wb_write(struct wb *w, unsigned *order, const bool is_hole[])
{
	for (unsigned tries = 1;; tries++) {
		wb_place(w, is_hole);
		wb_write_placed(w, order);
		if (tries == WB_WRITES_MAX || !wb_forgive(w))
			break;
	}
	wb_judge_blocks(w);
}

/* Record that the blocks of a cell got new places. Blocks between them that stay as they are split the record. */
static void wb_log_cell(struct wb *w, uint64_t txg, const struct cell_change *c, struct wal_ticket *ticket)
{
	struct wal_record r = { .type = WAL_MAP, .txg = txg, .dataset = w->o->ds->id, .object = w->o->number };

	for (unsigned from = 0, to; from < WFS3_CELL_BLOCKS; from = to) {
		for (to = from; to < WFS3_CELL_BLOCKS && c->mask & 1u << to; to++)
			r.blocks[to - from] = (struct wal_block){ c->addrs[to], c->addrs[to] ? c->crcs[to] : 0 };
		r.first = c->cell_index * WFS3_CELL_BLOCKS + from;
		r.block_count = to - from;
		if (r.block_count)
			(void)wal_append(w->o->ds->pool->wal, ticket, &r);
		else
			to++;
	}
}

/* Inside the gate. Returns like tree_update(). */
static int wb_map_cell(struct wb *w, uint64_t txg, unsigned from, unsigned to, struct wal_ticket *ticket)
{
	struct cell_change c = { .cell_index = w->pages[from].index / WFS3_CELL_BLOCKS };
	int ret;

	for (unsigned i = from; i < to; i++) {
		unsigned block = w->pages[i].index % WFS3_CELL_BLOCKS;

		if (w->pages[i].result)
			continue;
		c.mask |= (uint16_t)(1u << block);
		c.addrs[block] = w->addrs[i];
		c.crcs[block] = w->pages[i].crc;
	}
	if (!c.mask)
		return 0;
	ret = object_change_cell(w->o, txg, &c);
	if (!ret)
		wb_log_cell(w, txg, &c, ticket);
	return ret;
}

static unsigned cell_end(const struct wb *w, unsigned from)
{
	unsigned to = from + 1;

	while (to < w->count && w->pages[to].index / WFS3_CELL_BLOCKS == w->pages[from].index / WFS3_CELL_BLOCKS)
		to++;
	return to;
}

/* What was written but could not be mapped: give the blocks back, the pages stay dirty. */
static void wb_unplace(struct wb *w, unsigned from, unsigned to, int error)
{
	for (unsigned i = from; i < to; i++) {
		if (w->addrs[i])
			wb_give_back(w, w->addrs[i]);
		if (!w->pages[i].result)
			w->pages[i].result = error;
	}
}

/*
 * Map the cells of pages from *@from on, inside the gate; *@from and *@to: where it failed. Of a tree's object the
 * inode goes along. It is stored first, with the size that the data reaches, and, once it is there, again with the
 * count of blocks, which then cannot fail.
 */
static int wb_map_some(struct wb *w, uint64_t txg, unsigned *from, unsigned *to, struct wal_ticket *ticket,
                       struct wfs3_key *ret_missing)
{
	struct object *o = w->o;
	bool with_inode = o->ds->type == DATASET_TYPE_TREE;
	unsigned end = *from;
	int ret = 0;

	*to = cell_end(w, *from);
	for (unsigned n = 0; n < WB_CELLS_PER_GROUP && end < w->count; n++)
		end = cell_end(w, end);
	if (with_inode)
		ret = object_put_inode_in(o, txg, (w->pages[end - 1].index + 1) * WFS3_BLOCK_BYTES, ticket,
		                          ret_missing);
	if (ret)
		return ret;
	while (*from < end && !ret) {
		*to = cell_end(w, *from);
		*ret_missing = object_cell_key(o, w->pages[*from].index / WFS3_CELL_BLOCKS);
		ret = wb_map_cell(w, txg, *from, *to, ticket);
		if (!ret)
			*from = *to;
	}
	if (with_inode)
		always(!object_put_inode_in(o, txg, 0, NULL, NULL));
	return ret;
}

static void wb_map(struct wb *w)
{
	struct wfs3_key missing;
	unsigned from = 0;

	while (from < w->count) {
		struct wal_ticket ticket;
		unsigned to = from;
		uint64_t txg;
		int ret;

		wal_begin(w->o->ds->pool->wal, (size_t)WB_CELLS_PER_GROUP * WAL_CELL_BYTES + WAL_INODE_ITEM_BYTES,
		          &ticket);
		txg = txg_enter(w->o->ds->pool);
		ret = wb_map_some(w, txg, &from, &to, &ticket, &missing);
		txg_exit(w->o->ds->pool);
		wal_end(w->o->ds->pool->wal, &ticket);
		if (ret == -EUCLEAN)
			(void)pool_check_damage(w->o->ds->pool);
		if (ret == -EAGAIN)
			ret = tree_fetch(w->o->ds->tree, &missing);
		if (ret) {
			err_add(ret, "map offset %" PRIu64 " of dataset %" PRIu64,
			        w->pages[from].index * WFS3_BLOCK_BYTES, w->o->ds->id);
			wb_unplace(w, from, to, ret);
			from = to;
		}
	}
}

static void wb_fail_all(struct cache_page *pages, unsigned count, int error)
{
	for (unsigned i = 0; i < count; i++)
		pages[i].result = error;
}

static void write_back_blocks(struct object *o, struct cache_page *pages, unsigned count)
{
	struct wb w = { .o = o, .pages = pages, .count = count };
	unsigned *order = calloc(count, sizeof(*order));
	bool *is_hole = calloc(count, sizeof(*is_hole));
	int ret = pool_check_writable(o->ds->pool);
	struct space_pin pin;

	w.addrs = calloc(count, sizeof(*w.addrs));
	w.bad_addrs = calloc(count, sizeof(*w.bad_addrs));
	w.written = calloc(count, sizeof(*w.written));
	w.ios = calloc(count, sizeof(*w.ios));
	w.io_first = calloc(count, sizeof(*w.io_first));
	w.iov = calloc(count, sizeof(*w.iov));
	if (!ret && (!order || !is_hole || !w.addrs || !w.bad_addrs || !w.written || !w.ios || !w.io_first || !w.iov))
		ret = err_set(-ENOMEM, "no memory to write back %u pages", count);
	if (ret) {
		wb_fail_all(pages, count, ret);
	} else {
		/* Whoever waits for pins waits for the data to be in the map, too. */
		space_pin(o->ds->pool->space, &pin);
		wb_check(&w, is_hole);
		wb_write(&w, order, is_hole);
		wb_map(&w);
		space_unpin(o->ds->pool->space, pin);
		ret = o->ds->type == DATASET_TYPE_VOLUME ? object_put_inode(o) : 0;
		if (ret)
			log_warning("wfs3", "pool=%s dataset=%" PRIu64 ": could not store times: errno %d",
			            o->ds->pool->name, o->ds->id, -ret);
	}
	free(order);
	free(is_hole);
	free(w.addrs);
	free(w.bad_addrs);
	free(w.written);
	free(w.ios);
	free(w.io_first);
	free(w.iov);
}

void object_writeback(void *ctx, struct cache_page *pages, unsigned count)
{
	if (object_fits_inline(ctx, pages, count))
		object_writeback_inline(ctx, pages);
	else
		write_back_blocks(ctx, pages, count);
}
