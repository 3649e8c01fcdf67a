/* SPDX-License-Identifier: BSD-3-Clause */
/* Pages of transactions while the log is read. Those of few transactions are in hand at a time. */
#include "core/fs/wfs3/recover_parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "core/base/budget.h"
#include "core/base/err.h"

struct recover_part {
	uint64_t unit;
	struct recover_page page;
};

static int grow(struct recover_parts *t)
{
	size_t capacity = t->capacity ? 2 * t->capacity : 64;
	struct recover_part *all = realloc(t->all, capacity * sizeof(*all));

	if (!all)
		return err_set(-ENOMEM, "no memory for the pages of a transaction");
	if (t->memory)
		budget_charge(t->memory, (capacity - t->capacity) * sizeof(*all));
	t->all = all;
	t->capacity = capacity;
	return 0;
}

int recover_parts_add(struct recover_parts *t, uint64_t unit, const struct recover_page *page)
{
	int rc = t->count == t->capacity ? grow(t) : 0;

	if (!rc)
		t->all[t->count++] = (struct recover_part){ .unit = unit, .page = *page };
	return rc;
}

int recover_parts_take(struct recover_parts *t, uint64_t dataset, uint64_t unit, uint32_t page_count,
                       struct recover_pages *pages)
{
	size_t kept = 0;
	uint64_t found = 0;
	int rc = 0;

	for (size_t i = 0; i < t->count; i++) {
		const struct recover_part *p = &t->all[i];

		if (p->unit != unit || p->page.dataset != dataset) {
			t->all[kept++] = *p;
			continue;
		}
		found++;
		if (!rc)
			rc = recover_pages_put(pages, &p->page);
	}
	t->count = kept;
	if (!rc && found != page_count)
		rc = err_set(-EUCLEAN, "log: a transaction of dataset %" PRIu64 " has %" PRIu64 " pages, not %" PRIu32,
		             dataset, found, page_count);
	return rc;
}

void recover_parts_done(struct recover_parts *t)
{
	if (t->memory)
		budget_uncharge(t->memory, t->capacity * sizeof(*t->all));
	free(t->all);
}
