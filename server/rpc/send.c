/* SPDX-License-Identifier: BSD-3-Clause */
/* Sending answers: as many as there are in one system call, straight from where their payloads lie. */
#include <errno.h>
#include <sys/socket.h>

#include "protocol/xdr/xdr.h"
#include "server/rpc/internal.h"

#define SEND_IOV_MAX 512

struct gather {
	struct iovec iov[SEND_IOV_MAX];
	unsigned count;
	size_t skip; /* bytes sent already */
};

/* Add a piece, without what was sent already. False: no more room. */
static bool gather_add(struct gather *g, const void *p, size_t len)
{
	if (g->skip >= len) {
		g->skip -= len;
		return true;
	}
	if (g->count == SEND_IOV_MAX)
		return false;
	g->iov[g->count].iov_base = (uint8_t *)(uintptr_t)p + g->skip;
	g->iov[g->count].iov_len = len - g->skip;
	g->count++;
	g->skip = 0;
	return true;
}

static bool gather_op(struct gather *g, const struct rpc_op *op)
{
	static const uint8_t zeros[XDR_UNIT];

	g->skip = op->sent;
	if (!gather_add(g, op->head, op->head_len))
		return false;
	if (op->has_ref) {
		for (int i = 0; i < op->ref.iov_count; i++) {
			if (!gather_add(g, op->ref.iov[i].iov_base, op->ref.iov[i].iov_len))
				return false;
		}
	} else if (!gather_add(g, op->buf.p, op->payload_len)) {
		return false;
	}
	return gather_add(g, zeros, xdr_pad_bytes(op->payload_len));
}

void rpc_conn_queue(struct rpc_conn *c, struct rpc_op *op)
{
	if (c->closing) {
		rpc_op_free(op);
		return;
	}
	op->next = NULL;
	op->sent = 0;
	op->total_len = op->head_len + op->payload_len + xdr_pad_bytes(op->payload_len);
	if (c->send_last) {
		c->send_last->next = op;
	} else {
		c->send_first = op;
		c->tx_ns = c->wake_ns;
	}
	c->send_last = op;
}

static void sent(struct rpc_conn *c, size_t n)
{
	while (n) {
		struct rpc_op *op = c->send_first;
		size_t left = op->total_len - op->sent;

		if (n < left) {
			op->sent += n;
			return;
		}
		n -= left;
		c->send_first = op->next;
		if (!c->send_first)
			c->send_last = NULL;
		rpc_op_free(op);
	}
}

void rpc_conn_send(struct rpc_conn *c)
{
	struct gather g;

	while (c->send_first && !c->closing) {
		struct msghdr msg = { .msg_iov = g.iov };
		ssize_t n;

		g.count = 0;
		for (const struct rpc_op *op = c->send_first; op && gather_op(&g, op); op = op->next)
			;
		msg.msg_iovlen = g.count;
		n = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			rpc_conn_close(c);
			return;
		}
		c->tx_ns = c->wake_ns;
		sent(c, (size_t)n);
	}
	if (c->closing || c->writing == (c->send_first != NULL))
		return;
	c->writing = !c->writing;
	if (!c->writing)
		event_del(c->write_event);
	else if (event_add(c->write_event, NULL) < 0)
		rpc_conn_close(c);
}
