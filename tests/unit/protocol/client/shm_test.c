/* SPDX-License-Identifier: BSD-3-Clause */
/* libwfs: which shared memory of a server is taken, and how its slots are shared out. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/client/internal.h"

#define SLOT_BYTES (64u << 10)
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static int memory(size_t bytes, int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	if (seals)
		assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static bool is_taken(size_t bytes, int seals, uint32_t slots, uint32_t slot_bytes, uint64_t features)
{
	struct wfsp_hello_ok hello = { .features = features, .shm_slots = slots, .shm_slot_bytes = slot_bytes };
	int fd = memory(bytes, seals);
	struct wfs_shm m = { 0 };
	bool taken;

	wfs_shm_map(&m, fd, &hello);
	taken = m.base != NULL;
	wfs_shm_unmap(&m);
	close(fd);
	return taken;
}

static void test_memory_that_can_shrink_or_is_too_small_is_not_taken(void **state)
{
	const size_t whole = 8 * SLOT_BYTES + WFSP_SHM_TAIL_BYTES;

	(void)state;
	assert_true(is_taken(whole, SEALS, 8, SLOT_BYTES, WFSP_FEATURE_SHM));
	assert_true(is_taken(whole + 4096, SEALS, 8, SLOT_BYTES, WFSP_FEATURE_SHM));
	assert_false(is_taken(whole, 0, 8, SLOT_BYTES, WFSP_FEATURE_SHM));
	assert_false(is_taken(whole, F_SEAL_GROW | F_SEAL_SEAL, 8, SLOT_BYTES, WFSP_FEATURE_SHM));
	assert_false(is_taken(whole, F_SEAL_SHRINK | F_SEAL_GROW, 8, SLOT_BYTES, WFSP_FEATURE_SHM));
	assert_false(is_taken(whole, SEALS | F_SEAL_WRITE, 8, SLOT_BYTES, WFSP_FEATURE_SHM));
	assert_false(is_taken(whole - 1, SEALS, 8, SLOT_BYTES, WFSP_FEATURE_SHM));
	assert_false(is_taken(whole, SEALS, 9, SLOT_BYTES, WFSP_FEATURE_SHM));
	assert_false(is_taken(whole, SEALS, 8, SLOT_BYTES, 0));
	assert_false(is_taken(whole, SEALS, 0, SLOT_BYTES, WFSP_FEATURE_SHM));
	assert_false(is_taken(whole, SEALS, 8, 0, WFSP_FEATURE_SHM));
	assert_false(is_taken(whole, SEALS, 8, 4095, WFSP_FEATURE_SHM));
	assert_false(is_taken(whole, SEALS, UINT32_MAX, UINT32_MAX, WFSP_FEATURE_SHM));
	assert_false(is_taken(whole, SEALS, UINT32_MAX, 4096, WFSP_FEATURE_SHM));
}

static void test_what_is_not_memory_is_not_taken(void **state)
{
	struct wfsp_hello_ok hello = { .features = WFSP_FEATURE_SHM, .shm_slots = 1, .shm_slot_bytes = 4096 };
	struct wfs_shm m = { 0 };
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);

	(void)state;
	wfs_shm_map(&m, -1, &hello);
	assert_null(m.base);
	wfs_shm_map(&m, fd, &hello);
	assert_null(m.base);
	close(fd);
}

/* A call for @len bytes begun on @m: the slots it got. */
static uint32_t begin(struct wfs_shm *m, struct wfs_call *call, uint32_t procedure, void *payload, uint32_t len)
{
	struct wfsp_read_args read = { .len_bytes = len };
	struct wfsp_write_args write = { .len_bytes = len };

	wfs_call_init(call, procedure);
	if (procedure == WFSP_READ) {
		wfsp_put_read_args(&call->args, &read);
		call->payload = payload;
		call->payload_len = len;
	} else {
		wfsp_put_write_args(&call->args, &write);
		call->send_payload = payload;
		call->send_len = len;
	}
	wfs_shm_begin(m, call);
	return call->shm_count;
}

static void test_slots_are_used_once_and_calls_without_go_through_the_socket(void **state)
{
	struct wfsp_hello_ok hello = { .features = WFSP_FEATURE_SHM, .shm_slots = 4, .shm_slot_bytes = SLOT_BYTES };
	int fd = memory(4 * SLOT_BYTES + WFSP_SHM_TAIL_BYTES, SEALS);
	uint8_t *payload = calloc(1, 8 * SLOT_BYTES);
	struct wfs_call a, b, c, d;
	struct wfs_shm m = { 0 };

	(void)state;
	wfs_shm_map(&m, fd, &hello);
	memset(payload, 7, 8 * SLOT_BYTES);
	assert_int_equal(begin(&m, &a, WFSP_WRITE, payload, SLOT_BYTES), 1);
	assert_int_equal(a.shm_slot, 0);
	assert_memory_equal(m.base, payload, SLOT_BYTES);
	assert_int_equal(begin(&m, &b, WFSP_READ, payload, SLOT_BYTES + 1), 2);
	assert_int_equal(b.shm_slot, 1);
	assert_int_equal(begin(&m, &c, WFSP_WRITE, payload, 2 * SLOT_BYTES), 0);
	assert_int_equal(begin(&m, &d, WFSP_WRITE, payload, SHM_PAYLOAD_BYTES_MIN - 1), 0);
	wfs_call_done(&d);
	assert_int_equal(begin(&m, &d, WFSP_WRITE, payload, 8 * SLOT_BYTES), 0);
	assert_int_equal(wfs_shm_end(&m, &b, -ENOTCONN), -ENOTCONN);
	wfs_call_done(&c);
	assert_int_equal(begin(&m, &c, WFSP_WRITE, payload, 3 * SLOT_BYTES), 3);
	assert_int_equal(wfs_shm_end(&m, &a, 0), 0);
	assert_int_equal(wfs_shm_end(&m, &c, 0), 0);
	assert_int_equal(m.busy, 0);
	wfs_call_done(&a);
	wfs_call_done(&b);
	wfs_call_done(&c);
	wfs_call_done(&d);
	wfs_shm_unmap(&m);
	close(fd);
	free(payload);
}

static void test_a_read_from_memory_that_was_taken_back_is_not_answered(void **state)
{
	struct wfsp_hello_ok hello = { .features = WFSP_FEATURE_SHM, .shm_slots = 4, .shm_slot_bytes = SLOT_BYTES };
	int fd = memory(4 * SLOT_BYTES + WFSP_SHM_TAIL_BYTES, SEALS);
	uint8_t *payload = calloc(1, SLOT_BYTES);
	struct wfs_shm m = { 0 };
	struct wfs_call call;
	struct wr w;

	(void)state;
	wfs_shm_map(&m, fd, &hello);
	for (unsigned taken_back = 0; taken_back < 2; taken_back++) {
		assert_int_equal(begin(&m, &call, WFSP_READ, payload, SLOT_BYTES), 1);
		memset(m.base, 0x5a, SLOT_BYTES);
		w = wr_init(call.small, sizeof(call.small));
		rpc_put_reply(&w, 0, RPC_SUCCESS);
		wfsp_put_status(&w, WFSP_OK, "");
		wr_be32(&w, SLOT_BYTES);
		call.reply_len = w.pos;
		call.payload_done = false;
		m.base[4 * SLOT_BYTES] = (uint8_t)taken_back;
		assert_int_equal(wfs_shm_end(&m, &call, 0), taken_back ? -ENOTCONN : 0);
		assert_int_equal(payload[SLOT_BYTES - 1], 0x5a);
		wfs_call_done(&call);
	}
	wfs_shm_unmap(&m);
	close(fd);
	free(payload);
}

static void test_only_what_was_read_is_copied_and_never_more_than_was_asked_for(void **state)
{
	static const uint32_t lens[] = { 0, 5, SLOT_BYTES - 1, SLOT_BYTES, SLOT_BYTES + 1, UINT32_MAX };
	struct wfsp_hello_ok hello = { .features = WFSP_FEATURE_SHM, .shm_slots = 4, .shm_slot_bytes = SLOT_BYTES };
	int fd = memory(4 * SLOT_BYTES + WFSP_SHM_TAIL_BYTES, SEALS);
	uint8_t *payload = malloc(SLOT_BYTES + 1);
	struct wfs_shm m = { 0 };
	struct wfs_call call;
	struct wr w;

	(void)state;
	wfs_shm_map(&m, fd, &hello);
	for (unsigned i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		bool sound = lens[i] <= SLOT_BYTES;

		memset(payload, 1, SLOT_BYTES + 1);
		assert_int_equal(begin(&m, &call, WFSP_READ, payload, SLOT_BYTES), 1);
		memset(m.base, 0x5a, 2 * SLOT_BYTES);
		w = wr_init(call.small, sizeof(call.small));
		rpc_put_reply(&w, 0, RPC_SUCCESS);
		wfsp_put_status(&w, WFSP_OK, "");
		wr_be32(&w, lens[i]);
		call.reply_len = w.pos;
		call.payload_done = false;
		assert_int_equal(wfs_shm_end(&m, &call, 0), 0);
		assert_int_equal(call.payload_done, sound);
		if (sound && lens[i])
			assert_int_equal(payload[lens[i] - 1], 0x5a);
		assert_int_equal(payload[sound ? lens[i] : 0], 1);
		wfs_call_done(&call);
	}
	wfs_shm_unmap(&m);
	close(fd);
	free(payload);
}

static void send_fds(int to, unsigned count)
{
	union {
		struct cmsghdr align;
		uint8_t bytes[CMSG_SPACE(100 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t) "x", 1 };
	struct msghdr msg = { .msg_iov = &iov,
		              .msg_iovlen = 1,
		              .msg_control = &control,
		              .msg_controllen = CMSG_SPACE(count * sizeof(int)) };

	control.align.cmsg_level = SOL_SOCKET;
	control.align.cmsg_type = SCM_RIGHTS;
	control.align.cmsg_len = CMSG_LEN(count * sizeof(int));
	for (unsigned i = 0; i < count; i++)
		memcpy(CMSG_DATA(&control.align) + i * sizeof(int), &to, sizeof(int));
	assert_int_equal(sendmsg(to, &msg, 0), 1);
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_of_many_descriptors_one_is_kept(void **state)
{
	unsigned before = open_fds();
	int fds[2], got = -1;
	char byte;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	send_fds(fds[1], 100);
	send_fds(fds[1], 3);
	assert_int_equal(wfs_shm_receive(fds[0], &byte, 1, &got), 1);
	assert_true(got >= 0);
	assert_int_equal(wfs_shm_receive(fds[0], &byte, 1, &got), 1);
	close(got);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(open_fds(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_that_can_shrink_or_is_too_small_is_not_taken),
		cmocka_unit_test(test_what_is_not_memory_is_not_taken),
		cmocka_unit_test(test_slots_are_used_once_and_calls_without_go_through_the_socket),
		cmocka_unit_test(test_a_read_from_memory_that_was_taken_back_is_not_answered),
		cmocka_unit_test(test_only_what_was_read_is_copied_and_never_more_than_was_asked_for),
		cmocka_unit_test(test_of_many_descriptors_one_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
