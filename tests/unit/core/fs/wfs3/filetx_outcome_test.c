/* SPDX-License-Identifier: BSD-3-Clause */
/* How transactions end: their bounds, outcomes by number, and crashes. */
#include "tests/unit/core/fs/wfs3/filetx_fixture.h"

#define DEVICE_BYTES (256u << 20)

static void test_bounds_abort_with_their_reason(void **state)
{
	struct vfs_tx_args args = { .isolation = VFS_TX_SNAPSHOT, .ttl_ms = 1 };
	struct tree_fixture t;
	struct vfs_node *top, *n;
	static char data[1u << 20];
	struct vfs_tx *tx, *many[300];
	unsigned count = 0;
	int rc = 0;

	(void)state;
	tree_init(&t, DEVICE_BYTES);
	tx = tx_begin(&t, VFS_TX_SNAPSHOT);
	top = tx_top(&t, tx);
	n = make_file(top, "large");
	for (unsigned i = 0; i < 100 && !rc; i++)
		rc = node_write(n, i * sizeof(data), data, sizeof(data), 0);
	assert_int_equal(rc, -E2BIG);
	assert_int_equal(tx_info(tx).reason, -E2BIG);
	vfs_node_unref(n);
	vfs_node_unref(top);
	assert_int_equal(tx_end(tx), -E2BIG);
	assert_ok(t.top->ops->tx_begin(t.top, &args, &tx));
	for (uint64_t until = sync_now_ns() + 2 * SYNC_NS_PER_MS; sync_now_ns() < until;)
		;
	assert_int_equal(tx->ops->node(tx, t.top, &top), -ETIMEDOUT);
	tx->ops->free(tx);
	args.ttl_ms = 0;
	while (!(rc = t.top->ops->tx_begin(t.top, &args, &many[count])))
		assert_true(++count < 300);
	assert_int_equal(rc, -EAGAIN);
	for (unsigned i = 0; i < count; i++)
		many[i]->ops->free(many[i]);
	tree_done(&t);
}

static void test_outcomes_are_known_by_number_also_after_a_restart(void **state)
{
	struct tree_fixture t;
	struct vfs_node *top;
	struct vfs_tx *tx;
	struct vfs_tx_info info;
	uint64_t committed, aborted, first = 0;

	(void)state;
	tree_init(&t, DEVICE_BYTES);
	tx = tx_begin(&t, VFS_TX_SNAPSHOT);
	top = tx_top(&t, tx);
	put_text(top, "a", "1");
	committed = tx_info(tx).id;
	assert_ok(t.top->ops->tx_status(t.top, committed, &info));
	assert_int_equal(info.state, VFS_TX_RUNNING);
	vfs_node_unref(top);
	assert_ok(tx_end(tx));
	tx = tx_begin(&t, VFS_TX_SNAPSHOT);
	aborted = tx_info(tx).id;
	assert_true(aborted != committed);
	assert_ok(tx->ops->abort(tx, -ECANCELED));
	tx->ops->free(tx);
	assert_ok(t.top->ops->tx_status(t.top, aborted, &info));
	assert_int_equal(info.state, VFS_TX_ABORTED);
	tree_restart(&t);
	assert_ok(t.top->ops->tx_status(t.top, committed, &info));
	assert_int_equal(info.state, VFS_TX_COMMITTED);
	assert_true(info.committed_ns > 0);
	assert_int_equal(t.top->ops->tx_status(t.top, aborted, &info), -ENOENT);
	for (unsigned i = 0; i < FILETX_OUTCOMES + 10; i++) {
		tx = tx_begin(&t, VFS_TX_SNAPSHOT);
		top = tx_top(&t, tx);
		put_text(top, "a", "1");
		first = first ? first : tx_info(tx).id;
		vfs_node_unref(top);
		assert_ok(tx_end(tx));
	}
	assert_int_equal(t.top->ops->tx_status(t.top, committed, &info), -ENOENT);
	assert_int_equal(t.top->ops->tx_status(t.top, first, &info), -ENOENT);
	tree_restart(&t);
	tree_done(&t);
}

static void test_what_was_committed_durably_survives_a_crash(void **state)
{
	struct tree_fixture t;
	struct vfs_node *top, *n;
	static char data[300000], back[300000];
	struct vfs_tx_info info;
	struct vfs_tx *tx;
	uint64_t id;

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 7 + i / 4096);
	tree_init(&t, DEVICE_BYTES);
	tx = tx_begin(&t, VFS_TX_SNAPSHOT);
	top = tx_top(&t, tx);
	n = make_file(top, "f");
	assert_ok(node_write(n, 0, data, sizeof(data), 0));
	put_text(top, "g", "small");
	vfs_node_unref(n);
	vfs_node_unref(top);
	id = tx_info(tx).id;
	assert_ok(tx->ops->commit(tx, true, NULL, NULL, NULL));
	tx->ops->free(tx);
	tree_crash(&t, 5);
	n = node_at(t.top, "f");
	assert_ok(node_read(n, 0, back, sizeof(back)));
	assert_memory_equal(back, data, sizeof(data));
	vfs_node_unref(n);
	assert_string_equal(text_of(t.top, "g"), "small");
	assert_ok(t.top->ops->tx_status(t.top, id, &info));
	assert_int_equal(info.state, VFS_TX_COMMITTED);
	tree_restart(&t);
	tree_done(&t);
}

static void test_a_full_pool_refuses_it_and_nothing_is_changed(void **state)
{
	struct tree_fixture t;
	struct vfs_node *top, *n, *filler;
	static uint8_t data[500000];
	struct vfs_tx *tx;
	uint64_t at = 0;
	int rc;

	(void)state;
	memset(data, 5, sizeof(data));
	tree_init(&t, 64u << 20);
	put_text(t.top, "old", "before");
	filler = make_file(t.top, "filler");
	while (!(rc = node_write(filler, at, data, 65536, 0)))
		at += 65536;
	assert_int_equal(rc, -ENOSPC);
	while (!(rc = node_write(filler, at, data, 4096, 0)))
		at += 4096;
	assert_int_equal(rc, -ENOSPC);
	tx = tx_begin(&t, VFS_TX_SNAPSHOT);
	top = tx_top(&t, tx);
	put_text(top, "old", "after");
	n = make_file(top, "large");
	assert_ok(node_write(n, 0, data, sizeof(data), 0));
	vfs_node_unref(n);
	vfs_node_unref(top);
	assert_int_equal(tx->ops->commit(tx, true, NULL, NULL, NULL), -ENOSPC);
	assert_int_equal(tx_info(tx).reason, -ENOSPC);
	tx->ops->free(tx);
	assert_string_equal(text_of(t.top, "old"), "before");
	assert_int_equal(lookup_error(t.top, "large"), -ENOENT);
	vfs_node_unref(filler);
	tree_restart(&t);
	assert_string_equal(text_of(t.top, "old"), "before");
	tree_done(&t);
}

#define HOLDERS 16u
#define HELD_BYTES (1u << 20)

static int hold(struct vfs_node *top, const char *name, uint64_t bytes)
{
	uint8_t *data = malloc(65536);
	struct vfs_node *n;
	int rc = make_type(top, name, VFS_TYPE_FILE, &n);

	memset(data, 5, 65536);
	for (uint64_t at = 0; at < bytes && !rc; at += 65536)
		rc = node_write(n, at, data, 65536, 0);
	vfs_node_unref(n);
	free(data);
	return rc;
}

static void test_transactions_hold_a_share_of_the_memory_and_no_more(void **state)
{
	struct vfs_tx *all[HOLDERS], *late;
	struct tree_fixture t;
	struct vfs_node *top;
	unsigned count = 0;
	int rc = 0;

	(void)state;
	tree_init(&t, 192u << 20);
	for (; count < HOLDERS && !rc; count++) {
		all[count] = tx_begin(&t, VFS_TX_SNAPSHOT);
		top = tx_top(&t, all[count]);
		rc = hold(top, "f", HELD_BYTES);
		vfs_node_unref(top);
	}
	assert_int_equal(rc, -ENOMEM);
	assert_true(count >= 2);
	/* It is over, and says why; others are not. */
	assert_int_equal(tx_info(all[count - 1]).state, VFS_TX_ABORTED);
	assert_int_equal(tx_info(all[count - 1]).reason, -ENOMEM);
	assert_int_equal(tx_end(all[--count]), -ENOMEM);
	assert_int_equal(lookup_error(t.top, "f"), -ENOENT);
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(tx_info(all[i]).state, VFS_TX_RUNNING);
		all[i]->ops->free(all[i]);
	}
	late = tx_begin(&t, VFS_TX_SNAPSHOT);
	top = tx_top(&t, late);
	assert_ok(hold(top, "f", 65536));
	vfs_node_unref(top);
	assert_ok(tx_end(late));
	assert_ok(lookup_error(t.top, "f"));
	tree_done(&t);
}

/* The step before a group ends, when the log could not be released. */
static int settle_kept(struct pool *p)
{
	int rc;

	sync_rwlock_wrlock(&p->tx_gate);
	rc = txg_settle_transactions(p, false, false);
	sync_rwlock_wrunlock(&p->tx_gate);
	return rc;
}

static void lose_log(struct pool *p, struct blk_dev *dev)
{
	const struct space_layout *layout = &p->devices[0].label.layout;
	uint64_t closed_txg;

	log_set_level((enum log_level)0);
	blk_sim_break(dev, layout->log_offset, layout->log_bytes, true);
	assert_ok(wal_sync(p->wal, &closed_txg));
	log_set_level(LOG_LEVEL_ERROR);
	assert_true(closed_txg > p->open_txg);
}

static void test_a_root_does_not_keep_what_the_log_has_of_files_before_a_transaction_it_lacks(void **state)
{
	struct tree_fixture t;
	struct vfs_node *top;
	struct vfs_tx *tx;

	(void)state;
	for (unsigned how = 0; how < 4; how++) {
		bool older = how % 2, names_only = how >= 2;

		tree_init(&t, DEVICE_BYTES);
		put_text(t.top, "a", "old");
		if (older) {
			assert_ok(txg_sync_log(filetree_object(t.top)->ds));
		} else {
			/* Nothing stands behind the root, and nothing comes. */
			lose_log(t.pool, t.f.devs[0]);
			assert_ok(txg_force(t.pool, 1));
			assert_true(wal_closed_txg(t.pool->wal) >= t.pool->open_txg);
		}
		tx = tx_begin(&t, VFS_TX_SNAPSHOT);
		top = tx_top(&t, tx);
		if (names_only)
			assert_ok(rename_to(top, "a", top, "b", 0));
		else
			put_text(top, "a", "tx");
		vfs_node_unref(top);
		assert_ok(tx_end(tx));
		/* The log has taken it, and cannot write it. */
		if (older)
			lose_log(t.pool, t.f.devs[0]);
		assert_int_equal(settle_kept(t.pool), older ? -EIO : 0);
		assert_ok(txg_force(t.pool, 1));
		assert_int_equal(settle_kept(t.pool), 0);
		assert_string_equal(text_of(t.top, names_only ? "b" : "a"), names_only ? "old" : "tx");
		tree_done(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transactions_hold_a_share_of_the_memory_and_no_more),
		cmocka_unit_test(test_bounds_abort_with_their_reason),
		cmocka_unit_test(test_outcomes_are_known_by_number_also_after_a_restart),
		cmocka_unit_test(test_what_was_committed_durably_survives_a_crash),
		cmocka_unit_test(test_a_full_pool_refuses_it_and_nothing_is_changed),
		cmocka_unit_test(test_a_root_does_not_keep_what_the_log_has_of_files_before_a_transaction_it_lacks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
