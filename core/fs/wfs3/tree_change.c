/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Changes, part one: everything that can fail. The path is found, and the nodes and reservations that the worst outcome
 * needs are taken; only then is the caller's function asked for the new value and tree_shape.c put to work.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/fs/wfs3/tree_priv.h"

/* Unused spare nodes of each kind that a tree keeps. */
#define SPARE_KEEP 1u

static int find_path(struct change *c, const struct wfs3_key *key, bool *ret_found)
{
	struct tree *t = c->t;
	struct node_use u = tree_use_root(t);

	*ret_found = false;
	if (!u.node)
		return t->root_ptr.addr ? -EAGAIN : 0;
	for (;;) {
		struct change_step *s = &c->path[c->depth++];

		s->use = u;
		if (!u.node->level) {
			*ret_found = node_search(u.node->page, key, &s->slot);
			return 0;
		}
		s->slot = node_search_child(u.node->page, key);
		u = tree_use_child(t, u.node, s->slot);
		if (!u.node)
			return -EAGAIN;
	}
}

static void release_path(struct change *c)
{
	for (unsigned i = 0; i < c->depth; i++)
		node_use_end(&c->path[i].use);
}

static int spare_ensure(struct tree *t, unsigned kind, unsigned count)
{
	while (t->spare_count[kind] < count) {
		struct node *n = node_new(t->env.cache, kind == 1);

		if (!n)
			return -ENOMEM;
		n->next = t->spare[kind];
		t->spare[kind] = n;
		t->spare_count[kind]++;
	}
	return 0;
}

static void spare_trim(struct tree *t)
{
	for (unsigned kind = 0; kind < 2; kind++) {
		while (t->spare_count[kind] > SPARE_KEEP) {
			struct node *n = t->spare[kind];

			t->spare[kind] = n->next;
			t->spare_count[kind]--;
			node_unref(n);
		}
	}
}

/*
 * Nodes for copies, and for splits when the leaf grows by @grow_bytes (0: it does not grow). Frees of what is copied,
 * and of one sibling on each level when the leaf may become as small as @rest_bytes.
 */
static int reserve(struct change *c, unsigned grow_bytes, unsigned rest_bytes)
{
	struct tree *t = c->t;
	unsigned need[2] = { 0 }, frees = 0, grow = grow_bytes;
	int rc;

	for (unsigned i = c->depth; i-- > 0;) {
		const struct node *n = c->path[i].use.node;
		unsigned kind = n->level > 0;

		if (n->birth != c->txg) {
			need[kind]++;
			frees++;
		}
		if (!grow || node_free_bytes(n->page) >= grow) {
			grow = 0;
			continue;
		}
		need[kind]++;
		grow = NODE_ITEM_BYTES(WFS3_PTR_BYTES);
	}
	if (!c->depth)
		need[0]++;
	else if (grow)
		need[1]++;
	if (c->depth && grow && c->path[0].use.node->level == NODE_LEVEL_MAX)
		return err_set(-ENOSPC, "tree has reached its greatest height");
	if (rest_bytes <= SHAPE_UNDERFULL_BYTES && c->depth)
		frees += c->depth - 1;
	rc = spare_ensure(t, 0, need[0]);
	if (!rc)
		rc = spare_ensure(t, 1, need[1]);
	if (!rc && frees) {
		rc = t->env.free_reserve(t->env.ctx, frees);
		if (!rc)
			c->reserved = frees;
	}
	return rc;
}

static void apply(struct change *c, const struct wfs3_key *key, bool found, const void *value, size_t len, bool remove)
{
	if (remove)
		shape_remove(c);
	else if (found)
		shape_replace(c, key, value, len);
	else
		shape_insert(c, key, value, len);
	c->t->dirty = true;
}

static void change_begin(struct change *c, struct tree *t, uint64_t txg) SYNC_ACQUIRE(t->lock)
{
	c->t = t;
	c->txg = txg;
	c->depth = 0;
	c->reserved = 0;
	sync_rwlock_wrlock(&t->lock);
	always(txg > t->frozen_txg && txg <= WFS3_TXG_MAX);
}

static void change_end(struct change *c, struct tree *t) SYNC_RELEASE(t->lock)
{
	if (c->reserved)
		t->env.free_unreserve(t->env.ctx, c->reserved);
	spare_trim(t);
	release_path(c);
	sync_rwlock_wrunlock(&t->lock);
}

/* Of the leaf: what it has in use without the item at the path's end. */
static unsigned leaf_rest(const struct change *c, bool found, size_t old_len)
{
	return found ? node_used_bytes(c->path[c->depth - 1].use.node->page) - NODE_ITEM_BYTES(old_len) : NODE_CAPACITY;
}

static const uint8_t *old_value(const struct change *c, bool found, size_t *ret_len)
{
	const struct change_step *leaf;

	*ret_len = 0;
	if (!found)
		return NULL;
	leaf = &c->path[c->depth - 1];
	return node_value(leaf->use.node->page, leaf->slot, ret_len);
}

int tree_put(struct tree *t, uint64_t txg, const struct wfs3_key *key, const void *value, size_t len)
{
	struct change c;
	size_t old_len;
	bool found;
	int rc;

	always(len <= TREE_ITEM_BYTES_MAX);
	change_begin(&c, t, txg);
	rc = find_path(&c, key, &found);
	if (!rc) {
		unsigned grow, rest;

		old_value(&c, found, &old_len);
		grow = found ? (unsigned)(len > old_len ? len - old_len : 0) : NODE_ITEM_BYTES(len);
		rest = leaf_rest(&c, found, old_len) + (found ? NODE_ITEM_BYTES(len) : 0);
		rc = reserve(&c, grow, found && len < old_len ? rest : NODE_CAPACITY);
	}
	if (!rc)
		apply(&c, key, found, value, len, false);
	change_end(&c, t);
	return rc;
}

int tree_delete(struct tree *t, uint64_t txg, const struct wfs3_key *key)
{
	struct change c;
	size_t old_len;
	bool found;
	int rc;

	change_begin(&c, t, txg);
	rc = find_path(&c, key, &found);
	if (!rc && !found)
		rc = -ENOENT;
	if (!rc) {
		old_value(&c, found, &old_len);
		rc = reserve(&c, 0, leaf_rest(&c, found, old_len));
	}
	if (!rc)
		apply(&c, key, found, NULL, 0, true);
	change_end(&c, t);
	return rc;
}

int tree_update(struct tree *t, uint64_t txg, const struct wfs3_key *key, tree_update_fn *fn, void *ctx)
{
	struct change c;
	const uint8_t *old;
	size_t old_len;
	bool found;
	int rc;

	change_begin(&c, t, txg);
	rc = find_path(&c, key, &found);
	if (rc)
		goto out;
	old = old_value(&c, found, &old_len);
	rc = reserve(&c, found ? TREE_ITEM_BYTES_MAX - (unsigned)old_len : NODE_ITEM_BYTES(TREE_ITEM_BYTES_MAX),
	             leaf_rest(&c, found, old_len));
	if (rc)
		goto out;
	rc = fn(ctx, old, old_len, t->new_value);
	if (rc < 0)
		goto out;
	always((unsigned)rc <= TREE_ITEM_BYTES_MAX);
	if (rc > 0 || found)
		apply(&c, key, found, t->new_value, (size_t)rc, rc == 0);
	rc = 0;
out:
	change_end(&c, t);
	return rc;
}

/*
 * Several changes as one. First all paths are found and held, so that no node of them can leave the memory, and what
 * the worst outcome takes is made sure of; then the changes are made one by one, each finding its path anew.
 */
struct batch {
	struct tree *t;
	const struct item_change *changes;
	unsigned count;
	unsigned grow_bytes, shrink_bytes; /* of all leaves together, at most */
	unsigned frees; /* reserved */
	bool found[TREE_BATCH_MAX];
	struct change paths[TREE_BATCH_MAX];
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
		rc = find_path(c, &ch->key, &found);
		if (rc) {
			*ret_missing = ch->key;
			b->count = i + 1;
			return rc;
		}
		b->found[i] = found;
		old_value(c, found, &old_len);
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

static int batch_reserve(struct batch *b, uint64_t txg)
{
	struct tree *t = b->t;
	unsigned need[2] = { 0 }, frees = 0;
	bool any_splits = false;
	int rc;

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
	rc = spare_ensure(t, 0, need[0]);
	if (!rc)
		rc = spare_ensure(t, 1, need[1]);
	if (!rc && frees)
		rc = t->env.free_reserve(t->env.ctx, frees);
	if (!rc)
		b->frees = frees;
	return rc;
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
		always(!find_path(c, &ch->key, &found));
	} else if (c->depth) {
		struct change_step *leaf = &c->path[c->depth - 1];

		found = node_search(leaf->use.node->page, &ch->key, &leaf->slot);
	}
	old_value(c, found, &old_len);
	c->reserved = b->frees;
	apply(c, &ch->key, found, ch->value, ch->len, ch->op == ITEM_DELETE);
	b->frees = c->reserved;
	if (c == &fresh)
		release_path(c);
	*moved |= ch->op == ITEM_DELETE || ch->len < old_len || t->spare_count[0] + t->spare_count[1] != spares;
}

int tree_apply(struct tree *t, uint64_t txg, const struct item_change changes[], unsigned count,
               struct wfs3_key *ret_missing)
{
	struct batch b;
	struct change c;
	int rc;

	always(count && count <= TREE_BATCH_MAX);
	b.t = t;
	b.changes = changes;
	b.count = count;
	b.grow_bytes = b.shrink_bytes = b.frees = 0;
	change_begin(&c, t, txg);
	rc = batch_find(&b, txg, ret_missing);
	if (!rc)
		rc = batch_reserve(&b, txg);
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
	for (unsigned i = 0; i < b.count; i++)
		release_path(&b.paths[i]);
	change_end(&c, t);
	return rc;
}
