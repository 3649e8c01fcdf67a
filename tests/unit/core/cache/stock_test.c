/* SPDX-License-Identifier: BSD-3-Clause */
/* The stock of free pages: it is there before it is needed, comes back, gives way, and costs nobody memory. */
#include "tests/unit/core/cache/store.h"

#define BUDGET (64 * MIB)
#define STOCK (16 * MIB)

static void begin(struct rig *r, size_t stock_bytes)
{
	struct cache_config cfg = rig_config(BUDGET);

	cfg.stock_bytes = stock_bytes;
	rig_init(r, BUDGET, 32768, &cfg);
	store_stamp(&r->store);
}

/* The thread that fills the stock is at work. */
static void wait_for_free(struct rig *r, size_t bytes)
{
	while (budget_used(r->budget) < stats_of(r).resident_bytes + bytes)
		sync_sleep_ns(SYNC_NS_PER_MS);
}

static void test_stock_is_there_before_it_is_needed_and_comes_back(void **state)
{
	struct rig r;
	uint8_t *buf = filled(7, 12 * MIB), *back = filled(0, 12 * MIB);

	(void)state;
	begin(&r, STOCK);
	wait_for_free(&r, STOCK);
	for (uint64_t at = 0; at < 12 * MIB; at += 64 * KIB)
		assert_int_equal(rig_write(&r, at, buf + at, 64 * KIB, CACHE_NOWAIT), 0);
	wait_for_free(&r, STOCK / 2);
	assert_int_equal(rig_read(&r, 0, back, 12 * MIB, 0), 0);
	assert_memory_equal(buf, back, 12 * MIB);
	rig_done(&r);
	free(buf);
	free(back);
}

static void test_without_a_stock_pages_come_when_they_are_needed(void **state)
{
	struct rig r;
	uint8_t *buf = filled(7, MIB);

	(void)state;
	begin(&r, 0);
	assert_int_equal(rig_write(&r, 0, buf, MIB, 0), 0);
	assert_true(budget_used(r.budget) < 2 * MIB);
	rig_done(&r);
	free(buf);
}

static void test_stock_gives_way_and_leaves_an_eighth_of_the_budget_alone(void **state)
{
	struct budget_consumer *other;
	struct rig r;
	uint8_t *buf = filled(0, MIB);

	(void)state;
	begin(&r, STOCK);
	wait_for_free(&r, STOCK);
	other = budget_join(r.budget, "other", 0, NULL, NULL);
	assert_true(budget_try_charge(other, 56 * MIB));
	for (uint64_t at = 0; at < 32 * MIB; at += MIB) {
		assert_int_equal(rig_read(&r, at, buf, MIB, 0), 0);
		assert_memory_equal(buf, r.store.data + at, MIB);
		assert_true(budget_used(r.budget) <= BUDGET);
	}
	budget_uncharge(other, 56 * MIB);
	assert_int_equal(rig_read(&r, 64 * MIB, buf, MIB, 0), 0);
	wait_for_free(&r, STOCK / 2);
	budget_leave(other);
	rig_done(&r);
	free(buf);
}

static void test_all_of_the_budget_is_used_with_a_stock_too(void **state)
{
	struct rig r;
	uint8_t *buf = filled(0, 64 * KIB);

	(void)state;
	begin(&r, STOCK);
	for (unsigned round = 0; round < 2; round++) {
		for (uint64_t at = 0; at < 128 * MIB; at += 64 * KIB) {
			assert_int_equal(rig_read(&r, at, buf, 64 * KIB, 0), 0);
			assert_memory_equal(buf, r.store.data + at, 64 * KIB);
			assert_true(budget_used(r.budget) <= BUDGET);
		}
	}
	assert_true(stats_of(&r).resident_bytes > BUDGET - 4 * MIB);
	rig_done(&r);
	free(buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stock_is_there_before_it_is_needed_and_comes_back),
		cmocka_unit_test(test_without_a_stock_pages_come_when_they_are_needed),
		cmocka_unit_test(test_stock_gives_way_and_leaves_an_eighth_of_the_budget_alone),
		cmocka_unit_test(test_all_of_the_budget_is_used_with_a_stock_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
