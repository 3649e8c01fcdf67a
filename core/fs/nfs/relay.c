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
/* Longer ones may be data, and are looked at when they begin. */
#define LONG_RECORD_BYTES 8192u
#define DATA_PIECES 256u
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

/* The call that the record in hand, of which there is the beginning, answers. */
static int find_call(struct link *l, struct link_slot **ret)
{
	uint32_t xid;
	int rc = nfs_reply_xid(l->in.buf, l->in.len, &xid);

	if (rc)
		return rc;
	*ret = &l->slots[xid % LINK_CALLS_MAX];
	if (!(*ret)->used || (*ret)->xid != xid)
		return err_set(-EBADMSG, "a reply to a call that nobody made");
	return 0;
}

/* A whole record has come, and was found good: libnfs may have it. */
static int give_record(struct link *l, struct link_slot *s)
{
	uint32_t xid = s->xid;
	uint8_t mark[4];
	int rc;

	put_be32(mark, LAST_FRAGMENT | (uint32_t)l->in.len);
	rc = give_bytes(l, (struct iovec[2]){ { mark, sizeof(mark) }, { l->in.buf, l->in.len } });
	if (rc == 0 && s->used && s->xid == xid)
		rc = err_set(-EBADMSG, "a reply that libnfs does not understand");
	return rc;
}

/* Bytes of data that came along with what is before them. */
static void put_data(const struct link_slot *s, const uint8_t *bytes, uint32_t len, uint32_t whole)
{
	for (uint32_t at = 0; at < len;) {
		struct iovec room;

		(void)s->call.room(s->call.ctx, at, whole - at, &room, 1);
		if (room.iov_len > len - at)
			room.iov_len = len - at;
		memcpy(room.iov_base, bytes + at, room.iov_len);
		at += (uint32_t)room.iov_len;
	}
}

static int take_record(struct link *l)
{
	struct relay_record *in = &l->in;
	struct nfs_reply_info info;
	struct link_slot *s;
	int rc = find_call(l, &s);

	if (rc == 0)
		rc = nfs_reply_check(s->call.proc, in->buf, in->len, s->call.data_max_bytes, &info);
	if (rc)
		return rc;
	if (info.data_offset) {
		uint8_t *data_len = in->buf + info.data_offset;

		put_data(s, data_len + 4, info.data_len_bytes, info.data_len_bytes);
		put_be32(data_len, 0);
		in->len = info.data_offset + 4;
	}
	return give_record(l, s);
}

/*
 * The beginning of a long record: when it is data that was read, the rest goes where it is wanted without being copied,
 * and what came of it already is put there.
 */
static int begin_data(struct link *l)
{
	struct relay_record *in = &l->in;
	size_t whole = in->len + in->fragment_left, came;
	struct nfs_reply_info info;
	struct link_slot *s;
	int rc = find_call(l, &s);

	in->looked_at = true;
	if (rc || s->call.proc != NFS_READ)
		return rc;
	rc = nfs_reply_check(NFS_READ, in->buf, whole, s->call.data_max_bytes, &info);
	/* Something else behind the data: the ordinary way. */
	if (rc || !info.data_offset || ((size_t)info.data_len_bytes + 3) / 4 * 4 + info.data_offset + 4 != whole)
		return rc;
	came = in->len - (info.data_offset + 4);
	put_data(s, in->buf + info.data_offset + 4, (uint32_t)came, info.data_len_bytes);
	in->reading = s;
	in->data_at = (uint32_t)came;
	in->data_len = info.data_len_bytes;
	in->len = info.data_offset + 4;
	return 0;
}

/* More data into its place. As take_piece(). */
static int take_data(struct link *l)
{
	struct relay_record *in = &l->in;
	struct iovec iov[DATA_PIECES];
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 1 };
	uint8_t padding[4];
	ssize_t n;

	if (in->data_at < in->data_len)
		m.msg_iovlen = in->reading->call.room(in->reading->call.ctx, in->data_at, in->data_len - in->data_at,
		                                      iov, DATA_PIECES);
	else
		iov[0] = (struct iovec){ .iov_base = padding, .iov_len = in->fragment_left };
	n = recvmsg(l->tcp, &m, MSG_DONTWAIT);
	if (would_block(n))
		return 0;
	if (n <= 0)
		return lost();
	in->data_at += (uint32_t)n;
	in->fragment_left -= (uint32_t)n;
	return 1;
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
	bool long_one = !marking && !in->looked_at && in->last_fragment && in->len < NFS_READ_HEAD_BYTES &&
	                in->len + want > LONG_RECORD_BYTES;
	ssize_t n;

	if (in->reading)
		return take_data(l);
	if (long_one)
		want = NFS_READ_HEAD_BYTES - in->len;
	n = recv(l->tcp, to, want, MSG_DONTWAIT);
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
		if (long_one && in->len == NFS_READ_HEAD_BYTES) {
			int rc = begin_data(l);

			if (rc)
				return rc;
		}
	}
	return 1;
}

static bool record_is_whole(const struct relay_record *in)
{
	return in->last_fragment && !in->fragment_left && !in->mark_len;
}

static int end_record(struct link *l)
{
	struct relay_record *in = &l->in;
	struct link_slot *s = in->reading;
	int rc;

	if (s) {
		/* Its data is where it belongs, and libnfs gets a reply without. */
		put_be32(in->buf + in->len - 4, 0);
		rc = give_record(l, s);
	} else {
		rc = take_record(l);
	}
	in->reading = NULL;
	in->last_fragment = in->looked_at = false;
	in->len = 0;
	return rc;
}

int relay_step(struct link *l, short revents)
{
	int rc = pass_calls_on(l), more = 1;

	for (unsigned records = 0; rc == 0 && more && revents && records < RECORDS_PER_STEP;) {
		more = take_piece(l);
		if (more < 0)
			return more;
		if (more && record_is_whole(&l->in)) {
			rc = end_record(l);
			records++;
		}
	}
	return rc ? rc : pass_calls_on(l);
}
