/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libwfs: one request and its answer on a shared connection.
 *
 * There is no receiving thread. Of the threads that wait for answers one leads: it receives, hands answers to whoever
 * waits for them, and when its own has come, passes the lead on.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "protocol/client/internal.h"
#include "protocol/xdr/xdr.h"

#define BIG_READ_BYTES (16u << 10)
/* While large payloads are expected, no more than this is received into the window, so that they are not copied. */
#define SHORT_WINDOW_BYTES 2048u
/* A sender that waits for room looks this often whether there is still a thread that receives. */
#define SEND_POLL_MS 20

void wfs_call_init(struct wfs_call *call, uint32_t procedure)
{
	call->procedure = procedure;
	call->in_slot = false;
	call->args = wr_init(call->head, sizeof(call->head));
	wr_zero(&call->args, RECORD_MARK_BYTES);
	rpc_put_call(&call->args, 0, WFSP_PROGRAM, WFSP_VERSION, procedure, NULL);
	call->send_payload = NULL;
	call->send_len = 0;
	call->payload = NULL;
	call->payload_len = call->payload_got = 0;
	call->reply = call->small;
	call->reply_size = sizeof(call->small);
	call->lender = NULL;
	call->shm_count = 0;
	call->done = false;
	call->async = NULL;
	sync_cond_init(&call->cond);
}

void wfs_call_done(struct wfs_call *call)
{
	wfs_reply_return(call);
	sync_cond_done(&call->cond);
}

static bool is_big_read(const struct wfs_call *call)
{
	return call->payload_len >= BIG_READ_BYTES && !call->shm_count;
}

/* Take the call that waits for this answer out of the table; from then on nobody else completes it. */
static struct wfs_call *claim(struct wfs_conn *c, uint32_t xid)
{
	struct wfs_call *call, **at;

	sync_mutex_lock(&c->lock);
	at = &c->buckets[xid % CLIENT_BUCKETS];
	while (*at && (*at)->xid != xid)
		at = &(*at)->bucket_next;
	call = *at;
	if (call)
		*at = call->bucket_next;
	sync_mutex_unlock(&c->lock);
	return call;
}

/* Hand over all the answers that were taken, with one stay in the lock; call by call the threads that wake up would
 * wait for it again. */
static void complete(struct wfs_conn *c, struct wfs_call *first)
{
	if (!first)
		return;
	sync_mutex_lock(&c->lock);
	while (first) {
		struct wfs_call *next = first->bucket_next;

		first->done = true;
		if (first->async)
			wfs_async_done(first);
		else if (first->waiting)
			sync_cond_signal(&first->cond);
		first = next; /* a call that is done may be gone as soon as the lock is free */
	}
	sync_mutex_unlock(&c->lock);
}

/* Receive the rest of a payload straight to its place, and what follows it into the (empty) window. */
static int receive_payload(struct wfs_conn *c, uint8_t *to, size_t len)
{
	while (len) {
		size_t room;
		void *window = record_rx_room(&c->rx, &room);
		struct iovec iov[2] = { { to, len },
			                { window, room < SHORT_WINDOW_BYTES ? room : SHORT_WINDOW_BYTES } };
		ssize_t n = wfs_stream_receive(c->fd, c->tls, iov, 2, 0, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -ENOTCONN;
		if ((size_t)n > len) {
			record_rx_added(&c->rx, (size_t)n - len);
			n = (ssize_t)len;
		}
		to += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Does the answer carry the payload that @call asked for? @r then stands at its first byte. */
static bool has_payload(struct wfs_call *call, struct rd *r, size_t record_len)
{
	uint32_t xid, len;

	if (!call->payload || call->shm_count || rpc_get_reply(r, &xid) || rd_be32(r) != WFSP_OK)
		return false;
	len = rd_be32(r);
	if (r->bad || len > call->payload_len || record_len - r->pos != (size_t)len + xdr_pad_bytes(len))
		return false;
	call->payload_got = len;
	return true;
}

/* The front of the stream is an answer, whole or its head: put it on the list. -ENOTCONN: it makes no sense, end the
 * connection. */
static int take_answer(struct wfs_conn *c, const uint8_t *record, size_t avail, size_t len, struct wfs_call **list)
{
	struct rd r = rd_init(record, avail);
	struct wfs_call *call = claim(c, rd_be32(&r));
	int err = 0;

	if (!call)
		return -ENOTCONN;
	r = rd_init(record, avail);
	if (has_payload(call, &r, len)) {
		size_t got = call->payload_got, here = rd_left(&r) < got ? rd_left(&r) : got;

		memcpy(call->payload, record + r.pos, here);
		call->payload_done = true;
		if (avail == len) {
			record_rx_consume(&c->rx);
		} else {
			record_rx_consume_head(&c->rx, len - r.pos - got);
			err = receive_payload(c, (uint8_t *)call->payload + here, got - here);
		}
	} else if (len > call->reply_size || ((!call->reply || call->lender) && wfs_reply_lend(c, call, len))) {
		err = -ENOTCONN;
	} else if (avail == len) {
		memcpy(call->reply, record, len);
		call->reply_len = len;
		record_rx_consume(&c->rx);
	} else {
		memcpy(call->reply, record, avail);
		call->reply_len = len;
		record_rx_consume_head(&c->rx, 0);
		err = receive_payload(c, call->reply + avail, len - avail);
	}
	call->err = err;
	call->bucket_next = *list;
	*list = call;
	return err;
}

/* Hand out every answer that the window holds. */
static int take_answers(struct wfs_conn *c)
{
	struct wfs_call *list = NULL;
	int err = 0;

	while (!err) {
		enum record_state state;
		const uint8_t *record;
		size_t avail, len;

		if (record_rx_next(&c->rx, &state, &record, &avail, &len)) {
			err = -ENOTCONN;
			break;
		}
		/* A short one will be whole soon. */
		if (state == RECORD_MORE || (state == RECORD_HEAD && len <= CLIENT_WINDOW_BYTES / 2))
			break;
		/* The rest of a long one may take a while: not for those that are here. */
		if (state == RECORD_HEAD) {
			complete(c, list);
			list = NULL;
		}
		err = take_answer(c, record, avail, len, &list);
	}
	complete(c, list);
	return err;
}

/* The leader's step: receive something, hand out answers. */
static int receive(struct wfs_conn *c, bool big_reads, int flags)
{
	size_t room;
	struct iovec iov = { .iov_base = record_rx_room(&c->rx, &room) };
	uint64_t until_ns = c->silence_ns ? sync_now_ns() + c->silence_ns : 0;
	ssize_t n;

	iov.iov_len = big_reads && room > SHORT_WINDOW_BYTES ? SHORT_WINDOW_BYTES : room;
	do {
		n = wfs_stream_receive(c->fd, c->tls, &iov, 1, flags, until_ns);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN && (flags & MSG_DONTWAIT))
		return 0;
	if (n <= 0)
		return -ENOTCONN;
	record_rx_added(&c->rx, (size_t)n);
	return take_answers(c);
}

static void wait_link(struct wfs_conn *c, struct wfs_call *call) SYNC_REQUIRES(c->lock)
{
	call->wait_next = NULL;
	call->wait_prev = c->wait_last;
	if (c->wait_last)
		c->wait_last->wait_next = call;
	else
		c->wait_first = call;
	c->wait_last = call;
	call->waiting = true;
}

static void wait_unlink(struct wfs_conn *c, struct wfs_call *call) SYNC_REQUIRES(c->lock)
{
	if (call->wait_prev)
		call->wait_prev->wait_next = call->wait_next;
	else
		c->wait_first = call->wait_next;
	if (call->wait_next)
		call->wait_next->wait_prev = call->wait_prev;
	else
		c->wait_last = call->wait_prev;
	call->waiting = false;
}

/* Nobody receives now: wake the one that has waited longest, and still waits, to do it. */
void wfs_conn_pass_lead(struct wfs_conn *c)
{
	struct wfs_call *call = c->wait_first;

	while (call && call->done)
		call = call->wait_next;
	if (call && !c->leader)
		sync_cond_signal(&call->cond);
}

/* The socket takes no more: wait, and receive meanwhile when nobody else does, or both sides would wait for ever. */
static int wait_to_send(struct wfs_conn *c)
{
	struct pollfd p = { .fd = c->fd, .events = POLLOUT };
	bool lead, big_reads, here;
	int err = 0;

	sync_mutex_lock(&c->lock);
	lead = !c->leader;
	big_reads = c->big_reads > 0;
	if (lead)
		c->leader = true;
	sync_mutex_unlock(&c->lock);
	if (lead)
		p.events |= POLLIN;
	/* The socket does not tell of what TLS has received already. */
	here = lead && c->tls && tls_has_received(c->tls);
	if (poll(&p, 1, here ? 0 : SEND_POLL_MS) < 0 && errno != EINTR)
		err = -ENOTCONN;
	if (!err && (p.revents & (POLLERR | POLLHUP | POLLNVAL)))
		err = -ENOTCONN;
	if (!err && lead && (here || (p.revents & POLLIN)))
		err = receive(c, big_reads, MSG_DONTWAIT);
	if (lead) {
		sync_mutex_lock(&c->lock);
		c->leader = false;
		wfs_conn_pass_lead(c);
		sync_mutex_unlock(&c->lock);
	}
	return err;
}

static int send_all(struct wfs_conn *c, const struct wfs_call *call)
{
	static const uint8_t zeros[XDR_UNIT];
	const struct wr *w = call->shm_count ? &call->shm_args : &call->args;
	struct iovec iov[3] = { { w->base, w->pos },
		                { (void *)(uintptr_t)call->send_payload, call->send_len },
		                { (void *)(uintptr_t)zeros, xdr_pad_bytes(call->send_len) } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = call->send_len && !call->shm_count ? 3 : 1 };

	while (msg.msg_iovlen || (c->tls && tls_has_unsent(c->tls))) {
		ssize_t n = wfs_stream_send(c->fd, c->tls, &msg);

		if (n < 0) {
			if (errno != EAGAIN && errno != EINTR)
				return -ENOTCONN;
			if (errno == EAGAIN && wait_to_send(c))
				return -ENOTCONN;
			continue;
		}
		while (msg.msg_iovlen && (size_t)n >= msg.msg_iov->iov_len) {
			n -= (ssize_t)msg.msg_iov->iov_len;
			msg.msg_iov++;
			msg.msg_iovlen--;
		}
		if (msg.msg_iovlen) {
			msg.msg_iov->iov_base = (uint8_t *)msg.msg_iov->iov_base + n;
			msg.msg_iov->iov_len -= (size_t)n;
		}
	}
	return 0;
}

void wfs_conn_wait_lead(struct wfs_conn *c, struct wfs_call *call)
{
	wait_link(c, call);
	sync_cond_wait(&call->cond, &c->lock);
	wait_unlink(c, call);
}

void wfs_conn_lead(struct wfs_conn *c)
{
	bool big_reads = c->big_reads > 0;
	int err;

	c->leader = true;
	/* Who leads for others has no call under way: nobody may connect again under its hands. */
	c->users++;
	sync_mutex_unlock(&c->lock);
	err = receive(c, big_reads, 0);
	sync_mutex_lock(&c->lock);
	c->leader = false;
	if (err)
		wfs_conn_fail(c);
	wfs_conn_leave(c);
}

void wfs_conn_leave(struct wfs_conn *c)
{
	if (--c->users == 0)
		sync_cond_broadcast(&c->changed);
}

/* Wait for the answer, leading when nobody else does. */
static void await(struct wfs_conn *c, struct wfs_call *call) SYNC_REQUIRES(c->lock)
{
	while (!call->done) {
		if (c->leader)
			wfs_conn_wait_lead(c, call);
		else
			wfs_conn_lead(c);
	}
	wfs_conn_pass_lead(c);
}

/* Become a user of the connection, with a place in the table of those that wait for answers. */
static int enter(struct wfs_conn *c, uint64_t generation, struct wfs_call *call)
{
	struct wfs_call **bucket;

	call->done = call->waiting = call->payload_done = false;
	call->sending = call->async;
	call->reply_len = 0;
	call->shm_count = 0;
	sync_mutex_lock(&c->lock);
	if (c->state != CONN_UP || c->generation != generation) {
		sync_mutex_unlock(&c->lock);
		return -ENOTCONN;
	}
	c->users += call->async ? 2 : 1;
	call->xid = ++c->next_xid;
	bucket = &c->buckets[call->xid % CLIENT_BUCKETS];
	call->bucket_next = *bucket;
	*bucket = call;
	sync_mutex_unlock(&c->lock);
	return 0;
}

static int send_call(struct wfs_conn *c, struct wfs_call *call)
{
	size_t payload = call->shm_count ? 0 : call->send_len;
	const struct wr *w = call->shm_count ? &call->shm_args : &call->args;
	int err;

	put_be32(w->base, record_mark(w->pos - RECORD_MARK_BYTES + payload + xdr_pad_bytes(payload)));
	put_be32(w->base + RECORD_MARK_BYTES, call->xid);
	sync_mutex_lock(&c->send_lock);
	err = send_all(c, call);
	sync_mutex_unlock(&c->send_lock);
	return err;
}

int wfs_call_send(struct wfs_conn *c, uint64_t generation, struct wfs_call *call)
{
	int err = enter(c, generation, call);

	always(!call->args.bad);
	if (err)
		return err;
	wfs_shm_begin(&c->shm, call);
	if (is_big_read(call)) {
		sync_mutex_lock(&c->lock);
		c->big_reads++;
		sync_mutex_unlock(&c->lock);
	}
	if (send_call(c, call)) {
		sync_mutex_lock(&c->lock);
		wfs_conn_fail(c);
		sync_mutex_unlock(&c->lock);
	}
	return 0;
}

int wfs_call_take(struct wfs_conn *c, struct wfs_call *call)
{
	int err;

	sync_mutex_lock(&c->lock);
	await(c, call);
	if (call->shm_count) {
		/* Still as a user: the memory stays mapped. */
		sync_mutex_unlock(&c->lock);
		err = wfs_shm_end(&c->shm, call, call->err);
		sync_mutex_lock(&c->lock);
		call->err = err;
	}
	if (is_big_read(call))
		c->big_reads--;
	wfs_conn_leave(c);
	err = call->err;
	sync_mutex_unlock(&c->lock);
	return err;
}

int wfs_call_run(struct wfs_conn *c, uint64_t generation, struct wfs_call *call)
{
	int err = wfs_call_send(c, generation, call);

	return err ? err : wfs_call_take(c, call);
}

int wfs_call_start(struct wfs_conn *c, uint64_t generation, struct wfs_call *call)
{
	int err = enter(c, generation, call);

	always(!call->args.bad);
	if (err)
		return err;
	err = send_call(c, call);
	sync_mutex_lock(&c->lock);
	/* From here on it may be answered, and gone, at any time: we are a user for ourselves. */
	wfs_async_sent(call);
	if (err)
		wfs_conn_fail(c);
	wfs_conn_leave(c);
	sync_mutex_unlock(&c->lock);
	return 0;
}

/* The server's text ends with the reason, which err_text() adds again. */
static void cut_reason(char *text, const char *reason)
{
	size_t len = strlen(text), reason_len = strlen(reason);

	if (len < reason_len || strcmp(text + len - reason_len, reason) != 0)
		return;
	len -= reason_len;
	while (len && (text[len - 1] == ' ' || text[len - 1] == ':'))
		len--;
	text[len] = '\0';
}

int wfs_call_error(uint32_t status, const char *text, size_t text_len, const char *what)
{
	int err = wfsp_status_to_errno(status);
	char line[WFSP_TEXT_MAX + 1];

	if (text_len > WFSP_TEXT_MAX)
		text_len = WFSP_TEXT_MAX;
	memcpy(line, text, text_len);
	line[text_len] = '\0';
	cut_reason(line, strerror(-err));
	return err_set(err, "server: %s", line[0] ? line : what);
}

int wfs_call_result(struct wfs_call *call, struct rd *ret_results)
{
	char text[WFSP_TEXT_MAX + 1];
	uint32_t xid, status;
	int err;

	*ret_results = rd_init(call->reply, call->reply_len);
	if (call->payload_done)
		return 0;
	err = rpc_get_reply(ret_results, &xid);
	if (err)
		return err;
	status = wfsp_get_status(ret_results, text);
	if (ret_results->bad || (status == WFSP_OK && call->payload))
		return err_set(-EBADMSG, "malformed answer from the server");
	if (status == WFSP_OK)
		return 0;
	return wfs_call_error(status, text, strlen(text), wfsp_procedure_name(call->procedure));
}

/* A thread stays with its connection, so that few threads wait for one receiver. */
struct wfs_conn *wfs_pick_conn(struct wfs *w)
{
	return &w->conns[sync_thread_slot() % w->conn_count];
}

bool wfs_call_may_repeat(struct wfs_conn *c, bool in_slot, uint64_t sent_ns, uint64_t *deadline_ns)
{
	uint64_t now = sync_now_ns(), until = now + wfs_conn_repeat_ns(c, in_slot);

	if (*deadline_ns && sent_ns)
		*deadline_ns += now - sent_ns;
	if (!*deadline_ns || until < *deadline_ns)
		*deadline_ns = until;
	return now < *deadline_ns;
}

int wfs_call_retry(struct wfs_conn *c, struct wfs_call *call, uint64_t *ret_generation, unsigned *ret_attempts)
{
	struct wfs *w = c->client;
	uint64_t deadline_ns = 0, sent_ns;
	int err;

	*ret_attempts = 0;
	do {
		err = wfs_conn_up(c, &deadline_ns, false, ret_generation);
		if (err)
			return err;
		++*ret_attempts;
		sent_ns = sync_now_ns();
		err = wfs_call_run(c, *ret_generation, call);
	} while (err == -ENOTCONN && wfs_call_may_repeat(c, call->in_slot, sent_ns, &deadline_ns));
	return err ? err_set(-ETIMEDOUT, "%s ended the connection during every attempt", w->address) : 0;
}

int wfs_call_any(struct wfs *w, struct wfs_call *call, struct rd *ret_results)
{
	uint64_t generation;
	unsigned attempts;
	int err = wfs_call_retry(wfs_pick_conn(w), call, &generation, &attempts);

	return err ? err : wfs_call_result(call, ret_results);
}
