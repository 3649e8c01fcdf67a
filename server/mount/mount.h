/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * File systems other than pools in the namespace: the table of what is mounted where. A mount has a kind (kind.h), a
 * source, and a path at which it appears.
 *
 * Sources: "host:/PATH" is a block device or a file of this machine; "wfs:/PATH" is a file of the namespace itself,
 * like an image on a volume; a plain "/PATH" is whichever of the two is there, and refused when both are. Kinds with a
 * scheme of their own ("nfs://...") take only that.
 *
 *            add                    remove                          last node released
 *   (none) -------> mounted -----------------------------> leaving --------------------> (none)
 *
 * While it is leaving, its path is free, but its source is still in use. That takes a moment, or, after a forced
 * removal, until the last client closes what it had open. All functions: any thread, without locks; may block.
 */
#ifndef WFSD_SERVER_MOUNT_MOUNT_H
#define WFSD_SERVER_MOUNT_MOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/vfs/vfs.h"

struct budget;
struct cache;
struct metrics;
struct mount_table;

#define MOUNT_KIND_MAX 15
#define MOUNT_SOURCE_MAX (VFS_PATH_MAX + 16)
#define MOUNT_UMASK_DEFAULT 022u

/* What is asked for, and remembered. */
struct mount_spec {
	char kind[MOUNT_KIND_MAX + 1]; /* "fat" */
	char source[MOUNT_SOURCE_MAX];
	char path[VFS_PATH_MAX]; /* "/stick" */
	bool read_only;
	uint32_t uid, gid, umask; /* of kinds that keep no owners; 0777 */
};

struct mount_info {
	struct mount_spec spec; /* the source is no plain path */
	bool leaving;
	bool read_only; /* now, whatever was asked for */
	char reason[256]; /* why, or what else is wrong; "" */
};

struct mount_config {
	struct vfs *vfs;
	struct cache *cache;
	struct budget *budget;
	struct metrics *metrics;
};

/* What is in @config outlives it. NULL when memory is short. */
struct mount_table *mount_table_new(const struct mount_config *config);
/* After mount_table_stop(). NULL is fine. */
void mount_table_free(struct mount_table *t);

/*
 * Mount. @spec->source becomes one that is no plain path. -EINVAL (no such kind, bad or ambiguous source, bad path,
 * options that the kind does not take), -ENOENT, -EBUSY (the source is in use), -EEXIST (something is mounted there),
 * -ENOTDIR, -ELOOP (the image would be hidden by its own mount, is reached through one of wfs-fuse, or images are
 * nested too deeply), -EROFS (the device is read-only, and this was not asked for), -EUCLEAN (not such a file system,
 * or damaged), -EIO, -ENOMEM.
 */
int mount_add(struct mount_table *t, struct mount_spec *spec);

/* A mount that was removed along with another; it must not call back. */
typedef void mount_removed_fn(void *ctx, const char *path);

struct mount_removal {
	bool leaving; /* the source is still in use */
	int error; /* not everything could be written; otherwise 0 */
};
/*
 * Unmount. Without @force: -EBUSY while files are open, or other mounts stand on it. With it: first all that stands on
 * it goes, too (@fn is told, may be NULL); what was acknowledged is made durable; whoever has something open is
 * answered -ESTALE. -ENOENT. When it returns 0, nothing is mounted there any more.
 */
int mount_remove(struct mount_table *t, const char *path, bool force, mount_removed_fn *fn, void *ctx,
                 struct mount_removal *ret);
/* Remove, by force, all that stands on @path, at or below: for a pool that goes. */
void mount_remove_users(struct mount_table *t, const char *path, mount_removed_fn *fn, void *ctx);

/* In the order in which they were mounted. @fn must not call back. */
void mount_each(struct mount_table *t, void (*fn)(void *ctx, const struct mount_info *info), void *ctx);
/* Is a mount's source at or below @path, or its place below? *ret_path (may be NULL) is the place of one that is. */
bool mount_find_user(struct mount_table *t, const char *path, char ret_path[VFS_PATH_MAX]);

/* Is the file at @path in the namespace the source of a mount? Likewise. */
bool mount_find_source(struct mount_table *t, const char *path, char ret_path[VFS_PATH_MAX]);

/* Drive letters of whatever is mounted, pools among it: vfs_set_drive() and vfs_drive_path(). */
int mount_set_drive(struct mount_table *t, const char *path, char letter);
int mount_drive_path(struct mount_table *t, const char *path, char ret[VFS_PATH_MAX]);

/* At the end: remove all by force, the newest first. 0, or the error of one whose last sync failed. */
int mount_table_stop(struct mount_table *t);

#endif
