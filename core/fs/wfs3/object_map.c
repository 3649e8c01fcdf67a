/* SPDX-License-Identifier: BSD-3-Clause */
/* The map of an object: which blocks hold its cells. Reading them (cache fill), removing them (punch), describing them.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/mutate.h"
#include "core/blk/mirror.h"
#include "core/fs/wfs3/cell.h"
#include "core/fs/wfs3/pool.h"

#define UNMAP_CELLS_PER_GROUP 32 /* cells removed in one stay inside the gate */
#define STRIDE_BLOCKS_MIN UINT64_C(65536) /* 256 MiB */
#define STRIDE_BLOCKS_MAX (UINT64_C(1) << 48)

struct wfs3_key object_cell_key(const struct object *o, uint64_t cell_index)
{
	return (struct wfs3_key){ .object = o->number, .kind = WFS3_KIND_CELL, .offset = cell_index };
}

static int get_cell(struct object *o, uint64_t cell_index, struct cell *ret)
{
	struct wfs3_key key = object_cell_key(o, cell_index);
	uint8_t buf[CELL_BYTES_MAX];
	size_t len;
	int err;

	for (;;) {
		err = tree_get(o->ds->tree, &key, buf, sizeof(buf), &len);
		if (err != -EAGAIN)
			break;
		err = tree_fetch(o->ds->tree, &key);
		if (err)
			return err;
	}
	if (err == -ENOENT)
		return cell_decode(NULL, 0, ret);
	if (err == -ERANGE)
		return err_set(-EUCLEAN, "cell %" PRIu64 " is %zu bytes long", cell_index, len);
	return err ? err : cell_decode(buf, len, ret);
}

/* Is the block beside the inode, unless a cell maps it? */
static bool is_inline(const struct object *o, uint64_t block)
{
	return !block && __atomic_load_n(&o->inode.has_inline, __ATOMIC_RELAXED);
}

int object_count_holes(struct object *o, uint64_t first, uint64_t count, uint64_t *ret)
{
	uint64_t holes = 0;
	struct cell cell;

	for (uint64_t b = first; b < first + count; b++) {
		int rc = b == first || b % WFS3_CELL_BLOCKS == 0 ? get_cell(o, b / WFS3_CELL_BLOCKS, &cell) : 0;

		if (rc)
			return rc;
		holes += !cell.blocks[b % WFS3_CELL_BLOCKS].addr && !is_inline(o, b);
	}
	*ret = holes;
	return 0;
}

/* One device read in the making: pages with adjacent addresses. */
struct fill {
	struct object *o;
	struct blk_batch batch;
	struct blk_io *ios;
	struct iovec *iov;
	struct cell_block *want; /* per page; addr 0: nothing to read */
	unsigned io_count;
	unsigned iov_count;
};

static int fill_lookup(struct fill *f, uint64_t first, unsigned count, void *const data[], bool hole[])
{
	struct cell cell;
	uint64_t cell_index = UINT64_MAX;

	for (unsigned i = 0; i < count; i++) {
		uint64_t page = first + i;

		if (!data[i])
			continue;
		if (page / WFS3_CELL_BLOCKS != cell_index) {
			int ret;

			cell_index = page / WFS3_CELL_BLOCKS;
			ret = get_cell(f->o, cell_index, &cell);
			if (ret)
				return ret;
		}
		f->want[i] = cell.blocks[page % WFS3_CELL_BLOCKS];
		hole[i] = f->want[i].addr == 0 && !is_inline(f->o, page);
	}
	return 0;
}

/* Submit one read for the pages [from, to), whose addresses are adjacent. */
static int fill_run(struct fill *f, unsigned from, unsigned to, void *const data[])
{
	struct blk_io *io = &f->ios[f->io_count++];
	struct pool_device *d;
	uint64_t offset;
	int ret = pool_locate(f->o->ds->pool, f->want[from].addr, to - from, &d, &offset);

	if (ret)
		return ret;
	*io = (struct blk_io){ .op = BLK_READ,
		               .offset = offset,
		               .len_bytes = (uint64_t)(to - from) * WFS3_BLOCK_BYTES,
		               .iov = &f->iov[f->iov_count],
		               .iov_count = (int)(to - from) };
	for (unsigned i = from; i < to; i++)
		f->iov[f->iov_count++] = (struct iovec){ .iov_base = data[i], .iov_len = WFS3_BLOCK_BYTES };
	blk_batch_add(&f->batch, d->dev, io);
	return 0;
}

static int fill_read(struct fill *f, unsigned count, void *const data[])
{
	uint64_t region_blocks = pool_region_blocks(f->o->ds->pool);
	unsigned from = 0;
	int ret = 0;
	int io_error;

	while (from < count && !ret) {
		unsigned to = from + 1;

		if (!f->want[from].addr) {
			from++;
			continue;
		}
		while (to < count && f->want[to].addr == f->want[from].addr + (to - from) &&
		       f->want[to].addr % region_blocks != 0)
			to++;
		ret = fill_run(f, from, to, data);
		from = to;
	}
	io_error = blk_batch_wait(&f->batch);
	return ret ? ret : io_error;
}

/* The first block of a small file. */
static int fill_inline(struct fill *f, uint64_t first, void *const data[], uint32_t crc[])
{
	int ret = 0;

	if (!is_inline(f->o, first) || !data[0] || f->want[0].addr)
		return 0;
	ret = object_read_inline(f->o, data[0]);
	crc[0] = ret ? 0 : crc32c(data[0], WFS3_BLOCK_BYTES);
	return ret;
}

static bool crc_is_good(void *ctx, const void *buf)
{
	return crc32c(buf, WFS3_BLOCK_BYTES) == *(const uint32_t *)ctx;
}

static int fill_verify(struct fill *f, uint64_t first, unsigned count, void *const data[], uint32_t crc[])
{
	for (unsigned i = 0; i < count; i++) {
		struct pool_device *d;
		uint64_t offset;
		int ret;

		if (!f->want[i].addr)
			continue;
		crc[i] = crc32c(data[i], WFS3_BLOCK_BYTES);
		if (crc[i] == f->want[i].crc || MUTATE(NO_DATA_CRC))
			continue;
		ret = pool_locate(f->o->ds->pool, f->want[i].addr, 1, &d, &offset);
		if (ret)
			return ret;
		if (!mirror_read_verified(d->dev, offset, data[i], WFS3_BLOCK_BYTES, crc_is_good, &f->want[i].crc)) {
			crc[i] = f->want[i].crc;
			continue;
		}
		return err_set(-EIO,
		               "checksum of the block at offset %" PRIu64 " is wrong (device %s, offset %" PRIu64 ")",
		               (first + i) * WFS3_BLOCK_BYTES, blk_name(d->dev), offset);
	}
	return 0;
}

int object_fill(void *ctx, uint64_t first, unsigned count, void *const data[], uint32_t crc[], bool hole[])
{
	struct object *o = ctx;
	struct fill f = { .o = o };
	struct space_pin pin;
	int ret;

	f.ios = calloc(count, sizeof(*f.ios));
	f.iov = calloc(count, sizeof(*f.iov));
	f.want = calloc(count, sizeof(*f.want));
	if (!f.ios || !f.iov || !f.want) {
		ret = err_set(-ENOMEM, "no memory to read %u pages", count);
		goto out;
	}
	blk_batch_init(&f.batch);
	space_pin(o->ds->pool->space, &pin);
	ret = fill_lookup(&f, first, count, data, hole);
	if (!ret)
		ret = fill_read(&f, count, data);
	if (!ret)
		ret = fill_verify(&f, first, count, data, crc);
	if (!ret)
		ret = fill_inline(&f, first, data, crc);
	space_unpin(o->ds->pool->space, pin);
	if (ret)
		err_add(ret, "pool %s: read dataset %" PRIu64 " object %" PRIu64 " at offset %" PRIu64,
		        o->ds->pool->name, o->ds->id, o->number, first * WFS3_BLOCK_BYTES);
out:
	free(f.ios);
	free(f.iov);
	free(f.want);
	return ret;
}

/* Inside the gate. Returns like tree_update(). */
static int unmap_cell(struct object *o, uint64_t txg, uint64_t cell_index, unsigned from, unsigned to)
{
	struct cell_change c = { .cell_index = cell_index };

	for (unsigned i = from; i < to; i++)
		c.mask |= (uint16_t)(1u << i);
	return object_change_cell(o, txg, &c);
}

/* Inside the gate: unmap up to UNMAP_CELLS_PER_GROUP existing cells from block *first on. 1: there may be more. */
static int unmap_some(struct object *o, uint64_t txg, uint64_t *first, uint64_t end, struct wfs3_key *ret_missing)
{
	uint8_t buf[CELL_BYTES_MAX];

	for (unsigned n = 0; n < UNMAP_CELLS_PER_GROUP; n++) {
		struct wfs3_key from = object_cell_key(o, *first / WFS3_CELL_BLOCKS);
		struct wfs3_key to = object_cell_key(o, (end - 1) / WFS3_CELL_BLOCKS);
		struct wfs3_key found;
		uint64_t start, stop;
		size_t len;
		int ret = tree_next(o->ds->tree, &from, &to, &found, buf, sizeof(buf), &len, ret_missing);

		if (ret == -ENOENT)
			return 0;
		if (ret)
			return ret;
		*ret_missing = found;
		start = max_u64(*first, found.offset * WFS3_CELL_BLOCKS);
		stop = min_u64(end, (found.offset + 1) * WFS3_CELL_BLOCKS);
		ret = unmap_cell(o, txg, found.offset, (unsigned)(start - found.offset * WFS3_CELL_BLOCKS),
		                 (unsigned)(stop - found.offset * WFS3_CELL_BLOCKS));
		if (ret)
			return ret;
		*first = stop;
		if (stop >= end)
			return 0;
	}
	return 1;
}

/*
 * The same, with the count of blocks in the inode kept true. That is stored before, too: once it is there, storing it
 * again in the same group cannot fail.
 */
static int unmap_counted(struct object *o, uint64_t txg, uint64_t *first, uint64_t end, struct wfs3_key *ret_missing)
{
	uint64_t before = __atomic_load_n(&o->inode.blocks, __ATOMIC_RELAXED);
	int ret = 0;

	if (!before)
		return unmap_some(o, txg, first, end, ret_missing);
	*ret_missing = object_inode_key(o);
	ret = object_put_inode_in(o, txg, 0, NULL, NULL);
	if (ret)
		return ret;
	if (is_inline(o, *first)) {
		object_drop_inline(o, txg);
		++*first;
	}
	if (*first < end)
		ret = unmap_some(o, txg, first, end, ret_missing);
	if (__atomic_load_n(&o->inode.blocks, __ATOMIC_RELAXED) != before)
		always(!object_put_inode_in(o, txg, 0, NULL, NULL));
	return ret;
}

/* Record that blocks became holes; also where there was no block, since the log may have contents for it. */
static void log_unmap(struct object *o, uint64_t txg, uint64_t first, uint64_t end, struct wal_ticket *ticket)
{
	struct wal_record r = { .type = WAL_UNMAP,
		                .txg = txg,
		                .dataset = o->ds->id,
		                .object = o->number,
		                .first = first,
		                .count = end - first };

	if (first < end)
		(void)wal_append(o->ds->pool->wal, ticket, &r);
}

int object_unmap(struct object *o, uint64_t first, uint64_t count)
{
	uint64_t end = first + count;
	struct wfs3_key missing;
	int ret = count ? 1 : 0;

	while (ret == 1) {
		uint64_t start = first;
		struct wal_ticket ticket;
		uint64_t txg;

		wal_begin(o->ds->pool->wal, WAL_UNMAP_BYTES, &ticket);
		txg = txg_enter(o->ds->pool);
		ret = unmap_counted(o, txg, &first, end, &missing);
		log_unmap(o, txg, start, ret ? first : end, &ticket);
		txg_exit(o->ds->pool);
		wal_end(o->ds->pool->wal, &ticket);
		if (ret == -EUCLEAN)
			(void)pool_check_damage(o->ds->pool);
		if (ret == -EAGAIN) {
			ret = tree_fetch(o->ds->tree, &missing);
			if (!ret)
				ret = 1;
		}
	}
	return ret ? err_add(ret, "unmap blocks %" PRIu64 "..%" PRIu64 " of dataset %" PRIu64, first, end, o->ds->id)
	           : 0;
}

uint64_t object_stride_next(struct object_stride *s, const struct object *o)
{
	uint64_t used_blocks = __atomic_load_n(&o->ds->used_blocks, __ATOMIC_RELAXED);

	if (!s->block_count || used_blocks != s->used_blocks)
		s->block_count = STRIDE_BLOCKS_MIN;
	else
		s->block_count = min_u64(2 * s->block_count, STRIDE_BLOCKS_MAX);
	s->used_blocks = used_blocks;
	return s->block_count;
}

/* Some blocks become holes, in memory and in the map. */
static int punch_some(struct object *o, uint64_t first, uint64_t count)
{
	uint64_t offset = first * WFS3_BLOCK_BYTES, len = count * WFS3_BLOCK_BYTES;
	struct cache_file *file;
	int ret;

	if (MUTATE(DISCARD_BEHIND_CACHE))
		return object_unmap(o, first, count);
	ret = object_open_file(o, &file);
	if (!ret)
		ret = cache_punch_begin(file, offset, len, 0);
	if (ret)
		return ret;
	ret = object_unmap(o, first, count);
	cache_punch_end(file, offset, len, ret != 0);
	return ret;
}

int object_punch(struct object *o, uint64_t first, uint64_t end)
{
	struct object_stride stride = { 0 };
	int ret = 0;

	while (first < end && !ret) {
		uint64_t count = min_u64(object_stride_next(&stride, o), end - first);

		ret = punch_some(o, first, count);
		first += count;
	}
	return ret;
}

int object_zero_edge(struct object *o, uint64_t from, uint64_t to)
{
	static const uint8_t zeros[WFS3_BLOCK_BYTES];
	struct iovec iov = { .iov_base = (void *)(uintptr_t)zeros, .iov_len = to - from };
	struct cache_file *file;
	int ret;

	if (from >= to)
		return 0;
	ret = object_open_file(o, &file);
	return ret ? ret : cache_write(file, from, &iov, 1, 0);
}

int object_zero(struct object *o, uint64_t offset, uint64_t len)
{
	uint64_t end = offset + len;
	uint64_t first = div_round_up_u64(offset, WFS3_BLOCK_BYTES);
	uint64_t last = end / WFS3_BLOCK_BYTES;
	int ret;

	if (first > last)
		return object_zero_edge(o, offset, end);
	ret = object_zero_edge(o, offset, first * WFS3_BLOCK_BYTES);
	if (!ret)
		ret = object_zero_edge(o, last * WFS3_BLOCK_BYTES, end);
	if (!ret && first < last)
		ret = object_punch(o, first, last);
	return ret;
}

/* Collecting extents. */
struct extents {
	struct vfs_extent *out;
	unsigned max, count;
	uint64_t pos, end; /* bytes described so far; end of the question */
};

/* Describe [pos, until) as one kind. False: no room for another extent. */
static bool extents_add(struct extents *e, uint64_t until, bool hole)
{
	struct vfs_extent *last = e->count ? &e->out[e->count - 1] : NULL;

	until = min_u64(until, e->end);
	if (until <= e->pos)
		return true;
	if (last && last->hole == hole) {
		last->len_bytes += until - e->pos;
	} else if (e->count < e->max) {
		e->out[e->count++] = (struct vfs_extent){
			.offset = e->pos, .len_bytes = until - e->pos, .hole = hole, .zero = hole
		};
	} else {
		return false;
	}
	e->pos = until;
	return true;
}

static bool extents_add_cell(struct extents *e, uint64_t cell_index, const struct cell *cell)
{
	uint64_t base = cell_index * WFS3_CELL_BYTES;

	if (!extents_add(e, base, true))
		return false;
	for (unsigned i = 0; i < WFS3_CELL_BLOCKS; i++)
		if (!extents_add(e, base + (i + 1) * (uint64_t)WFS3_BLOCK_BYTES, cell->blocks[i].addr == 0))
			return false;
	return true;
}

int object_extents(struct object *o, uint64_t offset, uint64_t len, unsigned flags, struct vfs_extent *ret,
                   unsigned max, unsigned *ret_count)
{
	struct extents e = { .out = ret, .max = flags & VFS_ONE ? 1 : max, .pos = offset, .end = offset + len };
	struct wfs3_key from = object_cell_key(o, offset / WFS3_CELL_BYTES);
	struct wfs3_key to = object_cell_key(o, (e.end - 1) / WFS3_CELL_BYTES);
	struct wfs3_key found, missing;
	uint8_t buf[CELL_BYTES_MAX];
	struct cell cell;
	size_t cell_len;
	int err = 0;

	if (is_inline(o, offset / WFS3_BLOCK_BYTES))
		extents_add(&e, WFS3_BLOCK_BYTES, false);
	while (e.pos < e.end) {
		err = tree_next(o->ds->tree, &from, &to, &found, buf, sizeof(buf), &cell_len, &missing);
		if (err == -EAGAIN) {
			err = tree_fetch(o->ds->tree, &missing);
			if (err)
				break;
			continue;
		}
		if (err == -ENOENT) {
			err = 0;
			extents_add(&e, e.end, true);
			break;
		}
		if (!err)
			err = cell_decode(buf, cell_len, &cell);
		if (err || !extents_add_cell(&e, found.offset, &cell) || found.offset == to.offset)
			break;
		from.offset = found.offset + 1;
	}
	*ret_count = e.count;
	return err ? err_add(err, "map of dataset %" PRIu64 " at offset %" PRIu64, o->ds->id, e.pos) : 0;
}
