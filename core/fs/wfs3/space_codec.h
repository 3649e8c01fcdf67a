/* SPDX-License-Identifier: BSD-3-Clause */
/* Bitmap slots and ring records as bytes. FORMAT.md, "Allocation state". Private to space. */
#ifndef WFSD_CORE_FS_WFS3_SPACE_CODEC_H
#define WFSD_CORE_FS_WFS3_SPACE_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/checked.h"
#include "core/fs/wfs3/space.h"

#define SPACE_SLOT_MAGIC UINT64_C(0x544f4c5333534657) /* "WFS3SLOT" */
#define SPACE_RECORD_MAGIC UINT64_C(0x474e495233534657) /* "WFS3RING" */

#define SPACE_SLOT_HEADER_BYTES 96u
#define SPACE_RECORD_HEADER_BYTES 96u
#define SPACE_ENTRY_BYTES 8u
#define SPACE_ENTRY_BLOCKS_MAX 32768u

/* A record is at most a quarter of the ring and at least one block. */
#define SPACE_RING_BYTES_MIN (4 * WFS3_BLOCK_BYTES)
#define SPACE_RING_BYTES_MAX (UINT64_C(1) << 30)
#define SPACE_DEVICE_REGIONS_MAX (1u << 20)

/* One bitmap slot. */
static inline uint64_t space_slot_bytes(uint64_t region_bytes)
{
	return round_up_u64(SPACE_SLOT_HEADER_BYTES + region_bytes / WFS3_BLOCK_BYTES / 8, WFS3_BLOCK_BYTES);
}

struct space_slot {
	uint64_t txg;
	uint32_t virtual_region;
	uint32_t physical_region;
	uint32_t device_index;
	uint32_t block_count;
	uint32_t free_count;
};

/* @bitmap: block_count / 64 words, a set bit is a referenced block. @buf: space_slot_bytes(). */
void space_slot_encode(const struct space_slot *s, const uint8_t pool_uuid[16], const uint64_t *bitmap, void *buf);
/*
 * Checks everything that the slot can tell about itself, and that it is of this pool. @ret_bitmap: @block_count / 64
 * words. -EUCLEAN with context.
 */
int space_slot_decode(const void *buf, const uint8_t pool_uuid[16], uint32_t block_count, struct space_slot *ret,
                      uint64_t *ret_bitmap);

struct space_record {
	uint64_t txg;
	uint64_t position; /* where it begins, monotonic */
	uint64_t prev_txg; /* of the record before it; 0: none */
	uint64_t prev_position;
	uint32_t len_bytes; /* multiple of 4096 */
	uint32_t entry_count;
	bool large; /* entries are a bitmap of virtual regions whose slots were written instead */
};

static inline uint64_t space_record_bytes(uint64_t entry_count)
{
	return round_up_u64(SPACE_RECORD_HEADER_BYTES + entry_count * SPACE_ENTRY_BYTES, WFS3_BLOCK_BYTES);
}

/* The entries stand in @buf already, behind the header; the rest of len_bytes is zeroed here. */
void space_record_encode(const struct space_record *r, const uint8_t pool_uuid[16], void *buf);
/* How long the record that begins with this block says it is; 0: there is none. Nothing else of it is checked. */
uint32_t space_record_probe(const void *block);
/* Header at @buf, of which @available bytes are there. Checks magic, pool, position, lengths, checksum. */
int space_record_decode(const void *buf, uint64_t available, const uint8_t pool_uuid[16], uint64_t position,
                        struct space_record *ret);

/* A change of one run: 48 bits address, 15 bits length - 1, 1 bit: freed. */
struct space_entry {
	uint64_t addr;
	uint32_t block_count; /* 1..SPACE_ENTRY_BLOCKS_MAX */
	bool freed;
};

static inline uint64_t space_entry_pack(const struct space_entry *e)
{
	return e->addr | (uint64_t)(e->block_count - 1) << 48 | (uint64_t)e->freed << 63;
}

static inline struct space_entry space_entry_unpack(uint64_t v)
{
	return (struct space_entry){
		.addr = v & WFS3_VBA_MAX,
		.block_count = (uint32_t)(v >> 48 & (SPACE_ENTRY_BLOCKS_MAX - 1)) + 1,
		.freed = v >> 63,
	};
}

#endif
