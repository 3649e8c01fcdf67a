/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Benchmark of file trees in the core: create, look up, stat and unlink 100,000 files in one directory through the
 * operations of its node, on a pool in memory; with the argument "quotas", all owners have limits; a second argument is
 * a device or file to make the pool on. Prints one line per measurement: operations per second.
 */
#include "tests/bench/pool_bench.h"

#include "core/base/assert.h"

#define FILES 100000u

static void tell(const char *what, uint64_t start_ns, unsigned count)
{
	double seconds = (double)(sync_now_ns() - start_ns) / 1e9;

	printf("%-28s %10.0f per second\n", what, count / seconds);
}

static size_t name_of(unsigned i, char *buf, size_t len)
{
	return (size_t)snprintf(buf, len, "file-%06u", i);
}

static void create_all(struct vfs_node *dir, const char *what)
{
	struct vfs_new attr = { .type = VFS_TYPE_FILE, .mode = 0644 };
	uint64_t start_ns = sync_now_ns();

	for (unsigned i = 0; i < FILES; i++) {
		struct vfs_node *n;
		char name[32];

		check(dir->ops->create(dir, name, name_of(i, name, sizeof(name)), &attr, &n), what);
		vfs_node_unref(n);
	}
	tell(what, start_ns, FILES);
}

static void stat_all(struct vfs_node *dir, const char *what)
{
	uint64_t start_ns = sync_now_ns();

	for (unsigned i = 0; i < FILES; i++) {
		struct vfs_node *n;
		struct vfs_stat st;
		char name[32];

		check(dir->ops->lookup(dir, name, name_of(i, name, sizeof(name)), &n), what);
		check(n->ops->stat(n, &st), what);
		vfs_node_unref(n);
	}
	tell(what, start_ns, FILES);
}

static void write_all(struct vfs_node *dir, const char *what)
{
	static uint8_t data[4096] = { 1 };
	struct iovec iov = { data, sizeof(data) };
	uint64_t start_ns = sync_now_ns();

	for (unsigned i = 0; i < FILES; i++) {
		struct vfs_node *n;
		char name[32];

		check(dir->ops->lookup(dir, name, name_of(i, name, sizeof(name)), &n), what);
		check(n->ops->write(n, &iov, 1, 0, 0), what);
		vfs_node_unref(n);
	}
	tell(what, start_ns, FILES);
}

/* One file that is in memory, over and over. */
static void write_again(struct vfs_node *dir, const char *what)
{
	static uint8_t data[4096] = { 1 };
	struct iovec iov = { .iov_base = data, .iov_len = sizeof(data) };
	struct vfs_node *n;
	uint64_t start_ns;
	char name[32];

	check(dir->ops->lookup(dir, name, name_of(0, name, sizeof(name)), &n), what);
	start_ns = sync_now_ns();
	for (unsigned i = 0; i < FILES; i++)
		check(n->ops->write(n, &iov, 1, 0, 0), what);
	tell(what, start_ns, FILES);
	vfs_node_unref(n);
}

static bool count_entry(void *ctx, const struct vfs_dirent *e)
{
	(void)e;
	++*(unsigned *)ctx;
	return true;
}

static void list_all(struct vfs_node *dir, const char *what)
{
	uint64_t start_ns = sync_now_ns();
	unsigned count = 0;

	check(dir->ops->readdir(dir, 0, count_entry, &count), what);
	always(count == FILES);
	tell(what, start_ns, count);
}

static void unlink_all(struct vfs_node *dir, const char *what)
{
	const struct vfs_taker taker = { 0 };
	uint64_t start_ns = sync_now_ns();

	for (unsigned i = 0; i < FILES; i++) {
		char name[32];

		check(dir->ops->unlink(dir, name, name_of(i, name, sizeof(name)), false, &taker, NULL), what);
	}
	tell(what, start_ns, FILES);
}

/* With limits that are never reached, of everybody whom the files belong to. */
static void limit_all(struct pool_admin *admin, struct vfs_node *top)
{
	struct vfs_set_attr attr = { .valid = VFS_SET_PROJECT, .project = 1 };

	check(top->ops->set_attr(top, &attr), "set a project");
	for (unsigned owner = POOL_QUOTA_DATASET; owner <= POOL_QUOTA_PROJECT; owner++) {
		struct quota_info limits = { .owner = (enum pool_quota_owner)owner,
			                     .id = owner == POOL_QUOTA_PROJECT,
			                     .limit_bytes = UINT64_C(1) << 50,
			                     .limit_objects = UINT64_C(1) << 40 };

		check(admin->driver->quota_set(admin->ctx, "tank", "fs", &limits), "set a quota");
	}
}

static struct vfs_node *top_of(struct wfs3 *w, struct pool **ret)
{
	struct vfs_node *top;

	check(pool_get(w, "tank", ret), "find the pool");
	check((*ret)->dir.ops->lookup(&(*ret)->dir, "fs", 2, &top), "find the file system");
	pool_put(*ret);
	return top;
}

static void run(struct pool_admin *admin, struct wfs3 *w, bool limited)
{
	struct vfs_node *top;
	struct pool *p;

	check(admin->driver->fs_create(admin->ctx, "tank", "fs"), "create a file system");
	top = top_of(w, &p);
	if (limited)
		limit_all(admin, top);
	create_all(top, "create");
	stat_all(top, "look up and stat");
	list_all(top, "list");
	unlink_all(top, "unlink, empty");
	create_all(top, "create again");
	write_all(top, "look up and write 4 KiB");
	write_again(top, "write 4 KiB, cached");
	unlink_all(top, "unlink, with data");
	vfs_node_unref(top);
}

#define SMALL_BYTES 1000u

static void write_small(struct vfs_node *dir, const char *what)
{
	static uint8_t data[SMALL_BYTES] = { 1 };
	struct iovec iov = { .iov_base = data, .iov_len = sizeof(data) };
	uint64_t start_ns = sync_now_ns();

	for (unsigned i = 0; i < FILES; i++) {
		struct vfs_new attr = { .type = VFS_TYPE_FILE, .mode = 0644 };
		struct vfs_node *n;
		char name[32];

		check(dir->ops->create(dir, name, name_of(i, name, sizeof(name)), &attr, &n), what);
		check(n->ops->write(n, &iov, 1, 0, 0), what);
		vfs_node_unref(n);
	}
	tell(what, start_ns, FILES);
}

static void read_small(struct vfs_node *dir, const char *what)
{
	uint8_t data[SMALL_BYTES];
	struct iovec iov = { .iov_base = data, .iov_len = sizeof(data) };
	uint64_t start_ns = sync_now_ns();

	for (unsigned i = 0; i < FILES; i++) {
		struct vfs_node *n;
		char name[32];

		check(dir->ops->lookup(dir, name, name_of(i, name, sizeof(name)), &n), what);
		check(n->ops->read(n, &iov, 1, 0, 0), what);
		vfs_node_unref(n);
	}
	tell(what, start_ns, FILES);
}

/* Files of 1000 bytes; read when nothing of them is in memory. */
static void run_small(struct pool_admin *admin, struct wfs3 *w)
{
	const char *path = "device";
	struct pool_info info;
	struct vfs_node *top;
	uint64_t start_ns;
	struct pool *p;
	char *name;

	top = top_of(w, &p);
	write_small(top, "create, write 1000 bytes");
	start_ns = sync_now_ns();
	check(object_each_dirty(p, object_flush, NULL), "write back");
	check(admin->driver->pool_sync(admin->ctx, "tank"), "commit");
	tell("write those back, commit", start_ns, FILES);
	vfs_node_unref(top);
	check(admin->driver->pool_get(admin->ctx, "tank", &info), "look at the pool");
	printf("%-28s %10u MiB\n", "space of those", (unsigned)(info.used_bytes / MIB));
	check(admin->driver->pool_export(admin->ctx, "tank", false), "export");
	check(admin->driver->pool_import(admin->ctx, &path, 1, false, &name), "import");
	free(name);
	top = top_of(w, &p);
	read_small(top, "look up and read, cold");
	read_small(top, "look up and read, cached");
	vfs_node_unref(top);
}

int main(int argc, char **argv)
{
	struct bench_pool b;

	bench_pool_init(&b, argc > 2 ? argv[2] : NULL, 4096 * MIB, 3072 * MIB, 1024 * MIB);
	run(&b.admin, b.w, argc > 1 && !strcmp(argv[1], "quotas"));
	run_small(&b.admin, b.w);
	bench_pool_done(&b);
	return 0;
}
