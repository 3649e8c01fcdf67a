/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of the log of a pool that was not closed. */
#include "tests/unit/core/fs/wfs3/check_fixture.h"

/* A pool that was not closed: three flushes are in its log and nowhere else. */
static void make_unclean_pool(struct fixture *f)
{
	fixture_init(f, 1, 128 * MIB);
	assert_ok(pool_create(f, "tank", 1));
	assert_ok(volume_create(f, "vm1", VOL));
	for (unsigned i = 0; i < 3; i++)
		put(f, "/tank/vm1", i * MIB, 256 << 10, i + 1);
	fixture_crash(f, UINT64_MAX);
}

static void test_log_is_clean_after_a_crash_and_damage_of_its_middle_is_found(void **state)
{
	struct fixture f;
	struct forge g;
	struct pool_check_report r;

	(void)state;
	make_unclean_pool(&f);
	forge_open(&g, f.devs[0]);
	assert_false(g.root.clean);
	r = check(&f, 1, true);
	print_findings(&r);
	assert_int_equal(r.damage_count, 0);
	pool_check_report_done(&r);
	flip(&f, g.label.layout.log_offset + g.root.log_position % g.label.layout.log_bytes + 100);
	r = check(&f, 1, true);
	assert_int_equal(r.damage_count, 1);
	assert_int_equal(r.findings[0].kind, POOL_FINDING_LOG);
	pool_check_report_done(&r);
	forge_close(&g);
	fixture_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_log_is_clean_after_a_crash_and_damage_of_its_middle_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
