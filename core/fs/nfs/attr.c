/* SPDX-License-Identifier: BSD-3-Clause */
/* Attributes, handles and statuses as the protocol has them (RFC 1813, 2.5 and 2.6), as ours. */
#include <errno.h>
#include <string.h>

#include <nfsc/libnfs-raw-nfs.h>

#include "core/base/checked.h"
#include "core/fs/nfs/nfs_priv.h"

#define NS_PER_S UINT64_C(1000000000)
#define PERMISSION_BITS 07777u

int nfs_status_errno(uint32_t status)
{
	static const struct {
		uint32_t status;
		int rc;
	} table[] = {
		{ NFS3_OK, 0 },
		{ NFS3ERR_PERM, -EPERM },
		{ NFS3ERR_NOENT, -ENOENT },
		{ NFS3ERR_IO, -EIO },
		{ NFS3ERR_NXIO, -ENXIO },
		{ NFS3ERR_ACCES, -EACCES },
		{ NFS3ERR_EXIST, -EEXIST },
		{ NFS3ERR_XDEV, -EXDEV },
		{ NFS3ERR_NODEV, -ENODEV },
		{ NFS3ERR_NOTDIR, -ENOTDIR },
		{ NFS3ERR_ISDIR, -EISDIR },
		{ NFS3ERR_INVAL, -EINVAL },
		{ NFS3ERR_FBIG, -EFBIG },
		{ NFS3ERR_NOSPC, -ENOSPC },
		{ NFS3ERR_ROFS, -EROFS },
		{ NFS3ERR_MLINK, -EMLINK },
		{ NFS3ERR_NAMETOOLONG, -ENAMETOOLONG },
		{ NFS3ERR_NOTEMPTY, -ENOTEMPTY },
		{ NFS3ERR_DQUOT, -EDQUOT },
		{ NFS3ERR_STALE, -ESTALE },
		{ NFS3ERR_BADHANDLE, -ESTALE },
		{ NFS3ERR_BAD_COOKIE, -ESTALE },
		{ NFS3ERR_NOTSUPP, -EOPNOTSUPP },
		{ NFS3ERR_BADTYPE, -EOPNOTSUPP },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (table[i].status == status)
			return table[i].rc;
	}
	return -EIO;
}

static uint64_t time_decode(const nfstime3 *t)
{
	return t->seconds * NS_PER_S + min_u64(t->nseconds, NS_PER_S - 1);
}

static enum vfs_type type_decode(ftype3 type)
{
	switch (type) {
	case NF3REG:
		return VFS_TYPE_FILE;
	case NF3DIR:
		return VFS_TYPE_DIR;
	case NF3BLK:
		return VFS_TYPE_BLOCK;
	case NF3CHR:
		return VFS_TYPE_CHAR;
	case NF3LNK:
		return VFS_TYPE_SYMLINK;
	case NF3SOCK:
		return VFS_TYPE_SOCKET;
	case NF3FIFO:
		return VFS_TYPE_FIFO;
	default:
		return 0;
	}
}

int nfs_attr_decode(const struct fattr3 *a, struct nfs_attr *ret)
{
	enum vfs_type type = type_decode(a->type);

	if (!type || a->size > VFS_FILE_BYTES_MAX)
		return -EBADMSG;
	*ret = (struct nfs_attr){
		.type = type,
		.mode = a->mode & PERMISSION_BITS,
		.link_count = a->nlink,
		.uid = a->uid,
		.gid = a->gid,
		.size_bytes = a->size,
		.used_bytes = a->used,
		.rdev = (uint64_t)a->rdev.specdata1 << 32 | a->rdev.specdata2,
		.fsid = a->fsid,
		.fileid = a->fileid,
		.atime_ns = time_decode(&a->atime),
		.mtime_ns = time_decode(&a->mtime),
		.ctime_ns = time_decode(&a->ctime),
	};
	return 0;
}

int nfs_handle_decode(const struct nfs_fh3 *fh, struct nfs_handle *ret)
{
	if (!fh->data.data_len || fh->data.data_len > NFS_HANDLE_BYTES_MAX)
		return -EBADMSG;
	*ret = (struct nfs_handle){ .len = fh->data.data_len };
	memcpy(ret->bytes, fh->data.data_val, ret->len);
	return 0;
}

struct nfs_fh3 nfs_handle_arg(const struct nfs_handle *fh)
{
	struct nfs_fh3 arg = { .data = { .data_len = fh->len } };
	const uint8_t *bytes = fh->bytes;

	memcpy(&arg.data.data_val, &bytes, sizeof(bytes)); /* it is only read */
	return arg;
}

int nfs_told_attr(struct nfs_told *t, const struct post_op_attr *a)
{
	int rc = a->attributes_follow ? nfs_attr_decode(&a->post_op_attr_u.attributes, &t->attr) : 0;

	t->has_attr = rc == 0 && a->attributes_follow;
	return rc;
}
