/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Chunks in the order of dirty_seq: a treap (Seidel and Aragon, "Randomized Search Trees", 1996) with links in the
 * chunks. What was written to the log comes back with its old place among many thousands, so a list would be walked for
 * each page. The caller holds the file's lock; no two chunks of a tree have the same dirty_seq, which does not change
 * while a chunk is in one.
 */
#ifndef WFSD_CORE_CACHE_DIRTY_TREE_H
#define WFSD_CORE_CACHE_DIRTY_TREE_H

#include <stdint.h>

struct chunk;

struct dirty_tree {
	struct chunk *root;
};

void dirty_tree_insert(struct dirty_tree *t, struct chunk *k);
void dirty_tree_remove(struct dirty_tree *t, struct chunk *k);
/* The oldest one younger than @seq; NULL: there is none. */
struct chunk *dirty_tree_after(const struct dirty_tree *t, uint64_t seq);

#endif
