/* SPDX-License-Identifier: BSD-3-Clause */
/* Clients that leave, or hold on to, what others need: sessions, transactions, and memory for a byte now and then. */
#include "protocol/wfs_notice.h"
#include "server/rpc/session.h"
#include "tests/unit/server/rpc/raw_compound.h"

static const struct wfsp_op make = { .code = WFSP_OP_CREATE, .type = WFSP_TYPE_FILE, .name = BYTES("f"), .mode = 0666 };

static int connect_for(struct tree_fixture *t, uint8_t id, uint32_t lease_s)
{
	struct wfsp_hello_args a = RAW_CLIENT(id);

	a.lease_s = lease_s;
	return connect_with(t, a);
}

static void wait_until_no_session(struct tree_fixture *t)
{
	struct rpc_sessions *all = &t->f->server->sessions;
	uint64_t until = sync_now_ns() + 20 * SYNC_NS_PER_S;

	for (;;) {
		bool none;

		sync_mutex_lock(&all->lock);
		none = !all->first && !all->retiring;
		sync_mutex_unlock(&all->lock);
		if (none)
			return;
		assert_true(sync_now_ns() < until);
		sync_sleep_ns(SYNC_NS_PER_MS);
	}
}

static void test_a_session_ends_with_its_lease_while_nobody_is_connected(void **state)
{
	const struct wfsp_lock lock = { .owner = 7, .type = WFSP_LOCK_SHARED, .len_bytes = 10 };
	struct wfsp_op ops[] = { root, make, { .code = WFSP_OP_LOCK, .lock = lock } };
	struct tree_fixture *t = *state;
	struct wfsp_op_res last;
	uint32_t count;
	int fd;

	wfs_disconnect(t->w);
	t->w = NULL;
	fd = connect_for(t, 1, 1);
	assert_int_equal(run(fd, plain, ops, 3, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	assert_int_equal(t->f->lock_key_count, 1);
	close(fd);
	wait_until_no_session(t);
	/* A server that starts now waits for nobody. */
	assert_int_equal(t->f->lock_key_count, 0);
}

/* ---- open files ---- */

static uint32_t open_file(int fd, uint64_t *ret)
{
	const struct wfsp_op ops[] = { root, make, { .code = WFSP_OP_OPEN, .access = WFSP_ACCESS_READ } };
	struct wfsp_op_res last;
	uint32_t count;

	assert_int_equal(run(fd, plain, ops, 3, &count, &last), WFSP_OK);
	assert_int_equal(count, 3);
	*ret = last.descriptor;
	return last.status;
}

static void close_file(int fd, uint64_t descriptor)
{
	const struct wfsp_op op = { .code = WFSP_OP_CLOSE, .descriptor = descriptor };
	struct wfsp_op_res last;
	uint32_t count;

	assert_int_equal(run(fd, plain, &op, 1, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
}

static unsigned load(const unsigned *count)
{
	return __atomic_load_n(count, __ATOMIC_SEQ_CST);
}

static void test_files_open_on_all_connections_of_a_peer_are_bounded(void **state)
{
	struct tree_fixture *t = *state;
	int fd = connect_as(t, 1), again = connect_as(t, 2);
	struct rpc_sessions *all = &t->f->server->sessions;
	unsigned *of_peer, *of_all = &t->f->server->handle_count;
	uint64_t first, other;

	sync_mutex_lock(&all->lock);
	of_peer = &all->first->account->handle_count;
	sync_mutex_unlock(&all->lock);
	__atomic_add_fetch(of_peer, RPC_HANDLES_PEER_MAX - 1, __ATOMIC_SEQ_CST);
	assert_int_equal(open_file(fd, &first), WFSP_OK);
	assert_int_equal(open_file(again, &other), WFSP_ERR_MFILE);
	close_file(fd, first);
	assert_int_equal(open_file(again, &other), WFSP_OK);
	/* The end of the connection closes it. */
	close(again);
	while (load(of_all))
		sync_sleep_ns(SYNC_NS_PER_MS);
	assert_int_equal(load(of_peer), RPC_HANDLES_PEER_MAX - 1);
	__atomic_add_fetch(of_all, RPC_HANDLES_ALL_MAX, __ATOMIC_SEQ_CST);
	assert_int_equal(open_file(fd, &first), WFSP_ERR_MFILE);
	assert_int_equal(load(of_peer), RPC_HANDLES_PEER_MAX - 1);
	close(fd);
}

static void test_files_that_are_opened_before_hello_count_to_the_peer(void **state)
{
	struct tree_fixture *t = *state;
	int fd = connect_as(t, 1), silent = raw_connect(t->f);
	struct rpc_sessions *all = &t->f->server->sessions;
	uint64_t first, second;
	unsigned *of_peer;

	sync_mutex_lock(&all->lock);
	of_peer = &all->first->account->handle_count;
	sync_mutex_unlock(&all->lock);
	__atomic_add_fetch(of_peer, RPC_HANDLES_PEER_MAX - 1, __ATOMIC_SEQ_CST);
	assert_int_equal(open_file(silent, &first), WFSP_OK);
	assert_int_equal(load(of_peer), RPC_HANDLES_PEER_MAX);
	assert_int_equal(open_file(fd, &second), WFSP_ERR_MFILE);
	assert_int_equal(open_file(silent, &second), WFSP_ERR_MFILE);
	close(silent);
	while (load(of_peer) == RPC_HANDLES_PEER_MAX)
		sync_sleep_ns(SYNC_NS_PER_MS);
	assert_int_equal(open_file(fd, &first), WFSP_OK);
	__atomic_sub_fetch(of_peer, RPC_HANDLES_PEER_MAX - 1, __ATOMIC_SEQ_CST);
	close(fd);
}

/* ---- connections ---- */

/* The other end of a connection from ::1, or -1: this machine has no IPv6. */
static int accept_ipv6(int listener, int *ret_fd)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6 };
	socklen_t len = sizeof(at);

	if (getsockname(listener, (struct sockaddr *)&at, &len) < 0)
		return -1;
	*ret_fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(*ret_fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* As if all that are there came from other hosts of the network. */
static void move_hosts(struct rpc_server *s)
{
	sync_mutex_lock(&s->lock);
	for (struct rpc_conn *c = s->conns; c; c = c->next)
		if (!c->peer.is_unix)
			c->peer.address[14]++;
	sync_mutex_unlock(&s->lock);
}

#define CONNECTIONS 12u

static void test_all_hosts_of_an_ipv6_network_leave_half_of_the_connections(void **state)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), fds[CONNECTIONS / 2 + 1], fd;
	struct tree_fixture *t = *state;
	struct rpc_server *s = t->f->server;

	if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0)
		skip();
	assert_int_equal(listen(listener, 1), 0);
	s->connections_max = CONNECTIONS;
	for (unsigned i = 0; i <= CONNECTIONS / 2; i++) {
		fd = accept_ipv6(listener, &fds[i]);
		assert_true(fd >= 0);
		assert_int_equal(rpc_server_accept(s, fd), i < CONNECTIONS / 2 ? 0 : -EMFILE);
		move_hosts(s);
	}
	assert_true(raw_closed(fds[CONNECTIONS / 2]));
	fd = connect_from_address(t, 1);
	close(fd);
	for (unsigned i = 0; i <= CONNECTIONS / 2; i++)
		close(fds[i]);
	close(listener);
}

/* ---- a byte now and then ---- */

/* Sends, or takes, a byte at a time, much more often than a stall takes, until the server has had enough of it: how
 * many it was. */
static size_t drip(int fd, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		struct pollfd pfd = { .fd = fd, .events = bytes ? POLLIN : POLLHUP };
		uint8_t byte;

		if (poll(&pfd, 1, STALL_MS / 10) > 0 && (bytes || pfd.revents & POLLHUP))
			return i;
		if (bytes)
			assert_int_equal(send(fd, &bytes[i], 1, MSG_NOSIGNAL), 1);
		else
			assert_int_equal(recv(fd, &byte, 1, 0), 1);
	}
	return len;
}

#define DRIPS 2000u

static void test_who_sends_a_record_byte_by_byte_is_hung_up_on(void **state)
{
	struct tree_fixture *t = *state;
	struct wfsp_write_args a = { .len_bytes = 30u << 20 };
	static uint8_t buf[32768];
	int fd = raw_connect(t->f);
	uint64_t handle = raw_open(fd);
	struct wr w = raw_call(buf, sizeof(buf), 1, WFSP_WRITE);

	a.handle = handle;
	wfsp_put_write_args(&w, &a);
	put_be32(buf, record_mark(w.pos - RECORD_MARK_BYTES + a.len_bytes));
	raw_send(fd, buf, w.pos);
	assert_true(drip(fd, buf, DRIPS) < DRIPS);
	close(fd);
	/* The same with a head that never ends. */
	fd = raw_connect(t->f);
	put_be32(buf, record_mark(10000));
	assert_true(drip(fd, buf, DRIPS) < DRIPS);
	close(fd);
}

static void test_who_takes_an_answer_byte_by_byte_is_hung_up_on(void **state)
{
	struct tree_fixture *t = *state;
	int fd = raw_connect(t->f);
	struct pollfd answered = { .fd = fd, .events = POLLIN };
	uint64_t handle = raw_open(fd);

	for (uint32_t i = 0; i < 8; i++)
		raw_read_call(fd, 2 + i, handle, 0, 1u << 20);
	/* From when there is something to take. */
	assert_int_equal(poll(&answered, 1, 20000), 1);
	assert_true(drip(fd, NULL, DRIPS) < DRIPS);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, tree_setup, tree_teardown)
		T(test_a_session_ends_with_its_lease_while_nobody_is_connected),
		T(test_files_open_on_all_connections_of_a_peer_are_bounded),
		T(test_files_that_are_opened_before_hello_count_to_the_peer),
		T(test_all_hosts_of_an_ipv6_network_leave_half_of_the_connections),
		T(test_who_sends_a_record_byte_by_byte_is_hung_up_on),
		T(test_who_takes_an_answer_byte_by_byte_is_hung_up_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
