/* SPDX-License-Identifier: BSD-3-Clause */
/* fat_peer's volume, driven by the kernel that has it mounted. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/msdos_fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/guest/fat_peer.h"

static int result(int rc)
{
	return rc < 0 ? -errno : 0;
}

/* Where the volume is mounted is the descriptor in @ctx. */
static int at(void *ctx)
{
	return *(const int *)ctx;
}

static const char *shown(const char *path)
{
	return *path ? path : ".";
}

static int open_at(void *ctx, const char *path, int flags, int *ret)
{
	*ret = openat(at(ctx), shown(path), flags | O_CLOEXEC, 0644);
	return result(*ret);
}

static int kernel_create(void *ctx, const char *path)
{
	int fd, rc = open_at(ctx, path, O_CREAT | O_EXCL | O_WRONLY, &fd);

	if (rc == 0)
		close(fd);
	return rc;
}

static int kernel_make_dir(void *ctx, const char *path)
{
	return result(mkdirat(at(ctx), path, 0755));
}

static int kernel_write(void *ctx, const char *path, uint64_t offset, const void *data, size_t len)
{
	int fd, rc = open_at(ctx, path, O_WRONLY, &fd);
	size_t done = 0;

	while (rc == 0 && done < len) {
		ssize_t n = pwrite(fd, (const char *)data + done, len - done, (off_t)(offset + done));

		rc = result((int)n);
		done += n > 0 ? (size_t)n : 0;
	}
	if (fd >= 0)
		close(fd);
	return rc;
}

static int kernel_truncate(void *ctx, const char *path, uint64_t size_bytes)
{
	int fd, rc = open_at(ctx, path, O_WRONLY, &fd);

	if (rc)
		return rc;
	rc = result(ftruncate(fd, (off_t)size_bytes));
	close(fd);
	return rc;
}

static int kernel_unlink(void *ctx, const char *path)
{
	return result(unlinkat(at(ctx), path, 0));
}

static int kernel_remove_dir(void *ctx, const char *path)
{
	return result(unlinkat(at(ctx), path, AT_REMOVEDIR));
}

static int kernel_rename(void *ctx, const char *from, const char *to)
{
	return result(renameat(at(ctx), from, at(ctx), to));
}

static int kernel_set(void *ctx, const char *path, uint8_t attr, int64_t mtime_s)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = mtime_s } };
	struct stat st;
	__u32 value = attr;
	int fd, rc = open_at(ctx, path, O_RDONLY, &fd);

	if (rc)
		return rc;
	rc = result(fstat(fd, &st));
	if (rc == 0 && S_ISDIR(st.st_mode))
		value |= ATTR_DIR;
	if (rc == 0)
		rc = result(ioctl(fd, FAT_IOCTL_SET_ATTRIBUTES, &value));
	if (rc == 0)
		rc = result(futimens(fd, times));
	close(fd);
	return rc;
}

static int kernel_stat(void *ctx, const char *path, struct peer_stat *ret)
{
	struct statx st;
	__u32 attr = 0;
	int fd, rc = open_at(ctx, path, O_RDONLY, &fd);

	if (rc)
		return rc;
	rc = result(statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &st));
	if (rc == 0 && !(st.stx_mask & STATX_BTIME))
		rc = -EOPNOTSUPP;
	if (rc == 0)
		rc = result(ioctl(fd, FAT_IOCTL_GET_ATTRIBUTES, &attr));
	close(fd);
	if (rc)
		return rc;
	*ret = (struct peer_stat){
		.is_dir = S_ISDIR(st.stx_mode),
		.attr = (uint8_t)attr,
		.size_bytes = st.stx_size,
		.mtime_s = st.stx_mtime.tv_sec,
		.atime_s = st.stx_atime.tv_sec,
		.created_cs = st.stx_btime.tv_sec * 100 + st.stx_btime.tv_nsec / 10000000,
	};
	return 0;
}

static int kernel_read(void *ctx, const char *path, uint64_t offset, void *buf, size_t len, size_t *ret)
{
	int fd, rc = open_at(ctx, path, O_RDONLY, &fd);
	ssize_t n;

	if (rc)
		return rc;
	n = pread(fd, buf, len, (off_t)offset);
	rc = result((int)n);
	*ret = n > 0 ? (size_t)n : 0;
	close(fd);
	return rc;
}

static int kernel_list(void *ctx, const char *path, peer_name_fn *fn, void *fn_ctx)
{
	const struct dirent *entry;
	int fd, rc = open_at(ctx, path, O_RDONLY | O_DIRECTORY, &fd);
	DIR *dir;

	if (rc)
		return rc;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	for (errno = 0; (entry = readdir(dir));) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			fn(fn_ctx, entry->d_name);
	}
	rc = -errno;
	closedir(dir);
	return rc;
}

static int kernel_close(void *ctx)
{
	int rc = result(syncfs(at(ctx)));

	close(at(ctx));
	free(ctx);
	return rc;
}

int peer_open_kernel(const char *target, struct peer *ret)
{
	int *fd = malloc(sizeof(*fd));

	if (!fd)
		return -ENOMEM;
	*fd = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*fd < 0) {
		free(fd);
		return -errno;
	}
	*ret = (struct peer){
		.ctx = fd,
		.create = kernel_create,
		.make_dir = kernel_make_dir,
		.write = kernel_write,
		.truncate = kernel_truncate,
		.unlink = kernel_unlink,
		.remove_dir = kernel_remove_dir,
		.rename = kernel_rename,
		.set = kernel_set,
		.stat = kernel_stat,
		.read = kernel_read,
		.list = kernel_list,
		.close = kernel_close,
	};
	return 0;
}
