/* SPDX-License-Identifier: BSD-3-Clause */
/* Mounts: add, list and remove; and remember which ones there are to be. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "server/admin/body.h"
#include "server/admin/call.h"
#include "server/admin/encode.h"
#include "server/admin/restore.h"
#include "server/admin/status.h"
#include "server/conf/state.h"
#include "server/export/export.h"
#include "server/mount/mount.h"

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))
#define NAMESPACE_PREFIX "wfs:"

static int read_spec(struct call *c, struct mount_spec *ret)
{
	const char *kind, *source, *path;
	uint64_t uid = 0, gid = 0, mask = MOUNT_UMASK_DEFAULT;
	const struct body_field fields[] = {
		{ .key = "kind", .type = BODY_STRING, .required = true, .max = MOUNT_KIND_MAX, .ret = &kind },
		{ .key = "source", .type = BODY_STRING, .required = true, .max = MOUNT_SOURCE_MAX - 1, .ret = &source },
		{ .key = "path", .type = BODY_STRING, .required = true, .max = VFS_PATH_MAX - 1, .ret = &path },
		{ .key = "read_only", .type = BODY_BOOL, .ret = &ret->read_only },
		{ .key = "uid", .type = BODY_SIZE, .ret = &uid },
		{ .key = "gid", .type = BODY_SIZE, .ret = &gid },
		{ .key = "umask", .type = BODY_SIZE, .ret = &mask },
	};
	int rc = body_read(c->body, fields, COUNT_OF(fields));

	if (rc == 0 && (uid > UINT32_MAX || gid > UINT32_MAX || mask > 0777))
		rc = err_set(-EINVAL, "'uid', 'gid' and 'umask': one of them is too large");
	if (rc < 0)
		return rc;
	snprintf(ret->kind, sizeof(ret->kind), "%s", kind);
	snprintf(ret->source, sizeof(ret->source), "%s", source);
	snprintf(ret->path, sizeof(ret->path), "%s", path);
	ret->uid = (uint32_t)uid;
	ret->gid = (uint32_t)gid;
	ret->umask = (uint32_t)mask;
	return 0;
}

/* Clients that write to an image that is mounted would damage it. */
static int check_not_exported(struct call *c, const char *source)
{
	size_t prefix = strlen(NAMESPACE_PREFIX);
	const char *path = strncmp(source, NAMESPACE_PREFIX, prefix) == 0 ? source + prefix : source;
	char name[EXPORT_NAME_MAX + 1];

	if (export_find_user(c->admin->config.exports, path, name))
		return err_set(-EBUSY, "export '%s' uses %s: remove it first", name, path);
	return 0;
}

static json_t *encode_mount(const struct mount_spec *spec)
{
	return json_pack("{s:o, s:o, s:o, s:b, s:I, s:I, s:I}", "kind", encode_text(spec->kind), "source",
	                 encode_text(spec->source), "path", encode_text(spec->path), "read_only", (int)spec->read_only,
	                 "uid", (json_int_t)spec->uid, "gid", (json_int_t)spec->gid, "umask", (json_int_t)spec->umask);
}

static int add_and_remember(struct call *c, struct mount_spec *spec)
{
	const struct admin_config *config = &c->admin->config;
	struct mount_removal removal;
	int rc;

	sync_mutex_lock(&c->admin->verb_lock);
	rc = check_not_exported(c, spec->source);
	if (rc == 0)
		rc = mount_add(config->mounts, spec);
	if (rc == 0) {
		rc = state_put_mount(config->state, spec);
		if (rc < 0)
			(void)mount_remove(config->mounts, spec->path, true, NULL, NULL, &removal);
		else
			daemon_problem_clear(config->status, spec->path);
		restore_drives(config->mounts, config->state, config->status);
	}
	sync_mutex_unlock(&c->admin->verb_lock);
	return rc;
}

int mount_verb_add(struct call *c)
{
	struct mount_spec *spec = calloc(1, sizeof(*spec));
	int rc = spec ? read_spec(c, spec) : err_set(-ENOMEM, "mount");

	if (rc == 0)
		rc = add_and_remember(c, spec);
	if (rc == 0)
		rc = answer_object(c, 201, encode_mount(spec));
	free(spec);
	return rc;
}

static int forget(struct call *c, const char *path)
{
	int rc = state_drop_mount(c->admin->config.state, path);

	return rc < 0 ? err_add(rc, "%s is unmounted, but will be mounted at the next start", path) : 0;
}

static void forget_other(void *ctx, const char *path)
{
	if (forget(ctx, path) < 0)
		log_error("admin", "a mount that was removed is not forgotten path=%s", path);
}

void call_remove_mounts(struct call *c, const char *path)
{
	mount_remove_users(c->admin->config.mounts, path, forget_other, c);
}

int call_check_no_mount(struct call *c, const char *path)
{
	char place[VFS_PATH_MAX];

	if (mount_find_user(c->admin->config.mounts, path, place))
		return err_set(-EBUSY, "the mount at %s stands on %s: remove it first", place, path);
	return 0;
}

int call_check_no_image(struct call *c, const char *path)
{
	char place[VFS_PATH_MAX];

	if (mount_find_source(c->admin->config.mounts, path, place))
		return err_set(-EBUSY, "%s is mounted at %s", path, place);
	return 0;
}

static int check_unused(struct call *c, const char *path)
{
	char name[EXPORT_NAME_MAX + 1];

	if (export_find_user(c->admin->config.exports, path, name))
		return err_set(-EBUSY, "export '%s' uses %s: remove it first", name, path);
	return 0;
}

int mount_verb_remove(struct call *c)
{
	const struct admin_config *config = &c->admin->config;
	const char *path;
	struct mount_removal removal = { 0 };
	bool force = false;
	const struct body_field fields[] = {
		{ .key = "path", .type = BODY_STRING, .required = true, .max = VFS_PATH_MAX - 1, .ret = &path },
		{ .key = "force", .type = BODY_BOOL, .ret = &force },
	};
	int rc = body_read(c->body, fields, COUNT_OF(fields));

	if (rc < 0)
		return rc;
	sync_mutex_lock(&c->admin->verb_lock);
	rc = force ? 0 : check_unused(c, path);
	if (rc == 0)
		rc = mount_remove(config->mounts, path, force, forget_other, c, &removal);
	/* One that could not be mounted at the start can be given up, too. */
	if (rc == -ENOENT && daemon_problem_clear(config->status, path))
		rc = 0;
	if (rc == 0)
		rc = forget(c, path);
	sync_mutex_unlock(&c->admin->verb_lock);
	if (rc == 0 && removal.error < 0)
		rc = err_set(removal.error, "%s is unmounted, but not everything could be written", path);
	return rc < 0 ? rc : answer_object(c, 200, json_pack("{s:b}", "leaving", (int)removal.leaving));
}

struct listing {
	json_t *list;
	bool failed;
	struct daemon_status *status; /* of those that are missing */
};

/* An entry of the list with what @more (taken over) says. */
static void add_entry(struct listing *l, const struct mount_spec *spec, json_t *more)
{
	json_t *mount = encode_mount(spec);

	if (!mount || !more || json_object_update(mount, more) < 0 || json_array_append(l->list, mount) < 0)
		l->failed = true;
	json_decref(more);
	json_decref(mount);
}

static void add_mount(void *ctx, const struct mount_info *info)
{
	add_entry(ctx, &info->spec,
	          json_pack("{s:b, s:b, s:o}", "leaving", (int)info->leaving, "is_read_only", (int)info->read_only,
	                    "reason", encode_text(info->reason)));
}

struct search {
	const char *about;
	json_t *text;
};

static void find_problem(void *ctx, const char *about, const char *text)
{
	struct search *s = ctx;

	if (!s->text && strcmp(about, s->about) == 0)
		s->text = encode_text(text);
}

/* One that is remembered, and could not be mounted. */
static void add_missing(void *ctx, const struct mount_spec *spec)
{
	struct search s = { .about = spec->path };
	struct listing *l = ctx;

	daemon_problem_each(l->status, find_problem, &s);
	if (s.text)
		add_entry(l, spec, json_pack("{s:o}", "reason", s.text));
}

int read_mounts(struct call *c)
{
	const struct admin_config *config = &c->admin->config;
	struct listing there = { .list = json_array() };
	struct listing missing = { .list = json_array(), .status = config->status };
	json_t *object = NULL;

	mount_each(config->mounts, add_mount, &there);
	state_each_mount(config->state, add_missing, &missing);
	if (!there.failed && !missing.failed)
		object = json_pack("{s:O, s:O}", "mounts", there.list, "missing", missing.list);
	json_decref(there.list);
	json_decref(missing.list);
	return answer_object(c, 200, object);
}
