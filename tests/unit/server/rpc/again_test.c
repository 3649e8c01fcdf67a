/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests that are sent again to a server that has started anew, or has forgotten their answers. */
#include "protocol/tls/internal.h"
#include "server/rpc/compound.h"
#include "tests/unit/server/rpc/raw_compound.h"

#define SLOT(n, s)                                                                                                     \
	(struct call)                                                                                                  \
	{                                                                                                              \
		.slot = (n), .sequence = (s), .reply_max = 65536                                                       \
	}

static void restart(struct tree_fixture *t)
{
	fixture_unserve(t->f);
	fixture_serve(t->f, 2000, NULL, 0);
}

/* Run a request, lose its answer with the server, send it again. The second answer's status and last result. */
static uint32_t run_twice(struct tree_fixture *t, struct call how, const struct wfsp_op *ops, uint32_t count,
                          struct wfsp_op_res *ret_last)
{
	uint32_t n, status;
	int fd = connect_as(t, 1);

	assert_int_equal(run(fd, how, ops, count, &n, ret_last), WFSP_OK);
	assert_int_equal(ret_last->status, WFSP_OK);
	restart(t);
	close(fd);
	fd = connect_as(t, 1);
	status = run(fd, how, ops, count, &n, ret_last);
	assert_int_equal(n, count);
	close(fd);
	return status;
}

static struct treefs_entry *entry(struct tree_fixture *t, const char *name)
{
	return *treefs_find(t->tree->fs.root, name, strlen(name));
}

static const struct wfsp_op make = {
	.code = WFSP_OP_CREATE, .type = WFSP_TYPE_FILE, .name = BYTES("f"), .flags = WFSP_CREATE_EXCLUSIVE
};

static void test_changes_of_names_are_answered_after_a_restart(void **state)
{
	struct tree_fixture *t = *state;
	const struct wfsp_op steps[][5] = {
		{ root, make, { .code = WFSP_OP_GETATTR } },
		{ root,
		  { .code = WFSP_OP_LOOKUP, .name = BYTES("f") },
		  { .code = WFSP_OP_SAVE },
		  root,
		  { .code = WFSP_OP_LINK, .name = BYTES("g") } },
		{ root,
		  { .code = WFSP_OP_SAVE },
		  { .code = WFSP_OP_RENAME, .name = BYTES("g"), .new_name = BYTES("h") } },
		{ root, { .code = WFSP_OP_UNLINK, .name = BYTES("h") } },
		{ root,
		  { .code = WFSP_OP_SET_XATTR,
		    .name = BYTES("user.a"),
		    .flags = WFSP_XATTR_CREATE,
		    .data = BYTES("1") } },
		{ root, { .code = WFSP_OP_REMOVE_XATTR, .name = BYTES("user.a") } },
	};
	const uint32_t counts[] = { 3, 5, 3, 2, 2, 2 };
	struct wfsp_op_res last;

	for (uint32_t i = 0; i < 6; i++) {
		assert_int_equal(run_twice(t, SLOT(1, 10 + i), steps[i], counts[i], &last), WFSP_OK);
		assert_int_equal(last.status, WFSP_OK);
	}
	assert_int_equal(t->tree->creates, 1);
	assert_non_null(entry(t, "f"));
	assert_null(entry(t, "g"));
	assert_null(entry(t, "h"));
	assert_int_equal(entry(t, "f")->node->st.link_count, 1);
}

static void test_an_append_is_done_once(void **state)
{
	struct tree_fixture *t = *state;
	const struct wfsp_op ops[] = {
		root,
		{ .code = WFSP_OP_CREATE, .type = WFSP_TYPE_FILE, .name = BYTES("f"), .access = WFSP_ACCESS_WRITE },
		{ .code = WFSP_OP_WRITE, .flags = WFSP_WRITE_APPEND, .data = BYTES("once") }
	};
	struct wfsp_op_res last;

	assert_int_equal(run_twice(t, SLOT(1, 1), ops, 3, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	assert_int_equal(entry(t, "f")->node->st.size_bytes, 4);
	assert_int_equal(run_twice(t, SLOT(1, 2), ops, 3, &last), WFSP_OK);
	assert_int_equal(entry(t, "f")->node->st.size_bytes, 8);
	assert_memory_equal(entry(t, "f")->node->data, "onceonce", 8);
}

/* Data that was lost in a crash comes back, and what others have written since stays. */
static void test_data_is_written_again_only_where_nobody_else_wrote(void **state)
{
	struct tree_fixture *t = *state;
	const struct wfsp_op append[] = {
		root,
		{ .code = WFSP_OP_CREATE, .type = WFSP_TYPE_FILE, .name = BYTES("f"), .access = WFSP_ACCESS_WRITE },
		{ .code = WFSP_OP_WRITE, .flags = WFSP_WRITE_APPEND, .data = BYTES("once") }
	};
	const struct wfsp_op put[] = {
		root, { .code = WFSP_OP_PUT_FILE, .name = BYTES("g"), .mode = 0644, .data = BYTES("text") }
	};
	const struct {
		const struct wfsp_op *ops;
		uint32_t count;
		const char *name, *before, *after;
	} cases[] = {
		{ append, 3, "f", "o\0\0e", "once" }, { append, 3, "f", "else", "else" },
		{ append, 3, "f", "on\0X", "on\0X" }, { put, 2, "g", "\0\0\0\0", "text" },
		{ put, 2, "g", "else", "else" },
	};

	for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct wfsp_op_res last;
		uint32_t n;
		int fd = connect_as(t, 1);

		assert_int_equal(run(fd, SLOT(1, 1 + i), cases[i].ops, cases[i].count, &n, &last), WFSP_OK);
		assert_int_equal(last.status, WFSP_OK);
		restart(t);
		close(fd);
		memcpy(entry(t, cases[i].name)->node->data, cases[i].before, 4);
		fd = connect_as(t, 1);
		assert_int_equal(run(fd, SLOT(1, 1 + i), cases[i].ops, cases[i].count, &n, &last), WFSP_OK);
		assert_int_equal(last.status, WFSP_OK);
		assert_memory_equal(entry(t, cases[i].name)->node->data, cases[i].after, 4);
		assert_int_equal(mt_unlink(memtree_root(t->tree), cases[i].name, 1, false, NULL, NULL), 0);
		close(fd);
	}
}

static void test_a_guard_is_passed_again_when_what_it_guards_was_done(void **state)
{
	struct tree_fixture *t = *state;
	uint64_t change = t->tree->fs.root->st.change;
	const struct wfsp_op ops[] = { root,
		                       { .code = WFSP_OP_GUARD, .change = change },
		                       { .code = WFSP_OP_SETATTR, .set = { .valid = WFSP_SET_MODE, .mode = 0700 } } };
	struct wfsp_op_res last;
	uint32_t count;
	int fd;

	assert_int_equal(run_twice(t, SLOT(5, 1), ops, 3, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	assert_int_equal(last.attr.mode, 0700);
	fd = connect_as(t, 1);
	assert_int_equal(run(fd, SLOT(5, 2), ops, 3, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_ERR_CHANGED);
	close(fd);
}

static void test_a_whole_file_is_put_once(void **state)
{
	struct tree_fixture *t = *state;
	const struct wfsp_op ops[] = { root,
		                       { .code = WFSP_OP_PUT_FILE,
		                         .name = BYTES("f"),
		                         .mode = 0644,
		                         .flags = WFSP_CREATE_EXCLUSIVE,
		                         .data = BYTES("text") },
		                       { .code = WFSP_OP_SAVE },
		                       root,
		                       { .code = WFSP_OP_LINK, .name = BYTES("g") } };
	struct wfsp_op_res last;

	assert_int_equal(run_twice(t, SLOT(1, 1), ops, 5, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	assert_int_equal(t->tree->creates, 1);
	assert_memory_equal(entry(t, "g")->node->data, "text", 4);
}

/* Nothing is cut off a file that the request has made: not now, and not when it is sent again. */
static void test_a_file_that_was_made_is_not_emptied_when_others_have_written(void **state)
{
	struct tree_fixture *t = *state;
	const struct wfsp_op empty = { .code = WFSP_OP_SETATTR, .set = { .valid = WFSP_SET_SIZE } };
	const struct wfsp_op ops[] = {
		root,
		{ .code = WFSP_OP_CREATE, .type = WFSP_TYPE_FILE, .name = BYTES("f"), .access = WFSP_ACCESS_WRITE },
		empty
	};
	const struct wfsp_op others[] = { root,
		                          { .code = WFSP_OP_LOOKUP, .name = BYTES("f") },
		                          { .code = WFSP_OP_WRITE, .data = BYTES("text") } };
	struct wfsp_op_res last;
	uint32_t count;
	int fd = connect_as(t, 1);

	assert_int_equal(run(fd, SLOT(1, 1), ops, 3, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	assert_int_equal(run(fd, plain, others, 3, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	restart(t);
	close(fd);
	fd = connect_as(t, 1);
	assert_int_equal(run(fd, SLOT(1, 1), ops, 3, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	assert_int_equal(last.attr.size_bytes, 4);
	assert_memory_equal(entry(t, "f")->node->data, "text", 4);
	/* It is there now. */
	assert_int_equal(run(fd, SLOT(1, 2), ops, 3, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	assert_int_equal(last.attr.size_bytes, 0);
	close(fd);
}

static void test_what_was_not_done_is_done(void **state)
{
	struct tree_fixture *t = *state;
	const struct wfsp_op ops[] = { root, make, root, { .code = WFSP_OP_UNLINK, .name = BYTES("sub") } };
	struct wfsp_op_res last;
	uint32_t count;
	int fd = connect_as(t, 1);

	/* A directory is not removed so: the second half fails, now; then it is a file. */
	assert_int_equal(run(fd, SLOT(1, 1), ops, 4, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_ERR_ISDIR);
	restart(t);
	close(fd);
	entry(t, "sub")->node->st.type = VFS_TYPE_FILE;
	fd = connect_as(t, 1);
	assert_int_equal(run(fd, SLOT(1, 1), ops, 4, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	assert_int_equal(t->tree->creates, 1);
	assert_null(entry(t, "sub"));
	close(fd);
}

static void test_numbers_that_are_over_and_other_requests_are_refused(void **state)
{
	struct tree_fixture *t = *state;
	const struct wfsp_op create[] = { root, make },
	                     unlink[] = { root, { .code = WFSP_OP_UNLINK, .name = BYTES("f") } };
	struct wfsp_op_res last;
	uint32_t count;
	int fd;

	assert_int_equal(run_twice(t, SLOT(1, 7), create, 2, &last), WFSP_OK);
	restart(t);
	fd = connect_as(t, 1);
	assert_int_equal(run(fd, SLOT(1, 6), create, 2, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_ERR_SEQUENCE);
	close(fd);
	restart(t);
	fd = connect_as(t, 1);
	assert_int_equal(run(fd, SLOT(1, 7), unlink, 2, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_ERR_SEQUENCE);
	assert_non_null(entry(t, "f"));
	close(fd);
}

static void test_another_client_is_answered_nothing(void **state)
{
	struct tree_fixture *t = *state;
	const struct wfsp_op ops[] = { root, make };
	struct wfsp_op_res last;
	uint32_t count;
	int fd;

	assert_int_equal(run_twice(t, SLOT(1, 1), ops, 2, &last), WFSP_OK);
	restart(t);
	fd = connect_as(t, 2);
	assert_int_equal(run(fd, SLOT(1, 1), ops, 2, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_ERR_EXIST);
	close(fd);
}

#define PEERS 7

static void test_a_session_belongs_to_its_peer(void **state)
{
	struct tree_fixture *t = *state;
	struct rpc_peer mine = { .is_unix = true, .uid = 1000 }, other = { .is_unix = true, .uid = 1001 },
	                far = { .address = { [10] = 0xff, 0xff, 10, 0, 0, 1 } },
	                farther = { .address = { [10] = 0xff, 0xff, 10, 0, 0, 2 } }, sealed = far, alice = far,
	                bob = far;
	struct tls nobody = { 0 }, of_alice = { .name_count = 1, .names = { (char[]){ "alice" } } },
	           of_bob = { .name_count = 1, .names = { (char[]){ "bob" } } };
	const struct rpc_peer *peers[PEERS] = { &mine, &other, &far, &farther, &sealed, &alice, &bob };
	const uint8_t id[WFSP_CLIENT_ID_BYTES] = { 42 };
	struct budget_consumer *charge = budget_join(t->f->budget, "test", 0, NULL, NULL);
	struct rpc_session *sessions[PEERS];
	struct rpc_sessions all = { 0 };

	sealed.tls = &nobody;
	alice.tls = &of_alice;
	bob.tls = &of_bob;
	rpc_sessions_init(&all, &(struct rpc_sessions_config){
	                                .vfs = t->f->vfs, .workers = t->f->workers, .charge = charge, .secret = id });
	for (unsigned i = 0; i < PEERS; i++) {
		sessions[i] = rpc_session_get(&all, id, peers[i], 0);
		assert_ptr_equal(rpc_session_get(&all, id, peers[i], 0), sessions[i]);
		for (unsigned k = 0; k < i; k++)
			assert_ptr_not_equal(sessions[k], sessions[i]);
	}
	for (unsigned i = 0; i < PEERS; i++) {
		rpc_session_put(sessions[i]);
		rpc_session_put(sessions[i]);
	}
	rpc_sessions_end(&all);
	rpc_sessions_done(&all);
	budget_leave(charge);
}

/* In sessions of one client: how many got in. */
static unsigned take_owners(struct rpc_sessions *all, const struct rpc_peer *peer, struct rpc_session **ret,
                            unsigned sessions)
{
	unsigned count = 0;

	for (unsigned i = 0; i < sessions; i++) {
		const uint8_t id[WFSP_CLIENT_ID_BYTES] = { (uint8_t)i };
		uint64_t number;

		ret[i] = rpc_session_get(all, id, peer, 0);
		for (uint64_t k = 0; rpc_session_owner(all, ret[i], k, true, &number) == 0; k++)
			count++;
	}
	return count;
}

static void test_one_peer_leaves_owners_of_locks_to_others(void **state)
{
	struct tree_fixture *t = *state;
	struct rpc_peer greedy = { .is_unix = true, .uid = 1000 }, other = { .is_unix = true, .uid = 1001 };
	const uint8_t secret[RPC_SECRET_BYTES] = { 1 };
	struct budget_consumer *charge = budget_join(t->f->budget, "test", 0, NULL, NULL);
	struct rpc_session *sessions[20];
	struct rpc_sessions all = { 0 };
	unsigned most;

	rpc_sessions_init(&all,
	                  &(struct rpc_sessions_config){
	                          .vfs = t->f->vfs, .workers = t->f->workers, .charge = charge, .secret = secret });
	most = take_owners(&all, &greedy, sessions, 18);
	assert_int_equal(take_owners(&all, &other, sessions + 18, 1) * 4, most);
	for (unsigned i = 0; i < 19; i++)
		rpc_session_put(sessions[i]);
	rpc_sessions_end(&all);
	assert_int_equal(all.owner_count, 0);
	rpc_sessions_done(&all);
	budget_leave(charge);
}

static void test_leases_are_granted_up_to_the_longest(void **state)
{
	struct rpc_sessions t = { .config = { .lease_max_s = 600 } };

	(void)state;
	assert_int_equal(rpc_lease_s(&t, 0), 90);
	assert_int_equal(rpc_lease_s(&t, 30), 30);
	assert_int_equal(rpc_lease_s(&t, 600), 600);
	assert_int_equal(rpc_lease_s(&t, 601), 600);
	t.config.lease_max_s = 10;
	assert_int_equal(rpc_lease_s(&t, 0), 10);
}

/* As many slots with answers as long as they may be do not fit. */
static void fill_slots(int fd)
{
	struct wfsp_op ops[WFSP_OPS_MAX] = { root };
	struct wfsp_op_res last;
	uint32_t count;

	for (unsigned i = 1; i < WFSP_OPS_MAX; i++)
		ops[i] = (struct wfsp_op){ .code = WFSP_OP_GETATTR };
	for (uint32_t i = 2; i <= WFSP_SLOTS; i++)
		assert_int_equal(run(fd, SLOT(i, 1), ops, WFSP_OPS_MAX, &count, &last), WFSP_OK);
}

static int connect_number(struct tree_fixture *t, uint8_t id, uint32_t number)
{
	return connect_with(t, (struct wfsp_hello_args){ .client_id = { id }, .connection = number });
}

static void test_a_client_that_fills_its_slots_loses_only_its_own_answers(void **state)
{
	struct tree_fixture *t = *state;
	const struct wfsp_op first[] = { root, make }, second[] = {
		root,
		{ .code = WFSP_OP_CREATE, .type = WFSP_TYPE_FILE, .name = BYTES("g"), .flags = WFSP_CREATE_EXCLUSIVE }
	};
	struct wfsp_op third[] = { root, second[1] };
	int fd = connect_as(t, 1), greedy = connect_number(t, 2, 0);
	struct wfsp_op_res last;
	uint32_t count;

	third[1].name = (struct wfsp_bytes)BYTES("h");
	assert_int_equal(run(fd, SLOT(1, 1), first, 2, &count, &last), WFSP_OK);
	assert_int_equal(run(greedy, SLOT(1, 1), second, 2, &count, &last), WFSP_OK);
	assert_int_equal(run(greedy, SLOT(2, 1), third, 2, &count, &last), WFSP_OK);
	/* The answers of 63 slots of 16 KiB each, on 16 connections: twice what is kept. */
	for (uint32_t i = 0; i < 16; i++) {
		int more = connect_number(t, 2, i + 1);

		fill_slots(more);
		close(more);
	}
	/* One who has its answer in memory is answered by that, whatever the file system knows. */
	t->tree->forgets = true;
	assert_int_equal(run(fd, SLOT(1, 1), first, 2, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	/* The other's is gone, and nobody knows any more: that is said. */
	assert_int_equal(run(greedy, SLOT(1, 1), second, 2, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_ERR_NOMEM);
	/* With a file system that knows. */
	t->tree->forgets = false;
	assert_int_equal(run(greedy, SLOT(2, 1), third, 2, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	assert_int_equal(t->tree->creates, 3);
	close(fd);
	close(greedy);
}

static void test_what_no_file_system_was_to_keep_is_not_done_again(void **state)
{
	struct tree_fixture *t = *state;
	const struct wfsp_op ops[] = { root,
		                       { .code = WFSP_OP_CREATE, .type = WFSP_TYPE_FILE, .name = BYTES("f") },
		                       { .code = WFSP_OP_WRITE, .flags = WFSP_WRITE_APPEND, .data = BYTES("once") } };
	struct wfsp_op_res last;
	uint32_t count;
	int fd = -1, more;

	/* All places of the session, and later all room for answers. */
	for (uint32_t i = 0; i < 33; i++) {
		if (i == 16) {
			fd = connect_number(t, 2, 16);
			assert_int_equal(run(fd, SLOT(1, 1), ops, 3, &count, &last), WFSP_OK);
			assert_int_equal(last.status, WFSP_OK);
			continue;
		}
		more = connect_number(t, 2, i);
		fill_slots(more);
		close(more);
	}
	assert_int_equal(run(fd, SLOT(1, 1), ops, 3, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_ERR_NOMEM);
	assert_int_equal(run(fd, SLOT(1, 2), ops, 2, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	close(fd);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, tree_setup, tree_teardown)
	const struct CMUnitTest tests[] = {
		T(test_changes_of_names_are_answered_after_a_restart),
		T(test_an_append_is_done_once),
		T(test_data_is_written_again_only_where_nobody_else_wrote),
		T(test_a_guard_is_passed_again_when_what_it_guards_was_done),
		T(test_a_whole_file_is_put_once),
		T(test_a_file_that_was_made_is_not_emptied_when_others_have_written),
		T(test_what_was_not_done_is_done),
		T(test_numbers_that_are_over_and_other_requests_are_refused),
		T(test_another_client_is_answered_nothing),
		T(test_a_session_belongs_to_its_peer),
		T(test_one_peer_leaves_owners_of_locks_to_others),
		T(test_leases_are_granted_up_to_the_longest),
		T(test_what_no_file_system_was_to_keep_is_not_done_again),
		T(test_a_client_that_fills_its_slots_loses_only_its_own_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
