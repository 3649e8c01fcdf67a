/* SPDX-License-Identifier: BSD-3-Clause */
/* Worker threads in lanes; each lane is a FIFO with its own threads. */
#include "server/loop/workers.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/err.h"
#include "core/base/metrics.h"
#include "core/base/sync.h"

#define WORKER_THREADS_MAX 256

struct lane {
	struct histogram wait_time;
	struct counter done_count;
	void (*thread_done)(void);
	struct sync_thread *threads;
	unsigned thread_count; /* started */
	const char *name;

	struct sync_mutex lock;
	struct sync_cond ready;
	struct work *head SYNC_GUARDED_BY(lock);
	struct work **tail SYNC_GUARDED_BY(lock);
	bool stopping SYNC_GUARDED_BY(lock);
	unsigned queued; /* written under the lock, read by metrics without (atomic) */
	unsigned busy; /* likewise */
};

struct workers {
	struct lane lanes[WORKER_LANE_COUNT];
	struct metrics *metrics;
};

static const char *const lane_names[WORKER_LANE_COUNT] = {
	[WORKER_LANE_READ] = "read",
	[WORKER_LANE_WRITE] = "write",
	[WORKER_LANE_ADMIN] = "admin",
	[WORKER_LANE_REMOTE] = "remote",
};

static void lane_account(unsigned *value, int change)
{
	__atomic_store_n(value, *value + (unsigned)change, __ATOMIC_RELAXED);
}

static void lane_thread(void *arg)
{
	struct lane *l = arg;

	sync_mutex_lock(&l->lock);
	for (;;) {
		struct work *w = l->head;

		if (!w) {
			if (l->stopping)
				break;
			sync_cond_wait(&l->ready, &l->lock);
			continue;
		}
		l->head = w->next;
		if (!l->head)
			l->tail = &l->head;
		lane_account(&l->queued, -1);
		lane_account(&l->busy, 1);
		sync_mutex_unlock(&l->lock);

		histogram_add(&l->wait_time, sync_now_ns() - w->queued_ns);
		counter_add(&l->done_count, 1);
		w->run(w);

		sync_mutex_lock(&l->lock);
		lane_account(&l->busy, -1);
	}
	sync_mutex_unlock(&l->lock);
	if (l->thread_done)
		l->thread_done();
}

static int lane_start(struct lane *l, unsigned count)
{
	l->threads = calloc(count, sizeof(l->threads[0]));
	if (!l->threads)
		return err_set(-ENOMEM, "allocate %u %s workers", count, l->name);
	for (unsigned i = 0; i < count; i++) {
		char name[16];
		int rc;

		snprintf(name, sizeof(name), "%s-%u", l->name, i);
		rc = sync_thread_start(&l->threads[i], name, lane_thread, l);
		if (rc < 0)
			return rc;
		l->thread_count++;
	}
	return 0;
}

static void lane_stop(struct lane *l)
{
	sync_mutex_lock(&l->lock);
	l->stopping = true;
	sync_cond_broadcast(&l->ready);
	sync_mutex_unlock(&l->lock);
	for (unsigned i = 0; i < l->thread_count; i++)
		sync_thread_join(&l->threads[i]);
	free(l->threads);
	sync_cond_done(&l->ready);
	sync_mutex_done(&l->lock);
}

int workers_new(const struct workers_config *config, struct workers **ret)
{
	struct workers *w;
	int rc = 0;

	for (int i = 0; i < WORKER_LANE_COUNT; i++) {
		if (config->threads[i] < 1 || config->threads[i] > WORKER_THREADS_MAX)
			return err_set(-EINVAL, "%u %s workers: 1 to %d are possible", config->threads[i],
			               lane_names[i], WORKER_THREADS_MAX);
	}
	w = aligned_alloc(64, sizeof(*w));
	if (!w)
		return err_set(-ENOMEM, "allocate workers");
	*w = (struct workers){ 0 };
	for (int i = 0; i < WORKER_LANE_COUNT; i++) {
		struct lane *l = &w->lanes[i];

		l->name = lane_names[i];
		l->thread_done = config->thread_done;
		l->tail = &l->head;
		sync_mutex_init(&l->lock, SYNC_RANK_LEAF, "worker lane");
		sync_cond_init(&l->ready);
	}
	for (int i = 0; i < WORKER_LANE_COUNT && rc == 0; i++)
		rc = lane_start(&w->lanes[i], config->threads[i]);
	if (rc < 0) {
		workers_free(w);
		return rc;
	}
	*ret = w;
	return 0;
}

void workers_free(struct workers *w)
{
	if (!w)
		return;
	if (w->metrics)
		metrics_unregister(w->metrics, w);
	for (int i = 0; i < WORKER_LANE_COUNT; i++)
		lane_stop(&w->lanes[i]);
	free(w);
}

void workers_queue(struct workers *w, enum worker_lane lane, struct work *work)
{
	struct lane *l = &w->lanes[lane];

	work->next = NULL;
	work->queued_ns = sync_now_ns();
	sync_mutex_lock(&l->lock);
	*l->tail = work;
	l->tail = &work->next;
	lane_account(&l->queued, 1);
	sync_cond_signal(&l->ready);
	sync_mutex_unlock(&l->lock);
}

static double lane_queued_gauge(void *ctx)
{
	struct lane *l = ctx;

	return __atomic_load_n(&l->queued, __ATOMIC_RELAXED);
}

static double lane_busy_gauge(void *ctx)
{
	struct lane *l = ctx;

	return __atomic_load_n(&l->busy, __ATOMIC_RELAXED);
}

static int lane_register(struct workers *w, struct lane *l, struct metrics *m)
{
	char labels[32];
	int rc;

	snprintf(labels, sizeof(labels), "lane=\"%s\"", l->name);
	rc = metrics_add_gauge(m, w, "wfsd_workers_queue_length", "Jobs that wait for a worker.", labels,
	                       lane_queued_gauge, l);
	if (rc == 0)
		rc = metrics_add_gauge(m, w, "wfsd_workers_busy", "Workers that are running a job.", labels,
		                       lane_busy_gauge, l);
	if (rc == 0)
		rc = metrics_add_counter(m, w, "wfsd_workers_jobs_total", "Jobs begun.", labels, &l->done_count);
	if (rc == 0)
		rc = metrics_add_histogram(m, w, "wfsd_workers_wait_seconds", "Time jobs waited for a worker.", labels,
		                           &l->wait_time);
	return rc;
}

int workers_register_metrics(struct workers *w, struct metrics *m)
{
	int rc = 0;

	w->metrics = m;
	for (int i = 0; i < WORKER_LANE_COUNT && rc == 0; i++)
		rc = lane_register(w, &w->lanes[i], m);
	return rc;
}
