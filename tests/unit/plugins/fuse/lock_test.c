/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Locks that wait: for others, for a server that was restarted, for one that is gone. The server's and the kernel's
 * side are played here: these functions take the place of libwfs's and libfuse's.
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

#include <cmocka.h>

#include "plugins/fuse/mount.h"
#include "protocol/client/wfs_watch.h"

#define REQUESTS 4u

/* A request of the kernel; fuse_req_t points to it. */
struct request {
	fuse_interrupt_func_t interrupted;
	void *data;
	bool replied;
	int result; /* 0 or a positive errno, as libfuse has it */
};

struct fixture {
	struct mount m;
	struct node n;
	struct open_file of;
	struct fuse_lowlevel_ops ops;
	struct request requests[REQUESTS];

	pthread_mutex_t lock; /* of everything below, and what is replied */
	pthread_cond_t changed;
	int answer, cancel_answer; /* of the server */
	unsigned asked, cancels, unlocks, granted;
	uint64_t last_id;
};

static struct fixture *fixture;

static struct request *request_of(fuse_req_t req)
{
	return (struct request *)(void *)req;
}

static fuse_req_t request(unsigned i)
{
	return (fuse_req_t)(void *)&fixture->requests[i];
}

void *fuse_req_userdata(fuse_req_t req)
{
	(void)req;
	return &fixture->m;
}

void fuse_req_interrupt_func(fuse_req_t req, fuse_interrupt_func_t func, void *data)
{
	pthread_mutex_lock(&fixture->lock);
	request_of(req)->interrupted = func;
	request_of(req)->data = data;
	pthread_mutex_unlock(&fixture->lock);
}

void reply_err(fuse_req_t req, int err)
{
	pthread_mutex_lock(&fixture->lock);
	assert_false(request_of(req)->replied);
	assert_null(request_of(req)->interrupted); /* it points to what is gone now */
	request_of(req)->replied = true;
	request_of(req)->result = -err;
	pthread_cond_broadcast(&fixture->changed);
	pthread_mutex_unlock(&fixture->lock);
}

void caller_get(fuse_req_t req, struct caller *ret)
{
	(void)req;
	*ret = (struct caller){ 0 };
}

int open_file_get(struct mount *m, struct open_file *of, struct wfs_file **ret)
{
	(void)m;
	*ret = of->file;
	return 0;
}

static int asked(unsigned *count, int *answer)
{
	int err;

	pthread_mutex_lock(&fixture->lock);
	++*count;
	err = *answer;
	pthread_cond_broadcast(&fixture->changed);
	pthread_mutex_unlock(&fixture->lock);
	return err;
}

int wfs_file_lock(struct wfs_file *f, const struct wfs_lock *lock)
{
	(void)f;
	(void)lock;
	return asked(&fixture->asked, &fixture->answer);
}

int wfs_file_lock_wait(struct wfs_file *f, const struct wfs_lock *lock, uint64_t id)
{
	(void)f;
	(void)lock;
	pthread_mutex_lock(&fixture->lock);
	fixture->last_id = id;
	pthread_mutex_unlock(&fixture->lock);
	return asked(&fixture->asked, &fixture->answer);
}

void wfs_file_lock_granted(struct wfs_file *f, const struct wfs_lock *lock)
{
	(void)f;
	(void)lock;
	fixture->granted++;
}

int wfs_lock(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, const struct wfs_lock *lock)
{
	static int none;

	(void)w;
	(void)cred;
	(void)fh;
	assert_int_equal(lock->type, WFS_LOCK_NONE);
	return asked(&fixture->unlocks, &none);
}

int wfs_lock_test(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, const struct wfs_lock *lock,
                  struct wfs_lock *ret)
{
	(void)w;
	(void)cred;
	(void)fh;
	*ret = *lock;
	return 0;
}

int wfs_lock_cancel(struct wfs *w, uint64_t id)
{
	(void)w;
	(void)id;
	return asked(&fixture->cancels, &fixture->cancel_answer);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->changed, NULL);
	f->of = (struct open_file){ .node = &f->n, .access = WFS_ACCESS_READ | WFS_ACCESS_WRITE };
	*state = fixture = f;
	lock_ops(&f->ops);
	assert_int_equal(lock_queue_start(&f->m), 0);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	lock_queue_stop(&f->m);
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->lock);
	free(f);
	return 0;
}

/* A program wants the lock. Returns when the thread that serves requests is free again. */
static void want(struct fixture *f, unsigned i, bool may_wait)
{
	struct fuse_file_info fi = { .fh = (uint64_t)(uintptr_t)&f->of, .lock_owner = i + 1 };
	struct flock range = { .l_type = F_WRLCK, .l_len = 10 };

	f->ops.setlk(request(i), 1, &fi, &range, may_wait);
}

static void server_says(struct fixture *f, int answer)
{
	pthread_mutex_lock(&f->lock);
	f->answer = answer;
	pthread_mutex_unlock(&f->lock);
}

static void interrupt(struct fixture *f, unsigned i)
{
	fuse_interrupt_func_t func;
	void *data;

	pthread_mutex_lock(&f->lock);
	func = f->requests[i].interrupted;
	data = f->requests[i].data;
	pthread_mutex_unlock(&f->lock);
	assert_non_null(func);
	func(request(i), data);
}

static void expect_reply(struct fixture *f, unsigned i, int err)
{
	pthread_mutex_lock(&f->lock);
	while (!f->requests[i].replied)
		pthread_cond_wait(&f->changed, &f->lock);
	assert_int_equal(f->requests[i].result, err);
	pthread_mutex_unlock(&f->lock);
}

static void wait_for(struct fixture *f, const unsigned *count, unsigned value)
{
	pthread_mutex_lock(&f->lock);
	while (*count < value)
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
}

static void test_a_lock_that_waits_is_answered_by_the_event(void **state)
{
	struct fixture *f = *state;

	server_says(f, -EINPROGRESS);
	want(f, 0, true);
	assert_false(f->requests[0].replied);
	lock_ended(&f->m, f->last_id, 0);
	expect_reply(f, 0, 0);
	assert_int_equal(f->granted, 1);
}

/* Otherwise enough of them would keep everything that must be done before from being done. */
static void test_while_a_server_waits_for_others_no_thread_that_serves_requests_does(void **state)
{
	struct fixture *f = *state;

	server_says(f, -ERESTART);
	want(f, 0, true);
	want(f, 1, false);
	wait_for(f, &f->asked, 5);
	assert_false(f->requests[0].replied || f->requests[1].replied);
	server_says(f, 0);
	expect_reply(f, 0, 0);
	expect_reply(f, 1, 0);
}

static void test_who_does_not_wait_for_others_is_told_what_the_restarted_server_says(void **state)
{
	struct fixture *f = *state;

	server_says(f, -ERESTART);
	want(f, 0, false);
	server_says(f, -EAGAIN);
	expect_reply(f, 0, EAGAIN);
}

static void test_who_waits_for_a_restarted_server_can_be_interrupted(void **state)
{
	struct fixture *f = *state;

	server_says(f, -ERESTART);
	want(f, 0, true);
	interrupt(f, 0);
	expect_reply(f, 0, EINTR);
	assert_int_equal(f->cancels, 0);
}

static void test_an_interrupted_wait_is_cancelled(void **state)
{
	struct fixture *f = *state;

	server_says(f, -EINPROGRESS);
	want(f, 0, true);
	interrupt(f, 0);
	wait_for(f, &f->cancels, 1);
	assert_false(f->requests[0].replied);
	lock_ended(&f->m, f->last_id, -ECANCELED);
	expect_reply(f, 0, EINTR);
}

static void test_who_is_interrupted_when_the_server_is_gone_for_good_does_not_wait_on(void **state)
{
	struct fixture *f = *state;

	server_says(f, -EINPROGRESS);
	f->cancel_answer = -ETIMEDOUT;
	for (unsigned i = 0; i < 3; i++)
		want(f, i, true);
	interrupt(f, 1);
	expect_reply(f, 1, EINTR);
	interrupt(f, 2);
	expect_reply(f, 2, EINTR);
	assert_false(f->requests[0].replied);
	/* It was there all the same, and grants the last one: nobody is there to give it back. */
	lock_ended(&f->m, f->last_id, 0);
	wait_for(f, &f->unlocks, 1);
	assert_int_equal(f->granted, 0);
	/* It was restarted: it knows of none of them, and only who still waits asks again. */
	lock_ask_again(&f->m);
	wait_for(f, &f->asked, 4);
	lock_ended(&f->m, f->last_id, 0);
	expect_reply(f, 0, 0);
	assert_int_equal(f->asked, 4);
}

static void test_nobody_waits_on_when_the_server_is_gone_for_good(void **state)
{
	struct fixture *f = *state;

	server_says(f, -EINPROGRESS);
	want(f, 0, true);
	want(f, 1, true);
	lock_gone(&f->m);
	expect_reply(f, 0, ETIMEDOUT);
	expect_reply(f, 1, ETIMEDOUT);
	lock_ended(&f->m, f->last_id, 0);
	wait_for(f, &f->unlocks, 1);
}

static void test_whoever_waits_when_the_mount_ends_is_answered(void **state)
{
	struct fixture *f = *state;

	server_says(f, -EINPROGRESS);
	want(f, 0, true);
	server_says(f, -ERESTART);
	want(f, 1, false);
	lock_queue_stop(&f->m);
	expect_reply(f, 0, EINTR);
	expect_reply(f, 1, EINTR);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_a_lock_that_waits_is_answered_by_the_event),
		CASE(test_while_a_server_waits_for_others_no_thread_that_serves_requests_does),
		CASE(test_who_does_not_wait_for_others_is_told_what_the_restarted_server_says),
		CASE(test_who_waits_for_a_restarted_server_can_be_interrupted),
		CASE(test_an_interrupted_wait_is_cancelled),
		CASE(test_who_is_interrupted_when_the_server_is_gone_for_good_does_not_wait_on),
		CASE(test_nobody_waits_on_when_the_server_is_gone_for_good),
		CASE(test_whoever_waits_when_the_mount_ends_is_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
