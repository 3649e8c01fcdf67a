/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is logged between the moment when the log is asked for the next root's position and the end of the group: after
 * a power cut right behind that root, nothing older that stands behind the position comes back.
 */
#include "tests/unit/core/fs/wfs3/collapse_fixture.h"
#include "tests/unit/core/fs/wfs3/log_fixture.h"

#include "core/fs/wfs3/txg_carry.h"

#define CELLS 12u
#define FIRST 2u
#define COUNT 3u
#define NEW_BYTES 20000u

/* How far the commit is. */
enum moment {
	HAS_POSITION, /* behind which the window's changes stand */
	KNOWS_LOG, /* it has also seen that the log can be written; then its group has a new name already */
	MOMENTS
};

struct window {
	struct tree_fixture t;
	struct vfs_node *n;
	const uint8_t *was;
	unsigned page;
	bool break_log;
	uint64_t barriers; /* of the log, when the commit began */
};

static uint64_t log_barriers(const struct window *w)
{
	return counter_read(&wal_get_stats(w->t.pool->wal)->barriers);
}

/* On the committing thread, which has nothing else to write to the log before it ends the group. */
static int replace_and_commit(void *window)
{
	struct window *w = window;

	assert_ok(rename_to(w->t.top, "x", w->t.top, "y", 0));
	w->barriers = log_barriers(w);
	txg_want_commit(w->t.pool);
	return 0;
}

/* The table of datasets is locked: the commit cannot end the group. */
static void begin_commit(struct window *w, enum moment moment)
{
	struct pool *p = w->t.pool;

	if (moment == KNOWS_LOG) {
		assert_ok(txg_run_between(p, replace_and_commit, w));
		while (log_barriers(w) == w->barriers)
			;
		return;
	}
	txg_changed(p, NULL, txg_enter(p));
	txg_exit(p);
	txg_want_commit(p);
	while (__atomic_load_n(&p->commit_wanted, __ATOMIC_ACQUIRE))
		;
}

/* Run @fn at that moment of a commit, and wait for that commit. */
static int in_window(struct window *w, enum moment moment, void (*fn)(void *window))
{
	struct pool *p = w->t.pool;
	struct sync_thread thread;

	vfs_node_unref(make_file(w->t.top, "x"));
	vfs_node_unref(make_file(w->t.top, "y"));
	assert_ok(txg_force(p, 1));
	sync_mutex_lock(&p->table_lock);
	begin_commit(w, moment);
	assert_ok(sync_thread_start(&thread, "window", fn, w));
	sync_thread_join(&thread);
	sync_mutex_unlock(&p->table_lock);
	return txg_sync(p);
}

static void flush_and_collapse(void *window)
{
	struct window *w = window;

	assert_ok(node_write(w->n, (uint64_t)w->page * BLOCK, w->was + (size_t)w->page * BLOCK, BLOCK, 0));
	assert_ok(w->n->ops->flush(w->n, 0));
	if (w->break_log)
		break_log(&w->t);
	assert_ok(collapse(w->n, FIRST * CELL, COUNT * CELL));
}

static void crash(struct window *w)
{
	vfs_node_unref(w->n);
	crash_and_mend(&w->t);
	w->n = node_at(w->t.top, "f");
}

/* Only a log that breaks when it is too late to release it once more keeps the root from being. */
static bool is_too_late(enum moment moment, bool break_log)
{
	return moment == KNOWS_LOG && break_log;
}

static void check_collapse(unsigned page, enum moment moment, bool break_log)
{
	size_t size = CELLS * CELL;
	uint8_t *was = bytes_new(size, 9), *want = bytes_new(size, 9);
	struct window w = { .was = was, .page = page, .break_log = break_log };
	bool too_late = is_too_late(moment, break_log);

	w.n = tree_init_with(&w.t, was, size);
	assert_ok(object_flush(NULL, filetree_object(w.n)));
	assert_int_equal(in_window(&w, moment, flush_and_collapse), too_late ? -EIO : 0);
	crash(&w);
	/* A root that has the change without the log's record of it must not be. */
	if (!too_late)
		size = cut_out(want, size, (size_t)FIRST * CELL, (size_t)COUNT * CELL);
	expect_data(w.n, want, size);
	vfs_node_unref(w.n);
	tree_restart(&w.t);
	tree_done(&w.t);
	free(was);
	free(want);
}

static void test_a_page_that_is_flushed_while_a_commit_begins_does_not_come_back_over_a_range_taken_out(void **state)
{
	/* Before the range, in it, behind it where something comes to, and near the end. */
	static const unsigned pages[] = { 3, (FIRST + 1) * 16, (FIRST + COUNT) * 16 + 5, (CELLS - 1) * 16 - 1 };

	(void)state;
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
		for (enum moment moment = 0; moment < MOMENTS; moment++) {
			check_collapse(pages[i], moment, false);
			check_collapse(pages[i], moment, true);
		}
}

static void replace(void *window)
{
	struct window *w = window;
	struct vfs_node *top = w->t.top, *n = node_at(top, "new");

	assert_ok(node_write(n, 0, w->was, NEW_BYTES, 0));
	if (w->break_log)
		break_log(&w->t);
	assert_ok(rename_to(top, "new", top, "f", 0));
	vfs_node_unref(n);
}

static void check_replace(const uint8_t *data, enum moment moment, bool break_log)
{
	struct window w = { .was = data, .break_log = break_log };
	bool too_late = is_too_late(moment, break_log);

	w.n = tree_init_with(&w.t, (const uint8_t *)"old contents", 12);
	assert_ok(w.n->ops->flush(w.n, 0));
	vfs_node_unref(make_file(w.t.top, "new"));
	assert_int_equal(in_window(&w, moment, replace), too_late ? -EIO : 0);
	crash(&w);
	if (too_late)
		expect_data(w.n, (const uint8_t *)"old contents", 12);
	else
		expect_data(w.n, data, NEW_BYTES);
	vfs_node_unref(w.n);
	tree_done(&w.t);
}

static void test_a_file_that_takes_the_name_of_another_while_a_commit_begins_has_its_contents(void **state)
{
	uint8_t *data = bytes_new(NEW_BYTES, 9);

	(void)state;
	for (enum moment moment = 0; moment < MOMENTS; moment++) {
		check_replace(data, moment, false);
		check_replace(data, moment, true);
	}
	free(data);
}

static void test_a_log_that_breaks_before_the_end_of_a_group_costs_nothing(void **state)
{
	uint8_t *data = bytes_new(NEW_BYTES, 9);
	struct window w = { .was = data };

	(void)state;
	w.n = tree_init_with(&w.t, (const uint8_t *)"old contents", 12);
	assert_ok(w.n->ops->flush(w.n, 0));
	vfs_node_unref(make_file(w.t.top, "new"));
	assert_ok(txg_force(w.t.pool, 1));
	w.break_log = true;
	replace(&w);
	assert_ok(txg_force(w.t.pool, 1));
	crash(&w);
	expect_data(w.n, data, NEW_BYTES);
	vfs_node_unref(w.n);
	tree_done(&w.t);
	free(data);
}

/*
 * A group has ended, and before its root the log loses something of the next one. What it loses of the group itself is
 * a reason not to write the root; but a log that was closed has nothing of it.
 */
static void test_what_the_log_loses_of_the_next_group_does_not_keep_one_from_ending(void **state)
{
	(void)state;
	for (unsigned closed = 0; closed < 2; closed++) {
		const struct carry nothing = { .delicate = true };
		uint8_t *data = bytes_new(NEW_BYTES, 9);
		struct window w = { .was = data };
		bool released = true;
		struct pool *p;

		w.n = tree_init_with(&w.t, (const uint8_t *)"old contents", 12);
		vfs_node_unref(make_file(w.t.top, "new"));
		p = w.t.pool;
		if (closed)
			close_log(p);
		assert_ok(txg_force(p, 1));
		replace(&w);
		break_log(&w.t);
		assert_int_equal(txg_settle_log(p, p->open_txg - 1, &nothing, &released), closed ? 0 : -EIO);
		assert_true(released);
		/* That of the next one is written back. */
		assert_ok(txg_force(p, 1));
		crash(&w);
		expect_data(w.n, data, NEW_BYTES);
		vfs_node_unref(w.n);
		tree_done(&w.t);
		free(data);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		        test_a_page_that_is_flushed_while_a_commit_begins_does_not_come_back_over_a_range_taken_out),
		cmocka_unit_test(test_a_file_that_takes_the_name_of_another_while_a_commit_begins_has_its_contents),
		cmocka_unit_test(test_a_log_that_breaks_before_the_end_of_a_group_costs_nothing),
		cmocka_unit_test(test_what_the_log_loses_of_the_next_group_does_not_keep_one_from_ending),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
