/* SPDX-License-Identifier: BSD-3-Clause */
/* What a client can have the server remember that never takes its notices. */
#include "server/rpc/notice.h"
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_who_takes_no_notices_can_cause_only_so_many, tree_setup,
		                                tree_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
