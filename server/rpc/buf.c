/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory for payloads: pools by size, single pieces above. */
#include <errno.h>
#include <stdlib.h>

#include "core/base/budget.h"
#include "core/base/bufpool.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "server/rpc/internal.h"

#define BUF_ALIGN 4096u

static const struct {
	size_t bytes;
	size_t keep_max;
} classes[RPC_BUF_CLASSES] = {
	{ 16u << 10, 64 },
	{ 64u << 10, 16 },
	{ 256u << 10, 16 },
	{ 1u << 20, 4 },
};

int rpc_bufs_init(struct rpc_server *s)
{
	for (int i = 0; i < RPC_BUF_CLASSES; i++) {
		s->pools[i] = bufpool_new(classes[i].bytes, classes[i].keep_max, s->charge);
		if (!s->pools[i])
			return err_set(-ENOMEM, "no memory for buffer pools");
	}
	return 0;
}

void rpc_bufs_done(struct rpc_server *s)
{
	for (int i = 0; i < RPC_BUF_CLASSES; i++)
		bufpool_free(s->pools[i]);
}

int rpc_buf_get(struct rpc_server *s, size_t len_bytes, struct rpc_buf *ret)
{
	struct rpc_buf b = { .pool = -1 };

	for (int i = 0; i < RPC_BUF_CLASSES && b.pool < 0; i++) {
		if (len_bytes <= classes[i].bytes)
			b.pool = i;
	}
	if (b.pool >= 0) {
		b.size_bytes = classes[b.pool].bytes;
		b.p = bufpool_get(s->pools[b.pool]);
	} else {
		b.size_bytes = round_up_u64(len_bytes, BUF_ALIGN);
		budget_charge(s->charge, b.size_bytes);
		b.p = aligned_alloc(BUF_ALIGN, b.size_bytes);
		if (!b.p)
			budget_uncharge(s->charge, b.size_bytes);
	}
	if (!b.p)
		return err_set(-ENOMEM, "no memory for a payload of %zu bytes", len_bytes);
	*ret = b;
	return 0;
}

void rpc_buf_put(struct rpc_server *s, struct rpc_buf *b)
{
	if (!b->p)
		return;
	if (b->pool >= 0) {
		bufpool_put(s->pools[b->pool], b->p);
	} else {
		free(b->p);
		budget_uncharge(s->charge, b->size_bytes);
	}
	b->p = NULL;
}
