/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Freeze and commit. The committing thread reads frozen nodes without a lock (nobody changes them) and takes the tree
 * lock exclusively for short moments, once per internal node, to put the pointers of its children in. That is done
 * level by level, when all children are written: until then a node may still get another place.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/checksum.h"
#include "core/base/err.h"
#include "core/fs/wfs3/tree_priv.h"

#define WRITE_TRIES 3u /* places that are tried */

int tree_freeze(struct tree *t, uint64_t txg, struct tree_frozen **ret)
{
	struct tree_frozen *f = calloc(1, sizeof(*f));

	if (!f)
		return err_set(-ENOMEM, "no memory to freeze a tree");
	sync_rwlock_wrlock(&t->lock);
	always(!t->frozen && txg >= t->frozen_txg);
	t->frozen_txg = txg;
	*ret = NULL;
	if (t->dirty) {
		t->dirty = false;
		t->frozen = f;
		f->root = t->root;
		f->root_ptr = t->root_ptr;
		if (f->root)
			node_ref(f->root);
		*ret = f;
	}
	sync_rwlock_wrunlock(&t->lock);
	if (!*ret)
		free(f);
	return 0;
}

/* Where a node could not be written, another place may do. */
static int write_elsewhere(struct tree *t, struct tree_frozen *f, unsigned i)
{
	int rc = t->env.write_nodes(t->env.ctx, &f->addrs[i], &f->pages[i], 1);

	for (unsigned tries = 1; rc == -EIO && tries < WRITE_TRIES && t->env.move_node; tries++) {
		rc = t->env.move_node(t->env.ctx, f->txg, &f->addrs[i]);
		if (rc)
			return rc;
		f->nodes[i]->ptr.addr = f->addrs[i];
		rc = t->env.write_nodes(t->env.ctx, &f->addrs[i], &f->pages[i], 1);
	}
	return rc;
}

static int write_queue(struct tree *t, struct tree_frozen *f)
{
	int rc;

	if (!f->count)
		return 0;
	sync_assert_may_block();
	rc = t->env.write_nodes(t->env.ctx, f->addrs, f->pages, f->count);
	if (rc == -EIO && t->env.move_node) {
		rc = 0;
		for (unsigned i = 0; i < f->count && !rc; i++)
			rc = write_elsewhere(t, f, i);
	}
	if (rc)
		return rc;
	for (unsigned i = 0; i < f->count; i++)
		node_unref(f->nodes[i]);
	f->written += f->count;
	f->count = 0;
	return 0;
}

static int queue_node(struct tree *t, struct tree_frozen *f, struct node *n)
{
	node_ref(n);
	f->addrs[f->count] = n->ptr.addr;
	f->pages[f->count] = n->page;
	f->nodes[f->count++] = n;
	return f->count == TREE_WRITE_NODES_MAX ? write_queue(t, f) : 0;
}

/* From now on lookups find it by address. */
static void publish(struct tree *t, struct node *n) SYNC_REQUIRES(t->lock)
{
	if (n->placed)
		return;
	node_mark_placed(n);
	node_unref(node_cache_insert(t->env.cache, n));
}

/* All direct children of a frozen node have their pointers: put them in. */
static void publish_children(struct tree *t, struct node *n)
{
	unsigned count = node_count(n->page);

	sync_rwlock_wrlock(&t->lock);
	for (unsigned i = 0; i < count; i++) {
		if (!n->children[i])
			continue;
		publish(t, n->children[i]);
		node_set_ptr(n->page, i, &n->children[i]->ptr);
	}
	node_drop_children(n);
	sync_rwlock_wrunlock(&t->lock);
}

/* Give the nodes of one level addresses and hashes; those below are written. Recursion is as deep as the tree,
 * NODE_LEVEL_MAX at most. */
static int place(struct tree *t, struct tree_frozen *f, struct node *n, unsigned level)
{
	int rc = 0;

	if (n->placed)
		return 0;
	if (node_level(n->page) > level) {
		unsigned count = node_count(n->page);

		for (unsigned i = 0; !rc && i < count && n->children; i++) {
			if (n->children[i])
				rc = place(t, f, n->children[i], level);
		}
		return rc;
	}
	if (n->children)
		publish_children(t, n);
	/* After a commit that failed it may have an address already. */
	if (!n->ptr.addr)
		rc = t->env.alloc_node(t->env.ctx, f->txg, &n->ptr.addr);
	if (rc)
		return rc;
	n->ptr.birth = n->birth;
	n->ptr.hash = hash128(n->page, WFS3_NODE_BYTES);
	return queue_node(t, f, n);
}

static int place_all(struct tree *t, struct tree_frozen *f)
{
	unsigned levels = f->root ? node_level(f->root->page) + 1 : 0;
	int rc = 0;

	for (unsigned level = 0; level < levels && !rc; level++) {
		rc = place(t, f, f->root, level);
		if (!rc)
			rc = write_queue(t, f);
	}
	return rc;
}

/* Nodes that left the tree while they were being committed can be freed now. */
static void settle_obsolete(struct tree *t) SYNC_REQUIRES(t->lock)
{
	while (t->obsolete) {
		struct node *n = t->obsolete;

		t->obsolete = n->next;
		n->next = NULL;
		if (n->ptr.addr) {
			t->env.free_node(t->env.ctx, n->obsolete_txg, n->ptr.addr, n->birth);
			node_cache_drop(t->env.cache, n->ptr.addr);
		} else {
			t->env.free_unreserve(t->env.ctx, 1);
		}
		node_unref(n);
	}
}

static void drop_queue(struct tree_frozen *f)
{
	for (unsigned i = 0; i < f->count; i++)
		node_unref(f->nodes[i]);
	f->count = 0;
}

int tree_commit(struct tree *t, struct tree_frozen *f, uint64_t txg, struct wfs3_ptr *ret_root, uint64_t *ret_nodes)
{
	int rc;

	f->txg = txg;
	rc = place_all(t, f);
	sync_rwlock_wrlock(&t->lock);
	if (!rc) {
		if (f->root)
			publish(t, f->root);
		*ret_root = f->root ? f->root->ptr : f->root_ptr;
		*ret_nodes = f->written;
	} else {
		drop_queue(f);
		t->dirty = true;
	}
	settle_obsolete(t);
	t->frozen = NULL;
	sync_rwlock_wrunlock(&t->lock);
	node_unref(f->root);
	free(f);
	node_cache_trim(t->env.cache);
	return rc;
}

void tree_thaw(struct tree *t, struct tree_frozen *f)
{
	sync_rwlock_wrlock(&t->lock);
	t->dirty = true;
	settle_obsolete(t);
	t->frozen = NULL;
	sync_rwlock_wrunlock(&t->lock);
	node_unref(f->root);
	free(f);
}
