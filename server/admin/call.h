/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to server/admin: one request on its way through a handler, and the table of handlers. */
#ifndef WFSD_SERVER_ADMIN_CALL_H
#define WFSD_SERVER_ADMIN_CALL_H

#include <jansson.h>
#include <stdbool.h>

#include "core/base/sync.h"
#include "server/admin/admin.h"
#include "server/admin/http.h"
#include "server/loop/loop.h"
#include "server/loop/workers.h"

#define CALL_NAMES_MAX 2

struct http_server;

struct admin {
	struct admin_config config;
	struct http_server *control;
	struct http_server *readers; /* the TCP address */
	struct sync_mutex verb_lock; /* held over "is it in use?" and the change that must not happen then */
	struct sync_mutex lock;
	struct sync_cond idle_cond;
	unsigned call_count SYNC_GUARDED_BY(lock);
	bool stopping SYNC_GUARDED_BY(lock);
};

struct call {
	struct work work; /* first */
	struct loop_task task;
	struct admin *admin;
	struct http_exchange *exchange;
	const struct route *route;
	struct http_path path;
	const char *names[CALL_NAMES_MAX]; /* the variable segments of the path */
	json_t *body; /* the argument; an object */

	/* The answer: an object, or a text with its type. */
	int status; /* HTTP; 200 unless the handler says otherwise */
	json_t *object;
	char *text;
	size_t text_len;
	const char *text_type;
};

/* 0 with an answer in the call (none: an empty object), or a negative errno with context. */
typedef int call_fn(struct call *c);

enum route_where {
	ROUTE_LOOP, /* never waits */
	ROUTE_READER, /* may wait; changes nothing */
	ROUTE_CHANGE, /* may take long; only while the daemon is running */
};

struct route {
	enum http_method method;
	const char *pattern; /* like "/v1/pools"; a star stands for any one segment */
	enum route_where where;
	call_fn *handle;
	bool metrics_too; /* served on the TCP address, too */
};

/*
 * The route for @method and @path; its variable segments in @names. NULL: no such path, or *ret_other_method: there is,
 * with another method.
 */
const struct route *route_find(enum http_method method, const struct http_path *path, const char **names,
                               bool *ret_other_method);

/* read.c */
call_fn read_metrics, read_live, read_ready, read_status, read_pools, read_pool, read_volumes, read_volume, read_fss,
        read_fs, read_exports, read_connections, read_slow;
/* pool_verbs.c */
call_fn pool_verb_create, pool_verb_import, pool_verb_export, pool_verb_destroy, pool_verb_sync;
call_fn pool_verb_attach, pool_verb_detach, pool_verb_online;
/* check_verbs.c */
call_fn pool_verb_check, pool_verb_check_stop, read_check, pool_verb_scrub, read_scrub;
/* volume_verbs.c */
call_fn volume_verb_create, volume_verb_resize, volume_verb_rename, volume_verb_delete;
/* fs_verbs.c */
call_fn fs_verb_create, fs_verb_rename, fs_verb_delete;
/* mount_verbs.c */
call_fn mount_verb_add, mount_verb_remove, read_mounts;
/* drive_verbs.c */
call_fn drive_verb_set, drive_verb_remove, read_drives;
/* quota_verbs.c */
call_fn read_quotas, quota_verb_set;
/* export_verbs.c */
call_fn export_verb_add, export_verb_remove, verb_reload;

/* Answer with the pool, volume or file system as it is now. 0 or a negative errno. */
int answer_pool(struct call *c, const char *pool);
int answer_volume(struct call *c, const char *pool, const char *name);
int answer_fs(struct call *c, const char *pool, const char *name);
/*
 * Rename or delete what the path names, unless it is in use, by a function of struct pool_driver. @what and @key: how
 * people and the log call such a thing. As call_fn.
 */
typedef int call_answer_fn(struct call *c, const char *pool, const char *name);
typedef int call_rename_fn(void *ctx, const char *pool, const char *name, const char *new_name);
typedef int call_delete_fn(void *ctx, const char *pool, const char *name);
int call_rename(struct call *c, const char *what, const char *key, call_rename_fn *rename, call_answer_fn *answer);
int call_delete(struct call *c, const char *what, const char *key, call_delete_fn *remove);
/* Refuse when an export uses what the path names, or a mount stands on it: -EBUSY. verb_lock is held. */
int call_check_unused(struct call *c, const char *what);
/* Refuse when a mount stands on what is at or below @path: -EBUSY. verb_lock is held. */
int call_check_no_mount(struct call *c, const char *path);
/* Refuse what is mounted as an image, which others would damage by writing to it: -EBUSY. verb_lock is held. */
int call_check_no_image(struct call *c, const char *path);
/* Remove what stands on @path by force, and forget them. verb_lock is held. */
void call_remove_mounts(struct call *c, const char *path);
/* Answer with @object (the reference is taken; NULL: -ENOMEM). */
int answer_object(struct call *c, int status, json_t *object);

#endif
