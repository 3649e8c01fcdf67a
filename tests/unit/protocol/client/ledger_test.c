/* SPDX-License-Identifier: BSD-3-Clause */
/* Who is told of what a server lost: each file of the object once, like Linux's errseq_t. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "protocol/client/ledger.h"

/* The object lives in the first life. */
static struct wfs_ledger *begin(void)
{
	struct wfs_ledger *l = wfs_ledger_new();

	assert_true(wfs_ledger_move(l, 0, 1, false, false));
	return l;
}

/* Something is written in that life, which ends with a crash. */
static void write_and_crash(struct wfs_ledger *l, uint64_t boot)
{
	wfs_ledger_wrote(l, boot);
	assert_true(wfs_ledger_move(l, boot, boot + 1, false, false));
}

static bool flush(struct wfs_ledger *l, uint64_t *seen)
{
	return wfs_ledger_flushed(l, wfs_ledger_writes(l), seen);
}

static void test_each_file_open_at_a_loss_is_told_once(void **state)
{
	struct wfs_ledger *l = begin();
	uint64_t writer = wfs_ledger_seen(l), reader = writer;

	(void)state;
	write_and_crash(l, 1);
	assert_true(flush(l, &reader));
	assert_false(flush(l, &reader));
	assert_true(flush(l, &writer));
	assert_false(flush(l, &writer));
	wfs_ledger_unref(l);
}

static void test_flush_by_one_file_answers_for_what_all_wrote(void **state)
{
	struct wfs_ledger *l = begin();
	uint64_t writer = 0, reader = 0;

	(void)state;
	wfs_ledger_wrote(l, 1);
	assert_false(flush(l, &reader));
	(void)wfs_ledger_move(l, 1, 2, false, false);
	assert_false(flush(l, &writer));
	wfs_ledger_unref(l);
}

static void test_file_opened_after_a_loss_is_told_unless_somebody_was(void **state)
{
	struct wfs_ledger *l = begin();
	uint64_t before = wfs_ledger_seen(l), after, late;

	(void)state;
	write_and_crash(l, 1);
	after = wfs_ledger_seen(l);
	assert_true(flush(l, &after));
	late = wfs_ledger_seen(l);
	assert_false(flush(l, &late));
	assert_true(flush(l, &before));
	wfs_ledger_unref(l);
}

static void test_losses_that_nobody_was_told_of_are_told_together(void **state)
{
	struct wfs_ledger *l = begin();
	uint64_t one = 0, two = 0;

	(void)state;
	write_and_crash(l, 1);
	write_and_crash(l, 2);
	assert_true(flush(l, &one));
	write_and_crash(l, 3);
	assert_true(flush(l, &one));
	assert_true(flush(l, &two));
	assert_false(flush(l, &two));
	wfs_ledger_unref(l);
}

static void test_end_with_everything_durable_is_no_loss(void **state)
{
	struct wfs_ledger *l = begin();
	uint64_t seen = 0;

	(void)state;
	wfs_ledger_wrote(l, 1);
	(void)wfs_ledger_move(l, 1, 2, true, true);
	wfs_ledger_wrote(l, 1); /* the answer comes late */
	wfs_ledger_changed(l, 1);
	assert_false(flush(l, &seen));
	wfs_ledger_unref(l);
}

static void test_late_answer_of_a_life_that_crashed_is_a_loss(void **state)
{
	struct wfs_ledger *l = begin();
	uint64_t seen = 0;

	(void)state;
	(void)wfs_ledger_move(l, 1, 2, false, false);
	assert_false(flush(l, &seen));
	wfs_ledger_wrote(l, 1);
	assert_true(flush(l, &seen));
	wfs_ledger_changed(l, 1);
	assert_true(flush(l, &seen));
	wfs_ledger_changed(l, 0);
	assert_false(flush(l, &seen));
	wfs_ledger_unref(l);
}

static void test_a_file_that_comes_late_does_not_move_the_others_back(void **state)
{
	struct wfs_ledger *l = begin();
	uint64_t seen = 0;

	(void)state;
	assert_true(wfs_ledger_move(l, 1, 3, true, false));
	wfs_ledger_wrote(l, 3);
	assert_false(wfs_ledger_move(l, 1, 2, true, false));
	assert_int_equal(wfs_ledger_boot(l), 3);
	assert_true(wfs_ledger_move(l, 1, 3, true, false));
	/* What the third life acknowledged is not taken for flushed by that. */
	assert_true(wfs_ledger_move(l, 3, 4, false, false));
	assert_true(flush(l, &seen));
	wfs_ledger_unref(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_file_open_at_a_loss_is_told_once),
		cmocka_unit_test(test_flush_by_one_file_answers_for_what_all_wrote),
		cmocka_unit_test(test_file_opened_after_a_loss_is_told_unless_somebody_was),
		cmocka_unit_test(test_losses_that_nobody_was_told_of_are_told_together),
		cmocka_unit_test(test_end_with_everything_durable_is_no_loss),
		cmocka_unit_test(test_a_file_that_comes_late_does_not_move_the_others_back),
		cmocka_unit_test(test_late_answer_of_a_life_that_crashed_is_a_loss),
	};

	return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
