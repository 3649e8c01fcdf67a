/* SPDX-License-Identifier: BSD-3-Clause */
/* TLS sessions over a socket pair: who is let in, and bytes both ways through sockets that are full. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

#include "core/base/sync.h"
#include "protocol/tls/tls.h"
#include "tests/unit/protocol/tls/certificates.h"

struct fixture {
	char dir[64], other[64]; /* two folders with different authorities */
	int fds[2];
	struct tls_context *contexts[2]; /* server, client */
	struct tls *ends[2];
};

static void make_dir(char path[64], struct somebody *ca)
{
	strcpy(path, "/tmp/wfsd-tls-test-XXXXXX");
	assert_non_null(mkdtemp(path));
	*ca = somebody_new("an authority", NULL, NULL);
	somebody_write(ca, path, "ca", false);
}

static void add(const char *dir, const struct somebody *ca, const char *file, const char *name, const char *dns)
{
	struct somebody s = somebody_new(name, dns, ca);

	somebody_write(&s, dir, file, true);
	somebody_done(&s);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct somebody ca;

	assert_non_null(f);
	make_dir(f->other, &ca);
	add(f->other, &ca, "client", "mallory", NULL);
	add(f->other, &ca, "server", "store", "store.example");
	somebody_done(&ca);
	make_dir(f->dir, &ca);
	add(f->dir, &ca, "client", "nobody reads this", "backup.example");
	add(f->dir, &ca, "server", "store", "store.example");
	somebody_done(&ca);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f->fds), 0);
	*state = f;
	return 0;
}

static void remove_dir(const char *dir)
{
	static const char *const names[] = { "ca-cert", "client-cert", "client-key", "server-cert", "server-key" };
	char path[128];

	for (unsigned i = 0; i < 5; i++) {
		snprintf(path, sizeof(path), "%s/%s.pem", dir, names[i]);
		(void)unlink(path);
	}
	assert_int_equal(rmdir(dir), 0);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 2; i++) {
		tls_free(f->ends[i]);
		tls_context_unref(f->contexts[i]);
		close(f->fds[i]);
	}
	remove_dir(f->dir);
	remove_dir(f->other);
	free(f);
	return 0;
}

static void begin(struct fixture *f, const char *server_dir, bool anybody, const char *client_dir, const char *host)
{
	assert_int_equal(tls_server_context(server_dir, anybody, &f->contexts[0]), 0);
	assert_int_equal(tls_client_context(client_dir, &f->contexts[1]), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(tls_new(f->contexts[i], f->fds[i], i ? host : NULL, &f->ends[i]), 0);
}

/* Both ends in turns; what each came to. An end that failed hangs up. */
static void shake(struct fixture *f, int results[2])
{
	results[0] = results[1] = -EAGAIN;
	for (unsigned turn = 0; turn < 100 && (results[0] == -EAGAIN || results[1] == -EAGAIN); turn++) {
		for (unsigned i = 0; i < 2; i++) {
			if (results[i] == -EAGAIN)
				results[i] = tls_handshake(f->ends[i]);
			if (results[i] && results[i] != -EAGAIN)
				shutdown(f->fds[i], SHUT_RDWR);
		}
	}
}

static void test_good_certificates_are_taken_and_their_names_known(void **state)
{
	struct fixture *f = *state;
	int results[2];

	begin(f, f->dir, false, f->dir, "store.example");
	shake(f, results);
	assert_int_equal(results[0], 0);
	assert_int_equal(results[1], 0);
	assert_string_equal(tls_peer_name(f->ends[0], 0), "backup.example");
	assert_null(tls_peer_name(f->ends[0], 1));
	assert_string_equal(tls_peer_name(f->ends[1], 0), "store.example");
}

static void test_a_name_without_dns_is_the_common_name(void **state)
{
	struct fixture *f = *state;
	int results[2];

	begin(f, f->other, false, f->other, "store.example");
	shake(f, results);
	assert_int_equal(results[0], 0);
	assert_string_equal(tls_peer_name(f->ends[0], 0), "mallory");
}

static void test_a_server_with_another_name_is_refused(void **state)
{
	struct fixture *f = *state;
	int results[2];

	begin(f, f->dir, false, f->dir, "elsewhere.example");
	shake(f, results);
	assert_int_equal(results[1], -EACCES);
	assert_int_not_equal(results[0], 0);
}

static void test_a_client_of_another_authority_is_refused(void **state)
{
	struct fixture *f = *state;
	char path[128], to[128];
	int results[2];

	/* It trusts the server, but is signed by somebody else. */
	snprintf(path, sizeof(path), "%s/ca-cert.pem", f->dir);
	snprintf(to, sizeof(to), "%s/ca-cert.pem", f->other);
	assert_int_equal(unlink(to), 0);
	assert_int_equal(link(path, to), 0);
	begin(f, f->dir, false, f->other, "store.example");
	shake(f, results);
	assert_int_equal(results[0], -EACCES);
}

static void test_a_client_without_certificate_is_refused_and_told(void **state)
{
	struct fixture *f = *state;
	char path[128], byte;
	int results[2];

	snprintf(path, sizeof(path), "%s/client-cert.pem", f->dir);
	assert_int_equal(unlink(path), 0);
	snprintf(path, sizeof(path), "%s/client-key.pem", f->dir);
	assert_int_equal(unlink(path), 0);
	begin(f, f->dir, false, f->dir, "store.example");
	results[0] = results[1] = -EAGAIN;
	for (unsigned turn = 0; turn < 100 && results[0] == -EAGAIN; turn++) {
		for (unsigned i = 0; i < 2; i++)
			results[i] = results[i] == -EAGAIN ? tls_handshake(f->ends[i]) : results[i];
	}
	assert_int_equal(results[0], -EACCES);
	/* In TLS 1.3 the client learns it with the first answer. */
	assert_int_equal(results[1], 0);
	assert_int_equal(tls_receive(f->ends[1], &byte, 1), -EACCES);
}

static void test_anybody_may_come_where_that_is_wanted(void **state)
{
	struct fixture *f = *state;
	char path[128];
	int results[2];

	snprintf(path, sizeof(path), "%s/client-cert.pem", f->dir);
	assert_int_equal(unlink(path), 0);
	snprintf(path, sizeof(path), "%s/client-key.pem", f->dir);
	assert_int_equal(unlink(path), 0);
	begin(f, f->dir, true, f->dir, "store.example");
	shake(f, results);
	assert_int_equal(results[0], 0);
	assert_int_equal(results[1], 0);
	assert_null(tls_peer_name(f->ends[0], 0));
}

static void test_garbage_ends_the_handshake(void **state)
{
	static const char garbage[] = "GET / HTTP/1.1\r\nHost: store.example\r\n\r\n";
	struct fixture *f = *state;

	begin(f, f->dir, false, f->dir, "store.example");
	assert_int_equal(write(f->fds[1], garbage, sizeof(garbage)), sizeof(garbage));
	assert_int_equal(tls_handshake(f->ends[0]), -EPROTO);
}

static void test_folders_without_what_is_needed_are_refused(void **state)
{
	struct fixture *f = *state;
	struct tls_context *x;
	char path[128];

	assert_int_equal(tls_server_context("/nowhere", true, &x), -ENOENT);
	snprintf(path, sizeof(path), "%s/server-key.pem", f->dir);
	assert_int_equal(truncate(path, 20), 0);
	assert_int_equal(tls_server_context(f->dir, true, &x), -EINVAL);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(tls_server_context(f->dir, true, &x), -ENOENT);
	snprintf(path, sizeof(path), "%s/ca-cert.pem", f->other);
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(tls_client_context(f->other, &x), -EINVAL);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(tls_server_context(f->other, false, &x), -ENOENT);
}

#define BYTES (8u << 20)

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i * 2654435761u >> 24);
}

static void wait_for(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	assert_true(poll(&p, 1, 10000) > 0);
}

struct receiver {
	struct tls *end;
	int fd;
	size_t got;
	bool good;
};

static void receive_all(void *arg)
{
	struct receiver *r = arg;
	uint8_t buf[5000];

	r->good = true;
	while (r->got < BYTES) {
		ssize_t n = tls_receive(r->end, buf, sizeof(buf));

		if (n == -EAGAIN) {
			wait_for(r->fd, POLLIN);
			continue;
		}
		if (n <= 0) {
			r->good = false;
			return;
		}
		for (ssize_t i = 0; i < n; i++)
			r->good = r->good && buf[i] == byte_at(r->got + (size_t)i);
		r->got += (size_t)n;
	}
}

/* In pieces of many sizes. */
static void send_all(struct tls *end, int fd, const uint8_t *bytes)
{
	size_t done = 0, step = 1;

	while (done < BYTES || tls_has_unsent(end)) {
		struct iovec iov[3];
		size_t at = done;
		ssize_t n;
		int count = 0;

		for (; count < 3 && at < BYTES; count++) {
			size_t len = BYTES - at < step ? BYTES - at : step;

			iov[count] = (struct iovec){ (void *)(uintptr_t)(bytes + at), len };
			at += len;
			step = step * 7 % 50021;
		}
		n = tls_send(end, iov, count);
		if (n == -EAGAIN)
			wait_for(fd, POLLOUT);
		else
			assert_true(n >= 0);
		done += n > 0 ? (size_t)n : 0;
	}
}

static void test_bytes_arrive_as_they_were_both_ways_at_once(void **state)
{
	struct fixture *f = *state;
	struct receiver receivers[2] = { { 0 } };
	struct sync_thread threads[2];
	uint8_t *bytes = malloc(BYTES);
	int results[2];

	assert_non_null(bytes);
	for (size_t i = 0; i < BYTES; i++)
		bytes[i] = byte_at(i);
	begin(f, f->dir, false, f->dir, "store.example");
	shake(f, results);
	for (unsigned i = 0; i < 2; i++) {
		receivers[i].end = f->ends[i];
		receivers[i].fd = f->fds[i];
		assert_int_equal(sync_thread_start(&threads[i], "receiver", receive_all, &receivers[i]), 0);
	}
	send_all(f->ends[0], f->fds[0], bytes);
	send_all(f->ends[1], f->fds[1], bytes);
	for (unsigned i = 0; i < 2; i++) {
		sync_thread_join(&threads[i]);
		assert_true(receivers[i].good);
		assert_int_equal(receivers[i].got, BYTES);
	}
	free(bytes);
}

static void test_the_end_of_the_stream_and_damage_are_told_apart(void **state)
{
	struct fixture *f = *state;
	struct iovec iov = { (char *)(uintptr_t) "hello", 5 };
	int results[2];
	char buf[8];

	begin(f, f->dir, false, f->dir, "store.example");
	shake(f, results);
	assert_int_equal(tls_send(f->ends[1], &iov, 1), 5);
	assert_int_equal(tls_receive(f->ends[0], buf, 2), 2);
	assert_true(tls_has_received(f->ends[0]));
	assert_int_equal(tls_receive(f->ends[0], buf, sizeof(buf)), 3);
	assert_false(tls_has_received(f->ends[0]));
	assert_int_equal(tls_receive(f->ends[0], buf, sizeof(buf)), -EAGAIN);
	/* A record that was altered on its way. */
	assert_int_equal(write(f->fds[1],
	                       "\x17\x03\x03\x00\x20"
	                       "01234567890123456789012345678901",
	                       37),
	                 37);
	assert_int_equal(tls_receive(f->ends[0], buf, sizeof(buf)), -EPROTO);
	shutdown(f->fds[0], SHUT_RDWR);
	while (tls_receive(f->ends[1], buf, sizeof(buf)) > 0)
		;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(test_good_certificates_are_taken_and_their_names_known),
		T(test_a_name_without_dns_is_the_common_name),
		T(test_a_server_with_another_name_is_refused),
		T(test_a_client_of_another_authority_is_refused),
		T(test_a_client_without_certificate_is_refused_and_told),
		T(test_anybody_may_come_where_that_is_wanted),
		T(test_garbage_ends_the_handshake),
		T(test_folders_without_what_is_needed_are_refused),
		T(test_bytes_arrive_as_they_were_both_ways_at_once),
		T(test_the_end_of_the_stream_and_damage_are_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
