/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libwfs: batches that nobody waits for. They are sent by whoever starts them; a thread for each connection, which is
 * there from the first one on, sees to their answers: it receives when no other thread does, sends again what a lost
 * connection has taken along, and calls back.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "protocol/client/batch.h"

/* One batch under way. Its call points back to it by being its first member. */
struct pending {
	struct batch_call bc; /* first */
	struct pending *next;
	struct wfs_batch *batch;
	wfs_batch_fn *fn;
	void *ctx;
	uint32_t slot; /* 0: none */
	uint64_t deadline_ns; /* no more attempts after that; 0: there always was a connection */
	uint64_t sent_ns; /* the last time */
};

struct queue {
	struct pending *first, *last;
};

struct wfs_async {
	struct wfs_conn *conn;
	struct sync_thread thread;
	bool stopping;
	unsigned count; /* under way, up to the end of the callback */
	unsigned early; /* answered, or lost, while they are still being sent */
	struct queue done; /* answered, or the connection was lost */
	struct queue again; /* to be sent */
	struct wfs_call idle; /* waits like a call that is never answered, to be given the lead */
};

static void push(struct queue *q, struct pending *p)
{
	p->next = NULL;
	if (q->last)
		q->last->next = p;
	else
		q->first = p;
	q->last = p;
}

static struct pending *pop(struct queue *q)
{
	struct pending *p = q->first;

	if (!p)
		return NULL;
	q->first = p->next;
	if (!q->first)
		q->last = NULL;
	return p;
}

SYNC_NO_ANALYSIS void wfs_async_done(struct wfs_call *call)
{
	struct wfs_async *a = call->async;

	if (call->sending) {
		a->early++;
		return;
	}
	push(&a->done, (struct pending *)call);
	wfs_conn_leave(a->conn);
	sync_cond_signal(&a->idle.cond);
}

SYNC_NO_ANALYSIS void wfs_async_sent(struct wfs_call *call)
{
	call->sending = false;
	if (call->done) {
		call->async->early--;
		wfs_async_done(call);
	}
}

static void finish(struct wfs_async *a, struct pending *p, int err)
{
	struct wfs_conn *c = a->conn;
	unsigned done = 0;

	if (!err)
		err = wfs_batch_take_results(p->batch, &p->bc.call, &done);
	if (p->slot)
		wfs_slot_give(c, p->slot);
	/* What the answer lay in is for the next one. */
	wfs_batch_call_done(&p->bc);
	p->fn(p->ctx, p->batch, err, done);
	free(p);
	sync_mutex_lock(&c->lock);
	a->count--;
	sync_mutex_unlock(&c->lock);
}

/* The connection was lost, or the batch was never sent: send it when there is one again. */
static void send_again(struct wfs_async *a, struct pending *p)
{
	struct wfs_conn *c = a->conn;
	uint64_t generation;
	bool again;
	int err;

	do {
		err = wfs_conn_up(c, &p->deadline_ns, false, &generation);
		p->sent_ns = sync_now_ns();
		/* When that is well, the batch may be gone. */
		if (!err)
			err = wfs_call_start(c, generation, &p->bc.call);
		again = err == -ENOTCONN && sync_now_ns() < p->deadline_ns;
	} while (again);
	if (err)
		finish(a, p, err_set(-ETIMEDOUT, "%s ended the connection during every attempt", c->client->address));
}

/* One that is answered, or lost. */
static void take_done(struct wfs_conn *c, struct wfs_async *a, struct pending *p) SYNC_REQUIRES(c->lock)
{
	bool lost = p->bc.call.err;

	wfs_conn_pass_lead(c);
	sync_mutex_unlock(&c->lock);
	if (lost)
		(void)wfs_call_may_repeat(c, p->slot != 0, p->sent_ns, &p->deadline_ns);
	else
		finish(a, p, 0);
	sync_mutex_lock(&c->lock);
	if (lost)
		push(&a->again, p);
}

static void serve(void *arg)
{
	struct wfs_async *a = arg;
	struct wfs_conn *c = a->conn;
	struct pending *p;

	sync_mutex_lock(&c->lock);
	while (a->count || !a->stopping) {
		if ((p = pop(&a->done))) {
			take_done(c, a, p);
		} else if ((p = pop(&a->again))) {
			wfs_conn_pass_lead(c);
			sync_mutex_unlock(&c->lock);
			send_again(a, p);
			sync_mutex_lock(&c->lock);
		} else if (!a->count || a->early) {
			/* Not while it receives: then it would not see that an early one is sent. Its sender receives
			 * when it has to wait. */
			wfs_conn_pass_lead(c);
			sync_cond_wait(&a->idle.cond, &c->lock);
		} else if (!c->leader && c->state == CONN_UP) {
			wfs_conn_lead(c);
		} else {
			wfs_conn_wait_lead(c, &a->idle);
		}
	}
	sync_mutex_unlock(&c->lock);
}

/* The connection's own, made when it is needed first. */
static int get_async(struct wfs_conn *c, struct wfs_async **ret)
{
	struct wfs_async *a;
	int err = 0;

	sync_mutex_lock(&c->async_lock);
	a = c->async;
	if (!a) {
		a = calloc(1, sizeof(*a));
		if (a) {
			a->conn = c;
			wfs_call_init(&a->idle, WFSP_NULL);
			err = sync_thread_start(&a->thread, "wfs-async", serve, a);
		} else {
			err = err_set(-ENOMEM, "no memory for batches under way");
		}
		if (err) {
			free(a);
			a = NULL;
		}
		c->async = a;
	}
	sync_mutex_unlock(&c->async_lock);
	*ret = a;
	return err;
}

void wfs_async_end(struct wfs_conn *c)
{
	struct wfs_async *a = c->async;

	if (!a)
		return;
	sync_mutex_lock(&c->lock);
	a->stopping = true;
	sync_cond_signal(&a->idle.cond);
	sync_mutex_unlock(&c->lock);
	sync_thread_join(&a->thread);
	wfs_call_done(&a->idle);
	free(a);
	c->async = NULL;
}

/* Is there room for one more? */
static bool enter(struct wfs_async *a)
{
	struct wfs_conn *c = a->conn;
	bool room;

	sync_mutex_lock(&c->lock);
	room = a->count < WFS_ASYNC_MAX;
	if (room && a->count++ == 0)
		sync_cond_signal(&a->idle.cond);
	sync_mutex_unlock(&c->lock);
	return room;
}

/* Undo enter(). */
static void leave(struct wfs_async *a)
{
	sync_mutex_lock(&a->conn->lock);
	a->count--;
	sync_mutex_unlock(&a->conn->lock);
}

/* Send it, or have it sent when there is a connection. */
static void start(struct wfs_async *a, struct pending *p)
{
	struct wfs_conn *c = a->conn;
	uint64_t generation;
	bool up;

	sync_mutex_lock(&c->lock);
	up = c->state == CONN_UP && !a->again.first;
	generation = c->generation;
	sync_mutex_unlock(&c->lock);
	p->sent_ns = sync_now_ns();
	if (up && wfs_call_start(c, generation, &p->bc.call) == 0)
		return;
	(void)wfs_call_may_repeat(c, p->slot != 0, 0, &p->deadline_ns);
	sync_mutex_lock(&c->lock);
	push(&a->again, p);
	sync_cond_signal(&a->idle.cond);
	sync_mutex_unlock(&c->lock);
}

int wfs_batch_start(struct wfs_batch *b, const struct wfs_cred *cred, wfs_batch_fn *fn, void *ctx)
{
	struct wfs_conn *c = wfs_pick_conn(b->client);
	struct pending *p = malloc(sizeof(*p));
	uint32_t sequence = 0;
	struct wfs_async *a;
	int err;

	if (!p)
		return err_set(-ENOMEM, "no memory for a batch under way");
	err = wfs_batch_call_init(&p->bc, b);
	if (err) {
		free(p);
		return err;
	}
	p->batch = b;
	p->fn = fn;
	p->ctx = ctx;
	p->slot = 0;
	p->deadline_ns = 0;
	err = get_async(c, &a);
	if (!err && !enter(a))
		err = err_set(-EAGAIN, "%u batches are under way", WFS_ASYNC_MAX);
	if (!err && b->once && !wfs_slot_try(c, &p->slot, &sequence)) {
		leave(a);
		err = err_set(-EAGAIN, "%u batches that change something are under way", WFSP_SLOTS);
	}
	if (err) {
		wfs_batch_call_done(&p->bc);
		free(p);
		return err;
	}
	p->bc.call.in_slot = b->once;
	p->bc.call.async = a;
	wfs_batch_put_head(b, cred, &p->bc.call, p->slot, sequence);
	start(a, p);
	return 0;
}

/* Is it on its way on this connection? Then *ret_xid. */
static bool find_under_way(struct wfs_conn *c, const struct wfs_batch *b, uint32_t *ret_xid, uint64_t *ret_generation)
{
	bool found = false;

	sync_mutex_lock(&c->lock);
	for (unsigned i = 0; i < CLIENT_BUCKETS && !found; i++) {
		for (struct wfs_call *call = c->buckets[i]; call && !found; call = call->bucket_next) {
			found = call->async && ((struct pending *)call)->batch == b;
			*ret_xid = call->xid;
		}
	}
	*ret_generation = c->generation;
	sync_mutex_unlock(&c->lock);
	return found;
}

int wfs_batch_cancel(struct wfs *w, const struct wfs_batch *b)
{
	uint8_t reply[WFSP_SMALL_RESULT_BYTES_MAX];
	uint64_t generation;
	struct wfs_call call;
	struct rd results;
	uint32_t xid = 0;
	unsigned i = 0;
	int err;

	while (i < w->conn_count && !find_under_way(&w->conns[i], b, &xid, &generation))
		i++;
	if (i == w->conn_count)
		return err_set(-ENOENT, "the batch is not on its way");
	wfs_call_init(&call, WFSP_CANCEL);
	call.reply = reply;
	call.reply_size = sizeof(reply);
	wr_be32(&call.args, xid);
	err = wfs_call_run(&w->conns[i], generation, &call);
	if (err)
		err = err_set(-ENOTCONN, "the connection was lost");
	else
		err = wfs_call_result(&call, &results);
	wfs_call_done(&call);
	return err;
}
