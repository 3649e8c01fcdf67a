/* SPDX-License-Identifier: BSD-3-Clause */
/* The RPC front end with raw records: order of answers, bounds, and clients that misbehave. */
#include <netinet/in.h>

#include "tests/unit/server/rpc/fixture.h"

/* Receive an answer; its xid, and the refusal or status in *ret_err. */
static uint32_t answer(int fd, int *ret_err)
{
	static uint8_t buf[WFSP_RESULT_BYTES_MAX];
	char text[WFSP_TEXT_MAX + 1];
	uint32_t xid = 0;
	struct rd r = rd_init(buf, raw_record(fd, buf, sizeof(buf)));

	*ret_err = rpc_get_reply(&r, &xid);
	if (!*ret_err)
		*ret_err = wfsp_status_to_errno(wfsp_get_status(&r, text));
	return xid;
}

static void expect_answer(int fd, uint32_t xid, int err)
{
	int got;

	assert_int_equal(answer(fd, &got), xid);
	assert_int_equal(got, err);
}

static void test_a_slow_request_does_not_hold_up_others(void **state)
{
	struct fixture *f = *state;
	int fd = raw_connect(f);
	uint64_t h = raw_open(fd);

	memfs_gate(&f->mem, true);
	raw_read_call(fd, 10, h, 4096, 100);
	memfs_await_waiting(&f->mem, 1);
	raw_read_call(fd, 11, h, 0, 100);
	expect_answer(fd, 11, 0);
	memfs_gate(&f->mem, false);
	expect_answer(fd, 10, 0);
	close(fd);
}

static void test_requests_in_flight_are_bounded(void **state)
{
	struct fixture *f = *state;
	int fd = raw_connect(f);
	uint64_t h = raw_open(fd);
	bool seen[301] = { 0 };
	int err;

	memfs_gate(&f->mem, true);
	/* Four workers stand at the gate; the other requests wait for them, some of them still in the socket. */
	for (uint32_t i = 1; i <= 300; i++)
		raw_read_call(fd, i, h, 4096, 16);
	memfs_await_waiting(&f->mem, 4);
	memfs_gate(&f->mem, false);
	for (uint32_t i = 1; i <= 300; i++) {
		uint32_t xid = answer(fd, &err);

		assert_int_equal(err, 0);
		assert_in_range(xid, 1, 300);
		assert_false(seen[xid]);
		seen[xid] = true;
	}
	close(fd);
}

static void test_payload_held_is_bounded(void **state)
{
	struct fixture *f = *state;
	int fd = raw_connect(f);
	uint64_t h = raw_open(fd);
	size_t idle = budget_used(f->budget);

	memfs_gate(&f->mem, true);
	f->mem.has_ref = false;
	for (uint32_t i = 1; i <= 6; i++)
		raw_read_call(fd, i, h, 4096, 20u << 20);
	memfs_await_waiting(&f->mem, 1);
	/* One request is always let in; a second one would be more than the 8 MiB that a connection may hold. */
	assert_true(budget_used(f->budget) - idle < (32u << 20));
	close(fd);
	memfs_gate(&f->mem, false);
}

static void test_handles_are_bounded_and_closed_ones_unknown(void **state)
{
	struct fixture *f = *state;
	int fd = raw_connect(f);
	uint64_t first = raw_open(fd);
	struct wfsp_open_args a = { 0 };
	uint8_t buf[1024];
	struct wr w;

	for (int i = 1; i < 1024; i++)
		raw_open(fd);
	w = raw_call(buf, sizeof(buf), 5, WFSP_OPEN);
	wfsp_put_open_args(&w, &a);
	raw_call_end(fd, &w);
	expect_answer(fd, 5, -EMFILE);
	w = raw_call(buf, sizeof(buf), 6, WFSP_CLOSE);
	wr_be64(&w, first);
	raw_call_end(fd, &w);
	expect_answer(fd, 6, 0);
	raw_read_call(fd, 7, first, 0, 1);
	expect_answer(fd, 7, -EBADF);
	assert_true(raw_open(fd) != first);
	raw_read_call(fd, 8, first, 0, 1);
	expect_answer(fd, 8, -EBADF);
	close(fd);
}

static void test_sound_records_with_unknown_contents_are_refused_properly(void **state)
{
	struct fixture *f = *state;
	int fd = raw_connect(f);
	uint8_t buf[512];
	struct wr w = wr_init(buf, sizeof(buf));
	uint32_t xid;
	struct rd r;

	wr_zero(&w, RECORD_MARK_BYTES);
	rpc_put_call(&w, 1, 100003, 3, 0, NULL);
	raw_call_end(fd, &w);
	expect_answer(fd, 1, -EPROTONOSUPPORT);
	w = wr_init(buf, sizeof(buf));
	wr_zero(&w, RECORD_MARK_BYTES);
	rpc_put_call(&w, 2, WFSP_PROGRAM, 9, 0, NULL);
	raw_call_end(fd, &w);
	expect_answer(fd, 2, -EPROTONOSUPPORT);
	w = raw_call(buf, sizeof(buf), 3, 77);
	raw_call_end(fd, &w);
	expect_answer(fd, 3, -EOPNOTSUPP);
	w = raw_call(buf, sizeof(buf), 4, WFSP_STAT);
	raw_call_end(fd, &w);
	expect_answer(fd, 4, -EINVAL);
	/* RPC version 3. */
	w = raw_call(buf, sizeof(buf), 5, WFSP_NULL);
	put_be32(buf + 12, 3);
	raw_call_end(fd, &w);
	expect_answer(fd, 5, -EPROTONOSUPPORT);
	/* Credentials of another kind. */
	w = raw_call(buf, sizeof(buf), 6, WFSP_NULL);
	put_be32(buf + 28, 6);
	raw_call_end(fd, &w);
	expect_answer(fd, 6, -EACCES);
	/* The connection still works. NULL answers nothing but the header. */
	w = raw_call(buf, sizeof(buf), 7, WFSP_NULL);
	raw_call_end(fd, &w);
	r = rd_init(buf, raw_record(fd, buf, sizeof(buf)));
	assert_int_equal(rpc_get_reply(&r, &xid), 0);
	assert_int_equal(xid, 7);
	assert_int_equal(rd_left(&r), 0);
	close(fd);
}

static void test_unknown_flags_are_invalid(void **state)
{
	struct fixture *f = *state;
	int fd = raw_connect(f);
	struct wfsp_range_args a = { .handle = raw_open(fd), .len_bytes = 4096, .flags = 1u << 20 };
	uint8_t buf[512];
	struct wr w = raw_call(buf, sizeof(buf), 9, WFSP_ZERO);

	wfsp_put_range_args(&w, &a);
	raw_call_end(fd, &w);
	expect_answer(fd, 9, -EINVAL);
	close(fd);
}

static void test_auth_sys_is_accepted(void **state)
{
	struct fixture *f = *state;
	int fd = raw_connect(f);
	struct rpc_auth_sys sys = { .uid = 1, .gid = 2, .gid_count = 1, .gids = { 3 }, .machine = "here" };
	uint8_t buf[1024];
	struct wr w = wr_init(buf, sizeof(buf));

	wr_zero(&w, RECORD_MARK_BYTES);
	rpc_put_call(&w, 1, WFSP_PROGRAM, WFSP_VERSION, WFSP_STATISTICS, &sys);
	raw_call_end(fd, &w);
	expect_answer(fd, 1, 0);
	close(fd);
}

static void test_a_record_of_several_fragments_is_one_call(void **state)
{
	struct fixture *f = *state;
	int fd = raw_connect(f);
	uint64_t h = raw_open(fd);
	struct wfsp_write_args a = { .handle = h, .len_bytes = 5 };
	uint8_t buf[256], mark[4];
	struct wr w = raw_call(buf, sizeof(buf), 1, WFSP_WRITE);

	wfsp_put_write_args(&w, &a);
	xdr_put_fixed(&w, "hello", 5);
	for (size_t at = RECORD_MARK_BYTES; at < w.pos; at += 3) {
		size_t n = w.pos - at < 3 ? w.pos - at : 3;

		put_be32(mark, (uint32_t)n | (at + n == w.pos ? RECORD_LAST_FRAGMENT : 0));
		raw_send(fd, mark, 4);
		raw_send(fd, buf + at, n);
	}
	expect_answer(fd, 1, 0);
	assert_memory_equal(f->mem.data, "hello", 5);
	close(fd);
}

/* Send @len bytes on a new connection: it must end, and another one must not notice. */
static void expect_hang_up(struct fixture *f, const void *bytes, size_t len)
{
	int other = raw_connect(f), fd = raw_connect(f);
	uint64_t h = raw_open(other);

	raw_send(fd, bytes, len);
	assert_true(raw_closed(fd));
	close(fd);
	raw_read_call(other, 2, h, 0, 10);
	expect_answer(other, 2, 0);
	close(other);
}

static void test_malformed_records_end_their_connection_only(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[2048] = { 0 };
	struct wr w;
	struct wfsp_write_args a = { .len_bytes = 100u << 20 };

	/* Longer than any record may be; an empty fragment; a call cut short; a reply instead of a call. */
	put_be32(buf, RECORD_LAST_FRAGMENT | (40u << 20));
	expect_hang_up(f, buf, 4);
	put_be32(buf, 0);
	expect_hang_up(f, buf, 4);
	put_be32(buf, RECORD_LAST_FRAGMENT | 8);
	expect_hang_up(f, buf, 12);
	w = raw_call(buf, sizeof(buf), 1, WFSP_NULL);
	put_be32(buf, record_mark(w.pos - 4));
	put_be32(buf + 8, RPC_REPLY);
	expect_hang_up(f, buf, w.pos);
	/* Something else than a write that claims to be long. */
	w = raw_call(buf, sizeof(buf), 1, WFSP_OPEN);
	put_be32(buf, record_mark(30u << 20));
	expect_hang_up(f, buf, sizeof(buf));
	/* A write whose payload is not as long as its record. */
	w = raw_call(buf, sizeof(buf), 1, WFSP_WRITE);
	a.len_bytes = 20u << 20;
	wfsp_put_write_args(&w, &a);
	put_be32(buf, record_mark(30u << 20));
	expect_hang_up(f, buf, sizeof(buf));
	/* Fragments that together are too long. */
	put_be32(buf, 4);
	put_be32(buf + 8, 33u << 20);
	expect_hang_up(f, buf, 12);
}

static void test_half_a_record_then_silence_ends_the_connection(void **state)
{
	struct fixture *f = *state;
	struct wfsp_write_args a = { .len_bytes = 1u << 20 };
	uint8_t buf[4096] = { 0 };
	struct wr w = raw_call(buf, sizeof(buf), 1, WFSP_WRITE);

	wfsp_put_write_args(&w, &a);
	put_be32(buf, record_mark(w.pos - 4 + a.len_bytes));
	expect_hang_up(f, buf, sizeof(buf)); /* in the payload */
	expect_hang_up(f, buf, 20); /* in the header */
	expect_hang_up(f, buf, 2); /* in the mark */
}

static void test_answers_that_nobody_takes_end_the_connection(void **state)
{
	struct fixture *f = *state;
	int fd = raw_connect(f);
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };
	uint64_t h = raw_open(fd);

	for (uint32_t i = 0; i < 4; i++)
		raw_read_call(fd, i, h, 0, 4u << 20);
	assert_int_equal(poll(&p, 1, 20000), 1);
	close(fd);
}

static void test_a_client_that_hangs_up_in_the_middle_hurts_nobody(void **state)
{
	struct fixture *f = *state;
	int other = raw_connect(f);
	uint64_t h = raw_open(other);

	f->mem.has_ref = true;
	for (int round = 0; round < 30; round++) {
		int fd = raw_connect(f);
		uint64_t mine = raw_open(fd);

		memfs_gate(&f->mem, round & 1);
		for (uint32_t i = 0; i < 16; i++)
			raw_read_call(fd, i, mine, 4096, i & 1 ? 70000 : 600000);
		close(fd);
		memfs_gate(&f->mem, false);
		raw_read_call(other, 2, h, 0, 10);
		expect_answer(other, 2, 0);
	}
	close(other);
	fixture_unserve(f);
	assert_int_equal(f->mem.refs, 0);
}

static void test_hello_waits_for_the_end_of_the_client_s_old_connection(void **state)
{
	struct fixture *f = *state;
	int old = raw_connect(f), new = raw_connect(f), foreign = raw_connect(f);
	struct pollfd p = { .fd = new, .events = POLLIN };
	uint64_t h;

	raw_hello_call(old, 1, 0xaa);
	expect_answer(old, 1, 0);
	h = raw_open(old);
	memfs_gate(&f->mem, true);
	raw_write_call(old, 2, h, 4096, "late", 4);
	memfs_await_waiting(&f->mem, 1);
	raw_hello_call(new, 3, 0xaa);
	assert_true(raw_closed(old));
	raw_hello_call(foreign, 1, 0xbb);
	expect_answer(foreign, 1, 0);
	assert_int_equal(poll(&p, 1, 0), 0);
	memfs_gate(&f->mem, false);
	expect_answer(new, 3, 0);
	assert_memory_equal(f->mem.data + 4096, "late", 4);
	raw_hello_call(new, 4, 0xaa);
	expect_answer(new, 4, -EINVAL);
	close(old);
	close(new);
	close(foreign);
}

static void test_stop_waits_for_operations_under_way(void **state)
{
	struct fixture *f = *state;
	int fd = raw_connect(f);
	uint64_t h = raw_open(fd);
	struct sync_thread opener;

	memfs_gate(&f->mem, true);
	raw_read_call(fd, 1, h, 4096, 100);
	memfs_await_waiting(&f->mem, 1);
	assert_int_equal(rpc_server_connections(f->server), 1);
	/* Once the connection is seen to be closed, the stop is under way; then the gate opens. */
	assert_int_equal(sync_thread_start(&opener, "stop", (void (*)(void *))(void *)fixture_unserve, f), 0);
	assert_true(raw_closed(fd));
	memfs_gate(&f->mem, false);
	sync_thread_join(&opener);
	close(fd);
}

static void test_connections_are_bounded(void **state)
{
	struct fixture *f = *state;
	int fds[1025], pair[2], err = 0;
	unsigned count = 0;

	while (!err && count < 1025) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
		fds[count++] = pair[0];
		err = rpc_server_accept(f->server, pair[1]);
	}
	assert_int_equal(err, -EMFILE);
	assert_int_equal(count, 1025);
	while (count)
		close(fds[--count]);
}

/* A connection from the address ::1, whose network holds, by its first half alone, all addresses of IPv4. */
static int accept_from_loopback6(struct fixture *f)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), err;
	socklen_t len = sizeof(at);

	assert_int_equal(bind(listener, (struct sockaddr *)&at, len), 0);
	assert_int_equal(listen(listener, 4), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, len), 0);
	err = rpc_server_accept(f->server, accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
	close(fd);
	close(listener);
	return err;
}

static void test_one_address_leaves_connections_to_others(void **state)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fds[600], pair[2], err = 0;
	struct fixture *f = *state;
	unsigned count = 0;

	assert_int_equal(bind(listener, (struct sockaddr *)&at, len), 0);
	assert_int_equal(listen(listener, 4), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
	while (!err && count < 600) {
		fds[count] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(fds[count++], (struct sockaddr *)&at, len), 0);
		err = rpc_server_accept(f->server, accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
	}
	assert_int_equal(err, -EMFILE);
	assert_int_equal(count, 513);
	assert_int_equal(accept_from_loopback6(f), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(rpc_server_accept(f->server, pair[1]), 0);
	close(pair[0]);
	while (count)
		close(fds[--count]);
	close(listener);
}

/* A connection of that user, who is told so by whoever makes the socket. */
static int connect_as_user(struct fixture *f, uid_t uid, int *ret_fd)
{
	uid_t me = geteuid();
	int pair[2];

	assert_int_equal(seteuid(uid), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(seteuid(me), 0);
	*ret_fd = pair[0];
	return rpc_server_accept(f->server, pair[1]);
}

static void test_one_user_leaves_connections_to_others(void **state)
{
	struct fixture *f = *state;
	int fds[1024], err = 0;
	unsigned count = 0;

	if (geteuid() != 0)
		skip();
	while (!err && count < 1024)
		err = connect_as_user(f, 1000, &fds[count++]);
	assert_int_equal(err, -EMFILE);
	assert_int_equal(count, 769);
	assert_int_equal(connect_as_user(f, 1001, &fds[count++]), 0);
	assert_int_equal(connect_as_user(f, 0, &fds[count++]), 0);
	while (count)
		close(fds[--count]);
}

/* Whatever arrives: no crash, no leak, and others go on. */
static void test_random_bytes_and_mutated_calls_do_no_harm(void **state)
{
	struct fixture *f = *state;
	int other = raw_connect(f);
	uint64_t h = raw_open(other);
	unsigned seed = 12345;

	for (int round = 0; round < 300; round++) {
		int fd = raw_connect(f);
		uint8_t buf[4096] = { 0 };
		struct wr w = raw_call(buf, sizeof(buf), 1, (uint32_t)rand_r(&seed) % 18);

		for (int i = 0; i < 20; i++)
			wr_be32(&w, rand_r(&seed) % 3 ? (uint32_t)rand_r(&seed) % 64 : (uint32_t)rand_r(&seed));
		put_be32(buf, record_mark(w.pos - 4));
		if (round & 1) {
			for (int i = 0; i < 4; i++)
				buf[(size_t)rand_r(&seed) % w.pos] = (uint8_t)rand_r(&seed);
		}
		raw_send(fd, buf, round & 2 ? w.pos : (size_t)rand_r(&seed) % sizeof(buf));
		close(fd);
	}
	raw_read_call(other, 2, h, 0, 10);
	expect_answer(other, 2, 0);
	close(other);
}

/* The answer of a worker comes when the connection's table of handles is gone already. */
static void test_hanging_up_while_an_export_is_opened_leaves_nothing_open(void **state)
{
	struct fixture *f = *state;
	struct export_info info;

	for (unsigned round = 0; round < 300; round++) {
		struct wfsp_open_args a = { .want_write = true };
		uint8_t buf[512];
		int fd = raw_connect(f);
		struct wr w = raw_call(buf, sizeof(buf), 1, WFSP_OPEN);

		strcpy(a.name, round & 1 ? "mem" : "nosuch");
		wfsp_put_open_args(&w, &a);
		raw_call_end(fd, &w);
		close(fd);
	}
	while (rpc_server_connections(f->server))
		sync_sleep_ns(SYNC_NS_PER_MS);
	assert_int_equal(export_get(f->exports, "mem", &info), 0);
	assert_int_equal(info.open_count, 0);
}

static void test_open_files_are_found_by_the_process_that_has_them(void **state)
{
	struct fixture *f = *state;
	int fd = raw_connect(f);

	/* A connection is not an open file yet. */
	assert_false(rpc_server_has_open_file(f->server, getpid()));
	raw_open(fd);
	assert_true(rpc_server_has_open_file(f->server, getpid()));
	assert_false(rpc_server_has_open_file(f->server, getppid()));
	close(fd);
	while (rpc_server_connections(f->server))
		sync_sleep_ns(SYNC_NS_PER_MS);
	assert_false(rpc_server_has_open_file(f->server, getpid()));
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_slow_request_does_not_hold_up_others),
		T(test_requests_in_flight_are_bounded),
		T(test_payload_held_is_bounded),
		T(test_handles_are_bounded_and_closed_ones_unknown),
		T(test_sound_records_with_unknown_contents_are_refused_properly),
		T(test_unknown_flags_are_invalid),
		T(test_auth_sys_is_accepted),
		T(test_a_record_of_several_fragments_is_one_call),
		T(test_malformed_records_end_their_connection_only),
		T(test_half_a_record_then_silence_ends_the_connection),
		T(test_answers_that_nobody_takes_end_the_connection),
		T(test_a_client_that_hangs_up_in_the_middle_hurts_nobody),
		T(test_hello_waits_for_the_end_of_the_client_s_old_connection),
		T(test_stop_waits_for_operations_under_way),
		T(test_connections_are_bounded),
		T(test_one_address_leaves_connections_to_others),
		T(test_one_user_leaves_connections_to_others),
		T(test_hanging_up_while_an_export_is_opened_leaves_nothing_open),
		T(test_open_files_are_found_by_the_process_that_has_them),
		T(test_random_bytes_and_mutated_calls_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
