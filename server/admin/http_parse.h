/* SPDX-License-Identifier: BSD-3-Clause */
/* The bytes of an HTTP/1.1 request head, checked; no sockets here. */
#ifndef WFSD_SERVER_ADMIN_HTTP_PARSE_H
#define WFSD_SERVER_ADMIN_HTTP_PARSE_H

#include <stdbool.h>
#include <stddef.h>

#define HTTP_HEAD_MAX 16384
#define HTTP_BODY_MAX 65536
#define HTTP_TARGET_MAX 4096
#define HTTP_SEGMENTS_MAX 6
#define HTTP_SEGMENT_MAX 255

enum http_method {
	HTTP_OTHER,
	HTTP_GET,
	HTTP_POST,
	HTTP_DELETE,
};

struct http_head {
	enum http_method method;
	char target[HTTP_TARGET_MAX + 1];
	size_t head_len; /* up to and with the empty line */
	size_t body_len;
	bool expects_continue;
};

/*
 * Read a head from the first @len bytes of a connection. 1: complete, @ret is filled; 0: more bytes are needed (never
 * when @len is HTTP_HEAD_MAX). -EBADMSG malformed; -EMSGSIZE head or body too large; -EOPNOTSUPP a transfer encoding,
 * or not HTTP/1.x.
 */
int http_parse_head(const char *buf, size_t len, struct http_head *ret);

/* A target's path in percent-decoded segments, and at most one key=value of a query. */
struct http_path {
	unsigned count;
	char segments[HTTP_SEGMENTS_MAX][HTTP_SEGMENT_MAX + 1];
	char query_key[HTTP_SEGMENT_MAX + 1]; /* "" when there is none */
	char query_value[HTTP_SEGMENT_MAX + 1];
};

/* 0, or -EBADMSG: not absolute, empty or too long or too many segments, bad percent encoding, zero byte. */
int http_parse_target(const char *target, struct http_path *ret);

#endif
