/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads of the mount besides those that serve the kernel's requests. */
#include "plugins/fuse/thread.h"

#include <signal.h>

#define NS_PER_S UINT64_C(1000000000)

const int thread_faults[THREAD_FAULTS] = { SIGSEGV, SIGBUS, SIGFPE,  SIGILL,  SIGABRT,
	                                   SIGTRAP, SIGSYS, SIGQUIT, SIGXCPU, SIGXFSZ };

int thread_start(pthread_t *ret, void *(*run)(void *), void *arg)
{
	sigset_t all, before;
	int err;

	/* Signals are for the main thread, but for those that end the process with a core dump, most of them a
	 * thread's own faults. */
	sigfillset(&all);
	for (size_t i = 0; i < THREAD_FAULTS; i++)
		sigdelset(&all, thread_faults[i]);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(ret, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -err;
}

void thread_cond_init(pthread_cond_t *c)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(c, &attr);
	pthread_condattr_destroy(&attr);
}

void thread_wait_until(pthread_cond_t *c, pthread_mutex_t *lock, uint64_t until_ns)
{
	struct timespec at = { .tv_sec = (time_t)(until_ns / NS_PER_S), .tv_nsec = (long)(until_ns % NS_PER_S) };

	(void)pthread_cond_timedwait(c, lock, &at);
}

int thread_worker_start(struct thread_worker *w, void *(*run)(void *), void *arg)
{
	int err;

	pthread_mutex_init(&w->lock, NULL);
	thread_cond_init(&w->changed);
	err = thread_start(&w->thread, run, arg);
	w->started = !err;
	return err;
}

bool thread_worker_tell(struct thread_worker *w)
{
	if (!w->started)
		return false;
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_signal(&w->changed);
	pthread_mutex_unlock(&w->lock);
	return true;
}

void thread_worker_join(struct thread_worker *w)
{
	pthread_join(w->thread, NULL);
	w->started = false;
}

void thread_worker_done(struct thread_worker *w)
{
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->lock);
}
