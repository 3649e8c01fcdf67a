/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads of the mount besides those that serve the kernel's requests, and how they wait. */
#ifndef WFSD_PLUGINS_FUSE_THREAD_H
#define WFSD_PLUGINS_FUSE_THREAD_H

#include <pthread.h>
#include <stdint.h>

/* What a thread of this process does wrong: the signals of that. */
#define THREAD_FAULTS 5u
extern const int thread_faults[THREAD_FAULTS];

/* Start a thread that takes no other signals. 0 or a negative errno. */
int thread_start(pthread_t *ret, void *(*run)(void *), void *arg);
/* A condition that can be waited for until a time of node_now_ns(). */
void thread_cond_init(pthread_cond_t *c);
void thread_wait_until(pthread_cond_t *c, pthread_mutex_t *lock, uint64_t until_ns);

#endif
