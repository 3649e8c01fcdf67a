/* SPDX-License-Identifier: BSD-3-Clause */
/* JSON objects of API.md from the structs they mirror, and how errors become HTTP. */
#ifndef WFSD_SERVER_ADMIN_ENCODE_H
#define WFSD_SERVER_ADMIN_ENCODE_H

#include <jansson.h>

#include "core/vfs/vfs_pool.h"
#include "server/export/export.h"

struct err;

/* New references; NULL when memory is short. */
json_t *encode_pool(const struct pool_info *info);
json_t *encode_pool_summary(const struct pool_info *info);
json_t *encode_scrub(const struct pool_scrub_info *s);
json_t *encode_volume(const struct volume_info *info);
json_t *encode_fs(const struct fs_info *info);
json_t *encode_export(const struct export_info *info);
/* Bytes that are not UTF-8 become '?'. */
json_t *encode_text(const char *text);
/* {"error":{"code","errno","message"}} of the negative errno @code with context @e. */
json_t *encode_error(const struct err *e, int code);

/* The HTTP status for a negative errno. */
int encode_http_status(int code);

#endif
