/* SPDX-License-Identifier: BSD-3-Clause */
/* The codec of the operations of a COMPOUND. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/protocol/samples.h"

static struct wr put_op(uint32_t code, uint8_t *buf, size_t size)
{
	struct wfsp_op op = sample_op;
	struct wr w = wr_init(buf, size);

	op.code = code;
	wfsp_put_op(&w, &op);
	assert_false(w.bad);
	return w;
}

static struct wr put_result(uint32_t code, uint8_t *buf, size_t size)
{
	uint8_t items[512];
	struct wfsp_op_res res = sample_result(code, items, sizeof(items));
	struct wr w = wr_init(buf, size);

	wfsp_put_op_res(&w, &res);
	assert_false(w.bad);
	return w;
}

static void test_every_operation_survives_a_round_trip(void **state)
{
	uint8_t first[512], second[512];

	(void)state;
	for (uint32_t code = 1; code < WFSP_OP_CODES; code++) {
		struct wr w = put_op(code, first, sizeof(first)), again = wr_init(second, sizeof(second));
		struct rd r = rd_init(first, w.pos);
		struct wfsp_op op;

		wfsp_get_op(&r, &op);
		assert_false(r.bad);
		assert_int_equal(rd_left(&r), 0);
		wfsp_put_op(&again, &op);
		assert_int_equal(again.pos, w.pos);
		assert_memory_equal(first, second, w.pos);
		assert_non_null(wfsp_op_name(code));
	}
	assert_null(wfsp_op_name(0));
	assert_null(wfsp_op_name(WFSP_OP_CODES));
}

static void test_every_result_survives_a_round_trip(void **state)
{
	uint8_t first[1024], second[1024];

	(void)state;
	for (uint32_t code = 1; code < WFSP_OP_CODES; code++) {
		struct wr w = put_result(code, first, sizeof(first)), again = wr_init(second, sizeof(second));
		struct rd r = rd_init(first, w.pos);
		struct wfsp_op_res res;

		wfsp_get_op_res(&r, &res);
		assert_false(r.bad);
		assert_int_equal(rd_left(&r), 0);
		assert_int_equal(res.code, code);
		wfsp_put_op_res(&again, &res);
		assert_int_equal(again.pos, w.pos);
		assert_memory_equal(first, second, w.pos);
	}
}

static void test_every_cut_is_noticed(void **state)
{
	uint8_t buf[1024];

	(void)state;
	for (uint32_t code = 1; code < WFSP_OP_CODES; code++) {
		struct wr w = put_op(code, buf, sizeof(buf));
		struct wfsp_op_res res;
		struct wfsp_op op;

		for (size_t len = 0; len < w.pos; len++) {
			struct rd r = rd_init(buf, len);

			wfsp_get_op(&r, &op);
			assert_true(r.bad);
		}
		w = put_result(code, buf, sizeof(buf));
		for (size_t len = 0; len < w.pos; len++) {
			struct rd r = rd_init(buf, len);

			wfsp_get_op_res(&r, &res);
			assert_true(r.bad);
		}
	}
}

static bool op_is_bad(const struct wfsp_op *op)
{
	uint8_t buf[8192];
	struct wr w = wr_init(buf, sizeof(buf));
	struct wfsp_op back;
	struct rd r;

	wfsp_put_op(&w, op);
	assert_false(w.bad);
	r = rd_init(buf, w.pos);
	wfsp_get_op(&r, &back);
	return r.bad;
}

static void test_names_and_handles_out_of_bounds_are_bad(void **state)
{
	static const uint8_t zeros[8], letters[5000] = { [0 ... 4999] = 'x' };
	struct wfsp_op op = { .code = WFSP_OP_LOOKUP, .name = SAMPLE_BYTES("x") };

	(void)state;
	assert_false(op_is_bad(&op));
	op.name = (struct wfsp_bytes){ letters, 0 };
	assert_true(op_is_bad(&op));
	op.name = (struct wfsp_bytes){ letters, WFSP_NAME_MAX };
	assert_false(op_is_bad(&op));
	op.name.len_bytes++;
	assert_true(op_is_bad(&op));
	op.name = (struct wfsp_bytes){ zeros, 1 };
	assert_true(op_is_bad(&op));
	op = (struct wfsp_op){ .code = WFSP_OP_PUT, .handle = { letters, WFSP_FH_MAX } };
	assert_false(op_is_bad(&op));
	op.handle.len_bytes++;
	assert_true(op_is_bad(&op));
	op = (struct wfsp_op){ .code = WFSP_OP_LOOKUP_PATH, .path = { letters, WFSP_PATH_MAX } };
	assert_false(op_is_bad(&op));
	op.path.len_bytes++;
	assert_true(op_is_bad(&op));
	op.path = (struct wfsp_bytes){ zeros, 2 };
	assert_true(op_is_bad(&op));
}

static void test_unknown_operations_and_too_many_are_bad(void **state)
{
	struct wfsp_compound_args args = { .op_count = WFSP_OPS_MAX + 1 };
	uint8_t buf[1024] = { 0 };
	struct wr w = wr_init(buf, sizeof(buf));
	struct rd r = rd_init(buf, sizeof(buf));
	struct wfsp_op op;

	(void)state;
	wfsp_get_op(&r, &op);
	assert_true(r.bad);
	wr_be32(&w, WFSP_OP_CODES);
	r = rd_init(buf, sizeof(buf));
	wfsp_get_op(&r, &op);
	assert_true(r.bad);
	w = wr_init(buf, sizeof(buf));
	wfsp_put_compound_args(&w, &args);
	r = rd_init(buf, sizeof(buf));
	wfsp_get_compound_args(&r, &args);
	assert_true(r.bad);
}

static void test_a_count_of_items_beyond_the_bytes_is_bad(void **state)
{
	uint8_t buf[64];
	struct wr w = wr_init(buf, sizeof(buf));
	struct wfsp_op_res res;
	struct rd r;

	(void)state;
	wr_be32(&w, WFSP_OK);
	wr_be32(&w, WFSP_OP_READDIR);
	wr_be32(&w, 0);
	wr_be32(&w, 0xffffffff);
	wr_zero(&w, 40);
	r = rd_init(buf, w.pos);
	wfsp_get_op_res(&r, &res);
	assert_true(r.bad);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_operation_survives_a_round_trip),
		cmocka_unit_test(test_every_result_survives_a_round_trip),
		cmocka_unit_test(test_every_cut_is_noticed),
		cmocka_unit_test(test_names_and_handles_out_of_bounds_are_bad),
		cmocka_unit_test(test_unknown_operations_and_too_many_are_bad),
		cmocka_unit_test(test_a_count_of_items_beyond_the_bytes_is_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
