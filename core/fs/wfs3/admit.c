/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Admission of writes by free space. Blocks are allocated at write-back, long after a write was answered, so a write is
 * only accepted when there is room for everything that is dirty already, and for it.
 *
 * Far from full, one comparison decides. Near full, writers go one at a time through a slow path that counts exactly,
 * and before it says -ENOSPC it writes back, commits, and so lets what was freed come back.
 */
#include <errno.h>
#include <inttypes.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/wfs3/pool.h"

/* Room that unaligned edges, the nodes of the tree and writers on the fast path at the same moment may take. */
#define ADMIT_SLACK_BLOCKS UINT64_C(65536)
#define ADMIT_NODE_SHARE 16 /* one block in so many for the trees */

static uint64_t blocks_touched(uint64_t len)
{
	return len / WFS3_BLOCK_BYTES + 2;
}

static int add_dirty(void *ctx, struct dataset *ds)
{
	uint64_t *sum = ctx;

	if (__atomic_load_n(&ds->file, __ATOMIC_ACQUIRE))
		*sum += cache_file_dirty_bytes(ds->file) / WFS3_BLOCK_BYTES;
	return 0;
}

static int flush_one(void *ctx, struct dataset *ds)
{
	(void)ctx;
	return __atomic_load_n(&ds->file, __ATOMIC_ACQUIRE) ? cache_flush(ds->file, 0, UINT64_MAX) : 0;
}

/* Is there room for @need more blocks beside what is dirty? Exact while the caller holds full_lock. */
static int fits(struct pool *p, uint64_t need, bool *ret)
{
	struct node_cache_stats nodes;
	uint64_t dirty = need;
	uint64_t trees;
	int err = dataset_each(p, add_dirty, &dirty);

	if (err)
		return err;
	node_cache_get_stats(p->node_cache, &nodes);
	trees = dirty / ADMIT_NODE_SHARE + 2 * nodes.dirty_bytes / WFS3_BLOCK_BYTES;
	*ret = dirty + trees <= pool_available_blocks(p);
	return 0;
}

static int admit_slowly(struct pool *p, uint64_t need)
{
	bool room;
	int ret = fits(p, need, &room);

	if (ret || room)
		return ret;
	ret = dataset_each(p, flush_one, NULL);
	if (!ret)
		/* What was freed in a group is reusable when that group and one more are durable. */
		ret = txg_force(p, 2);
	if (!ret)
		ret = fits(p, need, &room);
	if (!ret && !room)
		ret = err_set(-ENOSPC, "pool %s is full (%" PRIu64 " blocks left)", p->name, pool_available_blocks(p));
	return ret;
}

int admit_write(struct dataset *ds, uint64_t len, unsigned flags, struct admission *ret)
{
	struct pool *p = ds->pool;
	uint64_t need = blocks_touched(len);
	struct cache_stats cached;
	int err;

	*ret = (struct admission){ 0 };
	cache_get_stats(p->w->config.cache, &cached);
	if (pool_available_blocks(p) > cached.dirty_bytes / WFS3_BLOCK_BYTES + need + ADMIT_SLACK_BLOCKS)
		return 0;
	if (flags & VFS_NOWAIT)
		return -EAGAIN;
	sync_mutex_lock(&p->full_lock);
	err = admit_slowly(p, need);
	if (err)
		sync_mutex_unlock(&p->full_lock);
	else
		ret->holds_lock = true;
	return err;
}

void admit_done(struct pool *p, struct admission *a)
{
	if (a->holds_lock)
		sync_mutex_unlock(&p->full_lock);
}
