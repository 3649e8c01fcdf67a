/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where in the log the last contents of a page are, while the log is read. A later record that maps or unmaps the block
 * removes the page again. What a record costs grows with the logarithm of the pages, and with those that it removes.
 * Not thread-safe.
 */
#ifndef WFSD_CORE_FS_WFS3_RECOVER_PAGES_H
#define WFSD_CORE_FS_WFS3_RECOVER_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/fs/wfs3/recover_trie.h"

struct recover_page {
	uint64_t dataset, object;
	uint64_t block;
	uint64_t position; /* of the contents, which are behind a header, so never at 0 */
	uint32_t crc;
	bool zero; /* the page is of zeros, and nothing is at @position */
};

struct recover_pages {
	struct recover_trie trie; /* of struct recover_page */
	struct recover_page *sorted; /* recover_pages_sort() */
	size_t count; /* of these */
};

/* @memory is charged with the tables; NULL: nobody is. */
void recover_pages_init(struct recover_pages *t, struct budget_consumer *memory);
/* 0 or -ENOMEM. */
int recover_pages_put(struct recover_pages *t, const struct recover_page *page);
void recover_pages_remove(struct recover_pages *t, uint64_t dataset, uint64_t object, uint64_t first, uint64_t count);
/* Fill sorted[0..count): by dataset, object and position. Nothing can be put or removed then. */
void recover_pages_sort(struct recover_pages *t);
void recover_pages_done(struct recover_pages *t);

#endif
