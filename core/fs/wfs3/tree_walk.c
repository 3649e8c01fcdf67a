/* SPDX-License-Identifier: BSD-3-Clause */
/* All nodes and items of a durable tree, top-down, straight from the device. */
#include <errno.h>
#include <stdlib.h>

#include "core/base/err.h"
#include "core/fs/wfs3/tree_priv.h"

struct walk {
	const struct tree_env *env;
	uint64_t dataset_id;
	const struct tree_visitor *visitor;
};

static int visit_items(const struct walk *w, const uint8_t *page)
{
	int rc = 0;

	for (unsigned i = 0; i < node_count(page) && rc >= 0 && w->visitor->item; i++) {
		struct wfs3_key key = node_key(page, i);
		const uint8_t *value;
		size_t len;

		value = node_value(page, i, &len);
		rc = w->visitor->item(w->visitor->ctx, &key, value, len);
	}
	return rc < 0 ? rc : 0;
}

/* Levels descend strictly, so recursion ends after NODE_LEVEL_MAX. */
static int walk_node(const struct walk *w, const struct node_wanted *want)
{
	uint8_t *page = aligned_alloc(WFS3_BLOCK_BYTES, WFS3_NODE_BYTES);
	int rc;

	if (!page)
		return err_set(-ENOMEM, "no memory for a tree node");
	rc = tree_read_node(w->env, w->dataset_id, want, page);
	if (!rc && w->visitor->page)
		rc = w->visitor->page(w->visitor->ctx, &want->ptr, page);
	if (!rc && w->visitor->node) {
		rc = w->visitor->node(w->visitor->ctx, &want->ptr, node_level(page));
		rc = rc < 0 ? rc : 0;
	}
	if (!rc && node_level(page) == 0)
		rc = visit_items(w, page);
	for (unsigned i = 0; !rc && node_level(page) > 0 && i < node_count(page); i++) {
		struct node_wanted child = node_wanted_child(want, page, i);

		if (child.ptr.birth > w->visitor->born_after)
			rc = walk_node(w, &child);
	}
	free(page);
	return rc;
}

int tree_walk(const struct tree_env *env, uint64_t dataset_id, const struct wfs3_ptr *root,
              const struct tree_visitor *v)
{
	struct walk w = { .env = env, .dataset_id = dataset_id, .visitor = v };
	struct node_wanted want = { .ptr = *root, .level = -1 };

	return root->addr && root->birth > v->born_after ? walk_node(&w, &want) : 0;
}
