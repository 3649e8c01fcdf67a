/* SPDX-License-Identifier: BSD-3-Clause */
/* A page is its own entry in the table: its first three numbers are the key. */
#include "core/fs/wfs3/recover_pages.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "core/base/assert.h"
#include "core/base/err.h"

static_assert(offsetof(struct recover_page, position) == RECOVER_KEY_WORDS * sizeof(uint64_t), "the key comes first");

void recover_pages_init(struct recover_pages *t, struct budget_consumer *memory)
{
	*t = (struct recover_pages){ .trie = { .leaf_bytes = sizeof(struct recover_page), .memory = memory } };
}

int recover_pages_put(struct recover_pages *t, const struct recover_page *page)
{
	const uint64_t key[] = { page->dataset, page->object, page->block };
	struct recover_page *pg = recover_trie_put(&t->trie, key);

	if (!pg)
		return err_set(-ENOMEM, "no memory to recover %u pages", t->trie.count);
	*pg = *page;
	return 0;
}

void recover_pages_remove(struct recover_pages *t, uint64_t dataset, uint64_t object, uint64_t first, uint64_t count)
{
	uint64_t key[] = { dataset, object, first };
	const struct recover_page *pg;

	while ((pg = recover_trie_from(&t->trie, key)) && pg->dataset == dataset && pg->object == object &&
	       pg->block - first < count) {
		key[2] = pg->block;
		recover_trie_remove(&t->trie, key);
	}
}

static int compare(const void *a, const void *b)
{
	const struct recover_page *x = a, *y = b;

	if (x->dataset != y->dataset)
		return x->dataset < y->dataset ? -1 : 1;
	if (x->object != y->object)
		return x->object < y->object ? -1 : 1;
	return x->position < y->position ? -1 : x->position > y->position;
}

void recover_pages_sort(struct recover_pages *t)
{
	struct recover_page *all = (struct recover_page *)(void *)t->trie.leaves;

	for (uint32_t i = 0; i < t->trie.leaves_used; i++)
		if (all[i].position)
			all[t->count++] = all[i];
	always(t->count == t->trie.count);
	t->sorted = all;
	if (t->count)
		qsort(all, t->count, sizeof(*all), compare);
}

void recover_pages_done(struct recover_pages *t)
{
	recover_trie_done(&t->trie);
	*t = (struct recover_pages){ .trie = t->trie };
}
