/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the kernel may believe while the server tells, fails, comes back, and refuses to tell. The server's and the
 * kernel's side are played here: these functions take the place of libwfs's and libfuse's.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "plugins/fuse/small.h"
#include "protocol/client/wfs_watch.h"
#include "tests/unit/plugins/fuse/no_locks.h"

#define LONG_S 60.0
#define SHORT_S 1.0

struct fixture {
	struct options options;
	struct mount m;
	struct node root, *n;
	int kernel[2]; /* a pipe: what is written to /dev/fuse */

	pthread_mutex_t lock; /* of everything below */
	pthread_cond_t changed;
	unsigned calls; /* of wfs_events() */
	bool waiting; /* in it, for a step */
	bool has_step, stop;
	int step_err;
	enum wfs_event_kind step_event; /* 0: none */
	uint64_t step_file_id; /* that it is about */
	int inval_err; /* what the kernel says of the node */
	unsigned timeout_ms; /* of the last call */
	int watch_err;
	unsigned watches, keeps;
	unsigned root_invals, node_invals, data_invals;
	bool coherent_when_invalidated;
};

static struct fixture *fixture;

int wfs_events(struct wfs *w, unsigned timeout_ms, wfs_event_fn *fn, void *ctx)
{
	struct fixture *f = fixture;
	struct wfs_event e = { .name = "" };
	int err;

	(void)w;
	pthread_mutex_lock(&f->lock);
	f->calls++;
	f->timeout_ms = timeout_ms;
	f->waiting = true;
	pthread_cond_broadcast(&f->changed);
	while (!f->has_step && !f->stop)
		pthread_cond_wait(&f->changed, &f->lock);
	f->waiting = false;
	err = f->stop ? -ECANCELED : f->step_err;
	e.kind = f->stop ? 0 : f->step_event;
	e.fsid = 1;
	e.file_id = f->step_file_id;
	f->has_step = false;
	pthread_mutex_unlock(&f->lock);
	if (e.kind)
		fn(ctx, &e);
	return err;
}

void wfs_events_stop(struct wfs *w)
{
	(void)w;
	pthread_mutex_lock(&fixture->lock);
	fixture->stop = true;
	pthread_cond_broadcast(&fixture->changed);
	pthread_mutex_unlock(&fixture->lock);
}

int wfs_watch(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, uint64_t id, unsigned what,
              unsigned flags)
{
	int err;

	(void)w;
	(void)cred;
	(void)fh;
	(void)id;
	(void)what;
	(void)flags;
	pthread_mutex_lock(&fixture->lock);
	fixture->watches++;
	err = fixture->watch_err;
	pthread_mutex_unlock(&fixture->lock);
	return err;
}

int wfs_locks_keep(struct wfs *w, unsigned *ret_lost)
{
	(void)w;
	pthread_mutex_lock(&fixture->lock);
	fixture->keeps++;
	pthread_mutex_unlock(&fixture->lock);
	*ret_lost = 0;
	return 0;
}

int fuse_session_fd(struct fuse_session *se)
{
	(void)se;
	return fixture->kernel[1];
}

int fuse_lowlevel_notify_inval_inode(struct fuse_session *se, fuse_ino_t ino, off_t off, off_t len)
{
	struct fixture *f = fixture;
	int err;

	(void)se;
	(void)len;
	pthread_mutex_lock(&f->lock);
	f->data_invals += off >= 0;
	if (ino == FUSE_ROOT_ID)
		f->root_invals++;
	else if (ino == (fuse_ino_t)(uintptr_t)f->n)
		f->node_invals++;
	if (f->m.events.coherent)
		f->coherent_when_invalidated = true;
	err = ino == FUSE_ROOT_ID ? 0 : f->inval_err;
	pthread_mutex_unlock(&f->lock);
	return err;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct wfs_attr attr = { .fsid = 1, .file_id = 2, .type = WFS_TYPE_DIR };
	struct wfs_fh fh = { 0 };

	f->options = (struct options){
		.timeout_s = 600, .attr_timeout_s = SHORT_S, .entry_timeout_s = SHORT_S, .coherent_timeout_s = LONG_S
	};
	f->m.options = &f->options;
	no_locks_asked_again = no_locks_gone = 0;
	pthread_rwlock_init(&f->m.events.lock, NULL);
	pthread_mutex_init(&f->m.small_lock, NULL);
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->changed, NULL);
	assert_int_equal(node_table_init(&f->m.nodes), 0);
	small_cache_init(&f->m);
	assert_int_equal(pipe2(f->kernel, O_CLOEXEC | O_NONBLOCK), 0);
	f->m.root = node_get(&f->m.nodes, &attr, &fh);
	attr.file_id = 3;
	f->n = node_get(&f->m.nodes, &attr, &fh);
	*state = fixture = f;
	told_init(&f->m);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	events_stop(&f->m);
	told_done(&f->m);
	small_cache_done(&f->m);
	node_table_done(&f->m.nodes);
	close(f->kernel[0]);
	close(f->kernel[1]);
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->lock);
	pthread_mutex_destroy(&f->m.small_lock);
	pthread_rwlock_destroy(&f->m.events.lock);
	free(f);
	return 0;
}

/* Wait until it waits for what the server says. */
static void settle(struct fixture *f)
{
	pthread_mutex_lock(&f->lock);
	while (!f->waiting || f->has_step)
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
}

/* The server says that, and all that follows from it is done. */
static void step(struct fixture *f, int err, enum wfs_event_kind event)
{
	settle(f);
	pthread_mutex_lock(&f->lock);
	f->step_err = err;
	f->step_event = event;
	f->has_step = true;
	f->waiting = false;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	settle(f);
}

static void start(struct fixture *f)
{
	assert_int_equal(events_start(&f->m), 0);
	step(f, 0, 0);
}

static struct seen now(struct fixture *f)
{
	return (struct seen){ .told = atomic_load(&f->m.events.changes) };
}

static bool believed_for_long(struct fixture *f, struct seen seen)
{
	double s;

	tell_begin(&f->m);
	s = events_believed_s(&f->m, seen, SHORT_S);
	tell_end(&f->m);
	return s >= LONG_S;
}

static void test_answers_are_believed_for_long_while_the_server_tells(void **state)
{
	struct fixture *f = *state;

	start(f);
	assert_int_equal(f->watches, 1);
	assert_true(believed_for_long(f, now(f)));
	assert_true(f->timeout_ms > 1000);
}

static void test_an_answer_that_was_asked_for_before_the_watch_is_not_believed_for_long(void **state)
{
	struct fixture *f = *state;
	struct seen before = now(f);

	start(f);
	assert_false(believed_for_long(f, before));
}

static void test_with_the_connection_goes_what_was_told(void **state)
{
	struct fixture *f = *state;
	struct seen before;

	start(f);
	before = now(f);
	assert_int_equal(f->node_invals, 0);
	step(f, -ENOTCONN, 0);
	assert_int_equal(f->root_invals, 1);
	assert_int_equal(f->node_invals, 1);
	/* Pages may be locked by requests that nobody answers now. */
	assert_int_equal(f->data_invals, 0);
	assert_false(f->coherent_when_invalidated);
	assert_false(believed_for_long(f, before));
	assert_false(believed_for_long(f, now(f)));
	/* Once is enough: nothing is believed for long since. */
	step(f, -ENOTCONN, 0);
	assert_int_equal(f->node_invals, 1);
	/* The same server is there again, and still watches; it is not waited for whether it has anything to say. */
	assert_int_equal(f->timeout_ms, 0);
	step(f, 0, 0);
	assert_int_equal(f->watches, 1);
	assert_int_equal(f->data_invals, 2);
	assert_false(f->coherent_when_invalidated);
	assert_false(believed_for_long(f, before));
	assert_true(believed_for_long(f, now(f)));
}

static void test_a_new_server_is_believed_when_it_watches_and_all_before_that_is_dropped(void **state)
{
	struct fixture *f = *state;
	struct seen between;

	start(f);
	step(f, -ENOTCONN, 0);
	between = now(f);
	step(f, 0, WFS_EVENT_RESET);
	assert_int_equal(f->watches, 2);
	assert_int_equal(no_locks_asked_again, 2);
	assert_int_equal(f->keeps, 2);
	assert_int_equal(f->node_invals, 2);
	assert_false(f->coherent_when_invalidated);
	assert_false(believed_for_long(f, between));
	assert_true(believed_for_long(f, now(f)));
}

static void test_a_watch_that_fails_is_asked_for_again_and_nothing_believed_for_long_until_then(void **state)
{
	struct fixture *f = *state;

	f->watch_err = -ENOMEM;
	start(f);
	assert_int_equal(f->watches, 1);
	assert_false(believed_for_long(f, now(f)));
	/* Events are waited for until it is time, and not asked for in vain before. */
	assert_in_range(f->timeout_ms, 1, 1001);
	step(f, 0, 0);
	assert_int_equal(f->watches, 1);
	f->watch_err = 0;
	f->m.events.watch_at_ns = 0; /* it is time */
	step(f, 0, 0);
	assert_int_equal(f->watches, 2);
	assert_true(believed_for_long(f, now(f)));
}

static void test_a_server_that_always_refuses_is_asked_ever_more_rarely(void **state)
{
	struct fixture *f = *state;

	f->watch_err = -EACCES;
	start(f);
	for (unsigned i = 2; i <= 10; i++) {
		f->m.events.watch_at_ns = 0;
		step(f, 0, 0);
		assert_int_equal(f->watches, i);
	}
	assert_int_equal(f->m.events.watch_pause_ns, UINT64_C(60000000000));
	assert_in_range(f->timeout_ms, 10000, 60000);
	/* A new one is asked at once. */
	step(f, 0, WFS_EVENT_RESET);
	assert_int_equal(f->watches, 11);
}

/* The server that says the first word may not be the one that was asked for the first lock. */
static void test_locks_of_a_server_that_never_told_anything_are_asked_for_again(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(events_start(&f->m), 0);
	step(f, -ENOTCONN, 0);
	assert_int_equal(f->keeps, 0);
	assert_int_equal(no_locks_asked_again, 0);
	step(f, 0, 0);
	assert_int_equal(f->keeps, 1);
	assert_int_equal(no_locks_asked_again, 1);
	step(f, 0, 0);
	assert_int_equal(f->keeps, 1);
	assert_int_equal(no_locks_asked_again, 1);
}

static void test_locks_are_not_waited_for_longer_than_the_server(void **state)
{
	struct fixture *f = *state;

	start(f);
	step(f, -ENOTCONN, 0);
	assert_int_equal(no_locks_gone, 0);
	f->m.events.gone_ns -= UINT64_C(600000000000);
	step(f, -ECONNREFUSED, 0);
	assert_int_equal(no_locks_gone, 1);
	step(f, 0, 0);
	step(f, -ENOTCONN, 0);
	assert_int_equal(no_locks_gone, 1);
}

static void test_without_wish_for_it_the_server_is_not_asked_to_watch(void **state)
{
	struct fixture *f = *state;

	f->options.coherent_timeout_s = 0;
	start(f);
	step(f, 0, 0);
	assert_int_equal(f->watches, 0);
	assert_true(f->timeout_ms > 1000);
	f->options.coherent_timeout_s = LONG_S;
	assert_false(believed_for_long(f, now(f)));
}

/* ---- names, where the kernel has to be told of each (told.c) ---- */

struct entry_notice {
	uint32_t len_bytes;
	int32_t code;
	uint64_t unique;
	uint64_t parent;
	uint32_t name_bytes, flags;
	char name[64];
};

static void by_name(struct fixture *f)
{
	char drop[64];

	while (read(f->kernel[0], drop, sizeof(drop)) > 0)
		;
	f->m.told.by_name = true;
	f->m.events.coherent = true;
}

static void expect_expired(struct fixture *f, fuse_ino_t dir, const char *name)
{
	struct entry_notice notice;
	size_t head = offsetof(struct entry_notice, name);

	assert_int_equal(read(f->kernel[0], &notice, head), head);
	assert_int_equal(notice.code, 3);
	assert_int_equal(notice.unique, 0);
	assert_int_equal(notice.parent, dir);
	assert_int_equal(notice.name_bytes, strlen(name));
	assert_int_equal(notice.len_bytes, head + strlen(name) + 1);
	assert_int_equal(read(f->kernel[0], notice.name, notice.name_bytes + 1), notice.name_bytes + 1);
	assert_string_equal(notice.name, name);
}

static void test_names_that_were_told_for_long_are_expired_one_by_one(void **state)
{
	struct fixture *f = *state;
	char byte;

	by_name(f);
	assert_true(told_name_s(&f->m, f->m.root, "a", now(f), SHORT_S) >= LONG_S);
	assert_true(told_name_s(&f->m, f->n, "b", now(f), SHORT_S) >= LONG_S);
	assert_true(told_name_s(&f->m, f->n, "short", (struct seen){ TOLD_NEVER, 0 }, SHORT_S) < LONG_S);
	told_moved(&f->m, f->n, "moved");
	told_expire_names(&f->m);
	expect_expired(f, FUSE_ROOT_ID, "a");
	expect_expired(f, (fuse_ino_t)(uintptr_t)f->n, "b");
	expect_expired(f, (fuse_ino_t)(uintptr_t)f->n, "moved");
	assert_true(read(f->kernel[0], &byte, 1) < 0);
	told_expire_names(&f->m);
	assert_true(read(f->kernel[0], &byte, 1) < 0);
}

static void test_names_in_a_directory_that_the_kernel_has_forgotten_are_not_told(void **state)
{
	struct fixture *f = *state;
	char byte;

	by_name(f);
	assert_true(told_name_s(&f->m, f->n, "b", now(f), SHORT_S) >= LONG_S);
	node_forget(&f->m.nodes, f->n, 1);
	told_expire_names(&f->m);
	assert_true(read(f->kernel[0], &byte, 1) < 0);
}

static void test_names_that_are_not_believed_any_more_are_not_remembered(void **state)
{
	struct fixture *f = *state;

	f->options.coherent_timeout_s = 1e-9;
	by_name(f);
	for (int i = 0; i < 10; i++)
		told_moved(&f->m, f->n, "x");
	assert_true(f->m.told.count <= 2);
}

static void test_a_change_of_what_the_kernel_does_not_have_yet_is_told_once_more(void **state)
{
	struct fixture *f = *state;

	start(f);
	f->step_file_id = f->n->file_id;
	f->inval_err = -ENOENT;
	step(f, 0, WFS_EVENT_CHANGE);
	assert_int_equal(f->node_invals, 1);
	assert_in_range(f->timeout_ms, 1, 100);
	f->inval_err = 0;
	f->m.events.missed_at_ns = 0; /* it is time */
	step(f, 0, 0);
	assert_int_equal(f->node_invals, 2);
	assert_true(f->timeout_ms > 1000);
	step(f, 0, 0);
	assert_int_equal(f->node_invals, 2);
	assert_int_equal(f->n->lookups, 1);
}

static void test_more_than_are_remembered_are_told_again_at_once(void **state)
{
	struct fixture *f = *state;

	start(f);
	f->step_file_id = f->n->file_id;
	f->inval_err = -ENOENT;
	for (unsigned i = 0; i <= MISSED_MAX; i++)
		step(f, 0, WFS_EVENT_CHANGE);
	assert_true(f->node_invals >= 2 * MISSED_MAX + 1);
	assert_true(f->m.events.missed_count <= MISSED_MAX);
}

static void test_what_is_answered_after_the_end_is_not_believed_for_long(void **state)
{
	struct fixture *f = *state;

	start(f);
	by_name(f);
	assert_true(told_name_s(&f->m, f->n, "before", now(f), SHORT_S) >= LONG_S);
	events_stop(&f->m);
	told_moved(&f->m, f->n, "moved");
	assert_true(told_name_s(&f->m, f->n, "after", now(f), SHORT_S) < LONG_S);
	assert_false(believed_for_long(f, now(f)));
	assert_int_equal(f->m.told.count, 2);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_answers_are_believed_for_long_while_the_server_tells),
		CASE(test_an_answer_that_was_asked_for_before_the_watch_is_not_believed_for_long),
		CASE(test_with_the_connection_goes_what_was_told),
		CASE(test_a_new_server_is_believed_when_it_watches_and_all_before_that_is_dropped),
		CASE(test_a_watch_that_fails_is_asked_for_again_and_nothing_believed_for_long_until_then),
		CASE(test_a_server_that_always_refuses_is_asked_ever_more_rarely),
		CASE(test_locks_of_a_server_that_never_told_anything_are_asked_for_again),
		CASE(test_locks_are_not_waited_for_longer_than_the_server),
		CASE(test_without_wish_for_it_the_server_is_not_asked_to_watch),
		CASE(test_a_change_of_what_the_kernel_does_not_have_yet_is_told_once_more),
		CASE(test_more_than_are_remembered_are_told_again_at_once),
		CASE(test_what_is_answered_after_the_end_is_not_believed_for_long),
		CASE(test_names_that_were_told_for_long_are_expired_one_by_one),
		CASE(test_names_in_a_directory_that_the_kernel_has_forgotten_are_not_told),
		CASE(test_names_that_are_not_believed_any_more_are_not_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
