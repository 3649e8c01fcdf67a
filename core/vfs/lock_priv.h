/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to the locks of the VFS: what they are in memory (lock.c), and the ranges that owners have (lock_range.c). */
#ifndef WFSD_CORE_VFS_LOCK_PRIV_H
#define WFSD_CORE_VFS_LOCK_PRIV_H

#include "core/vfs/vfs_priv.h"

#define BUCKETS 4096u
#define LOCKS_MAX 1000000u /* held, of all owners */
/* Beyond that, for unlocking a piece in the middle, which makes two ranges of one. */
#define LOCKS_RESERVE 65536u
#define WAITS_MAX 4096u
#define LOCK_SHARE_PART 4u /* so much less of all that may a share have */

/* A range stands in two search trees: all of its file, and those of its owner there. */
enum range_tree {
	TREE_ALL,
	TREE_OWN,
};

struct range {
	struct {
		struct range *left, *right;
	} in[2]; /* by enum range_tree */
	uint32_t priority; /* random: no child's is higher */
	uint64_t owner;
	uint64_t start, end; /* end: not a part of it; UINT64_MAX: none */
	enum vfs_lock_type type;
	/* Of itself and those below it in TREE_ALL. */
	uint64_t end_max, exclusive_end_max; /* 0: none is exclusive */
};

/* What an owner has of a file. */
struct holding {
	struct cds_list_head link; /* bucket by file and owner */
	struct cds_list_head owner_link; /* bucket by owner */
	struct lock_file *file;
	uint64_t owner;
	struct vfs_lock_share *share; /* NULL: none */
	struct range *ranges; /* TREE_OWN; they do not overlap */
};

struct lock_file {
	struct cds_list_head link; /* bucket */
	struct vfs_node *node; /* referenced */
	const struct vfs_mount_point *mount; /* is in use, or its locks are being dropped */
	struct range *held; /* TREE_ALL */
	struct cds_list_head waits; /* first come first */
};

struct lock_wait {
	struct cds_list_head link; /* file->waits, then a list of those to be told */
	struct cds_list_head owner_link; /* locks->waits, by owner */
	uint64_t number;
	struct lock_file *file;
	struct range range;
	struct vfs_lock_share *share; /* NULL: none */
	struct range *spare[2]; /* memory for when it is granted */
	struct holding *spare_holding;
	vfs_lock_granted_fn *granted;
	void *ctx;
	int result;
	bool seen; /* by the search for a deadlock */
};

struct vfs_locks {
	struct sync_mutex lock; /* SYNC_RANK_LEAF */
	struct cds_list_head files[BUCKETS];
	struct cds_list_head holdings[BUCKETS];
	struct cds_list_head owners[BUCKETS]; /* holdings */
	struct cds_list_head waits[BUCKETS]; /* all of them, by owner */
	unsigned held_count, wait_count;
	unsigned held_max, wait_max; /* LOCKS_MAX, WAITS_MAX, and less in tests */
	uint64_t last_wait; /* number */
	uint32_t random;
};

/* Multiplicative hashing (Knuth, volume 3, section 6.4). */
static inline unsigned lock_bucket(uint64_t key)
{
	return (unsigned)(key * UINT64_C(0x9e3779b97f4a7c15) >> 52);
}

static inline bool overlap(const struct range *a, const struct range *b)
{
	return a->start < b->end && b->start < a->end;
}

static inline bool conflict(const struct range *a, const struct range *b)
{
	return a->owner != b->owner && overlap(a, b) &&
	       (a->type == VFS_LOCK_EXCLUSIVE || b->type == VFS_LOCK_EXCLUSIVE);
}

/* lock_range.c: all under the lock of the locks. */
/* Those in the way of @want, until @fn returns true: whether it did. */
typedef bool range_fn(void *ctx, const struct range *r);
bool range_each_conflict(const struct lock_file *f, const struct range *want, range_fn *fn, void *ctx);
/* One of them; NULL: none. */
const struct range *range_conflict(const struct lock_file *f, const struct range *want);
/* NULL: the owner has nothing of the file. */
struct holding *range_holding(struct vfs_locks *l, const struct lock_file *f, uint64_t owner);
/* All that the owner has of the file goes. */
void range_drop(struct vfs_locks *l, struct holding *h);
/* Would cutting this out of what the owner has make two ranges of one? */
bool range_splits(const struct holding *h, uint64_t start, uint64_t end);
/* What @owner has of [start, end) goes. Cutting a piece out of the middle takes *@spare. */
void range_cut(struct vfs_locks *l, struct lock_file *f, uint64_t owner, uint64_t start, uint64_t end,
               struct range **spare);
/* What @w waits for, or was about to, is its owner's now, whatever he had there. Takes what it needs of the spare
 * memory. */
void range_take(struct vfs_locks *l, struct lock_file *f, struct lock_wait *w);

#endif
