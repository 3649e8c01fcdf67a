/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the space module share. See space.h for the life of a block. */
#ifndef WFSD_CORE_FS_WFS3_SPACE_PRIV_H
#define WFSD_CORE_FS_WFS3_SPACE_PRIV_H

#include <stdatomic.h>

#include "core/base/sync.h"
#include "core/fs/wfs3/space_bits.h"
#include "core/fs/wfs3/space_codec.h"

#define SPACE_NONE UINT32_MAX

/* A virtual region, by index = number - 1. Immutable: device, physical. The rest is the committing thread's. */
struct space_region {
	uint32_t device;
	uint32_t physical;
	uint64_t newest_txg; /* of its newer slot */
	uint8_t newest_slot; /* 0 or 1; the other one is overwritten next */
	bool rewrite; /* the other slot is damaged or of a txg that never was: the next commit replaces it */
	bool touched; /* changed by the txg being committed */
	uint32_t prev, next; /* by ascending newest_txg */
};

/* A ring record that is still kept. */
struct space_ring_record {
	uint64_t txg;
	uint64_t position;
};

/* Circular, capacity space_ring.capacity. The committing thread's. */
struct space_ring {
	uint64_t bytes; /* of the area on device 0 */
	uint64_t head; /* position after the newest record */
	uint64_t last_txg; /* of the newest record; 0: none yet */
	uint64_t last_position;
	struct space_ring_record *records; /* oldest first */
	uint32_t capacity, first, count;
};

/* Recorded runs live in chunks; room for entries is reserved by keeping enough empty chunks. */
#define SPACE_CHUNK_RUNS 511u
struct space_chunk {
	struct space_chunk *next;
	uint32_t count;
	struct space_run runs[SPACE_CHUNK_RUNS];
};

struct space_run_list {
	struct space_chunk *head, *tail;
};

enum space_change {
	SPACE_CHANGE_ALLOC,
	SPACE_CHANGE_FREE,
};

#define SPACE_TXGS_LIVE 4u
struct space_txg_log {
	uint64_t txg; /* 0: not in use */
	struct space_run_list lists[2]; /* by enum space_change */
};

/* What one committed txg freed, waiting for its release; ascending txg. */
struct space_pending {
	struct space_pending *next;
	uint64_t txg;
	uint32_t run_count;
	struct space_run runs[];
};

struct space_cursor {
	uint32_t region; /* SPACE_NONE: none yet */
	uint32_t block;
	uint32_t goal; /* shorter runs in this region are passed over, when more is wanted */
};

/* Pins: see space_pin.c. */
#define SPACE_PIN_SLOTS 16u
#define SPACE_PIN_STRIPES 8u
struct space_pin_slot {
	_Alignas(64) _Atomic uint64_t txg;
	struct {
		_Alignas(64) _Atomic uint32_t count;
	} stripes[SPACE_PIN_STRIPES];
};

struct space_pins {
	_Alignas(64) _Atomic unsigned current;
	struct space_pin_slot slots[SPACE_PIN_SLOTS];
};

struct space_repairs; /* space_repair.c */

struct space {
	struct space_device *devices;
	unsigned device_count;
	uint8_t pool_uuid[16];
	uint64_t region_bytes;
	uint32_t region_blocks;
	unsigned region_shift; /* log2 of region_blocks */
	uint32_t region_words; /* of one bitmap */
	uint32_t region_count;
	uint64_t total_blocks;
	uint64_t reserve_blocks;
	struct space_region *regions;

	/* The committing thread's. */
	uint64_t *disk; /* referenced in the last committed txg; all bitmaps: region_words per region */
	uint64_t disk_used_blocks;
	uint64_t last_txg; /* committed or loaded */
	struct space_ring ring;
	uint32_t oldest, newest; /* regions by newest_txg: ends of the list */
	uint32_t rewrite_count;
	uint64_t slot_credit; /* see space_write.c */
	_Atomic bool failed; /* a commit failed: no other one may follow */

	/* Allocation. */
	struct sync_mutex mutex; /* rank SYNC_RANK_ALLOC; guards all below but pins */
	uint64_t *busy; /* not free */
	uint64_t *ref; /* referenced in the newest state */
	uint32_t *free_count; /* by region */
	uint32_t *run_bound; /* by region: no free run is longer */
	uint64_t free_blocks;
	uint64_t used_blocks;
	uint64_t pending_blocks;
	struct space_cursor cursors[2]; /* by enum space_stream */
	struct space_txg_log logs[SPACE_TXGS_LIVE];
	struct space_chunk *chunks; /* empty ones */
	uint64_t chunk_count;
	uint64_t reserved_entries;
	struct space_pending *pending, *pending_last;

	struct space_pins pins;

	struct space_repairs *repairs; /* from loading to space_repair(); NULL: none */
};

static inline uint64_t *space_bitmap(const struct space *s, uint64_t *bitmaps, uint32_t region)
{
	return bitmaps + (uint64_t)region * s->region_words;
}

/* Where a run lies. */
struct space_place {
	uint32_t region;
	uint32_t block;
};

/* @run is ours and lies within one region: anything else is a bug. */
struct space_place space_place_of(const struct space *s, struct space_run run);
/* The same for outside numbers. */
bool space_place_find(const struct space *s, uint64_t addr, uint64_t block_count, struct space_place *ret);

static inline uint64_t space_addr(const struct space *s, uint32_t region, uint32_t block)
{
	return (uint64_t)(region + 1) << s->region_shift | block;
}

/* space_new.c: memory of a space with all regions free; the region table is filled by the caller. */
int space_new(const struct space_config *config, struct space **ret);
/* Region table known, disk bitmaps filled: derive the allocation state from them. */
void space_start(struct space *s, uint64_t txg);
/* Order the regions by newest_txg. */
int space_order_regions(struct space *s);
uint64_t space_slot_offset(const struct space *s, uint32_t device, uint32_t physical, unsigned slot);

/* space_alloc.c: blocks become free. The mutex is held. */
void space_release_locked(struct space *s, struct space_run run) SYNC_REQUIRES(s->mutex);

/* space_txg.c: sorted and merged runs recorded in @txg, which is over. The caller frees *ret (@ret_pending: NULL
 * without any). -ENOMEM. */
struct space_changes {
	struct space_run *allocs;
	uint32_t alloc_count;
	struct space_pending *frees; /* never NULL on success */
};
int space_take_changes(struct space *s, uint64_t txg, struct space_changes *ret);
void space_add_pending(struct space *s, struct space_pending *p);
void space_free_chunks(struct space *s);

/* space_pin.c */
void space_pins_init(struct space_pins *p, uint64_t txg);
/* Smallest txg that is pinned, UINT64_MAX without pins. */
uint64_t space_pins_oldest(const struct space_pins *p);

/* space_repair.c */
void space_repairs_free(struct space_repairs *r); /* NULL is fine */

/* space_ring.c */
int space_ring_new(struct space_ring *r, uint64_t bytes);
void space_ring_done(struct space_ring *r);
uint64_t space_ring_tail(const struct space_ring *r);
/* Position of the oldest record with a txg above @txg; head when there is none. */
uint64_t space_ring_needed(const struct space_ring *r, uint64_t txg);
/* A record was written. */
void space_ring_push(struct space_ring *r, uint64_t txg, uint64_t len_bytes);
/* Forget old records, as FORMAT.md says: none that a region with a slot of @base_txg needs, unless there is no room. */
void space_ring_trim(struct space_ring *r, uint64_t base_txg);

#endif
