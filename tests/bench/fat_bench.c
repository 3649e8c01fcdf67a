/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * FAT32 in a file: a large file sequentially, and many small ones. Beside it mtools does the same to a file of its own.
 * The folder is the first argument, /dev/shm unless given.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/budget.h"
#include "core/base/sync.h"
#include "core/blk/blk.h"
#include "core/cache/cache.h"
#include "core/fs/fat/fat.h"
#include "core/fs/fat/mkfs.h"

#define GIB ((uint64_t)1 << 30)
#define IMAGE_BYTES (2 * GIB)
#define IO_BYTES ((size_t)1 << 20)
#define BUDGET_BYTES ((size_t)512 << 20)
#define FILES 10000u
#define MTOOLS_FILES 1000u /* its time grows with the square */
#define SMALL_BYTES 1000u

static struct budget *budget;
static struct cache *cache;
static uint8_t *buf;

static void die(const char *what)
{
	fprintf(stderr, "fat_bench: %s\n", what);
	exit(1);
}

static double seconds_since(uint64_t start)
{
	return (double)(sync_now_ns() - start) / 1e9;
}

static struct blk_dev *make(const char *path, bool mkfs)
{
	struct fat_mkfs_options options = { .type = 32 };
	struct blk_dev *dev = NULL;

	unlink(path);
	if (blk_create_file(path, IMAGE_BYTES, 0) || blk_open(path, 0, &dev))
		die("cannot make the image");
	if (mkfs && fat_mkfs(dev, &options))
		die("mkfs");
	return dev;
}

static struct fat_fs *mount(struct blk_dev *dev)
{
	struct fat_mount_options options = { .cache = cache, .budget = budget };
	struct fat_fs *fs;

	if (fat_mount(dev, &options, &fs))
		die("mount");
	return fs;
}

static struct fat_node *open_file(struct fat_node *root, const char *name, bool make_it)
{
	struct fat_node *n;
	int rc = make_it ? fat_create(root, name, strlen(name), &n) : fat_lookup(root, name, strlen(name), &n);

	if (rc)
		die(name);
	return n;
}

static void move_all(struct fat_node *n, bool writing)
{
	struct iovec iov = { .iov_base = buf, .iov_len = IO_BYTES };

	for (uint64_t at = 0; at < GIB; at += IO_BYTES) {
		size_t got;

		if (writing ? fat_write(n, &iov, 1, at, 0) : fat_read(n, &iov, 1, at, 0, &got))
			die("transfer");
	}
}

/* Writing ends with a flush; reading starts with nothing cached. */
static void sequential(const char *path)
{
	struct blk_dev *dev = make(path, true);
	struct fat_fs *fs = mount(dev);
	struct fat_node *root = fat_root(fs), *n = open_file(root, "large", true);
	uint64_t start = sync_now_ns();

	move_all(n, true);
	if (fat_flush(n))
		die("flush");
	printf("write 1 GiB      %8.2f GB/s\n", 1.0737 / seconds_since(start));
	fat_node_put(n);
	fat_node_put(root);
	if (fat_unmount(fs))
		die("unmount");
	start = sync_now_ns();
	fs = mount(dev);
	printf("mount            %8.2f ms\n", seconds_since(start) * 1e3);
	root = fat_root(fs);
	n = open_file(root, "large", false);
	start = sync_now_ns();
	move_all(n, false);
	printf("read 1 GiB       %8.2f GB/s\n", 1.0737 / seconds_since(start));
	fat_node_put(n);
	fat_node_put(root);
	if (fat_unmount(fs))
		die("unmount");
	blk_close(dev);
}

static void small_files(const char *path)
{
	struct blk_dev *dev = make(path, true);
	struct fat_fs *fs = mount(dev);
	struct fat_node *root = fat_root(fs);
	struct iovec iov = { .iov_base = buf, .iov_len = SMALL_BYTES };
	uint64_t start = sync_now_ns();
	char name[64];

	for (unsigned i = 0; i < FILES; i++) {
		struct fat_node *n;

		snprintf(name, sizeof(name), "a small file, number %u", i);
		n = open_file(root, name, true);
		if (fat_write(n, &iov, 1, 0, 0))
			die("write");
		fat_node_put(n);
	}
	if (fat_sync(fs))
		die("sync");
	printf("create %u     %8.0f files/s\n", FILES, FILES / seconds_since(start));
	start = sync_now_ns();
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "A SMALL FILE, number %u", i);
		fat_node_put(open_file(root, name, false));
	}
	printf("look up %u    %8.0f files/s\n", FILES, FILES / seconds_since(start));
	fat_node_put(root);
	if (fat_unmount(fs))
		die("unmount");
	blk_close(dev);
}

/* Seconds that a shell command takes; negative when it fails. */
static double shell(const char *format, const char *folder)
{
	char command[512];
	uint64_t start;

	snprintf(command, sizeof(command), format, folder, folder);
	start = sync_now_ns();
	return system(command) == 0 ? seconds_since(start) : -1;
}

static void mtools(const char *folder, const char *path)
{
	double t;

	if (shell("command -v mcopy >/dev/null #%s%s", folder) < 0)
		return;
	blk_close(make(path, true));
	(void)shell("head -c 1073741824 /dev/zero | tr '\\0' x >%s/fat_bench.large", folder);
	t = shell("MTOOLS_SKIP_CHECK=1 mcopy -i %s/fat_bench.img %s/fat_bench.large ::large", folder);
	printf("mcopy 1 GiB in   %8.2f GB/s\n", 1.0737 / t);
	t = shell("MTOOLS_SKIP_CHECK=1 mcopy -n -o -i %s/fat_bench.img ::large %s/fat_bench.large", folder);
	printf("mcopy 1 GiB out  %8.2f GB/s\n", 1.0737 / t);
	blk_close(make(path, true));
	(void)shell("mkdir -p %s/fat_bench.d && cd %s/fat_bench.d && head -c 1000000 /dev/zero | split -a 4 -b 1000 - "
	            "'a small file, number '",
	            folder);
	t = shell("MTOOLS_SKIP_CHECK=1 mcopy -s -i %s/fat_bench.img %s/fat_bench.d/* ::", folder);
	printf("mcopy %u       %8.0f files/s\n", MTOOLS_FILES, MTOOLS_FILES / t);
	(void)shell("rm -r %s/fat_bench.d %s/fat_bench.large", folder);
}

int main(int argc, char **argv)
{
	struct cache_config config = {
		.dirty_max_bytes = BUDGET_BYTES / 2,
		.dirty_background_bytes = BUDGET_BYTES / 16,
		.writeback_age_ms = 60000,
		.writeback_threads = 1,
		.readahead_max_bytes = 1 << 20,
	};
	const char *folder = argc > 1 ? argv[1] : "/dev/shm";
	char path[256];

	snprintf(path, sizeof(path), "%s/fat_bench.img", folder);
	budget = budget_new(BUDGET_BYTES);
	config.budget = budget;
	buf = aligned_alloc(4096, IO_BYTES);
	if (!budget || !buf || cache_new(&config, &cache))
		die("no memory");
	memset(buf, 'x', IO_BYTES);
	sequential(path);
	small_files(path);
	mtools(folder, path);
	unlink(path);
	cache_free(cache);
	budget_free(budget);
	free(buf);
	return 0;
}
