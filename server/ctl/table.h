/* SPDX-License-Identifier: BSD-3-Clause */
/* Columns of text for people. One thread. */
#ifndef WFSD_SERVER_CTL_TABLE_H
#define WFSD_SERVER_CTL_TABLE_H

#include <stdio.h>

#define TABLE_COLUMNS_MAX 12

struct table {
	const char *const *titles; /* a leading '>' aligns the column to the right and is not printed */
	unsigned column_count;
	char **cells; /* row after row */
	size_t cell_count, cell_room;
	int failed; /* memory ran out; table_print() tells */
};

/* @titles: an array that ends with NULL, at most TABLE_COLUMNS_MAX; must outlive the table. */
void table_init(struct table *t, const char *const *titles);
/* Append the next cell, row by row; the text is copied and control characters become '?'. */
void table_add(struct table *t, const char *text);
/* Print the titles and the rows. 0 or -ENOMEM. */
int table_print(const struct table *t, FILE *out);
void table_done(struct table *t);

#endif
