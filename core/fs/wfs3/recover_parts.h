/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages of transactions while the log is read: they count when the unit comes that they belong to, and never without
 * it. A unit costs the pages that it has, and the logarithm of the units whose pages wait. Not thread-safe.
 */
#ifndef WFSD_CORE_FS_WFS3_RECOVER_PARTS_H
#define WFSD_CORE_FS_WFS3_RECOVER_PARTS_H

#include "core/fs/wfs3/recover_pages.h"

struct recover_part;

struct recover_parts {
	struct recover_trie units; /* those with pages */
	struct recover_part *all;
	size_t capacity, used; /* places in @all, those that are free again included */
	size_t free; /* first of a list, plus 1 */
};

/* @memory is charged with the table; NULL: nobody is. */
void recover_parts_init(struct recover_parts *t, struct budget_consumer *memory);
/* 0 or -ENOMEM. */
int recover_parts_add(struct recover_parts *t, uint64_t unit, const struct recover_page *page);
/* The unit is there: its pages, @page_count of them, go to @pages in the order in which they came. -EUCLEAN: there are
 * more or fewer; -ENOMEM. */
int recover_parts_take(struct recover_parts *t, uint64_t dataset, uint64_t unit, uint32_t page_count,
                       struct recover_pages *pages);
void recover_parts_done(struct recover_parts *t);

#endif
