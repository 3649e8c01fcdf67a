/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening block devices and regular files, and creating files to serve as devices. */
#include "core/blk/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/blk/caps.h"

#define SYSFS_ROOT "/sys"
#define CREATE_CHUNK_BYTES ((size_t)1 << 20)

/* A block device: exclusive also against mounts and other nodes of the same device. */
static int claim_block(int *fd, const char *path, int open_flags)
{
	int claimed = open(path, open_flags | O_EXCL);

	if (claimed < 0 && errno == EBUSY)
		return err_set(-EBUSY, "device %s is in use (mounted, or part of another device)", path);
	if (claimed < 0)
		return err_set(-errno, "device %s: cannot claim", path);
	/* The claim has made the first one's lock needless for a moment. */
	lock_release(*fd);
	close(*fd);
	*fd = claimed;
	return lock_take(*fd, path);
}

static int open_descriptor(const char *path, unsigned flags, int *ret_fd, struct stat *ret_st, bool *ret_direct)
{
	int open_flags = O_CLOEXEC | O_NOCTTY | (flags & BLK_OPEN_READ_ONLY ? O_RDONLY : O_RDWR);
	bool direct = true;
	int fd, rc = 0;

	/* What is not a device must not be opened at all: a FIFO would wait, a tape would rewind. */
	if (stat(path, ret_st))
		return err_set(-errno, "device %s", path);
	if (!S_ISBLK(ret_st->st_mode) && !S_ISREG(ret_st->st_mode))
		return err_set(-ENOTBLK, "device %s is neither a block device nor a regular file", path);
	fd = open(path, open_flags | O_DIRECT);
	if (fd < 0 && errno == EINVAL) {
		direct = false;
		fd = open(path, open_flags);
	}
	if (fd < 0)
		return err_set(-errno, "device %s: cannot open", path);
	if (direct)
		open_flags |= O_DIRECT;
	if (fstat(fd, ret_st))
		rc = err_set(-errno, "device %s", path);
	if (rc == 0 && !(flags & BLK_OPEN_SHARED)) {
		rc = lock_take(fd, path);
		if (rc == 0 && S_ISBLK(ret_st->st_mode))
			rc = claim_block(&fd, path, open_flags);
	}
	if (rc) {
		close(fd);
		return rc;
	}
	*ret_fd = fd;
	*ret_direct = direct;
	return 0;
}

/* tmpfs takes O_DIRECT and copies all the same. */
static bool is_in_memory(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

int blk_open(const char *path, unsigned flags, struct blk_dev **ret)
{
	struct file_dev *f;
	struct stat st;
	bool direct = false;
	int fd = -1, rc;

	rc = open_descriptor(path, flags, &fd, &st, &direct);
	if (rc)
		return rc;
	rc = blk_dev_alloc(sizeof(*f), &uring_ops, path, &f);
	if (rc)
		goto out;
	f->fd = fd;
	f->is_block = S_ISBLK(st.st_mode);
	f->buffered = !direct || is_in_memory(fd);
	rc = caps_probe(SYSFS_ROOT, fd, path, &st, direct, &f->dev.caps);
	if (rc) {
		blk_dev_free(&f->dev);
		goto out;
	}
	if (flags & BLK_OPEN_READ_ONLY)
		f->dev.caps.read_only = true;
	*ret = &f->dev;
	return 0;
out:
	close(fd);
	return rc;
}

/* Buffered: the one sync at the end is all that counts, and it works on any file system. */
static int write_zeros(int fd, uint64_t bytes)
{
	uint8_t *zeros = calloc(1, CREATE_CHUNK_BYTES);
	uint64_t at = 0;
	int rc = 0;

	if (!zeros)
		return -ENOMEM;
	while (rc == 0 && at < bytes) {
		ssize_t n = pwrite(fd, zeros, min_u64(bytes - at, CREATE_CHUNK_BYTES), (off_t)at);

		if (n > 0)
			at += (uint64_t)n;
		else if (n == 0)
			rc = -EIO;
		else if (errno != EINTR)
			rc = -errno;
	}
	free(zeros);
	return rc;
}

static int sync_parent(const char *path)
{
	char dir[PATH_MAX];
	char *slash;
	int fd, rc = 0;

	if (snprintf(dir, sizeof(dir), "%s", path) >= (int)sizeof(dir))
		return -ENAMETOOLONG;
	slash = strrchr(dir, '/');
	if (!slash)
		strcpy(dir, ".");
	else
		slash[slash == dir ? 1 : 0] = '\0';
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fsync(fd))
		rc = -errno;
	close(fd);
	return rc;
}

int blk_create_file(const char *path, uint64_t size, uint64_t prealloc)
{
	int fd, rc = 0;

	if (!size || size > INT64_MAX || prealloc > size)
		return err_set(-EINVAL, "create %s: size", path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(-errno, "create %s", path);
	if (ftruncate(fd, (off_t)size))
		rc = -errno;
	/* Allocation in one piece where the file system can; the zeros then make the extents written ones. */
	if (rc == 0 && prealloc && fallocate(fd, 0, 0, (off_t)prealloc) && errno != EOPNOTSUPP)
		rc = -errno;
	if (rc == 0)
		rc = write_zeros(fd, prealloc);
	if (rc == 0 && fsync(fd))
		rc = -errno;
	close(fd);
	if (rc == 0)
		rc = sync_parent(path);
	if (rc) {
		unlink(path);
		return err_set(rc, "create %s", path);
	}
	return 0;
}
