/* SPDX-License-Identifier: BSD-3-Clause */
/* Loading the allocation state: what space_load.c (slots) and space_replay.c (ring) share. */
#ifndef WFSD_CORE_FS_WFS3_SPACE_LOAD_H
#define WFSD_CORE_FS_WFS3_SPACE_LOAD_H

#include "core/fs/wfs3/space_priv.h"

/* An unbroken chain of records that ends at the root's ring head. */
struct space_chain {
	uint8_t *bytes; /* of the ring from @position on, unwrapped */
	uint64_t position;
	struct space_record *records; /* oldest first */
	uint32_t count, capacity;
	uint64_t covered_txg; /* it holds all changes of later txgs */
};

/* The state of a region before the last txg, where that is not in the chain. */
struct space_before {
	uint64_t *bitmap; /* NULL: unknown or not needed */
	uint64_t txg;
};

/* Read; units that cannot be read become zeros, which no decoder accepts. -EIO only when the device is gone. */
int space_read_tolerant(struct blk_dev *dev, uint64_t offset, uint8_t *buf, uint64_t len, uint64_t unit);
/* The same of one copy of a mirror, and of that alone; -ENOENT: it is not there. */
int space_read_copy(struct blk_dev *dev, unsigned copy, uint64_t offset, uint8_t *buf, uint64_t len, uint64_t unit);

/* The records of root @root of txg @txg. -EUCLEAN: not even the newest one is whole. @ret: space_chain_done(). */
int space_chain_read(const struct space *s, uint64_t txg, const struct space_root *root, struct space_chain *ret);
void space_chain_done(struct space_chain *c);
/* Did the last txg touch the region, and its record does not say how? */
bool space_chain_last_is_large(const struct space_chain *c, uint64_t txg, uint32_t region);
/* Bring the disk bitmaps, and those in @before but for the last txg, up to date. -EUCLEAN. */
int space_chain_apply(struct space *s, const struct space_chain *c, struct space_before *before);
/* What txg @txg freed, as runs; @ret NULL when nothing. */
int space_chain_freed(const struct space *s, const struct space_chain *c, uint64_t txg,
                      const struct space_before *before, struct space_pending **ret);

/* space_repair.c: what is to be written anew. The chain is taken over. -ENOMEM. */
struct space_repairs *space_repairs_new(void);
int space_repairs_add_slot(struct space_repairs *r, uint64_t offset, uint32_t device, unsigned good, unsigned lacking);
void space_repairs_set_chain(struct space_repairs *r, struct space_chain *c);

/* Where a position of the ring stands; how much of @len follows there. */
uint64_t space_ring_locate(const struct space *s, uint64_t position, uint64_t len, uint64_t *ret_offset);

#endif
