/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The life of a connection.
 *
 *   new --attach--> open --error, end of file, kill--> closing --last operation back--> freed
 *
 * Callbacks (socket readable or writable, operations back from workers, time) do their part and end in
 * rpc_conn_run(), which goes on with whatever has become possible.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/base/assert.h"
#include "core/base/budget.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "server/rpc/notice.h"

#define TX_STALL_FACTOR 2 /* a client that takes no answers gets this much longer than one that sends nothing */

struct rpc_op *rpc_op_new(struct rpc_conn *c)
{
	struct rpc_op *op = c->free_ops;

	if (op) {
		c->free_ops = op->next;
	} else {
		op = malloc(sizeof(*op));
		if (!op)
			return NULL;
		budget_charge(c->server->charge, sizeof(*op));
		op->conn = c;
	}
	op->next = NULL;
	op->procedure = WFSP_NULL;
	op->handle = NULL;
	op->offset = op->len_bytes = 0;
	op->flags = 0;
	op->payload = NULL;
	op->shm = false;
	op->shm_mask = 0;
	op->held = false;
	op->cancelled = false;
	op->until_ns = 0;
	op->opened = NULL;
	op->compound = NULL;
	op->err = 0;
	op->begun_ns = 0;
	op->slowest = NULL;
	op->read_bytes = op->written_bytes = 0;
	op->operations = op->failed_operations = 0;
	op->held_bytes = 0;
	op->buf.p = NULL;
	op->has_ref = false;
	op->payload_len = op->head_len = op->total_len = op->sent = 0;
	__atomic_store_n(&c->op_count, c->op_count + 1, __ATOMIC_RELAXED);
	return op;
}

void rpc_op_free(struct rpc_op *op)
{
	struct rpc_conn *c = op->conn;

	if (op->has_ref)
		vfs_ref_release(&op->ref);
	op->has_ref = false;
	rpc_buf_put(c->server, &op->buf);
	if (op->handle)
		rpc_handle_unref(c->server->exports, op->handle);
	op->handle = NULL;
	c->held_bytes -= op->held_bytes;
	c->shm_busy &= ~op->shm_mask;
	always(c->op_count > 0);
	__atomic_store_n(&c->op_count, c->op_count - 1, __ATOMIC_RELAXED);
	op->next = c->free_ops;
	c->free_ops = op;
}

static void drop_held(struct rpc_conn *c)
{
	struct rpc_notices *n = rpc_session_notices(c->server, c->session, false);
	struct rpc_op *op = n ? rpc_notices_drop(n, c) : NULL;

	if (op)
		rpc_op_free(op);
}

void rpc_conn_close(struct rpc_conn *c)
{
	if (c->closing)
		return;
	c->closing = true;
	event_del(c->read_event);
	event_del(c->write_event);
	event_del(c->again_event);
	event_del(c->timer);
	c->reading = c->writing = c->again = false;
	/* Requests under way may ask whose they are: the session stays until the connection is freed. */
	close(c->fd);
	c->fd = -1;
	while (c->send_first) {
		struct rpc_op *op = c->send_first;

		c->send_first = op->next;
		rpc_op_free(op);
	}
	c->send_last = NULL;
	c->unsent_bytes = 0;
	if (c->direct)
		rpc_op_free(c->direct);
	c->direct = NULL;
	drop_held(c);
	record_rx_done(&c->rx);
	budget_uncharge(c->server->charge, c->join_charged);
	c->join_charged = 0;
	rpc_handles_done(&c->handles, c->server->exports);
}

void rpc_conn_bad(struct rpc_conn *c, const char *what)
{
	counter_add(&c->server->stats.bad_records, 1);
	log_debug("rpc", "connection closed: reason=\"%s\"", what);
	rpc_conn_close(c);
}

void rpc_conn_free(struct rpc_conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	while (c->free_ops) {
		struct rpc_op *op = c->free_ops;

		c->free_ops = op->next;
		free(op);
		budget_uncharge(c->server->charge, sizeof(*op));
	}
	if (c->read_event)
		event_free(c->read_event);
	if (c->write_event)
		event_free(c->write_event);
	if (c->again_event)
		event_free(c->again_event);
	if (c->timer)
		event_free(c->timer);
	rpc_shm_drop(c);
	rpc_trees_done(&c->trees, c->server->exports);
	if (c->session)
		rpc_session_put(c->session);
	if (c->account)
		rpc_account_leave(&c->server->sessions, c->account);
	rpc_peer_done(&c->peer);
	tls_free(c->tls);
	sync_mutex_done(&c->handles.lock);
	free(c->window);
	budget_uncharge(c->server->charge, RPC_WINDOW_BYTES + sizeof(*c));
	free(c);
}

int rpc_conn_join_peer(struct rpc_conn *c)
{
	c->account = rpc_account_join(&c->server->sessions, &c->peer);
	if (!c->account)
		return err_set(-ENOMEM, "no memory for what a peer holds");
	c->peer_number = rpc_account_number(c->account);
	rpc_handles_set_peer(&c->handles, rpc_account_handle_count(c->account));
	return 0;
}

void rpc_conn_watch_writable(struct rpc_conn *c, bool want)
{
	if (c->writing == want)
		return;
	c->writing = want;
	if (!want)
		event_del(c->write_event);
	else if (event_add(c->write_event, NULL) < 0)
		rpc_conn_close(c);
}

/* Read from the socket exactly when there is room for requests. */
static void update_reading(struct rpc_conn *c)
{
	bool want = !c->paused && !c->again;

	if (want == c->reading)
		return;
	c->reading = want;
	if (!want)
		event_del(c->read_event);
	else if (event_add(c->read_event, NULL) < 0)
		rpc_conn_close(c);
}

void rpc_conn_run(struct rpc_conn *c)
{
	static const struct timeval now_tv;

	if (!c->shaking_hands)
		rpc_conn_send(c);
	/* Answers that left made room: what waits in the window can go on. */
	if (c->paused && !c->closing && rpc_conn_may_go_on(c)) {
		c->paused = false;
		c->again = true;
		c->rx_ns = c->wake_ns;
	}
	if (!c->closing)
		update_reading(c);
	if (!c->closing && c->again && event_add(c->again_event, &now_tv) < 0)
		rpc_conn_close(c);
	if (c->closing && c->op_count == 0)
		rpc_server_conn_gone(c->server, c);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct rpc_conn *c = arg;

	(void)fd;
	(void)what;
	c->wake_ns = sync_now_ns();
	if (c->shaking_hands)
		rpc_tls_shake_hands(c);
	if (!c->shaking_hands)
		rpc_conn_receive(c);
	rpc_conn_run(c);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct rpc_conn *c = arg;

	(void)fd;
	(void)what;
	c->wake_ns = sync_now_ns();
	if (c->shaking_hands)
		rpc_tls_shake_hands(c);
	rpc_conn_run(c);
}

/* Other connections had their turn. */
static void on_again(evutil_socket_t fd, short what, void *arg)
{
	struct rpc_conn *c = arg;

	(void)fd;
	(void)what;
	c->wake_ns = sync_now_ns();
	c->again = false;
	rpc_conn_parse(c);
	if (c->tls && !c->closing && !c->again)
		rpc_conn_receive(c);
	rpc_conn_run(c);
}

/* In which so much must have been received or sent. */
static uint64_t time_for(const struct rpc_conn *c, size_t bytes)
{
	return c->server->stall_ns + bytes * SYNC_NS_PER_S / RPC_RATE_MIN_BYTES;
}

/* A part of a record is there: has it been for too long? */
static bool receives_too_slowly(struct rpc_conn *c)
{
	size_t bytes = c->direct ? c->direct_got : record_rx_join_bytes(&c->rx);

	if (!c->record_ns)
		c->record_ns = c->wake_ns;
	return c->wake_ns - c->record_ns > time_for(c, bytes);
}

/* Why the connection is not waited for any longer; NULL: it is. */
static const char *stalled(struct rpc_conn *c)
{
	uint64_t stall_ns = c->server->stall_ns;
	bool partial = c->reading && (c->direct || record_rx_partial(&c->rx));

	if (!partial)
		c->record_ns = 0;
	if (partial && c->wake_ns - c->rx_ns > stall_ns)
		return "half a record, then silence";
	if (partial && receives_too_slowly(c))
		return "a record takes too long";
	if (c->shaking_hands && c->wake_ns - c->rx_ns > stall_ns)
		return "no end of the TLS handshake";
	if (c->send_first && c->wake_ns - c->tx_ns > TX_STALL_FACTOR * stall_ns)
		return "answers are not taken";
	if (c->send_first && c->wake_ns - c->answer_ns > TX_STALL_FACTOR * time_for(c, c->send_first->sent))
		return "answers are taken too slowly";
	return NULL;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct rpc_conn *c = arg;
	struct rpc_notices *n = rpc_session_notices(c->server, c->session, false);
	const char *why;

	(void)fd;
	(void)what;
	c->wake_ns = sync_now_ns();
	if (n)
		rpc_notices_expire(n, c->wake_ns);
	why = stalled(c);
	if (why)
		rpc_conn_bad(c, why);
	rpc_conn_run(c);
}

void rpc_conn_done_push(struct rpc_op *op)
{
	struct rpc_conn *c = op->conn;
	struct rpc_op *old = __atomic_load_n(&c->done, __ATOMIC_RELAXED);

	do {
		op->next = old;
	} while (!__atomic_compare_exchange_n(&c->done, &old, op, true, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
	/* Whoever makes the stack non-empty wakes the loop; it takes all that is there by then. */
	if (!old)
		loop_post(c->loop, &c->done_task);
}

static void run_done(struct loop_task *t)
{
	struct rpc_conn *c = (struct rpc_conn *)((uint8_t *)t - offsetof(struct rpc_conn, done_task));
	struct rpc_op *op = __atomic_exchange_n(&c->done, NULL, __ATOMIC_ACQ_REL), *first = NULL;

	c->wake_ns = sync_now_ns();
	while (op) {
		struct rpc_op *next = op->next;

		op->next = first;
		first = op;
		op = next;
	}
	while (first) {
		struct rpc_op *next = first->next;

		if (first->begun_ns)
			rpc_deferred_remove(first);
		rpc_op_finish(first);
		first = next;
	}
	rpc_conn_run(c);
}

/* The predecessor is gone: say hello at last. */
static void run_hello(struct loop_task *t)
{
	struct rpc_conn *c = (struct rpc_conn *)((uint8_t *)t - offsetof(struct rpc_conn, hello_task));
	struct rpc_op *op = c->hello_op;

	c->wake_ns = sync_now_ns();
	c->hello_op = NULL;
	rpc_op_answer_hello(op);
	rpc_conn_run(c);
}

static void run_kill(struct loop_task *t)
{
	struct rpc_conn *c = (struct rpc_conn *)((uint8_t *)t - offsetof(struct rpc_conn, kill_task));

	c->wake_ns = sync_now_ns();
	sync_mutex_lock(&c->server->lock);
	c->kill_pending = false;
	sync_mutex_unlock(&c->server->lock);
	rpc_conn_close(c);
	rpc_conn_run(c);
}

static void run_attach(struct loop_task *t)
{
	struct rpc_conn *c = (struct rpc_conn *)((uint8_t *)t - offsetof(struct rpc_conn, attach_task));
	uint64_t period_us = c->server->stall_ns / 3000;
	struct timeval tv = { .tv_sec = (time_t)(period_us / 1000000), .tv_usec = (suseconds_t)(period_us % 1000000) };

	c->wake_ns = c->rx_ns = c->tx_ns = sync_now_ns();
	c->read_event = event_new(loop_base(c->loop), c->fd, EV_READ | EV_PERSIST, on_readable, c);
	c->write_event = event_new(loop_base(c->loop), c->fd, EV_WRITE | EV_PERSIST, on_writable, c);
	c->again_event = event_new(loop_base(c->loop), -1, 0, on_again, c);
	c->timer = event_new(loop_base(c->loop), -1, EV_PERSIST, on_timer, c);
	if (!c->read_event || !c->write_event || !c->again_event || !c->timer || event_add(c->timer, &tv) < 0) {
		log_limited(LOG_LEVEL_WARNING, "rpc", "connection refused: reason=\"no memory\"");
		c->closing = true;
		rpc_server_conn_gone(c->server, c);
		return;
	}
	rpc_conn_run(c);
}

int rpc_conn_new(struct rpc_server *s, struct loop *l, int fd, struct tls_context *tls, struct rpc_conn **ret)
{
	struct rpc_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return err_set(-ENOMEM, "no memory for a connection");
	c->window = malloc(RPC_WINDOW_BYTES);
	if (!c->window || (tls && tls_new(tls, fd, NULL, &c->tls))) {
		free(c->window);
		free(c);
		return err_set(-ENOMEM, "no memory for a connection");
	}
	c->shaking_hands = tls != NULL;
	budget_charge(s->charge, RPC_WINDOW_BYTES + sizeof(*c));
	record_rx_init(&c->rx, c->window, RPC_WINDOW_BYTES);
	rpc_handles_init(&c->handles, &s->handle_count);
	rpc_trees_init(&c->trees);
	c->server = s;
	c->loop = l;
	c->since_ns = sync_now_ns();
	c->fd = fd;
	c->shm_fd = -1;
	c->attach_task.run = run_attach;
	c->done_task.run = run_done;
	c->kill_task.run = run_kill;
	c->hello_task.run = run_hello;
	*ret = c;
	return 0;
}
