/* SPDX-License-Identifier: BSD-3-Clause */
/* Mounting WFS v2. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/err.h"
#include "core/fs/wfs2/wfs2_vfs.h"
#include "server/mount/kind.h"

#define SYNC_INTERVAL_MS 5000u

struct wfs2_mounted {
	struct wfs2_fs *fs;
	struct wfs2_vfs *vfs;
	const struct mount_request *request;
};

static int wfs2_sync_all(void *fs)
{
	const struct wfs2_mounted *m = fs;

	return wfs2_sync(m->fs);
}

static void wfs2_kill(void *fs)
{
	const struct wfs2_mounted *m = fs;

	wfs2_vfs_kill(m->vfs);
}

static void wfs2_health(void *fs, struct mount_health *ret)
{
	const struct wfs2_mounted *m = fs;
	struct wfs2_info info;

	wfs2_get_info(m->fs, &info);
	ret->read_only = info.read_only;
	snprintf(ret->reason, sizeof(ret->reason), "%s", info.reason);
}

static void wfs2_gone(void *ctx, int rc)
{
	struct wfs2_mounted *m = ctx;
	const struct mount_request *request = m->request;

	free(m);
	request->gone(request->gone_ctx, rc);
}

static int wfs2_open(const struct mount_request *request, struct mount_fs *ret)
{
	struct wfs2_mount_options options = {
		.cache = request->cache,
		.budget = request->budget,
		.read_only = request->read_only,
		.sync_interval_ms = SYNC_INTERVAL_MS,
	};
	struct wfs2_vfs_options vfs = {
		.uid = request->uid,
		.gid = request->gid,
		.file_mode = request->file_mode,
		.dir_mode = request->dir_mode,
		.gone = wfs2_gone,
	};
	struct wfs2_mounted *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return err_set(-ENOMEM, "mount %s", request->source);
	m->request = request;
	vfs.ctx = m;
	rc = wfs2_mount(request->dev, &options, &m->fs);
	if (rc == 0) {
		rc = wfs2_vfs_new(m->fs, &vfs, &m->vfs, &ret->root);
		if (rc < 0)
			(void)wfs2_unmount(m->fs);
	}
	if (rc < 0) {
		free(m);
		return rc;
	}
	ret->fs = m;
	ret->sync = wfs2_sync_all;
	ret->kill = wfs2_kill;
	ret->health = wfs2_health;
	return 0;
}

const struct mount_kind mount_kind_wfs2 = { .name = "wfs2", .keeps_no_owners = true, .open = wfs2_open };
