/* SPDX-License-Identifier: BSD-3-Clause */
/* Superblock, markers and slots as bytes: what is encoded is decoded, and any changed bit is seen. */
#include "tests/unit/core/fs/wfs2/fixture.h"

static struct wfs2_super example_super(void)
{
	struct wfs2_super s = { .created_ns = 7, .id = { 1, 2, 3 }, .label = "label of thirty-two bytes, full." };

	assert_int_equal(wfs2_layout(100000, 800, &s), 0);
	return s;
}

static struct wfs2_entry example_entry(void)
{
	return (struct wfs2_entry){
		.flags = WFS2_FLAG_USED | WFS2_FLAG_READ_ONLY,
		.name_len = 4,
		.name = "name",
		.size_bytes = 3 * 4096 - 1,
		.created_ns = 1,
		.modified_ns = 2,
		.change = 3,
		.generation = 4,
		.replaces = 5,
		.replaces_generation = 6,
		.extent_count = 2,
		.extents = { { 5000, 2 }, { 6000, 1 } },
	};
}

/* By their bytes: structs have holes. */
static void assert_same_entry(const struct wfs2_entry *a, const struct wfs2_entry *b)
{
	uint8_t a_bytes[512], b_bytes[512];

	wfs2_entry_encode(a, a_bytes);
	wfs2_entry_encode(b, b_bytes);
	assert_memory_equal(a_bytes, b_bytes, sizeof(a_bytes));
	assert_string_equal(a->name, b->name);
}

static void test_layout_follows_from_the_counts(void **state)
{
	struct wfs2_super s;

	(void)state;
	assert_int_equal(wfs2_layout(32769, 65536, &s), 0);
	assert_int_equal(s.bitmap_blocks, 2);
	assert_int_equal(s.table_first, 6);
	assert_int_equal(s.table_blocks, 8192);
	assert_int_equal(s.data_first, 8199);
	assert_int_equal(wfs2_layout(15, 8, &s), -EINVAL);
	assert_int_equal(wfs2_layout(16, 8, &s), 0);
	assert_int_equal(wfs2_layout(16, 80, &s), -EINVAL);
	assert_int_equal(wfs2_layout((UINT64_C(1) << 30) + 1, 8, &s), -EINVAL);
	assert_int_equal(wfs2_layout(100000, 0, &s), -EINVAL);
	assert_int_equal(wfs2_layout(100000, 12, &s), -EINVAL);
	assert_int_equal(wfs2_layout(100000, 65544, &s), -EINVAL);
}

static void test_superblock_is_decoded_and_any_changed_byte_is_seen(void **state)
{
	struct wfs2_super s = example_super(), got;
	uint8_t block[4096], again[4096];

	(void)state;
	wfs2_super_encode(&s, block);
	assert_int_equal(wfs2_super_decode(block, &got), 0);
	wfs2_super_encode(&got, again);
	assert_memory_equal(block, again, sizeof(block));
	for (unsigned i = 0; i < sizeof(block); i++) {
		block[i] ^= 0x10;
		assert_int_equal(wfs2_super_decode(block, &got), -EUCLEAN);
		block[i] ^= 0x10;
	}
}

static void test_superblock_with_a_right_checksum_still_has_to_make_sense(void **state)
{
	struct wfs2_super s = example_super(), got;
	uint8_t block[4096];

	(void)state;
	/* Everything but identity, time and label, which may be anything, and the size, of which others fit, too. */
	for (unsigned i = 0; i < SUPER_CRC; i++) {
		if ((i >= SUPER_CREATED && i < SUPER_RESERVED) || i / 4 == SUPER_BLOCK_COUNT / 4)
			continue;
		wfs2_super_encode(&s, block);
		block[i] ^= 0x81;
		put_le32(block + SUPER_CRC, crc32_zlib(block, SUPER_CRC));
		assert_int_equal(wfs2_super_decode(block, &got), -EUCLEAN);
	}
}

static void test_marker_with_any_changed_byte_is_broken(void **state)
{
	struct wfs2_super s = example_super();
	uint8_t block[4096];

	(void)state;
	for (unsigned mark = 0; mark < MARK_COUNT; mark++) {
		wfs2_mark_encode(&s, mark, block);
		assert_int_equal(wfs2_mark_check(&s, mark, block), 0);
		assert_int_equal(wfs2_mark_check(&s, mark ^ 1, block), -EUCLEAN);
		for (unsigned i = 0; i < sizeof(block); i++) {
			block[i] ^= 1;
			assert_int_equal(wfs2_mark_check(&s, mark, block), -EUCLEAN);
			block[i] ^= 1;
		}
	}
}

static void test_slot_is_decoded_and_any_changed_byte_is_seen(void **state)
{
	struct wfs2_entry e = example_entry(), got;
	uint8_t slot[512];

	(void)state;
	wfs2_entry_encode(&e, slot);
	assert_int_equal(wfs2_entry_decode(slot, &got), 0);
	assert_same_entry(&got, &e);
	for (unsigned i = 0; i < sizeof(slot); i++) {
		slot[i] ^= 0x40;
		assert_int_equal(wfs2_entry_decode(slot, &got), -EUCLEAN);
		slot[i] ^= 0x40;
	}
}

static void test_free_slots_keep_the_generation_and_nothing_else(void **state)
{
	struct wfs2_entry never = { 0 }, free_slot = { .generation = 9 }, got;
	uint8_t slot[512];

	(void)state;
	wfs2_entry_encode(&never, slot);
	assert_true(bytes_are_zero(slot, sizeof(slot)));
	assert_int_equal(wfs2_entry_decode(slot, &got), 0);
	assert_same_entry(&got, &never);
	wfs2_entry_encode(&free_slot, slot);
	assert_int_equal(wfs2_entry_decode(slot, &got), 0);
	assert_same_entry(&got, &free_slot);
	slot[SLOT_SIZE] = 1;
	put_le32(slot + SLOT_CRC, crc32_zlib(slot, SLOT_CRC));
	assert_int_equal(wfs2_entry_decode(slot, &got), -EUCLEAN);
}

struct bad_field {
	unsigned offset, bytes;
	uint32_t value;
};

static void test_slot_with_a_right_checksum_still_has_to_make_sense(void **state)
{
	static const struct bad_field fields[] = {
		{ SLOT_FLAGS, 2, 2 },         { SLOT_FLAGS, 2, 5 },        { SLOT_NAME_LEN, 2, 0 },
		{ SLOT_NAME_LEN, 2, 3 },      { SLOT_NAME_LEN, 2, 5 },     { SLOT_NAME_LEN, 2, 256 },
		{ SLOT_GENERATION, 4, 0 },    { SLOT_REPLACES, 4, 65537 }, { SLOT_EXTENT_COUNT, 2, 25 },
		{ SLOT_EXTENT_COUNT, 2, 1 },  { SLOT_RESERVED, 2, 1 },     { SLOT_NAME, 1, '/' },
		{ SLOT_NAME, 1, 0 },          { SLOT_NAME + 255, 1, 1 },   { SLOT_EXTENTS + 16, 4, 7 },
		{ SLOT_EXTENTS + 188, 4, 7 },
	};
	struct wfs2_entry e = example_entry(), got;
	uint8_t slot[512];

	(void)state;
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		wfs2_entry_encode(&e, slot);
		for (unsigned k = 0; k < fields[i].bytes; k++)
			slot[fields[i].offset + k] = (uint8_t)(fields[i].value >> 8 * k);
		put_le32(slot + SLOT_CRC, crc32_zlib(slot, SLOT_CRC));
		assert_int_equal(wfs2_entry_decode(slot, &got), -EUCLEAN);
	}
}

static void test_extents_lie_in_the_volume_and_make_up_the_size(void **state)
{
	struct wfs2_super s = example_super();
	struct wfs2_entry e = example_entry();

	(void)state;
	assert_int_equal(wfs2_entry_check(&s, &e), 0);
	e.size_bytes = 3 * 4096 + 1;
	assert_int_equal(wfs2_entry_check(&s, &e), -EUCLEAN);
	e.size_bytes = 2 * 4096;
	assert_int_equal(wfs2_entry_check(&s, &e), -EUCLEAN);
	e = example_entry();
	e.extents[0].first = s.data_first - 1;
	assert_int_equal(wfs2_entry_check(&s, &e), -EUCLEAN);
	e.extents[0].first = s.data_first;
	assert_int_equal(wfs2_entry_check(&s, &e), 0);
	e.extents[0].first = s.block_count - 3;
	assert_int_equal(wfs2_entry_check(&s, &e), 0);
	e.extents[0].first++;
	assert_int_equal(wfs2_entry_check(&s, &e), -EUCLEAN);
	e.extents[0] = (struct wfs2_extent){ UINT32_MAX, UINT32_MAX };
	assert_int_equal(wfs2_entry_check(&s, &e), -EUCLEAN);
	e = example_entry();
	e.extents[0].count = 0;
	assert_int_equal(wfs2_entry_check(&s, &e), -EUCLEAN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layout_follows_from_the_counts),
		cmocka_unit_test(test_superblock_is_decoded_and_any_changed_byte_is_seen),
		cmocka_unit_test(test_superblock_with_a_right_checksum_still_has_to_make_sense),
		cmocka_unit_test(test_marker_with_any_changed_byte_is_broken),
		cmocka_unit_test(test_slot_is_decoded_and_any_changed_byte_is_seen),
		cmocka_unit_test(test_free_slots_keep_the_generation_and_nothing_else),
		cmocka_unit_test(test_slot_with_a_right_checksum_still_has_to_make_sense),
		cmocka_unit_test(test_extents_lie_in_the_volume_and_make_up_the_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
