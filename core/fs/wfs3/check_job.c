/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of a pool that is in use. */
#include "core/fs/wfs3/check_job.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "core/fs/wfs3/check_live.h"
#include "core/fs/wfs3/pool.h"
#include "core/fs/wfs3/space_priv.h"

struct check_job {
	struct pool *pool;
	struct sync_mutex lock; /* SYNC_RANK_LEAF */
	bool running SYNC_GUARDED_BY(lock);
	bool has_thread SYNC_GUARDED_BY(lock); /* to be joined */
	bool closed SYNC_GUARDED_BY(lock); /* no new one */
	bool with_data; /* of the one that runs */
	bool cancel; /* atomic */
	struct pool_check_report report SYNC_GUARDED_BY(lock); /* while it runs: counts only */
	struct sync_thread thread;
};

struct check_job *check_job_new(struct pool *p)
{
	struct check_job *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	j->pool = p;
	sync_mutex_init(&j->lock, SYNC_RANK_LEAF, "wfs3 check");
	return j;
}

void check_job_free(struct check_job *j)
{
	if (!j)
		return;
	pool_check_report_done(&j->report);
	sync_mutex_done(&j->lock);
	free(j);
}

static int step(void *ctx, const struct pool_check_report *so_far, uint64_t read_bytes)
{
	struct check_job *j = ctx;
	struct space_stats s;

	(void)read_bytes;
	sync_mutex_lock(&j->lock);
	j->report = *so_far;
	j->report.finding_count = 0;
	j->report.findings = NULL;
	j->report.device_count = 0;
	sync_mutex_unlock(&j->lock);
	if (__atomic_load_n(&j->cancel, __ATOMIC_RELAXED))
		return err_set(-ECANCELED, "it was stopped");
	space_get_stats(j->pool->space, &s);
	if (s.pending_blocks > s.free_blocks && s.free_blocks < s.total_blocks / 16 && !j->pool->read_only)
		return err_set(-ENOSPC, "the pool becomes full, and the check holds back %" PRIu64 " freed bytes",
		               s.pending_blocks * WFS3_BLOCK_BYTES);
	return 0;
}

static int check(struct check_job *j, struct pool_check_report *ret)
{
	struct pool *p = j->pool;
	struct check_config config = { .with_data = j->with_data, .step = step, .ctx = j };
	struct check_live live = { .pool = p, .wants_disk = true };
	bool commits = !p->read_only && !__atomic_load_n(&p->failed, __ATOMIC_ACQUIRE);
	struct space_pin pin;
	int rc = 0;

	/* The pin comes first: nothing that is freed from now on is reused, and the root to come reaches nothing that
	 * was freed before. */
	space_pin(p->space, &pin);
	if (commits)
		rc = txg_force(p, 1);
	if (!rc)
		rc = commits ? txg_run_between(p, check_take_root, &live) : check_take_root(&live);
	if (!rc)
		rc = check_live(&live, &config, ret);
	else
		err_text(err_get(), rc, 0, ret->error, sizeof(ret->error));
	space_unpin(p->space, pin);
	free(live.disk);
	return rc;
}

static void job_main(void *arg)
{
	struct check_job *j = arg;
	struct pool_check_report report = { .started_ns = sync_wall_ns(), .online = true, .with_data = j->with_data };
	int rc = check(j, &report);

	if (rc && report.state != POOL_CHECK_STOPPED)
		report.state = POOL_CHECK_FAILED;
	report.ended_ns = sync_wall_ns();
	if (report.damage_count && report.finding_count)
		log_error("wfs3", "pool=%s: the check found %" PRIu64 " problems, the first one is %s: %s",
		          j->pool->name, report.damage_count, pool_finding_name(report.findings[0].kind),
		          report.findings[0].text);
	else
		log_info("wfs3", "pool=%s: check %s, %" PRIu64 " blocks in use, %" PRIu64 " read", j->pool->name,
		         pool_check_state_name(report.state), report.done_blocks, report.read_block_count);
	sync_mutex_lock(&j->lock);
	j->report = report;
	j->running = false;
	sync_mutex_unlock(&j->lock);
	blk_thread_done();
}

int check_job_start(struct check_job *j, bool with_data)
{
	bool join = false;
	int rc = 0;

	sync_mutex_lock(&j->lock);
	if (j->running || j->closed) {
		rc = err_set(-EBUSY, j->closed ? "pool %s is being closed" : "pool %s is being checked already",
		             j->pool->name);
	} else {
		join = j->has_thread;
		j->running = j->has_thread = true;
		j->with_data = with_data;
		__atomic_store_n(&j->cancel, false, __ATOMIC_RELAXED);
		pool_check_report_done(&j->report);
		j->report = (struct pool_check_report){ .state = POOL_CHECK_RUNNING, .online = true };
	}
	sync_mutex_unlock(&j->lock);
	if (rc)
		return rc;
	/* Its predecessor has ended, or is about to. */
	if (join)
		sync_thread_join(&j->thread);
	rc = sync_thread_start(&j->thread, "wfs3-check", job_main, j);
	if (!rc)
		return 0;
	sync_mutex_lock(&j->lock);
	j->running = j->has_thread = false;
	j->report.state = POOL_CHECK_FAILED;
	sync_mutex_unlock(&j->lock);
	return err_set(rc, "no thread to check pool %s", j->pool->name);
}

void check_job_cancel(struct check_job *j)
{
	__atomic_store_n(&j->cancel, true, __ATOMIC_RELAXED);
}

int check_job_get(struct check_job *j, struct pool_check_report *ret)
{
	int rc;

	sync_mutex_lock(&j->lock);
	rc = pool_check_report_copy(&j->report, ret);
	sync_mutex_unlock(&j->lock);
	return rc;
}

void check_job_stop(struct check_job *j)
{
	bool join;

	check_job_cancel(j);
	sync_mutex_lock(&j->lock);
	j->closed = true;
	join = j->has_thread;
	j->has_thread = false;
	sync_mutex_unlock(&j->lock);
	if (join)
		sync_thread_join(&j->thread);
}
