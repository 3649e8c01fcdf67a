/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls that are cancelled, or not begun in time, while they wait for a worker. */
#include "tests/unit/server/rpc/raw_compound.h"

enum { QUEUED = 200, CANCEL = 300 };

static const struct wfsp_op make_dir[] = {
	{ .code = WFSP_OP_ROOT, .name = BYTES("tree") },
	{ .code = WFSP_OP_CREATE, .type = WFSP_TYPE_DIR, .name = BYTES("d") },
};

/* The status of the answer to @xid, which is the next but for those of the blockers; a compound's is that of its last
 * operation. */
static uint32_t status_of(int fd, uint32_t xid, bool is_compound)
{
	static uint8_t buf[70000];
	char text[WFSP_TEXT_MAX + 1];
	struct wfsp_op_res last;
	uint32_t got, status, count;
	struct rd r;

	do {
		r = rd_init(buf, raw_record(fd, buf, sizeof(buf)));
		assert_int_equal(rpc_get_reply(&r, &got), 0);
		status = wfsp_get_status(&r, text);
		if (got != xid) {
			assert_in_range(got, FIRST_BLOCKER, FIRST_BLOCKER + BLOCKERS - 1);
			assert_int_equal(status, WFSP_OK);
		}
	} while (got != xid);
	if (!is_compound || status)
		return status;
	count = rd_be32(&r);
	assert_true(count > 0);
	for (uint32_t i = 0; i < count; i++)
		wfsp_get_op_res(&r, &last);
	assert_false(r.bad);
	return last.status;
}

static uint32_t cancel(int fd, uint32_t xid)
{
	uint8_t buf[256];
	struct wr w = raw_call(buf, sizeof(buf), CANCEL, WFSP_CANCEL);

	wr_be32(&w, xid);
	raw_call_end(fd, &w);
	return status_of(fd, CANCEL, false);
}

static void test_a_compound_that_waits_does_nothing_once_cancelled(void **state)
{
	struct tree_fixture *t = *state;
	int fd = raw_connect(t->f);

	block_writers(t->f, fd);
	send_ops(fd, QUEUED, plain, make_dir, 2);
	assert_int_equal(cancel(fd, QUEUED), WFSP_OK);
	memfs_gate(&t->f->mem, false);
	assert_int_equal(status_of(fd, QUEUED, true), WFSP_ERR_CANCELED);
	assert_int_equal(t->tree->creates, 0);
	close(fd);
}

static void test_a_write_that_waits_is_not_done_once_cancelled(void **state)
{
	struct tree_fixture *t = *state;
	int fd = raw_connect(t->f);
	uint64_t h = block_writers(t->f, fd);
	unsigned started = t->f->mem.started;

	raw_write_call(fd, QUEUED, h, 8192, "y", 1);
	assert_int_equal(cancel(fd, QUEUED), WFSP_OK);
	memfs_gate(&t->f->mem, false);
	assert_int_equal(status_of(fd, QUEUED, false), WFSP_ERR_CANCELED);
	assert_int_equal(t->f->mem.started, started);
	close(fd);
}

static void test_what_has_begun_goes_on_though_cancelled(void **state)
{
	struct tree_fixture *t = *state;
	int fd = raw_connect(t->f);

	block_writers(t->f, fd);
	assert_int_equal(cancel(fd, FIRST_BLOCKER), WFSP_OK);
	memfs_gate(&t->f->mem, false);
	assert_int_equal(status_of(fd, FIRST_BLOCKER, false), WFSP_OK);
	close(fd);
}

static void test_only_calls_of_the_same_connection_can_be_cancelled(void **state)
{
	struct tree_fixture *t = *state;
	int fd = raw_connect(t->f), other = raw_connect(t->f);

	block_writers(t->f, fd);
	send_ops(fd, QUEUED, plain, make_dir, 2);
	assert_int_equal(cancel(other, QUEUED), WFSP_ERR_NOENT);
	assert_int_equal(cancel(fd, QUEUED + 1), WFSP_ERR_NOENT);
	memfs_gate(&t->f->mem, false);
	assert_int_equal(status_of(fd, QUEUED, true), WFSP_OK);
	assert_int_equal(cancel(fd, QUEUED), WFSP_ERR_NOENT);
	assert_int_equal(t->tree->creates, 1);
	close(fd);
	close(other);
}

static void test_a_compound_in_a_slot_is_answered_with_its_cancellation_again(void **state)
{
	struct tree_fixture *t = *state;
	struct call in_slot = { .slot = 1, .sequence = 1, .reply_max = 4096 };
	int fd = connect_as(t, 7);

	block_writers(t->f, fd);
	send_ops(fd, QUEUED, in_slot, make_dir, 2);
	assert_int_equal(cancel(fd, QUEUED), WFSP_OK);
	memfs_gate(&t->f->mem, false);
	assert_int_equal(status_of(fd, QUEUED, true), WFSP_ERR_CANCELED);
	send_ops(fd, QUEUED + 1, in_slot, make_dir, 2);
	assert_int_equal(status_of(fd, QUEUED + 1, true), WFSP_ERR_CANCELED);
	in_slot.sequence++;
	send_ops(fd, QUEUED + 2, in_slot, make_dir, 2);
	assert_int_equal(status_of(fd, QUEUED + 2, true), WFSP_OK);
	assert_int_equal(t->tree->creates, 1);
	close(fd);
}

struct ended {
	struct sync_mutex lock;
	struct sync_cond changed;
	bool yes;
	int err;
	unsigned done;
};

static void note_end(void *ctx, struct wfs_batch *b, int err, unsigned done)
{
	struct ended *e = ctx;

	(void)b;
	sync_mutex_lock(&e->lock);
	e->yes = true;
	e->err = err;
	e->done = done;
	sync_cond_signal(&e->changed);
	sync_mutex_unlock(&e->lock);
}

/* A batch of the client that makes a file from the export's root. */
static struct wfs_batch *start_making(struct tree_fixture *t, struct ended *e, unsigned within_ms)
{
	struct wfs_batch *b;

	memset(e, 0, sizeof(*e));
	sync_mutex_init(&e->lock, SYNC_RANK_LEAF, "ended");
	sync_cond_init(&e->changed);
	assert_int_equal(wfs_batch_new(t->w, &b), 0);
	wfs_batch_root(b, "tree");
	wfs_batch_create(b, "d", 0644, WFS_CREATE_EXCLUSIVE, 0, NULL);
	wfs_batch_within(b, within_ms);
	assert_int_equal(wfs_batch_start(b, NULL, note_end, e), 0);
	return b;
}

static void await_end(struct ended *e, struct wfs_batch *b, int err)
{
	sync_mutex_lock(&e->lock);
	while (!e->yes)
		sync_cond_wait(&e->changed, &e->lock);
	sync_mutex_unlock(&e->lock);
	assert_int_equal(e->err, err);
	/* In a slot, what changes nothing is done on the way to the change that may have been done before. */
	assert_int_equal(e->done, err ? 1 : 2);
	sync_cond_done(&e->changed);
	sync_mutex_done(&e->lock);
	wfs_batch_free(b);
}

static void test_a_batch_of_the_library_is_cancelled_or_comes_too_late(void **state)
{
	struct tree_fixture *t = *state;
	int fd = raw_connect(t->f);
	struct ended cancelled, late, done;
	struct wfs_batch *to_cancel, *to_be_late, *to_do;

	block_writers(t->f, fd);
	to_cancel = start_making(t, &cancelled, 0);
	to_be_late = start_making(t, &late, 1);
	assert_int_equal(wfs_batch_cancel(t->w, to_cancel), 0);
	let_a_millisecond_pass();
	memfs_gate(&t->f->mem, false);
	await_end(&cancelled, to_cancel, -ECANCELED);
	await_end(&late, to_be_late, -ETIMEDOUT);
	assert_int_equal(t->tree->creates, 0);
	to_do = start_making(t, &done, 60000);
	await_end(&done, to_do, 0);
	assert_int_equal(wfs_batch_cancel(t->w, to_do), -ENOENT);
	assert_int_equal(t->tree->creates, 1);
	close(fd);
}

static void test_a_compound_is_not_begun_behind_its_time(void **state)
{
	struct tree_fixture *t = *state;
	struct call hasty = { .reply_max = 4096, .within_ms = 1 };
	struct call patient = { .reply_max = 4096, .within_ms = UINT32_MAX };
	int fd = raw_connect(t->f);

	block_writers(t->f, fd);
	send_ops(fd, QUEUED, hasty, make_dir, 2);
	/* The server has taken it when it answers what came behind; from then on the time counts at the latest. */
	assert_int_equal(cancel(fd, QUEUED + 1), WFSP_ERR_NOENT);
	let_a_millisecond_pass();
	memfs_gate(&t->f->mem, false);
	assert_int_equal(status_of(fd, QUEUED, true), WFSP_ERR_TIMEDOUT);
	assert_int_equal(t->tree->creates, 0);
	send_ops(fd, QUEUED + 1, patient, make_dir, 2);
	assert_int_equal(status_of(fd, QUEUED + 1, true), WFSP_OK);
	assert_int_equal(t->tree->creates, 1);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_compound_that_waits_does_nothing_once_cancelled, tree_setup,
		                                tree_teardown),
		cmocka_unit_test_setup_teardown(test_a_write_that_waits_is_not_done_once_cancelled, tree_setup,
		                                tree_teardown),
		cmocka_unit_test_setup_teardown(test_what_has_begun_goes_on_though_cancelled, tree_setup,
		                                tree_teardown),
		cmocka_unit_test_setup_teardown(test_only_calls_of_the_same_connection_can_be_cancelled, tree_setup,
		                                tree_teardown),
		cmocka_unit_test_setup_teardown(test_a_compound_in_a_slot_is_answered_with_its_cancellation_again,
		                                tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(test_a_compound_is_not_begun_behind_its_time, tree_setup,
		                                tree_teardown),
		cmocka_unit_test_setup_teardown(test_a_batch_of_the_library_is_cancelled_or_comes_too_late, tree_setup,
		                                tree_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
