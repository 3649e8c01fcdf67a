/* SPDX-License-Identifier: BSD-3-Clause */
/* Searching bitmaps word by word gives what searching bit by bit gives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/fs/wfs3/space_bits.h"
#include "tests/unit/core/fs/wfs3/space_fixture.h"

#define WORDS 8u
#define BITS (WORDS * 64)

static bool is_set(const uint64_t *bm, uint32_t i)
{
	return bm[i / 64] >> i % 64 & 1;
}

/* Long and short runs of both kinds. */
static void random_bitmap(uint64_t *seed, uint64_t *bm)
{
	memset(bm, 0, WORDS * 8);
	for (uint32_t i = 0; i < BITS;) {
		uint32_t n = 1 + rnd_below(seed, rnd_below(seed, 3) ? 8 : 200);

		n = n < BITS - i ? n : BITS - i;
		if (rnd_below(seed, 2))
			bits_set(bm, i, n);
		i += n;
	}
}

static bool slow_find(const uint64_t *bm, uint32_t from, uint32_t target, struct bits_run *ret)
{
	struct bits_run best = { 0 };

	for (uint32_t i = from; i < BITS; i++) {
		uint32_t n = 0;

		while (i + n < BITS && !is_set(bm, i + n))
			n++;
		if (n > best.count)
			best = (struct bits_run){ i, n };
		if (n >= target)
			break;
		i += n;
	}
	*ret = best;
	return best.count >= target;
}

static void test_find_clear_agrees_with_slow_search(void **state)
{
	uint64_t seed = 1;

	(void)state;
	for (unsigned i = 0; i < 50000; i++) {
		uint32_t from = rnd_below(&seed, BITS + 1), target = 1 + rnd_below(&seed, 150);
		uint32_t want = target + rnd_below(&seed, 100);
		uint64_t bm[WORDS];
		struct bits_run got, slow;

		random_bitmap(&seed, bm);
		assert_int_equal(bits_find_clear(bm, WORDS, from, target, want, &got),
		                 slow_find(bm, from, target, &slow));
		assert_int_equal(got.count, slow.count < want ? slow.count : want);
		if (got.count)
			assert_int_equal(got.first, slow.first);
	}
}

static void test_clear_around_measures_the_whole_run(void **state)
{
	uint64_t seed = 2;

	(void)state;
	for (unsigned i = 0; i < 50000; i++) {
		uint32_t first = rnd_below(&seed, BITS), count = 1 + rnd_below(&seed, BITS - first);
		uint32_t start = first, end = first + count;
		uint64_t bm[WORDS];

		random_bitmap(&seed, bm);
		bits_clear(bm, first, count);
		while (start && !is_set(bm, start - 1))
			start--;
		while (end < BITS && !is_set(bm, end))
			end++;
		assert_int_equal(bits_clear_around(bm, WORDS, first, count), end - start);
	}
}

static void test_ranges_touch_their_bits_only(void **state)
{
	uint64_t seed = 3;

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		uint32_t first = rnd_below(&seed, BITS), count = 1 + rnd_below(&seed, BITS - first);
		uint64_t bm[WORDS] = { 0 };

		bits_set(bm, first, count);
		for (uint32_t j = 0; j < BITS; j++)
			assert_int_equal(is_set(bm, j), j >= first && j < first + count);
		assert_int_equal(bits_count(bm, WORDS), count);
		assert_true(bits_all_set(bm, first, count));
		if (first)
			assert_false(bits_all_set(bm, first - 1, 2));
		bits_clear(bm, first, count);
		assert_true(bits_all_clear(bm, 0, BITS));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find_clear_agrees_with_slow_search),
		cmocka_unit_test(test_clear_around_measures_the_whole_run),
		cmocka_unit_test(test_ranges_touch_their_bits_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
