/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checking a WFS v2 volume that nobody uses, and repairing it. Everything is bounded by the size of the file table and
 * of the bitmap; contents are not read.
 */
#ifndef WFSD_CORE_FS_WFS2_CHECK_H
#define WFSD_CORE_FS_WFS2_CHECK_H

#include <stdbool.h>
#include <stdint.h>

struct blk_dev;

/* FORMAT.md, "Checking and repairing", says what is done about each. */
enum wfs2_finding_kind {
	WFS2_FINDING_SUPER, /* the superblock is damaged; its copy is not */
	WFS2_FINDING_COPY, /* the copy is damaged, or differs */
	WFS2_FINDING_MARKER,
	WFS2_FINDING_SLOT, /* a slot of the file table is damaged */
	WFS2_FINDING_EXTENTS, /* a file's extents are impossible */
	WFS2_FINDING_OVERLAP, /* a block in two files */
	WFS2_FINDING_DUPLICATE, /* two files of one name */
	WFS2_FINDING_BITMAP, /* a used block is called free */
	WFS2_FINDING_LOST, /* a block of nobody is called used */
	WFS2_FINDING_RENAME, /* a rename was interrupted */
	WFS2_FINDING_COUNT
};

struct wfs2_finding {
	enum wfs2_finding_kind kind;
	bool repaired;
	char text[480];
};
typedef void wfs2_found_fn(void *ctx, const struct wfs2_finding *f);

struct wfs2_check_options {
	bool repair;
	wfs2_found_fn *found; /* called for each finding, in order; may be NULL */
	void *ctx;
};

struct wfs2_check_report {
	uint32_t block_count, used_blocks; /* used: by everything, structures as well */
	uint32_t file_count, file_max;
	uint64_t finding_count, left_count; /* left: not repaired */
	uint64_t by_kind[WFS2_FINDING_COUNT];
};

/* "marker", "overlap", ... */
const char *wfs2_finding_name(enum wfs2_finding_kind kind);

/*
 * 0: the report says what there is; with repair, what was found is repaired and durable. -EUCLEAN: no WFS v2, or no
 * superblock to go by; -EIO, -EROFS, -ENOMEM: the check could not be done. Waits for the device.
 */
int wfs2_check(struct blk_dev *dev, const struct wfs2_check_options *options, struct wfs2_check_report *ret);

#endif
