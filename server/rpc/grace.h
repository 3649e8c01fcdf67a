/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Locks over a restart of the server, as in NFSv4 (RFC 8881, section 8.4.2). Which sessions have locks is recorded
 * before they get the first. A server that starts with such a record waits: for a time only these sessions may have
 * locks, and only those that they had, until each has said that it has all of them again. So nobody gets a lock that
 * somebody who is only late had.
 *
 * Any thread.
 */
#ifndef WFSD_SERVER_RPC_GRACE_H
#define WFSD_SERVER_RPC_GRACE_H

#include "core/base/sync.h"
#include "server/rpc/rpc_server.h"

#define RPC_HOLDERS_MAX 4096u /* sessions with locks */

struct rpc_grace;

/* What config->lock_store has; its time begins. NULL there: nothing is recorded, and nobody waits. 0, -ENOMEM. */
int rpc_grace_new(const struct rpc_server_config *config, struct rpc_grace **ret);
void rpc_grace_free(struct rpc_grace *g); /* NULL is fine */
/*
 * May the session with that key, and that number in this run (never 0), take a lock? @reclaim: it had that one. 0;
 * -ERESTART: not yet, others may still come for theirs; -ESTALE: it did not have any, or the time is over. Blocks, for
 * the first lock of a session.
 */
int rpc_grace_admit(struct rpc_grace *g, const uint8_t key[RPC_SESSION_KEY_BYTES], uint64_t origin, bool reclaim);
/* The session has all of its locks again. */
void rpc_grace_reclaimed(struct rpc_grace *g, const uint8_t key[RPC_SESSION_KEY_BYTES], uint64_t origin);
/* The session is over, and its locks with it: not when the server ends. Blocks. */
void rpc_grace_forget(struct rpc_grace *g, const uint8_t key[RPC_SESSION_KEY_BYTES], uint64_t origin);
/* From now on nothing is forgotten. */
void rpc_grace_end(struct rpc_grace *g);

#endif
