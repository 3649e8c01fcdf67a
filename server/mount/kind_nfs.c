/* SPDX-License-Identifier: BSD-3-Clause */
/* Mounting shares of NFS servers. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/budget.h"
#include "core/base/err.h"
#include "core/fs/nfs/nfs_import.h"
#include "server/mount/kind.h"

struct nfs_mounted {
	struct nfs_import *import;
	struct budget_consumer *budget;
	const struct mount_request *request;
};

static int nfs_sync(void *fs)
{
	const struct nfs_mounted *m = fs;

	return nfs_import_sync(m->import);
}

static void nfs_kill(void *fs)
{
	const struct nfs_mounted *m = fs;

	nfs_import_kill(m->import);
}

static void nfs_health(void *fs, struct mount_health *ret)
{
	const struct nfs_mounted *m = fs;
	struct nfs_import_stats s;

	nfs_import_get_stats(m->import, &s);
	ret->read_only = m->request->read_only;
	snprintf(ret->reason, sizeof(ret->reason), "%s", s.down ? "the server does not answer" : "");
}

static void nfs_gone(void *ctx, int rc)
{
	struct nfs_mounted *m = ctx;
	const struct mount_request *request = m->request;

	budget_leave(m->budget);
	free(m);
	request->gone(request->gone_ctx, rc);
}

static int nfs_open(const struct mount_request *request, struct mount_fs *ret)
{
	struct nfs_import_options options = {
		.cache = request->cache,
		.read_only = request->read_only,
		.gone = nfs_gone,
	};
	struct nfs_mounted *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return err_set(-ENOMEM, "mount %s", request->source);
	m->request = request;
	m->budget = budget_join(request->budget, "nfs", 0, NULL, NULL);
	if (!m->budget) {
		free(m);
		return err_set(-ENOMEM, "mount %s: no more users of the memory budget", request->source);
	}
	options.budget = m->budget;
	options.ctx = m;
	rc = nfs_import_open(request->source, &options, &m->import, &ret->root);
	if (rc < 0) {
		budget_leave(m->budget);
		free(m);
		return rc;
	}
	ret->fs = m;
	ret->sync = nfs_sync;
	ret->kill = nfs_kill;
	ret->health = nfs_health;
	return 0;
}

const struct mount_kind mount_kind_nfs = { .name = "nfs", .scheme = "nfs://", .open = nfs_open };
