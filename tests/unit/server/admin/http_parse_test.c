/* SPDX-License-Identifier: BSD-3-Clause */
/* Request heads and targets, whole, in pieces and malformed. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "server/admin/http_parse.h"

static int parse(const char *text, struct http_head *ret)
{
	/* Exactly as long as the text, so that reading past it shows. */
	size_t len = strlen(text);
	char *copy = malloc(len ? len : 1);
	int rc;

	memcpy(copy, text, len);
	rc = http_parse_head(copy, len, ret);
	free(copy);
	return rc;
}

static void test_whole_head_is_read_and_every_part_of_it_wants_more(void **state)
{
	static const char text[] = "POST /v1/pools?x=y HTTP/1.1\r\nHost: wfsd\r\ncontent-LENGTH:  12 \r\n"
	                           "Expect: 100-continue\r\n\r\n";
	struct http_head head;
	char part[sizeof(text)];

	(void)state;
	assert_int_equal(parse(text, &head), 1);
	assert_int_equal(head.method, HTTP_POST);
	assert_string_equal(head.target, "/v1/pools?x=y");
	assert_int_equal(head.head_len, sizeof(text) - 1);
	assert_int_equal(head.body_len, 12);
	assert_true(head.expects_continue);
	for (size_t len = 0; len < sizeof(text) - 1; len++) {
		memcpy(part, text, len);
		part[len] = '\0';
		assert_int_equal(parse(part, &head), 0);
	}
}

static void test_bare_newlines_and_no_fields_are_fine(void **state)
{
	struct http_head head;

	(void)state;
	assert_int_equal(parse("GET / HTTP/1.0\n\nrest", &head), 1);
	assert_int_equal(head.method, HTTP_GET);
	assert_int_equal(head.head_len, 16);
	assert_int_equal(head.body_len, 0);
	assert_int_equal(parse("PATCH / HTTP/1.1\r\n\r\n", &head), 1);
	assert_int_equal(head.method, HTTP_OTHER);
}

static void test_malformed_heads_are_refused(void **state)
{
	static const struct {
		const char *text;
		int rc;
	} heads[] = {
		{ "\r\n", -EBADMSG },
		{ "GET\r\n", -EBADMSG },
		{ "GET /\r\n", -EBADMSG },
		{ "GET / HTTP/1.1 x\r\n", -EBADMSG },
		{ "GET / HTTP/2.0\r\n", -EOPNOTSUPP },
		{ "GET /\x01 HTTP/1.1\r\n", -EBADMSG },
		{ "GET / HTTP/1.1\r\nno colon\r\n", -EBADMSG },
		{ "GET / HTTP/1.1\r\n: x\r\n", -EBADMSG },
		{ "GET / HTTP/1.1\r\nA B: x\r\n", -EBADMSG },
		{ "GET / HTTP/1.1\r\nContent-Length: x\r\n", -EBADMSG },
		{ "GET / HTTP/1.1\r\nContent-Length:\r\n", -EBADMSG },
		{ "GET / HTTP/1.1\r\nContent-Length: -1\r\n", -EBADMSG },
		{ "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n", -EBADMSG },
		{ "GET / HTTP/1.1\r\nContent-Length: 65537\r\n", -EMSGSIZE },
		{ "GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n", -EBADMSG },
		{ "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", -EOPNOTSUPP },
	};
	struct http_head head;

	(void)state;
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
		assert_int_equal(parse(heads[i].text, &head), heads[i].rc);
}

static void test_endless_heads_are_refused(void **state)
{
	char *text = malloc(HTTP_HEAD_MAX);
	struct http_head head;

	(void)state;
	memset(text, 'a', HTTP_HEAD_MAX);
	assert_int_equal(http_parse_head(text, HTTP_HEAD_MAX, &head), -EMSGSIZE);
	memcpy(text, "GET / HTTP/1.1\nA:", 17);
	assert_int_equal(http_parse_head(text, HTTP_HEAD_MAX - 1, &head), 0);
	assert_int_equal(http_parse_head(text, HTTP_HEAD_MAX, &head), -EMSGSIZE);
	memcpy(text, "GET /", 5);
	memset(text + 5, 'a', HTTP_TARGET_MAX);
	memcpy(text + 5 + HTTP_TARGET_MAX, " HTTP/1.1\n\n", 11);
	assert_int_equal(http_parse_head(text, HTTP_HEAD_MAX, &head), -EMSGSIZE);
	free(text);
}

static void test_target_is_split_and_decoded(void **state)
{
	struct http_path path;

	(void)state;
	assert_int_equal(http_parse_target("/v1/volumes/tank/vm%201%2f%C3%a9", &path), 0);
	assert_int_equal(path.count, 4);
	assert_string_equal(path.segments[0], "v1");
	assert_string_equal(path.segments[3], "vm 1/\xc3\xa9");
	assert_string_equal(path.query_key, "");
	assert_int_equal(http_parse_target("/v1/volumes?pool=a%20b", &path), 0);
	assert_int_equal(path.count, 2);
	assert_string_equal(path.query_key, "pool");
	assert_string_equal(path.query_value, "a b");
}

static void test_bad_targets_are_refused(void **state)
{
	static const char *const targets[] = {
		"",         "v1",        "/",     "/a//b",          "/a/",
		"/a%",      "/a%2",      "/%",    "/a%2g",          "/a%00",
		"/a?",      "/a?b",      "/a?=b", "/a?b=c&d=e",     "*",
		"http://a", "/a%%20%zz", "?a=b",  "/1/2/3/4/5/6/7", "/a?b=%f",
	};
	char text[HTTP_SEGMENT_MAX + 3];
	struct http_path path;

	(void)state;
	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++)
		assert_int_equal(http_parse_target(targets[i], &path), -EBADMSG);
	memset(text, 'a', sizeof(text));
	text[0] = '/';
	text[HTTP_SEGMENT_MAX + 1] = '\0';
	assert_int_equal(http_parse_target(text, &path), 0);
	text[HTTP_SEGMENT_MAX + 1] = 'a';
	text[HTTP_SEGMENT_MAX + 2] = '\0';
	assert_int_equal(http_parse_target(text, &path), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_head_is_read_and_every_part_of_it_wants_more),
		cmocka_unit_test(test_bare_newlines_and_no_fields_are_fine),
		cmocka_unit_test(test_malformed_heads_are_refused),
		cmocka_unit_test(test_endless_heads_are_refused),
		cmocka_unit_test(test_target_is_split_and_decoded),
		cmocka_unit_test(test_bad_targets_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
