/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who reads the requests of the kernel. When all threads do, as in libfuse's own loop, each request wakes another one,
 * although the one that has just answered would take it at once. That counts when one program asks for one thing after
 * the other, so then one thread reads alone, and still counts as the reader while it works on a request; another
 * one looks every millisecond whether that takes long, and reads instead of it if so. A request that others of the same
 * program follow without waiting for its answer is not brief: after it, and when several programs ask at the same time,
 * all threads read for a while. While the one thread answers many requests each millisecond, processors are kept from
 * sleeping deeply.
 *
 *   reading --request--> working, brief --answered----------> reading
 *      ^                        \--a watch later: replaced--> working
 *      |-----others ask, too-- working --answered--> parked --called--> reading
 */
#include "plugins/fuse/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "plugins/fuse/mount.h"
#include "plugins/fuse/thread.h"
#include "plugins/fuse/wake.h"

#define WATCH_NS 1000000u
#define BUSY_REQUESTS 4u /* within this time: the program does little but wait for answers */
#define BRIEF_READ_BYTES (32u << 10)
/* Two programs that ask within so long do so at the same time, and go on for so long. */
#define TOGETHER_NS 2000000u
#define CROWDED_NS 50000000u
#define END_SEEN_S 1
/* It ends a wait for the kernel's next request. */
#define END_SIGNAL SIGUSR1
#define END_PAUSE_NS 1000000

struct loop;

struct worker {
	struct worker *next;
	struct loop *loop;
	pthread_t thread;
	struct fuse_buf buf;
};

struct loop {
	struct fuse_session *session;
	unsigned threads_max;
	sem_t ended;
	pthread_mutex_t lock;
	pthread_cond_t call; /* to those that are parked */
	pthread_cond_t watch; /* to the one that watches */
	struct worker *workers;
	unsigned threads, parked; /* without the one that watches */
	unsigned called; /* of the parked ones */
	bool watch_called, stop;
	int err;
	struct wake *wake; /* of the one that watches */
	_Atomic unsigned readers; /* changes under the lock, and by who watches */
	_Atomic bool watched; /* somebody watches */
	_Atomic bool asleep; /* he has to be woken first */
	_Atomic uint64_t brief; /* the number of the brief request that the only reader works on; 0: none */
	_Atomic uint64_t last; /* the number of the last one */
	/* Who asked last, and when; until when several do. */
	_Atomic uint32_t last_pid;
	_Atomic uint64_t last_ns, crowded_until_ns;
};

bool loop_is_brief(const void *request, size_t len)
{
	struct fuse_in_header head;
	struct fuse_write_in write;
	struct fuse_read_in read;

	if (len < sizeof(head))
		return false;
	memcpy(&head, request, sizeof(head));
	switch (head.opcode) {
	case FUSE_READ:
		if (len < sizeof(head) + sizeof(read))
			return false;
		memcpy(&read, (const char *)request + sizeof(head), sizeof(read));
		return read.size <= BRIEF_READ_BYTES && !(read.flags & O_DIRECT);
	case FUSE_WRITE:
		if (len < sizeof(head) + sizeof(write))
			return false;
		memcpy(&write, (const char *)request + sizeof(head), sizeof(write));
		return !(write.flags & O_DIRECT) && !(write.write_flags & FUSE_WRITE_CACHE);
	default:
		return true;
	}
}

/* Do several programs ask at the same time, or one for several things at once? */
static void note_who(struct loop *l, const void *request, size_t len, bool brief)
{
	uint64_t now = node_now_ns();
	struct fuse_in_header head;

	if (!brief)
		atomic_store(&l->crowded_until_ns, now + CROWDED_NS);
	if (len < sizeof(head))
		return;
	memcpy(&head, request, sizeof(head));
	/* Nobody waits for these. */
	if (!head.pid || head.opcode == FUSE_RELEASE || head.opcode == FUSE_RELEASEDIR || head.opcode == FUSE_FORGET ||
	    head.opcode == FUSE_BATCH_FORGET)
		return;
	if (atomic_exchange(&l->last_pid, head.pid) != head.pid && now - atomic_load(&l->last_ns) < TOGETHER_NS)
		atomic_store(&l->crowded_until_ns, now + CROWDED_NS);
	atomic_store(&l->last_ns, now);
}

static bool is_crowded(struct loop *l)
{
	uint64_t until = atomic_load(&l->crowded_until_ns);

	return until && node_now_ns() < until;
}

static void *work(void *arg);

/* One more, which reads. With the lock held. */
static int start_worker(struct loop *l)
{
	struct worker *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	w->loop = l;
	err = thread_start(&w->thread, work, w);
	if (err) {
		free(w);
		return err;
	}
	w->next = l->workers;
	l->workers = w;
	l->threads++;
	atomic_fetch_add(&l->readers, 1);
	return 0;
}

/* Nobody reads: somebody is to, if there is anybody. With the lock held. */
static void call_one(struct loop *l)
{
	if (l->stop)
		return;
	if (l->parked > l->called) {
		l->called++;
		atomic_fetch_add(&l->readers, 1);
		pthread_cond_signal(&l->call);
	} else if (l->threads < l->threads_max && start_worker(l) == 0) {
		return;
	} else if (atomic_load(&l->watched) && !l->watch_called) {
		l->watch_called = true;
		atomic_fetch_add(&l->readers, 1);
		pthread_cond_signal(&l->watch);
	}
}

/* Before the reader works on a request. Returns its number if it stays the reader meanwhile, unless replaced; or 0. */
static uint64_t leave(struct loop *l, bool brief)
{
	uint64_t number;

	if (brief && atomic_load(&l->watched) && atomic_load(&l->readers) == 1 && !is_crowded(l)) {
		number = atomic_fetch_add(&l->last, 1) + 1;
		atomic_store(&l->brief, number);
		if (atomic_load(&l->asleep) && atomic_exchange(&l->asleep, false)) {
			pthread_mutex_lock(&l->lock);
			pthread_cond_signal(&l->watch);
			pthread_mutex_unlock(&l->lock);
		}
		return number;
	}
	pthread_mutex_lock(&l->lock);
	if (atomic_fetch_sub(&l->readers, 1) == 1)
		call_one(l);
	pthread_mutex_unlock(&l->lock);
	return 0;
}

/* Look after the reader, until it is to be replaced, or the thread called. With the lock held. */
static void watch(struct loop *l)
{
	uint64_t before = 0, last_before = 0;

	atomic_store(&l->watched, true);
	while (!l->stop && !l->watch_called) {
		uint64_t now = atomic_load(&l->brief), last = atomic_load(&l->last);

		if (now && now == before && atomic_compare_exchange_strong(&l->brief, &now, 0))
			break;
		if (now || last != last_before) {
			if (last - last_before >= BUSY_REQUESTS)
				wake_hold(l->wake, true);
			before = now;
			last_before = last;
			thread_wait_until(&l->watch, &l->lock, node_now_ns() + WATCH_NS);
			continue;
		}
		/* Nothing happens. */
		wake_hold(l->wake, false);
		atomic_store(&l->asleep, true);
		if (!atomic_load(&l->brief) && atomic_load(&l->last) == last)
			pthread_cond_wait(&l->watch, &l->lock);
		atomic_store(&l->asleep, false);
	}
	wake_hold(l->wake, false);
	l->watch_called = false;
	atomic_store(&l->watched, false);
}

/* With the lock held; until it is called. */
static void park(struct loop *l)
{
	if (!atomic_load(&l->watched)) {
		watch(l);
		return;
	}
	l->parked++;
	while (!l->called && !l->stop)
		pthread_cond_wait(&l->call, &l->lock);
	if (l->called)
		l->called--;
	l->parked--;
}

/* After its request, with what leave() returned: the thread reads again, perhaps later. */
static void come_back(struct loop *l, uint64_t number)
{
	if (number && atomic_compare_exchange_strong(&l->brief, &number, 0))
		return;
	pthread_mutex_lock(&l->lock);
	if (atomic_load(&l->readers) == 0 || is_crowded(l))
		atomic_fetch_add(&l->readers, 1);
	else
		park(l);
	pthread_mutex_unlock(&l->lock);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct loop *l = w->loop;
	sigset_t end;

	sigemptyset(&end);
	sigaddset(&end, END_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &end, NULL);
	while (!fuse_session_exited(l->session)) {
		uint64_t number;
		bool brief;
		int len = fuse_session_receive_buf(l->session, &w->buf);

		if (len == -EINTR)
			continue;
		if (len <= 0) {
			pthread_mutex_lock(&l->lock);
			if (len < 0 && !l->err)
				l->err = len;
			pthread_mutex_unlock(&l->lock);
			break;
		}
		brief = loop_is_brief(w->buf.mem, (size_t)len);
		note_who(l, w->buf.mem, (size_t)len, brief);
		number = leave(l, brief);
		fuse_session_process_buf(l->session, &w->buf);
		come_back(l, number);
	}
	fuse_session_exit(l->session);
	sem_post(&l->ended);
	return NULL;
}

static void end_workers(struct loop *l)
{
	struct worker *w;

	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_cond_broadcast(&l->call);
	pthread_cond_broadcast(&l->watch);
	pthread_mutex_unlock(&l->lock);
	/* No more are started. */
	while ((w = l->workers)) {
		l->workers = w->next;
		/* One signal may come just before it reads. */
		while (pthread_tryjoin_np(w->thread, NULL) == EBUSY) {
			(void)pthread_kill(w->thread, END_SIGNAL);
			(void)nanosleep(&(struct timespec){ .tv_nsec = END_PAUSE_NS }, NULL);
		}
		free(w->buf.mem);
		free(w);
	}
}

static void wait_for_end(struct loop *l)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += END_SEEN_S;
	(void)sem_timedwait(&l->ended, &until);
}

static void nothing(int signal_number)
{
	(void)signal_number;
}

int loop_run(struct fuse_session *session, unsigned threads_max, struct wake *wake)
{
	struct loop l = { .session = session, .threads_max = threads_max, .wake = wake };
	int err;

	(void)sigaction(END_SIGNAL, &(struct sigaction){ .sa_handler = nothing }, NULL);
	sem_init(&l.ended, 0, 0);
	pthread_mutex_init(&l.lock, NULL);
	pthread_cond_init(&l.call, NULL);
	thread_cond_init(&l.watch);
	pthread_mutex_lock(&l.lock);
	err = start_worker(&l);
	pthread_mutex_unlock(&l.lock);
	/* Who ends it does not tell. */
	while (!err && !fuse_session_exited(session))
		wait_for_end(&l);
	end_workers(&l);
	if (!err)
		err = l.err;
	pthread_cond_destroy(&l.watch);
	pthread_cond_destroy(&l.call);
	pthread_mutex_destroy(&l.lock);
	sem_destroy(&l.ended);
	return err;
}
