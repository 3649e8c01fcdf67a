/* SPDX-License-Identifier: BSD-3-Clause */
/* What a client can have the server remember that never takes its notices, and what all clients of one peer can have
 * of watches, leases and locks. */
#include "server/rpc/notice.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "core/vfs/lease.h"
#include "server/rpc/grace.h"
#include "server/rpc/session.h"
#include "tests/unit/server/rpc/raw_compound.h"

/* One operation on the file "f". */
static uint32_t on_file(int fd, struct wfsp_op op, struct wfsp_op_res *ret)
{
	const struct wfsp_op ops[] = {
		root, { .code = WFSP_OP_CREATE, .type = WFSP_TYPE_FILE, .name = BYTES("f"), .mode = 0666 }, op
	};
	uint32_t count;

	assert_int_equal(run(fd, plain, ops, 3, &count, ret), WFSP_OK);
	assert_int_equal(count, 3);
	return ret->status;
}

static void test_who_takes_no_notices_can_cause_only_so_many(void **state)
{
	const struct wfsp_lock lock = { .owner = 7, .type = WFSP_LOCK_EXCLUSIVE, .len_bytes = 10 };
	struct tree_fixture *t = *state;
	int holder = connect_as(t, 1), fd = connect_as(t, 2);
	struct wfsp_op_res last;
	uint32_t status;
	unsigned count = 0;

	assert_int_equal(on_file(holder, (struct wfsp_op){ .code = WFSP_OP_LOCK, .lock = lock }, &last), WFSP_OK);
	while ((status = on_file(fd, (struct wfsp_op){ .code = WFSP_OP_LOCK_WAIT, .lock = lock, .id = 9 }, &last)) ==
	       WFSP_OK) {
		assert_false(last.granted);
		assert_true(count++ <= RPC_NOTICES_OTHERS_MAX);
		assert_int_equal(on_file(fd, (struct wfsp_op){ .code = WFSP_OP_LOCK_CANCEL, .id = 9 }, &last), WFSP_OK);
	}
	assert_int_equal(status, WFSP_ERR_NOLCK);
	assert_int_equal(count, RPC_NOTICES_OTHERS_MAX);
	status = on_file(fd, (struct wfsp_op){ .code = WFSP_OP_WATCH, .id = 1, .what = WFSP_CHANGE_DATA }, &last);
	assert_int_equal(status, WFSP_ERR_NOLCK);
	close(fd);
	close(holder);
}

static uint32_t watch_top(int fd, uint64_t id)
{
	const struct wfsp_op ops[] = { root, { .code = WFSP_OP_WATCH, .id = id, .what = WFSP_CHANGE_CREATED } };
	struct wfsp_op_res last;
	uint32_t count;

	assert_int_equal(run(fd, plain, ops, 2, &count, &last), WFSP_OK);
	assert_int_equal(count, 2);
	return last.status;
}

/* A file with the longest name that there is. */
static void create_long(int fd, unsigned number)
{
	char name[256];
	struct wfsp_op_res last;
	uint32_t count;

	memset(name, 'x', 255);
	name[255] = '\0';
	name[snprintf(name, sizeof(name), "%u", number)] = 'y';
	const struct wfsp_op ops[] = {
		root,
		{ .code = WFSP_OP_CREATE, .type = WFSP_TYPE_FILE, .name = { (const uint8_t *)name, 255 }, .mode = 0666 }
	};

	assert_int_equal(run(fd, plain, ops, 2, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
}

#define WATCHES 8u

/* Watches of one client, who takes nothing, and names until each of them has lost something. */
static void fill_with_names(struct tree_fixture *t, int watcher, int maker)
{
	for (unsigned i = 0; i < WATCHES; i++)
		assert_int_equal(watch_top(watcher, i), WFSP_OK);
	for (unsigned i = 0; counter_read(&t->f->server->stats.notices_lost) < WATCHES; i++) {
		assert_true(i < RPC_NOTICES_QUEUED_MAX / WATCHES);
		create_long(maker, i);
	}
}

static void test_long_names_that_are_not_taken_are_bounded_in_bytes_and_lost(void **state)
{
	struct tree_fixture *t = *state;
	int watcher = connect_as(t, 1), maker = connect_as(t, 2);
	uint64_t before = budget_used(t->f->budget), used;

	fill_with_names(t, watcher, maker);
	used = budget_used(t->f->budget) - before;
	assert_true(used > RPC_NOTICES_BYTES_MAX / 2);
	assert_true(used < RPC_NOTICES_BYTES_MAX + (1u << 20));
	assert_true(t->f->server->notice_bytes <= RPC_NOTICES_BYTES_MAX + 4096);
	close(watcher);
	close(maker);
	fixture_unserve(t->f);
}

static unsigned under_way_max;

static void note_under_way(void *ctx, const struct rpc_connection_info *info)
{
	(void)ctx;
	if (info->under_way > under_way_max)
		under_way_max = info->under_way;
}

/* All loops have gone on to something else since: what was sent before has been looked at. */
static void pass_loops(struct tree_fixture *t)
{
	for (unsigned i = 0; i < 2; i++) {
		int fd = connect_as(t, (uint8_t)(20 + i));

		close(fd);
	}
}

static unsigned requests_let_in(struct tree_fixture *t, int fd)
{
	uint64_t handle = raw_open(fd);
	static uint8_t answer_buf[(1u << 20) + 4096];

	memfs_gate(&t->f->mem, true);
	for (uint32_t i = 0; i < 8; i++)
		raw_read_call(fd, 100 + i, handle, 4096, 1u << 20);
	memfs_await_waiting(&t->f->mem, 3);
	pass_loops(t);
	under_way_max = 0;
	rpc_server_each_connection(t->f->server, note_under_way, NULL);
	memfs_gate(&t->f->mem, false);
	for (uint32_t i = 0; i < 8; i++)
		assert_true(raw_record(fd, answer_buf, sizeof(answer_buf)) > 0);
	return under_way_max;
}

static void test_notices_that_are_not_taken_leave_less_room_for_payloads(void **state)
{
	struct tree_fixture *t = *state;
	int watcher = connect_as(t, 1), maker = connect_as(t, 2);

	assert_int_equal(requests_let_in(t, maker), 8);
	fill_with_names(t, watcher, maker);
	assert_int_equal(requests_let_in(t, watcher), 3);
	close(watcher);
	close(maker);
}

/* ---- shares ---- */

static struct rpc_account *account_of_unix(struct tree_fixture *t)
{
	struct rpc_sessions *all = &t->f->server->sessions;
	struct rpc_account *a;

	sync_mutex_lock(&all->lock);
	a = all->first->account;
	sync_mutex_unlock(&all->lock);
	return a;
}

static void test_one_peer_can_have_a_quarter_of_all_watches(void **state)
{
	struct tree_fixture *t = *state;
	int fd = connect_as(t, 1), other = connect_from_address(t, 1), again = connect_as(t, 2);
	struct rpc_account *a = account_of_unix(t);

	__atomic_add_fetch(&a->notices.watches, RPC_WATCHES_PEER_MAX - 1, __ATOMIC_SEQ_CST);
	assert_int_equal(watch_top(fd, 1), WFSP_OK);
	assert_int_equal(watch_top(fd, 2), WFSP_ERR_MFILE);
	assert_int_equal(watch_top(again, 1), WFSP_ERR_MFILE);
	assert_int_equal(watch_top(other, 1), WFSP_OK);
	close(fd);
	close(other);
	close(again);
}

static void test_one_peer_can_have_a_quarter_of_all_leases(void **state)
{
	const struct wfsp_op lease = { .code = WFSP_OP_LEASE, .type = WFSP_LEASE_READ, .id = 1 };
	const struct wfsp_op give_back = { .code = WFSP_OP_LEASE_RETURN, .id = 1 };
	struct tree_fixture *t = *state;
	int fd = connect_as(t, 1), again = connect_as(t, 2);
	struct rpc_account *a = account_of_unix(t);
	struct wfsp_op_res last;

	__atomic_add_fetch(&a->notices.leases, RPC_LEASES_PEER_MAX - 1, __ATOMIC_SEQ_CST);
	assert_int_equal(on_file(fd, lease, &last), WFSP_OK);
	assert_int_equal(on_file(again, lease, &last), WFSP_ERR_NOLCK);
	assert_int_equal(on_file(fd, give_back, &last), WFSP_OK);
	assert_int_equal(on_file(again, lease, &last), WFSP_OK);
	close(fd);
	close(again);
}

static void write_to(int fd, struct wfsp_bytes name)
{
	const struct wfsp_op ops[] = { root,
		                       { .code = WFSP_OP_CREATE, .type = WFSP_TYPE_FILE, .name = name, .mode = 0666 },
		                       { .code = WFSP_OP_WRITE, .data = BYTES("x") } };

	send_ops(fd, 9, plain, ops, 3);
}

static void lease_of(int fd, struct wfsp_bytes name, uint64_t id)
{
	const struct wfsp_op ops[] = { root,
		                       { .code = WFSP_OP_CREATE, .type = WFSP_TYPE_FILE, .name = name, .mode = 0666 },
		                       { .code = WFSP_OP_LEASE, .type = WFSP_LEASE_READ, .id = id } };
	struct wfsp_op_res last;
	uint32_t count;

	assert_int_equal(run(fd, plain, ops, 3, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
}

static void wait_for_waiter(struct lease_table *l)
{
	unsigned count = 0;

	while (!count) {
		sync_mutex_lock(&l->lock);
		count = l->waiter_count;
		sync_mutex_unlock(&l->lock);
		sync_sleep_ns(SYNC_NS_PER_MS / 10);
	}
}

/* Two may wait, of a peer one, whatever its sessions are, and also without any. */
static void test_requests_that_wait_for_leases_are_counted_by_peer(void **state)
{
	const struct wfsp_op give_back = { .code = WFSP_OP_LEASE_RETURN, .id = 1 };
	const struct wfsp_bytes f = BYTES("f"), g = BYTES("g"), h = BYTES("h");
	struct tree_fixture *t = *state;
	int holder = connect_as(t, 1), waiter = connect_as(t, 2), again = connect_as(t, 3), silent = raw_connect(t->f);
	struct lease_table *l = t->f->vfs->leases;
	struct wfsp_op_res last;
	uint32_t count;

	l->break_ns = 3600 * SYNC_NS_PER_S;
	vfs_set_lease_waiters(t->f->vfs, 2);
	lease_of(holder, f, 1);
	lease_of(holder, g, 2);
	lease_of(holder, h, 3);
	write_to(waiter, f);
	wait_for_waiter(l);
	/* It is not waited for these. */
	write_to(again, g);
	assert_int_equal(answer(again, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	write_to(silent, h);
	assert_int_equal(answer(silent, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	assert_int_equal(run(holder, plain, &give_back, 1, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	assert_int_equal(answer(waiter, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	close(holder);
	close(waiter);
	close(again);
	close(silent);
}

static void test_one_peer_can_have_a_quarter_of_the_sessions_with_locks(void **state)
{
	const struct wfsp_lock lock = { .owner = 7, .type = WFSP_LOCK_SHARED, .len_bytes = 10 };
	const struct wfsp_op take = { .code = WFSP_OP_LOCK, .lock = lock };
	struct tree_fixture *t = *state;
	int fd = connect_as(t, 1), again = connect_as(t, 2);
	struct rpc_sessions *all = &t->f->server->sessions;
	struct rpc_account *a = account_of_unix(t);
	struct wfsp_op_res last;

	sync_mutex_lock(&all->lock);
	a->holder_count += RPC_HOLDERS_MAX / 4 - 1;
	sync_mutex_unlock(&all->lock);
	assert_int_equal(on_file(fd, take, &last), WFSP_OK);
	assert_int_equal(on_file(again, take, &last), WFSP_ERR_NOLCK);
	/* The first one's counts to what its peer holds; it is no more sessions than before. */
	assert_int_equal(a->locks.held, 1);
	assert_int_equal(on_file(fd, take, &last), WFSP_OK);
	close(fd);
	close(again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, tree_setup, tree_teardown)
		T(test_who_takes_no_notices_can_cause_only_so_many),
		T(test_long_names_that_are_not_taken_are_bounded_in_bytes_and_lost),
		T(test_notices_that_are_not_taken_leave_less_room_for_payloads),
		T(test_one_peer_can_have_a_quarter_of_all_watches),
		T(test_one_peer_can_have_a_quarter_of_all_leases),
		T(test_requests_that_wait_for_leases_are_counted_by_peer),
		T(test_one_peer_can_have_a_quarter_of_the_sessions_with_locks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
