/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which record of the log holds the last contents of a page, while the log is read: a table by dataset and block. A
 * later record that maps or unmaps the block removes the page again. Not thread-safe.
 */
#ifndef WFSD_CORE_FS_WFS3_RECOVER_PAGES_H
#define WFSD_CORE_FS_WFS3_RECOVER_PAGES_H

#include <stddef.h>
#include <stdint.h>

struct budget_consumer;

struct recover_page {
	uint64_t dataset; /* 0: the slot is empty */
	uint64_t block;
	uint64_t serial; /* of the record; 0: removed */
};

struct recover_pages {
	struct recover_page *slots;
	size_t slot_count; /* power of two, or 0 */
	size_t used; /* slots that are not empty */
	size_t count; /* pages */
	struct budget_consumer *memory; /* charged with the table; NULL: nobody is */
};

/* 0 or -ENOMEM. */
int recover_pages_put(struct recover_pages *t, uint64_t dataset, uint64_t block, uint64_t serial);
void recover_pages_remove(struct recover_pages *t, uint64_t dataset, uint64_t first, uint64_t count);
/* The serial, 0: none. */
uint64_t recover_pages_get(const struct recover_pages *t, uint64_t dataset, uint64_t block);
void recover_pages_done(struct recover_pages *t);

#endif
