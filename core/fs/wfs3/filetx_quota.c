/* SPDX-License-Identifier: BSD-3-Clause */
/* Room in quotas for what a transaction writes. */
#include <errno.h>

#include "core/base/err.h"
#include "core/fs/wfs3/filetx_commit.h"

#define TRIES_MAX 6u

static struct quota_who who_of(const struct filetx_owners *o)
{
	struct quota_who who = {
		.classes = 1u << QUOTA_DATASET | 1u << QUOTA_USER | 1u << QUOTA_GROUP,
		.ids = { [QUOTA_USER] = o->uid, [QUOTA_GROUP] = o->gid, [QUOTA_PROJECT] = o->project }
	};

	who.classes |= o->project ? 1u << QUOTA_PROJECT : 0;
	return who;
}

/* The owners of an object get so many blocks. -E2BIG: too many owners for one change. */
static int add_owners(struct filetx_commit *c, const struct inode *i, uint64_t blocks)
{
	unsigned k = 0;

	while (k < c->owner_count &&
	       (c->owners[k].uid != i->uid || c->owners[k].gid != i->gid || c->owners[k].project != i->project))
		k++;
	if (k == FILETX_OWNERS_MAX)
		return filetx_fail(c->tx, -E2BIG);
	if (k == c->owner_count)
		c->owners[c->owner_count++] =
		        (struct filetx_owners){ .uid = i->uid, .gid = i->gid, .project = i->project };
	c->owners[k].blocks += blocks;
	return 0;
}

/* How many blocks the pages of an object add to it. @exactly: not those that are mapped; whoever changes that before
 * the commit makes it conflict. */
static int count_blocks(struct filetx_object *x, bool exactly, uint64_t *ret)
{
	uint64_t holes;
	unsigned count;
	int rc = 0;

	*ret = filetx_has_data(x) ? x->page_count : 0;
	if (!exactly || !x->o || !*ret)
		return 0;
	*ret = 0;
	rc = object_flush(NULL, x->o);
	for (unsigned i = 0; i < x->page_count && !rc; i += count) {
		for (count = 1; i + count < x->page_count && x->pages[i + count].index == x->pages[i].index + count;)
			count++;
		rc = object_count_holes(x->o, x->pages[i].index, count, &holes);
		*ret += rc ? 0 : holes;
	}
	return rc;
}

/* Whom the commit concerns: those who get, and those who lose something. */
static int list_owners(struct filetx_commit *c, bool exactly)
{
	int rc = 0;

	c->owner_count = 0;
	for (unsigned i = 0; i < c->object_count && !rc; i++) {
		struct filetx_object *x = c->objects[i];
		bool moved = x->o && x->set & EDIT_OWNERS;
		uint64_t blocks;

		if (x->o && !moved && !filetx_has_data(x))
			continue;
		rc = count_blocks(x, exactly, &blocks);
		if (!rc)
			rc = add_owners(c, &x->cur, blocks + (moved ? x->base.blocks : 0));
		if (!rc && moved)
			rc = add_owners(c, &x->base, 0);
	}
	return rc;
}

int filetx_list_owners(struct filetx_commit *c)
{
	return __atomic_load_n(&c->ds->quota, __ATOMIC_ACQUIRE) ? list_owners(c, false) : 0;
}

/* Room for all of them. 1: not without a closer look at *@ret. */
static int try_quotas(struct filetx_commit *c, struct filetx_owners **ret)
{
	for (unsigned i = 0; i < c->owner_count; i++) {
		struct quota_who who = who_of(&c->owners[i]);

		if (!quota_try_blocks(c->ds, &who, c->owners[i].blocks, &c->owners[i].hold)) {
			*ret = &c->owners[i];
			return 1;
		}
	}
	return 0;
}

void filetx_give_quotas_back(struct filetx_commit *c)
{
	for (unsigned i = 0; i < c->owner_count; i++)
		quota_done(&c->owners[i].hold);
}

/* Whoever looks closer holds nothing; with one owner that is exact. */
int filetx_take_quotas(struct filetx_commit *c)
{
	struct filetx_owners *o;
	struct quota_who who;
	int rc;

	for (unsigned tries = 0; try_quotas(c, &o); tries++) {
		filetx_give_quotas_back(c);
		/* What is overwritten takes no room. */
		if (!tries) {
			rc = list_owners(c, true);
			if (rc)
				return rc;
			continue;
		}
		who = who_of(o);
		rc = tries < TRIES_MAX ? quota_wait_blocks(c->ds, &who, o->blocks, &o->hold)
		                       : err_set(-EDQUOT, "quotas are nearly used up");
		if (rc)
			return rc;
		if (c->owner_count > 1)
			quota_done(&o->hold);
	}
	return 0;
}
