/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to the tree: nodes in memory, the node cache's inner side, and what the tree's files share.
 *
 *   node.c           the page of a node            tree_read.c     read and verify, tree_fetch()
 *   node_cache.c     nodes in memory               tree_lookup.c   descent, get, next, scan
 *   node_mem.c       memory of pages
 *   tree.c           life of a tree                tree_change.c   put, delete, update: all that can fail
 *                                                  tree_batch.c    the same of several changes as one
 *   tree_walk.c      all of a durable tree         tree_shape.c    copy, split, merge: nothing can fail
 *                                                  tree_commit.c   freeze and commit
 *
 * The life of a node that a change makes:
 *
 *   open      birth == the open txg; changed in place, under the tree lock held exclusively
 *     | tree_freeze()
 *   frozen    its page never changes again, except that tree_commit() puts its children's pointers in
 *     | tree_commit(): gets an address, is hashed, queued for writing
 *   placed    its parent knows its pointer; found through the node cache; no direct references to children
 *     | written, last user gone: may be evicted
 *
 * A node is reached either by a direct reference in its parent's children[] (open and frozen ones; a placed one may
 * still have direct references from parents of a later txg) or by its address through the node cache. All descendants
 * of a placed node are placed.
 */
#ifndef WFSD_CORE_FS_WFS3_TREE_PRIV_H
#define WFSD_CORE_FS_WFS3_TREE_PRIV_H

#include <urcu/list.h>

#include "core/base/sync.h"
#include "core/fs/wfs3/node.h"
#include "core/fs/wfs3/tree.h"

#define NODE_HINT_NONE UINT16_MAX

struct node {
	/* The first 64 bytes are what a lookup touches. */
	unsigned refs; /* atomic */
	uint8_t level;
	bool dirty; /* counted in the cache's dirty bytes; owner's thread or tree lock */
	bool placed; /* tree lock; set once, @ptr is constant from then on */
	uint8_t uses; /* cache shard: lookups since it entered its queue, or had another round */
	uint8_t *page; /* WFS3_NODE_BYTES, 4 KiB-aligned */
	struct node **children; /* tree lock: NODE_CHILDREN_MAX direct references, or NULL; by slot */
	struct node *hash_next; /* cache shard */
	struct wfs3_ptr ptr; /* addr 0: none yet. Written by the committing thread only, before @placed */

	uint64_t birth;
	struct node_cache *cache;
	struct node_slab *slab; /* that the page belongs to */
	struct cds_list_head queue_link; /* cache shard */
	bool in_main; /* cache shard */
	uint16_t hint; /* tree lock: slot of the newest insertion, to notice ascending ones */
	/* Tree lock: */
	uint64_t obsolete_txg;
	struct node *next; /* in one of: spare nodes, obsolete nodes */
};
_Static_assert(offsetof(struct node, birth) == 64, "a lookup touches one line of a node");

/* Pages of WFS3_NODE_BYTES, aligned to it. Any thread, any lock but those of rank LEAF held. */
struct node_mem {
	struct sync_mutex lock;
	struct cds_list_head partial SYNC_GUARDED_BY(lock); /* slabs with free pages */
	struct node_slab *empty SYNC_GUARDED_BY(lock); /* one that is free, kept */
};
void node_mem_init(struct node_mem *m);
void node_mem_done(struct node_mem *m); /* all pages were put back */
uint8_t *node_mem_get(struct node_mem *m, struct node_slab **ret_slab); /* NULL when memory is short */
void node_mem_put(struct node_mem *m, struct node_slab *s, uint8_t *page);

/*
 * A node with one reference, charged, its page undefined; @with_children: with an array of direct references, all NULL.
 * NULL when memory is short. Charging may evict others: the caller may hold tree locks, but no lock of the cache.
 */
struct node *node_new(struct node_cache *c, bool with_children);
void node_ref(struct node *n);
void node_unref(struct node *n); /* NULL is fine */
/* It has unwritten contents from now on. / It is placed. */
void node_mark_dirty(struct node *n);
void node_mark_placed(struct node *n);
/* Drop all direct references and the array. */
void node_drop_children(struct node *n);

/* Referenced, or NULL. A node that has the address but another birth or hash is not meant. */
struct node *node_cache_lookup(struct node_cache *c, const struct wfs3_ptr *ptr);
/* @n is placed. The cache takes a reference of its own. Returns the node that is now found by this pointer, with a
 * reference for the caller: @n or an equal one that was there before. */
struct node *node_cache_insert(struct node_cache *c, struct node *n);

/* Many nodes have become clean: if the budget is exceeded, evict now. */
void node_cache_trim(struct node_cache *c);

struct tree {
	struct tree_env env;
	uint64_t dataset_id;
	struct sync_rwlock lock; /* everything below, and as said in struct node */
	struct node *root; /* referenced; NULL: empty or not in memory */
	struct wfs3_ptr root_ptr; /* without @root; addr 0: empty */
	bool dirty; /* changed since the last freeze */
	uint64_t frozen_txg; /* of the last freeze */
	struct tree_frozen *frozen; /* taken, not committed yet */
	struct node *obsolete; /* referenced: parts of @frozen that are not part of the tree any more */
	struct node *spare[2]; /* for changes; [1] with children */
	unsigned spare_count[2];
	uint8_t scratch[WFS3_NODE_BYTES]; /* for whoever holds the lock exclusively */
	uint8_t new_value[TREE_ITEM_BYTES_MAX]; /* likewise */
};

struct tree_frozen {
	struct node *root; /* referenced; NULL: @root_ptr */
	struct wfs3_ptr root_ptr;
	uint64_t txg; /* of the commit: where nodes are allocated */
	uint64_t written;
	/* Nodes to be written, referenced */
	unsigned count;
	uint64_t addrs[TREE_WRITE_NODES_MAX];
	const void *pages[TREE_WRITE_NODES_MAX];
	struct node *nodes[TREE_WRITE_NODES_MAX];
};

/* What a pointer's node must be. */
struct node_wanted {
	struct wfs3_ptr ptr;
	int level; /* -1: any (a root) */
	bool has_low, has_high;
	struct wfs3_key low; /* no key is below */
	struct wfs3_key high; /* all keys are below */
};

/* Read into @page and verify hash, structure and identity. 0, -EIO, -EUCLEAN with context. Blocks. */
int tree_read_node(const struct tree_env *env, uint64_t dataset_id, const struct node_wanted *want, uint8_t *page);
/* Is a page that node_check() accepted the one that is wanted? Its hash is not looked at. 0 or -EUCLEAN. */
int tree_check_identity(uint64_t dataset_id, const struct node_wanted *want, const uint8_t *page);
/* What the child in @slot of an internal node must be, given what its parent was. */
struct node_wanted node_wanted_child(const struct node_wanted *parent, const uint8_t *page, unsigned slot);

/* A node in use: @owned tells that a reference is held, otherwise the tree lock keeps it. */
struct node_use {
	struct node *node;
	bool owned;
};

static inline void node_use_end(struct node_use *u)
{
	if (u->owned)
		node_unref(u->node);
	u->owned = false;
}

/* With the tree lock held in either way. A node of NULL: not in memory. tree_use_root() also when the tree is empty. */
struct node_use tree_use_root(struct tree *t);
struct node_use tree_use_child(struct tree *t, const struct node *parent, unsigned slot);

/*
 * The leaf for @key. 0: *ret is in use until node_use_end(). -ENOENT: the tree is empty. -EAGAIN: a node on the path is
 * not in memory. With @want (may be NULL) is told what the leaf is, or the missing node must be.
 */
int tree_find_leaf(struct tree *t, const struct wfs3_key *key, struct node_use *ret, struct node_wanted *want)
        SYNC_REQUIRES_SHARED(t->lock);

/* A change under way. */
struct change_step {
	struct node_use use;
	unsigned slot; /* of the child on the path; in the leaf: where the key is or would be */
};
struct change {
	struct tree *t;
	uint64_t txg;
	unsigned depth; /* 0: the tree is empty */
	struct change_step path[NODE_LEVEL_MAX + 1]; /* [0] is the root */
	unsigned reserved; /* calls of free_node() that are left */
};

/* Part one, in tree_change.c. -EAGAIN: a node is not in memory. *@ret_found: the leaf has the key. */
void change_begin(struct change *c, struct tree *t, uint64_t txg) SYNC_ACQUIRE(t->lock);
void change_end(struct change *c, struct tree *t) SYNC_RELEASE(t->lock);
int change_find_path(struct change *c, const struct wfs3_key *key, bool *ret_found);
void change_release_path(struct change *c);
/* The tree has @count spare nodes of that kind. -ENOMEM. */
int change_spare_ensure(struct tree *t, unsigned kind, unsigned count);
/* Of the item that the path leads to; NULL: there is none. */
const uint8_t *change_old_value(const struct change *c, bool found, size_t *ret_len);
void change_apply(struct change *c, const struct wfs3_key *key, bool found, const void *value, size_t len, bool remove);

/* Part two of a change, in tree_shape.c. The lock is held exclusively; spare nodes and reservations suffice. */
void shape_insert(struct change *c, const struct wfs3_key *key, const void *value, size_t len);
void shape_replace(struct change *c, const struct wfs3_key *key, const void *value, size_t len);
void shape_remove(struct change *c);

/* With so little in use a node looks for a sibling to merge with; together they may fill this much. */
#define SHAPE_UNDERFULL_BYTES (NODE_CAPACITY * 3 / 8)
#define SHAPE_MERGED_BYTES (NODE_CAPACITY * 3 / 4)

#endif
