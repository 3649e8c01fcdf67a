/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages that were flushed into the log and that then cannot be written back, since the part of the map where they
 * belong cannot be read: what everybody else does goes on, also when the log is full, and nothing that was promised is
 * lost.
 */
#include "tests/unit/core/fs/wfs3/collapse_fixture.h"
#include "tests/unit/core/fs/wfs3/filetx_fixture.h"
#include "tests/unit/core/fs/wfs3/log_fixture.h"

#define DEVICE_BYTES (64 * MIB)
#define CELLS 2500u /* of "big", some leaves' worth */
#define STUCK (CELLS / 2) /* in a leaf that has nothing else */

struct stuck {
	struct tree_fixture t;
	struct vfs_node *big;
	uint8_t page[WFS3_BLOCK_BYTES];
};

static void write_stuck(struct stuck *s, unsigned cell, uint64_t seed)
{
	pattern(s->page, sizeof(s->page), seed);
	assert_ok(node_write(s->big, (uint64_t)cell * CELL, s->page, sizeof(s->page), 0));
}

static void expect_stuck(struct stuck *s, unsigned cell, uint64_t seed)
{
	uint8_t got[WFS3_BLOCK_BYTES];

	pattern(s->page, sizeof(s->page), seed);
	assert_ok(node_read(s->big, (uint64_t)cell * CELL, got, sizeof(got)));
	assert_memory_equal(got, s->page, sizeof(got));
}

/* A page of "big" is in the log, and its leaf cannot be read; all that others need is in memory. */
static void stuck_init(struct stuck *s, unsigned count)
{
	tree_init(&s->t, DEVICE_BYTES);
	for (unsigned n = 0; n < 2; n++) {
		s->big = make_file(s->t.top, n ? "big2" : "big");
		for (unsigned i = 0; i < CELLS; i++)
			write_stuck(s, i, i);
		vfs_node_unref(s->big);
	}
	put_text(s->t.top, "other", "something");
	tree_restart(&s->t);
	/* Its leaf is in memory. */
	vfs_node_unref(node_at(s->t.top, "big2"));
	s->big = node_at(s->t.top, "big");
	put_text(s->t.top, "other", "something else");
	assert_ok(txg_force(s->t.pool, 1));
	break_regions(&s->t);
	log_set_level((enum log_level)0);
	for (unsigned i = 0; i < count; i++)
		write_stuck(s, STUCK + i, 1000 + i);
	assert_ok(s->big->ops->flush(s->big, 0));
	assert_int_equal(object_flush(NULL, filetree_object(s->big)), -EIO);
}

static void stuck_crash(struct stuck *s)
{
	vfs_node_unref(s->big);
	crash_and_mend(&s->t);
	s->big = node_at(s->t.top, "big");
}

static void stuck_done(struct stuck *s)
{
	vfs_node_unref(s->big);
	tree_restart(&s->t);
	tree_done(&s->t);
}

static void flush_other(struct stuck *s, unsigned turn)
{
	char text[32];

	snprintf(text, sizeof(text), "turn %u", turn);
	put_text(s->t.top, "other", text);
}

static void expect_other(struct stuck *s, unsigned turn)
{
	char text[32];

	snprintf(text, sizeof(text), "turn %u", turn);
	assert_string_equal(text_of(s->t.top, "other"), text);
}

static int commit_transaction(struct stuck *s, const char *text)
{
	struct vfs_tx *tx = tx_begin(&s->t, VFS_TX_SNAPSHOT);
	struct vfs_node *top = tx_top(&s->t, tx);

	put_text(top, "other", text);
	vfs_node_unref(top);
	return tx_end(tx);
}

static void test_a_page_that_cannot_be_written_back_costs_nobody_else_the_log(void **state)
{
	struct vfs_node *n;
	struct stuck s;
	uint8_t data[16 * WFS3_BLOCK_BYTES];

	(void)state;
	stuck_init(&s, 1);
	n = make_file(s.t.top, "log");
	/* Several times around the ring of 4 MiB. */
	for (unsigned i = 0; i < 300; i++) {
		pattern(data, sizeof(data), i);
		assert_ok(node_write(n, 0, data, sizeof(data), 0));
		assert_ok(n->ops->flush(n, 0));
		if (i % 50 == 0)
			assert_ok(commit_transaction(&s, "a transaction"));
	}
	assert_false(s.t.pool->failed);
	assert_int_equal(s.t.pool->carried_pages, 1);
	vfs_node_unref(n);
	stuck_crash(&s);
	expect_stuck(&s, STUCK, 1000);
	n = node_at(s.t.top, "log");
	expect_data(n, data, sizeof(data));
	vfs_node_unref(n);
	stuck_done(&s);
}

/* The committing thread cannot go on before the log is full. */
static void fill_log(struct stuck *s)
{
	struct pool *p = s->t.pool;
	struct vfs_node *n = make_file(s->t.top, "log");
	static uint8_t data[64 * WFS3_BLOCK_BYTES];
	struct object *o = filetree_object(n);

	pattern(data, sizeof(data), 5);
	sync_rwlock_rdlock(&p->tx_gate);
	for (unsigned i = 0; i < 100 && wal_closed_txg(p->wal) < p->open_txg; i++) {
		uint64_t closed_txg;

		assert_ok(node_write(n, 0, data, sizeof(data), 0));
		assert_ok(object_persist(o, 0, sizeof(data)));
		assert_ok(wal_sync(p->wal, &closed_txg));
	}
	assert_true(wal_closed_txg(p->wal) >= p->open_txg);
	sync_rwlock_rdunlock(&p->tx_gate);
	vfs_node_unref(n);
}

enum then { THEN_NOTHING, THEN_TRANSACTION, THEN_COLLAPSE, THEN_REWRITE, THEN_COUNT };

static void test_a_full_log_with_such_a_page_is_released_all_the_same(void **state)
{
	(void)state;
	for (enum then then = 0; then < THEN_COUNT; then++) {
		struct stuck s;

		stuck_init(&s, 2);
		fill_log(&s);
		close_log(s.t.pool);
		if (then == THEN_TRANSACTION)
			assert_ok(commit_transaction(&s, "turn 7"));
		else
			flush_other(&s, 7);
		if (then == THEN_REWRITE) {
			write_stuck(&s, STUCK, 2000);
			/* There is neither a place for it nor room in the log, perhaps: who asks is told. */
			(void)s.big->ops->flush(s.big, 0);
		}
		if (then == THEN_COLLAPSE) {
			struct vfs_node *n = make_file(s.t.top, "cut");
			uint8_t *data = bytes_new(3 * CELL, 3);

			assert_ok(node_write(n, 0, data, 3 * CELL, 0));
			close_log(s.t.pool);
			assert_ok(n->ops->collapse(n, CELL, CELL, NULL));
			vfs_node_unref(n);
			free(data);
		}
		assert_ok(txg_force(s.t.pool, 1));
		assert_false(s.t.pool->failed);
		assert_int_equal(s.t.pool->carried_pages, 2);
		/* And again, as often as it takes until there is room. */
		if (then != THEN_NOTHING) {
			assert_ok(txg_force(s.t.pool, 3));
			assert_ok(commit_transaction(&s, "turn 8"));
			assert_ok(txg_sync_log(filetree_object(s.t.top)->ds));
		}
		stuck_crash(&s);
		expect_stuck(&s, STUCK, then == THEN_REWRITE ? 2000 : 1000);
		expect_stuck(&s, STUCK + 1, 1001);
		if (then != THEN_NOTHING)
			expect_other(&s, 8);
		stuck_done(&s);
	}
}

static void test_what_comes_after_a_page_was_carried_is_newer(void **state)
{
	(void)state;
	for (unsigned how = 0; how < 3; how++) {
		struct stuck s;
		uint8_t zeros[WFS3_BLOCK_BYTES] = { 0 }, got[WFS3_BLOCK_BYTES];

		stuck_init(&s, 2);
		close_log(s.t.pool);
		assert_ok(txg_force(s.t.pool, 1));
		assert_int_equal(s.t.pool->carried_pages, 2);
		blk_sim_mend(s.t.f.devs[0]);
		if (how == 0)
			assert_ok(s.big->ops->discard(s.big, (uint64_t)STUCK * CELL, CELL, 0));
		else
			write_stuck(&s, STUCK, 3000);
		/* It is in its place, and the log says nothing of it. */
		if (how == 2)
			close_log(s.t.pool);
		if (how)
			assert_ok(object_flush(NULL, filetree_object(s.big)));
		assert_ok(s.big->ops->flush(s.big, 0));
		assert_ok(txg_force(s.t.pool, 1));
		assert_int_equal(s.t.pool->carried_pages, 0);
		stuck_crash(&s);
		if (how == 0) {
			assert_ok(node_read(s.big, (uint64_t)STUCK * CELL, got, sizeof(got)));
			assert_memory_equal(got, zeros, sizeof(got));
		} else {
			expect_stuck(&s, STUCK, 3000);
		}
		expect_stuck(&s, STUCK + 1, 1001);
		stuck_done(&s);
	}
}

struct closer {
	struct pool *p;
	struct sync_thread thread;
	bool stop; /* atomic */
};

/* As those whose changes find the log full: it closes for every group as soon as that opens. */
static void closer_main(void *closer)
{
	struct closer *c = closer;

	while (!__atomic_load_n(&c->stop, __ATOMIC_ACQUIRE))
		close_log(c->p);
}

static void test_a_log_that_is_full_for_the_next_group_has_what_is_carried(void **state)
{
	struct closer c = { .stop = false };
	struct stuck s;

	(void)state;
	stuck_init(&s, 2);
	c.p = s.t.pool;
	assert_ok(sync_thread_start(&c.thread, "closer", closer_main, &c));
	for (unsigned i = 0; i < 20; i++) {
		assert_ok(commit_transaction(&s, "turn 7"));
		assert_ok(txg_force(s.t.pool, 1));
		sync_mutex_lock(&c.p->txg_lock);
		assert_int_equal(c.p->released_txg, c.p->durable_txg);
		sync_mutex_unlock(&c.p->txg_lock);
	}
	__atomic_store_n(&c.stop, true, __ATOMIC_RELEASE);
	sync_thread_join(&c.thread);
	stuck_crash(&s);
	expect_stuck(&s, STUCK, 1000);
	expect_stuck(&s, STUCK + 1, 1001);
	expect_other(&s, 7);
	stuck_done(&s);
}

#define MANY 40u

/* More than can be carried, and of two files. "other" is durable. Returns the first one. */
static struct vfs_node *stuck_init_many(struct stuck *s)
{
	struct vfs_node *first, *other;

	stuck_init(s, 2);
	flush_other(s, 7);
	other = node_at(s->t.top, "other");
	assert_ok(other->ops->flush(other, 0));
	vfs_node_unref(other);
	first = s->big;
	s->big = node_at(s->t.top, "big2");
	for (unsigned i = 0; i < MANY; i++)
		write_stuck(s, STUCK + i, 4000 + i);
	assert_ok(s->big->ops->flush(s->big, 0));
	assert_int_equal(object_flush(NULL, filetree_object(s->big)), -EIO);
	return first;
}

static void test_more_of_them_than_can_be_carried_keep_the_log(void **state)
{
	struct vfs_node *more;
	struct stuck s;

	(void)state;
	more = stuck_init_many(&s);
	assert_ok(txg_force(s.t.pool, 2));
	assert_int_equal(s.t.pool->carried_pages, 0);
	close_log(s.t.pool);
	flush_other(&s, 7);
	assert_int_equal(txg_sync_log(filetree_object(s.t.top)->ds), -EIO);
	assert_false(s.t.pool->failed);
	close_log(s.t.pool);
	assert_ok(commit_transaction(&s, "turn 8"));
	assert_int_equal(txg_force(s.t.pool, 1), -EIO);
	assert_true(s.t.pool->failed);
	vfs_node_unref(more);
	stuck_crash(&s);
	expect_stuck(&s, STUCK, 1000);
	expect_stuck(&s, STUCK + 1, 1001);
	vfs_node_unref(s.big);
	s.big = node_at(s.t.top, "big2");
	for (unsigned i = 0; i < MANY; i++)
		expect_stuck(&s, STUCK + i, 4000 + i);
	stuck_done(&s);
}

static int sync_pool(struct stuck *s)
{
	return s->t.f.admin.driver->pool_sync(s->t.f.admin.ctx, "tank");
}

/* Until then the log has what was there before, and recovery would bring that back. */
static void test_pages_in_their_place_are_durable_when_a_log_that_was_kept_is_released(void **state)
{
	struct vfs_node *more, *other;
	struct stuck s;

	(void)state;
	more = stuck_init_many(&s);
	close_log(s.t.pool);
	flush_other(&s, 8);
	other = node_at(s.t.top, "other");
	assert_ok(object_flush(NULL, filetree_object(other)));
	assert_ok(txg_sync(s.t.pool));
	assert_int_equal(txg_sync_pages(s.t.pool), -EIO);
	assert_int_equal(sync_pool(&s), -EIO);
	assert_false(s.t.pool->failed);
	blk_sim_mend(s.t.f.devs[0]);
	assert_ok(sync_pool(&s));
	vfs_node_unref(other);
	vfs_node_unref(more);
	stuck_crash(&s);
	expect_other(&s, 8);
	expect_stuck(&s, STUCK, 1000);
	stuck_done(&s);
}

/* The log has lost what the file has, and that cannot be written back: the name is not durable without it. */
static void test_a_log_that_is_kept_and_loses_a_file_keeps_its_new_name_from_being(void **state)
{
	struct vfs_node *more;
	struct stuck s;

	(void)state;
	more = stuck_init_many(&s);
	break_log(&s.t);
	write_stuck(&s, STUCK + MANY, 5000);
	assert_ok(rename_to(s.t.top, "big2", s.t.top, "other", 0));
	assert_int_equal(txg_force(s.t.pool, 1), -EIO);
	assert_true(s.t.pool->failed);
	vfs_node_unref(more);
	stuck_crash(&s);
	expect_other(&s, 7);
	stuck_done(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_page_that_cannot_be_written_back_costs_nobody_else_the_log),
		cmocka_unit_test(test_a_full_log_with_such_a_page_is_released_all_the_same),
		cmocka_unit_test(test_what_comes_after_a_page_was_carried_is_newer),
		cmocka_unit_test(test_a_log_that_is_full_for_the_next_group_has_what_is_carried),
		cmocka_unit_test(test_more_of_them_than_can_be_carried_keep_the_log),
		cmocka_unit_test(test_pages_in_their_place_are_durable_when_a_log_that_was_kept_is_released),
		cmocka_unit_test(test_a_log_that_is_kept_and_loses_a_file_keeps_its_new_name_from_being),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
