/* SPDX-License-Identifier: BSD-3-Clause */
/* What a change of inodes means for the counts of owners, and whether their limits allow it. */
#include <errno.h>
#include <inttypes.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/fs/wfs3/pool.h"
#include "core/fs/wfs3/quota.h"

void quota_change_begin(struct dataset *ds, struct quota_change *ret)
{
	ret->q = __atomic_load_n(&ds->quota, __ATOMIC_ACQUIRE);
	ret->count = 0;
	if (ret->q)
		sync_mutex_lock(&ret->q->lock);
}

static int add_for(struct quota_change *c, enum quota_class class, uint32_t id, int objects, int64_t blocks)
        SYNC_REQUIRES(c->q->lock)
{
	struct quota_owner *owner;
	int rc = quota_get(c->q, class, id, &owner);
	unsigned i = 0;

	if (rc)
		return rc;
	while (i < c->count && c->deltas[i].owner != owner)
		i++;
	if (i == c->count) {
		always(c->count < QUOTA_DELTAS_MAX);
		c->deltas[c->count++] = (struct quota_delta){ .owner = owner };
	}
	c->deltas[i].objects += objects;
	c->deltas[i].blocks += blocks;
	return 0;
}

int quota_change_add(struct quota_change *c, const struct inode *i, int objects, int64_t blocks)
{
	int rc = 0;

	if (c->q)
		rc = add_for(c, QUOTA_USER, i->uid, objects, blocks);
	if (!rc && c->q)
		rc = add_for(c, QUOTA_GROUP, i->gid, objects, blocks);
	if (!rc && c->q && i->project)
		rc = add_for(c, QUOTA_PROJECT, i->project, objects, blocks);
	return rc;
}

static int check_objects(const struct quota *q, const struct quota_owner *o, int64_t delta) SYNC_REQUIRES(q->lock)
{
	uint64_t used = quota_used_objects(q, o);

	if (delta <= 0 || !o->is.limit_objects || used + (uint64_t)delta <= o->is.limit_objects)
		return 0;
	return quota_refuse(q, o, o->is.limit_objects, "objects");
}

int quota_change_check(const struct quota_change *c, int object_delta)
{
	int rc = c->q ? check_objects(c->q, &c->q->whole, object_delta) : 0;

	for (unsigned i = 0; i < c->count && !rc; i++) {
		const struct quota_owner *o = c->deltas[i].owner;
		int64_t blocks = c->deltas[i].blocks;

		rc = check_objects(c->q, o, c->deltas[i].objects);
		if (!rc && blocks > 0 && o->is.limit_bytes &&
		    o->is.used_blocks + (uint64_t)blocks > o->is.limit_bytes / WFS3_BLOCK_BYTES)
			rc = quota_refuse(c->q, o, o->is.limit_bytes, "bytes");
	}
	if (rc)
		counter_add(&c->q->ds->pool->stats->quota_refusals, 1);
	return rc;
}

/* Counts out of a damaged pool may be too low. */
static uint64_t moved(uint64_t count, int64_t delta)
{
	return delta < 0 && count < (uint64_t)-delta ? 0 : count + (uint64_t)delta;
}

void quota_change_end(struct quota_change *c, bool made)
{
	if (!c->q)
		return;
	for (unsigned i = 0; i < c->count; i++) {
		struct quota_owner *o = c->deltas[i].owner;

		if (made) {
			o->is.used_objects = moved(o->is.used_objects, c->deltas[i].objects);
			o->is.used_blocks = moved(o->is.used_blocks, c->deltas[i].blocks);
		}
		/* Also one that was made for nothing: it is forgotten then. */
		quota_mark(c->q, o);
	}
	sync_mutex_unlock(&c->q->lock);
}

int quota_replay(struct dataset *ds, const struct inode *from, const struct inode *to)
{
	struct quota_change c;
	int rc = 0;

	quota_change_begin(ds, &c);
	if (to)
		rc = quota_change_add(&c, to, 1, (int64_t)to->blocks);
	if (!rc && from)
		rc = quota_change_add(&c, from, -1, -(int64_t)from->blocks);
	quota_change_end(&c, !rc);
	return rc;
}
