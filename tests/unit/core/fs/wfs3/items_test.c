/* SPDX-License-Identifier: BSD-3-Clause */
/* The state of a scrub, and results of requests, as items: what comes back is what was put in, and nothing else is
 * accepted. */
#include "core/fs/wfs3/items.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/vfs/vfs_tx.h"
#include "tests/unit/slow.h"

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

static int decode_result(uint64_t number, size_t part_len, size_t len, struct result_item *ret)
{
	static uint8_t part[ANSWER_PART_BYTES + 1], buf[RESULT_BYTES + sizeof(part)];
	struct result_item r = { .client = { 1 }, .number = number, .part = part, .part_len = part_len };
	struct wfs3_key key = result_key(r.client, 5);

	memset(part, 7, sizeof(part));
	result_encode(&r, buf);
	return result_decode(&key, buf, len, ret);
}

static void test_parts_of_answers_have_one_length_but_the_last(void **state)
{
	struct result_item r;

	(void)state;
	assert_int_equal(decode_result(UINT64_MAX, 0, RESULT_BYTES, &r), 0);
	assert_int_equal(r.part_len, 0);
	for (uint64_t number = 1; number <= 2 * ANSWER_PART_BYTES + 2; number += test_slow()) {
		for (size_t len = 1; len <= ANSWER_PART_BYTES + 1;
		     len += len < 4 || len > ANSWER_PART_BYTES - 3 ? 1 : 7) {
			bool fits = len <= number && (len == ANSWER_PART_BYTES || len == number % ANSWER_PART_BYTES);

			assert_int_equal(decode_result(number, len, RESULT_BYTES + len, &r), fits ? 0 : -EUCLEAN);
			if (fits)
				assert_true(r.part_len == len && r.part[0] == 7 && r.part[len - 1] == 7);
		}
	}
	assert_int_equal(decode_result(VFS_ANSWER_MAX, ANSWER_PART_BYTES, RESULT_BYTES + ANSWER_PART_BYTES, &r), 0);
	assert_int_equal(decode_result(VFS_ANSWER_MAX + 1, ANSWER_PART_BYTES, RESULT_BYTES + ANSWER_PART_BYTES, &r),
	                 -EUCLEAN);
	assert_int_equal(decode_result(0, 0, RESULT_BYTES - 1, &r), -EUCLEAN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scrub_item_survives_encoding),
		cmocka_unit_test(test_scrub_item_of_another_length_is_refused),
		cmocka_unit_test(test_parts_of_answers_have_one_length_but_the_last),
		cmocka_unit_test(test_scrub_item_with_unknown_state_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
