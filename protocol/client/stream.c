/* SPDX-License-Identifier: BSD-3-Clause */
/* libwfs: the stream of a connection, over TLS or not. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "core/base/err.h"
#include "protocol/client/internal.h"

static int wait_for(int fd, short events, uint64_t deadline_ns)
{
	struct pollfd p = { .fd = fd, .events = events };
	uint64_t now = sync_now_ns();
	int rc;

	if (deadline_ns && now >= deadline_ns)
		return -ETIMEDOUT;
	do {
		rc = poll(&p, 1, deadline_ns ? (int)((deadline_ns - now) / SYNC_NS_PER_MS) + 1 : -1);
	} while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return -errno;
	return rc ? 0 : -ETIMEDOUT;
}

int wfs_stream_begin(struct wfs *w, int fd, uint64_t deadline_ns, struct tls **ret)
{
	char host[WFS_HOST_MAX + 1];
	int err;

	*ret = NULL;
	if (!w->tls)
		return 0;
	wfs_address_host(w->address, host);
	err = tls_new(w->tls, fd, host, ret);
	if (err)
		return err;
	while ((err = tls_handshake(*ret)) == -EAGAIN) {
		err = wait_for(fd, tls_wants_write(*ret) ? POLLOUT : POLLIN, deadline_ns);
		if (err) {
			err_set(err, "TLS handshake with %s: %s", w->address,
			        err == -ETIMEDOUT ? "timed out" : "interrupted");
			break;
		}
	}
	if (err) {
		tls_free(*ret);
		*ret = NULL;
	}
	return err;
}

ssize_t wfs_stream_receive(int fd, struct tls *tls, struct iovec *iov, int count, int flags, uint64_t deadline_ns)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = (size_t)count };
	ssize_t n;

	if (!tls)
		return recvmsg(fd, &msg, flags);
	while ((n = tls_receive(tls, iov->iov_base, iov->iov_len)) == -EAGAIN && !(flags & MSG_DONTWAIT)) {
		int err = wait_for(fd, POLLIN, deadline_ns);

		if (err) {
			errno = err == -ETIMEDOUT ? EAGAIN : -err;
			return -1;
		}
	}
	if (n >= 0)
		return n;
	errno = (int)-n;
	return -1;
}

ssize_t wfs_stream_send(int fd, struct tls *tls, struct msghdr *msg)
{
	ssize_t n;

	if (!tls)
		return sendmsg(fd, msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	n = tls_send(tls, msg->msg_iov, (int)msg->msg_iovlen);
	if (n >= 0)
		return n;
	errno = (int)-n;
	return -1;
}
