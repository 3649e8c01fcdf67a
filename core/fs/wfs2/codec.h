/* SPDX-License-Identifier: BSD-3-Clause */
/* The structures of FORMAT.md, as bytes and as numbers. Pure functions; any thread. */
#ifndef WFSD_CORE_FS_WFS2_CODEC_H
#define WFSD_CORE_FS_WFS2_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/fs/wfs2/format.h"

struct wfs2_super {
	uint32_t block_count, file_count;
	uint32_t bitmap_first, bitmap_blocks;
	uint32_t table_first, table_blocks;
	uint32_t data_first; /* up to block_count - 2 */
	uint64_t created_ns;
	uint8_t id[WFS2_ID_BYTES];
	char label[WFS2_LABEL_MAX + 1];
};

/* Blocks [first, first + count) of the volume. */
struct wfs2_extent {
	uint32_t first, count;
};

struct wfs2_entry {
	uint16_t flags; /* WFS2_FLAG_...; 0: a free slot, of which only the generation counts */
	uint16_t name_len;
	char name[WFS2_NAME_MAX + 1]; /* terminated */
	uint64_t size_bytes;
	uint64_t created_ns, modified_ns;
	uint64_t change;
	uint32_t generation;
	uint32_t replaces, replaces_generation; /* slot + 1, or 0 */
	uint32_t extent_count;
	struct wfs2_extent extents[WFS2_EXTENTS_MAX];
};

/* Where everything lies on a volume of that size. -EINVAL: impossible. Sets nothing else of @ret. */
int wfs2_layout(uint64_t block_count, uint64_t file_count, struct wfs2_super *ret);

void wfs2_super_encode(const struct wfs2_super *s, uint8_t block[WFS2_BLOCK_BYTES]);
/* -EUCLEAN, with context. */
int wfs2_super_decode(const uint8_t block[WFS2_BLOCK_BYTES], struct wfs2_super *ret);

/* The markers are numbered 0..MARK_COUNT - 1. */
uint32_t wfs2_mark_block(const struct wfs2_super *s, unsigned mark);
void wfs2_mark_encode(const struct wfs2_super *s, unsigned mark, uint8_t block[WFS2_BLOCK_BYTES]);
/* -EUCLEAN. */
int wfs2_mark_check(const struct wfs2_super *s, unsigned mark, const uint8_t block[WFS2_BLOCK_BYTES]);

void wfs2_entry_encode(const struct wfs2_entry *e, uint8_t slot[WFS2_SLOT_BYTES]);
/*
 * -EUCLEAN: markers or checksum, or fields that no volume allows. Whether the extents lie in this volume and make up
 * the size is wfs2_entry_check().
 */
int wfs2_entry_decode(const uint8_t slot[WFS2_SLOT_BYTES], struct wfs2_entry *ret);
/* The fields alone, whatever markers and checksum say. -EUCLEAN. */
int wfs2_entry_parse(const uint8_t slot[WFS2_SLOT_BYTES], struct wfs2_entry *ret);
/* -EUCLEAN: an extent out of the volume, an empty one, or too few or too many blocks for the size. */
int wfs2_entry_check(const struct wfs2_super *s, const struct wfs2_entry *e);

/* Blocks that a file of that size has. */
static inline uint64_t wfs2_blocks_of(uint64_t size_bytes)
{
	return size_bytes / WFS2_BLOCK_BYTES + (size_bytes % WFS2_BLOCK_BYTES != 0);
}

/* 0; -EINVAL, -ENAMETOOLONG with context. */
int wfs2_name_check(const char *name, size_t len);

#endif
