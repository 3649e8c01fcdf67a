/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Numbers that make no sense: counts of none and of 2^32 - 1, ranges that overflow, descriptors that were never opened
 * or are closed twice; and connections that come and go by the thousand. Each gets its answer, and hurts nobody.
 */
#include "server/rpc/internal.h"
#include "tests/unit/server/rpc/raw_compound.h"

#define CONNECTIONS 10000u
#define POOLS_BYTES ((64u << 14) + (16u << 16) + (16u << 18) + (4u << 20))
#define RW (WFSP_ACCESS_READ | WFSP_ACCESS_WRITE)

/* A compound with any bytes as operations. */
static int run_raw(int fd, uint32_t op_count, const void *ops, size_t len)
{
	struct wfsp_compound_args a = { .reply_max_bytes = 65536, .op_count = op_count };
	static uint8_t buf[70000];
	char text[WFSP_TEXT_MAX + 1];
	struct wr w = raw_call(buf, sizeof(buf), 5, WFSP_COMPOUND);
	uint32_t xid;
	struct rd r;
	int err;

	wfsp_put_compound_args(&w, &a);
	wr_copy(&w, ops, len);
	raw_call_end(fd, &w);
	r = rd_init(buf, raw_record(fd, buf, sizeof(buf)));
	err = rpc_get_reply(&r, &xid);
	assert_int_equal(xid, 5);
	return err ? err : wfsp_status_to_errno(wfsp_get_status(&r, text));
}

static size_t encode(uint8_t *buf, size_t size, const struct wfsp_op *ops, uint32_t count)
{
	struct wr w = wr_init(buf, size);

	for (uint32_t i = 0; i < count; i++)
		wfsp_put_op(&w, &ops[i]);
	assert_false(w.bad);
	return w.pos;
}

static void test_counts_that_do_not_fit_what_comes_are_refused_and_nothing_is_done(void **state)
{
	static const uint32_t counts[] = { 2, 4, 127, 128, 129, 1u << 31, UINT32_MAX };
	const struct wfsp_op ops[] = { root,
		                       { .code = WFSP_OP_PUT_FILE, .name = BYTES("f"), .data = BYTES("x") },
		                       { .code = WFSP_OP_GETATTR } };
	struct tree_fixture *t = *state;
	int fd = connect_as(t, 1);
	unsigned creates = t->tree->creates;
	uint8_t buf[1024];
	size_t len = encode(buf, sizeof(buf), ops, 3);

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		assert_int_not_equal(run_raw(fd, counts[i], buf, len), 0);
	assert_int_not_equal(run_raw(fd, 0, buf, len), 0);
	assert_int_equal(t->tree->creates, creates);
	assert_int_equal(run_raw(fd, 0, NULL, 0), 0);
	assert_int_equal(run_raw(fd, 3, buf, len), 0);
	assert_int_equal(t->tree->creates, creates + 1);
	close(fd);
}

static void test_lengths_of_2_to_the_32_in_operations_are_refused(void **state)
{
	struct tree_fixture *t = *state;
	int fd = connect_as(t, 1);
	uint32_t codes[] = { WFSP_OP_LOOKUP, WFSP_OP_UNLINK, WFSP_OP_LOOKUP_PATH, WFSP_OP_PUT, WFSP_OP_SET_XATTR };

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		uint8_t buf[256] = { 0 };
		struct wr w = wr_init(buf, sizeof(buf));

		wfsp_put_op(&w, &root);
		wr_be32(&w, codes[i]);
		wr_be32(&w, UINT32_MAX); /* of a name, a path, a handle */
		wr_zero(&w, 64);
		assert_int_not_equal(run_raw(fd, 2, buf, w.pos), 0);
	}
	close(fd);
}

/* The status of the last of some operations on a file of some bytes. */
static uint32_t on_file(int fd, struct wfsp_op op)
{
	const struct wfsp_op ops[] = {
		root,
		{ .code = WFSP_OP_CREATE, .type = WFSP_TYPE_FILE, .name = BYTES("f"), .mode = 0666, .access = RW },
		op,
	};
	struct wfsp_op_res last;
	uint32_t count;

	assert_int_equal(run(fd, plain, ops, 3, &count, &last), WFSP_OK);
	assert_int_equal(count, 3);
	return last.status;
}

static void test_ranges_that_overflow_are_refused_and_change_nothing(void **state)
{
	static const uint64_t far[] = { UINT64_MAX, UINT64_MAX - 3, UINT64_C(1) << 63, (UINT64_C(1) << 60) - 1 };
	struct tree_fixture *t = *state;
	int fd = connect_as(t, 1);
	struct wfs_attr attr;
	struct wfs_fh fh;

	assert_int_equal(on_file(fd, (struct wfsp_op){ .code = WFSP_OP_WRITE, .data = BYTES("data") }), WFSP_OK);
	for (size_t i = 0; i < sizeof(far) / sizeof(far[0]); i++) {
		assert_int_not_equal(
		        on_file(fd, (struct wfsp_op){ .code = WFSP_OP_WRITE, .offset = far[i], .data = BYTES("data") }),
		        WFSP_OK);
		for (uint32_t mode = 0; mode < 4; mode++)
			assert_int_not_equal(on_file(fd, (struct wfsp_op){ .code = WFSP_OP_ALLOCATE,
			                                                   .flags = mode,
			                                                   .offset = far[i],
			                                                   .len_bytes = far[i] }),
			                     WFSP_OK);
		assert_int_equal(on_file(fd, (struct wfsp_op){ .code = WFSP_OP_SEEK, .offset = far[i] }),
		                 WFSP_ERR_NXIO);
		assert_int_equal(on_file(fd, (struct wfsp_op){ .code = WFSP_OP_COMMIT_RANGE,
		                                               .offset = far[i],
		                                               .len_bytes = UINT64_MAX }),
		                 WFSP_ERR_INVAL);
		/* There is nothing, and that is no error. */
		(void)on_file(fd, (struct wfsp_op){ .code = WFSP_OP_READ, .offset = far[i], .max_bytes = 100 });
	}
	assert_int_not_equal(on_file(fd, (struct wfsp_op){ .code = WFSP_OP_READ, .max_bytes = UINT32_MAX }), WFSP_OK);
	assert_int_equal(on_file(fd, (struct wfsp_op){ .code = WFSP_OP_READ, .max_bytes = 0 }), WFSP_OK);
	assert_int_equal(wfs_lookup(t->w, NULL, &t->root, "f", &fh, &attr), 0);
	assert_int_equal(attr.size_bytes, 4);
	close(fd);
}

static uint32_t close_descriptor(int fd, uint64_t descriptor)
{
	const struct wfsp_op op = { .code = WFSP_OP_CLOSE, .descriptor = descriptor };
	struct wfsp_op_res last;
	uint32_t count;

	assert_int_equal(run(fd, plain, &op, 1, &count, &last), WFSP_OK);
	return last.status;
}

static uint32_t use_descriptor(int fd, uint64_t descriptor)
{
	const struct wfsp_op ops[] = { { .code = WFSP_OP_USE, .descriptor = descriptor }, { .code = WFSP_OP_GETATTR } };
	struct wfsp_op_res last;
	uint32_t count;

	assert_int_equal(run(fd, plain, ops, 2, &count, &last), WFSP_OK);
	return last.status;
}

static void test_descriptors_never_opened_or_closed_twice_are_unknown(void **state)
{
	static const uint64_t never[] = { 0, 1, 1023, 1024, UINT32_MAX, UINT64_C(1) << 32, UINT64_MAX };
	struct tree_fixture *t = *state;
	int fd = connect_as(t, 1), other = connect_as(t, 2);
	const struct wfsp_op ops[] = {
		root,
		{ .code = WFSP_OP_CREATE, .type = WFSP_TYPE_FILE, .name = BYTES("f"), .mode = 0666, .access = RW },
		{ .code = WFSP_OP_OPEN, .access = WFSP_ACCESS_READ },
	};
	struct wfsp_op_res last;
	uint64_t descriptor;
	uint32_t count;

	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
		assert_int_equal(close_descriptor(fd, never[i]), WFSP_ERR_BADHANDLE);
		assert_int_equal(use_descriptor(fd, never[i]), WFSP_ERR_BADHANDLE);
	}
	assert_int_equal(run(fd, plain, ops, 3, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	descriptor = last.descriptor;
	assert_int_equal(use_descriptor(fd, descriptor), WFSP_OK);
	/* It is this connection's only. */
	assert_int_equal(use_descriptor(other, descriptor), WFSP_ERR_BADHANDLE);
	assert_int_equal(close_descriptor(other, descriptor), WFSP_ERR_BADHANDLE);
	assert_int_equal(close_descriptor(fd, descriptor), WFSP_OK);
	assert_int_equal(close_descriptor(fd, descriptor), WFSP_ERR_BADHANDLE);
	assert_int_equal(use_descriptor(fd, descriptor), WFSP_ERR_BADHANDLE);
	close(other);
	close(fd);
}

/* The server has so many at most: who comes too early tries again. */
static int connect_when_there_is_room(struct tree_fixture *t)
{
	int fds[2], err;

	do {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
		err = rpc_server_accept(t->f->server, fds[1]);
		if (err) {
			assert_int_equal(err, -EMFILE);
			close(fds[0]);
			sync_sleep_ns(SYNC_NS_PER_MS);
		}
	} while (err);
	return fds[0];
}

/* In one of the ways in which clients leave: without a word, with half a record, with an answer that nobody takes. */
static void come_and_go(struct tree_fixture *t, uint32_t i)
{
	static const uint8_t half[] = { 0x80, 0, 1, 0, 1, 2, 3 };
	int fd = connect_when_there_is_room(t);

	if (i % 4 == 1)
		raw_send(fd, half, sizeof(half));
	else if (i % 4 == 2)
		raw_hello_call(fd, 1, (uint8_t)i);
	else if (i % 4 == 3)
		send_ops(fd, 2, plain, &root, 1);
	close(fd);
}

static unsigned connection_count(struct tree_fixture *t)
{
	struct rpc_server *s = t->f->server;
	unsigned n;

	sync_mutex_lock(&s->lock);
	n = s->conn_count;
	sync_mutex_unlock(&s->lock);
	return n;
}

/* The test's client is one. */
static void wait_until_alone(struct tree_fixture *t)
{
	uint64_t until = sync_now_ns() + 20 * SYNC_NS_PER_S;

	while (connection_count(t) > 1) {
		assert_true(sync_now_ns() < until);
		sync_sleep_ns(SYNC_NS_PER_MS);
	}
}

static void test_ten_thousand_connections_come_and_go_and_leave_nothing(void **state)
{
	struct tree_fixture *t = *state;
	uint64_t until;
	struct wfs_attr attr;
	size_t used;

	/* What is made once is there by then, as the sessions of all the clients that there are. */
	for (uint32_t i = 0; i < 256; i++)
		come_and_go(t, i);
	wait_until_alone(t);
	used = budget_used(t->f->budget);
	for (uint32_t i = 0; i < CONNECTIONS; i++) {
		come_and_go(t, i);
		if (i % 500 == 0)
			assert_int_equal(wfs_getattr(t->w, NULL, &t->root, &attr), 0);
	}
	wait_until_alone(t);
	until = sync_now_ns() + 20 * SYNC_NS_PER_S;
	/* What a connection held is given back behind its end, but for what the pools of buffers keep (buf.c). */
	while (budget_used(t->f->budget) > used + POOLS_BYTES) {
		if (sync_now_ns() >= until)
			fail_msg("%zu bytes are held, %zu were before", budget_used(t->f->budget), used);
		sync_sleep_ns(SYNC_NS_PER_MS);
	}
	assert_int_equal(wfs_getattr(t->w, NULL, &t->root, &attr), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, tree_setup, tree_teardown)
		T(test_counts_that_do_not_fit_what_comes_are_refused_and_nothing_is_done),
		T(test_lengths_of_2_to_the_32_in_operations_are_refused),
		T(test_ranges_that_overflow_are_refused_and_change_nothing),
		T(test_descriptors_never_opened_or_closed_twice_are_unknown),
		T(test_ten_thousand_connections_come_and_go_and_leave_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
