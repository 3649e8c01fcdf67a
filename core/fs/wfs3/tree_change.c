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

int change_find_path(struct change *c, const struct wfs3_key *key, bool *ret_found)
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

void change_release_path(struct change *c)
{
	for (unsigned i = 0; i < c->depth; i++)
		node_use_end(&c->path[i].use);
}

int change_spare_ensure(struct tree *t, unsigned kind, unsigned count)
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
	rc = change_spare_ensure(t, 0, need[0]);
	if (!rc)
		rc = change_spare_ensure(t, 1, need[1]);
	if (!rc && frees) {
		rc = t->env.free_reserve(t->env.ctx, frees);
		if (!rc)
			c->reserved = frees;
	}
	return rc;
}

void change_apply(struct change *c, const struct wfs3_key *key, bool found, const void *value, size_t len, bool remove)
{
	if (remove)
		shape_remove(c);
	else if (found)
		shape_replace(c, key, value, len);
	else
		shape_insert(c, key, value, len);
	c->t->dirty = true;
}

void change_begin(struct change *c, struct tree *t, uint64_t txg)
{
	c->t = t;
	c->txg = txg;
	c->depth = 0;
	c->reserved = 0;
	sync_rwlock_wrlock(&t->lock);
	always(txg > t->frozen_txg && txg <= WFS3_TXG_MAX);
}

void change_end(struct change *c, struct tree *t)
{
	if (c->reserved)
		t->env.free_unreserve(t->env.ctx, c->reserved);
	spare_trim(t);
	change_release_path(c);
	sync_rwlock_wrunlock(&t->lock);
}

/* Of the leaf: what it has in use without the item at the path's end. */
static unsigned leaf_rest(const struct change *c, bool found, size_t old_len)
{
	return found ? node_used_bytes(c->path[c->depth - 1].use.node->page) - NODE_ITEM_BYTES(old_len) : NODE_CAPACITY;
}

const uint8_t *change_old_value(const struct change *c, bool found, size_t *ret_len)
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
	rc = change_find_path(&c, key, &found);
	if (!rc) {
		unsigned grow, rest;

		change_old_value(&c, found, &old_len);
		grow = found ? (unsigned)(len > old_len ? len - old_len : 0) : NODE_ITEM_BYTES(len);
		rest = leaf_rest(&c, found, old_len) + (found ? NODE_ITEM_BYTES(len) : 0);
		rc = reserve(&c, grow, found && len < old_len ? rest : NODE_CAPACITY);
	}
	if (!rc)
		change_apply(&c, key, found, value, len, false);
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
	rc = change_find_path(&c, key, &found);
	if (!rc && !found)
		rc = -ENOENT;
	if (!rc) {
		change_old_value(&c, found, &old_len);
		rc = reserve(&c, 0, leaf_rest(&c, found, old_len));
	}
	if (!rc)
		change_apply(&c, key, found, NULL, 0, true);
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
	rc = change_find_path(&c, key, &found);
	if (rc)
		goto out;
	old = change_old_value(&c, found, &old_len);
	rc = reserve(&c, found ? TREE_ITEM_BYTES_MAX - (unsigned)old_len : NODE_ITEM_BYTES(TREE_ITEM_BYTES_MAX),
	             leaf_rest(&c, found, old_len));
	if (rc)
		goto out;
	rc = fn(ctx, old, old_len, t->new_value);
	if (rc < 0)
		goto out;
	always((unsigned)rc <= TREE_ITEM_BYTES_MAX);
	if (rc > 0 || found)
		change_apply(&c, key, found, t->new_value, (size_t)rc, rc == 0);
	rc = 0;
out:
	change_end(&c, t);
	return rc;
}
