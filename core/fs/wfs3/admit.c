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

#include "core/base/budget.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/nowait.h"
#include "core/fs/wfs3/pool.h"

/* On the fast path this part of the pool is kept free for the nodes of the trees. */
#define ADMIT_SLACK_SHARE 32
#define ADMIT_NODE_SHARE 16 /* one block in so many for the trees */
/* With less than this part of the pool available, commits come soon, so that what was freed is there in time. */
#define ADMIT_TIGHT_SHARE 4
/* Changes of names and attributes wait for a commit when so much of the memory is taken by nodes that are not written.
 */
#define ADMIT_DIRTY_SHARE 4
#define ADMIT_COMMITS 3u
#define ADMIT_CHANGE_BLOCKS 16u /* leaves of one change */
#define ADMIT_REAP_NS (100 * SYNC_NS_PER_MS)
#define ADMIT_COMMIT_PAUSE_NS (500 * SYNC_NS_PER_MS)

static uint64_t blocks_touched(uint64_t len)
{
	return len / WFS3_BLOCK_BYTES + 2;
}

static int add_dirty(void *ctx, struct object *o)
{
	struct cache_file *file = __atomic_load_n(&o->file, __ATOMIC_ACQUIRE);
	uint64_t *sum = ctx;

	if (file)
		*sum += cache_file_dirty_bytes(file) / WFS3_BLOCK_BYTES;
	return 0;
}

/* Is there room for the writers that are on their way, beside what is dirty? Exact while the caller holds full_lock. */
static int fits(struct pool *p, bool *ret)
{
	struct node_cache_stats nodes;
	uint64_t dirty = __atomic_load_n(&p->admitting_blocks, __ATOMIC_RELAXED);
	uint64_t trees;
	int err = object_each_dirty(p, add_dirty, &dirty);

	if (err)
		return err;
	node_cache_get_stats(p->node_cache, &nodes);
	trees = dirty / ADMIT_NODE_SHARE + 2 * nodes.dirty_bytes / WFS3_BLOCK_BYTES;
	*ret = dirty + trees <= pool_available_blocks(p);
	return 0;
}

static int admit_slowly(struct pool *p)
{
	bool room, more;
	int ret = fits(p, &room);

	if (ret || room)
		return ret;
	do {
		/* What was deleted is on its way back: it is full only when that did not help. */
		more = reaper_wait(p, sync_now_ns() + ADMIT_REAP_NS);
		ret = object_each_dirty(p, object_flush, NULL);
		if (!ret)
			/* What was freed in a group is reusable when that group and one more are durable. */
			ret = txg_force(p, 2);
		if (!ret)
			ret = fits(p, &room);
	} while (!ret && !room && more);
	if (!ret && !room)
		ret = err_set(-ENOSPC, "pool %s is full (%" PRIu64 " blocks left)", p->name, pool_available_blocks(p));
	return ret;
}

/*
 * Is there room by a careful estimate? What is in write-back counts twice until it is mapped; writers who are not
 * through yet count, too. @need stays added to those. @trees: what changes that are not committed take.
 */
static bool admit_fast(struct pool *p, uint64_t need, uint64_t trees)
{
	uint64_t admitting = __atomic_add_fetch(&p->admitting_blocks, need, __ATOMIC_RELAXED);
	struct cache_stats cached;
	struct space_stats s;
	uint64_t available, wanted;

	cache_get_stats(p->w->config.cache, &cached);
	space_get_stats(p->space, &s);
	available = s.free_blocks - s.reserved_blocks;
	if (available < s.total_blocks / ADMIT_TIGHT_SHARE &&
	    sync_now_ns() - __atomic_load_n(&p->last_commit_ns, __ATOMIC_RELAXED) > ADMIT_COMMIT_PAUSE_NS)
		txg_want_commit(p);
	wanted = (cached.dirty_bytes + cached.writeback_bytes) / WFS3_BLOCK_BYTES + admitting;
	return available > wanted + wanted / ADMIT_NODE_SHARE + trees + s.total_blocks / ADMIT_SLACK_SHARE;
}

static int admit(struct pool *p, uint64_t need, uint64_t trees, unsigned flags, struct admission *ret) SYNC_NO_ANALYSIS;
static int admit(struct pool *p, uint64_t need, uint64_t trees, unsigned flags, struct admission *ret)
{
	int err = 0;

	*ret = (struct admission){ .blocks = need };
	if (admit_fast(p, need, trees))
		return 0;
	if (flags & VFS_NOWAIT || nowait_here()) {
		err = -EAGAIN;
	} else {
		/* Who waits must not take the room of those who are ahead. */
		__atomic_sub_fetch(&p->admitting_blocks, need, __ATOMIC_RELAXED);
		sync_mutex_lock(&p->full_lock);
		__atomic_add_fetch(&p->admitting_blocks, need, __ATOMIC_RELAXED);
		err = admit_slowly(p);
		ret->holds_lock = !err;
		if (err)
			sync_mutex_unlock(&p->full_lock);
	}
	if (err)
		__atomic_sub_fetch(&p->admitting_blocks, need, __ATOMIC_RELAXED);
	return err;
}

int admit_write(struct dataset *ds, uint64_t len, unsigned flags, struct admission *ret)
{
	return admit(ds->pool, blocks_touched(len), 0, flags, ret);
}

static uint64_t free_blocks(struct pool *p)
{
	struct space_stats s;

	space_get_stats(p->space, &s);
	return s.free_blocks;
}

/* Wait while too much of the trees is not written; *@ret_trees: blocks that this takes. */
static int wait_for_trees(struct pool *p, uint64_t *ret_trees)
{
	size_t bound = budget_limit(p->w->config.budget) / ADMIT_DIRTY_SHARE;
	struct node_cache_stats nodes;
	int err = 0;

	node_cache_get_stats(p->node_cache, &nodes);
	if (nodes.dirty_bytes > bound / 2)
		txg_want_commit(p);
	/* What a commit replaces is free two commits later, so there must be room for what two of them write. */
	if (nodes.dirty_bytes > bound || nodes.dirty_bytes / WFS3_BLOCK_BYTES > free_blocks(p) / ADMIT_COMMITS)
		err = nowait_here() ? -EAGAIN : txg_force(p, 2);
	*ret_trees = 2 * nodes.dirty_bytes / WFS3_BLOCK_BYTES;
	return err;
}

int admit_change(struct pool *p, bool gives_back, struct admission *ret)
{
	uint64_t trees;
	int err = wait_for_trees(p, &trees);

	if (err)
		return err;
	*ret = (struct admission){ 0 };
	return gives_back ? 0 : admit(p, ADMIT_CHANGE_BLOCKS, trees, 0, ret);
}

int admit_transaction(struct pool *p, uint64_t data_blocks, uint64_t leaves, struct admission *ret)
{
	uint64_t trees;
	int err = wait_for_trees(p, &trees);

	if (err)
		return err;
	return admit(p, data_blocks + leaves * (WFS3_NODE_BYTES / WFS3_BLOCK_BYTES), trees, 0, ret);
}

void admit_done(struct pool *p, struct admission *a)
{
	__atomic_sub_fetch(&p->admitting_blocks, a->blocks, __ATOMIC_RELAXED);
	if (a->holds_lock)
		sync_mutex_unlock(&p->full_lock);
}
