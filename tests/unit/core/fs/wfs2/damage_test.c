/* SPDX-License-Identifier: BSD-3-Clause */
/* Every byte of every structure damaged, with wrong and with right checksums; findings and what is done about them. */
#include "tests/unit/core/fs/wfs2/exercise.h"
#include "tests/unit/core/fs/wfs2/fixture.h"
#include "tests/unit/slow.h"

#define FIRST_SLOT ((uint64_t)5 * 4096)

static uint8_t whole[EXERCISE_BYTES];

static int setup(void **state)
{
	static struct fixture f;

	fixture_init(&f, EXERCISE_BYTES);
	exercise_make(f.dev, f.cache);
	blk_sim_peek(f.dev, 0, whole, sizeof(whole));
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	fixture_done(*state);
	return 0;
}

static void flip(struct fixture *f, uint64_t at, uint8_t bits, bool seal)
{
	uint8_t byte = whole[at] ^ bits;

	blk_sim_poke(f->dev, 0, whole, sizeof(whole));
	blk_sim_poke(f->dev, at, &byte, 1);
	if (seal)
		exercise_seal(f->dev);
	exercise(f->dev, f->cache);
}

static void test_any_changed_byte_of_a_slot_is_survived_and_repaired(void **state)
{
	/* A free one, a file in one piece, one in several, and one that was never used. */
	static const unsigned slots[] = { 0, 1, 9, 20 };
	struct fixture *f = *state;

	for (unsigned k = 0; k < sizeof(slots) / sizeof(slots[0]); k++) {
		for (unsigned i = 0; i < WFS2_SLOT_BYTES; i++) {
			/* Of the name's padding and of unused extents some bytes stand for all. */
			if (i >= 64 && i < 504 && i % 8 > (i >= 312 && i < 352 ? 7 : 0))
				continue;
			if (!test_tries(i))
				continue;
			flip(f, FIRST_SLOT + slots[k] * WFS2_SLOT_BYTES + i, 1, false);
			flip(f, FIRST_SLOT + slots[k] * WFS2_SLOT_BYTES + i, 1, true);
			flip(f, FIRST_SLOT + slots[k] * WFS2_SLOT_BYTES + i, 0xff, true);
		}
	}
}

static void test_any_changed_byte_of_superblock_markers_and_bitmap_is_survived_and_repaired(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 110; i += test_slow()) {
		flip(f, i, 0x11, false);
		flip(f, i, 0x11, true);
		flip(f, EXERCISE_BYTES - 4096 + i, 0x11, true);
		flip(f, 4096 + i, 0x11, true);
		flip(f, 2 * 4096 + i, 0x11, false);
	}
	for (unsigned i = 4070; i < 4096; i += test_slow()) {
		flip(f, i, 0x11, false);
		flip(f, i, 0x11, true);
		flip(f, 2 * 4096 + i, 0x11, false);
	}
}

static void edit_slot(struct fixture *f, unsigned slot, const struct wfs2_entry *e)
{
	uint8_t bytes[WFS2_SLOT_BYTES];

	wfs2_entry_encode(e, bytes);
	blk_sim_poke(f->dev, FIRST_SLOT + slot * WFS2_SLOT_BYTES, bytes, sizeof(bytes));
}

static struct wfs2_entry slot_of(unsigned slot)
{
	struct wfs2_entry e;

	assert_int_equal(wfs2_entry_decode(whole + FIRST_SLOT + slot * WFS2_SLOT_BYTES, &e), 0);
	assert_true(e.flags);
	return e;
}

static void assert_found(struct fixture *f, enum wfs2_finding_kind kind)
{
	struct wfs2_check_report report = fixture_check(f, false);

	assert_true(report.by_kind[kind] > 0);
	exercise(f->dev, f->cache);
}

static void test_two_files_of_one_name_are_found(void **state)
{
	struct fixture *f = *state;
	struct wfs2_entry e = slot_of(2);
	struct wfs2_check_report report;
	struct wfs2_node *n;

	memcpy(e.name, "f1", 3);
	edit_slot(f, 2, &e);
	report = fixture_check(f, true);
	assert_int_equal(report.by_kind[WFS2_FINDING_DUPLICATE], 1);
	fixture_mount(f);
	n = fixture_find(f, "duplicate-2");
	assert_non_null(n);
	wfs2_put(n);
	fixture_unmount(f);
	edit_slot(f, 2, &e);
	assert_found(f, WFS2_FINDING_DUPLICATE);
}

static void test_block_in_two_files_is_found_and_the_first_keeps_it(void **state)
{
	struct fixture *f = *state;
	struct wfs2_entry e = slot_of(2), other = slot_of(1);
	struct wfs2_node *n;

	e.extents[0].first = other.extents[0].first + 1;
	edit_slot(f, 2, &e);
	assert_int_equal(fixture_try_mount(f, false), 0);
	n = fixture_find(f, "f2");
	assert_int_equal(wfs2_truncate(n, 0), -EROFS);
	wfs2_put(n);
	fixture_unmount(f);
	(void)fixture_check(f, true);
	fixture_assert_clean(f);
	fixture_mount(f);
	n = fixture_find(f, "f1");
	assert_int_equal(fixture_size(n), other.size_bytes);
	wfs2_put(n);
	n = fixture_find(f, "f2");
	assert_true(fixture_size(n) < e.size_bytes);
	wfs2_put(n);
	fixture_unmount(f);
	edit_slot(f, 2, &e);
	assert_found(f, WFS2_FINDING_OVERLAP);
}

/* Many files that claim everything: the time of a check does not depend on what they say. */
static void test_files_that_all_claim_the_whole_volume_take_no_time(void **state)
{
	struct fixture *f = *state;
	struct wfs2_entry e = slot_of(1);

	e.extent_count = WFS2_EXTENTS_MAX;
	for (unsigned i = 0; i < WFS2_EXTENTS_MAX; i++)
		e.extents[i] = (struct wfs2_extent){ 20, 130 };
	e.size_bytes = (uint64_t)WFS2_EXTENTS_MAX * 130 * 4096;
	for (unsigned slot = 0; slot < EXERCISE_FILES; slot++) {
		e.name_len = (uint16_t)snprintf(e.name, sizeof(e.name), "f%u", slot);
		edit_slot(f, slot, &e);
	}
	assert_found(f, WFS2_FINDING_OVERLAP);
}

static void test_interrupted_rename_is_finished_by_mounting(void **state)
{
	struct fixture *f = *state;
	struct wfs2_entry e = slot_of(1), old = slot_of(2);
	struct wfs2_node *n;

	memcpy(e.name, old.name, sizeof(e.name));
	e.size_bytes -= 7;
	e.replaces = 2 + 1;
	e.replaces_generation = old.generation;
	edit_slot(f, 1, &e);
	fixture_mount(f);
	n = fixture_find(f, "f2");
	assert_int_equal(fixture_size(n), e.size_bytes);
	assert_int_equal(wfs2_truncate(n, 5), 0);
	wfs2_put(n);
	assert_null(fixture_find(f, "f1"));
	fixture_unmount(f);
	fixture_assert_clean(f);
	edit_slot(f, 1, &e);
	edit_slot(f, 2, &old);
	assert_found(f, WFS2_FINDING_RENAME);
}

static void test_replaced_slot_that_is_used_again_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct wfs2_entry e = slot_of(1), old = slot_of(2);

	e.replaces = 2 + 1;
	e.replaces_generation = old.generation + 1;
	edit_slot(f, 1, &e);
	fixture_assert_clean(f);
}

static void test_device_that_is_smaller_than_the_volume_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(blk_sim_resize(f->dev, EXERCISE_BYTES - 4096), 0);
	assert_int_equal(fixture_try_mount(f, true), -EUCLEAN);
	f->fs = NULL;
}

static void test_superblock_that_cannot_be_read_is_taken_from_its_copy(void **state)
{
	struct fixture *f = *state;
	struct wfs2_info info;

	blk_sim_break(f->dev, 0, 4096, false);
	assert_int_equal(fixture_try_mount(f, false), 0);
	wfs2_get_info(f->fs, &info);
	assert_true(info.read_only);
	fixture_unmount(f);
	assert_int_equal(fixture_check(f, true).left_count, 0);
	fixture_mount(f);
	fixture_unmount(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_any_changed_byte_of_a_slot_is_survived_and_repaired),
		TEST(test_any_changed_byte_of_superblock_markers_and_bitmap_is_survived_and_repaired),
		TEST(test_two_files_of_one_name_are_found),
		TEST(test_block_in_two_files_is_found_and_the_first_keeps_it),
		TEST(test_files_that_all_claim_the_whole_volume_take_no_time),
		TEST(test_interrupted_rename_is_finished_by_mounting),
		TEST(test_replaced_slot_that_is_used_again_is_left_alone),
		TEST(test_device_that_is_smaller_than_the_volume_is_refused),
		TEST(test_superblock_that_cannot_be_read_is_taken_from_its_copy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
