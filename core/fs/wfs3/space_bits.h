/* SPDX-License-Identifier: BSD-3-Clause */
/* Ranges of bits in the bitmap of one region. Little helpers without state; ranges lie within the bitmap. */
#ifndef WFSD_CORE_FS_WFS3_SPACE_BITS_H
#define WFSD_CORE_FS_WFS3_SPACE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The bits of word @word that lie in [first, first + count). */
static inline uint64_t bits_mask(uint32_t word, uint32_t first, uint32_t count)
{
	uint32_t base = word * 64, end = first + count;
	uint64_t m = UINT64_MAX;

	if (first > base)
		m &= UINT64_MAX << (first - base);
	if (end < base + 64)
		m &= UINT64_MAX >> (base + 64 - end);
	return m;
}

static inline void bits_set(uint64_t *bm, uint32_t first, uint32_t count)
{
	for (uint32_t w = first / 64; w * 64 < first + count; w++)
		bm[w] |= bits_mask(w, first, count);
}

static inline void bits_clear(uint64_t *bm, uint32_t first, uint32_t count)
{
	for (uint32_t w = first / 64; w * 64 < first + count; w++)
		bm[w] &= ~bits_mask(w, first, count);
}

static inline bool bits_all_set(const uint64_t *bm, uint32_t first, uint32_t count)
{
	for (uint32_t w = first / 64; w * 64 < first + count; w++)
		if (~bm[w] & bits_mask(w, first, count))
			return false;
	return true;
}

static inline bool bits_all_clear(const uint64_t *bm, uint32_t first, uint32_t count)
{
	for (uint32_t w = first / 64; w * 64 < first + count; w++)
		if (bm[w] & bits_mask(w, first, count))
			return false;
	return true;
}

static inline uint32_t bits_count(const uint64_t *bm, uint32_t words)
{
	uint32_t n = 0;

	for (uint32_t w = 0; w < words; w++)
		n += (uint32_t)__builtin_popcountll(bm[w]);
	return n;
}

struct bits_run {
	uint32_t first;
	uint32_t count;
};

/*
 * The first run of at least @target clear bits in [from, words * 64), cut off once it has @want (>= @target) bits.
 * False: *ret is the longest run there, count 0 when all bits are set.
 */
bool bits_find_clear(const uint64_t *bm, uint32_t words, uint32_t from, uint32_t target, uint32_t want,
                     struct bits_run *ret);
/* Length of the run of clear bits around [first, first + count), which is clear; UINT32_MAX when it is too long to be
 * measured cheaply. */
uint32_t bits_clear_around(const uint64_t *bm, uint32_t words, uint32_t first, uint32_t count);

#endif
