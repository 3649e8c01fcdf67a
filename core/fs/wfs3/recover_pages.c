/* SPDX-License-Identifier: BSD-3-Clause */
/* Open addressing with linear probing, on both levels; pages that are removed stay as slots until their table grows. */
#include "core/fs/wfs3/recover_pages.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/assert.h"
#include "core/base/budget.h"
#include "core/base/err.h"

#define OBJECTS_MIN 64u
#define PAGES_MIN 8u

struct page {
	uint64_t block_plus_1; /* 0: the slot is empty */
	uint64_t position; /* of the contents; 0: removed */
	uint32_t crc;
	bool zero;
};

struct recover_object {
	uint64_t dataset; /* 0: the slot is empty */
	uint64_t object;
	struct page *pages;
	size_t slot_count; /* power of two, or 0 */
	size_t used; /* slots that are not empty */
	size_t count;
};

/* Multiplicative hashing (Knuth, volume 3, section 6.4); the factor is 2^64 divided by the golden ratio. */
static size_t hash(uint64_t key, size_t slot_count)
{
	return (size_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (slot_count - 1);
}

static size_t page_slot(const struct recover_object *o, uint64_t block)
{
	size_t i = hash(block, o->slot_count);

	while (o->pages[i].block_plus_1 && o->pages[i].block_plus_1 != block + 1)
		i = (i + 1) & (o->slot_count - 1);
	return i;
}

static size_t object_slot(const struct recover_pages *t, uint64_t dataset, uint64_t object)
{
	size_t i = hash(object ^ dataset << 40, t->slot_count);

	while (t->objects[i].dataset && (t->objects[i].dataset != dataset || t->objects[i].object != object))
		i = (i + 1) & (t->slot_count - 1);
	return i;
}

static void *get_memory(struct recover_pages *t, size_t count, size_t size)
{
	void *p = calloc(count, size);

	if (p && t->memory)
		budget_charge(t->memory, count * size);
	return p;
}

static void give_back(struct recover_pages *t, void *p, size_t count, size_t size)
{
	if (p && t->memory)
		budget_uncharge(t->memory, count * size);
	free(p);
}

static int grow_pages(struct recover_pages *t, struct recover_object *o)
{
	struct recover_object bigger = *o;

	bigger.slot_count = PAGES_MIN;
	while (bigger.slot_count < 4 * o->count)
		bigger.slot_count *= 2;
	bigger.pages = get_memory(t, bigger.slot_count, sizeof(struct page));
	if (!bigger.pages)
		return err_set(-ENOMEM, "no memory to recover %zu pages", t->count);
	for (size_t i = 0; i < o->slot_count; i++)
		if (o->pages[i].position)
			bigger.pages[page_slot(&bigger, o->pages[i].block_plus_1 - 1)] = o->pages[i];
	bigger.used = bigger.count;
	give_back(t, o->pages, o->slot_count, sizeof(struct page));
	*o = bigger;
	return 0;
}

static int grow_objects(struct recover_pages *t)
{
	struct recover_pages bigger = *t;

	bigger.slot_count = t->slot_count ? 2 * t->slot_count : OBJECTS_MIN;
	bigger.objects = get_memory(t, bigger.slot_count, sizeof(*t->objects));
	if (!bigger.objects)
		return err_set(-ENOMEM, "no memory to recover %zu pages", t->count);
	for (size_t i = 0; i < t->slot_count; i++)
		if (t->objects[i].dataset)
			bigger.objects[object_slot(&bigger, t->objects[i].dataset, t->objects[i].object)] =
			        t->objects[i];
	give_back(t, t->objects, t->slot_count, sizeof(*t->objects));
	*t = bigger;
	return 0;
}

int recover_pages_put(struct recover_pages *t, const struct recover_page *page)
{
	struct recover_object *o;
	struct page *pg;
	int rc = 0;

	if (2 * (t->object_count + 1) > t->slot_count)
		rc = grow_objects(t);
	if (rc)
		return rc;
	o = &t->objects[object_slot(t, page->dataset, page->object)];
	t->object_count += o->dataset == 0;
	o->dataset = page->dataset;
	o->object = page->object;
	if (2 * (o->used + 1) > o->slot_count)
		rc = grow_pages(t, o);
	if (rc)
		return rc;
	pg = &o->pages[page_slot(o, page->block)];
	o->used += pg->block_plus_1 == 0;
	o->count += pg->position == 0;
	t->count += pg->position == 0;
	*pg = (struct page){ page->block + 1, page->position, page->crc, page->zero };
	return 0;
}

static const struct recover_object *find(const struct recover_pages *t, uint64_t dataset, uint64_t object)
{
	const struct recover_object *o = t->slot_count ? &t->objects[object_slot(t, dataset, object)] : NULL;

	return o && o->slot_count ? o : NULL;
}

static void remove_slot(struct recover_pages *t, struct recover_object *o, struct page *pg)
{
	o->count -= pg->position != 0;
	t->count -= pg->position != 0;
	pg->position = 0;
}

void recover_pages_remove(struct recover_pages *t, uint64_t dataset, uint64_t object, uint64_t first, uint64_t count)
{
	const struct recover_object *found = find(t, dataset, object);
	struct recover_object *o;

	if (!found || !found->count)
		return;
	o = &t->objects[found - t->objects];
	if (count > o->slot_count) {
		for (size_t i = 0; i < o->slot_count; i++)
			if (o->pages[i].block_plus_1 && o->pages[i].block_plus_1 - 1 - first < count)
				remove_slot(t, o, &o->pages[i]);
		return;
	}
	for (uint64_t b = first; b < first + count; b++) {
		struct page *pg = &o->pages[page_slot(o, b)];

		if (pg->block_plus_1)
			remove_slot(t, o, pg);
	}
}

uint64_t recover_pages_get(const struct recover_pages *t, uint64_t dataset, uint64_t object, uint64_t block)
{
	const struct recover_object *o = find(t, dataset, object);

	return o ? o->pages[page_slot(o, block)].position : 0;
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

int recover_pages_sort(struct recover_pages *t)
{
	size_t n = 0;

	if (!t->count)
		return 0;
	t->sorted = get_memory(t, t->count, sizeof(*t->sorted));
	if (!t->sorted)
		return err_set(-ENOMEM, "no memory to recover %zu pages", t->count);
	for (size_t i = 0; i < t->slot_count; i++) {
		const struct recover_object *o = &t->objects[i];

		for (size_t k = 0; k < o->slot_count; k++) {
			const struct page *pg = &o->pages[k];

			if (pg->position)
				t->sorted[n++] = (struct recover_page){ .dataset = o->dataset,
					                                .object = o->object,
					                                .block = pg->block_plus_1 - 1,
					                                .position = pg->position,
					                                .crc = pg->crc,
					                                .zero = pg->zero };
		}
	}
	always(n == t->count);
	qsort(t->sorted, n, sizeof(t->sorted[0]), compare);
	return 0;
}

void recover_pages_done(struct recover_pages *t)
{
	give_back(t, t->sorted, t->count, sizeof(*t->sorted));
	for (size_t i = 0; i < t->slot_count; i++)
		give_back(t, t->objects[i].pages, t->objects[i].slot_count, sizeof(struct page));
	give_back(t, t->objects, t->slot_count, sizeof(*t->objects));
	*t = (struct recover_pages){ .memory = t->memory };
}
