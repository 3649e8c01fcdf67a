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

	pthread_mutex_lock(&q->lock);
	while (q->count || !q->stop) {
		uint64_t until = node_now_ns() + GATHER_NS;
		unsigned count;

		if (!q->count) {
			pthread_cond_wait(&q->changed, &q->lock);
			continue;
		}
		while (!q->stop && q->count < CLOSE_QUEUE_MAX / 2 && node_now_ns() < until)
			thread_wait_until(&q->changed, &q->lock, until);
		count = q->count;
		for (unsigned i = 0; i < count; i++)
			batch[i] = q->files[i];
		q->count = 0;
		pthread_mutex_unlock(&q->lock);
		wfs_close_many(batch, count);
		pthread_mutex_lock(&q->lock);
	}
	pthread_mutex_unlock(&q->lock);
	return NULL;
}

int close_queue_start(struct mount *m)
{
	struct close_queue *q = &m->closes;
	int err;

	pthread_mutex_init(&q->lock, NULL);
	thread_cond_init(&q->changed);
	err = thread_start(&q->thread, closer, q);
	q->started = !err;
	return err;
}

void close_queue_stop(struct mount *m)
{
	struct close_queue *q = &m->closes;

	if (!q->started)
		return;
	pthread_mutex_lock(&q->lock);
	q->stop = true;
	pthread_cond_signal(&q->changed);
	pthread_mutex_unlock(&q->lock);
	pthread_join(q->thread, NULL);
	pthread_cond_destroy(&q->changed);
	pthread_mutex_destroy(&q->lock);
	q->started = false;
}

void close_later(struct mount *m, struct wfs_file *f)
{
	struct close_queue *q = &m->closes;
	bool taken;

	if (!f)
		return;
	pthread_mutex_lock(&q->lock);
	taken = q->count < CLOSE_QUEUE_MAX;
	if (taken)
		q->files[q->count++] = f;
	if (q->count == 1 || q->count == CLOSE_QUEUE_MAX / 2)
		pthread_cond_signal(&q->changed);
	pthread_mutex_unlock(&q->lock);
	if (!taken)
		wfs_close(f);
}
