/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a client is to be told: changes of what it watches, locks that it waits for, leases that are recalled. Kept with
 * its session until the client says that it has them.
 *
 * The client asks for them with NOTICES, which is held (no thread waits) until there is something. All calls from any
 * thread, except where a connection is named.
 */
#ifndef WFSD_SERVER_RPC_NOTICE_H
#define WFSD_SERVER_RPC_NOTICE_H

#include "core/vfs/vfs_lease.h"
#include "core/vfs/vfs_watch.h"
#include "server/rpc/compound.h"

#define RPC_WATCHES_MAX 1024u /* of a session */
#define RPC_LOCK_WAITS_MAX 1024u
#define RPC_LEASES_MAX 1024u
/* Of all sessions of a peer: a quarter of what there is for all. */
#define RPC_WATCHES_PEER_MAX (VFS_WATCHES_MAX / 4)
#define RPC_LEASES_PEER_MAX (VFS_LEASES_MAX / 4)
/* Not yet taken by the client: beyond these a watch has lost something, and says so. */
#define RPC_WATCH_NOTICES_MAX 4096u /* of one watch */
#define RPC_NOTICES_QUEUED_MAX 16384u /* of a session */
#define RPC_NOTICES_BYTES_MAX ((size_t)4 << 20) /* likewise */
#define RPC_NOTICES_BYTES_PEER_MAX ((size_t)16 << 20)
#define RPC_NOTICES_BYTES_ALL_MAX ((size_t)64 << 20)
/* Beyond so many that are no changes, nothing new is begun of which a notice would tell: who never takes any can make
 * no more. */
#define RPC_NOTICES_OTHERS_MAX 8192u
#define RPC_NOTICES_WAIT_MS_MAX 60000u

struct rpc_notices;

/* What all sessions of a peer have; atomic, all zero at first. */
struct rpc_notice_share {
	unsigned watches, leases;
	size_t queued_bytes;
};

/* @peer outlives it until rpc_notices_end(). NULL: no memory. */
struct rpc_notices *rpc_notices_new(struct rpc_server *s, struct rpc_notice_share *peer);
/* Of what the client has not taken yet. */
size_t rpc_notices_bytes(const struct rpc_notices *n);
/* The session ends: its watches, too; its lock owners are gone already. NULL is fine. */
void rpc_notices_end(struct rpc_notices *n);

/* A watch by the client's number. -EEXIST, -EMFILE, -ENOLCK, -ENOMEM, and as vfs_watch_open(). */
int rpc_watch_add(struct rpc_notices *n, struct vfs_handle *h, const struct vfs_cred *cred,
                  const struct vfs_watch_spec *spec, uint64_t id);
/* -ENOENT. What it has told and the client has not taken yet is still told. */
int rpc_watch_remove(struct rpc_notices *n, uint64_t id);

/* Take a lock, or wait for it: then *ret_granted is false, and a notice will tell. -EEXIST: that number waits already.
 * -ENOLCK: too many wait. And as vfs_lock(). */
int rpc_lock_wait(struct rpc_notices *n, struct vfs_handle *h, const struct vfs_lock *lock, uint64_t id,
                  bool *ret_granted);
/* Wait no more: a notice says -ECANCELED, unless one is under way already. */
void rpc_lock_cancel(struct rpc_notices *n, uint64_t id);

/* A lease by the client's number. -EEXIST, -ENOLCK, -ENOMEM, and as vfs_lease_take(). */
int rpc_lease_add(struct rpc_notices *n, struct vfs_handle *h, uint64_t holder, enum vfs_lease_type type, uint64_t id);
/* Give it back, also when it was broken. -ENOENT. */
int rpc_lease_remove(struct rpc_notices *n, uint64_t id);

/* On the connection's loop: a NOTICES call. True: it is held, and comes back through rpc_conn_done_push(). */
bool rpc_notices_hold(struct rpc_notices *n, struct rpc_op *op);
/* Put what there is into op->buf. On the connection's loop. */
int rpc_notices_take(struct rpc_notices *n, struct rpc_op *op);
/* The connection ends, on its loop: the call that it has held is the caller's again. NULL: none. */
struct rpc_op *rpc_notices_drop(struct rpc_notices *n, const struct rpc_conn *c);
/* Has a call been held for as long as it wished? Then it comes back. */
void rpc_notices_expire(struct rpc_notices *n, uint64_t now_ns);

#endif
