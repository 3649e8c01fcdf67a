/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where in the log the last contents of a page are, while the log is read: a table of objects, and for each a table by
 * block. A later record that maps or unmaps the block removes the page again. Not thread-safe.
 */
#ifndef WFSD_CORE_FS_WFS3_RECOVER_PAGES_H
#define WFSD_CORE_FS_WFS3_RECOVER_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct budget_consumer;
struct recover_object;

struct recover_page {
	uint64_t dataset, object;
	uint64_t block;
	uint64_t position; /* of the contents, which are behind a header, so never at 0 */
	uint32_t crc;
	bool zero; /* the page is of zeros, and nothing is at @position */
};

struct recover_pages {
	struct recover_object *objects; /* slots */
	size_t slot_count; /* power of two, or 0 */
	size_t object_count;
	size_t count; /* pages */
	struct recover_page *sorted; /* recover_pages_sort() */
	struct budget_consumer *memory; /* charged with the tables; NULL: nobody is */
};

/* 0 or -ENOMEM. */
int recover_pages_put(struct recover_pages *t, const struct recover_page *page);
void recover_pages_remove(struct recover_pages *t, uint64_t dataset, uint64_t object, uint64_t first, uint64_t count);
/* The position, 0: none. */
uint64_t recover_pages_get(const struct recover_pages *t, uint64_t dataset, uint64_t object, uint64_t block);
/* Fill sorted[0..count): by dataset, object and position. 0 or -ENOMEM. */
int recover_pages_sort(struct recover_pages *t);
void recover_pages_done(struct recover_pages *t);

#endif
