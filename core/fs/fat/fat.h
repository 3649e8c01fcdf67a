/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * FAT12, FAT16 and FAT32 on a block device, read and write: the engine, independent of who calls it. FORMAT.md says
 * what is read and written, and in which order.
 *
 * A node is one file or directory; the engine has at most one in memory for each, and counts references. Every call is
 * safe from any thread, and may wait for the device unless it says otherwise. Changes become durable with fat_sync(),
 * fat_flush(), the next periodic sync, or fat_unmount(); after a crash the volume is as at some moment after the last
 * of them that succeeded, but clusters may be lost (marked as used, and used by nobody), a file's chain may be longer
 * than its size, and a file that was being renamed may be only a lost chain. `wfs fsck fat --repair` mends all that.
 *
 * Errors of all calls: -EIO (device), -EUCLEAN (damaged; the volume is read-only from then on), -EROFS, -ENOMEM.
 */
#ifndef WFSD_CORE_FS_FAT_FAT_H
#define WFSD_CORE_FS_FAT_FAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "core/fs/fat/dirent.h"

struct blk_dev;
struct budget;
struct cache;
struct fat_fs;
struct fat_node;

#define FAT_NOWAIT 1u /* -EAGAIN instead of waiting; nothing was changed */
#define FAT_APPEND 2u /* write: at the end; the offset is not used */
#define FAT_MAKES_ROOM 4u /* write within the size: never waits for dirty memory to become less (VFS_MAKES_ROOM) */

struct fat_mount_options {
	struct cache *cache; /* for file contents; outlives the mount */
	struct budget *budget; /* charged with tables and directories; may be NULL */
	bool read_only;
	int utc_offset_minutes; /* what is added to UTC to get the times on the volume */
	unsigned sync_interval_ms; /* changes are not in memory only for longer; 0: only when asked */
};

/*
 * @dev stays the caller's, and is idle but for this mount. -EUCLEAN: no FAT, or its boot sector or FAT is damaged.
 * A volume that was not unmounted cleanly is mounted all the same and keeps its dirty mark.
 */
int fat_mount(struct blk_dev *dev, const struct fat_mount_options *options, struct fat_fs **ret);
/*
 * Every node was put. Writes everything, and the clean mark when the volume was clean and nothing failed. Returns the
 * error of that; the file system is gone in any case.
 */
int fat_unmount(struct fat_fs *fs);

struct fat_info {
	enum fat_type type;
	uint32_t sector_bytes, cluster_bytes, cluster_count, free_clusters;
	uint32_t serial;
	bool was_dirty; /* when it was mounted */
	bool read_only;
	char label[SHORT_NAME_BYTES + 1]; /* "" when there is none */
	char reason[160]; /* why it is read-only although it need not be; "" */
};
void fat_get_info(struct fat_fs *fs, struct fat_info *ret);
/* In the root directory and in the boot sector. Durable. -EINVAL: not a label. */
int fat_set_label(struct fat_fs *fs, const char *label);

/* Everything that was done before is durable when it returns 0. */
int fat_sync(struct fat_fs *fs);

/* Nodes. Functions that return one return a reference. put: NULL is fine. */
struct fat_node *fat_root(struct fat_fs *fs);
void fat_node_get(struct fat_node *n);
void fat_node_put(struct fat_node *n);
/* A place for a pointer of whoever uses the engine: NULL at first, and there as long as the node is referenced. */
void **fat_node_user(struct fat_node *n);

struct fat_stat {
	bool is_dir;
	uint8_t attr; /* FAT_ATTR_... */
	/* Never reused, also not by a later mount; the same while the directory stays in memory, and the root's always.
	 */
	uint64_t object;
	uint64_t size_bytes, allocated_bytes;
	uint64_t change;
	uint64_t ctime_ns, mtime_ns, atime_ns; /* ctime: created */
};
/* Never waits. */
void fat_stat(struct fat_node *n, struct fat_stat *ret);
/* The directory that holds this one. -ENOENT: the root, or a directory that was removed. */
int fat_parent(struct fat_node *dir, struct fat_node **ret);
/* -ESTALE: it is gone, or its directory is not in memory. */
int fat_by_object(struct fat_fs *fs, uint64_t object, struct fat_node **ret);

/*
 * Names are UTF-8, @len bytes, one component. Lookup ignores case and finds short names, too. Creating: -EEXIST,
 * -EINVAL (illegal on FAT), -ENAMETOOLONG, -ENOSPC (volume or FAT12/16 root directory is full, or a directory has its
 * 65,536 slots), -ENOTDIR, -ENOENT (the directory was removed).
 */
int fat_lookup(struct fat_node *dir, const char *name, size_t len, struct fat_node **ret);
int fat_create(struct fat_node *dir, const char *name, size_t len, struct fat_node **ret);
int fat_mkdir(struct fat_node *dir, const char *name, size_t len, struct fat_node **ret);
/* Whoever still has the node can go on using it; its clusters are freed with the last reference. -EISDIR. */
int fat_unlink(struct fat_node *dir, const char *name, size_t len);
/* -ENOTDIR, -ENOTEMPTY. */
int fat_rmdir(struct fat_node *dir, const char *name, size_t len);
/*
 * An existing target is replaced unless @no_replace (-EEXIST): a file by a file, an empty directory by a directory.
 * -EINVAL: a directory into itself. After a crash the target is as it was, or as it should be; the source may be lost.
 */
int fat_rename(struct fat_node *from_dir, const char *from, size_t from_len, struct fat_node *to_dir, const char *to,
               size_t to_len, bool no_replace);

/*
 * Entries in the order of the directory, from @cookie on (0: from the start), until @fn returns false; without "." and
 * "..". An entry's cookie stays as long as the entry. @fn runs under the file system's lock and calls nothing of it.
 */
struct fat_dir_item {
	const char *name; /* UTF-8, terminated */
	size_t name_len;
	char short_name[NAME_SHORT_UNITS_MAX * 3 + 1];
	uint64_t next_cookie;
	struct fat_stat stat;
};
typedef bool fat_dir_fn(void *ctx, const struct fat_dir_item *item);
int fat_readdir(struct fat_node *dir, uint64_t cookie, fat_dir_fn *fn, void *ctx);

#define FAT_SET_ATTR 1u /* read-only, hidden, system, archive */
#define FAT_SET_CTIME 2u
#define FAT_SET_MTIME 4u
#define FAT_SET_ATIME 8u
struct fat_set {
	unsigned what; /* FAT_SET_... */
	uint8_t attr;
	uint64_t ctime_ns, mtime_ns, atime_ns; /* kept with the resolution of the format */
};
/* The root directory has neither: -EPERM. */
int fat_setattr(struct fat_node *n, const struct fat_set *set);

/*
 * File contents. read: up to the end; *@ret_len is how much. write: beyond the end extends, with zeros between; -EFBIG
 * beyond 4 GiB - 1; -ENOSPC, nothing was written. truncate: to a larger size, too. -EISDIR.
 */
int fat_read(struct fat_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags,
             size_t *ret_len);
int fat_write(struct fat_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags);
int fat_truncate(struct fat_node *n, uint64_t size_bytes);
/* What was written to this file before is durable, and the file can be found; as fat_sync(). */
int fat_flush(struct fat_node *n);
/* The file's cached contents, for reading without a copy. Lives as long as the node. */
struct cache_file;
struct cache_file *fat_node_cache(struct fat_node *n);

#endif
