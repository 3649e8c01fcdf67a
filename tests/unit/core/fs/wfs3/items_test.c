/* SPDX-License-Identifier: BSD-3-Clause */
/* The state of a scrub as an item: what comes back is what was put in, and nothing else is accepted. */
#include "core/fs/wfs3/items.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct scrub_item item = { .state = SCRUB_STATE_PAUSED,
	                                .started_ns = 1,
	                                .ended_ns = UINT64_MAX,
	                                .dataset = 3,
	                                .object = UINT64_C(0xabcdef12345678),
	                                .cell = 4,
	                                .done_blocks = 5,
	                                .damage_count = 6,
	                                .repaired_count = 7 };

static void test_scrub_item_survives_encoding(void **state)
{
	uint8_t buf[SCRUB_ITEM_BYTES];
	struct scrub_item got;

	(void)state;
	scrub_item_encode(&item, buf);
	assert_int_equal(scrub_item_decode(buf, sizeof(buf), &got), 0);
	assert_int_equal(got.state, item.state);
	assert_int_equal(got.started_ns, item.started_ns);
	assert_int_equal(got.ended_ns, item.ended_ns);
	assert_int_equal(got.dataset, item.dataset);
	assert_true(got.object == item.object);
	assert_int_equal(got.cell, item.cell);
	assert_int_equal(got.done_blocks, item.done_blocks);
	assert_int_equal(got.damage_count, item.damage_count);
	assert_int_equal(got.repaired_count, item.repaired_count);
}

static void test_scrub_item_of_another_length_is_refused(void **state)
{
	uint8_t buf[SCRUB_ITEM_BYTES + 1] = { 0 };
	struct scrub_item got;

	(void)state;
	scrub_item_encode(&item, buf);
	assert_int_equal(scrub_item_decode(buf, sizeof(buf), &got), -EUCLEAN);
	assert_int_equal(scrub_item_decode(buf, SCRUB_ITEM_BYTES - 1, &got), -EUCLEAN);
	assert_int_equal(scrub_item_decode(buf, 0, &got), -EUCLEAN);
}

static void test_scrub_item_with_unknown_state_is_refused(void **state)
{
	uint8_t buf[SCRUB_ITEM_BYTES];
	struct scrub_item got;

	(void)state;
	scrub_item_encode(&item, buf);
	for (unsigned i = 0; i < 2; i++) {
		buf[0] = i ? 5 : 0;
		assert_int_equal(scrub_item_decode(buf, sizeof(buf), &got), -EUCLEAN);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scrub_item_survives_encoding),
		cmocka_unit_test(test_scrub_item_of_another_length_is_refused),
		cmocka_unit_test(test_scrub_item_with_unknown_state_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
