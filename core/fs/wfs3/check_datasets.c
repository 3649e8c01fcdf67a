/* SPDX-License-Identifier: BSD-3-Clause */
/* Checking the pool tree, and each dataset: its record, its inode, its cells, its counters. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/wfs3/check_priv.h"
#include "core/fs/wfs3/check_quota.h"

/* To find names that occur twice: a name of 255 bytes would cost more. */
struct name {
	struct hash128 hash;
	uint64_t dataset;
};

struct datasets {
	struct check *c;
	struct check_dataset pool_tree;
	struct name *names;
	size_t name_count, name_capacity;
	/* The dataset whose record came last, and what its owners have */
	struct check_dataset last;
	char last_name[WFS3_DATASET_NAME_MAX + 1];
	struct check_quota quota;
};

/* One dataset's tree. */
struct volume {
	struct check *c;
	struct check_dataset ds;
};

static void check_inode(struct volume *v, const struct wfs3_key *key, const void *value, size_t len)
{
	struct inode inode;
	char why[CHECK_WHY_BYTES];
	int rc = inode_decode(value, len, &inode);

	if (!rc && !S_ISREG(inode.mode))
		rc = err_set(-EUCLEAN, "a volume with mode %#o", inode.mode);
	if (rc || key->offset) {
		check_bad_item(v->c, &v->ds, key, POOL_FINDING_INODE,
		               rc ? check_why(rc, why) : "an inode in a wrong place");
		return;
	}
	v->ds.has_inode = true;
	v->ds.size_bytes = inode.size_bytes;
}

static int check_volume_item(void *ctx, const struct wfs3_key *key, const void *value, size_t len, uint64_t node_birth)
{
	struct volume *v = ctx;
	struct check *c = v->c;

	unsigned mapped;

	if (key->kind == WFS3_KIND_CELL && check_is_enough(c, &v->ds, key))
		return CHECK_ENOUGH;
	if (key->object == WFS3_VOLUME_OBJECT && key->kind == WFS3_KIND_INODE)
		check_inode(v, key, value, len);
	else if (key->object == WFS3_VOLUME_OBJECT && key->kind == WFS3_KIND_CELL)
		return check_cell(c, &v->ds, key, value, len, node_birth, &mapped);
	else
		check_bad_item(v->c, &v->ds, key, POOL_FINDING_ITEM, "an item that a volume does not have");
	return 0;
}

static void check_record(struct datasets *d, const struct dataset_item *item, const struct check_dataset *ds)
{
	if (item->id >= d->c->root.next_dataset_id)
		check_in_dataset(check_damage(d->c, POOL_FINDING_COUNTER,
		                              "the next dataset would get number %" PRIu64
		                              ", which does not follow this one",
		                              d->c->root.next_dataset_id),
		                 ds);
	if (item->next_object <= WFS3_VOLUME_OBJECT)
		check_in_dataset(check_damage(d->c, POOL_FINDING_COUNTER,
		                              "the next object would get number %" PRIu64 ", which is in use",
		                              item->next_object),
		                 ds);
}

/* With its tree walked. */
static void check_totals(struct check *c, const struct dataset_item *item, const struct check_dataset *ds)
{
	if (ds->broken)
		return;
	if (ds->state == DATASET_STATE_LIVE && !ds->has_inode)
		check_in_dataset(check_damage(c, POOL_FINDING_INODE, "it has no inode"), ds);
	/* Of a tree that is being deleted, contents beside inodes that are gone already still count. */
	if (item->used_blocks != ds->mapped_blocks &&
	    (ds->state == DATASET_STATE_LIVE || item->used_blocks < ds->mapped_blocks))
		check_in_dataset(check_damage(c, POOL_FINDING_COUNTER,
		                              "%" PRIu64 " blocks are mapped, its record says %" PRIu64,
		                              ds->mapped_blocks, item->used_blocks),
		                 ds);
}

static int keep_id(struct check *c, const struct dataset_item *item)
{
	if (item->state != DATASET_STATE_LIVE || c->scrub)
		return 0;
	/* Room is doubled when it is used up. */
	if (!(c->live_count & (c->live_count - 1))) {
		size_t room = c->live_count ? 2 * c->live_count : 1;
		uint64_t *p = realloc(c->live_ids, room * sizeof(*p));

		if (!p)
			return err_set(-ENOMEM, "no memory for datasets");
		c->live_ids = p;
	}
	c->live_ids[c->live_count++] = item->id;
	return 0;
}

static int keep_name(struct datasets *d, const struct dataset_item *item)
{
	if (item->state != DATASET_STATE_LIVE || d->c->scrub)
		return 0;
	if (d->name_count == d->name_capacity) {
		size_t capacity = d->name_capacity ? 2 * d->name_capacity : 64;
		struct name *p = realloc(d->names, capacity * sizeof(*p));

		if (!p)
			return err_set(-ENOMEM, "no memory for names");
		d->names = p;
		d->name_capacity = capacity;
	}
	d->names[d->name_count++] = (struct name){ hash128(item->name, strlen(item->name)), item->id };
	return 0;
}

/* Its tree, or in a scrub the part that is left of it; then the data that was found. */
static int check_volume(struct check *c, struct volume *v, const struct wfs3_ptr *root)
{
	struct wfs3_key from;
	int rc = check_tree(c, &v->ds, root, check_resume_key(c, &v->ds, &from) ? &from : NULL, check_volume_item, v);
	int data_rc = rc >= 0 && c->data ? check_data_finish(c, &v->ds) : 0;

	return data_rc ? data_rc : rc;
}

/* There are no more items of the last dataset. */
static void end_quotas(struct datasets *d)
{
	if (d->last.id && !d->c->scrub)
		check_quota_end(d->c, &d->quota, &d->last);
	check_quota_begin(&d->quota);
	d->last = (struct check_dataset){ .name = "" };
}

static void keep_last(struct datasets *d, const struct check_dataset *ds)
{
	snprintf(d->last_name, sizeof(d->last_name), "%s", ds->name);
	d->last = *ds;
	d->last.name = d->last_name;
}

static void check_quota_of(struct datasets *d, const struct wfs3_key *key, const void *value, size_t len)
{
	if (d->c->scrub)
		return;
	if (key->object == d->last.id)
		check_quota_item(d->c, &d->quota, &d->last, key, value, len);
	else
		check_bad_item(d->c, &d->pool_tree, key, POOL_FINDING_ITEM, "a quota of no dataset");
}

static int check_dataset_item(void *ctx, const struct wfs3_key *key, const void *value, size_t len, uint64_t node_birth)
{
	struct datasets *d = ctx;
	struct dataset_item item;
	struct volume v = { .c = d->c };
	char why[CHECK_WHY_BYTES];
	int rc = 0;

	if (key->kind == WFS3_KIND_SCRUB && key->object == POOL_TREE_ID && !key->offset) {
		struct scrub_item scrub;

		rc = scrub_item_decode(value, len, &scrub);
		if (rc)
			check_bad_item(d->c, &d->pool_tree, key, POOL_FINDING_ITEM, check_why(rc, why));
		return 0;
	}
	if (key->kind == WFS3_KIND_QUOTA && key->object != POOL_TREE_ID) {
		check_quota_of(d, key, value, len);
		return 0;
	}
	if (key->kind != WFS3_KIND_DATASET || key->offset || key->object == POOL_TREE_ID) {
		check_bad_item(d->c, &d->pool_tree, key, POOL_FINDING_ITEM, "an item that the pool tree does not have");
		return 0;
	}
	end_quotas(d);
	v.ds = (struct check_dataset){ .id = key->object, .name = "" };
	rc = dataset_item_decode(key->object, value, len, &item);
	if (rc) {
		check_in_dataset(check_bad_item(d->c, &v.ds, key, POOL_FINDING_DATASET, check_why(rc, why)), &v.ds);
		return 0;
	}
	v.ds.name = item.name;
	v.ds.state = item.state;
	d->c->report->dataset_count++;
	check_record(d, &item, &v.ds);
	if (item.root.addr && item.root.birth > node_birth) {
		check_in_dataset(check_damage(d->c, POOL_FINDING_BIRTH, "its tree is younger than its record"), &v.ds);
		v.ds.broken = true;
	}
	rc = keep_name(d, &item);
	if (!rc)
		rc = keep_id(d->c, &item);
	if (!rc)
		rc = item.type == DATASET_TYPE_TREE ? check_files(d->c, &v.ds, &item, &d->quota)
		                                    : check_volume(d->c, &v, &item.root);
	if (!rc && !d->c->scrub)
		check_totals(d->c, &item, &v.ds);
	keep_last(d, &v.ds);
	return rc;
}

static int compare_names(const void *a, const void *b)
{
	const struct name *x = a, *y = b;

	if (x->hash.hi != y->hash.hi)
		return x->hash.hi < y->hash.hi ? -1 : 1;
	if (x->hash.lo != y->hash.lo)
		return x->hash.lo < y->hash.lo ? -1 : 1;
	return x->dataset < y->dataset ? -1 : x->dataset > y->dataset;
}

static void check_names(struct datasets *d)
{
	if (d->name_count)
		qsort(d->names, d->name_count, sizeof(*d->names), compare_names);
	for (size_t i = 1; i < d->name_count; i++) {
		struct check_dataset ds = { .id = d->names[i].dataset, .name = "" };

		if (hash128_equal(d->names[i].hash, d->names[i - 1].hash))
			check_in_dataset(check_damage(d->c, POOL_FINDING_NAME,
			                              "it has the same name as dataset %" PRIu64,
			                              d->names[i - 1].dataset),
			                 &ds);
	}
}

int check_datasets(struct check *c)
{
	struct datasets d = { .c = c, .pool_tree = { .id = POOL_TREE_ID, .name = "" } };
	struct wfs3_key from = { .object = c->at.dataset, .kind = WFS3_KIND_DATASET };
	int rc;

	/* Without a region table no block can be found. */
	if (!c->has_root || !c->locator)
		return 0;
	rc = c->config->with_data ? check_data_new(c) : 0;
	if (!rc)
		rc = check_tree(c, &d.pool_tree, &c->root.pool_tree, c->scrub ? &from : NULL, check_dataset_item, &d);
	if (!rc && !c->scrub) {
		end_quotas(&d);
		check_names(&d);
	}
	check_quota_free(&d.quota);
	free(d.names);
	return rc;
}
