/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Changes, part two: the shape of the tree. Copies the path into the open txg, then inserts, replaces or removes,
 * splits and merges. Memory and reservations were taken by tree_change.c; nothing here fails.
 */
#include <string.h>

#include "core/base/assert.h"
#include "core/fs/wfs3/tree_priv.h"

static struct node *spare_take(struct change *c, unsigned level)
{
	struct tree *t = c->t;
	unsigned kind = level > 0;
	struct node *n = t->spare[kind];

	always(n);
	t->spare[kind] = n->next;
	t->spare_count[kind]--;
	n->next = NULL;
	n->level = (uint8_t)level;
	n->birth = c->txg;
	node_mark_dirty(n);
	return n;
}

/* @n is not part of the tree any more (the caller still holds it): give its address back, now or when it has one. */
static void retire(struct change *c, struct node *n)
{
	struct tree *t = c->t;

	if (n->birth == c->txg)
		return;
	if (!n->placed && t->frozen) {
		always(c->reserved);
		c->reserved--;
		node_ref(n);
		n->obsolete_txg = c->txg;
		n->next = t->obsolete;
		t->obsolete = n;
		return;
	}
	/* A node that a failed commit left without an address never was anywhere. */
	if (!n->ptr.addr)
		return;
	always(c->reserved);
	c->reserved--;
	t->env.free_node(t->env.ctx, c->txg, n->ptr.addr, n->birth);
	node_cache_drop(t->env.cache, n->ptr.addr);
}

static struct node *copy_node(struct change *c, const struct node *old)
{
	struct node *n = spare_take(c, old->level);

	memcpy(n->page, old->page, WFS3_NODE_BYTES);
	node_set_birth(n->page, c->txg);
	n->hint = old->hint;
	if (old->children) {
		unsigned count = node_count(old->page);

		for (unsigned i = 0; i < count; i++) {
			n->children[i] = old->children[i];
			if (n->children[i])
				node_ref(n->children[i]);
		}
	}
	return n;
}

/* Make every node of the path one of the open txg. */
static void copy_path(struct change *c)
{
	for (unsigned i = 0; i < c->depth; i++) {
		struct change_step *s = &c->path[i];
		struct node *old = s->use.node, **link, *copy;

		if (old->birth == c->txg)
			continue;
		link = i ? &c->path[i - 1].use.node->children[c->path[i - 1].slot] : &c->t->root;
		copy = copy_node(c, old);
		retire(c, old);
		node_unref(*link);
		*link = copy;
		node_use_end(&s->use);
		s->use.node = copy;
	}
}

/* A key below all others comes in: the separators above it have to be as low. */
static void lower_separators(struct change *c, const struct wfs3_key *key)
{
	for (unsigned i = 0; i + 1 < c->depth; i++) {
		const struct change_step *s = &c->path[i];
		struct wfs3_key low = node_key(s->use.node->page, s->slot);

		if (wfs3_key_cmp(key, &low) < 0)
			node_set_key(s->use.node->page, s->slot, key);
	}
}

static void put_item(struct node *n, unsigned slot, const struct wfs3_key *key, const void *value, size_t len,
                     struct node *child)
{
	if (n->level > 0) {
		memmove(&n->children[slot + 1], &n->children[slot],
		        (node_count(n->page) - slot) * sizeof(n->children[0]));
		n->children[slot] = child;
	}
	node_insert(n->page, slot, key, value, len);
	n->hint = (uint16_t)slot;
}

static void remove_item(struct node *n, unsigned slot)
{
	unsigned count = node_count(n->page);

	if (n->level > 0) {
		node_unref(n->children[slot]);
		memmove(&n->children[slot], &n->children[slot + 1], (count - slot - 1) * sizeof(n->children[0]));
		n->children[count - 1] = NULL;
	}
	node_remove(n->page, slot);
	n->hint = NODE_HINT_NONE;
}

static unsigned item_cost(const uint8_t *page, unsigned slot)
{
	size_t len;

	node_value(page, slot, &len);
	return NODE_ITEM_BYTES(len);
}

/*
 * Where to cut when an item of @bytes comes to @slot: how many items, the new one counted where it will stand, remain
 * on the left. Ascending insertion leaves the left node as it is, unless what stands behind it would nearly fill the
 * right one, which the next insertion would then split again; otherwise both halves get about the same.
 */
static unsigned choose_cut(const struct node *n, unsigned slot, unsigned bytes)
{
	unsigned count = node_count(n->page), total = node_used_bytes(n->page) + bytes;
	unsigned left = 0, best_cut = 0, best_max = UINT32_MAX, left_at_slot = 0;

	for (unsigned cut = 1; cut <= count; cut++) {
		unsigned last = cut - 1, max;

		if (last == slot)
			left_at_slot = left;
		left += last == slot ? bytes : item_cost(n->page, last < slot ? last : last - 1);
		max = left > total - left ? left : total - left;
		if (max < best_max) {
			best_max = max;
			best_cut = cut;
		}
	}
	if (slot == count)
		return slot;
	if (slot && n->hint != NODE_HINT_NONE && slot == n->hint + 1u && total - left_at_slot <= SHAPE_MERGED_BYTES)
		return slot;
	return best_cut;
}

static void insert_at(struct change *c, unsigned depth, unsigned slot, const struct wfs3_key *key, const void *value,
                      size_t len, struct node *child);

/* The root was split: a new one above both halves. */
static void grow_root(struct change *c, struct node *right)
{
	struct node *left = c->t->root, *root = spare_take(c, left->level + 1u);
	struct wfs3_key low = node_key(left->page, 0), high = node_key(right->page, 0);
	static const uint8_t no_ptr[WFS3_PTR_BYTES];

	node_init(root->page, root->level, c->t->dataset_id, c->txg);
	put_item(root, 0, &low, no_ptr, sizeof(no_ptr), left);
	put_item(root, 1, &high, no_ptr, sizeof(no_ptr), right);
	c->t->root = root;
}

static void split_and_insert(struct change *c, unsigned depth, unsigned slot, const struct wfs3_key *key,
                             const void *value, size_t len, struct node *child)
{
	struct node *left = c->path[depth].use.node, *right = spare_take(c, left->level);
	unsigned count = node_count(left->page), cut = choose_cut(left, slot, NODE_ITEM_BYTES(len));
	bool to_right = slot >= cut;
	unsigned moved_from = to_right ? cut : cut - 1;
	static const uint8_t no_ptr[WFS3_PTR_BYTES];
	struct wfs3_key separator;

	node_init(right->page, right->level, c->t->dataset_id, c->txg);
	node_split(left->page, right->page, moved_from, c->t->scratch);
	if (left->level > 0) {
		size_t bytes = (count - moved_from) * sizeof(left->children[0]);

		memcpy(right->children, &left->children[moved_from], bytes);
		memset(&left->children[moved_from], 0, bytes);
	}
	left->hint = NODE_HINT_NONE;
	if (to_right)
		put_item(right, slot - moved_from, key, value, len, child);
	else
		put_item(left, slot, key, value, len, child);
	separator = node_key(right->page, 0);
	if (depth)
		insert_at(c, depth - 1, c->path[depth - 1].slot + 1, &separator, no_ptr, sizeof(no_ptr), right);
	else
		grow_root(c, right);
}

static void insert_at(struct change *c, unsigned depth, unsigned slot, const struct wfs3_key *key, const void *value,
                      size_t len, struct node *child)
{
	struct node *n = c->path[depth].use.node;

	if (node_free_bytes(n->page) >= NODE_ITEM_BYTES(len))
		put_item(n, slot, key, value, len, child);
	else
		split_and_insert(c, depth, slot, key, value, len, child);
}

void shape_insert(struct change *c, const struct wfs3_key *key, const void *value, size_t len)
{
	if (!c->depth) {
		struct node *root = spare_take(c, 0);

		node_init(root->page, 0, c->t->dataset_id, c->txg);
		put_item(root, 0, key, value, len, NULL);
		c->t->root = root;
		return;
	}
	copy_path(c);
	lower_separators(c, key);
	insert_at(c, c->depth - 1, c->path[c->depth - 1].slot, key, value, len, NULL);
}

/* Direct references of @count children, from @src's slot 0 on, to @dst's slot @at. */
static void share_children(struct node *dst, unsigned at, const struct node *src, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct node *child = src->children ? src->children[i] : NULL;

		if (child)
			node_ref(child);
		dst->children[at + i] = child;
	}
}

/* Take over what the sibling in @slot of the parent holds, if it is in memory and both fit. */
static bool merge_with(struct change *c, unsigned depth, unsigned slot)
{
	struct change_step *above = &c->path[depth - 1];
	struct node *n = c->path[depth].use.node, *parent = above->use.node;
	struct node_use sibling = tree_use_child(c->t, parent, slot);
	unsigned count = node_count(n->page), moved;
	bool fits;

	if (!sibling.node)
		return false;
	moved = node_count(sibling.node->page);
	fits = node_used_bytes(n->page) + node_used_bytes(sibling.node->page) <= SHAPE_MERGED_BYTES;
	if (fits && slot < above->slot) {
		struct wfs3_key low = node_key(parent->page, slot);

		node_prepend(n->page, sibling.node->page, c->t->scratch);
		if (n->level > 0) {
			memmove(&n->children[moved], n->children, count * sizeof(n->children[0]));
			share_children(n, 0, sibling.node, moved);
		}
		retire(c, sibling.node);
		remove_item(parent, slot);
		node_set_key(parent->page, slot, &low);
		above->slot = slot;
	} else if (fits) {
		node_append(n->page, sibling.node->page, 0, moved);
		if (n->level > 0)
			share_children(n, count, sibling.node, moved);
		retire(c, sibling.node);
		remove_item(parent, slot);
	}
	if (fits)
		n->hint = NODE_HINT_NONE;
	node_use_end(&sibling);
	return fits;
}

/* A root with one child is not needed. */
static void collapse_root(struct tree *t)
{
	while (t->root && t->root->level > 0 && node_count(t->root->page) == 1) {
		struct node *old = t->root;

		t->root = old->children ? old->children[0] : NULL;
		if (t->root)
			node_ref(t->root);
		else
			t->root_ptr = node_ptr(old->page, 0);
		node_unref(old);
	}
}

/* The node at @depth of the path has less than before: it, and those above, may be empty or fit into a sibling. */
static void shrink_up(struct change *c)
{
	for (unsigned depth = c->depth - 1; depth > 0; depth--) {
		struct change_step *above = &c->path[depth - 1];
		struct node *n = c->path[depth].use.node;
		unsigned slot = above->slot;

		if (!node_count(n->page)) {
			remove_item(above->use.node, slot);
			continue;
		}
		if (node_used_bytes(n->page) > SHAPE_UNDERFULL_BYTES)
			return;
		if (!(slot > 0 && merge_with(c, depth, slot - 1)) &&
		    !(slot + 1 < node_count(above->use.node->page) && merge_with(c, depth, slot + 1)))
			return;
	}
	if (!node_count(c->t->root->page)) {
		node_unref(c->t->root);
		c->t->root = NULL;
		c->t->root_ptr = (struct wfs3_ptr){ 0 };
		return;
	}
	collapse_root(c->t);
}

void shape_replace(struct change *c, const struct wfs3_key *key, const void *value, size_t len)
{
	struct change_step *leaf = &c->path[c->depth - 1];
	struct node *n;
	size_t old_len;

	copy_path(c);
	n = leaf->use.node;
	node_value(n->page, leaf->slot, &old_len);
	if (len <= old_len + node_free_bytes(n->page)) {
		node_replace(n->page, leaf->slot, value, len);
		if (len < old_len)
			shrink_up(c);
		return;
	}
	remove_item(n, leaf->slot);
	insert_at(c, c->depth - 1, leaf->slot, key, value, len, NULL);
}

void shape_remove(struct change *c)
{
	struct change_step *leaf = &c->path[c->depth - 1];

	copy_path(c);
	remove_item(leaf->use.node, leaf->slot);
	shrink_up(c);
}
