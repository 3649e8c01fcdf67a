/* SPDX-License-Identifier: BSD-3-Clause */
/* Which small files are read ahead: those that follow in an order in which files are being opened. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "plugins/fuse/small.h"

#define FILES 100u
#define FOLDER 50u

struct fixture {
	struct options options;
	struct mount m;
	struct node root;
	struct node *files[FILES]; /* with the numbers from 100 on */
	struct node *picked[AHEAD_FILES_MAX];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->options = (struct options){ .attr_timeout_s = 1, .coherent_timeout_s = 60 };
	f->m.options = &f->options;
	f->m.root = &f->root;
	f->root.fsid = 1;
	f->m.events.coherent = true;
	pthread_rwlock_init(&f->m.events.lock, NULL);
	assert_int_equal(node_table_init(&f->m.nodes), 0);
	small_cache_init(&f->m);
	for (unsigned i = 0; i < FILES; i++) {
		f->files[i] = node_get(&f->m.nodes, &(struct wfs_attr){ .fsid = 1, .file_id = 100 + i },
		                       &(struct wfs_fh){ .len_bytes = 8 });
		assert_non_null(f->files[i]);
		atomic_store(&f->files[i]->small_bytes, 10);
		atomic_store(&f->files[i]->parent_id, FOLDER);
	}
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	/* What was picked was given back. */
	for (unsigned i = 0; i < FILES; i++)
		assert_int_equal(f->files[i]->lookups, 1);
	small_cache_done(&f->m);
	node_table_done(&f->m.nodes);
	pthread_rwlock_destroy(&f->m.events.lock);
	free(f);
	return 0;
}

static unsigned open_file(struct fixture *f, unsigned index)
{
	unsigned count = ahead_pick(&f->m, f->files[index], f->picked, AHEAD_FILES_MAX);

	for (unsigned i = 0; i < count; i++)
		node_forget(&f->m.nodes, f->picked[i], 1);
	return count;
}

/* Every third file, backwards. */
static unsigned listed(unsigned position)
{
	return FILES - 1 - 3 * position;
}

static void list(struct fixture *f)
{
	for (unsigned i = 0; listed(i) >= 3; i++)
		atomic_store(&f->files[listed(i)]->next_listed, f->files[listed(i + 1)]->file_id);
}

static void test_files_in_the_order_of_their_numbers_are_read_ahead_more_and_more(void **state)
{
	struct fixture *f = *state;
	unsigned next = 1, before = 0;

	assert_int_equal(open_file(f, 0), 0);
	for (unsigned i = 0; i < 4; i++) {
		unsigned count = open_file(f, next);

		assert_true(count > before || count == AHEAD_FILES_MAX);
		for (unsigned k = 0; k < count; k++)
			assert_ptr_equal(f->picked[k], f->files[next + 1 + k]);
		/* Those are not asked for again. */
		before = count;
		next += 1 + count;
	}
}

static void test_files_in_the_order_of_a_listing_are_read_ahead(void **state)
{
	struct fixture *f = *state;
	unsigned count;

	list(f);
	assert_int_equal(open_file(f, listed(0)), 0);
	count = open_file(f, listed(1));
	assert_true(count > 1);
	for (unsigned i = 0; i < count; i++)
		assert_ptr_equal(f->picked[i], f->files[listed(2 + i)]);
}

static void test_files_in_no_order_are_not(void **state)
{
	struct fixture *f = *state;

	list(f);
	/* Later, each of them comes after one that was opened long ago. */
	for (unsigned i = 0; i < 3 * FILES; i++)
		assert_int_equal(open_file(f, i * 41 % FILES), 0);
}

static void test_what_is_not_small_not_there_or_elsewhere_is_passed_over(void **state)
{
	struct fixture *f = *state;
	struct caller who = { .cred = { .uid = 1 } };
	struct small *s = small_new(&f->m, &who, 10);

	atomic_store(&f->files[2]->small_bytes, 0);
	atomic_store(&f->files[4]->parent_id, FOLDER + 1);
	small_cache_put(&f->m, f->files[6], s);
	small_unref(s);
	assert_int_equal(open_file(f, 0), 0);
	assert_true(open_file(f, 1) >= 3);
	assert_ptr_equal(f->picked[0], f->files[3]);
	assert_ptr_equal(f->picked[1], f->files[5]);
	assert_ptr_equal(f->picked[2], f->files[7]);
}

static void test_the_last_files_have_nothing_after_them(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(open_file(f, FILES - 3), 0);
	assert_int_equal(open_file(f, FILES - 2), 1);
	assert_ptr_equal(f->picked[0], f->files[FILES - 1]);
	assert_int_equal(open_file(f, FILES - 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_files_in_the_order_of_their_numbers_are_read_ahead_more_and_more,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(test_files_in_the_order_of_a_listing_are_read_ahead, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files_in_no_order_are_not, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_not_small_not_there_or_elsewhere_is_passed_over, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(test_the_last_files_have_nothing_after_them, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
