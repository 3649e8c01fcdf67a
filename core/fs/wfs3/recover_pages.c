/* SPDX-License-Identifier: BSD-3-Clause */
/* Open addressing with linear probing; what is removed stays as a slot until the table grows. */
#include "core/fs/wfs3/recover_pages.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/assert.h"
#include "core/base/budget.h"
#include "core/base/err.h"

#define SLOTS_MIN 1024u

static size_t slot_of(const struct recover_pages *t, uint64_t dataset, uint64_t block)
{
	/* Multiplicative hashing (Knuth, volume 3, section 6.4); the factor is 2^64 divided by the golden ratio. */
	uint64_t h = (block ^ dataset << 40) * UINT64_C(0x9e3779b97f4a7c15);
	size_t i = (size_t)(h >> 20) & (t->slot_count - 1);

	while (t->slots[i].dataset && (t->slots[i].dataset != dataset || t->slots[i].block != block))
		i = (i + 1) & (t->slot_count - 1);
	return i;
}

static int grow(struct recover_pages *t)
{
	struct recover_pages bigger = { .slot_count = SLOTS_MIN, .memory = t->memory };

	while (bigger.slot_count < 4 * t->count)
		bigger.slot_count *= 2;
	bigger.slots = calloc(bigger.slot_count, sizeof(bigger.slots[0]));
	if (!bigger.slots)
		return err_set(-ENOMEM, "no memory to recover %zu pages", t->count);
	if (t->memory)
		budget_charge(t->memory, bigger.slot_count * sizeof(bigger.slots[0]));
	for (size_t i = 0; i < t->slot_count; i++) {
		const struct recover_page *pg = &t->slots[i];

		if (pg->dataset && pg->position) {
			bigger.slots[slot_of(&bigger, pg->dataset, pg->block)] = *pg;
			bigger.used++;
		}
	}
	bigger.count = bigger.used;
	recover_pages_done(t);
	*t = bigger;
	return 0;
}

int recover_pages_put(struct recover_pages *t, const struct recover_page *page)
{
	struct recover_page *pg;

	if (2 * (t->used + 1) > t->slot_count) {
		int ret = grow(t);

		if (ret)
			return ret;
	}
	pg = &t->slots[slot_of(t, page->dataset, page->block)];
	t->used += pg->dataset == 0;
	t->count += pg->position == 0;
	*pg = *page;
	return 0;
}

static void remove_slot(struct recover_pages *t, struct recover_page *pg)
{
	t->count -= pg->position != 0;
	pg->position = 0;
}

void recover_pages_remove(struct recover_pages *t, uint64_t dataset, uint64_t first, uint64_t count)
{
	if (!t->count)
		return;
	if (count > t->slot_count) {
		for (size_t i = 0; i < t->slot_count; i++)
			if (t->slots[i].dataset == dataset && t->slots[i].block - first < count)
				remove_slot(t, &t->slots[i]);
		return;
	}
	for (uint64_t b = first; b < first + count; b++) {
		struct recover_page *pg = &t->slots[slot_of(t, dataset, b)];

		if (pg->dataset)
			remove_slot(t, pg);
	}
}

uint64_t recover_pages_get(const struct recover_pages *t, uint64_t dataset, uint64_t block)
{
	return t->count ? t->slots[slot_of(t, dataset, block)].position : 0;
}

static int compare(const void *a, const void *b)
{
	const struct recover_page *x = a, *y = b;

	if (x->dataset != y->dataset)
		return x->dataset < y->dataset ? -1 : 1;
	return x->position < y->position ? -1 : x->position > y->position;
}

void recover_pages_sort(struct recover_pages *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->slot_count; i++)
		if (t->slots[i].dataset && t->slots[i].position)
			t->slots[n++] = t->slots[i];
	always(n == t->count);
	if (n)
		qsort(t->slots, n, sizeof(t->slots[0]), compare);
}

void recover_pages_done(struct recover_pages *t)
{
	if (t->memory)
		budget_uncharge(t->memory, t->slot_count * sizeof(t->slots[0]));
	free(t->slots);
	*t = (struct recover_pages){ 0 };
}
