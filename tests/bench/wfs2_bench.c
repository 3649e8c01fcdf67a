/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * WFS v2 in a file: a large file sequentially, beside plain calls of the system by turns. The folder is the first
 * argument, /dev/shm unless given.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/budget.h"
#include "core/base/sync.h"
#include "core/blk/blk.h"
#include "core/cache/cache.h"
#include "core/fs/wfs2/mkfs.h"
#include "core/fs/wfs2/wfs2.h"

#define GIB ((uint64_t)1 << 30)
#define GB 1.073741824
#define IMAGE_BYTES (2 * GIB)
#define IO_BYTES ((size_t)1 << 20)
#define BUDGET_BYTES ((size_t)512 << 20)
#define ROUNDS 5u

/* In one run the other work of the machine comes and goes: the best of all rounds is told, and the worst. */
struct speed {
	double best, worst;
};

static struct budget *budget;
static struct cache *cache;
static uint8_t *buf;

static void die(const char *what)
{
	fprintf(stderr, "wfs2_bench: %s\n", what);
	exit(1);
}

static double speed_since(uint64_t start)
{
	return GB / ((double)(sync_now_ns() - start) / 1e9);
}

static void note(struct speed *s, double value)
{
	s->best = value > s->best ? value : s->best;
	s->worst = s->worst == 0 || value < s->worst ? value : s->worst;
}

static struct wfs2_fs *mount(struct blk_dev *dev)
{
	struct wfs2_mount_options options = { .cache = cache };
	struct wfs2_fs *fs;

	if (wfs2_mount(dev, &options, &fs))
		die("mount");
	return fs;
}

static void move_all(struct wfs2_node *n, bool writing)
{
	struct iovec iov = { .iov_base = buf, .iov_len = IO_BYTES };

	for (uint64_t at = 0; at < GIB; at += IO_BYTES) {
		size_t got;

		if (writing ? wfs2_write(n, &iov, 1, at, 0) : wfs2_read(n, &iov, 1, at, 0, &got))
			die("transfer");
	}
}

/* Writing ends with a flush; reading starts with nothing cached. */
static void ours(const char *path, struct speed *writes, struct speed *reads)
{
	struct wfs2_mkfs_options options = { 0 };
	struct blk_dev *dev;
	struct wfs2_fs *fs;
	struct wfs2_node *n;
	uint64_t start;

	unlink(path);
	if (blk_create_file(path, IMAGE_BYTES, 0) || blk_open(path, 0, &dev) || wfs2_mkfs(dev, &options))
		die("cannot make the image");
	fs = mount(dev);
	if (wfs2_create(fs, "large", 5, &n))
		die("create");
	start = sync_now_ns();
	move_all(n, true);
	if (wfs2_flush(n))
		die("flush");
	note(writes, speed_since(start));
	wfs2_put(n);
	if (wfs2_unmount(fs))
		die("unmount");
	fs = mount(dev);
	if (wfs2_lookup(fs, "large", 5, &n))
		die("look-up");
	start = sync_now_ns();
	move_all(n, false);
	note(reads, speed_since(start));
	wfs2_put(n);
	if (wfs2_unmount(fs))
		die("unmount");
	blk_close(dev);
}

/* What no program that writes can pass: the copies into a file, from a buffer that stays in the processor's cache. */
static void plain(const char *path, struct speed *writes)
{
	uint64_t start;
	int fd;

	unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		die("open");
	start = sync_now_ns();
	for (uint64_t at = 0; at < GIB; at += IO_BYTES) {
		if (pwrite(fd, buf, IO_BYTES, (off_t)at) != (ssize_t)IO_BYTES)
			die("write");
	}
	note(writes, speed_since(start));
	close(fd);
}

static void tell(const char *what, const struct speed *s)
{
	printf("%-40s %6.2f GB/s (worst %.2f)\n", what, s->best, s->worst);
}

int main(int argc, char **argv)
{
	struct cache_config config = {
		.dirty_max_bytes = BUDGET_BYTES / 4,
		.dirty_background_bytes = BUDGET_BYTES / 8,
		.writeback_age_ms = 60000,
		.writeback_threads = 2,
		.readahead_max_bytes = 1 << 20,
	};
	struct speed writes = { 0 }, reads = { 0 }, copies = { 0 };
	char path[256];

	snprintf(path, sizeof(path), "%s/wfs2_bench.img", argc > 1 ? argv[1] : "/dev/shm");
	budget = budget_new(BUDGET_BYTES);
	config.budget = budget;
	buf = aligned_alloc(4096, IO_BYTES);
	if (!budget || !buf || cache_new(&config, &cache))
		die("no memory");
	memset(buf, 'x', IO_BYTES);
	for (unsigned round = 0; round < ROUNDS; round++) {
		plain(path, &copies);
		ours(path, &writes, &reads);
	}
	tell("write 1 GiB and flush", &writes);
	tell("write 1 GiB, plain calls of the system", &copies);
	tell("read 1 GiB, nothing cached", &reads);
	unlink(path);
	cache_free(cache);
	budget_free(budget);
	free(buf);
	return 0;
}
