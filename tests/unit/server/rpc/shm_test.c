/* SPDX-License-Identifier: BSD-3-Clause */
/* Payloads in shared memory: what the server grants, and clients that misuse it. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "tests/unit/server/rpc/fixture.h"

#define SLOTS 64u
#define SLOT_BYTES (64u << 10)
#define SHM_BYTES ((size_t)SLOTS * SLOT_BYTES + WFSP_SHM_TAIL_BYTES)
#define GATED_OFFSET 4096u /* memfs holds requests there while its gate is closed */

struct shm {
	int fd; /* the connection */
	int memory_fd;
	uint8_t *p;
	uint64_t handle;
};

/* Say hello, asking for @features; the descriptor that came with the answer, or -1. */
static int hello(int fd, uint8_t id, uint64_t features, struct wfsp_hello_ok *ret)
{
	struct wfsp_hello_args a = { .client_id = { id }, .connection = 3, .features = features, .client_name = "raw" };
	union {
		struct cmsghdr align;
		uint8_t bytes[CMSG_SPACE(sizeof(int))];
	} control;
	uint8_t buf[2048];
	struct iovec iov = { buf, sizeof(buf) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	struct wr w = raw_call(buf, sizeof(buf), 1, WFSP_HELLO);
	char text[WFSP_TEXT_MAX + 1];
	int memory_fd = -1;
	uint32_t xid;
	ssize_t n;
	struct rd r;

	wfsp_put_hello_args(&w, &a);
	raw_call_end(fd, &w);
	assert_int_equal(poll(&pfd, 1, 20000), 1);
	n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	assert_true(n > RECORD_MARK_BYTES);
	if (CMSG_FIRSTHDR(&msg))
		memcpy(&memory_fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(memory_fd));
	r = rd_init(buf + RECORD_MARK_BYTES, (size_t)n - RECORD_MARK_BYTES);
	assert_int_equal(rpc_get_reply(&r, &xid), 0);
	assert_int_equal(wfsp_get_status(&r, text), WFSP_OK);
	wfsp_get_hello_ok(&r, ret);
	assert_false(r.bad);
	return memory_fd;
}

static struct shm shm_connect(struct fixture *f, uint8_t id)
{
	struct shm s = { .fd = raw_connect(f) };
	struct wfsp_hello_ok ok;

	s.memory_fd = hello(s.fd, id, WFSP_FEATURE_SHM, &ok);
	assert_true(s.memory_fd >= 0);
	assert_int_equal(ok.features, WFSP_FEATURE_SHM);
	assert_int_equal(ok.shm_slots, SLOTS);
	assert_int_equal(ok.shm_slot_bytes, SLOT_BYTES);
	s.p = mmap(NULL, SHM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, s.memory_fd, 0);
	assert_true(s.p != MAP_FAILED);
	s.handle = raw_open(s.fd);
	return s;
}

static void shm_close(struct shm *s)
{
	munmap(s->p, SHM_BYTES);
	close(s->memory_fd);
	close(s->fd);
}

static void read_call(const struct shm *s, uint32_t xid, uint64_t offset, uint32_t len, uint32_t slot)
{
	struct wfsp_read_shm_args a = { .handle = s->handle, .offset = offset, .len_bytes = len, .slot = slot };
	uint8_t buf[256];
	struct wr w = raw_call(buf, sizeof(buf), xid, WFSP_READ_SHM);

	wfsp_put_read_shm_args(&w, &a);
	raw_call_end(s->fd, &w);
}

static void write_call(const struct shm *s, uint32_t xid, uint64_t offset, uint32_t len, uint32_t slot)
{
	struct wfsp_write_shm_args a = { .handle = s->handle, .offset = offset, .len_bytes = len, .slot = slot };
	uint8_t buf[256];
	struct wr w = raw_call(buf, sizeof(buf), xid, WFSP_WRITE_SHM);

	wfsp_put_write_shm_args(&w, &a);
	raw_call_end(s->fd, &w);
}

/* @read_len: what a READ_SHM that succeeds says; -1: it is no read. */
static void expect_read(const struct shm *s, uint32_t xid, int err, int64_t read_len)
{
	char text[WFSP_TEXT_MAX + 1];
	uint8_t buf[2048];
	uint32_t got;
	struct rd r = rd_init(buf, raw_record(s->fd, buf, sizeof(buf)));

	assert_int_equal(rpc_get_reply(&r, &got), 0);
	assert_int_equal(got, xid);
	assert_int_equal(wfsp_status_to_errno(wfsp_get_status(&r, text)), err);
	if (read_len >= 0)
		assert_int_equal(rd_be32(&r), read_len);
	assert_int_equal(rd_left(&r), 0);
}

static void expect(const struct shm *s, uint32_t xid, int err)
{
	expect_read(s, xid, err, -1);
}

static void test_what_was_written_through_slots_is_read_both_ways(void **state)
{
	struct fixture *f = *state;
	struct shm s = shm_connect(f, 1);
	static uint8_t pattern[3 * SLOT_BYTES + 17];

	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 7 + i / 251);
	memcpy(s.p + 5 * SLOT_BYTES, pattern, sizeof(pattern));
	write_call(&s, 1, 12345, sizeof(pattern), 5);
	expect(&s, 1, 0);
	assert_memory_equal(f->mem.data + 12345, pattern, sizeof(pattern));
	read_call(&s, 2, 12345, sizeof(pattern), 60);
	expect_read(&s, 2, 0, sizeof(pattern));
	assert_memory_equal(s.p + 60 * SLOT_BYTES, pattern, sizeof(pattern));
	read_call(&s, 3, 0, 0, 63);
	expect_read(&s, 3, 0, 0);
	shm_close(&s);
}

static void test_the_memory_cannot_change_its_size(void **state)
{
	struct shm s = shm_connect(*state, 1);
	struct stat st;

	assert_int_equal(fcntl(s.memory_fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	assert_int_equal(ftruncate(s.memory_fd, 0), -1);
	assert_int_equal(ftruncate(s.memory_fd, (off_t)SHM_BYTES * 2), -1);
	assert_int_equal(fstat(s.memory_fd, &st), 0);
	assert_int_equal(st.st_size, SHM_BYTES);
	/* What a client can take away is given again, as zeros. */
	memset(s.p, 1, SHM_BYTES);
	assert_int_equal(madvise(s.p, SHM_BYTES, MADV_REMOVE), 0);
	write_call(&s, 1, 0, SLOTS * SLOT_BYTES, 0);
	expect(&s, 1, 0);
	shm_close(&s);
}

static void test_places_outside_are_refused_and_the_connection_goes_on(void **state)
{
	struct shm s = shm_connect(*state, 1);

	read_call(&s, 1, 0, 1, SLOTS);
	expect(&s, 1, -EINVAL);
	read_call(&s, 2, 0, SLOT_BYTES + 1, SLOTS - 1);
	expect(&s, 2, -EINVAL);
	write_call(&s, 3, 0, UINT32_MAX, 0);
	expect(&s, 3, -EINVAL);
	write_call(&s, 4, 0, 1, UINT32_MAX);
	expect(&s, 4, -EINVAL);
	write_call(&s, 5, 0, SLOTS * SLOT_BYTES + 1, 0);
	expect(&s, 5, -EINVAL);
	read_call(&s, 6, FILE_BYTES - 10, 11, 0);
	expect(&s, 6, -EINVAL);
	write_call(&s, 7, FILE_BYTES - 10, 11, 0);
	expect(&s, 7, -ENOSPC);
	s.handle++;
	read_call(&s, 8, 0, 1, 0);
	expect(&s, 8, -EBADF);
	s.handle--;
	read_call(&s, 9, 0, SLOTS * SLOT_BYTES, 0);
	expect_read(&s, 9, 0, SLOTS * SLOT_BYTES);
	shm_close(&s);
}

static void test_a_slot_in_use_is_refused_until_its_call_is_answered(void **state)
{
	struct fixture *f = *state;
	struct shm s = shm_connect(f, 1);

	memfs_gate(&f->mem, true);
	write_call(&s, 1, GATED_OFFSET, 2 * SLOT_BYTES, 7);
	memfs_await_waiting(&f->mem, 1);
	read_call(&s, 2, 0, 1, 8);
	expect(&s, 2, -EBUSY);
	read_call(&s, 3, 0, SLOT_BYTES + 1, 6);
	expect(&s, 3, -EBUSY);
	read_call(&s, 4, 0, SLOT_BYTES, 6);
	expect_read(&s, 4, 0, SLOT_BYTES);
	memfs_gate(&f->mem, false);
	expect(&s, 1, 0);
	read_call(&s, 5, 0, 1, 8);
	expect_read(&s, 5, 0, 1);
	shm_close(&s);
}

static void test_memory_is_given_only_to_those_who_ask_and_taken_back_at_the_end(void **state)
{
	struct fixture *f = *state;
	size_t idle = budget_used(f->budget);
	int fd = raw_connect(f);
	struct wfsp_hello_ok ok;
	struct stat st;
	struct shm s;

	assert_int_equal(hello(fd, 9, 0, &ok), -1);
	assert_int_equal(ok.features, 0);
	assert_int_equal(ok.shm_slots, 0);
	s = (struct shm){ .fd = fd, .handle = raw_open(fd) };
	read_call(&s, 2, 0, 1, 0);
	{
		uint8_t buf[256];
		uint32_t xid;
		struct rd r = rd_init(buf, raw_record(fd, buf, sizeof(buf)));

		assert_int_equal(rpc_get_reply(&r, &xid), -EOPNOTSUPP);
	}
	close(fd);
	s = shm_connect(f, 1);
	assert_true(budget_used(f->budget) - idle > SHM_BYTES);
	memset(s.p, 1, SHM_BYTES - WFSP_SHM_TAIL_BYTES);
	close(s.fd);
	fixture_unserve(f);
	/* We still have it, but it is empty, and says so. */
	assert_int_equal(s.p[0], 0);
	assert_int_equal(*(uint32_t *)(void *)(s.p + SLOTS * SLOT_BYTES), 1);
	assert_int_equal(fstat(s.memory_fd, &st), 0);
	assert_true(st.st_blocks * 512 <= 3 * 4096);
	fixture_serve(f, 1000, NULL, 0);
	munmap(s.p, SHM_BYTES);
	close(s.memory_fd);
}

static void test_shared_memory_is_bounded_for_all_connections_together(void **state)
{
	struct fixture *f = *state;
	unsigned most = (unsigned)(budget_limit(f->budget) / 8 / SHM_BYTES), granted = 0;
	struct wfsp_hello_ok ok;
	int fds[64];

	assert_in_range(most, 1, 62);
	for (unsigned i = 0; i < most + 2; i++) {
		int memory_fd;

		fds[i] = raw_connect(f);
		memory_fd = hello(fds[i], (uint8_t)(i + 1), WFSP_FEATURE_SHM, &ok);
		granted += memory_fd >= 0;
		assert_int_equal(memory_fd >= 0, ok.shm_slots > 0);
		if (memory_fd >= 0)
			close(memory_fd);
	}
	assert_int_equal(granted, most);
	for (unsigned i = 0; i < most + 2; i++)
		close(fds[i]);
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_descriptors_that_a_client_sends_are_dropped(void **state)
{
	struct shm s = shm_connect(*state, 1);
	union {
		struct cmsghdr align;
		uint8_t bytes[CMSG_SPACE(200 * sizeof(int))];
	} control = { 0 };
	uint8_t buf[256];
	struct wr w = raw_call(buf, sizeof(buf), 4, WFSP_NULL);
	struct iovec iov = { buf, w.pos };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	unsigned before = open_fds();
	uint32_t xid;
	struct rd r;

	put_be32(buf, record_mark(w.pos - RECORD_MARK_BYTES));
	control.align.cmsg_level = SOL_SOCKET;
	control.align.cmsg_type = SCM_RIGHTS;
	control.align.cmsg_len = CMSG_LEN(200 * sizeof(int));
	for (size_t i = 0; i < 200; i++)
		memcpy(CMSG_DATA(&control.align) + i * sizeof(int), &s.memory_fd, sizeof(int));
	assert_int_equal(sendmsg(s.fd, &msg, MSG_NOSIGNAL), w.pos);
	r = rd_init(buf, raw_record(s.fd, buf, sizeof(buf)));
	assert_int_equal(rpc_get_reply(&r, &xid), 0);
	assert_int_equal(xid, 4);
	assert_int_equal(open_fds(), before);
	shm_close(&s);
}

struct scribbler {
	struct shm *s;
	bool stop; /* atomic */
};

static void scribble(void *arg)
{
	struct scribbler *b = arg;

	for (unsigned i = 0; !__atomic_load_n(&b->stop, __ATOMIC_RELAXED); i++) {
		for (size_t at = 0; at < 4 * SLOT_BYTES; at += 64)
			__atomic_store_n(b->s->p + at, (uint8_t)i, __ATOMIC_RELAXED);
		(void)madvise(b->s->p, 4 * SLOT_BYTES, MADV_REMOVE);
	}
}

static void test_a_client_that_changes_payloads_under_way_hurts_nobody_else(void **state)
{
	struct shm s = shm_connect(*state, 1);
	struct scribbler b = { .s = &s };
	struct sync_thread t;

	assert_int_equal(sync_thread_start(&t, "scribble", scribble, &b), 0);
	for (uint32_t i = 0; i < 200; i++) {
		write_call(&s, i, 0, 4 * SLOT_BYTES, 0);
		expect(&s, i, 0);
		read_call(&s, i, 0, 4 * SLOT_BYTES, 0);
		expect_read(&s, i, 0, 4 * SLOT_BYTES);
	}
	__atomic_store_n(&b.stop, true, __ATOMIC_RELAXED);
	sync_thread_join(&t);
	shm_close(&s);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_what_was_written_through_slots_is_read_both_ways),
		T(test_the_memory_cannot_change_its_size),
		T(test_places_outside_are_refused_and_the_connection_goes_on),
		T(test_a_slot_in_use_is_refused_until_its_call_is_answered),
		T(test_memory_is_given_only_to_those_who_ask_and_taken_back_at_the_end),
		T(test_shared_memory_is_bounded_for_all_connections_together),
		T(test_descriptors_that_a_client_sends_are_dropped),
		T(test_a_client_that_changes_payloads_under_way_hurts_nobody_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
