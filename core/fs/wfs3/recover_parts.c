/* SPDX-License-Identifier: BSD-3-Clause */
/* Pages of transactions while the log is read: one array, and a list of each unit's pages in it. */
#include "core/fs/wfs3/recover_parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "core/base/budget.h"
#include "core/base/err.h"

struct recover_part {
	struct recover_page page;
	size_t next; /* page of its unit, or free place, plus 1; 0: none */
};

struct unit {
	uint64_t key[RECOVER_KEY_WORDS]; /* dataset, number, 0 */
	size_t first, last; /* plus 1 */
	uint64_t count;
};

void recover_parts_init(struct recover_parts *t, struct budget_consumer *memory)
{
	*t = (struct recover_parts){ .units = { .leaf_bytes = sizeof(struct unit), .memory = memory } };
}

static int no_memory(void)
{
	return err_set(-ENOMEM, "no memory for the pages of a transaction");
}

static int grow(struct recover_parts *t)
{
	size_t capacity = t->capacity ? 2 * t->capacity : 64;
	struct recover_part *all = realloc(t->all, capacity * sizeof(*all));

	if (!all)
		return no_memory();
	if (t->units.memory)
		budget_charge(t->units.memory, (capacity - t->capacity) * sizeof(*all));
	t->all = all;
	t->capacity = capacity;
	return 0;
}

int recover_parts_add(struct recover_parts *t, uint64_t unit, const struct recover_page *page)
{
	const uint64_t key[] = { page->dataset, unit, 0 };
	int rc = !t->free && t->used == t->capacity ? grow(t) : 0;
	struct unit *u;
	size_t at;

	if (rc)
		return rc;
	u = recover_trie_put(&t->units, key);
	if (!u)
		return no_memory();
	at = t->free ? t->free - 1 : t->used++;
	if (t->free)
		t->free = t->all[at].next;
	t->all[at] = (struct recover_part){ .page = *page };
	if (u->last)
		t->all[u->last - 1].next = at + 1;
	else
		u->first = at + 1;
	u->last = at + 1;
	u->count++;
	return 0;
}

int recover_parts_take(struct recover_parts *t, uint64_t dataset, uint64_t unit, uint32_t page_count,
                       struct recover_pages *pages)
{
	const uint64_t key[] = { dataset, unit, 0 };
	const struct unit *u = recover_trie_get(&t->units, key);
	uint64_t found = u ? u->count : 0;
	int rc = 0;

	if (found != page_count)
		return err_set(-EUCLEAN,
		               "log: a transaction of dataset %" PRIu64 " has %" PRIu64 " pages, not %" PRIu32, dataset,
		               found, page_count);
	if (!u)
		return 0;
	for (size_t at = u->first; at && !rc; at = t->all[at - 1].next)
		rc = recover_pages_put(pages, &t->all[at - 1].page);
	t->all[u->last - 1].next = t->free;
	t->free = u->first;
	recover_trie_remove(&t->units, key);
	return rc;
}

void recover_parts_done(struct recover_parts *t)
{
	if (t->units.memory)
		budget_uncharge(t->units.memory, t->capacity * sizeof(*t->all));
	recover_trie_done(&t->units);
	free(t->all);
}
