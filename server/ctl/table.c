/* SPDX-License-Identifier: BSD-3-Clause */
/* Columns of text for people. */
#include "server/ctl/table.h"

#include <errno.h>
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

static void print_cell(const char *text, size_t width, int right, int last, FILE *out)
{
	size_t own = text_width(text), blanks = width > own ? width - own : 0;

	if (right)
		fprintf(out, "%*s%s", (int)blanks, "", text);
	else if (last)
		fputs(text, out);
	else
		fprintf(out, "%s%*s", text, (int)blanks, "");
	fputs(last ? "\n" : "  ", out);
}

int table_print(const struct table *t, FILE *out)
{
	size_t widths[TABLE_COLUMNS_MAX];
	int right[TABLE_COLUMNS_MAX];

	if (t->failed)
		return -ENOMEM;
	for (unsigned c = 0; c < t->column_count; c++) {
		right[c] = t->titles[c][0] == '>';
		widths[c] = text_width(t->titles[c] + right[c]);
	}
	for (size_t i = 0; i < t->cell_count; i++) {
		size_t width = text_width(t->cells[i]);

		if (width > widths[i % t->column_count])
			widths[i % t->column_count] = width;
	}
	for (unsigned c = 0; c < t->column_count; c++)
		print_cell(t->titles[c] + right[c], widths[c], right[c], c + 1 == t->column_count, out);
	for (size_t i = 0; i < t->cell_count; i++) {
		unsigned c = (unsigned)(i % t->column_count);

		print_cell(t->cells[i], widths[c], right[c], c + 1 == t->column_count, out);
	}
	return 0;
}

void table_done(struct table *t)
{
	for (size_t i = 0; i < t->cell_count; i++)
		free(t->cells[i]);
	free(t->cells);
	*t = (struct table){ 0 };
}
