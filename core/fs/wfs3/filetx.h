/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to WFS v3: transactions on a file tree (core/vfs/vfs_tx.h). Each has a private overlay over the tree: what it
 * read, and what it made of it, in memory and bounded.
 *
 *   filetx.c         life, bounds, objects           filetx_data.c    contents
 *   filetx_table.c   of a pool: those that run,      filetx_xattr.c   extended attributes
 *                    outcomes                        filetx_write.c   the items and pages that a commit writes
 *   filetx_seen.c    consistent reads, validation    filetx_commit.c  the commit
 *   filetx_names.c   names: look up, list, change    filetx_quota.c   room in quotas for it
 *
 * Consistent reads without blocking anybody are those of the Lazy Snapshot Algorithm (Riegel, Felber, Fetzer, "A Lazy
 * Snapshot Algorithm with Eager Validation", DISC 2006). While a tree has transactions, each change of an object gives
 * it a stamp from the tree's clock. A transaction has the clock of a moment at which all that it has read was as it was
 * read; what it reads for the first time and has an older stamp fits that moment. Something newer fits when all that
 * was read before is still the same: then the moment is now. Otherwise it conflicts.
 *
 *   RUNNING --- filetx_commit ---> COMMITTED
 *      '------- conflict, bound, time, error, vfs_tx_abort() ---> ABORTED
 */
#ifndef WFSD_CORE_FS_WFS3_FILETX_H
#define WFSD_CORE_FS_WFS3_FILETX_H

#include "core/fs/wfs3/filetree.h"

#define FILETX_BUCKETS 256u
#define FILETX_OUTCOMES 1024u /* kept in a tree, and of those that were aborted in a pool's memory */

struct filetx_page {
	uint64_t index;
	uint8_t *data; /* NULL: zeros */
};

struct filetx_xattr {
	struct filetx_xattr *next;
	char *name;
	uint8_t *value; /* NULL: removed */
	size_t len;
};

/* One object as the transaction sees it. All under tx->lock. */
struct filetx_object {
	struct vfs_node node; /* first. Its references stand for one of the transaction's */
	struct filetx *tx;
	struct filetx_object *hash_next, *next;
	uint64_t number;
	struct object *o; /* outside: referenced; NULL: created inside */
	uint64_t stamp; /* of @o, which was as @base says then */
	struct inode base, cur;
	bool strict; /* of a directory: its entries and its attributes as a whole were read, not only what it allows */
	unsigned set; /* EDIT_* bits of @cur that are to be set */
	bool changed; /* something of it, other than the names in it */
	int64_t entries, subdirs; /* of a directory: how many more */
	bool dir_changed; /* it got or lost names */
	unsigned name_changes; /* during a commit: so many; each moves the change counter */
	uint64_t hidden_from; /* contents outside from here on are not seen; UINT64_MAX: all are */
	struct filetx_page *pages; /* by index */
	unsigned page_count, page_capacity;
	struct filetx_xattr *xattrs;
	char *target; /* of a symbolic link that was created inside */
	uint8_t *value; /* during a commit: its inode's item */
	struct object *made; /* during a commit: of one that was created inside */
	struct cache_replacement *replacement; /* during a commit: its pages */
	uint32_t *crcs;
};

/* A name in a directory that was looked up. */
struct filetx_name {
	struct filetx_name *hash_next, *next;
	struct filetx_object *dir;
	uint64_t stamp; /* of the directory, which had @base_object then */
	uint64_t base_object; /* 0: none */
	uint64_t object; /* now */
	uint8_t base_type, type;
	uint8_t name_len;
	char name[];
};

struct filetx {
	struct vfs_tx tx; /* first */
	unsigned refs; /* atomic: its owner's, one for each object whose node is in use */
	struct dataset *ds; /* referenced */
	uint64_t id;
	enum vfs_tx_isolation isolation;
	uint64_t deadline_ns;
	struct cds_list_head link; /* the pool's table */

	struct sync_mutex lock; /* SYNC_RANK_TX: all that follows */
	enum vfs_tx_state state;
	int reason;
	struct vfs_fid conflict;
	char conflict_name[VFS_NAME_MAX + 1];
	uint64_t committed_ns;
	uint64_t snapshot; /* ds->tx_clock of the moment that it sees */
	uint64_t op_count;
	const struct vfs_answer *answer; /* during a commit: to be kept with it; or NULL */
	size_t bytes; /* of memory that is charged */
	struct filetx_object *objects, *object_buckets[FILETX_BUCKETS];
	struct filetx_name *names, *name_buckets[FILETX_BUCKETS];
};

static inline struct filetx_object *filetx_object(struct vfs_node *n)
{
	return (struct filetx_object *)n;
}

/* ---- filetx.c ---- */

extern const struct vfs_node_ops filetx_node_ops;

/* Begin and end of an operation: tx->lock is held in between, and by all others here that take a transaction or one of
 * its objects. The reason why it is over; -ETIMEDOUT; -E2BIG. */
int filetx_enter(struct filetx *tx) SYNC_NO_ANALYSIS;
void filetx_leave(struct filetx *tx) SYNC_NO_ANALYSIS;
/* It is over; returns @reason, with context. What it holds is dropped. */
int filetx_fail(struct filetx *tx, int reason);
/* Likewise with -EBUSY. @name NULL: it is about the object. */
int filetx_conflict(struct filetx *tx, uint64_t object, const char *name, size_t name_len);
/* It is about to hold @bytes more. -E2BIG, -ENOMEM, and it is over. */
int filetx_charge(struct filetx *tx, size_t bytes);
/* An object of the tree by its number. -ESTALE; -EBUSY; ... Blocks. */
int filetx_get(struct filetx *tx, uint64_t number, struct filetx_object **ret);
/* One in the overlay, or NULL. */
struct filetx_object *filetx_find(const struct filetx *tx, uint64_t number);
/* A new one, with @inode. -ENOMEM, -E2BIG. */
int filetx_make(struct filetx *tx, uint64_t number, const struct inode *inode, struct filetx_object **ret);
/* The next number for an object, or a transaction. -ENOSPC. */
int filetx_number(struct dataset *ds, uint64_t *ret);
/* A reference on its node. */
struct vfs_node *filetx_ref(struct filetx_object *x);
void filetx_drop_overlay(struct filetx *tx);
void filetx_unref(struct filetx *tx);
int filetx_begin(struct vfs_node *any, const struct vfs_tx_args *args, struct vfs_tx **ret);
/* Abort it if nobody is at work in it; its time is over. */
void filetx_expire(struct filetx *tx);

/* ---- filetx_table.c ---- */

int filetx_table_new(struct budget *b, const struct wfs3_tx_limits *limits, struct filetx_table **ret);
void filetx_table_free(struct filetx_table *t); /* none is left. NULL is fine */
const struct wfs3_tx_limits *filetx_limits(const struct filetx_table *t);
/* -EAGAIN: too many run already. */
int filetx_table_add(struct filetx_table *t, struct filetx *tx);
void filetx_table_over(struct filetx_table *t); /* one that was added runs no more */
void filetx_table_remove(struct filetx_table *t, struct filetx *tx); /* one of these */
/* False: transactions have their share of the memory, or there is none. */
bool filetx_table_charge(struct filetx_table *t, size_t bytes);
void filetx_table_uncharge(struct filetx_table *t, size_t bytes);
/* It was aborted: that is remembered for a while. */
void filetx_table_note(struct filetx_table *t, const struct filetx *tx);
/* Abort those whose time is over. Blocks not for long. */
void filetx_table_expire(struct filetx_table *t);
int filetx_status(struct vfs_node *any, uint64_t id, struct vfs_tx_info *ret);
struct wfs3_key filetx_outcome_key(uint64_t id);
/* The outcomes that are to be forgotten when one more comes: their keys. ds->tx_commit is held. Blocks. */
#define FILETX_FORGET_MAX 2u
int filetx_forget_outcomes(struct dataset *ds, struct wfs3_key ret[FILETX_FORGET_MAX], unsigned *ret_count);

/* ---- filetx_seen.c ---- */

/* Take what @x's object is now for what was seen. -EBUSY, -EIO, ... Blocks. */
int filetx_see(struct filetx_object *x);
/* Something (@n: a name; or NULL) is not as it was: -EBUSY, for filetx_fail() when no locks are held. */
int filetx_note_conflict(struct filetx *tx, uint64_t object, const struct filetx_name *n);
/* From now on a directory counts as read as a whole, with its entries. Blocks. */
int filetx_see_whole(struct filetx_object *x);
/* Is the object as it was seen? With writers of its data drained. Else the transaction conflicts. */
int filetx_check_seen(struct filetx_object *x);
/* Nobody is in the middle of changing its data. */
void filetx_drain(struct object *o) SYNC_NO_ANALYSIS;
/* What a name means, and did when it was looked up first. Blocks. */
int filetx_name(struct filetx_object *dir, const char *name, size_t name_len, struct filetx_name **ret);
/*
 * Is all that was read (@all), or all that is changed, as it was seen? 0; -EBUSY: no, and tx->conflict tells what is
 * not, for filetx_fail() without locks; -EAGAIN: *@ret_missing is to be fetched; -EUCLEAN, ... With ds->items_lock.
 */
int filetx_validate(struct filetx *tx, bool all, struct wfs3_key *ret_missing);

/* ---- filetx_names.c ---- */

int filetx_lookup(struct vfs_node *n, const char *name, size_t name_len, struct vfs_node **ret);
int filetx_readdir(struct vfs_node *n, uint64_t cookie, vfs_dir_fn *fn, void *ctx);
int filetx_create(struct vfs_node *n, const char *name, size_t name_len, const struct vfs_new *attr,
                  struct vfs_node **ret);
int filetx_link(struct vfs_node *n, const char *name, size_t name_len, struct vfs_node *target,
                const struct vfs_tag *tag);
int filetx_unlink(struct vfs_node *n, const char *name, size_t name_len, bool want_dir, const struct vfs_taker *taker,
                  const struct vfs_tag *tag);
int filetx_rename(struct vfs_node *n, const char *name, size_t name_len, struct vfs_node *new_n, const char *new_name,
                  size_t new_name_len, unsigned flags, const struct vfs_taker *takers, const struct vfs_tag *tag);

/* ---- filetx_data.c ---- */

int filetx_read(struct vfs_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags);
int filetx_write(struct vfs_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags);
/* The size becomes @size_bytes; the caller sets times. */
int filetx_resize(struct filetx_object *x, uint64_t size_bytes);
/* Before a commit: the pages hold all contents that differ from outside, but for what is behind the end. */
int filetx_complete_pages(struct filetx_object *x);

/* ---- filetx_xattr.c ---- */

/* In the transaction (filetx_enter()): an ACL, or (NULL) none. */
int filetx_put_acl(struct filetx_object *x, const char *name, const void *acl, size_t len);
int filetx_get_xattr(struct vfs_node *n, const char *name, void *buf, size_t cap, size_t *ret_len);
int filetx_set_xattr(struct vfs_node *n, const char *name, const void *value, size_t len, unsigned flags,
                     const struct vfs_tag *tag);
int filetx_remove_xattr(struct vfs_node *n, const char *name, const struct vfs_tag *tag);
int filetx_list_xattr(struct vfs_node *n, vfs_xattr_fn *fn, void *ctx);

/* ---- filetx_write.c ---- */

/* What a commit writes. */
struct filetx_items {
	/* The first @tree_count by key, for the tree; the values of inodes are filled in at the end. Then those that
	 * are only for the log. */
	struct item_change *all;
	unsigned count, capacity, tree_count;
	unsigned forgotten; /* outcomes that go */
	size_t bytes; /* as the log takes them */
	uint8_t **values; /* that belong to it */
	unsigned value_count, value_capacity;
};
/* All items but inodes' values, with the locks of all objects held. Blocks. */
int filetx_collect(struct filetx *tx, struct filetx_items *ret);
void filetx_items_done(struct filetx_items *it);
/* What becomes of an object's inode. With ds->items_lock, and its lock if it is a file or gets names. */
void filetx_inode(struct filetx_object *x, int64_t now_ns, struct inode *ret);
/* Is its inode written? */
bool filetx_writes(const struct filetx_object *x);

/* ---- filetx_commit.c ---- */

int filetx_commit(struct vfs_tx *t, bool durable, const struct vfs_answer *answer, vfs_tx_change_fn *fn, void *ctx);

#endif
