/* SPDX-License-Identifier: BSD-3-Clause */
/* What a client that asks for much at once may keep: its loop for a turn, and memory for answers that it leaves. */
#include "server/rpc/internal.h"
#include "tests/unit/server/rpc/fixture.h"

#define REQUESTS 60u
#define READ_BYTES (128u << 10)

/* Two connections of one loop. */
struct pair {
	int busy, beside;
	uint64_t busy_handle, beside_handle;
};

static void connect_pair(struct fixture *f, struct pair *ret)
{
	int other;

	/* Loops take turns. */
	assert_int_equal(loop_set_count(f->loops), 2);
	ret->busy = raw_connect(f);
	other = raw_connect(f);
	ret->beside = raw_connect(f);
	close(other);
	ret->busy_handle = raw_open(ret->busy);
	ret->beside_handle = raw_open(ret->beside);
}

static void flush_beside(struct pair *p)
{
	uint8_t buf[256];
	struct wr w = raw_call(buf, sizeof(buf), 7, WFSP_FLUSH);

	wr_be64(&w, p->beside_handle);
	raw_call_end(p->beside, &w);
}

static void take_answer_beside(struct pair *p)
{
	uint8_t buf[256];

	assert_true(raw_record(p->beside, buf, sizeof(buf)) > 0);
}

static unsigned started(struct fixture *f)
{
	unsigned n;

	sync_mutex_lock(&f->mem.lock);
	n = f->mem.started;
	sync_mutex_unlock(&f->mem.lock);
	return n;
}

static void take_answers(int fd, size_t bytes)
{
	uint8_t *buf = malloc(READ_BYTES + 256);
	bool seen[REQUESTS] = { 0 };

	for (uint32_t i = 0; i < REQUESTS; i++) {
		size_t len = raw_record(fd, buf, READ_BYTES + 256);
		struct rd r = rd_init(buf, len);
		uint32_t xid;

		assert_true(len >= bytes);
		assert_int_equal(rpc_get_reply(&r, &xid), 0);
		assert_int_equal(rd_be32(&r), WFSP_OK);
		assert_int_equal(rd_be32(&r), bytes);
		assert_in_range(xid, 0, REQUESTS - 1);
		assert_false(seen[xid]);
		seen[xid] = true;
	}
	free(buf);
}

static void test_requests_beside_many_that_take_long_get_their_turn(void **state)
{
	struct fixture *f = *state;
	struct pair p;

	connect_pair(f, &p);
	/* The first one stands at the hold on the loop's thread, until the other client has asked. */
	memfs_hold(&f->mem, true);
	f->mem.busy_ns = 2 * RPC_TURN_NS;
	for (uint32_t i = 0; i < REQUESTS; i++)
		raw_read_call(p.busy, i, p.busy_handle, 0, 16);
	memfs_await_held(&f->mem);
	flush_beside(&p);
	memfs_hold(&f->mem, false);
	take_answer_beside(&p);
	assert_int_equal(f->mem.flushes, 1);
	assert_in_range(f->mem.started_at_flush, 1, 4);
	take_answers(p.busy, 16);
	close(p.busy);
	close(p.beside);
}

static void test_nothing_more_is_started_for_who_leaves_many_answers(void **state)
{
	struct fixture *f = *state;
	struct pair p;
	size_t idle;
	unsigned n;

	connect_pair(f, &p);
	idle = budget_used(f->budget);
	f->mem.has_ref = false;
	for (uint32_t i = 0; i < REQUESTS; i++)
		raw_read_call(p.busy, i, p.busy_handle, 0, READ_BYTES);
	/* In each round of the loop that answers this one, one of those is answered at least, if it may be. */
	for (uint32_t i = 0; i < 2 * REQUESTS; i++) {
		flush_beside(&p);
		take_answer_beside(&p);
	}
	n = started(f) - 2 * REQUESTS;
	assert_true(n >= RPC_UNSENT_BYTES_MAX / READ_BYTES);
	/* The socket has taken some; what it has not is what the server holds, in buffers of twice the size. */
	assert_in_range(budget_used(f->budget) - idle, RPC_UNSENT_BYTES_MAX, 4 * RPC_UNSENT_BYTES_MAX);
	assert_true(n < REQUESTS);
	take_answers(p.busy, READ_BYTES);
	close(p.busy);
	close(p.beside);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
		T(test_requests_beside_many_that_take_long_get_their_turn),
		T(test_nothing_more_is_started_for_who_leaves_many_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
