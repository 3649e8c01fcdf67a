/* SPDX-License-Identifier: BSD-3-Clause */
/* Probes through loops and lanes. */
#include "server/jobs/watchdog.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/sync.h"
#include "server/loop/loop.h"
#include "server/loop/workers.h"

#define WATCHDOG_PERIOD_NS (5 * SYNC_NS_PER_S) /* without systemd's */
#define LOOP_LATE_NS (10 * SYNC_NS_PER_S)
/* A lane may be full of requests to a slow disk; the admin lane's jobs take as long as they take, and so
 * do other machines. */
#define LANE_LATE_NS (60 * SYNC_NS_PER_S)
#define ADMIN_LATE_NS (1800 * SYNC_NS_PER_S)

struct probe {
	struct loop_task task;
	struct work work;
	char name[24];
	uint64_t late_ns;
	uint64_t sent_ns;
	bool under_way; /* atomic */
	bool reported;
};

struct watchdog {
	struct loop_set *loops;
	struct workers *workers;
	struct event *timer;
	uint64_t period_ns;
	unsigned probe_count; /* of loops, then WORKER_LANE_COUNT of lanes */
	struct probe probes[];
};

static void probe_back(struct probe *p)
{
	__atomic_store_n(&p->under_way, false, __ATOMIC_RELEASE);
}

static void probe_on_loop(struct loop_task *t)
{
	probe_back((struct probe *)((char *)t - offsetof(struct probe, task)));
}

static void probe_on_worker(struct work *w)
{
	probe_back((struct probe *)((char *)w - offsetof(struct probe, work)));
}

static void probe_send(struct watchdog *w, unsigned i)
{
	struct probe *p = &w->probes[i];
	unsigned loop_count = loop_set_count(w->loops);

	p->sent_ns = sync_now_ns();
	if (p->reported)
		log_notice("watchdog", "progress again part=%s", p->name);
	p->reported = false;
	__atomic_store_n(&p->under_way, true, __ATOMIC_RELEASE);
	if (i < loop_count)
		loop_post(loop_set_get(w->loops, i), &p->task);
	else
		workers_queue(w->workers, (enum worker_lane)(i - loop_count), &p->work);
}

static bool probe_is_late(struct probe *p)
{
	uint64_t age_ns = sync_now_ns() - p->sent_ns;

	if (age_ns < p->late_ns)
		return false;
	if (!p->reported)
		log_error("watchdog", "no progress part=%s seconds=%llu", p->name,
		          (unsigned long long)(age_ns / SYNC_NS_PER_S));
	p->reported = true;
	return true;
}

static void watchdog_on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct watchdog *w = arg;
	bool late = false;

	(void)fd;
	(void)what;
	for (unsigned i = 0; i < w->probe_count; i++) {
		struct probe *p = &w->probes[i];

		if (__atomic_load_n(&p->under_way, __ATOMIC_ACQUIRE))
			late |= probe_is_late(p);
		else
			probe_send(w, i);
	}
	if (!late)
		sd_notify(0, "WATCHDOG=1");
}

static void watchdog_start_on_loop(void *arg)
{
	struct watchdog *w = arg;
	struct timeval period = {
		.tv_sec = (time_t)(w->period_ns / SYNC_NS_PER_S),
		.tv_usec = (suseconds_t)(w->period_ns % SYNC_NS_PER_S / 1000),
	};

	w->timer = event_new(loop_base(loop_set_get(w->loops, 0)), -1, EV_PERSIST, watchdog_on_timer, w);
	if (w->timer && event_add(w->timer, &period) < 0) {
		event_free(w->timer);
		w->timer = NULL;
	}
}

static void watchdog_stop_on_loop(void *arg)
{
	struct watchdog *w = arg;

	event_free(w->timer);
	w->timer = NULL;
}

static void probe_init(struct watchdog *w, unsigned i)
{
	static const struct {
		const char *name;
		uint64_t late_ns;
	} lanes[WORKER_LANE_COUNT] = {
		[WORKER_LANE_READ] = { "lane read", LANE_LATE_NS },
		[WORKER_LANE_WRITE] = { "lane write", LANE_LATE_NS },
		[WORKER_LANE_ADMIN] = { "lane admin", ADMIN_LATE_NS },
		[WORKER_LANE_REMOTE] = { "lane remote", ADMIN_LATE_NS },
	};
	struct probe *p = &w->probes[i];
	unsigned loop_count = loop_set_count(w->loops);

	p->task.run = probe_on_loop;
	p->work.run = probe_on_worker;
	if (i < loop_count) {
		snprintf(p->name, sizeof(p->name), "loop %u", i);
		p->late_ns = LOOP_LATE_NS;
	} else {
		snprintf(p->name, sizeof(p->name), "%s", lanes[i - loop_count].name);
		p->late_ns = lanes[i - loop_count].late_ns;
	}
}

int watchdog_new(struct loop_set *loops, struct workers *workers, struct watchdog **ret)
{
	unsigned count = loop_set_count(loops) + WORKER_LANE_COUNT;
	struct watchdog *w = calloc(1, sizeof(*w) + count * sizeof(w->probes[0]));
	uint64_t usec = 0;

	if (!w)
		return err_set(-ENOMEM, "set up the watchdog");
	w->loops = loops;
	w->workers = workers;
	w->probe_count = count;
	w->period_ns = sd_watchdog_enabled(0, &usec) > 0 ? usec * 1000 / 3 : WATCHDOG_PERIOD_NS;
	for (unsigned i = 0; i < count; i++)
		probe_init(w, i);
	loop_call(loop_set_get(loops, 0), watchdog_start_on_loop, w);
	if (!w->timer) {
		free(w);
		return err_set(-ENOMEM, "set up the watchdog");
	}
	*ret = w;
	return 0;
}

void watchdog_stop(struct watchdog *w)
{
	if (w)
		loop_call(loop_set_get(w->loops, 0), watchdog_stop_on_loop, w);
}

void watchdog_free(struct watchdog *w)
{
	free(w);
}
