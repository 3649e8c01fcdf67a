/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads of the mount besides those that serve the kernel's requests, and how they wait. */
#ifndef WFSD_PLUGINS_FUSE_THREAD_H
#define WFSD_PLUGINS_FUSE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* What a thread of this process does wrong: the signals of that, and the others that dump core (signal(7)). */
#define THREAD_FAULTS 10u
extern const int thread_faults[THREAD_FAULTS];

/* Start a thread that takes no other signals. 0 or a negative errno. */
int thread_start(pthread_t *ret, void *(*run)(void *), void *arg);
/* A condition that can be waited for until a time of node_now_ns(). */
void thread_cond_init(pthread_cond_t *c);
void thread_wait_until(pthread_cond_t *c, pthread_mutex_t *lock, uint64_t until_ns);

/* A thread that works, or waits for work or for its end, until it is told to stop. */
struct thread_worker {
	pthread_mutex_t lock; /* of @stop, and of what else its owner says */
	pthread_cond_t changed; /* there is work, or @stop */
	pthread_t thread;
	bool started, stop;
};
/* 0 or a negative errno: then there is no thread, and the lock can be used all the same. */
int thread_worker_start(struct thread_worker *w, void *(*run)(void *), void *arg);
/* Tell it. False: it was not started, or has ended. */
bool thread_worker_tell(struct thread_worker *w);
/* After thread_worker_tell(): wait for its end. */
void thread_worker_join(struct thread_worker *w);
/* After that, when nobody uses the lock any more. */
void thread_worker_done(struct thread_worker *w);

#endif
