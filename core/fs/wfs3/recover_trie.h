/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A sorted table with keys of three numbers, for what recovery remembers while it reads the log: a binary trie without
 * one-way branches (D. R. Morrison, "PATRICIA", 1968; as a "crit-bit tree" by D. J. Bernstein). A path has at most 192
 * branches whatever the keys are, so whoever crafts a log cannot make it slow, as he could a hash table or a search
 * tree. Not thread-safe.
 */
#ifndef WFSD_CORE_FS_WFS3_RECOVER_TRIE_H
#define WFSD_CORE_FS_WFS3_RECOVER_TRIE_H

#include <stddef.h>
#include <stdint.h>

struct budget_consumer;
struct recover_branch;

#define RECOVER_KEY_WORDS 3u

struct recover_trie {
	size_t leaf_bytes; /* of one entry, a multiple of 8: set by the owner. An entry begins with its key */
	struct budget_consumer *memory; /* charged with the table; NULL: nobody is */
	uint8_t *leaves;
	struct recover_branch *branches;
	uint32_t capacity; /* of both arrays */
	uint32_t leaves_used, branches_used; /* those that are free again included */
	uint32_t free_leaf, free_branch; /* first of a list, plus 1; 0: it is empty */
	uint32_t root;
	uint32_t count; /* entries */
};

/*
 * The entry of @key; a new one is of zeros behind its key. NULL: no memory. Entries move when another one is added.
 */
void *recover_trie_put(struct recover_trie *t, const uint64_t key[RECOVER_KEY_WORDS]);
/* The entry of @key, or NULL. */
void *recover_trie_get(const struct recover_trie *t, const uint64_t key[RECOVER_KEY_WORDS]);
/* The first entry whose key is not below @key, or NULL. */
void *recover_trie_from(const struct recover_trie *t, const uint64_t key[RECOVER_KEY_WORDS]);
/* @key, which may stand in the entry itself, is in the table. Other entries stay where they are; of the array's place
 * that is free then all but the first number is 0. */
void recover_trie_remove(struct recover_trie *t, const uint64_t key[RECOVER_KEY_WORDS]);
void recover_trie_done(struct recover_trie *t);

#endif
