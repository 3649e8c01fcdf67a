/* SPDX-License-Identifier: BSD-3-Clause */
/* Pages of transactions that wait for their unit: they come in its order, once, and nobody's else; and nothing is slow.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "core/base/err.h"
#include "core/fs/wfs3/recover_parts.h"

#define MANY 300000u

struct fixture {
	struct recover_parts parts;
	struct recover_pages pages;
};

static void begin(struct fixture *f)
{
	recover_parts_init(&f->parts, NULL);
	recover_pages_init(&f->pages, NULL);
}

static void end(struct fixture *f)
{
	recover_parts_done(&f->parts);
	recover_pages_done(&f->pages);
}

static void add(struct fixture *f, uint64_t dataset, uint64_t unit, uint64_t block, uint64_t position)
{
	struct recover_page page = { .dataset = dataset, .object = 5, .block = block, .position = position };

	assert_int_equal(recover_parts_add(&f->parts, unit, &page), 0);
}

static void test_a_unit_takes_its_own_pages_and_the_last_of_a_block_counts(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	add(&f, 1, 7, 0, 100);
	add(&f, 1, 8, 0, 200);
	add(&f, 2, 7, 0, 300);
	add(&f, 1, 7, 1, 400);
	add(&f, 1, 7, 0, 500);
	assert_int_equal(recover_parts_take(&f.parts, 1, 7, 3, &f.pages), 0);
	assert_int_equal(recover_parts_take(&f.parts, 1, 7, 0, &f.pages), 0);
	/* Its place is used again. */
	add(&f, 1, 7, 2, 600);
	assert_int_equal(recover_parts_take(&f.parts, 1, 7, 1, &f.pages), 0);
	recover_pages_sort(&f.pages);
	assert_int_equal(f.pages.count, 3);
	assert_int_equal(f.pages.sorted[0].position, 400);
	assert_int_equal(f.pages.sorted[1].position, 500);
	assert_int_equal(f.pages.sorted[1].block, 0);
	assert_int_equal(f.pages.sorted[2].position, 600);
	end(&f);
}

static void test_a_unit_without_all_its_pages_is_damage(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	add(&f, 1, 7, 0, 100);
	assert_int_equal(recover_parts_take(&f.parts, 1, 7, 2, &f.pages), -EUCLEAN);
	assert_int_equal(recover_parts_take(&f.parts, 1, 7, 0, &f.pages), -EUCLEAN);
	assert_int_equal(recover_parts_take(&f.parts, 1, 9, 1, &f.pages), -EUCLEAN);
	assert_int_equal(f.pages.trie.count, 0);
	end(&f);
}

/* Pages whose unit never comes, and units that have none, in as many as a log has room for. */
static void test_units_do_not_look_at_the_pages_of_others(void **state)
{
	struct fixture f;
	clock_t start = clock();

	(void)state;
	begin(&f);
	for (uint64_t i = 0; i < MANY; i++)
		add(&f, 1, 1 + (i & 1) * i, i, 100 + i);
	for (uint64_t i = 0; i < MANY; i++)
		assert_int_equal(recover_parts_take(&f.parts, 1, MANY + 2 + i, 0, &f.pages), 0);
	assert_true(clock() - start < 20 * CLOCKS_PER_SEC);
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_unit_takes_its_own_pages_and_the_last_of_a_block_counts),
		cmocka_unit_test(test_a_unit_without_all_its_pages_is_damage),
		cmocka_unit_test(test_units_do_not_look_at_the_pages_of_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
