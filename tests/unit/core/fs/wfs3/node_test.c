/* SPDX-License-Identifier: BSD-3-Clause */
/* The page of a tree node: changes in place keep it compact and in order; the decoder refuses everything else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/core/fs/wfs3/tree_fixture.h"

static uint8_t *page_new(unsigned level)
{
	uint8_t *page = aligned_alloc(WFS3_BLOCK_BYTES, WFS3_NODE_BYTES);

	assert_non_null(page);
	node_init(page, level, FIXTURE_DATASET, 9);
	return page;
}

static struct wfs3_key key_of(uint64_t n)
{
	return (struct wfs3_key){ .object = n / 100, .kind = (uint8_t)(n / 10 % 10), .offset = n % 10 + (n << 50) };
}

/* Items 10, 20, ... with values of different lengths, until the page is full. */
static unsigned fill(uint8_t *page)
{
	uint8_t value[400];
	unsigned n = 0;

	for (;; n++) {
		struct wfs3_key key = key_of((n + 1) * 10);
		unsigned len = n * 13 % 300;

		memset(value, (int)n, sizeof(value));
		if (NODE_ITEM_BYTES(len) > node_free_bytes(page))
			return n;
		node_insert(page, n, &key, value, len);
	}
}

static uint8_t *internal_page(void)
{
	uint8_t *page = page_new(1);

	for (unsigned i = 0; i < NODE_CHILDREN_MAX; i++) {
		struct wfs3_ptr ptr = { .addr = 4 + UINT64_C(4) * i, .birth = 1 + i % 9, .hash = { i, ~i } };
		struct wfs3_key key = key_of(i);
		uint8_t none[WFS3_PTR_BYTES] = { 0 };

		node_insert(page, i, &key, none, sizeof(none));
		node_set_ptr(page, i, &ptr);
	}
	return page;
}

static void test_keys_sort_as_their_bytes(void **state)
{
	static const struct wfs3_key keys[] = {
		{ 0, 0, 0 },
		{ 0, 0, 1 },
		{ 0, 0, UINT64_MAX },
		{ 0, 1, 0 },
		{ 0, 255, UINT64_MAX },
		{ 1, 0, 0 },
		{ 1, 5, 255 },
		{ 1, 5, 256 },
		{ 1, 5, UINT64_C(1) << 63 },
		{ UINT64_C(1) << 63, 0, 0 },
		{ UINT64_MAX, 255, UINT64_MAX - 1 },
		{ UINT64_MAX, 255, UINT64_MAX },
	};
	unsigned count = sizeof(keys) / sizeof(keys[0]), slot;
	uint8_t *page = page_new(0);

	(void)state;
	for (unsigned i = 0; i < count; i++)
		node_insert(page, i, &keys[i], NULL, 0);
	assert_int_equal(node_check(page), 0);
	for (unsigned i = 0; i < count; i++) {
		struct wfs3_key back = node_key(page, i);

		assert_int_equal(wfs3_key_cmp(&back, &keys[i]), 0);
		assert_true(node_search(page, &keys[i], &slot));
		assert_int_equal(slot, i);
	}
	free(page);
}

static void test_search_finds_the_first_key_not_below(void **state)
{
	uint8_t *page = page_new(0);
	unsigned count = fill(page), slot;

	(void)state;
	assert_true(count > 50);
	for (unsigned n = 0; n <= count * 10 + 10; n++) {
		struct wfs3_key key = key_of(n);
		bool found = node_search(page, &key, &slot);

		assert_int_equal(found, n && n % 10 == 0 && n / 10 <= count);
		assert_int_equal(slot, found ? n / 10 - 1 : n / 10 < count ? n / 10 : count);
		assert_int_equal(node_search_child(page, &key), n < 10 ? 0 : n / 10 <= count ? n / 10 - 1 : count - 1);
	}
	free(page);
}

static void test_changes_leave_no_trace_of_what_was_there(void **state)
{
	uint8_t *page = page_new(0), *fresh = page_new(0), value[400];
	unsigned count = fill(page);

	(void)state;
	memset(value, 0xab, sizeof(value));
	while (node_free_bytes(page) < sizeof(value))
		node_remove(page, --count);
	node_replace(page, 3, value, 350);
	node_replace(page, 3, value, 2);
	node_replace(page, 5, value, 0);
	assert_int_equal(node_check(page), 0);
	for (unsigned i = count; i-- > 0;)
		node_remove(page, i * 7919 % (i + 1));
	assert_memory_equal(page, fresh, WFS3_NODE_BYTES);
	free(page);
	free(fresh);
}

static void test_split_and_merge_give_the_same_items(void **state)
{
	uint8_t *page = page_new(0), *right = page_new(0), *scratch = page_new(0);
	unsigned count = fill(page);
	size_t len;

	(void)state;
	for (unsigned at = 1; at < count; at++) {
		node_init(right, 0, FIXTURE_DATASET, 9);
		node_split(page, right, at, scratch);
		assert_int_equal(node_count(page), at);
		assert_int_equal(node_count(right), count - at);
		assert_int_equal(node_check(page), 0);
		assert_int_equal(node_check(right), 0);
		if (at % 2) {
			node_append(page, right, 0, count - at);
			continue;
		}
		node_prepend(right, page, scratch);
		memcpy(page, right, WFS3_NODE_BYTES);
	}
	assert_int_equal(node_check(page), 0);
	for (unsigned i = 0; i < count; i++) {
		struct wfs3_key key = node_key(page, i), want = key_of((i + 1) * 10);
		const uint8_t *value = node_value(page, i, &len);

		assert_int_equal(wfs3_key_cmp(&key, &want), 0);
		assert_int_equal(len, i * 13 % 300);
		assert_true(!len || (value[0] == (uint8_t)i && value[len - 1] == (uint8_t)i));
	}
	free(page);
	free(right);
	free(scratch);
}

static void test_pointers_are_as_documented(void **state)
{
	uint8_t *page = internal_page(), *item;
	struct wfs3_ptr ptr = { .addr = 0x060504030201,
		                .birth = 8,
		                .hash = { 0x1817161514131211, 0x2827262524232221 } };
	static const uint8_t want[] = { 1,    2,    3,    4,    5,    6,    0,    0,    8,    0,    0,
		                        0,    0,    0,    0,    0,    0x11, 0x12, 0x13, 0x14, 0x15, 0x16,
		                        0x17, 0x18, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28 };

	(void)state;
	node_set_ptr(page, 0, &ptr);
	item = page + get_le16(page + 32);
	assert_int_equal(get_le16(item + 17), 32);
	assert_memory_equal(item + 19, want, 32);
	assert_int_equal(node_ptr(page, 0).addr, ptr.addr);
	assert_int_equal(node_check(page), 0);
	free(page);
}

struct damage {
	const char *what;
	unsigned offset, bytes;
	uint64_t value;
};

static void check_refused(const uint8_t *good, const struct damage *d)
{
	uint8_t *page = page_new(0);

	memcpy(page, good, WFS3_NODE_BYTES);
	for (unsigned i = 0; i < d->bytes; i++)
		page[d->offset + i] = (uint8_t)(d->value >> 8 * i);
	if (node_check(page) != -EUCLEAN)
		fail_msg("accepted: %s", d->what);
	free(page);
}

static void test_decoder_refuses_each_broken_rule(void **state)
{
	uint8_t *leaf = page_new(0), *internal = internal_page();
	unsigned count = fill(leaf), heap = get_le16(leaf + NODE_OFF_HEAP), first = get_le16(leaf + 32);
	unsigned child = get_le16(internal + 32);
	const struct damage leaf_damage[] = {
		{ "magic", 0, 1, 0 },
		{ "version 0", 4, 1, 0 },
		{ "version 2", 4, 1, 2 },
		{ "level above the limit", 5, 1, NODE_LEVEL_MAX + 1 },
		{ "leaf as an internal node", 5, 1, 1 },
		{ "flags", 6, 2, 0x8000 },
		{ "reserved bytes", 12, 4, 0x01000000 },
		{ "no items", 8, 2, 0 },
		{ "one item less", 8, 2, count - 1 },
		{ "one item more", 8, 2, count + 1 },
		{ "most items", 8, 2, 0xffff },
		{ "heap in the slots", 10, 2, 32 },
		{ "heap above the page", 10, 2, WFS3_NODE_BYTES + 1 },
		{ "heap one byte lower", 10, 2, heap - 1 },
		{ "heap one byte higher", 10, 2, heap + 1 },
		{ "no birth", 24, 8, 0 },
		{ "birth above 48 bits", 24, 8, WFS3_TXG_MAX + 1 },
		{ "slot into the header", 32, 2, 0 },
		{ "slot beyond the page", 32, 2, 0xffff },
		{ "slot inside an item", 32, 2, first + 1u },
		{ "slot at another's item", 32, 2, get_le16(leaf + 34) },
		{ "value length", first + 17u, 2, 1 },
		{ "greatest value length", first + 17u, 2, 0xffff },
		{ "keys out of order", first, 8, UINT64_MAX },
		{ "bytes in the gap", 32 + 2 * count, 1, 1 },
	};
	const struct damage internal_damage[] = {
		{ "pointer to nothing", child + 19u, 8, 0 },
		{ "address above 48 bits", child + 19u, 8, WFS3_VBA_MAX + 1 },
		{ "address at the end", child + 19u, 8, WFS3_VBA_MAX - 2 },
		{ "child without a birth", child + 27u, 8, 0 },
		{ "child younger than its parent", child + 27u, 8, 10 },
		{ "internal node as a leaf of the wrong kind", 5, 1, 200 },
	};

	(void)state;
	assert_int_equal(node_check(leaf), 0);
	assert_int_equal(node_check(internal), 0);
	assert_true(node_free_bytes(leaf) > 0);
	for (unsigned i = 0; i < sizeof(leaf_damage) / sizeof(leaf_damage[0]); i++)
		check_refused(leaf, &leaf_damage[i]);
	for (unsigned i = 0; i < sizeof(internal_damage) / sizeof(internal_damage[0]); i++)
		check_refused(internal, &internal_damage[i]);
	free(leaf);
	free(internal);
}

/* Whatever the decoder accepts can be worked on. */
static void use_page(uint8_t *page, uint8_t *scratch, uint64_t *seed)
{
	uint8_t *right = page_new(node_level(page));
	unsigned slot, count = node_count(page);

	for (unsigned i = 0; i < 4; i++) {
		struct wfs3_key key = key_of(rnd(seed) % 2000);

		if (!node_search(page, &key, &slot) && node_free_bytes(page) >= NODE_ITEM_BYTES(32))
			node_insert(page, slot, &key, scratch, 32);
	}
	node_replace(page, (unsigned)rnd(seed) % count, scratch, 0);
	node_remove(page, (unsigned)rnd(seed) % count);
	node_split(page, right, node_count(page) / 2, scratch);
	node_prepend(right, page, scratch);
	free(right);
}

static void test_decoder_survives_mutations(void **state)
{
	uint8_t *good[2] = { page_new(0), internal_page() }, *page = page_new(0), *scratch = page_new(0);
	uint64_t seed = UINT64_C(0x5eed0003);
	unsigned accepted = 0;

	(void)state;
	fill(good[0]);
	print_message("seed %#llx\n", (unsigned long long)seed);
	for (unsigned round = 0; round < 100000; round++) {
		const uint8_t *from = good[round % 2];
		unsigned changes = 1 + (unsigned)rnd(&seed) % 3;

		memcpy(page, from, WFS3_NODE_BYTES);
		for (unsigned i = 0; i < changes; i++) {
			uint64_t r = rnd(&seed);
			/* Mostly where structure is: header and slots, and the heads of items. */
			unsigned at = (unsigned)(r >> 8) % (r & 1 ? 400 : WFS3_NODE_BYTES);

			if (r % 4 == 3)
				at = get_le16(from + 32 + 2 * ((r >> 32) % 40)) + (unsigned)(r >> 16) % 20;
			page[at % WFS3_NODE_BYTES] ^= (uint8_t)(1u << (r >> 48) % 8);
		}
		if (node_check(page))
			continue;
		accepted++;
		use_page(page, scratch, &seed);
	}
	assert_true(accepted > 1000);
	free(good[0]);
	free(good[1]);
	free(page);
	free(scratch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys_sort_as_their_bytes),
		cmocka_unit_test(test_search_finds_the_first_key_not_below),
		cmocka_unit_test(test_changes_leave_no_trace_of_what_was_there),
		cmocka_unit_test(test_split_and_merge_give_the_same_items),
		cmocka_unit_test(test_pointers_are_as_documented),
		cmocka_unit_test(test_decoder_refuses_each_broken_rule),
		cmocka_unit_test(test_decoder_survives_mutations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
