/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Several changes as one. First all paths are found and held, so that no node of them can leave the memory, and what
 * the worst outcome takes is made sure of; then the changes are made one by one, each finding its path anew.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/fs/wfs3/tree_priv.h"

struct batch {
	struct tree *t;
	const struct item_change *changes;
	unsigned count;
	unsigned grow_bytes, shrink_bytes; /* of all leaves together, at most */
	unsigned frees; /* reserved */
	bool *found;
	struct change *paths;
};

static int batch_find(struct batch *b, uint64_t txg, struct wfs3_key *ret_missing)
{
	for (unsigned i = 0; i < b->count; i++) {
		const struct item_change *ch = &b->changes[i];
		struct change *c = &b->paths[i];
		size_t old_len;
		bool found;
		int rc;

		c->t = b->t;
		c->txg = txg;
		c->depth = 0;
		rc = change_find_path(c, &ch->key, &found);
		if (rc) {
			*ret_missing = ch->key;
			b->count = i + 1;
			return rc;
		}
		b->found[i] = found;
		change_old_value(c, found, &old_len);
		if (ch->op == ITEM_DELETE)
			b->shrink_bytes += found ? NODE_ITEM_BYTES(old_len) : 0;
		else if (!found)
			b->grow_bytes += NODE_ITEM_BYTES(ch->len);
		else if (ch->len > old_len)
			b->grow_bytes += (unsigned)(ch->len - old_len);
		else
			b->shrink_bytes += (unsigned)(old_len - ch->len);
	}
	return 0;
}

/* Is this node on a path before? */
static bool batch_seen(const struct batch *b, unsigned path, unsigned level)
{
	const struct node *n = b->paths[path].path[level].use.node;

	for (unsigned i = 0; i < path; i++)
		if (level < b->paths[i].depth && b->paths[i].path[level].use.node == n)
			return true;
	return false;
}

static int batch_take(struct batch *b, const unsigned need[2], unsigned frees)
{
	struct tree *t = b->t;
	int rc = change_spare_ensure(t, 0, need[0]);

	if (!rc)
		rc = change_spare_ensure(t, 1, need[1]);
	if (!rc && frees)
		rc = t->env.free_reserve(t->env.ctx, frees);
	if (!rc)
		b->frees = frees;
	return rc;
}

static int batch_reserve_few(struct batch *b, uint64_t txg)
{
	unsigned need[2] = { 0 }, frees = 0;
	bool any_splits = false;
	for (unsigned i = 0; i < b->count; i++) {
		const struct change *c = &b->paths[i];
		/* Nodes that were merged by an earlier change have less room than they have now. */
		bool merged = b->shrink_bytes && b->grow_bytes > NODE_CAPACITY - SHAPE_MERGED_BYTES;
		bool splits = true;

		for (unsigned level = c->depth; level-- > 0;) {
			const struct node *n = c->path[level].use.node;
			unsigned kind = n->level > 0, grow;

			if (n->birth != txg && !batch_seen(b, i, level)) {
				need[kind]++;
				frees++;
			}
			grow = kind ? b->count * NODE_ITEM_BYTES(WFS3_PTR_BYTES) : b->grow_bytes;
			splits &= merged || node_free_bytes(n->page) < grow;
			any_splits |= splits;
			need[kind] += splits;
		}
		/* A new root; and what the tree may have grown by meanwhile. */
		need[0] += !c->depth;
		need[1] += splits ? 2 : 0;
		if (splits && c->depth && c->path[0].use.node->level + 1u >= NODE_LEVEL_MAX)
			return err_set(-ENOSPC, "tree has reached its greatest height");
	}
	/* Siblings that are merged, one on each level: a half of what was split may be underfull soon. */
	for (unsigned i = 0; i < b->count && b->shrink_bytes; i++) {
		const struct change *c = &b->paths[i];

		if (c->depth && (any_splits || node_used_bytes(c->path[c->depth - 1].use.node->page) <=
		                                       SHAPE_UNDERFULL_BYTES + b->shrink_bytes))
			frees += c->depth;
	}
	return batch_take(b, need, frees);
}

/*
 * Make one change. As long as no node was copied, split or merged since the paths were found, they are still right, but
 * for places in leaves.
 */
static void batch_apply_one(struct batch *b, unsigned i, bool *moved)
{
	const struct item_change *ch = &b->changes[i];
	struct change *c = &b->paths[i], fresh;
	struct tree *t = b->t;
	unsigned spares = t->spare_count[0] + t->spare_count[1];
	size_t old_len;
	bool found = false;

	if (*moved) {
		/* The path that is held keeps what is looked for in memory. */
		fresh.t = t;
		fresh.txg = c->txg;
		fresh.depth = 0;
		c = &fresh;
		always(!change_find_path(c, &ch->key, &found));
	} else if (c->depth) {
		struct change_step *leaf = &c->path[c->depth - 1];

		found = node_search(leaf->use.node->page, &ch->key, &leaf->slot);
	}
	change_old_value(c, found, &old_len);
	c->reserved = b->frees;
	change_apply(c, &ch->key, found, ch->value, ch->len, ch->op == ITEM_DELETE);
	b->frees = c->reserved;
	if (c == &fresh)
		change_release_path(c);
	*moved |= ch->op == ITEM_DELETE || ch->len < old_len || t->spare_count[0] + t->spare_count[1] != spares;
}

/* ---- any number of them ---- */

/* What a change adds to its leaf; 0: nothing, or it makes it smaller. */
static unsigned batch_growth(const struct batch *b, unsigned i)
{
	const struct item_change *ch = &b->changes[i];
	size_t old_len;

	if (ch->op == ITEM_DELETE)
		return 0;
	if (!b->found[i])
		return NODE_ITEM_BYTES(ch->len);
	change_old_value(&b->paths[i], true, &old_len);
	return ch->len > old_len ? (unsigned)(ch->len - old_len) : 0;
}

/* A node and those that are split from it: how many more there may be after @count additions of @bytes together. A cut
 * leaves each part a good deal (choose_cut()), so that there is never much more than what the bytes fill. */
static unsigned split_bound(const struct node *n, unsigned count, unsigned bytes)
{
	unsigned by_bytes = n->level ? 2 + count / 64 : 6 + bytes / 2048;

	return node_free_bytes(n->page) >= bytes ? 0 : count < by_bytes ? count : by_bytes;
}

/*
 * Changes stand in the order of their keys, so those of one node stand together, on each level. @splits[i] are
 * additions to the node above that path i stands for, as the first of its node on the level below; it becomes the same
 * of this level. Returns the sum.
 */
static unsigned level_splits(struct batch *b, unsigned level, unsigned splits[], unsigned need[2], unsigned *frees)
{
	unsigned sum = 0;

	for (unsigned i = 0, next; i < b->count; i = next) {
		const struct node *n = b->paths[i].path[level].use.node;
		unsigned count = 0, bytes = 0;

		for (next = i; next < b->count && b->paths[next].path[level].use.node == n; next++) {
			unsigned grow =
			        n->level ? splits[next] * NODE_ITEM_BYTES(WFS3_PTR_BYTES) : batch_growth(b, next);

			count += n->level ? splits[next] : grow > 0;
			bytes += grow;
			splits[next] = 0;
		}
		if (n->birth != b->paths[i].txg) {
			need[n->level > 0]++;
			++*frees;
		}
		splits[i] = split_bound(n, count, bytes);
		need[n->level > 0] += splits[i];
		sum += splits[i];
	}
	return sum;
}

static int batch_reserve_many(struct batch *b)
{
	unsigned need[2] = { 0 }, frees = 0, top = 0, depth = b->paths[0].depth;
	unsigned *splits = calloc(b->count, sizeof(*splits));

	if (!splits)
		return err_set(-ENOMEM, "no memory for a change of %u items", b->count);
	for (unsigned level = depth; level-- > 0;)
		top = level_splits(b, level, splits, need, &frees);
	free(splits);
	if (!depth) {
		need[0] = 7 + b->grow_bytes / 2048;
		top = need[0];
	}
	/* New roots. */
	need[1] += top ? 3 + top / 64 : 0;
	if (top && depth && b->paths[0].path[0].use.node->level + 2u >= NODE_LEVEL_MAX)
		return err_set(-ENOSPC, "tree has reached its greatest height");
	/* Siblings that are merged, one on each level. */
	for (unsigned i = 0; i < b->count && b->shrink_bytes; i++)
		frees += b->paths[i].depth + 1;
	return batch_take(b, need, frees);
}

/* What grows comes first, while no node was merged; and nothing is put where something was deleted. */
static void batch_apply_many(struct batch *b, bool grows[])
{
	bool moved = false;

	for (unsigned i = 0; i < b->count; i++)
		grows[i] = batch_growth(b, i) > 0;
	for (unsigned i = 0; i < b->count; i++)
		if (grows[i])
			batch_apply_one(b, i, &moved);
	for (unsigned i = 0; i < b->count; i++)
		if (!grows[i] && b->changes[i].op == ITEM_PUT)
			batch_apply_one(b, i, &moved);
	for (unsigned i = 0; i < b->count; i++)
		if (b->changes[i].op == ITEM_DELETE && b->found[i])
			batch_apply_one(b, i, &moved);
}

/* ---- the whole ---- */

static void batch_init(struct batch *b, struct tree *t, const struct item_change changes[], unsigned count)
{
	b->t = t;
	b->changes = changes;
	b->count = count;
	b->grow_bytes = b->shrink_bytes = b->frees = 0;
}

static void batch_release(struct batch *b)
{
	for (unsigned i = 0; i < b->count; i++)
		change_release_path(&b->paths[i]);
}

int tree_apply(struct tree *t, uint64_t txg, const struct item_change changes[], unsigned count,
               struct wfs3_key *ret_missing)
{
	bool found[TREE_BATCH_MAX];
	struct change paths[TREE_BATCH_MAX], c;
	struct batch b = { .found = found, .paths = paths };
	int rc;

	always(count && count <= TREE_BATCH_MAX);
	batch_init(&b, t, changes, count);
	change_begin(&c, t, txg);
	rc = batch_find(&b, txg, ret_missing);
	if (!rc)
		rc = batch_reserve_few(&b, txg);
	if (!rc) {
		bool moved = false;

		/* A leaf that becomes empty leaves its range to a neighbour, which need not be in memory: nothing is
		 * put after something was deleted. */
		for (unsigned i = 0; i < count; i++)
			if (changes[i].op == ITEM_PUT)
				batch_apply_one(&b, i, &moved);
		for (unsigned i = 0; i < count; i++)
			if (changes[i].op == ITEM_DELETE && b.found[i])
				batch_apply_one(&b, i, &moved);
		c.reserved = b.frees;
	}
	batch_release(&b);
	change_end(&c, t);
	return rc;
}

int tree_apply_many(struct tree *t, uint64_t txg, const struct item_change changes[], unsigned count,
                    tree_ready_fn *ready, void *ctx, struct wfs3_key *ret_missing)
{
	struct batch b = { .found = calloc(count, sizeof(bool)), .paths = malloc(count * sizeof(struct change)) };
	bool *grows = calloc(count, sizeof(bool));
	struct change c;
	int rc = 0;

	always(count);
	if (!b.found || !b.paths || !grows) {
		rc = err_set(-ENOMEM, "no memory for a change of %u items", count);
		goto out;
	}
	for (unsigned i = 1; i < count; i++)
		always(wfs3_key_cmp(&changes[i - 1].key, &changes[i].key) < 0);
	batch_init(&b, t, changes, count);
	change_begin(&c, t, txg);
	rc = batch_find(&b, txg, ret_missing);
	if (!rc)
		rc = batch_reserve_many(&b);
	if (!rc) {
		ready(ctx);
		batch_apply_many(&b, grows);
		c.reserved = b.frees;
	}
	batch_release(&b);
	change_end(&c, t);
out:
	free(b.found);
	free(b.paths);
	free(grows);
	return rc;
}
