/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libwfs: payloads in memory shared with the server. Each connection has its own, made by the server and divided into
 * slots; a payload lies in adjacent ones.
 *
 * Slots in use are bits of one word, taken and given back by single atomic operations. When no run of free ones is long
 * enough, the payload goes through the socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/assert.h"
#include "protocol/client/internal.h"

#define SHM_BYTES_MAX (256u << 20)
#define SHM_SLOT_BYTES_MAX (16u << 20)
#define SHM_SLOT_ALIGN 4096u
#define SHM_FDS_MAX 4u /* that one message of a server may bring; one of them is wanted */

ssize_t wfs_shm_receive(int fd, void *to, size_t room, int *shm_fd)
{
	union {
		struct cmsghdr align;
		uint8_t bytes[CMSG_SPACE(sizeof(int) * SHM_FDS_MAX)];
	} control;
	struct iovec iov = { to, room };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	ssize_t n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);

	if (n <= 0)
		return n;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&msg); h; h = CMSG_NXTHDR(&msg, h)) {
		size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int got;

			memcpy(&got, CMSG_DATA(h) + i * sizeof(int), sizeof(got));
			if (*shm_fd < 0)
				*shm_fd = got;
			else
				close(got);
		}
	}
	return n;
}

/* Is it memory of at least that many bytes, that nobody can shorten? */
static bool is_sound(int fd, size_t bytes)
{
	const int wanted = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	return seals >= 0 && (seals & wanted) == wanted && fstat(fd, &st) == 0 && st.st_size >= 0 &&
	       (uint64_t)st.st_size >= bytes;
}

void wfs_shm_map(struct wfs_shm *m, int fd, const struct wfsp_hello_ok *hello)
{
	uint32_t slots = hello->shm_slots < SHM_SLOTS_MAX ? hello->shm_slots : SHM_SLOTS_MAX;
	/* All slots count for the place of the tail, also those that we have no bits for. */
	uint64_t tail = (uint64_t)hello->shm_slots * hello->shm_slot_bytes;
	size_t bytes = tail + WFSP_SHM_TAIL_BYTES;
	void *p;

	always(!m->base);
	if (fd < 0 || !(hello->features & WFSP_FEATURE_SHM) || !tail || tail > SHM_BYTES_MAX ||
	    hello->shm_slot_bytes > SHM_SLOT_BYTES_MAX || hello->shm_slot_bytes % SHM_SLOT_ALIGN ||
	    !is_sound(fd, bytes))
		return;
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return;
	m->base = p;
	m->bytes = bytes;
	m->taken_back = (const uint32_t *)(const void *)(m->base + tail);
	m->slot_bytes = hello->shm_slot_bytes;
	m->slots = slots;
	__atomic_store_n(&m->busy, 0, __ATOMIC_RELAXED);
}

void wfs_shm_unmap(struct wfs_shm *m)
{
	if (m->base)
		munmap(m->base, m->bytes);
	m->base = NULL;
}

static uint64_t run_of(uint32_t count)
{
	return count == 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;
}

/* Occupy the lowest run of free slots, so that few pages are touched. False: there is none. */
static bool take_slots(struct wfs_shm *m, uint32_t count, uint32_t *ret_first)
{
	uint64_t busy = __atomic_load_n(&m->busy, __ATOMIC_RELAXED);
	uint32_t first = 0;

	while (first + count <= m->slots) {
		uint64_t mask = run_of(count) << first;

		if (busy & mask) {
			first++;
		} else if (__atomic_compare_exchange_n(&m->busy, &busy, busy | mask, false, __ATOMIC_ACQUIRE,
		                                       __ATOMIC_RELAXED)) {
			*ret_first = first;
			return true;
		} else {
			first = 0;
		}
	}
	return false;
}

/* The call's head again, as READ_SHM or WRITE_SHM. */
static void put_shm_head(struct wfs_call *call)
{
	struct rd r = rd_init(call->head + CALL_ARGS_AT, call->args.pos - CALL_ARGS_AT);
	uint64_t handle = rd_be64(&r), offset = rd_be64(&r);

	call->shm_args = wr_init(call->shm_head, sizeof(call->shm_head));
	wr_zero(&call->shm_args, RECORD_MARK_BYTES);
	if (call->procedure == WFSP_READ) {
		struct wfsp_read_shm_args a = {
			.handle = handle, .offset = offset, .len_bytes = call->payload_len, .slot = call->shm_slot
		};

		rpc_put_call(&call->shm_args, 0, WFSP_PROGRAM, WFSP_VERSION, WFSP_READ_SHM, NULL);
		wfsp_put_read_shm_args(&call->shm_args, &a);
	} else {
		struct wfsp_write_shm_args a = { .handle = handle,
			                         .offset = offset,
			                         .stable = rd_be32(&r),
			                         .len_bytes = (uint32_t)call->send_len,
			                         .slot = call->shm_slot };

		rpc_put_call(&call->shm_args, 0, WFSP_PROGRAM, WFSP_VERSION, WFSP_WRITE_SHM, NULL);
		wfsp_put_write_shm_args(&call->shm_args, &a);
	}
	always(!call->shm_args.bad && !r.bad);
}

void wfs_shm_begin(struct wfs_shm *m, struct wfs_call *call)
{
	size_t len = call->procedure == WFSP_READ ? call->payload_len : call->send_len;
	uint32_t count;

	call->shm_count = 0;
	if (!m->base || (call->procedure != WFSP_READ && call->procedure != WFSP_WRITE) ||
	    len < SHM_PAYLOAD_BYTES_MIN || len > SHM_PAYLOAD_BYTES_MAX)
		return;
	count = (uint32_t)((len + m->slot_bytes - 1) / m->slot_bytes);
	if (!take_slots(m, count, &call->shm_slot))
		return;
	call->shm_count = count;
	put_shm_head(call);
	if (call->procedure == WFSP_WRITE)
		memcpy(m->base + (size_t)call->shm_slot * m->slot_bytes, call->send_payload, len);
}

int wfs_shm_end(struct wfs_shm *m, struct wfs_call *call, int err)
{
	struct rd r = rd_init(call->reply, call->reply_len);
	bool copied = false;
	uint32_t xid;

	if (!err && call->payload && rpc_get_reply(&r, &xid) == 0 && rd_be32(&r) == WFSP_OK) {
		uint32_t len = rd_be32(&r);

		if (!r.bad && len <= call->payload_len) {
			memcpy(call->payload, m->base + (size_t)call->shm_slot * m->slot_bytes, len);
			call->payload_got = len;
			call->payload_done = copied = true;
		}
	}
	/* Both ways a barrier: the copy is made before the next look. */
	__atomic_and_fetch(&m->busy, ~(run_of(call->shm_count) << call->shm_slot), __ATOMIC_ACQ_REL);
	/* A server that ends the connection takes the pages, perhaps while they were copied. */
	if (copied && __atomic_load_n(m->taken_back, __ATOMIC_ACQUIRE))
		return -ENOTCONN;
	return err;
}
