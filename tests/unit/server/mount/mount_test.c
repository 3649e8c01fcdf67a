/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of mounts, with FAT on files of the host and on files of other mounts. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/budget.h"
#include "core/base/sync.h"
#include "core/blk/blk.h"
#include "core/cache/cache.h"
#include "core/fs/fat/mkfs.h"
#include "core/vfs/vfs_tree.h"
#include "server/mount/mount.h"
#include "tests/unit/core/blk/scratch.h"

#define MIB (UINT64_C(1) << 20)

struct env {
	struct vfs *vfs;
	struct budget *budget;
	struct cache *cache;
	struct mount_table *t;
};

static void setup(struct env *e)
{
	struct cache_config cache = {
		.min_bytes = 4 * MIB,
		.dirty_max_bytes = 4 * MIB,
		.dirty_background_bytes = 2 * MIB,
		.writeback_age_ms = 1000,
		.writeback_threads = 1,
	};
	struct mount_config config;

	e->vfs = vfs_new();
	e->budget = budget_new(16 * MIB);
	cache.budget = e->budget;
	assert_int_equal(cache_new(&cache, &e->cache), 0);
	config = (struct mount_config){ .vfs = e->vfs, .cache = e->cache, .budget = e->budget };
	e->t = mount_table_new(&config);
	assert_non_null(e->t);
}

static void finish(struct env *e)
{
	assert_int_equal(mount_table_stop(e->t), 0);
	mount_table_free(e->t);
	cache_free(e->cache);
	budget_free(e->budget);
	vfs_free(e->vfs);
	blk_thread_done();
}

static const char *make_image(const char *name, uint64_t size_bytes)
{
	static const struct fat_mkfs_options options = { .sector_bytes = 512 };
	char cwd[512];
	static char paths[4][1024];
	static unsigned next;
	char *path = paths[next++ % 4];
	struct blk_dev *dev;

	assert_non_null(getcwd(cwd, sizeof(cwd)));
	snprintf(path, sizeof(paths[0]), "%s/%s", scratch_dir[0] == '/' ? "" : cwd, scratch_path(name));
	assert_int_equal(blk_create_file(path, size_bytes, 0), 0);
	assert_int_equal(blk_open(path, 0, &dev), 0);
	assert_int_equal(fat_mkfs(dev, &options), 0);
	blk_close(dev);
	return path;
}

static int add(struct env *e, const char *source, const char *path)
{
	struct mount_spec spec = { .kind = "fat", .umask = MOUNT_UMASK_DEFAULT };

	snprintf(spec.source, sizeof(spec.source), "%s", source);
	snprintf(spec.path, sizeof(spec.path), "%s", path);
	return mount_add(e->t, &spec);
}

static struct vfs_handle *create(struct env *e, const char *dir, const char *name, enum vfs_type type)
{
	struct vfs_new attr = { .type = type, .mode = 0755 };
	struct vfs_handle *d, *h = NULL;

	assert_int_equal(vfs_walk(e->vfs, &vfs_cred_root, NULL, NULL, dir, 0, &d), 0);
	assert_int_equal(vfs_create(d, &vfs_cred_root, name, strlen(name), &attr,
	                            type == VFS_TYPE_FILE ? VFS_ACCESS_READ | VFS_ACCESS_WRITE : 0, &h, NULL),
	                 0);
	vfs_close(d);
	return h;
}

/* A FAT image in a file of the namespace. */
static void make_inner(struct env *e, const char *dir, const char *name, uint64_t size_bytes)
{
	const char *image = make_image("inner.img", size_bytes);
	struct vfs_handle *h = create(e, dir, name, VFS_TYPE_FILE);
	uint8_t *buf = malloc(MIB);
	FILE *in = fopen(image, "r");
	uint64_t at = 0;
	size_t n;

	assert_non_null(buf);
	assert_non_null(in);
	while ((n = fread(buf, 1, MIB, in)) > 0) {
		struct iovec iov = { .iov_base = buf, .iov_len = n };

		assert_int_equal(vfs_write(h, &iov, 1, at, 0), 0);
		at += n;
	}
	fclose(in);
	free(buf);
	vfs_close(h);
	assert_int_equal(unlink(image), 0);
}

struct seen {
	unsigned count;
	unsigned leaving;
	char paths[8][64];
};

static void see(void *ctx, const struct mount_info *info)
{
	struct seen *s = ctx;

	snprintf(s->paths[s->count++], sizeof(s->paths[0]), "%.63s", info->spec.path);
	s->leaving += info->leaving;
}

static void see_removed(void *ctx, const char *path)
{
	struct seen *s = ctx;

	snprintf(s->paths[s->count++], sizeof(s->paths[0]), "%.63s", path);
}

static unsigned count_mounts(struct env *e)
{
	struct seen s = { 0 };

	mount_each(e->t, see, &s);
	return s.count;
}

static void test_source_can_be_used_again_after_removal(void **state)
{
	const char *image = make_image("a.img", 4 * MIB);
	struct mount_removal removal;
	struct env e;

	(void)state;
	setup(&e);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(add(&e, image, "/a"), 0);
		assert_int_equal(add(&e, image, "/b"), -EBUSY);
		assert_int_equal(count_mounts(&e), 1);
		assert_int_equal(mount_remove(e.t, "/a", i == 2, NULL, NULL, &removal), 0);
		assert_false(removal.leaving);
		assert_int_equal(removal.error, 0);
		assert_int_equal(count_mounts(&e), 0);
		assert_int_equal(mount_remove(e.t, "/a", false, NULL, NULL, &removal), -ENOENT);
	}
	finish(&e);
}

static void test_failed_mount_leaves_nothing_open(void **state)
{
	const char *image = make_image("b.img", 4 * MIB);
	struct mount_spec spec = { .kind = "none", .source = "/b", .path = "/b" };
	struct blk_dev *dev;
	struct env e;

	(void)state;
	setup(&e);
	assert_int_equal(mount_add(e.t, &spec), -EINVAL);
	assert_int_equal(add(&e, "b.img", "/b"), -EINVAL);
	assert_int_equal(add(&e, "wfs:/none", "/b"), -ENOENT);
	assert_int_equal(add(&e, "host:/none/at/all", "/b"), -ENOENT);
	assert_int_equal(add(&e, "/none/at/all", "/b"), -ENOENT);
	assert_int_equal(add(&e, image, "b"), -EINVAL);
	assert_int_equal(add(&e, image, "/none/b"), -ENOENT);
	assert_int_equal(add(&e, image, "/b/c"), -ENOENT);
	assert_int_equal(add(&e, image, "/"), -EINVAL);
	assert_int_equal(count_mounts(&e), 0);
	assert_int_equal(blk_open(image, 0, &dev), 0);
	blk_close(dev);
	finish(&e);
}

static void test_forced_removal_lets_the_source_go_with_the_last_handle(void **state)
{
	const char *image = make_image("c.img", 4 * MIB);
	struct mount_removal removal;
	struct vfs_handle *h;
	struct vfs_stat st;
	struct seen s = { 0 };
	struct env e;

	(void)state;
	setup(&e);
	assert_int_equal(add(&e, image, "/c"), 0);
	h = create(&e, "/c", "file", VFS_TYPE_FILE);
	assert_int_equal(mount_remove(e.t, "/c", false, NULL, NULL, &removal), -EBUSY);
	assert_int_equal(mount_remove(e.t, "/c", true, NULL, NULL, &removal), 0);
	assert_true(removal.leaving);
	assert_int_equal(vfs_stat(h, &st), -ESTALE);
	mount_each(e.t, see, &s);
	assert_int_equal(s.count, 1);
	assert_int_equal(s.leaving, 1);
	assert_false(mount_find_user(e.t, "/", NULL));
	assert_int_equal(add(&e, image, "/c"), -EBUSY);
	vfs_close(h);
	/* A thread of its own closes it. */
	while (count_mounts(&e))
		sync_sleep_ns(SYNC_NS_PER_MS);
	assert_int_equal(add(&e, image, "/c"), 0);
	assert_int_equal(vfs_open(e.vfs, "/c/file", false, &h), 0);
	vfs_close(h);
	finish(&e);
}

static void test_what_stands_on_a_mount_keeps_it_or_goes_first(void **state)
{
	const char *image = make_image("d.img", 4 * MIB);
	struct mount_removal removal;
	char path[VFS_PATH_MAX];
	struct seen s = { 0 };
	struct env e;

	(void)state;
	setup(&e);
	assert_int_equal(add(&e, image, "/d"), 0);
	vfs_close(create(&e, "/d", "dir", VFS_TYPE_DIR));
	make_inner(&e, "/d/dir", "inner.img", 2 * MIB);
	assert_int_equal(add(&e, "wfs:/d/dir/inner.img", "/d/dir"), -ELOOP);
	assert_int_equal(add(&e, "wfs:/d/dir/inner.img", "/in"), 0);
	assert_true(mount_find_user(e.t, "/d", path));
	assert_string_equal(path, "/in");
	assert_true(mount_find_user(e.t, "/d/dir/inner.img", NULL));
	assert_false(mount_find_user(e.t, "/d/di", NULL));
	assert_true(mount_find_source(e.t, "/d/dir/inner.img", path));
	assert_false(mount_find_source(e.t, "/d/dir", NULL));
	assert_int_equal(mount_remove(e.t, "/d", false, NULL, NULL, &removal), -EBUSY);
	assert_int_equal(mount_remove(e.t, "/d", true, see_removed, &s, &removal), 0);
	assert_int_equal(s.count, 1);
	assert_string_equal(s.paths[0], "/in");
	assert_int_equal(count_mounts(&e), 0);
	finish(&e);
}

static void test_images_in_images_end_somewhere_and_stop_in_order(void **state)
{
	uint64_t size_bytes = 16 * MIB;
	char place[16], source[64];
	struct env e;

	(void)state;
	setup(&e);
	assert_int_equal(add(&e, make_image("e.img", 2 * size_bytes), "/1"), 0);
	for (unsigned depth = 1; depth < 4; depth++) {
		snprintf(place, sizeof(place), "/%u", depth);
		make_inner(&e, place, "next.img", size_bytes);
		snprintf(source, sizeof(source), "wfs:/%u/next.img", depth);
		snprintf(place, sizeof(place), "/%u", depth + 1);
		assert_int_equal(add(&e, source, place), 0);
		size_bytes /= 2;
	}
	make_inner(&e, "/4", "next.img", MIB);
	assert_int_equal(add(&e, "wfs:/4/next.img", "/5"), -ELOOP);
	finish(&e);
}

static void test_directories_and_empty_files_are_no_sources(void **state)
{
	struct env e;

	(void)state;
	setup(&e);
	assert_int_equal(add(&e, make_image("f.img", 4 * MIB), "/f"), 0);
	vfs_close(create(&e, "/f", "empty", VFS_TYPE_FILE));
	assert_int_equal(add(&e, "wfs:/f/empty", "/x"), -EINVAL);
	vfs_close(create(&e, "/f", "dir", VFS_TYPE_DIR));
	assert_int_equal(add(&e, "wfs:/f/dir", "/x"), -EISDIR);
	assert_int_equal(count_mounts(&e), 1);
	finish(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_source_can_be_used_again_after_removal),
		cmocka_unit_test(test_failed_mount_leaves_nothing_open),
		cmocka_unit_test(test_forced_removal_lets_the_source_go_with_the_last_handle),
		cmocka_unit_test(test_what_stands_on_a_mount_keeps_it_or_goes_first),
		cmocka_unit_test(test_images_in_images_end_somewhere_and_stop_in_order),
		cmocka_unit_test(test_directories_and_empty_files_are_no_sources),
	};

	return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
