/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * FAT32 in a file: a large file sequentially, many small ones, and random reads of a file in many pieces. Beside it, in
 * the same run and by turns, mtools does the same to a file of its own, and plain calls of the system write the same
 * amount. The folder is the first argument, /dev/shm unless given.
 */
#include "tests/bench/image_bench.h"

#include <stdarg.h>

#include "core/fs/fat/fat.h"
#include "core/fs/fat/mkfs.h"

#define FILES 10000u
#define MTOOLS_FILES 1000u /* its time grows with the square */
#define SMALL_BYTES 1000u
#define RANDOM_READS 100000u
#define PIECE_BYTES ((size_t)32 << 10)

static struct image_bench env;

/* @again: over an image that is there, whose pages the file system below has already. */
static struct blk_dev *make(const char *path, bool again)
{
	struct fat_mkfs_options options = { .type = 32 };
	struct blk_dev *dev = NULL;

	if (!again) {
		unlink(path);
		if (blk_create_file(path, IMAGE_BYTES, 0))
			die("cannot make the image");
	}
	if (blk_open(path, 0, &dev))
		die("cannot open the image");
	if (fat_mkfs(dev, &options))
		die("mkfs");
	return dev;
}

static struct fat_fs *mount(struct blk_dev *dev)
{
	struct fat_mount_options options = { .cache = env.cache, .budget = env.budget };
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
	struct iovec iov = { .iov_base = env.buf, .iov_len = IO_BYTES };

	for (uint64_t at = 0; at < GIB; at += IO_BYTES) {
		size_t got;

		if (writing ? fat_write(n, &iov, 1, at, 0) : fat_read(n, &iov, 1, at, 0, &got))
			die("transfer");
	}
}

/* Writing ends with a flush; reading starts with nothing cached. */
static void ours(const char *path, bool again, struct speed *writes, struct speed *reads)
{
	struct blk_dev *dev = make(path, again);
	struct fat_fs *fs = mount(dev);
	struct fat_node *root = fat_root(fs), *n = open_file(root, "large", true);
	uint64_t start = sync_now_ns();

	move_all(n, true);
	if (fat_flush(n))
		die("flush");
	note(writes, GB / seconds_since(start));
	fat_node_put(n);
	fat_node_put(root);
	if (fat_unmount(fs))
		die("unmount");
	fs = mount(dev);
	root = fat_root(fs);
	n = open_file(root, "large", false);
	start = sync_now_ns();
	move_all(n, false);
	note(reads, GB / seconds_since(start));
	fat_node_put(n);
	fat_node_put(root);
	if (fat_unmount(fs))
		die("unmount");
	blk_close(dev);
}

/* Seconds that a shell command takes. */
__attribute__((format(printf, 1, 2))) static double shell(const char *format, ...)
{
	char command[1024];
	uint64_t start;
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	start = sync_now_ns();
	if (system(command) != 0)
		die(command);
	return seconds_since(start);
}

static void theirs(const char *folder, const char *path, bool again, struct speed *writes, struct speed *reads)
{
	blk_close(make(path, again));
	note(writes, GB / shell("MTOOLS_SKIP_CHECK=1 mcopy -i %s %s/fat_bench.in ::large", path, folder));
	(void)shell("rm -f %s/fat_bench.out", folder);
	note(reads, GB / shell("MTOOLS_SKIP_CHECK=1 mcopy -i %s ::large %s/fat_bench.out", path, folder));
	(void)shell("rm %s/fat_bench.out", folder);
}

static void sequential(const char *folder, const char *path, bool with_mtools)
{
	for (unsigned again = 0; again < 2; again++) {
		struct speed w = { 0 }, r = { 0 }, mw = { 0 }, mr = { 0 }, pw = { 0 };

		for (unsigned round = 0; round < ROUNDS; round++) {
			plain(&env, path, again, &pw);
			ours(path, again, &w, &r);
			if (with_mtools)
				theirs(folder, path, again, &mw, &mr);
		}
		printf("1 GiB, %s:\n", again ? "over an image that was written before" : "into a fresh sparse image");
		tell("  write and flush, wfsd", &w, "GB/s");
		tell("  write, mcopy", &mw, "GB/s");
		tell("  write, plain calls of the system", &pw, "GB/s");
		tell("  read, wfsd", &r, "GB/s");
		tell("  read, mcopy", &mr, "GB/s");
	}
}

static void create_files(struct fat_fs *fs)
{
	struct iovec iov = { .iov_base = env.buf, .iov_len = SMALL_BYTES };
	struct fat_node *root = fat_root(fs);
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
	fat_node_put(root);
}

/* In an order that is not that of the directory. */
static void look_up_files(struct fat_fs *fs)
{
	struct fat_node *root = fat_root(fs);
	char name[64];

	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "A SMALL FILE, number %u", i * 7919u % FILES);
		fat_node_put(open_file(root, name, false));
	}
	fat_node_put(root);
}

static void small_files(const char *path)
{
	struct speed creates = { 0 }, lookups = { 0 };
	struct blk_dev *dev;
	struct fat_fs *fs;

	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t start;

		dev = make(path, true);
		fs = mount(dev);
		start = sync_now_ns();
		create_files(fs);
		note(&creates, FILES / seconds_since(start));
		if (fat_unmount(fs))
			die("unmount");
		fs = mount(dev);
		start = sync_now_ns();
		look_up_files(fs);
		note(&lookups, FILES / seconds_since(start));
		if (fat_unmount(fs))
			die("unmount");
		blk_close(dev);
	}
	printf("%u small files in one directory:\n", FILES);
	tell("  create and sync, wfsd", &creates, "files/s");
	tell("  look up after a mount, wfsd", &lookups, "files/s");
}

/* The image has the files from above. */
static void mtools_small_files(const char *folder, const char *path)
{
	double t = shell(
	        "seq -f '::a small file, number %%.0f' 0 %u | MTOOLS_SKIP_CHECK=1 xargs -d '\\n' -n %u mattrib -i %s "
	        ">/dev/null",
	        MTOOLS_FILES - 1, MTOOLS_FILES, path);

	printf("  %-42s %9.2f files/s\n", "look up 1000 of them, mattrib", MTOOLS_FILES / t);
	blk_close(make(path, true));
	(void)shell("mkdir %s/fat_bench.d && cd %s/fat_bench.d && head -c %u /dev/zero | split -a 4 -b %u - "
	            "'a small file, number '",
	            folder, folder, MTOOLS_FILES * SMALL_BYTES, SMALL_BYTES);
	t = shell("MTOOLS_SKIP_CHECK=1 mcopy -s -i %s %s/fat_bench.d/* ::", path, folder);
	printf("  %-42s %9.2f files/s\n", "create 1000 instead, mcopy", MTOOLS_FILES / t);
	(void)shell("rm -r %s/fat_bench.d", folder);
}

/* Two files that grow by turns, each made durable before the other goes on, have no piece that is long. */
static void random_reads(const char *path)
{
	struct blk_dev *dev = make(path, true);
	struct fat_fs *fs = mount(dev);
	struct fat_node *root = fat_root(fs), *n = open_file(root, "in pieces", true);
	struct fat_node *other = open_file(root, "between", true);
	struct iovec iov = { .iov_base = env.buf, .iov_len = PIECE_BYTES };
	uint64_t start, seed = 1;
	size_t got;

	for (uint64_t at = 0; at < GIB / 2; at += PIECE_BYTES) {
		if (fat_write(n, &iov, 1, at, 0) || fat_write(other, &iov, 1, at, 0))
			die("write");
	}
	fat_node_put(other);
	fat_node_put(n);
	fat_node_put(root);
	if (fat_unmount(fs))
		die("unmount");
	fs = mount(dev);
	root = fat_root(fs);
	n = open_file(root, "in pieces", false);
	iov.iov_len = 4096;
	start = sync_now_ns();
	for (unsigned i = 0; i < RANDOM_READS; i++) {
		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
		if (fat_read(n, &iov, 1, (seed >> 33) % (GIB / 2 / 4096) * 4096, 0, &got))
			die("read");
	}
	printf("random reads of 4 KiB %31.0f/s\n", RANDOM_READS / seconds_since(start));
	fat_node_put(n);
	fat_node_put(root);
	if (fat_unmount(fs))
		die("unmount");
	blk_close(dev);
}

int main(int argc, char **argv)
{
	const char *folder = argc > 1 ? argv[1] : "/dev/shm";
	bool with_mtools = system("command -v mcopy >/dev/null") == 0;
	char path[256];

	snprintf(path, sizeof(path), "%s/fat_bench.img", folder);
	image_bench_init(&env);
	(void)shell("head -c 1073741824 /dev/zero | tr '\\0' x >%s/fat_bench.in", folder);
	sequential(folder, path, with_mtools);
	(void)shell("rm %s/fat_bench.in", folder);
	small_files(path);
	if (with_mtools)
		mtools_small_files(folder, path);
	random_reads(path);
	unlink(path);
	image_bench_done(&env);
	return 0;
}
