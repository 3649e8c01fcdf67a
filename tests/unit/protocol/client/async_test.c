/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libwfs: batches, waited for or not, against a server that answers too early, takes long, and ends connections. What
 * it answers is always the same error: what counts is that it is answered, once.
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

#define PAYLOAD_BYTES (1u << 20)
#define BIG (PAYLOAD_BYTES - 4096u) /* three of them are more than a socket takes at once */
#define HEAD_BYTES 512u
#define TIMEOUT_MS 400u
#define LONGER_NS (600 * SYNC_NS_PER_MS)
/* How long something is given to happen that must not. */
#define TOO_EARLY_NS (200 * SYNC_NS_PER_MS)
#define CONNECTIONS 8u

/* What the server does with the compounds of a connection. */
enum deed {
	ANSWER,
	ANSWER_EARLY, /* before the request has come as a whole */
	HANG_UP,
	HANG_UP_LATE, /* after longer than the client waits for a server that is gone */
	HANG_UP_EARLY, /* in the middle of the request */
};

struct server {
	struct played_server listening;
	int fd; /* the connection that is served; guarded by the lock */
	struct sync_thread thread;
	enum deed deeds[CONNECTIONS]; /* the last one is repeated */

	struct sync_mutex lock;
	struct sync_cond changed;
	unsigned connections, compounds;
	unsigned ended; /* batches */
	bool ended_early;
	int result;
};

static bool send_answer(int fd, const struct rpc_call *call)
{
	struct wfsp_hello_ok hello = {
		.boot_id = 1, .payload_max_bytes = PAYLOAD_BYTES, .requests_max = 8, .lease_s = 60
	};
	uint8_t buf[1024];
	struct wr w = wr_init(buf, sizeof(buf));

	wr_zero(&w, RECORD_MARK_BYTES);
	rpc_put_reply(&w, call->xid, RPC_SUCCESS);
	if (call->procedure == WFSP_HELLO) {
		wfsp_put_status(&w, WFSP_OK, "");
		wfsp_put_hello_ok(&w, &hello);
	} else {
		wfsp_put_status(&w, WFSP_ERR_NOSPC, "full");
	}
	put_be32(buf, record_mark(w.pos - RECORD_MARK_BYTES));
	return send(fd, buf, w.pos, MSG_NOSIGNAL) == (ssize_t)w.pos;
}

/* Did a batch end that must not have ended yet? */
static void watch_for_an_early_end(struct server *s)
{
	uint64_t until = sync_now_ns() + TOO_EARLY_NS;

	sync_mutex_lock(&s->lock);
	while (!s->ended && sync_cond_wait_until(&s->changed, &s->lock, until))
		;
	s->ended_early = s->ended > 0;
	sync_mutex_unlock(&s->lock);
}

static void take_long(struct server *s)
{
	uint64_t until = sync_now_ns() + LONGER_NS;

	sync_mutex_lock(&s->lock);
	while (sync_cond_wait_until(&s->changed, &s->lock, until))
		;
	sync_mutex_unlock(&s->lock);
}

/* The head of a request is there. False: hang up. */
static bool respond(struct server *s, int fd, enum deed deed, const struct rpc_call *call, size_t left)
{
	static uint8_t rest[4 * PAYLOAD_BYTES];
	bool hello = call->procedure == WFSP_HELLO;

	if (!hello) {
		sync_mutex_lock(&s->lock);
		s->compounds++;
		sync_mutex_unlock(&s->lock);
	}
	if (!hello && deed == HANG_UP_EARLY)
		return false;
	if (!hello && deed == ANSWER_EARLY) {
		if (!send_answer(fd, call))
			return false;
		watch_for_an_early_end(s);
	}
	if (left > sizeof(rest) || !played_receive(fd, rest, left))
		return false;
	if (hello || deed == ANSWER)
		return send_answer(fd, call);
	if (deed == HANG_UP_LATE)
		take_long(s);
	return deed == ANSWER_EARLY;
}

static void serve_connection(struct server *s, int fd, enum deed deed)
{
	uint8_t mark[4], head[HEAD_BYTES];
	bool good = true;

	while (good && played_receive(fd, mark, sizeof(mark))) {
		size_t len = get_be32(mark) & ~RECORD_LAST_FRAGMENT, here = len < sizeof(head) ? len : sizeof(head);
		struct rpc_call call;
		struct rd r;

		if (!played_receive(fd, head, here))
			break;
		r = rd_init(head, here);
		good = rpc_get_call(&r, &call) == 0 && respond(s, fd, deed, &call, len - here);
	}
}

static void serve(void *arg)
{
	struct server *s = arg;
	int fd;

	while ((fd = accept(s->listening.listen_fd, NULL, NULL)) >= 0) {
		unsigned at;

		sync_mutex_lock(&s->lock);
		at = s->connections++;
		s->fd = fd;
		sync_mutex_unlock(&s->lock);
		serve_connection(s, fd, s->deeds[at < CONNECTIONS ? at : CONNECTIONS - 1]);
		sync_mutex_lock(&s->lock);
		s->fd = -1;
		sync_mutex_unlock(&s->lock);
		close(fd);
	}
}

static int setup(void **state)
{
	struct server *s = calloc(1, sizeof(*s));

	sync_mutex_init(&s->lock, SYNC_RANK_LEAF, "test server");
	sync_cond_init(&s->changed);
	s->fd = -1;
	played_listen(&s->listening);
	assert_int_equal(sync_thread_start(&s->thread, "server", serve, s), 0);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct server *s = *state;

	played_shutdown(&s->listening);
	/* That of a client which a failed test has left behind. */
	sync_mutex_lock(&s->lock);
	if (s->fd >= 0)
		shutdown(s->fd, SHUT_RDWR);
	sync_mutex_unlock(&s->lock);
	sync_thread_join(&s->thread);
	played_done(&s->listening);
	sync_cond_done(&s->changed);
	sync_mutex_done(&s->lock);
	free(s);
	return 0;
}

/* With something to send that must not be sent twice, from memory that goes with the batch. */
static struct wfs_batch *make_batch(struct wfs *w, uint32_t len)
{
	static uint8_t data[PAYLOAD_BYTES];
	struct wfs_fh fh = { .len_bytes = 8 };
	struct wfs_batch *b = NULL;

	assert_int_equal(wfs_batch_new(w, &b), 0);
	(void)wfs_batch_put(b, &fh);
	for (int i = 0; i < 3; i++)
		(void)wfs_batch_write(b, data, len, 0, WFS_APPEND);
	return b;
}

static void on_end(void *ctx, struct wfs_batch *b, int err, unsigned done)
{
	struct server *s = ctx;

	(void)done;
	wfs_batch_free(b);
	sync_mutex_lock(&s->lock);
	s->ended++;
	s->result = err;
	sync_cond_broadcast(&s->changed);
	sync_mutex_unlock(&s->lock);
}

static void wait_for_ends(struct server *s, unsigned count)
{
	sync_mutex_lock(&s->lock);
	while (s->ended < count)
		sync_cond_wait(&s->changed, &s->lock);
	sync_mutex_unlock(&s->lock);
}

static void test_an_answer_before_the_whole_request_waits_for_it_to_be_sent(void **state)
{
	struct server *s = *state;
	struct wfs *w;

	s->deeds[0] = ANSWER_EARLY;
	w = played_connect(&s->listening, 10000);
	assert_int_equal(wfs_batch_start(make_batch(w, BIG), NULL, on_end, s), 0);
	wait_for_ends(s, 1);
	assert_false(s->ended_early);
	assert_int_equal(s->result, -ENOSPC);
	assert_int_equal(s->compounds, 1);
	wfs_disconnect(w);
}

static void test_a_connection_that_ends_in_the_middle_of_a_request_is_no_answer(void **state)
{
	struct server *s = *state;
	struct wfs *w;

	s->deeds[0] = s->deeds[1] = HANG_UP_EARLY;
	w = played_connect(&s->listening, 10000);
	for (int i = 0; i < 3; i++)
		assert_int_equal(wfs_batch_start(make_batch(w, BIG), NULL, on_end, s), 0);
	wait_for_ends(s, 3);
	assert_int_equal(s->result, -ENOSPC);
	assert_true(s->compounds >= 4);
	wfs_disconnect(w);
}

/* The time that a request is under way is not that of a server which is gone. */
static void test_a_batch_outlives_a_second_loss_after_a_long_time(void **state)
{
	struct server *s = *state;
	struct wfs *w;

	s->deeds[0] = HANG_UP;
	s->deeds[1] = HANG_UP_LATE;
	w = played_connect(&s->listening, TIMEOUT_MS);
	assert_int_equal(wfs_batch_start(make_batch(w, 100), NULL, on_end, s), 0);
	wait_for_ends(s, 1);
	assert_int_equal(s->result, -ENOSPC);
	assert_int_equal(s->compounds, 3);
	wfs_disconnect(w);
}

static void test_a_batch_that_is_waited_for_does_so_too(void **state)
{
	struct server *s = *state;
	struct wfs_batch *b;
	struct wfs *w;

	s->deeds[0] = HANG_UP;
	s->deeds[1] = HANG_UP_LATE;
	w = played_connect(&s->listening, TIMEOUT_MS);
	b = make_batch(w, 100);
	assert_int_equal(wfs_batch_run(b, NULL, NULL), -ENOSPC);
	assert_int_equal(s->compounds, 3);
	wfs_batch_free(b);
	wfs_disconnect(w);
}

static void test_batches_that_the_server_never_answers_end_all_the_same(void **state)
{
	struct server *s = *state;
	struct wfs *w;

	for (unsigned i = 0; i < CONNECTIONS; i++)
		s->deeds[i] = HANG_UP;
	w = played_connect(&s->listening, TIMEOUT_MS);
	for (int i = 0; i < 5; i++)
		assert_int_equal(wfs_batch_start(make_batch(w, 100), NULL, on_end, s), 0);
	wait_for_ends(s, 5);
	assert_int_equal(s->result, -ETIMEDOUT);
	wfs_disconnect(w);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_an_answer_before_the_whole_request_waits_for_it_to_be_sent),
		CASE(test_a_connection_that_ends_in_the_middle_of_a_request_is_no_answer),
		CASE(test_a_batch_outlives_a_second_loss_after_a_long_time),
		CASE(test_a_batch_that_is_waited_for_does_so_too),
		CASE(test_batches_that_the_server_never_answers_end_all_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
