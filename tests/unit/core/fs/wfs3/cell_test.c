/* SPDX-License-Identifier: BSD-3-Clause */
/* Cells: every pattern of holes survives, and no damaged item gets through or crashes the decoder. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/bytes.h"
#include "core/fs/wfs3/cell.h"
#include "tests/unit/slow.h"

static uint64_t rnd(uint64_t *seed)
{
	uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static void assert_same(const struct cell *a, const struct cell *b)
{
	for (unsigned i = 0; i < WFS3_CELL_BLOCKS; i++) {
		assert_int_equal(a->blocks[i].addr, b->blocks[i].addr);
		assert_int_equal(a->blocks[i].birth, b->blocks[i].birth);
		assert_int_equal(a->blocks[i].crc, b->blocks[i].crc);
	}
}

/* An exact-size heap copy, so that the address sanitizer sees every byte too many. */
static int decode_exact(const void *buf, size_t len, struct cell *ret)
{
	void *copy = malloc(len ? len : 1);
	int rc;

	memcpy(copy, buf, len);
	rc = cell_decode(copy, len, ret);
	free(copy);
	return rc;
}

static unsigned count_segments(const struct cell *c)
{
	unsigned n = 0;

	for (unsigned i = 0; i < WFS3_CELL_BLOCKS; i++)
		if (c->blocks[i].addr && !(i && c->blocks[i - 1].addr + 1 == c->blocks[i].addr &&
		                           c->blocks[i - 1].birth == c->blocks[i].birth && c->blocks[i - 1].addr))
			n++;
	return n;
}

static void check_round_trip(const struct cell *c)
{
	uint8_t buf[CELL_BYTES_MAX];
	struct cell got;
	size_t len = cell_encode(c, buf);
	unsigned mapped = 0;

	for (unsigned i = 0; i < WFS3_CELL_BLOCKS; i++)
		mapped += c->blocks[i].addr != 0;
	assert_int_equal(len, mapped ? 4 + 16 * count_segments(c) + 4 * mapped : 0);
	assert_int_equal(decode_exact(buf, len, &got), 0);
	assert_same(c, &got);
}

static void test_every_pattern_of_holes_survives(void **state)
{
	(void)state;
	for (unsigned style = 0; style < 3; style++)
		for (uint32_t pattern = 0; pattern < 1u << WFS3_CELL_BLOCKS; pattern += test_slow()) {
			struct cell c = { 0 };

			for (unsigned i = 0; i < WFS3_CELL_BLOCKS; i++) {
				if (!(pattern >> i & 1))
					continue;
				/* In one row; all apart; in one row of alternating births. */
				c.blocks[i].addr = style == 1 ? 1000 + 7 * i : WFS3_VBA_MAX - 15 + i;
				c.blocks[i].birth = style == 2 ? 1 + i % 3 / 2 : WFS3_TXG_MAX;
				c.blocks[i].crc = 0xdead0000u + i;
			}
			check_round_trip(&c);
		}
}

static void random_cell(uint64_t *seed, struct cell *c)
{
	uint64_t next = 1 + rnd(seed) % 1000000, birth = 1 + rnd(seed) % 5;

	memset(c, 0, sizeof(*c));
	for (unsigned i = 0; i < WFS3_CELL_BLOCKS; i++) {
		switch (rnd(seed) % 5) {
		case 0:
			next = 1 + rnd(seed) % (WFS3_VBA_MAX - 20);
			break;
		case 1:
			birth = 1 + rnd(seed) % WFS3_TXG_MAX;
			break;
		case 2:
			continue;
		default:
			break;
		}
		c->blocks[i].addr = next++;
		c->blocks[i].birth = birth;
		c->blocks[i].crc = (uint32_t)rnd(seed);
	}
}

static void test_random_cells_survive(void **state)
{
	uint64_t seed = 1;

	(void)state;
	for (unsigned i = 0; i < 100000 / test_slow(); i++) {
		struct cell c;

		random_cell(&seed, &c);
		check_round_trip(&c);
	}
}

static void test_no_value_is_all_holes(void **state)
{
	struct cell c;
	const struct cell empty = { 0 };

	(void)state;
	assert_int_equal(cell_decode(NULL, 0, &c), 0);
	assert_same(&c, &empty);
	assert_int_equal(cell_decode("x", 0, &c), 0);
	assert_same(&c, &empty);
}

/* Mutations are refused or give a cell that is valid: one that the encoder accepts again. */
static void test_mutated_items_never_crash(void **state)
{
	uint64_t seed = 2;
	unsigned refused = 0;

	(void)state;
	for (unsigned i = 0; i < 300000 / test_slow(); i++) {
		uint8_t buf[CELL_BYTES_MAX + 8] = { 0 };
		struct cell c, got;
		size_t len;

		random_cell(&seed, &c);
		len = cell_encode(&c, buf);
		for (uint64_t n = 1 + rnd(&seed) % 3; n; n--)
			buf[rnd(&seed) % sizeof(buf)] ^= (uint8_t)(1u << rnd(&seed) % 8);
		if (rnd(&seed) % 8 == 0)
			len = rnd(&seed) % sizeof(buf);
		if (decode_exact(buf, len, &got)) {
			refused++;
			continue;
		}
		check_round_trip(&got);
	}
	assert_true(refused > 50000 / test_slow());
}

static void test_every_wrong_length_is_refused(void **state)
{
	uint8_t buf[CELL_BYTES_MAX + 16] = { 0 };
	struct cell c = { 0 }, got;
	size_t len;

	(void)state;
	for (unsigned i = 2; i < 9; i++)
		c.blocks[i] = (struct cell_block){ .addr = 50 + 2 * i, .birth = 3, .crc = i };
	len = cell_encode(&c, buf);
	for (size_t n = 1; n <= sizeof(buf); n++)
		assert_int_equal(decode_exact(buf, n, &got), n == len ? 0 : -EUCLEAN);
}

struct bad {
	size_t offset;
	uint64_t word;
};

static void test_impossible_fields_are_refused(void **state)
{
	/* Of a cell with two segments, blocks 0..1 at 100, blocks 4..5 at 200, birth 7. */
	static const struct bad cases[] = {
		{ 4, 100 | UINT64_C(0) << 48 | UINT64_C(0) << 56 }, /* no blocks */
		{ 4, 100 | UINT64_C(3) << 48 | UINT64_C(2) << 56 }, /* overlaps the next one */
		{ 4, 100 | UINT64_C(6) << 48 | UINT64_C(2) << 56 }, /* out of order */
		{ 20, 200 | UINT64_C(15) << 48 | UINT64_C(2) << 56 }, /* beyond the cell */
		{ 20, 200 | UINT64_C(255) << 48 | UINT64_C(2) << 56 },
		{ 20, 200 | UINT64_C(4) << 48 | UINT64_C(3) << 56 }, /* more than the header says */
		{ 4, 0 | UINT64_C(2) << 56 }, /* no address */
		{ 4, WFS3_VBA_MAX | UINT64_C(2) << 56 }, /* runs out of the address space */
		{ 12, 0 }, /* no birth */
		{ 12, 7 | UINT64_C(1) << 48 }, /* an unknown flag */
		{ 12, 7 | UINT64_C(1) << 63 },
	};
	struct cell c = { 0 }, got;
	uint8_t good[CELL_BYTES_MAX], buf[CELL_BYTES_MAX];
	size_t len;

	(void)state;
	c.blocks[0] = (struct cell_block){ 100, 7, 1 };
	c.blocks[1] = (struct cell_block){ 101, 7, 2 };
	c.blocks[4] = (struct cell_block){ 200, 7, 3 };
	c.blocks[5] = (struct cell_block){ 201, 7, 4 };
	len = cell_encode(&c, good);
	assert_int_equal(len, 4 + 2 * 16 + 4 * 4);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memcpy(buf, good, len);
		put_le64(buf + cases[i].offset, cases[i].word);
		assert_int_equal(decode_exact(buf, len, &got), -EUCLEAN);
	}
	for (unsigned i = 0; i < 4; i++) {
		memcpy(buf, good, len);
		buf[i] ^= 1;
		assert_int_equal(decode_exact(buf, len, &got), -EUCLEAN);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_pattern_of_holes_survives),
		cmocka_unit_test(test_random_cells_survive),
		cmocka_unit_test(test_no_value_is_all_holes),
		cmocka_unit_test(test_mutated_items_never_crash),
		cmocka_unit_test(test_every_wrong_length_is_refused),
		cmocka_unit_test(test_impossible_fields_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
