/* SPDX-License-Identifier: BSD-3-Clause */
/* libwfs: the life of a connection: connect, say hello, fail, connect again. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "core/base/err.h"
#include "protocol/client/internal.h"

#define BACKOFF_FIRST_MS 10u
#define BACKOFF_DOUBLINGS 7u /* up to 1.28 s */
#define ATTEMPT_NS (10 * SYNC_NS_PER_S) /* for one attempt, at most */
/* The server counts from when it sees the end of the connection. */
#define LEASE_MARGIN_S 30u
#define PAYLOAD_MIN_BYTES 4096u /* a server that takes less is not one of ours */

int wfs_conn_init(struct wfs_conn *c, struct wfs *client, unsigned index)
{
	c->window = malloc(CLIENT_WINDOW_BYTES);
	if (!c->window)
		return err_set(-ENOMEM, "no memory for a connection");
	c->client = client;
	c->index = index;
	c->fd = -1;
	sync_mutex_init(&c->send_lock, SYNC_RANK_SERVER, "wfs connection, sending");
	sync_mutex_init(&c->lock, SYNC_RANK_LEAF, "wfs connection");
	sync_mutex_init(&c->async_lock, SYNC_RANK_SERVER, "wfs connection, async");
	sync_cond_init(&c->changed);
	sync_cond_init(&c->slot_free);
	record_rx_init(&c->rx, c->window, CLIENT_WINDOW_BYTES);
	return 0;
}

SYNC_NO_ANALYSIS void wfs_conn_done(struct wfs_conn *c)
{
	if (!c->window)
		return;
	wfs_async_end(c);
	tls_free(c->tls);
	if (c->fd >= 0)
		close(c->fd);
	wfs_shm_unmap(&c->shm);
	record_rx_done(&c->rx);
	wfs_replies_done(c);
	sync_cond_done(&c->slot_free);
	sync_cond_done(&c->changed);
	sync_mutex_done(&c->async_lock);
	sync_mutex_done(&c->lock);
	sync_mutex_done(&c->send_lock);
	free(c->window);
}

void wfs_conn_fail(struct wfs_conn *c)
{
	if (c->state != CONN_UP)
		return;
	c->state = CONN_DOWN;
	c->failures = 0;
	/* Not at once: a server that ends every connection would be asked in a busy loop. */
	c->retry_ns = sync_now_ns() + BACKOFF_FIRST_MS * SYNC_NS_PER_MS;
	/* Wakes the leader and a blocked sender; the descriptor is closed when they have left. */
	shutdown(c->fd, SHUT_RDWR);
	for (unsigned i = 0; i < CLIENT_BUCKETS; i++) {
		struct wfs_call *call = c->buckets[i];

		c->buckets[i] = NULL;
		while (call) {
			struct wfs_call *next = call->bucket_next;

			call->err = -ENOTCONN;
			call->done = true;
			if (call->async)
				wfs_async_done(call);
			else
				sync_cond_signal(&call->cond);
			call = next;
		}
	}
	sync_cond_broadcast(&c->changed);
}

static int set_timeout(int fd, uint64_t ns)
{
	struct timeval tv = { .tv_sec = (time_t)(ns / SYNC_NS_PER_S),
		              .tv_usec = (suseconds_t)(ns % SYNC_NS_PER_S / 1000) };

	if (ns && !tv.tv_sec && !tv.tv_usec)
		tv.tv_usec = 1;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) < 0)
		return err_set(-errno, "SO_RCVTIMEO: %s", strerror(errno));
	return 0;
}

/* A new socket, which nobody else uses yet. */
struct fresh {
	int fd;
	struct tls *tls;
	uint64_t until_ns;
};

/* Receive one whole record of at most CALL_REPLY_BYTES. */
static int receive_hello(const struct fresh *s, struct record_rx *rx, const uint8_t **ret_record, size_t *ret_len,
                         int *shm_fd)
{
	for (;;) {
		enum record_state state;
		size_t avail, room;
		struct iovec to;
		ssize_t n;
		int err = record_rx_next(rx, &state, ret_record, &avail, ret_len);

		if (err)
			return err;
		if (state == RECORD_WHOLE)
			return 0;
		to.iov_base = record_rx_room(rx, &room);
		to.iov_len = room;
		if (state == RECORD_HEAD || !room)
			return err_set(-EBADMSG, "the answer to HELLO is too long");
		if (s->tls)
			n = wfs_stream_receive(s->fd, s->tls, &to, 1, 0, s->until_ns);
		else
			n = wfs_shm_receive(s->fd, to.iov_base, room, shm_fd);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && s->tls && errno != EAGAIN)
			return err_add(-errno, "waiting for the answer to HELLO");
		if (n < 0)
			return err_set(errno == EAGAIN ? -ETIMEDOUT : -errno, "waiting for the answer to HELLO: %s",
			               errno == EAGAIN ? "timed out" : strerror(errno));
		if (n == 0)
			return err_set(-ECONNRESET, "the server closed the connection");
		record_rx_added(rx, (size_t)n);
	}
}

/* It could not be sent: over TLS the server may have said why, before it hung up. */
static int refused_before_hello(const struct fresh *s)
{
	char byte;
	struct iovec iov = { &byte, 1 };

	if (s->tls && wfs_stream_receive(s->fd, s->tls, &iov, 1, MSG_DONTWAIT, s->until_ns) < 0 && errno == EACCES)
		return err_add(-EACCES, "sending HELLO");
	return err_set(-ECONNRESET, "sending HELLO failed");
}

/* The first exchange. *shm_fd: a descriptor that came along, even on errors. */
static int say_hello(struct wfs_conn *c, const struct fresh *s, struct wfsp_hello_ok *ret, int *shm_fd)
{
	struct wfsp_hello_args args = { .connection = c->index,
		                        .lease_s = (uint32_t)(c->client->timeout_ns / SYNC_NS_PER_S) + LEASE_MARGIN_S,
		                        .features = WFSP_FEATURE_TREES | (c->client->no_shm ? 0 : WFSP_FEATURE_SHM) };
	uint8_t buf[CALL_HEAD_BYTES];
	char text[WFSP_TEXT_MAX + 1];
	struct iovec iov = { .iov_base = buf };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct wr w = wr_init(buf, sizeof(buf));
	const uint8_t *record;
	uint32_t xid, status;
	size_t len;
	struct rd r;
	int err;

	memcpy(args.client_id, c->client->id, sizeof(args.client_id));
	memcpy(args.client_name, c->client->name, sizeof(args.client_name));
	wr_zero(&w, RECORD_MARK_BYTES);
	rpc_put_call(&w, 0, WFSP_PROGRAM, WFSP_VERSION, WFSP_HELLO, NULL);
	wfsp_put_hello_args(&w, &args);
	put_be32(buf, record_mark(w.pos - RECORD_MARK_BYTES));
	iov.iov_len = w.pos;
	/* It fits into any socket's buffer. */
	if (wfs_stream_send(s->fd, s->tls, &msg) != (ssize_t)w.pos || (s->tls && tls_has_unsent(s->tls)))
		return refused_before_hello(s);
	err = receive_hello(s, &c->rx, &record, &len, shm_fd);
	if (err)
		return err;
	r = rd_init(record, len);
	err = rpc_get_reply(&r, &xid);
	if (err)
		return err;
	status = wfsp_get_status(&r, text);
	if (status != WFSP_OK)
		return err_set(wfsp_status_to_errno(status), "the server refused HELLO: %s", text);
	wfsp_get_hello_ok(&r, ret);
	if (r.bad || xid != 0 || ret->payload_max_bytes < PAYLOAD_MIN_BYTES)
		return err_set(-EBADMSG, "malformed answer to HELLO");
	record_rx_consume(&c->rx);
	return 0;
}

/* One attempt. 0: *ret is connected. */
static int attempt(struct wfs_conn *c, uint64_t deadline_ns, struct fresh *ret, struct wfsp_hello_ok *ret_hello)
{
	uint64_t now = sync_now_ns();
	uint64_t until = now + ATTEMPT_NS;
	int err, shm_fd = -1;

	if (deadline_ns && deadline_ns < until)
		until = deadline_ns > now ? deadline_ns : now + SYNC_NS_PER_MS;
	record_rx_done(&c->rx);
	record_rx_init(&c->rx, c->window, CLIENT_WINDOW_BYTES);
	*ret = (struct fresh){ .until_ns = until, .fd = wfs_address_connect(c->client->address, until) };
	if (ret->fd < 0)
		return ret->fd;
	err = wfs_stream_begin(c->client, ret->fd, until, &ret->tls);
	now = sync_now_ns();
	if (!err)
		err = set_timeout(ret->fd, until > now ? until - now : SYNC_NS_PER_MS);
	if (!err)
		err = say_hello(c, ret, ret_hello, &shm_fd);
	if (!err)
		err = set_timeout(ret->fd, c->silence_ns);
	if (!err)
		wfs_shm_map(&c->shm, shm_fd, ret_hello);
	if (shm_fd >= 0)
		close(shm_fd);
	if (!err)
		return 0;
	tls_free(ret->tls);
	close(ret->fd);
	return err;
}

/* The caller found it DOWN. Leaves it UP, or DOWN with the reason and the time of the next attempt. */
static void connect_locked(struct wfs_conn *c, uint64_t deadline_ns) SYNC_REQUIRES(c->lock)
{
	struct wfsp_hello_ok hello = { 0 };
	struct fresh fresh;
	int err;

	c->state = CONN_CONNECTING;
	while (c->users)
		sync_cond_wait(&c->changed, &c->lock);
	sync_mutex_unlock(&c->lock);
	tls_free(c->tls);
	c->tls = NULL;
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	wfs_shm_unmap(&c->shm);
	err = attempt(c, deadline_ns, &fresh, &hello);
	sync_mutex_lock(&c->lock);
	if (!err) {
		c->fd = fresh.fd;
		c->tls = fresh.tls;
		c->hello = hello;
		c->state = CONN_UP;
		c->generation++;
		c->failures = 0;
	} else {
		unsigned doublings = c->failures < BACKOFF_DOUBLINGS ? c->failures : BACKOFF_DOUBLINGS;

		c->state = CONN_DOWN;
		c->failures++;
		c->connect_err = err;
		err_text(err_get(), err, 0, c->connect_text, sizeof(c->connect_text));
		c->retry_ns = sync_now_ns() + (BACKOFF_FIRST_MS << doublings) * SYNC_NS_PER_MS;
	}
	sync_cond_broadcast(&c->changed);
}

static int timed_out(struct wfs_conn *c) SYNC_REQUIRES(c->lock)
{
	return err_set(-ETIMEDOUT, "no server at %s within %llu ms: %s", c->client->address,
	               (unsigned long long)(c->client->timeout_ns / SYNC_NS_PER_MS),
	               c->connect_text[0] ? c->connect_text : "connecting");
}

int wfs_conn_up(struct wfs_conn *c, uint64_t *deadline_ns, bool once, uint64_t *ret_generation)
{
	int err = 0;

	sync_mutex_lock(&c->lock);
	while (c->state != CONN_UP) {
		uint64_t now = sync_now_ns(), until;

		if (!*deadline_ns)
			*deadline_ns = now + c->client->timeout_ns;
		if (now >= *deadline_ns) {
			err = timed_out(c);
			break;
		}
		until = *deadline_ns;
		if (c->state == CONN_DOWN && now >= c->retry_ns) {
			connect_locked(c, *deadline_ns);
			if (once && c->state == CONN_DOWN) {
				err = c->connect_err; /* with the text of that attempt, of this thread */
				break;
			}
			continue;
		}
		if (c->state == CONN_DOWN && c->retry_ns < until)
			until = c->retry_ns;
		(void)sync_cond_wait_until(&c->changed, &c->lock, until);
	}
	*ret_generation = c->generation;
	sync_mutex_unlock(&c->lock);
	return err;
}

uint64_t wfs_conn_repeat_ns(struct wfs_conn *c, bool in_slot)
{
	uint64_t ns = c->client->timeout_ns, lease_ns;

	sync_mutex_lock(&c->lock);
	lease_ns = c->hello.lease_s * SYNC_NS_PER_S;
	sync_mutex_unlock(&c->lock);
	/* Without a HELLO nobody can have had it. */
	return in_slot && lease_ns && lease_ns < ns ? lease_ns : ns;
}

int wfs_conn_boot(struct wfs_conn *c, uint64_t generation, uint64_t old_boot, uint64_t *ret_boot, bool *ret_durable)
{
	int err = 0;

	sync_mutex_lock(&c->lock);
	if (c->generation != generation) {
		err = err_set(-ENOTCONN, "the connection was lost");
	} else {
		*ret_boot = c->hello.boot_id;
		*ret_durable = old_boot == c->hello.boot_id;
		for (uint32_t i = 0; i < c->hello.clean_boot_count; i++)
			*ret_durable = *ret_durable || c->hello.clean_boots[i] == old_boot;
	}
	sync_mutex_unlock(&c->lock);
	return err;
}
