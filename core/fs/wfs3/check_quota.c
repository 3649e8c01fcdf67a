/* SPDX-License-Identifier: BSD-3-Clause */
/* Checking quotas: what owners have in a dataset is counted anew, and compared with the items that say so. */
#include "core/fs/wfs3/check_quota.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "core/base/err.h"

#define SLOTS_MIN 64u

static const char *const names[] = { "dataset", "user", "group", "project" };

struct check_owner {
	uint64_t key_plus_1; /* class << 32 | number, 0: the slot is empty */
	uint64_t blocks, objects;
	bool is_told; /* there is an item */
};

/* The slot of an owner, or the empty one where it belongs. */
static struct check_owner *slot_of(struct check_owner *slots, size_t slot_count, uint64_t key)
{
	/* Multiplicative hashing; the factor is 2^64 divided by the golden ratio. */
	size_t i = (key * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (slot_count - 1);

	while (slots[i].key_plus_1 && slots[i].key_plus_1 != key + 1)
		i = (i + 1) & (slot_count - 1);
	return &slots[i];
}

static int grow(struct check_quota *q)
{
	size_t slot_count = q->slot_count ? 2 * q->slot_count : SLOTS_MIN;
	struct check_owner *slots = calloc(slot_count, sizeof(*slots));

	if (!slots)
		return err_set(-ENOMEM, "no memory to count what owners have");
	for (size_t i = 0; i < q->slot_count; i++)
		if (q->slots[i].key_plus_1)
			*slot_of(slots, slot_count, q->slots[i].key_plus_1 - 1) = q->slots[i];
	free(q->slots);
	q->slots = slots;
	q->slot_count = slot_count;
	return 0;
}

static int add_for(struct check_quota *q, enum quota_class class, uint32_t id, uint64_t blocks)
{
	uint64_t key = (uint64_t) class << 32 | id;
	struct check_owner *o;
	int rc = 2 * (q->count + 1) > q->slot_count ? grow(q) : 0;

	if (rc)
		return rc;
	o = slot_of(q->slots, q->slot_count, key);
	q->count += !o->key_plus_1;
	o->key_plus_1 = key + 1;
	o->blocks += blocks;
	o->objects++;
	return 0;
}

void check_quota_begin(struct check_quota *q)
{
	check_quota_free(q);
	*q = (struct check_quota){ 0 };
}

void check_quota_free(struct check_quota *q)
{
	free(q->slots);
	q->slots = NULL;
}

int check_quota_add(struct check_quota *q, const struct inode *i, uint64_t blocks)
{
	int rc = add_for(q, QUOTA_USER, i->uid, blocks);

	if (!rc)
		rc = add_for(q, QUOTA_GROUP, i->gid, blocks);
	return rc || !i->project ? rc : add_for(q, QUOTA_PROJECT, i->project, blocks);
}

static void compare(struct check *c, const struct check_dataset *ds, const struct check_owner *is,
                    const struct quota_item *item)
{
	if (is->blocks == item->used_blocks && is->objects == item->used_objects)
		return;
	check_in_dataset(check_damage(c, POOL_FINDING_COUNTER,
	                              "%s %u has %" PRIu64 " blocks and %" PRIu64
	                              " objects; what is counted says %" PRIu64 " and %" PRIu64,
	                              names[item->class], item->id, is->blocks, is->objects, item->used_blocks,
	                              item->used_objects),
	                 ds);
}

void check_quota_item(struct check *c, struct check_quota *q, struct check_dataset *ds, const struct wfs3_key *key,
                      const void *value, size_t len)
{
	static const struct check_owner nothing;
	struct check_owner *o = NULL;
	char why[CHECK_WHY_BYTES];
	struct quota_item item;
	int rc = quota_item_decode(key, value, len, &item);

	if (!rc && (ds->state != DATASET_STATE_LIVE || (item.class != QUOTA_DATASET && !q->is_counted)))
		rc = err_set(-EUCLEAN, "a quota of a dataset that is not counted");
	if (rc) {
		check_in_dataset(check_damage(c, POOL_FINDING_ITEM, "%s", check_why(rc, why)), ds);
		return;
	}
	if (item.class == QUOTA_DATASET) {
		q->is_counted = true;
		return;
	}
	if (q->slot_count)
		o = slot_of(q->slots, q->slot_count, key->offset);
	if (o && o->key_plus_1)
		o->is_told = true;
	if (!ds->broken)
		compare(c, ds, o && o->key_plus_1 ? o : &nothing, &item);
}

void check_quota_end(struct check *c, struct check_quota *q, const struct check_dataset *ds)
{
	for (size_t i = 0; i < q->slot_count && q->is_counted && !ds->broken; i++) {
		const struct check_owner *o = &q->slots[i];
		uint64_t key = o->key_plus_1 - 1;
		struct quota_item none = { .class = (enum quota_class)(key >> 32), .id = (uint32_t)key };

		if (o->key_plus_1 && !o->is_told)
			compare(c, ds, o, &none);
	}
}
