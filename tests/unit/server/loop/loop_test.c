/* SPDX-License-Identifier: BSD-3-Clause */
/* Event loops: order of posted tasks, calls, and the end. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/base/sync.h"
#include "server/loop/loop.h"

#define TASKS 10000
#define POSTERS 3

struct numbered {
	struct loop_task task; /* first */
	struct loop *loop;
	unsigned number;
	unsigned *next; /* what the loop expects, per poster */
	unsigned *wrong;
};

static void run_numbered(struct loop_task *t)
{
	struct numbered *n = (struct numbered *)t;

	if (*n->next != n->number || !loop_is_current(n->loop))
		(*n->wrong)++;
	*n->next = n->number + 1;
}

static struct numbered tasks[POSTERS][TASKS];

static void post_all(void *arg)
{
	struct numbered *mine = arg;

	for (unsigned i = 0; i < TASKS; i++)
		loop_post(mine[i].loop, &mine[i].task);
}

static void test_tasks_of_each_poster_run_in_order_and_all_before_the_end(void **state)
{
	struct sync_thread threads[POSTERS];
	unsigned next[POSTERS] = { 0 }, wrong = 0;
	struct loop_set *set;

	(void)state;
	assert_int_equal(loop_set_new(2, &set), 0);
	for (unsigned p = 0; p < POSTERS; p++) {
		for (unsigned i = 0; i < TASKS; i++)
			tasks[p][i] =
			        (struct numbered){ { .run = run_numbered }, loop_set_get(set, 1), i, &next[p], &wrong };
		assert_int_equal(sync_thread_start(&threads[p], "poster", post_all, tasks[p]), 0);
	}
	for (unsigned p = 0; p < POSTERS; p++)
		sync_thread_join(&threads[p]);
	loop_set_free(set);
	for (unsigned p = 0; p < POSTERS; p++)
		assert_int_equal(next[p], TASKS);
	assert_int_equal(wrong, 0);
}

struct relay {
	struct loop_task task; /* first */
	struct loop_set *set;
	unsigned hops;
	struct sync_mutex lock;
	struct sync_cond done;
};

static void run_relay(struct loop_task *t)
{
	struct relay *r = (struct relay *)t;

	sync_mutex_lock(&r->lock);
	if (--r->hops)
		loop_post(loop_set_get(r->set, r->hops), &r->task);
	else
		sync_cond_signal(&r->done);
	sync_mutex_unlock(&r->lock);
}

static void test_tasks_post_from_loop_to_loop(void **state)
{
	struct relay relay = { .task.run = run_relay, .hops = 1001 };

	(void)state;
	sync_mutex_init(&relay.lock, SYNC_RANK_SERVER, "relay");
	sync_cond_init(&relay.done);
	assert_int_equal(loop_set_new(3, &relay.set), 0);
	loop_post(loop_set_get(relay.set, 0), &relay.task);
	sync_mutex_lock(&relay.lock);
	while (relay.hops)
		sync_cond_wait(&relay.done, &relay.lock);
	sync_mutex_unlock(&relay.lock);
	loop_set_free(relay.set);
	sync_cond_done(&relay.done);
	sync_mutex_done(&relay.lock);
}

struct seen {
	struct loop *loop;
	int current;
	int inner;
};

static void look_inner(void *arg)
{
	struct seen *s = arg;

	s->inner = 1;
}

static void look(void *arg)
{
	struct seen *s = arg;

	s->current = loop_is_current(s->loop);
	loop_call(s->loop, look_inner, s);
}

static void test_call_runs_on_the_loop_and_returns_after_it(void **state)
{
	struct loop_set *set;
	struct seen seen = { 0 };

	(void)state;
	assert_int_equal(loop_set_new(1, &set), 0);
	seen.loop = loop_set_get(set, 0);
	assert_false(loop_is_current(seen.loop));
	loop_call(seen.loop, look, &seen);
	assert_true(seen.current);
	assert_true(seen.inner);
	loop_set_free(set);
}

static void test_next_goes_round(void **state)
{
	struct loop_set *set;

	(void)state;
	assert_int_equal(loop_set_new(2, &set), 0);
	assert_int_equal(loop_set_count(set), 2);
	assert_ptr_equal(loop_set_next(set), loop_set_get(set, 0));
	assert_ptr_equal(loop_set_next(set), loop_set_get(set, 1));
	assert_ptr_equal(loop_set_next(set), loop_set_get(set, 2));
	loop_set_free(set);
}

static void test_too_many_loops_are_refused(void **state)
{
	struct loop_set *set;

	(void)state;
	assert_int_equal(loop_set_new(65, &set), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tasks_of_each_poster_run_in_order_and_all_before_the_end),
		cmocka_unit_test(test_tasks_post_from_loop_to_loop),
		cmocka_unit_test(test_call_runs_on_the_loop_and_returns_after_it),
		cmocka_unit_test(test_next_goes_round),
		cmocka_unit_test(test_too_many_loops_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
