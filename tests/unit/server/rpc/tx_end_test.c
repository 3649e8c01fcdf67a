/* SPDX-License-Identifier: BSD-3-Clause */
/* What is left of transactions and their answers when somebody else is done with them: the session that began one ends
 * while another one looks at it, and an answer is found that may not be given. Leaks and late uses are the sanitizer's
 * to find. */
#include "server/rpc/session.h"
#include "tests/unit/server/rpc/tank_fixture.h"

/* Its client has gone, or does so, and its time is over: until it has ended. */
static void end_session(struct rpc_sessions *all, struct rpc_session *s)
{
	bool ended = false, away = false;

	while (!away) {
		sync_mutex_lock(&all->lock);
		away = s->connections == 0;
		if (away)
			s->lease_ns = 0;
		sync_mutex_unlock(&all->lock);
	}
	while (!ended) {
		sync_sleep_ns(SYNC_NS_PER_MS / 10);
		rpc_sessions_expire(all);
		sync_mutex_lock(&all->lock);
		ended = !all->retiring;
		for (const struct rpc_session *o = all->first; o; o = o->next)
			ended &= o != s;
		sync_mutex_unlock(&all->lock);
	}
}

static struct rpc_session *session_of(struct rpc_sessions *all, bool with_transaction)
{
	struct rpc_session *s;

	sync_mutex_lock(&all->lock);
	s = all->first;
	while (s && with_transaction != (s->transactions != NULL))
		s = s->next;
	sync_mutex_unlock(&all->lock);
	assert_non_null(s);
	return s;
}

/* As a session does that finds too many running, and looks which of its peer's are over. */
static void test_a_transaction_outlives_its_session_while_another_one_looks_at_it(void **state)
{
	struct wfsp_op begin[] = { root, BEGIN, CREATE("new") };
	struct tank *k = *state;
	struct rpc_sessions *all = &k->t.f->server->sessions;
	int fd = connect_as(&k->t, 1), other = connect_as(&k->t, 2);
	struct rpc_session *owner, *looking;
	struct vfs_tx_info info = { .state = VFS_TX_RUNNING };
	static struct reply r;
	struct rpc_tree tree = { 0 };
	struct rpc_tx *tx;

	begin[1].flags = 0;
	ask_well(fd, plain, begin, 3, &r);
	owner = session_of(all, true);
	looking = session_of(all, false);
	tree.key = owner->transactions->export_key;
	assert_int_equal(rpc_tx_get(owner, &tree, owner->transactions->id, &tx), 0);
	close(fd);
	end_session(all, owner);
	vfs_tx_get_info(tx->tx, &info);
	assert_int_equal(info.state, VFS_TX_ABORTED);
	rpc_tx_put(looking, tx);
	sync_mutex_lock(&all->lock);
	assert_int_equal(looking->account->transaction_count, 0);
	sync_mutex_unlock(&all->lock);
	assert_int_equal(size_of(k, "new"), -1);
	close(other);
}

/* Far beyond every bound of the peer. */
#define MANY_PLACES (1u << 22)
#define MANY_BYTES ((size_t)1 << 32)

static void count_more(struct rpc_sessions *all, struct rpc_session *s, bool more)
{
	sync_mutex_lock(&all->lock);
	s->account->place_count += more ? MANY_PLACES : 0 - MANY_PLACES;
	s->account->reply_bytes += more ? MANY_BYTES : 0 - MANY_BYTES;
	sync_mutex_unlock(&all->lock);
}

/* It was answered from the file system, and could be kept nowhere: what is there is not taken for the answer of this
 * request, as nobody knows whether another one was behind it. */
static void test_an_answer_that_may_not_be_given_is_not_kept_either(void **state)
{
	const struct wfsp_op ops[] = { root, BEGIN, CREATE("new"), APPEND("once"), COMMIT };
	static struct reply first, again;
	struct tank *k = *state;
	struct rpc_sessions *all;
	struct rpc_session *s;
	struct wfsp_op_res last;
	int fd = connect_as(&k->t, 1);

	ask_well(fd, SLOT(1, 7), ops, 5, &first);
	close(fd);
	restart(k);
	all = &k->t.f->server->sessions;
	fd = connect_as(&k->t, 1);
	s = session_of(all, false);
	count_more(all, s, true);
	ask_well(fd, SLOT(1, 7), ops, 5, &again);
	assert_same(&first, &again);
	ask(fd, SLOT(1, 7), ops, 5, &again);
	assert_int_equal(take(&again, &last, NULL), 2);
	assert_int_equal(last.status, WFSP_ERR_NOMEM);
	count_more(all, s, false);
	assert_int_equal(size_of(k, "new"), 4);
	close(fd);
}

/* It was done, and its answer kept nowhere: that is still known when a repeat finds no memory to run. */
static void test_a_repeat_that_finds_no_memory_leaves_the_slot_as_it_was(void **state)
{
	const struct wfsp_op ops[] = { root, { .code = WFSP_OP_LOOKUP, .name = BYTES("f") }, APPEND("once") };
	const struct wfsp_compound_args again = { .slot = 1, .sequence = 1, .op_count = 3 };
	struct rpc_slot_use use = { .state = RPC_SLOT_NEW };
	struct tank *k = *state;
	struct rpc_sessions *all = &k->t.f->server->sessions;
	struct wfsp_op_res last;
	static struct reply r;
	struct rpc_session *s;
	int fd;

	put(k, "f");
	fd = connect_as(&k->t, 1);
	s = session_of(all, false);
	count_more(all, s, true);
	ask_well(fd, SLOT(1, 1), ops, 3, &r);
	assert_int_equal(rpc_slot_begin(s, 3, &again, &use), 0);
	assert_true(use.state == RPC_SLOT_FORGOTTEN && use.unkept);
	rpc_slot_undo(s, 3, 1, &use);
	ask(fd, SLOT(1, 1), ops, 3, &r);
	assert_int_equal(take(&r, &last, NULL), 3);
	assert_int_equal(last.status, WFSP_ERR_NOMEM);
	assert_int_equal(size_of(k, "f"), 4);
	count_more(all, s, false);
	close(fd);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, tank_setup, tank_teardown)
	const struct CMUnitTest tests[] = {
		T(test_a_transaction_outlives_its_session_while_another_one_looks_at_it),
		T(test_an_answer_that_may_not_be_given_is_not_kept_either),
		T(test_a_repeat_that_finds_no_memory_leaves_the_slot_as_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
