/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Space of a pool: regions, where they are (region table), which of their blocks are free (bitmaps), and how that is
 * kept on the devices (FORMAT.md, "Allocation state"): each device has an area with two slots per physical region; a
 * slot holds {txg, virtual region, bitmap, checksum}; a ring on the first device holds the changes of each txg since
 * the bitmaps were last written, so that a commit writes few bitmaps.
 *
 * In memory each region has two bitmaps: "busy" (what allocation must avoid: referenced, in flight, or freed but not
 * yet reusable) and "disk" (the state of the txg being committed; touched by the committing thread only).
 *
 *     free --space_alloc--> in flight --space_commit_run--> referenced (recorded in a txg)
 *      ^                        | space_cancel                  | space_free_runs (recorded in txg F)
 *      |<-----------------------'                               v
 *      '<-- root F+1 durable and no reader pinned at or before F -- pending
 */
#ifndef WFSD_CORE_FS_WFS3_SPACE_H
#define WFSD_CORE_FS_WFS3_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/fs/wfs3/format.h"

struct blk_dev;
struct space;

/* Geometry of a device, fixed at creation and kept in its label. All in bytes, multiples of 4096. */
struct space_layout {
	uint64_t device_bytes; /* as used: a multiple of 1 MiB */
	uint64_t log_offset, log_bytes;
	uint64_t ring_offset, ring_bytes; /* ring of allocation changes */
	uint64_t slots_offset, slots_bytes; /* two bitmap slots per physical region */
	uint64_t regions_offset;
	uint32_t region_count;
};

/* Smallest region 1 MiB, largest 256 MiB: chosen so that the first device has at least 32 regions. Power of two. */
uint64_t space_region_bytes(uint64_t first_device_bytes);
/* Lay out a device. The log gets 1/64 of the device, 4 MiB..1 GiB. -ENOSPC: too small. */
int space_layout_make(uint64_t device_bytes, uint64_t region_bytes, struct space_layout *ret);
/* Check a layout that came from a label: order, bounds, alignment, counts. 0 or -EUCLEAN. */
int space_layout_check(const struct space_layout *l, uint64_t region_bytes);

struct space_device {
	struct blk_dev *dev;
	struct space_layout layout;
};

struct space_config {
	const struct space_device *devices; /* index = device index in the pool; copied */
	unsigned device_count;
	uint64_t region_bytes;
	uint8_t pool_uuid[16];
	bool any_used_blocks; /* space_load(): do not compare with the root's number */
	bool repair; /* space_load(): remember what one copy of a mirror has and another one lacks: space_repair() */
};

/* Positions in the ring never come near this. */
#define SPACE_POSITION_MAX (UINT64_C(1) << 62)

/* Where the ring stands, kept in the root. */
struct space_root {
	uint64_t ring_head; /* byte position (monotonic; modulo ring size) after the newest record */
	uint64_t ring_tail; /* byte position of the oldest record still needed */
	uint64_t used_blocks; /* referenced blocks, for a cross-check at load */
};

/* A fresh pool: every region free, virtual regions in device order. Writes the first slots (txg @txg) to all devices;
 * not yet durable. Blocks. */
int space_create(const struct space_config *config, uint64_t txg, struct space **ret, struct space_root *ret_root);
/*
 * Load the state of txg @txg: newest slots with txg <= @txg, then the ring's records up to @txg. Blocks freed in @txg
 * itself become pending. Of a mirror, what one copy lacks is taken from another. Blocks. -EUCLEAN with context (a slot
 * pair both damaged, ring damaged, used_blocks mismatch), -EIO, -ENOMEM.
 */
int space_load(const struct space_config *config, uint64_t txg, const struct space_root *root, struct space **ret);
/* Write anew what copies of a mirror lack of what was loaded; at once, before any commit. A copy that fails goes away.
 * Blocks. */
void space_repair(struct space *s);
void space_free(struct space *s);

enum space_stream {
	SPACE_STREAM_DATA,
	SPACE_STREAM_NODE,
};

struct space_run {
	uint64_t addr;
	uint32_t block_count;
};

/*
 * Reserve one contiguous run of at most @want blocks (and at least @min; a node needs min = want = 4, aligned to
 * nothing). The run never crosses a region. It is in flight until committed or cancelled. Data allocations leave a
 * quarter of the reserve (3 % of the pool) for nodes and deletion; nodes may use that. Emptiest region first, then next
 * fit from a cursor per stream. -ENOSPC. Any thread; never blocks on a device.
 */
int space_alloc(struct space *s, enum space_stream stream, uint32_t min, uint32_t want, struct space_run *ret);
void space_cancel(struct space *s, struct space_run run);
/* Take exactly this run, in flight, as if space_alloc() had given it: what records of the log point to. -EUCLEAN:
 * outside of every region, or not free. Before anything else is allocated. */
int space_claim(struct space *s, struct space_run run);

/*
 * Record in @txg (open or committing) that a run, which the caller allocated, is now referenced. Never fails: room for
 * entries is reserved first, one for each run. The caller holds the commit gate shared, or is the committing thread.
 */
int space_reserve(struct space *s, uint32_t entry_count); /* -ENOMEM. Reserved entries are consumed by the next two,
                                                             unreserved by space_unreserve(). */
void space_unreserve(struct space *s, uint32_t entry_count);
void space_commit_run(struct space *s, uint64_t txg, struct space_run run);
/*
 * The same for runs that are no longer referenced, none of them across regions. All or nothing: -EUCLEAN when one is
 * not referenced (the tree that named it contradicts the allocation state); then no entry is consumed either.
 */
int space_free_runs(struct space *s, uint64_t txg, const struct space_run runs[], unsigned count);

/* Readers that use addresses from a tree pin the open txg first: nothing freed in it or later is reused before the
 * unpin. Any thread; cheap. */
struct space_pin {
	uint64_t txg;
	unsigned slot;
};
void space_pin(struct space *s, struct space_pin *ret);
void space_unpin(struct space *s, struct space_pin pin);
/* The txg that new pins get; set at freeze time under the exclusive gate. */
void space_set_open_txg(struct space *s, uint64_t txg);

/*
 * Commit of @txg, by the committing thread after everything of it was recorded: applies the changes to the disk
 * bitmaps, writes a ring record and some bitmap slots (all devices). Not durable until the caller flushes. On failure
 * nothing is reusable and the pool must not go on. Blocks.
 */
int space_write(struct space *s, uint64_t txg, struct space_root *ret_root);
/* Root @txg is durable: releases what was freed in txgs <= @txg - 1 and is not pinned; discards it on devices that can
 * (best effort, in the background of the caller: may block). */
void space_root_durable(struct space *s, uint64_t txg);

/* Where a block is. Translates within the region table. -EUCLEAN: no such region or outside. Never blocks. */
int space_locate(struct space *s, uint64_t addr, uint32_t block_count, unsigned *ret_device, uint64_t *ret_offset);

/* Calls @copy for each range of bytes of a device that holds allocation state of the last commit. By the committing
 * thread, between commits. */
typedef int space_copy_fn(void *ctx, uint64_t offset, uint64_t len);
int space_copy_state(struct space *s, unsigned device, space_copy_fn *copy, void *ctx);
/* The oldest txg that a pin has; UINT64_MAX: there are none. */
uint64_t space_oldest_pin(struct space *s);

struct space_stats {
	uint64_t total_blocks; /* all regions */
	uint64_t used_blocks; /* referenced now (newest state in memory) */
	uint64_t in_flight_blocks;
	uint64_t pending_blocks; /* freed, not reusable yet */
	uint64_t free_blocks; /* allocatable by nodes */
	uint64_t reserved_blocks; /* of those, kept back: writers are refused when only these are left */
};
void space_get_stats(struct space *s, struct space_stats *ret);
/* Is the block referenced in the newest state in memory? For checks. */
bool space_is_used(struct space *s, uint64_t addr);

#endif
