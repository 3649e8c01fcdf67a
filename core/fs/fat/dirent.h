/* SPDX-License-Identifier: BSD-3-Clause */
/* Directory slots: short entries and the parts of long names, to and from bytes; times. Pure; any thread. */
#ifndef WFSD_CORE_FS_FAT_DIRENT_H
#define WFSD_CORE_FS_FAT_DIRENT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/fs/fat/bpb.h"
#include "core/fs/fat/name.h"

/* Attributes as they stand in the slot, and as callers see them. */
#define FAT_ATTR_READ_ONLY 0x01u
#define FAT_ATTR_HIDDEN 0x02u
#define FAT_ATTR_SYSTEM 0x04u
#define FAT_ATTR_VOLUME 0x08u
#define FAT_ATTR_DIR 0x10u
#define FAT_ATTR_ARCHIVE 0x20u

struct fat_dirent {
	uint8_t short_name[SHORT_NAME_BYTES];
	uint8_t attr;
	uint8_t case_flags;
	uint32_t cluster; /* 0: none */
	uint32_t size_bytes;
	/* Nanoseconds since 1970, UTC. */
	uint64_t ctime_ns; /* created; multiples of 10 ms */
	uint64_t mtime_ns; /* of 2 s */
	uint64_t atime_ns; /* of a day */
};

/* @offset_s: what is added to UTC to get the times on the device. */
void fat_dirent_decode(const uint8_t slot[SLOT_BYTES], enum fat_type type, int offset_s, struct fat_dirent *ret);
/* Bytes that FAT32 alone uses are left as they are for the other types. */
void fat_dirent_encode(const struct fat_dirent *d, enum fat_type type, int offset_s, uint8_t slot[SLOT_BYTES]);

/* What a time becomes by being stored. */
uint64_t fat_dirent_round_mtime(uint64_t ns);
uint64_t fat_dirent_round_ctime(uint64_t ns);
uint64_t fat_dirent_round_atime(uint64_t ns, int offset_s);

static inline bool fat_slot_is_long(const uint8_t *slot)
{
	return (slot[SLOT_ATTR] & ATTR_LONG_NAME_MASK) == ATTR_LONG_NAME;
}

/*
 * The long name that ends right before slot @at of @slots, when there is a whole one that belongs to the short entry
 * there. Returns how many slots it takes, 0: none.
 */
unsigned fat_lfn_decode(const uint8_t *slots, uint32_t at, struct fat_name *ret);
unsigned fat_lfn_slot_count(const struct fat_name *n);
/* fat_lfn_slot_count() slots. */
void fat_lfn_encode(const struct fat_name *n, const uint8_t short_name[SHORT_NAME_BYTES], uint8_t *slots);

#endif
