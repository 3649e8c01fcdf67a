/* SPDX-License-Identifier: BSD-3-Clause */
/* Vectors of buffers: their length, their head, zeros behind a place, and copies in pieces. */
#include "core/base/iov.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define BYTES 20u
#define PARTS 5

/* Elements of 3, 0, 7, 1 and 9 bytes of @bytes. */
static void split(uint8_t *bytes, struct iovec iov[PARTS])
{
	static const size_t lens[PARTS] = { 3, 0, 7, 1, 9 };

	for (int i = 0; i < PARTS; i++) {
		iov[i] = (struct iovec){ .iov_base = bytes, .iov_len = lens[i] };
		bytes += lens[i];
	}
}

static void number(uint8_t *bytes)
{
	for (unsigned i = 0; i < BYTES; i++)
		bytes[i] = (uint8_t)(i + 1);
}

static void test_length_is_the_sum(void **state)
{
	struct iovec iov[PARTS];
	uint8_t bytes[BYTES];

	(void)state;
	split(bytes, iov);
	assert_int_equal(iov_len(iov, PARTS), BYTES);
	assert_int_equal(iov_len(iov, 2), 3);
	assert_int_equal(iov_len(iov, 0), 0);
}

static void test_head_covers_exactly_the_first_bytes(void **state)
{
	struct iovec iov[PARTS], part[PARTS];
	uint8_t bytes[BYTES];

	(void)state;
	split(bytes, iov);
	for (size_t len = 0; len <= BYTES; len++) {
		int count = iov_head(iov, len, part);

		assert_true(count <= PARTS);
		assert_int_equal(iov_len(part, count), len);
		for (int i = 0; i < count; i++) {
			assert_ptr_equal(part[i].iov_base, iov[i].iov_base);
			assert_true(i == count - 1 || part[i].iov_len == iov[i].iov_len);
		}
	}
	assert_int_equal(iov_head(iov, 0, part), 0);
	assert_int_equal(iov_head(iov, BYTES, part), PARTS);
}

static void test_zeros_begin_at_the_place_and_go_to_the_end(void **state)
{
	struct iovec iov[PARTS];
	uint8_t bytes[BYTES];

	(void)state;
	split(bytes, iov);
	for (size_t from = 0; from <= BYTES + 3; from++) {
		number(bytes);
		iov_zero_from(iov, PARTS, from);
		for (unsigned i = 0; i < BYTES; i++)
			assert_int_equal(bytes[i], i < from ? i + 1 : 0);
	}
}

static void test_copies_in_pieces_of_any_length_are_whole(void **state)
{
	uint8_t bytes[BYTES], flat[BYTES], source[BYTES];
	struct iovec iov[PARTS];

	(void)state;
	split(bytes, iov);
	number(source);
	for (size_t piece = 1; piece <= BYTES; piece++) {
		struct iov_cursor out = { .iov = iov }, in = { .iov = iov };

		memset(bytes, 0xee, sizeof(bytes));
		for (size_t at = 0; at < BYTES; at += piece)
			iov_copy_out(&out, source + at, at + piece < BYTES ? piece : BYTES - at);
		assert_memory_equal(bytes, source, BYTES);
		for (size_t at = 0; at < BYTES; at += piece)
			iov_copy_in(&in, flat + at, at + piece < BYTES ? piece : BYTES - at);
		assert_memory_equal(flat, source, BYTES);
	}
}

static void test_copy_of_nothing_given_is_zeros_and_leaves_the_rest(void **state)
{
	struct iov_cursor it;
	struct iovec iov[PARTS];
	uint8_t bytes[BYTES];

	(void)state;
	split(bytes, iov);
	number(bytes);
	it = (struct iov_cursor){ .iov = iov };
	iov_copy_out(&it, NULL, 11);
	for (unsigned i = 0; i < BYTES; i++)
		assert_int_equal(bytes[i], i < 11 ? 0 : i + 1);
	iov_copy_in(&it, bytes, 2);
	assert_int_equal(bytes[0], 12);
	assert_int_equal(bytes[1], 13);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_length_is_the_sum),
		cmocka_unit_test(test_head_covers_exactly_the_first_bytes),
		cmocka_unit_test(test_zeros_begin_at_the_place_and_go_to_the_end),
		cmocka_unit_test(test_copies_in_pieces_of_any_length_are_whole),
		cmocka_unit_test(test_copy_of_nothing_given_is_zeros_and_leaves_the_rest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
