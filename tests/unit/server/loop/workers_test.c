/* SPDX-License-Identifier: BSD-3-Clause */
/* Workers: lanes do not hold each other up, order within a lane, everything queued runs. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/base/sync.h"
#include "server/loop/workers.h"

#define JOBS 1000

static const struct workers_config one_each = { .threads = { 1, 1, 1, 1 } };

struct gate {
	struct sync_mutex lock;
	struct sync_cond changed;
	bool open;
	unsigned waiting, passed;
};

struct gated {
	struct work work; /* first */
	struct gate *gate;
};

static void gate_init(struct gate *g)
{
	*g = (struct gate){ 0 };
	sync_mutex_init(&g->lock, SYNC_RANK_SERVER, "gate");
	sync_cond_init(&g->changed);
}

static void gate_done(struct gate *g)
{
	sync_cond_done(&g->changed);
	sync_mutex_done(&g->lock);
}

static void pass_gate(struct work *w)
{
	struct gate *g = ((struct gated *)w)->gate;

	sync_mutex_lock(&g->lock);
	g->waiting++;
	sync_cond_broadcast(&g->changed);
	while (!g->open)
		sync_cond_wait(&g->changed, &g->lock);
	g->passed++;
	sync_mutex_unlock(&g->lock);
}

static void open_gate(struct work *w)
{
	struct gate *g = ((struct gated *)w)->gate;

	sync_mutex_lock(&g->lock);
	g->open = true;
	sync_cond_broadcast(&g->changed);
	sync_mutex_unlock(&g->lock);
}

static void test_a_stuck_write_lane_does_not_hold_up_reads(void **state)
{
	struct workers *w;
	struct gate gate;
	struct gated writer = { { .run = pass_gate }, &gate }, reader = { { .run = open_gate }, &gate };

	(void)state;
	gate_init(&gate);
	assert_int_equal(workers_new(&one_each, &w), 0);
	workers_queue(w, WORKER_LANE_WRITE, &writer.work);
	workers_queue(w, WORKER_LANE_READ, &reader.work);
	/* Ends only when the reader opened the gate for the writer. */
	workers_free(w);
	assert_int_equal(gate.passed, 1);
	gate_done(&gate);
}

static void test_a_lane_runs_as_many_jobs_at_a_time_as_it_has_threads(void **state)
{
	struct workers_config config = { .threads = { 4, 1, 1, 1 } };
	struct workers *w;
	struct gate gate;
	struct gated jobs[4];

	(void)state;
	gate_init(&gate);
	assert_int_equal(workers_new(&config, &w), 0);
	for (int i = 0; i < 4; i++) {
		jobs[i] = (struct gated){ { .run = pass_gate }, &gate };
		workers_queue(w, WORKER_LANE_READ, &jobs[i].work);
	}
	sync_mutex_lock(&gate.lock);
	while (gate.waiting < 4)
		sync_cond_wait(&gate.changed, &gate.lock);
	gate.open = true;
	sync_cond_broadcast(&gate.changed);
	sync_mutex_unlock(&gate.lock);
	workers_free(w);
	assert_int_equal(gate.passed, 4);
	gate_done(&gate);
}

struct numbered {
	struct work work; /* first */
	unsigned number;
	unsigned *next;
	bool *wrong;
};

static void run_numbered(struct work *w)
{
	struct numbered *n = (struct numbered *)w;

	*n->wrong |= *n->next != n->number;
	*n->next = n->number + 1;
}

static void test_a_lane_is_first_in_first_out_and_free_runs_all(void **state)
{
	static struct numbered jobs[JOBS];
	unsigned next = 0;
	bool wrong = false;
	struct workers *w;

	(void)state;
	assert_int_equal(workers_new(&one_each, &w), 0);
	for (unsigned i = 0; i < JOBS; i++) {
		jobs[i] = (struct numbered){ { .run = run_numbered }, i, &next, &wrong };
		workers_queue(w, WORKER_LANE_ADMIN, &jobs[i].work);
	}
	workers_free(w);
	assert_int_equal(next, JOBS);
	assert_false(wrong);
}

static unsigned threads_done;

static void count_thread(void)
{
	__atomic_add_fetch(&threads_done, 1, __ATOMIC_RELAXED);
}

static void test_each_thread_says_when_it_ends(void **state)
{
	struct workers_config config = { .threads = { 2, 3, 1, 1 }, .thread_done = count_thread };
	struct workers *w;

	(void)state;
	assert_int_equal(workers_new(&config, &w), 0);
	workers_free(w);
	assert_int_equal(threads_done, 7);
}

static void test_number_of_threads_is_checked(void **state)
{
	struct workers_config none = { .threads = { 1, 0, 1, 1 } }, many = { .threads = { 1, 1, 257, 1 } };
	struct workers *w;

	(void)state;
	assert_int_equal(workers_new(&none, &w), -EINVAL);
	assert_int_equal(workers_new(&many, &w), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_stuck_write_lane_does_not_hold_up_reads),
		cmocka_unit_test(test_a_lane_runs_as_many_jobs_at_a_time_as_it_has_threads),
		cmocka_unit_test(test_a_lane_is_first_in_first_out_and_free_runs_all),
		cmocka_unit_test(test_each_thread_says_when_it_ends),
		cmocka_unit_test(test_number_of_threads_is_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
