/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A WFS v2 volume with edits, checksums made right, put to use, repaired, put to use again. The input is a flag whether
 * checksums are made right, then edits: area (superblock, copy, markers, bitmap, a slot), offset, length, bytes.
 */
#include <stdlib.h>

#include "core/base/budget.h"
#include "core/cache/cache.h"
#include "tests/unit/core/fs/wfs2/exercise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct blk_dev *dev;
static struct cache *cache;
static uint8_t whole[EXERCISE_BYTES];

static void set_up(void)
{
	struct cache_config config = { .writeback_threads = 1, .writeback_age_ms = 60000 };

	config.budget = budget_new((size_t)64 << 20);
	config.dirty_max_bytes = (size_t)16 << 20;
	config.dirty_background_bytes = (size_t)8 << 20;
	always(config.budget && cache_new(&config, &cache) == 0);
	always(blk_sim_new("fuzz", EXERCISE_BYTES, &dev) == 0);
	exercise_make(dev, cache);
	blk_sim_peek(dev, 0, whole, sizeof(whole));
}

static void edit(struct rd *r)
{
	uint8_t area = rd_u8(r);
	uint64_t offset = rd_le16(r), base = 0, room = WFS2_BLOCK_BYTES;
	size_t len = rd_u8(r) % 32 + 1;
	const uint8_t *bytes = rd_bytes(r, len);

	if (!bytes)
		return;
	if (area < 8) /* superblock, a marker, the bitmap, the last block */
		base = area < 7 ? (uint64_t)area * WFS2_BLOCK_BYTES : EXERCISE_BYTES - WFS2_BLOCK_BYTES;
	else
		base = 5 * (uint64_t)WFS2_BLOCK_BYTES + area % EXERCISE_FILES * WFS2_SLOT_BYTES;
	if (area >= 8)
		room = WFS2_SLOT_BYTES;
	offset %= room;
	if (len > room - offset)
		len = (size_t)(room - offset);
	blk_sim_poke(dev, base + offset, bytes, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rd r = rd_init(data, size);
	bool seal;

	if (!dev)
		set_up();
	blk_sim_poke(dev, 0, whole, sizeof(whole));
	seal = rd_u8(&r) & 1;
	while (rd_left(&r))
		edit(&r);
	if (seal)
		exercise_seal(dev);
	exercise(dev, cache);
	return 0;
}
