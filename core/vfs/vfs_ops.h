/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VFS, for file systems: what one implements to be mounted.
 *
 * A node is one object of a mounted file system, reference counted; an object has one node for as long as that is
 * referenced. The VFS checks arguments (bounds of ranges against the size, writability, flags) before it calls; file
 * systems check what only they know.
 */
#ifndef WFSD_CORE_VFS_VFS_OPS_H
#define WFSD_CORE_VFS_VFS_OPS_H

#include "core/vfs/vfs_tx.h"
#include "core/vfs/vfs_watch.h"

struct vfs_node;

/* Who takes names out of a directory. */
struct vfs_taker {
	uint32_t uid;
	bool owner_only; /* only those of what is his */
};
/* May what has that owner and those flags (VFS_FLAG_*) lose a name to him? @taker NULL: to anybody. 0 or -EPERM. Any
 * thread, under any lock. */
int vfs_taker_check(const struct vfs_taker *taker, uint32_t owner_uid, uint32_t flags);

struct vfs_node_ops {
	/* All that is called here honours nowait_here() (core/base/nowait.h). Without it, nothing but release, stat and
	 * close is called by a thread that must not wait; what is called with VFS_NOWAIT honours that in any case. */
	bool nowait;
	/* What waits does so for another machine. When VFS_NOWAIT makes something return -EAGAIN, it says that
	 * (nowait_tell_remote()). */
	bool remote;
	/* The last reference is gone. */
	void (*release)(struct vfs_node *n);
	int (*stat)(struct vfs_node *n, struct vfs_stat *ret); /* never blocks */

	/*
	 * Directories. Names are one component, their length given, not terminated, checked by the VFS. All of these
	 * may block. Each is atomic: it is seen whole or not at all, also after a crash. Access was checked by the VFS;
	 * what the entry is now may differ from what the VFS saw when it checked, so the file system checks types,
	 * emptiness and existence itself, and what loses a name with vfs_taker_check(); not where all has one owner and
	 * no flags, nor where a server decides. @tag (may be NULL, as in struct vfs_new and vfs_set_attr): its result
	 * is kept with the change, by file systems that have recall.
	 */
	int (*lookup)(struct vfs_node *dir, const char *name, size_t name_len,
	              struct vfs_node **ret); /* -ENOENT;
	                                       *ret is referenced */
	/* Entries behind @cookie (0: from the start), until @fn returns false or there are no more. "." and ".." are
	 * not among them. @fn is called without locks that a lookup or stat would need. */
	int (*readdir)(struct vfs_node *dir, uint64_t cookie, vfs_dir_fn *fn, void *ctx);
	/* The directory that holds this one; of the mount's top: -ENOENT. *ret is referenced. */
	int (*parent)(struct vfs_node *dir, struct vfs_node **ret);
	/* A new object of any type, with its ACLs, if the file system has extended attributes. -EEXIST, -ENOSPC,
	 * -EDQUOT. *ret is referenced. */
	int (*create)(struct vfs_node *dir, const char *name, size_t name_len, const struct vfs_new *attr,
	              struct vfs_node **ret);
	/* A nameless file, which link() may name; gone with its last reference otherwise. */
	int (*create_nameless)(struct vfs_node *dir, const struct vfs_new *attr, struct vfs_node **ret);
	/* -EEXIST, -EMLINK, -EXDEV (not of this file system). */
	int (*link)(struct vfs_node *dir, const char *name, size_t name_len, struct vfs_node *target,
	            const struct vfs_tag *tag);
	/* @want_dir: an empty directory (-ENOTEMPTY, -ENOTDIR), otherwise anything else (-EISDIR). Who still holds a
	 * reference goes on using the object. -ENOENT. */
	int (*unlink)(struct vfs_node *dir, const char *name, size_t name_len, bool want_dir,
	              const struct vfs_taker *taker, const struct vfs_tag *tag);
	/* Flags: VFS_RENAME_*. Replaces what is at the new name: an empty directory by a directory, anything else by
	 * anything else. @takers: two, for what has the name and what has the new one, or NULL. -ENOENT, -EEXIST,
	 * -ENOTEMPTY, -EISDIR, -ENOTDIR, -EINVAL (into itself), -EXDEV. */
	int (*rename)(struct vfs_node *dir, const char *name, size_t name_len, struct vfs_node *new_dir,
	              const char *new_name, size_t new_name_len, unsigned flags, const struct vfs_taker *takers,
	              const struct vfs_tag *tag);

	/* Any object. The VFS has checked access and the values. */
	int (*set_attr)(struct vfs_node *n, const struct vfs_set_attr *attr);
	/* @buf of VFS_PATH_MAX bytes; not terminated. */
	int (*read_link)(struct vfs_node *n, char *buf, size_t *ret_len);
	/* Extended attributes: whole names, with their prefix. get: -ENODATA, -ERANGE (longer than @cap; *ret_len says
	 * how long; @cap 0 only asks). set: flags as VFS_XATTR_*; -ENOSPC, -E2BIG. */
	int (*get_xattr)(struct vfs_node *n, const char *name, void *buf, size_t cap, size_t *ret_len);
	int (*set_xattr)(struct vfs_node *n, const char *name, const void *value, size_t len, unsigned flags,
	                 const struct vfs_tag *tag);
	int (*remove_xattr)(struct vfs_node *n, const char *name, const struct vfs_tag *tag);
	int (*list_xattr)(struct vfs_node *n, vfs_xattr_fn *fn, void *ctx);
	int (*statfs)(struct vfs_node *n, struct vfs_statfs *ret);
	void (*get_figures)(struct vfs_node *n, struct vfs_figures *ret);
	/* Of any node of the mount: another one by its place. -ESTALE: there is none. *ret is referenced. */
	int (*by_object)(struct vfs_node *any, uint64_t fsid, uint64_t object, struct vfs_node **ret);

	/* Files. Contracts as in vfs.h; ranges are within the size that stat reported, or the file grows. NULL:
	 * -EOPNOTSUPP. */
	int (*open)(struct vfs_node *n, bool writable); /* NULL: always allowed */
	void (*close)(struct vfs_node *n, bool writable);
	int (*read)(struct vfs_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags);
	int (*read_ref)(struct vfs_node *n, uint64_t offset, size_t len, unsigned flags, struct vfs_ref *ret);
	int (*write)(struct vfs_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags);
	/* As write with VFS_APPEND, which takes its place when it is NULL. */
	int (*append)(struct vfs_node *n, const struct iovec *iov, int iov_count, unsigned flags,
	              const struct vfs_tag *tag);
	/* As vfs_take_room(). NULL: -EOPNOTSUPP. */
	int (*take_room)(struct vfs_node *any, uint64_t len, struct vfs_room *ret);
	/* As vfs_recall(). NULL: -EOPNOTSUPP. */
	int (*recall)(struct vfs_node *any, const struct vfs_tag *tag, struct vfs_result *ret);
	/* The root of a mount: as vfs_forget_results(), in all that the mount reaches. NULL: there are none. */
	int (*forget_results)(struct vfs_node *root, const uint8_t *client);
	/* Any object of a file tree: its data, its attributes, and its name are durable. */
	int (*flush)(struct vfs_node *n, unsigned flags);
	/* Of a file. The range may reach beyond the end, and does not overflow. NULL: flush does it. */
	int (*flush_range)(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags);
	int (*discard)(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags);
	int (*zero)(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags);
	/* NULL: there are no holes. */
	/* A range of whole allocation units that ends before the end goes, and what is behind it moves down. */
	int (*collapse)(struct vfs_node *n, uint64_t offset, uint64_t len, const struct vfs_tag *tag);
	int (*extents)(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags, struct vfs_extent *ret,
	               unsigned max, unsigned *ret_count);
	int (*prefetch)(struct vfs_node *n, uint64_t offset, uint64_t len);

	/* Transactions; NULL: there are none. As vfs_tx_begin(), vfs_tx_status(). */
	int (*tx_begin)(struct vfs_node *any, const struct vfs_tx_args *args, struct vfs_tx **ret);
	int (*tx_status)(struct vfs_node *any, uint64_t id, struct vfs_tx_info *ret);
	/* Of a node inside of a transaction: the object outside, not referenced, or NULL: it was created inside. NULL
	 * for all others. */
	struct vfs_node *(*outside)(struct vfs_node *n);
};

/* A change that a transaction has made, of a name, or (name_len 0) of an object. Valid during the call. */
struct vfs_tx_change {
	uint64_t dir; /* of a name: its directory */
	const char *name; /* not terminated */
	size_t name_len;
	uint64_t before, after; /* the object of that name; 0: none */
	uint64_t object; /* otherwise: it has changed */
};
/* Under locks of the file system: it must not call that. */
typedef void vfs_tx_change_fn(void *ctx, const struct vfs_tx_change *change);

/* What a file system does for a transaction, which it embeds in its own. As the functions of vfs_tx.h. */
struct vfs_tx_ops {
	void (*free)(struct vfs_tx *tx);
	/* *ret is referenced. */
	int (*node)(struct vfs_tx *tx, struct vfs_node *outside, struct vfs_node **ret);
	/* @answer: to be kept with it, or NULL. @fn, unless NULL, hears of all that was changed once it is. */
	int (*commit)(struct vfs_tx *tx, bool durable, const struct vfs_answer *answer, vfs_tx_change_fn *fn,
	              void *ctx);
	int (*abort)(struct vfs_tx *tx, int reason);
	void (*get_info)(struct vfs_tx *tx, struct vfs_tx_info *ret);
};

struct vfs_mount_point;
struct vfs_tx {
	const struct vfs_tx_ops *ops;
	/* The VFS's. */
	struct vfs *vfs;
	struct vfs_mount_point *mount;
	uint64_t fsid;
};

/* Embedded at the start of the file system's own node. */
struct vfs_node {
	const struct vfs_node_ops *ops;
	enum vfs_type type;
	uint64_t refs; /* atomic */
};

/* For file systems that keep no times before 1970: what they make of a time of struct vfs_set_attr. */
static inline uint64_t vfs_time_since_1970(uint64_t time_ns)
{
	return (int64_t)time_ns < 0 ? 0 : time_ns;
}

/* A new node has one reference. */
void vfs_node_init(struct vfs_node *n, const struct vfs_node_ops *ops, enum vfs_type type);
void vfs_node_ref(struct vfs_node *n);
/*
 * For file systems that find an object's node again by a pointer of their own: false when the last reference is gone.
 * Then ops->release is running or will be, so the memory must be kept from it by a lock of the file system meanwhile.
 */
bool vfs_node_try_ref(struct vfs_node *n);
/* NULL is fine. The last one calls ops->release. */
void vfs_node_unref(struct vfs_node *n);
/*
 * For ops->zero of file systems where zeros take space like any data: it writes them, through ops->write, and what
 * fails stops it. VFS_FAST: -EOPNOTSUPP. VFS_NOWAIT: -EAGAIN. VFS_FUA: ops->flush is called in the end.
 */
int vfs_node_zero(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags);

/*
 * Mount: @root (a directory or a file; one reference is taken) appears at @path. "NAME" or "/NAME" is an entry of the
 * top directory; a longer path is one of a directory that exists, which @root then lies over. -EEXIST (something is
 * mounted there), -EINVAL, -ENAMETOOLONG (bad path), -ENOENT, -ENOTDIR, -ESTALE, -ENOMEM.
 * Unmount, by the same path: no new lookups, and locks on its files are given up. -ENOENT. While handles are open or
 * something is mounted below: -EBUSY, or with @force it goes all the same; the file system then answers -ESTALE on the
 * nodes that the handles still hold, and what is mounted below is reached through its drive letter only.
 */
int vfs_mount(struct vfs *v, const char *path, struct vfs_node *root, bool read_only);
/*
 * The same, and @left is called when nobody uses the mount any more: it was unmounted, and the last handle is closed.
 * Whoever holds a reference to @root until then, and gives it up in a thread of its own, decides where the file system
 * is closed. Called once if this succeeded; in any thread, which may be one that must not wait, without locks.
 */
typedef void vfs_left_fn(void *ctx);
int vfs_mount_held(struct vfs *v, const char *path, struct vfs_node *root, bool read_only, vfs_left_fn *left,
                   void *ctx);
int vfs_unmount(struct vfs *v, const char *path, bool force);
/* Give a mount a drive letter, 'A'..'Z' (or lower case, which is the same), or take it away: 0. -ENOENT, -EEXIST
 * (another mount has it), -EINVAL. */
int vfs_set_drive(struct vfs *v, const char *path, char letter);
/* The path from the top of what may begin with a drive letter: "C:\\dir" is "/tank/dir" when /tank is drive C; other
 * paths are copied. 0; -ENOENT: no mount has that letter; -ENAMETOOLONG. */
int vfs_drive_path(struct vfs *v, const char *path, char ret[VFS_PATH_MAX]);

/* One path component or a pool's or volume's name: 1..VFS_NAME_MAX bytes, no '/', no control characters, not "." or
 * "..". 0 or -EINVAL / -ENAMETOOLONG with context. */
int vfs_check_name(const char *name, size_t len);

#endif
