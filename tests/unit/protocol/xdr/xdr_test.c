/* SPDX-License-Identifier: BSD-3-Clause */
/* XDR's compound types: what they take, and that they never pass a bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/xdr/xdr.h"

static void test_bool_other_than_0_and_1_is_bad(void **state)
{
	uint8_t buf[4];
	struct rd r;

	(void)state;
	for (uint32_t v = 0; v < 4; v++) {
		put_be32(buf, v);
		r = rd_init(buf, 4);
		assert_int_equal(xdr_get_bool(&r), v == 1);
		assert_int_equal(r.bad, v > 1);
	}
}

static void test_count_is_bounded_by_maximum_and_by_what_is_there(void **state)
{
	uint8_t buf[4 + 3 * 8] = { 0 };
	struct rd r;

	(void)state;
	put_be32(buf, 3);
	r = rd_init(buf, sizeof(buf));
	assert_int_equal(xdr_get_count(&r, 3, 8), 3);
	r = rd_init(buf, sizeof(buf));
	assert_int_equal(xdr_get_count(&r, 2, 8), 0);
	assert_true(r.bad);
	r = rd_init(buf, sizeof(buf) - 1);
	assert_int_equal(xdr_get_count(&r, 3, 8), 0);
	assert_true(r.bad);
	put_be32(buf, UINT32_MAX);
	r = rd_init(buf, sizeof(buf));
	assert_int_equal(xdr_get_count(&r, UINT32_MAX, 8), 0);
	assert_true(r.bad);
}

static void test_opaque_of_every_length_comes_back_padded(void **state)
{
	uint8_t buf[64], data[32];
	uint32_t len;

	(void)state;
	for (uint32_t n = 0; n <= sizeof(data); n++) {
		struct wr w = wr_init(buf, sizeof(buf));
		struct rd r;
		const uint8_t *p;

		memset(data, (int)n + 1, sizeof(data));
		xdr_put_opaque(&w, data, n);
		assert_false(w.bad);
		assert_int_equal(w.pos % 4, 0);
		assert_int_equal(w.pos, 4 + n + xdr_pad_bytes(n));
		r = rd_init(buf, w.pos);
		p = xdr_get_opaque(&r, 32, &len);
		assert_int_equal(len, n);
		assert_memory_equal(p, data, n);
		assert_int_equal(rd_left(&r), 0);
		for (size_t cut = 0; cut < w.pos; cut++) {
			r = rd_init(buf, cut);
			assert_null(xdr_get_opaque(&r, 32, &len));
			assert_true(r.bad);
			assert_int_equal(len, 0);
		}
	}
}

static void test_opaque_above_its_maximum_is_bad(void **state)
{
	uint8_t buf[64] = { 0 };
	uint32_t len;
	struct rd r = rd_init(buf, sizeof(buf));

	(void)state;
	put_be32(buf, 9);
	assert_null(xdr_get_opaque(&r, 8, &len));
	assert_true(r.bad);
	put_be32(buf, UINT32_MAX);
	r = rd_init(buf, sizeof(buf));
	assert_null(xdr_get_opaque(&r, UINT32_MAX, &len));
	assert_true(r.bad);
}

static void test_string_with_a_nul_or_too_long_is_bad(void **state)
{
	uint8_t buf[64];
	char s[6];
	struct wr w = wr_init(buf, sizeof(buf));
	struct rd r;

	(void)state;
	xdr_put_opaque(&w, "a\0b", 3);
	r = rd_init(buf, w.pos);
	xdr_get_string(&r, s, sizeof(s));
	assert_true(r.bad);
	assert_string_equal(s, "");
	w = wr_init(buf, sizeof(buf));
	xdr_put_string(&w, "abcdef");
	r = rd_init(buf, w.pos);
	xdr_get_string(&r, s, sizeof(s));
	assert_true(r.bad);
	w = wr_init(buf, sizeof(buf));
	xdr_put_string_cut(&w, "abcdef", 5);
	r = rd_init(buf, w.pos);
	xdr_get_string(&r, s, sizeof(s));
	assert_false(r.bad);
	assert_string_equal(s, "abcde");
}

static void test_writing_past_the_end_is_bad_and_writes_nothing_there(void **state)
{
	uint8_t buf[12];

	(void)state;
	for (size_t room = 0; room < 12; room++) {
		struct wr w = wr_init(buf, room);

		memset(buf, 0x55, sizeof(buf));
		xdr_put_opaque(&w, "abcde", 5);
		assert_true(w.bad);
		for (size_t i = room; i < sizeof(buf); i++)
			assert_int_equal(buf[i], 0x55);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bool_other_than_0_and_1_is_bad),
		cmocka_unit_test(test_count_is_bounded_by_maximum_and_by_what_is_there),
		cmocka_unit_test(test_opaque_of_every_length_comes_back_padded),
		cmocka_unit_test(test_opaque_above_its_maximum_is_bad),
		cmocka_unit_test(test_string_with_a_nul_or_too_long_is_bad),
		cmocka_unit_test(test_writing_past_the_end_is_bad_and_writes_nothing_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
