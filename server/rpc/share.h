/* SPDX-License-Identifier: BSD-3-Clause */
/* Counts of what several connections share, without a lock. */
#ifndef WFSD_SERVER_RPC_SHARE_H
#define WFSD_SERVER_RPC_SHARE_H

#include <stdbool.h>

/* One more of @max; false: there are so many already. */
static inline bool rpc_share_take(unsigned *count, unsigned max)
{
	unsigned now = __atomic_load_n(count, __ATOMIC_RELAXED);

	do {
		if (now >= max)
			return false;
	} while (!__atomic_compare_exchange_n(count, &now, now + 1, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return true;
}

static inline void rpc_share_give(unsigned *count)
{
	__atomic_sub_fetch(count, 1, __ATOMIC_RELAXED);
}

#endif
