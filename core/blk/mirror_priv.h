/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the mirror share: mirror.c (requests, copies that come and go), mirror_verified.c (contents that
 * can be judged). */
#ifndef WFSD_CORE_BLK_MIRROR_PRIV_H
#define WFSD_CORE_BLK_MIRROR_PRIV_H

#include "core/base/sync.h"
#include "core/blk/blk_ops.h"
#include "core/blk/mirror.h"

/* All fields: atomic. Written under mirror.lock, but for the counters. */
struct copy {
	struct blk_dev *dev;
	int state; /* enum mirror_state */
	uint64_t since;
	unsigned reads; /* in flight */
	uint64_t checksum_errors, repairs;
};

struct mirror {
	struct blk_dev dev;
	struct mirror_events events;
	struct sync_mutex lock; /* SYNC_RANK_BLK: states */
	struct copy copies[MIRROR_COPIES_MAX];
	/* Requests in flight, by the parity of @epoch when they began: see drain(). Atomics. */
	unsigned users[2];
	unsigned epoch;
	uint64_t change, recorded; /* atomics */
};

struct mirror *mirror_of(struct blk_dev *dev);

static inline int mirror_state_of(const struct copy *c)
{
	return __atomic_load_n(&c->state, __ATOMIC_SEQ_CST);
}

/* Enter and leave the set of requests that mirror_take() waits for. */
static inline unsigned mirror_enter(struct mirror *m)
{
	unsigned epoch = __atomic_load_n(&m->epoch, __ATOMIC_SEQ_CST) & 1;

	__atomic_add_fetch(&m->users[epoch], 1, __ATOMIC_SEQ_CST);
	return epoch;
}

static inline void mirror_leave(struct mirror *m, unsigned epoch)
{
	__atomic_sub_fetch(&m->users[epoch], 1, __ATOMIC_SEQ_CST);
}

/* The copy failed at @doing: it goes away. False: it has to stay. */
bool mirror_fail_copy(struct mirror *m, unsigned index, const char *doing, uint64_t offset, int error);
/* Give what was read from a good copy to those in the bit mask @bad. */
void mirror_rewrite_copies(struct mirror *m, unsigned bad, uint64_t offset, uint64_t len, const struct iovec *iov,
                           int iov_count);

#endif
