/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What fat_peer does to a FAT volume, by whatever drives it: our engine on an image, or a kernel through its mount.
 * Paths are relative to the root, without a leading slash; the root is "". Functions return 0 or a negative errno.
 */
#ifndef WFSD_TESTS_GUEST_FAT_PEER_H
#define WFSD_TESTS_GUEST_FAT_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PEER_PATH_MAX 1024

/* Read-only, hidden, system, directory, archive. */
#define PEER_ATTR_MASK 0x37u
#define PEER_ATTR_CHANGEABLE 0x27u

struct peer_stat {
	bool is_dir;
	uint8_t attr;
	uint64_t size_bytes;
	int64_t mtime_s, atime_s, created_cs; /* hundredths */
};

typedef void peer_name_fn(void *ctx, const char *name);

struct peer {
	void *ctx;
	int (*create)(void *ctx, const char *path);
	int (*make_dir)(void *ctx, const char *path);
	int (*write)(void *ctx, const char *path, uint64_t offset, const void *data, size_t len);
	int (*truncate)(void *ctx, const char *path, uint64_t size_bytes);
	int (*unlink)(void *ctx, const char *path);
	int (*remove_dir)(void *ctx, const char *path);
	int (*rename)(void *ctx, const char *from, const char *to);
	int (*set)(void *ctx, const char *path, uint8_t attr, int64_t mtime_s);
	int (*stat)(void *ctx, const char *path, struct peer_stat *ret);
	/* *@ret: how many bytes were read. */
	int (*read)(void *ctx, const char *path, uint64_t offset, void *buf, size_t len, size_t *ret);
	/* Every name but "." and "..". */
	int (*list)(void *ctx, const char *path, peer_name_fn *fn, void *fn_ctx);
	int (*close)(void *ctx);
};

/* @target: an image of a volume. */
int peer_open_engine(const char *target, struct peer *ret);
/* @target: a folder where the kernel has the volume mounted. */
int peer_open_kernel(const char *target, struct peer *ret);

#endif
