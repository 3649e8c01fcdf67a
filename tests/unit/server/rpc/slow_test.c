/* SPDX-License-Identifier: BSD-3-Clause */
/* The slowest requests: which are kept, in which order, and for how long. */
#include "server/rpc/slow.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <setjmp.h>

#include <cmocka.h>

#define MS SYNC_NS_PER_MS
#define MINUTE (60 * SYNC_NS_PER_S)

static struct slow_list *make(void)
{
	struct slow_list *l = malloc(sizeof(*l));

	assert_non_null(l);
	slow_init(l);
	return l;
}

static void done(struct slow_list *l)
{
	slow_done(l);
	free(l);
}

/* As the server does it. */
static void request(struct slow_list *l, uint64_t now_ns, uint64_t total_ns)
{
	struct rpc_slow s = { .total_ns = total_ns };

	if (slow_wants(l, now_ns, total_ns))
		slow_add(l, now_ns, &s);
}

static void test_the_slowest_of_many_are_kept_slowest_first(void **state)
{
	struct slow_list *l = make();
	struct rpc_slow got[RPC_SLOW_MAX];

	(void)state;
	for (uint64_t i = 0; i < 5000; i++)
		request(l, 3 * MINUTE + i, (i * 7919 % 5000 + 1) * MS);
	assert_int_equal(slow_get(l, 3 * MINUTE + 5000, got, RPC_SLOW_MAX), SLOW_PER_MINUTE);
	for (unsigned i = 0; i < SLOW_PER_MINUTE; i++)
		assert_int_equal(got[i].total_ns, (5000 - i) * MS);
	done(l);
}

static void test_what_is_fast_is_not_wanted(void **state)
{
	struct slow_list *l = make();
	struct rpc_slow got[RPC_SLOW_MAX];

	(void)state;
	request(l, MINUTE, MS - 1);
	assert_int_equal(slow_get(l, MINUTE, got, RPC_SLOW_MAX), 0);
	for (unsigned i = 0; i < SLOW_PER_MINUTE; i++)
		request(l, MINUTE, 10 * MS);
	assert_false(slow_wants(l, MINUTE + 1, 9 * MS));
	assert_true(slow_wants(l, MINUTE + 1, 11 * MS));
	/* Another minute begins with nothing. */
	assert_true(slow_wants(l, 2 * MINUTE, 2 * MS));
	done(l);
}

static void test_minutes_are_joined_and_forgotten_after_ten(void **state)
{
	struct slow_list *l = make();
	struct rpc_slow got[RPC_SLOW_MAX];

	(void)state;
	for (uint64_t minute = 100; minute < 112; minute++)
		request(l, minute * MINUTE, minute * MS);
	assert_int_equal(slow_get(l, 111 * MINUTE, got, RPC_SLOW_MAX), 10);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(got[i].total_ns, (111 - i) * MS);
	assert_int_equal(slow_get(l, 111 * MINUTE, got, 3), 3);
	assert_int_equal(got[2].total_ns, 109 * MS);
	assert_int_equal(slow_get(l, 119 * MINUTE, got, RPC_SLOW_MAX), 2);
	assert_int_equal(slow_get(l, 200 * MINUTE, got, RPC_SLOW_MAX), 0);
	done(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_slowest_of_many_are_kept_slowest_first),
		cmocka_unit_test(test_what_is_fast_is_not_wanted),
		cmocka_unit_test(test_minutes_are_joined_and_forgotten_after_ten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
