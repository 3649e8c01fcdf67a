/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transactions in slots that are sent again when their answer is lost: to a server that has started anew, over a power
 * cut, or that has forgotten it. On a real pool, which keeps their answers with what they have changed.
 */
#include "tests/unit/server/rpc/tank_fixture.h"

static const struct wfsp_op many[] = {
	{ .code = WFSP_OP_ROOT, .name = BYTES("tree") },
	BEGIN,
	CREATE("new"),
	{ .code = WFSP_OP_GET_HANDLE },
	APPEND("one"),
	APPEND("two"),
	{ .code = WFSP_OP_GETATTR },
	COMMIT,
	{ .code = WFSP_OP_ROOT, .name = BYTES("tree") },
	CREATE("behind"),
	{ .code = WFSP_OP_GETATTR },
};
#define MANY (sizeof(many) / sizeof(many[0]))

static void test_an_atomic_compound_is_answered_with_the_same_results_after_a_restart(void **state)
{
	static struct reply first, second;
	struct tank *k = *state;
	int fd = connect_as(&k->t, 1);

	ask_well(fd, SLOT(1, 7), many, MANY, &first);
	fd = restart_under(k, fd);
	ask_well(fd, SLOT(1, 7), many, MANY, &second);
	close(fd);
	assert_same(&first, &second);
	assert_int_equal(size_of(k, "new"), 6);
}

/* What was done is told, also when the repeat comes to its turn too late. */
static void test_a_time_that_is_over_does_not_undo_what_was_done_before_a_restart(void **state)
{
	static struct reply first, second;
	struct call hasty = SLOT(1, 7);
	struct tank *k = *state;
	int other, fd = connect_as(&k->t, 1);
	uint8_t buf[256];
	struct wr w;

	ask_well(fd, SLOT(1, 7), many, MANY, &first);
	close(fd);
	restart(k);
	other = raw_connect(k->t.f);
	block_writers(k->t.f, other);
	fd = connect_as(&k->t, 1);
	hasty.within_ms = 1;
	send_ops(fd, 9, hasty, many, MANY);
	/* When what came behind is answered, it has been taken. */
	w = raw_call(buf, sizeof(buf), 10, WFSP_NULL);
	raw_call_end(fd, &w);
	assert_true(raw_record(fd, second.record, sizeof(second.record)) > 0);
	let_a_millisecond_pass();
	memfs_gate(&k->t.f->mem, false);
	second.len = raw_record(fd, second.record, sizeof(second.record));
	assert_same(&first, &second);
	close(fd);
	close(other);
}

static void test_a_guard_before_a_transaction_is_passed_again(void **state)
{
	static struct reply first, second;
	struct wfsp_op ops[] = {
		root,  { .code = WFSP_OP_LOOKUP, .name = BYTES("f") }, { .code = WFSP_OP_GUARD }, BEGIN, APPEND("once"),
		COMMIT
	};
	const struct wfsp_op look[] = { ops[0], ops[1], { .code = WFSP_OP_GETATTR } };
	struct tank *k = *state;
	struct wfsp_op_res last;
	int fd = connect_as(&k->t, 1);

	put(k, "f");
	ask_well(fd, plain, look, 3, &first);
	take(&first, &last, NULL);
	ops[2].change = last.attr.change;
	ask_well(fd, SLOT(1, 1), ops, 6, &first);
	fd = restart_under(k, fd);
	ask_well(fd, SLOT(1, 1), ops, 6, &second);
	assert_same(&first, &second);
	assert_int_equal(size_of(k, "f"), 4);
	/* Another request is not taken for it. */
	ask(fd, SLOT(1, 2), ops, 6, &second);
	assert_int_equal(take(&second, &last, NULL), 3);
	assert_int_equal(last.status, WFSP_ERR_CHANGED);
	close(fd);
}

static void test_a_commit_is_answered_after_a_restart(void **state)
{
	static struct reply first, second;
	struct wfsp_op begin[] = { root, BEGIN, CREATE("new") },
	               commit[] = { root, { .code = WFSP_OP_TX_USE }, COMMIT };
	struct tank *k = *state;
	struct wfsp_op_res last;
	int fd = connect_as(&k->t, 1);

	begin[1].flags = 0;
	ask_well(fd, SLOT(1, 1), begin, 3, &first);
	take(&first, &last, &commit[1].id);
	ask_well(fd, SLOT(1, 2), commit, 3, &first);
	fd = restart_under(k, fd);
	ask_well(fd, SLOT(1, 2), commit, 3, &second);
	assert_same(&first, &second);
	/* What nobody has asked before is not answered so. */
	ask(fd, SLOT(1, 3), commit, 3, &second);
	assert_int_equal(take(&second, &last, NULL), 2);
	assert_int_equal(last.status, WFSP_ERR_NOENT);
	close(fd);
}

/* Either it was there, and is answered, or it was not, and is done: it is never done twice. */
static void test_a_power_cut_leaves_a_transaction_and_its_answer_or_neither(void **state)
{
	static struct reply first, second;
	struct tank *k = *state;

	for (uint32_t i = 0; i < 16; i++) {
		char name[] = "new-a";
		struct wfsp_op ops[] = {
			root, BEGIN, CREATE(""), APPEND("once"), { .code = WFSP_OP_GET_HANDLE }, COMMIT
		};
		bool durable = i % 4 == 3;
		int64_t there;
		int fd = connect_as(&k->t, 1);

		name[4] = (char)('a' + i);
		ops[2].name = (struct wfsp_bytes){ (const uint8_t *)name, 5 };
		ops[5].flags = durable ? WFSP_TX_DURABLE : 0;
		ask_well(fd, SLOT(1, i + 1), ops, 6, &first);
		close(fd);
		if (i % 4 == 2)
			put(k, "other");
		crash(k, i);
		there = size_of(k, name);
		assert_true(there == 4 || (there == -1 && !durable));
		fd = connect_as(&k->t, 1);
		ask_well(fd, SLOT(1, i + 1), ops, 6, &second);
		close(fd);
		if (there == 4)
			assert_same(&first, &second);
		assert_int_equal(size_of(k, name), 4);
	}
}

static void test_a_compound_that_failed_is_not_taken_for_done(void **state)
{
	const struct wfsp_op ops[] = { root, BEGIN, CREATE("new"), CREATE("old"), COMMIT };
	static struct reply r;
	struct tank *k = *state;
	struct wfsp_op_res last;
	int fd = connect_as(&k->t, 1);
	struct wfsp_op two[6];

	put(k, "old");
	memcpy(two, ops, sizeof(ops));
	/* The second name is made in the first one's place, the top. */
	two[3] = root;
	two[4] = ops[3];
	two[5] = ops[4];
	for (unsigned i = 0; i < 2; i++) {
		ask(fd, SLOT(1, 1), two, 6, &r);
		assert_int_equal(take(&r, &last, NULL), 5);
		assert_int_equal(last.status, WFSP_ERR_EXIST);
		assert_int_equal(size_of(k, "new"), -1);
		fd = restart_under(k, fd);
	}
	close(fd);
}

static void test_another_request_with_the_number_of_a_transaction_is_refused(void **state)
{
	const struct wfsp_op other[] = { root, BEGIN, CREATE("other"), COMMIT };
	static struct reply r;
	struct tank *k = *state;
	struct wfsp_op_res last;
	int fd = connect_as(&k->t, 1);

	ask_well(fd, SLOT(1, 1), many, MANY, &r);
	fd = restart_under(k, fd);
	ask(fd, SLOT(1, 1), other, 4, &r);
	assert_int_equal(take(&r, &last, NULL), 2);
	assert_int_equal(last.status, WFSP_ERR_SEQUENCE);
	assert_int_equal(size_of(k, "other"), -1);
	close(fd);
}

static void test_of_a_second_transaction_nothing_is_kept_but_that_it_was_committed(void **state)
{
	const struct wfsp_op ops[] = { root, BEGIN, CREATE("a"), COMMIT, root, BEGIN, CREATE("b"), COMMIT };
	static struct reply r;
	struct tank *k = *state;
	struct wfsp_op_res last;
	int fd = connect_as(&k->t, 1);

	ask_well(fd, SLOT(1, 1), ops, 8, &r);
	fd = restart_under(k, fd);
	ask(fd, SLOT(1, 1), ops, 8, &r);
	assert_int_equal(take(&r, &last, NULL), 6);
	assert_int_equal(last.status, WFSP_ERR_DONE);
	close(fd);
}

/* ---- large answers ---- */

#define BULKY 150u /* more than a session may keep */

/* Of one client, on three connections. */
static void ask_number(struct tank *k, uint32_t number, struct reply *ret)
{
	struct wfsp_hello_args a = RAW_CLIENT(1);
	int fd;

	a.connection = number / 64;
	fd = connect_with(&k->t, a);
	ask_bulky(fd, SLOT(number % 64 + 1, 1), number, ret);
	close(fd);
}

static void test_large_answers_are_kept_up_to_a_bound(void **state)
{
	static struct reply first, again, later;
	struct tank *k = *state;
	struct wfsp_op_res last;
	uint32_t kept = 0;

	make_bulk(k);
	for (uint32_t i = 0; i < BULKY; i++) {
		ask_number(k, i, i ? &later : &first);
		assert_int_equal(take(i ? &later : &first, &last, NULL), 7);
		assert_int_equal(last.status, WFSP_OK);
	}
	assert_true(first.len > BULK);
	/* The memory has room for less: the file system is asked. */
	ask_number(k, 0, &again);
	assert_same(&first, &again);
	restart(k);
	ask_number(k, 0, &again);
	assert_same(&first, &again);
	for (uint32_t i = 0; i < BULKY; i++) {
		uint32_t count;

		ask_number(k, i, &again);
		count = take(&again, &last, NULL);
		assert_int_equal(last.status, count == 7 ? WFSP_OK : WFSP_ERR_DONE);
		kept += count == 7;
	}
	assert_true(kept > BULKY / 2 && kept < BULKY);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, tank_setup, tank_teardown)
	const struct CMUnitTest tests[] = {
		T(test_an_atomic_compound_is_answered_with_the_same_results_after_a_restart),
		T(test_a_commit_is_answered_after_a_restart),
		T(test_a_time_that_is_over_does_not_undo_what_was_done_before_a_restart),
		T(test_a_guard_before_a_transaction_is_passed_again),
		T(test_a_power_cut_leaves_a_transaction_and_its_answer_or_neither),
		T(test_a_compound_that_failed_is_not_taken_for_done),
		T(test_another_request_with_the_number_of_a_transaction_is_refused),
		T(test_of_a_second_transaction_nothing_is_kept_but_that_it_was_committed),
		T(test_large_answers_are_kept_up_to_a_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
