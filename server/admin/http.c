/* SPDX-License-Identifier: BSD-3-Clause */
/* HTTP connections: read one request, have it handled, write the answer, close. */
#include "server/admin/http.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "server/admin/encode.h"
#include "server/loop/loop.h"

#define HTTP_READ_TIMEOUT_S 15
#define HTTP_WRITE_TIMEOUT_S 30
#define HTTP_LINGER_TIMEOUT_S 2
#define HTTP_REPLY_HEAD_MAX 256

enum exchange_state {
	EXCHANGE_READING, /* the request arrives */
	EXCHANGE_HANDLING, /* the handler has it */
	EXCHANGE_WRITING, /* the answer leaves */
	EXCHANGE_LINGERING, /* all is sent; what the client still sends is dropped, so that it sees the answer */
};

struct http_exchange {
	struct http_server *server;
	struct http_exchange *next;
	enum exchange_state state;
	int fd;
	bool closed; /* handling, but the connection was closed already */
	bool continued; /* 100 Continue was sent */
	struct event *readable;
	struct event *writable;
	struct event *timeout;
	size_t in_len;
	char *in; /* HTTP_HEAD_MAX + HTTP_BODY_MAX bytes */
	char head[HTTP_REPLY_HEAD_MAX];
	size_t head_len;
	char *out;
	size_t out_len;
	size_t out_pos; /* in head, then out */
};

struct http_server {
	struct loop *loop;
	http_handler_fn *handler;
	void *ctx;
	unsigned connections_max;
	unsigned connection_count;
	bool stopping;
	struct http_exchange *exchanges;
};

static void exchange_close(struct http_exchange *x)
{
	if (x->closed)
		return;
	x->closed = true;
	if (x->readable)
		event_free(x->readable);
	if (x->writable)
		event_free(x->writable);
	if (x->timeout)
		event_free(x->timeout);
	close(x->fd);
}

static void exchange_free(struct http_exchange *x)
{
	struct http_server *s = x->server;
	struct http_exchange **p = &s->exchanges;

	exchange_close(x);
	while (*p != x)
		p = &(*p)->next;
	*p = x->next;
	s->connection_count--;
	free(x->in);
	free(x->out);
	free(x);
}

static void exchange_set_timeout(struct http_exchange *x, int seconds)
{
	struct timeval tv = { .tv_sec = seconds };

	event_add(x->timeout, &tv);
}

static void exchange_on_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct http_exchange *x = arg;

	(void)fd;
	(void)what;
	exchange_free(x);
}

static const char *reason_phrase(int status)
{
	static const struct {
		int status;
		const char *phrase;
	} phrases[] = {
		{ 200, "OK" },
		{ 201, "Created" },
		{ 400, "Bad Request" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 409, "Conflict" },
		{ 413, "Content Too Large" },
		{ 501, "Not Implemented" },
		{ 503, "Service Unavailable" },
		{ 507, "Insufficient Storage" },
	};

	for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++) {
		if (phrases[i].status == status)
			return phrases[i].phrase;
	}
	return "Internal Server Error";
}

/* Returns false when the connection was given up. */
static bool exchange_write(struct http_exchange *x)
{
	while (x->out_pos < x->head_len + x->out_len) {
		bool in_head = x->out_pos < x->head_len;
		const char *p = in_head ? x->head + x->out_pos : x->out + (x->out_pos - x->head_len);
		size_t len = in_head ? x->head_len - x->out_pos : x->head_len + x->out_len - x->out_pos;
		ssize_t n = send(x->fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			event_add(x->writable, NULL);
			return true;
		}
		if (n < 0) {
			exchange_free(x);
			return false;
		}
		x->out_pos += (size_t)n;
	}
	x->state = EXCHANGE_LINGERING;
	shutdown(x->fd, SHUT_WR);
	event_add(x->readable, NULL);
	exchange_set_timeout(x, HTTP_LINGER_TIMEOUT_S);
	return true;
}

static void exchange_on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct http_exchange *x = arg;

	(void)fd;
	(void)what;
	exchange_write(x);
}

void http_reply(struct http_exchange *x, int status, const char *content_type, char *text, size_t len)
{
	int n;

	always(x->state == EXCHANGE_HANDLING);
	if (x->closed) {
		free(text);
		exchange_free(x);
		return;
	}
	if (!text) {
		status = 500;
		len = 0;
	}
	n = snprintf(x->head, sizeof(x->head),
	             "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", status,
	             reason_phrase(status), content_type, len);
	always(n > 0 && (size_t)n < sizeof(x->head));
	x->head_len = (size_t)n;
	x->out = text;
	x->out_len = len;
	x->state = EXCHANGE_WRITING;
	exchange_set_timeout(x, HTTP_WRITE_TIMEOUT_S);
	exchange_write(x);
}

/* Answer the thread's error; for what never reached the handler. */
static void exchange_refuse(struct http_exchange *x, int code)
{
	int status = code == -EMSGSIZE ? 413 : code == -EOPNOTSUPP ? 501 : 400;
	json_t *body = encode_error(err_get(), code);
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

	json_decref(body);
	event_del(x->timeout);
	event_del(x->readable);
	x->state = EXCHANGE_HANDLING;
	http_reply(x, status, "application/json", text, text ? strlen(text) : 0);
}

/* A request as far as it is there. Returns true when no more is to be read. */
static bool exchange_take(struct http_exchange *x)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct http_request request;
	struct http_head head;
	size_t head_bytes = x->in_len < HTTP_HEAD_MAX ? x->in_len : HTTP_HEAD_MAX;
	int rc = http_parse_head(x->in, head_bytes, &head);

	if (rc == 0)
		return false;
	if (rc < 0) {
		exchange_refuse(x, rc);
		return true;
	}
	if (x->in_len - head.head_len < head.body_len) {
		/* When it does not fit into the socket now, the client sends its body after its own time-out. */
		if (head.expects_continue && !x->continued)
			x->continued = send(x->fd, go_on, sizeof(go_on) - 1, MSG_NOSIGNAL) > 0;
		return false;
	}
	rc = http_parse_target(head.target, &request.path);
	if (rc < 0) {
		exchange_refuse(x, rc);
		return true;
	}
	request.method = head.method;
	request.body = x->in + head.head_len;
	request.body_len = head.body_len;
	event_del(x->timeout);
	event_del(x->readable);
	x->state = EXCHANGE_HANDLING;
	x->server->handler(x->server->ctx, x, &request);
	return true;
}

static void exchange_read(struct http_exchange *x)
{
	for (;;) {
		ssize_t n = recv(x->fd, x->in + x->in_len, HTTP_HEAD_MAX + HTTP_BODY_MAX - x->in_len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			exchange_free(x);
			return;
		}
		x->in_len += (size_t)n;
		if (exchange_take(x))
			return;
	}
}

static void exchange_drop_input(struct http_exchange *x)
{
	char bytes[4096];
	ssize_t n = recv(x->fd, bytes, sizeof(bytes), 0);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		exchange_free(x);
}

static void exchange_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct http_exchange *x = arg;

	(void)fd;
	(void)what;
	if (x->state == EXCHANGE_READING)
		exchange_read(x);
	else
		exchange_drop_input(x);
}

void http_server_accept(void *ctx, int fd, const char *peer)
{
	struct http_server *s = ctx;
	struct event_base *base = loop_base(s->loop);
	struct http_exchange *x;

	if (s->stopping || s->connection_count >= s->connections_max) {
		log_limited(LOG_LEVEL_WARNING, "admin", "connection refused peer=%s", peer);
		close(fd);
		return;
	}
	x = calloc(1, sizeof(*x));
	if (!x) {
		close(fd);
		return;
	}
	x->server = s;
	x->fd = fd;
	x->in = malloc(HTTP_HEAD_MAX + HTTP_BODY_MAX);
	x->readable = event_new(base, fd, EV_READ | EV_PERSIST, exchange_on_readable, x);
	x->writable = event_new(base, fd, EV_WRITE, exchange_on_writable, x);
	x->timeout = evtimer_new(base, exchange_on_timeout, x);
	x->next = s->exchanges;
	s->exchanges = x;
	s->connection_count++;
	if (!x->in || !x->readable || !x->writable || !x->timeout || event_add(x->readable, NULL) < 0) {
		exchange_free(x);
		return;
	}
	exchange_set_timeout(x, HTTP_READ_TIMEOUT_S);
}

struct http_server *http_server_new(struct loop *loop, unsigned connections_max, http_handler_fn *handler, void *ctx)
{
	struct http_server *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->loop = loop;
	s->handler = handler;
	s->ctx = ctx;
	s->connections_max = connections_max;
	return s;
}

void http_server_stop(struct http_server *s)
{
	struct http_exchange *next;

	s->stopping = true;
	for (struct http_exchange *x = s->exchanges; x; x = next) {
		next = x->next;
		if (x->state == EXCHANGE_HANDLING)
			exchange_close(x);
		else
			exchange_free(x);
	}
}

void http_server_free(struct http_server *s)
{
	if (!s)
		return;
	always(!s->exchanges);
	free(s);
}
