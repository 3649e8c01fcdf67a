/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Payloads in memory that a client on this machine shares with the server.
 *
 * The server makes the memory file and seals its size before anybody else has it, so no access can fall outside. The
 * client can change its contents at any time: payloads are copied out once, into pages that it cannot reach, and only
 * those are looked at.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/budget.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "server/rpc/internal.h"

#define SLOTS_BYTES ((size_t)RPC_SHM_SLOTS * RPC_SHM_SLOT_BYTES)
#define SHM_BYTES (SLOTS_BYTES + WFSP_SHM_TAIL_BYTES)
#define OVERCOMMIT_NEVER '2'

_Static_assert(RPC_SHM_SLOTS <= 64, "slots in use are the bits of a word");

bool rpc_shm_possible(void)
{
	char mode = OVERCOMMIT_NEVER;
	FILE *f = fopen("/proc/sys/vm/overcommit_memory", "re");

	/* Where the kernel refuses single pages, a client that punches holes into the memory could make us meet one
	 * that cannot be had, and that is a signal. */
	if (f) {
		mode = (char)fgetc(f);
		fclose(f);
	}
	return mode != OVERCOMMIT_NEVER;
}

/* A memory file that keeps its size for ever; negative errno. */
static int make_file(void)
{
	int fd = memfd_create("wfsd-payloads", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int err;

	if (fd < 0)
		return err_set(-errno, "memfd_create: %s", strerror(errno));
	if (ftruncate(fd, (off_t)SHM_BYTES) == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
		return fd;
	err = err_set(-errno, "sizing and sealing shared memory: %s", strerror(errno));
	close(fd);
	return err;
}

void rpc_shm_grant(struct rpc_conn *c, uint64_t features)
{
	struct rpc_server *s = c->server;
	char text[128];
	void *p;

	if (!(features & WFSP_FEATURE_SHM) || !c->peer.is_unix || !s->shm_possible || c->shm)
		return;
	if (budget_consumer_used(s->shm_charge) + SHM_BYTES > s->shm_bytes_max ||
	    !budget_try_charge(s->shm_charge, SHM_BYTES))
		return;
	c->shm_fd = make_file();
	if (c->shm_fd >= 0) {
		p = mmap(NULL, SHM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, c->shm_fd, 0);
		if (p != MAP_FAILED) {
			c->shm = p;
			return;
		}
		(void)err_set(-errno, "mapping shared memory: %s", strerror(errno));
	}
	err_text(err_get(), err_get()->code, 0, text, sizeof(text));
	log_debug("rpc", "a connection without shared memory: reason=\"%s\"", text);
	rpc_shm_sent(c);
	budget_uncharge(s->shm_charge, SHM_BYTES);
}

void rpc_shm_sent(struct rpc_conn *c)
{
	if (c->shm_fd >= 0)
		close(c->shm_fd);
	c->shm_fd = -1;
}

void rpc_shm_drop(struct rpc_conn *c)
{
	rpc_shm_sent(c);
	if (!c->shm)
		return;
	/* The pages go now, even when the client keeps its mapping. It may be about to take the data of an answer, and
	 * looks at this word afterwards. */
	__atomic_store_n((uint32_t *)(void *)(c->shm + SLOTS_BYTES), 1, __ATOMIC_SEQ_CST);
	(void)madvise(c->shm, SLOTS_BYTES, MADV_REMOVE);
	munmap(c->shm, SHM_BYTES);
	c->shm = NULL;
	budget_uncharge(c->server->shm_charge, SHM_BYTES);
}

int rpc_shm_take(struct rpc_op *op)
{
	struct rpc_conn *c = op->conn;
	uint64_t count, mask;

	if (op->shm_slot >= RPC_SHM_SLOTS ||
	    op->len_bytes > (uint64_t)(RPC_SHM_SLOTS - op->shm_slot) * RPC_SHM_SLOT_BYTES)
		return err_set(-EINVAL, "slot %u with %llu bytes is outside the shared memory", op->shm_slot,
		               (unsigned long long)op->len_bytes);
	count = op->len_bytes ? (op->len_bytes + RPC_SHM_SLOT_BYTES - 1) / RPC_SHM_SLOT_BYTES : 1;
	mask = (count == 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1) << op->shm_slot;
	if (c->shm_busy & mask)
		return err_set(-EBUSY, "slot %u of the shared memory is in use by another request", op->shm_slot);
	c->shm_busy |= mask;
	op->shm_mask = mask;
	op->payload = c->shm + (size_t)op->shm_slot * RPC_SHM_SLOT_BYTES;
	return 0;
}
