/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Work of one command that is done side by side: a bounded queue, the threads that empty it, and the one that fills it,
 * which does its share. What is put in while the queue is full is done at once by whoever puts it in, so that memory
 * stays bounded, jobs may add jobs, and one worker alone needs neither a thread nor a queue.
 */
#ifndef WFSD_SERVER_CTL_JOBS_H
#define WFSD_SERVER_CTL_JOBS_H

#include <stdbool.h>

#include "core/base/sync.h"

#define JOBS_WORKERS_MAX 32u

/* @worker: 0 for the thread that waits, 1.. for the others; no two run with the same number at the same time, except
 * for a job that another adds, which may run inside of that one. */
typedef void jobs_fn(void *arg, unsigned worker);

struct job {
	jobs_fn *fn;
	void *arg;
};

struct jobs;
struct jobs_thread {
	struct jobs *jobs;
	struct sync_thread thread;
	unsigned worker;
};

struct jobs {
	struct sync_mutex lock;
	struct sync_cond more, quiet;
	struct job queue[2 * JOBS_WORKERS_MAX] SYNC_GUARDED_BY(lock);
	unsigned first, count SYNC_GUARDED_BY(lock);
	unsigned running SYNC_GUARDED_BY(lock); /* in the threads */
	bool stop SYNC_GUARDED_BY(lock);
	unsigned thread_count;
	struct jobs_thread threads[JOBS_WORKERS_MAX - 1];
};

/* @workers: 1..JOBS_WORKERS_MAX, the caller among them. With fewer threads than that where the system has no more. */
void jobs_init(struct jobs *j, unsigned workers);
/* By the caller of jobs_init() as worker 0, or from inside of a job as the worker that runs it. May do some jobs. */
void jobs_add(struct jobs *j, unsigned worker, jobs_fn *fn, void *arg) SYNC_EXCLUDES(j->lock);
/* All is done, also what was added meanwhile. By the caller of jobs_init() outside of any job. */
void jobs_wait(struct jobs *j) SYNC_EXCLUDES(j->lock);
/* Waits likewise, and ends the threads. */
void jobs_done(struct jobs *j) SYNC_EXCLUDES(j->lock);

#endif
