/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to the locks of the VFS: what they are in memory (lock.c), and the ranges that owners have (lock_range.c). */
#ifndef WFSD_CORE_VFS_LOCK_PRIV_H
#define WFSD_CORE_VFS_LOCK_PRIV_H

#include "core/vfs/vfs_priv.h"

#define BUCKETS 256u
#define LOCKS_MAX 1000000u /* held, of all owners */
#define WAITS_MAX 4096u

struct range {
	struct cds_list_head link; /* file->held, ascending start */
	uint64_t owner;
	uint64_t start, end; /* end: not a part of it; UINT64_MAX: none */
	enum vfs_lock_type type;
};

struct lock_file {
	struct cds_list_head link; /* bucket */
	struct vfs_node *node; /* referenced */
	const struct vfs_mount_point *mount; /* is in use, or its locks are being dropped */
	struct cds_list_head held;
	struct cds_list_head waits; /* first come first */
};

struct lock_wait {
	struct cds_list_head link; /* file->waits, then a list of those to be told */
	struct cds_list_head all_link; /* locks->waits */
	uint64_t number;
	struct lock_file *file;
	struct range range;
	struct range *spare[2]; /* memory for when it is granted */
	vfs_lock_granted_fn *granted;
	void *ctx;
	int result;
	bool seen; /* by the search for a deadlock */
};

struct vfs_locks {
	struct sync_mutex lock; /* SYNC_RANK_LEAF */
	struct cds_list_head buckets[BUCKETS];
	struct cds_list_head waits; /* all of them */
	unsigned held_count, wait_count;
	uint64_t last_wait; /* number */
};

static inline bool overlap(const struct range *a, const struct range *b)
{
	return a->start < b->end && b->start < a->end;
}

static inline bool conflict(const struct range *a, const struct range *b)
{
	return a->owner != b->owner && overlap(a, b) &&
	       (a->type == VFS_LOCK_EXCLUSIVE || b->type == VFS_LOCK_EXCLUSIVE);
}

/* lock_range.c: all under the lock of @l. */
void range_drop(struct vfs_locks *l, struct range *r);
/* What @owner has of [start, end) goes. Cutting a piece out of the middle takes *@spare. */
void range_cut(struct vfs_locks *l, struct lock_file *f, uint64_t owner, uint64_t start, uint64_t end,
               struct range **spare);
/* @want is the owner's now, whatever he had there. Takes what it needs of @spare. */
void range_take(struct vfs_locks *l, struct lock_file *f, const struct range *want, struct range *spare[2]);

#endif
