/* SPDX-License-Identifier: BSD-3-Clause */
/* The simulator's device: an image of what is durable, the writes that are not, and requests on their way. */
#include "tests/sim/disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/base/sync.h"
#include "core/base/sync_sim.h"
#include "core/blk/blk_ops.h"
#include "tests/sim/alloc.h"

#define SECTOR_BYTES 512u
#define HANG_NS (30 * SYNC_NS_PER_S)
#define IN_FLIGHT_MAX 4096u

/* A write that may not survive, of one block. */
struct pending {
	uint64_t block;
	uint64_t write; /* blocks of one request have one number */
	uint64_t order; /* drawn at a power cut */
	bool lost; /* a flush failed: it will not become durable, whatever is flushed later */
	uint8_t data[DISK_BLOCK_BYTES];
};

struct disk {
	struct blk_dev *dev;
	struct disk_config config;
	struct rng rng;
	uint64_t block_count;
	uint8_t **durable; /* by block; NULL: zeros */
	uint8_t **now; /* by block; NULL: as durable */
	struct pending **pending; /* in the order of completion */
	size_t pending_count, pending_room;
	uint64_t write_count;
	bool unplugged, lose_next, misdirect_next;
};

struct sim_blk {
	struct blk_dev dev; /* first */
	struct disk *disk;
};

/* On its way, of the thread that waits for it. */
struct flight {
	struct blk_io *io;
	uint64_t due_ns;
	int error;
	bool dead; /* there was no power when it began */
	bool lost, misdirected;
	uint64_t barrier; /* of a flush: writes up to this number were complete when it began */
};
static _Thread_local struct flight *flights;
static _Thread_local unsigned flight_count;

static const struct blk_ops disk_ops;

static struct disk *to_disk(struct blk_dev *dev)
{
	always(dev->ops == &disk_ops);
	return ((struct sim_blk *)dev)->disk;
}

/* ---- contents ---- */

static void read_block(const struct disk *d, uint64_t block, uint8_t *buf)
{
	const uint8_t *at = d->now[block] ? d->now[block] : d->durable[block];

	if (at)
		memcpy(buf, at, DISK_BLOCK_BYTES);
	else
		memset(buf, 0, DISK_BLOCK_BYTES);
}

static void put_block(uint8_t **at, const uint8_t *data)
{
	if (!*at)
		*at = exempt_alloc(DISK_BLOCK_BYTES);
	memcpy(*at, data, DISK_BLOCK_BYTES);
}

static void add_pending(struct disk *d, uint64_t block, const uint8_t *data)
{
	struct pending *p = exempt_alloc(sizeof(*p));

	if (d->pending_count == d->pending_room) {
		d->pending_room = d->pending_room ? 2 * d->pending_room : 256;
		d->pending = exempt_realloc(d->pending, d->pending_room * sizeof(struct pending *));
	}
	*p = (struct pending){ .block = block, .write = d->write_count };
	memcpy(p->data, data, DISK_BLOCK_BYTES);
	d->pending[d->pending_count++] = p;
}

static void store_block(struct disk *d, uint64_t block, const uint8_t *data, bool fua)
{
	put_block(&d->now[block], data);
	if (!fua) {
		add_pending(d, block, data);
		return;
	}
	/* What the cache had of the block is out of date. */
	for (size_t i = 0; i < d->pending_count; i++)
		d->pending[i]->lost |= d->pending[i]->block == block;
	put_block(&d->durable[block], data);
}

/* What a discarded block holds is anybody's guess. */
static void fill_garbage(struct disk *d, uint8_t *buf)
{
	unsigned kind = (unsigned)rng_below(&d->rng, 3);

	if (kind == 0)
		memset(buf, 0, DISK_BLOCK_BYTES);
	else if (kind == 1)
		memset(buf, (int)rng_below(&d->rng, 256), DISK_BLOCK_BYTES);
}

static void store_range(struct disk *d, const struct blk_io *io, uint64_t to_block)
{
	uint8_t buf[DISK_BLOCK_BYTES] = { 0 };
	int v = 0;
	size_t at = 0;

	d->write_count++;
	for (uint64_t i = 0; i < io->len_bytes / DISK_BLOCK_BYTES; i++) {
		if (io->op == BLK_DISCARD) {
			read_block(d, to_block + i, buf);
			fill_garbage(d, buf);
		} else if (io->op == BLK_WRITE) {
			for (size_t have = 0; have < DISK_BLOCK_BYTES;) {
				size_t part = io->iov[v].iov_len - at;

				if (part > DISK_BLOCK_BYTES - have)
					part = DISK_BLOCK_BYTES - have;
				memcpy(buf + have, (const uint8_t *)io->iov[v].iov_base + at, part);
				have += part;
				at += part;
				if (at == io->iov[v].iov_len) {
					v++;
					at = 0;
				}
			}
		}
		store_block(d, to_block + i, buf, io->flags & BLK_FUA);
	}
}

static void read_range(struct disk *d, const struct blk_io *io)
{
	uint64_t block = io->offset / DISK_BLOCK_BYTES;
	uint8_t buf[DISK_BLOCK_BYTES];
	int v = 0;
	size_t at = 0;

	for (uint64_t i = 0; i < io->len_bytes / DISK_BLOCK_BYTES; i++) {
		read_block(d, block + i, buf);
		for (size_t have = 0; have < DISK_BLOCK_BYTES;) {
			size_t part = io->iov[v].iov_len - at;

			if (part > DISK_BLOCK_BYTES - have)
				part = DISK_BLOCK_BYTES - have;
			memcpy((uint8_t *)io->iov[v].iov_base + at, buf + have, part);
			have += part;
			at += part;
			if (at == io->iov[v].iov_len) {
				v++;
				at = 0;
			}
		}
	}
}

static void drop_pending(struct disk *d, size_t kept)
{
	for (size_t i = kept; i < d->pending_count; i++)
		free(d->pending[i]);
	d->pending_count = kept;
}

/* Everything that was complete when the flush began is durable. What a failed flush lost stays lost. */
static void flush_up_to(struct disk *d, uint64_t write)
{
	size_t kept = 0;

	for (size_t i = 0; i < d->pending_count; i++) {
		struct pending *p = d->pending[i];

		if (p->write > write) {
			d->pending[kept++] = p;
			continue;
		}
		if (!p->lost)
			put_block(&d->durable[p->block], p->data);
		free(p);
	}
	d->pending_count = kept;
}

/* A cache that drops what it could not write, and calls the next flush good. */
static void flush_failed(struct disk *d)
{
	d->config.power->lost |= d->pending_count > 0;
	for (size_t i = 0; i < d->pending_count; i++)
		d->pending[i]->lost |= rng_one_in(&d->rng, 2);
}

/* ---- requests ---- */

/* Some bytes of what a request was writing when the power went, or when it failed. */
static void leave_traces(struct disk *d, const struct flight *f)
{
	const struct blk_io *io = f->io;

	if (io->op == BLK_READ || io->op == BLK_FLUSH || !rng_one_in(&d->rng, 2))
		return;
	store_range(d,
	            &(struct blk_io){
	                    .op = io->op, .len_bytes = io->len_bytes, .iov = io->iov, .iov_count = io->iov_count },
	            io->offset / DISK_BLOCK_BYTES);
}

static int finish_request(struct disk *d, struct flight *f)
{
	struct blk_io *io = f->io;
	uint64_t block = io->offset / DISK_BLOCK_BYTES;

	if (d->config.power->off || d->unplugged) {
		if (!f->dead)
			leave_traces(d, f);
		return -ENXIO;
	}
	if (f->error) {
		if (io->op == BLK_FLUSH)
			flush_failed(d);
		else if (f->error == -EIO)
			leave_traces(d, f);
		return f->error;
	}
	if (io->op == BLK_FLUSH) {
		flush_up_to(d, f->barrier);
	} else if (io->op == BLK_READ) {
		read_range(d, io);
	} else if (f->misdirected) {
		uint64_t count = io->len_bytes / DISK_BLOCK_BYTES;

		store_range(d, io, rng_below(&d->rng, d->block_count - count + 1));
	} else if (!f->lost) {
		store_range(d, io, block);
	}
	return 0;
}

static void aim(struct disk *d, struct flight *f)
{
	struct disk_power *p = d->config.power;
	bool writes = f->io->op != BLK_READ && f->io->op != BLK_DISCARD;

	p->requests++;
	if (writes)
		p->writes++;
	if (p->cut_at_write && p->writes >= p->cut_at_write && writes && !p->off) {
		p->off = true;
		p->cuts++;
	}
	if (p->fail_at_request && (!p->fail_only || p->fail_only == d) && p->requests >= p->fail_at_request &&
	    p->requests <= p->fail_at_request + p->fail_count) {
		f->error = p->fail_error;
		p->failed++;
	}
	if (f->io->op == BLK_WRITE) {
		f->lost = d->lose_next;
		f->misdirected = d->misdirect_next;
		d->lose_next = d->misdirect_next = false;
	}
}

static void disk_start(struct blk_io *io)
{
	struct disk *d = to_disk(io->dev);
	struct flight *f;

	if (!flights)
		flights = exempt_alloc(IN_FLIGHT_MAX * sizeof(*flights));
	always(flight_count < IN_FLIGHT_MAX);
	f = &flights[flight_count++];
	*f = (struct flight){ .io = io, .barrier = d->write_count, .dead = d->config.power->off || d->unplugged };
	f->due_ns = sync_now_ns() + 1000 + (f->dead ? 0 : rng_below(&d->rng, d->config.latency_ns_max + 1));
	if (!f->dead && d->config.hang_one_in && rng_one_in(&d->rng, d->config.hang_one_in))
		f->due_ns += HANG_NS;
	aim(d, f);
	sim_note((uint64_t)io->op << 56 ^ io->offset ^ io->len_bytes << 32);
}

static void disk_kick(void)
{
	sim_point();
}

static void disk_reap(unsigned want)
{
	while (want && flight_count) {
		unsigned first = 0;
		struct flight f;
		int result;

		for (unsigned i = 1; i < flight_count; i++)
			if (flights[i].due_ns < flights[first].due_ns)
				first = i;
		if (flights[first].due_ns > sync_now_ns()) {
			sync_sleep_ns(flights[first].due_ns - sync_now_ns());
			continue;
		}
		f = flights[first];
		flights[first] = flights[--flight_count];
		result = finish_request(to_disk(f.io->dev), &f);
		blk_io_complete(f.io, result);
		want--;
	}
	if (!flight_count) {
		free(flights);
		flights = NULL;
	}
}

static void disk_close(struct blk_dev *dev)
{
	blk_dev_free(dev);
}

static const struct blk_ops disk_ops = {
	.start = disk_start,
	.kick = disk_kick,
	.reap = disk_reap,
	.close = disk_close,
};

/* ---- life ---- */

int disk_new(const struct disk_config *config, struct disk **ret)
{
	struct disk *d = exempt_alloc(sizeof(*d));
	struct sim_blk *b;
	int rc;

	*d = (struct disk){ .config = *config, .block_count = config->size_bytes / DISK_BLOCK_BYTES };
	d->rng = rng_new(config->seed, 77);
	rc = blk_dev_alloc(sizeof(*b), &disk_ops, config->name, &b);
	if (rc) {
		free(d);
		return rc;
	}
	b->disk = d;
	d->dev = &b->dev;
	d->durable = exempt_alloc(d->block_count * sizeof(uint8_t *));
	d->now = exempt_alloc(d->block_count * sizeof(uint8_t *));
	d->dev->caps = (struct blk_caps){
		.transport = BLK_TRANSPORT_SIM,
		.size_bytes = config->size_bytes,
		.logical_block_bytes = 4096,
		.physical_block_bytes = 4096,
		.align_bytes = 4096,
		.max_transfer_bytes = 1u << 20,
		.queue_depth = 32,
		.volatile_cache = true,
		.fua = true,
		.discard = true,
		.write_zeroes = true,
	};
	*ret = d;
	return 0;
}

void disk_free(struct disk *d)
{
	if (!d)
		return;
	drop_pending(d, 0);
	for (uint64_t i = 0; i < d->block_count; i++) {
		free(d->now[i]);
		free(d->durable[i]);
	}
	free(d->pending);
	free(d->now);
	free(d->durable);
	blk_close(d->dev);
	free(d);
}

int disk_copy(const struct disk *d, const struct disk_config *config, struct disk **ret)
{
	int rc = disk_new(config, ret);

	for (uint64_t i = 0; i < d->block_count && !rc; i++) {
		const uint8_t *at = d->now[i] ? d->now[i] : d->durable[i];

		if (at)
			put_block(&(*ret)->durable[i], at);
	}
	return rc;
}

struct blk_dev *disk_dev(struct disk *d)
{
	return d->dev;
}

void disk_unplug(struct disk *d, bool unplugged)
{
	d->unplugged = unplugged;
}

static int compare_order(const void *a, const void *b)
{
	const struct pending *const *x = a;
	const struct pending *const *y = b;

	return ((*x)->order > (*y)->order) - ((*x)->order < (*y)->order);
}

static void keep_some(struct disk *d, const struct pending *p, enum disk_keep keep, bool write_kept)
{
	unsigned unit = keep == DISK_KEEP_SECTORS ? SECTOR_BYTES : DISK_BLOCK_BYTES;
	uint8_t buf[DISK_BLOCK_BYTES] = { 0 };

	if (d->durable[p->block])
		memcpy(buf, d->durable[p->block], sizeof(buf));
	for (unsigned at = 0; at < DISK_BLOCK_BYTES; at += unit)
		if (keep == DISK_KEEP_ALL || (keep == DISK_KEEP_WRITES ? write_kept : rng_one_in(&d->rng, 2)))
			memcpy(buf + at, p->data + at, unit);
	put_block(&d->durable[p->block], buf);
}

void disk_settle(struct disk *d, enum disk_keep keep)
{
	uint64_t write = UINT64_MAX, order = 0;
	bool write_kept = false;

	for (size_t i = 0; i < d->pending_count; i++) {
		struct pending *p = d->pending[i];

		/* Writes of one request stay together only as far as it matters: which block comes last is open. */
		if (p->write != write)
			order = rng_next(&d->rng);
		write = p->write;
		p->order = keep == DISK_KEEP_ALL ? i : order;
	}
	if (d->pending_count)
		qsort(d->pending, d->pending_count, sizeof(struct pending *), compare_order);
	write = UINT64_MAX;
	for (size_t i = 0; i < d->pending_count && keep != DISK_KEEP_NONE; i++) {
		const struct pending *p = d->pending[i];

		if (p->write != write)
			write_kept = rng_one_in(&d->rng, 2);
		write = p->write;
		if (!p->lost)
			keep_some(d, p, keep, write_kept);
	}
	drop_pending(d, 0);
	for (uint64_t i = 0; i < d->block_count; i++) {
		free(d->now[i]);
		d->now[i] = NULL;
	}
}

void disk_lose_next_write(struct disk *d)
{
	d->lose_next = true;
}

void disk_misdirect_next_write(struct disk *d)
{
	d->misdirect_next = true;
}

static bool all_zeros(const uint8_t *block)
{
	return !block || (!block[0] && !memcmp(block, block + 1, DISK_BLOCK_BYTES - 1));
}

bool disk_flip_bit(struct disk *d, struct rng *r)
{
	uint64_t count = 0, nth;

	for (uint64_t i = 0; i < d->block_count; i++)
		count += !all_zeros(d->durable[i]);
	if (!count)
		return false;
	nth = rng_below(r, count);
	for (uint64_t i = 0; i < d->block_count; i++) {
		unsigned byte = (unsigned)rng_below(r, DISK_BLOCK_BYTES);

		if (all_zeros(d->durable[i]) || nth--)
			continue;
		while (!d->durable[i][byte])
			byte = (byte + 1) % DISK_BLOCK_BYTES;
		d->durable[i][byte] ^= (uint8_t)(1u << rng_below(r, 8));
		return true;
	}
	return false;
}
