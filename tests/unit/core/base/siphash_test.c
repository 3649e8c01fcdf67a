/* SPDX-License-Identifier: BSD-3-Clause */
/* SipHash against values of its authors' reference (key 00..0f, input 00, 01, ...). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/siphash.h"

static uint8_t key[16], input[64];

static int fill(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(input); i++)
		input[i] = (uint8_t)i;
	memcpy(key, input, sizeof(key));
	return 0;
}

static void test_64_bits_are_those_of_the_reference(void **state)
{
	(void)state;
	assert_true(siphash(key, input, 0) == 0x726fdb47dd0e0e31);
	assert_true(siphash(key, input, 1) == 0x74f839c593dc67fd);
	assert_true(siphash(key, input, 15) == 0xa129ca6149be45e5);
}

static void test_128_bits_are_those_of_the_reference(void **state)
{
	static const uint8_t empty[16] = { 0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6,
		                           0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93 };
	static const uint8_t one[16] = { 0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44,
		                         0x34, 0x76, 0x59, 0x11, 0x9b, 0x22, 0xfc, 0x45 };
	uint8_t got[16];

	(void)state;
	siphash128(key, input, 0, got);
	assert_memory_equal(got, empty, sizeof(got));
	siphash128(key, input, 1, got);
	assert_memory_equal(got, one, sizeof(got));
}

static void test_every_bit_of_input_and_key_counts(void **state)
{
	uint64_t whole = siphash(key, input, 44);

	(void)state;
	for (unsigned i = 0; i < 44 * 8; i++) {
		input[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_true(siphash(key, input, 44) != whole);
		input[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	for (unsigned i = 0; i < 16 * 8; i++) {
		key[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_true(siphash(key, input, 44) != whole);
		key[i / 8] ^= (uint8_t)(1 << i % 8);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_64_bits_are_those_of_the_reference),
		cmocka_unit_test(test_128_bits_are_those_of_the_reference),
		cmocka_unit_test(test_every_bit_of_input_and_key_counts),
	};

	return cmocka_run_group_tests(tests, fill, NULL);
}
