/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nbdkit plugin for the tests: a file as a disk that fails on demand. While DIR/read, DIR/write or DIR/flush exists,
 * that operation answers EIO. Built by the test that uses it.
 */
#define NBDKIT_API_VERSION 2
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nbdkit-plugin.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

static const char *triggers = "";
static int fd = -1;

static int disk_config(const char *key, const char *value)
{
	if (strcmp(key, "triggers") == 0)
		triggers = value;
	else if (strcmp(key, "file") == 0)
		fd = open(value, O_RDWR | O_CLOEXEC);
	else
		return -1;
	return 0;
}

static void *disk_open(int readonly)
{
	(void)readonly;
	return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t disk_size(void *handle)
{
	struct stat st;

	(void)handle;
	return fstat(fd, &st) == 0 ? st.st_size : -1;
}

static int disk_fails(const char *operation)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", triggers, operation);
	if (access(path, F_OK) != 0)
		return 0;
	nbdkit_set_error(EIO);
	nbdkit_error("%s fails on demand", operation);
	return 1;
}

static int disk_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	(void)handle, (void)flags;
	if (disk_fails("read"))
		return -1;
	return pread(fd, buf, count, (off_t)offset) == (ssize_t)count ? 0 : -1;
}

static int disk_pwrite(void *handle, const void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	(void)handle, (void)flags;
	if (disk_fails("write"))
		return -1;
	return pwrite(fd, buf, count, (off_t)offset) == (ssize_t)count ? 0 : -1;
}

static int disk_flush(void *handle, uint32_t flags)
{
	(void)handle, (void)flags;
	return disk_fails("flush") ? -1 : 0;
}

static struct nbdkit_plugin plugin = {
	.name = "faulty",
	.config = disk_config,
	.open = disk_open,
	.get_size = disk_size,
	.pread = disk_pread,
	.pwrite = disk_pwrite,
	.flush = disk_flush,
};

NBDKIT_REGISTER_PLUGIN(plugin)
