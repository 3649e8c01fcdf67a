/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checks of a pool that is in use: a thread that looks at the pool as a root left it. The root and the allocation state
 * are taken between two commits, and what the root reaches is not reused until the check ends.
 *
 * Any thread; the functions do not block, but for check_job_stop().
 */
#ifndef WFSD_CORE_FS_WFS3_CHECK_JOB_H
#define WFSD_CORE_FS_WFS3_CHECK_JOB_H

#include <stdbool.h>

#include "core/vfs/vfs_check.h"

struct check_job;
struct pool;

/* Idle. NULL: memory. */
struct check_job *check_job_new(struct pool *p);
void check_job_free(struct check_job *j); /* it was stopped; NULL is fine */
/* -EBUSY: one is running. */
int check_job_start(struct check_job *j, bool with_data);
/* Ask it to end; it will be STOPPED. */
void check_job_cancel(struct check_job *j);
/* The report of the check that runs, without findings yet, or of the last one. The caller frees it. 0 or -ENOMEM. */
int check_job_get(struct check_job *j, struct pool_check_report *ret);
/* No check runs from now on. Blocks. */
void check_job_stop(struct check_job *j);

#endif
