/* SPDX-License-Identifier: BSD-3-Clause */
/* Owners of what is in a dataset: a table by class and number, their counts, and writing these with a group. */
#include "core/fs/wfs3/quota.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/wfs3/pool.h"

#define BUCKETS_MIN 16u

static size_t bucket_of(enum quota_class class, uint32_t id, size_t bucket_count)
{
	/* Multiplicative hashing; the factor is 2^64 divided by the golden ratio. */
	return (((uint64_t) class << 32 | id) * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (bucket_count - 1);
}

int quota_new(struct dataset *ds, struct quota **ret)
{
	struct quota *q = calloc(1, sizeof(*q));
	struct quota_owner **buckets = calloc(BUCKETS_MIN, sizeof(struct quota_owner *));

	if (!q || !buckets) {
		free(q);
		free(buckets);
		return err_set(-ENOMEM, "no memory for quotas");
	}
	q->ds = ds;
	sync_mutex_init(&q->wait_lock, SYNC_RANK_QUOTA_WAIT, "wfs3 quota waiters");
	sync_mutex_init(&q->lock, SYNC_RANK_QUOTA, "wfs3 quotas");
	sync_cond_init(&q->drained);
	q->buckets = buckets;
	q->bucket_count = BUCKETS_MIN;
	CDS_INIT_LIST_HEAD(&q->changed);
	CDS_INIT_LIST_HEAD(&q->committing);
	*ret = q;
	return 0;
}

void quota_free(struct quota *q)
{
	if (!q)
		return;
	for (size_t i = 0; i < q->bucket_count; i++)
		while (q->buckets[i]) {
			struct quota_owner *o = q->buckets[i];

			q->buckets[i] = o->hash_next;
			free(o);
		}
	free(q->buckets);
	sync_mutex_done(&q->wait_lock);
	sync_mutex_done(&q->lock);
	sync_cond_done(&q->drained);
	free(q);
}

struct quota_owner *quota_find(struct quota *q, enum quota_class class, uint32_t id)
{
	struct quota_owner *o;

	if (class == QUOTA_DATASET)
		return &q->whole;
	o = q->buckets[bucket_of(class, id, q->bucket_count)];
	while (o && (o->is.class != class || o->is.id != id))
		o = o->hash_next;
	return o;
}

static void insert(struct quota_owner **buckets, size_t bucket_count, struct quota_owner *o)
{
	struct quota_owner **b = &buckets[bucket_of(o->is.class, o->is.id, bucket_count)];

	o->hash_next = *b;
	*b = o;
}

static void grow(struct quota *q) SYNC_REQUIRES(q->lock)
{
	size_t bigger_count = 2 * q->bucket_count;
	struct quota_owner **bigger = calloc(bigger_count, sizeof(struct quota_owner *));

	/* Without memory the chains become longer. */
	if (!bigger)
		return;
	for (size_t i = 0; i < q->bucket_count; i++)
		while (q->buckets[i]) {
			struct quota_owner *o = q->buckets[i];

			q->buckets[i] = o->hash_next;
			insert(bigger, bigger_count, o);
		}
	free(q->buckets);
	q->buckets = bigger;
	q->bucket_count = bigger_count;
}

int quota_get(struct quota *q, enum quota_class class, uint32_t id, struct quota_owner **ret)
{
	struct quota_owner *o = quota_find(q, class, id);

	if (!o) {
		o = calloc(1, sizeof(*o));
		if (!o)
			return err_set(-ENOMEM, "no memory for the usage of an owner");
		o->is.class = class;
		o->is.id = id;
		if (q->count >= 2 * q->bucket_count)
			grow(q);
		insert(q->buckets, q->bucket_count, o);
		q->count++;
	}
	*ret = o;
	return 0;
}

void quota_mark(struct quota *q, struct quota_owner *o)
{
	if (!o->changed)
		cds_list_add_tail(&o->changed_link, &q->changed);
	o->changed = true;
}

int quota_load(struct dataset *ds, const struct quota_item *item)
{
	struct quota_owner *o;
	int rc = 0;

	if (ds->state != DATASET_STATE_LIVE || (item->class != QUOTA_DATASET && !ds->quota))
		return err_set(-EUCLEAN, "dataset %" PRIu64 " has a quota, but is not counted", ds->id);
	if (item->class != QUOTA_DATASET && ds->type != DATASET_TYPE_TREE)
		return err_set(-EUCLEAN, "volume %" PRIu64 " has owners", ds->id);
	if (!ds->quota)
		rc = quota_new(ds, &ds->quota);
	if (rc)
		return rc;
	rc = quota_get(ds->quota, item->class, item->id, &o);
	if (!rc)
		o->is = *item;
	ds->quota->limited += !rc && item->limit_bytes;
	return rc;
}

/* ---- counts ---- */

uint64_t quota_used_blocks(const struct quota *q, const struct quota_owner *o)
{
	return o == &q->whole ? __atomic_load_n(&q->ds->used_blocks, __ATOMIC_ACQUIRE) : o->is.used_blocks;
}

uint64_t quota_used_objects(const struct quota *q, const struct quota_owner *o)
{
	return o == &q->whole ? __atomic_load_n(&q->ds->object_count, __ATOMIC_RELAXED) : o->is.used_objects;
}

int quota_refuse(const struct quota *q, const struct quota_owner *o, uint64_t limit, const char *what)
{
	static const char *const names[QUOTA_CLASSES] = { "", "user", "group", "project" };

	if (o->is.class == QUOTA_DATASET)
		return err_set(-EDQUOT, "dataset %" PRIu64 " may have %" PRIu64 " %s", q->ds->id, limit, what);
	return err_set(-EDQUOT, "%s %u of dataset %" PRIu64 " may have %" PRIu64 " %s", names[o->is.class], o->is.id,
	               q->ds->id, limit, what);
}

static void count_for(struct quota *q, enum quota_class class, uint32_t id, int64_t delta) SYNC_REQUIRES(q->lock)
{
	struct quota_owner *o = quota_find(q, class, id);

	/* Counts out of a damaged pool may be too low. */
	if (!o)
		return;
	o->is.used_blocks = delta < 0 && o->is.used_blocks < (uint64_t)-delta ? 0 : o->is.used_blocks + (uint64_t)delta;
	quota_mark(q, o);
}

void quota_count_blocks(struct object *o, int64_t delta)
{
	struct quota *q = __atomic_load_n(&o->ds->quota, __ATOMIC_ACQUIRE);
	const struct inode *i = &o->inode;

	if (!q) {
		__atomic_add_fetch(&o->inode.blocks, (uint64_t)delta, __ATOMIC_RELAXED);
		return;
	}
	sync_mutex_lock(&q->lock);
	__atomic_add_fetch(&o->inode.blocks, (uint64_t)delta, __ATOMIC_RELAXED);
	count_for(q, QUOTA_USER, i->uid, delta);
	count_for(q, QUOTA_GROUP, i->gid, delta);
	if (i->project)
		count_for(q, QUOTA_PROJECT, i->project, delta);
	sync_mutex_unlock(&q->lock);
}

/* ---- groups ---- */

bool quota_is_empty(const struct quota_item *i)
{
	return i->class != QUOTA_DATASET && !i->limit_bytes && !i->limit_objects && !i->used_blocks && !i->used_objects;
}

static void freeze_owner(struct quota *q, struct quota_owner *o, bool drop) SYNC_REQUIRES(q->lock)
{
	o->snapshot = o->is;
	o->drop = drop || quota_is_empty(&o->is);
	cds_list_add_tail(&o->commit_link, &q->committing);
}

void quota_freeze(struct dataset *ds)
{
	bool drop = ds->state != DATASET_STATE_LIVE || ds->removed;
	struct quota *q = ds->quota;
	struct quota_owner *o, *next;

	if (!q || q->dropped)
		return;
	sync_mutex_lock(&q->lock);
	cds_list_for_each_entry_safe (o, next, &q->changed, changed_link) {
		cds_list_del(&o->changed_link);
		o->changed = false;
		if (!drop)
			freeze_owner(q, o, false);
	}
	/* Its items go at once; its blocks take longer. */
	if (drop) {
		freeze_owner(q, &q->whole, true);
		for (size_t i = 0; i < q->bucket_count; i++)
			for (o = q->buckets[i]; o; o = o->hash_next)
				freeze_owner(q, o, true);
	}
	q->dropped = drop;
	sync_mutex_unlock(&q->lock);
}

static int write_item(struct dataset *ds, const struct quota_owner *o, uint64_t txg)
{
	struct wfs3_key key = quota_key(ds->id, o->snapshot.class, o->snapshot.id);
	struct tree *tree = ds->pool->tree;
	uint8_t buf[QUOTA_ITEM_BYTES];
	int rc;

	quota_item_encode(&o->snapshot, buf);
	do {
		if (o->drop)
			rc = tree_delete(tree, txg, &key);
		else
			rc = tree_put(tree, txg, &key, buf, sizeof(buf));
		if (rc == -EAGAIN) {
			rc = tree_fetch(tree, &key);
			rc = rc ? rc : -EAGAIN;
		}
	} while (rc == -EAGAIN);
	return rc == -ENOENT && o->drop ? 0 : rc;
}

/* Whoever has nothing, and no limit, costs no memory. */
static void forget_empty(struct quota *q, struct quota_owner *o)
{
	struct quota_owner **link;

	sync_mutex_lock(&q->lock);
	if (quota_is_empty(&o->is) && !o->changed) {
		link = &q->buckets[bucket_of(o->is.class, o->is.id, q->bucket_count)];
		while (*link != o)
			link = &(*link)->hash_next;
		*link = o->hash_next;
		q->count--;
		free(o);
	}
	sync_mutex_unlock(&q->lock);
}

int quota_commit(struct dataset *ds, uint64_t txg)
{
	struct quota *q = ds->quota;

	while (q && !cds_list_empty(&q->committing)) {
		struct quota_owner *o = cds_list_first_entry(&q->committing, struct quota_owner, commit_link);
		int rc = write_item(ds, o, txg);

		if (rc)
			return err_add(rc, "record the quotas of dataset %" PRIu64, ds->id);
		cds_list_del(&o->commit_link);
		forget_empty(q, o);
	}
	return 0;
}
