/* SPDX-License-Identifier: BSD-3-Clause */
/* Finding runs of clear bits, a word at a time. */
#include "core/fs/wfs3/space_bits.h"

#define MEASURE_WORDS_MAX 64u

struct scan {
	uint32_t target;
	struct bits_run open; /* the run that is being extended; count 0: none */
	struct bits_run best;
};

/* The open run ends. True when it is long enough. */
static bool scan_close(struct scan *s)
{
	if (s->open.count > s->best.count)
		s->best = s->open;
	s->open.count = 0;
	return s->best.count >= s->target;
}

static void scan_extend(struct scan *s, uint32_t first, uint32_t count)
{
	if (!s->open.count)
		s->open.first = first;
	s->open.count += count;
}

/* A word that has both set and clear bits. The last run in it stays open when it reaches the word's end. */
static bool scan_mixed(struct scan *s, uint64_t v, uint32_t base)
{
	uint32_t pos = (uint32_t)__builtin_ctzll(v);

	if (pos)
		scan_extend(s, base, pos);
	if (scan_close(s))
		return true;
	for (;;) {
		uint64_t rest = v >> pos;

		/* Bit @pos is set. */
		pos += rest == UINT64_MAX ? 64 : (uint32_t)__builtin_ctzll(~rest);
		if (pos >= 64)
			return false;
		rest = v >> pos;
		if (!rest) {
			scan_extend(s, base + pos, 64 - pos);
			return false;
		}
		scan_extend(s, base + pos, (uint32_t)__builtin_ctzll(rest));
		pos += (uint32_t)__builtin_ctzll(rest);
		if (scan_close(s))
			return true;
	}
}

bool bits_find_clear(const uint64_t *bm, uint32_t words, uint32_t from, uint32_t target, uint32_t want,
                     struct bits_run *ret)
{
	struct scan s = { .target = target };
	bool found = false;

	for (uint32_t w = from / 64; w < words && !found; w++) {
		uint64_t v = bm[w];

		if (w == from / 64 && from % 64)
			v |= UINT64_MAX >> (64 - from % 64);
		if (!v) {
			scan_extend(&s, w * 64, 64);
			found = s.open.count >= want;
		} else if (v == UINT64_MAX) {
			found = scan_close(&s);
		} else {
			found = scan_mixed(&s, v, w * 64);
		}
	}
	if (scan_close(&s))
		found = true;
	if (s.best.count > want)
		s.best.count = want;
	*ret = s.best;
	return found;
}

uint32_t bits_clear_around(const uint64_t *bm, uint32_t words, uint32_t first, uint32_t count)
{
	uint32_t start = first, end = first + count, steps = 0;

	while (start) {
		uint32_t w = (start - 1) / 64, used = (start - 1) % 64 + 1; /* bits of this word below @start */
		uint64_t v = bm[w] << (64 - used);

		if (v) {
			start -= (uint32_t)__builtin_clzll(v);
			break;
		}
		start -= used;
		if (++steps > MEASURE_WORDS_MAX)
			return UINT32_MAX;
	}
	while (end < words * 64) {
		uint64_t v = bm[end / 64] >> end % 64;

		if (v) {
			end += (uint32_t)__builtin_ctzll(v);
			break;
		}
		end += 64 - end % 64;
		if (++steps > 2 * MEASURE_WORDS_MAX)
			return UINT32_MAX;
	}
	return end - start;
}
