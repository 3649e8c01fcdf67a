/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of pools: start, look, stop. */
#include "core/base/err.h"
#include "core/base/log.h"
#include "server/admin/body.h"
#include "server/admin/call.h"
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
