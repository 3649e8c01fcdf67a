/* SPDX-License-Identifier: BSD-3-Clause */
/* Files on a WFS v2 volume: names, contents, limits. */
#include "tests/unit/core/fs/wfs2/fixture.h"

#define VOLUME_BYTES ((uint64_t)4 << 20)

static int setup(void **state)
{
	static struct fixture f;

	fixture_init(&f, VOLUME_BYTES);
	fixture_mount(&f);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	fixture_done(*state);
	return 0;
}

static void remount(struct fixture *f)
{
	fixture_unmount(f);
	fixture_assert_clean(f);
	fixture_mount(f);
}

static void test_file_is_there_after_a_remount(void **state)
{
	struct fixture *f = *state;
	struct wfs2_node *n = fixture_create(f, "hello");
	struct wfs2_info info;
	uint8_t data[10000], got[12000];
	struct wfs2_stat st;

	fixture_fill(data, sizeof(data), 1);
	assert_int_equal(fixture_write(n, 0, data, sizeof(data)), 0);
	wfs2_put(n);
	remount(f);
	n = fixture_find(f, "hello");
	assert_non_null(n);
	assert_int_equal(fixture_read(n, 0, got, sizeof(got)), sizeof(data));
	assert_memory_equal(got, data, sizeof(data));
	wfs2_stat(n, &st);
	assert_int_equal(st.allocated_bytes, 12288);
	assert_true(st.created_ns && st.modified_ns >= st.created_ns);
	wfs2_put(n);
	wfs2_get_info(f->fs, &info);
	assert_string_equal(info.label, "test");
	assert_int_equal(info.file_count, 1);
	assert_false(info.read_only);
}

static void test_impossible_names_are_refused(void **state)
{
	static const char *const names[] = { "", ".", "..", "a/b", "a\nb", "\x7f" };
	struct fixture *f = *state;
	char longest[256];
	struct wfs2_node *n;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(wfs2_create(f->fs, names[i], strlen(names[i]), &n), -EINVAL);
	memset(longest, 'x', sizeof(longest));
	assert_int_equal(wfs2_create(f->fs, longest, 256, &n), -ENAMETOOLONG);
	assert_int_equal(wfs2_create(f->fs, longest, 255, &n), 0);
	wfs2_put(n);
	assert_int_equal(wfs2_create(f->fs, longest, 255, &n), -EEXIST);
}

static void test_name_that_is_not_there_returns_enoent(void **state)
{
	struct fixture *f = *state;
	struct wfs2_node *n;

	assert_int_equal(wfs2_lookup(f->fs, "none", 4, &n), -ENOENT);
	assert_int_equal(wfs2_unlink(f->fs, "none", 4), -ENOENT);
	assert_int_equal(wfs2_rename(f->fs, "none", 4, "b", 1, false), -ENOENT);
}

static void test_table_that_is_full_returns_enospc(void **state)
{
	struct fixture *f = *state;
	struct wfs2_node *n;
	char name[16];

	fixture_unmount(f);
	fixture_mkfs(f, 16);
	fixture_mount(f);
	for (unsigned i = 0; i < 16; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		wfs2_put(fixture_create(f, name));
	}
	assert_int_equal(wfs2_create(f->fs, "more", 4, &n), -ENOSPC);
	assert_int_equal(wfs2_unlink(f->fs, "f7", 2), 0);
	wfs2_put(fixture_create(f, "more"));
	remount(f);
}

static void test_object_of_a_slot_used_again_is_another(void **state)
{
	struct fixture *f = *state;
	struct wfs2_stat a, b;
	struct wfs2_node *n = fixture_create(f, "a");

	wfs2_stat(n, &a);
	wfs2_put(n);
	assert_int_equal(wfs2_unlink(f->fs, "a", 1), 0);
	remount(f);
	n = fixture_create(f, "a");
	wfs2_stat(n, &b);
	wfs2_put(n);
	assert_true(a.object != b.object);
}

static void test_gap_reads_as_zeros_though_blocks_were_used(void **state)
{
	struct fixture *f = *state;
	struct wfs2_node *n = fixture_create(f, "old");
	static uint8_t junk[1 << 20], got[40000];

	memset(junk, 0xaa, sizeof(junk));
	assert_int_equal(fixture_write(n, 0, junk, sizeof(junk)), 0);
	assert_int_equal(wfs2_flush(n), 0);
	assert_int_equal(wfs2_truncate(n, 100), 0);
	assert_int_equal(fixture_write(n, 30000, "end", 3), 0);
	for (unsigned pass = 0; pass < 2; pass++) {
		assert_int_equal(fixture_read(n, 0, got, sizeof(got)), 30003);
		assert_memory_equal(got, junk, 100);
		assert_true(bytes_are_zero(got + 100, 29900));
		assert_memory_equal(got + 30000, "end", 3);
		wfs2_put(n);
		remount(f);
		n = fixture_find(f, "old");
	}
	assert_int_equal(wfs2_truncate(n, 0), 0);
	assert_int_equal(wfs2_truncate(n, 40000), 0);
	assert_int_equal(fixture_read(n, 0, got, sizeof(got)), 40000);
	assert_true(bytes_are_zero(got, 40000));
	wfs2_put(n);
}

static void test_full_volume_changes_nothing_and_gives_space_back(void **state)
{
	struct fixture *f = *state;
	struct wfs2_node *n = fixture_create(f, "big"), *small = fixture_create(f, "small");
	static uint8_t data[1 << 20];
	uint64_t size = 0;
	struct wfs2_info before, after;
	int rc;

	wfs2_get_info(f->fs, &before);
	assert_int_equal(fixture_write(small, 0, data, 4096), 0);
	while ((rc = fixture_write(n, size, data, sizeof(data))) == 0)
		size += sizeof(data);
	assert_int_equal(rc, -ENOSPC);
	assert_int_equal(fixture_size(n), size);
	while ((rc = fixture_write(n, size, data, 4096)) == 0)
		size += 4096;
	assert_int_equal(rc, -ENOSPC);
	wfs2_get_info(f->fs, &after);
	assert_int_equal(after.free_blocks, 0);
	assert_int_equal(fixture_write(n, 0, data, 4096), 0);
	assert_int_equal(wfs2_truncate(n, 0), 0);
	assert_int_equal(wfs2_truncate(small, 0), 0);
	wfs2_get_info(f->fs, &after);
	assert_int_equal(after.free_blocks, before.free_blocks);
	wfs2_put(n);
	wfs2_put(small);
	remount(f);
}

static void test_more_pieces_than_a_slot_holds_return_efbig(void **state)
{
	struct fixture *f = *state;
	uint8_t block[4096] = { 1 };
	struct wfs2_node *n;
	uint64_t size = 0;
	char name[16];
	unsigned count = 0;
	int rc = 0;

	for (; rc == 0; count++) {
		snprintf(name, sizeof(name), "f%u", count);
		if (wfs2_create(f->fs, name, strlen(name), &n))
			break;
		for (unsigned i = 0; rc == 0 && i < 8; i++)
			rc = fixture_write(n, i * 4096, block, sizeof(block));
		wfs2_put(n);
	}
	for (unsigned i = 0; i < count; i += 2) {
		snprintf(name, sizeof(name), "f%u", i);
		(void)wfs2_unlink(f->fs, name, strlen(name));
	}
	n = fixture_create(f, "pieces");
	while ((rc = fixture_write(n, size, block, sizeof(block))) == 0)
		size += sizeof(block);
	assert_int_equal(rc, -EFBIG);
	assert_true(size >= (uint64_t)WFS2_EXTENTS_MAX * 8 * 4096);
	assert_int_equal(fixture_size(n), size);
	assert_int_equal(wfs2_flush(n), 0);
	wfs2_put(n);
	remount(f);
}

static void test_two_files_that_grow_at_once_stay_in_few_pieces(void **state)
{
	struct fixture *f = *state;
	struct wfs2_node *a = fixture_create(f, "a"), *b = fixture_create(f, "b");
	uint8_t block[4096] = { 1 }, slot[WFS2_SLOT_BYTES];
	struct wfs2_super s;
	struct wfs2_entry e;

	for (unsigned i = 0; i < 300; i++) {
		assert_int_equal(fixture_write(a, i * 4096, block, sizeof(block)), 0);
		assert_int_equal(fixture_write(b, i * 4096, block, sizeof(block)), 0);
	}
	wfs2_put(a);
	wfs2_put(b);
	fixture_unmount(f);
	assert_int_equal(wfs2_layout(VOLUME_BYTES / 4096, 256, &s), 0);
	blk_sim_peek(f->dev, (uint64_t)s.table_first * 4096, slot, sizeof(slot));
	assert_int_equal(wfs2_entry_decode(slot, &e), 0);
	assert_true(e.flags && e.extent_count <= 8);
	fixture_mount(f);
}

static void test_removed_file_can_be_used_until_it_is_put(void **state)
{
	struct fixture *f = *state;
	struct wfs2_node *n = fixture_create(f, "gone"), *other;
	uint8_t data[5000], got[5000];
	struct wfs2_info before, after;

	wfs2_get_info(f->fs, &before);
	fixture_fill(data, sizeof(data), 3);
	assert_int_equal(fixture_write(n, 0, data, 100), 0);
	assert_int_equal(wfs2_flush(n), 0);
	assert_int_equal(wfs2_unlink(f->fs, "gone", 4), 0);
	assert_null(fixture_find(f, "gone"));
	other = fixture_create(f, "gone");
	assert_int_equal(fixture_write(n, 0, data, sizeof(data)), 0);
	assert_int_equal(fixture_read(n, 0, got, sizeof(got)), sizeof(data));
	assert_memory_equal(got, data, sizeof(data));
	assert_int_equal(wfs2_flush(n), 0);
	assert_int_equal(fixture_size(other), 0);
	wfs2_put(n);
	wfs2_put(other);
	wfs2_get_info(f->fs, &after);
	assert_int_equal(after.free_blocks, before.free_blocks);
	remount(f);
}

static void test_rename_replaces_or_refuses(void **state)
{
	struct fixture *f = *state;
	struct wfs2_node *a = fixture_create(f, "a"), *b = fixture_create(f, "b");
	char got[8];

	assert_int_equal(fixture_write(a, 0, "aaa", 3), 0);
	assert_int_equal(fixture_write(b, 0, "bbbb", 4), 0);
	assert_int_equal(wfs2_rename(f->fs, "a", 1, "b", 1, true), -EEXIST);
	assert_int_equal(wfs2_rename(f->fs, "a", 1, "a", 1, true), 0);
	assert_int_equal(wfs2_rename(f->fs, "a", 1, "x/", 2, false), -EINVAL);
	assert_int_equal(wfs2_rename(f->fs, "a", 1, "b", 1, false), 0);
	assert_null(fixture_find(f, "a"));
	assert_int_equal(fixture_read(b, 0, got, sizeof(got)), 4);
	wfs2_put(a);
	wfs2_put(b);
	remount(f);
	b = fixture_find(f, "b");
	assert_int_equal(fixture_read(b, 0, got, sizeof(got)), 3);
	assert_memory_equal(got, "aaa", 3);
	wfs2_put(b);
}

static bool count_item(void *ctx, const struct wfs2_dir_item *item)
{
	unsigned *count = ctx;

	assert_int_equal(strlen(item->name), item->name_len);
	return ++*count != 3;
}

static void test_listing_goes_on_where_it_ended(void **state)
{
	struct fixture *f = *state;
	unsigned count = 0;
	char name[8];

	for (unsigned i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		wfs2_put(fixture_create(f, name));
	}
	assert_int_equal(wfs2_list(f->fs, 0, count_item, &count), 0);
	assert_int_equal(count, 3);
	assert_int_equal(wfs2_list(f->fs, 3, count_item, &count), 0);
	assert_int_equal(count, 10);
}

static void test_device_that_fails_a_slot_makes_the_volume_read_only(void **state)
{
	struct fixture *f = *state;
	struct blk_sim_faults faults = { .fail_nth = { -1, 0, -1, -1, -1 }, .fail_from_nth = true, .error = -EIO };
	struct wfs2_node *n = fixture_create(f, "a");
	struct wfs2_info info;

	blk_sim_set_faults(f->dev, &faults);
	assert_int_equal(wfs2_unlink(f->fs, "a", 1), -EIO);
	assert_int_equal(wfs2_unlink(f->fs, "a", 1), -EROFS);
	assert_int_equal(fixture_write(n, 0, "x", 1), -EROFS);
	wfs2_get_info(f->fs, &info);
	assert_true(info.read_only);
	assert_true(*info.reason);
	wfs2_put(n);
	blk_sim_set_faults(f->dev, NULL);
	assert_int_equal(wfs2_unmount(f->fs), 0);
	f->fs = NULL;
	fixture_assert_clean(f);
}

static void test_flush_that_fails_is_told_and_data_is_not_called_durable(void **state)
{
	struct fixture *f = *state;
	struct blk_sim_faults faults = { .fail_nth = { -1, -1, 0, -1, -1 }, .error = -EIO };
	struct wfs2_node *n = fixture_create(f, "a");

	assert_int_equal(fixture_write(n, 0, "x", 1), 0);
	blk_sim_set_faults(f->dev, &faults);
	assert_int_equal(wfs2_flush(n), -EIO);
	assert_int_equal(wfs2_flush(n), -EROFS);
	wfs2_put(n);
}

static void test_volume_mounted_read_only_is_not_written(void **state)
{
	struct fixture *f = *state;
	struct wfs2_node *n = fixture_create(f, "a");
	uint64_t writes;

	wfs2_put(n);
	fixture_unmount(f);
	writes = blk_sim_count(f->dev, BLK_WRITE);
	assert_int_equal(fixture_try_mount(f, true), 0);
	assert_int_equal(wfs2_create(f->fs, "b", 1, &n), -EROFS);
	n = fixture_find(f, "a");
	assert_int_equal(wfs2_truncate(n, 5), -EROFS);
	wfs2_put(n);
	fixture_unmount(f);
	assert_int_equal(blk_sim_count(f->dev, BLK_WRITE), writes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_file_is_there_after_a_remount, setup, teardown),
		cmocka_unit_test_setup_teardown(test_impossible_names_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_name_that_is_not_there_returns_enoent, setup, teardown),
		cmocka_unit_test_setup_teardown(test_table_that_is_full_returns_enospc, setup, teardown),
		cmocka_unit_test_setup_teardown(test_object_of_a_slot_used_again_is_another, setup, teardown),
		cmocka_unit_test_setup_teardown(test_gap_reads_as_zeros_though_blocks_were_used, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_volume_changes_nothing_and_gives_space_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_more_pieces_than_a_slot_holds_return_efbig, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_files_that_grow_at_once_stay_in_few_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(test_removed_file_can_be_used_until_it_is_put, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rename_replaces_or_refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_listing_goes_on_where_it_ended, setup, teardown),
		cmocka_unit_test_setup_teardown(test_device_that_fails_a_slot_makes_the_volume_read_only, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(test_flush_that_fails_is_told_and_data_is_not_called_durable, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(test_volume_mounted_read_only_is_not_written, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
