/* SPDX-License-Identifier: BSD-3-Clause */
/* A file of the namespace as a block device: requests become calls of the VFS. */
#include "server/mount/vfs_blk.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/iov.h"
#include "core/blk/hosted.h"

#define SECTOR_BYTES 512u
#define PAGE_BYTES 4096u
#define TRANSFER_BYTES (1u << 20)
#define QUEUE_DEPTH 32u
#define ZEROS_BYTES 65536u

typedef int io_fn(struct vfs_handle *h, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags);

/* A file that is gone is a device that is gone; one that became shorter has places that cannot be read. */
static int device_error(int rc)
{
	if (rc == -ESTALE)
		return -ENXIO;
	return rc == -EINVAL ? -EIO : rc;
}

static unsigned vfs_flags(unsigned flags)
{
	return VFS_MAKES_ROOM | (flags & BLK_FUA ? VFS_FUA : 0);
}

/* One buffer after the other, each in pieces, for what is too long for one call. */
static int transfer_long(io_fn *io, struct vfs_handle *h, const struct iovec *iov, int iov_count, uint64_t offset,
                         unsigned flags)
{
	int rc = 0;

	for (int i = 0; i < iov_count && rc == 0; i++) {
		for (size_t done = 0; done < iov[i].iov_len && rc == 0;) {
			struct iovec part = {
				.iov_base = (uint8_t *)iov[i].iov_base + done,
				.iov_len = (size_t)min_u64(iov[i].iov_len - done, VFS_IO_BYTES_MAX),
			};

			rc = io(h, &part, 1, offset, flags);
			offset += part.iov_len;
			done += part.iov_len;
		}
	}
	return rc;
}

static int transfer(io_fn *io, struct vfs_handle *h, const struct iovec *iov, int iov_count, uint64_t offset,
                    unsigned flags)
{
	if (iov_len(iov, iov_count) > VFS_IO_BYTES_MAX)
		return device_error(transfer_long(io, h, iov, iov_count, offset, flags));
	return device_error(io(h, iov, iov_count, offset, flags));
}

static int file_read(void *host, const struct iovec *iov, int iov_count, uint64_t offset)
{
	return transfer(vfs_read, host, iov, iov_count, offset, 0);
}

static int file_write(void *host, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
	return transfer(vfs_write, host, iov, iov_count, offset, vfs_flags(flags));
}

static int file_flush(void *host)
{
	return device_error(vfs_flush(host, 0));
}

/* Best effort, as on devices: contents may stay. */
static int file_discard(void *host, uint64_t offset, uint64_t len)
{
	int rc = vfs_discard(host, offset, len, 0);

	return rc == -EOPNOTSUPP ? 0 : device_error(rc);
}

static int write_zeros(struct vfs_handle *h, uint64_t offset, uint64_t len, unsigned flags)
{
	uint8_t *zeros = calloc(1, ZEROS_BYTES);
	int rc = zeros ? 0 : err_set(-ENOMEM, "write zeros");

	while (rc == 0 && len) {
		struct iovec iov = { .iov_base = zeros, .iov_len = (size_t)min_u64(len, ZEROS_BYTES) };

		rc = vfs_write(h, &iov, 1, offset, flags);
		offset += iov.iov_len;
		len -= iov.iov_len;
	}
	free(zeros);
	return rc;
}

static int file_zero(void *host, uint64_t offset, uint64_t len, unsigned flags)
{
	int rc = vfs_zero(host, offset, len, vfs_flags(flags));

	if (rc == -EOPNOTSUPP)
		rc = write_zeros(host, offset, len, vfs_flags(flags));
	return device_error(rc);
}

static void file_close(void *host)
{
	vfs_close(host);
}

static const struct blk_hosted_ops file_ops = {
	.read = file_read,
	.write = file_write,
	.flush = file_flush,
	.discard = file_discard,
	.zero = file_zero,
	.close = file_close,
};

int vfs_blk_open(struct vfs *v, const char *path, const char *name, bool read_only, struct blk_dev **ret)
{
	struct blk_caps caps = {
		.transport = BLK_TRANSPORT_FILE,
		.logical_block_bytes = SECTOR_BYTES,
		.physical_block_bytes = PAGE_BYTES,
		.align_bytes = SECTOR_BYTES,
		.max_transfer_bytes = TRANSFER_BYTES,
		.queue_depth = QUEUE_DEPTH,
		.read_only = read_only,
		.volatile_cache = true,
		.fua = true,
		.discard = true,
		.write_zeroes = true,
	};
	struct vfs_handle *h;
	struct vfs_stat st;
	int rc = vfs_open(v, path, !read_only, &h);

	if (rc < 0)
		return rc;
	rc = vfs_stat(h, &st);
	caps.size_bytes = rc == 0 ? round_down_u64(st.size_bytes, SECTOR_BYTES) : 0;
	if (rc == 0 && !caps.size_bytes)
		rc = err_set(-EINVAL, "%s: a file of %llu bytes is too short", path, (unsigned long long)st.size_bytes);
	if (rc == 0)
		rc = blk_hosted_new(name, &caps, &file_ops, h, ret);
	if (rc < 0)
		vfs_close(h);
	return rc;
}
