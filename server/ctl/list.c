/* SPDX-License-Identifier: BSD-3-Clause */
/* What the commands that list something share: an answer of the daemon as a table. */
#include <inttypes.h>

#include "server/ctl/command.h"
#include "server/ctl/size.h"

enum ctl_status command_print_rows(const json_t *root, const char *const *titles, const struct command_rows *rows)
{
	const json_t *row;
	struct table t;
	size_t i;

	table_init(&t, titles);
	for (; rows->key; rows++)
		json_array_foreach (json_object_get(root, rows->key), i, row)
			rows->add(&t, row);
	return command_finish_table(&t);
}

enum ctl_status command_list(struct ctl *c, char *path, const char *const *titles, const struct command_rows *rows)
{
	json_t *root = NULL;
	enum ctl_status status = command_get(c, path, &root);

	if (status != CTL_OK)
		return status;
	if (c->args.json)
		command_print_json(root);
	else
		status = command_print_rows(root, titles, rows);
	json_decref(root);
	return status;
}

void command_add_size(struct table *t, const json_t *object, const char *key)
{
	char text[SIZE_TEXT_MAX];

	table_add(t, size_format(command_number(object, key), text));
}

void command_add_number(struct table *t, const json_t *object, const char *key)
{
	char text[SIZE_TEXT_MAX];

	snprintf(text, sizeof(text), "%" PRIu64, command_number(object, key));
	table_add(t, text);
}
