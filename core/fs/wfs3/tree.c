/* SPDX-License-Identifier: BSD-3-Clause */
/* Life of a tree in memory. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/fs/wfs3/tree_priv.h"

_Static_assert(TREE_ITEM_BYTES_MAX == NODE_VALUE_BYTES_MAX, "one limit for values");

int tree_new(const struct tree_env *env, uint64_t dataset_id, const struct wfs3_ptr *root, struct tree **ret)
{
	struct tree *t = calloc(1, sizeof(*t));

	if (!t)
		return err_set(-ENOMEM, "no memory for a tree");
	t->env = *env;
	t->dataset_id = dataset_id;
	t->root_ptr = *root;
	sync_rwlock_init(&t->lock, SYNC_RANK_TREE, "tree");
	*ret = t;
	return 0;
}

static void spare_drop(struct tree *t)
{
	for (unsigned i = 0; i < 2; i++) {
		while (t->spare[i]) {
			struct node *n = t->spare[i];

			t->spare[i] = n->next;
			node_unref(n);
		}
	}
}

/* Nobody else uses the tree any more. */
SYNC_NO_ANALYSIS void tree_free(struct tree *t)
{
	if (!t)
		return;
	always(!t->frozen && !t->obsolete);
	node_unref(t->root);
	spare_drop(t);
	sync_rwlock_done(&t->lock);
	free(t);
}

bool tree_is_dirty(struct tree *t)
{
	bool dirty;

	sync_rwlock_rdlock(&t->lock);
	dirty = t->dirty;
	sync_rwlock_rdunlock(&t->lock);
	return dirty;
}
