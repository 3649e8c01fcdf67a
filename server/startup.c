/* SPDX-License-Identifier: BSD-3-Clause */
/* Pools, mounts and exports at the start and at the end of the daemon. */
#include "server/startup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "server/admin/restore.h"
#include "server/admin/status.h"
#include "server/conf/conf.h"
#include "server/conf/state.h"
#include "server/export/export.h"

#define PROBLEM_TEXT_MAX 1024

struct startup {
	const struct pool_admin *pools;
	const struct conf *conf;
	struct export_table *exports;
	struct daemon_status *status;
};

static void import_pool(const struct startup *s, const char *name, const char *const *devices, unsigned device_count,
                        bool read_only)
{
	char *found = NULL;
	int rc;

	err_clear();
	rc = s->pools->driver->pool_import(s->pools->ctx, devices, device_count, read_only, &found);
	if (rc == 0 && strcmp(found, name) != 0)
		log_warning("wfsd", "the pool on these devices has another name expected=%s found=%s", name, found);
	if (rc == 0)
		log_notice("wfsd", "pool imported pool=%s devices=%u", found, device_count);
	else
		daemon_problem_set_error(s->status, "pool", name, rc);
	free(found);
}

static bool is_configured(const struct conf *c, const char *pool)
{
	for (unsigned i = 0; i < c->pool_count; i++) {
		if (strcmp(c->pools[i].name, pool) == 0)
			return true;
	}
	return false;
}

static void import_remembered(void *ctx, const struct state_pool *pool)
{
	const struct startup *s = ctx;

	if (!is_configured(s->conf, pool->name))
		import_pool(s, pool->name, pool->devices, pool->device_count, pool->read_only);
}

void startup_pools(const struct pool_admin *pools, const struct conf *c, struct state *state,
                   struct daemon_status *status)
{
	struct startup s = { .pools = pools, .conf = c, .status = status };

	for (unsigned i = 0; i < c->pool_count; i++)
		import_pool(&s, c->pools[i].name, c->pools[i].devices, c->pools[i].device_count, false);
	state_each_pool(state, import_remembered, &s);
}

void startup_mounts(struct mount_table *t, struct state *state, struct daemon_status *status)
{
	restore_mounts(t, state, status, false);
	restore_drives(t, state, status);
}

static void restore_export(void *ctx, const struct export_info *info)
{
	const struct startup *s = ctx;
	int rc = export_restore(s->exports, info);

	if (rc < 0)
		daemon_problem_set_error(s->status, "export", info->name, rc);
}

int startup_exports(struct export_table *t, const struct conf *c, struct state *state, struct daemon_status *status)
{
	struct startup s = { .exports = t, .conf = c, .status = status };
	int rc = export_set_static(t, c->exports, c->export_count);

	if (rc < 0)
		return rc;
	state_each_export(state, restore_export, &s);
	return 0;
}

struct pool_names {
	char names[CONF_POOLS_MAX][POOL_NAME_MAX + 1];
	unsigned count;
	bool more;
};

static void add_name(void *ctx, const struct pool_info *info)
{
	struct pool_names *n = ctx;

	if (n->count < CONF_POOLS_MAX)
		memcpy(n->names[n->count++], info->name, sizeof(info->name));
	else
		n->more = true;
}

int shutdown_pools(const struct pool_admin *pools)
{
	char text[PROBLEM_TEXT_MAX];
	struct pool_names n;
	int first = 0;

	do {
		n.count = 0;
		n.more = false;
		pools->driver->pool_each(pools->ctx, add_name, &n);
		for (unsigned i = 0; i < n.count; i++) {
			int rc = pools->driver->pool_export(pools->ctx, n.names[i], true);

			if (rc < 0) {
				log_error("wfsd", "pool not committed pool=%s error=\"%s\"", n.names[i],
				          err_text(err_get(), rc, 0, text, sizeof(text)));
				first = first ? first : rc;
			}
		}
	} while (n.more && first == 0);
	return first;
}
