/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The B+tree of WFS v3: 16 KiB nodes, slotted, variable-size items, copy-on-write by transaction group.
 *
 * A tree in memory is persistent (functional): a node belongs to the txg that created it. A change in txg N alters
 * nodes of N in place and copies all others first, so a root that was frozen for an earlier txg never changes. Clean
 * nodes are found through the node cache by address; dirty nodes hang on direct pointers in their parents.
 *
 * No function here waits for a device except tree_fetch(), tree_commit() and tree_walk(): lookups and changes return
 * -EAGAIN when a node they need is not in memory; the caller drops its locks (the commit gate above all), calls
 * tree_fetch() for the key and tries again.
 *
 * Changes: the caller holds the commit gate shared for the whole of a change, and passes the open txg. One change is
 * all or nothing: on -ENOMEM, -EAGAIN, ... the tree is as before. Any thread.
 */
#ifndef WFSD_CORE_FS_WFS3_TREE_H
#define WFSD_CORE_FS_WFS3_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/fs/wfs3/format.h"

struct budget;
struct metrics;
struct node_cache;
struct tree;
struct tree_frozen;

#define TREE_ITEM_BYTES_MAX 4000u /* one value */

/* What a pool provides to its trees. */
struct tree_env {
	void *ctx;
	struct node_cache *cache;
	/* Read the 16 KiB node at @addr into @buf (4 KiB-aligned). May block. The tree verifies it. 0 or -EIO. */
	int (*read_node)(void *ctx, uint64_t addr, void *buf);
	/*
	 * What was read is not what it should be: look at other copies until @good accepts one. 0; -EUCLEAN: none is
	 * good; -EIO. May be NULL. May block.
	 */
	int (*reread_node)(void *ctx, uint64_t addr, void *buf, bool (*good)(void *good_ctx, const void *buf),
	                   void *good_ctx);
	/*
	 * @addr (4 blocks, born in @birth) is no longer referenced from txg @txg on. Called by changes, under the tree
	 * lock; must not fail or block: room for it was made by free_reserve().
	 */
	void (*free_node)(void *ctx, uint64_t txg, uint64_t addr, uint64_t birth);
	/* Make room for @count later free_node() calls of this change. 0 or -ENOMEM. */
	int (*free_reserve)(void *ctx, unsigned count);
	/* Give back what a change reserved and did not use. */
	void (*free_unreserve)(void *ctx, unsigned count);
	/* For tree_commit(): allocate the place of one node in @txg. 0 or -ENOSPC. Must not block. */
	int (*alloc_node)(void *ctx, uint64_t txg, uint64_t *ret_addr);
	/* For tree_commit(): write @count nodes; returns when all are written (not yet durable). May block. 0 or -EIO.
	 */
	int (*write_nodes)(void *ctx, const uint64_t addrs[], const void *const bufs[], unsigned count);
	/* The place at *@addr, allocated in @txg, did not take what was written: give it up for another one. May be
	 * NULL: then the commit fails. 0, -ENOSPC, -ENOMEM. Must not block. */
	int (*move_node)(void *ctx, uint64_t txg, uint64_t *addr);
};
#define TREE_WRITE_NODES_MAX 256u

/* Node cache of a pool: clean nodes by address, S3-FIFO or clock eviction, charged to budget consumer "nodes" with
 * @min_bytes guaranteed. */
int node_cache_new(struct budget *b, size_t min_bytes, struct node_cache **ret);
void node_cache_free(struct node_cache *c); /* all trees are closed */
struct node_cache_stats {
	uint64_t hits, misses, evictions;
	size_t resident_bytes; /* all nodes in memory, as charged */
	size_t dirty_bytes; /* those among them that changes made and no commit placed yet */
};
void node_cache_get_stats(const struct node_cache *c, struct node_cache_stats *ret);
/* Forget a clean node (its block is about to be reused). */
void node_cache_drop(struct node_cache *c, uint64_t addr);

/* @dataset_id is part of each node's identity. @root.addr 0: an empty tree. Nothing is read. 0 or -ENOMEM. */
int tree_new(const struct tree_env *env, uint64_t dataset_id, const struct wfs3_ptr *root, struct tree **ret);
/* Dirty nodes are dropped. NULL is fine. Nobody uses it any more. */
void tree_free(struct tree *t);

/* Bring the path to @key (the leaf that holds or would hold it) into memory. Blocks. 0, -EIO, -EUCLEAN (hash, identity
 * or structure wrong: context names dataset, level, key, address), -ENOMEM. */
int tree_fetch(struct tree *t, const struct wfs3_key *key);

/* Value of @key into @buf; *ret_len is its full length (-ERANGE when above @cap). -ENOENT, -EAGAIN. */
int tree_get(struct tree *t, const struct wfs3_key *key, void *buf, size_t cap, size_t *ret_len);

/*
 * First item with key >= @from and <= @to: its key, value. -ENOENT none. -EAGAIN: *ret_missing is the key to
 * tree_fetch() (a leaf further right may be meant).
 */
int tree_next(struct tree *t, const struct wfs3_key *from, const struct wfs3_key *to, struct wfs3_key *ret_key,
              void *buf, size_t cap, size_t *ret_len, struct wfs3_key *ret_missing);
/*
 * Call @fn for the items of [from, to] in order, all under one lock, until it returns false or the leaf ends;
 * *ret_resume is the key to go on with; returns 1 when there may be more, 0 at the end. @fn must be short and must not
 * call the tree. The item for which it returned false counts as seen: *ret_resume is the key after it. -EAGAIN:
 * tree_fetch(*ret_resume) and go on from there.
 */
typedef bool tree_scan_fn(void *ctx, const struct wfs3_key *key, const void *value, size_t len);
int tree_scan(struct tree *t, const struct wfs3_key *from, const struct wfs3_key *to, tree_scan_fn *fn, void *ctx,
              struct wfs3_key *ret_resume);

/* Insert or replace. @len: 0..TREE_ITEM_BYTES_MAX. @txg: 1.. -EAGAIN, -ENOMEM, -ENOSPC (a forged tree that cannot grow
 * any more). */
int tree_put(struct tree *t, uint64_t txg, const struct wfs3_key *key, const void *value, size_t len);
/* -ENOENT, -EAGAIN, -ENOMEM. */
int tree_delete(struct tree *t, uint64_t txg, const struct wfs3_key *key);
/*
 * Read, modify, write under one lock and one descent: @fn gets the current value (NULL: none) and writes the new one to
 * @new_value (TREE_ITEM_BYTES_MAX bytes); it returns its length, 0 to delete (or to leave absent), or a negative errno,
 * which tree_update() returns with nothing changed. @fn is called once per attempt, only when the change can no longer
 * fail after it returned >= 0.
 */
typedef int tree_update_fn(void *ctx, const void *old_value, size_t old_len, void *new_value);
int tree_update(struct tree *t, uint64_t txg, const struct wfs3_key *key, tree_update_fn *fn, void *ctx);

/*
 * Several changes (ITEM_PUT, ITEM_DELETE) of different keys as one: all or none. -EAGAIN: *@ret_missing is the key to
 * tree_fetch(). -ENOMEM, -ENOSPC as above.
 */
#define TREE_BATCH_MAX 40u
int tree_apply(struct tree *t, uint64_t txg, const struct item_change changes[], unsigned count,
               struct wfs3_key *ret_missing);
/*
 * Any number of changes, by ascending key. When nothing can fail any more, @ready is called, under the tree's lock.
 */
typedef void tree_ready_fn(void *ctx);
int tree_apply_many(struct tree *t, uint64_t txg, const struct item_change changes[], unsigned count,
                    tree_ready_fn *ready, void *ctx, struct wfs3_key *ret_missing);

/* Has anything changed since the last freeze? */
bool tree_is_dirty(struct tree *t);

/*
 * Freeze: the state of this moment, everything changed in txgs <= @txg, for tree_commit(). The caller holds the commit
 * gate exclusively; constant time. Later changes carry a greater txg. At most one frozen state per tree. -ENOMEM.
 * Without changes since the last commit it returns 0 with *ret = NULL.
 */
int tree_freeze(struct tree *t, uint64_t txg, struct tree_frozen **ret);
/*
 * Write every dirty node of the frozen state bottom-up: allocate, hash, write (in batches through env->write_nodes). On
 * success *ret_root is the root's pointer (addr 0: empty), its nodes are clean; *ret_nodes counts what was written. On
 * failure the frozen state can be committed again with a later txg only by freezing anew (the nodes stay dirty and
 * reachable). Frees @f. Blocks. One commit at a time per pool.
 */
int tree_commit(struct tree *t, struct tree_frozen *f, uint64_t txg, struct wfs3_ptr *ret_root, uint64_t *ret_nodes);
/* Instead of tree_commit(), when the group is given up: nothing is written, its changes stay in memory. Frees @f. */
void tree_thaw(struct tree *t, struct tree_frozen *f);

/*
 * Visit every node of the durable tree at @root, top-down, reading and verifying each: for checks and for giving space
 * back. @visit gets level, pointer and, for leaves, each item through @item. Blocks; uses no cache. Stops on a negative
 * return.
 */
struct tree_visitor {
	void *ctx;
	uint64_t born_after; /* nodes of this txg and older ones are passed over, with all that they reach */
	int (*page)(void *ctx, const struct wfs3_ptr *ptr, const void *page); /* each node, before its items */
	int (*node)(void *ctx, const struct wfs3_ptr *ptr, unsigned level);
	int (*item)(void *ctx, const struct wfs3_key *key, const void *value, size_t len);
};
int tree_walk(const struct tree_env *env, uint64_t dataset_id, const struct wfs3_ptr *root,
              const struct tree_visitor *v);

#endif
