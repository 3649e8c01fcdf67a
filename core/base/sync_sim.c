/* SPDX-License-Identifier: BSD-3-Clause */
/* sync.h for the simulator: see sync_sim.h. Whoever holds the baton (is @current) owns everything in this file. */
#include "core/base/sync_sim.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/base/sync.h"
#include "core/base/sync_held.h"

#define THREADS_MAX 128
#define POINT_NS 100u
#define WALL_START_NS UINT64_C(1700000000000000000)

enum thread_state {
	THREAD_NONE,
	THREAD_READY,
	THREAD_WAITING,
	THREAD_ENDED,
};

struct sim_thread {
	enum thread_state state;
	const void *wait_on; /* WAITING: lock, condition, thread; NULL: time only */
	const char *wait_what, *wait_name;
	uint64_t deadline_ns; /* WAITING; UINT64_MAX: none */
	bool timed_out;
	sem_t baton;
	pthread_t os;
	char name[16];
	void (*fn)(void *arg);
	void *arg;
};

static struct sim_config config;
static struct sim_thread threads[THREADS_MAX];
static unsigned thread_limit; /* none at or above was ever used in this run */
static struct sim_thread *current; /* NULL: no run */
static uint64_t random_state;
static struct sim_stats stats;

static uint64_t random_next(void)
{
	uint64_t x = random_state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

void sim_note(uint64_t value)
{
	stats.trace = (stats.trace ^ value) * UINT64_C(0x100000001b3);
	stats.trace ^= stats.trace >> 29;
}

void sim_get_stats(struct sim_stats *ret)
{
	*ret = stats;
}

static _Noreturn void give_up(const char *why)
{
	fprintf(stderr, "sim: %s at %llu points, %.6f s\n", why, (unsigned long long)stats.points,
	        (double)stats.virtual_ns / 1e9);
	for (unsigned i = 0; i < thread_limit; i++) {
		const struct sim_thread *t = &threads[i];

		if (t->state == THREAD_READY)
			fprintf(stderr, "sim: thread %u %s runs\n", i, t->name);
		else if (t->state == THREAD_WAITING)
			fprintf(stderr, "sim: thread %u %s waits for %s %s\n", i, t->name, t->wait_what, t->wait_name);
	}
	abort();
}

/* ---- the scheduler ---- */

static void wake(struct sim_thread *t, bool timed_out)
{
	t->state = THREAD_READY;
	t->timed_out = timed_out;
	t->wait_on = NULL;
}

static unsigned wake_sleepers(void)
{
	unsigned ready = 0;

	for (unsigned i = 0; i < thread_limit; i++) {
		struct sim_thread *t = &threads[i];

		if (t->state == THREAD_WAITING && t->deadline_ns <= stats.virtual_ns)
			wake(t, true);
		ready += t->state == THREAD_READY;
	}
	return ready;
}

static void pass_time(void)
{
	uint64_t next = UINT64_MAX;

	for (unsigned i = 0; i < thread_limit; i++)
		if (threads[i].state == THREAD_WAITING && threads[i].deadline_ns < next)
			next = threads[i].deadline_ns;
	if (next == UINT64_MAX)
		give_up("deadlock");
	stats.virtual_ns = next;
}

static struct sim_thread *choose(void)
{
	unsigned ready, nth;

	while (!(ready = wake_sleepers()))
		pass_time();
	nth = (unsigned)(random_next() % ready);
	for (unsigned i = 0; i < thread_limit; i++)
		if (threads[i].state == THREAD_READY && nth-- == 0)
			return &threads[i];
	abort();
}

/* Let somebody else run, or the caller if it is chosen. A thread that has ended does not come back. */
static void schedule(void)
{
	struct sim_thread *self = current, *next = choose();
	bool ended = self->state == THREAD_ENDED;

	if (next == self)
		return;
	stats.switches++;
	sim_note((uint64_t)(next - threads));
	sim_note(stats.virtual_ns);
	current = next;
	sem_post(&next->baton);
	if (ended)
		return;
	while (sem_wait(&self->baton))
		;
}

static void count_point(void)
{
	stats.virtual_ns += POINT_NS;
	stats.points++;
	if (config.points_max && stats.points > config.points_max)
		give_up("no end");
}

void sim_point(void)
{
	if (!current)
		return;
	count_point();
	if (random_next() % config.switch_one_in == 0)
		schedule();
}

/* Returns false when the deadline came first. */
static bool wait_on(const void *what_on, const char *what, const char *name, uint64_t deadline_ns)
{
	struct sim_thread *self = current;

	if (!self) {
		fprintf(stderr, "sim: waiting for %s %s outside of a run\n", what, name);
		abort();
	}
	count_point();
	self->state = THREAD_WAITING;
	self->wait_on = what_on;
	self->wait_what = what;
	self->wait_name = name;
	self->deadline_ns = deadline_ns;
	schedule();
	return !self->timed_out;
}

static void wake_all(const void *what)
{
	for (unsigned i = 0; i < thread_limit; i++)
		if (threads[i].state == THREAD_WAITING && threads[i].wait_on == what)
			wake(&threads[i], false);
}

static void wake_one(const void *what)
{
	unsigned count = 0, nth;

	for (unsigned i = 0; i < thread_limit; i++)
		count += threads[i].state == THREAD_WAITING && threads[i].wait_on == what;
	if (!count)
		return;
	nth = (unsigned)(random_next() % count);
	for (unsigned i = 0; i < thread_limit; i++)
		if (threads[i].state == THREAD_WAITING && threads[i].wait_on == what && nth-- == 0)
			wake(&threads[i], false);
}

/* The owner of a lock that was taken outside of a run. */
static struct sim_thread *self_or_main(void)
{
	return current ? current : &threads[0];
}

/* ---- locks ---- */

void sync_mutex_init(struct sync_mutex *m, enum sync_rank rank, const char *name)
{
	*m = (struct sync_mutex){ .name = name, .rank = rank };
}

void sync_mutex_done(struct sync_mutex *m)
{
	always(!m->m.owner);
}

static SYNC_NO_ANALYSIS void take_mutex(struct sync_mutex *m)
{
	while (m->m.owner)
		wait_on(m, "mutex", m->name, UINT64_MAX);
	m->m.owner = self_or_main();
}

static SYNC_NO_ANALYSIS void drop_mutex(struct sync_mutex *m)
{
	always(m->m.owner == self_or_main());
	m->m.owner = NULL;
	wake_all(m);
}

SYNC_NO_ANALYSIS void sync_mutex_lock(struct sync_mutex *m)
{
	held_check(m, m->name, m->rank);
	sim_point();
	always(m->m.owner != self_or_main());
	take_mutex(m);
	held_push(m, m->name, m->rank);
}

SYNC_NO_ANALYSIS bool sync_mutex_trylock(struct sync_mutex *m)
{
	sim_point();
	if (m->m.owner)
		return false;
	m->m.owner = self_or_main();
	held_push(m, m->name, m->rank);
	return true;
}

SYNC_NO_ANALYSIS void sync_mutex_unlock(struct sync_mutex *m)
{
	held_pop(m, m->name, m->rank);
	drop_mutex(m);
	sim_point();
}

void sync_rwlock_init(struct sync_rwlock *l, enum sync_rank rank, const char *name)
{
	*l = (struct sync_rwlock){ .name = name, .rank = rank };
}

void sync_rwlock_done(struct sync_rwlock *l)
{
	always(!l->l.writer && !l->l.readers);
}

SYNC_NO_ANALYSIS void sync_rwlock_rdlock(struct sync_rwlock *l)
{
	held_check(l, l->name, l->rank);
	sim_point();
	while (l->l.writer || l->l.waiting_writers)
		wait_on(l, "rwlock (shared)", l->name, UINT64_MAX);
	l->l.readers++;
	held_push(l, l->name, l->rank);
}

SYNC_NO_ANALYSIS bool sync_rwlock_tryrdlock(struct sync_rwlock *l)
{
	sim_point();
	if (l->l.writer || l->l.waiting_writers)
		return false;
	l->l.readers++;
	held_push(l, l->name, l->rank);
	return true;
}

SYNC_NO_ANALYSIS void sync_rwlock_rdunlock(struct sync_rwlock *l)
{
	held_pop(l, l->name, l->rank);
	always(l->l.readers);
	l->l.readers--;
	wake_all(l);
	sim_point();
}

SYNC_NO_ANALYSIS void sync_rwlock_wrlock(struct sync_rwlock *l)
{
	held_check(l, l->name, l->rank);
	sim_point();
	l->l.waiting_writers++;
	while (l->l.writer || l->l.readers)
		wait_on(l, "rwlock", l->name, UINT64_MAX);
	l->l.waiting_writers--;
	l->l.writer = self_or_main();
	held_push(l, l->name, l->rank);
}

SYNC_NO_ANALYSIS void sync_rwlock_wrunlock(struct sync_rwlock *l)
{
	held_pop(l, l->name, l->rank);
	always(l->l.writer == self_or_main());
	l->l.writer = NULL;
	wake_all(l);
	sim_point();
}

void sync_cond_init(struct sync_cond *c)
{
	*c = (struct sync_cond){ 0 };
}

void sync_cond_done(struct sync_cond *c)
{
	always(!c->c.waiters);
}

SYNC_NO_ANALYSIS bool sync_cond_wait_until(struct sync_cond *c, struct sync_mutex *m, uint64_t deadline_ns)
{
	bool in_time;

	held_require(m, m->name, m->rank);
	drop_mutex(m);
	c->c.waiters++;
	in_time = wait_on(c, "condition with", m->name, deadline_ns);
	c->c.waiters--;
	take_mutex(m);
	return in_time;
}

void sync_cond_wait(struct sync_cond *c, struct sync_mutex *m)
{
	(void)sync_cond_wait_until(c, m, UINT64_MAX);
}

void sync_cond_signal(struct sync_cond *c)
{
	wake_one(c);
	if (config.spurious_one_in && random_next() % config.spurious_one_in == 0)
		wake_one(c);
	sim_point();
}

void sync_cond_broadcast(struct sync_cond *c)
{
	wake_all(c);
	sim_point();
}

/* ---- threads ---- */

static void *thread_main(void *arg)
{
	struct sim_thread *t = arg;

	while (sem_wait(&t->baton))
		;
	t->fn(t->arg);
	t->state = THREAD_ENDED;
	wake_all(t);
	schedule();
	return NULL;
}

static struct sim_thread *thread_add(const char *name)
{
	for (unsigned i = 0; i < THREADS_MAX; i++) {
		struct sim_thread *t = &threads[i];

		if (t->state != THREAD_NONE)
			continue;
		memset(t, 0, sizeof(*t));
		always(sem_init(&t->baton, 0, 0) == 0);
		strncpy(t->name, name, sizeof(t->name) - 1);
		t->state = THREAD_READY;
		if (i >= thread_limit)
			thread_limit = i + 1;
		return t;
	}
	return NULL;
}

static void thread_remove(struct sim_thread *t)
{
	sem_destroy(&t->baton);
	t->state = THREAD_NONE;
}

int sync_thread_start(struct sync_thread *t, const char *name, void (*fn)(void *arg), void *arg)
{
	struct sim_thread *s = thread_add(name);
	int rc;

	always(current);
	if (!s)
		return err_set(-EAGAIN, "start thread %s", name);
	s->fn = fn;
	s->arg = arg;
	rc = pthread_create(&s->os, NULL, thread_main, s);
	if (rc) {
		thread_remove(s);
		return err_set(-rc, "start thread %s", name);
	}
	t->t = s;
	sim_point();
	return 0;
}

void sync_thread_join(struct sync_thread *t)
{
	while (t->t->state != THREAD_ENDED)
		wait_on(t->t, "end of thread", t->t->name, UINT64_MAX);
	always(pthread_join(t->t->os, NULL) == 0);
	thread_remove(t->t);
}

void sync_sleep_ns(uint64_t ns)
{
	wait_on(NULL, "time", "", stats.virtual_ns + ns);
}

uint64_t sync_now_ns(void)
{
	return stats.virtual_ns;
}

uint64_t sync_wall_ns(void)
{
	return WALL_START_NS + stats.virtual_ns;
}

unsigned sync_thread_slot(void)
{
	return (unsigned)(self_or_main() - threads);
}

void sim_run(const struct sim_config *c, void (*fn)(void *arg), void *arg)
{
	always(!current);
	config = *c;
	if (!config.switch_one_in)
		config.switch_one_in = 1;
	random_state = c->seed * UINT64_C(0xd1342543de82ef95) + 1;
	stats = (struct sim_stats){ .virtual_ns = SYNC_NS_PER_S };
	thread_limit = 0;
	current = thread_add("main");
	always(current == &threads[0]);
	fn(arg);
	for (unsigned i = 1; i < thread_limit; i++)
		always(threads[i].state == THREAD_NONE);
	thread_remove(current);
	current = NULL;
}
