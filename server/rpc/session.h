/* SPDX-License-Identifier: BSD-3-Clause */
/* What session.c, slots.c, account.c and left.c share: a client's session in memory. All of it is under the lock of the
 * sessions, except what never changes. */
#ifndef WFSD_SERVER_RPC_SESSION_H
#define WFSD_SERVER_RPC_SESSION_H

#include "core/base/budget.h"
#include "server/rpc/compound.h"
#include "server/rpc/notice.h"

#define RPC_OWNER_BUCKETS 64u
#define RPC_PEER_BYTES 17u

/* Operations whose results file systems may keep. What is beyond is kept in memory only. */
#define RPC_PLACES_MAX 16384u /* of a session */
#define RPC_PLACES_PEER_MAX (1u << 18)
#define RPC_PLACES_ALL_MAX (1u << 20)
/* Bytes of answers of transactions there. Beyond, nothing but that they were committed is kept. */
#define RPC_ANSWER_BYTES_MAX ((size_t)8 << 20)
#define RPC_ANSWER_BYTES_PEER_MAX ((size_t)24 << 20)
#define RPC_ANSWER_BYTES_ALL_MAX ((size_t)64 << 20)

struct rpc_left;

struct rpc_slot {
	uint32_t sequence;
	bool used, busy;
	bool durable; /* file systems were to keep the results of what it had last */
	uint8_t places; /* operations of its longest compound: each may have a result in a file system */
	uint32_t answer_bytes; /* of its longest answer in a file system */
	void *reply; /* NULL: none is kept */
	size_t reply_len;
};

struct rpc_slot_table {
	struct rpc_slot_table *next;
	uint32_t connection;
	struct rpc_slot slots[WFSP_SLOTS];
};

struct rpc_owner {
	struct rpc_owner *next;
	uint64_t owner, number;
};

/* What all connections and sessions of one peer (a user of this machine, or an address, with a certificate) hold. */
struct rpc_account {
	struct rpc_account *next;
	uint8_t who[RPC_PEER_BYTES];
	uint64_t number; /* never 0 */
	unsigned connection_count; /* of those whose peer is known */
	unsigned session_count, away_count;
	unsigned owner_count, transaction_count;
	unsigned place_count; /* those that sessions left that have ended count, too */
	unsigned holder_count; /* sessions with owners of locks */
	size_t reply_bytes;
	size_t answer_bytes; /* likewise */
	struct rpc_left *left_first,
	        **left_end; /* in the order of the ends; the last one's next, unless there is none */
	unsigned left_count; /* with the one that is being dropped */
	struct vfs_lock_share locks; /* the VFS's */
	struct rpc_notice_share notices; /* atomic */
	unsigned handle_count; /* open on all connections; atomic */
};

struct rpc_session {
	struct rpc_session *next;
	struct rpc_sessions *sessions;
	struct rpc_account *account;
	uint8_t key[VFS_CLIENT_KEY_BYTES]; /* of client and peer, by the server's secret */
	unsigned connections; /* that hold it */
	uint64_t left_ns; /* when the last one did */
	uint64_t lease_ns;
	struct rpc_slot_table *tables;
	unsigned table_count;
	unsigned place_count; /* of all slots */
	size_t reply_bytes, answer_bytes;
	struct rpc_slot_table *hand; /* whose answer goes next when there are too many; NULL: the first */
	unsigned hand_slot;
	struct rpc_owner *owners[RPC_OWNER_BUCKETS];
	unsigned owner_count;
	uint64_t origin;
	struct rpc_done done; /* of connections that are gone; under the server's lock */
	struct rpc_tx *transactions;
	unsigned transaction_count;
	struct rpc_notices *notices; /* changes once; read anywhere (atomic) */
	struct rpc_left *left; /* for what it will leave */
	/* What an earlier session of the client left, until when it has expired. */
	unsigned old_place_count;
	size_t old_answer_bytes;
	uint64_t old_until_ns;
	bool forgetting; /* such is being dropped: nothing is kept in file systems */
	struct work work; /* its end */
};

/* account.c: with the lock held. */
/* That of the peer, found or made; NULL: no memory. */
struct rpc_account *rpc_account_find(struct rpc_sessions *t, const struct rpc_peer *peer) SYNC_REQUIRES(t->lock);
/* One thing less that it is kept for. */
void rpc_account_drop(struct rpc_sessions *t, struct rpc_account *a) SYNC_REQUIRES(t->lock);
/* What file systems know the client's session by. */
void rpc_session_key_of(const struct rpc_sessions *t, const struct rpc_peer *peer, const uint8_t *client_id,
                        uint8_t ret[VFS_CLIENT_KEY_BYTES]);

/* left.c: with the lock held. */
/* For a session; NULL: no memory. */
struct rpc_left *rpc_left_new(struct rpc_sessions *t) SYNC_REQUIRES(t->lock);
/* It ends: what it has in file systems stays for a time, and is counted. */
void rpc_left_add(struct rpc_sessions *t, struct rpc_session *s) SYNC_REQUIRES(t->lock);
/* It begins: what its client left is its again. */
void rpc_left_take_over(struct rpc_sessions *t, struct rpc_session *s) SYNC_REQUIRES(t->lock);
/* There is more in file systems of that peer: perhaps something has to go. */
void rpc_left_press(struct rpc_sessions *t, const struct rpc_account *a) SYNC_REQUIRES(t->lock);
/* What has expired goes. */
void rpc_left_expire(struct rpc_sessions *t) SYNC_REQUIRES(t->lock);
/* All sessions have ended: nothing is remembered any more. File systems drop what expires. */
void rpc_left_end(struct rpc_sessions *t) SYNC_REQUIRES(t->lock);

/* slots.c: with the lock held. The counts are the caller's. */
void rpc_slots_free(struct rpc_sessions *t, struct rpc_session *s) SYNC_REQUIRES(t->lock);

#endif
