/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Power cuts under random transactions: afterwards names, attributes and contents are those of some moment between two
 * transactions, not before the last one that was made durable, and outcomes tell the same.
 */
#include "tests/unit/core/fs/wfs3/filetx_fixture.h"
#include "tests/unit/core/fs/wfs3/tree_state.h"

#define OPS 40u
#define STATE_BYTES 65536u
#define NAMES 5u

#ifdef WFSD_DEBUG
#define EPISODES 12u
#else
#define EPISODES 150u
#endif

struct run {
	struct tree_fixture t;
	uint64_t seed;
	char *history[OPS + 1]; /* states: before the first transaction, and after each */
	uint64_t ids[OPS + 1];
	unsigned op, durable_op;
};

static uint64_t random_number(struct run *r)
{
	return random_next(&r->seed);
}

static void note_state(struct vfs_node *top, char *out)
{
	tree_state(top, true, out, STATE_BYTES);
}

/* ---- what is done ---- */

static struct vfs_node *any_dir(struct run *r, struct vfs_node *top)
{
	struct vfs_node *dir = top;

	vfs_node_ref(dir);
	for (unsigned depth = 0; depth < 2 && random_number(r) % 2; depth++) {
		if (!step_down(&dir, (char)('a' + random_number(r) % NAMES)))
			break;
	}
	return dir;
}

static void change_file(struct run *r, struct vfs_node *n)
{
	static uint8_t data[60000];
	uint64_t offset = random_number(r) % 90000;
	size_t len = 1 + random_number(r) % (random_number(r) % 2 ? 300 : sizeof(data));

	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)random_number(r);
	if (random_number(r) % 3 == 0)
		assert_ok(node_truncate(n, random_number(r) % 120000));
	if (random_number(r) % 4)
		assert_ok(node_write(n, offset, data, len, 0));
	if (random_number(r) % 5 == 0)
		assert_ok(n->ops->set_xattr(n, "user.x", data, 3, 0, NULL));
}

static void change_one(struct run *r, struct vfs_node *top)
{
	struct vfs_node *dir = any_dir(r, top), *other = any_dir(r, top), *n = NULL;
	char name[2] = { (char)('a' + random_number(r) % NAMES), 0 };
	char new_name[2] = { (char)('a' + random_number(r) % NAMES), 0 };

	switch (random_number(r) % 8) {
	case 0:
		(void)make_type(dir, name, VFS_TYPE_DIR, &n);
		break;
	case 1:
		(void)remove_name(dir, name, random_number(r) % 3 == 0);
		break;
	case 2:
		(void)rename_to(dir, name, other, new_name, 0);
		break;
	case 3:
		if (!dir->ops->lookup(dir, name, 1, &n))
			(void)link_to(other, new_name, n);
		break;
	default:
		if (dir->ops->lookup(dir, name, 1, &n))
			n = make_file(dir, name);
		if (n->type == VFS_TYPE_FILE)
			change_file(r, n);
	}
	vfs_node_unref(n);
	vfs_node_unref(dir);
	vfs_node_unref(other);
}

/* As if there were no room: it takes no more of the open group. */
static void close_log(struct pool *p)
{
	struct wal_ticket none = { .closed = true };
	struct wal_record r = { .type = WAL_GAP, .txg = txg_enter(p) };

	assert_false(wal_append(p->wal, &none, &r));
	txg_exit(p);
}

static void transact(struct run *r)
{
	struct vfs_tx *tx = tx_begin(&r->t, random_number(r) % 2 ? VFS_TX_SNAPSHOT : VFS_TX_SERIALIZABLE);
	struct vfs_node *top = tx_top(&r->t, tx);
	char *inside = malloc(STATE_BYTES);
	bool durable = random_number(r) % 4 == 0, abort_it = random_number(r) % 8 == 0;

	for (unsigned i = 0, n = 1 + (unsigned)(random_number(r) % 6); i < n; i++)
		change_one(r, top);
	note_state(top, inside);
	vfs_node_unref(top);
	r->op++;
	r->ids[r->op] = tx_info(tx).id;
	if (random_number(r) % 6 == 0)
		close_log(r->t.pool);
	if (abort_it)
		assert_ok(tx->ops->abort(tx, -ECANCELED));
	else
		assert_ok(tx->ops->commit(tx, durable, NULL, NULL, NULL));
	tx->ops->free(tx);
	note_state(r->t.top, r->history[r->op]);
	if (!abort_it)
		assert_string_equal(inside, r->history[r->op]);
	else
		assert_string_equal(r->history[r->op - 1], r->history[r->op]);
	if (durable && !abort_it)
		r->durable_op = r->op;
	free(inside);
}

static void rest(struct run *r)
{
	switch (random_number(r) % 12) {
	case 0:
		assert_ok(txg_force(r->t.pool, 1 + (unsigned)(random_number(r) % 2)));
		r->durable_op = r->op;
		break;
	case 1:
		assert_ok(r->t.top->ops->flush(r->t.top, 0));
		r->durable_op = r->op;
		break;
	default:
		break;
	}
}

/* ---- after the crash ---- */

static void check_state(struct run *r)
{
	char *now = malloc(STATE_BYTES);
	struct vfs_tx_info info;
	unsigned at = r->op + 1;

	note_state(r->t.top, now);
	for (unsigned i = r->durable_op; i <= r->op; i++)
		if (!strcmp(now, r->history[i]))
			at = i;
	if (at > r->op)
		fail_msg("what is there was never there:\n%sdurable was:\n%slast was:\n%s", now,
		         r->history[r->durable_op], r->history[r->op]);
	/* What outcomes say of transactions that changed something. */
	for (unsigned i = 1; i <= r->op; i++) {
		bool there = !r->t.top->ops->tx_status(r->t.top, r->ids[i], &info);

		if (there && i > at)
			assert_string_equal(r->history[i], now);
		if (!there && i <= r->durable_op)
			assert_string_equal(r->history[i], r->history[i - 1]);
	}
	strcpy(r->history[0], now);
	r->op = r->durable_op = 0;
	free(now);
}

static void episode(struct run *r)
{
	for (unsigned i = 0, n = (unsigned)(random_number(r) % OPS); i < n; i++) {
		transact(r);
		rest(r);
	}
	tree_crash(&r->t, random_number(r));
	check_state(r);
}

static void test_random_transactions_and_power_cuts(void **state)
{
	struct run *r = calloc(1, sizeof(*r));

	(void)state;
	for (unsigned i = 0; i <= OPS; i++)
		r->history[i] = malloc(STATE_BYTES);
	r->seed = 20;
	tree_init(&r->t, 192u << 20);
	note_state(r->t.top, r->history[0]);
	for (unsigned i = 0; i < EPISODES; i++) {
		episode(r);
		if (i % 10 == 9)
			tree_restart(&r->t);
	}
	tree_done(&r->t);
	for (unsigned i = 0; i <= OPS; i++)
		free(r->history[i]);
	free(r);
}

/* ---- between two batches ---- */

#define LARGE_BYTES 600000u /* more than a batch of the log has in it */

/* Without rest between it and the end of the group: the log's last batch is in memory when that begins. */
static int commit_large(void *ctx)
{
	struct tree_fixture *t = ctx;
	struct vfs_tx *tx = tx_begin(t, VFS_TX_SNAPSHOT);
	struct vfs_node *top = tx_top(t, tx), *n = make_file(top, "large");
	uint8_t *data = malloc(LARGE_BYTES);

	memset(data, 7, LARGE_BYTES);
	assert_ok(node_write(n, 0, data, LARGE_BYTES, 0));
	free(data);
	vfs_node_unref(n);
	vfs_node_unref(top);
	assert_ok(tx_end(tx));
	txg_want_commit(t->pool);
	return 0;
}

static void test_group_that_ends_after_some_batches_of_a_transaction_keeps_it_whole(void **state)
{
	uint8_t *data = malloc(LARGE_BYTES);
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	tree_init(&t, 192u << 20);
	assert_ok(txg_force(t.pool, 2));
	assert_ok(txg_run_between(t.pool, commit_large, &t));
	assert_ok(txg_sync(t.pool));
	/* The rest of it gets into the log behind the root's position. */
	assert_ok(t.top->ops->flush(t.top, 0));
	tree_crash(&t, 3);
	n = node_at(t.top, "large");
	assert_ok(node_read(n, 0, data, LARGE_BYTES));
	for (size_t i = 0; i < LARGE_BYTES; i++)
		assert_int_equal(data[i], 7);
	vfs_node_unref(n);
	free(data);
	tree_done(&t);
}

/* ---- a log that takes nothing ---- */

static void put_both(struct tree_fixture *t, const char *text, bool closed)
{
	struct vfs_tx *tx = tx_begin(t, VFS_TX_SNAPSHOT);
	struct vfs_node *top = tx_top(t, tx);

	put_text(top, "a", text);
	put_text(top, "b", text);
	vfs_node_unref(top);
	if (closed)
		close_log(t->pool);
	assert_ok(tx_end(tx));
}

/* The committing thread is here: whoever waited for it would do so for ever. */
static int commit_while_closed(void *ctx)
{
	put_both(ctx, "new", true);
	return 0;
}

static void test_closed_log_keeps_no_commit_waiting_and_a_flush_has_all_of_it(void **state)
{
	(void)state;
	for (unsigned flushed = 0; flushed < 2; flushed++) {
		struct tree_fixture t;

		tree_init(&t, 64u << 20);
		put_both(&t, "old", false);
		assert_ok(t.top->ops->flush(t.top, 0));
		assert_ok(txg_run_between(t.pool, commit_while_closed, &t));
		assert_string_equal(text_of(t.top, "a"), "new");
		if (flushed)
			assert_ok(t.top->ops->flush(t.top, 0));
		tree_crash(&t, flushed);
		if (flushed || !strcmp(text_of(t.top, "a"), "new")) {
			assert_string_equal(text_of(t.top, "a"), "new");
			assert_string_equal(text_of(t.top, "b"), "new");
		} else {
			assert_string_equal(text_of(t.top, "a"), "old");
			assert_string_equal(text_of(t.top, "b"), "old");
		}
		tree_done(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_group_that_ends_after_some_batches_of_a_transaction_keeps_it_whole),
		cmocka_unit_test(test_closed_log_keeps_no_commit_waiting_and_a_flush_has_all_of_it),
		cmocka_unit_test(test_random_transactions_and_power_cuts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
