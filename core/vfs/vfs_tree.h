/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VFS, for callers that work on file trees: names, permissions, attributes, links, extended attributes, locks.
 *
 * A handle (vfs.h) refers to an object of any type and keeps it usable, also when its last name is removed. It carries
 * the access to data that it was opened with: none, reading, writing. All calls here may block, unless the thread said
 * that it must not (core/base/nowait.h): -EAGAIN then, with nothing changed. Any thread. Each that changes something is
 * atomic, and durable after a vfs_flush() of any object that it concerns.
 *
 * Who asks is given with every call that checks access (POSIX.1-2017, 4.5 "File Access Permissions", and the ACLs of
 * the withdrawn POSIX 1003.1e draft 17). uid 0 is allowed everything that a read-only mount, an immutable file and the
 * like do not forbid to all; front ends map identities as the policy of their export says before they call.
 *
 * Names are bytes: 1..VFS_NAME_MAX of them, no '/', no NUL. Case is kept and tells names apart.
 */
#ifndef WFSD_CORE_VFS_VFS_TREE_H
#define WFSD_CORE_VFS_VFS_TREE_H

#include "core/vfs/vfs.h"

#define VFS_GROUPS_MAX 65536u
#define VFS_SYMLINKS_MAX 40u /* followed in one walk */
#define VFS_XATTR_NAME_MAX 255u
#define VFS_XATTR_BYTES_MAX 65536u
#define VFS_LINKS_MAX 0xfffffff0u

/*
 * Which request of which client a change is made for. A file system that can keeps the change's result with the change,
 * durable as that is, in a place that the client's next request in the same slot takes over; so a request that is
 * repeated, also after a crash, can be answered (vfs_recall()). Where several changes are made for one operation, it is
 * the last that carries the tag, or the first that cannot be made again.
 */
#define VFS_CLIENT_KEY_BYTES 16u
struct vfs_tag {
	uint8_t client[VFS_CLIENT_KEY_BYTES]; /* as good as random: nobody else's */
	uint64_t place; /* of the request and of the change in it, among the client's */
	uint32_t sequence; /* of the request; a later one in the same place is greater, modulo 2^32 */
	uint32_t kind; /* of the change, the caller's number */
	uint32_t lifetime_s; /* after that nobody asks any more, and the place may be given back */
};

struct vfs_cred {
	uint32_t uid, gid;
	unsigned group_count;
	const uint32_t *groups; /* supplementary ones */
	const struct vfs_tag *tag; /* of the one change that is asked for; NULL: its result need not be kept */
};
/* uid 0, for administrators and the daemon's own work. */
extern const struct vfs_cred vfs_cred_root;

/* What a handle may do with data; for access checks also VFS_ACCESS_EXEC (directories: look up names). */
#define VFS_ACCESS_EXEC 1u
#define VFS_ACCESS_WRITE 2u
#define VFS_ACCESS_READ 4u

/*
 * Walk along @path from @base (NULL, or an absolute path: from the top of the namespace). "." and ".." are understood
 * and never lead above the top (or above @root, when not NULL: ".." in a directory that is not below @root any more is
 * -ESTALE); symbolic links are followed, the last one only with
 * VFS_WALK_FOLLOW. With neither @root nor @base, "C:", "C:\dir" and "C:/dir" start at the mount with that drive letter,
 * which is the root of that walk; '\' then separates names as '/' does. -ENOENT, -ENOTDIR, -EACCES, -ELOOP,
 * -ENAMETOOLONG, -EINVAL, -ESTALE. *ret refers to the object, with access to no data.
 */
#define VFS_WALK_FOLLOW 1u
int vfs_walk(struct vfs *v, const struct vfs_cred *cred, struct vfs_handle *root, struct vfs_handle *base,
             const char *path, unsigned flags, struct vfs_handle **ret);
/* One name in a directory, "." and ".." among them, which nothing but the top of the namespace confines here; symbolic
 * links are not followed. */
int vfs_lookup(struct vfs_handle *dir, const struct vfs_cred *cred, const char *name, size_t name_len,
               struct vfs_handle **ret);
/* Another handle on the same object, for data: VFS_ACCESS_READ and _WRITE. @cred NULL: what was checked before.
 * -EACCES, -EROFS, -EISDIR, -EPERM (immutable), -ENXIO (not a file). */
int vfs_open_handle(struct vfs_handle *h, const struct vfs_cred *cred, unsigned access, struct vfs_handle **ret);
/* May @cred do that (VFS_ACCESS_*, together)? 0 or -EACCES, -EROFS. */
int vfs_access(struct vfs_handle *h, const struct vfs_cred *cred, unsigned access);

/* An object's place, as clients keep it over restarts. */
struct vfs_fid {
	uint64_t fsid;
	uint64_t object;
};
int vfs_get_fid(struct vfs_handle *h, struct vfs_fid *ret);
/* -ESTALE: it is gone, or its file system is not mounted. @beside: any handle on the same mount (an export's root), or
 * on one that this mount lies over a directory of, at whatever depth. */
int vfs_open_fid(struct vfs_handle *beside, const struct vfs_fid *fid, struct vfs_handle **ret);

/* A new object. */
struct vfs_new {
	enum vfs_type type;
	uint32_t mode; /* permission bits; the file system takes them as they are */
	uint32_t uid, gid; /* set by the VFS */
	uint64_t rdev; /* of device nodes */
	const char *target; /* of a symbolic link: 1..VFS_PATH_MAX - 1 bytes */
	size_t target_len;
	const struct vfs_tag *tag; /* set by the VFS */
	/* Set by the VFS: what the object inherits, as extended attributes of these names; NULL: none. */
	const void *access_acl, *default_acl;
	size_t access_acl_len, default_acl_len;
};
#define VFS_ACL_ACCESS "system.posix_acl_access"
#define VFS_ACL_DEFAULT "system.posix_acl_default"
/*
 * -EEXIST, -EACCES, -EROFS, -ENOSPC, -EDQUOT, ... @cred owns it; a directory with the setgid bit passes on its group,
 * and its bit to directories. *ret_handle: access @access to data, whatever @mode says. *ret_stat (may be NULL): of the
 * new object.
 */
int vfs_create(struct vfs_handle *dir, const struct vfs_cred *cred, const char *name, size_t name_len,
               const struct vfs_new *attr, unsigned access, struct vfs_handle **ret_handle, struct vfs_stat *ret_stat);
/* A file without a name; vfs_link() may give it one, otherwise it goes with its last handle. */
int vfs_create_nameless(struct vfs_handle *dir, const struct vfs_cred *cred, uint32_t mode,
                        struct vfs_handle **ret_handle);
int vfs_link(struct vfs_handle *dir, const struct vfs_cred *cred, const char *name, size_t name_len,
             struct vfs_handle *target);
/* @want_dir: an empty directory, otherwise anything else. The sticky bit is observed, as it is by vfs_rename(), for
 * what has the name when it goes. */
int vfs_unlink(struct vfs_handle *dir, const struct vfs_cred *cred, const char *name, size_t name_len, bool want_dir);
#define VFS_RENAME_NOREPLACE 1u
#define VFS_RENAME_EXCHANGE 2u
int vfs_rename(struct vfs_handle *dir, const struct vfs_cred *cred, const char *name, size_t name_len,
               struct vfs_handle *new_dir, const char *new_name, size_t new_name_len, unsigned flags);

/* Attributes to be changed: those named in @valid. */
#define VFS_SET_MODE 1u
#define VFS_SET_UID 2u
#define VFS_SET_GID 4u
#define VFS_SET_SIZE 8u
#define VFS_SET_ATIME 16u
#define VFS_SET_MTIME 32u
#define VFS_SET_ATIME_NOW 64u
#define VFS_SET_MTIME_NOW 128u
#define VFS_SET_FLAGS 256u
#define VFS_SET_ACL 2048u /* the access ACL; set by the VFS, together with the mode */
#define VFS_SET_PROJECT 1024u /* root only; -EOPNOTSUPP */
#define VFS_SET_KILL_SUID 512u /* clear setuid, and setgid of what groups may execute; set by the VFS */
struct vfs_set_attr {
	unsigned valid;
	uint32_t mode, uid, gid, flags;
	uint32_t project; /* 0: none */
	uint64_t size_bytes;
	uint64_t atime_ns, mtime_ns; /* since 1970; before, as int64_t */
	const struct vfs_tag *tag; /* set by the VFS */
	const void *access_acl; /* NULL: it is taken away, if there is one */
	size_t access_acl_len;
};
/* -EPERM (not the owner), -EACCES, -EROFS, -EFBIG, ... A handle opened for writing may always set the size. *ret_stat
 * may be NULL. */
int vfs_set_attr(struct vfs_handle *h, const struct vfs_cred *cred, const struct vfs_set_attr *attr,
                 struct vfs_stat *ret_stat);

/* Entries behind @cookie (0: from the start) until @fn returns false. "." and ".." are not among them. -ENOTDIR,
 * -EACCES. @fn may call the VFS. */
int vfs_readdir(struct vfs_handle *dir, const struct vfs_cred *cred, uint64_t cookie, vfs_dir_fn *fn, void *ctx);
/* @buf of VFS_PATH_MAX bytes, terminated. -EINVAL: not a symbolic link. */
int vfs_read_link(struct vfs_handle *h, char *buf, size_t *ret_len);

/*
 * Extended attributes, in the name spaces "user.", "trusted.", "security." and "system." (the POSIX ACLs, in the Linux
 * kernel's format of version 2). -ENODATA, -ERANGE (longer than @cap; *ret_len tells how long; @cap 0 only asks),
 * -EEXIST, -EPERM, -EACCES, -EOPNOTSUPP (name space), -E2BIG, -ENOSPC.
 */
#define VFS_XATTR_CREATE 1u /* -EEXIST when it is there */
#define VFS_XATTR_REPLACE 2u /* -ENODATA when it is not */
typedef bool vfs_xattr_fn(void *ctx, const char *name, size_t name_len);
int vfs_get_xattr(struct vfs_handle *h, const struct vfs_cred *cred, const char *name, void *buf, size_t cap,
                  size_t *ret_len);
int vfs_set_xattr(struct vfs_handle *h, const struct vfs_cred *cred, const char *name, const void *value, size_t len,
                  unsigned flags);
int vfs_remove_xattr(struct vfs_handle *h, const struct vfs_cred *cred, const char *name);
int vfs_list_xattr(struct vfs_handle *h, const struct vfs_cred *cred, vfs_xattr_fn *fn, void *ctx);

struct vfs_statfs {
	uint64_t fsid;
	uint64_t total_bytes, free_bytes, available_bytes; /* available: to those who are not root */
	uint64_t object_count, objects_free; /* UINT64_MAX - object_count where there is no limit */
	uint32_t block_bytes;
	uint32_t name_max;
	bool read_only;
};
int vfs_statfs(struct vfs_handle *h, struct vfs_statfs *ret);

/* What was done in the file system (of WFS v3: in the dataset) since it was mounted, whoever asked for it. */
struct vfs_figures {
	uint64_t reads, read_errors, read_bytes;
	uint64_t writes, write_errors, written_bytes;
	uint64_t changes, change_errors; /* of names and attributes */
};
/* 0; -EOPNOTSUPP: it does not count. Any thread; does not wait. */
int vfs_get_figures(struct vfs_handle *h, struct vfs_figures *ret);

/*
 * Room for data that is written soon, taken before a file is made or changed for it: a vfs_write() of at most @len
 * bytes with VFS_ROOM, in the file system of @h, finds the space. A name that is made meanwhile needs its own. 0;
 * -EAGAIN: it is not certain without a closer look, as space or a quota is short; -EOPNOTSUPP: the file system cannot
 * tell; -EROFS, -EIO. Never waits. *ret is given back when the write is over, and before the file system may go; only
 * quotas that get their first limit in between may still refuse the write. Any thread, also another one.
 */
struct vfs_room {
	void (*give_back)(struct vfs_room *r); /* the file system's */
	void *of;
	uint64_t blocks;
};
int vfs_take_room(struct vfs_handle *h, uint64_t len, struct vfs_room *ret);
/* Nothing, if none was taken, or it was given back. */
void vfs_give_room_back(struct vfs_room *r);

/* Write at the end of the file, wherever that is then; otherwise as vfs_write(). */
int vfs_append(struct vfs_handle *h, const struct iovec *iov, int iov_count, unsigned flags, const struct vfs_tag *tag);

/*
 * Take a range out of the file: what is behind it moves down, and the file is shorter. It is done as a whole, also
 * after a crash; durable with the next flush. -EINVAL: it is not aligned to what the file system can take out (WFS v3:
 * 64 KiB), or does not end before the end of the file; -EPERM: immutable, or append-only; -EOPNOTSUPP; otherwise as
 * vfs_write().
 */
int vfs_collapse(struct vfs_handle *h, uint64_t offset, uint64_t len, const struct vfs_tag *tag);

/*
 * Was the change with that tag made, in the file system of @h (any handle on it)? 0: it was, and *ret is its result.
 * -ENOENT: not, or it was lost in a crash; -EPROTO: the place has a later request; -EOPNOTSUPP: the file system keeps
 * no results; -EIO, -EUCLEAN. May block.
 */
struct vfs_result {
	uint32_t kind; /* as it was in the tag; that of the question does not matter */
	uint64_t number; /* create: the new object; append: the offset; otherwise 0 */
	/* Of a transaction's commit, what vfs_tx_commit() was told to keep; to be freed. NULL: nothing, or no more. */
	uint8_t *answer;
	size_t answer_len;
};
int vfs_recall(struct vfs_handle *h, const struct vfs_tag *tag, struct vfs_result *ret);
/*
 * Nobody will ask for results of that client's: all mounted file systems that can give their space back now, and not
 * only when they expire. Those of changes that are made meanwhile may go, too; that of an append whose data is not on a
 * device yet may stay until it expires. 0, or what kept one of them from it (the others have done it all the same):
 * -EIO, -EUCLEAN, -ENOMEM. Blocks.
 */
int vfs_forget_results(struct vfs *v, const uint8_t client[VFS_CLIENT_KEY_BYTES]);

/*
 * Advisory locks on byte ranges, by owner (a number that the front end makes unique over all clients). A lock that has
 * to wait is granted later, in the order of asking: @granted is then called once, on any thread, with 0 or why not
 * (-EDEADLK, -ECANCELED), and must not call the VFS. @len UINT64_MAX: to the end, wherever that is.
 */
enum vfs_lock_type {
	VFS_LOCK_SHARED = 1,
	VFS_LOCK_EXCLUSIVE = 2,
};
/*
 * What one client's owners have together: a quarter at most of what there is for all, so that none takes everything.
 * All zero at first, the VFS's then. Outlives its owners' locks and waits.
 */
struct vfs_lock_share {
	unsigned held, waiting;
};
struct vfs_lock {
	uint64_t owner;
	enum vfs_lock_type type;
	uint64_t offset, len_bytes;
	struct vfs_lock_share *share; /* always the same for an owner; NULL: not counted. An answer has none. */
};
typedef void vfs_lock_granted_fn(void *ctx, int result);
/* 0: granted. -EAGAIN: somebody else has it (and @granted is NULL). -EINPROGRESS: it waits; *ret_wait is its number for
 * vfs_lock_cancel(), never used again. -EDEADLK, -ENOLCK (too many, of all or of the share). Locks of one owner that
 * touch are joined, the newer type wins.
 */
int vfs_lock(struct vfs_handle *h, const struct vfs_lock *lock, vfs_lock_granted_fn *granted, void *ctx,
             uint64_t *ret_wait);
/* When it still waits, @granted is called with -ECANCELED before this returns. */
void vfs_lock_cancel(struct vfs *v, uint64_t wait);
int vfs_unlock(struct vfs_handle *h, uint64_t owner, uint64_t offset, uint64_t len);
/* Who would keep @lock from being granted? -ENOENT: nobody. */
int vfs_lock_test(struct vfs_handle *h, const struct vfs_lock *lock, struct vfs_lock *ret);
/* An owner is gone: all its locks on all files are given up, its waits cancelled. */
void vfs_unlock_owner(struct vfs *v, uint64_t owner);

#endif
