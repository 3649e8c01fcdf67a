/* SPDX-License-Identifier: BSD-3-Clause */
/* Mounting shares of NFS servers. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/budget.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/cache/cache.h"
#include "core/fs/nfs/nfs_import.h"
#include "server/mount/kind.h"

/* A share has a cache of its own, in the one budget: write-back and read-ahead that wait for its server, and what it
 * does not take, hold up nobody else. */
#define CACHE_MIN_BYTES ((size_t)4 << 20)
#define DIRTY_PART 8u /* of the budget */
#define DIRTY_BYTES_MIN ((size_t)1 << 20)
#define WRITEBACK_AGE_MS 5000u
#define READAHEAD_BYTES ((size_t)2 << 20)

struct nfs_mounted {
	struct nfs_import *import;
	struct cache *cache;
	struct budget_consumer *budget;
	const struct mount_request *request;
};

static void mounted_free(struct nfs_mounted *m)
{
	cache_free(m->cache);
	if (m->budget)
		budget_leave(m->budget);
	free(m);
}

static int make_cache(struct nfs_mounted *m)
{
	struct budget *budget = m->request->budget;
	struct cache_config config = {
		.budget = budget,
		.min_bytes = (size_t)min_u64(CACHE_MIN_BYTES, budget_limit(budget) / DIRTY_PART),
		.dirty_max_bytes = (size_t)max_u64(budget_limit(budget) / DIRTY_PART, DIRTY_BYTES_MIN),
		.writeback_age_ms = WRITEBACK_AGE_MS,
		.writeback_threads = 1,
		.readahead_max_bytes = READAHEAD_BYTES,
	};

	config.dirty_background_bytes = config.dirty_max_bytes / 2;
	m->budget = budget_join(budget, "nfs", 0, NULL, NULL);
	if (!m->budget)
		return err_set(-ENOMEM, "no more users of the memory budget");
	return cache_new(&config, &m->cache);
}

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

	mounted_free(m);
	request->gone(request->gone_ctx, rc);
}

static int nfs_open(const struct mount_request *request, struct mount_fs *ret)
{
	struct nfs_import_options options = {
		.read_only = request->read_only,
		.gone = nfs_gone,
	};
	struct nfs_mounted *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return err_set(-ENOMEM, "mount %s", request->source);
	m->request = request;
	rc = make_cache(m);
	options.cache = m->cache;
	options.budget = m->budget;
	options.ctx = m;
	if (rc == 0)
		rc = nfs_import_open(request->source, &options, &m->import, &ret->root);
	if (rc < 0) {
		mounted_free(m);
		return rc;
	}
	ret->fs = m;
	ret->sync = nfs_sync;
	ret->kill = nfs_kill;
	ret->health = nfs_health;
	return 0;
}

const struct mount_kind mount_kind_nfs = { .name = "nfs", .scheme = "nfs://", .open = nfs_open };
