/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Closing files: nobody waits for it, so those that are closed within a few milliseconds are told to the server in one
 * request, by a thread of its own.
 */
#include <errno.h>

#include "plugins/fuse/mount.h"
#include "plugins/fuse/thread.h"

#define GATHER_NS UINT64_C(5000000)

static void *closer(void *arg)
{
	struct wfs_file *batch[CLOSE_QUEUE_MAX];
	struct close_queue *q = arg;

	pthread_mutex_lock(&q->thread.lock);
	while (q->count || !q->thread.stop) {
		uint64_t until = node_now_ns() + GATHER_NS;
		unsigned count;

		if (!q->count) {
			pthread_cond_wait(&q->thread.changed, &q->thread.lock);
			continue;
		}
		while (!q->thread.stop && q->count < CLOSE_QUEUE_MAX / 2 && node_now_ns() < until)
			thread_wait_until(&q->thread.changed, &q->thread.lock, until);
		count = q->count;
		for (unsigned i = 0; i < count; i++)
			batch[i] = q->files[i];
		q->count = 0;
		pthread_mutex_unlock(&q->thread.lock);
		wfs_close_many(batch, count);
		pthread_mutex_lock(&q->thread.lock);
	}
	pthread_mutex_unlock(&q->thread.lock);
	return NULL;
}

int close_queue_start(struct mount *m)
{
	return thread_worker_start(&m->closes.thread, closer, &m->closes);
}

void close_queue_stop(struct mount *m)
{
	if (!thread_worker_tell(&m->closes.thread))
		return;
	thread_worker_join(&m->closes.thread);
	thread_worker_done(&m->closes.thread);
}

void close_later(struct mount *m, struct wfs_file *f)
{
	struct close_queue *q = &m->closes;
	bool taken;

	if (!f)
		return;
	pthread_mutex_lock(&q->thread.lock);
	taken = q->count < CLOSE_QUEUE_MAX;
	if (taken)
		q->files[q->count++] = f;
	if (q->count == 1 || q->count == CLOSE_QUEUE_MAX / 2)
		pthread_cond_signal(&q->thread.changed);
	pthread_mutex_unlock(&q->thread.lock);
	if (!taken)
		wfs_close(f);
}
