/* SPDX-License-Identifier: BSD-3-Clause */
/* Capability probing: sysfs for what a queue is like, ioctls and statx for sizes and alignment. */
#include "core/blk/caps.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/blk/blk_ops.h"

#define TRANSFER_MIN_BYTES (64u << 10)
#define TRANSFER_MAX_BYTES (4u << 20)
#define TRANSFER_FILE_BYTES (1u << 20)
#define DEPTH_DEFAULT 64u
#define DEPTH_MAX 4096u

void caps_defaults(struct blk_caps *caps)
{
	*caps = (struct blk_caps){
		.logical_block_bytes = 512,
		.physical_block_bytes = BLK_ALIGN_MAX,
		.align_bytes = BLK_ALIGN_MAX,
		.max_transfer_bytes = TRANSFER_FILE_BYTES,
		.queue_depth = DEPTH_DEFAULT,
		.volatile_cache = true,
	};
}

/* One line of text from @dir/@name, without its newline and padding. */
static bool read_text(const char *dir, const char *name, char *buf, size_t len)
{
	char path[PATH_MAX];
	ssize_t n;
	int fd;

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, buf, len - 1);
	close(fd);
	if (n < 0)
		return false;
	buf[n] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	for (size_t end = strlen(buf); end > 0 && buf[end - 1] == ' '; end--)
		buf[end - 1] = '\0';
	return true;
}

static bool read_number(const char *dir, const char *name, uint64_t *ret)
{
	char buf[32], *end;
	unsigned long long v;

	if (!read_text(dir, name, buf, sizeof(buf)) || !isdigit((unsigned char)buf[0]))
		return false;
	errno = 0;
	v = strtoull(buf, &end, 10);
	if (errno || *end)
		return false;
	*ret = v;
	return true;
}

/* Is there a folder named @prefix followed by a digit on the way to @path? */
static bool path_has(const char *path, const char *prefix)
{
	size_t len = strlen(prefix);

	for (const char *p = strchr(path, '/'); p; p = strchr(p + 1, '/')) {
		if (strncmp(p + 1, prefix, len) == 0 && isdigit((unsigned char)p[1 + len]))
			return true;
	}
	return false;
}

/* By the disk's name where a driver owns the name, else by the buses on its path. */
static enum blk_transport transport_of(const char *disk_dir)
{
	const char *name = strrchr(disk_dir, '/') + 1;

	if (strncmp(name, "nvme", 4) == 0)
		return BLK_TRANSPORT_NVME;
	if (strncmp(name, "loop", 4) == 0)
		return BLK_TRANSPORT_LOOP;
	if (strncmp(name, "vd", 2) == 0 && path_has(disk_dir, "virtio"))
		return BLK_TRANSPORT_VIRTIO;
	if (path_has(disk_dir, "ata"))
		return BLK_TRANSPORT_SATA;
	if (path_has(disk_dir, "host"))
		return BLK_TRANSPORT_SCSI;
	return BLK_TRANSPORT_UNKNOWN;
}

/* The queue's tags, or fewer when the device itself (NCQ, NVMe submission queue) takes fewer. */
static uint32_t depth_of(const char *disk_dir, uint32_t unknown)
{
	uint64_t depth = 0, device;

	if (!read_number(disk_dir, "queue/nr_requests", &depth) || depth == 0)
		depth = DEPTH_MAX;
	/* A scheduler's nr_requests says little about the device; what the device says comes first. */
	if ((read_number(disk_dir, "device/queue_depth", &device) || read_number(disk_dir, "device/sqsize", &device)) &&
	    device > 0 && device < depth)
		depth = device;
	return depth < DEPTH_MAX ? (uint32_t)depth : unknown;
}

static void queue_caps(const char *disk_dir, struct blk_caps *caps)
{
	char text[32];
	uint64_t v;

	caps->queue_depth = depth_of(disk_dir, caps->queue_depth);
	if (read_text(disk_dir, "queue/write_cache", text, sizeof(text)))
		caps->volatile_cache = strcmp(text, "write through") != 0;
	if (read_number(disk_dir, "queue/fua", &v))
		caps->fua = v != 0;
	if (read_number(disk_dir, "queue/discard_max_bytes", &v))
		caps->discard = v != 0;
	if (read_number(disk_dir, "queue/write_zeroes_max_bytes", &v))
		caps->write_zeroes = v != 0;
	if (read_number(disk_dir, "queue/rotational", &v))
		caps->rotational = v != 0;
	if (read_number(disk_dir, "queue/logical_block_size", &v) && v <= UINT32_MAX)
		caps->logical_block_bytes = (uint32_t)v;
	if (read_number(disk_dir, "queue/physical_block_size", &v) && v <= UINT32_MAX)
		caps->physical_block_bytes = (uint32_t)v;
	if (read_number(disk_dir, "queue/max_sectors_kb", &v)) {
		v = min_u64(v, TRANSFER_MAX_BYTES >> 10) << 10;
		caps->max_transfer_bytes = (uint32_t)max_u64(round_down_u64(v, BLK_ALIGN_MAX), TRANSFER_MIN_BYTES);
	}
	read_text(disk_dir, "device/model", caps->model, sizeof(caps->model));
}

bool caps_from_sysfs(const char *sysfs_root, unsigned major, unsigned minor, struct blk_caps *caps)
{
	char link[PATH_MAX], dir[PATH_MAX];
	uint64_t v;

	if (snprintf(link, sizeof(link), "%s/dev/block/%u:%u", sysfs_root, major, minor) >= (int)sizeof(link) ||
	    !realpath(link, dir))
		return false;
	if (read_number(dir, "size", &v) && v <= UINT64_MAX / 512)
		caps->size_bytes = v * 512; /* always in units of 512 bytes */
	if (read_number(dir, "ro", &v))
		caps->read_only = v != 0;
	if (read_number(dir, "partition", &v))
		*strrchr(dir, '/') = '\0';
	caps->transport = transport_of(dir);
	queue_caps(dir, caps);
	return true;
}

static int probe_block(const char *sysfs_root, int fd, const char *name, const struct stat *st, struct blk_caps *caps)
{
	int logical = 0, read_only = 0;
	unsigned physical = 0;

	caps_from_sysfs(sysfs_root, major(st->st_rdev), minor(st->st_rdev), caps);
	if (ioctl(fd, BLKGETSIZE64, &caps->size_bytes) || ioctl(fd, BLKSSZGET, &logical) ||
	    ioctl(fd, BLKPBSZGET, &physical) || ioctl(fd, BLKROGET, &read_only))
		return err_set(-errno, "device %s: cannot ask for its size", name);
	caps->logical_block_bytes = (uint32_t)logical;
	caps->physical_block_bytes = physical;
	caps->align_bytes = caps->logical_block_bytes;
	caps->read_only = caps->read_only || read_only;
	return 0;
}

/* What O_DIRECT demands of this file: the kernel tells since 6.1, before that 4096 is always enough. */
static uint32_t file_align(int fd, bool direct)
{
	if (!direct)
		return 512;
#ifdef STATX_DIOALIGN
	struct statx sx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 && (sx.stx_mask & STATX_DIOALIGN) &&
	    sx.stx_dio_offset_align) {
		uint64_t align = max_u64(max_u64(sx.stx_dio_offset_align, sx.stx_dio_mem_align), 512);

		return align <= UINT32_MAX ? (uint32_t)align : UINT32_MAX;
	}
#else
	(void)fd;
#endif
	return BLK_ALIGN_MAX;
}

static void probe_file(const char *sysfs_root, int fd, const struct stat *st, bool direct, struct blk_caps *caps)
{
	struct blk_caps host;

	caps_defaults(&host);
	/* The disk under the file, where its file system stands on one: how deep, and whether it turns. */
	if (caps_from_sysfs(sysfs_root, major(st->st_dev), minor(st->st_dev), &host)) {
		caps->queue_depth = host.queue_depth;
		caps->rotational = host.rotational;
	}
	caps->transport = BLK_TRANSPORT_FILE;
	caps->align_bytes = file_align(fd, direct);
	caps->logical_block_bytes = caps->align_bytes;
	caps->size_bytes = (uint64_t)st->st_size;
	/* Punching beyond the end changes nothing, and tells whether holes are supported. */
	caps->discard = (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY &&
	                fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	                          (off_t)round_up_u64(caps->size_bytes, BLK_ALIGN_MAX), BLK_ALIGN_MAX) == 0;
	caps->write_zeroes = caps->discard;
}

int caps_probe(const char *sysfs_root, int fd, const char *name, const struct stat *st, bool direct,
               struct blk_caps *caps)
{
	int rc = 0;

	caps_defaults(caps);
	if (S_ISBLK(st->st_mode))
		rc = probe_block(sysfs_root, fd, name, st, caps);
	else
		probe_file(sysfs_root, fd, st, direct, caps);
	if (rc)
		return rc;
	if (!is_pow2_u64(caps->align_bytes) || caps->align_bytes > BLK_ALIGN_MAX)
		return err_set(-EINVAL, "device %s: demands alignment to %u bytes", name, caps->align_bytes);
	caps->size_bytes = round_down_u64(caps->size_bytes, caps->align_bytes);
	if (!caps->size_bytes)
		return err_set(-EINVAL, "device %s: is empty", name);
	return 0;
}
