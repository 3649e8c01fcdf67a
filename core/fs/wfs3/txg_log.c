/* SPDX-License-Identifier: BSD-3-Clause */
/* Before a group ends: what only the log has gets its place, so that the root need not keep that part of the log. */
#include <errno.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/mutate.h"
#include "core/fs/wfs3/pool.h"
#include "core/fs/wfs3/txg_carry.h"

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

static int flush_kept(void *ctx, struct object *o)
{
	struct cache_file *file = __atomic_load_n(&o->file, __ATOMIC_ACQUIRE);
	int ret = file ? cache_flush_kept(file) : 0;

	return ret ? ret : object_settle(ctx, o);
}

void txg_tell_log(struct pool *p, int error, unsigned carried)
{
	char text[256];

	if (error)
		log_warning("wfs3", "pool=%s: the log cannot be released: %s", p->name,
		            err_text(err_get(), error, 0, text, sizeof(text)));
	else if (carried && carried != p->carried_pages)
		log_warning("wfs3", "pool=%s: %u pages that were flushed cannot be written back, and stay in the log",
		            p->name, carried);
	__atomic_store_n(&p->carried_pages, error ? 0 : carried, __ATOMIC_RELAXED);
}

/* One that cannot be flushed is not in the way of the others: they have it behind them when the gate of transactions is
 * closed. */
static int flush_each(void *ctx, struct object *o)
{
	int ret = flush_kept(NULL, o), *first_error = ctx;

	if (ret && !*first_error)
		*first_error = ret;
	return 0;
}

/*
 * Give up the log before this moment: pages whose contents only the log has get their place, in the group that is going
 * to be frozen. True: all of them have it.
 */
bool txg_release_log(struct pool *p)
{
	uint64_t closed_txg;
	int ret = 0, error = 0;

	/* All records of a transaction are before the position, or all are behind it: none is left in the buffer, while
	 * its parts are not. */
	sync_rwlock_wrlock(&p->tx_gate);
	if (__atomic_load_n(&p->tx_pages, __ATOMIC_RELAXED) && !MUTATE(TX_LOG_SPLIT))
		ret = wal_sync(p->wal, &closed_txg);
	if (!ret)
		p->release_position = wal_release(p->wal, &p->log_closed_txg);
	sync_rwlock_wrunlock(&p->tx_gate);

	__atomic_store_n(&p->commit_wanted, false, __ATOMIC_RELAXED);
	__atomic_store_n(&p->accessed_count, 0, __ATOMIC_RELAXED);
	if (!ret)
		ret = object_each_dirty(p, flush_each, &error);
	return !ret && !error;
}

static int flush_transaction(void *ctx, struct object *o)
{
	return __atomic_load_n(&o->tx_pages, __ATOMIC_RELAXED) ? flush_kept(ctx, o) : 0;
}

static int forget_transaction(void *ctx, struct object *o)
{
	(void)ctx;
	__atomic_store_n(&o->tx_pages, false, __ATOMIC_RELAXED);
	return 0;
}

/* What the transactions of the group wrote gets its place. */
static int flush_transactions(struct pool *p)
{
	int ret = object_each_dirty(p, flush_transaction, NULL);

	if (!ret)
		ret = object_each_dirty(p, forget_transaction, NULL);
	if (!ret)
		__atomic_store_n(&p->tx_pages, false, __ATOMIC_RELAXED);
	return ret;
}

/*
 * Does the open group have something that the log may lack, and that no root may have together with an older part of
 * it? @closed_txg: by wal_sync(). A change that the log took in time is there, unless a batch was lost.
 */
static bool group_needs_release(struct pool *p, uint64_t closed_txg)
{
	uint64_t txg = p->open_txg;

	if (closed_txg < txg)
		return false;
	if (LOAD(p->newest_tx_txg) == txg || LOAD(p->unlogged_collapse_txg) == txg)
		return true;
	return closed_txg > txg && (LOAD(p->newest_collapse_txg) == txg || LOAD(p->newest_replace_txg) == txg);
}

bool txg_is_delicate(const struct pool *p)
{
	uint64_t txg = p->open_txg;

	return LOAD(p->newest_tx_txg) == txg || LOAD(p->newest_collapse_txg) == txg ||
	       LOAD(p->newest_replace_txg) == txg;
}

/*
 * The root must not have the names and sizes of a transaction whose contents are nowhere but in the log's buffer: what
 * was committed since the log was released is written back, too. And recovery must not bring back what earlier
 * transactions wrote: the log gets the records of where the contents are now. When the log is closed, because it
 * refused something or could not be written, a transaction or such records may be missing in it: then no older part of
 * the log may be left to the root. Nor when it may lack the beginning of a range being taken out of a file: without
 * that, recovery would write what the log has of the file from before to where something else is by then. That a batch
 * cannot be written is better known now, when the log can still be released once more, than after the group has ended.
 */
int txg_settle_transactions(struct pool *p, bool released, bool carried)
{
	bool pages = LOAD(p->tx_pages);
	uint64_t closed_txg;
	int ret, failed;

	/* Ranges that begin to be taken out of files, and new names, do not wait for the gate: the freeze notices those
	 * that come now. */
	p->settled_collapses = __atomic_load_n(&p->collapse_count, __ATOMIC_ACQUIRE);
	p->log_settled = pages || txg_is_delicate(p);
	if (!p->log_settled || MUTATE(TX_NOT_SETTLED))
		return 0;
	failed = pages ? flush_transactions(p) : 0;
	ret = wal_sync(p->wal, &closed_txg);
	/* When it has been closed since it was released, it is released once more before the group ends. */
	if (ret || closed_txg < p->open_txg)
		return ret;
	if (failed && !carried && p->log_closed_txg < p->open_txg)
		return 1;
	if (failed && !carried)
		return err_set(-EIO, "neither the contents of a transaction nor the log can be written");
	if (!released && group_needs_release(p, closed_txg) && wal_position(p->wal) > p->log_position)
		return err_set(-EIO, "the log has a part of what a transaction, or a range that is taken out of a "
		                     "file, replaced, and cannot be released");
	return 0;
}

/*
 * What the log took before the group ended is durable before the root is: whatever position the root has, behind it may
 * be older pages, which these records replace or forget. What is carried is durable before the root gives up what
 * stands before it; otherwise the root keeps the log.
 */
int txg_settle_log(struct pool *p, uint64_t txg, const struct carry *carry, bool *released)
{
	uint64_t closed_txg;
	bool lost;
	int ret;

	if (MUTATE(TX_NOT_SETTLED) && !carry->count) {
		p->log_position = *released ? p->release_position : p->log_position;
		return 0;
	}
	ret = wal_sync(p->wal, &closed_txg);
	if (ret)
		return ret;
	/* A log without room closes for the next group only. One that was closed for this group when it was released
	 * has taken nothing of it since, so what it lost after that is of the next group. */
	lost = carry->batch_lost || closed_txg > txg + 1;
	if (lost && carry->delicate && p->log_closed_txg < txg)
		return err_set(-EIO,
		               "the log lost a part of what a transaction, a range that is taken out of a file, or "
		               "a new name replaced");
	if (carry->count)
		*released = !lost && !carry->refused;
	if (*released)
		p->log_position = p->release_position;
	else if (carry->count && carry->delicate)
		return err_set(-EIO, "pages can be written neither to their place nor to the log");
	return 0;
}
