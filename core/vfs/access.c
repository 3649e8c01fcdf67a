/* SPDX-License-Identifier: BSD-3-Clause */
/* The one gate for permissions: who may do what with an object, and with a directory's names. */
#include <errno.h>
#include <stdlib.h>

#include "core/base/err.h"
#include "core/vfs/vfs_priv.h"

bool access_in_group(const struct vfs_cred *cred, uint32_t gid)
{
	if (cred->gid == gid)
		return true;
	for (unsigned i = 0; i < cred->group_count; i++)
		if (cred->groups[i] == gid)
			return true;
	return false;
}

bool access_by_mode(const struct vfs_stat *st, const struct vfs_cred *cred, unsigned access)
{
	uint32_t bits = st->mode;

	if (cred->uid == st->uid)
		bits >>= 6;
	else if (access_in_group(cred, st->gid))
		bits >>= 3;
	return (bits & access) == access;
}

static int check_mode(const struct vfs_stat *st, const struct vfs_cred *cred, unsigned access)
{
	return access_by_mode(st, cred, access) ? 0 : -EACCES;
}

static int check_acl(struct vfs_node *n, const struct vfs_stat *st, const struct vfs_cred *cred, unsigned access)
{
	size_t len;
	void *acl;
	int ret = xattr_read_acl(n, VFS_ACL_ACCESS, &acl, &len);

	if (ret == -ENODATA) /* it was taken away since */
		return check_mode(st, cred, access);
	if (ret)
		return ret;
	ret = acl_check(acl, len, st, cred, access);
	free(acl);
	return ret == -EINVAL ? err_add(-EIO, "the object's ACL is damaged") : ret;
}

/* Root reads and writes everything, and executes what anybody may. */
static int check_root(const struct vfs_stat *st, unsigned access)
{
	bool may_exec = st->type == VFS_TYPE_DIR || st->mode & 0111;

	return access & VFS_ACCESS_EXEC && !may_exec ? -EACCES : 0;
}

int access_check(struct vfs_node *n, const struct vfs_stat *st, const struct vfs_cred *cred, unsigned access)
{
	int ret;

	if (cred->uid == 0)
		ret = check_root(st, access);
	else if (st->has_acl && cred->uid != st->uid)
		ret = check_acl(n, st, cred, access);
	else
		ret = check_mode(st, cred, access);
	if (ret == -EACCES)
		return err_set(-EACCES, "uid %u has no permission (%s%s%s)", cred->uid,
		               access & VFS_ACCESS_READ ? "r" : "", access & VFS_ACCESS_WRITE ? "w" : "",
		               access & VFS_ACCESS_EXEC ? "x" : "");
	return ret;
}

int access_check_writable(const struct vfs_handle *h, const struct vfs_stat *st)
{
	return h->mount->read_only || st->read_only ? err_set(-EROFS, "the file system is read-only") : 0;
}

int access_check_dir_change(struct vfs_handle *dir, const struct vfs_cred *cred, bool removing, struct vfs_stat *ret_st)
{
	int ret;

	if (dir->node->type != VFS_TYPE_DIR)
		return err_set(-ENOTDIR, "it is not a directory");
	ret = handle_stat(dir, ret_st);
	if (!ret)
		ret = access_check_writable(dir, ret_st);
	if (!ret)
		ret = access_check(dir->node, ret_st, cred, VFS_ACCESS_WRITE | VFS_ACCESS_EXEC);
	if (!ret && (ret_st->flags & VFS_FLAG_IMMUTABLE || (removing && ret_st->flags & VFS_FLAG_APPEND)))
		ret = err_set(-EPERM, "the directory is immutable, or takes new names only");
	return ret;
}

struct vfs_taker access_taker(const struct vfs_stat *dir_st, const struct vfs_cred *cred)
{
	bool owner_only = dir_st->mode & 01000 && cred->uid && cred->uid != dir_st->uid;

	return (struct vfs_taker){ .uid = cred->uid, .owner_only = owner_only };
}

int vfs_taker_check(const struct vfs_taker *taker, uint32_t owner_uid, uint32_t flags)
{
	if (!taker)
		return 0;
	if (flags & (VFS_FLAG_IMMUTABLE | VFS_FLAG_APPEND))
		return err_set(-EPERM, "the object is immutable, or append-only");
	if (taker->owner_only && taker->uid != owner_uid)
		return err_set(-EPERM, "the directory is sticky, and neither it nor the object is uid %u's",
		               taker->uid);
	return 0;
}

int access_check_victim(const struct vfs_taker *taker, struct vfs_node *victim)
{
	struct vfs_stat st;
	int ret = victim->ops->stat(victim, &st);

	return ret ? ret : vfs_taker_check(taker, st.uid, st.flags);
}

int vfs_access(struct vfs_handle *h, const struct vfs_cred *cred, unsigned access)
{
	struct vfs_stat st;
	int ret = handle_stat(h, &st);

	if (!ret && access & VFS_ACCESS_WRITE && st.type != VFS_TYPE_FIFO && st.type != VFS_TYPE_CHAR &&
	    st.type != VFS_TYPE_BLOCK && st.type != VFS_TYPE_SOCKET)
		ret = access_check_writable(h, &st);
	if (!ret && access & VFS_ACCESS_WRITE && st.flags & VFS_FLAG_IMMUTABLE)
		ret = err_set(-EPERM, "it is immutable");
	return ret ? ret : access_check(h->node, &st, cred, access);
}
