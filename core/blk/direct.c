/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests on files and block devices by system calls that wait: without io_uring, and where it brings nothing. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/blk/file.h"
#include "core/blk/part.h"

static int result_of(int rc)
{
	return rc == 0 ? 0 : -errno;
}

static int sync_data(const struct file_dev *f)
{
	int rc;

	do
		rc = result_of(fdatasync(f->fd));
	while (rc == -EINTR);
	return rc;
}

static int transfer(const struct file_dev *f, const struct blk_io *io, struct blk_part *p, int rw_flags)
{
	while (p->left_bytes) {
		const struct iovec *iov = p->iov + p->iov_first;
		int count = p->iov_count - p->iov_first;
		ssize_t n = io->op == BLK_READ ? preadv2(f->fd, iov, count, (off_t)p->offset, 0)
		                               : pwritev2(f->fd, iov, count, (off_t)p->offset, rw_flags);

		if (n > 0)
			blk_part_advance(p, (size_t)n);
		else if (n == 0)
			return -EIO; /* the file was cut short under us */
		else if (errno != EINTR && errno != EAGAIN)
			return -errno;
	}
	return 0;
}

/* A FUA write in one part is one call; in several, one sync at the end is cheaper unless the device has the command. */
static int read_or_write(const struct file_dev *f, const struct blk_io *io)
{
	size_t max = io->dev->caps.max_transfer_bytes;
	bool fua = io->op != BLK_READ && (io->flags & BLK_FUA);
	bool each = fua && (io->dev->caps.fua || blk_part_is_whole(io, max));
	struct blk_part_cursor c = { .io = io };
	struct blk_part p;
	int rc = 0;

	while (rc == 0 && blk_part_next(&c, max, &p))
		rc = transfer(f, io, &p, each ? RWF_DSYNC : 0);
	if (rc == 0 && fua && !each)
		rc = sync_data(f);
	return rc;
}

static int call_fallocate(const struct file_dev *f, int mode, const struct blk_io *io)
{
	int rc;

	do
		rc = result_of(fallocate(f->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)io->offset, (off_t)io->len_bytes));
	while (rc == -EINTR);
	return rc;
}

int direct_discard(struct blk_io *io)
{
	const struct file_dev *f = (struct file_dev *)io->dev;
	uint64_t range[2] = { io->offset, io->len_bytes };

	if (f->is_block)
		return result_of(ioctl(f->fd, BLKDISCARD, range));
	return call_fallocate(f, FALLOC_FL_PUNCH_HOLE, io);
}

/* Zeroing a range keeps its blocks allocated; a hole is the second choice (tmpfs). */
static int zero_file(struct file_dev *f, const struct blk_io *io)
{
	int rc = -EOPNOTSUPP;

	if (!__atomic_load_n(&f->no_zero_range, __ATOMIC_RELAXED))
		rc = call_fallocate(f, FALLOC_FL_ZERO_RANGE, io);
	if (rc != -EOPNOTSUPP)
		return rc;
	__atomic_store_n(&f->no_zero_range, 1, __ATOMIC_RELAXED);
	return call_fallocate(f, FALLOC_FL_PUNCH_HOLE, io);
}

int direct_zero(struct blk_io *io)
{
	struct file_dev *f = (struct file_dev *)io->dev;
	uint64_t range[2] = { io->offset, io->len_bytes };
	int rc;

	if (!io->dev->caps.write_zeroes)
		return -EOPNOTSUPP;
	rc = f->is_block ? result_of(ioctl(f->fd, BLKZEROOUT, range)) : zero_file(f, io);
	if (rc == 0 && (io->flags & BLK_FUA))
		rc = sync_data(f);
	return rc;
}

int direct_run(struct blk_io *io)
{
	struct file_dev *f = (struct file_dev *)io->dev;
	int rc;

	switch (io->op) {
	case BLK_FLUSH:
		return sync_data(f);
	case BLK_DISCARD:
		return direct_discard(io);
	case BLK_WRITE_ZEROES:
		rc = direct_zero(io);
		if (rc != -EOPNOTSUPP)
			return rc;
		break;
	case BLK_READ:
	case BLK_WRITE:
		break;
	}
	return read_or_write(f, io);
}
