/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VFS, for callers (front ends): one namespace of mounted file systems, handles on its files, block-style I/O on
 * them. What programs know as files and directories (names, permissions, attributes, links) is in vfs_tree.h.
 *
 * Everything is safe to call from any thread. Calls that take flags accept VFS_NOWAIT: the call then never waits for a
 * device or for another operation and returns -EAGAIN (nothing changed) where it would have to; event loops use that
 * and hand the operation to a worker on -EAGAIN. Errors leave context in the thread's err chain.
 *
 * Order and durability: an operation that starts after another has returned sees its effect. Nothing is durable until
 * vfs_flush() returns 0 or the operation itself carried VFS_FUA.
 */
#ifndef WFSD_CORE_VFS_VFS_H
#define WFSD_CORE_VFS_VFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct vfs;
struct vfs_handle;
struct vfs_fs; /* a mounted file system, see vfs_ops.h */

#define VFS_NOWAIT 1u
#define VFS_FUA 2u /* durable when the call returns */
#define VFS_NO_HOLE                                                                                                    \
	4u /* zero: keep the range allocated (space is reserved so that later writes do not fail) where supported */
#define VFS_FAST 8u /* zero: -EOPNOTSUPP (nothing changed) unless it is faster than writing zeros */
#define VFS_ONE 16u /* extents: report exactly one */

#define VFS_NAME_MAX 255
#define VFS_PATH_MAX 4096
#define VFS_IO_BYTES_MAX (32u << 20) /* one read or write */
#define VFS_FILE_BYTES_MAX (UINT64_C(1) << 60)

#define VFS_APPEND 32u /* write: at the end, wherever that is then; the offset is not used */

/*
 * Write: the file holds another file system, which writes its memory back. It does not wait where writers wait for
 * dirty memory to become less, since whoever makes it less may be waiting for this very write.
 */
#define VFS_MAKES_ROOM 64u
#define VFS_ROOM 128u /* write: its room was taken before, vfs_take_room() */

enum vfs_type {
	VFS_TYPE_FILE = 1, /* a volume is one, too */
	VFS_TYPE_DIR = 2,
	VFS_TYPE_SYMLINK = 3,
	VFS_TYPE_FIFO = 4,
	VFS_TYPE_CHAR = 5,
	VFS_TYPE_BLOCK = 6,
	VFS_TYPE_SOCKET = 7,
};

/* Flags of a file. */
#define VFS_FLAG_IMMUTABLE 1u /* nothing of it changes */
#define VFS_FLAG_APPEND 2u /* data is only added at its end */

struct vfs_stat {
	enum vfs_type type;
	uint64_t fsid; /* differs between file systems (and datasets), survives restarts; 0: the namespace's own */
	uint64_t object; /* unique in its file system, never reused */
	uint64_t size_bytes;
	uint64_t allocated_bytes;
	uint64_t change; /* increases with every change */
	uint64_t atime_ns, mtime_ns, ctime_ns, btime_ns; /* since 1970; before, as int64_t */
	uint32_t mode; /* permission bits, 07777 */
	uint32_t uid, gid;
	uint32_t link_count;
	uint32_t flags; /* VFS_FLAG_* */
	uint32_t project; /* whose quota it counts for; new objects have their directory's. 0: none */
	uint64_t rdev; /* of device nodes: major << 32 | minor */
	uint32_t block_bytes; /* preferred I/O size */
	bool read_only;
	bool grows; /* writes beyond the end extend it; a volume's do not */
	bool has_acl; /* its access ACL says more than @mode */
	bool exact_names; /* a directory: names are found only as they are spelled; size_bytes counts them, and each
	                   * change of them moves @change by one */
};

struct vfs *vfs_new(void); /* NULL when memory is short */
void vfs_free(struct vfs *v); /* nothing is mounted any more */
/* Show operations by class (counts, errors, bytes, latency) in @m, which outlives @v. Once. -ENOMEM, -EEXIST. */
struct metrics;
int vfs_register_metrics(struct vfs *v, struct metrics *m);

/*
 * Open the file at absolute @path. @writable: -EROFS when the file system or file is read-only. -ENOENT, -EISDIR,
 * -ENAMETOOLONG, -EINVAL (not absolute, "." or ".." components, empty components, control characters), -ENOMEM. May
 * block. A handle keeps its file system mounted; a handle whose file is deleted answers -ESTALE.
 */
int vfs_open(struct vfs *v, const char *path, bool writable, struct vfs_handle **ret);
/* Waits for nothing; operations still running on the handle keep it alive. NULL is fine. */
void vfs_close(struct vfs_handle *h);

int vfs_stat_path(struct vfs *v, const char *path, struct vfs_stat *ret);
char vfs_drive_letter(char c); /* as upper case; 0: it is none */
int vfs_stat(struct vfs_handle *h, struct vfs_stat *ret); /* never blocks */
/* Do operations on the file wait for another machine, perhaps for long? */
bool vfs_is_remote(const struct vfs_handle *h);

/*
 * Read or write the whole range, which must lie within the file: otherwise -EINVAL for a read, -ENOSPC for a write,
 * unless the file grows (then -EFBIG beyond VFS_FILE_BYTES_MAX). At most VFS_IO_BYTES_MAX. Also -EROFS (handle not
 * writable), -EIO (err chain names dataset, object, offset), -ENOSPC, -ESTALE, -ENOMEM.
 */
int vfs_read(struct vfs_handle *h, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags);
int vfs_write(struct vfs_handle *h, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags);
/* What the file has of the range: *ret_len is less than asked for only at its end. */
int vfs_read_some(struct vfs_handle *h, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags,
                  size_t *ret_len);

/*
 * Reading without a copy. On success @ret->iov covers the range and stays valid and unchanged until vfs_ref_release().
 * File systems that cannot do it return -EOPNOTSUPP: use vfs_read(). Ranges up to VFS_REF_BYTES_MAX.
 */
#define VFS_REF_BYTES_MAX (2u << 20)
struct vfs_ref {
	const struct iovec *iov;
	int iov_count;
	void (*release)(struct vfs_ref *r);
	void *priv;
};
int vfs_read_ref(struct vfs_handle *h, uint64_t offset, size_t len, unsigned flags, struct vfs_ref *ret);
void vfs_ref_release(struct vfs_ref *r);

/* Everything written to the file before the call, on any handle, is durable when it returns 0. A failure is latched by
 * the file system and reported again. */
int vfs_flush(struct vfs_handle *h, unsigned flags);
/*
 * The same for [offset, offset + len) of a file, and for what is needed to read that after a crash: its size, as far as
 * the range goes, and where the data is. @len 0: to the end of the file. What is written elsewhere in the file is
 * neither promised nor waited for, unless the file system cannot tell it apart: then this is vfs_flush(). A range may
 * reach beyond the end. Also -EINVAL (no regular file, or the range overflows), -EISDIR.
 */
int vfs_flush_range(struct vfs_handle *h, uint64_t offset, uint64_t len, unsigned flags);

/* The range reads as zeros afterwards; discard frees its space (whole 4 KiB blocks; the edges are left alone). Any
 * length within the file. Discard past the end: -EINVAL; zero: -ENOSPC. */
int vfs_discard(struct vfs_handle *h, uint64_t offset, uint64_t len, unsigned flags);
int vfs_zero(struct vfs_handle *h, uint64_t offset, uint64_t len, unsigned flags);

struct vfs_extent {
	uint64_t offset;
	uint64_t len_bytes;
	bool hole; /* not allocated */
	bool zero; /* reads as zeros */
};
/*
 * Describe [offset, offset + len) from its start: at most @max extents, adjacent ones of the same kind merged, clipped
 * to the range; the last may end before the range does. *ret_count >= 1 on success. May block (data not yet written
 * back is written back first).
 */
int vfs_extents(struct vfs_handle *h, uint64_t offset, uint64_t len, unsigned flags, struct vfs_extent *ret,
                unsigned max, unsigned *ret_count);

/* Bring the range into memory, best effort. Blocks. */
int vfs_prefetch(struct vfs_handle *h, uint64_t offset, uint64_t len);

/* An entry of a directory (vfs_readdir() in vfs_tree.h). */
struct vfs_dirent {
	const char *name; /* not terminated; valid during the call */
	size_t name_len;
	enum vfs_type type;
	uint64_t object;
	uint64_t cookie; /* to go on behind this entry; the same for as long as the entry exists; never 0 */
};
typedef bool vfs_dir_fn(void *ctx, const struct vfs_dirent *e); /* false: enough */

#endif
