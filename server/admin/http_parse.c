/* SPDX-License-Identifier: BSD-3-Clause */
/* Parsing of request heads and targets. */
#include "server/admin/http_parse.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "core/base/err.h"
#include "server/conf/value.h"

#define HTTP_NUMBER_MAX 20

struct text {
	const char *p;
	size_t len;
};

static bool text_is(struct text t, const char *s)
{
	return t.len == strlen(s) && strncasecmp(t.p, s, t.len) == 0;
}

/* The next line without its end; false when there is no complete one. */
static bool next_line(struct text *rest, struct text *ret)
{
	const char *end = memchr(rest->p, '\n', rest->len);

	if (!end)
		return false;
	ret->p = rest->p;
	ret->len = (size_t)(end - rest->p);
	rest->len -= ret->len + 1;
	rest->p = end + 1;
	if (ret->len && ret->p[ret->len - 1] == '\r')
		ret->len--;
	return true;
}

static struct text next_word(struct text *rest)
{
	const char *space = memchr(rest->p, ' ', rest->len);
	struct text word = { rest->p, space ? (size_t)(space - rest->p) : rest->len };
	size_t used = word.len + (space ? 1 : 0);

	rest->p += used;
	rest->len -= used;
	return word;
}

static int parse_request_line(struct text line, struct http_head *ret)
{
	struct text method = next_word(&line);
	struct text target = next_word(&line);

	for (size_t i = 0; i < target.len; i++) {
		if (target.p[i] <= 0x20 || target.p[i] == 0x7f)
			return err_set(-EBADMSG, "malformed request line");
	}
	if (method.len == 0 || target.len == 0 || line.len != 8 || memchr(line.p, ' ', line.len))
		return err_set(-EBADMSG, "malformed request line");
	if (memcmp(line.p, "HTTP/1.", 7) != 0)
		return err_set(-EOPNOTSUPP, "only HTTP/1.x is spoken here");
	if (target.len > HTTP_TARGET_MAX)
		return err_set(-EMSGSIZE, "the path is longer than %d bytes", HTTP_TARGET_MAX);
	ret->method = text_is(method, "GET")      ? HTTP_GET
	              : text_is(method, "POST")   ? HTTP_POST
	              : text_is(method, "DELETE") ? HTTP_DELETE
	                                          : HTTP_OTHER;
	memcpy(ret->target, target.p, target.len);
	ret->target[target.len] = '\0';
	return 0;
}

static int parse_length(struct text value, bool *seen, size_t *ret)
{
	char number[HTTP_NUMBER_MAX + 1] = "";
	uint64_t len;

	if (value.len <= HTTP_NUMBER_MAX)
		memcpy(number, value.p, value.len);
	if (*seen || value_parse_uint(number, &len) < 0 || strlen(number) != value.len)
		return err_set(-EBADMSG, "malformed Content-Length");
	if (len > HTTP_BODY_MAX)
		return err_set(-EMSGSIZE, "the body is larger than %d bytes", HTTP_BODY_MAX);
	*seen = true;
	*ret = (size_t)len;
	return 0;
}

static int parse_field(struct text line, bool *has_length, struct http_head *ret)
{
	const char *colon = memchr(line.p, ':', line.len);
	struct text name = { line.p, colon ? (size_t)(colon - line.p) : 0 };
	struct text value;

	if (name.len == 0 || memchr(name.p, ' ', name.len) || memchr(name.p, '\t', name.len))
		return err_set(-EBADMSG, "malformed header line");
	value.p = colon + 1;
	value.len = line.len - name.len - 1;
	while (value.len && (*value.p == ' ' || *value.p == '\t')) {
		value.p++;
		value.len--;
	}
	while (value.len && (value.p[value.len - 1] == ' ' || value.p[value.len - 1] == '\t'))
		value.len--;
	if (text_is(name, "Content-Length"))
		return parse_length(value, has_length, &ret->body_len);
	if (text_is(name, "Transfer-Encoding"))
		return err_set(-EOPNOTSUPP, "transfer encodings are not supported");
	if (text_is(name, "Expect"))
		ret->expects_continue = text_is(value, "100-continue");
	return 0;
}

int http_parse_head(const char *buf, size_t len, struct http_head *ret)
{
	struct text rest = { buf, len }, line;
	bool has_length = false;
	int rc;

	ret->body_len = 0;
	ret->expects_continue = false;
	if (!next_line(&rest, &line))
		return len < HTTP_HEAD_MAX ? 0 : err_set(-EMSGSIZE, "the request's head is too large");
	rc = parse_request_line(line, ret);
	while (rc == 0) {
		if (!next_line(&rest, &line))
			return len < HTTP_HEAD_MAX ? 0 : err_set(-EMSGSIZE, "the request's head is too large");
		if (line.len == 0) {
			ret->head_len = (size_t)(rest.p - buf);
			return 1;
		}
		rc = parse_field(line, &has_length, ret);
	}
	return rc;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Percent-decode @t into @ret of HTTP_SEGMENT_MAX + 1 bytes. */
static int decode(struct text t, char *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < t.len; i++) {
		int c = (unsigned char)t.p[i];

		if (c == '%') {
			int high = t.len - i > 2 ? hex_digit(t.p[i + 1]) : -1;
			int low = high >= 0 ? hex_digit(t.p[i + 2]) : -1;

			if (low < 0)
				return err_set(-EBADMSG, "malformed percent encoding in the path");
			c = high * 16 + low;
			i += 2;
		}
		if (c == 0)
			return err_set(-EBADMSG, "zero byte in the path");
		if (n == HTTP_SEGMENT_MAX)
			return err_set(-EBADMSG, "a name in the path is longer than %d bytes", HTTP_SEGMENT_MAX);
		ret[n++] = (char)c;
	}
	ret[n] = '\0';
	return 0;
}

static int parse_query(struct text query, struct http_path *ret)
{
	const char *equals = memchr(query.p, '=', query.len);
	struct text key = { query.p, equals ? (size_t)(equals - query.p) : 0 };
	struct text value;
	int rc;

	if (key.len == 0 || memchr(query.p, '&', query.len))
		return err_set(-EBADMSG, "the query must be one KEY=VALUE");
	value.p = equals + 1;
	value.len = query.len - key.len - 1;
	rc = decode(key, ret->query_key);
	return rc < 0 ? rc : decode(value, ret->query_value);
}

int http_parse_target(const char *target, struct http_path *ret)
{
	const char *query = strchr(target, '?');
	struct text rest = { target, query ? (size_t)(query - target) : strlen(target) };

	ret->count = 0;
	ret->query_key[0] = ret->query_value[0] = '\0';
	if (rest.len == 0 || *rest.p != '/')
		return err_set(-EBADMSG, "the path must begin with '/'");
	while (rest.len) {
		const char *slash;
		struct text segment;
		int rc;

		rest.p++;
		rest.len--;
		slash = memchr(rest.p, '/', rest.len);
		segment = (struct text){ rest.p, slash ? (size_t)(slash - rest.p) : rest.len };
		if (ret->count == HTTP_SEGMENTS_MAX || segment.len == 0)
			return err_set(-EBADMSG, "the path has an empty name or too many");
		rc = decode(segment, ret->segments[ret->count]);
		if (rc < 0)
			return rc;
		ret->count++;
		rest.p += segment.len;
		rest.len -= segment.len;
	}
	if (!query)
		return 0;
	return parse_query((struct text){ query + 1, strlen(query + 1) }, ret);
}
