/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The slowest requests of the last minutes, with the stages where their time went.
 *
 * Each minute has a short list of its own. Whether a request is slow enough for it is one comparison; few are.
 */
#ifndef WFSD_SERVER_RPC_SLOW_H
#define WFSD_SERVER_RPC_SLOW_H

#include "core/base/sync.h"
#include "server/rpc/rpc_server.h"

#define SLOW_MINUTES 10u
#define SLOW_PER_MINUTE 16u
#define SLOW_NS_MIN SYNC_NS_PER_MS /* what is faster is nobody's concern */

struct slow_minute {
	uint64_t minute; /* since the clock's start */
	unsigned count;
	struct rpc_slow items[SLOW_PER_MINUTE]; /* slowest first */
};

struct slow_list {
	struct sync_mutex lock;
	uint64_t minute; /* of floor_ns (atomic) */
	uint64_t floor_ns; /* of this minute: what is not above it does not get in (atomic) */
	struct slow_minute minutes[SLOW_MINUTES] SYNC_GUARDED_BY(lock);
};

void slow_init(struct slow_list *l);
void slow_done(struct slow_list *l);
/* Does a request that ended now and took @total_ns belong to the list? Any thread; no lock. */
bool slow_wants(const struct slow_list *l, uint64_t now_ns, uint64_t total_ns);
void slow_add(struct slow_list *l, uint64_t now_ns, const struct rpc_slow *item);
/* The slowest of all the minutes, slowest first: how many. */
unsigned slow_get(struct slow_list *l, uint64_t now_ns, struct rpc_slow *ret, unsigned max);

#endif
