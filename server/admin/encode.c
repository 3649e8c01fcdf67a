/* SPDX-License-Identifier: BSD-3-Clause */
/* Structs to JSON, errno to HTTP. */
#include "server/admin/encode.h"
#include "server/conf/policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"

#define ENCODE_MESSAGE_MAX 1024

json_t *encode_text(const char *text)
{
	json_t *v = json_string(text);
	char *copy;

	if (v)
		return v;
	copy = strdup(text);
	if (!copy)
		return NULL;
	for (char *p = copy; *p; p++) {
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	}
	v = json_string(copy);
	free(copy);
	return v;
}

static json_t *encode_device(const struct pool_device_info *d)
{
	static const char *const states[] = {
		[POOL_DEVICE_ONLINE] = "online", [POOL_DEVICE_FILLING] = "filling", [POOL_DEVICE_AWAY] = "away"
	};

	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:o, s:o, s:o, s:I, s:I, s:I, s:b, s:b, s:b, s:I, s:I, s:I}",
	                 "state", states[d->state], "uuid", d->uuid, "mirror", (json_int_t)d->group, "away_txg",
	                 (json_int_t)d->away_txg, "repairs", (json_int_t)d->repairs, "path", encode_text(d->path),
	                 "transport", encode_text(d->transport), "model", encode_text(d->model), "size_bytes",
	                 (json_int_t)d->size_bytes, "queue_depth", (json_int_t)d->queue_depth, "logical_block_bytes",
	                 (json_int_t)d->logical_block_bytes, "volatile_cache", (int)d->volatile_cache, "fua",
	                 (int)d->fua, "discard", (int)d->discard, "read_errors", (json_int_t)d->read_errors,
	                 "write_errors", (json_int_t)d->write_errors, "checksum_errors",
	                 (json_int_t)d->checksum_errors);
}

static const char *health_name(enum pool_health health)
{
	switch (health) {
	case POOL_HEALTH_ONLINE:
		return "online";
	case POOL_HEALTH_DEGRADED:
		return "degraded";
	case POOL_HEALTH_READ_ONLY:
		break;
	}
	return "read-only";
}

json_t *encode_pool_summary(const struct pool_info *info)
{
	return json_pack("{s:o, s:s, s:o, s:I, s:I, s:I, s:I, s:I}", "name", encode_text(info->name), "health",
	                 health_name(info->health), "reason", encode_text(info->reason), "size_bytes",
	                 (json_int_t)info->size_bytes, "used_bytes", (json_int_t)info->used_bytes, "available_bytes",
	                 (json_int_t)info->available_bytes, "volume_count", (json_int_t)info->volume_count, "fs_count",
	                 (json_int_t)info->fs_count);
}

static json_t *encode_log(const struct pool_log_info *log)
{
	return json_pack("{s:I, s:I, s:b, s:I, s:I, s:I, s:I, s:f}", "size_bytes", (json_int_t)log->size_bytes,
	                 "used_bytes", (json_int_t)log->used_bytes, "clean_start", (int)log->clean_start,
	                 "recovered_bytes", (json_int_t)log->recovered_bytes, "recovered_records",
	                 (json_int_t)log->recovered_records, "recovered_changes", (json_int_t)log->recovered_changes,
	                 "recovered_pages", (json_int_t)log->recovered_pages, "recovery_seconds",
	                 (double)log->recovery_ns / 1e9);
}

static const char *scrub_state_name(enum pool_scrub_state state)
{
	static const char *const names[] = {
		[POOL_SCRUB_NEVER] = "never",       [POOL_SCRUB_RUNNING] = "running", [POOL_SCRUB_PAUSED] = "paused",
		[POOL_SCRUB_FINISHED] = "finished", [POOL_SCRUB_STOPPED] = "stopped",
	};

	return (unsigned)state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

json_t *encode_scrub(const struct pool_scrub_info *s)
{
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "state", scrub_state_name(s->state),
	                 "started_ns", (json_int_t)s->started_ns, "ended_ns", (json_int_t)s->ended_ns, "done_bytes",
	                 (json_int_t)s->done_bytes, "total_bytes", (json_int_t)s->total_bytes, "rate_bytes",
	                 (json_int_t)s->rate_bytes, "damage_count", (json_int_t)s->damage_count, "repaired_count",
	                 (json_int_t)s->repaired_count, "error", encode_text(s->error));
}

json_t *encode_pool(const struct pool_info *info)
{
	json_t *pool = encode_pool_summary(info);
	json_t *devices = json_array();
	json_t *more;
	int failed = 0;

	for (unsigned i = 0; i < info->device_count && i < POOL_DEVICES_MAX; i++)
		failed |= json_array_append_new(devices, encode_device(&info->devices[i]));
	more = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:I, s:o}", "uuid", info->uuid, "freeing_bytes",
	                 (json_int_t)info->freeing_bytes, "bad_bytes", (json_int_t)info->bad_bytes, "reserved_bytes",
	                 (json_int_t)info->reserved_bytes, "txg", (json_int_t)info->txg, "dirty_bytes",
	                 (json_int_t)info->dirty_bytes, "log", encode_log(&info->log), "scrub",
	                 encode_scrub(&info->scrub), "device_count", (json_int_t)info->device_count, "devices",
	                 devices);
	if (!pool || !more || failed || json_object_update(pool, more) < 0) {
		json_decref(pool);
		pool = NULL;
	}
	json_decref(more);
	return pool;
}

json_t *encode_volume(const struct volume_info *info)
{
	return json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I}", "pool", encode_text(info->pool), "name",
	                 encode_text(info->name), "id", (json_int_t)info->id, "size_bytes",
	                 (json_int_t)info->size_bytes, "used_bytes", (json_int_t)info->used_bytes, "created_ns",
	                 (json_int_t)info->created_ns, "modified_ns", (json_int_t)info->modified_ns, "open_count",
	                 (json_int_t)info->open_count);
}

json_t *encode_fs(const struct fs_info *info)
{
	return json_pack("{s:o, s:o, s:I, s:I, s:I, s:I}", "pool", encode_text(info->pool), "name",
	                 encode_text(info->name), "id", (json_int_t)info->id, "used_bytes",
	                 (json_int_t)info->used_bytes, "object_count", (json_int_t)info->object_count, "created_ns",
	                 (json_int_t)info->created_ns);
}

json_t *encode_export(const struct export_info *info)
{
	return json_pack("{s:o, s:o, s:o, s:b, s:b, s:b, s:I, s:o}", "name", encode_text(info->name), "path",
	                 encode_text(info->path), "description", encode_text(info->description), "read_only",
	                 (int)info->read_only, "is_default", (int)info->is_default, "is_static", (int)info->is_static,
	                 "open_count", (json_int_t)info->open_count, "policy", policy_encode(&info->policy));
}

json_t *encode_error(const struct err *e, int code)
{
	char text[ENCODE_MESSAGE_MAX];
	const char *name = strerrorname_np(-code);

	err_text(e, code, 0, text, sizeof(text));
	return json_pack("{s:{s:s, s:i, s:o}}", "error", "code", name ? name : "EIO", "errno", -code, "message",
	                 encode_text(text));
}

int encode_http_status(int code)
{
	switch (-code) {
	case EINVAL:
	case ENAMETOOLONG:
	case ENOTDIR:
	case EISDIR:
	case EBADMSG:
	case EMEDIUMTYPE:
	case ENOTSUP:
	case ENOTBLK:
		return 400;
	case EPERM:
	case EACCES:
		return 403;
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return 404;
	case EEXIST:
	case EBUSY:
	case EROFS:
	case ESTALE:
		return 409;
	case ESHUTDOWN:
	case EAGAIN:
		return 503;
	case ENOSPC:
	case EDQUOT:
		return 507;
	default:
		return 500;
	}
}
