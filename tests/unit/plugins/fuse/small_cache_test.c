/* SPDX-License-Identifier: BSD-3-Clause */
/* What is kept of small files: for whom, how long, and how much. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "plugins/fuse/small.h"

#define COHERENT_S 60

struct fixture {
	struct options options;
	struct mount m;
	struct node root;
	struct node *n;
	struct caller who;
};

static struct node *node(struct fixture *f, uint64_t file_id)
{
	struct node *n = node_get(&f->m.nodes, &(struct wfs_attr){ .fsid = 1, .file_id = file_id },
	                          &(struct wfs_fh){ .len_bytes = 8 });

	assert_non_null(n);
	return n;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->options = (struct options){ .attr_timeout_s = 1, .coherent_timeout_s = COHERENT_S };
	f->m.options = &f->options;
	f->m.root = &f->root;
	f->root.fsid = 1;
	f->m.events.coherent = true;
	pthread_rwlock_init(&f->m.events.lock, NULL);
	assert_int_equal(node_table_init(&f->m.nodes), 0);
	small_cache_init(&f->m);
	f->n = node(f, 7);
	f->who = (struct caller){ .cred = { .uid = 5, .gid = 6, .group_count = 2 }, .groups = { 8, 9 } };
	f->who.cred.groups = f->who.groups;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	small_cache_done(&f->m);
	node_table_done(&f->m.nodes);
	pthread_rwlock_destroy(&f->m.events.lock);
	free(f);
	return 0;
}

/* The server is asked now, and answers. */
static struct small *ask(struct fixture *f, size_t size)
{
	struct small *s;

	f->who.seen = (struct seen){ atomic_load(&f->m.events.changes), atomic_load(&f->m.sequence) };
	s = small_new(&f->m, &f->who, size);
	assert_non_null(s);
	return s;
}

static void keep(struct fixture *f, struct node *n, struct small *s)
{
	small_cache_put(&f->m, n, s);
	small_unref(s);
}

static bool has(struct fixture *f, struct node *n, const struct caller *who)
{
	struct small *s = small_cache_get(&f->m, n, who);

	if (s)
		small_unref(s);
	return s != NULL;
}

static void test_what_was_read_is_there_for_the_same_caller_only(void **state)
{
	struct fixture *f = *state;
	struct caller other = f->who;

	assert_false(has(f, f->n, &f->who));
	keep(f, f->n, ask(f, 100));
	assert_true(has(f, f->n, &f->who));
	other.cred.groups = other.groups;
	assert_true(has(f, f->n, &other));
	other.groups[1]++;
	assert_false(has(f, f->n, &other));
	other = f->who;
	other.cred.uid++;
	assert_false(has(f, f->n, &other));
	other = f->who;
	other.cred.gid++;
	assert_false(has(f, f->n, &other));
	other = f->who;
	other.cred.group_count--;
	assert_false(has(f, f->n, &other));
	/* It is still there for him whom the server allowed it. */
	assert_true(has(f, f->n, &f->who));
}

static void test_a_change_of_the_file_ends_it(void **state)
{
	struct fixture *f = *state;
	struct small *s = ask(f, 100);

	keep(f, f->n, s);
	(void)node_touch(&f->m, &f->root);
	assert_true(small_cache_has(&f->m, f->n));
	(void)node_touch(&f->m, f->n);
	assert_false(small_cache_has(&f->m, f->n));
	assert_false(has(f, f->n, &f->who));
	assert_int_equal(f->m.kept.bytes, 0);
	/* A change during which it was read, too. */
	s = ask(f, 100);
	(void)node_touch(&f->m, f->n);
	keep(f, f->n, s);
	assert_false(has(f, f->n, &f->who));
}

static void test_nothing_is_kept_over_a_notice_or_when_none_come(void **state)
{
	struct fixture *f = *state;
	struct small *s = ask(f, 100);

	atomic_fetch_add(&f->m.events.changes, 1);
	keep(f, f->n, s);
	assert_false(has(f, f->n, &f->who));
	keep(f, f->n, ask(f, 100));
	assert_true(has(f, f->n, &f->who));
	f->m.events.coherent = false;
	assert_false(has(f, f->n, &f->who));
	keep(f, f->n, ask(f, 100));
	f->m.events.coherent = true;
	assert_false(has(f, f->n, &f->who));
}

static void test_it_is_believed_as_long_as_attributes_are(void **state)
{
	struct fixture *f = *state;
	uint64_t now = node_now_ns();
	struct small *s = ask(f, 100);

	small_cache_put(&f->m, f->n, s);
	assert_true(s->until_ns >= now + COHERENT_S * UINT64_C(1000000000));
	assert_true(has(f, f->n, &f->who));
	s->until_ns = now;
	assert_false(has(f, f->n, &f->who));
	small_unref(s);
}

static void test_what_was_used_longest_ago_makes_room(void **state)
{
	struct fixture *f = *state;
	const size_t size = SMALL_KEPT_BYTES_MAX / 4;
	struct node *n[4] = { f->n, node(f, 8), node(f, 9), node(f, 10) };

	for (unsigned i = 0; i < 3; i++)
		keep(f, n[i], ask(f, size));
	assert_true(has(f, n[0], &f->who));
	keep(f, n[3], ask(f, size));
	assert_true(f->m.kept.bytes <= SMALL_KEPT_BYTES_MAX);
	assert_false(has(f, n[1], &f->who));
	assert_true(has(f, n[0], &f->who) && has(f, n[2], &f->who) && has(f, n[3], &f->who));
	/* What is read anew takes the place of what was. */
	keep(f, n[0], ask(f, 1));
	assert_true(f->m.kept.bytes <= SMALL_KEPT_BYTES_MAX - size);
}

static void test_it_goes_with_the_node_and_with_the_mount(void **state)
{
	struct fixture *f = *state;
	struct small *s = ask(f, 100);

	keep(f, node(f, 8), ask(f, 100));
	small_cache_put(&f->m, f->n, s);
	node_forget(&f->m.nodes, f->n, 1);
	/* Somebody may still have it open. */
	assert_int_equal(atomic_load(&s->refs), 1);
	assert_null(s->node);
	small_unref(s);
	assert_true(f->m.kept.bytes > 0);
	small_cache_clear(&f->m);
	assert_int_equal(f->m.kept.bytes, 0);
}

static void test_nothing_is_kept_of_what_is_mounted_below_the_export(void **state)
{
	struct fixture *f = *state;

	f->root.fsid = 2;
	keep(f, f->n, ask(f, 100));
	assert_false(has(f, f->n, &f->who));
	f->root.fsid = 1;
	keep(f, f->n, ask(f, 100));
	assert_true(has(f, f->n, &f->who));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nothing_is_kept_of_what_is_mounted_below_the_export, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(test_what_was_read_is_there_for_the_same_caller_only, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_change_of_the_file_ends_it, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_is_kept_over_a_notice_or_when_none_come, setup, teardown),
		cmocka_unit_test_setup_teardown(test_it_is_believed_as_long_as_attributes_are, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_was_used_longest_ago_makes_room, setup, teardown),
		cmocka_unit_test_setup_teardown(test_it_goes_with_the_node_and_with_the_mount, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
