/* SPDX-License-Identifier: BSD-3-Clause */
/* Sources: which machine's path it is, what it is, and how to open it. */
#include "server/mount/source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "core/base/err.h"
#include "core/blk/blk.h"
#include "server/mount/vfs_blk.h"

#define OWN_MOUNT_TYPE "fuse.wfs"

static const char *after(const char *text, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(text, prefix, len) == 0 ? text + len : NULL;
}

const char *source_namespace_path(const char *source)
{
	return after(source, SOURCE_NAMESPACE);
}

/* A plain path: here, or there? */
static int resolve_plain(struct vfs *v, char source[MOUNT_SOURCE_MAX])
{
	struct vfs_stat in_namespace;
	struct stat on_host;
	char path[VFS_PATH_MAX];
	bool there = vfs_stat_path(v, source, &in_namespace) == 0;
	bool here = stat(source, &on_host) == 0;

	if (there && here)
		return err_set(-EINVAL, "the source is on this machine and in the namespace: say " SOURCE_HOST
		                        " or " SOURCE_NAMESPACE " before its path");
	if (!there && !here)
		return err_set(-ENOENT, "%s is neither on this machine nor in the namespace", source);
	snprintf(path, sizeof(path), "%s", source);
	snprintf(source, MOUNT_SOURCE_MAX, "%s%s", there ? SOURCE_NAMESPACE : SOURCE_HOST, path);
	return 0;
}

int source_resolve(struct vfs *v, char source[MOUNT_SOURCE_MAX])
{
	const char *path = after(source, SOURCE_HOST);

	if (!path)
		path = source_namespace_path(source);
	if (!path)
		path = source;
	if (path[0] != '/')
		return err_set(-EINVAL, "source '%s': a device or file is named by its absolute path", source);
	if (strlen(path) >= VFS_PATH_MAX)
		return err_set(-EINVAL, "the path of a source is too long");
	return path == source ? resolve_plain(v, source) : 0;
}

/* Of a line of /proc/self/mountinfo (proc(5)): "ID PARENT MAJOR:MINOR ... - TYPE SOURCE OPTIONS". */
static bool is_line_of(const char *line, dev_t dev, const char *type)
{
	const char *found = strstr(line, " - ");
	unsigned major_number, minor_number;

	return found && sscanf(line, "%*u %*u %u:%u", &major_number, &minor_number) == 2 &&
	       makedev(major_number, minor_number) == dev && strncmp(found + 3, type, strlen(type)) == 0;
}

/* Does the device hold files that come from a daemon like this one? It may be this one, which would wait for itself. */
static bool is_own_mount(dev_t dev)
{
	FILE *in = fopen("/proc/self/mountinfo", "re");
	bool found = false;
	char *line = NULL;
	size_t size = 0;

	while (in && !found && getline(&line, &size, in) > 0)
		found = is_line_of(line, dev, OWN_MOUNT_TYPE);
	free(line);
	if (in)
		fclose(in);
	return found;
}

int source_identify(struct vfs *v, const char *source, struct source_id *ret)
{
	const char *path = source_namespace_path(source);
	struct vfs_stat in_namespace;
	struct stat on_host;
	int rc;

	if (path) {
		rc = vfs_stat_path(v, path, &in_namespace);
		if (rc == 0)
			*ret = (struct source_id){ true, in_namespace.fsid, in_namespace.object };
		return rc;
	}
	path = after(source, SOURCE_HOST);
	if (stat(path, &on_host) < 0)
		return err_set(-errno, "%s", path);
	if (is_own_mount(on_host.st_dev))
		return err_set(-ELOOP, "%s is on a mount of wfsd itself: name it as " SOURCE_NAMESPACE "/PATH", path);
	if (S_ISBLK(on_host.st_mode))
		*ret = (struct source_id){ false, 0, on_host.st_rdev };
	else
		*ret = (struct source_id){ false, on_host.st_dev, on_host.st_ino };
	return 0;
}

int source_open(struct vfs *v, const char *source, bool read_only, struct blk_dev **ret)
{
	const char *path = source_namespace_path(source);
	struct blk_dev *dev;
	int rc;

	if (path)
		rc = vfs_blk_open(v, path, source, read_only, &dev);
	else
		rc = blk_open(after(source, SOURCE_HOST), read_only ? BLK_OPEN_READ_ONLY : 0, &dev);
	if (rc < 0)
		return rc == -EROFS ? err_add(rc, "%s can only be mounted with --read-only", source) : rc;
	if (!read_only && blk_caps(dev)->read_only) {
		blk_close(dev);
		return err_set(-EROFS, "%s is read-only: mount it with --read-only", source);
	}
	*ret = dev;
	return 0;
}
