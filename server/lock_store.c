/* SPDX-License-Identifier: BSD-3-Clause */
/* The RPC server's record of who has locks, in the daemon's state. */
#include "server/lock_store.h"

_Static_assert(STATE_LOCK_HOLDER_BYTES == RPC_SESSION_KEY_BYTES, "the state has what the server wants kept");

static void each(void *ctx, void (*fn)(void *fn_ctx, const uint8_t *key), void *fn_ctx)
{
	state_each_lock_holder(ctx, fn, fn_ctx);
}

static int put(void *ctx, const uint8_t *keys, unsigned count)
{
	return state_put_lock_holders(ctx, keys, count);
}

void lock_store_init(struct rpc_lock_store *ret, struct state *s)
{
	*ret = (struct rpc_lock_store){ .ctx = s, .each = each, .put = put };
}
