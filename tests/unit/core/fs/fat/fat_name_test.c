/* SPDX-License-Identifier: BSD-3-Clause */
/* Names: UTF-8 and UTF-16, case, short names as Windows makes them, checksums, long-name slots; times. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/fs/fat/dirent.h"
#include "core/fs/fat/name.h"

static struct fat_name name(const char *text)
{
	struct fat_name n;

	assert_int_equal(fat_name_from_utf8(text, strlen(text), &n), 0);
	return n;
}

static void assert_short(const char *text, enum fat_short_fit fit, const char *expected, uint8_t flags)
{
	struct fat_name n = name(text);
	uint8_t got[SHORT_NAME_BYTES], got_flags;

	assert_int_equal(fat_name_to_short(&n, got, &got_flags), fit);
	assert_memory_equal(got, expected, SHORT_NAME_BYTES);
	if (fit == SHORT_EXACT)
		assert_int_equal(got_flags, flags);
}

static void test_short_names_are_those_of_windows(void **state)
{
	(void)state;
	assert_short("README.TXT", SHORT_EXACT, "README  TXT", 0);
	assert_short("readme.txt", SHORT_EXACT, "README  TXT", CASE_BASE_LOWER | CASE_EXT_LOWER);
	assert_short("README.txt", SHORT_EXACT, "README  TXT", CASE_EXT_LOWER);
	assert_short("readme", SHORT_EXACT, "README     ", CASE_BASE_LOWER);
	assert_short("ReadMe.txt", SHORT_CASE, "README  TXT", 0);
	assert_short("The quick brown.fox", SHORT_LOSSY, "THEQUICKFOX", 0);
	assert_short("a+b.c", SHORT_LOSSY, "A_B     C  ", 0);
	assert_short(".profile", SHORT_LOSSY, "PROFILE    ", 0);
	assert_short("archive.tar.gz", SHORT_LOSSY, "ARCHIVETGZ ", 0);
	assert_short("name.html", SHORT_LOSSY, "NAME    HTM", 0);
	assert_short("12345678.123", SHORT_EXACT, "12345678123", 0);
	assert_short("123456789", SHORT_LOSSY, "12345678   ", 0);
	assert_short("\xc3\xbc", SHORT_LOSSY, "_          ", 0);
	assert_short("...x", SHORT_LOSSY, "X          ", 0);
}

static void test_numeric_tails_go_from_plain_to_hashed(void **state)
{
	const uint8_t *basis = (const uint8_t *)"LONGFILETXT", *brief = (const uint8_t *)"A_B     C  ";
	struct fat_name n = name("long file name.txt");
	uint8_t got[SHORT_NAME_BYTES];

	(void)state;
	assert_true(fat_name_numeric_tail(&n, basis, 0, got));
	assert_memory_equal(got, "LONGFI~1TXT", SHORT_NAME_BYTES);
	assert_true(fat_name_numeric_tail(&n, basis, 3, got));
	assert_memory_equal(got, "LONGFI~4TXT", SHORT_NAME_BYTES);
	assert_true(fat_name_numeric_tail(&n, basis, 4, got));
	assert_memory_equal(got, "LO", 2);
	assert_memory_equal(got + 6, "~1TXT", 5);
	assert_true(fat_name_numeric_tail(&n, basis, 13, got));
	assert_memory_equal(got, "LONGFI~5TXT", SHORT_NAME_BYTES);
	assert_true(fat_name_numeric_tail(&n, basis, 18, got));
	assert_memory_equal(got, "LONGF~10TXT", SHORT_NAME_BYTES);
	assert_true(fat_name_numeric_tail(&n, brief, 0, got));
	assert_memory_equal(got, "A_B~1   C  ", SHORT_NAME_BYTES);
	assert_true(fat_name_numeric_tail(&n, basis, 999999 + 8, got));
	assert_memory_equal(got, "L~999999TXT", SHORT_NAME_BYTES);
	assert_false(fat_name_numeric_tail(&n, basis, 999999 + 9, got));
}

static void test_checksum_is_that_of_the_specification(void **state)
{
	(void)state;
	/* From a volume that Windows made: "The quick brown.fox". */
	assert_int_equal(fat_name_short_checksum((const uint8_t *)"THEQUI~1FOX"), 0x07);
}

static void test_names_compare_without_case(void **state)
{
	static const char *const pairs[][2] = {
		{ "Makefile", "MAKEFILE" },
		{ "\xc3\xa4\xc3\xb6", "\xc3\x84\xc3\x96" }, /* a and o with diaeresis */
		{ "\xce\xb1\xcf\x89", "\xce\x91\xce\xa9" }, /* Greek */
		{ "\xd0\xb6\xd1\x91", "\xd0\x96\xd0\x81" }, /* Cyrillic */
		{ "\xc5\xbe", "\xc5\xbd" }, /* z with caron */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		struct fat_name a = name(pairs[i][0]), b = name(pairs[i][1]);

		assert_true(fat_name_equal(&a, &b));
		assert_int_equal(fat_name_hash(&a), fat_name_hash(&b));
	}
	for (unsigned u = 0; u < 0x10000; u++)
		assert_int_equal(fat_name_fold(fat_name_fold((uint16_t)u)), fat_name_fold((uint16_t)u));
}

static void test_utf8_comes_back_and_bad_utf8_is_refused(void **state)
{
	static const char *const good[] = { "a", "\xc3\xbc", "\xe2\x82\xac", "\xf0\x9f\x98\x80 smile" };
	static const char *const bad[] = { "\xff", "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf5\x80\x80\x80", "a\x80" };
	char text[NAME_UTF8_MAX], long_text[300];
	struct fat_name n;
	size_t len;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		n = name(good[i]);
		assert_true(fat_name_to_utf8(&n, text, &len));
		assert_string_equal(text, good[i]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(fat_name_from_utf8(bad[i], strlen(bad[i]), &n), -EINVAL);
	memset(long_text, 'x', sizeof(long_text));
	assert_int_equal(fat_name_from_utf8(long_text, 255, &n), 0);
	assert_int_equal(fat_name_from_utf8(long_text, 256, &n), -ENAMETOOLONG);
}

static void test_illegal_names_are_refused(void **state)
{
	static const char *const bad[] = { "",    ".",  "..",   "a:b",  "a*",   "what?", "<",
		                           "a|b", "\"", "a\\b", "end.", "end ", "\t" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct fat_name n = name(bad[i]);

		assert_int_equal(fat_name_check(&n), -EINVAL);
	}
}

static void test_long_name_slots_come_back_at_every_length(void **state)
{
	const uint8_t *short_name = (const uint8_t *)"LONGFI~1TXT";
	uint8_t slots[(LFN_SLOTS_MAX + 1) * SLOT_BYTES];
	char text[256];

	(void)state;
	for (unsigned len = 1; len <= LFN_UNITS_MAX; len++) {
		struct fat_name n, got;
		unsigned count;

		memset(text, 'a' + (int)(len % 26), len);
		text[len] = '\0';
		n = name(text);
		count = fat_lfn_slot_count(&n);
		fat_lfn_encode(&n, short_name, slots);
		memcpy(slots + count * SLOT_BYTES, short_name, SHORT_NAME_BYTES);
		assert_int_equal(fat_lfn_decode(slots, count, &got), count);
		assert_int_equal(got.count, len);
		assert_memory_equal(got.units, n.units, len * 2);
		/* A part out of order, a wrong checksum, a name of another file. */
		slots[0] ^= 1;
		assert_int_equal(fat_lfn_decode(slots, count, &got), 0);
		slots[0] ^= 1;
		slots[LFN_CHECKSUM] ^= 1;
		assert_int_equal(fat_lfn_decode(slots, count, &got), 0);
		slots[LFN_CHECKSUM] ^= 1;
		slots[count * SLOT_BYTES] = 'X';
		assert_int_equal(fat_lfn_decode(slots, count, &got), 0);
	}
}

static void assert_time(uint64_t seconds, int offset_s, uint16_t date, uint16_t time)
{
	struct fat_dirent d = { .mtime_ns = seconds * 1000000000u }, got;
	uint8_t slot[SLOT_BYTES] = { 0 };

	d.ctime_ns = d.mtime_ns + 1230000000;
	d.atime_ns = d.mtime_ns;
	fat_dirent_encode(&d, FAT_TYPE_32, offset_s, slot);
	assert_int_equal(slot[SLOT_MDATE] | slot[SLOT_MDATE + 1] << 8, date);
	assert_int_equal(slot[SLOT_MTIME] | slot[SLOT_MTIME + 1] << 8, time);
	fat_dirent_decode(slot, FAT_TYPE_32, offset_s, &got);
	assert_int_equal(got.mtime_ns, fat_dirent_round_mtime(d.mtime_ns));
	assert_int_equal(got.ctime_ns, fat_dirent_round_ctime(d.ctime_ns));
	assert_int_equal(got.atime_ns, fat_dirent_round_atime(d.atime_ns, offset_s));
}

static void test_times_keep_their_resolution(void **state)
{
	(void)state;
	assert_time(315532800, 0, 1 << 5 | 1, 0); /* 1980-01-01 00:00:00 */
	assert_time(951825845, 0, 20 << 9 | 2 << 5 | 29, 12 << 11 | 4 << 5 | 2); /* 2000-02-29 12:04:05 */
	assert_time(951825845, 5400, 20 << 9 | 2 << 5 | 29, 13 << 11 | 34 << 5 | 2); /* UTC+1:30 */
	assert_time(4107542399, 0, 120 << 9 | 2 << 5 | 28, 23 << 11 | 59 << 5 | 29); /* 2100-02-28 23:59:59 */
	assert_time(4107542400, 0, 120 << 9 | 3 << 5 | 1, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_short_names_are_those_of_windows),
		cmocka_unit_test(test_numeric_tails_go_from_plain_to_hashed),
		cmocka_unit_test(test_checksum_is_that_of_the_specification),
		cmocka_unit_test(test_names_compare_without_case),
		cmocka_unit_test(test_utf8_comes_back_and_bad_utf8_is_refused),
		cmocka_unit_test(test_illegal_names_are_refused),
		cmocka_unit_test(test_long_name_slots_come_back_at_every_length),
		cmocka_unit_test(test_times_keep_their_resolution),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
