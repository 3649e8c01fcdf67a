/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The log's bytes: batches and the records in them. FORMAT.md, "Log". No I/O, no allocation: encoders write into a
 * buffer that was made large enough, decoders return views into the batch, checked.
 */
#ifndef WFSD_CORE_FS_WFS3_WAL_CODEC_H
#define WFSD_CORE_FS_WFS3_WAL_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/fs/wfs3/format.h"

#define WAL_HEADER_BYTES 96u /* of a batch */
#define WAL_BATCH_BYTES_MAX (4u << 20) /* a whole batch, a multiple of 4096 */
#define WAL_RECORD_BYTES 40u /* head of a record */
#define WAL_PAGES_MAX 64u /* of one data record */
#define WAL_BLOCK_INDEX_MAX ((UINT64_C(1) << 48) - 1) /* of a file of 2^60 bytes */

struct wal_batch {
	uint8_t pool_uuid[16];
	uint64_t epoch;
	uint64_t position; /* of its first byte, multiple of 4096 */
	uint64_t durable; /* all before this position, and the data it points to, was durable when this was written */
	uint64_t prev; /* low half of the checksum of the batch before it; 0: the first of its epoch */
	uint32_t len_bytes; /* multiple of 4096 */
	uint32_t record_bytes; /* behind the header */
	uint64_t checksum; /* low half: what the next one's prev is */
};

/* Complete the header of a batch whose records stand in @buf behind WAL_HEADER_BYTES; pads with zeros to len_bytes.
 * Sets checksum. */
void wal_batch_seal(struct wal_batch *b, uint8_t *buf);
/* The length that a first block announces, 0 when it is no batch of this pool, epoch and position. */
uint32_t wal_batch_probe(const uint8_t *block, const uint8_t pool_uuid[16], uint64_t epoch, uint64_t position);
/* Verify and decode a whole batch of @len bytes. -EUCLEAN. */
int wal_batch_open(const uint8_t *buf, size_t len, struct wal_batch *ret);
/* Decode the header of a batch that wal_batch_open() has accepted. */
void wal_batch_peek(const uint8_t *buf, struct wal_batch *ret);

enum wal_type {
	WAL_DATA = 1, /* contents of pages */
	WAL_MAP = 2, /* blocks of a cell got new places */
	WAL_UNMAP = 3, /* blocks became holes */
	WAL_INODE = 4, /* size, change counter, times */
	WAL_GAP = 5, /* changes of groups up to @txg are missing here */
	WAL_ITEMS = 6, /* items of the dataset's tree, changed as one */
	WAL_PART = 7, /* contents of pages that count only with the unit they belong to */
	WAL_UNIT = 8, /* a transaction: items as above, and the contents in the parts before it */
	WAL_MOVE = 9, /* cells of a file got other places in it */
};

struct wal_page {
	uint64_t index; /* block of the file */
	uint32_t crc;
	const uint8_t *data; /* 4096 bytes, of any alignment; NULL: zeros */
};

struct wal_block {
	uint64_t addr; /* 0: a hole */
	uint32_t crc; /* 0 for a hole */
};

struct wal_record {
	enum wal_type type;
	uint64_t txg;
	uint64_t dataset, object; /* 0 for a gap; items: no object */
	/* PART, UNIT: what belongs together */
	uint64_t unit;
	/* DATA, PART: pages ascending by index */
	unsigned page_count;
	struct wal_page pages[WAL_PAGES_MAX];
	/* MAP: blocks [first, first + block_count), all in one cell. UNMAP: blocks [first, first + count) */
	uint64_t first, count;
	/* MOVE: cells [first, first + count) moved down by so many */
	uint64_t distance;
	unsigned block_count;
	struct wal_block blocks[WFS3_CELL_BLOCKS];
	/* UNIT: in all of its parts */
	uint32_t unit_pages;
	/* ITEMS, UNIT: to be encoded. What was decoded is read with wal_item_next() */
	unsigned item_count;
	const struct item_change *items;
	const uint8_t *item_bytes;
	size_t item_bytes_len;
	/* INODE */
	uint64_t size_bytes, change;
	int64_t mtime_ns;
};

/* Bytes of the record when encoded, a multiple of 8. */
size_t wal_record_bytes(const struct wal_record *r);
/* The most that a record of each type takes; @n pages of data. */
#define WAL_DATA_BYTES(n) (WAL_RECORD_BYTES + (size_t)(n) * (16 + WFS3_BLOCK_BYTES))
#define WAL_PART_BYTES(n) (WAL_DATA_BYTES(n) + 8)
#define WAL_UNIT_BYTES (WAL_RECORD_BYTES + 16) /* and its items */
#define WAL_MAP_BYTES (WAL_RECORD_BYTES + 16 + WFS3_CELL_BLOCKS * 16)
#define WAL_CELL_BYTES (WFS3_CELL_BLOCKS / 2 * (WAL_RECORD_BYTES + 16 + 16)) /* every other block of a cell */
#define WAL_UNMAP_BYTES (WAL_RECORD_BYTES + 16)
#define WAL_MOVE_BYTES (WAL_RECORD_BYTES + 24)
#define WAL_INODE_BYTES (WAL_RECORD_BYTES + 24)
#define WAL_GAP_BYTES WAL_RECORD_BYTES
#define WAL_ITEM_BYTES(len) (24 + ((size_t)(len) + 7) / 8 * 8)
#define WAL_ITEMS_MAX 64u /* of one items record */
#define WAL_ITEM_VALUE_MAX 4000u
void wal_record_encode(const struct wal_record *r, uint8_t *buf);
/* The record at @buf + *@pos (of @len bytes); *@pos moves behind it. -EUCLEAN: the batch's checksum was right, so its
 * writer was wrong, or somebody crafted it. */
int wal_record_decode(const uint8_t *buf, size_t len, size_t *pos, struct wal_record *ret);

/* The items of a decoded record, in order; *@pos begins at 0. False at the end. */
bool wal_item_next(const struct wal_record *r, size_t *pos, struct item_change *ret);

#endif
