/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Micro-benchmark of the VFS: what it adds to an operation, over a file system that answers at once. Prints one line
 * per measurement.
 */
#include <stdio.h>

#include "core/base/assert.h"
#include "core/base/sync.h"
#include "core/vfs/vfs_ops.h"

#define ROUNDS 5000000u
#define THREADS_MAX 2u

static void bench_release(struct vfs_node *n)
{
	(void)n;
}

static int bench_stat(struct vfs_node *n, struct vfs_stat *ret)
{
	*ret = (struct vfs_stat){ .type = n->type, .size_bytes = 1 << 20, .mode = 0755, .block_bytes = 4096 };
	return 0;
}

static int bench_io(struct vfs_node *n, const struct iovec *iov, int count, uint64_t offset, unsigned flags)
{
	(void)n, (void)iov, (void)count, (void)offset, (void)flags;
	return 0;
}

/* Every name leads to the directory itself. */
static int bench_lookup(struct vfs_node *dir, const char *name, size_t len, struct vfs_node **ret)
{
	(void)name, (void)len;
	vfs_node_ref(dir);
	*ret = dir;
	return 0;
}

static const struct vfs_node_ops bench_ops = {
	.release = bench_release,
	.stat = bench_stat,
	.read = bench_io,
	.write = bench_io,
	.lookup = bench_lookup,
};

static struct vfs *vfs;
static struct vfs_node file, dir;

static struct vfs_handle *open_file(void)
{
	struct vfs_handle *h;

	always(!vfs_open(vfs, "/file", true, &h));
	return h;
}

static void reads(void *arg)
{
	static char page[4096];
	struct iovec iov = { page, sizeof(page) };
	struct vfs_handle *h = open_file();

	(void)arg;
	for (unsigned i = 0; i < ROUNDS; i++)
		always(!vfs_read(h, &iov, 1, 4096, VFS_NOWAIT));
	vfs_close(h);
}

static void writes(void *arg)
{
	static char page[4096];
	struct iovec iov = { page, sizeof(page) };
	struct vfs_handle *h = open_file();

	(void)arg;
	for (unsigned i = 0; i < ROUNDS; i++)
		always(!vfs_write(h, &iov, 1, 4096, VFS_NOWAIT));
	vfs_close(h);
}

static void walks(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < ROUNDS; i += 10) {
		struct vfs_handle *h;

		always(!vfs_walk(vfs, &vfs_cred_root, NULL, NULL, "/dir/a/b/c", 0, &h));
		vfs_close(h);
	}
}

static void measure(const char *name, void (*fn)(void *arg), unsigned rounds, unsigned thread_count)
{
	struct sync_thread threads[THREADS_MAX];
	uint64_t start = sync_now_ns();

	for (unsigned i = 0; i < thread_count; i++)
		always(!sync_thread_start(&threads[i], "bench", fn, NULL));
	for (unsigned i = 0; i < thread_count; i++)
		sync_thread_join(&threads[i]);
	printf("%-22s %u thread%s %8.1f ns/op\n", name, thread_count, thread_count > 1 ? "s" : " ",
	       (double)(sync_now_ns() - start) / rounds);
}

int main(void)
{
	vfs = vfs_new();
	always(vfs);
	vfs_node_init(&file, &bench_ops, VFS_TYPE_FILE);
	vfs_node_init(&dir, &bench_ops, VFS_TYPE_DIR);
	always(!vfs_mount(vfs, "/file", &file, false) && !vfs_mount(vfs, "/dir", &dir, false));
	for (unsigned n = 1; n <= THREADS_MAX; n++) {
		measure("read, nothing copied", reads, ROUNDS, n);
		measure("write, nothing copied", writes, ROUNDS, n);
		measure("walk of 4 names", walks, ROUNDS / 10, n);
	}
	always(!vfs_unmount(vfs, "/file", false) && !vfs_unmount(vfs, "/dir", false));
	vfs_free(vfs);
	return 0;
}
