/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What answers teach the mount: nothing that is older than a change of its own. The kernel's side is played here: these
 * functions take the place of libfuse's.
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
	struct node root, n;
	struct fuse_ctx ctx;
	double attr_timeout_s; /* of the last answer */
};

static struct fixture *fixture;

void *fuse_req_userdata(fuse_req_t req)
{
	(void)req;
	return &fixture->m;
}

const struct fuse_ctx *fuse_req_ctx(fuse_req_t req)
{
	(void)req;
	return &fixture->ctx;
}

int fuse_reply_attr(fuse_req_t req, const struct stat *attr, double timeout_s)
{
	(void)req;
	(void)attr;
	fixture->attr_timeout_s = timeout_s;
	return 0;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->options = (struct options){ .attr_timeout_s = 1, .coherent_timeout_s = 60 };
	f->m.options = &f->options;
	f->m.root = &f->root;
	f->m.events.coherent = true;
	pthread_rwlock_init(&f->m.events.lock, NULL);
	*state = fixture = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	pthread_rwlock_destroy(&f->m.events.lock);
	free(f);
	return 0;
}

/* The server is asked for the attributes, as of now. */
static struct seen ask(void)
{
	struct caller who;

	caller_get(NULL, &who);
	return who.seen;
}

static void answer(struct fixture *f, struct seen seen, int has_acl)
{
	reply_attr(NULL, &f->n, seen,
	           &(struct wfs_attr){ .type = WFS_TYPE_FILE, .size_bytes = 100, .has_acl = has_acl });
}

static void test_an_answer_is_believed_for_as_long_as_the_server_tells(void **state)
{
	struct fixture *f = *state;
	uint64_t now = node_now_ns();

	answer(f, ask(), 0);
	assert_true(atomic_load(&f->n.no_acl_until_ns) >= now + UINT64_C(60000000000));
	assert_int_equal(atomic_load(&f->n.small_bytes), 100);
	answer(f, ask(), 1);
	assert_int_equal(atomic_load(&f->n.no_acl_until_ns), 0);
}

static void test_of_another_file_system_nothing_is_believed_for_long(void **state)
{
	struct fixture *f = *state;

	f->n.fsid = 1;
	answer(f, ask(), 0);
	assert_true(atomic_load(&f->n.no_acl_until_ns) > 0);
	assert_true(atomic_load(&f->n.no_acl_until_ns) <= node_now_ns() + UINT64_C(1000000000));
	assert_true(f->attr_timeout_s <= 1);
	f->n.fsid = 0;
	answer(f, ask(), 0);
	assert_true(f->attr_timeout_s >= 60);
}

static void test_an_answer_that_was_on_its_way_when_an_acl_was_set_does_not_hide_it(void **state)
{
	struct fixture *f = *state;
	struct seen seen = ask();

	/* Set in between, from its beginning to its end. */
	(void)node_touch(&f->m, &f->n);
	(void)node_touch(&f->m, &f->n);
	answer(f, seen, 0);
	assert_int_equal(atomic_load(&f->n.no_acl_until_ns), 0);
	assert_int_equal(atomic_load(&f->n.small_bytes), 0);
	learn_missing(&f->m, &f->n, seen, &f->n.no_capability_until_ns);
	assert_int_equal(atomic_load(&f->n.no_capability_until_ns), 0);
	answer(f, ask(), 0);
	assert_true(atomic_load(&f->n.no_acl_until_ns) > 0);
}

static void test_the_answer_to_a_change_is_learnt_unless_there_was_another(void **state)
{
	struct fixture *f = *state;
	struct seen seen = ask();
	uint64_t before = node_touch(&f->m, &f->n);

	seen.own = node_touch_end(&f->m, &f->n, before);
	answer(f, seen, 0);
	assert_true(atomic_load(&f->n.no_acl_until_ns) > 0);

	atomic_store(&f->n.no_acl_until_ns, 0);
	before = node_touch(&f->m, &f->n);
	(void)node_touch(&f->m, &f->n); /* another one ends */
	seen.own = node_touch_end(&f->m, &f->n, before);
	answer(f, seen, 0);
	assert_int_equal(atomic_load(&f->n.no_acl_until_ns), 0);
}

static void test_the_later_of_two_touches_counts(void **state)
{
	struct fixture *f = *state;
	uint64_t now = node_touch(&f->m, &f->n);

	/* One that got its number before, and is slower. */
	atomic_store(&f->m.sequence, now - 1);
	atomic_store(&f->n.touched, now + 5);
	(void)node_touch(&f->m, &f->n);
	assert_int_equal(atomic_load(&f->n.touched), now + 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_an_answer_is_believed_for_as_long_as_the_server_tells, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(test_of_another_file_system_nothing_is_believed_for_long, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(test_an_answer_that_was_on_its_way_when_an_acl_was_set_does_not_hide_it,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_answer_to_a_change_is_learnt_unless_there_was_another, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(test_the_later_of_two_touches_counts, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
