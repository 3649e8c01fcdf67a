/* SPDX-License-Identifier: BSD-3-Clause */
/* Columns of text for people. */
#include "server/ctl/table.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"

void table_init(struct table *t, const char *const *titles)
{
	*t = (struct table){ .titles = titles };
	while (titles[t->column_count])
		t->column_count++;
	always(t->column_count && t->column_count <= TABLE_COLUMNS_MAX);
}

void table_add(struct table *t, const char *text)
{
	char *copy = strdup(text);

	if (t->cell_count == t->cell_room) {
		size_t room = t->cell_room ? 2 * t->cell_room : 64;
		char **cells = reallocarray(t->cells, room, sizeof(*cells));

		if (cells) {
			t->cells = cells;
			t->cell_room = room;
		}
	}
	if (!copy || t->cell_count == t->cell_room) {
		free(copy);
		t->failed = 1;
		return;
	}
	for (char *p = copy; *p; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	}
	t->cells[t->cell_count++] = copy;
}

/* Characters on the screen, as far as UTF-8 tells. */
static size_t text_width(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

/* One row, without blanks at its end. */
static void print_row(const char *const *cells, unsigned count, const size_t *widths, const bool *right, FILE *out)
{
	while (count && !*cells[count - 1])
		count--;
	for (unsigned c = 0; c < count; c++) {
		size_t own = text_width(cells[c]), blanks = widths[c] > own ? widths[c] - own : 0;

		if (c)
			fputs("  ", out);
		if (right[c])
			fprintf(out, "%*s%s", (int)blanks, "", cells[c]);
		else
			fprintf(out, "%s%*s", cells[c], c + 1 < count ? (int)blanks : 0, "");
	}
	fputc('\n', out);
}

int table_print(const struct table *t, FILE *out)
{
	size_t widths[TABLE_COLUMNS_MAX];
	bool right[TABLE_COLUMNS_MAX];
	const char *titles[TABLE_COLUMNS_MAX];

	if (t->failed)
		return -ENOMEM;
	for (unsigned c = 0; c < t->column_count; c++) {
		right[c] = t->titles[c][0] == '>';
		titles[c] = t->titles[c] + right[c];
		widths[c] = text_width(titles[c]);
	}
	for (size_t i = 0; i < t->cell_count; i++) {
		size_t width = text_width(t->cells[i]);

		if (width > widths[i % t->column_count])
			widths[i % t->column_count] = width;
	}
	print_row(titles, t->column_count, widths, right, out);
	for (size_t i = 0; i < t->cell_count; i += t->column_count)
		print_row((const char *const *)t->cells + i, t->column_count, widths, right, out);
	return 0;
}

void table_done(struct table *t)
{
	for (size_t i = 0; i < t->cell_count; i++)
		free(t->cells[i]);
	free(t->cells);
	*t = (struct table){ 0 };
}
