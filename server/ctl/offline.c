/* SPDX-License-Identifier: BSD-3-Clause */
/* A device with a cache, without a daemon; copying between its files and local ones. */
#include "server/ctl/offline.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/budget.h"
#include "core/base/checksum.h"
#include "core/base/err.h"
#include "core/blk/blk.h"
#include "core/cache/cache.h"

#define BUDGET_BYTES ((size_t)512 << 20)
#define COPY_BYTES ((size_t)1 << 20)
#define HEAD_BYTES 65536u

enum ctl_status offline_fail(int rc, const char *what)
{
	char text[512];

	return command_fail(CTL_FAILED, "%s: %s", what, err_text(err_get(), rc, 0, text, sizeof(text)));
}

void offline_close(struct offline *o)
{
	if (o->cache)
		cache_free(o->cache);
	if (o->budget)
		budget_free(o->budget);
	blk_close(o->dev);
}

int offline_open(const char *path, bool read_only, struct offline *ret)
{
	struct cache_config config = {
		.dirty_max_bytes = BUDGET_BYTES / 2,
		.dirty_background_bytes = BUDGET_BYTES / 8,
		.writeback_age_ms = 5000,
		.writeback_threads = 2, /* one makes sure of checksums while the other writes */
		.readahead_max_bytes = COPY_BYTES,
	};
	struct offline o = { 0 };
	int rc = blk_open(path, read_only ? BLK_OPEN_READ_ONLY | BLK_OPEN_SHARED : 0, &o.dev);

	if (rc)
		return rc;
	o.budget = budget_new(BUDGET_BYTES);
	config.budget = o.budget;
	rc = o.budget ? cache_new(&config, &o.cache) : -ENOMEM;
	if (rc)
		offline_close(&o);
	else
		*ret = o;
	return rc;
}

/* Is there anything where file systems have their marks? */
static int looks_used(struct blk_dev *dev, bool *ret)
{
	size_t len = blk_caps(dev)->size_bytes < HEAD_BYTES ? (size_t)blk_caps(dev)->size_bytes : HEAD_BYTES;
	void *head = aligned_alloc(4096, HEAD_BYTES);
	int rc = head ? blk_read(dev, 0, head, len) : -ENOMEM;

	if (rc == 0)
		*ret = !bytes_are_zero(head, len);
	free(head);
	return rc;
}

enum ctl_status offline_confirm_loss(struct ctl *c, struct blk_dev *dev, const char *path)
{
	bool used = false;
	int rc = looks_used(dev, &used);

	if (rc)
		return offline_fail(rc, path);
	return used ? command_confirm(c, "Everything on %s will be lost. Go on?", path) : CTL_OK;
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

static int put_piece(int fd, const uint8_t *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t written = write(fd, buf + done, len - done);

		if (written < 0)
			return err_set(-errno, "cannot write");
		done += (size_t)written;
	}
	return 0;
}

static int pieces_out(int fd, offline_io_fn *io, void *ctx, uint8_t *buf)
{
	struct iovec iov = { .iov_base = buf, .iov_len = COPY_BYTES };
	uint64_t at = 0;
	size_t got = 0;
	int rc;

	do {
		rc = io(ctx, &iov, at, &got);
		if (rc == 0)
			rc = put_piece(fd, buf, got);
		at += got;
	} while (rc == 0 && got);
	return rc;
}

static int pieces_in(int fd, offline_io_fn *io, void *ctx, uint8_t *buf)
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
		rc = io(ctx, &iov, at, &iov.iov_len);
		at += (uint64_t)got;
	}
	return rc;
}

static int copy(const char *local, int flags, offline_io_fn *io, void *ctx,
                int (*pieces)(int fd, offline_io_fn *io, void *ctx, uint8_t *buf))
{
	uint8_t *buf = malloc(COPY_BYTES);
	int fd = buf ? open_local(local, flags) : -ENOMEM;
	int rc = fd < 0 ? fd : pieces(fd, io, ctx, buf);

	if (fd >= 0 && close(fd) && rc == 0)
		rc = err_set(-errno, "%s", local);
	free(buf);
	return rc;
}

int offline_copy_out(const char *local, offline_io_fn *io, void *ctx)
{
	return copy(local, O_WRONLY | O_CREAT | O_TRUNC, io, ctx, pieces_out);
}

int offline_copy_in(const char *local, offline_io_fn *io, void *ctx)
{
	return copy(local, O_RDONLY, io, ctx, pieces_in);
}
