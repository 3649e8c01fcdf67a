/* SPDX-License-Identifier: BSD-3-Clause */
/* What callers see: limits, zeros, names, attributes, times, deleted files, renaming, failing devices, threads. */
#include "core/base/sync.h"
#include "tests/unit/core/fs/fat/fat_fixture.h"

static const struct fat_mkfs_options fat12 = { .type = 12, .sector_bytes = 512 };
static const struct fat_mkfs_options fat16 = { .type = 16, .cluster_bytes = 2048, .sector_bytes = 512 };
static const struct fat_mkfs_options fat32 = { .type = 32, .cluster_bytes = 512, .sector_bytes = 512 };

static void assert_clean(struct volume *v)
{
	must(vol_unmount(v));
	assert_int_equal(vol_check(v, false, true, NULL), 0);
}

static void finish(struct volume *v)
{
	assert_clean(v);
	vol_done(v);
}

static void test_a_full_root_directory_is_full_and_usable_again(void **state)
{
	struct fat_node *n, *other;
	struct volume v;
	char name[16];
	unsigned count = 0;
	int rc = 0;

	(void)state;
	vol_make(&v, 1 * MIB, &fat12);
	vol_mount(&v);
	while (rc == 0) {
		snprintf(name, sizeof(name), "F%u", count);
		rc = fat_create(v.root, name, strlen(name), &n);
		if (rc == 0)
			fat_node_put(n);
		count += rc == 0;
	}
	assert_int_equal(rc, -ENOSPC);
	assert_int_equal(count, 224);
	must(fat_unlink(v.root, "F100", 4));
	other = vol_create(v.root, "again");
	fat_node_put(other);
	assert_int_equal(fat_create(v.root, "more", 4, &n), -ENOSPC);
	finish(&v);
}

static void test_a_full_volume_keeps_what_was_there(void **state)
{
	uint8_t *data = malloc(MIB), *got = malloc(MIB);
	struct fat_node *n, *rest;
	struct volume v;
	int rc = 0;
	uint64_t at = 0;

	(void)state;
	vol_make(&v, 1 * MIB, &fat12);
	vol_mount(&v);
	vol_fill(data, MIB, 3);
	n = vol_create(v.root, "kept");
	must(vol_write(n, data, 300000, 0));
	assert_int_equal(vol_write(n, data, MIB - 1, 300000), -ENOSPC);
	rest = vol_create(v.root, "rest");
	while (rc == 0) {
		rc = vol_write(rest, data, 5000, at);
		at += rc ? 0 : 5000;
	}
	assert_int_equal(rc, -ENOSPC);
	assert_int_equal(vol_read(rest, got, MIB, 0), at);
	assert_int_equal(vol_read(n, got, MIB, 0), 300000);
	assert_memory_equal(got, data, 300000);
	/* What one file gives back, another can have at once. */
	must(fat_truncate(n, 1000));
	must(vol_write(rest, data, 250000, at));
	fat_node_put(n);
	fat_node_put(rest);
	free(data);
	free(got);
	finish(&v);
}

static void assert_zeros(struct fat_node *n, uint64_t from, uint64_t to)
{
	uint8_t *got = malloc(to - from);

	assert_int_equal(vol_read(n, got, to - from, from), to - from);
	for (uint64_t i = 0; i < to - from; i++) {
		if (got[i])
			fail_msg("byte %llu is not zero", (unsigned long long)(from + i));
	}
	free(got);
}

static void test_what_a_file_grows_by_is_zero(void **state)
{
	static const struct fat_mkfs_options *const kinds[] = { &fat16, &fat32 };
	uint8_t *data = malloc(8 * MIB);

	(void)state;
	memset(data, 0xee, 8 * MIB);
	for (unsigned k = 0; k < 2; k++) {
		struct fat_node *n;
		struct volume v;

		vol_make(&v, k ? 40 * MIB : 16 * MIB, kinds[k]);
		vol_mount(&v);
		/* Leave something else than zeros in every cluster that may be used next. */
		n = vol_create(v.root, "old");
		must(vol_write(n, data, 8 * MIB, 0));
		must(fat_flush(n));
		must(fat_unlink(v.root, "old", 3));
		fat_node_put(n);
		must(fat_sync(v.fs));
		must(vol_unmount(&v));
		vol_mount(&v);
		n = vol_create(v.root, "new");
		must(vol_write(n, data, 100, 0));
		must(vol_write(n, data, 10, 70000));
		must(fat_truncate(n, 200123));
		must(fat_truncate(n, 3000));
		must(fat_truncate(n, 9000));
		must(vol_write(n, data, 1, 50000));
		must(fat_flush(n));
		fat_node_put(n);
		must(vol_unmount(&v));
		vol_mount(&v);
		n = vol_find(v.root, "NEW");
		assert_zeros(n, 100, 50000);
		fat_node_put(n);
		finish(&v);
	}
	free(data);
}

static void test_names_are_found_whatever_their_case_and_by_short_name(void **state)
{
	static const char *const ways[] = { "My Long Document.text", "MY LONG DOCUMENT.TEXT", "my long document.text",
		                            "MYLONG~1.TEX", "mylong~1.tex" };
	struct fat_node *n, *found;
	struct volume v;

	(void)state;
	vol_make(&v, 16 * MIB, &fat16);
	vol_mount(&v);
	n = vol_create(v.root, ways[0]);
	for (unsigned i = 0; i < 5; i++) {
		found = vol_find(v.root, ways[i]);
		assert_ptr_equal(found, n);
		fat_node_put(found);
		assert_int_equal(fat_create(v.root, ways[i], strlen(ways[i]), &found), -EEXIST);
	}
	/* A change of case only. */
	must(vol_rename(v.root, ways[0], v.root, ways[1]));
	must(vol_rename(v.root, ways[4], v.root, "short.txt"));
	assert_null(vol_find(v.root, ways[3]));
	fat_node_put(n);
	finish(&v);
}

static void test_attributes_times_and_label_are_kept(void **state)
{
	struct fat_set set = {
		.what = FAT_SET_ATTR | FAT_SET_CTIME | FAT_SET_MTIME | FAT_SET_ATIME,
		.attr = FAT_ATTR_HIDDEN | FAT_ATTR_READ_ONLY | FAT_ATTR_DIR,
		.ctime_ns = UINT64_C(1600000001555000000),
		.mtime_ns = UINT64_C(1600000003000000000),
		.atime_ns = UINT64_C(1600000005000000000),
	};
	struct fat_info info;
	struct fat_node *n;
	struct fat_stat st;
	struct volume v;

	(void)state;
	vol_make(&v, 16 * MIB, &fat16);
	vol_mount(&v);
	n = vol_create(v.root, "f");
	must(fat_setattr(n, &set));
	fat_node_put(n);
	must(fat_set_label(v.fs, "first"));
	must(fat_set_label(v.fs, "My stick"));
	assert_int_equal(fat_set_label(v.fs, "a label too long"), -EINVAL);
	must(vol_unmount(&v));
	vol_mount(&v);
	n = vol_find(v.root, "f");
	fat_stat(n, &st);
	assert_int_equal(st.attr, FAT_ATTR_HIDDEN | FAT_ATTR_READ_ONLY);
	assert_int_equal(st.ctime_ns, UINT64_C(1600000001550000000));
	assert_int_equal(st.mtime_ns, UINT64_C(1600000002000000000));
	assert_int_equal(st.atime_ns, UINT64_C(1599955200000000000));
	fat_get_info(v.fs, &info);
	assert_string_equal(info.label, "MY STICK");
	assert_false(info.was_dirty);
	fat_node_put(n);
	assert_int_equal(fat_setattr(v.root, &set), -EPERM);
	finish(&v);
}

static void test_a_deleted_file_lives_as_long_as_it_is_used(void **state)
{
	struct fat_info before, after;
	struct fat_node *n;
	struct volume v;
	char got[8] = "";

	(void)state;
	vol_make(&v, 16 * MIB, &fat16);
	vol_mount(&v);
	fat_get_info(v.fs, &before);
	n = vol_create(v.root, "f");
	must(vol_write(n, "content", 8, 5000));
	must(fat_sync(v.fs));
	must(fat_unlink(v.root, "f", 1));
	assert_null(vol_find(v.root, "f"));
	must(fat_sync(v.fs));
	must(vol_write(n, "CON", 3, 5000));
	assert_int_equal(vol_read(n, got, 8, 5000), 8);
	assert_string_equal(got, "CONtent");
	fat_node_put(n);
	must(fat_sync(v.fs));
	fat_get_info(v.fs, &after);
	assert_int_equal(before.free_clusters, after.free_clusters);
	finish(&v);
}

static void test_directories_move_but_not_into_themselves(void **state)
{
	struct fat_node *a, *b, *c;
	struct volume v;

	(void)state;
	vol_make(&v, 16 * MIB, &fat16);
	vol_mount(&v);
	a = vol_mkdir(v.root, "a");
	b = vol_mkdir(a, "b");
	c = vol_mkdir(b, "c");
	assert_int_equal(vol_rename(v.root, "a", c, "a"), -EINVAL);
	assert_int_equal(vol_rename(v.root, "a", a, "a"), -EINVAL);
	assert_int_equal(fat_rmdir(v.root, "a", 1), -ENOTEMPTY);
	assert_int_equal(fat_unlink(v.root, "a", 1), -EISDIR);
	must(vol_rename(b, "c", v.root, "a long name for c"));
	must(vol_rename(a, "b", c, "b"));
	assert_int_equal(vol_rename(v.root, "a", v.root, "a long name for c"), -ENOTEMPTY);
	must(vol_rename(v.root, "a", c, "b"));
	must(fat_rmdir(c, "b", 1));
	fat_node_put(a);
	fat_node_put(b);
	fat_node_put(c);
	finish(&v);
}

/* A directory and a file move to other directories; the power goes at each write. */
static void test_moving_survives_power_cuts_at_every_write(void **state)
{
	struct blk_sim_faults faults = { .fail_nth = { -1, -1, -1, -1, -1 }, .fail_from_nth = true, .error = -ENXIO };
	int rc = -1;

	(void)state;
	for (unsigned k = 0; rc; k++) {
		struct fat_check_report r;
		struct fat_node *a, *b, *n;
		struct volume v;

		vol_make(&v, 16 * MIB, &fat16);
		vol_mount(&v);
		a = vol_mkdir(v.root, "a");
		b = vol_mkdir(a, "b with a long name");
		n = vol_create(b, "f");
		must(vol_write(n, "content", 8, 5000));
		must(fat_sync(v.fs));
		faults.fail_nth[BLK_WRITE] = k;
		blk_sim_set_faults(v.dev, &faults);
		rc = vol_rename(a, "b with a long name", v.root, "b");
		if (rc == 0)
			rc = vol_rename(b, "f", a, "another name for f");
		if (rc == 0)
			rc = fat_sync(v.fs);
		blk_sim_unplug(v.dev);
		fat_node_put(a);
		fat_node_put(b);
		fat_node_put(n);
		(void)vol_unmount(&v);
		blk_sim_replug(v.dev);
		blk_sim_set_faults(v.dev, NULL);
		blk_sim_power_cut(v.dev, k % 3 ? UINT64_MAX : k + 17);
		(void)vol_check(&v, true, false, &r);
		assert_int_equal(r.by_kind[FAT_FINDING_CROSS_LINK] + r.by_kind[FAT_FINDING_CHAIN] +
		                         r.by_kind[FAT_FINDING_DOTS] + r.by_kind[FAT_FINDING_LONG_NAME],
		                 0);
		assert_int_equal(vol_check(&v, false, true, NULL), 0);
		vol_done(&v);
	}
}

static void test_a_device_that_vanishes_makes_errors_only(void **state)
{
	uint8_t data[20000];
	struct fat_node *n, *other;
	struct fat_info info;
	struct volume v;

	(void)state;
	memset(data, 7, sizeof(data));
	vol_make(&v, 16 * MIB, &fat16);
	vol_mount(&v);
	n = vol_create(v.root, "f");
	must(vol_write(n, data, sizeof(data), 0));
	must(fat_sync(v.fs));
	must(vol_write(n, data, sizeof(data), sizeof(data)));
	blk_sim_unplug(v.dev);
	assert_int_not_equal(fat_sync(v.fs), 0);
	if (fat_create(v.root, "g", 1, &other) == 0)
		fat_node_put(other);
	blk_sim_replug(v.dev);
	/* Contents that could not be written are still there, and can be now. */
	fat_get_info(v.fs, &info);
	if (!info.read_only)
		must(fat_sync(v.fs));
	fat_node_put(n);
	(void)vol_unmount(&v);
	vol_done(&v);
}

static void test_read_only_means_read_only(void **state)
{
	struct fat_node *n, *other;
	struct volume v;
	uint64_t writes;

	(void)state;
	vol_make(&v, 16 * MIB, &fat16);
	vol_mount(&v);
	n = vol_create(v.root, "f");
	fat_node_put(n);
	must(vol_unmount(&v));
	writes = blk_sim_count(v.dev, BLK_WRITE);
	must(fat_mount(v.dev, &(struct fat_mount_options){ .cache = v.cache, .read_only = true }, &v.fs));
	v.root = fat_root(v.fs);
	n = vol_find(v.root, "f");
	assert_int_equal(vol_write(n, "x", 1, 0), -EROFS);
	assert_int_equal(fat_truncate(n, 1), -EROFS);
	assert_int_equal(fat_create(v.root, "g", 1, &other), -EROFS);
	assert_int_equal(fat_unlink(v.root, "f", 1), -EROFS);
	assert_int_equal(vol_rename(v.root, "f", v.root, "g"), -EROFS);
	assert_int_equal(fat_set_label(v.fs, "x"), -EROFS);
	fat_node_put(n);
	must(vol_unmount(&v));
	assert_int_equal(blk_sim_count(v.dev, BLK_WRITE), writes);
	vol_done(&v);
}

static bool count_item(void *ctx, const struct fat_dir_item *item)
{
	(void)item;
	++*(unsigned *)ctx;
	return true;
}

static void test_a_directory_of_thousands_of_files(void **state)
{
	struct fat_node *dir, *n;
	struct volume v;
	char name[64];
	unsigned count = 0;

	(void)state;
	vol_make(&v, 40 * MIB, &fat32);
	vol_mount(&v);
	dir = vol_mkdir(v.root, "many");
	for (unsigned i = 0; i < 4000; i++) {
		snprintf(name, sizeof(name), "one of very many files %u.text", i);
		n = vol_create(dir, name);
		fat_node_put(n);
	}
	for (unsigned i = 0; i < 4000; i += 3) {
		snprintf(name, sizeof(name), "ONE of very many files %u.text", i);
		must(fat_unlink(dir, name, strlen(name)));
	}
	must(fat_readdir(dir, 0, count_item, &count));
	assert_int_equal(count, 4000 - 1334);
	fat_node_put(dir);
	finish(&v);
}

struct worker {
	struct sync_thread thread;
	struct volume *v;
	struct fat_node *shared;
	unsigned index;
	int rc;
};

static void work(void *arg)
{
	struct worker *w = arg;
	uint8_t data[3000], got[3000];

	for (unsigned i = 0; i < 60 && w->rc == 0; i++) {
		struct fat_node *n;
		struct iovec iov = { .iov_base = got, .iov_len = sizeof(got) };
		char name[32];
		size_t len;

		snprintf(name, sizeof(name), "worker %u file %u", w->index, i % 7);
		w->rc = fat_create(w->v->root, name, strlen(name), &n);
		if (w->rc == -EEXIST)
			w->rc = fat_lookup(w->v->root, name, strlen(name), &n);
		if (w->rc)
			return;
		memset(data, (int)i, sizeof(data));
		w->rc = vol_write(n, data, sizeof(data), i * 500);
		if (w->rc == 0)
			w->rc = fat_read(n, &iov, 1, i * 500, 0, &len);
		if (w->rc == 0 && (len != sizeof(data) || memcmp(data, got, len) != 0))
			w->rc = -EILSEQ;
		if (w->rc == 0 && i % 5 == 0)
			w->rc = fat_truncate(n, 700);
		if (w->rc == 0)
			w->rc = vol_write(w->shared, data, 100, (w->index * 60 + i) * 100);
		if (w->rc == 0 && i % 11 == 0)
			w->rc = fat_flush(n);
		if (w->rc == 0 && i % 7 == 6)
			w->rc = fat_unlink(w->v->root, name, strlen(name));
		fat_node_put(n);
	}
	blk_thread_done();
}

static void test_threads_work_beside_each_other(void **state)
{
	struct fat_mount_options options = { .sync_interval_ms = 1 };
	struct worker workers[4];
	struct volume v;

	(void)state;
	vol_make(&v, 16 * MIB, &fat16);
	options.cache = v.cache;
	options.budget = v.budget;
	must(fat_mount(v.dev, &options, &v.fs));
	v.root = fat_root(v.fs);
	for (unsigned i = 0; i < 4; i++) {
		workers[i] = (struct worker){ .v = &v, .index = i };
		workers[i].shared = i ? vol_find(v.root, "shared") : vol_create(v.root, "shared");
	}
	for (unsigned i = 0; i < 4; i++)
		must(sync_thread_start(&workers[i].thread, "worker", work, &workers[i]));
	for (unsigned i = 0; i < 4; i++) {
		sync_thread_join(&workers[i].thread);
		assert_int_equal(workers[i].rc, 0);
		fat_node_put(workers[i].shared);
	}
	finish(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_full_root_directory_is_full_and_usable_again),
		cmocka_unit_test(test_a_full_volume_keeps_what_was_there),
		cmocka_unit_test(test_what_a_file_grows_by_is_zero),
		cmocka_unit_test(test_names_are_found_whatever_their_case_and_by_short_name),
		cmocka_unit_test(test_attributes_times_and_label_are_kept),
		cmocka_unit_test(test_a_deleted_file_lives_as_long_as_it_is_used),
		cmocka_unit_test(test_directories_move_but_not_into_themselves),
		cmocka_unit_test(test_moving_survives_power_cuts_at_every_write),
		cmocka_unit_test(test_a_device_that_vanishes_makes_errors_only),
		cmocka_unit_test(test_read_only_means_read_only),
		cmocka_unit_test(test_a_directory_of_thousands_of_files),
		cmocka_unit_test(test_threads_work_beside_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
