/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs wfs2 ls, get, put, rm, mv: files in and out of a WFS v2 volume that nobody has mounted. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "core/base/err.h"
#include "core/base/sync.h"
#include "core/fs/wfs2/wfs2.h"
#include "server/ctl/offline.h"

static bool print_item(void *ctx, const struct wfs2_dir_item *item)
{
	time_t mtime = (time_t)(item->stat.modified_ns / SYNC_NS_PER_S);
	char when[32] = "-";
	struct tm tm;

	(void)ctx;
	if (mtime && gmtime_r(&mtime, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	printf("%12" PRIu64 " %19s %s\n", item->stat.size_bytes, when, item->name);
	return true;
}

static int do_ls(struct wfs2_fs *fs, char **operands)
{
	(void)operands;
	return wfs2_list(fs, 0, print_item, NULL);
}

static int read_piece(void *ctx, const struct iovec *iov, uint64_t at, size_t *ret_len)
{
	return wfs2_read(ctx, iov, 1, at, 0, ret_len);
}

static int write_piece(void *ctx, const struct iovec *iov, uint64_t at, size_t *ret_len)
{
	(void)ret_len;
	return wfs2_write(ctx, iov, 1, at, 0);
}

static int do_get(struct wfs2_fs *fs, char **operands)
{
	struct wfs2_node *n;
	int rc = wfs2_lookup(fs, operands[1], strlen(operands[1]), &n);

	if (rc)
		return rc;
	rc = offline_copy_out(operands[2], read_piece, n);
	wfs2_put(n);
	return rc;
}

static int do_put(struct wfs2_fs *fs, char **operands)
{
	const char *name = operands[2];
	struct wfs2_node *n;
	int rc = wfs2_create(fs, name, strlen(name), &n);

	if (rc == -EEXIST) {
		rc = wfs2_lookup(fs, name, strlen(name), &n);
		if (rc == 0) {
			rc = wfs2_truncate(n, 0);
			if (rc)
				wfs2_put(n);
		}
	}
	if (rc)
		return rc;
	rc = offline_copy_in(operands[1], write_piece, n);
	wfs2_put(n);
	return rc;
}

static int do_rm(struct wfs2_fs *fs, char **operands)
{
	return wfs2_unlink(fs, operands[1], strlen(operands[1]));
}

static int do_mv(struct wfs2_fs *fs, char **operands)
{
	return wfs2_rename(fs, operands[1], strlen(operands[1]), operands[2], strlen(operands[2]), false);
}

static enum ctl_status run(struct ctl *c, bool read_only, int (*what)(struct wfs2_fs *fs, char **operands))
{
	struct wfs2_mount_options options = { .read_only = read_only };
	const char *path = c->operands[0];
	struct offline offline;
	struct wfs2_info info;
	struct wfs2_fs *fs;
	int rc = offline_open(path, read_only, &offline), closing;

	if (rc)
		return offline_fail(rc, path);
	options.cache = offline.cache;
	options.budget = offline.budget;
	rc = wfs2_mount(offline.dev, &options, &fs);
	if (rc) {
		(void)offline_fail(rc, path);
		offline_close(&offline);
		return CTL_FAILED;
	}
	wfs2_get_info(fs, &info);
	if (*info.reason)
		fprintf(stderr, "wfs: %s: read-only: %s\n", path, info.reason);
	rc = what(fs, c->operands);
	if (rc)
		(void)offline_fail(rc, path);
	closing = wfs2_unmount(fs);
	if (closing)
		(void)offline_fail(closing, path);
	offline_close(&offline);
	return rc || closing ? CTL_FAILED : CTL_OK;
}

enum ctl_status cmd_wfs2_ls(struct ctl *c)
{
	return run(c, true, do_ls);
}

enum ctl_status cmd_wfs2_get(struct ctl *c)
{
	return run(c, true, do_get);
}

enum ctl_status cmd_wfs2_put(struct ctl *c)
{
	return run(c, false, do_put);
}

enum ctl_status cmd_wfs2_rm(struct ctl *c)
{
	return run(c, false, do_rm);
}

enum ctl_status cmd_wfs2_mv(struct ctl *c)
{
	return run(c, false, do_mv);
}
