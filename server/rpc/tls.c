/* SPDX-License-Identifier: BSD-3-Clause */
/* TLS of connections: the handshake, and the stream with it or without. */
#include <errno.h>
#include <sys/socket.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "server/rpc/internal.h"

void rpc_tls_shake_hands(struct rpc_conn *c)
{
	char text[256];
	int err = tls_handshake(c->tls);

	if (!err)
		err = rpc_conn_join_peer(c);
	if (err == -EAGAIN) {
		rpc_conn_watch_writable(c, tls_wants_write(c->tls));
		return;
	}
	if (err) {
		counter_add(&c->server->stats.tls_refused, 1);
		log_limited(LOG_LEVEL_INFO, "rpc", "TLS connection refused: reason=\"%s\"",
		            err_text(err_get(), err, 0, text, sizeof(text)));
		rpc_conn_close(c);
		return;
	}
	c->shaking_hands = false;
	rpc_conn_watch_writable(c, false);
}

ssize_t rpc_stream_receive(struct rpc_conn *c, struct iovec *iov, int count)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = (size_t)count };
	ssize_t total = 0;

	if (!c->tls)
		return recvmsg(c->fd, &msg, MSG_DONTWAIT);
	/* Record by record, as much as was asked for: who gets less takes the socket for empty. */
	for (int i = 0; i < count;) {
		ssize_t n;

		if (!iov[i].iov_len) {
			i++;
			continue;
		}
		n = tls_receive(c->tls, iov[i].iov_base, iov[i].iov_len);
		if (n <= 0) {
			if (total)
				break;
			errno = n ? (int)-n : 0;
			return n ? -1 : 0;
		}
		total += n;
		iov[i].iov_base = (uint8_t *)iov[i].iov_base + n;
		iov[i].iov_len -= (size_t)n;
	}
	return total;
}

ssize_t rpc_stream_send(struct rpc_conn *c, struct msghdr *msg)
{
	ssize_t n;

	if (!c->tls)
		return sendmsg(c->fd, msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	n = tls_send(c->tls, msg->msg_iov, (int)msg->msg_iovlen);
	if (n >= 0)
		return n;
	errno = (int)-n;
	return -1;
}
