/* SPDX-License-Identifier: BSD-3-Clause */
/* What sessions that have ended leave in file systems: bounded for each peer, so that nobody fills a pool by making
 * session after session, and there for whoever comes back. */
#include "server/rpc/session.h"
#include "tests/unit/server/rpc/tank_fixture.h"

#define HOSTILE 600u /* sessions; their answers are half as much again as a peer may have */

static int connect_number(struct tank *k, uint32_t client)
{
	struct wfsp_hello_args a = RAW_CLIENT(0);

	put_be32(a.client_id + 4, client + 1);
	return connect_with(&k->t, a);
}

/* One transaction with a long answer, in the first slot. */
static void ask_once(int fd, uint32_t number, struct reply *ret)
{
	struct wfsp_op_res last;

	ask_bulky(fd, SLOT(1, 1), number, ret);
	assert_int_equal(take(ret, &last, NULL), 7);
	assert_int_equal(last.status, WFSP_OK);
}

/* How the file system knows that transaction of the client who came last. */
static struct vfs_tag last_tag(struct rpc_sessions *all)
{
	const struct wfsp_compound_args a = { .slot = 1, .sequence = 1 };
	struct vfs_tag tag;

	sync_mutex_lock(&all->lock);
	rpc_slot_tx_tag(all->first, 3, &a, &tag);
	sync_mutex_unlock(&all->lock);
	return tag;
}

/* The bytes that are kept of its answer. */
static size_t kept_bytes(struct tank *k, const struct vfs_tag *tag)
{
	struct vfs_result r = { 0 };
	struct vfs_handle *h;
	int err;

	assert_int_equal(vfs_walk(k->t.f->vfs, &vfs_cred_root, NULL, NULL, "/tank/fs", 0, &h), 0);
	err = vfs_recall(h, tag, &r);
	assert_true(err == 0 || err == -ENOENT);
	vfs_close(h);
	free(r.answer);
	return r.answer_len;
}

/* Nobody but so many is connected, and what has to be done about the others is done. */
static void wait_for_rest(struct tank *k, unsigned connections)
{
	struct rpc_sessions *all = &k->t.f->server->sessions;
	bool done = false;

	while (!done) {
		sync_sleep_ns(SYNC_NS_PER_MS / 10);
		done = rpc_server_connections(k->t.f->server) == connections;
		sync_mutex_lock(&all->lock);
		done = done && !all->retiring && !all->left_busy;
		sync_mutex_unlock(&all->lock);
	}
}

/* As if the leases of all that are away were over. */
static void expire_sessions(struct tank *k)
{
	struct rpc_sessions *all = &k->t.f->server->sessions;

	sync_mutex_lock(&all->lock);
	for (struct rpc_session *s = all->first; s; s = s->next)
		s->lease_ns = 0;
	sync_mutex_unlock(&all->lock);
	rpc_sessions_expire(all);
}

static void end_sessions(struct tank *k)
{
	expire_sessions(k);
	wait_for_rest(k, rpc_server_connections(k->t.f->server));
}

/* Client @number asks, and is gone; its session stays. How the file system knows the transaction. */
static struct vfs_tag visit(struct tank *k, uint32_t number, struct reply *ret)
{
	int fd = connect_number(k, number);
	struct vfs_tag tag;

	ask_once(fd, number, ret);
	tag = last_tag(&k->t.f->server->sessions);
	close(fd);
	wait_for_rest(k, 0);
	return tag;
}

static struct rpc_account *account_of_unix(struct rpc_sessions *all)
{
	struct rpc_account *a;

	sync_mutex_lock(&all->lock);
	a = all->accounts;
	while (a && a->who[0] != 1)
		a = a->next;
	sync_mutex_unlock(&all->lock);
	assert_non_null(a);
	return a;
}

static void test_session_after_session_leaves_no_more_than_a_peer_may_have(void **state)
{
	static struct vfs_tag tags[HOSTILE];
	static struct reply near, far, again;
	struct tank *k = *state;
	struct rpc_sessions *all = &k->t.f->server->sessions;
	const struct wfsp_op small[] = { root, BEGIN, CREATE("far"), { .code = WFSP_OP_GET_HANDLE }, COMMIT };
	size_t kept = 0, last = 0;
	unsigned count = 0;
	int fd, honest;

	make_bulk(k);
	/* Of another peer, and gone for a while; of the same one, and there. */
	fd = connect_from_address(&k->t, 1);
	ask_well(fd, SLOT(1, 1), small, 5, &far);
	close(fd);
	honest = connect_number(k, HOSTILE);
	ask_once(honest, HOSTILE, &near);
	for (uint32_t i = 0; i < HOSTILE; i++) {
		fd = connect_number(k, i);
		tags[i] = last_tag(all);
		ask_once(fd, i, &again);
		close(fd);
	}
	wait_for_rest(k, 1);
	for (uint32_t i = 0; i < HOSTILE; i++) {
		last = kept_bytes(k, &tags[i]);
		kept += last;
		count += last != 0;
	}
	assert_true(kept <= RPC_ANSWER_BYTES_PEER_MAX);
	assert_true(kept <= account_of_unix(all)->answer_bytes);
	/* The last ones are there, the first ones are not. */
	assert_true(count > 200);
	assert_true(last > BULK);
	assert_int_equal(kept_bytes(k, &tags[0]), 0);
	close(honest);
	restart(k);
	honest = connect_number(k, HOSTILE);
	ask_once(honest, HOSTILE, &again);
	assert_same(&near, &again);
	close(honest);
	fd = connect_from_address(&k->t, 1);
	ask_well(fd, SLOT(1, 1), small, 5, &again);
	assert_same(&far, &again);
	close(fd);
}

static void test_who_comes_back_after_the_session_finds_what_was_left(void **state)
{
	static struct reply first, again;
	struct tank *k = *state;
	struct rpc_sessions *all = &k->t.f->server->sessions;
	struct rpc_account *a;
	struct vfs_tag tag;
	size_t bytes;
	int fd;

	make_bulk(k);
	tag = visit(k, 1, &first);
	a = account_of_unix(all);
	bytes = a->answer_bytes;
	assert_true(bytes > BULK);
	end_sessions(k);
	assert_null(all->first);
	assert_int_equal(a->answer_bytes, bytes);
	assert_int_equal(a->left_count, 1);
	fd = connect_number(k, 1);
	assert_int_equal(a->left_count, 0);
	ask_once(fd, 1, &again);
	assert_same(&first, &again);
	assert_int_equal(a->answer_bytes, bytes);
	assert_true(kept_bytes(k, &tag) > BULK);
	/* What has expired counts no more. */
	sync_mutex_lock(&all->lock);
	all->first->old_until_ns = 0;
	sync_mutex_unlock(&all->lock);
	rpc_sessions_expire(all);
	assert_int_equal(a->answer_bytes, 0);
	close(fd);
}

static void test_what_is_left_of_a_session_counts_until_it_has_expired(void **state)
{
	static struct reply r;
	struct tank *k = *state;
	struct rpc_sessions *all = &k->t.f->server->sessions;
	struct vfs_tag tag;

	all->config.lease_max_s = 0;
	make_bulk(k);
	tag = visit(k, 1, &r);
	end_sessions(k);
	rpc_sessions_expire(all);
	wait_for_rest(k, 0);
	assert_int_equal(kept_bytes(k, &tag), 0);
	assert_int_equal(all->answer_bytes, 0);
	assert_int_equal(all->place_count, 0);
	assert_null(all->accounts);
}

static void count_more(struct rpc_sessions *all, unsigned *what, unsigned more)
{
	sync_mutex_lock(&all->lock);
	*what += more;
	sync_mutex_unlock(&all->lock);
}

/* Answers in memory have no room. */
static void keep_replies(struct rpc_sessions *all, struct rpc_account *a, bool keep)
{
	const size_t many = (size_t)1 << 32;

	sync_mutex_lock(&all->lock);
	a->reply_bytes += keep ? 0 - many : many;
	sync_mutex_unlock(&all->lock);
}

/* There is more at @count than may be: something begins to be dropped, and stands in the file system in memory, which
 * comes first, and with it all ends of sessions. */
static void begin_to_drop(struct tank *k, unsigned *count, unsigned max)
{
	const unsigned much = max / 4 * 3 + 1;
	struct rpc_sessions *all = &k->t.f->server->sessions;

	memfs_gate(&k->t.f->mem, true);
	count_more(all, count, much);
	rpc_sessions_expire(all);
	memfs_await_waiting(&k->t.f->mem, 1);
	count_more(all, count, 0 - much);
}

static void test_who_comes_back_before_the_end_is_done_has_what_was_left(void **state)
{
	static struct reply first, again;
	struct tank *k = *state;
	struct rpc_sessions *all = &k->t.f->server->sessions;
	struct rpc_account *a;
	int fd;

	make_bulk(k);
	visit(k, 1, &first);
	end_sessions(k);
	a = account_of_unix(all);
	visit(k, 2, &first);
	begin_to_drop(k, &a->place_count, RPC_PLACES_PEER_MAX);
	expire_sessions(k);
	fd = connect_number(k, 2);
	memfs_gate(&k->t.f->mem, false);
	wait_for_rest(k, 1);
	/* Nobody drops it while he is there. */
	assert_int_equal(a->left_count, 0);
	assert_true(all->first->old_answer_bytes > BULK);
	assert_int_equal(a->answer_bytes, all->first->old_answer_bytes);
	ask_once(fd, 2, &again);
	assert_same(&first, &again);
	close(fd);
}

/* It would be dropped with the others, and the repeated request taken for one that was not done. */
static void test_what_is_done_while_older_results_are_dropped_is_not_kept_with_them(void **state)
{
	const struct wfsp_op during[] = { root, CREATE("during") }, after[] = { root, CREATE("after") };
	static struct reply r;
	struct tank *k = *state;
	struct rpc_sessions *all = &k->t.f->server->sessions;
	struct rpc_account *a;
	struct wfsp_op_res last;
	int fd;

	make_bulk(k);
	visit(k, 1, &r);
	end_sessions(k);
	a = account_of_unix(all);
	begin_to_drop(k, &a->place_count, RPC_PLACES_PEER_MAX);
	fd = connect_number(k, 1);
	keep_replies(all, a, false);
	ask_well(fd, SLOT(2, 1), during, 2, &r);
	memfs_gate(&k->t.f->mem, false);
	wait_for_rest(k, 1);
	ask(fd, SLOT(2, 1), during, 2, &r);
	assert_int_equal(take(&r, &last, NULL), 2);
	assert_int_equal(last.status, WFSP_ERR_NOMEM);
	ask_well(fd, SLOT(2, 2), after, 2, &r);
	ask_well(fd, SLOT(2, 2), after, 2, &r);
	keep_replies(all, a, true);
	close(fd);
}

/* A client comes back while the end of its session waits, and leaves again: what of both is left is not dropped while
 * it is there for the third time. */
static void test_what_two_sessions_left_is_not_dropped_when_their_client_is_back(void **state)
{
	const unsigned much = RPC_PLACES_PEER_MAX / 4 * 3 + 1;
	const struct wfsp_op once[] = { root, CREATE("once") }, live[] = { root, CREATE("live") };
	static struct reply bulky, second, third, again;
	struct tank *k = *state;
	struct rpc_sessions *all = &k->t.f->server->sessions;
	struct rpc_account *a;
	struct vfs_tag tag;
	int fd;

	make_bulk(k);
	visit(k, 1, &bulky);
	end_sessions(k);
	a = account_of_unix(all);
	tag = visit(k, 2, &bulky);
	begin_to_drop(k, &a->place_count, RPC_PLACES_PEER_MAX);
	expire_sessions(k);
	fd = connect_number(k, 2);
	ask_well(fd, SLOT(2, 1), once, 2, &second);
	close(fd);
	while (rpc_server_connections(k->t.f->server))
		sync_sleep_ns(SYNC_NS_PER_MS / 10);
	expire_sessions(k);
	memfs_gate(&k->t.f->mem, false);
	wait_for_rest(k, 0);
	assert_int_equal(a->left_count, 1);
	fd = connect_number(k, 2);
	assert_int_equal(a->left_count, 0);
	assert_int_equal(all->left_count, 0);
	ask_well(fd, SLOT(3, 1), live, 2, &third);
	count_more(all, &a->place_count, much);
	rpc_sessions_expire(all);
	wait_for_rest(k, 1);
	count_more(all, &a->place_count, 0 - much);
	assert_true(kept_bytes(k, &tag) > BULK);
	close(fd);
	restart(k);
	/* None of it is done again. */
	fd = connect_number(k, 2);
	ask_once(fd, 2, &again);
	assert_same(&bulky, &again);
	ask_well(fd, SLOT(2, 1), once, 2, &again);
	ask_well(fd, SLOT(3, 1), live, 2, &again);
	close(fd);
}

/* Ended, with something left, by a client at that host; @early: its lease is not over. */
static void leave_from(struct tank *k, uint8_t host, bool early)
{
	struct rpc_sessions *all = &k->t.f->server->sessions;
	char name[2] = { (char)('a' + host), 0 };
	const struct wfsp_op ops[] = { root, BEGIN, CREATE(name), COMMIT };
	int fd = connect_from_host(&k->t, host, 1);
	static struct reply r;

	ask_well(fd, SLOT(1, 1), ops, 4, &r);
	close(fd);
	wait_for_rest(k, 0);
	/* A time to come is as long ago as can be, and the lease begins there. */
	sync_mutex_lock(&all->lock);
	if (early)
		all->first->left_ns = sync_now_ns() + 3600 * SYNC_NS_PER_S;
	sync_mutex_unlock(&all->lock);
	end_sessions(k);
}

/* Sessions of which a host of these addresses left something. */
static unsigned left_by(struct rpc_sessions *all, uint8_t host)
{
	unsigned count = 0;

	sync_mutex_lock(&all->lock);
	for (const struct rpc_account *a = all->accounts; a; a = a->next)
		count += a->who[0] == 0 && a->who[RPC_PEER_BYTES - 1] == host ? a->left_count : 0;
	sync_mutex_unlock(&all->lock);
	return count;
}

static void test_of_peers_with_equally_much_the_oldest_whose_lease_is_over_loses_first(void **state)
{
	static const uint8_t order[] = { 2, 3, 1 };
	struct tank *k = *state;
	struct rpc_sessions *all = &k->t.f->server->sessions;

	leave_from(k, 1, true);
	leave_from(k, 2, false);
	leave_from(k, 3, false);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(all->left_count, 3 - i);
		assert_int_equal(left_by(all, order[i]), 1);
		begin_to_drop(k, &all->place_count, RPC_PLACES_ALL_MAX);
		memfs_gate(&k->t.f->mem, false);
		wait_for_rest(k, 0);
		assert_int_equal(left_by(all, order[i]), 0);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, tank_setup, tank_teardown)
	const struct CMUnitTest tests[] = {
		T(test_session_after_session_leaves_no_more_than_a_peer_may_have),
		T(test_who_comes_back_after_the_session_finds_what_was_left),
		T(test_who_comes_back_before_the_end_is_done_has_what_was_left),
		T(test_what_is_done_while_older_results_are_dropped_is_not_kept_with_them),
		T(test_what_two_sessions_left_is_not_dropped_when_their_client_is_back),
		T(test_of_peers_with_equally_much_the_oldest_whose_lease_is_over_loses_first),
		T(test_what_is_left_of_a_session_counts_until_it_has_expired),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
