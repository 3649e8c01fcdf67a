/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs quota ... */
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "server/ctl/command.h"
#include "server/ctl/size.h"
#include "server/ctl/url.h"

/* "none", or a size. */
static int parse_limit(const char *option, const char *text, json_t *body, const char *key)
{
	uint64_t value = 0;

	if (!text)
		return 0;
	if (strcmp(text, "none") != 0 && (size_parse(text, &value) || !value)) {
		command_fail(CTL_USAGE, "--%s takes a number above 0, or none", option);
		return -EINVAL;
	}
	return json_object_set_new(body, key, json_integer((json_int_t)value));
}

static int parse_number(const char *text, json_int_t *ret)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || value >= UINT32_MAX)
		return -EINVAL;
	*ret = (json_int_t)value;
	return 0;
}

/* By name or number; the names are this machine's. */
static int parse_owner(const struct args *a, json_t *body)
{
	const char *const texts[] = { a->user, a->group, a->project }, *const keys[] = { "user", "group", "project" };

	for (unsigned i = 0; i < 3; i++) {
		const struct passwd *user = i == 0 && texts[i] ? getpwnam(texts[i]) : NULL;
		const struct group *group = i == 1 && texts[i] ? getgrnam(texts[i]) : NULL;
		json_int_t id = user ? user->pw_uid : group ? group->gr_gid : 0;

		if (!texts[i])
			continue;
		if (!user && !group && parse_number(texts[i], &id)) {
			command_fail(CTL_USAGE, "there is no %s '%s'", keys[i], texts[i]);
			return -EINVAL;
		}
		if (json_object_set_new(body, keys[i], json_integer(id)))
			return -ENOMEM;
	}
	return 0;
}

enum ctl_status cmd_quota_set(struct ctl *c)
{
	struct volume_name name;
	json_t *body;

	if (volume_name_parse(c->operands[0], &name))
		return command_usage_err();
	if (!c->args.bytes && !c->args.objects)
		return command_fail(CTL_USAGE, "say --bytes or --objects");
	body = json_object();
	if (!body || parse_owner(&c->args, body) || parse_limit("bytes", c->args.bytes, body, "limit_bytes") ||
	    parse_limit("objects", c->args.objects, body, "limit_objects")) {
		json_decref(body);
		return CTL_USAGE;
	}
	return command_change(c,
	                      (struct command_request){ .method = "POST",
	                                                .path = url_format("/v1/quotas/%s/%s", name.pool, name.volume),
	                                                .body = body,
	                                                .body_wanted = true,
	                                                .doing = "counting and setting the quota" },
	                      "quota of %s is set", c->operands[0]);
}

static void add_limit(struct table *t, uint64_t limit, bool is_size)
{
	char text[SIZE_TEXT_MAX];

	snprintf(text, sizeof(text), "%" PRIu64, limit);
	table_add(t, !limit ? "none" : is_size ? size_format(limit, text) : text);
}

/* What the number is called here, if it is. */
static void add_owner(struct table *t, const char *owner, uint64_t id)
{
	const struct passwd *user = !strcmp(owner, "user") ? getpwuid((uid_t)id) : NULL;
	const struct group *group = !strcmp(owner, "group") ? getgrgid((gid_t)id) : NULL;
	char text[32];

	table_add(t, owner);
	snprintf(text, sizeof(text), "%" PRIu64, id);
	table_add(t, user ? user->pw_name : group ? group->gr_name : strcmp(owner, "dataset") != 0 ? text : "");
}

static void add_row(struct table *t, const json_t *q)
{
	add_owner(t, command_text(q, "owner"), command_number(q, "id"));
	command_add_size(t, q, "used_bytes");
	add_limit(t, command_number(q, "limit_bytes"), true);
	command_add_number(t, q, "used_objects");
	add_limit(t, command_number(q, "limit_objects"), false);
}

enum ctl_status cmd_quota_list(struct ctl *c)
{
	static const char *const titles[] = { "OWNER", "", ">USED", ">LIMIT", ">OBJECTS", ">LIMIT", NULL };
	static const struct command_rows rows[] = { { "quotas", add_row }, { NULL, NULL } };
	struct volume_name name;

	if (volume_name_parse(c->operands[0], &name))
		return command_usage_err();
	return command_list(c, url_format("/v1/quotas/%s/%s", name.pool, name.volume), titles, rows);
}
