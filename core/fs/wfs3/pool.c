/* SPDX-License-Identifier: BSD-3-Clause */
/* A pool in memory: its life, its failure, and what its trees ask of it (tree_env). */
#include "core/fs/wfs3/pool.h"
#include "core/fs/wfs3/scrub.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/budget.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/blk/mirror.h"
#include "core/fs/wfs3/check_job.h"
#include "core/fs/wfs3/filetx.h"
#include "core/fs/wfs3/members.h"

#define OBJECTS_SHARE 16 /* objects that nobody uses take so much of the memory budget */

int pool_locate(struct pool *p, uint64_t addr, uint32_t block_count, struct pool_device **ret_dev, uint64_t *ret_offset)
{
	unsigned index;
	int ret = space_locate(p->space, addr, block_count, &index, ret_offset);

	if (ret)
		return err_add(ret, "pool %s: address %#" PRIx64, p->name, addr);
	*ret_dev = &p->devices[index];
	return 0;
}

static int env_read_node(void *ctx, uint64_t addr, void *buf)
{
	struct pool *p = ctx;
	struct pool_device *d;
	uint64_t offset;
	int ret = pool_locate(p, addr, WFS3_NODE_BLOCKS, &d, &offset);

	if (ret)
		return ret;
	return blk_read(d->dev, offset, buf, WFS3_NODE_BYTES);
}

static int env_reread_node(void *ctx, uint64_t addr, void *buf, mirror_good_fn *good, void *good_ctx)
{
	struct pool *p = ctx;
	struct pool_device *d;
	uint64_t offset;
	int ret = pool_locate(p, addr, WFS3_NODE_BLOCKS, &d, &offset);

	return ret ? ret : mirror_read_verified(d->dev, offset, buf, WFS3_NODE_BYTES, good, good_ctx);
}

static void env_free_node(void *ctx, uint64_t txg, uint64_t addr, uint64_t birth)
{
	struct pool *p = ctx;
	struct space_run run = { .addr = addr, .block_count = WFS3_NODE_BLOCKS };

	(void)birth;
	/* The change goes on in memory: no group that holds it will become durable. */
	if (pool_free_runs(p, txg, &run, 1))
		space_unreserve(p->space, 1);
}

static int env_free_reserve(void *ctx, unsigned count)
{
	struct pool *p = ctx;

	return space_reserve(p->space, count);
}

static void env_free_unreserve(void *ctx, unsigned count)
{
	struct pool *p = ctx;

	space_unreserve(p->space, count);
}

static int env_alloc_node(void *ctx, uint64_t txg, uint64_t *ret_addr)
{
	struct pool *p = ctx;
	struct space_run run;
	int ret = space_reserve(p->space, 1);

	if (ret)
		return ret;
	ret = space_alloc(p->space, SPACE_STREAM_NODE, WFS3_NODE_BLOCKS, WFS3_NODE_BLOCKS, &run);
	if (ret) {
		space_unreserve(p->space, 1);
		return ret;
	}
	/* Whatever the cache still knows under this address belonged to a node that is long gone. */
	node_cache_drop(p->node_cache, run.addr);
	space_commit_run(p->space, txg, run);
	*ret_addr = run.addr;
	return 0;
}

/* The old place is free again when the group and one more are durable, like any other that is given up. */
static int env_move_node(void *ctx, uint64_t txg, uint64_t *addr)
{
	struct pool *p = ctx;
	uint64_t old = *addr, new_addr;
	int ret = space_reserve(p->space, 1);

	if (ret)
		return ret;
	ret = env_alloc_node(p, txg, &new_addr);
	if (ret) {
		space_unreserve(p->space, 1);
		return ret;
	}
	env_free_node(p, txg, old, txg);
	log_warning("wfs3", "pool=%s: a node could not be written at %#" PRIx64 "; it goes to %#" PRIx64, p->name, old,
	            new_addr);
	*addr = new_addr;
	return 0;
}

static int env_write_nodes(void *ctx, const uint64_t addrs[], const void *const bufs[], unsigned count)
{
	struct pool *p = ctx;
	struct blk_io *ios = calloc(count, sizeof(*ios));
	struct iovec *iov = calloc(count, sizeof(*iov));
	struct blk_batch batch;
	int ret = 0;

	if (!ios || !iov) {
		ret = err_set(-ENOMEM, "no memory to write %u nodes", count);
		goto out;
	}
	blk_batch_init(&batch);
	for (unsigned i = 0; i < count && !ret; i++) {
		struct pool_device *d;

		iov[i] = (struct iovec){ .iov_base = (void *)(uintptr_t)bufs[i], .iov_len = WFS3_NODE_BYTES };
		ios[i] = (struct blk_io){
			.op = BLK_WRITE, .len_bytes = WFS3_NODE_BYTES, .iov = &iov[i], .iov_count = 1
		};
		ret = pool_locate(p, addrs[i], WFS3_NODE_BLOCKS, &d, &ios[i].offset);
		if (!ret)
			blk_batch_add(&batch, d->dev, &ios[i]);
	}
	if (ret)
		(void)blk_batch_wait(&batch);
	else
		ret = blk_batch_wait(&batch);
out:
	free(ios);
	free(iov);
	return ret;
}

void pool_init_env(struct pool *p)
{
	p->env = (struct tree_env){
		.ctx = p,
		.cache = p->node_cache,
		.read_node = env_read_node,
		.reread_node = env_reread_node,
		.free_node = env_free_node,
		.free_reserve = env_free_reserve,
		.free_unreserve = env_free_unreserve,
		.alloc_node = env_alloc_node,
		.write_nodes = env_write_nodes,
		.move_node = env_move_node,
	};
}

struct pool *pool_new(struct wfs3 *w, const char *name, const uint8_t uuid[16])
{
	struct pool *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->stats = aligned_alloc(_Alignof(struct pool_stats), sizeof(*p->stats));
	p->check = check_job_new(p);
	p->scrub = scrub_new(p);
	if (!p->stats || !p->check || !p->scrub ||
	    filetx_table_new(w->config.budget, &w->config.tx_limits, &p->transactions) ||
	    object_table_new(w->config.budget, budget_limit(w->config.budget) / OBJECTS_SHARE, &p->objects)) {
		check_job_free(p->check);
		scrub_free(p->scrub);
		filetx_table_free(p->transactions);
		free(p->stats);
		free(p);
		return NULL;
	}
	memset(p->stats, 0, sizeof(*p->stats));
	p->w = w;
	p->refs = 1;
	vfs_node_init(&p->dir, &pool_dir_ops, VFS_TYPE_DIR);
	snprintf(p->name, sizeof(p->name), "%s", name);
	memcpy(p->uuid, uuid, sizeof(p->uuid));
	p->fsid = hash128(uuid, sizeof(p->uuid)).lo;
	CDS_INIT_LIST_HEAD(&p->datasets);
	CDS_INIT_LIST_HEAD(&p->dirty_objects);
	CDS_INIT_LIST_HEAD(&p->reap_objects);
	sync_mutex_init(&p->dirty_lock, SYNC_RANK_LEAF, "wfs3 dirty objects");
	p->next_dataset_id = DATASET_ID_FIRST;
	sync_mutex_init(&p->table_lock, SYNC_RANK_NAMESPACE, "wfs3 table");
	sync_rwlock_init(&p->gate, SYNC_RANK_GATE, "wfs3 gate");
	sync_rwlock_init(&p->tx_gate, SYNC_RANK_TX_GATE, "wfs3 transactions gate");
	sync_mutex_init(&p->txg_lock, SYNC_RANK_TXG, "wfs3 txg");
	sync_cond_init(&p->txg_wake);
	sync_cond_init(&p->txg_done);
	sync_mutex_init(&p->reap_lock, SYNC_RANK_HANDLE, "wfs3 reaper");
	sync_cond_init(&p->reap_wake);
	sync_cond_init(&p->reap_rest);
	sync_mutex_init(&p->full_lock, SYNC_RANK_ADMISSION, "wfs3 full");
	return p;
}

void pool_close_devices(struct pool *p)
{
	members_close(p);
}

void pool_stop_threads(struct pool *p)
{
	check_job_stop(p->check);
	scrub_stop(p->scrub);
	members_stop(p);
	if (!p->read_only)
		reaper_stop(p);
	txg_stop(p);
}

void pool_unref(struct pool *p)
{
	if (__atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL))
		return;
	object_table_free(p->objects);
	filetx_table_free(p->transactions);
	wal_free(p->wal);
	tree_free(p->tree);
	space_free(p->space);
	node_cache_free(p->node_cache);
	members_free(p->members);
	free(p->devices);
	free(p->stats);
	check_job_free(p->check);
	scrub_free(p->scrub);
	sync_mutex_done(&p->table_lock);
	sync_mutex_done(&p->dirty_lock);
	sync_rwlock_done(&p->gate);
	sync_rwlock_done(&p->tx_gate);
	sync_mutex_done(&p->txg_lock);
	sync_cond_done(&p->txg_wake);
	sync_cond_done(&p->txg_done);
	sync_mutex_done(&p->reap_lock);
	sync_cond_done(&p->reap_rest);
	sync_cond_done(&p->reap_wake);
	sync_mutex_done(&p->full_lock);
	free(p);
}

void pool_free(struct pool *p)
{
	struct dataset *ds, *next;

	if (!p)
		return;
	object_table_empty(p->objects);
	while (!cds_list_empty(&p->reap_objects)) {
		struct object *o = cds_list_first_entry(&p->reap_objects, struct object, reap_link);

		cds_list_del(&o->reap_link);
		vfs_node_unref(&o->node);
	}
	cds_list_for_each_entry_safe (ds, next, &p->datasets, link) {
		cds_list_del(&ds->link);
		vfs_node_unref(&ds->self.node);
	}
	vfs_node_unref(&p->dir);
}

void pool_fail(struct pool *p, int code, const char *doing)
{
	char text[POOL_REASON_MAX];
	struct err e = *err_get();

	err_text(&e, code, 0, text, sizeof(text));
	sync_mutex_lock(&p->txg_lock);
	if (!p->failed) {
		snprintf(p->fail_reason, sizeof(p->fail_reason), "could not %s: %.400s", doing, text);
		__atomic_store_n(&p->failed, code, __ATOMIC_RELEASE);
		log_error("wfs3", "pool=%s is read-only from now on: %s", p->name, p->fail_reason);
	}
	sync_cond_broadcast(&p->txg_done);
	sync_mutex_unlock(&p->txg_lock);
}

int pool_free_runs(struct pool *p, uint64_t txg, const struct space_run runs[], unsigned count)
{
	int none = POOL_DAMAGE_NONE;
	int ret = space_free_runs(p->space, txg, runs, count);

	if (!ret)
		return 0;
	if (__atomic_compare_exchange_n(&p->damage, &none, POOL_DAMAGE_NOTED, false, __ATOMIC_RELAXED,
	                                __ATOMIC_RELAXED)) {
		err_text(err_get(), ret, 0, p->damage_text, sizeof(p->damage_text));
		__atomic_store_n(&p->damage, POOL_DAMAGE_KNOWN, __ATOMIC_RELEASE);
	}
	return ret;
}

int pool_check_damage(struct pool *p)
{
	int ret;

	if (__builtin_expect(__atomic_load_n(&p->damage, __ATOMIC_ACQUIRE) != POOL_DAMAGE_KNOWN, 1))
		return 0;
	ret = err_set(-EUCLEAN, "trees and allocation state contradict each other: %s", p->damage_text);
	pool_fail(p, ret, "keep the pool writable");
	return ret;
}

int pool_check_writable(struct pool *p)
{
	int ret;

	if (__builtin_expect(!__atomic_load_n(&p->failed, __ATOMIC_ACQUIRE) && !p->read_only, 1))
		return 0;
	if (p->read_only)
		return err_set(-EROFS, "pool %s was imported read-only", p->name);
	sync_mutex_lock(&p->txg_lock);
	ret = err_set(-EIO, "pool %s is read-only: %s", p->name, p->fail_reason);
	sync_mutex_unlock(&p->txg_lock);
	return ret;
}

uint64_t pool_available_blocks(struct pool *p)
{
	struct space_stats s;

	space_get_stats(p->space, &s);
	return s.free_blocks > s.reserved_blocks ? s.free_blocks - s.reserved_blocks : 0;
}

int pool_close_clean(struct pool *p)
{
	__atomic_store_n(&p->closing_clean, true, __ATOMIC_RELEASE);
	return txg_force(p, 1);
}
