/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where in the log the last contents of a page are, while the log is read: a table by dataset and block. A later record
 * that maps or unmaps the block removes the page again. Not thread-safe.
 */
#ifndef WFSD_CORE_FS_WFS3_RECOVER_PAGES_H
#define WFSD_CORE_FS_WFS3_RECOVER_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct budget_consumer;

struct recover_page {
	uint64_t dataset; /* 0: the slot is empty */
	uint64_t block;
	uint64_t position; /* of the contents, which are behind a header, so never at 0; 0: removed */
	uint32_t crc;
	bool zero; /* the page is of zeros, and nothing is at @position */
};

struct recover_pages {
	struct recover_page *slots;
	size_t slot_count; /* power of two, or 0 */
	size_t used; /* slots that are not empty */
	size_t count; /* pages */
	struct budget_consumer *memory; /* charged with the table; NULL: nobody is */
};

/* 0 or -ENOMEM. */
int recover_pages_put(struct recover_pages *t, const struct recover_page *page);
void recover_pages_remove(struct recover_pages *t, uint64_t dataset, uint64_t first, uint64_t count);
/* The position, 0: none. */
uint64_t recover_pages_get(const struct recover_pages *t, uint64_t dataset, uint64_t block);
/* Make an array of it: slots [0, count) by dataset and position. Afterwards only recover_pages_done() works. */
void recover_pages_sort(struct recover_pages *t);
void recover_pages_done(struct recover_pages *t);

#endif
