/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks and scrubs of pools: start, look, stop. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "server/admin/body.h"
#include "server/admin/call.h"
#include "server/admin/encode.h"
#include "server/admin/encode_check.h"

static int answer_check(struct call *c, int status)
{
	const struct pool_admin *p = &c->admin->config.pools;
	struct pool_check_report report;
	int rc = p->driver->pool_check_get(p->ctx, c->names[0], &report);

	if (rc < 0)
		return rc;
	rc = answer_object(c, status, encode_check(&report));
	pool_check_report_done(&report);
	return rc;
}

int pool_verb_check(struct call *c)
{
	const struct pool_admin *p = &c->admin->config.pools;
	bool with_data = false;
	const struct body_field fields[] = { { .key = "with_data", .type = BODY_BOOL, .ret = &with_data } };
	int rc = body_read(c->body, fields, 1);

	if (rc == 0)
		rc = p->driver->pool_check(p->ctx, c->names[0], with_data);
	if (rc < 0)
		return rc;
	log_notice("admin", "pool check started pool=%s with_data=%d", c->names[0], with_data);
	return answer_check(c, 202);
}

int pool_verb_check_stop(struct call *c)
{
	const struct pool_admin *p = &c->admin->config.pools;
	int rc = body_read(c->body, NULL, 0);

	if (rc == 0)
		rc = p->driver->pool_check_stop(p->ctx, c->names[0]);
	return rc < 0 ? rc : answer_check(c, 200);
}

int read_check(struct call *c)
{
	return answer_check(c, 200);
}

/* The scrub's state, and what it found. */
static int answer_scrub(struct call *c)
{
	const struct pool_admin *p = &c->admin->config.pools;
	struct pool_check_report report;
	struct pool_info *info = malloc(sizeof(*info));
	json_t *scrub = NULL, *check = NULL;
	int rc = info ? p->driver->pool_get(p->ctx, c->names[0], info) : err_set(-ENOMEM, "no memory for a pool");

	if (!rc)
		rc = p->driver->pool_scrub_get(p->ctx, c->names[0], &report);
	if (!rc) {
		scrub = encode_scrub(&info->scrub);
		check = encode_check(&report);
		pool_check_report_done(&report);
		if (scrub && check)
			json_object_set(scrub, "findings", json_object_get(check, "findings"));
		json_decref(check);
		rc = answer_object(c, 200, scrub);
	}
	free(info);
	return rc;
}

int pool_verb_scrub(struct call *c)
{
	const struct pool_admin *p = &c->admin->config.pools;
	static const char *const verbs[] = {
		[POOL_SCRUB_START] = "start", [POOL_SCRUB_PAUSE] = "pause", [POOL_SCRUB_STOP] = "stop"
	};
	const char *verb = "start";
	const struct body_field fields[] = { { .key = "verb", .type = BODY_STRING, .max = 16, .ret = &verb } };
	unsigned v = 0;
	int rc = body_read(c->body, fields, 1);

	while (!rc && v < sizeof(verbs) / sizeof(verbs[0]) && strcmp(verbs[v], verb) != 0)
		v++;
	if (!rc && v == sizeof(verbs) / sizeof(verbs[0]))
		rc = err_set(-EINVAL, "a scrub can be asked to start, pause or stop, not '%s'", verb);
	if (!rc)
		rc = p->driver->pool_scrub(p->ctx, c->names[0], (enum pool_scrub_verb)v);
	if (rc < 0)
		return rc;
	log_notice("admin", "pool scrub pool=%s verb=%s", c->names[0], verb);
	return answer_scrub(c);
}

int read_scrub(struct call *c)
{
	return answer_scrub(c);
}
