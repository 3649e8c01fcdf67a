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
	c->unsent_bytes += op->total_len;
	if (c->send_last) {
		c->send_last->next = op;
	} else {
		c->send_first = op;
		c->tx_ns = c->answer_ns = c->wake_ns;
	}
	c->send_last = op;
}

static void sent(struct rpc_conn *c, size_t n)
{
	c->unsent_bytes -= n;
	while (n) {
		struct rpc_op *op = c->send_first;
		size_t left = op->total_len - op->sent;

		if (n < left) {
			op->sent += n;
			return;
		}
		n -= left;
		c->send_first = op->next;
		c->answer_ns = c->wake_ns;
		if (!c->send_first)
			c->send_last = NULL;
		rpc_op_free(op);
	}
}

/* The descriptor of the shared memory travels with the first byte of the answer to HELLO. */
static bool brings_shm(const struct rpc_conn *c, const struct rpc_op *op)
{
	return op->procedure == WFSP_HELLO && !op->err && c->shm_fd >= 0;
}

union fd_control {
	struct cmsghdr align;
	uint8_t bytes[CMSG_SPACE(sizeof(int))];
};

static void attach_fd(struct msghdr *msg, union fd_control *control, int fd)
{
	struct cmsghdr *h = &control->align;

	memset(control, 0, sizeof(*control));
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(h), &fd, sizeof(fd));
	msg->msg_control = control;
	msg->msg_controllen = sizeof(*control);
}

/* What TLS still has of answers that were taken. False: the connection was closed. */
static bool send_unsent(struct rpc_conn *c)
{
	ssize_t n = tls_send(c->tls, NULL, 0);

	if (n < 0 && n != -EAGAIN) {
		rpc_conn_close(c);
		return false;
	}
	return true;
}

void rpc_conn_send(struct rpc_conn *c)
{
	union fd_control control;
	struct gather g;

	while (c->send_first && !c->closing) {
		bool with_fd = brings_shm(c, c->send_first);
		struct msghdr msg = { .msg_iov = g.iov };
		ssize_t n;

		g.count = 0;
		for (const struct rpc_op *op = c->send_first; op && gather_op(&g, op); op = op->next) {
			if (op->next && brings_shm(c, op->next))
				break;
		}
		msg.msg_iovlen = g.count;
		if (with_fd)
			attach_fd(&msg, &control, c->shm_fd);
		n = rpc_stream_send(c, &msg);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == ETOOMANYREFS && with_fd) {
			rpc_op_without_shm(c->send_first); /* as long as it was */
			continue;
		}
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			rpc_conn_close(c);
			return;
		}
		c->tx_ns = c->wake_ns;
		if (with_fd)
			rpc_shm_sent(c);
		sent(c, (size_t)n);
	}
	if (c->tls && !c->closing && !c->send_first && tls_has_unsent(c->tls) && !send_unsent(c))
		return;
	if (!c->closing)
		rpc_conn_watch_writable(c, c->send_first || (c->tls && tls_has_unsent(c->tls)));
}
