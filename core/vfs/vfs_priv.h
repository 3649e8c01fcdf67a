/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to the VFS: mounts, handles, places in the namespace, and the one gate for access. */
#ifndef WFSD_CORE_VFS_VFS_PRIV_H
#define WFSD_CORE_VFS_VFS_PRIV_H

#include <errno.h>
#include <urcu/list.h>

#include "core/base/nowait.h"
#include "core/base/sync.h"
#include "core/vfs/vfs_ops.h"
#include "core/vfs/stats.h"

/* An object and the mount it was reached through; both referenced. */
struct place {
	struct vfs_mount_point *mount;
	struct vfs_node *node;
};

struct vfs_mount_point {
	struct cds_list_head link; /* vfs->mounts */
	struct vfs_node *root; /* referenced */
	struct place covered; /* the directory that it lies over; none: it is an entry of the top directory */
	uint64_t id; /* never reused: the cookie of its entry in the top directory */
	bool read_only;
	bool gone; /* atomic: it is being unmounted, or is */
	vfs_left_fn *left; /* NULL: nobody wants to know */
	void *left_ctx;
	char drive; /* 'A'..'Z', or 0; guarded by the lock of the table */
	unsigned refs; /* atomic: one for the table, one for each handle, walk in progress, and mount over it */
	unsigned handle_count; /* atomic */
	unsigned child_count; /* atomic: mounts over directories of it; changes under the lock of the table */
	size_t path_len;
	char path[]; /* "/NAME", or longer */
};

#define ATTR_LOCK_BITS 7
#define ATTR_LOCKS (1u << ATTR_LOCK_BITS)

struct vfs {
	struct sync_mutex lock; /* SYNC_RANK_NAMESPACE: the table of mounts */
	struct cds_list_head mounts SYNC_GUARDED_BY(lock); /* ascending id */
	uint64_t next_mount_id SYNC_GUARDED_BY(lock);
	struct vfs_mount_point *top; /* "/", whose directory holds the mounts; not in the table */
	struct vfs_node top_node; /* its root */
	struct vfs_locks *locks;
	struct watch_hub *watches; /* watch.h */
	struct lease_table *leases; /* lease.h */
	struct metrics *metrics; /* NULL: none */
	struct op_stats stats[OP_CLASSES];
	struct sync_mutex attr_locks[2][ATTR_LOCKS]; /* SYNC_RANK_ATTR; attr_lock.h; [1]: remote objects */
};

/*
 * An object in use. References: one for the opener, given up by vfs_close(); operations hold one while they run, so
 * that a close on another thread never pulls the node away from under them.
 */
struct vfs_handle {
	struct vfs *vfs;
	struct vfs_mount_point *mount;
	struct vfs_node *node;
	unsigned access; /* to data: VFS_ACCESS_READ, VFS_ACCESS_WRITE */
	bool opened; /* by the file system: has access to data */
	bool by_root; /* opened by uid 0: writing leaves the setuid bit alone */
	uint64_t refs; /* atomic */
};

/* -EAGAIN: this thread must not wait, and the node's file system may. */
static inline int node_may_wait(const struct vfs_node *n)
{
	if (!nowait_here() || n->ops->nowait)
		return 0;
	if (n->ops->remote)
		nowait_tell_remote();
	return -EAGAIN;
}

/* mount.c */
void mount_ref(struct vfs_mount_point *m);
void mount_unref(struct vfs_mount_point *m); /* NULL is fine */
/* The root of what is mounted under that name in the top directory, or has that drive letter; -ENOENT. */
int mount_find(struct vfs *v, const char *name, size_t len, struct place *ret);
int mount_find_drive(struct vfs *v, char letter, struct place *ret);
bool drive_is_named(const char *path); /* "C:", "C:/dir", "C:\\dir" */
void drive_slashes(char *path); /* '\\' is as good as '/' behind a drive letter */
/* Is something mounted over the directory? Then @at becomes the root of that. */
void mount_cross(struct vfs *v, struct place *at);
/* The root of the next mount, by id; *id: 0 at first. */
bool mount_next(struct vfs *v, uint64_t *id, struct place *ret);
/* The root of the next mount, by id, that lies over a directory of @m, or of one that does; *id: 0 at first. */
bool mount_next_over(struct vfs *v, const struct vfs_mount_point *m, uint64_t *id, struct place *ret);
/* -EBUSY when something is mounted over it. */
int mount_check_uncovered(struct vfs *v, struct vfs_mount_point *m, const struct vfs_node *node);
void place_copy(struct place *to, const struct place *from);
void place_drop(struct place *at); /* of nothing is fine */

/* walk.c */
/* One name further, as vfs_lookup(). @at is replaced; on an error it is as before. @limit (may be NULL): ".." does not
 * lead above it, and is -ESTALE in what is not below it. */
int walk_step(struct vfs *v, struct place *at, const struct place *limit, const struct vfs_cred *cred, const char *name,
              size_t len);
/* From the top along @path, which must be plain: absolute, no empty, "." or ".." components, no control characters. For
 * administrators. *ret is referenced. */
int walk_plain(struct vfs *v, const char *path, struct place *ret);

/* handle.c */
/* A handle on @at, whose references it takes over (or drops, on an error), with @access to data, not checked here. */
int handle_new(struct vfs *v, struct place *at, unsigned access, bool by_root, struct vfs_handle **ret);
int handle_stat(struct vfs_handle *h, struct vfs_stat *ret);

/* access.c */
/* May @cred do @access (VFS_ACCESS_*, all of it) with the object? 0 or -EACCES. */
int access_check(struct vfs_node *n, const struct vfs_stat *st, const struct vfs_cred *cred, unsigned access);
bool access_in_group(const struct vfs_cred *cred, uint32_t gid);
/* By the permission bits alone. */
bool access_by_mode(const struct vfs_stat *st, const struct vfs_cred *cred, unsigned access);
/* Its mount and its file system take changes: 0 or -EROFS. */
int access_check_writable(const struct vfs_handle *h, const struct vfs_stat *st);
/* May names be added to (or, with @removing, taken out of) the directory? *ret_st is its state. */
int access_check_dir_change(struct vfs_handle *dir, const struct vfs_cred *cred, bool removing,
                            struct vfs_stat *ret_st);
/* What holds when @cred takes names out of a directory that looks like @dir_st. */
struct vfs_taker access_taker(const struct vfs_stat *dir_st, const struct vfs_cred *cred);
/* May @victim lose a name? 0 or -EPERM. The file system asks again, when the name can change no more. */
int access_check_victim(const struct vfs_taker *taker, struct vfs_node *victim);

/* acl.c: POSIX ACLs as extended attributes */
#define ACL_BYTES_MAX (4u + 8u * 1024u)
/* Does the ACL of an object of @st allow @cred all of @access? The permission bits take the place of those entries that
 * stand for them. 0, -EACCES, -EINVAL (malformed). */
int acl_check(void *acl, size_t len, const struct vfs_stat *st, const struct vfs_cred *cred, unsigned access);
/* Well-formed? 0 or -EINVAL. *ret_mode: what it says as permission bits; *ret_minimal: it says nothing else. */
int acl_validate(const void *acl, size_t len, uint32_t *ret_mode, bool *ret_minimal);
/* Make a (valid) ACL say what the permission bits say: those of its entries that stand for them. */
void acl_set_mode(void *acl, size_t len, uint32_t mode);
/* Make the default ACL of a directory the ACL of an object that is created with @mode; returns the object's mode. */
uint32_t acl_inherit(void *acl, size_t len, uint32_t mode);

/* xattr.c: of any object, without checks of access. -ENODATA also where the file system has none. *ret is the caller's.
 */
int xattr_read_acl(struct vfs_node *n, const char *name, void **ret, size_t *ret_len);

/* lock.c */
struct vfs_locks *locks_new(void); /* NULL: memory */
void locks_free(struct vfs_locks *l); /* NULL is fine */
/* All locks on objects of the mount, which is gone, are given up; who waits for one is told -ESTALE. */
void locks_drop_mount(struct vfs_locks *l, const struct vfs_mount_point *m);

#endif
