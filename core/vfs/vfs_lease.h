/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Leases: who has one on a file may keep what he read of it (a read lease), or also keep what he writes to himself for
 * a while (a write lease), as he is told before anybody else does something that would make that wrong. As fcntl(2) has
 * with F_SETLEASE, and NFSv4 with delegations (RFC 7530, section 10.4).
 *
 * Whoever else reads (with a write lease) or writes the file, or opens it for that, waits until the lease is given
 * back, or is broken because that took too long. Attributes other than the size are not covered.
 */
#ifndef WFSD_CORE_VFS_VFS_LEASE_H
#define WFSD_CORE_VFS_VFS_LEASE_H

#include "core/vfs/vfs_tree.h"

#define VFS_LEASE_BREAK_NS UINT64_C(10000000000) /* a holder has so long from when he is told */
#define VFS_LEASES_MAX 65536u

enum vfs_lease_type {
	VFS_LEASE_READ = 1,
	VFS_LEASE_WRITE = 2,
};

enum vfs_lease_event {
	VFS_LEASE_RECALLED = 1, /* to be given back soon: somebody waits */
	VFS_LEASE_BROKEN =
	        2, /* it is gone, and was not given back in time; or the file system is not mounted any more */
};

/* On any thread, each event once at most, under a lock: it must not call the VFS. */
typedef void vfs_lease_fn(void *ctx, enum vfs_lease_event event);

struct vfs_lease;

/*
 * Take a lease on a regular file for what makes its changes as @holder (vfs_set_origin(); not 0): that alone does not
 * recall it. -EAGAIN: another holder has one that does not go with it (it is recalled), or somebody waits for the file
 * who would have to wait for this one, too. -EINVAL (not a file), -ENOLCK (too many), -ENOMEM, -ESTALE. Does not wait.
 */
int vfs_lease_take(struct vfs_handle *h, uint64_t holder, enum vfs_lease_type type, vfs_lease_fn *fn, void *ctx,
                   struct vfs_lease **ret);
/* Also when it was broken. NULL is fine. */
void vfs_lease_return(struct vfs_lease *l);

/*
 * So many threads at most wait for leases (4, if nobody says otherwise), half of them for one peer (vfs_set_origin()):
 * who serves requests with a number of threads keeps the others for those that need no lease back. For who would be one
 * too many a lease is broken at once.
 */
void vfs_set_lease_waiters(struct vfs *v, unsigned max);

#endif
