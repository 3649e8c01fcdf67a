/* SPDX-License-Identifier: BSD-3-Clause */
/* POST and DELETE: exports, and reading the configuration again. */
#include <stdio.h>

#include "core/base/log.h"
#include "server/admin/body.h"
#include "server/admin/call.h"
#include "server/admin/encode.h"
#include "server/conf/policy.h"
#include "server/conf/state.h"
#include "server/export/export.h"
#include "server/mount/mount.h"

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

int export_verb_add(struct call *c)
{
	const struct admin_config *config = &c->admin->config;
	struct export_info info = { 0 };
	const char *name, *path, *description = "";
	const json_t *policy = NULL;
	const struct body_field fields[] = {
		{ .key = "name", .type = BODY_STRING, .required = true, .max = EXPORT_NAME_MAX, .ret = &name },
		{ .key = "path", .type = BODY_STRING, .required = true, .max = VFS_PATH_MAX - 1, .ret = &path },
		{ .key = "description", .type = BODY_TEXT, .max = EXPORT_DESCRIPTION_MAX, .ret = &description },
		{ .key = "read_only", .type = BODY_BOOL, .ret = &info.read_only },
		{ .key = "default", .type = BODY_BOOL, .ret = &info.is_default },
		{ .key = "policy", .type = BODY_OBJECT, .ret = &policy },
	};
	int rc = body_read(c->body, fields, COUNT_OF(fields));

	if (rc == 0 && policy)
		rc = policy_decode(policy, &info.policy);
	if (rc < 0)
		return rc;
	snprintf(info.name, sizeof(info.name), "%s", name);
	rc = mount_drive_path(config->mounts, path, info.path);
	if (rc < 0)
		return rc;
	snprintf(info.description, sizeof(info.description), "%s", description);
	sync_mutex_lock(&c->admin->verb_lock);
	rc = call_check_no_image(c, info.path);
	if (rc == 0)
		rc = export_add(config->exports, &info);
	if (rc == 0) {
		rc = state_put_export(config->state, &info);
		if (rc < 0)
			export_remove(config->exports, name);
	}
	sync_mutex_unlock(&c->admin->verb_lock);
	if (rc < 0)
		return rc;
	log_notice("admin", "export added export=%s path=%s read_only=%d", name, info.path, info.read_only);
	return answer_object(c, 201, encode_export(&info));
}

int export_verb_remove(struct call *c)
{
	const struct admin_config *config = &c->admin->config;
	struct export_info info;
	int rc = body_read(c->body, NULL, 0);

	if (rc < 0)
		return rc;
	sync_mutex_lock(&c->admin->verb_lock);
	rc = export_get(config->exports, c->names[0], &info);
	if (rc == 0)
		rc = export_remove(config->exports, c->names[0]);
	if (rc == 0) {
		rc = state_drop_export(config->state, c->names[0]);
		if (rc < 0)
			export_restore(config->exports, &info);
	}
	sync_mutex_unlock(&c->admin->verb_lock);
	if (rc == 0)
		log_notice("admin", "export removed export=%s", c->names[0]);
	return rc;
}

int verb_reload(struct call *c)
{
	int rc = body_read(c->body, NULL, 0);

	return rc < 0 ? rc : c->admin->config.reload(c->admin->config.reload_ctx);
}
