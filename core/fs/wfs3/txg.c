/* SPDX-License-Identifier: BSD-3-Clause */
/* Transaction groups: the commit gate, the committing thread, and waiting for durability. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/mutate.h"
#include "core/fs/wfs3/filetx.h"
#include "core/fs/wfs3/scrub.h"
#include "core/fs/wfs3/txg_carry.h"

uint64_t txg_enter(struct pool *p)
{
	sync_rwlock_rdlock(&p->gate);
	return __atomic_load_n(&p->open_txg, __ATOMIC_RELAXED);
}

void txg_exit(struct pool *p)
{
	sync_rwlock_rdunlock(&p->gate);
}

void txg_remind(struct pool *p)
{
	uint64_t none = 0;

	if (!__atomic_load_n(&p->first_change_ns, __ATOMIC_RELAXED))
		__atomic_compare_exchange_n(&p->first_change_ns, &none, sync_now_ns(), false, __ATOMIC_RELAXED,
		                            __ATOMIC_RELAXED);
}

void txg_changed(struct pool *p, struct dataset *ds, uint64_t txg)
{

	if (ds)
		__atomic_store_n(&ds->changed_txg, txg, __ATOMIC_RELAXED);
	/* The gate keeps the open group from changing, so every writer stores the same number. */
	if (__atomic_load_n(&p->changed_txg, __ATOMIC_RELAXED) != txg)
		__atomic_store_n(&p->changed_txg, txg, __ATOMIC_RELEASE);
	txg_remind(p);
}

/* Wait until @txg is durable. */
static int wait_durable(struct pool *p, uint64_t txg)
{
	int ret = 0;

	sync_assert_may_block();
	sync_mutex_lock(&p->txg_lock);
	if (p->wanted_txg < txg) {
		p->wanted_txg = txg;
		sync_cond_signal(&p->txg_wake);
	}
	while (p->durable_txg < txg && !__atomic_load_n(&p->failed, __ATOMIC_ACQUIRE) && !p->stop)
		sync_cond_wait(&p->txg_done, &p->txg_lock);
	if (p->durable_txg < txg)
		ret = err_set(-EIO, "pool %s is read-only: %s", p->name,
		              p->fail_reason[0] ? p->fail_reason : "it is being closed");
	sync_mutex_unlock(&p->txg_lock);
	return ret;
}

int txg_sync(struct pool *p)
{
	uint64_t txg = __atomic_load_n(&p->changed_txg, __ATOMIC_ACQUIRE);

	return MUTATE(COMMIT_LIES) ? 0 : wait_durable(p, txg);
}

/*
 * Wait until what the log lacks of groups up to @txg is durable. A root that kept an older position of the log is not
 * enough: recovery would bring back pages whose later changes are missing in the log.
 */
static int wait_released(struct pool *p, uint64_t txg)
{
	uint64_t wanted;
	bool done;
	int ret;

	sync_mutex_lock(&p->txg_lock);
	done = p->released_txg >= txg;
	wanted = max_u64(txg, p->durable_txg + 1);
	sync_mutex_unlock(&p->txg_lock);
	if (done)
		return 0;
	ret = wait_durable(p, wanted);
	if (ret)
		return ret;
	sync_mutex_lock(&p->txg_lock);
	done = p->released_txg >= txg;
	sync_mutex_unlock(&p->txg_lock);
	return done ? 0 : err_set(-EIO, "pool %s: what the log lacks could not be written back", p->name);
}

int txg_sync_pages(struct pool *p)
{
	int ret = txg_sync(p);

	return ret ? ret : wait_released(p, wal_closed_txg(p->wal));
}

int txg_sync_log(struct dataset *ds)
{
	struct pool *p = ds->pool;
	uint64_t closed_txg;
	int ret = pool_check_writable(p);

	if (ret)
		return ret;
	if (MUTATE(FLUSH_LIES))
		return 0;
	ret = wal_sync(p->wal, &closed_txg);
	if (ret) {
		pool_fail(p, ret, "make the log durable");
		return ret;
	}
	ret = wait_released(p, closed_txg);
	/* Recovery passes over the records of a dataset that the root does not have. */
	return ret ? ret : wait_durable(p, ds->created_txg);
}

void txg_want_commit(struct pool *p)
{
	if (__atomic_exchange_n(&p->commit_wanted, true, __ATOMIC_RELAXED))
		return;
	sync_mutex_lock(&p->txg_lock);
	sync_cond_signal(&p->txg_wake);
	sync_mutex_unlock(&p->txg_lock);
}

int txg_force(struct pool *p, unsigned count)
{
	uint64_t txg;

	for (; count; count--) {
		int ret;

		txg = txg_enter(p);
		txg_changed(p, NULL, txg);
		txg_exit(p);
		ret = wait_durable(p, txg);
		if (ret)
			return ret;
	}
	return 0;
}

/* The snapshot of one dataset, with the gate held exclusively: everything that its record in the pool tree says. */
static int freeze_dataset(struct dataset *ds, uint64_t txg)
{
	int ret = 0;

	ds->snapshot_removed = ds->removed;
	if (!ds->removed)
		ret = tree_freeze(ds->tree, txg, &ds->frozen);
	ds->snapshot = (struct dataset_item){
		.id = ds->id,
		.type = ds->type,
		.state = ds->state,
		.used_blocks = ds->used_blocks,
		.next_object = __atomic_load_n(&ds->next_object, __ATOMIC_RELAXED),
		.object_count = ds->object_count,
		.created_ns = ds->created_ns,
	};
	memcpy(ds->snapshot.hash_key, ds->hash_key, sizeof(ds->hash_key));
	memcpy(ds->snapshot.name, ds->name, sizeof(ds->name));
	quota_freeze(ds);
	return ret;
}

/*
 * With the gate held exclusively: is all as it was when the log was looked at? It closed since then; or it is not
 * released, and a range began to be taken out of a file; or the group has become delicate, and whether the log can be
 * written is not known yet; or something is going on at a page that is carried.
 */
static bool log_is_settled(struct pool *p, bool released, struct carry *carry)
{
	uint64_t txg = p->open_txg;

	if (p->log_closed_txg < txg && wal_closed_txg(p->wal) >= txg)
		return false;
	if (!released && p->settled_collapses != __atomic_load_n(&p->collapse_count, __ATOMIC_RELAXED))
		return false;
	carry->delicate = txg_is_delicate(p);
	if (carry->delicate && !p->log_settled)
		return false;
	return carry_copy(carry);
}

/*
 * Close the open group: from here on changes belong to the next one. Collects the datasets that changed, each with a
 * reference. 1: the log has to be released once more before that; nothing happened.
 */
static int txg_freeze(struct pool *p, bool released, struct carry *carry, uint64_t *ret_txg,
                      uint64_t *ret_next_dataset_id, struct cds_list_head *ret_changed)
{
	uint64_t start_ns;
	uint64_t txg;
	struct dataset *ds;
	int ret = 0;

	CDS_INIT_LIST_HEAD(ret_changed);
	sync_mutex_lock(&p->table_lock);
	start_ns = sync_now_ns();
	sync_rwlock_wrlock(&p->gate);
	txg = p->open_txg;
	if (!log_is_settled(p, released, carry)) {
		sync_rwlock_wrunlock(&p->gate);
		sync_mutex_unlock(&p->table_lock);
		return 1;
	}
	cds_list_for_each_entry (ds, &p->datasets, link) {
		int one;

		if (__atomic_load_n(&ds->changed_txg, __ATOMIC_RELAXED) != txg)
			continue;
		one = freeze_dataset(ds, txg);
		vfs_node_ref(&ds->self.node);
		cds_list_add_tail(&ds->commit_link, ret_changed);
		if (one && !ret)
			ret = one;
	}
	*ret_next_dataset_id = p->next_dataset_id;
	__atomic_store_n(&p->open_txg, txg + 1, __ATOMIC_RELEASE);
	__atomic_store_n(&p->first_change_ns, 0, __ATOMIC_RELAXED);
	space_set_open_txg(p->space, txg + 1);
	/* A batch that is lost from now on closes the log for the group after the one that opens. */
	carry->batch_lost = p->log_closed_txg < txg && wal_closed_txg(p->wal) >= txg;
	carry_append(p, carry, txg + 1);
	sync_rwlock_wrunlock(&p->gate);
	histogram_add(&p->stats->freeze_time, sync_now_ns() - start_ns);
	sync_mutex_unlock(&p->table_lock);
	*ret_txg = txg;
	return ret;
}

/* Write a dataset's tree, then its record in the pool tree. */
static int commit_dataset(struct pool *p, struct dataset *ds, uint64_t txg)
{
	struct wfs3_key key = { .object = ds->id, .kind = WFS3_KIND_DATASET };
	uint8_t buf[DATASET_ITEM_BYTES_MAX];
	uint64_t nodes;
	int ret;

	if (ds->frozen) {
		struct tree_frozen *frozen = ds->frozen;

		ds->frozen = NULL;
		ret = tree_commit(ds->tree, frozen, txg, &ds->root, &nodes);
		if (ret)
			return err_add(ret, "write tree of dataset %" PRIu64, ds->id);
		counter_add(&p->stats->nodes_written, nodes);
	}
	ds->snapshot.root = ds->root;
	for (;;) {
		if (ds->snapshot_removed) {
			ret = tree_delete(p->tree, txg, &key);
			if (ret == -ENOENT)
				ret = 0;
		} else {
			ret = tree_put(p->tree, txg, &key, buf, dataset_item_encode(&ds->snapshot, buf));
		}
		if (ret != -EAGAIN)
			break;
		ret = tree_fetch(p->tree, &key);
		if (ret)
			break;
	}
	if (!ret)
		ret = quota_commit(ds, txg);
	return ret ? err_add(ret, "record dataset %" PRIu64, ds->id) : 0;
}

/*
 * A flush that fails may take along what others wrote, and theirs, at the same time or later, may look good: after the
 * first failure no barrier counts.
 */
static int check_barriers(struct pool *p)
{
	for (unsigned i = 0; i < p->device_count; i++)
		if (blk_error_count(p->devices[i].dev, BLK_FLUSH))
			return err_set(-EIO, "device %s failed a flush: what was written before may be lost",
			               blk_name(p->devices[i].dev));
	return 0;
}

int txg_flush_devices(struct pool *p)
{
	struct blk_io ios[WFS3_DEVICES_MAX];
	struct blk_batch batch;
	int ret;

	blk_batch_init(&batch);
	for (unsigned i = 0; i < p->device_count; i++) {
		ios[i] = (struct blk_io){ .op = BLK_FLUSH };
		blk_batch_add(&batch, p->devices[i].dev, &ios[i]);
	}
	ret = blk_batch_wait(&batch);
	if (MUTATE(FLUSH_ERROR_IGNORED))
		return 0;
	return ret ? ret : check_barriers(p);
}

int txg_write_root(struct pool *p, const struct root *r)
{
	struct blk_dev *devs[WFS3_DEVICES_MAX];
	const struct label *labels[WFS3_DEVICES_MAX];

	for (unsigned i = 0; i < p->device_count; i++) {
		devs[i] = p->devices[i].dev;
		labels[i] = &p->devices[i].label;
	}
	return root_write(devs, labels, p->device_count, r);
}

/* Everything after the freeze, in the order of the laws: what a root reaches is durable before the root is written. */
static int commit_frozen(struct pool *p, uint64_t txg, uint64_t next_dataset_id, bool clean,
                         struct cds_list_head *changed)
{
	struct root root = { .txg = txg,
		             .time_ns = sync_wall_ns(),
		             .next_dataset_id = next_dataset_id,
		             .log_position = p->log_position,
		             .log_epoch = wal_epoch(p->wal),
		             .clean = clean };
	struct tree_frozen *frozen;
	struct dataset *ds;
	uint64_t nodes = 0;
	int ret;

	memcpy(root.pool_uuid, p->uuid, sizeof(root.pool_uuid));
	cds_list_for_each_entry (ds, changed, commit_link) {
		ret = commit_dataset(p, ds, txg);
		if (ret)
			return ret;
	}
	ret = scrub_commit(p->scrub, txg);
	if (ret)
		return ret;
	ret = tree_freeze(p->tree, txg, &frozen);
	if (ret)
		return err_add(ret, "freeze the pool tree");
	root.pool_tree = p->pool_root;
	if (frozen) {
		ret = tree_commit(p->tree, frozen, txg, &root.pool_tree, &nodes);
		if (ret)
			return err_add(ret, "write the pool tree");
		counter_add(&p->stats->nodes_written, nodes);
	}
	ret = pool_check_damage(p);
	if (ret)
		return ret;
	ret = space_write(p->space, txg, &root.space);
	if (ret)
		return err_add(ret, "write the allocation state");
	ret = MUTATE(NO_BARRIER_BEFORE_ROOT) ? 0 : txg_flush_devices(p);
	if (ret)
		return err_add(ret, "flush before the root");
	ret = txg_write_root(p, &root);
	if (!ret)
		ret = check_barriers(p);
	if (ret)
		return err_add(ret, "write the root");
	p->pool_root = root.pool_tree;
	return 0;
}

/* What the end of a group is about. */
struct group_end {
	uint64_t txg, next_dataset_id;
	struct cds_list_head changed; /* datasets, referenced */
	bool released; /* the root does not need the log before release_position */
	struct carry carry;
};

/*
 * Transactions are committed in one group, or in another, as a whole. A log that cannot be released because of some
 * pages gets these once more. 1: it is to be released again.
 */
static int end_group(struct pool *p, struct group_end *g)
{
	int ret;

	CDS_INIT_LIST_HEAD(&g->changed);
	sync_rwlock_wrlock(&p->tx_gate);
	if (!g->released) {
		ret = carry_collect(p, &g->carry);
		g->released = ret == 0;
		txg_tell_log(p, ret, g->carry.count);
		if (ret)
			carry_done(p, &g->carry);
	} else {
		txg_tell_log(p, 0, 0);
	}
	ret = txg_settle_transactions(p, g->released, g->carry.count > 0);
	if (!ret)
		ret = txg_freeze(p, g->released, &g->carry, &g->txg, &g->next_dataset_id, &g->changed);
	sync_rwlock_wrunlock(&p->tx_gate);
	return ret;
}

static int release_and_end(struct pool *p, struct group_end *g)
{
	int ret;

	do {
		g->released = txg_release_log(p);
		ret = end_group(p, g);
		if (!ret)
			ret = txg_settle_log(p, g->txg, &g->carry, &g->released);
		carry_done(p, &g->carry);
	} while (ret == 1);
	return ret;
}

static void txg_commit(struct pool *p, bool clean)
{
	struct dataset *ds, *next;
	uint64_t start_ns = sync_now_ns();
	struct group_end g = { 0 };
	int ret = release_and_end(p, &g);

	if (!ret)
		ret = commit_frozen(p, g.txg, g.next_dataset_id, clean, &g.changed);
	if (ret) {
		pool_fail(p, ret, "commit a transaction group");
	} else {
		space_root_durable(p->space, g.txg);
		wal_root_durable(p->wal, p->log_position);
		counter_add(&p->stats->commits, 1);
		histogram_add(&p->stats->commit_time, sync_now_ns() - start_ns);
		sync_mutex_lock(&p->txg_lock);
		p->durable_txg = g.txg;
		if (g.released)
			p->released_txg = g.txg;
		sync_cond_broadcast(&p->txg_done);
		sync_mutex_unlock(&p->txg_lock);
	}
	cds_list_for_each_entry_safe (ds, next, &g.changed, commit_link) {
		cds_list_del(&ds->commit_link);
		/* Left over by a commit that failed before it came to this one. */
		if (ds->frozen)
			tree_thaw(ds->tree, ds->frozen);
		ds->frozen = NULL;
		vfs_node_unref(&ds->self.node);
	}
}

/* Freed blocks wait for two more roots; an idle pool must not keep them for ever. */
static bool space_waits(struct pool *p)
{
	struct space_stats s;

	if (p->read_only)
		return false;
	space_get_stats(p->space, &s);
	return s.pending_blocks > 0;
}

/* When must the open group be committed? 0: now. UINT64_MAX: nothing to do. */
static uint64_t commit_due_ns(struct pool *p) SYNC_REQUIRES(p->txg_lock)
{
	uint64_t first = __atomic_load_n(&p->first_change_ns, __ATOMIC_RELAXED);

	if (p->wanted_txg > p->durable_txg || __atomic_load_n(&p->commit_wanted, __ATOMIC_RELAXED))
		return 0;
	if (!first)
		first = space_waits(p) ? p->last_commit_ns : UINT64_MAX;
	if (first == UINT64_MAX)
		return UINT64_MAX;
	return first + p->w->config.txg_age_ms * SYNC_NS_PER_MS;
}

/* What nobody flushes reaches the devices all the same, so that a crash costs seconds, and recovery little. */
static void log_in_background(struct pool *p)
{
	uint64_t closed_txg;
	int ret = wal_sync(p->wal, &closed_txg);

	if (ret)
		pool_fail(p, ret, "make the log durable");
}

/* A call that waits for its turn, in its caller's stack. */
struct txg_between {
	int (*fn)(void *ctx);
	void *ctx;
	int result;
	bool done;
};

static void run_between(struct pool *p) SYNC_REQUIRES(p->txg_lock)
{
	struct txg_between *b = p->between;

	sync_mutex_unlock(&p->txg_lock);
	b->result = b->fn(b->ctx);
	sync_mutex_lock(&p->txg_lock);
	p->between = NULL;
	b->done = true;
	sync_cond_broadcast(&p->txg_done);
}

int txg_run_between(struct pool *p, int (*fn)(void *ctx), void *ctx)
{
	struct txg_between b = { .fn = fn, .ctx = ctx };

	sync_mutex_lock(&p->txg_lock);
	while (p->between)
		sync_cond_wait(&p->txg_done, &p->txg_lock);
	p->between = &b;
	sync_cond_signal(&p->txg_wake);
	while (!b.done)
		sync_cond_wait(&p->txg_done, &p->txg_lock);
	sync_mutex_unlock(&p->txg_lock);
	return b.result ? err_set(b.result, "pool %s: work between two commits failed", p->name) : 0;
}

static void committer_main(void *arg)
{
	struct pool *p = arg;

	sync_mutex_lock(&p->txg_lock);
	__atomic_store_n(&p->last_commit_ns, sync_now_ns(), __ATOMIC_RELAXED);
	while (!p->stop) {
		uint64_t due_ns = commit_due_ns(p);
		uint64_t now_ns = sync_now_ns();

		__atomic_store_n(&p->wall_ns, sync_wall_ns(), __ATOMIC_RELAXED);
		if (p->between) {
			run_between(p);
			continue;
		}
		if (due_ns > now_ns || p->failed) {
			/* A first change does not wake this thread: it looks once per age. */
			uint64_t look_ns = now_ns + p->w->config.txg_age_ms * SYNC_NS_PER_MS / 4;

			/* A failed pool commits nothing, however much is due. */
			sync_cond_wait_until(&p->txg_wake, &p->txg_lock,
			                     due_ns < look_ns && !p->failed ? due_ns : look_ns);
			if (p->failed || p->read_only)
				continue;
			sync_mutex_unlock(&p->txg_lock);
			log_in_background(p);
			filetx_table_expire(p->transactions);
			sync_mutex_lock(&p->txg_lock);
			continue;
		}
		sync_mutex_unlock(&p->txg_lock);
		txg_commit(p, __atomic_load_n(&p->closing_clean, __ATOMIC_ACQUIRE));
		sync_mutex_lock(&p->txg_lock);
		__atomic_store_n(&p->last_commit_ns, sync_now_ns(), __ATOMIC_RELAXED);
	}
	sync_mutex_unlock(&p->txg_lock);
	blk_thread_done();
}

void txg_init(struct pool *p, uint64_t open_txg)
{
	always(open_txg > 0);
	p->open_txg = open_txg;
	p->durable_txg = p->released_txg = open_txg - 1;
	p->changed_txg = open_txg - 1;
	space_set_open_txg(p->space, open_txg);
}

int txg_start(struct pool *p)
{
	return sync_thread_start(&p->committer, "wfs3-commit", committer_main, p);
}

void txg_stop(struct pool *p)
{
	sync_mutex_lock(&p->txg_lock);
	p->stop = true;
	sync_cond_broadcast(&p->txg_wake);
	sync_cond_broadcast(&p->txg_done);
	sync_mutex_unlock(&p->txg_lock);
	sync_thread_join(&p->committer);
}
