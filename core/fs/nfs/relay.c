/* SPDX-License-Identifier: BSD-3-Clause */
/* Between libnfs and the server: calls are passed on as they are, replies after a look at them. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw.h>

#include "core/base/bytes.h"
#include "core/base/err.h"
#include "core/fs/nfs/link_priv.h"

#define RELAY_OUT_BYTES (256u * 1024)
#define RELAY_RECORD_BYTES_MAX (LINK_DATA_BYTES_MAX + NFS_REPLY_BYTES_MAX)
#define LAST_FRAGMENT 0x80000000u
/* Records in one step, so that the others of the thread's duties get their turn. */
#define RECORDS_PER_STEP 64u

int relay_init(struct link *l)
{
	l->out = malloc(RELAY_OUT_BYTES);
	l->in.buf = malloc(RELAY_RECORD_BYTES_MAX);
	return l->out && l->in.buf ? 0 : -ENOMEM;
}

void relay_done(struct link *l)
{
	if (l->tcp >= 0)
		close(l->tcp);
	if (l->inner >= 0)
		close(l->inner);
	free(l->out);
	free(l->in.buf);
}

int relay_take_over(struct link *l)
{
	int theirs = rpc_get_fd(l->rpc), one = 1, pair[2];

	l->tcp = fcntl(theirs, F_DUPFD_CLOEXEC, 0);
	if (l->tcp < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair))
		return err_set(-errno, "no descriptors for a connection");
	l->inner = pair[1];
	if (dup3(pair[0], theirs, O_CLOEXEC) < 0 || fcntl(l->tcp, F_SETFL, O_NONBLOCK) < 0) {
		int rc = -errno;

		close(pair[0]);
		return err_set(rc, "no descriptors for a connection");
	}
	close(pair[0]);
	(void)setsockopt(l->tcp, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return 0;
}

bool relay_has_output(const struct link *l)
{
	return l->out_at < l->out_len;
}

static bool would_block(ssize_t n)
{
	return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

static int lost(void)
{
	return err_set(-ECONNRESET, "the connection to the server is lost");
}

/* Bytes from libnfs into the empty buffer. */
static int take_calls(struct link *l)
{
	ssize_t n;

	if ((rpc_which_events(l->rpc) & POLLOUT) && rpc_service(l->rpc, POLLOUT) != 0)
		return lost();
	n = recv(l->inner, l->out, RELAY_OUT_BYTES, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && !would_block(n)))
		return lost();
	l->out_at = 0;
	l->out_len = n > 0 ? (size_t)n : 0;
	return 0;
}

static int pass_calls_on(struct link *l)
{
	for (;;) {
		ssize_t n;

		if (!relay_has_output(l)) {
			int rc = take_calls(l);

			if (rc || !relay_has_output(l))
				return rc;
		}
		n = send(l->tcp, l->out + l->out_at, l->out_len - l->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (would_block(n))
			return 0;
		if (n < 0)
			return lost();
		l->out_at += (size_t)n;
	}
}

/* The whole of @iov to libnfs, which reads all the while. */
static int give_bytes(struct link *l, struct iovec iov[2])
{
	while (iov[0].iov_len || iov[1].iov_len) {
		struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };
		ssize_t n = sendmsg(l->inner, &m, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && !would_block(n))
			return lost();
		for (int i = 0; i < 2 && n > 0; i++) {
			size_t part = (size_t)n < iov[i].iov_len ? (size_t)n : iov[i].iov_len;

			iov[i].iov_base = (uint8_t *)iov[i].iov_base + part;
			iov[i].iov_len -= part;
			n -= (ssize_t)part;
		}
		if (rpc_service(l->rpc, POLLIN) != 0)
			return lost();
	}
	return 0;
}

/* A whole record has come. */
static int take_record(struct link *l)
{
	struct relay_record *in = &l->in;
	struct nfs_reply_info info;
	struct link_slot *s;
	uint8_t mark[4];
	uint32_t xid;
	int rc = nfs_reply_xid(in->buf, in->len, &xid);

	if (rc)
		return rc;
	s = &l->slots[xid % LINK_CALLS_MAX];
	if (!s->used || s->xid != xid)
		return err_set(-EBADMSG, "a reply to a call that nobody made");
	rc = nfs_reply_check(s->call.proc, in->buf, in->len, s->call.data_max_bytes, &info);
	if (rc)
		return rc;
	if (info.data_offset) {
		uint8_t *data_len = in->buf + info.data_offset;

		s->call.data(s->call.ctx, data_len + 4, info.data_len_bytes);
		put_be32(data_len, 0);
		in->len = info.data_offset + 4;
	}
	put_be32(mark, LAST_FRAGMENT | (uint32_t)in->len);
	rc = give_bytes(l, (struct iovec[2]){ { mark, sizeof(mark) }, { in->buf, in->len } });
	if (rc == 0 && s->used && s->xid == xid)
		rc = err_set(-EBADMSG, "a reply that libnfs does not understand");
	return rc;
}

static int take_mark(struct link *l)
{
	struct relay_record *in = &l->in;
	uint32_t mark = get_be32(in->mark);

	in->mark_len = 0;
	in->last_fragment = mark & LAST_FRAGMENT;
	in->fragment_left = mark & ~LAST_FRAGMENT;
	if (in->fragment_left > RELAY_RECORD_BYTES_MAX - in->len)
		return err_set(-EBADMSG, "a record of more than %u bytes", RELAY_RECORD_BYTES_MAX);
	/* Nothing that comes without end may go without being counted. */
	if (!in->fragment_left && !in->last_fragment)
		return err_set(-EBADMSG, "an empty part of a record");
	return 0;
}

/* One piece of a record. 1: something came; 0: nothing more for now. */
static int take_piece(struct link *l)
{
	struct relay_record *in = &l->in;
	bool marking = !in->fragment_left;
	void *to = marking ? in->mark + in->mark_len : in->buf + in->len;
	size_t want = marking ? sizeof(in->mark) - in->mark_len : in->fragment_left;
	ssize_t n = recv(l->tcp, to, want, MSG_DONTWAIT);

	if (would_block(n))
		return 0;
	if (n <= 0)
		return lost();
	if (marking) {
		in->mark_len += (unsigned)n;
		if (in->mark_len == sizeof(in->mark)) {
			int rc = take_mark(l);

			if (rc)
				return rc;
			marking = in->fragment_left;
		}
	} else {
		in->len += (size_t)n;
		in->fragment_left -= (uint32_t)n;
	}
	return 1;
}

static bool record_is_whole(const struct relay_record *in)
{
	return in->last_fragment && !in->fragment_left && !in->mark_len;
}

int relay_step(struct link *l, short revents)
{
	int rc = pass_calls_on(l), more = 1;

	for (unsigned records = 0; rc == 0 && more && revents && records < RECORDS_PER_STEP;) {
		more = take_piece(l);
		if (more < 0)
			return more;
		if (more && record_is_whole(&l->in)) {
			rc = take_record(l);
			l->in.last_fragment = false;
			l->in.len = 0;
			records++;
		}
	}
	return rc ? rc : pass_calls_on(l);
}
