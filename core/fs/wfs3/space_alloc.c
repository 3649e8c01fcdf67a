/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Finding free runs and giving them back; where blocks are; how much there is. In memory only.
 *
 * Each stream stays in one region and moves through it by next fit. Two numbers per region make the choice of the next
 * one cheap: its free blocks, and an upper bound of its longest free run, which a scan of the region makes exact and a
 * release can only raise as far as the run that it made. A request fails only when no bound reaches its minimum.
 */
#include <errno.h>
#include <inttypes.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/fs/wfs3/space_priv.h"

bool space_place_find(const struct space *s, uint64_t addr, uint64_t block_count, struct space_place *ret)
{
	uint64_t number = addr >> s->region_shift;
	uint32_t block = (uint32_t)(addr & (s->region_blocks - 1));

	if (!number || number > s->region_count || !block_count || block_count > s->region_blocks - block)
		return false;
	*ret = (struct space_place){ (uint32_t)number - 1, block };
	return true;
}

struct space_place space_place_of(const struct space *s, struct space_run run)
{
	struct space_place p = { 0 };

	always(space_place_find(s, run.addr, run.block_count, &p));
	return p;
}

int space_locate(struct space *s, uint64_t addr, uint32_t block_count, unsigned *ret_device, uint64_t *ret_offset)
{
	const struct space_region *r;
	struct space_place p;

	if (!space_place_find(s, addr, block_count, &p))
		return err_set(-EUCLEAN, "address 0x%" PRIx64 " + %u blocks is outside the pool", addr, block_count);
	r = &s->regions[p.region];
	*ret_device = r->device;
	*ret_offset = s->devices[r->device].layout.regions_offset + r->physical * s->region_bytes +
	              (uint64_t)p.block * WFS3_BLOCK_BYTES;
	return 0;
}

/* The emptiest region in which a run of @want may be. */
static uint32_t pick_emptiest(const struct space *s, uint32_t avoid, uint32_t want)
{
	uint32_t best = SPACE_NONE, best_free = 0;

	for (uint32_t i = 0; i < s->region_count; i++)
		if (s->run_bound[i] >= want && s->free_count[i] > best_free && i != avoid) {
			best = i;
			best_free = s->free_count[i];
		}
	return best;
}

/* The region that may have the longest run. */
static uint32_t pick_longest(const struct space *s, uint32_t avoid)
{
	uint32_t best = SPACE_NONE, best_bound = 0;

	for (uint32_t i = 0; i < s->region_count; i++)
		if (s->run_bound[i] > best_bound && i != avoid) {
			best = i;
			best_bound = s->run_bound[i];
		}
	return best;
}

struct request {
	uint32_t min, want;
	uint32_t region; /* result */
	struct bits_run run;
};

/* Next fit in the stream's region. */
static bool find_at_cursor(struct space *s, const struct space_cursor *c, struct request *q)
{
	uint32_t target = q->want < c->goal ? q->want : c->goal;

	if (target < q->min)
		target = q->min;
	if (c->region == SPACE_NONE || s->run_bound[c->region] < target)
		return false;
	q->region = c->region;
	return bits_find_clear(space_bitmap(s, s->busy, c->region), s->region_words, c->block, target, q->want,
	                       &q->run);
}

/* A whole run of @want in another region. Every region that disappoints gets an exact bound. */
static bool find_whole(struct space *s, struct space_cursor *c, uint32_t avoid, struct request *q)
{
	while ((q->region = pick_emptiest(s, avoid, q->want)) != SPACE_NONE) {
		if (bits_find_clear(space_bitmap(s, s->busy, q->region), s->region_words, 0, q->want, q->want,
		                    &q->run)) {
			c->goal = s->region_blocks;
			return true;
		}
		s->run_bound[q->region] = q->run.count;
	}
	return false;
}

/* The longest run anywhere, of at least @min. */
static bool find_longest(struct space *s, struct space_cursor *c, uint32_t avoid, struct request *q)
{
	while ((q->region = pick_longest(s, avoid)) != SPACE_NONE && s->run_bound[q->region] >= q->min) {
		uint32_t bound = s->run_bound[q->region], target = bound < q->want ? bound : q->want;

		if (bits_find_clear(space_bitmap(s, s->busy, q->region), s->region_words, 0, target, target, &q->run)) {
			/* Settle for half as much here before searching everywhere again. */
			c->goal = (q->run.count + 1) / 2;
			return true;
		}
		s->run_bound[q->region] = q->run.count;
	}
	return false;
}

static void take(struct space *s, struct space_cursor *c, const struct request *q)
{
	uint64_t *busy = space_bitmap(s, s->busy, q->region);

	always(q->run.count >= q->min && q->run.count <= q->want && bits_all_clear(busy, q->run.first, q->run.count));
	bits_set(busy, q->run.first, q->run.count);
	s->free_count[q->region] -= q->run.count;
	s->free_blocks -= q->run.count;
	if (s->run_bound[q->region] > s->free_count[q->region])
		s->run_bound[q->region] = s->free_count[q->region];
	c->region = q->region;
	c->block = q->run.first + q->run.count;
}

static bool alloc_locked(struct space *s, enum space_stream stream, struct request *q) SYNC_REQUIRES(s->mutex)
{
	struct space_cursor *c = &s->cursors[stream];
	uint32_t avoid = s->cursors[stream == SPACE_STREAM_DATA ? SPACE_STREAM_NODE : SPACE_STREAM_DATA].region;
	uint64_t available = s->free_blocks;

	/* Writers are refused before they touch the reserve. What was accepted may need a part of it all the same. */
	if (stream == SPACE_STREAM_DATA) {
		uint64_t kept = s->reserve_blocks / 4;

		available -= kept < available ? kept : available;
	}
	if (available < q->min)
		return false;
	if (q->want > available)
		q->want = (uint32_t)available;
	if (!find_at_cursor(s, c, q) && !find_whole(s, c, avoid, q) && !find_longest(s, c, avoid, q) &&
	    !find_longest(s, c, SPACE_NONE, q))
		return false;
	take(s, c, q);
	return true;
}

int space_alloc(struct space *s, enum space_stream stream, uint32_t min, uint32_t want, struct space_run *ret)
{
	struct request q = { .min = min, .want = want < s->region_blocks ? want : s->region_blocks };
	bool found;

	always(min && min <= want && min <= s->region_blocks);
	sync_mutex_lock(&s->mutex);
	found = alloc_locked(s, stream, &q);
	sync_mutex_unlock(&s->mutex);
	if (!found)
		return err_set(-ENOSPC, "no run of %u free blocks", min);
	*ret = (struct space_run){ space_addr(s, q.region, q.run.first), q.run.count };
	return 0;
}

void space_release_locked(struct space *s, struct space_run run)
{
	struct space_place p = space_place_of(s, run);
	uint64_t *busy = space_bitmap(s, s->busy, p.region);
	uint32_t around;

	always(bits_all_set(busy, p.block, run.block_count));
	bits_clear(busy, p.block, run.block_count);
	s->free_count[p.region] += run.block_count;
	s->free_blocks += run.block_count;
	around = bits_clear_around(busy, s->region_words, p.block, run.block_count);
	if (around > s->free_count[p.region])
		around = s->free_count[p.region];
	if (s->run_bound[p.region] < around)
		s->run_bound[p.region] = around;
}

void space_cancel(struct space *s, struct space_run run)
{
	struct space_place p = space_place_of(s, run);

	sync_mutex_lock(&s->mutex);
	always(bits_all_clear(space_bitmap(s, s->ref, p.region), p.block, run.block_count));
	space_release_locked(s, run);
	sync_mutex_unlock(&s->mutex);
}

void space_get_stats(struct space *s, struct space_stats *ret)
{
	sync_mutex_lock(&s->mutex);
	*ret = (struct space_stats){
		.total_blocks = s->total_blocks,
		.used_blocks = s->used_blocks,
		.pending_blocks = s->pending_blocks,
		.free_blocks = s->free_blocks,
		.in_flight_blocks = s->total_blocks - s->used_blocks - s->pending_blocks - s->free_blocks,
		.reserved_blocks = s->reserve_blocks < s->free_blocks ? s->reserve_blocks : s->free_blocks,
	};
	sync_mutex_unlock(&s->mutex);
}

bool space_is_used(struct space *s, uint64_t addr)
{
	struct space_place p;
	bool used;

	if (!space_place_find(s, addr, 1, &p))
		return false;
	sync_mutex_lock(&s->mutex);
	used = bits_all_set(space_bitmap(s, s->ref, p.region), p.block, 1);
	sync_mutex_unlock(&s->mutex);
	return used;
}
