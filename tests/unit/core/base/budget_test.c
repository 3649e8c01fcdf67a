/* SPDX-License-Identifier: BSD-3-Clause */
/* The memory budget and the buffer pools that charge it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/budget.h"
#include "core/base/bufpool.h"
#include "core/base/sync.h"

/* A consumer that gives what it is asked for, down to what it holds. */
struct holder {
	struct budget_consumer *c;
	unsigned asked;
	size_t last_ask;
	bool stubborn;
};

static size_t give(void *ctx, size_t bytes)
{
	struct holder *h = ctx;
	size_t used = budget_consumer_used(h->c);

	h->asked++;
	h->last_ask = bytes;
	if (h->stubborn)
		return 0;
	if (bytes > used)
		bytes = used;
	budget_uncharge(h->c, bytes);
	return bytes;
}

static void let_go(struct holder *h)
{
	budget_uncharge(h->c, budget_consumer_used(h->c));
	budget_leave(h->c);
}

static void test_charge_above_the_limit_shrinks_the_largest(void **state)
{
	struct budget *b = budget_new(1000);
	struct holder small = { 0 }, large = { 0 };

	(void)state;
	small.c = budget_join(b, "small", 0, give, &small);
	large.c = budget_join(b, "large", 100, give, &large);
	budget_charge(small.c, 300);
	budget_charge(large.c, 700);
	assert_int_equal(small.asked + large.asked, 0);
	budget_charge(small.c, 100);
	assert_int_equal(large.asked, 1);
	assert_int_equal(large.last_ask, 100);
	assert_int_equal(small.asked, 0);
	assert_int_equal(budget_used(b), 1000);
	assert_int_equal(budget_consumer_used(large.c), 600);
	let_go(&small);
	let_go(&large);
	budget_free(b);
}

static void test_nobody_is_asked_below_the_minimum(void **state)
{
	struct budget *b = budget_new(1000);
	struct holder a = { 0 }, fixed = { 0 };

	(void)state;
	a.c = budget_join(b, "a", 400, give, &a);
	fixed.c = budget_join(b, "fixed", 0, NULL, NULL);
	budget_charge(a.c, 500);
	budget_charge(fixed.c, 900);
	assert_int_equal(budget_consumer_used(a.c), 400);
	assert_int_equal(budget_used(b), 1300);
	let_go(&a);
	let_go(&fixed);
	budget_free(b);
}

static void test_try_charge_refuses_and_charges_nothing(void **state)
{
	struct budget *b = budget_new(1000);
	struct holder a = { .stubborn = true };

	(void)state;
	a.c = budget_join(b, "a", 0, give, &a);
	assert_true(budget_try_charge(a.c, 1000));
	assert_false(budget_try_charge(a.c, 1));
	assert_int_equal(a.asked, 1);
	assert_int_equal(budget_used(b), 1000);
	a.stubborn = false;
	assert_true(budget_try_charge(a.c, 1));
	assert_true(budget_used(b) <= budget_limit(b));
	let_go(&a);
	budget_free(b);
}

static void test_join_refuses_too_many(void **state)
{
	struct budget *b = budget_new(1000);
	struct budget_consumer *c[BUDGET_CONSUMERS_MAX];

	(void)state;
	for (int i = 0; i < BUDGET_CONSUMERS_MAX; i++)
		assert_non_null(c[i] = budget_join(b, "c", 0, NULL, NULL));
	assert_null(budget_join(b, "one more", 0, NULL, NULL));
	for (int i = 0; i < BUDGET_CONSUMERS_MAX; i++)
		budget_leave(c[i]);
	budget_free(b);
}

static void sum_each(void *ctx, const char *name, size_t used_bytes)
{
	assert_non_null(name);
	*(size_t *)ctx += used_bytes;
}

struct listed {
	unsigned count;
	size_t twice_bytes;
};

static void list_each(void *ctx, const char *name, size_t used_bytes)
{
	struct listed *l = ctx;

	l->count++;
	if (!strcmp(name, "twice"))
		l->twice_bytes = used_bytes;
}

static void test_consumers_of_one_name_are_told_as_one(void **state)
{
	struct budget *b = budget_new(1000);
	struct budget_consumer *first = budget_join(b, "twice", 0, NULL, NULL);
	struct budget_consumer *other = budget_join(b, "other", 0, NULL, NULL);
	struct budget_consumer *second = budget_join(b, "twice", 0, NULL, NULL);
	struct listed l = { 0 };

	(void)state;
	budget_charge(first, 10);
	budget_charge(second, 5);
	budget_charge(other, 1);
	budget_each(b, list_each, &l);
	assert_int_equal(l.count, 2);
	assert_int_equal(l.twice_bytes, 15);
	budget_uncharge(first, 10);
	budget_uncharge(second, 5);
	budget_uncharge(other, 1);
	budget_leave(first);
	budget_leave(other);
	budget_leave(second);
	budget_free(b);
}

static void charge_and_uncharge(void *arg)
{
	struct holder *h = arg;

	for (int i = 0; i < 2000; i++) {
		budget_charge(h->c, 100);
		if (budget_try_charge(h->c, 50))
			budget_uncharge(h->c, 50);
		budget_uncharge(h->c, 100);
	}
}

static void test_sums_agree_after_concurrent_use(void **state)
{
	struct budget *b = budget_new(150);
	struct holder h[3] = { 0 };
	struct sync_thread t[3];
	size_t sum = 0;

	(void)state;
	for (int i = 0; i < 3; i++) {
		h[i].c = budget_join(b, "h", 0, NULL, NULL);
		assert_int_equal(sync_thread_start(&t[i], "charge", charge_and_uncharge, &h[i]), 0);
	}
	for (int i = 0; i < 3; i++)
		sync_thread_join(&t[i]);
	budget_each(b, sum_each, &sum);
	assert_int_equal(sum, 0);
	assert_int_equal(budget_used(b), 0);
	for (int i = 0; i < 3; i++)
		budget_leave(h[i].c);
	budget_free(b);
}

static void test_pool_keeps_a_bounded_number_of_buffers(void **state)
{
	struct budget *b = budget_new(1 << 20);
	struct budget_consumer *c = budget_join(b, "pool", 0, NULL, NULL);
	struct bufpool *p = bufpool_new(8192, 2, c);
	void *bufs[4];

	(void)state;
	for (int i = 0; i < 4; i++) {
		bufs[i] = bufpool_get(p);
		assert_non_null(bufs[i]);
		assert_int_equal((uintptr_t)bufs[i] % 4096, 0);
		memset(bufs[i], i, 8192);
	}
	assert_int_equal(budget_used(b), 4 * 8192);
	for (int i = 0; i < 4; i++)
		bufpool_put(p, bufs[i]);
	bufpool_put(p, NULL);
	assert_int_equal(budget_used(b), 2 * 8192);
	bufs[0] = bufpool_get(p);
	assert_int_equal(budget_used(b), 2 * 8192);
	assert_int_equal(bufpool_trim(p), 8192);
	bufpool_put(p, bufs[0]);
	bufpool_free(p);
	assert_int_equal(budget_used(b), 0);
	budget_leave(c);
	budget_free(b);
}

static void get_and_put(void *arg)
{
	for (int i = 0; i < 1000; i++) {
		void *a = bufpool_get(arg), *b = bufpool_get(arg);

		assert_ptr_not_equal(a, b);
		memset(a, 1, 64);
		memset(b, 2, 64);
		bufpool_put(arg, a);
		bufpool_put(arg, b);
	}
}

static void test_pool_serves_several_threads(void **state)
{
	struct bufpool *p = bufpool_new(4096, 3, NULL);
	struct sync_thread t[3];

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(sync_thread_start(&t[i], "pool", get_and_put, p), 0);
	for (int i = 0; i < 3; i++)
		sync_thread_join(&t[i]);
	bufpool_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_charge_above_the_limit_shrinks_the_largest),
		cmocka_unit_test(test_nobody_is_asked_below_the_minimum),
		cmocka_unit_test(test_try_charge_refuses_and_charges_nothing),
		cmocka_unit_test(test_join_refuses_too_many),
		cmocka_unit_test(test_consumers_of_one_name_are_told_as_one),
		cmocka_unit_test(test_sums_agree_after_concurrent_use),
		cmocka_unit_test(test_pool_keeps_a_bounded_number_of_buffers),
		cmocka_unit_test(test_pool_serves_several_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
