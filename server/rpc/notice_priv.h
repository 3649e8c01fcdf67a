/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of a session's notices share: notice.c, notice_lease.c. */
#ifndef WFSD_SERVER_RPC_NOTICE_PRIV_H
#define WFSD_SERVER_RPC_NOTICE_PRIV_H

#include "protocol/wfs_notice.h"
#include "server/rpc/notice.h"
#include "server/rpc/share.h"

struct lease;
struct wait;
struct watch;

struct notice {
	struct notice *next, *prev;
	struct watch *watch; /* NULL: none, or it is gone */
	uint64_t number, id;
	enum wfsp_notice_kind kind;
	uint32_t what;
	uint64_t fsid, dir, object;
	size_t name_len;
	char name[];
};

struct rpc_notices {
	unsigned refs; /* atomic: the session, and waits whose end was not told */
	struct rpc_server *server;
	struct rpc_notice_share *peer; /* NULL: the session is at its end */
	struct sync_mutex lock; /* SYNC_RANK_NOTICES */
	uint64_t channel; /* random */
	struct notice *first SYNC_GUARDED_BY(lock);
	struct notice *last SYNC_GUARDED_BY(lock);
	unsigned count SYNC_GUARDED_BY(lock);
	size_t bytes; /* of the queue; written under the lock, read anywhere (atomic) */
	unsigned other_count SYNC_GUARDED_BY(lock); /* of them, those that tell of no change */
	uint64_t last_number SYNC_GUARDED_BY(lock);
	uint64_t sent_number SYNC_GUARDED_BY(lock); /* the highest that was in an answer */
	struct watch *watches SYNC_GUARDED_BY(lock);
	unsigned watch_count SYNC_GUARDED_BY(lock);
	struct wait *waits SYNC_GUARDED_BY(lock);
	unsigned wait_count SYNC_GUARDED_BY(lock);
	struct lease *leases SYNC_GUARDED_BY(lock);
	unsigned lease_count SYNC_GUARDED_BY(lock);
	struct rpc_op *held SYNC_GUARDED_BY(lock); /* a NOTICES call */
	uint64_t held_until_ns SYNC_GUARDED_BY(lock);
};

/* Into the queue; false: no memory. */
bool rpc_notices_push(struct rpc_notices *n, const struct notice *what, const char *name) SYNC_REQUIRES(n->lock);
/* May something be begun that tells how it ended? 0; -ENOLCK: too much of that was not taken yet. */
int rpc_notices_room(const struct rpc_notices *n) SYNC_REQUIRES(n->lock);
/* All leases of the session are given back. */
void rpc_leases_end(struct rpc_notices *n);

#endif
