/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of pages that a recovery has to write, against plain arrays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/fs/wfs3/recover_pages.h"

#define BLOCKS 5000u
#define MANY UINT64_C(300000)

static void test_random_puts_and_removals_match_an_array(void **state)
{
	static uint64_t model[3][BLOCKS];
	struct recover_pages t;
	unsigned seed = 1;
	uint64_t position = 0;
	size_t count = 0;

	(void)state;
	memset(model, 0, sizeof(model));
	recover_pages_init(&t, NULL);
	for (unsigned step = 0; step < 200000; step++) {
		uint64_t ds = (uint64_t)rand_r(&seed) % 3 + 1, block = (uint64_t)rand_r(&seed) % BLOCKS;

		if (rand_r(&seed) % 4) {
			struct recover_page page = {
				.dataset = 1 + ds / 2, .object = ds, .block = block, .position = ++position
			};

			assert_int_equal(recover_pages_put(&t, &page), 0);
			model[ds - 1][block] = position;
		} else {
			uint64_t n = rand_r(&seed) % 1000 ? 1 + (uint64_t)rand_r(&seed) % 16 : UINT64_C(1) << 48;

			recover_pages_remove(&t, 1 + ds / 2, ds, block, n);
			for (uint64_t b = block; b < BLOCKS && b - block < n; b++)
				model[ds - 1][b] = 0;
		}
	}
	for (unsigned ds = 1; ds <= 3; ds++)
		for (unsigned b = 0; b < BLOCKS; b++)
			count += model[ds - 1][b] != 0;
	recover_pages_sort(&t);
	assert_int_equal(t.count, count);
	for (size_t i = 0; i < count; i++) {
		const struct recover_page *pg = &t.sorted[i];

		assert_int_equal(pg->dataset, 1 + pg->object / 2);
		assert_int_equal(pg->position, model[pg->object - 1][pg->block]);
		assert_true(i == 0 || pg[-1].object < pg->object ||
		            (pg[-1].object == pg->object && pg[-1].position < pg->position));
	}
	recover_pages_done(&t);
}

/* A log is crafted so that its pages stand together in a hash table, or so that each record looks at all of them. */
static void test_no_pages_and_no_removals_are_slow(void **state)
{
	struct recover_pages t;
	clock_t begin = clock();

	(void)state;
	recover_pages_init(&t, NULL);
	for (uint64_t i = 0; i < MANY; i++) {
		/* The inverse of a popular multiplier: products whose middle bits are all the same. */
		struct recover_page page = { .dataset = 1,
			                     .object = (i << 44) * UINT64_C(0xf1de83e19937733d),
			                     .block = i << 24,
			                     .position = i + 1 };

		assert_int_equal(recover_pages_put(&t, &page), 0);
	}
	for (uint64_t i = 0; i < MANY; i++) {
		struct recover_page page = { .dataset = 1, .object = 7, .block = i, .position = i + 1 };

		assert_int_equal(recover_pages_put(&t, &page), 0);
	}
	for (uint64_t i = 0; i < MANY; i++)
		recover_pages_remove(&t, 1, 7, MANY + i % 2, UINT64_C(1) << 47);
	assert_true(clock() - begin < 20 * CLOCKS_PER_SEC);
	assert_int_equal(t.trie.count, 2 * MANY);
	recover_pages_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_puts_and_removals_match_an_array),
		cmocka_unit_test(test_no_pages_and_no_removals_are_slow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
