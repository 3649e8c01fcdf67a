/* SPDX-License-Identifier: BSD-3-Clause */
/* The treap of dirty chunks. A chunk's priority is a hash of its dirty_seq, so that the same history gives the same
 * tree. */
#include "core/cache/dirty_tree.h"

#include <stddef.h>

#include "core/base/assert.h"
#include "core/cache/cache_priv.h"

static uint64_t priority(const struct chunk *k)
{
	/* The finalizer of MurmurHash3 (Appleby). */
	uint64_t x = k->dirty_seq;

	x = (x ^ x >> 33) * UINT64_C(0xff51afd7ed558ccd);
	x = (x ^ x >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
	return x ^ x >> 33;
}

void dirty_tree_insert(struct dirty_tree *t, struct chunk *k)
{
	struct chunk **at = &t->root, **left = &k->dirty_left, **right = &k->dirty_right, *c;
	uint64_t mine = priority(k);

	while (*at && priority(*at) >= mine)
		at = (*at)->dirty_seq < k->dirty_seq ? &(*at)->dirty_right : &(*at)->dirty_left;
	/* What was here is divided: older ones to the left, younger ones to the right. */
	for (c = *at; c;) {
		always(c->dirty_seq != k->dirty_seq);
		if (c->dirty_seq < k->dirty_seq) {
			*left = c;
			left = &c->dirty_right;
			c = *left;
		} else {
			*right = c;
			right = &c->dirty_left;
			c = *right;
		}
	}
	*left = *right = NULL;
	*at = k;
}

void dirty_tree_remove(struct dirty_tree *t, struct chunk *k)
{
	struct chunk **at = &t->root, *left = k->dirty_left, *right = k->dirty_right;

	while (*at != k) {
		always(*at);
		at = (*at)->dirty_seq < k->dirty_seq ? &(*at)->dirty_right : &(*at)->dirty_left;
	}
	while (left && right) {
		if (priority(left) >= priority(right)) {
			*at = left;
			at = &left->dirty_right;
			left = *at;
		} else {
			*at = right;
			at = &right->dirty_left;
			right = *at;
		}
	}
	*at = left ? left : right;
}

struct chunk *dirty_tree_after(const struct dirty_tree *t, uint64_t seq)
{
	struct chunk *k = t->root, *found = NULL;

	while (k) {
		if (k->dirty_seq > seq) {
			found = k;
			k = k->dirty_left;
		} else {
			k = k->dirty_right;
		}
	}
	return found;
}
