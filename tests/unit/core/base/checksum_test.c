/* SPDX-License-Identifier: BSD-3-Clause */
/* Checksums against published values, and the test for zeros. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/bytes.h"
#include "core/base/checked.h"
#include "core/base/checksum.h"

static void test_crc32c_matches_rfc_3720(void **state)
{
	uint8_t buf[32];

	(void)state;
	assert_int_equal(crc32c("123456789", 9), 0xe3069283u);
	assert_int_equal(crc32c("", 0), 0);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(crc32c(buf, sizeof(buf)), 0x8a9136aau);
	memset(buf, 0xff, sizeof(buf));
	assert_int_equal(crc32c(buf, sizeof(buf)), 0x62a8ab43u);
	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)i;
	assert_int_equal(crc32c(buf, sizeof(buf)), 0x46dd794eu);
}

static void test_crc32c_of_a_zero_block_is_the_constant(void **state)
{
	static const uint8_t zeros[4096];

	(void)state;
	assert_int_equal(crc32c(zeros, sizeof(zeros)), CRC32C_ZERO_4K);
}

static void test_crc32_zlib_matches_published_values(void **state)
{
	(void)state;
	assert_int_equal(crc32_zlib("123456789", 9), 0xcbf43926u);
	assert_int_equal(crc32_zlib("", 0), 0);
	assert_int_equal(crc32_zlib("The quick brown fox jumps over the lazy dog", 43), 0x414fa339u);
}

static void test_hash128_is_xxh3(void **state)
{
	struct hash128 empty = hash128("", 0), a = hash128("a", 1);

	(void)state;
	assert_true(empty.lo == UINT64_C(0x6001c324468d497f) && empty.hi == UINT64_C(0x99aa06d3014798d8));
	assert_false(hash128_equal(empty, a));
	assert_true(hash128_equal(a, hash128("a", 1)));
}

static void test_zero_check_finds_one_bit_anywhere(void **state)
{
	uint8_t buf[300];

	(void)state;
	memset(buf, 0, sizeof(buf));
	for (size_t start = 0; start < 9; start++) {
		for (size_t len = 0; start + len <= sizeof(buf); len++)
			assert_true(bytes_are_zero(buf + start, len));
		for (size_t at = start; at < sizeof(buf); at++) {
			buf[at] = 0x10;
			assert_false(bytes_are_zero(buf + start, sizeof(buf) - start));
			assert_true(bytes_are_zero(buf + start, at - start));
			buf[at] = 0;
		}
	}
}

static void test_reader_past_the_end_turns_bad_and_yields_zeros(void **state)
{
	const uint8_t in[] = { 1, 2, 3, 4, 5 };
	struct rd r = rd_init(in, sizeof(in));

	(void)state;
	assert_int_equal(rd_be32(&r), 0x01020304);
	assert_int_equal(rd_left(&r), 1);
	assert_int_equal(rd_le16(&r), 0);
	assert_true(r.bad);
	assert_int_equal(rd_u8(&r), 0);
	assert_int_equal(rd_left(&r), 0);
}

static void test_writer_past_the_end_turns_bad_and_writes_nothing(void **state)
{
	uint8_t out[5] = { 0 };
	struct wr w = wr_init(out, sizeof(out));

	(void)state;
	wr_le32(&w, 0x04030201);
	wr_le16(&w, 0xffff);
	assert_true(w.bad);
	wr_u8(&w, 9);
	assert_memory_equal(out, "\1\2\3\4\0", 5);
}

static void test_ranges_and_rounding_at_the_edges(void **state)
{
	(void)state;
	assert_true(range_within(10, 0, 10));
	assert_false(range_within(11, 0, 10));
	assert_false(range_within(5, UINT64_MAX, 10));
	assert_true(round_up_u64(UINT64_MAX, 4096) == UINT64_MAX - 4095);
	assert_true(round_up_u64(4097, 4096) == 8192);
	assert_true(div_round_up_u64(UINT64_MAX, 2) == UINT64_C(1) << 63);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crc32c_matches_rfc_3720),
		cmocka_unit_test(test_crc32c_of_a_zero_block_is_the_constant),
		cmocka_unit_test(test_crc32_zlib_matches_published_values),
		cmocka_unit_test(test_hash128_is_xxh3),
		cmocka_unit_test(test_zero_check_finds_one_bit_anywhere),
		cmocka_unit_test(test_reader_past_the_end_turns_bad_and_yields_zeros),
		cmocka_unit_test(test_writer_past_the_end_turns_bad_and_writes_nothing),
		cmocka_unit_test(test_ranges_and_rounding_at_the_edges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
