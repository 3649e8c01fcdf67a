/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A simulated device for tests: keeps what is volatile (written, not flushed) apart from what is durable, and produces
 * faults on demand.
 */
#ifndef WFSD_CORE_BLK_SIM_H
#define WFSD_CORE_BLK_SIM_H

#include "core/blk/blk.h"

/* Counts and plans are per operation; -1 in fail_nth means never. */
struct blk_sim_faults {
	int64_t fail_nth[5]; /* by enum blk_op: the nth request from now (0 = the next) completes with @error */
	bool fail_from_nth; /* ... and all later ones of that operation too */
	int error; /* negative errno, default -EIO */
};

int blk_sim_new(const char *name, uint64_t size, struct blk_dev **ret);
/* Replaces the plan; NULL clears it. */
void blk_sim_set_faults(struct blk_dev *dev, const struct blk_sim_faults *faults);
/* Bad media: reading any block of 4096 bytes of this range fails with -EIO, until it is written; with @for_ever writing
 * it fails, too. */
void blk_sim_break(struct blk_dev *dev, uint64_t offset, uint64_t len, bool for_ever);
/* It was not the media: all of it is as it was, and takes writes. */
void blk_sim_mend(struct blk_dev *dev);
/*
 * Power cut and restart: of what was written and not flushed, each 512-byte sector is kept or lost as decided by @seed
 * (0: all is lost; UINT64_MAX: all is kept). The device must be idle. Works while the device is open; the owner must
 * forget what it knew.
 */
void blk_sim_power_cut(struct blk_dev *dev, uint64_t seed);
/* From now on every request fails with -ENXIO, until blk_sim_replug(). */
void blk_sim_unplug(struct blk_dev *dev);
void blk_sim_replug(struct blk_dev *dev);
/* Shrink or grow what capabilities report (a device that changed while it was closed). Contents beyond are dropped. */
int blk_sim_resize(struct blk_dev *dev, uint64_t size);
/* Direct access to the current contents, bypassing faults and bookkeeping: to corrupt or compare. */
void blk_sim_peek(struct blk_dev *dev, uint64_t offset, void *buf, size_t len);
void blk_sim_poke(struct blk_dev *dev, uint64_t offset, const void *buf, size_t len);
/* Requests completed so far by operation. */
uint64_t blk_sim_count(const struct blk_dev *dev, enum blk_op op);

#endif
