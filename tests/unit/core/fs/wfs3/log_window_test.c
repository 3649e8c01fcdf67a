/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is logged between the moment when the log is asked for the next root's position and the end of the group: after
 * a power cut right behind that root, nothing older that stands behind the position comes back.
 */
#include "tests/unit/core/fs/wfs3/collapse_fixture.h"

#define CELLS 12u
#define FIRST 2u
#define COUNT 3u
#define NEW_BYTES 20000u
#define TURNS 4u /* how far the commit is by then is left to chance */

struct window {
	struct tree_fixture t;
	struct vfs_node *n;
	const uint8_t *was;
	unsigned page;
	bool break_log;
};

/*
 * Run @fn in the window of a commit, and wait for that commit. True: it is there. Otherwise the pool gave up, which
 * only a log that breaks too late to be released once more is a reason for.
 */
static bool in_window(struct window *w, void (*fn)(void *window))
{
	struct pool *p = w->t.pool;
	struct sync_thread thread;
	int rc;

	txg_changed(p, NULL, txg_enter(p));
	txg_exit(p);
	/* The committing thread has the position before it comes to this lock. */
	sync_mutex_lock(&p->table_lock);
	txg_want_commit(p);
	while (__atomic_load_n(&p->commit_wanted, __ATOMIC_ACQUIRE))
		;
	assert_ok(sync_thread_start(&thread, "window", fn, w));
	sync_thread_join(&thread);
	sync_mutex_unlock(&p->table_lock);
	rc = txg_sync(p);
	assert_true(!rc || (rc == -EIO && w->break_log));
	return !rc;
}

static void break_log(struct window *w)
{
	const struct space_layout *layout = &w->t.pool->devices[0].label.layout;

	log_set_level((enum log_level)0);
	blk_sim_break(w->t.f.devs[0], layout->log_offset, layout->log_bytes, true);
}

static void flush_and_collapse(void *window)
{
	struct window *w = window;

	assert_ok(node_write(w->n, (uint64_t)w->page * BLOCK, w->was + (size_t)w->page * BLOCK, BLOCK, 0));
	assert_ok(w->n->ops->flush(w->n, 0));
	if (w->break_log)
		break_log(w);
	assert_ok(collapse(w->n, FIRST * CELL, COUNT * CELL));
}

static void crash(struct window *w)
{
	vfs_node_unref(w->n);
	tree_close(&w->t);
	fixture_crash(&w->t.f, 0);
	blk_sim_mend(w->t.f.devs[0]);
	log_set_level(LOG_LEVEL_ERROR);
	assert_ok(pool_import(&w->t.f, 1));
	tree_open(&w->t);
	w->n = node_at(w->t.top, "f");
}

static void check_collapse(unsigned page, bool break_log)
{
	size_t size = CELLS * CELL;
	uint8_t *was = bytes_new(size, 9), *want = bytes_new(size, 9);
	struct window w = { .was = was, .page = page, .break_log = break_log };
	bool done;

	w.n = tree_init_with(&w.t, was, size);
	assert_ok(object_flush(NULL, filetree_object(w.n)));
	assert_ok(txg_force(w.t.pool, 1));
	done = in_window(&w, flush_and_collapse);
	crash(&w);
	/* A root that has the change without the log's record of it must not be. */
	if (done)
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
	for (size_t i = 0; i < TURNS * sizeof(pages) / sizeof(pages[0]); i++) {
		check_collapse(pages[i / TURNS], false);
		check_collapse(pages[i / TURNS], true);
	}
}

static void replace(void *window)
{
	struct window *w = window;
	struct vfs_node *top = w->t.top, *n = node_at(top, "new");

	assert_ok(node_write(n, 0, w->was, NEW_BYTES, 0));
	if (w->break_log)
		break_log(w);
	assert_ok(top->ops->rename(top, "new", 3, top, "f", 1, 0, NULL));
	vfs_node_unref(n);
}

static void test_a_file_that_takes_the_name_of_another_while_a_commit_begins_has_its_contents(void **state)
{
	uint8_t *data = bytes_new(NEW_BYTES, 9);

	(void)state;
	for (unsigned turn = 0; turn < 2 * TURNS; turn++) {
		struct window w = { .was = data, .break_log = turn % 2 };
		bool done;

		w.n = tree_init_with(&w.t, (const uint8_t *)"old contents", 12);
		assert_ok(w.n->ops->flush(w.n, 0));
		vfs_node_unref(make_file(w.t.top, "new"));
		assert_ok(txg_force(w.t.pool, 1));
		done = in_window(&w, replace);
		crash(&w);
		if (done)
			expect_data(w.n, data, NEW_BYTES);
		else
			expect_data(w.n, (const uint8_t *)"old contents", 12);
		vfs_node_unref(w.n);
		tree_done(&w.t);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		        test_a_page_that_is_flushed_while_a_commit_begins_does_not_come_back_over_a_range_taken_out),
		cmocka_unit_test(test_a_file_that_takes_the_name_of_another_while_a_commit_begins_has_its_contents),
		cmocka_unit_test(test_a_log_that_breaks_before_the_end_of_a_group_costs_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
