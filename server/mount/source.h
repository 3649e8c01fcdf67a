/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to server/mount: from what an administrator calls a source to an open device. */
#ifndef WFSD_SERVER_MOUNT_SOURCE_H
#define WFSD_SERVER_MOUNT_SOURCE_H

#include "server/mount/mount.h"

struct blk_dev;

#define SOURCE_HOST "host:"
#define SOURCE_NAMESPACE "wfs:"

/* What tells whether two sources are the same thing. All zero: unknown. */
struct source_id {
	bool in_namespace;
	uint64_t where, what; /* host: device and inode; namespace: file system and object */
};

/* Make a plain path one that says where it is; check others. -EINVAL, -ENOENT. */
int source_resolve(struct vfs *v, char source[MOUNT_SOURCE_MAX]);
/* The path in the namespace that a resolved source means; NULL: it is none. */
const char *source_namespace_path(const char *source);
/* -ELOOP: a file that this daemon may serve itself, through the kernel; errors of looking it up. */
int source_identify(struct vfs *v, const char *source, struct source_id *ret);
/* -EBUSY, -EROFS, -EISDIR, -ENOTBLK; errors of opening. *ret: blk_close(). */
int source_open(struct vfs *v, const char *source, bool read_only, struct blk_dev **ret);

#endif
