/* SPDX-License-Identifier: BSD-3-Clause */
/* Room for writers, and for whoever gets files of others. quota.h tells how; exact, however many there are at once. */
#include <errno.h>
#include <inttypes.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/nowait.h"
#include "core/fs/wfs3/pool.h"
#include "core/fs/wfs3/quota.h"

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

bool quota_is_limited(const struct dataset *ds)
{
	const struct quota *q = __atomic_load_n(&ds->quota, __ATOMIC_ACQUIRE);

	return q && LOAD(q->limited);
}

static struct quota_who who_of(const struct object *o)
{
	struct quota_who who = { .classes = 1u << QUOTA_DATASET };

	if (o->ds->type != DATASET_TYPE_TREE)
		return who;
	who.classes |= 1u << QUOTA_USER | 1u << QUOTA_GROUP;
	who.ids[QUOTA_USER] = LOAD(o->inode.uid);
	who.ids[QUOTA_GROUP] = LOAD(o->inode.gid);
	who.ids[QUOTA_PROJECT] = LOAD(o->inode.project);
	if (who.ids[QUOTA_PROJECT])
		who.classes |= 1u << QUOTA_PROJECT;
	return who;
}

static bool same_who(const struct quota_who *a, const struct quota_who *b)
{
	bool same = a->classes == b->classes;

	for (unsigned i = 0; i < QUOTA_CLASSES; i++)
		same &= !(a->classes & 1u << i) || a->ids[i] == b->ids[i];
	return same;
}

/* Those of @who that have a limit of bytes. */
static void find_limited(struct quota *q, const struct quota_who *who, struct quota_hold *ret) SYNC_REQUIRES(q->lock)
{
	*ret = (struct quota_hold){ .q = q, .who = *who };
	for (unsigned i = 0; i < QUOTA_CLASSES; i++) {
		struct quota_owner *o = NULL;

		if (who->classes & 1u << i)
			o = quota_find(q, (enum quota_class)i, who->ids[i]);
		if (o && o->is.limit_bytes)
			ret->owners[ret->count++] = o;
	}
}

static bool has_room(const struct quota_hold *h, uint64_t blocks)
{
	bool good = true;

	for (unsigned i = 0; i < h->count; i++)
		good &= h->owners[i]->room >= blocks;
	return good;
}

static void take(struct quota_hold *h, uint64_t blocks)
{
	h->blocks = blocks;
	for (unsigned i = 0; i < h->count; i++) {
		h->owners[i]->room -= blocks;
		h->owners[i]->in_flight++;
	}
}

bool quota_try_blocks(struct dataset *ds, const struct quota_who *who, uint64_t blocks, struct quota_hold *hold)
{
	struct quota *q = __atomic_load_n(&ds->quota, __ATOMIC_ACQUIRE);
	bool good;

	if (hold->waited)
		return hold->blocks >= blocks && same_who(&hold->who, who);
	if (!q || !LOAD(q->limited))
		return true;
	sync_mutex_lock(&q->lock);
	find_limited(q, who, hold);
	good = has_room(hold, blocks);
	for (unsigned i = 0; i < hold->count; i++)
		good &= !hold->owners[i]->draining;
	if (good)
		take(hold, blocks);
	else
		hold->count = 0;
	sync_mutex_unlock(&q->lock);
	return good;
}

/* How many blocks the range touches. */
static uint64_t touched(uint64_t offset, uint64_t len)
{
	return div_round_up_u64(offset + len, WFS3_BLOCK_BYTES) - offset / WFS3_BLOCK_BYTES;
}

bool quota_try_write(struct object *o, uint64_t offset, uint64_t len, struct quota_hold *hold)
{
	struct quota_who who;

	if (!quota_is_limited(o->ds))
		return true;
	who = who_of(o);
	if (hold->waited)
		return hold->offset == offset && same_who(&hold->who, &who);
	return quota_try_blocks(o->ds, &who, touched(offset, len), hold);
}

void quota_done(struct quota_hold *h)
{
	bool last = false;

	if (h->count) {
		sync_mutex_lock(&h->q->lock);
		for (unsigned i = 0; i < h->count; i++)
			last |= !--h->owners[i]->in_flight && h->owners[i]->draining;
		if (last)
			sync_cond_broadcast(&h->q->drained);
		sync_mutex_unlock(&h->q->lock);
	}
	*h = (struct quota_hold){ 0 };
}

/* ---- without room: a closer look ---- */

struct look {
	struct quota_hold *hold;
	uint64_t dirty_blocks[QUOTA_CLASSES]; /* of hold->owners */
};

static bool is_of(const struct object *o, const struct quota_owner *owner)
{
	switch (owner->is.class) {
	case QUOTA_USER:
		return LOAD(o->inode.uid) == owner->is.id;
	case QUOTA_GROUP:
		return LOAD(o->inode.gid) == owner->is.id;
	case QUOTA_PROJECT:
		return LOAD(o->inode.project) == owner->is.id;
	default:
		return true;
	}
}

static int add_dirty(void *ctx, struct object *o)
{
	struct cache_file *file = __atomic_load_n(&o->file, __ATOMIC_ACQUIRE);
	struct look *l = ctx;

	for (unsigned i = 0; i < l->hold->count && file && o->ds == l->hold->q->ds; i++)
		if (is_of(o, l->hold->owners[i]))
			l->dirty_blocks[i] += cache_file_dirty_bytes(file) / WFS3_BLOCK_BYTES;
	return 0;
}

static int flush_dirty(void *ctx, struct object *o)
{
	const struct quota_hold *h = ctx;
	bool concerned = false;

	for (unsigned i = 0; i < h->count && o->ds == h->q->ds; i++)
		concerned |= is_of(o, h->owners[i]);
	return concerned ? object_flush(NULL, o) : 0;
}

/*
 * The room of all of them as it is. What is dirty is counted before what is mapped: so what is becoming mapped at the
 * moment counts twice, but not as nothing.
 */
static int measure(struct pool *p, struct quota_hold *h)
{
	struct look l = { .hold = h };
	int rc = object_each_dirty(p, add_dirty, &l);

	if (rc)
		return rc;
	sync_mutex_lock(&h->q->lock);
	for (unsigned i = 0; i < h->count; i++) {
		struct quota_owner *o = h->owners[i];
		uint64_t limit = o->is.limit_bytes / WFS3_BLOCK_BYTES;
		uint64_t used = quota_used_blocks(h->q, o) + l.dirty_blocks[i];

		o->room = limit > used ? limit - used : 0;
	}
	sync_mutex_unlock(&h->q->lock);
	return 0;
}

/* Nobody else of these owners takes room from now on, and nobody is under way. */
static void drain(struct quota *q, const struct quota_who *who, struct quota_hold *h)
{
	bool busy = true;

	sync_mutex_lock(&q->lock);
	find_limited(q, who, h);
	for (unsigned i = 0; i < h->count; i++)
		h->owners[i]->draining = true;
	while (busy) {
		busy = false;
		for (unsigned i = 0; i < h->count; i++)
			busy |= h->owners[i]->in_flight > 0;
		if (busy)
			sync_cond_wait(&q->drained, &q->lock);
	}
	sync_mutex_unlock(&q->lock);
}

/* What is asked for: a number of blocks, or those that a write adds. */
struct need {
	struct object *o; /* NULL: it is a number */
	uint64_t offset, len, blocks;
};

static int count_need(struct need *n)
{
	uint64_t first = n->offset / WFS3_BLOCK_BYTES;

	return n->o ? object_count_holes(n->o, first, touched(n->offset, n->len), &n->blocks) : 0;
}

static int refuse(const struct quota_hold *h, uint64_t blocks)
{
	const struct quota_owner *o = h->owners[0];

	for (unsigned i = 0; i < h->count; i++)
		if (h->owners[i]->room < blocks)
			o = h->owners[i];
	counter_add(&h->q->ds->pool->stats->quota_refusals, 1);
	return quota_refuse(h->q, o, o->is.limit_bytes, "bytes");
}

/* With the owners drained. What the map has already takes no room. */
static int look_closer(struct pool *p, struct need *n, struct quota_hold *h)
{
	int rc = count_need(n);

	if (!rc)
		rc = measure(p, h);
	if (rc || !n->blocks || has_room(h, n->blocks))
		return rc;
	rc = object_each_dirty(p, flush_dirty, h);
	if (!rc)
		rc = count_need(n);
	if (!rc)
		rc = measure(p, h);
	if (rc || !n->blocks || has_room(h, n->blocks))
		return rc;
	return refuse(h, n->blocks);
}

static int wait_for(struct dataset *ds, const struct quota_who *who, struct need *n, struct quota_hold *h)
{
	struct quota *q = ds->quota;
	int rc;

	if (nowait_here())
		return -EAGAIN;
	counter_add(&ds->pool->stats->quota_looks, 1);
	sync_mutex_lock(&q->wait_lock);
	drain(q, who, h);
	rc = look_closer(ds->pool, n, h);
	sync_mutex_lock(&q->lock);
	for (unsigned i = 0; i < h->count; i++)
		h->owners[i]->draining = false;
	if (rc) {
		*h = (struct quota_hold){ 0 };
	} else {
		take(h, n->blocks);
		h->waited = true;
		h->offset = n->offset;
	}
	sync_mutex_unlock(&q->lock);
	sync_mutex_unlock(&q->wait_lock);
	return rc;
}

int quota_wait_write(struct object *o, uint64_t offset, uint64_t len, struct quota_hold *hold)
{
	struct need n = { .o = o, .offset = offset, .len = len };
	struct quota_who who = who_of(o);

	return wait_for(o->ds, &who, &n, hold);
}

int quota_wait_blocks(struct dataset *ds, const struct quota_who *who, uint64_t blocks, struct quota_hold *hold)
{
	struct need n = { .blocks = blocks };

	return wait_for(ds, who, &n, hold);
}
