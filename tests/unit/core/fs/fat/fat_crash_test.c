/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Power cuts at any write, with any part of what was not flushed lost: at worst clusters are lost, files that nobody
 * touched since the last sync are whole, and a repair leaves a clean volume. fsck.fat, where it is installed, agrees.
 */
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/core/fs/fat/fat_model.h"
#include "tests/unit/slow.h"

#define SEEDS 150u
#define JUDGED_EVERY 15u

static const struct {
	uint64_t size;
	struct fat_mkfs_options mkfs;
} shapes[] = {
	{ 16 * MIB, { .type = 16, .cluster_bytes = 2048, .sector_bytes = 512 } },
	{ 40 * MIB, { .type = 32, .cluster_bytes = 512, .sector_bytes = 512 } },
	{ 8 * MIB, { .type = 12, .cluster_bytes = 4096, .sector_bytes = 4096 } },
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static bool is_harmless(enum fat_finding_kind kind)
{
	return kind == FAT_FINDING_LOST || kind == FAT_FINDING_EXCESS || kind == FAT_FINDING_DIRTY ||
	       kind == FAT_FINDING_FSINFO || kind == FAT_FINDING_COPIES || kind == FAT_FINDING_BEHIND_END;
}

static void assert_harmless(struct volume *v)
{
	struct fat_check_report report;

	(void)vol_check(v, false, false, &report);
	for (unsigned kind = 0; kind < FAT_FINDING_COUNT; kind++) {
		if (!report.by_kind[kind] || is_harmless((enum fat_finding_kind)kind))
			continue;
		(void)vol_check(v, false, true, NULL);
		fail_msg("a power cut left: %s", fat_finding_name((enum fat_finding_kind)kind));
	}
}

static void save_image(struct volume *v, const char *path)
{
	uint64_t size = blk_caps(v->dev)->size_bytes;
	uint8_t *bytes = malloc(size);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_non_null(bytes);
	blk_sim_peek(v->dev, 0, bytes, size);
	assert_int_equal(fwrite(bytes, 1, size, f), size);
	assert_int_equal(fclose(f), 0);
	free(bytes);
}

/* What fsck.fat says that is not about lost clusters and the like. */
static void judge(struct volume *v, bool must_be_clean)
{
	char path[] = "/tmp/wfsd-fat-XXXXXX", command[128];
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	close(fd);
	save_image(v, path);
	snprintf(command, sizeof(command), "/usr/sbin/fsck.fat -n %s >%s.out 2>&1", path, path);
	if (must_be_clean && system(command) != 0) {
		snprintf(command, sizeof(command), "cat %s.out", path);
		(void)!system(command);
		fail_msg("fsck.fat finds faults after the repair");
	} else if (!must_be_clean) {
		(void)!system(command);
		snprintf(command, sizeof(command), "grep -E 'shares|bad cluster|free cluster|Orphan|Bad' %s.out", path);
		if (system(command) == 0)
			fail_msg("fsck.fat finds more than lost clusters");
	}
	unlink(path);
	snprintf(command, sizeof(command), "%s.out", path);
	unlink(command);
}

static void verify_untouched(struct model *m)
{
	vol_mount(m->v);
	model_open_dirs(m, false);
	for (unsigned i = 0; i < MODEL_FILES; i++) {
		if (m->files[i].exists && !m->files[i].touched)
			model_verify_file(m, &m->files[i]);
	}
	model_close_dirs(m);
	must(vol_unmount(m->v));
}

static void assert_writable(struct volume *v)
{
	struct fat_info info;

	fat_get_info(v->fs, &info);
	assert_string_equal(info.reason, "");
	assert_false(info.read_only);
}

/* Whoever goes on without a check gets all clusters that are free, and nothing that he has is in two files then. */
static void fill_and_mount_again(struct volume *v)
{
	static uint8_t data[MIB];
	struct fat_node *n;
	size_t len = sizeof(data);
	uint64_t at = 0;

	vol_mount(v);
	if (fat_create(v->root, "all that is free", 16, &n) == 0) {
		for (; len >= 512; len /= 2) {
			while (vol_write(n, data, len, at) == 0)
				at += len;
		}
		fat_node_put(n);
	}
	assert_writable(v);
	must(vol_unmount(v));
	vol_mount(v);
	n = vol_find(v->root, "all that is free");
	fat_node_put(n);
	assert_writable(v);
	must(vol_unmount(v));
}

static void crash(unsigned shape, uint64_t seed)
{
	struct blk_sim_faults faults = { .fail_nth = { -1, -1, -1, -1, -1 }, .fail_from_nth = true, .error = -ENXIO };
	bool judged = seed % JUDGED_EVERY == 0 && access("/usr/sbin/fsck.fat", X_OK) == 0;
	struct volume v;
	struct model m;
	int rc = 0;

	vol_make(&v, shapes[shape].size, &shapes[shape].mkfs);
	vol_mount(&v);
	model_init(&m, &v, seed);
	for (unsigned i = 0; i < 60; i++)
		must(model_step(&m));
	must(model_sync(&m));
	faults.fail_nth[seed % 4 == 0 ? BLK_FLUSH : BLK_WRITE] = model_pick(&m, 80);
	blk_sim_set_faults(v.dev, &faults);
	for (unsigned i = 0; rc == 0 && i < 200; i++)
		rc = model_step(&m);
	blk_sim_unplug(v.dev);
	model_close_dirs(&m);
	(void)vol_unmount(&v);
	blk_sim_replug(v.dev);
	blk_sim_set_faults(v.dev, NULL);
	blk_sim_power_cut(v.dev, seed % 7 == 0 ? 0 : seed * 31 + 1);
	assert_harmless(&v);
	if (judged)
		judge(&v, false);
	verify_untouched(&m);
	if (seed % 3 == 2) {
		fill_and_mount_again(&v);
		assert_harmless(&v);
		verify_untouched(&m);
	}
	(void)vol_check(&v, true, false, NULL);
	assert_int_equal(vol_check(&v, false, true, NULL), 0);
	if (judged)
		judge(&v, true);
	verify_untouched(&m);
	model_done(&m);
	vol_done(&v);
}

static void test_a_power_cut_loses_clusters_at_worst(void **state)
{
	(void)state;
	for (unsigned shape = 0; shape < SHAPES; shape++) {
		for (uint64_t seed = 1; seed <= SEEDS; seed += test_slow()) {
			print_message("shape %u, seed %llu\n", shape, (unsigned long long)seed);
			crash(shape, seed);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_power_cut_loses_clusters_at_worst),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
