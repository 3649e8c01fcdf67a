/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checking a FAT volume that nobody uses, and repairing it. Everything is bounded: each cluster is visited once, each
 * directory has at most 65,536 slots.
 */
#ifndef WFSD_CORE_FS_FAT_CHECK_H
#define WFSD_CORE_FS_FAT_CHECK_H

#include <stdbool.h>
#include <stdint.h>

struct blk_dev;

/* FORMAT.md, "Checking and repairing", says what is done about each. */
enum fat_finding_kind {
	FAT_FINDING_BOOT, /* the boot sector is damaged; its backup is not */
	FAT_FINDING_BACKUP, /* the backup of the boot sector differs */
	FAT_FINDING_COPIES, /* copies of the FAT differ */
	FAT_FINDING_MEDIA, /* entry 0 of the FAT */
	FAT_FINDING_CHAIN, /* leads to a free or bad cluster, or out of the volume */
	FAT_FINDING_LOOP,
	FAT_FINDING_CROSS_LINK,
	FAT_FINDING_EXCESS, /* a chain is longer than its file's size */
	FAT_FINDING_SIZE, /* ... or shorter; or a directory has a size */
	FAT_FINDING_DIRECTORY, /* a directory without clusters, or too large */
	FAT_FINDING_DOTS, /* "." or ".." is wrong */
	FAT_FINDING_BEHIND_END, /* something behind the end of a directory, which some drivers take for entries */
	FAT_FINDING_LONG_NAME, /* parts of a long name that belong to nothing */
	FAT_FINDING_NAME, /* an impossible short name */
	FAT_FINDING_DUPLICATE, /* two entries with one name */
	FAT_FINDING_LABEL, /* a second volume label, or one elsewhere than in the root directory */
	FAT_FINDING_LOST, /* clusters that are used by nothing */
	FAT_FINDING_FSINFO,
	FAT_FINDING_DIRTY, /* the volume was not unmounted */
	FAT_FINDING_COUNT
};

struct fat_finding {
	enum fat_finding_kind kind;
	bool repaired;
	char text[400];
};

struct fat_check_options {
	bool repair;
	/* Called for each finding, in order. May be NULL. */
	void (*found)(void *ctx, const struct fat_finding *f);
	void *ctx;
};

struct fat_check_report {
	unsigned type; /* 12, 16, 32 */
	uint32_t cluster_count, used_clusters, bad_clusters;
	uint64_t file_count, dir_count;
	uint64_t finding_count, left_count; /* left: not repaired */
	uint64_t by_kind[FAT_FINDING_COUNT];
};

/* "lost", "cross-link", ... */
const char *fat_finding_name(enum fat_finding_kind kind);

/*
 * 0: the report says what there is; with repair, what was found is repaired and durable. -EUCLEAN: no FAT file system,
 * or no boot sector to go by; -EIO, -EROFS, -ENOMEM: the check could not be done.
 */
int fat_check(struct blk_dev *dev, const struct fat_check_options *options, struct fat_check_report *ret);

#endif
