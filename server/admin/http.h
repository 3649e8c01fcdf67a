/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small HTTP/1.1 server on one event loop: one request per connection, with bounds on its size, on the time it may
 * take to arrive and to be answered, and on the number of connections. libevent 2.1's own server can bound neither the
 * connections nor the time of a request that trickles in.
 */
#ifndef WFSD_SERVER_ADMIN_HTTP_H
#define WFSD_SERVER_ADMIN_HTTP_H

#include <stddef.h>

#include "server/admin/http_parse.h"

struct http_exchange;
struct http_server;
struct loop;

struct http_request {
	enum http_method method;
	struct http_path path;
	const char *body; /* valid during the call of the handler */
	size_t body_len;
};

/* On the loop's thread. It, or somebody later, calls http_reply() exactly once. */
typedef void http_handler_fn(void *ctx, struct http_exchange *x, const struct http_request *request);

/* NULL when memory is short. */
struct http_server *http_server_new(struct loop *loop, unsigned connections_max, http_handler_fn *handler, void *ctx);
/* Close all connections; later ones are closed at once. Exchanges not yet replied to must still be. On the loop's
 * thread. */
void http_server_stop(struct http_server *s);
/* Stopped, and every exchange was replied to. NULL is fine. */
void http_server_free(struct http_server *s);

/* A listener_accept_fn; @ctx is the struct http_server. Takes @fd, a non-blocking socket. On the loop's thread. */
void http_server_accept(void *ctx, int fd, const char *peer);

/*
 * Answer with @status and @text, a malloc'ed string that is taken over (NULL: the answer is 500). The client may have
 * gone away meanwhile. On the loop's thread.
 */
void http_reply(struct http_exchange *x, int status, const char *content_type, char *text, size_t len);

#endif
