/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * WFS v2 in a file: a large file sequentially, beside plain calls of the system by turns. The folder is the first
 * argument, /dev/shm unless given.
 */
#include "tests/bench/image_bench.h"

#include "core/fs/wfs2/mkfs.h"
#include "core/fs/wfs2/wfs2.h"

static struct image_bench env;

static struct wfs2_fs *mount(struct blk_dev *dev)
{
	struct wfs2_mount_options options = { .cache = env.cache };
	struct wfs2_fs *fs;

	if (wfs2_mount(dev, &options, &fs))
		die("mount");
	return fs;
}

static void move_all(struct wfs2_node *n, bool writing)
{
	struct iovec iov = { .iov_base = env.buf, .iov_len = IO_BYTES };

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
	note(writes, GB / seconds_since(start));
	wfs2_put(n);
	if (wfs2_unmount(fs))
		die("unmount");
	fs = mount(dev);
	if (wfs2_lookup(fs, "large", 5, &n))
		die("look-up");
	start = sync_now_ns();
	move_all(n, false);
	note(reads, GB / seconds_since(start));
	wfs2_put(n);
	if (wfs2_unmount(fs))
		die("unmount");
	blk_close(dev);
}

int main(int argc, char **argv)
{
	struct speed writes = { 0 }, reads = { 0 }, copies = { 0 };
	char path[256];

	snprintf(path, sizeof(path), "%s/wfs2_bench.img", argc > 1 ? argv[1] : "/dev/shm");
	image_bench_init(&env);
	for (unsigned round = 0; round < ROUNDS; round++) {
		plain(&env, path, false, &copies);
		ours(path, &writes, &reads);
	}
	tell("write 1 GiB and flush", &writes, "GB/s");
	tell("write 1 GiB, plain calls of the system", &copies, "GB/s");
	tell("read 1 GiB, nothing cached", &reads, "GB/s");
	unlink(path);
	image_bench_done(&env);
	return 0;
}
