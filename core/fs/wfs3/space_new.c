/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory of a space: making it, filling it from the disk state, creating the state of a fresh pool, letting it go. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/blk/blk.h"
#include "core/fs/wfs3/space_priv.h"

#define CHUNK_BYTES (UINT64_C(4) << 20)

/* 3 % for nodes and deletion, but at least 1 MiB, and never more than an eighth. */
static uint64_t reserve_of(uint64_t total_blocks)
{
	uint64_t r = max_u64(total_blocks * 3 / 100, (UINT64_C(1) << 20) / WFS3_BLOCK_BYTES);

	return min_u64(r, total_blocks / 8);
}

static int check_config(const struct space_config *config, uint64_t *ret_regions)
{
	uint64_t regions = 0, ring;

	always(config->device_count && config->device_count <= WFS3_DEVICES_MAX);
	for (unsigned i = 0; i < config->device_count; i++) {
		int rc = space_layout_check(&config->devices[i].layout, config->region_bytes);

		if (rc)
			return err_add(rc, "device %u", i);
		regions += config->devices[i].layout.region_count;
	}
	/* A record of the ring can name every region. */
	ring = config->devices[0].layout.ring_bytes;
	if (space_record_bytes(div_round_up_u64(regions, 64)) > ring / 4)
		return err_set(-EUCLEAN, "%llu regions are too many for the first device's ring of %llu bytes",
		               (unsigned long long)regions, (unsigned long long)ring);
	*ret_regions = regions;
	return 0;
}

static int alloc_arrays(struct space *s)
{
	size_t n = s->region_count, words = n * s->region_words;

	s->devices = calloc(s->device_count, sizeof(*s->devices));
	s->regions = calloc(n, sizeof(*s->regions));
	s->disk = calloc(words, sizeof(*s->disk));
	s->busy = calloc(words, sizeof(*s->busy));
	s->ref = calloc(words, sizeof(*s->ref));
	s->free_count = calloc(n, sizeof(*s->free_count));
	s->run_bound = calloc(n, sizeof(*s->run_bound));
	if (!s->devices || !s->regions || !s->disk || !s->busy || !s->ref || !s->free_count || !s->run_bound)
		return err_set(-ENOMEM, "bitmaps of %u regions", s->region_count);
	return 0;
}

int space_new(const struct space_config *config, struct space **ret)
{
	struct space *s;
	uint64_t regions = 0;
	int rc = check_config(config, &regions);

	if (rc)
		return rc;
	s = aligned_alloc(_Alignof(struct space), sizeof(*s));
	if (!s)
		return err_set(-ENOMEM, "space");
	memset(s, 0, sizeof(*s));
	sync_mutex_init(&s->mutex, SYNC_RANK_ALLOC, "space");
	s->device_count = config->device_count;
	memcpy(s->pool_uuid, config->pool_uuid, 16);
	s->region_bytes = config->region_bytes;
	s->region_blocks = (uint32_t)(config->region_bytes / WFS3_BLOCK_BYTES);
	s->region_shift = (unsigned)__builtin_ctz(s->region_blocks);
	s->region_words = s->region_blocks / 64;
	s->region_count = (uint32_t)regions;
	s->total_blocks = regions * s->region_blocks;
	s->reserve_blocks = reserve_of(s->total_blocks);
	for (unsigned i = 0; i < 2; i++)
		s->cursors[i] = (struct space_cursor){ .region = SPACE_NONE };
	rc = alloc_arrays(s);
	if (!rc)
		rc = space_ring_new(&s->ring, config->devices[0].layout.ring_bytes);
	if (rc) {
		space_free(s);
		return rc;
	}
	memcpy(s->devices, config->devices, s->device_count * sizeof(*s->devices));
	*ret = s;
	return 0;
}

void space_free(struct space *s)
{
	if (!s)
		return;
	space_free_chunks(s);
	space_ring_done(&s->ring);
	space_repairs_free(s->repairs);
	free(s->devices);
	free(s->regions);
	free(s->disk);
	free(s->busy);
	free(s->ref);
	free(s->free_count);
	free(s->run_bound);
	sync_mutex_done(&s->mutex);
	free(s);
}

void space_start(struct space *s, uint64_t txg)
{
	size_t bytes = (size_t)s->region_count * s->region_words * sizeof(uint64_t);

	memcpy(s->busy, s->disk, bytes);
	memcpy(s->ref, s->disk, bytes);
	s->free_blocks = 0;
	for (uint32_t i = 0; i < s->region_count; i++) {
		s->free_count[i] = s->region_blocks - bits_count(space_bitmap(s, s->disk, i), s->region_words);
		s->run_bound[i] = s->free_count[i];
		s->free_blocks += s->free_count[i];
	}
	s->used_blocks = s->total_blocks - s->free_blocks;
	s->disk_used_blocks = s->used_blocks;
	s->last_txg = txg;
	space_pins_init(&s->pins, txg + 1);
}

struct order {
	uint64_t txg;
	uint32_t region;
};

static int compare_orders(const void *a, const void *b)
{
	const struct order *x = a, *y = b;

	if (x->txg != y->txg)
		return x->txg < y->txg ? -1 : 1;
	return x->region < y->region ? -1 : x->region > y->region;
}

int space_order_regions(struct space *s)
{
	struct order *orders = malloc(s->region_count * sizeof(*orders));

	if (!orders)
		return err_set(-ENOMEM, "order of %u regions", s->region_count);
	for (uint32_t i = 0; i < s->region_count; i++)
		orders[i] = (struct order){ s->regions[i].newest_txg, i };
	qsort(orders, s->region_count, sizeof(*orders), compare_orders);
	for (uint32_t i = 0; i < s->region_count; i++) {
		struct space_region *r = &s->regions[orders[i].region];

		r->prev = i ? orders[i - 1].region : SPACE_NONE;
		r->next = i + 1 < s->region_count ? orders[i + 1].region : SPACE_NONE;
	}
	s->oldest = orders[0].region;
	s->newest = orders[s->region_count - 1].region;
	free(orders);
	return 0;
}

uint64_t space_slot_offset(const struct space *s, uint32_t device, uint32_t physical, unsigned slot)
{
	return s->devices[device].layout.slots_offset +
	       (2 * (uint64_t)physical + slot) * space_slot_bytes(s->region_bytes);
}

/* Both slots of every region of one device, all blocks free. @first: index of its first virtual region. */
static int write_first_slots(struct space *s, uint32_t device, uint32_t first, uint64_t txg)
{
	uint64_t slot = space_slot_bytes(s->region_bytes);
	uint32_t count = s->devices[device].layout.region_count, step = (uint32_t)(CHUNK_BYTES / (2 * slot));
	uint8_t *buf = aligned_alloc(4096, step * 2 * slot);
	int rc = 0;

	if (!buf)
		return err_set(-ENOMEM, "first bitmaps");
	for (uint32_t at = 0; at < count && !rc; at += step) {
		uint32_t n = count - at < step ? count - at : step;

		for (uint32_t i = 0; i < 2 * n; i++) {
			struct space_slot h = {
				.txg = txg,
				.virtual_region = first + at + i / 2 + 1,
				.physical_region = at + i / 2,
				.device_index = device,
				.block_count = s->region_blocks,
				.free_count = s->region_blocks,
			};

			space_slot_encode(&h, s->pool_uuid, space_bitmap(s, s->disk, first + at + i / 2),
			                  buf + i * slot);
		}
		rc = blk_write(s->devices[device].dev, space_slot_offset(s, device, at, 0), buf, n * 2 * slot, 0);
	}
	free(buf);
	return rc ? err_add(rc, "first bitmaps of device %u", device) : 0;
}

int space_create(const struct space_config *config, uint64_t txg, struct space **ret, struct space_root *ret_root)
{
	struct space *s;
	uint32_t first = 0;
	int rc;

	always(txg && txg < WFS3_TXG_MAX);
	rc = space_new(config, &s);
	if (rc)
		return rc;
	for (unsigned d = 0; d < s->device_count && !rc; d++) {
		uint32_t count = s->devices[d].layout.region_count;

		for (uint32_t i = 0; i < count; i++)
			s->regions[first + i] = (struct space_region){ .device = d, .physical = i, .newest_txg = txg };
		rc = write_first_slots(s, d, first, txg);
		first += count;
	}
	if (!rc)
		rc = space_order_regions(s);
	if (rc) {
		space_free(s);
		return rc;
	}
	space_start(s, txg);
	*ret = s;
	*ret_root = (struct space_root){ 0 };
	return 0;
}
