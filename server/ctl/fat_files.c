/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs fat ls, get, put, mkdir, rm, mv: files in and out of a FAT volume that nobody has mounted. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/base/budget.h"
#include "core/base/err.h"
#include "core/base/sync.h"
#include "core/blk/blk.h"
#include "core/cache/cache.h"
#include "core/fs/fat/fat.h"
#include "server/ctl/fat.h"

#define BUDGET_BYTES ((size_t)512 << 20)
#define COPY_BYTES ((size_t)1 << 20)

struct session {
	struct blk_dev *dev;
	struct budget *budget;
	struct cache *cache;
	struct fat_fs *fs;
};

enum ctl_status fat_fail(int rc, const char *what)
{
	char text[512];

	return command_fail(CTL_FAILED, "%s: %s", what, err_text(err_get(), rc, 0, text, sizeof(text)));
}

static void session_close(struct session *s)
{
	if (s->cache)
		cache_free(s->cache);
	if (s->budget)
		budget_free(s->budget);
	blk_close(s->dev);
}

static int session_open(const char *path, bool read_only, struct session *s)
{
	struct cache_config config = {
		.dirty_max_bytes = BUDGET_BYTES / 2,
		.dirty_background_bytes = BUDGET_BYTES / 8,
		.writeback_age_ms = 5000,
		.writeback_threads = 1,
		.readahead_max_bytes = COPY_BYTES,
	};
	struct fat_mount_options options = { .read_only = read_only };
	int rc = blk_open(path, read_only ? BLK_OPEN_READ_ONLY | BLK_OPEN_SHARED : 0, &s->dev);

	if (rc)
		return rc;
	s->budget = budget_new(BUDGET_BYTES);
	config.budget = options.budget = s->budget;
	rc = s->budget ? cache_new(&config, &s->cache) : -ENOMEM;
	options.cache = s->cache;
	if (rc == 0)
		rc = fat_mount(s->dev, &options, &s->fs);
	if (rc)
		session_close(s);
	return rc;
}

/* The directory that holds the last component of @path, and that component ("" for the root itself). */
static int walk(struct fat_fs *fs, const char *path, struct fat_node **ret_dir, const char **ret_name)
{
	struct fat_node *dir = fat_root(fs), *next;
	int rc = 0;

	for (;;) {
		size_t len;

		path += strspn(path, "/");
		len = strcspn(path, "/");
		if (!path[len + strspn(path + len, "/")])
			break;
		rc = fat_lookup(dir, path, len, &next);
		fat_node_put(dir);
		if (rc)
			return err_add(rc, "%s", path);
		dir = next;
		path += len;
	}
	*ret_dir = dir;
	*ret_name = path;
	return rc;
}

static size_t name_len(const char *name)
{
	return strcspn(name, "/");
}

static int find(struct fat_fs *fs, const char *path, struct fat_node **ret)
{
	struct fat_node *dir;
	const char *name;
	int rc = walk(fs, path, &dir, &name);

	if (rc)
		return rc;
	if (!*name) {
		*ret = dir;
		return 0;
	}
	rc = fat_lookup(dir, name, name_len(name), ret);
	fat_node_put(dir);
	return rc;
}

static bool print_item(void *ctx, const struct fat_dir_item *item)
{
	static const char letters[] = "rhs-da";
	char attr[sizeof(letters)], when[32] = "-";
	time_t mtime = (time_t)(item->stat.mtime_ns / SYNC_NS_PER_S);
	struct tm tm;

	(void)ctx;
	for (unsigned i = 0; i < 6; i++)
		attr[i] = item->stat.attr & 1u << i ? letters[i] : '-';
	attr[6] = '\0';
	if (mtime && gmtime_r(&mtime, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	printf("%s %10" PRIu64 " %19s %-12s %s\n", attr, item->stat.size_bytes, when, item->short_name, item->name);
	return true;
}

static int do_ls(struct session *s, char **operands)
{
	struct fat_node *dir;
	int rc = find(s->fs, operands[1] ? operands[1] : "/", &dir);

	if (rc)
		return rc;
	rc = fat_readdir(dir, 0, print_item, NULL);
	fat_node_put(dir);
	return rc;
}

/* Returns a descriptor or a negative errno. */
static int open_local(const char *path, int flags)
{
	int fd;

	if (strcmp(path, "-") == 0)
		return dup(flags & O_CREAT ? STDOUT_FILENO : STDIN_FILENO);
	fd = open(path, flags | O_CLOEXEC, 0666);
	return fd < 0 ? err_set(-errno, "%s", path) : fd;
}

static int copy_out(struct fat_node *n, int fd, uint8_t *buf)
{
	struct iovec iov = { .iov_base = buf, .iov_len = COPY_BYTES };
	uint64_t at = 0;
	size_t got = 0;
	int rc;

	do {
		rc = fat_read(n, &iov, 1, at, 0, &got);
		for (size_t done = 0; rc == 0 && done < got;) {
			ssize_t written = write(fd, buf + done, got - done);

			if (written < 0)
				rc = err_set(-errno, "cannot write");
			else
				done += (size_t)written;
		}
		at += got;
	} while (rc == 0 && got);
	return rc;
}

static int copy_in(struct fat_node *n, int fd, uint8_t *buf)
{
	uint64_t at = 0;
	int rc = 0;

	while (rc == 0) {
		struct iovec iov = { .iov_base = buf };
		ssize_t got = read(fd, buf, COPY_BYTES);

		if (got < 0)
			return err_set(-errno, "cannot read");
		if (got == 0)
			break;
		iov.iov_len = (size_t)got;
		rc = fat_write(n, &iov, 1, at, 0);
		at += (uint64_t)got;
	}
	return rc;
}

static int copy(struct fat_node *n, const char *local, bool out)
{
	uint8_t *buf = malloc(COPY_BYTES);
	int fd = buf ? open_local(local, out ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY) : -ENOMEM;
	int rc = fd < 0 ? fd : out ? copy_out(n, fd, buf) : copy_in(n, fd, buf);

	if (fd >= 0 && close(fd) && rc == 0)
		rc = err_set(-errno, "%s", local);
	free(buf);
	return rc;
}

static int do_get(struct session *s, char **operands)
{
	struct fat_node *n;
	int rc = find(s->fs, operands[1], &n);

	if (rc)
		return rc;
	rc = copy(n, operands[2], true);
	fat_node_put(n);
	return rc;
}

static int do_put(struct session *s, char **operands)
{
	struct fat_node *dir, *n;
	const char *name;
	int rc = walk(s->fs, operands[2], &dir, &name);

	if (rc)
		return rc;
	rc = fat_create(dir, name, name_len(name), &n);
	if (rc == -EEXIST) {
		rc = fat_lookup(dir, name, name_len(name), &n);
		if (rc == 0)
			rc = fat_truncate(n, 0);
	}
	if (rc == 0)
		rc = copy(n, operands[1], false);
	if (rc == 0)
		fat_node_put(n);
	fat_node_put(dir);
	return rc;
}

static int do_mkdir(struct session *s, char **operands)
{
	struct fat_node *dir, *n;
	const char *name;
	int rc = walk(s->fs, operands[1], &dir, &name);

	if (rc)
		return rc;
	rc = fat_mkdir(dir, name, name_len(name), &n);
	if (rc == 0)
		fat_node_put(n);
	fat_node_put(dir);
	return rc;
}

static int do_rm(struct session *s, char **operands)
{
	struct fat_node *dir;
	const char *name;
	int rc = walk(s->fs, operands[1], &dir, &name);

	if (rc)
		return rc;
	rc = fat_unlink(dir, name, name_len(name));
	if (rc == -EISDIR)
		rc = fat_rmdir(dir, name, name_len(name));
	fat_node_put(dir);
	return rc;
}

static int do_mv(struct session *s, char **operands)
{
	struct fat_node *from, *to;
	const char *from_name, *to_name;
	int rc = walk(s->fs, operands[1], &from, &from_name);

	if (rc)
		return rc;
	rc = walk(s->fs, operands[2], &to, &to_name);
	if (rc == 0) {
		rc = fat_rename(from, from_name, name_len(from_name), to, to_name, name_len(to_name), false);
		fat_node_put(to);
	}
	fat_node_put(from);
	return rc;
}

static enum ctl_status run(struct ctl *c, bool read_only, int (*what)(struct session *s, char **operands))
{
	struct session s = { 0 };
	int rc, closing;

	rc = session_open(c->operands[0], read_only, &s);
	if (rc)
		return fat_fail(rc, c->operands[0]);
	rc = what(&s, c->operands);
	if (rc)
		(void)fat_fail(rc, c->operands[0]);
	closing = fat_unmount(s.fs);
	if (closing)
		(void)fat_fail(closing, c->operands[0]);
	session_close(&s);
	return rc || closing ? CTL_FAILED : CTL_OK;
}

enum ctl_status cmd_fat_ls(struct ctl *c)
{
	return run(c, true, do_ls);
}

enum ctl_status cmd_fat_get(struct ctl *c)
{
	return run(c, true, do_get);
}

enum ctl_status cmd_fat_put(struct ctl *c)
{
	return run(c, false, do_put);
}

enum ctl_status cmd_fat_mkdir(struct ctl *c)
{
	return run(c, false, do_mkdir);
}

enum ctl_status cmd_fat_rm(struct ctl *c)
{
	return run(c, false, do_rm);
}

enum ctl_status cmd_fat_mv(struct ctl *c)
{
	return run(c, false, do_mv);
}
