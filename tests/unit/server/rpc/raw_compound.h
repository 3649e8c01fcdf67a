/* SPDX-License-Identifier: BSD-3-Clause */
/* COMPOUND by hand, on a raw connection to the server of tree_fixture.h. */
#ifndef WFSD_TESTS_UNIT_SERVER_RPC_RAW_COMPOUND_H
#define WFSD_TESTS_UNIT_SERVER_RPC_RAW_COMPOUND_H

#include <netinet/in.h>

#include "protocol/wfs_compound.h"
#include "tests/unit/server/rpc/tree_fixture.h"

#define BYTES(text)                                                                                                    \
	{                                                                                                              \
		(const uint8_t *)(text), sizeof(text) - 1                                                              \
	}

struct call {
	uint32_t slot, sequence, reply_max, within_ms;
};

static const struct call plain = { .reply_max = 65536 };

static inline void send_ops(int fd, uint32_t xid, struct call how, const struct wfsp_op *ops, uint32_t count)
{
	struct wfsp_compound_args a = { how.slot, how.sequence, how.reply_max, how.within_ms, count };
	static uint8_t buf[70000];
	struct wr w = raw_call(buf, sizeof(buf), xid, WFSP_COMPOUND);

	wfsp_put_compound_args(&w, &a);
	for (uint32_t i = 0; i < count; i++)
		wfsp_put_op(&w, &ops[i]);
	raw_call_end(fd, &w);
}

/* The answer's status; of WFSP_OK *ret_count results, the last of which is *ret_last. */
static inline uint32_t answer(int fd, uint32_t *ret_count, struct wfsp_op_res *ret_last)
{
	static uint8_t buf[70000];
	char text[WFSP_TEXT_MAX + 1];
	uint32_t xid, status;
	struct rd r = rd_init(buf, raw_record(fd, buf, sizeof(buf)));

	assert_int_equal(rpc_get_reply(&r, &xid), 0);
	status = wfsp_get_status(&r, text);
	if (status)
		return status;
	*ret_count = rd_be32(&r);
	for (uint32_t i = 0; i < *ret_count; i++)
		wfsp_get_op_res(&r, ret_last);
	assert_false(r.bad);
	assert_int_equal(rd_left(&r), 0);
	return WFSP_OK;
}

static inline uint32_t run(int fd, struct call how, const struct wfsp_op *ops, uint32_t count, uint32_t *ret_count,
                           struct wfsp_op_res *ret_last)
{
	send_ops(fd, 9, how, ops, count);
	return answer(fd, ret_count, ret_last);
}

/* HELLO is said, and answered. */
static inline void raw_hello(int fd, const struct wfsp_hello_args *a)
{
	static uint8_t buf[4096];
	struct wr w = raw_call(buf, sizeof(buf), 1, WFSP_HELLO);

	wfsp_put_hello_args(&w, a);
	raw_call_end(fd, &w);
	assert_true(raw_record(fd, buf, sizeof(buf)) > 0);
}

static inline int connect_with(struct tree_fixture *t, struct wfsp_hello_args a)
{
	int fd = raw_connect(t->f);

	raw_hello(fd, &a);
	return fd;
}

#define RAW_CLIENT(id)                                                                                                 \
	(struct wfsp_hello_args)                                                                                       \
	{                                                                                                              \
		.client_id = { (id) }, .connection = 3, .client_name = "raw"                                           \
	}

static inline int connect_as(struct tree_fixture *t, uint8_t id)
{
	return connect_with(t, RAW_CLIENT(id));
}

/* A connection that comes from an address. */
static inline int connect_from_host(struct tree_fixture *t, uint8_t host, uint8_t id)
{
	struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + host) };
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), other;
	const struct wfsp_hello_args hello = RAW_CLIENT(id);
	socklen_t len = sizeof(at);

	assert_true(listener >= 0 && fd >= 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	other = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(other >= 0);
	close(listener);
	assert_int_equal(rpc_server_accept(t->f->server, other), 0);
	raw_hello(fd, &hello);
	return fd;
}

static inline int connect_from_address(struct tree_fixture *t, uint8_t id)
{
	return connect_from_host(t, 1, id);
}

enum { FIRST_BLOCKER = 100, BLOCKERS = 2 };

/* Writes stand at the gate in both threads that changes have: whatever changes something waits behind them. Returns
 * the handle of the file in memory. */
static inline uint64_t block_writers(struct fixture *f, int fd)
{
	uint64_t h = raw_open(fd);

	memfs_gate(&f->mem, true);
	for (uint32_t i = 0; i < BLOCKERS; i++)
		raw_write_call(fd, FIRST_BLOCKER + i, h, 4096 + i, "x", 1);
	memfs_await_waiting(&f->mem, BLOCKERS);
	return h;
}

static inline void let_a_millisecond_pass(void)
{
	uint64_t since_ns = sync_now_ns();

	while (sync_now_ns() - since_ns <= SYNC_NS_PER_MS)
		;
}

static const struct wfsp_op root = { .code = WFSP_OP_ROOT, .name = BYTES("tree") };

#endif
