/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wfs convert wfs2: the files of a WFS v2 volume into a directory of an export.
 *
 * Each file is written, made durable, read back and compared by a hash; only then it gets its time and, as an extended
 * attribute, a record of what it was made from. A conversion that is started again leaves out files that have the
 * record.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/checksum.h"
#include "core/base/err.h"
#include "core/fs/wfs2/wfs2.h"
#include "server/ctl/offline.h"
#include "server/ctl/progress.h"
#include "server/ctl/remote.h"

#define PIECE_BYTES ((size_t)1 << 20)
#define RECORD_NAME "user.wfs2.converted"
#define RECORD_BYTES 128u

struct convert {
	struct wfs2_fs *source;
	struct wfs *client;
	struct wfs_fh target;
	uint8_t *buf;
	uint64_t done_count, kept_count, copied_bytes;
	struct progress progress;
	char what[64];
	enum ctl_status status;
};

static void show(struct convert *c)
{
	progress_bytes(&c->progress, c->done_count + c->kept_count, c->copied_bytes);
}

/* A hash over pieces, in order. */
static void add_piece(struct hash128 *sum, const void *piece, size_t len)
{
	struct hash128 h = hash128(piece, len);
	uint8_t both[32];

	put_le64(both, sum->lo);
	put_le64(both + 8, sum->hi);
	put_le64(both + 16, h.lo);
	put_le64(both + 24, h.hi);
	*sum = hash128(both, sizeof(both));
}

static int client_err(int rc, const char *doing)
{
	char text[512];

	return rc ? err_set(rc, "%s: %s", doing, wfs_error_text(text, sizeof(text))) : 0;
}

static int copy_file(struct convert *c, struct wfs2_node *n, struct wfs_file *f, struct hash128 *sum)
{
	struct iovec iov = { .iov_base = c->buf, .iov_len = PIECE_BYTES };
	uint64_t at = 0;
	size_t got;
	int rc;

	do {
		rc = wfs2_read(n, &iov, 1, at, 0, &got);
		if (rc || !got)
			break;
		add_piece(sum, c->buf, got);
		rc = client_err(wfs_pwrite(f, c->buf, got, at, 0), "writing");
		at += got;
		c->copied_bytes += got;
		show(c);
	} while (rc == 0);
	return rc ? rc : client_err(wfs_flush(f), "making it durable");
}

static int verify_file(struct convert *c, struct wfs_file *f, uint64_t size, const struct hash128 *want)
{
	struct hash128 sum = { 0 };
	uint64_t at = 0;
	size_t got;

	do {
		int rc = client_err(wfs_pread_some(f, c->buf, PIECE_BYTES, at, &got), "reading back");

		if (rc)
			return rc;
		if (got)
			add_piece(&sum, c->buf, got);
		at += got;
	} while (got == PIECE_BYTES);
	if (at != size || !hash128_equal(sum, *want))
		return err_set(-EIO, "what was read back is not what was written");
	return 0;
}

/* What the file was made from; a file that changes gets another one. */
static void make_record(const struct wfs2_stat *st, char text[RECORD_BYTES])
{
	snprintf(text, RECORD_BYTES, "%" PRIx64 " %" PRIu64 " %" PRIu64 " %" PRIu64, st->object, st->change,
	         st->size_bytes, st->modified_ns);
}

static bool is_done(struct convert *c, const char *name, const struct wfs2_stat *st)
{
	char want[RECORD_BYTES], got[RECORD_BYTES] = "";
	struct wfs_attr attr;
	struct wfs_fh fh;
	size_t len = 0;

	make_record(st, want);
	return wfs_lookup(c->client, NULL, &c->target, name, &fh, &attr) == 0 && attr.type == WFS_TYPE_FILE &&
	       attr.size_bytes == st->size_bytes &&
	       wfs_get_xattr(c->client, NULL, &fh, RECORD_NAME, got, sizeof(got), &len) == 0 && len == strlen(want) &&
	       memcmp(want, got, len) == 0;
}

static int write_record(struct convert *c, const struct wfs_fh *fh, const struct wfs2_stat *st)
{
	struct wfs_set_attr set = { .valid = WFS_SET_MTIME, .mtime_ns = st->modified_ns };
	char record[RECORD_BYTES];
	int rc = wfs_setattr(c->client, NULL, fh, &set, NULL);

	make_record(st, record);
	if (rc == 0)
		rc = wfs_set_xattr(c->client, NULL, fh, RECORD_NAME, record, strlen(record), 0);
	if (rc == 0)
		rc = wfs_sync(c->client, NULL, fh);
	return client_err(rc, "recording that it is done");
}

static int convert_file(struct convert *c, const char *name, const struct wfs2_stat *st)
{
	struct hash128 sum = { 0 };
	struct wfs_file *f = NULL;
	struct wfs2_node *n;
	struct wfs_fh fh;
	int rc = wfs2_lookup(c->source, name, strlen(name), &n);

	if (rc)
		return rc;
	rc = client_err(wfs_create(c->client, NULL, &c->target, name, st->read_only ? 0444 : 0644, WFS_CREATE_TRUNCATE,
	                           WFS_ACCESS_READ | WFS_ACCESS_WRITE, &f, &fh, NULL, NULL),
	                "creating it");
	if (rc == 0)
		rc = copy_file(c, n, f, &sum);
	if (rc == 0)
		rc = verify_file(c, f, st->size_bytes, &sum);
	wfs_close(f);
	if (rc == 0)
		rc = write_record(c, &fh, st);
	wfs2_put(n);
	return rc;
}

/* Goes on with the next file when one cannot be converted. */
static bool convert_item(void *ctx, const struct wfs2_dir_item *item)
{
	struct convert *c = ctx;
	int rc;

	show(c);
	if (is_done(c, item->name, &item->stat)) {
		c->kept_count++;
		return true;
	}
	rc = convert_file(c, item->name, &item->stat);
	if (rc == 0) {
		c->done_count++;
		return true;
	}
	progress_done(&c->progress);
	c->status = offline_fail(rc, item->name);
	return rc != -ENOSPC && rc != -ETIMEDOUT;
}

static enum ctl_status convert_all(struct convert *c)
{
	struct wfs2_info info;
	int rc;

	wfs2_get_info(c->source, &info);
	if (*info.reason)
		return command_fail(CTL_FAILED, "%s: wfs fsck wfs2 --repair first", info.reason);
	c->buf = aligned_alloc(4096, PIECE_BYTES);
	if (!c->buf)
		return command_fail(CTL_FAILED, "out of memory");
	snprintf(c->what, sizeof(c->what), "converting %u files", info.file_count);
	progress_init(&c->progress, c->what);
	rc = wfs2_list(c->source, 0, convert_item, c);
	progress_done(&c->progress);
	free(c->buf);
	if (rc == 0)
		rc = client_err(wfs_sync(c->client, NULL, &c->target), "making names durable");
	if (rc)
		return offline_fail(rc, "the conversion");
	return c->status;
}

static enum ctl_status convert_volume(struct convert *c, const char *path)
{
	struct wfs2_mount_options options = { .read_only = true };
	struct offline offline;
	enum ctl_status status;
	int rc = offline_open(path, true, &offline);

	if (rc)
		return offline_fail(rc, path);
	options.cache = offline.cache;
	options.budget = offline.budget;
	rc = wfs2_mount(offline.dev, &options, &c->source);
	if (rc) {
		status = offline_fail(rc, path);
	} else {
		status = convert_all(c);
		(void)wfs2_unmount(c->source); /* read-only: nothing can be lost */
	}
	offline_close(&offline);
	return status;
}

/* The directory that the files go to. */
static enum ctl_status find_target(const struct remote *r, struct convert *c)
{
	struct wfs_attr attr;

	c->client = r->w;
	if (remote_find(r, true, &c->target, &attr))
		return remote_fail("cannot find", r->path);
	if (attr.type != WFS_TYPE_DIR)
		return command_fail(CTL_FAILED, "'%s' is no directory", r->path);
	return CTL_OK;
}

enum ctl_status cmd_convert_wfs2(struct ctl *ctl)
{
	struct convert c = { .status = CTL_OK };
	struct remote r;
	enum ctl_status status = remote_open(ctl, ctl->operands[1], &r);

	if (status != CTL_OK)
		return status;
	status = find_target(&r, &c);
	if (status == CTL_OK)
		status = convert_volume(&c, ctl->operands[0]);
	remote_close(&r);
	if (status == CTL_OK)
		printf("%" PRIu64 " files converted and verified, %" PRIu64 " were already\n", c.done_count,
		       c.kept_count);
	return status;
}
