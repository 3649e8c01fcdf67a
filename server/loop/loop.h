/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Event loops: a set of libevent bases, one thread each, that own sockets, timers and signals. Nothing on a loop thread
 * may wait.
 *
 * loop_post() is how other threads (workers) hand results back: the task runs on the loop's thread, in order of
 * posting. Wake-ups are coalesced, so posting many costs one eventfd write.
 */
#ifndef WFSD_SERVER_LOOP_LOOP_H
#define WFSD_SERVER_LOOP_LOOP_H

#include <event2/event.h>

struct loop;
struct loop_set;
struct metrics;

/* Embedded by the owner; alive until it ran. */
struct loop_task {
	void (*run)(struct loop_task *t);
	struct loop_task *next; /* private */
};

/* @count: 1..64; 0: one per processor. Threads run on return. 0, -ENOMEM, -EINVAL. */
int loop_set_new(unsigned count, struct loop_set **ret);
/* Asks all loops to end (tasks posted so far still run), joins the threads. */
void loop_set_free(struct loop_set *s);
unsigned loop_set_count(const struct loop_set *s);
/* Loop @i modulo count; loop 0 is where signals and the admin socket live. */
struct loop *loop_set_get(struct loop_set *s, unsigned i);
/* The next one in turn, for a new connection. */
struct loop *loop_set_next(struct loop_set *s);

struct event_base *loop_base(struct loop *l); /* use on the loop's own thread only */
void loop_post(struct loop *l, struct loop_task *t); /* any thread */
/* Run @fn on the loop's thread and wait until it has returned; on that thread itself: at once. Not from another loop.
 */
void loop_call(struct loop *l, void (*fn)(void *arg), void *arg);
int loop_is_current(const struct loop *l);

/* Tasks and wake-ups per loop; undone by loop_set_free(). 0, -ENOMEM, -EEXIST. */
int loop_set_register_metrics(struct loop_set *s, struct metrics *m);

#endif
