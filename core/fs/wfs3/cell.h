/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cells: the map of 64 KiB of a file. A cell item holds up to 16 segments (runs of blocks) in ascending logical order,
 * not overlapping, and a CRC32C for every mapped 4 KiB block. Blocks without a segment are holes.
 */
#ifndef WFSD_CORE_FS_WFS3_CELL_H
#define WFSD_CORE_FS_WFS3_CELL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/fs/wfs3/format.h"

/*
 * In memory a cell is an array by block: easy to read and overwrite. The encoder makes segments of runs with adjacent
 * addresses and the same birth.
 */
struct cell_block {
	uint64_t addr; /* virtual block address; 0: hole */
	uint64_t birth;
	uint32_t crc;
};

struct cell {
	struct cell_block blocks[WFS3_CELL_BLOCKS];
};

/* Value of a cell item: header (4 bytes), segments (16 bytes each), CRCs (4 bytes per mapped block). */
#define CELL_BYTES_MAX (4u + 16u * WFS3_CELL_BLOCKS + 4u * WFS3_CELL_BLOCKS)

/* Length of the encoding, 0 for a cell that is all holes. @buf: CELL_BYTES_MAX bytes. */
size_t cell_encode(const struct cell *c, void *buf);
/*
 * Checks everything (counts, order, overlap, bounds, unknown flags, exact length). @value NULL or @len 0 gives an empty
 * cell. 0 or -EUCLEAN with context.
 */
int cell_decode(const void *value, size_t len, struct cell *ret);

#endif
