/* SPDX-License-Identifier: BSD-3-Clause */
/* What the admin front end shows of the others, so that none of them knows another. */
#ifndef WFSD_SERVER_PEERS_H
#define WFSD_SERVER_PEERS_H

#include "server/admin/admin.h"

struct nbd;
struct rpc_server;

struct peers {
	struct nbd *nbd;
	struct rpc_server *rpc;
};

/* @p outlives what is returned. */
struct admin_peers peers_for_admin(struct peers *p);

#endif
