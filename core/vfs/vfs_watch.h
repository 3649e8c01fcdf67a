/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Watches: callers are told of changes in a directory, or in everything below it, after they were made.
 *
 * What is told is meant to keep caches coherent: it may say more than what happened (a change twice, a change of an
 * object that is not below the directory any more), never less. Numbers of objects are told, and names in directories;
 * who is not root is told names only of directories that he may read.
 */
#ifndef WFSD_CORE_VFS_VFS_WATCH_H
#define WFSD_CORE_VFS_VFS_WATCH_H

#include "core/vfs/vfs_tree.h"

/* What happened. */
#define VFS_CHANGE_CREATED 1u /* there is a new name */
#define VFS_CHANGE_REMOVED 2u /* a name is gone */
#define VFS_CHANGE_MOVED_FROM 4u /* a name is gone, the object has another one */
#define VFS_CHANGE_MOVED_TO 8u /* the object has this name now; what had it before has not */
#define VFS_CHANGE_DATA 16u /* contents or size */
#define VFS_CHANGE_ATTR 32u /* attributes, links, extended attributes */
#define VFS_CHANGE_LOST 64u /* something happened, it cannot be said what: look anew */
#define VFS_CHANGE_ENDED 128u /* the file system is not mounted any more: the watch tells nothing from now on */
#define VFS_CHANGE_NAMES (VFS_CHANGE_CREATED | VFS_CHANGE_REMOVED | VFS_CHANGE_MOVED_FROM | VFS_CHANGE_MOVED_TO)
#define VFS_CHANGE_ALL (VFS_CHANGE_NAMES | VFS_CHANGE_DATA | VFS_CHANGE_ATTR)

struct vfs_change {
	unsigned what; /* one of the above; DATA and ATTR may come together, and DATA changes attributes, too */
	uint64_t fsid;
	uint64_t object; /* that has the name, or was changed; 0: something was mounted over it, or is not any more */
	uint64_t dir; /* of a name: the directory; otherwise 0 */
	const char *name; /* not terminated; valid during the call */
	size_t name_len; /* 0: there is none, or it is not for the watcher to know */
};

/* Called on the thread that made the change, for one change at a time, under a lock: it must not call the VFS. */
typedef void vfs_watch_fn(void *ctx, const struct vfs_change *change);

struct vfs_watch;

#define VFS_WATCHES_MAX 65536u

struct vfs_watch_spec {
	unsigned what; /* VFS_CHANGE_*, several of VFS_CHANGE_ALL; LOST and ENDED are told always */
	/*
	 * Everything below, too, within the same mount. Of the data and attributes of files all changes in the file
	 * system are told then, as a file does not know its directory. Without it: names in the directory, its
	 * attributes, and data and attributes of what has a name in it.
	 */
	bool subtree;
	uint64_t skip_origin; /* what this one changes is not told (vfs_set_origin()); 0: all is */
};

/*
 * Watch a directory, or (without @subtree) a single object. @cred needs read permission. -EACCES, -ENOTDIR (a subtree),
 * -EINVAL, -EMFILE (too many watches), -ENOMEM, -ESTALE (not mounted any more). May block. Changes that begin after it
 * has returned are told.
 */
int vfs_watch_open(struct vfs_handle *h, const struct vfs_cred *cred, const struct vfs_watch_spec *spec,
                   vfs_watch_fn *fn, void *ctx, struct vfs_watch **ret);
/* Nothing is told any more when it returns. NULL is fine. */
void vfs_watch_close(struct vfs_watch *w);

/* For whom this thread makes changes from now on, and to whose account it waits for leases (vfs_set_lease_waiters()),
 * which several origins may share: any numbers but 0, which stands for nobody in particular. */
void vfs_set_origin(uint64_t origin, uint64_t peer);

#endif
