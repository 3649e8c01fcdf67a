/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls that are not to be begun any more: their client has cancelled them, or does not want them after that long. */
#include <errno.h>

#include "core/base/err.h"
#include "server/rpc/internal.h"

void rpc_deferred_add(struct rpc_op *op)
{
	struct rpc_conn *c = op->conn;

	op->deferred_prev = NULL;
	op->deferred_next = c->deferred;
	if (c->deferred)
		c->deferred->deferred_prev = op;
	c->deferred = op;
}

void rpc_deferred_remove(struct rpc_op *op)
{
	if (op->deferred_prev)
		op->deferred_prev->deferred_next = op->deferred_next;
	else
		op->conn->deferred = op->deferred_next;
	if (op->deferred_next)
		op->deferred_next->deferred_prev = op->deferred_prev;
}

int rpc_exec_cancel(const struct rpc_op *cancel)
{
	bool found = false;

	for (struct rpc_op *op = cancel->conn->deferred; op; op = op->deferred_next) {
		if (op->xid == cancel->args.cancel_xid) {
			__atomic_store_n(&op->cancelled, true, __ATOMIC_RELAXED);
			found = true;
		}
	}
	return found ? 0 : err_set(-ENOENT, "no call %u is under way", cancel->args.cancel_xid);
}

int rpc_op_over(const struct rpc_op *op)
{
	if (__atomic_load_n(&op->cancelled, __ATOMIC_RELAXED))
		return err_set(-ECANCELED, "cancelled by its client");
	if (op->until_ns && sync_now_ns() >= op->until_ns)
		return err_set(-ETIMEDOUT, "not begun within the time that its client gave");
	return 0;
}
