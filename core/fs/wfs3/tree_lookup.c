/* SPDX-License-Identifier: BSD-3-Clause */
/* Lookups: descent from the root with the tree lock held shared, never waiting for a device. */
#include <errno.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/fs/wfs3/tree_priv.h"

/* The node of the cache that a pointer names; not one of another tree, which only a forged pointer can mean: reading it
 * again will tell. */
static struct node_use use_placed(struct tree *t, const struct wfs3_ptr *ptr)
{
	struct node_use u = { .node = node_cache_lookup(t->env.cache, ptr) };

	u.owned = u.node;
	if (u.node && node_dataset(u.node->page) != t->dataset_id) {
		node_use_end(&u);
		u.node = NULL;
	}
	return u;
}

struct node_use tree_use_root(struct tree *t)
{
	if (t->root)
		return (struct node_use){ .node = t->root };
	if (!t->root_ptr.addr)
		return (struct node_use){ 0 };
	return use_placed(t, &t->root_ptr);
}

struct node_use tree_use_child(struct tree *t, const struct node *parent, unsigned slot)
{
	struct node_use u;
	struct wfs3_ptr ptr;

	if (parent->children && parent->children[slot])
		return (struct node_use){ .node = parent->children[slot] };
	ptr = node_ptr(parent->page, slot);
	u = use_placed(t, &ptr);
	/* A forged tree may point at one node from two levels; reading it again will tell. */
	if (u.node && u.node->level + 1 != parent->level) {
		node_use_end(&u);
		u.node = NULL;
	}
	return u;
}

struct node_wanted node_wanted_child(const struct node_wanted *parent, const uint8_t *page, unsigned slot)
{
	struct node_wanted w = *parent;

	w.ptr = node_ptr(page, slot);
	w.level = (int)node_level(page) - 1;
	w.low = node_key(page, slot);
	w.has_low = true;
	if (slot + 1 < node_count(page)) {
		w.high = node_key(page, slot + 1);
		w.has_high = true;
	}
	return w;
}

int tree_find_leaf(struct tree *t, const struct wfs3_key *key, struct node_use *ret, struct node_wanted *want)
{
	struct node_use u = tree_use_root(t);

	if (want)
		*want = (struct node_wanted){ .ptr = t->root_ptr, .level = -1 };
	if (!u.node)
		return t->root_ptr.addr ? -EAGAIN : -ENOENT;
	while (u.node->level > 0) {
		unsigned slot = node_search_child(u.node->page, key);
		struct node_use child = tree_use_child(t, u.node, slot);

		if (want)
			*want = node_wanted_child(want, u.node->page, slot);
		node_use_end(&u);
		if (!child.node)
			return -EAGAIN;
		u = child;
	}
	*ret = u;
	return 0;
}

static int copy_value(const struct node *leaf, unsigned slot, void *buf, size_t cap, size_t *ret_len)
{
	const uint8_t *value = node_value(leaf->page, slot, ret_len);

	if (*ret_len > cap)
		return -ERANGE;
	if (*ret_len)
		memcpy(buf, value, *ret_len);
	return 0;
}

int tree_get(struct tree *t, const struct wfs3_key *key, void *buf, size_t cap, size_t *ret_len)
{
	struct node_use leaf;
	unsigned slot;
	int rc;

	sync_rwlock_rdlock(&t->lock);
	rc = tree_find_leaf(t, key, &leaf, NULL);
	if (!rc) {
		rc = node_search(leaf.node->page, key, &slot) ? copy_value(leaf.node, slot, buf, cap, ret_len)
		                                              : -ENOENT;
		node_use_end(&leaf);
	}
	sync_rwlock_rdunlock(&t->lock);
	return rc;
}

int tree_next(struct tree *t, const struct wfs3_key *from, const struct wfs3_key *to, struct wfs3_key *ret_key,
              void *buf, size_t cap, size_t *ret_len, struct wfs3_key *ret_missing)
{
	struct wfs3_key at = *from;
	int rc;

	sync_rwlock_rdlock(&t->lock);
	for (;;) {
		struct node_wanted w;
		struct node_use leaf;
		unsigned slot;

		rc = tree_find_leaf(t, &at, &leaf, &w);
		if (rc == -EAGAIN)
			*ret_missing = at;
		if (rc)
			break;
		node_search(leaf.node->page, &at, &slot);
		if (slot < node_count(leaf.node->page)) {
			*ret_key = node_key(leaf.node->page, slot);
			rc = wfs3_key_cmp(ret_key, to) > 0 ? -ENOENT : copy_value(leaf.node, slot, buf, cap, ret_len);
			node_use_end(&leaf);
			break;
		}
		node_use_end(&leaf);
		/* On to the leaf right of this one; its range begins at @high. */
		if (!w.has_high || wfs3_key_cmp(&w.high, to) > 0) {
			rc = -ENOENT;
			break;
		}
		at = w.high;
	}
	sync_rwlock_rdunlock(&t->lock);
	return rc;
}

/* The next greater key; false when there is none. */
static bool key_successor(struct wfs3_key *key)
{
	return ++key->offset || ++key->kind || ++key->object;
}

/* The items of one leaf. Returns like tree_scan(). */
static int scan_leaf(const struct node *leaf, const struct node_wanted *w, const struct wfs3_key *from,
                     const struct wfs3_key *to, tree_scan_fn *fn, void *ctx, struct wfs3_key *ret_resume)
{
	unsigned slot;

	for (node_search(leaf->page, from, &slot); slot < node_count(leaf->page); slot++) {
		struct wfs3_key key = node_key(leaf->page, slot);
		const uint8_t *value;
		size_t len;

		if (wfs3_key_cmp(&key, to) > 0)
			return 0;
		value = node_value(leaf->page, slot, &len);
		if (!fn(ctx, &key, value, len)) {
			if (!key_successor(&key) || wfs3_key_cmp(&key, to) > 0)
				return 0;
			*ret_resume = key;
			return 1;
		}
	}
	if (!w->has_high || wfs3_key_cmp(&w->high, to) > 0)
		return 0;
	*ret_resume = w->high;
	return 1;
}

int tree_scan(struct tree *t, const struct wfs3_key *from, const struct wfs3_key *to, tree_scan_fn *fn, void *ctx,
              struct wfs3_key *ret_resume)
{
	struct node_use leaf;
	struct node_wanted w;
	int rc;

	sync_rwlock_rdlock(&t->lock);
	rc = tree_find_leaf(t, from, &leaf, &w);
	if (!rc) {
		rc = scan_leaf(leaf.node, &w, from, to, fn, ctx, ret_resume);
		node_use_end(&leaf);
	} else if (rc == -EAGAIN) {
		*ret_resume = *from;
	} else {
		rc = 0;
	}
	sync_rwlock_rdunlock(&t->lock);
	return rc;
}
