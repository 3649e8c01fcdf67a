/* SPDX-License-Identifier: BSD-3-Clause */
/* sync.h on pthreads: thin. Ranks are checked by sync_held.h. Not linked into the simulator, which has sync_sim.c. */
#include "core/base/sync.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/base/sync_held.h"
#include "core/base/waits.h"

void sync_mutex_init(struct sync_mutex *m, enum sync_rank rank, const char *name)
{
	always(pthread_mutex_init(&m->m, NULL) == 0);
	m->name = name;
	m->rank = rank;
}

void sync_mutex_done(struct sync_mutex *m)
{
	always(pthread_mutex_destroy(&m->m) == 0);
}

SYNC_NO_ANALYSIS void sync_mutex_lock(struct sync_mutex *m)
{
	int rc;

	held_check(m, m->name, m->rank);
	rc = pthread_mutex_trylock(&m->m);
	if (rc == EBUSY) {
		uint64_t since_ns = sync_now_ns();

		rc = pthread_mutex_lock(&m->m);
		waits_of_thread.others_ns += sync_now_ns() - since_ns;
	}
	always(rc == 0);
	held_push(m, m->name, m->rank);
}

SYNC_NO_ANALYSIS bool sync_mutex_trylock(struct sync_mutex *m)
{
	int rc = pthread_mutex_trylock(&m->m);

	always(rc == 0 || rc == EBUSY);
	if (rc)
		return false;
	held_push(m, m->name, m->rank);
	return true;
}

SYNC_NO_ANALYSIS void sync_mutex_unlock(struct sync_mutex *m)
{
	held_pop(m, m->name, m->rank);
	always(pthread_mutex_unlock(&m->m) == 0);
}

void sync_rwlock_init(struct sync_rwlock *l, enum sync_rank rank, const char *name)
{
	pthread_rwlockattr_t attr;

	always(pthread_rwlockattr_init(&attr) == 0);
	always(pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP) == 0);
	always(pthread_rwlock_init(&l->l, &attr) == 0);
	pthread_rwlockattr_destroy(&attr);
	l->name = name;
	l->rank = rank;
}

void sync_rwlock_done(struct sync_rwlock *l)
{
	always(pthread_rwlock_destroy(&l->l) == 0);
}

SYNC_NO_ANALYSIS void sync_rwlock_rdlock(struct sync_rwlock *l)
{
	held_check(l, l->name, l->rank);
	always(pthread_rwlock_rdlock(&l->l) == 0);
	held_push(l, l->name, l->rank);
}

SYNC_NO_ANALYSIS bool sync_rwlock_tryrdlock(struct sync_rwlock *l)
{
	int rc = pthread_rwlock_tryrdlock(&l->l);

	always(rc == 0 || rc == EBUSY);
	if (rc)
		return false;
	held_push(l, l->name, l->rank);
	return true;
}

SYNC_NO_ANALYSIS void sync_rwlock_rdunlock(struct sync_rwlock *l)
{
	held_pop(l, l->name, l->rank);
	always(pthread_rwlock_unlock(&l->l) == 0);
}

SYNC_NO_ANALYSIS void sync_rwlock_wrlock(struct sync_rwlock *l)
{
	held_check(l, l->name, l->rank);
	always(pthread_rwlock_wrlock(&l->l) == 0);
	held_push(l, l->name, l->rank);
}

SYNC_NO_ANALYSIS void sync_rwlock_wrunlock(struct sync_rwlock *l)
{
	held_pop(l, l->name, l->rank);
	always(pthread_rwlock_unlock(&l->l) == 0);
}

void sync_cond_init(struct sync_cond *c)
{
	pthread_condattr_t attr;

	always(pthread_condattr_init(&attr) == 0);
	always(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
	always(pthread_cond_init(&c->c, &attr) == 0);
	pthread_condattr_destroy(&attr);
}

void sync_cond_done(struct sync_cond *c)
{
	always(pthread_cond_destroy(&c->c) == 0);
}

SYNC_NO_ANALYSIS void sync_cond_wait(struct sync_cond *c, struct sync_mutex *m)
{
	uint64_t since_ns = sync_now_ns();

	held_require(m, m->name, m->rank);
	always(pthread_cond_wait(&c->c, &m->m) == 0);
	waits_of_thread.others_ns += sync_now_ns() - since_ns;
}

static struct timespec to_timespec(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / SYNC_NS_PER_S), .tv_nsec = (long)(ns % SYNC_NS_PER_S) };
}

SYNC_NO_ANALYSIS bool sync_cond_wait_until(struct sync_cond *c, struct sync_mutex *m, uint64_t deadline_ns)
{
	struct timespec ts = to_timespec(deadline_ns);
	uint64_t since_ns = sync_now_ns();
	int rc;

	held_require(m, m->name, m->rank);
	rc = pthread_cond_timedwait(&c->c, &m->m, &ts);
	always(rc == 0 || rc == ETIMEDOUT);
	waits_of_thread.others_ns += sync_now_ns() - since_ns;
	return rc == 0;
}

void sync_cond_signal(struct sync_cond *c)
{
	always(pthread_cond_signal(&c->c) == 0);
}

void sync_cond_broadcast(struct sync_cond *c)
{
	always(pthread_cond_broadcast(&c->c) == 0);
}

struct start {
	void (*fn)(void *arg);
	void *arg;
	char name[16];
};

static void *thread_main(void *arg)
{
	struct start s = *(struct start *)arg;

	free(arg);
	pthread_setname_np(pthread_self(), s.name);
	s.fn(s.arg);
	return NULL;
}

int sync_thread_start(struct sync_thread *t, const char *name, void (*fn)(void *arg), void *arg)
{
	/* What the processor itself raises stays open, for crash reports. */
	static const int open_signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT };
	struct start *s = calloc(1, sizeof(*s));
	sigset_t block, before;
	int rc;

	if (!s)
		return err_set(-ENOMEM, "start thread %s", name);
	s->fn = fn;
	s->arg = arg;
	strncpy(s->name, name, sizeof(s->name) - 1);
	sigfillset(&block);
	for (size_t i = 0; i < sizeof(open_signals) / sizeof(open_signals[0]); i++)
		sigdelset(&block, open_signals[i]);
	always(pthread_sigmask(SIG_SETMASK, &block, &before) == 0);
	rc = pthread_create(&t->t, NULL, thread_main, s);
	always(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
	if (rc) {
		free(s);
		return err_set(-rc, "start thread %s", name);
	}
	return 0;
}

void sync_thread_join(struct sync_thread *t)
{
	always(pthread_join(t->t, NULL) == 0);
}

void sync_sleep_ns(uint64_t ns)
{
	struct timespec ts = to_timespec(ns);

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts) == EINTR)
		;
}

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * SYNC_NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t sync_now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t sync_wall_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

/*
 * Thread slots: a bitmap of numbers in use. A thread takes the lowest free one at its first call and gives it back when
 * it ends. Threads beyond SLOT_MAX share the last number.
 */
#define SLOT_WORDS 64
#define SLOT_MAX (SLOT_WORDS * 64)

static pthread_once_t slot_once = PTHREAD_ONCE_INIT;
static pthread_key_t slot_key;
static pthread_mutex_t slot_mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t slot_used[SLOT_WORDS]; /* slot_mutex */
static _Thread_local unsigned slot_plus_one;

static void slot_release(void *value)
{
	unsigned slot = (unsigned)(uintptr_t)value - 1;

	slot_plus_one = 0;
	if (slot >= SLOT_MAX)
		return;
	pthread_mutex_lock(&slot_mutex);
	slot_used[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
	pthread_mutex_unlock(&slot_mutex);
}

static void slot_init(void)
{
	always(pthread_key_create(&slot_key, slot_release) == 0);
}

static unsigned __attribute__((noinline)) slot_take(void)
{
	unsigned slot = SLOT_MAX;

	always(pthread_once(&slot_once, slot_init) == 0);
	pthread_mutex_lock(&slot_mutex);
	for (unsigned w = 0; w < SLOT_WORDS; w++) {
		if (slot_used[w] == UINT64_MAX)
			continue;
		slot = w * 64 + (unsigned)__builtin_ctzll(~slot_used[w]);
		slot_used[w] |= UINT64_C(1) << (slot % 64);
		break;
	}
	pthread_mutex_unlock(&slot_mutex);
	always(pthread_setspecific(slot_key, (void *)(uintptr_t)(slot + 1)) == 0);
	slot_plus_one = slot + 1;
	return slot;
}

unsigned sync_thread_slot(void)
{
	return slot_plus_one ? slot_plus_one - 1 : slot_take();
}
