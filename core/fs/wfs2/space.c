/* SPDX-License-Identifier: BSD-3-Clause */
/* Free runs by next fit over a bitmap of 64-bit words. */
#include "core/fs/wfs2/space.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/err.h"

int wfs2_space_init(struct wfs2_space *s, const uint8_t *bitmap, uint32_t bitmap_bytes, uint32_t begin, uint32_t end)
{
	*s = (struct wfs2_space){ .begin = begin, .end = end, .cursor = begin, .largest = UINT32_MAX };
	s->busy = malloc(bitmap_bytes);
	if (!s->busy)
		return err_set(-ENOMEM, "no memory for the bitmap");
	for (uint32_t i = 0; i < bitmap_bytes / 8; i++) {
		s->busy[i] = get_le64(bitmap + (size_t)i * 8);
		s->free_count += 64 - (uint32_t)__builtin_popcountll(s->busy[i]);
	}
	return 0;
}

void wfs2_space_done(struct wfs2_space *s)
{
	free(s->busy);
	s->busy = NULL;
}

/* The first block of [from, end) whose bit is @set, or @end. */
static uint32_t next(const struct wfs2_space *s, uint32_t from, uint32_t end, bool set)
{
	while (from < end) {
		uint64_t word = set ? s->busy[from / 64] : ~s->busy[from / 64];

		word >>= from % 64;
		if (word) {
			from += (uint32_t)__builtin_ctzll(word);
			return from < end ? from : end;
		}
		from = (from / 64 + 1) * 64;
	}
	return end;
}

static void mark(struct wfs2_space *s, uint32_t first, uint32_t count, bool set)
{
	for (uint32_t block = first; block < first + count; block++) {
		uint64_t bit = UINT64_C(1) << block % 64;

		always(((s->busy[block / 64] & bit) != 0) != set);
		s->busy[block / 64] ^= bit;
	}
	s->free_count += set ? -count : count;
}

struct best {
	uint32_t first, count;
};

/* The first run of @want blocks in [from, end), else the longest. */
static bool search(const struct wfs2_space *s, uint32_t from, uint32_t end, uint32_t want, struct best *best)
{
	while (from < end) {
		uint32_t first = next(s, from, end, false), stop;

		if (first == end)
			return false;
		stop = next(s, first, s->end, true);
		if (stop - first > best->count)
			*best = (struct best){ first, stop - first };
		if (best->count >= want)
			return true;
		from = stop;
	}
	return false;
}

uint32_t wfs2_space_take(struct wfs2_space *s, uint32_t goal, uint32_t want, uint32_t *ret_first)
{
	struct best best = { 0 };
	uint32_t enough = want < s->largest ? want : s->largest;

	if (!s->free_count || !want)
		return 0;
	if (goal >= s->begin && goal < s->end)
		best = (struct best){ goal, next(s, goal, s->end, true) - goal };
	if (!best.count && !search(s, s->cursor, s->end, enough, &best) &&
	    !search(s, s->begin, s->cursor, enough, &best))
		s->largest = best.count;
	if (best.count > want)
		best.count = want;
	mark(s, best.first, best.count, true);
	s->cursor = best.first + best.count;
	*ret_first = best.first;
	return best.count;
}

void wfs2_space_give(struct wfs2_space *s, uint32_t first, uint32_t count)
{
	mark(s, first, count, false);
	s->largest = UINT32_MAX;
}
