/* SPDX-License-Identifier: BSD-3-Clause */
/* Directory entries and extended attributes as items. */
#include "core/fs/wfs3/dirent.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int add(const void *value, int len, const char *name, uint64_t object, void *ret)
{
	struct dirent e = { .object = object, .type = 1, .name_len = (uint8_t)strlen(name), .name = name };

	return dirent_edit(value, (size_t)len, name, strlen(name), &e, ret);
}

static void test_names_of_one_hash_share_an_item_and_are_told_apart(void **state)
{
	uint8_t a[DIRENT_VALUE_MAX], b[DIRENT_VALUE_MAX];
	struct dirent e;
	unsigned count;
	int len;

	(void)state;
	len = add(NULL, 0, "one", 7, a);
	len = add(a, len, "two", 8, b);
	assert_int_equal(dirent_find(b, (size_t)len, "one", 3, &e, &count), 1);
	assert_int_equal(e.object, 7);
	assert_int_equal(count, 2);
	len = add(b, len, "one", 9, a);
	assert_int_equal(dirent_find(a, (size_t)len, "one", 3, &e, &count), 1);
	assert_int_equal(e.object, 9);
	assert_int_equal(count, 2);
	assert_int_equal(dirent_find(a, (size_t)len, "three", 5, &e, NULL), 0);
	len = dirent_edit(a, (size_t)len, "one", 3, NULL, b);
	assert_int_equal(dirent_find(b, (size_t)len, "one", 3, &e, &count), 0);
	assert_int_equal(count, 1);
	assert_int_equal(dirent_edit(b, (size_t)len, "two", 3, NULL, a), 0);
}

static void test_item_that_is_full_takes_no_more_names(void **state)
{
	uint8_t bufs[2][DIRENT_VALUE_MAX];
	char name[DIRENT_NAME_MAX + 1];
	int len = 0, n;

	(void)state;
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	for (n = 0; n < 100; n++) {
		int next;

		name[0] = (char)('A' + n);
		next = add(bufs[n % 2], len, name, 1, bufs[(n + 1) % 2]);
		if (next < 0) {
			assert_int_equal(next, -ENOSPC);
			break;
		}
		len = next;
	}
	assert_int_equal(n, DIRENT_VALUE_MAX / 265);
}

static void test_entry_that_makes_no_sense_is_refused(void **state)
{
	uint8_t good[DIRENT_VALUE_MAX], bad[DIRENT_VALUE_MAX];
	struct dirent e;
	size_t pos;
	int len = add(NULL, 0, "n", 7, good);

	(void)state;
	for (int cut = 1; cut < len; cut++) {
		pos = 0;
		assert_int_equal(dirent_next(good, (size_t)cut, &pos, &e), -EUCLEAN);
	}
	for (unsigned i = 0; i < 5; i++) {
		static const struct {
			unsigned at;
			uint8_t value;
		} cases[] = { { 0, 0 }, { 8, 0 }, { 8, 8 }, { 10, '/' }, { 10, '.' } };

		memcpy(bad, good, (size_t)len);
		bad[cases[i].at] = cases[i].value;
		pos = 0;
		assert_int_equal(dirent_next(bad, (size_t)len, &pos, &e), -EUCLEAN);
	}
}

static void test_hash_is_never_a_reserved_cookie(void **state)
{
	uint8_t key[SIPHASH_KEY_BYTES] = { 1 };

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		char name[16];
		uint64_t h;

		snprintf(name, sizeof(name), "%u", i);
		h = dirent_hash(key, name, strlen(name));
		assert_true(h >= 2 && h < UINT64_C(1) << 63);
		assert_int_equal(xattr_hash(key, name, strlen(name)) % XATTR_SLOTS, 0);
	}
}

static void test_xattr_head_survives_encoding(void **state)
{
	static uint8_t value[XATTR_VALUE_MAX];
	uint8_t buf[XATTR_PART_BYTES];
	struct xattr_head h;
	size_t len;

	(void)state;
	memset(value, 'v', sizeof(value));
	len = xattr_head_encode("user.a", 6, value, 10, buf);
	assert_int_equal(xattr_head_decode(buf, len, &h), 0);
	assert_int_equal(h.value_len, 10);
	assert_int_equal(h.head_len, 10);
	assert_memory_equal(h.name, "user.a", 6);
	assert_memory_equal(h.value, value, 10);
	len = xattr_head_encode("user.a", 6, value, sizeof(value), buf);
	assert_int_equal(len, XATTR_PART_BYTES);
	assert_int_equal(xattr_head_decode(buf, len, &h), 0);
	assert_int_equal(h.value_len, sizeof(value));
	assert_int_equal(xattr_head_decode(buf, len - 1, &h), -EUCLEAN);
	assert_int_equal(xattr_head_decode(buf, 3, &h), -EUCLEAN);
	assert_true(xattr_parts(XATTR_NAME_MAX_BYTES, sizeof(value)) <= XATTR_PARTS_MAX);
	assert_int_equal(xattr_parts(6, 10), 1);
	assert_int_equal(xattr_parts(6, XATTR_PART_BYTES), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_of_one_hash_share_an_item_and_are_told_apart),
		cmocka_unit_test(test_item_that_is_full_takes_no_more_names),
		cmocka_unit_test(test_entry_that_makes_no_sense_is_refused),
		cmocka_unit_test(test_hash_is_never_a_reserved_cookie),
		cmocka_unit_test(test_xattr_head_survives_encoding),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
