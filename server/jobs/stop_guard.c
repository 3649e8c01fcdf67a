/* SPDX-License-Identifier: BSD-3-Clause */
/* Watches over the end of the daemon. */
#include "server/jobs/stop_guard.h"

#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/sync.h"

#define STOP_LATE_NS (5 * SYNC_NS_PER_S)
#define STOP_GIVE_UP_NS (90 * SYNC_NS_PER_S)

struct stop_guard {
	struct sync_thread thread;
	uint64_t start_ns;
	struct sync_mutex lock;
	struct sync_cond done_cond;
	const char *phase SYNC_GUARDED_BY(lock);
	bool done SYNC_GUARDED_BY(lock);
};

static void stop_guard_thread(void *arg)
{
	struct stop_guard *g = arg;
	uint64_t deadline_ns = g->start_ns + STOP_LATE_NS;

	sync_mutex_lock(&g->lock);
	while (!g->done) {
		if (sync_cond_wait_until(&g->done_cond, &g->lock, deadline_ns))
			continue;
		if (deadline_ns == g->start_ns + STOP_GIVE_UP_NS) {
			log_error("wfsd", "cannot stop, giving up phase=\"%s\"", g->phase);
			_exit(1);
		}
		log_warning("wfsd", "stopping takes long phase=\"%s\"", g->phase);
		deadline_ns = g->start_ns + STOP_GIVE_UP_NS;
	}
	sync_mutex_unlock(&g->lock);
}

struct stop_guard *stop_guard_new(void)
{
	struct stop_guard *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->start_ns = sync_now_ns();
	g->phase = "begin";
	sync_mutex_init(&g->lock, SYNC_RANK_LEAF, "stop guard");
	sync_cond_init(&g->done_cond);
	if (sync_thread_start(&g->thread, "stop-guard", stop_guard_thread, g) < 0) {
		sync_cond_done(&g->done_cond);
		sync_mutex_done(&g->lock);
		free(g);
		return NULL;
	}
	return g;
}

void stop_guard_phase(struct stop_guard *g, const char *phase)
{
	if (!g)
		return;
	sync_mutex_lock(&g->lock);
	g->phase = phase;
	sync_mutex_unlock(&g->lock);
}

void stop_guard_free(struct stop_guard *g)
{
	if (!g)
		return;
	sync_mutex_lock(&g->lock);
	g->done = true;
	sync_cond_signal(&g->done_cond);
	sync_mutex_unlock(&g->lock);
	sync_thread_join(&g->thread);
	sync_cond_done(&g->done_cond);
	sync_mutex_done(&g->lock);
	free(g);
}
