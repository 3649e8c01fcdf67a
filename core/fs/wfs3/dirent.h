/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Items of directories and of extended attributes: where a name belongs, and what the items hold. FORMAT.md, "Directory
 * entries", "Extended attributes". No I/O, no allocation.
 */
#ifndef WFSD_CORE_FS_WFS3_DIRENT_H
#define WFSD_CORE_FS_WFS3_DIRENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/siphash.h"
#include "core/fs/wfs3/format.h"

#define DIRENT_NAME_MAX 255u
/* Entries whose names have the same hash share an item. */
#define DIRENT_VALUE_MAX 4000u

#define DIRENT_TYPE_MAX 7u

struct dirent {
	uint64_t object;
	uint8_t type; /* enum vfs_type */
	uint8_t name_len; /* 1.. */
	const char *name; /* not terminated; within the value it was read from */
};

/* 2..2^63-1: where the entry stands in its directory, and its cookie. */
uint64_t dirent_hash(const uint8_t key[SIPHASH_KEY_BYTES], const char *name, size_t name_len);
struct wfs3_key dirent_key(uint64_t dir, uint64_t hash);

/* The next entry of a value; *@pos begins at 0. 1; 0 at the end; -EUCLEAN with context. */
int dirent_next(const void *value, size_t len, size_t *pos, struct dirent *ret);
/* 1 found, 0 not, -EUCLEAN. *@ret_count (may be NULL): all entries of the value. */
int dirent_find(const void *value, size_t len, const char *name, size_t name_len, struct dirent *ret,
                unsigned *ret_count);
/*
 * The value with the entry of this name removed (@add NULL), replaced or added. Returns its length, 0 when nothing is
 * left; -ENOSPC: too many names with this hash; -EUCLEAN. @ret of DIRENT_VALUE_MAX bytes is not @value.
 */
int dirent_edit(const void *value, size_t len, const char *name, size_t name_len, const struct dirent *add, void *ret);

/*
 * An extended attribute: a head item with the attribute's name, the length of its value, and as much of the value as
 * fits; the rest in items of up to XATTR_PART_BYTES with the offsets that follow.
 */
#define XATTR_NAME_MAX_BYTES 255u
#define XATTR_VALUE_MAX 65536u
#define XATTR_PART_BYTES 4000u
#define XATTR_PARTS_MAX 18u /* items of one attribute */
#define XATTR_SLOTS 32u /* offsets between two attributes */
/* A multiple of XATTR_SLOTS. */
uint64_t xattr_hash(const uint8_t key[SIPHASH_KEY_BYTES], const char *name, size_t name_len);
struct wfs3_key xattr_key(uint64_t object, uint64_t hash, unsigned part);

struct xattr_head {
	const char *name; /* not terminated */
	uint8_t name_len; /* 1.. */
	uint32_t value_len; /* of all parts: 0..XATTR_VALUE_MAX */
	const uint8_t *value; /* what is in the head item */
	uint32_t head_len;
};
/* Bytes of the value that go into the head item, and the number of items. */
uint32_t xattr_head_len(size_t name_len, size_t value_len);
unsigned xattr_parts(size_t name_len, size_t value_len);
/* Writes the head item's value to @buf (XATTR_PART_BYTES); returns its length. */
size_t xattr_head_encode(const char *name, size_t name_len, const void *value, size_t value_len, void *buf);
int xattr_head_decode(const void *value, size_t len, struct xattr_head *ret);

#endif
