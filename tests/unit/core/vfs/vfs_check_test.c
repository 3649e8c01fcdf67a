/* SPDX-License-Identifier: BSD-3-Clause */
/* Reports of checks: names, copies. */
#include "core/vfs/vfs_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_every_kind_has_a_name_of_its_own(void **state)
{
	(void)state;
	for (unsigned i = 0; i < POOL_FINDING_KINDS; i++) {
		assert_non_null(pool_finding_name(i));
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(pool_finding_name(i), pool_finding_name(j));
	}
	assert_string_equal(pool_finding_name(POOL_FINDING_KINDS), "unknown");
	assert_string_equal(pool_check_state_name(POOL_CHECK_FAILED), "failed");
	assert_string_equal(pool_check_state_name((enum pool_check_state)99), "unknown");
}

static void test_copy_of_a_report_stands_alone(void **state)
{
	struct pool_check_report from = { .state = POOL_CHECK_DONE, .damage_count = 2, .finding_count = 2 }, copy;

	(void)state;
	from.findings = calloc(2, sizeof(*from.findings));
	from.findings[1].kind = POOL_FINDING_LEAK;
	from.devices[from.device_count++] = strdup("/dev/a");
	assert_int_equal(pool_check_report_copy(&from, &copy), 0);
	pool_check_report_done(&from);
	assert_int_equal(from.state, POOL_CHECK_NEVER);
	assert_null(from.findings);
	assert_int_equal(copy.damage_count, 2);
	assert_int_equal(copy.findings[1].kind, POOL_FINDING_LEAK);
	assert_string_equal(copy.devices[0], "/dev/a");
	pool_check_report_done(&copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_kind_has_a_name_of_its_own),
		cmocka_unit_test(test_copy_of_a_report_stands_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
