/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VFS, for callers that change several objects as one. A transaction belongs to one file system (of a pool: one
 * file tree). What is done through handles inside of it is seen there only, until it is committed; nothing outside is
 * kept waiting. Reads inside are consistent: all of them show one moment, at or after the beginning. When that is not
 * possible any more because what was read has changed, the transaction conflicts. What two transactions do to the same
 * thing conflicts when the second one is committed: the first one wins.
 *
 * A snapshot transaction conflicts with changes of what it has changed; a serializable one also with changes of what it
 * has read: objects, names that were looked up (also where there was none), directories that were listed. A directory's
 * entries are not a part of its attributes: two transactions may put different names into one directory.
 *
 * Errors of operations on handles inside: those of the operation outside; and once the transaction is over, why it is:
 * -EBUSY a conflict, -ETIMEDOUT its time, -E2BIG its bounds, -ENOMEM those of all transactions together, -ECANCELED it
 * was aborted, or committed. Permissions are
 * checked when an operation is asked for. Locks, holes, nameless files and flushes are not available inside
 * (-EOPNOTSUPP).
 *
 * Any thread; operations of one transaction are done one by one. All of it waits, so that a thread that must not gets
 * -EAGAIN (core/base/nowait.h).
 */
#ifndef WFSD_CORE_VFS_VFS_TX_H
#define WFSD_CORE_VFS_VFS_TX_H

#include "core/vfs/vfs_tree.h"

struct vfs_tx;

enum vfs_tx_isolation {
	VFS_TX_SNAPSHOT = 1,
	VFS_TX_SERIALIZABLE = 2,
};

enum vfs_tx_state {
	VFS_TX_RUNNING = 1,
	VFS_TX_COMMITTED = 2,
	VFS_TX_ABORTED = 3,
};

struct vfs_tx_args {
	enum vfs_tx_isolation isolation;
	uint32_t ttl_ms; /* aborted after this time; 0, or more than the file system allows: what it allows */
};

struct vfs_tx_info {
	uint64_t id; /* of its file system, never reused */
	enum vfs_tx_state state;
	int reason; /* of an abort: negative errno as above */
	struct vfs_fid conflict; /* of a conflict: the object; a directory when it is about a name in it */
	char conflict_name[VFS_NAME_MAX + 1]; /* not terminated inside of names; "" when it is not about a name */
	uint64_t op_count, change_bytes;
	uint64_t committed_ns; /* since 1970 */
};

/* The request that a transaction is committed for, and what is to be told when it is repeated. */
#define VFS_ANSWER_MAX (65u << 10)
#define VFS_ANSWER_PLACES 17u /* from that of the tag on: they take what is kept */
struct vfs_answer {
	const struct vfs_tag *tag;
	const void *p;
	size_t len; /* 0: nothing but that it was done */
};

/* -EOPNOTSUPP (the file system has none), -EROFS, -EAGAIN (too many are running), -EINVAL, -ENOMEM. May block. */
int vfs_tx_begin(struct vfs_handle *any, const struct vfs_tx_args *args, struct vfs_tx **ret);
/* Aborts it if it is running. Handles inside of it may be closed later. NULL is fine. */
void vfs_tx_free(struct vfs_tx *tx);
/* The same object inside of the transaction, with access to no data: vfs_open_handle(). -EXDEV: another file system;
 * -ESTALE, and as above. */
int vfs_tx_handle(struct vfs_tx *tx, struct vfs_handle *h, struct vfs_handle **ret);
/*
 * All changes become visible and, with @durable or after a later flush of any of its objects, durable, as one: after a
 * crash there are all or none. -EBUSY: conflict. Any other error (-ENOSPC, ...): nothing was changed, and the
 * transaction is aborted. When only making it durable failed, it is committed (vfs_tx_get_info()). @answer (may be
 * NULL) becomes a part of it, so that vfs_recall() knows it exactly when the changes are there, unless there were none;
 * when it is too large to be kept beside them, without what was to be told. Blocks.
 */
int vfs_tx_commit(struct vfs_tx *tx, bool durable, const struct vfs_answer *answer);
/* With a reason as above. Of one that is over: why it is. */
int vfs_tx_abort(struct vfs_tx *tx, int reason);
void vfs_tx_get_info(struct vfs_tx *tx, struct vfs_tx_info *ret);
/* What became of a transaction, also of the life before a crash: a committed one is known exactly as long as its
 * changes are, until many (1024) later ones are committed; others while the pool is imported. -ENOENT: it was not
 * committed, or is not known any more. Blocks. */
int vfs_tx_status(struct vfs_handle *any, uint64_t id, struct vfs_tx_info *ret);

#endif
