/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All structures of a volume in memory, as they are on the device: read, verified, mended, written. Mounting and
 * checking both begin here. Not locked: one thread, or the caller's lock.
 */
#ifndef WFSD_CORE_FS_WFS2_VOLUME_H
#define WFSD_CORE_FS_WFS2_VOLUME_H

#include "core/fs/wfs2/check.h"
#include "core/fs/wfs2/codec.h"

#define WFS2_NO_SLOT UINT32_MAX

/* Names to slots, by hash; the names themselves are in the table. */
struct wfs2_index {
	uint8_t key[16];
	uint32_t bucket_mask;
	uint32_t *buckets; /* slot + 1, or 0 */
	uint32_t *next; /* of each slot, likewise */
};

struct wfs2_volume {
	struct blk_dev *dev;
	struct wfs2_super super;
	uint8_t *table, *bitmap; /* whole blocks, aligned for the device */
	uint8_t *table_dirty, *bitmap_dirty; /* a flag for each block */
	struct wfs2_index index;
	uint32_t used_files, used_blocks; /* set by the scan */
	bool mend_super, mend_copy;
	unsigned mend_marks; /* bits */
};

/* What is found, and which of it is to be mended in memory. */
struct wfs2_findings {
	unsigned mend; /* bits 1 << enum wfs2_finding_kind */
	wfs2_found_fn *found;
	void *ctx;
	uint64_t count, left;
	uint64_t by_kind[WFS2_FINDING_COUNT];
};
/* Report one. True: it is to be mended. */
bool wfs2_found(struct wfs2_findings *f, enum wfs2_finding_kind kind, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));

/* One block of the volume; @buf is aligned. */
int wfs2_block_read(struct blk_dev *dev, uint64_t block, void *buf);
int wfs2_block_write(struct blk_dev *dev, uint64_t block, const void *buf);

/*
 * Read superblock, markers, bitmap and table. -EUCLEAN: no superblock to go by; -EIO, -ENOMEM. On success the volume is
 * to be released.
 */
int wfs2_volume_read(struct blk_dev *dev, struct wfs2_findings *f, struct wfs2_volume *ret);
void wfs2_volume_done(struct wfs2_volume *v);
/* Verify table and bitmap, and build the index. -ENOMEM. */
int wfs2_volume_scan(struct wfs2_volume *v, struct wfs2_findings *f);
/* Write what was mended; durable. */
int wfs2_volume_write(struct wfs2_volume *v);

static inline uint8_t *wfs2_slot(const struct wfs2_volume *v, uint32_t slot)
{
	return v->table + (uint64_t)slot * WFS2_SLOT_BYTES;
}
/* Encode into the table in memory, and remember its block as dirty. */
void wfs2_slot_set(struct wfs2_volume *v, uint32_t slot, const struct wfs2_entry *e);

static inline bool wfs2_bit(const uint8_t *bitmap, uint32_t block)
{
	return bitmap[block / 8] >> block % 8 & 1;
}

/* index.c */
int wfs2_index_init(struct wfs2_index *x, const struct wfs2_super *s); /* -ENOMEM */
void wfs2_index_done(struct wfs2_index *x);
/* The slot, or WFS2_NO_SLOT. */
uint32_t wfs2_index_find(const struct wfs2_index *x, const uint8_t *table, const char *name, size_t len);
/* The slot's name is in the table. */
void wfs2_index_add(struct wfs2_index *x, const uint8_t *table, uint32_t slot);
void wfs2_index_remove(struct wfs2_index *x, const uint8_t *table, uint32_t slot);

#endif
