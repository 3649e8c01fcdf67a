/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to the VFS: leases are looked at before a file is used. It costs one load when there are none. */
#ifndef WFSD_CORE_VFS_LEASE_H
#define WFSD_CORE_VFS_LEASE_H

#include "core/vfs/vfs_lease.h"
#include "core/vfs/vfs_priv.h"

#define LEASE_BUCKETS 1024u
#define LEASE_WAITERS_DEFAULT 4u

/* A thread that waits for leases on a file to come back. */
struct lease_waiter {
	struct cds_list_head link; /* table->waiters */
	const struct vfs_node *node;
	unsigned access; /* that it wants */
	uint64_t who;
	uint64_t peer; /* whose threads wait */
};

struct vfs_lease {
	struct cds_list_head link; /* bucket */
	struct vfs *vfs;
	const struct vfs_mount_point *mount; /* is in use, or its leases are being broken */
	struct vfs_node *node; /* referenced; NULL: broken */
	enum vfs_lease_type type;
	uint64_t holder;
	bool recalled;
	uint64_t until_ns; /* then it is broken */
	vfs_lease_fn *fn;
	void *ctx;
};

struct lease_table {
	unsigned count; /* atomic; changes under the lock */
	struct cds_list_head waiters;
	unsigned waiter_count, waiters_max;
	uint64_t break_ns; /* VFS_LEASE_BREAK_NS, and less in tests */
	struct sync_mutex lock; /* SYNC_RANK_WATCH */
	struct sync_cond returned;
	struct cds_list_head buckets[LEASE_BUCKETS];
};

struct lease_table *lease_table_new(void); /* NULL: memory */
void lease_table_free(struct lease_table *t); /* NULL is fine; there are none any more */
/* The mount is gone. */
void lease_drop_mount(struct lease_table *t, const struct vfs_mount_point *m);

/* The slow way of lease_settle(). */
int lease_settle_all(struct vfs *v, struct vfs_node *n, unsigned access, bool nowait);

/* Are there any? */
static inline bool lease_any(const struct vfs *v)
{
	return __atomic_load_n(&v->leases->count, __ATOMIC_RELAXED) != 0;
}

/* Before data of @n is used for @access (VFS_ACCESS_READ, _WRITE): leases of others that do not go with it come back.
 * -EAGAIN when that takes time and @nowait, or the thread, must not wait. */
static inline int lease_settle(struct vfs *v, struct vfs_node *n, unsigned access, bool nowait)
{
	return lease_any(v) ? lease_settle_all(v, n, access, nowait) : 0;
}

/* After data was changed: who took a lease meanwhile is told. */
static inline void lease_changed(struct vfs *v, struct vfs_node *n)
{
	(void)lease_settle(v, n, VFS_ACCESS_WRITE, true);
}

#endif
