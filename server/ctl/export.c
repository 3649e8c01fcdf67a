/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs export ... */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/ctl/command.h"
#include "server/ctl/size.h"
#include "server/ctl/url.h"

/* POOL/NAME, or any absolute path of the namespace. *ret_name: the last part of it. Malloc'ed; NULL after an error. */
static char *export_path(const char *given, const char **ret_name)
{
	struct volume_name name;
	char *path = NULL;

	/* "C:\\dir" and "C:/dir" are paths of what is mounted with that drive letter. */
	if (given[0] == '/' || (given[0] && given[1] == ':')) {
		const char *slash = strrchr(given, '/'), *backslash = given[0] == '/' ? NULL : strrchr(given, '\\');

		*ret_name = slash && (!backslash || slash > backslash) ? slash + 1 : backslash ? backslash + 1 : "";
		return strdup(given);
	}
	if (volume_name_parse(given, &name)) {
		command_usage_err();
		return NULL;
	}
	*ret_name = strchr(given, '/') + 1;
	return asprintf(&path, "/%s", given) < 0 ? NULL : path;
}

/* "a,b,c" as a list. */
static json_t *split(const char *text)
{
	json_t *list = json_array();

	while (list && *text) {
		size_t len = strcspn(text, ",");

		json_array_append_new(list, json_stringn(text, len));
		text += len + (text[len] == ',');
	}
	return list;
}

/* "UID:GID". */
static int put_anon(json_t *policy, const char *text)
{
	unsigned uid, gid;
	int end = 0;

	if (sscanf(text, "%9u:%9u%n", &uid, &gid, &end) != 2 || text[end])
		return -EINVAL;
	json_object_set_new(policy, "anon_uid", json_integer(uid));
	json_object_set_new(policy, "anon_gid", json_integer(gid));
	return 0;
}

static json_t *policy_of(const struct args *a)
{
	json_t *policy = json_object();

	if (a->auth_sys)
		json_object_set_new(policy, "auth_sys", json_true());
	if (a->tls)
		json_object_set_new(policy, "tls", json_true());
	if (a->squash)
		json_object_set_new(policy, "squash", json_string(a->squash));
	if (a->clients)
		json_object_set_new(policy, "clients", split(a->clients));
	if (a->certificate_names)
		json_object_set_new(policy, "certificate_names", split(a->certificate_names));
	if (a->anon && put_anon(policy, a->anon)) {
		json_decref(policy);
		return NULL;
	}
	return policy;
}

enum ctl_status cmd_export_add(struct ctl *c)
{
	const char *as = NULL;
	char *path = export_path(c->operands[0], &as);
	json_t *body, *policy = policy_of(&c->args);

	if (!policy) {
		free(path);
		return command_fail(CTL_USAGE, "--anon '%s' is not UID:GID", c->args.anon);
	}
	if (!path) {
		json_decref(policy);
		return CTL_USAGE;
	}
	if (c->args.as)
		as = c->args.as;
	body = json_pack("{s:s, s:s}", "name", as, "path", path);
	free(path);
	if (body && (c->args.given & ARGS_POLICY))
		json_object_set(body, "policy", policy);
	json_decref(policy);
	if (body && (c->args.given & ARGS_READ_ONLY))
		json_object_set_new(body, "read_only", json_true());
	if (body && (c->args.given & ARGS_DEFAULT))
		json_object_set_new(body, "default", json_true());
	if (body && c->args.description && json_object_set_new(body, "description", json_string(c->args.description))) {
		json_decref(body);
		body = NULL;
	}
	return command_change(
	        c,
	        (struct command_request){
	                .method = "POST", .path = strdup("/v1/exports"), .body = body, .body_wanted = true },
	        "%s is exported as %s", c->operands[0], as);
}

static void add_row(struct table *t, const json_t *info)
{
	char name[300];

	snprintf(name, sizeof(name), "%s%s", command_text(info, "name"),
	         command_flag(info, "is_default") ? " (default)" : "");
	table_add(t, name);
	table_add(t, command_text(info, "path"));
	table_add(t, command_flag(info, "read_only") ? "read-only" : "read-write");
	table_add(t, command_flag(info, "is_static") ? "file" : "command");
	command_add_number(t, info, "open_count");
	table_add(t, command_text(info, "description"));
}

enum ctl_status cmd_export_list(struct ctl *c)
{
	static const char *const titles[] = { "NAME", "PATH", "ACCESS", "FROM", ">OPEN", "DESCRIPTION", NULL };
	static const struct command_rows rows[] = { { "exports", add_row }, { NULL, NULL } };

	return command_list(c, strdup("/v1/exports"), titles, rows);
}

enum ctl_status cmd_export_remove(struct ctl *c)
{
	const char *name = c->operands[0];

	return command_change(
	        c, (struct command_request){ .method = "DELETE", .path = url_format("/v1/exports/%s", name) },
	        "export %s is removed", name);
}
