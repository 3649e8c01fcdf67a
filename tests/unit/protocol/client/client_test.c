/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libwfs against a server that follows a script: answers out of order, connections that break, answers that make no
 * sense, restarts. What needs a real server is in tests/unit/server/rpc.
 */
#include <errno.h>

#include "core/base/bytes.h"
#include "core/base/sync.h"
#include "protocol/client/wfs_tree.h"
#include "protocol/rpc/record.h"
#include "protocol/rpc/rpc_msg.h"
#include "protocol/wfs_proto.h"
#include "protocol/xdr/xdr.h"
#include "tests/unit/protocol/client/played_server.h"

#define FILE_BYTES 65536u
#define RECORD_ROOM (FILE_BYTES + 4096u)

/* What the server does with a READ or a WRITE of one connection; the last entry is repeated. */
enum deed {
	ANSWER,
	HANG_UP, /* without an answer */
	HALF, /* a part of the answer, then hang up */
	WRONG_XID,
	WRONG_LENGTH,
	GARBAGE,
	HOLD_PAIR, /* keep it, and answer it after the next one */
};

struct script {
	struct played_server listening;
	struct sync_thread thread;
	struct wfs *client; /* while it is connected */
	/* By connection, in the order of accepting. */
	enum deed deeds[8];
	uint64_t boots[8];
	uint64_t clean;
	uint64_t file_id;
	unsigned connections; /* atomic: accepted so far */
	unsigned opens; /* atomic */
	unsigned closes; /* atomic */
	uint8_t data[FILE_BYTES];
};

struct request {
	uint8_t bytes[RECORD_ROOM];
	size_t len;
	struct rpc_call call;
	struct rd args;
};

static bool receive_request(int fd, struct request *q)
{
	uint8_t mark[4];

	if (!played_receive(fd, mark, 4))
		return false;
	q->len = get_be32(mark) & ~RECORD_LAST_FRAGMENT;
	if (q->len > sizeof(q->bytes) || !played_receive(fd, q->bytes, q->len))
		return false;
	q->args = rd_init(q->bytes, q->len);
	return rpc_get_call(&q->args, &q->call) == 0;
}

static void put_results(struct script *s, struct request *q, unsigned conn, struct wr *w)
{
	struct wfsp_hello_ok hello = { .boot_id = s->boots[conn], .payload_max_bytes = 16384, .requests_max = 8 };
	struct wfsp_open_ok open = { .handle = 500 + conn, .attr = { .size_bytes = FILE_BYTES }, .name = "script" };
	struct wfsp_read_args read;
	struct wfsp_write_args write;

	switch (q->call.procedure) {
	case WFSP_HELLO:
		hello.clean_boot_count = s->clean != 0;
		hello.clean_boots[0] = s->clean;
		wfsp_put_hello_ok(w, &hello);
		break;
	case WFSP_OPEN:
		__atomic_add_fetch(&s->opens, 1, __ATOMIC_RELAXED);
		open.attr.fileid = s->file_id;
		wfsp_put_open_ok(w, &open);
		break;
	case WFSP_READ:
		wfsp_get_read_args(&q->args, &read);
		xdr_put_opaque(w, s->data + read.offset, read.len_bytes);
		break;
	case WFSP_WRITE:
		wfsp_get_write_args(&q->args, &write);
		memcpy(s->data + write.offset, rd_bytes(&q->args, write.len_bytes), write.len_bytes);
		break;
	case WFSP_CLOSE:
		__atomic_add_fetch(&s->closes, 1, __ATOMIC_RELAXED);
		break;
	default:
		break;
	}
}

/* False: hang up. */
static bool respond(struct script *s, int fd, struct request *q, unsigned conn, enum deed deed)
{
	static uint8_t buf[RECORD_ROOM];
	struct wr w = wr_init(buf, sizeof(buf));
	size_t len;

	wr_zero(&w, RECORD_MARK_BYTES);
	rpc_put_reply(&w, q->call.xid + (deed == WRONG_XID ? 1000 : 0), RPC_SUCCESS);
	wfsp_put_status(&w, WFSP_OK, "");
	put_results(s, q, conn, &w);
	if (deed == WRONG_LENGTH)
		put_be32(buf + RECORD_MARK_BYTES + RPC_REPLY_OK_BYTES + 4, 3);
	put_be32(buf, record_mark(w.pos - RECORD_MARK_BYTES));
	if (deed == GARBAGE)
		memset(buf, 0xff, w.pos);
	len = deed == HALF ? w.pos / 2 : deed == HANG_UP ? 0 : w.pos;
	return send(fd, buf, len, MSG_NOSIGNAL) == (ssize_t)w.pos;
}

static void serve_connection(struct script *s, int fd, unsigned conn)
{
	static struct request held, q;
	bool holding = false;

	while (receive_request(fd, &q)) {
		bool io = q.call.procedure == WFSP_READ || q.call.procedure == WFSP_WRITE;

		if (io && s->deeds[conn] == HOLD_PAIR && !holding) {
			held = q;
			held.args.base = held.bytes;
			holding = true;
			continue;
		}
		if (!respond(s, fd, &q, conn, io ? s->deeds[conn] : ANSWER))
			break;
		if (holding && !respond(s, fd, &held, conn, ANSWER))
			break;
		holding = false;
	}
	close(fd);
}

/* One connection after the other, until the listening socket is shut down. */
static void serve(void *arg)
{
	struct script *s = arg;
	int fd;

	while ((fd = accept(s->listening.listen_fd, NULL, NULL)) >= 0) {
		unsigned conn = __atomic_fetch_add(&s->connections, 1, __ATOMIC_RELAXED);

		serve_connection(s, fd, conn < 8 ? conn : 7);
	}
}

static int setup(void **state)
{
	struct script *s = calloc(1, sizeof(*s));

	played_listen(&s->listening);
	s->file_id = 7;
	for (int i = 0; i < 8; i++)
		s->boots[i] = 1;
	for (unsigned i = 0; i < FILE_BYTES; i++)
		s->data[i] = (uint8_t)(i * 7 + (i >> 8));
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct script *s = *state;

	/* After a test that failed; the thread waits for it otherwise. */
	if (s->client)
		wfs_disconnect(s->client);
	played_shutdown(&s->listening);
	sync_thread_join(&s->thread);
	played_done(&s->listening);
	free(s);
	return 0;
}

static struct wfs *start(struct script *s, unsigned timeout_ms)
{
	assert_int_equal(sync_thread_start(&s->thread, "script", serve, s), 0);
	s->client = played_connect(&s->listening, timeout_ms);
	return s->client;
}

static struct wfs_file *open_file(struct wfs *w)
{
	struct wfs_file *f = NULL;

	assert_int_equal(wfs_open(w, "", WFS_OPEN_WRITE, &f), 0);
	return f;
}

static void stop(struct script *s, struct wfs_file *f)
{
	wfs_close(f);
	wfs_disconnect(s->client);
	s->client = NULL;
}

static void expect_read(struct script *s, struct wfs_file *f)
{
	uint8_t buf[50000];

	assert_int_equal(wfs_pread(f, buf, sizeof(buf), 11), 0);
	assert_memory_equal(buf, s->data + 11, sizeof(buf));
}

static void test_requests_above_the_server_s_limit_are_cut(void **state)
{
	struct script *s = *state;
	struct wfs *w = start(s, 10000);
	struct wfs_file *f = open_file(w);
	uint8_t buf[40000];

	expect_read(s, f);
	memset(buf, 9, sizeof(buf));
	assert_int_equal(wfs_pwrite(f, buf, sizeof(buf), 100, 0), 0);
	assert_memory_equal(buf, s->data + 100, sizeof(buf));
	stop(s, f);
	assert_int_equal(s->closes, 1);
}

struct reader {
	struct wfs_file *f;
	uint64_t offset;
	uint8_t buf[4096];
	int err;
};

static void read_one(void *arg)
{
	struct reader *r = arg;

	r->err = wfs_pread(r->f, r->buf, sizeof(r->buf), r->offset);
}

static void test_answers_in_another_order_reach_their_callers(void **state)
{
	struct script *s = *state;
	struct sync_thread threads[8];
	struct reader *r = calloc(8, sizeof(*r));
	struct wfs_file *f;
	struct wfs *w;

	s->deeds[0] = HOLD_PAIR;
	w = start(s, 10000);
	f = open_file(w);
	/* Every first of two waits for the second, so an even number is needed, all in flight at once. */
	for (unsigned i = 0; i < 8; i++) {
		r[i].f = f;
		r[i].offset = i * 5000;
		assert_int_equal(sync_thread_start(&threads[i], "reader", read_one, &r[i]), 0);
	}
	for (unsigned i = 0; i < 8; i++) {
		sync_thread_join(&threads[i]);
		assert_int_equal(r[i].err, 0);
		assert_memory_equal(r[i].buf, s->data + r[i].offset, sizeof(r[i].buf));
	}
	free(r);
	stop(s, f);
}

/* The first connections do @deed, a later one answers: the caller must not notice. */
static void survive(struct script *s, enum deed deed)
{
	struct wfs_file *f;
	struct wfs *w;

	s->deeds[0] = s->deeds[1] = deed;
	w = start(s, 10000);
	f = open_file(w);
	expect_read(s, f);
	assert_int_equal(s->connections, 3);
	assert_int_equal(s->opens, 3);
	stop(s, f);
}

static void test_a_hang_up_is_survived(void **state)
{
	survive(*state, HANG_UP);
}

static void test_half_an_answer_is_survived(void **state)
{
	survive(*state, HALF);
}

static void test_an_answer_to_no_question_ends_the_connection(void **state)
{
	survive(*state, WRONG_XID);
}

static void test_a_payload_of_another_length_is_an_error(void **state)
{
	struct script *s = *state;
	struct wfs_file *f;
	struct wfs *w;
	uint8_t buf[4096];

	s->deeds[0] = WRONG_LENGTH;
	w = start(s, 10000);
	f = open_file(w);
	/* Too long for an answer without payload: a broken connection, then a good one. */
	assert_int_equal(wfs_pread(f, buf, sizeof(buf), 0), 0);
	assert_memory_equal(buf, s->data, sizeof(buf));
	stop(s, f);
}

static void test_garbage_ends_the_connection(void **state)
{
	survive(*state, GARBAGE);
}

static void test_a_server_that_always_hangs_up_times_out(void **state)
{
	struct script *s = *state;
	struct wfs_file *f;
	struct wfs *w;
	uint8_t byte;

	for (int i = 0; i < 8; i++)
		s->deeds[i] = HANG_UP;
	w = start(s, 500);
	f = open_file(w);
	assert_int_equal(wfs_pread(f, &byte, 1, 0), -ETIMEDOUT);
	/* Attempts are spaced, by 10 ms. */
	assert_in_range(__atomic_load_n(&s->connections, __ATOMIC_RELAXED), 2, 51);
	stop(s, f);
}

/* A write is acknowledged by boot 1; then the connection breaks at the next one, and boot @next answers. */
static int flush_after_restart(struct script *s, uint64_t next, uint64_t clean)
{
	struct wfs_file *f;
	struct wfs *w;
	int err;

	s->boots[1] = next;
	w = start(s, 10000);
	f = open_file(w);
	assert_int_equal(wfs_pwrite(f, "x", 1, 0, 0), 0);
	s->clean = clean;
	s->deeds[0] = HANG_UP;
	assert_int_equal(wfs_pwrite(f, "y", 1, 1, 0), 0);
	err = wfs_flush(f);
	assert_int_equal(wfs_flush(f), 0);
	stop(s, f);
	return err;
}

static void test_a_lost_connection_to_the_same_server_loses_nothing(void **state)
{
	assert_int_equal(flush_after_restart(*state, 1, 0), 0);
}

static void test_a_restart_after_a_crash_fails_the_next_flush(void **state)
{
	assert_int_equal(flush_after_restart(*state, 2, 0), -EIO);
}

static void test_a_restart_after_a_clean_end_loses_nothing(void **state)
{
	assert_int_equal(flush_after_restart(*state, 2, 1), 0);
}

static void test_another_file_under_the_name_is_stale(void **state)
{
	struct script *s = *state;
	struct wfs_file *f;
	struct wfs *w;

	w = start(s, 10000);
	f = open_file(w);
	assert_int_equal(wfs_pwrite(f, "x", 1, 0, 0), 0);
	s->file_id = 8;
	s->deeds[0] = HANG_UP;
	assert_int_equal(wfs_pwrite(f, "y", 1, 1, 0), -ESTALE);
	stop(s, f);
}

static void test_a_file_that_shares_an_earlier_life_is_opened_once_more(void **state)
{
	struct wfs_ledger *l = wfs_ledger_new();
	struct script *s = *state;
	struct wfs_file *f;
	struct wfs *w;

	s->boots[1] = 2;
	w = start(s, 10000);
	f = open_file(w);
	wfs_file_share(f, l, wfs_ledger_seen(l));
	assert_int_equal(wfs_pwrite(f, "x", 1, 0, 0), 0);
	wfs_close(f);
	f = open_file(w);
	s->deeds[0] = HANG_UP;
	expect_read(s, f);
	assert_int_equal(s->opens, 3);
	assert_int_equal(s->closes, 1);
	/* Its descriptor is of the second life, what was written of the first one. */
	wfs_file_share(f, l, wfs_ledger_seen(l));
	assert_int_equal(s->closes, 2);
	assert_int_equal(wfs_flush(f), -EIO);
	assert_int_equal(s->opens, 4);
	assert_int_equal(wfs_flush(f), 0);
	wfs_ledger_unref(l);
	stop(s, f);
	assert_int_equal(s->closes, 3);
}

static void test_bad_addresses_are_refused(void **state)
{
	static const char *const bad[] = { "",       "unix:",   "tcp:", "tcp:host", "tcp:host:",
		                           "tcp::1", "/a/path", "x:y",  "tcp:[]:1" };
	struct wfs *w;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(wfs_connect(bad[i], NULL, &w), -EINVAL);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_requests_above_the_server_s_limit_are_cut),
		T(test_answers_in_another_order_reach_their_callers),
		T(test_a_hang_up_is_survived),
		T(test_half_an_answer_is_survived),
		T(test_an_answer_to_no_question_ends_the_connection),
		T(test_a_payload_of_another_length_is_an_error),
		T(test_garbage_ends_the_connection),
		T(test_a_server_that_always_hangs_up_times_out),
		T(test_a_lost_connection_to_the_same_server_loses_nothing),
		T(test_a_restart_after_a_crash_fails_the_next_flush),
		T(test_a_restart_after_a_clean_end_loses_nothing),
		T(test_another_file_under_the_name_is_stale),
		T(test_a_file_that_shares_an_earlier_life_is_opened_once_more),
		cmocka_unit_test(test_bad_addresses_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
