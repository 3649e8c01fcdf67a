/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs stats export: what was done on an export, and in the file system that it is in, as its server counts it. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "server/ctl/remote.h"
#include "server/ctl/size.h"
#include "server/ctl/table.h"

static const struct {
	enum wfs_scope scope;
	const char *name;
} scopes[] = { { WFS_SCOPE_EXPORT, "export" }, { WFS_SCOPE_DATASET, "dataset" } };

static void add_figure(void *ctx, const char *name, uint64_t value)
{
	(void)json_object_set_new(ctx, name, json_integer((json_int_t)value));
}

/* What the server counts, by scope; a file system that counts nothing is left out. */
static enum ctl_status ask(struct wfs *w, const char *export_name, json_t *root)
{
	for (size_t i = 0; i < sizeof(scopes) / sizeof(scopes[0]); i++) {
		json_t *figures = json_object();
		int err = wfs_statistics_of(w, scopes[i].scope, export_name, add_figure, figures);

		if (!err) {
			(void)json_object_set_new(root, scopes[i].name, figures);
			continue;
		}
		json_decref(figures);
		if (err != -EOPNOTSUPP)
			return remote_fail("cannot ask for the figures of export", export_name);
	}
	return CTL_OK;
}

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), end_len = strlen(end);

	return len > end_len && strcmp(text + len - end_len, end) == 0;
}

static enum ctl_status print(json_t *root)
{
	static const char *const titles[] = { "OF", "WHAT", ">SO FAR", NULL };
	const char *of, *what;
	json_t *figures, *value;
	struct table t;

	table_init(&t, titles);
	json_object_foreach (root, of, figures) {
		json_object_foreach (figures, what, value) {
			uint64_t n = (uint64_t)json_integer_value(value);
			char text[SIZE_TEXT_MAX];

			table_add(&t, of);
			table_add(&t, what);
			if (ends_with(what, "_us"))
				table_add(&t, n ? latency_format((double)n / 1e6, text) : "-");
			else
				table_add(&t, ends_with(what, "_bytes") ? size_format(n, text)
				                                        : count_format((double)n, text));
		}
	}
	return command_finish_table(&t);
}

enum ctl_status cmd_stats_export(struct ctl *c)
{
	const char *export_name;
	struct remote r;
	json_t *root;
	enum ctl_status status = remote_connect(c, c->operands[0], &r, &export_name);

	if (status != CTL_OK)
		return status;
	root = json_object();
	status = ask(r.w, export_name, root);
	if (status == CTL_OK && c->args.json)
		command_print_json(root);
	else if (status == CTL_OK)
		status = print(root);
	json_decref(root);
	remote_close(&r);
	return status;
}
