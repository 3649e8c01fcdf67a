/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as a bitmap slot, a ring record, an inode or a dataset record: refused, or what encodes to the same bytes
 * again. Checksums are made right first: they would hide everything behind them.
 */
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/checksum.h"
#include "core/fs/wfs3/items.h"
#include "core/fs/wfs3/space_codec.h"

#define REGION_BLOCKS 256u
#define RECORD_BYTES_MAX (4 * WFS3_BLOCK_BYTES)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t pool_uuid[16] = "the pool's uuid";

static void seal(uint8_t *p, size_t len)
{
	struct hash128 h = hash128(p + 24, len - 24);

	put_le64(p + 8, h.lo);
	put_le64(p + 16, h.hi);
}

/* The input over a structure of zeros: {header, bytes up to the end}. */
static uint8_t *place(const uint8_t *data, size_t size, size_t len, uint64_t magic)
{
	uint8_t *p = aligned_alloc(4096, len);

	always(p);
	memset(p, 0, len);
	put_le64(p, magic);
	memcpy(p + 24, pool_uuid, 16);
	if (size > len - 40)
		size = len - 40;
	if (size)
		memcpy(p + 40, data, size);
	return p;
}

static void try_slot(const uint8_t *data, size_t size)
{
	size_t len = space_slot_bytes(REGION_BLOCKS * WFS3_BLOCK_BYTES);
	uint8_t *p = place(data, size, len, SPACE_SLOT_MAGIC), *again = aligned_alloc(4096, len);
	uint64_t bitmap[REGION_BLOCKS / 64];
	struct space_slot s;

	always(again);
	/* The count of free blocks is as good as a checksum. */
	if (size && data[0] & 1) {
		uint32_t used = 0;

		for (unsigned i = 0; i < REGION_BLOCKS / 64; i++)
			used += (uint32_t)__builtin_popcountll(get_le64(p + SPACE_SLOT_HEADER_BYTES + 8 * i));
		put_le32(p + 60, REGION_BLOCKS);
		put_le32(p + 64, REGION_BLOCKS - used);
	}
	seal(p, len);
	if (!space_slot_decode(p, pool_uuid, REGION_BLOCKS, &s, bitmap)) {
		space_slot_encode(&s, pool_uuid, bitmap, again);
		always(memcmp(p, again, len) == 0);
	}
	free(again);
	free(p);
}

static void try_record(const uint8_t *data, size_t size)
{
	uint8_t *p = place(data, size, RECORD_BYTES_MAX, SPACE_RECORD_MAGIC);
	uint8_t *again = aligned_alloc(4096, RECORD_BYTES_MAX);
	uint64_t len = get_le32(p + 72), position = get_le64(p + 48);
	struct space_record r;

	always(again);
	if (len >= WFS3_BLOCK_BYTES && len <= RECORD_BYTES_MAX)
		seal(p, len);
	if (!space_record_decode(p, RECORD_BYTES_MAX, pool_uuid, position, &r)) {
		always(r.len_bytes <= RECORD_BYTES_MAX);
		memcpy(again, p, RECORD_BYTES_MAX);
		space_record_encode(&r, pool_uuid, again);
		always(memcmp(p, again, r.len_bytes) == 0);
		for (uint32_t i = 0; i < r.entry_count; i++) {
			uint64_t v = get_le64(p + SPACE_RECORD_HEADER_BYTES + i * SPACE_ENTRY_BYTES);
			struct space_entry e = space_entry_unpack(v);

			always(space_entry_pack(&e) == v);
		}
	}
	free(again);
	free(p);
}

static void try_items(const uint8_t *data, size_t size)
{
	uint8_t buf[DATASET_ITEM_BYTES_MAX];
	struct dataset_item d;
	struct inode i;

	if (!inode_decode(data, size, &i))
		always(inode_encode(&i, buf) == size && memcmp(buf, data, size) == 0);
	if (!dataset_item_decode(7, data, size, &d))
		always(dataset_item_encode(&d, buf) == size && memcmp(buf, data, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;

	if (!size)
		return 0;
	/* A copy of its own, so that reading past the end is noticed. */
	copy = malloc(size);
	always(copy);
	memcpy(copy, data + 1, size - 1);
	switch (data[0] % 3) {
	case 0:
		try_slot(copy, size - 1);
		break;
	case 1:
		try_record(copy, size - 1);
		break;
	default:
		copy = realloc(copy, size > 1 ? size - 1 : 1);
		always(copy);
		try_items(copy, size - 1);
	}
	free(copy);
	return 0;
}
