/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The objects that the kernel knows, and what is remembered of each. A node lives from the first reply that names it to
 * the kernel until the kernel forgets it; how many there are is the kernel's decision. Any thread.
 */
#ifndef WFSD_PLUGINS_FUSE_NODE_H
#define WFSD_PLUGINS_FUSE_NODE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "protocol/client/wfs_tree.h"

struct names;
struct small;

/* Orders in which files are opened one after the other (ahead.c). */
enum { AHEAD_BY_LISTING, AHEAD_BY_NUMBER, AHEAD_ORDERS };

struct node {
	struct node *next; /* in its bucket; the table's lock */
	uint64_t lookups; /* times that the kernel was told; the table's lock */
	uint64_t fsid, file_id;
	struct wfs_fh fh;

	/* Each stands for itself and may be a little old. Times are node_now_ns(). */
	_Atomic uint64_t parent_id; /* of a directory it was found in */
	_Atomic uint64_t no_acl_until_ns; /* its mode says everything */
	_Atomic uint64_t no_default_acl_until_ns; /* what is made in it inherits no ACL */
	_Atomic uint64_t no_capability_until_ns; /* it has no security.capability */
	_Atomic uint64_t cached_change; /* the change counter that the kernel's pages belong to, at least */
	/* The change counter of the attributes that the kernel was told last (0: none), and when by @touched's count.
	 */
	_Atomic uint64_t attr_change, attr_own;
	_Atomic uint64_t touched; /* when this mount last changed it, by its own count */
	_Atomic uint32_t small_bytes; /* how long it was when last seen, if it is a small file with data; otherwise 0 */
	_Atomic unsigned opens; /* files that the kernel has open, or is about to; grows under the mount's open_lock */
	_Atomic unsigned writers; /* those of them that are open for writing */
	struct wfs_ledger *_Atomic ledger; /* what its open files may lose; NULL: none was opened yet */
	_Atomic bool setid; /* the kernel may believe that it is setuid or setgid */
	_Atomic bool locked; /* this mount once had a byte-range lock on it */
	_Atomic uint64_t next_listed; /* the number of the object that follows in a listing; 0: not known */
	/* It is next: so many files after it are to be read with it, and which read of the mount's said so. */
	_Atomic uint64_t ahead[AHEAD_ORDERS];

	/* Under the mount's small_lock: times it is open by its contents only, and what keeps it when it has no name.
	 */
	unsigned small_opens;
	struct wfs_file *keeper;
	/* Likewise: attributes as they were when @touched was @kept_at, for a moment. */
	struct wfs_attr kept;
	uint64_t kept_at, kept_until_ns;
	bool remembered; /* likewise: @kept is what it is told to be when it is there no more */
	/* Likewise: of a directory, which names it has (names.c). NULL: not known. */
	struct names *names;
	struct small *kept_small; /* under the lock of what is kept (small_cache.c) */
};

void names_free(struct names *k); /* NULL is fine */

struct node_table {
	pthread_mutex_t lock;
	struct node **buckets;
	size_t bucket_count; /* a power of two */
	size_t count;
	/* Told of each node before it is freed; NULL: nobody. */
	void (*gone)(void *ctx, struct node *n);
	void *gone_ctx;
};

uint64_t node_now_ns(void);

/* 0 or -ENOMEM. */
int node_table_init(struct node_table *t);
/* Frees all nodes, too. */
void node_table_done(struct node_table *t);
/* The node of an object, which the kernel is about to be told once more. NULL: no memory. */
struct node *node_get(struct node_table *t, const struct wfs_attr *attr, const struct wfs_fh *fh);
/* What its open files share, made when it is not there yet. NULL: no memory. */
struct wfs_ledger *node_ledger(struct node *n);
/* What is known to a file of it that is opened now: of wfs_ledger_seen(). */
uint64_t node_losses_seen(struct node *n);
/* The node of an object if there is one, told once more until node_forget(). */
struct node *node_find(struct node_table *t, uint64_t fsid, uint64_t file_id);
/* All of them, each told once more until node_forget(); the array is the caller's. -ENOMEM. */
int node_all(struct node_table *t, struct node ***ret, size_t *ret_count);
/* Does the kernel know the object, and did this mount change it after @sequence? */
bool node_touched_since(struct node_table *t, uint64_t fsid, uint64_t file_id, uint64_t sequence);
/* The kernel forgets @count times that it was told. The node may be gone then. */
void node_forget(struct node_table *t, struct node *n, uint64_t count);

#endif
