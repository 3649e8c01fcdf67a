/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A pool's transactions: how many run, what they hold, and what became of them. Of one that was committed an item
 * remains in its tree, which is a part of the same record of the log; of those that were aborted the pool remembers the
 * last ones while it is imported.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/budget.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/wfs3/filetx.h"

#define EXPIRE_BATCH 16u
/* Of the memory budget: what all together may hold, and what they are given however little is left. */
#define SHARE 4u
#define ASSURED_SHARE 16u

struct filetx_table {
	struct wfs3_tx_limits limits;
	struct budget_consumer *consumer;
	size_t bytes_max, assured_bytes;
	struct sync_mutex lock; /* SYNC_RANK_LEAF */
	struct cds_list_head owned SYNC_GUARDED_BY(lock); /* those that have an owner; some may be over */
	unsigned count SYNC_GUARDED_BY(lock); /* that are not */
	unsigned next SYNC_GUARDED_BY(lock); /* place of the next one that is aborted */
	struct vfs_tx_info aborted[FILETX_OUTCOMES] SYNC_GUARDED_BY(lock);
	uint64_t aborted_fsid[FILETX_OUTCOMES] SYNC_GUARDED_BY(lock); /* 0: nothing there */
};

int filetx_table_new(struct budget *b, const struct wfs3_tx_limits *limits, struct filetx_table **ret)
{
	struct filetx_table *t = calloc(1, sizeof(*t));

	if (!t)
		return err_set(-ENOMEM, "no memory for transactions");
	t->limits = (struct wfs3_tx_limits){ .bytes_max = limits->bytes_max ? limits->bytes_max : 8u << 20,
		                             .ops_max = limits->ops_max ? limits->ops_max : 20000,
		                             .count_max = limits->count_max ? limits->count_max : 256,
		                             .age_max_ms = limits->age_max_ms ? limits->age_max_ms : 300000 };
	/* Of the largest size there may be one, at least. */
	t->bytes_max = max_u64(budget_limit(b) / SHARE, t->limits.bytes_max);
	t->assured_bytes = min_u64(budget_limit(b) / ASSURED_SHARE, t->limits.bytes_max);
	t->consumer = budget_join(b, "transactions", t->assured_bytes, NULL, NULL);
	sync_mutex_init(&t->lock, SYNC_RANK_LEAF, "wfs3 transactions");
	CDS_INIT_LIST_HEAD(&t->owned);
	*ret = t;
	return t->consumer ? 0 : err_set(-ENOMEM, "no memory for transactions");
}

void filetx_table_free(struct filetx_table *t)
{
	if (!t)
		return;
	always(cds_list_empty(&t->owned));
	if (t->consumer)
		budget_leave(t->consumer);
	sync_mutex_done(&t->lock);
	free(t);
}

const struct wfs3_tx_limits *filetx_limits(const struct filetx_table *t)
{
	return &t->limits;
}

int filetx_table_add(struct filetx_table *t, struct filetx *tx)
{
	int rc = 0;

	sync_mutex_lock(&t->lock);
	if (t->count >= t->limits.count_max) {
		rc = -EAGAIN;
	} else {
		t->count++;
		cds_list_add_tail(&tx->link, &t->owned);
	}
	sync_mutex_unlock(&t->lock);
	return rc ? err_set(rc, "%u transactions are running already", t->limits.count_max) : 0;
}

void filetx_table_over(struct filetx_table *t)
{
	sync_mutex_lock(&t->lock);
	t->count--;
	sync_mutex_unlock(&t->lock);
}

void filetx_table_remove(struct filetx_table *t, struct filetx *tx)
{
	sync_mutex_lock(&t->lock);
	cds_list_del(&tx->link);
	sync_mutex_unlock(&t->lock);
}

bool filetx_table_charge(struct filetx_table *t, size_t bytes)
{
	/* Several at once may pass the bounds by what each of them asks for. */
	size_t used = budget_consumer_used(t->consumer) + bytes;

	if (used <= t->assured_bytes) {
		budget_charge(t->consumer, bytes);
		return true;
	}
	return used <= t->bytes_max && budget_try_charge(t->consumer, bytes);
}

void filetx_table_uncharge(struct filetx_table *t, size_t bytes)
{
	budget_uncharge(t->consumer, bytes);
}

void filetx_table_note(struct filetx_table *t, const struct filetx *tx)
{
	sync_mutex_lock(&t->lock);
	t->aborted_fsid[t->next] = filetree_fsid(tx->ds);
	t->aborted[t->next] = (struct vfs_tx_info){
		.id = tx->id, .state = VFS_TX_ABORTED, .reason = tx->reason, .conflict = tx->conflict
	};
	memcpy(t->aborted[t->next].conflict_name, tx->conflict_name, sizeof(tx->conflict_name));
	t->next = (t->next + 1) % FILETX_OUTCOMES;
	sync_mutex_unlock(&t->lock);
}

void filetx_table_expire(struct filetx_table *t)
{
	struct filetx *tx, *due[EXPIRE_BATCH];
	uint64_t now_ns = sync_now_ns();
	unsigned count = 0;

	sync_mutex_lock(&t->lock);
	cds_list_for_each_entry (tx, &t->owned, link)
		if (count < EXPIRE_BATCH && tx->deadline_ns < now_ns) {
			__atomic_add_fetch(&tx->refs, 1, __ATOMIC_RELAXED);
			due[count++] = tx;
		}
	/* The others come first next time. */
	for (unsigned i = 0; i < count; i++) {
		cds_list_del(&due[i]->link);
		cds_list_add_tail(&due[i]->link, &t->owned);
	}
	sync_mutex_unlock(&t->lock);
	for (unsigned i = 0; i < count; i++) {
		filetx_expire(due[i]);
		filetx_unref(due[i]);
	}
}

/* ---- outcomes ---- */

struct wfs3_key filetx_outcome_key(uint64_t id)
{
	return (struct wfs3_key){ .kind = WFS3_KIND_OUTCOME, .offset = id };
}

static bool find_in_memory(struct filetx_table *t, uint64_t fsid, uint64_t id, struct vfs_tx_info *ret)
{
	bool found = false;

	sync_mutex_lock(&t->lock);
	for (unsigned i = 0; i < FILETX_OUTCOMES && !found; i++)
		if (t->aborted_fsid[i] == fsid && t->aborted[i].id == id) {
			*ret = t->aborted[i];
			found = true;
		}
	sync_mutex_unlock(&t->lock);
	return found;
}

static bool is_running(struct filetx_table *t, const struct dataset *ds, uint64_t id)
{
	struct filetx *tx;
	bool found = false;

	sync_mutex_lock(&t->lock);
	cds_list_for_each_entry (tx, &t->owned, link)
		found |= tx->id == id && tx->ds == ds;
	sync_mutex_unlock(&t->lock);
	return found;
}

int filetx_status(struct vfs_node *any, uint64_t id, struct vfs_tx_info *ret)
{
	struct dataset *ds = filetree_object(any)->ds;
	struct filetx_table *t = ds->pool->transactions;
	bool running = is_running(t, ds, id);
	struct wfs3_key key = filetx_outcome_key(id);
	uint8_t buf[OUTCOME_ITEM_BYTES];
	size_t len;
	int rc = dataset_enter(ds, 0);

	if (rc)
		return rc;
	*ret = (struct vfs_tx_info){ .id = id, .state = VFS_TX_COMMITTED };
	rc = edit_read(ds, &key, buf, sizeof(buf), &len);
	dataset_exit(ds);
	if (rc == -ERANGE)
		rc = err_set(-EUCLEAN, "what remains of transaction %" PRIu64 " has %zu bytes", id, len);
	if (!rc)
		rc = outcome_item_decode(buf, len, &ret->committed_ns);
	if (rc != -ENOENT || find_in_memory(t, filetree_fsid(ds), id, ret))
		return rc == -ENOENT ? 0 : rc;
	/* It is over between the two looks, or it was aborted and is not remembered: then nothing of it is there. */
	if (running && is_running(t, ds, id)) {
		*ret = (struct vfs_tx_info){ .id = id, .state = VFS_TX_RUNNING };
		return 0;
	}
	return err_set(-ENOENT, "transaction %" PRIu64 " is not known", id);
}

/* The next outcome from @at on: its key. -ENOENT. */
static int next_outcome(struct dataset *ds, const struct wfs3_key *at, struct wfs3_key *ret)
{
	struct wfs3_key to = filetx_outcome_key(UINT64_MAX), missing;
	uint8_t buf[OUTCOME_ITEM_BYTES];
	size_t len;
	int rc;

	while ((rc = tree_next(ds->tree, at, &to, ret, buf, sizeof(buf), &len, &missing)) == -EAGAIN) {
		rc = tree_fetch(ds->tree, &missing);
		if (rc)
			return rc;
	}
	return rc == -ERANGE ? 0 : rc;
}

static int count_outcomes(struct dataset *ds)
{
	struct wfs3_key at = filetx_outcome_key(0), key;
	unsigned count = 0;
	int rc;

	while ((rc = next_outcome(ds, &at, &key)) == 0) {
		count++;
		at = filetx_outcome_key(key.offset + 1);
	}
	if (rc != -ENOENT)
		return rc;
	ds->outcome_count = count;
	ds->outcomes_known = true;
	return 0;
}

int filetx_forget_outcomes(struct dataset *ds, struct wfs3_key ret[FILETX_FORGET_MAX], unsigned *ret_count)
{
	struct wfs3_key at = filetx_outcome_key(0);
	int rc = ds->outcomes_known ? 0 : count_outcomes(ds);

	*ret_count = 0;
	while (!rc && *ret_count < FILETX_FORGET_MAX && ds->outcome_count + 1 > FILETX_OUTCOMES + *ret_count) {
		rc = next_outcome(ds, &at, &ret[*ret_count]);
		if (!rc)
			at = filetx_outcome_key(ret[(*ret_count)++].offset + 1);
	}
	return rc == -ENOENT ? 0 : rc;
}
