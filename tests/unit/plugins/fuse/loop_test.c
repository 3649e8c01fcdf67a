/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The threads that serve requests: one alone reads for a program that waits for each answer, and is replaced when an
 * answer takes long; all read for several. The kernel's side is played here: these functions take the place of
 * libfuse's.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/sync.h"
#include "plugins/fuse/loop.h"
#include "plugins/fuse/mount.h"
#include "plugins/fuse/wake.h"

#define REQUESTS_MAX 4096u /* at a time */

/* What the requests do, by their node. */
enum { AT_ONCE, STAYS_UNTIL_TOLD, NOT_BRIEF };

static struct {
	struct sync_mutex lock;
	struct sync_cond changed;
	struct fuse_in_header queue[REQUESTS_MAX];
	unsigned first, count;
	unsigned done, inside, inside_max, reading, reading_max;
	unsigned threads; /* that have answered something */
	bool go_on, exited;
	int read_err;
} k;

static _Thread_local bool has_answered;

void fuse_session_exit(struct fuse_session *se)
{
	(void)se;
	sync_mutex_lock(&k.lock);
	k.exited = true;
	sync_cond_broadcast(&k.changed);
	sync_mutex_unlock(&k.lock);
}

int fuse_session_exited(struct fuse_session *se)
{
	bool exited;

	(void)se;
	sync_mutex_lock(&k.lock);
	exited = k.exited;
	sync_mutex_unlock(&k.lock);
	return exited;
}

int fuse_session_receive_buf(struct fuse_session *se, struct fuse_buf *buf)
{
	int len = sizeof(struct fuse_in_header);

	(void)se;
	if (!buf->mem)
		buf->mem = malloc(sizeof(struct fuse_in_header));
	assert_non_null(buf->mem);
	sync_mutex_lock(&k.lock);
	k.reading++;
	if (k.reading > k.reading_max)
		k.reading_max = k.reading;
	sync_cond_broadcast(&k.changed);
	while (k.first == k.count && !k.exited && !k.read_err)
		sync_cond_wait(&k.changed, &k.lock);
	k.reading--;
	if (k.read_err)
		len = k.read_err;
	else if (k.exited)
		len = 0;
	else
		memcpy(buf->mem, &k.queue[k.first++ % REQUESTS_MAX], sizeof(struct fuse_in_header));
	sync_mutex_unlock(&k.lock);
	return len;
}

void fuse_session_process_buf(struct fuse_session *se, const struct fuse_buf *buf)
{
	struct fuse_in_header head;

	(void)se;
	memcpy(&head, buf->mem, sizeof(head));
	sync_mutex_lock(&k.lock);
	if (++k.inside > k.inside_max)
		k.inside_max = k.inside;
	sync_cond_broadcast(&k.changed);
	while (head.nodeid == STAYS_UNTIL_TOLD && !k.go_on)
		sync_cond_wait(&k.changed, &k.lock);
	k.inside--;
	k.done++;
	k.threads += !has_answered;
	has_answered = true;
	sync_cond_broadcast(&k.changed);
	sync_mutex_unlock(&k.lock);
}

static void ask(uint64_t what, uint32_t pid)
{
	sync_mutex_lock(&k.lock);
	assert_true(k.count - k.first < REQUESTS_MAX);
	k.queue[k.count++ % REQUESTS_MAX] = (struct fuse_in_header){
		.len = sizeof(struct fuse_in_header),
		/* A read whose rest is missing. */
		.opcode = what == NOT_BRIEF ? FUSE_READ : FUSE_LOOKUP,
		.nodeid = what,
		.pid = pid,
	};
	sync_cond_broadcast(&k.changed);
	sync_mutex_unlock(&k.lock);
}

static void wait_done(unsigned count)
{
	sync_mutex_lock(&k.lock);
	while (k.done < count)
		sync_cond_wait(&k.changed, &k.lock);
	sync_mutex_unlock(&k.lock);
}

static void wait_inside(unsigned count)
{
	sync_mutex_lock(&k.lock);
	while (k.inside < count)
		sync_cond_wait(&k.changed, &k.lock);
	sync_mutex_unlock(&k.lock);
}

static void go_on(void)
{
	sync_mutex_lock(&k.lock);
	k.go_on = true;
	sync_cond_broadcast(&k.changed);
	sync_mutex_unlock(&k.lock);
}

static struct sync_thread runner;
static int result;
static struct wake wake;
static int device; /* of the wake */

static void run(void *arg)
{
	result = loop_run(NULL, *(unsigned *)arg, &wake);
}

static void begin(unsigned *threads_max)
{
	assert_int_equal(sync_thread_start(&runner, "loop", run, threads_max), 0);
}

static void end(void)
{
	fuse_session_exit(NULL);
	sync_thread_join(&runner);
}

static int setup(void **state)
{
	(void)state;
	memset(&k, 0, sizeof(k));
	sync_mutex_init(&k.lock, SYNC_RANK_LEAF, "played kernel");
	sync_cond_init(&k.changed);
	device = memfd_create("device", MFD_CLOEXEC);
	wake = (struct wake){ .fd = device, .usec = 7 };
	return device < 0;
}

static int teardown(void **state)
{
	(void)state;
	sync_cond_done(&k.changed);
	sync_mutex_done(&k.lock);
	return close(device);
}

static void test_one_program_is_served_by_few_threads(void **state)
{
	unsigned threads = 16;

	(void)state;
	begin(&threads);
	for (unsigned i = 1; i <= 2000; i++) {
		ask(AT_ONCE, 7);
		wait_done(i);
	}
	end();
	assert_int_equal(result, 0);
	/* The one that reads, the one that watches, and a few when they were replaced because the machine was busy. */
	assert_true(k.threads < threads / 2);
}

/* Or -1: nothing yet. */
static int32_t wake_asked(void)
{
	int32_t usec = -1;

	assert_true(pread(device, &usec, sizeof(usec), 0) >= 0);
	return usec;
}

static void test_processors_are_kept_awake_as_long_as_a_program_asks_all_the_time(void **state)
{
	unsigned threads = 16, asked = 0;

	(void)state;
	begin(&threads);
	for (unsigned round = 0; round < 2; round++) {
		while (wake_asked() != 7) {
			ask(AT_ONCE, 7);
			wait_done(++asked);
		}
		/* Now it does not ask. */
		while (wake_asked() == 7)
			;
	}
	end();
	assert_int_equal(result, 0);
}

static void test_processors_may_sleep_when_the_loop_ends(void **state)
{
	unsigned threads = 16, asked = 0;

	(void)state;
	begin(&threads);
	while (wake_asked() != 7) {
		ask(AT_ONCE, 7);
		wait_done(++asked);
	}
	end();
	assert_int_not_equal(wake_asked(), 7);
}

static void test_who_takes_long_is_replaced(void **state)
{
	unsigned threads = 16;

	(void)state;
	begin(&threads);
	for (unsigned i = 1; i <= 10; i++) {
		ask(AT_ONCE, 7);
		wait_done(i);
	}
	for (unsigned i = 1; i <= 8; i++) {
		ask(STAYS_UNTIL_TOLD, 7);
		wait_inside(i);
	}
	ask(AT_ONCE, 7);
	wait_done(11);
	go_on();
	wait_done(19);
	end();
	assert_int_equal(result, 0);
	assert_int_equal(k.inside_max, 9);
}

static void test_no_more_threads_than_allowed_work_and_all_requests_are_answered(void **state)
{
	unsigned threads = 3;

	(void)state;
	begin(&threads);
	for (unsigned i = 0; i < 300; i++)
		ask(i % 3 == 0 ? STAYS_UNTIL_TOLD : i % 3 == 1 ? NOT_BRIEF : AT_ONCE, i % 5);
	wait_inside(3);
	go_on();
	wait_done(300);
	end();
	assert_int_equal(result, 0);
	assert_int_equal(k.inside_max, 3);
}

static void test_a_single_thread_serves_alone(void **state)
{
	unsigned threads = 1;

	(void)state;
	begin(&threads);
	for (unsigned i = 0; i < 100; i++)
		ask(i % 2 ? NOT_BRIEF : AT_ONCE, i);
	wait_done(100);
	end();
	assert_int_equal(k.threads, 1);
	assert_int_equal(k.reading_max, 1);
}

static void test_an_error_of_reading_ends_it(void **state)
{
	unsigned threads = 4;

	(void)state;
	begin(&threads);
	ask(AT_ONCE, 7);
	wait_done(1);
	sync_mutex_lock(&k.lock);
	k.read_err = -EIO;
	sync_cond_broadcast(&k.changed);
	sync_mutex_unlock(&k.lock);
	sync_thread_join(&runner);
	assert_int_equal(result, -EIO);
}

static bool brief(uint32_t opcode, const void *args, size_t args_len, size_t less)
{
	char request[256];
	struct fuse_in_header head = { .opcode = opcode };

	memcpy(request, &head, sizeof(head));
	memcpy(request + sizeof(head), args, args_len);
	return loop_is_brief(request, sizeof(head) + args_len - less);
}

static void test_which_requests_are_waited_for(void **state)
{
	struct fuse_read_in read = { .size = 4096 };
	struct fuse_write_in write = { .size = 4096 };

	(void)state;
	assert_true(brief(FUSE_LOOKUP, "name", 5, 0));
	assert_false(brief(FUSE_LOOKUP, "", 0, 1));
	assert_true(brief(FUSE_READ, &read, sizeof(read), 0));
	assert_false(brief(FUSE_READ, &read, sizeof(read), 1));
	read.flags = O_DIRECT;
	assert_false(brief(FUSE_READ, &read, sizeof(read), 0));
	read = (struct fuse_read_in){ .size = 128 << 10 };
	assert_false(brief(FUSE_READ, &read, sizeof(read), 0));
	assert_true(brief(FUSE_WRITE, &write, sizeof(write), 0));
	assert_false(brief(FUSE_WRITE, &write, sizeof(write), 1));
	write.write_flags = FUSE_WRITE_CACHE;
	assert_false(brief(FUSE_WRITE, &write, sizeof(write), 0));
	write = (struct fuse_write_in){ .size = 4096, .flags = O_DIRECT };
	assert_false(brief(FUSE_WRITE, &write, sizeof(write), 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one_program_is_served_by_few_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_processors_are_kept_awake_as_long_as_a_program_asks_all_the_time,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(test_processors_may_sleep_when_the_loop_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_who_takes_long_is_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_more_threads_than_allowed_work_and_all_requests_are_answered,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_single_thread_serves_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_error_of_reading_ends_it, setup, teardown),
		cmocka_unit_test(test_which_requests_are_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
