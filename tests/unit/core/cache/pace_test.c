/* SPDX-License-Identifier: BSD-3-Clause */
/* Writers and write-back in virtual time: writers are slowed down to what write-back does, before the limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/cache/pace.h"

#define STEP_NS UINT64_C(100000)
#define START 8192u
#define LIMIT 16384u
#define BATCH 2048u

struct writer {
	uint64_t clock_ns, due_ns;
	uint64_t pages; /* of each write */
	uint64_t written, longest_ns;
	uint64_t idle_ns; /* between its writes */
};

struct model {
	struct pace pace;
	uint64_t now_ns, used, highest;
	uint64_t batch_from_ns, batch_ns; /* how long each takes */
};

static void write_back(struct model *m)
{
	if (!m->batch_from_ns && m->used > START)
		m->batch_from_ns = m->now_ns;
	if (!m->batch_from_ns || m->now_ns < m->batch_from_ns + m->batch_ns)
		return;
	pace_measure(&m->pace, m->batch_from_ns, m->now_ns, BATCH);
	m->used -= BATCH;
	m->batch_from_ns = m->used > START ? m->now_ns : 0;
}

/* Whoever may write writes, one request at a time. */
static void let_write(struct model *m, struct writer *w)
{
	while (m->now_ns >= w->due_ns && m->used + w->pages <= LIMIT) {
		struct pace_level level = { m->used, START, LIMIT };
		uint64_t due = pace_due(w->clock_ns, m->now_ns);

		w->clock_ns = pace_order(&m->pace, w->clock_ns, m->now_ns, w->pages, &level);
		if (due - m->now_ns > w->longest_ns)
			w->longest_ns = due - m->now_ns;
		w->due_ns = due + w->idle_ns;
		w->written += w->pages;
		m->used += w->pages;
		if (due == m->now_ns && !w->idle_ns && m->used < START)
			break; /* memory is not infinitely fast either */
	}
	if (m->used > m->highest)
		m->highest = m->used;
}

static void run(struct model *m, struct writer *w, unsigned count, uint64_t until_ns)
{
	for (; m->now_ns < until_ns; m->now_ns += STEP_NS) {
		write_back(m);
		for (unsigned i = 0; i < count; i++)
			let_write(m, &w[i]);
	}
}

static void test_greedy_writer_settles_at_the_speed_of_write_back(void **state)
{
	static const uint64_t batch_ns[] = { 5000000, 20000000, 200000000 };

	(void)state;
	for (unsigned i = 0; i < sizeof(batch_ns) / sizeof(batch_ns[0]); i++) {
		struct model m = { .now_ns = 1000000000, .batch_ns = batch_ns[i] };
		struct writer w = { .pages = 16 };
		uint64_t settled, before, possible;

		run(&m, &w, 1, m.now_ns + 20 * batch_ns[i]); /* until it was measured */
		m.highest = 0;
		w.longest_ns = 0;
		before = w.written;
		settled = 200 * batch_ns[i];
		possible = settled / batch_ns[i] * BATCH;
		run(&m, &w, 1, m.now_ns + settled);
		assert_in_range(w.written - before, possible * 9 / 10, possible * 11 / 10);
		assert_true(m.highest < LIMIT - 64);
		/* Never as long as a batch. */
		assert_true(w.longest_ns < batch_ns[i] / 2 + 10 * STEP_NS);
	}
}

static void test_modest_writer_hardly_waits_beside_a_greedy_one(void **state)
{
	struct model m = { .now_ns = 1000000000, .batch_ns = 200000000 };
	struct writer w[2] = { { .pages = 64 }, { .pages = 1, .idle_ns = 10000000 } };

	(void)state;
	run(&m, w, 2, m.now_ns + 20 * m.batch_ns);
	w[1].longest_ns = 0;
	run(&m, w, 2, m.now_ns + 100 * m.batch_ns);
	assert_true(w[1].longest_ns < 10000000);
}

static void test_nobody_waits_below_the_level_where_pacing_begins(void **state)
{
	struct pace p = { .page_ns = 100000 };
	struct pace_level level = { START, START, LIMIT };

	(void)state;
	assert_int_equal(pace_order(&p, 0, 1000, 1000, &level), 0);
	assert_int_equal(pace_due(0, 1000), 1000);
}

static void test_wait_is_bounded_even_at_the_limit(void **state)
{
	struct pace p = { .page_ns = 10000000 };
	struct pace_level level = { LIMIT, START, LIMIT };
	uint64_t clock = 0;

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		clock = pace_order(&p, clock, 1000, 1000, &level);
	assert_int_equal(pace_due(clock, 1000), 1000 + PACE_WAIT_NS_MAX);
}

static void test_threads_that_write_back_together_share_the_time(void **state)
{
	struct pace p = { 0 };

	(void)state;
	pace_measure(&p, 0, 40000000, 1000);
	assert_int_equal(p.page_ns, 40000);
	/* Two at once, each of 1000 pages in 40 ms: 20 us a page. */
	for (unsigned i = 1; i < 30; i++) {
		pace_measure(&p, i * UINT64_C(40000000), (i + 1) * UINT64_C(40000000), 1000);
		pace_measure(&p, i * UINT64_C(40000000), (i + 1) * UINT64_C(40000000), 1000);
	}
	assert_in_range(p.page_ns, 19000, 21000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_greedy_writer_settles_at_the_speed_of_write_back),
		cmocka_unit_test(test_modest_writer_hardly_waits_beside_a_greedy_one),
		cmocka_unit_test(test_nobody_waits_below_the_level_where_pacing_begins),
		cmocka_unit_test(test_wait_is_bounded_even_at_the_limit),
		cmocka_unit_test(test_threads_that_write_back_together_share_the_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
