/* SPDX-License-Identifier: BSD-3-Clause */
/* The names and numbers of the wfs protocol: errno to status and back, procedure names. */
#include "protocol/wfs_proto.h"

#include <errno.h>

/* By status; each errno stands once, so the way back is unique. */
static const int status_errno[WFSP_STATUSES] = {
	[WFSP_OK] = 0,
	[WFSP_ERR_PERM] = -EPERM,
	[WFSP_ERR_NOENT] = -ENOENT,
	[WFSP_ERR_IO] = -EIO,
	[WFSP_ERR_ACCES] = -EACCES,
	[WFSP_ERR_EXIST] = -EEXIST,
	[WFSP_ERR_NOTDIR] = -ENOTDIR,
	[WFSP_ERR_ISDIR] = -EISDIR,
	[WFSP_ERR_INVAL] = -EINVAL,
	[WFSP_ERR_MFILE] = -EMFILE,
	[WFSP_ERR_FBIG] = -EFBIG,
	[WFSP_ERR_NOSPC] = -ENOSPC,
	[WFSP_ERR_ROFS] = -EROFS,
	[WFSP_ERR_NAMETOOLONG] = -ENAMETOOLONG,
	[WFSP_ERR_NOTSUP] = -EOPNOTSUPP,
	[WFSP_ERR_STALE] = -ESTALE,
	[WFSP_ERR_NOMEM] = -ENOMEM,
	[WFSP_ERR_BUSY] = -EBUSY,
	[WFSP_ERR_DAMAGED] = -EUCLEAN,
	[WFSP_ERR_BADHANDLE] = -EBADF,
	[WFSP_ERR_BADMSG] = -EBADMSG,
	[WFSP_ERR_SHUTDOWN] = -ESHUTDOWN,
	[WFSP_ERR_NODEV] = -ENODEV,
	[WFSP_ERR_DQUOT] = -EDQUOT,
	[WFSP_ERR_OVERFLOW] = -EOVERFLOW,
	[WFSP_ERR_CANCELED] = -ECANCELED,
	[WFSP_ERR_NOTEMPTY] = -ENOTEMPTY,
	[WFSP_ERR_XDEV] = -EXDEV,
	[WFSP_ERR_LOOP] = -ELOOP,
	[WFSP_ERR_MLINK] = -EMLINK,
	[WFSP_ERR_NODATA] = -ENODATA,
	[WFSP_ERR_RANGE] = -ERANGE,
	[WFSP_ERR_2BIG] = -E2BIG,
	[WFSP_ERR_NOLCK] = -ENOLCK,
	[WFSP_ERR_DEADLK] = -EDEADLK,
	[WFSP_ERR_AGAIN] = -EAGAIN,
	[WFSP_ERR_NXIO] = -ENXIO,
	[WFSP_ERR_CHANGED] = -EREMCHG, /* there is none that means this */
	[WFSP_ERR_MSGSIZE] = -EMSGSIZE,
	[WFSP_ERR_SEQUENCE] = -EPROTO,
	[WFSP_ERR_GRACE] = -ERESTART, /* likewise */
	[WFSP_ERR_CONFLICT] = -ENOTUNIQ, /* likewise */
	[WFSP_ERR_TIMEDOUT] = -ETIMEDOUT,
	[WFSP_ERR_DONE] = -EALREADY,
};

enum wfsp_status wfsp_status_from_errno(int err)
{
	for (unsigned i = 0; i < WFSP_STATUSES; i++) {
		if (status_errno[i] == err)
			return (enum wfsp_status)i;
	}
	return WFSP_ERR_IO;
}

int wfsp_status_to_errno(uint32_t status)
{
	return status < WFSP_STATUSES ? status_errno[status] : -EIO;
}

const char *wfsp_procedure_name(uint32_t procedure)
{
	static const char *const names[WFSP_PROCEDURES] = {
		[WFSP_NULL] = "null",
		[WFSP_HELLO] = "hello",
		[WFSP_LIST_EXPORTS] = "list_exports",
		[WFSP_OPEN] = "open",
		[WFSP_STAT] = "stat",
		[WFSP_READ] = "read",
		[WFSP_WRITE] = "write",
		[WFSP_FLUSH] = "flush",
		[WFSP_DISCARD] = "discard",
		[WFSP_ZERO] = "zero",
		[WFSP_EXTENTS] = "extents",
		[WFSP_CACHE] = "cache",
		[WFSP_CLOSE] = "close",
		[WFSP_STATISTICS] = "statistics",
		[WFSP_READ_SHM] = "read_shm",
		[WFSP_WRITE_SHM] = "write_shm",
		[WFSP_COMPOUND] = "compound",
		[WFSP_NOTICES] = "notices",
		[WFSP_CANCEL] = "cancel",
	};

	return procedure < WFSP_PROCEDURES ? names[procedure] : NULL;
}
