/* SPDX-License-Identifier: BSD-3-Clause */
/* NBD and RPC as the admin front end sees them. */
#include "server/peers.h"

#include "server/nbd/nbd.h"
#include "server/rpc/rpc_server.h"

static void nbd_stats(void *ctx, struct admin_nbd_stats *ret)
{
	const struct peers *p = ctx;
	struct nbd_stats s;

	nbd_get_stats(p->nbd, &s);
	*ret = (struct admin_nbd_stats){
		.connections = s.connections,
		.max_connections = s.max_connections,
		.accepted = s.accepted,
		.refused = s.refused,
		.ended_ok = s.ended_ok,
		.ended_error = s.ended_error,
		.ended_signal = s.ended_signal,
		.handshake_timeouts = s.handshake_timeouts,
	};
}

struct each {
	admin_connection_fn *fn;
	void *fn_ctx;
};

static void each_connection(void *ctx, const struct nbd_connection_info *info)
{
	const struct each *e = ctx;
	struct admin_connection connection = {
		.id = info->id,
		.peer = info->peer,
		.pid = (int)info->pid,
		.age_ns = info->age_ns,
	};

	e->fn(e->fn_ctx, &connection);
}

static void nbd_each_connection(void *ctx, admin_connection_fn *fn, void *fn_ctx)
{
	const struct peers *p = ctx;
	struct each e = { fn, fn_ctx };

	nbd_each(p->nbd, each_connection, &e);
}

static unsigned rpc_connections(void *ctx)
{
	const struct peers *p = ctx;

	return rpc_server_connections(p->rpc);
}

static void rpc_each(void *ctx, void (*fn)(void *fn_ctx, const struct rpc_connection_info *info), void *fn_ctx)
{
	const struct peers *p = ctx;

	rpc_server_each_connection(p->rpc, fn, fn_ctx);
}

static unsigned rpc_slow(void *ctx, struct rpc_slow *ret)
{
	const struct peers *p = ctx;

	return rpc_server_slow(p->rpc, ret);
}

struct admin_peers peers_for_admin(struct peers *p)
{
	return (struct admin_peers){
		.nbd_stats = nbd_stats,
		.nbd_each = nbd_each_connection,
		.rpc_connections = rpc_connections,
		.rpc_each = rpc_each,
		.rpc_slow = rpc_slow,
		.ctx = p,
	};
}
