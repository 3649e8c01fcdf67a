/* SPDX-License-Identifier: BSD-3-Clause */
/* SipHash-2-4 against values of its authors' reference (key 00 01 .. 0f, message 00 01 02 ..). */
#include "core/base/siphash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_siphash_gives_the_values_of_the_reference(void **state)
{
	static const struct {
		size_t len;
		uint64_t want;
	} cases[] = {
		{ 0, UINT64_C(0x726fdb47dd0e0e31) },
		{ 1, UINT64_C(0x74f839c593dc67fd) },
		{ 8, UINT64_C(0x93f5f5799a932462) },
		{ 15, UINT64_C(0xa129ca6149be45e5) },
	};
	uint8_t key[SIPHASH_KEY_BYTES], message[16];

	(void)state;
	for (uint8_t i = 0; i < 16; i++)
		key[i] = message[i] = i;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_true(siphash(key, message, cases[i].len) == cases[i].want);
}

static void test_siphash_depends_on_the_key(void **state)
{
	uint8_t key[SIPHASH_KEY_BYTES] = { 0 }, other[SIPHASH_KEY_BYTES] = { 0 };

	(void)state;
	other[15] = 1;
	assert_true(siphash(key, "name", 4) != siphash(other, "name", 4));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_siphash_gives_the_values_of_the_reference),
		cmocka_unit_test(test_siphash_depends_on_the_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
