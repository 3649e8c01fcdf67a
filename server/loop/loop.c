/* SPDX-License-Identifier: BSD-3-Clause */
/* Event loop threads and the queue by which other threads hand tasks to them. */
#include "server/loop/loop.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/base/metrics.h"
#include "core/base/sync.h"

#define LOOP_COUNT_MAX 64

struct loop {
	struct event_base *base;
	struct event *wake_event;
	int wake_fd;
	unsigned index;
	struct sync_thread thread;
	bool started;
	struct counter task_count;
	struct counter wake_count;

	struct sync_mutex lock;
	struct loop_task *head SYNC_GUARDED_BY(lock);
	struct loop_task **tail SYNC_GUARDED_BY(lock);
	bool wake_pending SYNC_GUARDED_BY(lock); /* the eventfd is written and not yet read */
	bool stopping SYNC_GUARDED_BY(lock);
};

struct loop_set {
	unsigned count;
	unsigned next; /* atomic */
	struct metrics *metrics;
	struct loop loops[];
};

static _Thread_local const struct loop *loop_current;

static void loop_wake(struct loop *l) SYNC_REQUIRES(l->lock)
{
	if (l->wake_pending)
		return;
	l->wake_pending = true;
	always(eventfd_write(l->wake_fd, 1) == 0);
}

/* Take what is queued; tasks posted while these run come in the next round, so sockets get their turn in between. */
static bool loop_run_tasks(struct loop *l)
{
	struct loop_task *t;
	bool stop;

	sync_mutex_lock(&l->lock);
	t = l->head;
	l->head = NULL;
	l->tail = &l->head;
	l->wake_pending = false;
	stop = l->stopping && !t;
	sync_mutex_unlock(&l->lock);

	while (t) {
		struct loop_task *next = t->next;

		counter_add(&l->task_count, 1);
		t->run(t);
		t = next;
	}
	return stop;
}

static void loop_on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct loop *l = arg;
	eventfd_t value;

	(void)what;
	/* -EAGAIN cannot matter: a spurious wake-up runs an empty queue. */
	if (eventfd_read(fd, &value) == 0)
		counter_add(&l->wake_count, 1);
	if (loop_run_tasks(l)) {
		event_base_loopbreak(l->base);
		return;
	}
	sync_mutex_lock(&l->lock);
	if (l->stopping)
		loop_wake(l);
	sync_mutex_unlock(&l->lock);
}

static void loop_thread(void *arg)
{
	struct loop *l = arg;

	loop_current = l;
	always(event_base_loop(l->base, EVLOOP_NO_EXIT_ON_EMPTY) >= 0);
	loop_current = NULL;
}

static int loop_init(struct loop *l, unsigned index)
{
	struct event_config *config;

	sync_mutex_init(&l->lock, SYNC_RANK_LEAF, "loop");
	l->index = index;
	l->tail = &l->head;
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wake_fd < 0)
		return err_set(-errno, "create an eventfd for event loop %u", index);
	config = event_config_new();
	if (config) {
		/* Each base is used by its own thread only. No change list: it forgets descriptors after their close,
		 * which goes wrong when a child still has the socket. */
		event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
		l->base = event_base_new_with_config(config);
		event_config_free(config);
	}
	if (l->base)
		l->wake_event = event_new(l->base, l->wake_fd, EV_READ | EV_PERSIST, loop_on_wake, l);
	if (!l->wake_event || event_add(l->wake_event, NULL) < 0)
		return err_set(-ENOMEM, "create event loop %u", index);
	return 0;
}

static int loop_start(struct loop *l)
{
	char name[16];
	int rc;

	snprintf(name, sizeof(name), "loop-%u", l->index);
	rc = sync_thread_start(&l->thread, name, loop_thread, l);
	if (rc == 0)
		l->started = true;
	return rc;
}

static void loop_stop(struct loop *l)
{
	sync_mutex_lock(&l->lock);
	l->stopping = true;
	loop_wake(l);
	sync_mutex_unlock(&l->lock);
}

static void loop_done(struct loop *l)
{
	/* What another loop posted after this one ended still gets its run. */
	if (l->started) {
		loop_current = l;
		while (!loop_run_tasks(l))
			;
		loop_current = NULL;
	}
	if (l->wake_event)
		event_free(l->wake_event);
	if (l->base)
		event_base_free(l->base);
	if (l->wake_fd >= 0)
		close(l->wake_fd);
	sync_mutex_done(&l->lock);
}

int loop_set_new(unsigned count, struct loop_set **ret)
{
	struct loop_set *s;
	int rc = 0;

	if (count == 0) {
		long cpus = sysconf(_SC_NPROCESSORS_ONLN);

		count = cpus < 1 ? 1 : cpus > LOOP_COUNT_MAX ? LOOP_COUNT_MAX : (unsigned)cpus;
	}
	if (count > LOOP_COUNT_MAX)
		return err_set(-EINVAL, "%u event loops: at most %d", count, LOOP_COUNT_MAX);
	s = aligned_alloc(64, sizeof(*s) + count * sizeof(s->loops[0]));
	if (!s)
		return err_set(-ENOMEM, "allocate %u event loops", count);
	*s = (struct loop_set){ 0 };
	for (unsigned i = 0; i < count && rc == 0; i++) {
		s->loops[i] = (struct loop){ .wake_fd = -1 };
		s->count = i + 1;
		rc = loop_init(&s->loops[i], i);
	}
	for (unsigned i = 0; i < count && rc == 0; i++)
		rc = loop_start(&s->loops[i]);
	if (rc < 0) {
		loop_set_free(s);
		return rc;
	}
	*ret = s;
	return 0;
}

void loop_set_free(struct loop_set *s)
{
	if (!s)
		return;
	if (s->metrics)
		metrics_unregister(s->metrics, s);
	for (unsigned i = 0; i < s->count; i++) {
		if (s->loops[i].started)
			loop_stop(&s->loops[i]);
	}
	for (unsigned i = 0; i < s->count; i++) {
		if (s->loops[i].started)
			sync_thread_join(&s->loops[i].thread);
	}
	for (unsigned i = 0; i < s->count; i++)
		loop_done(&s->loops[i]);
	free(s);
}

unsigned loop_set_count(const struct loop_set *s)
{
	return s->count;
}

struct loop *loop_set_get(struct loop_set *s, unsigned i)
{
	return &s->loops[i % s->count];
}

struct loop *loop_set_next(struct loop_set *s)
{
	return loop_set_get(s, __atomic_fetch_add(&s->next, 1, __ATOMIC_RELAXED));
}

struct event_base *loop_base(struct loop *l)
{
	return l->base;
}

void loop_post(struct loop *l, struct loop_task *t)
{
	t->next = NULL;
	sync_mutex_lock(&l->lock);
	*l->tail = t;
	l->tail = &t->next;
	loop_wake(l);
	sync_mutex_unlock(&l->lock);
}

struct loop_call {
	struct loop_task task; /* first */
	void (*fn)(void *arg);
	void *arg;
	struct sync_mutex lock;
	struct sync_cond done_cond;
	bool done SYNC_GUARDED_BY(lock);
};

static void loop_call_run(struct loop_task *t)
{
	struct loop_call *c = (struct loop_call *)t;

	c->fn(c->arg);
	sync_mutex_lock(&c->lock);
	c->done = true;
	sync_cond_signal(&c->done_cond);
	sync_mutex_unlock(&c->lock);
}

void loop_call(struct loop *l, void (*fn)(void *arg), void *arg)
{
	struct loop_call c = { .task.run = loop_call_run, .fn = fn, .arg = arg };

	if (loop_is_current(l)) {
		fn(arg);
		return;
	}
	sync_mutex_init(&c.lock, SYNC_RANK_LEAF, "loop call");
	sync_cond_init(&c.done_cond);
	loop_post(l, &c.task);
	sync_mutex_lock(&c.lock);
	while (!c.done)
		sync_cond_wait(&c.done_cond, &c.lock);
	sync_mutex_unlock(&c.lock);
	sync_cond_done(&c.done_cond);
	sync_mutex_done(&c.lock);
}

int loop_is_current(const struct loop *l)
{
	return loop_current == l;
}

int loop_set_register_metrics(struct loop_set *s, struct metrics *m)
{
	int rc = 0;

	s->metrics = m;
	for (unsigned i = 0; i < s->count && rc == 0; i++) {
		char labels[32];

		snprintf(labels, sizeof(labels), "loop=\"%u\"", i);
		rc = metrics_add_counter(m, s, "wfsd_loop_tasks_total", "Tasks run by an event loop.", labels,
		                         &s->loops[i].task_count);
		if (rc == 0)
			rc = metrics_add_counter(m, s, "wfsd_loop_wakeups_total", "Wake-ups that brought tasks.",
			                         labels, &s->loops[i].wake_count);
	}
	return rc;
}
