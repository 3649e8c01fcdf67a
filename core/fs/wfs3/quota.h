/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to WFS v3: quotas. What users, groups and projects have in a dataset is counted in memory, in the same stay
 * in the commit gate as the items change, and written into the pool tree with each group. FORMAT.md, "Quotas".
 *
 * Counted are objects, and the blocks that cells of files map, each with 4096 bytes for each file that maps it: what
 * stat() tells as allocated.
 *
 *   quota.c         owners and their counts, commits         quota_admit.c   room for writers and new owners
 *   quota_change.c  counts of an edit                         quota_set.c     limits, counting anew, telling
 *
 * Room. Blocks are mapped long after a write was answered. So for each owner with a limit there is a number of blocks
 * that may still be written without a closer look: its *room*. It is never more than limit - mapped - what is dirty
 * and may become mapped. A write takes from it as many blocks as it touches, also if these are mapped already. When
 * there is not enough, the writer waits until no other one of these owners is under way, and finds out exactly how many
 * blocks the write adds, and how much is dirty; if that is too much, it writes all that back, so that nothing has to be
 * estimated any more. Nothing else gives room back.
 *
 * Locks: an owner's waiters (SYNC_RANK_QUOTA_WAIT) one at a time, without any other lock; q->lock (SYNC_RANK_QUOTA).
 */
#ifndef WFSD_CORE_FS_WFS3_QUOTA_H
#define WFSD_CORE_FS_WFS3_QUOTA_H

#include <stdbool.h>
#include <stdint.h>
#include <urcu/list.h>

#include "core/base/sync.h"
#include "core/fs/wfs3/items.h"

struct dataset;
struct object;
struct pool;
struct vfs_statfs;

#define QUOTA_CLASSES 4u

struct quota_owner {
	struct quota_item is; /* as it is now */
	uint64_t room; /* limited in bytes: see above */
	unsigned in_flight; /* writers that have taken from it and are not done */
	bool draining; /* somebody waits until there are none */
	struct quota_owner *hash_next;
	struct cds_list_head changed_link; /* q->changed */
	bool changed; /* since the last group was frozen */
	/* Committing thread, and whoever holds the gate exclusively */
	struct cds_list_head commit_link; /* q->committing */
	struct quota_item snapshot;
	bool drop;
};

/* Of a dataset whose owners are counted; it stays until the dataset leaves the memory. */
struct quota {
	struct dataset *ds;
	struct sync_mutex wait_lock; /* SYNC_RANK_QUOTA_WAIT */
	struct sync_mutex lock; /* SYNC_RANK_QUOTA: all owners */
	struct sync_cond drained;
	struct quota_owner **buckets SYNC_GUARDED_BY(lock);
	size_t bucket_count SYNC_GUARDED_BY(lock), count SYNC_GUARDED_BY(lock); /* owners in buckets */
	struct quota_owner whole; /* the dataset itself; its counts are the dataset's */
	struct cds_list_head changed SYNC_GUARDED_BY(lock);
	struct cds_list_head committing; /* committing thread */
	unsigned limited; /* atomic: owners with a limit of bytes; changes while the dataset is quiet */
	bool dropped; /* committing thread; the dataset is being deleted, and its items are gone */
};

/* ---- owners, quota.c ---- */

/* -ENOMEM. */
int quota_new(struct dataset *ds, struct quota **ret);
void quota_free(struct quota *q); /* NULL is fine */
/* At import, when nobody else knows of the dataset: an item of the pool tree. -ENOMEM, -EUCLEAN. */
int quota_load(struct dataset *ds, const struct quota_item *item) SYNC_NO_ANALYSIS;
/* NULL: it has nothing, and no limit. */
struct quota_owner *quota_find(struct quota *q, enum quota_class class, uint32_t id) SYNC_REQUIRES(q->lock);
/* The same, made when it is not there. -ENOMEM. */
int quota_get(struct quota *q, enum quota_class class, uint32_t id, struct quota_owner **ret) SYNC_REQUIRES(q->lock);
/* Nothing, and no limit: it need not be kept. */
bool quota_is_empty(const struct quota_item *i);
/* It differs from what the last group has. */
void quota_mark(struct quota *q, struct quota_owner *o) SYNC_REQUIRES(q->lock);
uint64_t quota_used_blocks(const struct quota *q, const struct quota_owner *o) SYNC_REQUIRES(q->lock);
uint64_t quota_used_objects(const struct quota *q, const struct quota_owner *o) SYNC_REQUIRES(q->lock);
/* -EDQUOT: @o may have no more than @limit of @what. */
int quota_refuse(const struct quota *q, const struct quota_owner *o, uint64_t limit, const char *what);
/* Of a file: its map has so many blocks more, or less. Counts them in its inode, too. Inside the gate. */
void quota_count_blocks(struct object *o, int64_t delta);
/* With the gate held exclusively, and then without: what has changed goes into the pool tree. As tree_put(). Blocks. */
void quota_freeze(struct dataset *ds);
int quota_commit(struct dataset *ds, uint64_t txg);

/* ---- changes, quota_change.c ---- */

struct quota_delta {
	struct quota_owner *owner;
	int64_t objects, blocks;
};
#define QUOTA_DELTAS_MAX 32u
/* What a change means for owners. */
struct quota_change {
	struct quota *q; /* NULL: nothing, and no lock is held */
	unsigned count;
	struct quota_delta deltas[QUOTA_DELTAS_MAX];
};
/*
 * Begin takes q->lock if the dataset is counted; end releases it, and with @made the counts change. Between the two
 * the change is made. Under ds->items_lock.
 */
void quota_change_begin(struct dataset *ds, struct quota_change *ret) SYNC_NO_ANALYSIS;
/* An object of these owners (@i) comes (1), goes (-1), or stays (0), with so many blocks. -ENOMEM. */
int quota_change_add(struct quota_change *c, const struct inode *i, int objects, int64_t blocks) SYNC_NO_ANALYSIS;
/* @object_delta: of all together. -EDQUOT: somebody would have more than his limit. */
int quota_change_check(const struct quota_change *c, int object_delta) SYNC_NO_ANALYSIS;
void quota_change_end(struct quota_change *c, bool made) SYNC_NO_ANALYSIS;
/* In recovery: an inode is replaced; either may be NULL. Nothing is refused but for memory. Inside the gate. */
int quota_replay(struct dataset *ds, const struct inode *from, const struct inode *to);

/* ---- admission, quota_admit.c ---- */

struct quota_who {
	unsigned classes; /* mask of 1 << enum quota_class */
	uint32_t ids[QUOTA_CLASSES];
};
/* Room that was taken. Begins zeroed. */
struct quota_hold {
	struct quota *q;
	unsigned count;
	struct quota_owner *owners[QUOTA_CLASSES];
	struct quota_who who;
	uint64_t offset, blocks; /* for what */
	bool waited;
};
/* Does anybody in the dataset have a limit of bytes? */
bool quota_is_limited(const struct dataset *ds);
/* Room for a write. True: it may go on; or @hold is for it already. The object's owners stay as they are meanwhile. */
bool quota_try_write(struct object *o, uint64_t offset, uint64_t len, struct quota_hold *hold);
/* The same, found out exactly: without locks. -EDQUOT; -EAGAIN where nothing may wait; -EIO, ... of writing back.
 * Blocks. */
int quota_wait_write(struct object *o, uint64_t offset, uint64_t len, struct quota_hold *hold);
/* Room for @blocks that get other owners. */
bool quota_try_blocks(struct dataset *ds, const struct quota_who *who, uint64_t blocks, struct quota_hold *hold);
int quota_wait_blocks(struct dataset *ds, const struct quota_who *who, uint64_t blocks, struct quota_hold *hold);
/* The write is in the cache, or was not made; the blocks have their owner, or not. */
void quota_done(struct quota_hold *hold);

/* ---- limits, quota_set.c ---- */

/* Limits of class, id (UINT64_MAX: as it is): durable on return. From the first one on, the dataset's owners are
 * counted. Blocks. */
int quota_set(struct dataset *ds, const struct quota_item *limits);
/* Owners that have something, or a limit, by class and number, with what is dirty written back before. *@ret is
 * malloc'ed. Of the dataset only, unless its owners are counted. Blocks. */
int quota_list(struct dataset *ds, struct quota_item **ret, size_t *ret_count);
/* The same as things are, without writing back. -ENOMEM. */
int quota_copy(struct quota *q, struct quota_item **ret, size_t *ret_count);
/* The dataset's limit, or the object's project's, is the size of the file system. */
void quota_statfs(struct object *o, struct vfs_statfs *st);

#endif
