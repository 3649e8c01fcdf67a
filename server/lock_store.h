/* SPDX-License-Identifier: BSD-3-Clause */
/* The RPC server's record of who has locks, in the daemon's state. */
#ifndef WFSD_SERVER_LOCK_STORE_H
#define WFSD_SERVER_LOCK_STORE_H

#include "server/conf/state.h"
#include "server/rpc/rpc_server.h"

/* @s outlives it. */
void lock_store_init(struct rpc_lock_store *ret, struct state *s);

#endif
