/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ranges of a file that owners have locked: adding, cutting, joining, and what is in the way of another.
 *
 * They stand in treaps (Seidel and Aragon, "Randomized search trees", 1996), ordered by start and owner. The one of all
 * ranges of a file knows the last end below each of its nodes, as an interval tree does (Cormen et al., "Introduction
 * to Algorithms", section 14.3), and the last end of those that are exclusive, as only these are in the way of a shared
 * one.
 */
#include <stdlib.h>

#include "core/base/checked.h"
#include "core/vfs/lock_priv.h"

static uint64_t end_max(const struct range *r)
{
	return r ? r->end_max : 0;
}

static uint64_t exclusive_end_max(const struct range *r)
{
	return r ? r->exclusive_end_max : 0;
}

/* Its children in TREE_ALL, or it itself, changed. */
static void update(struct range *r)
{
	const struct range *left = r->in[TREE_ALL].left, *right = r->in[TREE_ALL].right;

	r->end_max = max_u64(r->end, max_u64(end_max(left), end_max(right)));
	r->exclusive_end_max = max_u64(r->type == VFS_LOCK_EXCLUSIVE ? r->end : 0,
	                               max_u64(exclusive_end_max(left), exclusive_end_max(right)));
}

static bool before(const struct range *a, const struct range *b)
{
	return a->start != b->start ? a->start < b->start : a->owner < b->owner;
}

/* Depth is logarithmic in all likelihood, so recursion is. */
static void split(struct range *root, enum range_tree t, const struct range *at, struct range **ret_left,
                  struct range **ret_right)
{
	if (!root) {
		*ret_left = *ret_right = NULL;
		return;
	}
	if (before(root, at)) {
		split(root->in[t].right, t, at, &root->in[t].right, ret_right);
		*ret_left = root;
	} else {
		split(root->in[t].left, t, at, ret_left, &root->in[t].left);
		*ret_right = root;
	}
	if (t == TREE_ALL)
		update(root);
}

/* All of @left are before all of @right. */
static struct range *merge(struct range *left, struct range *right, enum range_tree t)
{
	struct range *root;

	if (!left || !right)
		return left ? left : right;
	if (left->priority > right->priority) {
		root = left;
		root->in[t].right = merge(left->in[t].right, right, t);
	} else {
		root = right;
		root->in[t].left = merge(left, right->in[t].left, t);
	}
	if (t == TREE_ALL)
		update(root);
	return root;
}

static void insert(struct range **root, enum range_tree t, struct range *r)
{
	struct range *left, *right;

	r->in[t].left = r->in[t].right = NULL;
	if (t == TREE_ALL)
		update(r);
	split(*root, t, r, &left, &right);
	*root = merge(merge(left, r, t), right, t);
}

static struct range *without(struct range *root, enum range_tree t, const struct range *r)
{
	if (root == r)
		return merge(root->in[t].left, root->in[t].right, t);
	if (before(r, root))
		root->in[t].left = without(root->in[t].left, t, r);
	else
		root->in[t].right = without(root->in[t].right, t, r);
	if (t == TREE_ALL)
		update(root);
	return root;
}

/* ---- what is in the way ---- */

static bool each_conflict(const struct range *r, const struct range *want, range_fn *fn, void *ctx)
{
	uint64_t last = want->type == VFS_LOCK_EXCLUSIVE ? end_max(r) : exclusive_end_max(r);

	if (last <= want->start)
		return false;
	if (each_conflict(r->in[TREE_ALL].left, want, fn, ctx))
		return true;
	if (r->start >= want->end)
		return false;
	if (conflict(r, want) && fn(ctx, r))
		return true;
	return each_conflict(r->in[TREE_ALL].right, want, fn, ctx);
}

bool range_each_conflict(const struct lock_file *f, const struct range *want, range_fn *fn, void *ctx)
{
	return each_conflict(f->held, want, fn, ctx);
}

static bool take_first(void *ctx, const struct range *r)
{
	*(const struct range **)ctx = r;
	return true;
}

const struct range *range_conflict(const struct lock_file *f, const struct range *want)
{
	const struct range *found = NULL;

	(void)each_conflict(f->held, want, take_first, &found);
	return found;
}

/* ---- what an owner has ---- */

static struct cds_list_head *holding_bucket(struct vfs_locks *l, const struct lock_file *f, uint64_t owner)
{
	return &l->holdings[lock_bucket(((uintptr_t)f >> 4) ^ owner << 20)];
}

struct holding *range_holding(struct vfs_locks *l, const struct lock_file *f, uint64_t owner)
{
	struct holding *h;

	cds_list_for_each_entry (h, holding_bucket(l, f, owner), link)
		if (h->file == f && h->owner == owner)
			return h;
	return NULL;
}

static void holding_free(struct holding *h)
{
	cds_list_del(&h->link);
	cds_list_del(&h->owner_link);
	free(h);
}

static void put(struct vfs_locks *l, struct holding *h, struct range *r)
{
	/* Marsaglia, "Xorshift RNGs", 2003. */
	l->random ^= l->random << 13;
	l->random ^= l->random >> 17;
	l->random ^= l->random << 5;
	r->priority = l->random;
	insert(&h->file->held, TREE_ALL, r);
	insert(&h->ranges, TREE_OWN, r);
	l->held_count++;
	if (h->share)
		h->share->held++;
}

/* Out of both trees; it is the caller's then. */
static void take_out(struct vfs_locks *l, struct holding *h, struct range *r)
{
	h->file->held = without(h->file->held, TREE_ALL, r);
	h->ranges = without(h->ranges, TREE_OWN, r);
	l->held_count--;
	if (h->share)
		h->share->held--;
}

void range_drop(struct vfs_locks *l, struct holding *h)
{
	while (h->ranges) {
		struct range *r = h->ranges;

		take_out(l, h, r);
		free(r);
	}
	holding_free(h);
}

/* The first of the owner's ranges that ends after (with @touching: at or after) @start. They do not overlap, so their
 * ends are in the order of their starts. */
static struct range *first_behind(const struct holding *h, uint64_t start, bool touching)
{
	struct range *r = h->ranges, *found = NULL;

	while (r) {
		if (r->end > start || (touching && r->end == start)) {
			found = r;
			r = r->in[TREE_OWN].left;
		} else {
			r = r->in[TREE_OWN].right;
		}
	}
	return found;
}

static void cut(struct vfs_locks *l, struct holding *h, uint64_t start, uint64_t end, struct range **spare)
{
	struct range *r;

	while ((r = first_behind(h, start, false)) && r->start < end) {
		uint64_t old_start = r->start, old_end = r->end;

		take_out(l, h, r);
		if (old_start < start && old_end > end) {
			struct range *tail = *spare;

			*spare = NULL;
			*tail = *r;
			tail->start = end;
			put(l, h, tail);
		}
		if (old_start < start) {
			r->end = start;
			put(l, h, r);
		} else if (old_end > end) {
			r->start = end;
			put(l, h, r);
		} else {
			free(r);
		}
	}
}

bool range_splits(const struct holding *h, uint64_t start, uint64_t end)
{
	const struct range *r = first_behind(h, start, false);

	return r && r->start < start && r->end > end;
}

void range_cut(struct vfs_locks *l, struct lock_file *f, uint64_t owner, uint64_t start, uint64_t end,
               struct range **spare)
{
	struct holding *h = range_holding(l, f, owner);

	if (!h)
		return;
	cut(l, h, start, end, spare);
	if (!h->ranges)
		holding_free(h);
}

/* Ranges of the owner of the same type that touch @r, which is in no tree yet, become a part of it. */
static void join(struct vfs_locks *l, struct holding *h, struct range *r)
{
	struct range *o = first_behind(h, r->start, true);

	for (unsigned i = 0; i < 2 && o && o->start <= r->end; i++) {
		if (o->type == r->type) {
			take_out(l, h, o);
			r->start = min_u64(r->start, o->start);
			r->end = max_u64(r->end, o->end);
			free(o);
		}
		/* What is at its other end; between the two there is nothing. */
		o = first_behind(h, r->end, false);
	}
}

void range_take(struct vfs_locks *l, struct lock_file *f, struct lock_wait *w)
{
	const struct range *want = &w->range;
	struct holding *h = range_holding(l, f, want->owner);
	struct range *r = w->spare[0];

	w->spare[0] = NULL;
	if (!h) {
		h = w->spare_holding;
		w->spare_holding = NULL;
		*h = (struct holding){ .file = f, .owner = want->owner, .share = w->share };
		cds_list_add(&h->link, holding_bucket(l, f, want->owner));
		cds_list_add(&h->owner_link, &l->owners[lock_bucket(want->owner)]);
	}
	cut(l, h, want->start, want->end, &w->spare[1]);
	*r = *want;
	join(l, h, r);
	put(l, h, r);
}
