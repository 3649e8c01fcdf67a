/* SPDX-License-Identifier: BSD-3-Clause */
/* Administrators' side of quotas: setting limits, counting what a dataset has when the first one is set, telling. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/wfs3/members.h"
#include "core/fs/wfs3/pool.h"
#include "core/fs/wfs3/quota.h"
#include "core/vfs/vfs_ops.h"

/* ---- counting anew, with the dataset quiet and nothing of it dirty ---- */

struct recount {
	struct quota *q;
	int error;
};

/* Nobody else knows of @q yet. */
static int recount_for(struct quota *q, enum quota_class class, uint32_t id, uint64_t blocks) SYNC_NO_ANALYSIS;
static int recount_for(struct quota *q, enum quota_class class, uint32_t id, uint64_t blocks)
{
	struct quota_owner *o;
	int rc = quota_get(q, class, id, &o);

	if (!rc) {
		o->is.used_objects++;
		o->is.used_blocks += blocks;
		quota_mark(q, o);
	}
	return rc;
}

static bool recount_item(void *ctx, const struct wfs3_key *key, const void *value, size_t len)
{
	struct recount *r = ctx;
	struct inode i;

	if (key->kind != WFS3_KIND_INODE)
		return true;
	r->error = inode_decode(value, len, &i);
	if (!r->error)
		r->error = recount_for(r->q, QUOTA_USER, i.uid, i.blocks);
	if (!r->error)
		r->error = recount_for(r->q, QUOTA_GROUP, i.gid, i.blocks);
	if (!r->error && i.project)
		r->error = recount_for(r->q, QUOTA_PROJECT, i.project, i.blocks);
	return !r->error;
}

static int flush_of(void *ctx, struct object *o)
{
	return o->ds == ctx ? object_flush(NULL, o) : 0;
}

static int count_dataset(struct dataset *ds, struct quota **ret)
{
	struct wfs3_key from = { 0 }, to = { UINT64_MAX, UINT8_MAX, UINT64_MAX };
	struct recount r = { 0 };
	int rc = quota_new(ds, &r.q);

	if (!rc)
		rc = object_each_dirty(ds->pool, flush_of, ds);
	if (!rc)
		rc = ds->type == DATASET_TYPE_TREE;
	while (rc == 1 && !r.error) {
		rc = tree_scan(ds->tree, &from, &to, recount_item, &r, &from);
		if (rc == -EAGAIN) {
			rc = tree_fetch(ds->tree, &from);
			rc = rc ? rc : 1;
		}
	}
	rc = r.error ? r.error : rc;
	if (rc)
		quota_free(r.q);
	else
		*ret = r.q;
	return rc ? err_add(rc, "count what the owners in dataset %" PRIu64 " have", ds->id) : 0;
}

/* ---- setting ---- */

static int set_limits(struct dataset *ds, struct quota *q, const struct quota_item *limits)
{
	struct quota_owner *o;
	uint64_t txg = txg_enter(ds->pool);
	int rc;

	sync_mutex_lock(&q->lock);
	rc = quota_get(q, limits->class, limits->id, &o);
	if (!rc) {
		bool had = o->is.limit_bytes;

		if (limits->limit_bytes != UINT64_MAX)
			o->is.limit_bytes = limits->limit_bytes;
		if (limits->limit_objects != UINT64_MAX)
			o->is.limit_objects = limits->limit_objects;
		q->limited += (unsigned)(o->is.limit_bytes != 0) - (unsigned)had;
		o->room = 0;
		quota_mark(q, o);
		/* It says that the owners are counted. */
		quota_mark(q, &q->whole);
	}
	sync_mutex_unlock(&q->lock);
	if (!rc) {
		__atomic_store_n(&ds->quota, q, __ATOMIC_RELEASE);
		txg_changed(ds->pool, ds, txg);
	}
	txg_exit(ds->pool);
	return rc;
}

/* The dataset is quiet. */
static int set_quiet(struct dataset *ds, const struct quota_item *limits)
{
	struct quota *q = ds->quota;
	int rc = q ? 0 : count_dataset(ds, &q);

	if (rc)
		return rc;
	rc = set_limits(ds, q, limits);
	if (rc && !ds->quota)
		quota_free(q);
	return rc;
}

int quota_set(struct dataset *ds, const struct quota_item *limits)
{
	int rc = pool_check_writable(ds->pool);

	if (!rc && limits->class != QUOTA_DATASET && ds->type != DATASET_TYPE_TREE)
		rc = err_set(-EINVAL, "a volume has no owners");
	if (!rc && limits->class == QUOTA_PROJECT && !limits->id)
		rc = err_set(-EINVAL, "there is no project 0");
	if (!rc && limits->limit_objects && limits->limit_objects != UINT64_MAX && ds->type != DATASET_TYPE_TREE)
		rc = err_set(-EINVAL, "a volume has no objects");
	if (!rc)
		rc = dataset_load(ds);
	/* An older version of this program would not count. */
	if (!rc)
		rc = members_add_feature(ds->pool, WFS3_FEATURE_QUOTAS);
	if (rc)
		return rc;
	sync_mutex_lock(&ds->quiet_lock);
	rc = dataset_make_quiet(ds);
	if (!rc) {
		rc = set_quiet(ds, limits);
		dataset_end_quiet(ds);
	}
	sync_mutex_unlock(&ds->quiet_lock);
	return rc ? rc : txg_sync(ds->pool);
}

/* ---- telling ---- */

static int compare(const void *a, const void *b)
{
	const struct quota_item *x = a, *y = b;

	if (x->class != y->class)
		return x->class < y->class ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

int quota_copy(struct quota *q, struct quota_item **ret, size_t *ret_count)
{
	struct quota_item *all;
	size_t n = 0;

	sync_mutex_lock(&q->lock);
	all = calloc(1 + q->count, sizeof(*all));
	if (all) {
		all[n++] = q->whole.is;
		for (size_t i = 0; i < q->bucket_count; i++)
			for (const struct quota_owner *o = q->buckets[i]; o; o = o->hash_next)
				if (!quota_is_empty(&o->is))
					all[n++] = o->is;
		all[0].used_blocks = quota_used_blocks(q, &q->whole);
		all[0].used_objects = q->ds->type == DATASET_TYPE_TREE ? quota_used_objects(q, &q->whole) : 0;
	}
	sync_mutex_unlock(&q->lock);
	if (!all)
		return err_set(-ENOMEM, "no memory for a list of quotas");
	qsort(all, n, sizeof(*all), compare);
	*ret = all;
	*ret_count = n;
	return 0;
}

int quota_list(struct dataset *ds, struct quota_item **ret, size_t *ret_count)
{
	struct quota *q = __atomic_load_n(&ds->quota, __ATOMIC_ACQUIRE);
	int rc = ds->pool->read_only ? 0 : object_each_dirty(ds->pool, flush_of, ds);

	if (rc)
		return rc;
	if (q)
		return quota_copy(q, ret, ret_count);
	*ret = calloc(1, sizeof(**ret));
	if (!*ret)
		return err_set(-ENOMEM, "no memory for a list of quotas");
	(*ret)->used_blocks = __atomic_load_n(&ds->used_blocks, __ATOMIC_RELAXED);
	if (ds->type == DATASET_TYPE_TREE)
		(*ret)->used_objects = __atomic_load_n(&ds->object_count, __ATOMIC_RELAXED);
	*ret_count = 1;
	return 0;
}

/* ---- the size of the file system ---- */

static void limit_size(struct quota *q, const struct quota_owner *o, struct vfs_statfs *st) SYNC_REQUIRES(q->lock)
{
	uint64_t used = quota_used_blocks(q, o) * WFS3_BLOCK_BYTES, objects = quota_used_objects(q, o);
	uint64_t left = o->is.limit_bytes > used ? o->is.limit_bytes - used : 0;

	if (o->is.limit_bytes) {
		st->total_bytes = min_u64(st->total_bytes, o->is.limit_bytes);
		st->free_bytes = min_u64(st->free_bytes, left);
		st->available_bytes = min_u64(st->available_bytes, left);
	}
	if (o->is.limit_objects) {
		left = o->is.limit_objects > objects ? o->is.limit_objects - objects : 0;
		if (left < st->objects_free) {
			st->object_count = objects;
			st->objects_free = left;
		}
	}
}

void quota_statfs(struct object *o, struct vfs_statfs *st)
{
	uint32_t project = __atomic_load_n(&o->inode.project, __ATOMIC_RELAXED);
	struct quota *q = __atomic_load_n(&o->ds->quota, __ATOMIC_ACQUIRE);
	const struct quota_owner *p;

	if (!q)
		return;
	sync_mutex_lock(&q->lock);
	limit_size(q, &q->whole, st);
	p = project ? quota_find(q, QUOTA_PROJECT, project) : NULL;
	if (p)
		limit_size(q, p, st);
	sync_mutex_unlock(&q->lock);
}
