/* SPDX-License-Identifier: BSD-3-Clause */
/* Locks, condition variables, thread slots, and the rank checks of debug builds. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/sync.h"

#define THREADS 4
#define ROUNDS 2000

static struct sync_mutex mutex;
static struct sync_rwlock rwlock;
static struct sync_cond cond;
static unsigned sum, turn;

static void add_under_locks(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		sync_mutex_lock(&mutex);
		sum++;
		sync_mutex_unlock(&mutex);
		sync_rwlock_wrlock(&rwlock);
		turn++;
		sync_rwlock_wrunlock(&rwlock);
		sync_rwlock_rdlock(&rwlock);
		assert_true(turn > 0);
		sync_rwlock_rdunlock(&rwlock);
	}
}

static void test_locks_exclude_each_other(void **state)
{
	struct sync_thread t[THREADS];

	(void)state;
	sum = turn = 0;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(sync_thread_start(&t[i], "adder", add_under_locks, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		sync_thread_join(&t[i]);
	assert_int_equal(sum, THREADS * ROUNDS);
	assert_int_equal(turn, THREADS * ROUNDS);
}

SYNC_NO_ANALYSIS static void try_both(void *arg)
{
	bool *got = arg;

	got[0] = sync_mutex_trylock(&mutex);
	if (got[0])
		sync_mutex_unlock(&mutex);
	got[1] = sync_rwlock_tryrdlock(&rwlock);
	if (got[1])
		sync_rwlock_rdunlock(&rwlock);
}

static void test_try_refuses_a_taken_lock(void **state)
{
	struct sync_thread t;
	bool got[2] = { true, true };

	(void)state;
	sync_mutex_lock(&mutex);
	sync_rwlock_wrlock(&rwlock);
	assert_int_equal(sync_thread_start(&t, "try", try_both, got), 0);
	sync_thread_join(&t);
	sync_rwlock_wrunlock(&rwlock);
	sync_mutex_unlock(&mutex);
	assert_false(got[0] || got[1]);
	try_both(got);
	assert_true(got[0] && got[1]);
}

static void ping(void *arg)
{
	unsigned me = *(unsigned *)arg;

	sync_mutex_lock(&mutex);
	for (int i = 0; i < 200; i++) {
		while (turn % 2 != me)
			sync_cond_wait(&cond, &mutex);
		turn++;
		sync_cond_broadcast(&cond);
	}
	sync_mutex_unlock(&mutex);
}

static void test_condition_wakes_the_other_thread(void **state)
{
	unsigned ids[2] = { 0, 1 };
	struct sync_thread t[2];

	(void)state;
	turn = 0;
	for (int i = 0; i < 2; i++)
		assert_int_equal(sync_thread_start(&t[i], "a name longer than fifteen", ping, &ids[i]), 0);
	for (int i = 0; i < 2; i++)
		sync_thread_join(&t[i]);
	assert_int_equal(turn, 400);
}

static void test_wait_until_ends_at_the_deadline(void **state)
{
	uint64_t deadline = sync_now_ns() + 2 * SYNC_NS_PER_MS;

	(void)state;
	sync_mutex_lock(&mutex);
	while (sync_cond_wait_until(&cond, &mutex, deadline))
		;
	sync_mutex_unlock(&mutex);
	assert_true(sync_now_ns() >= deadline);
	assert_false(sync_wall_ns() < UINT64_C(1600000000) * SYNC_NS_PER_S);
}

static void get_slot(void *arg)
{
	sigset_t blocked;

	*(unsigned *)arg = sync_thread_slot();
	assert_int_equal(*(unsigned *)arg, sync_thread_slot());
	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	assert_true(sigismember(&blocked, SIGTERM));
	assert_false(sigismember(&blocked, SIGSEGV));
}

static void test_slots_are_dense_and_reused(void **state)
{
	unsigned mine = sync_thread_slot(), first = 0, second = 0;
	struct sync_thread t;

	(void)state;
	assert_int_equal(sync_thread_start(&t, "slot", get_slot, &first), 0);
	sync_thread_join(&t);
	assert_int_equal(sync_thread_start(&t, "slot", get_slot, &second), 0);
	sync_thread_join(&t);
	assert_int_not_equal(first, mine);
	assert_int_equal(first, second);
	assert_true(first < 3);
}

#ifdef WFSD_DEBUG
/* Run @fn in a child with stderr in a pipe; it must abort and say @text. */
static void expect_abort(void (*fn)(void), const char *text)
{
	char said[1024] = { 0 };
	size_t len = 0;
	int pipe_fds[2], status;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(pipe_fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct rlimit none = { 0, 0 };

		setrlimit(RLIMIT_CORE, &none);
		signal(SIGABRT, SIG_DFL);
		dup2(pipe_fds[1], STDERR_FILENO);
		fn();
		_exit(0);
	}
	close(pipe_fds[1]);
	while (len < sizeof(said) - 1 && (n = read(pipe_fds[0], said + len, sizeof(said) - 1 - len)) > 0)
		len += (size_t)n;
	close(pipe_fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	if (!strstr(said, text))
		fail_msg("expected \"%s\" in: %s", text, said);
}

SYNC_NO_ANALYSIS static void lock_backwards(void)
{
	struct sync_mutex inner, outer;

	sync_mutex_init(&inner, SYNC_RANK_ALLOC, "inner");
	sync_mutex_init(&outer, SYNC_RANK_OBJECT, "outer");
	sync_mutex_lock(&inner);
	sync_mutex_lock(&outer);
}

SYNC_NO_ANALYSIS static void lock_twice(void)
{
	sync_mutex_lock(&mutex);
	sync_mutex_lock(&mutex);
}

SYNC_NO_ANALYSIS static void unlock_free(void)
{
	sync_mutex_unlock(&mutex);
}

SYNC_NO_ANALYSIS static void block_under_tree(void)
{
	struct sync_rwlock tree;

	sync_rwlock_init(&tree, SYNC_RANK_TREE, "tree");
	sync_rwlock_rdlock(&tree);
	sync_assert_may_block();
}

static void test_rank_violation_aborts_naming_both_locks(void **state)
{
	(void)state;
	expect_abort(lock_backwards, "lock=\"outer\" rank=40 while holding lock=\"inner\" rank=70");
	expect_abort(lock_twice, "lock taken twice");
	expect_abort(unlock_free, "not held");
	expect_abort(block_under_tree, "waiting for a device");
}
#endif

static int setup(void **state)
{
	(void)state;
	sync_mutex_init(&mutex, SYNC_RANK_OBJECT, "test mutex");
	sync_rwlock_init(&rwlock, SYNC_RANK_GATE, "test rwlock");
	sync_cond_init(&cond);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	sync_cond_done(&cond);
	sync_rwlock_done(&rwlock);
	sync_mutex_done(&mutex);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_locks_exclude_each_other),
		cmocka_unit_test(test_try_refuses_a_taken_lock),
		cmocka_unit_test(test_condition_wakes_the_other_thread),
		cmocka_unit_test(test_wait_until_ends_at_the_deadline),
		cmocka_unit_test(test_slots_are_dense_and_reused),
#ifdef WFSD_DEBUG
		cmocka_unit_test(test_rank_violation_aborts_naming_both_locks),
#endif
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
