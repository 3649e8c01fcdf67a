/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The end of the mount by a signal. The thread that drops what the kernel has (events.c) may be waiting, in the kernel,
 * for pages that requests have locked: it has to be stopped while there is still somebody who answers them. Otherwise
 * it would wait for ever, and with it the process, the mount, and whoever uses it.
 */
#include <signal.h>

#include "plugins/fuse/mount.h"
#include "plugins/fuse/thread.h"

static void ending_signals(sigset_t *ret)
{
	sigemptyset(ret);
	sigaddset(ret, SIGTERM);
	sigaddset(ret, SIGINT);
	sigaddset(ret, SIGHUP);
}

static void *wait_for_signal(void *arg)
{
	struct mount *m = arg;
	sigset_t signals;
	int which;

	ending_signals(&signals);
	if (sigwait(&signals, &which))
		return NULL;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	events_stop(m);
	/* The loop sees that within a second. */
	fuse_session_exit(m->session);
	return NULL;
}

void ending_hold(void)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	sigset_t signals;

	(void)sigaction(SIGPIPE, &ignore, NULL);
	ending_signals(&signals);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
}

int ending_begin(struct mount *m)
{
	struct ending *e = &m->ending;
	int err = thread_start(&e->thread, wait_for_signal, m);

	e->started = !err;
	return err;
}

void ending_done(struct mount *m)
{
	struct ending *e = &m->ending;

	if (!e->started)
		return;
	(void)pthread_cancel(e->thread);
	pthread_join(e->thread, NULL);
	e->started = false;
}
