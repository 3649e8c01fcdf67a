/* SPDX-License-Identifier: BSD-3-Clause */
/* Which function answers which path. */
#include <string.h>

#include "server/admin/call.h"

static const struct route routes[] = {
	{ HTTP_GET, "/metrics", ROUTE_LOOP, read_metrics, true },
	{ HTTP_GET, "/health/live", ROUTE_LOOP, read_live, true },
	{ HTTP_GET, "/health/ready", ROUTE_LOOP, read_ready, true },
	{ HTTP_GET, "/v1/status", ROUTE_READER, read_status, false },
	{ HTTP_GET, "/v1/pools", ROUTE_READER, read_pools, false },
	{ HTTP_POST, "/v1/pools", ROUTE_CHANGE, pool_verb_create, false },
	{ HTTP_POST, "/v1/pools/import", ROUTE_CHANGE, pool_verb_import, false },
	{ HTTP_GET, "/v1/pools/*", ROUTE_READER, read_pool, false },
	{ HTTP_POST, "/v1/pools/*/export", ROUTE_CHANGE, pool_verb_export, false },
	{ HTTP_POST, "/v1/pools/*/destroy", ROUTE_CHANGE, pool_verb_destroy, false },
	{ HTTP_POST, "/v1/pools/*/sync", ROUTE_CHANGE, pool_verb_sync, false },
	{ HTTP_POST, "/v1/pools/*/attach", ROUTE_CHANGE, pool_verb_attach, false },
	{ HTTP_POST, "/v1/pools/*/detach", ROUTE_CHANGE, pool_verb_detach, false },
	{ HTTP_POST, "/v1/pools/*/online", ROUTE_CHANGE, pool_verb_online, false },
	{ HTTP_GET, "/v1/pools/*/scrub", ROUTE_READER, read_scrub, false },
	{ HTTP_POST, "/v1/pools/*/scrub", ROUTE_CHANGE, pool_verb_scrub, false },
	{ HTTP_GET, "/v1/pools/*/check", ROUTE_READER, read_check, false },
	{ HTTP_POST, "/v1/pools/*/check", ROUTE_CHANGE, pool_verb_check, false },
	{ HTTP_DELETE, "/v1/pools/*/check", ROUTE_CHANGE, pool_verb_check_stop, false },
	{ HTTP_GET, "/v1/volumes", ROUTE_READER, read_volumes, false },
	{ HTTP_POST, "/v1/volumes", ROUTE_CHANGE, volume_verb_create, false },
	{ HTTP_GET, "/v1/volumes/*/*", ROUTE_READER, read_volume, false },
	{ HTTP_DELETE, "/v1/volumes/*/*", ROUTE_CHANGE, volume_verb_delete, false },
	{ HTTP_POST, "/v1/volumes/*/*/resize", ROUTE_CHANGE, volume_verb_resize, false },
	{ HTTP_POST, "/v1/volumes/*/*/rename", ROUTE_CHANGE, volume_verb_rename, false },
	{ HTTP_GET, "/v1/filesystems", ROUTE_READER, read_fss, false },
	{ HTTP_POST, "/v1/filesystems", ROUTE_CHANGE, fs_verb_create, false },
	{ HTTP_GET, "/v1/filesystems/*/*", ROUTE_READER, read_fs, false },
	{ HTTP_DELETE, "/v1/filesystems/*/*", ROUTE_CHANGE, fs_verb_delete, false },
	{ HTTP_POST, "/v1/filesystems/*/*/rename", ROUTE_CHANGE, fs_verb_rename, false },
	{ HTTP_GET, "/v1/quotas/*/*", ROUTE_READER, read_quotas, false },
	{ HTTP_POST, "/v1/quotas/*/*", ROUTE_CHANGE, quota_verb_set, false },
	{ HTTP_GET, "/v1/mounts", ROUTE_READER, read_mounts, false },
	{ HTTP_POST, "/v1/mounts", ROUTE_CHANGE, mount_verb_add, false },
	{ HTTP_POST, "/v1/mounts/remove", ROUTE_CHANGE, mount_verb_remove, false },
	{ HTTP_GET, "/v1/drives", ROUTE_READER, read_drives, false },
	{ HTTP_POST, "/v1/drives", ROUTE_CHANGE, drive_verb_set, false },
	{ HTTP_DELETE, "/v1/drives/*", ROUTE_CHANGE, drive_verb_remove, false },
	{ HTTP_GET, "/v1/exports", ROUTE_READER, read_exports, false },
	{ HTTP_POST, "/v1/exports", ROUTE_CHANGE, export_verb_add, false },
	{ HTTP_DELETE, "/v1/exports/*", ROUTE_CHANGE, export_verb_remove, false },
	{ HTTP_GET, "/v1/connections", ROUTE_LOOP, read_connections, false },
	{ HTTP_GET, "/v1/slow", ROUTE_READER, read_slow, false },
	{ HTTP_POST, "/v1/reload", ROUTE_CHANGE, verb_reload, false },
};

static bool pattern_fits(const char *pattern, const struct http_path *path, const char **names)
{
	unsigned name_count = 0;

	for (unsigned i = 0; i < path->count; i++) {
		const char *segment = path->segments[i];
		size_t len;

		if (*pattern++ != '/')
			return false;
		len = strcspn(pattern, "/");
		if (len == 1 && *pattern == '*')
			names[name_count++] = segment;
		else if (strlen(segment) != len || memcmp(pattern, segment, len) != 0)
			return false;
		pattern += len;
	}
	return *pattern == '\0';
}

const struct route *route_find(enum http_method method, const struct http_path *path, const char **names,
                               bool *ret_other_method)
{
	*ret_other_method = false;
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		if (!pattern_fits(routes[i].pattern, path, names))
			continue;
		if (routes[i].method == method)
			return &routes[i];
		*ret_other_method = true;
	}
	return NULL;
}
