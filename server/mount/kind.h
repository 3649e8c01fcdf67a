/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Kinds of file systems that can be mounted: one row each in kinds.c, one file kind_NAME.c each that knows the file
 * system. Everything else about mounts (mount.h) is the same for all.
 *
 * To add one: write kind_NAME.c with a struct mount_kind, declare it below, and put it into the table of kinds.c.
 */
#ifndef WFSD_SERVER_MOUNT_KIND_H
#define WFSD_SERVER_MOUNT_KIND_H

#include "core/vfs/vfs_ops.h"

struct blk_dev;
struct budget;
struct cache;
struct metrics;

#define MOUNT_REASON_MAX 256

/* What open() gets. All of it stays valid until @gone was called. */
struct mount_request {
	const char *source; /* as mount.h says; for texts, and of kinds with a scheme the address to connect to */
	struct blk_dev
	        *dev; /* open, and idle but for this mount; the table closes it after @gone. NULL with a scheme */
	bool read_only;
	uint32_t uid, gid; /* whose everything is on a file system without owners */
	uint32_t file_mode, dir_mode; /* likewise, 07777 */
	struct cache *cache;
	struct budget *budget;
	struct metrics *metrics;
	/*
	 * To be called exactly once after an open() that returned 0: when the last node was released, and the file
	 * system is closed; @rc says how that went. In any thread, but with no lock of the file system held. It may
	 * block.
	 */
	void (*gone)(void *gone_ctx, int rc);
	void *gone_ctx;
};

/* How it is doing. */
struct mount_health {
	bool read_only; /* changes are refused */
	char reason[MOUNT_REASON_MAX]; /* why, although it need not be, or what else is wrong; "" */
};

/*
 * A file system that open() made. The table holds the reference to @root as long as it calls these, so that @fs is
 * there. Any thread; sync may block.
 */
struct mount_fs {
	struct vfs_node *root; /* a directory; the reference becomes the table's */
	void *fs;
	/* Everything that was done before is durable when it returns 0. */
	int (*sync)(void *fs);
	/*
	 * For a forced removal: whoever still holds a node is answered -ESTALE from now on. The table calls sync()
	 * once more then; what is left to do when the last node is released must end soon, whatever a device or a
	 * server does: one thread closes the file systems of all mounts, one after the other.
	 */
	void (*kill)(void *fs);
	void (*health)(void *fs, struct mount_health *ret); /* may wait for the device, but not for a network */
};

struct mount_kind {
	const char *name; /* literal, like "fat" */
	const char *scheme; /* sources begin with it, like "nfs://"; NULL: the source is a device or a file */
	bool keeps_no_owners; /* --uid, --gid and --umask are for it */
	/* 0; -EUCLEAN: no such file system there; errors of the device or the network. After an error nothing is left,
	 * and gone() is not called. May block. */
	int (*open)(const struct mount_request *request, struct mount_fs *ret);
};

extern const struct mount_kind mount_kind_fat, mount_kind_nfs, mount_kind_wfs2;

/* NULL: there is no such kind. */
const struct mount_kind *mount_kind_find(const char *name);

#endif
