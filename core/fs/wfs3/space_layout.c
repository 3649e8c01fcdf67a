/* SPDX-License-Identifier: BSD-3-Clause */
/* The geometry of a device: how its bytes are shared out at creation, and the check of a geometry from a label. */
#include <errno.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/wfs3/space_codec.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define TIB (UINT64_C(1) << 40)

#define LOG_BYTES_MIN (4 * MIB)
#define REGION_BYTES_MIN MIB
#define REGION_BYTES_MAX (256 * MIB)
/* Largest device: keeps all sums far from overflow. */
#define DEVICE_BYTES_MAX (UINT64_C(1) << 60)

static uint64_t clamp_u64(uint64_t v, uint64_t low, uint64_t high)
{
	return max_u64(low, min_u64(v, high));
}

uint64_t space_region_bytes(uint64_t first_device_bytes)
{
	uint64_t bytes = REGION_BYTES_MAX;

	/* At least three quarters of the smallest device are left for regions. */
	while (bytes > REGION_BYTES_MIN && bytes > first_device_bytes / 4 * 3 / 32)
		bytes /= 2;
	return bytes;
}

/* Room for the changes of many large commits: see FORMAT.md on how its size bounds the writing of bitmaps. */
static uint64_t ring_bytes(uint64_t device_bytes)
{
	if (device_bytes > TIB)
		return min_u64(round_down_u64(device_bytes / 16384, MIB), GIB);
	return clamp_u64(round_down_u64(device_bytes / 256, MIB), MIB, 64 * MIB);
}

int space_layout_make(uint64_t device_bytes, uint64_t region_bytes, struct space_layout *ret)
{
	uint64_t slot_pair = 2 * space_slot_bytes(region_bytes);
	struct space_layout l = { 0 };
	uint64_t end, count;

	if (device_bytes < WFS3_POOL_BYTES_MIN)
		return err_set(-ENOSPC, "a device of %llu bytes is too small, %llu are needed",
		               (unsigned long long)device_bytes, (unsigned long long)WFS3_POOL_BYTES_MIN);
	l.device_bytes = round_down_u64(min_u64(device_bytes, DEVICE_BYTES_MAX), MIB);
	l.log_offset = WFS3_LABEL_BYTES;
	l.log_bytes = clamp_u64(round_down_u64(l.device_bytes / 64, MIB), LOG_BYTES_MIN, GIB);
	l.ring_offset = l.log_offset + l.log_bytes;
	l.ring_bytes = ring_bytes(l.device_bytes);
	l.slots_offset = l.ring_offset + l.ring_bytes;
	end = l.device_bytes - WFS3_LABEL_BYTES;
	/* As many regions as fit together with their slots; the estimate is at most one too high. */
	count = end > l.slots_offset ? (end - l.slots_offset) / (region_bytes + slot_pair) : 0;
	while (count && round_up_u64(l.slots_offset + count * slot_pair, MIB) + count * region_bytes > end)
		count--;
	count = min_u64(count, SPACE_DEVICE_REGIONS_MAX);
	if (!count)
		return err_set(-ENOSPC, "a device of %llu bytes has no room for a region of %llu",
		               (unsigned long long)device_bytes, (unsigned long long)region_bytes);
	l.slots_bytes = count * slot_pair;
	l.regions_offset = round_up_u64(l.slots_offset + l.slots_bytes, MIB);
	l.region_count = (uint32_t)count;
	*ret = l;
	return 0;
}

/* @at: end of the area before; moved to the end of this one. */
static bool area_follows(uint64_t offset, uint64_t len, uint64_t *at, uint64_t limit)
{
	if (((offset | len) & (WFS3_BLOCK_BYTES - 1)) || !len || offset < *at || !range_within(offset, len, limit))
		return false;
	*at = offset + len;
	return true;
}

int space_layout_check(const struct space_layout *l, uint64_t region_bytes)
{
	uint64_t at = WFS3_LABEL_BYTES, end;

	if (!is_pow2_u64(region_bytes) || region_bytes < REGION_BYTES_MIN || region_bytes > REGION_BYTES_MAX)
		return err_set(-EUCLEAN, "layout: region size %llu", (unsigned long long)region_bytes);
	if (l->device_bytes < WFS3_POOL_BYTES_MIN || l->device_bytes > DEVICE_BYTES_MAX ||
	    (l->device_bytes & (MIB - 1)))
		return err_set(-EUCLEAN, "layout: device size %llu", (unsigned long long)l->device_bytes);
	end = l->device_bytes - WFS3_LABEL_BYTES;
	if (!area_follows(l->log_offset, l->log_bytes, &at, end) || l->log_bytes < LOG_BYTES_MIN)
		return err_set(-EUCLEAN, "layout: log area %llu + %llu", (unsigned long long)l->log_offset,
		               (unsigned long long)l->log_bytes);
	if (!area_follows(l->ring_offset, l->ring_bytes, &at, end) || l->ring_bytes < SPACE_RING_BYTES_MIN ||
	    l->ring_bytes > SPACE_RING_BYTES_MAX || l->ring_bytes % SPACE_RING_BYTES_MIN)
		return err_set(-EUCLEAN, "layout: ring area %llu + %llu", (unsigned long long)l->ring_offset,
		               (unsigned long long)l->ring_bytes);
	if (!l->region_count || l->region_count > SPACE_DEVICE_REGIONS_MAX)
		return err_set(-EUCLEAN, "layout: %u regions", l->region_count);
	if (!area_follows(l->slots_offset, l->slots_bytes, &at, end) ||
	    l->slots_bytes < 2 * space_slot_bytes(region_bytes) * l->region_count)
		return err_set(-EUCLEAN, "layout: slots area %llu + %llu", (unsigned long long)l->slots_offset,
		               (unsigned long long)l->slots_bytes);
	if ((l->regions_offset & (MIB - 1)) ||
	    !area_follows(l->regions_offset, l->region_count * region_bytes, &at, end))
		return err_set(-EUCLEAN, "layout: %u regions at %llu", l->region_count,
		               (unsigned long long)l->regions_offset);
	return 0;
}
