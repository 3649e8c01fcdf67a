/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Receiving requests: several per system call, small ones seen in the window, the payloads of large WRITEs received
 * straight into their buffers.
 */
#include <errno.h>
#include <sys/socket.h>

#include "core/base/budget.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "protocol/xdr/xdr.h"
#include "server/rpc/notice.h"

/* While large payloads arrive, no more than this is received behind one, so that the next one is not copied. */
#define SHORT_WINDOW_BYTES 2048u
/* A WRITE that is this long and incomplete gets its buffer now; shorter ones are waited for in the window. */
#define DIRECT_BYTES_MIN 8192u

/* What became of the record at the front. */
enum taken {
	TAKEN, /* it is gone from the window */
	LEFT, /* more of it must arrive first, or other requests must end first */
	FAILED, /* the connection was closed */
};

/* What the client has not taken of its notices leaves less room for payloads; one request at a time goes on, so that it
 * can take them. */
static bool fits(const struct rpc_conn *c, size_t payload_bytes)
{
	const struct rpc_notices *n = rpc_session_notices(c->server, c->session, false);

	return !c->held_bytes || c->held_bytes + payload_bytes + (n ? rpc_notices_bytes(n) : 0) <= RPC_PAYLOAD_HELD_MAX;
}

/* May another request, with that much payload, be started? If not, the connection is paused until it may. */
static bool has_room(struct rpc_conn *c, size_t payload_bytes)
{
	if (c->op_count < RPC_REQUESTS_MAX && c->unsent_bytes <= RPC_UNSENT_BYTES_MAX && fits(c, payload_bytes))
		return true;
	c->paused = true;
	c->wanted_bytes = payload_bytes;
	return false;
}

bool rpc_conn_may_go_on(const struct rpc_conn *c)
{
	return c->op_count < RPC_REQUESTS_MAX / 2 && c->unsent_bytes <= RPC_UNSENT_BYTES_MAX / 2 &&
	       (!c->held_bytes || (c->held_bytes <= RPC_PAYLOAD_HELD_MAX / 2 && fits(c, c->wanted_bytes)));
}

static void refuse(struct rpc_conn *c, struct rpc_op *op, enum rpc_accept_stat stat)
{
	counter_add(&c->server->stats.refused_calls, 1);
	rpc_op_encode_refusal(op, stat);
	op->procedure = WFSP_NULL; /* it is no answer of that procedure */
	rpc_conn_queue(c, op);
}

/* Answers to calls whose header cannot be taken. */
static void refuse_header(struct rpc_conn *c, struct rpc_op *op, uint32_t xid, int err)
{
	struct wr w = wr_init(op->head, sizeof(op->head));

	wr_zero(&w, RECORD_MARK_BYTES);
	if (err == -EPROTONOSUPPORT)
		rpc_put_version_mismatch(&w, xid);
	else
		rpc_put_auth_error(&w, xid, RPC_AUTH_BADCRED);
	op->head_len = w.pos;
	put_be32(op->head, record_mark(w.pos - RECORD_MARK_BYTES));
	counter_add(&c->server->stats.refused_calls, 1);
	rpc_conn_queue(c, op);
}

/* Begin to receive the rest of a WRITE's payload into a buffer of its own. */
static enum taken start_direct(struct rpc_conn *c, struct rpc_op *op, const struct rd *r, size_t record_len)
{
	size_t here = min_u64(rd_left(r), op->len_bytes);

	if (rpc_buf_get(c->server, op->len_bytes, &op->buf)) {
		rpc_op_free(op);
		rpc_conn_bad(c, "no memory for a payload");
		return FAILED;
	}
	memcpy(op->buf.p, r->base + r->pos, here);
	op->payload = op->buf.p;
	record_rx_consume_head(&c->rx, record_len - r->pos - op->len_bytes);
	c->direct = op;
	c->direct_got = here;
	c->short_window = op->len_bytes >= RPC_WINDOW_BYTES / 2;
	return TAKEN;
}

static void start(struct rpc_conn *c, struct rpc_op *op, size_t payload_bytes)
{
	op->held_bytes = payload_bytes;
	c->held_bytes += payload_bytes;
}

/* A WRITE: its payload must fill the rest of the record. */
static enum taken take_write(struct rpc_conn *c, struct rpc_op *op, const struct rd *r, size_t avail, size_t len)
{
	if (len - r->pos != op->len_bytes + xdr_pad_bytes(op->len_bytes)) {
		if (avail != len) {
			rpc_op_free(op);
			rpc_conn_bad(c, "a write whose length is not that of its record");
			return FAILED;
		}
		refuse(c, op, RPC_GARBAGE_ARGS);
		record_rx_consume(&c->rx);
		return TAKEN;
	}
	if (!has_room(c, op->len_bytes)) {
		rpc_op_free(op);
		return LEFT;
	}
	if (avail != len && op->len_bytes < DIRECT_BYTES_MIN) {
		rpc_op_free(op);
		return LEFT;
	}
	start(c, op, op->len_bytes);
	if (avail != len)
		return start_direct(c, op, r, len);
	c->short_window = op->len_bytes >= RPC_WINDOW_BYTES / 2;
	op->payload = r->base + r->pos;
	rpc_op_start(op);
	record_rx_consume(&c->rx);
	return TAKEN;
}

/*
 * A COMPOUND: its operations are the rest of the record. They get a buffer of their own, as a worker will read them.
 */
static enum taken take_compound(struct rpc_conn *c, struct rpc_op *op, const struct rd *r, size_t avail, size_t len)
{
	size_t rest = len - r->pos, held = rest + min_u64(op->args.compound.reply_max_bytes, WFSP_COMPOUND_MAX);

	if (rest > WFSP_COMPOUND_MAX) {
		rpc_op_free(op);
		rpc_conn_bad(c, "a compound that is too long");
		return FAILED;
	}
	if (!has_room(c, held)) {
		rpc_op_free(op);
		return LEFT;
	}
	if (avail != len && rest < DIRECT_BYTES_MIN) {
		rpc_op_free(op);
		return LEFT;
	}
	op->len_bytes = rest;
	start(c, op, held);
	if (avail != len)
		return start_direct(c, op, r, len);
	if (rpc_buf_get(c->server, rest, &op->buf)) {
		rpc_op_free(op);
		rpc_conn_bad(c, "no memory for a compound");
		return FAILED;
	}
	memcpy(op->buf.p, r->base + r->pos, rest);
	op->payload = op->buf.p;
	rpc_op_start(op);
	record_rx_consume(&c->rx);
	return TAKEN;
}

static bool is_shm(uint32_t procedure)
{
	return procedure == WFSP_READ_SHM || procedure == WFSP_WRITE_SHM;
}

/* A call with a good header. */
static enum taken take_call(struct rpc_conn *c, struct rpc_op *op, const struct rpc_call *call, struct rd *r,
                            size_t avail, size_t len)
{
	size_t payload;

	op->xid = call->xid;
	op->procedure = call->procedure;
	op->start_ns = c->wake_ns;
	if (call->program == WFSP_PROGRAM && call->version == WFSP_VERSION && op->procedure == WFSP_WRITE &&
	    rpc_op_decode(op, r))
		return take_write(c, op, r, avail, len);
	if (call->program == WFSP_PROGRAM && call->version == WFSP_VERSION && op->procedure == WFSP_COMPOUND &&
	    rpc_op_decode(op, r)) {
		op->has_sys = call->flavor == RPC_AUTH_SYS;
		if (op->has_sys)
			op->sys = call->sys;
		return take_compound(c, op, r, avail, len);
	}
	if (avail != len) {
		bool comes = len <= RPC_WINDOW_BYTES / 2;

		rpc_op_free(op);
		if (!comes)
			rpc_conn_bad(c, "a call that is too long");
		return comes ? LEFT : FAILED;
	}
	c->short_window = false;
	if (call->program != WFSP_PROGRAM) {
		refuse(c, op, RPC_PROG_UNAVAIL);
	} else if (call->version != WFSP_VERSION) {
		refuse(c, op, RPC_PROG_MISMATCH);
	} else if (op->procedure >= WFSP_PROCEDURES || (is_shm(op->procedure) && !c->shm)) {
		refuse(c, op, RPC_PROC_UNAVAIL);
	} else if (op->procedure == WFSP_WRITE || op->procedure == WFSP_COMPOUND || !rpc_op_decode(op, r)) {
		refuse(c, op, RPC_GARBAGE_ARGS);
	} else {
		payload = op->procedure == WFSP_READ && !op->shm ? min_u64(op->len_bytes, WFSP_PAYLOAD_MAX) : 0;
		if (!has_room(c, payload)) {
			rpc_op_free(op);
			return LEFT;
		}
		start(c, op, payload);
		rpc_op_start(op);
	}
	record_rx_consume(&c->rx);
	return TAKEN;
}

static enum taken take_record(struct rpc_conn *c, const uint8_t *record, size_t avail, size_t len)
{
	struct rd r = rd_init(record, avail);
	struct rpc_call call;
	struct rpc_op *op;
	int err;

	if (!has_room(c, 0))
		return LEFT;
	err = rpc_get_call(&r, &call);
	if (err == -EBADMSG || (err && avail != len)) {
		rpc_conn_bad(c, "a malformed call");
		return FAILED;
	}
	op = rpc_op_new(c);
	if (!op) {
		rpc_conn_bad(c, "no memory for a request");
		return FAILED;
	}
	if (err) {
		refuse_header(c, op, call.xid, err);
		record_rx_consume(&c->rx);
		return TAKEN;
	}
	return take_call(c, op, &call, &r, avail, len);
}

/* Charge what a record of several fragments holds. */
static void charge_join(struct rpc_conn *c)
{
	size_t now = record_rx_join_bytes(&c->rx);

	if (now > c->join_charged)
		budget_charge(c->server->charge, now - c->join_charged);
	else if (now < c->join_charged)
		budget_uncharge(c->server->charge, c->join_charged - now);
	c->join_charged = now;
}

/* Requests take as long as they do: what waits on other connections is not to wait for all that a client has sent. */
static bool turn_is_over(const struct rpc_conn *c)
{
	return c->last_ns > c->wake_ns + RPC_TURN_NS;
}

void rpc_conn_parse(struct rpc_conn *c)
{
	enum taken taken = TAKEN;

	for (unsigned i = 0; taken == TAKEN && !c->direct && !c->closing; i++) {
		enum record_state state;
		const uint8_t *record;
		size_t avail, len;

		if (i == RPC_REQUESTS_PER_WAKE || turn_is_over(c)) {
			c->again = true;
			break;
		}
		if (record_rx_next(&c->rx, &state, &record, &avail, &len)) {
			rpc_conn_bad(c, "a malformed record");
			return;
		}
		if (state == RECORD_MORE)
			break;
		taken = take_record(c, record, avail, len);
		if (taken == TAKEN)
			c->record_ns = 0;
		if (taken == TAKEN && c->unsent_bytes >= RPC_SEND_BYTES && !c->writing)
			rpc_conn_send(c);
	}
	if (taken != FAILED && !c->closing)
		charge_join(c);
}

/* One system call. Bytes received; 0: nothing there now; < 0: the connection is over. */
static ssize_t receive_some(struct rpc_conn *c, size_t *ret_asked)
{
	struct iovec iov[2];
	int count = 0;
	struct rpc_op *op = c->direct;
	size_t room, rest = op ? op->len_bytes - c->direct_got : 0;
	ssize_t n;

	if (rest) {
		iov[0].iov_base = (uint8_t *)op->buf.p + c->direct_got;
		iov[0].iov_len = rest;
		count = 1;
	}
	iov[count].iov_base = record_rx_room(&c->rx, &room);
	if (c->short_window && room > SHORT_WINDOW_BYTES)
		room = SHORT_WINDOW_BYTES;
	iov[count++].iov_len = room;
	*ret_asked = rest + room;
	do {
		n = rpc_stream_receive(c, iov, count);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -1;
	if (n == 0)
		return -1;
	c->rx_ns = c->wake_ns;
	if ((size_t)n > rest)
		record_rx_added(&c->rx, (size_t)n - rest);
	c->direct_got += min_u64((size_t)n, rest);
	return n;
}

void rpc_conn_receive(struct rpc_conn *c)
{
	size_t total = 0, asked;
	ssize_t n;

	while (!c->paused && !c->again && !c->closing && total < RPC_BYTES_PER_WAKE) {
		n = receive_some(c, &asked);
		if (n < 0) {
			rpc_conn_close(c);
			return;
		}
		total += (size_t)n;
		if (c->direct && c->direct_got == c->direct->len_bytes) {
			struct rpc_op *op = c->direct;

			c->direct = NULL;
			c->record_ns = 0;
			rpc_op_start(op);
		}
		if (!c->direct)
			rpc_conn_parse(c);
		if ((size_t)n < asked)
			return;
	}
	/* The socket will not tell of what TLS has received already. */
	if (c->tls && !c->paused && !c->closing && tls_has_received(c->tls))
		c->again = true;
}
