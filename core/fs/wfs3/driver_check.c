/* SPDX-License-Identifier: BSD-3-Clause */
/* Administrators' calls about checks and scrubs (pool_driver). */
#include "core/fs/wfs3/driver_check.h"

#include "core/fs/wfs3/check_job.h"
#include "core/fs/wfs3/pool.h"
#include "core/fs/wfs3/scrub.h"

int driver_check(void *ctx, const char *name, bool with_data)
{
	struct pool *p;
	int ret = pool_get(ctx, name, &p);

	if (ret)
		return ret;
	ret = check_job_start(p->check, with_data);
	pool_put(p);
	return ret;
}

int driver_check_get(void *ctx, const char *name, struct pool_check_report *ret_report)
{
	struct pool *p;
	int ret = pool_get(ctx, name, &p);

	if (ret)
		return ret;
	ret = check_job_get(p->check, ret_report);
	pool_put(p);
	return ret;
}

int driver_check_stop(void *ctx, const char *name)
{
	struct pool *p;
	int ret = pool_get(ctx, name, &p);

	if (ret)
		return ret;
	check_job_cancel(p->check);
	pool_put(p);
	return 0;
}

int driver_scrub(void *ctx, const char *name, enum pool_scrub_verb verb)
{
	struct pool *p;
	int ret = pool_get(ctx, name, &p);

	if (ret)
		return ret;
	ret = scrub_change(p->scrub, verb);
	pool_put(p);
	return ret;
}

int driver_scrub_get(void *ctx, const char *name, struct pool_check_report *ret_report)
{
	struct pool *p;
	int ret = pool_get(ctx, name, &p);

	if (ret)
		return ret;
	ret = scrub_get_report(p->scrub, ret_report);
	pool_put(p);
	return ret;
}
