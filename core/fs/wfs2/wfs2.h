/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * WFS v2 on a block device, read and write: the engine, independent of who calls it. FORMAT.md says what is on the
 * device, in which order it is written, and what is durable when.
 *
 * A node is one file; the engine has at most one in memory for each, and counts references. Every call is safe from any
 * thread, and may wait for the device unless it says otherwise. Files are locked one by one: readers and writers of
 * different files meet only for moments.
 *
 * Errors of all calls: -EIO (device; after a failed write of a structure the volume is read-only), -EUCLEAN, -EROFS,
 * -ENOMEM.
 */
#ifndef WFSD_CORE_FS_WFS2_WFS2_H
#define WFSD_CORE_FS_WFS2_WFS2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "core/fs/wfs2/format.h"

struct blk_dev;
struct budget;
struct cache;
struct cache_file;
struct wfs2_fs;
struct wfs2_node;

#define WFS2_NOWAIT 1u /* -EAGAIN instead of waiting; nothing was changed */
#define WFS2_APPEND 2u /* write: at the end, wherever that is; the offset is ignored */
#define WFS2_MAKES_ROOM 4u /* write within the size: never waits for dirty memory to become less (VFS_MAKES_ROOM) */

struct wfs2_mount_options {
	struct cache *cache; /* for file contents; outlives the mount */
	struct budget *budget; /* charged with the structures in memory; may be NULL */
	bool read_only;
	unsigned sync_interval_ms; /* written contents are not in memory only for longer; 0: only when asked */
};

/*
 * @dev stays the caller's, and is idle but for this mount. -EUCLEAN: no WFS v2. A damaged volume is mounted read-only;
 * wfs2_get_info() tells why. What a crash may have left behind is mended.
 */
int wfs2_mount(struct blk_dev *dev, const struct wfs2_mount_options *options, struct wfs2_fs **ret);
/* Every node was put. Writes everything. Returns the error of that; the file system is gone in any case. */
int wfs2_unmount(struct wfs2_fs *fs);

struct wfs2_info {
	uint32_t block_count, free_blocks;
	uint32_t file_count, file_max;
	bool read_only;
	uint8_t id[WFS2_ID_BYTES];
	char label[WFS2_LABEL_MAX + 1]; /* "" when there is none */
	char reason[256]; /* why it is read-only although it need not be; "" */
};
void wfs2_get_info(struct wfs2_fs *fs, struct wfs2_info *ret);

/* Everything that was done before is durable when it returns 0. */
int wfs2_sync(struct wfs2_fs *fs);

struct wfs2_stat {
	uint64_t object; /* never used again for another file */
	uint64_t size_bytes, allocated_bytes;
	uint64_t change;
	uint64_t created_ns, modified_ns;
	bool read_only; /* an attribute; enforced by the caller */
};
void wfs2_stat(struct wfs2_node *n, struct wfs2_stat *ret);

/*
 * Names are bytes, see FORMAT.md. -ENOENT; creating: -EEXIST, -EINVAL, -ENAMETOOLONG, -ENOSPC (the file table is full).
 * *ret is referenced. put: NULL is fine.
 */
int wfs2_lookup(struct wfs2_fs *fs, const char *name, size_t len, struct wfs2_node **ret);
int wfs2_create(struct wfs2_fs *fs, const char *name, size_t len, struct wfs2_node **ret);
/* -ESTALE: that file is gone. */
int wfs2_by_object(struct wfs2_fs *fs, uint64_t object, struct wfs2_node **ret);
void wfs2_put(struct wfs2_node *n);
/* A place for a pointer of whoever uses the engine: NULL at first, and there as long as the node is referenced. */
void **wfs2_node_user(struct wfs2_node *n);
/* Whoever still has the node can go on using it; its blocks are freed with the last reference. Durable. */
int wfs2_unlink(struct wfs2_fs *fs, const char *name, size_t len);
/* An existing target is replaced unless @no_replace (-EEXIST). Seen whole or not at all, also after a crash. Durable.
 */
int wfs2_rename(struct wfs2_fs *fs, const char *from, size_t from_len, const char *to, size_t to_len, bool no_replace);

/*
 * Files in the order of the table, from @cookie on (0: from the start), until @fn returns false. A file's cookie stays
 * as long as the file. @fn is called without locks.
 */
struct wfs2_dir_item {
	const char *name; /* terminated */
	size_t name_len;
	uint64_t next_cookie;
	struct wfs2_stat stat;
};
typedef bool wfs2_dir_fn(void *ctx, const struct wfs2_dir_item *item);
int wfs2_list(struct wfs2_fs *fs, uint64_t cookie, wfs2_dir_fn *fn, void *ctx);

/*
 * File contents. read: up to the end; *@ret_len is how much. write: beyond the end extends, with zeros between;
 * -ENOSPC, -EFBIG (free space is in too many pieces for one file); nothing was written then. truncate: to a larger
 * size, too; durable.
 */
int wfs2_read(struct wfs2_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags,
              size_t *ret_len);
int wfs2_write(struct wfs2_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags);
int wfs2_truncate(struct wfs2_node *n, uint64_t size_bytes);
/* Attributes: those that are not NULL. Durable. */
int wfs2_set_attr(struct wfs2_node *n, const bool *read_only, const uint64_t *modified_ns);
/* The file's cached contents, for reading without a copy. Lives as long as the node. */
struct cache_file *wfs2_node_cache(struct wfs2_node *n);
/* What was written to this file before is durable. */
int wfs2_flush(struct wfs2_node *n);

#endif
