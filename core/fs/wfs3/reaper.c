/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Giving back the space of what was deleted, in the background and in small steps; after a restart it goes on where it
 * was, because a deleted volume keeps its (nameless) record until it is empty.
 */
#include <errno.h>
#include <inttypes.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/fs/wfs3/filetree.h"

#define GATHER_NS (20 * SYNC_NS_PER_MS)
#define REAP_RETRY_NS (5 * SYNC_NS_PER_S)
#define RESULTS_NS (60 * SYNC_NS_PER_S) /* results of requests that have expired are looked for */

static bool reap_stopping(struct pool *p)
{
	bool stop;

	sync_mutex_lock(&p->reap_lock);
	stop = p->reap_stop;
	sync_mutex_unlock(&p->reap_lock);
	return stop;
}

/* The volume is empty: drop its record, then the dataset itself. */
static int reap_finish(struct pool *p, struct dataset *ds)
{
	uint64_t txg;
	int ret;

	sync_mutex_lock(&p->table_lock);
	txg = txg_enter(p);
	ds->removed = true;
	txg_changed(p, ds, txg);
	txg_exit(p);
	sync_mutex_unlock(&p->table_lock);
	ret = txg_sync(p);
	if (ret)
		return ret;
	sync_mutex_lock(&p->table_lock);
	cds_list_del(&ds->link);
	sync_mutex_unlock(&p->table_lock);
	vfs_node_unref(&ds->self.node);
	return txg_force(p, 2);
}

static int reap_inode(struct dataset *ds)
{
	struct wfs3_key key = { .object = WFS3_VOLUME_OBJECT, .kind = WFS3_KIND_INODE };

	for (;;) {
		uint64_t txg = txg_enter(ds->pool);
		int ret = tree_delete(ds->tree, txg, &key);

		if (!ret)
			txg_changed(ds->pool, ds, txg);
		txg_exit(ds->pool);
		if (ret == -ENOENT)
			return 0;
		if (ret != -EAGAIN)
			return ret;
		ret = tree_fetch(ds->tree, &key);
		if (ret)
			return ret;
	}
}

static int reap_blocks(struct dataset *ds, uint64_t end, bool *ret_stopped)
{
	struct object_stride stride = { 0 };
	uint64_t pos = 0;
	int ret = 0;

	while (pos < end && !ret) {
		uint64_t count = min_u64(object_stride_next(&stride, &ds->self), end - pos);

		*ret_stopped = reap_stopping(ds->pool);
		if (*ret_stopped)
			break;
		ret = object_unmap(&ds->self, pos, count);
		pos += count;
	}
	return ret;
}

/* Nobody can open the volume any more: what is cached is of no use, and need not be written back. */
static int reap_cache(struct dataset *ds, uint64_t end)
{
	int ret;

	if (!ds->self.file)
		return 0;
	ret = cache_punch_begin(ds->self.file, 0, end * WFS3_BLOCK_BYTES, 0);
	if (!ret)
		cache_punch_end(ds->self.file, 0, end * WFS3_BLOCK_BYTES, false);
	return ret;
}

static int reap_tree(struct pool *p, struct dataset *ds)
{
	int ret = filetree_reap_dataset(ds, reap_stopping);

	if (ret == -ECANCELED)
		return 0;
	return ret ? ret : reap_finish(p, ds);
}

static int reap_one(void *ctx, struct dataset *ds)
{
	struct pool *p = ctx;
	bool stopped = false, deleting;
	uint64_t end;
	int ret;

	sync_mutex_lock(&p->table_lock);
	deleting = ds->state == DATASET_STATE_DELETING && !ds->removed;
	sync_mutex_unlock(&p->table_lock);
	if (!deleting || reap_stopping(p))
		return 0;
	/* The log tells at once what is unmapped: not before it is sure that the volume is deleted. */
	ret = txg_sync(p);
	if (!ret && ds->type == DATASET_TYPE_TREE)
		return reap_tree(p, ds);
	if (!ret)
		ret = dataset_load(ds);
	if (ret && ret != -EUCLEAN)
		return ret;
	/* Without its inode it was nearly done the last time. */
	end = ret ? 0 : ds->self.inode.size_bytes / WFS3_BLOCK_BYTES + 1;
	ret = reap_cache(ds, end);
	if (!ret)
		ret = reap_blocks(ds, end, &stopped);
	if (stopped)
		return 0;
	if (!ret)
		ret = reap_inode(ds);
	return ret ? ret : reap_finish(p, ds);
}

static int drop_results(void *ctx, struct dataset *ds)
{
	struct pool *p = ctx;
	int rc = 0;

	if (ds->type == DATASET_TYPE_TREE && !pool_check_writable(p))
		rc = filetree_drop_results(ds, reap_stopping);
	return rc == -ESTALE ? 0 : rc;
}

/* What is handed over one by one is given back together: a thread that is woken each time costs more than its work. */
static void gather(struct pool *p) SYNC_REQUIRES(p->reap_lock)
{
	uint64_t until_ns = sync_now_ns() + GATHER_NS;

	while (!p->reap_hurry && !p->reap_stop && sync_now_ns() < until_ns)
		(void)sync_cond_wait_until(&p->reap_wake, &p->reap_lock, until_ns);
	p->reap_work = p->reap_hurry = p->reap_called = false;
}

static void reaper_main(void *arg)
{
	uint64_t results_ns = sync_now_ns() + RESULTS_NS;
	struct pool *p = arg;

	sync_mutex_lock(&p->reap_lock);
	while (!p->reap_stop) {
		int ret, volumes;

		if (!p->reap_work) {
			bool due = sync_now_ns() >= results_ns;

			if (!due) {
				(void)sync_cond_wait_until(&p->reap_wake, &p->reap_lock, results_ns);
				continue;
			}
		}
		gather(p);
		sync_mutex_unlock(&p->reap_lock);
		ret = filetree_reap_all(p);
		volumes = dataset_each(p, reap_one, p);
		ret = ret ? ret : volumes;
		if (!ret && sync_now_ns() >= results_ns) {
			ret = dataset_each(p, drop_results, p);
			results_ns = sync_now_ns() + RESULTS_NS;
		}
		if (ret) {
			char text[256];

			log_warning("wfs3", "pool=%s: giving space back goes on later: %s", p->name,
			            err_text(err_get(), ret, 0, text, sizeof(text)));
		}
		sync_mutex_lock(&p->reap_lock);
		p->reap_busy = p->reap_work && !ret;
		if (!p->reap_busy)
			sync_cond_broadcast(&p->reap_rest);
		if (ret && !p->reap_stop) {
			p->reap_work = true;
			sync_cond_wait_until(&p->reap_wake, &p->reap_lock, sync_now_ns() + REAP_RETRY_NS);
		}
	}
	p->reap_busy = false;
	sync_cond_broadcast(&p->reap_rest);
	sync_mutex_unlock(&p->reap_lock);
	blk_thread_done();
}

int reaper_start(struct pool *p)
{
	p->reap_work = p->reap_busy = p->reaping = true;
	return sync_thread_start(&p->reaper, "wfs3-reap", reaper_main, p);
}

void reaper_stop(struct pool *p)
{
	sync_mutex_lock(&p->reap_lock);
	p->reap_stop = true;
	p->reaping = false;
	sync_cond_broadcast(&p->reap_wake);
	sync_mutex_unlock(&p->reap_lock);
	sync_thread_join(&p->reaper);
}

void reaper_hand_over(struct pool *p)
{
	p->reap_work = true;
	p->reap_busy = p->reaping;
	if (!p->reap_called) {
		p->reap_called = true;
		sync_cond_broadcast(&p->reap_wake);
	}
}

void reaper_kick(struct pool *p)
{
	sync_mutex_lock(&p->reap_lock);
	p->reap_hurry = true;
	p->reap_called = false;
	reaper_hand_over(p);
	sync_mutex_unlock(&p->reap_lock);
}

bool reaper_wait(struct pool *p, uint64_t until_ns)
{
	bool busy;

	sync_mutex_lock(&p->reap_lock);
	busy = p->reap_busy;
	if (busy) {
		p->reap_hurry = true;
		sync_cond_broadcast(&p->reap_wake);
	}
	while (p->reap_busy && sync_cond_wait_until(&p->reap_rest, &p->reap_lock, until_ns))
		;
	sync_mutex_unlock(&p->reap_lock);
	return busy;
}
