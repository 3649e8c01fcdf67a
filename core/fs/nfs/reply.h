/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a server answers, looked at before libnfs sees it: libnfs 4.0 believes the lengths that it decodes (it crashes
 * on a string of 4 GiB), so it is given only what is known to be whole. Formats: RFC 5531 (RPC), RFC 4506 (XDR), RFC
 * 1813 (NFSv3 and MOUNT), RFC 1833 (port mapper).
 */
#ifndef WFSD_CORE_FS_NFS_REPLY_H
#define WFSD_CORE_FS_NFS_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum nfs_proc {
	NFS_GETPORT, /* of the port mapper */
	NFS_MNT, /* of the MOUNT protocol */
	NFS_GETATTR,
	NFS_SETATTR,
	NFS_LOOKUP,
	NFS_ACCESS,
	NFS_READLINK,
	NFS_READ,
	NFS_WRITE,
	NFS_CREATE,
	NFS_MKDIR,
	NFS_SYMLINK,
	NFS_MKNOD,
	NFS_REMOVE,
	NFS_RMDIR,
	NFS_RENAME,
	NFS_LINK,
	NFS_READDIRPLUS,
	NFS_FSSTAT,
	NFS_FSINFO,
	NFS_COMMIT,
	NFS_PROCS,
};

#define NFS_HANDLE_BYTES_MAX 64u
#define NFS_STRING_BYTES_MAX 4096u
#define NFS_LIST_ENTRIES_MAX 4096u
#define NFS_READ_HEAD_BYTES 544u
/* Replies other than of READ. */
#define NFS_REPLY_BYTES_MAX (128u * 1024)

struct nfs_reply_info {
	uint32_t xid;
	bool accepted; /* the call was carried out; otherwise there is no result */
	/* NFS_READ that succeeded: the bytes read, in the record. data_offset is that of their length, a word before;
	 * as many were counted by the server. */
	size_t data_offset;
	uint32_t data_len_bytes;
};

/*
 * Is the record @buf a well-formed reply to @proc, with at most @data_max_bytes of data? Touches nothing outside of
 * @len bytes; of a reply to NFS_READ nothing behind the first NFS_READ_HEAD_BYTES. 0 or -EBADMSG with context. Any
 * thread.
 */
int nfs_reply_check(enum nfs_proc proc, const void *buf, size_t len, uint32_t data_max_bytes,
                    struct nfs_reply_info *ret);
/* The xid of a record, to find what it answers. -EBADMSG: it is too short, or no reply. */
int nfs_reply_xid(const void *buf, size_t len, uint32_t *ret);

#endif
