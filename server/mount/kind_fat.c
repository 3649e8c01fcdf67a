/* SPDX-License-Identifier: BSD-3-Clause */
/* Mounting FAT. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/base/err.h"
#include "core/fs/fat/fat_vfs.h"
#include "server/mount/kind.h"

#define SYNC_INTERVAL_MS 5000u

struct fat_mounted {
	struct fat_fs *fs;
	struct fat_vfs *vfs;
	const struct mount_request *request;
};

static int fat_sync_all(void *fs)
{
	const struct fat_mounted *m = fs;

	return fat_sync(m->fs);
}

static void fat_kill(void *fs)
{
	const struct fat_mounted *m = fs;

	fat_vfs_kill(m->vfs);
}

static void fat_health(void *fs, struct mount_health *ret)
{
	const struct fat_mounted *m = fs;
	struct fat_info info;

	fat_get_info(m->fs, &info);
	ret->read_only = info.read_only;
	snprintf(ret->reason, sizeof(ret->reason), "%s", info.reason);
	if (!info.reason[0] && info.was_dirty)
		snprintf(ret->reason, sizeof(ret->reason), "it was not unmounted cleanly: check it with wfs fsck fat");
}

static void fat_gone(void *ctx, int rc)
{
	struct fat_mounted *m = ctx;
	const struct mount_request *request = m->request;

	free(m);
	request->gone(request->gone_ctx, rc);
}

/* FAT keeps local time without a zone. */
static int utc_offset_minutes(void)
{
	time_t now = time(NULL);
	struct tm local;

	return localtime_r(&now, &local) ? (int)(local.tm_gmtoff / 60) : 0;
}

static int fat_open(const struct mount_request *request, struct mount_fs *ret)
{
	struct fat_mount_options options = {
		.cache = request->cache,
		.budget = request->budget,
		.read_only = request->read_only,
		.utc_offset_minutes = utc_offset_minutes(),
		.sync_interval_ms = SYNC_INTERVAL_MS,
	};
	struct fat_vfs_options vfs = {
		.uid = request->uid,
		.gid = request->gid,
		.file_mode = request->file_mode,
		.dir_mode = request->dir_mode,
		.gone = fat_gone,
	};
	struct fat_mounted *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return err_set(-ENOMEM, "mount %s", request->source);
	m->request = request;
	vfs.ctx = m;
	rc = fat_mount(request->dev, &options, &m->fs);
	if (rc == 0) {
		rc = fat_vfs_new(m->fs, &vfs, &m->vfs, &ret->root);
		if (rc < 0)
			(void)fat_unmount(m->fs);
	}
	if (rc < 0) {
		free(m);
		return rc;
	}
	ret->fs = m;
	ret->sync = fat_sync_all;
	ret->kill = fat_kill;
	ret->health = fat_health;
	return 0;
}

const struct mount_kind mount_kind_fat = { .name = "fat", .keeps_no_owners = true, .open = fat_open };
