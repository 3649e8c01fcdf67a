/* SPDX-License-Identifier: BSD-3-Clause */
/* Changes of attributes. */
#include <errno.h>
#include <string.h>

#include <nfsc/libnfs-raw-nfs.h>

#include "core/base/err.h"
#include "core/cache/cache.h"
#include "core/fs/nfs/nfs_priv.h"

#define SUID_BITS 06000u
#define GROUP_EXEC 0010u
#define SGID_BIT 02000u

static int take_setattr(void *ctx, const void *res)
{
	return nfs_told_attr(ctx, &((const SETATTR3res *)res)->SETATTR3res_u.resok.obj_wcc.after);
}

int nfs_setattr_call(struct nfs_node *n, const struct sattr3 *set)
{
	struct nfs_told told = { .has_attr = false };
	SETATTR3args args = { .object = nfs_handle_arg(&n->fh), .new_attributes = *set };
	struct nfs_call c = { .proc = NFS_SETATTR, .args = &args, .take = take_setattr, .ctx = &told };
	int rc = nfs_call_run(n->im->net, &c);

	if (rc == 0 && told.has_attr)
		nfs_node_take_own_attr(n, &told.attr);
	return rc;
}

static nfstime3 time_encode(uint64_t ns)
{
	ns = vfs_time_since_1970(ns);
	return (nfstime3){ .seconds = (u_int)(ns / SYNC_NS_PER_S), .nseconds = (u_int)(ns % SYNC_NS_PER_S) };
}

static void set_times(const struct vfs_set_attr *a, sattr3 *ret)
{
	if (a->valid & VFS_SET_ATIME_NOW)
		ret->atime.set_it = SET_TO_SERVER_TIME;
	else if (a->valid & VFS_SET_ATIME)
		ret->atime = (set_atime){ .set_it = SET_TO_CLIENT_TIME, .set_atime_u.atime = time_encode(a->atime_ns) };
	if (a->valid & VFS_SET_MTIME_NOW)
		ret->mtime.set_it = SET_TO_SERVER_TIME;
	else if (a->valid & VFS_SET_MTIME)
		ret->mtime = (set_mtime){ .set_it = SET_TO_CLIENT_TIME, .set_mtime_u.mtime = time_encode(a->mtime_ns) };
}

static void set_owner(const struct vfs_set_attr *a, uint32_t mode, sattr3 *ret)
{
	if (a->valid & VFS_SET_KILL_SUID)
		mode &= ~(mode & GROUP_EXEC ? SUID_BITS : SUID_BITS & ~SGID_BIT);
	if (a->valid & (VFS_SET_MODE | VFS_SET_KILL_SUID))
		ret->mode = (set_mode3){ .set_it = 1, .set_mode3_u.mode = mode };
	if (a->valid & VFS_SET_UID)
		ret->uid = (set_uid3){ .set_it = 1, .set_uid3_u.uid = a->uid };
	if (a->valid & VFS_SET_GID)
		ret->gid = (set_gid3){ .set_it = 1, .set_gid3_u.gid = a->gid };
}

int nfs_node_set_attr(struct vfs_node *node, const struct vfs_set_attr *a)
{
	struct nfs_node *n = nfs_node_of(node);
	sattr3 set = { .mode = { .set_it = 0 } };
	uint32_t mode;
	int rc = nfs_check_alive(n->im);

	if (rc)
		return rc;
	if (((a->valid & VFS_SET_FLAGS) && a->flags) || ((a->valid & VFS_SET_PROJECT) && a->project))
		return err_set(-EOPNOTSUPP, "the protocol has no such attributes");
	sync_mutex_lock(&n->lock);
	mode = a->valid & VFS_SET_MODE ? a->mode : n->attr.mode;
	sync_mutex_unlock(&n->lock);
	set_owner(a, mode, &set);
	set_times(a, &set);
	/* A time that is set must not be changed by data that is written later. */
	if ((a->valid & (VFS_SET_MTIME | VFS_SET_MTIME_NOW)) && node->type == VFS_TYPE_FILE)
		rc = nfs_file_flush(node, 0);
	if (rc == 0 && (a->valid & VFS_SET_SIZE))
		rc = nfs_file_truncate(n, a->size_bytes);
	if (rc == 0 && (a->valid & ~(VFS_SET_SIZE | VFS_SET_FLAGS | VFS_SET_PROJECT)))
		rc = nfs_setattr_call(n, &set);
	return rc;
}
