/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Resilvering: a device that was away, or is new, gets what it lacks. From the moment it is FILLING it gets all new
 * writes; what was written before and is still in use is what the newest root reaches and was born after the device
 * went away:
 *
 *   1. wait for everything that was being written to the group without it (pins) and for the commit that maps it;
 *   2. between two commits, copy the allocation state, and keep the root;
 *   3. walk the root's trees, by birth, and copy nodes and data, verified as they are read;
 *   4. flush, commit once more, and let it be read.
 *
 * A crash or an error on the way: it begins again from the same txg.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/fs/wfs3/cell.h"
#include "core/fs/wfs3/items.h"
#include "core/fs/wfs3/members.h"
#include "core/fs/wfs3/pool.h"

#define BATCH_BLOCKS 256u
#define STATE_CHUNK_BYTES (1u << 20)
#define RESILVER_RATE_DEFAULT (UINT64_C(256) << 20) /* per second */
#define PACE_NS (10 * SYNC_NS_PER_MS) /* shorter waits are saved up */
#define READ_TRIES 4u /* of a block that cannot be read, before it counts as lost */

struct block {
	uint64_t addr;
	uint64_t key_offset; /* of the data in its object, for messages */
	uint32_t crc;
};

struct fill {
	struct pool *p;
	struct blk_dev *group_dev;
	unsigned group, copy;
	uint64_t since;
	struct wfs3_ptr root;
	uint8_t *buf; /* BATCH_BLOCKS blocks */
	struct block *blocks; /* BATCH_BLOCKS: to be copied */
	unsigned count;
	uint64_t lost_blocks; /* that no copy has */
	uint64_t dataset_id; /* that is being walked */
	uint64_t due_ns; /* when the rate allows more */
	struct dataset_item *datasets; /* whose trees have to be walked */
	size_t dataset_count, dataset_room;
};

static int check_goes_on(const struct fill *f)
{
	struct members *m = f->p->members;
	struct mirror_copy c;
	bool stop;

	sync_mutex_lock(&m->wake_lock);
	stop = m->stop;
	sync_mutex_unlock(&m->wake_lock);
	mirror_get(f->group_dev, f->copy, &c);
	if (stop || c.state != MIRROR_FILLING)
		return err_set(-ECANCELED, "pool %s: filling a device was stopped", f->p->name);
	return pool_check_writable(f->p);
}

/* It was copied. Wait until the rate allows more: what clients do goes first. */
static void count_done(struct fill *f, uint64_t blocks)
{
	uint64_t rate = f->p->w->config.resilver_rate_bytes, now_ns = sync_now_ns();

	__atomic_add_fetch(&f->p->members->filled_blocks, blocks, __ATOMIC_RELAXED);
	if (!rate)
		rate = RESILVER_RATE_DEFAULT;
	/* What was not used in time is not made up for. */
	if (f->due_ns < now_ns)
		f->due_ns = now_ns;
	f->due_ns += (uint64_t)((double)(blocks * WFS3_BLOCK_BYTES) * 1e9 / (double)rate);
	if (f->due_ns > now_ns + PACE_NS)
		sync_sleep_ns(f->due_ns - now_ns);
}

/* Whatever began to write to the group before the device was written to is in a tree by now, or was given up. */
static int wait_for_writers(struct fill *f)
{
	uint64_t txg = __atomic_load_n(&f->p->open_txg, __ATOMIC_RELAXED);
	int rc = txg_force(f->p, 1);

	while (!rc && space_oldest_pin(f->p->space) <= txg) {
		sync_sleep_ns(SYNC_NS_PER_MS);
		rc = check_goes_on(f);
	}
	return rc;
}

static int copy_range(void *ctx, uint64_t offset, uint64_t len)
{
	struct fill *f = ctx;
	int rc = 0;

	for (uint64_t at = 0; at < len && !rc; at += STATE_CHUNK_BYTES) {
		size_t n = (size_t)min_u64(STATE_CHUNK_BYTES, len - at);

		rc = blk_read(f->group_dev, offset + at, f->buf, n);
		if (!rc)
			rc = mirror_fill(f->group_dev, f->copy, offset + at, f->buf, n);
	}
	return rc;
}

/* In the committing thread. */
static int copy_state(void *ctx)
{
	struct fill *f = ctx;

	f->root = f->p->pool_root;
	return space_copy_state(f->p->space, f->group, copy_range, f);
}

static int compare_blocks(const void *a, const void *b)
{
	const struct block *x = a, *y = b;

	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

static bool crc_is_good(void *ctx, const void *buf)
{
	return crc32c(buf, WFS3_BLOCK_BYTES) == *(const uint32_t *)ctx;
}

/* The only good copy may have had a bad moment. */
static int read_block(struct fill *f, struct block *b, uint64_t offset, uint8_t *p)
{
	int rc = -EIO;

	for (unsigned i = 0; i < READ_TRIES && rc == -EIO; i++)
		rc = mirror_read_verified(f->group_dev, offset, p, WFS3_BLOCK_BYTES, crc_is_good, &b->crc);
	return rc;
}

/* Blocks [from, to) have adjacent addresses; all of them are in the group. */
static int copy_run(struct fill *f, unsigned from, unsigned to, uint64_t offset)
{
	size_t len = (size_t)(to - from) * WFS3_BLOCK_BYTES;
	int rc = blk_read(f->group_dev, offset, f->buf, len);

	for (unsigned i = from; i < to; i++) {
		struct block *b = &f->blocks[i];
		uint8_t *p = f->buf + (size_t)(i - from) * WFS3_BLOCK_BYTES;
		int one;

		if (!rc && crc_is_good(&b->crc, p))
			continue;
		one = read_block(f, b, offset + (uint64_t)(i - from) * WFS3_BLOCK_BYTES, p);
		if (!one)
			continue;
		/* It is lost here and there: that is no reason not to mirror the rest. */
		f->lost_blocks++;
		log_error("wfs3",
		          "pool=%s dataset=%" PRIu64 " offset=%" PRIu64 ": no copy of this block can be read errno=%d",
		          f->p->name, f->dataset_id, b->key_offset, -one);
		memset(p, 0, WFS3_BLOCK_BYTES);
	}
	rc = mirror_fill(f->group_dev, f->copy, offset, f->buf, len);
	if (!rc)
		count_done(f, to - from);
	return rc;
}

static int copy_blocks(struct fill *f)
{
	uint64_t region_blocks = pool_region_blocks(f->p);
	int rc = check_goes_on(f);

	qsort(f->blocks, f->count, sizeof(f->blocks[0]), compare_blocks);
	for (unsigned from = 0, to; from < f->count && !rc; from = to) {
		uint64_t addr = f->blocks[from].addr, offset;
		unsigned device;

		for (to = from + 1; to < f->count; to++)
			if (f->blocks[to].addr != addr + (to - from) || f->blocks[to].addr % region_blocks == 0)
				break;
		rc = space_locate(f->p->space, addr, to - from, &device, &offset);
		if (!rc && device == f->group)
			rc = copy_run(f, from, to, offset);
	}
	f->count = 0;
	return rc;
}

static int fill_node(void *ctx, const struct wfs3_ptr *ptr, const void *page)
{
	struct fill *f = ctx;
	unsigned device;
	uint64_t offset;
	int rc = space_locate(f->p->space, ptr->addr, WFS3_NODE_BLOCKS, &device, &offset);

	if (!rc && device == f->group) {
		rc = mirror_fill(f->group_dev, f->copy, offset, page, WFS3_NODE_BYTES);
		count_done(f, WFS3_NODE_BLOCKS);
	}
	return rc ? rc : check_goes_on(f);
}

static int fill_cell(void *ctx, const struct wfs3_key *key, const void *value, size_t len)
{
	struct fill *f = ctx;
	struct cell cell;
	int rc;

	if (key->kind != WFS3_KIND_CELL)
		return 0;
	rc = cell_decode(value, len, &cell);
	for (unsigned i = 0; i < WFS3_CELL_BLOCKS && !rc; i++) {
		const struct cell_block *b = &cell.blocks[i];

		if (!b->addr || b->birth <= f->since)
			continue;
		f->blocks[f->count++] =
		        (struct block){ .addr = b->addr,
			                .key_offset = key->offset * WFS3_CELL_BYTES + (uint64_t)i * WFS3_BLOCK_BYTES,
			                .crc = b->crc };
		if (f->count == BATCH_BLOCKS)
			rc = copy_blocks(f);
	}
	return rc;
}

static int note_dataset(void *ctx, const struct wfs3_key *key, const void *value, size_t len)
{
	struct fill *f = ctx;

	if (key->kind != WFS3_KIND_DATASET)
		return 0;
	if (f->dataset_count == f->dataset_room) {
		size_t room = f->dataset_room ? 2 * f->dataset_room : 16;
		struct dataset_item *p = realloc(f->datasets, room * sizeof(*p));

		if (!p)
			return err_set(-ENOMEM, "list of datasets");
		f->datasets = p;
		f->dataset_room = room;
	}
	return dataset_item_decode(key->object, value, len, &f->datasets[f->dataset_count++]);
}

/* A tree's nodes are not newer than its record, nor a cell's blocks than its leaf: what is older can be passed over. */
static int copy_trees(struct fill *f)
{
	struct tree_visitor pool_tree = { .ctx = f, .born_after = f->since, .page = fill_node, .item = note_dataset };
	struct tree_visitor tree = { .ctx = f, .born_after = f->since, .page = fill_node, .item = fill_cell };
	int rc = tree_walk(&f->p->env, POOL_TREE_DATASET, &f->root, &pool_tree);

	for (size_t i = 0; i < f->dataset_count && !rc; i++) {
		f->dataset_id = f->datasets[i].id;
		rc = tree_walk(&f->p->env, f->dataset_id, &f->datasets[i].root, &tree);
		if (!rc)
			rc = copy_blocks(f);
	}
	return rc;
}

static int make_whole(struct fill *f)
{
	struct members *m = f->p->members;
	int rc = blk_flush(f->group_dev);

	/* From this root on the log begins behind what was written without the device. */
	if (!rc)
		rc = txg_force(f->p, 1);
	if (!rc)
		rc = check_goes_on(f);
	if (rc)
		return rc;
	if (!mirror_set_online(f->group_dev, f->copy))
		return err_set(-ECANCELED, "the device went away");
	sync_mutex_lock(&m->lock);
	rc = members_write_labels(m);
	sync_mutex_unlock(&m->lock);
	return rc;
}

static int fill_all(struct fill *f)
{
	struct space_pin pin;
	int rc = wait_for_writers(f);

	if (rc)
		return rc;
	space_pin(f->p->space, &pin);
	rc = txg_force(f->p, 1);
	if (!rc)
		rc = txg_run_between(f->p, copy_state, f);
	if (!rc)
		rc = copy_trees(f);
	space_unpin(f->p->space, pin);
	return rc ? rc : make_whole(f);
}

int resilver(struct pool *p, unsigned group, unsigned copy)
{
	struct fill f = { .p = p, .group_dev = p->devices[group].dev, .group = group, .copy = copy };
	uint64_t start_ns = sync_now_ns();
	struct space_stats s;
	struct mirror_copy c;
	int rc;

	mirror_get(f.group_dev, copy, &c);
	f.since = c.since;
	f.buf = aligned_alloc(WFS3_BLOCK_BYTES, BATCH_BLOCKS * WFS3_BLOCK_BYTES);
	f.blocks = calloc(BATCH_BLOCKS, sizeof(*f.blocks));
	space_get_stats(p->space, &s);
	__atomic_store_n(&p->members->filled_blocks, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&p->members->fill_blocks, s.used_blocks, __ATOMIC_RELAXED);
	rc = f.buf && f.blocks ? 0 : err_set(-ENOMEM, "no memory to fill a device");
	if (!rc) {
		log_notice("wfs3", "pool=%s group=%u device=%s: being filled with what changed since txg %" PRIu64,
		           p->name, group, c.dev ? blk_name(c.dev) : "", f.since);
		rc = fill_all(&f);
	}
	if (!rc)
		log_notice("wfs3",
		           "pool=%s group=%u: filled with %" PRIu64 " blocks in %.3f s, %" PRIu64 " could not be read",
		           p->name, group, __atomic_load_n(&p->members->filled_blocks, __ATOMIC_RELAXED),
		           (double)(sync_now_ns() - start_ns) / 1e9, f.lost_blocks);
	free(f.buf);
	free(f.blocks);
	free(f.datasets);
	return rc;
}
