/* SPDX-License-Identifier: BSD-3-Clause */
/* Names that a directory does not have: known as long as nobody else changes it, and not longer than that is believed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "plugins/fuse/mount.h"

struct fixture {
	struct options options;
	struct mount m;
	struct node dir;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->options.negative_timeout_s = 1000;
	f->m.options = &f->options;
	pthread_mutex_init(&f->m.small_lock, NULL);
	names_begin(&f->m, &f->dir, &(struct wfs_attr){ .exact_names = 1, .change = 7 });
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	names_free(f->dir.names);
	pthread_mutex_destroy(&f->m.small_lock);
	free(f);
	return 0;
}

static bool lacks(struct fixture *f, const char *name)
{
	double timeout_s = 0;
	bool lack = names_lack(&f->m, &f->dir, name, &timeout_s);

	assert_true(!lack || (timeout_s > 0 && timeout_s <= f->options.negative_timeout_s));
	return lack;
}

static void changed(struct fixture *f, const char *added, uint64_t change)
{
	names_changed(&f->m, &f->dir, added, &(struct wfs_attr){ .change = change });
}

static void test_what_was_added_is_not_lacking(void **state)
{
	struct fixture *f = *state;
	char name[16];

	assert_true(lacks(f, "a"));
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "%u", i);
		assert_true(lacks(f, name));
		changed(f, name, 8 + i);
		assert_false(lacks(f, name));
	}
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "%u", i);
		assert_false(lacks(f, name));
	}
	assert_true(lacks(f, "1000"));
	/* Something was removed, or not; the answer tells of nobody else. */
	changed(f, NULL, 1008);
	changed(f, NULL, 1008);
	assert_true(lacks(f, "1000"));
}

static void test_a_change_by_somebody_else_ends_it(void **state)
{
	struct fixture *f = *state;

	changed(f, "a", 9);
	assert_false(lacks(f, "b"));
	changed(f, "c", 10);
	assert_false(lacks(f, "b"));
}

static void test_an_unknown_outcome_ends_it(void **state)
{
	struct fixture *f = *state;

	names_changed(&f->m, &f->dir, NULL, NULL);
	assert_false(lacks(f, "b"));
}

static void test_what_is_old_is_believed_again_only_when_nothing_changed(void **state)
{
	struct fixture *f = *state;

	assert_false(names_are_old(&f->m, &f->dir));
	f->options.negative_timeout_s = 0;
	changed(f, "a", 8);
	assert_false(lacks(f, "b"));
	assert_true(names_are_old(&f->m, &f->dir));
	f->options.negative_timeout_s = 1000;
	names_renew(&f->m, &f->dir, &(struct wfs_attr){ .change = 9 });
	assert_false(lacks(f, "b"));
	names_renew(&f->m, &f->dir, &(struct wfs_attr){ .change = 8 });
	assert_true(lacks(f, "b"));
	assert_false(lacks(f, "a"));
}

static void test_only_empty_directories_with_exact_names_are_known(void **state)
{
	struct fixture *f = *state;
	struct node other = { 0 };
	double timeout_s;

	names_begin(&f->m, &other, &(struct wfs_attr){ .exact_names = 1, .size_bytes = 1 });
	assert_false(names_lack(&f->m, &other, "a", &timeout_s));
	names_begin(&f->m, &other, &(struct wfs_attr){ .type = WFS_TYPE_DIR });
	assert_null(other.names);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_what_was_added_is_not_lacking),
		T(test_a_change_by_somebody_else_ends_it),
		T(test_an_unknown_outcome_ends_it),
		T(test_what_is_old_is_believed_again_only_when_nothing_changed),
		T(test_only_empty_directories_with_exact_names_are_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
