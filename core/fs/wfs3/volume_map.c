/* SPDX-License-Identifier: BSD-3-Clause */
/* The map of a volume: which blocks hold its cells. Reading them (cache fill), removing them (punch), describing them.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/mutate.h"
#include "core/blk/mirror.h"
#include "core/fs/wfs3/cell.h"
#include "core/fs/wfs3/pool.h"

#define UNMAP_CELLS_PER_GROUP 32 /* cells removed in one stay inside the gate */
#define STRIDE_BLOCKS_MIN UINT64_C(65536) /* 256 MiB */
#define STRIDE_BLOCKS_MAX (UINT64_C(1) << 48)

static struct wfs3_key cell_key(uint64_t cell_index)
{
	return (struct wfs3_key){ .object = WFS3_VOLUME_OBJECT, .kind = WFS3_KIND_CELL, .offset = cell_index };
}

static int get_cell(struct dataset *ds, uint64_t cell_index, struct cell *ret)
{
	struct wfs3_key key = cell_key(cell_index);
	uint8_t buf[CELL_BYTES_MAX];
	size_t len;
	int err;

	for (;;) {
		err = tree_get(ds->tree, &key, buf, sizeof(buf), &len);
		if (err != -EAGAIN)
			break;
		err = tree_fetch(ds->tree, &key);
		if (err)
			return err;
	}
	if (err == -ENOENT)
		return cell_decode(NULL, 0, ret);
	if (err == -ERANGE)
		return err_set(-EUCLEAN, "cell %" PRIu64 " is %zu bytes long", cell_index, len);
	return err ? err : cell_decode(buf, len, ret);
}

/* One device read in the making: pages with adjacent addresses. */
struct fill {
	struct dataset *ds;
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
			ret = get_cell(f->ds, cell_index, &cell);
			if (ret)
				return ret;
		}
		f->want[i] = cell.blocks[page % WFS3_CELL_BLOCKS];
		hole[i] = f->want[i].addr == 0;
	}
	return 0;
}

/* Submit one read for the pages [from, to), whose addresses are adjacent. */
static int fill_run(struct fill *f, unsigned from, unsigned to, void *const data[])
{
	struct blk_io *io = &f->ios[f->io_count++];
	struct pool_device *d;
	uint64_t offset;
	int ret = pool_locate(f->ds->pool, f->want[from].addr, to - from, &d, &offset);

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
	uint64_t region_blocks = pool_region_blocks(f->ds->pool);
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

static bool crc_is_good(void *ctx, const void *buf)
{
	return crc32c(buf, WFS3_BLOCK_BYTES) == *(const uint32_t *)ctx;
}

static int fill_verify(struct fill *f, uint64_t first, unsigned count, void *const data[], uint32_t crc[])
{
	for (unsigned i = 0; i < count; i++) {
		struct pool_device *d;
		uint64_t offset;

		if (!f->want[i].addr)
			continue;
		crc[i] = crc32c(data[i], WFS3_BLOCK_BYTES);
		if (crc[i] == f->want[i].crc || MUTATE(NO_DATA_CRC))
			continue;
		if (pool_locate(f->ds->pool, f->want[i].addr, 1, &d, &offset))
			return -EIO;
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

int volume_fill(void *ctx, uint64_t first, unsigned count, void *const data[], uint32_t crc[], bool hole[])
{
	struct dataset *ds = ctx;
	struct fill f = { .ds = ds };
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
	space_pin(ds->pool->space, &pin);
	ret = fill_lookup(&f, first, count, data, hole);
	if (!ret)
		ret = fill_read(&f, count, data);
	if (!ret)
		ret = fill_verify(&f, first, count, data, crc);
	space_unpin(ds->pool->space, pin);
	if (ret)
		err_add(ret, "pool %s: read dataset %" PRIu64 " object %" PRIu64 " at offset %" PRIu64, ds->pool->name,
		        ds->id, WFS3_VOLUME_OBJECT, first * WFS3_BLOCK_BYTES);
out:
	free(f.ios);
	free(f.iov);
	free(f.want);
	return ret;
}

/* Inside the gate. Returns like tree_update(). */
static int unmap_cell(struct dataset *ds, uint64_t txg, uint64_t cell_index, unsigned from, unsigned to)
{
	struct cell_change c = { .cell_index = cell_index };

	for (unsigned i = from; i < to; i++)
		c.mask |= (uint16_t)(1u << i);
	return volume_change_cell(ds, txg, &c);
}

/* Inside the gate: unmap up to UNMAP_CELLS_PER_GROUP existing cells from block *first on. 1: there may be more. */
static int unmap_some(struct dataset *ds, uint64_t txg, uint64_t *first, uint64_t end, struct wfs3_key *ret_missing)
{
	uint8_t buf[CELL_BYTES_MAX];

	for (unsigned n = 0; n < UNMAP_CELLS_PER_GROUP; n++) {
		struct wfs3_key from = cell_key(*first / WFS3_CELL_BLOCKS);
		struct wfs3_key to = cell_key((end - 1) / WFS3_CELL_BLOCKS);
		struct wfs3_key found;
		uint64_t start, stop;
		size_t len;
		int ret = tree_next(ds->tree, &from, &to, &found, buf, sizeof(buf), &len, ret_missing);

		if (ret == -ENOENT)
			return 0;
		if (ret)
			return ret;
		*ret_missing = found;
		start = max_u64(*first, found.offset * WFS3_CELL_BLOCKS);
		stop = min_u64(end, (found.offset + 1) * WFS3_CELL_BLOCKS);
		ret = unmap_cell(ds, txg, found.offset, (unsigned)(start - found.offset * WFS3_CELL_BLOCKS),
		                 (unsigned)(stop - found.offset * WFS3_CELL_BLOCKS));
		if (ret)
			return ret;
		*first = stop;
		if (stop >= end)
			return 0;
	}
	return 1;
}

/* Record that blocks became holes; also where there was no block, since the log may have contents for it. */
static void log_unmap(struct dataset *ds, uint64_t txg, uint64_t first, uint64_t end, struct wal_ticket *ticket)
{
	struct wal_record r = { .type = WAL_UNMAP,
		                .txg = txg,
		                .dataset = ds->id,
		                .object = WFS3_VOLUME_OBJECT,
		                .first = first,
		                .count = end - first };

	if (first < end)
		(void)wal_append(ds->pool->wal, ticket, &r);
}

int volume_unmap(struct dataset *ds, uint64_t first, uint64_t count)
{
	uint64_t end = first + count;
	struct wfs3_key missing;
	int ret = count ? 1 : 0;

	while (ret == 1) {
		uint64_t start = first;
		struct wal_ticket ticket;
		uint64_t txg;

		wal_begin(ds->pool->wal, WAL_UNMAP_BYTES, &ticket);
		txg = txg_enter(ds->pool);
		ret = unmap_some(ds, txg, &first, end, &missing);
		log_unmap(ds, txg, start, ret ? first : end, &ticket);
		txg_exit(ds->pool);
		wal_end(ds->pool->wal, &ticket);
		if (ret == -EUCLEAN)
			(void)pool_check_damage(ds->pool);
		if (ret == -EAGAIN) {
			ret = tree_fetch(ds->tree, &missing);
			if (!ret)
				ret = 1;
		}
	}
	return ret ? err_add(ret, "unmap blocks %" PRIu64 "..%" PRIu64 " of dataset %" PRIu64, first, end, ds->id) : 0;
}

uint64_t volume_stride_next(struct volume_stride *s, const struct dataset *ds)
{
	uint64_t used_blocks = __atomic_load_n(&ds->used_blocks, __ATOMIC_RELAXED);

	if (!s->block_count || used_blocks != s->used_blocks)
		s->block_count = STRIDE_BLOCKS_MIN;
	else
		s->block_count = min_u64(2 * s->block_count, STRIDE_BLOCKS_MAX);
	s->used_blocks = used_blocks;
	return s->block_count;
}

int volume_put_inode_in(struct dataset *ds, uint64_t txg)
{
	struct wfs3_key key = { .object = WFS3_VOLUME_OBJECT, .kind = WFS3_KIND_INODE };
	uint8_t buf[INODE_BYTES];
	int64_t mtime_ns = __atomic_load_n(&ds->inode.mtime_ns, __ATOMIC_RELAXED);
	struct inode i = { .mode = ds->inode.mode,
		           .uid = ds->inode.uid,
		           .gid = ds->inode.gid,
		           .link_count = ds->inode.link_count,
		           .size_bytes = __atomic_load_n(&ds->inode.size_bytes, __ATOMIC_RELAXED),
		           .change = __atomic_load_n(&ds->inode.change, __ATOMIC_RELAXED),
		           .atime_ns = ds->inode.atime_ns,
		           .mtime_ns = mtime_ns,
		           .ctime_ns = mtime_ns,
		           .btime_ns = ds->inode.btime_ns };
	int ret;

	ret = tree_put(ds->tree, txg, &key, buf, inode_encode(&i, buf));
	if (!ret)
		txg_changed(ds->pool, ds, txg);
	return ret;
}

int volume_put_inode(struct dataset *ds)
{
	struct wfs3_key key = { .object = WFS3_VOLUME_OBJECT, .kind = WFS3_KIND_INODE };
	int ret;

	for (;;) {
		uint64_t txg = txg_enter(ds->pool);

		ret = volume_put_inode_in(ds, txg);
		txg_exit(ds->pool);
		if (ret != -EAGAIN)
			return ret;
		ret = tree_fetch(ds->tree, &key);
		if (ret)
			return ret;
	}
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

int volume_extents(struct dataset *ds, uint64_t offset, uint64_t len, unsigned flags, struct vfs_extent *ret,
                   unsigned max, unsigned *ret_count)
{
	struct extents e = { .out = ret, .max = flags & VFS_ONE ? 1 : max, .pos = offset, .end = offset + len };
	struct wfs3_key from = cell_key(offset / WFS3_CELL_BYTES);
	struct wfs3_key to = cell_key((e.end - 1) / WFS3_CELL_BYTES);
	struct wfs3_key found, missing;
	uint8_t buf[CELL_BYTES_MAX];
	struct cell cell;
	size_t cell_len;
	int err = 0;

	while (e.pos < e.end) {
		err = tree_next(ds->tree, &from, &to, &found, buf, sizeof(buf), &cell_len, &missing);
		if (err == -EAGAIN) {
			err = tree_fetch(ds->tree, &missing);
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
	return err ? err_add(err, "map of dataset %" PRIu64 " at offset %" PRIu64, ds->id, e.pos) : 0;
}
