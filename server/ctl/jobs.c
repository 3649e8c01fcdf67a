/* SPDX-License-Identifier: BSD-3-Clause */
/* Work of one command that is done side by side. */
#include "server/ctl/jobs.h"

#include "core/base/assert.h"

/* For each thread one that waits, and one more while it fetches that. */
static unsigned room(const struct jobs *j)
{
	return 2 * j->thread_count;
}

static struct job take(struct jobs *j) SYNC_REQUIRES(j->lock)
{
	struct job job = j->queue[j->first];

	j->first = (j->first + 1) % room(j);
	j->count--;
	return job;
}

static void work(void *arg)
{
	struct jobs_thread *self = arg;
	struct jobs *j = self->jobs;

	sync_mutex_lock(&j->lock);
	for (;;) {
		struct job job;

		while (!j->count && !j->stop)
			sync_cond_wait(&j->more, &j->lock);
		if (!j->count)
			break;
		job = take(j);
		j->running++;
		sync_mutex_unlock(&j->lock);
		job.fn(job.arg, self->worker);
		sync_mutex_lock(&j->lock);
		if (!--j->running)
			sync_cond_broadcast(&j->quiet);
	}
	sync_mutex_unlock(&j->lock);
}

void jobs_init(struct jobs *j, unsigned workers)
{
	unsigned started = 0;

	always(workers >= 1 && workers <= JOBS_WORKERS_MAX);
	*j = (struct jobs){ 0 };
	sync_mutex_init(&j->lock, SYNC_RANK_LEAF, "jobs");
	sync_cond_init(&j->more);
	sync_cond_init(&j->quiet);
	/* They look at the count when there is a job, and not before it stands. */
	while (started < workers - 1) {
		struct jobs_thread *t = &j->threads[started];

		t->jobs = j;
		t->worker = started + 1;
		if (sync_thread_start(&t->thread, "wfs-job", work, t))
			break;
		started++;
	}
	j->thread_count = started;
}

void jobs_add(struct jobs *j, unsigned worker, jobs_fn *fn, void *arg)
{
	bool full;

	sync_mutex_lock(&j->lock);
	full = j->count == room(j);
	if (!full) {
		j->queue[(j->first + j->count++) % room(j)] = (struct job){ .fn = fn, .arg = arg };
		sync_cond_signal(&j->more);
	}
	sync_mutex_unlock(&j->lock);
	if (full)
		fn(arg, worker);
}

void jobs_wait(struct jobs *j)
{
	sync_mutex_lock(&j->lock);
	while (j->count || j->running) {
		struct job job;

		if (!j->count) {
			/* What runs may add more: its thread comes to that. */
			sync_cond_wait(&j->quiet, &j->lock);
			continue;
		}
		job = take(j);
		sync_mutex_unlock(&j->lock);
		job.fn(job.arg, 0);
		sync_mutex_lock(&j->lock);
	}
	sync_mutex_unlock(&j->lock);
}

void jobs_done(struct jobs *j)
{
	jobs_wait(j);
	sync_mutex_lock(&j->lock);
	j->stop = true;
	sync_cond_broadcast(&j->more);
	sync_mutex_unlock(&j->lock);
	for (unsigned i = 0; i < j->thread_count; i++)
		sync_thread_join(&j->threads[i].thread);
	sync_cond_done(&j->more);
	sync_cond_done(&j->quiet);
	sync_mutex_done(&j->lock);
}
