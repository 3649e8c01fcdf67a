/* SPDX-License-Identifier: BSD-3-Clause */
/* Cutting requests into parts, and continuing after short transfers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/checksum.h"
#include "core/blk/part.h"

static uint8_t memory[200 * 4096];

static void test_parts_cover_the_request_in_order(void **state)
{
	struct iovec iov[200];
	struct blk_io io = { .op = BLK_WRITE, .offset = 8192, .len_bytes = sizeof(memory), .iov = iov };
	struct blk_part_cursor c = { .io = &io };
	struct blk_part p;
	uint64_t at = 0;
	int parts = 0;

	(void)state;
	for (io.iov_count = 0; io.iov_count < 200; io.iov_count++)
		iov[io.iov_count] = (struct iovec){ memory + io.iov_count * 4096, 4096 };
	while (blk_part_next(&c, 100 * 4096 + 2048, &p)) {
		assert_int_equal(p.offset, 8192 + at);
		assert_true(p.iov_count <= BLK_PART_IOVS);
		for (int i = 0; i < p.iov_count; i++) {
			assert_ptr_equal(p.iov[i].iov_base, memory + at);
			at += p.iov[i].iov_len;
		}
		parts++;
	}
	assert_int_equal(at, sizeof(memory));
	assert_int_equal(parts, 4);
	assert_false(blk_part_is_whole(&io, sizeof(memory)));
}

static void test_large_memory_is_cut_at_the_transfer_limit(void **state)
{
	struct iovec iov[3] = { { memory, 10000 }, { memory + 10000, 0 }, { memory + 10000, 20000 } };
	struct blk_io io = { .op = BLK_READ, .len_bytes = 30000, .iov = iov, .iov_count = 3 };
	struct blk_part_cursor c = { .io = &io };
	struct blk_part p;

	(void)state;
	assert_true(blk_part_next(&c, 16384, &p));
	assert_int_equal(p.left_bytes, 16384);
	assert_int_equal(p.iov_count, 2);
	assert_true(blk_part_next(&c, 16384, &p));
	assert_int_equal(p.left_bytes, 30000 - 16384);
	assert_int_equal(p.iov_count, 1);
	assert_false(blk_part_next(&c, 16384, &p));
	assert_true(blk_part_is_whole(&io, 30000));
}

static void test_short_transfers_are_continued_at_any_byte(void **state)
{
	struct iovec iov[3] = { { memory, 100 }, { memory + 100, 50 }, { memory + 150, 200 } };
	struct blk_io io = { .op = BLK_READ, .offset = 1000, .len_bytes = 350, .iov = iov, .iov_count = 3 };

	(void)state;
	for (size_t step = 1; step <= 350; step++) {
		struct blk_part_cursor c = { .io = &io };
		struct blk_part p;
		size_t done = 0;

		assert_true(blk_part_next(&c, 4096, &p));
		while (p.left_bytes) {
			size_t n = step < p.left_bytes ? step : p.left_bytes;

			assert_int_equal(p.offset, 1000 + done);
			assert_ptr_equal(p.iov[p.iov_first].iov_base, memory + done);
			blk_part_advance(&p, n);
			done += n;
		}
		assert_int_equal(done, 350);
		assert_int_equal(p.iov_first, p.iov_count);
	}
}

static void test_zeroing_is_cut_like_a_write_of_zeros(void **state)
{
	struct blk_io io = { .op = BLK_WRITE_ZEROES, .len_bytes = UINT64_C(10) << 20 };
	struct blk_part_cursor c = { .io = &io };
	struct blk_part p;
	uint64_t sum = 0;

	(void)state;
	while (blk_part_next(&c, 3 << 20, &p)) {
		for (int i = 0; i < p.iov_count; i++)
			assert_true(bytes_are_zero(p.iov[i].iov_base, p.iov[i].iov_len));
		assert_int_equal(p.offset, sum);
		sum += p.left_bytes;
	}
	assert_int_equal(sum, io.len_bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parts_cover_the_request_in_order),
		cmocka_unit_test(test_large_memory_is_cut_at_the_transfer_limit),
		cmocka_unit_test(test_short_transfers_are_continued_at_any_byte),
		cmocka_unit_test(test_zeroing_is_cut_like_a_write_of_zeros),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
