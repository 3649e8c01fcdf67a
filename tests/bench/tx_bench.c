/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Benchmark of transactions on a file tree in the core: each opens a file, reads its size, and rewrites 4 KiB of two
 * files, or makes a file; with 1 and with 8 clients, whose files and directories are their own. On a pool in memory,
 * or, with the name of a file that may be overwritten, on that. Prints one line per measurement: commits per second,
 * and the mean time of the call to commit.
 */
#include "tests/bench/pool_bench.h"

#include "core/vfs/vfs_tx.h"

#define CLIENTS 8u
#define FILES 64u
#define SECONDS 2

struct client {
	struct sync_thread thread;
	struct vfs_handle *dir;
	unsigned number, made;
	bool durable, creates;
	uint64_t count, commit_ns, until_ns;
};

static struct vfs_handle *make(struct vfs_handle *dir, const char *name, enum vfs_type type)
{
	const struct vfs_new attr = { .type = type, .mode = 0755 };
	struct vfs_handle *h;

	check(vfs_create(dir, &vfs_cred_root, name, strlen(name), &attr, 0, &h, NULL), "create");
	return h;
}

static void write_block(struct vfs_handle *h)
{
	static uint8_t data[4096] = { 7 };
	struct iovec iov = { data, sizeof(data) };
	struct vfs_handle *io;

	check(vfs_open_handle(h, &vfs_cred_root, VFS_ACCESS_WRITE, &io), "open");
	check(vfs_write(io, &iov, 1, 0, 0), "write");
	vfs_close(io);
}

static void one(struct client *c)
{
	struct vfs_tx_args args = { .isolation = VFS_TX_SERIALIZABLE };
	struct vfs_handle *dir, *h;
	struct vfs_tx *tx;
	uint64_t start_ns;
	char name[32];

	check(vfs_tx_begin(c->dir, &args, &tx), "begin");
	check(vfs_tx_handle(tx, c->dir, &dir), "enter");
	for (unsigned i = 0; i < 2 && !c->creates; i++) {
		snprintf(name, sizeof(name), "f%u", (unsigned)(c->count * 2 + i) % FILES);
		check(vfs_lookup(dir, &vfs_cred_root, name, strlen(name), &h), "look up");
		write_block(h);
		vfs_close(h);
	}
	if (c->creates) {
		snprintf(name, sizeof(name), "n%u", c->made++);
		vfs_close(make(dir, name, VFS_TYPE_FILE));
	}
	start_ns = sync_now_ns();
	check(vfs_tx_commit(tx, c->durable, NULL), "commit");
	c->commit_ns += sync_now_ns() - start_ns;
	c->count++;
	vfs_close(dir);
	vfs_tx_free(tx);
}

static void client_main(void *arg)
{
	struct client *c = arg;

	while (sync_now_ns() < c->until_ns)
		one(c);
	blk_thread_done();
}

static void measure(struct client *clients, unsigned count, bool durable, bool creates, const char *what)
{
	uint64_t start_ns = sync_now_ns(), commits = 0, commit_ns = 0;

	for (unsigned i = 0; i < count; i++) {
		struct client *c = &clients[i];

		c->durable = durable;
		c->creates = creates;
		c->count = c->commit_ns = 0;
		c->until_ns = start_ns + SECONDS * SYNC_NS_PER_S;
		check(sync_thread_start(&c->thread, "client", client_main, c), "start a thread");
	}
	for (unsigned i = 0; i < count; i++) {
		sync_thread_join(&clients[i].thread);
		commits += clients[i].count;
		commit_ns += clients[i].commit_ns;
	}
	printf("%-44s %8.0f commits per second, %7.1f us each\n", what,
	       (double)commits / ((double)(sync_now_ns() - start_ns) / 1e9), (double)commit_ns / 1e3 / (double)commits);
}

static void run(struct bench_pool *b)
{
	struct client clients[CLIENTS] = { { .number = 0 } };
	struct vfs_handle *top;

	check(b->admin.driver->fs_create(b->admin.ctx, "tank", "fs"), "create a file system");
	check(vfs_walk(b->vfs, &vfs_cred_root, NULL, NULL, "/tank/fs", 0, &top), "find the file system");
	for (unsigned i = 0; i < CLIENTS; i++) {
		char name[8];

		snprintf(name, sizeof(name), "c%u", i);
		clients[i].dir = make(top, name, VFS_TYPE_DIR);
		for (unsigned k = 0; k < FILES; k++) {
			struct vfs_handle *h;

			snprintf(name, sizeof(name), "f%u", k);
			h = make(clients[i].dir, name, VFS_TYPE_FILE);
			write_block(h);
			vfs_close(h);
		}
	}
	measure(clients, 1, false, true, "1 client, make a file");
	measure(clients, 1, false, false, "1 client, 2 x 4 KiB");
	measure(clients, CLIENTS, false, true, "8 clients, make a file");
	measure(clients, CLIENTS, false, false, "8 clients, 2 x 4 KiB");
	measure(clients, 1, true, false, "1 client, 2 x 4 KiB, durable");
	measure(clients, CLIENTS, true, false, "8 clients, 2 x 4 KiB, durable");
	for (unsigned i = 0; i < CLIENTS; i++)
		vfs_close(clients[i].dir);
	vfs_close(top);
}

int main(int argc, char **argv)
{
	struct bench_pool b;

	bench_pool_init(&b, argc > 1 ? argv[1] : NULL, 2048 * MIB, 1024 * MIB, 512 * MIB);
	run(&b);
	bench_pool_done(&b);
	return 0;
}
