/* SPDX-License-Identifier: BSD-3-Clause */
/* Jobs side by side: each is done once, jobs may add jobs, and what waits is bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/ctl/jobs.h"

#define COUNT 5000u
#define BELOW 7u

struct world {
	struct jobs jobs;
	unsigned done[COUNT], below, clashes; /* atomic */
	unsigned busy[JOBS_WORKERS_MAX]; /* jobs by worker that are running; atomic */
};
static struct world world;

static unsigned index_of(const void *arg)
{
	return (unsigned)((const unsigned *)arg - world.done);
}

static void count_below(void *arg, unsigned worker)
{
	(void)arg;
	(void)worker;
	__atomic_fetch_add(&world.below, 1, __ATOMIC_RELAXED);
}

static void count(void *arg, unsigned worker)
{
	if (__atomic_fetch_add(&world.busy[worker], 1, __ATOMIC_ACQ_REL))
		__atomic_fetch_add(&world.clashes, 1, __ATOMIC_RELAXED);
	if (index_of(arg) % 3 == 0) {
		for (unsigned i = 0; i < BELOW; i++)
			jobs_add(&world.jobs, worker, count_below, NULL);
	}
	__atomic_fetch_add((unsigned *)arg, 1, __ATOMIC_RELAXED);
	__atomic_fetch_sub(&world.busy[worker], 1, __ATOMIC_ACQ_REL);
}

static void test_jobs_are_each_done_once_by_any_number_of_workers(void **state)
{
	static const unsigned workers[] = { 1, 2, 4, JOBS_WORKERS_MAX };

	(void)state;
	for (unsigned w = 0; w < sizeof(workers) / sizeof(workers[0]); w++) {
		world = (struct world){ 0 };
		jobs_init(&world.jobs, workers[w]);
		for (unsigned i = 0; i < COUNT; i++) {
			jobs_add(&world.jobs, 0, count, &world.done[i]);
			if (i % 1000 != 999)
				continue;
			jobs_wait(&world.jobs);
			for (unsigned k = 0; k <= i; k++)
				assert_int_equal(world.done[k], 1);
			assert_int_equal(world.below, (i / 3 + 1) * BELOW);
		}
		assert_int_equal(world.clashes, 0);
		jobs_done(&world.jobs);
		jobs_init(&world.jobs, workers[w]);
		jobs_add(&world.jobs, 0, count, &world.done[1]);
		jobs_done(&world.jobs);
		assert_int_equal(world.done[1], 2);
	}
}

/* A door that holds the threads, so that what is added has to wait. */
static struct sync_mutex door;

static void pass(void *arg, unsigned worker)
{
	unsigned *by = arg;

	if (worker) {
		sync_mutex_lock(&door);
		sync_mutex_unlock(&door);
	}
	__atomic_store_n(by, worker + 1, __ATOMIC_RELEASE);
}

static void test_jobs_beyond_the_queue_are_done_by_who_adds_them(void **state)
{
	unsigned by[100] = { 0 }, waiting = 0;

	(void)state;
	sync_mutex_init(&door, SYNC_RANK_SERVER, "door");
	jobs_init(&world.jobs, 3);
	sync_mutex_lock(&door);
	for (unsigned i = 0; i < 100; i++) {
		jobs_add(&world.jobs, 0, pass, &by[i]);
		waiting += !__atomic_load_n(&by[i], __ATOMIC_ACQUIRE);
	}
	/* Two are at the door at most, and four in the queue. */
	assert_in_range(waiting, 4, 6);
	for (unsigned i = 0; i < 100; i++)
		assert_in_range(__atomic_load_n(&by[i], __ATOMIC_ACQUIRE), 0, 1);
	sync_mutex_unlock(&door);
	jobs_done(&world.jobs);
	for (unsigned i = 0; i < 100; i++)
		assert_int_not_equal(by[i], 0);
	sync_mutex_done(&door);
}

static void test_jobs_of_one_worker_are_done_in_order_at_once(void **state)
{
	unsigned by[10] = { 0 };

	(void)state;
	jobs_init(&world.jobs, 1);
	for (unsigned i = 0; i < 10; i++) {
		jobs_add(&world.jobs, 0, pass, &by[i]);
		assert_int_equal(by[i], 1);
	}
	jobs_done(&world.jobs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_jobs_are_each_done_once_by_any_number_of_workers),
		cmocka_unit_test(test_jobs_beyond_the_queue_are_done_by_who_adds_them),
		cmocka_unit_test(test_jobs_of_one_worker_are_done_in_order_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
