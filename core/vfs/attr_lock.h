/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to the VFS: looking at an object's attributes, deciding by them, and changing them are one step.
 *
 * Otherwise a change that was allowed before the object went to somebody else, or was frozen, would be applied after
 * that, and bring back what the change of owner took away: the bits that lend identities.
 *
 * The locks are shared by objects, so nothing is waited for under one that another change of attributes would have to
 * bring about (leases: lease_settle() comes before). Objects of other machines, which may take long, share theirs with
 * their like only. An object inside of a transaction is another node than the one outside: the commit tells these
 * apart.
 */
#ifndef WFSD_CORE_VFS_ATTR_LOCK_H
#define WFSD_CORE_VFS_ATTR_LOCK_H

#include "core/vfs/vfs_priv.h"

static inline struct sync_mutex *attr_lock_of(struct vfs *v, const struct vfs_node *n)
{
	/* Multiplicative hashing (Knuth, volume 3, section 6.4). */
	unsigned i = (unsigned)(((uintptr_t)n >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> (64 - ATTR_LOCK_BITS));

	return &v->attr_locks[n->ops->remote][i];
}

/* False: somebody else has it, and this thread must not wait. */
static inline SYNC_NO_ANALYSIS bool attr_lock(struct sync_mutex *l) SYNC_TRY_ACQUIRE(true, *l)
{
	if (nowait_here())
		return sync_mutex_trylock(l);
	sync_mutex_lock(l);
	return true;
}

#endif
