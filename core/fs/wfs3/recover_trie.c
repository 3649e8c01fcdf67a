/* SPDX-License-Identifier: BSD-3-Clause */
/* Entries and branches stand in arrays and are named by their index, so that a branch takes 12 bytes. */
#include "core/fs/wfs3/recover_trie.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/budget.h"

#define CAPACITY_MIN 64u
#define LEAF 0x80000000u /* of a child: it is an entry */
#define BITS (64 * RECOVER_KEY_WORDS)

struct recover_branch {
	uint32_t child[2]; /* keys whose bit is 0, and 1. Of a free branch the first is the next free one, plus 1 */
	uint32_t bit; /* where the keys below differ first; 0 is the first word's highest */
};

static uint64_t *leaf(const struct recover_trie *t, uint32_t index)
{
	return (uint64_t *)(void *)(t->leaves + (index & ~LEAF) * t->leaf_bytes);
}

static unsigned bit_of(const uint64_t *key, uint32_t bit)
{
	return key[bit / 64] >> (63 - bit % 64) & 1;
}

/* BITS: they are equal. */
static uint32_t first_difference(const uint64_t *a, const uint64_t *b)
{
	for (unsigned i = 0; i < RECOVER_KEY_WORDS; i++)
		if (a[i] != b[i])
			return 64 * i + (uint32_t)__builtin_clzll(a[i] ^ b[i]);
	return BITS;
}

/* The entry that shares most with @key; there are some. */
static uint32_t nearest(const struct recover_trie *t, const uint64_t *key)
{
	uint32_t at = t->root;

	while (!(at & LEAF))
		at = t->branches[at].child[bit_of(key, t->branches[at].bit)];
	return at;
}

static bool grow(struct recover_trie *t)
{
	uint32_t capacity = t->capacity ? 2 * t->capacity : CAPACITY_MIN;
	struct recover_branch *branches;
	uint8_t *leaves;

	if (capacity >= LEAF)
		return false;
	leaves = realloc(t->leaves, capacity * t->leaf_bytes);
	if (!leaves)
		return false;
	t->leaves = leaves;
	branches = realloc(t->branches, capacity * sizeof(*branches));
	if (!branches)
		return false;
	t->branches = branches;
	if (t->memory)
		budget_charge(t->memory, (capacity - t->capacity) * (t->leaf_bytes + sizeof(*branches)));
	t->capacity = capacity;
	return true;
}

static uint32_t take_leaf(struct recover_trie *t)
{
	uint32_t at = t->free_leaf - 1;

	if (!t->free_leaf)
		return t->leaves_used++;
	t->free_leaf = (uint32_t)*leaf(t, at);
	return at;
}

static uint32_t take_branch(struct recover_trie *t)
{
	uint32_t at = t->free_branch - 1;

	if (!t->free_branch)
		return t->branches_used++;
	t->free_branch = t->branches[at].child[0];
	return at;
}

/* The new entry @added differs at @bit first from all that begin as it does. */
static void hang_in(struct recover_trie *t, const uint64_t *key, uint32_t bit, uint32_t added)
{
	uint32_t *at = &t->root, branch = take_branch(t);

	while (!(*at & LEAF) && t->branches[*at].bit < bit)
		at = &t->branches[*at].child[bit_of(key, t->branches[*at].bit)];
	t->branches[branch].bit = bit;
	t->branches[branch].child[bit_of(key, bit)] = added | LEAF;
	t->branches[branch].child[!bit_of(key, bit)] = *at;
	*at = branch;
}

void *recover_trie_put(struct recover_trie *t, const uint64_t key[RECOVER_KEY_WORDS])
{
	uint32_t bit = 0, near, added;

	if (t->count) {
		near = nearest(t, key);
		bit = first_difference(leaf(t, near), key);
		if (bit == BITS)
			return leaf(t, near);
	}
	if (!t->free_leaf && t->leaves_used == t->capacity && !grow(t))
		return NULL;
	added = take_leaf(t);
	memset(leaf(t, added), 0, t->leaf_bytes);
	memcpy(leaf(t, added), key, RECOVER_KEY_WORDS * sizeof(*key));
	if (t->count++)
		hang_in(t, key, bit, added);
	else
		t->root = added | LEAF;
	return leaf(t, added);
}

void *recover_trie_get(const struct recover_trie *t, const uint64_t key[RECOVER_KEY_WORDS])
{
	uint32_t near = t->count ? nearest(t, key) : 0;

	return t->count && first_difference(leaf(t, near), key) == BITS ? leaf(t, near) : NULL;
}

void *recover_trie_from(const struct recover_trie *t, const uint64_t key[RECOVER_KEY_WORDS])
{
	uint32_t at = t->root, above = 0, bit;
	bool has_above = false;

	if (!t->count)
		return NULL;
	bit = first_difference(leaf(t, nearest(t, key)), key);
	/* All below the place where @key would hang have its bits up to there, and are on one side of it. */
	while (!(at & LEAF) && t->branches[at].bit < bit) {
		const struct recover_branch *b = &t->branches[at];
		unsigned side = bit_of(key, b->bit);

		if (!side) {
			above = b->child[1];
			has_above = true;
		}
		at = b->child[side];
	}
	if (bit < BITS && bit_of(key, bit)) {
		if (!has_above)
			return NULL;
		at = above;
	}
	while (!(at & LEAF))
		at = t->branches[at].child[0];
	return leaf(t, at);
}

void recover_trie_remove(struct recover_trie *t, const uint64_t key[RECOVER_KEY_WORDS])
{
	uint32_t *at = &t->root, *from = NULL, gone, branch;

	while (!(*at & LEAF)) {
		from = at;
		at = &t->branches[*at].child[bit_of(key, t->branches[*at].bit)];
	}
	gone = *at;
	always(first_difference(leaf(t, gone), key) == BITS);
	if (from) {
		branch = *from;
		*from = t->branches[branch].child[!bit_of(key, t->branches[branch].bit)];
		t->branches[branch].child[0] = t->free_branch;
		t->free_branch = branch + 1;
	}
	memset(leaf(t, gone), 0, t->leaf_bytes);
	*leaf(t, gone) = t->free_leaf;
	t->free_leaf = (gone & ~LEAF) + 1;
	t->count--;
}

void recover_trie_done(struct recover_trie *t)
{
	if (t->memory)
		budget_uncharge(t->memory, t->capacity * (t->leaf_bytes + sizeof(*t->branches)));
	free(t->leaves);
	free(t->branches);
	*t = (struct recover_trie){ .leaf_bytes = t->leaf_bytes, .memory = t->memory };
}
