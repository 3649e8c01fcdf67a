/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs fat ls, get, put, mkdir, rm, mv: files in and out of a FAT volume that nobody has mounted. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "core/base/err.h"
#include "core/base/sync.h"
#include "core/fs/fat/fat.h"
#include "server/ctl/offline.h"

struct session {
	struct offline offline;
	struct fat_fs *fs;
};

static int session_open(const char *path, bool read_only, struct session *s)
{
	struct fat_mount_options options = { .read_only = read_only };
	int rc = offline_open(path, read_only, &s->offline);

	if (rc)
		return rc;
	options.budget = s->offline.budget;
	options.cache = s->offline.cache;
	rc = fat_mount(s->offline.dev, &options, &s->fs);
	if (rc)
		offline_close(&s->offline);
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

static int read_piece(void *ctx, const struct iovec *iov, uint64_t at, size_t *ret_len)
{
	return fat_read(ctx, iov, 1, at, 0, ret_len);
}

static int write_piece(void *ctx, const struct iovec *iov, uint64_t at, size_t *ret_len)
{
	(void)ret_len;
	return fat_write(ctx, iov, 1, at, 0);
}

static int do_get(struct session *s, char **operands)
{
	struct fat_node *n;
	int rc = find(s->fs, operands[1], &n);

	if (rc)
		return rc;
	rc = offline_copy_out(operands[2], read_piece, n);
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
		rc = offline_copy_in(operands[1], write_piece, n);
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
		return offline_fail(rc, c->operands[0]);
	rc = what(&s, c->operands);
	if (rc)
		(void)offline_fail(rc, c->operands[0]);
	closing = fat_unmount(s.fs);
	if (closing)
		(void)offline_fail(closing, c->operands[0]);
	offline_close(&s.offline);
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
