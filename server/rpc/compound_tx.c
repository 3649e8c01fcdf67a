/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transactions in a COMPOUND: TX_BEGIN and TX_USE make what follows happen inside of one. The current handle goes
 * along; the saved one, and results of earlier operations, stay outside and cannot be used inside.
 */
#include <errno.h>
#include <string.h>

#include "core/base/err.h"
#include "server/rpc/compound.h"

_Static_assert((int)WFSP_TX_SNAPSHOT == (int)VFS_TX_SNAPSHOT && (int)WFSP_TX_SERIALIZABLE == (int)VFS_TX_SERIALIZABLE &&
                       (int)WFSP_TX_RUNNING == (int)VFS_TX_RUNNING && (int)WFSP_TX_COMMITTED == (int)VFS_TX_COMMITTED &&
                       (int)WFSP_TX_ABORTED == (int)VFS_TX_ABORTED,
               "isolation and states travel as they are");

struct vfs_handle *compound_root(const struct compound *c, const struct rpc_tree *tree)
{
	return c->tx && tree && tree->key == c->tx->export_key ? c->tx->root : tree->root;
}

static int check_tree(const struct compound *c)
{
	if (c->tx)
		return err_set(-EINVAL, "the compound is in a transaction already");
	return c->current->tree ? 0 : err_set(-EINVAL, "an open file's descriptor is in no transaction");
}

/* Nothing that was found outside is used inside, but for the current object. Takes over the reference. @begun: by this
 * operation, so that nobody else knows of it. */
static int enter_tx(struct compound *c, struct rpc_tx *t, bool begun, bool atomic)
{
	struct rpc_tree *tree = c->current->tree;
	struct vfs_handle *h;
	int err = vfs_tx_handle(t->tx, c->current->h, &h);

	if (err) {
		if (begun || err == -EXDEV)
			rpc_tx_forget(c->conn->session, t);
		rpc_tx_put(c->conn->session, t);
		return err;
	}
	c->tx = t;
	c->tx_atomic = atomic;
	c->tx_count++;
	c->tx_index = c->index;
	c->tx_pos = c->w.pos;
	c->saved = NULL;
	memset(c->after, 0, sizeof(c->after));
	compound_enter(c, tree, h, 0);
	return 0;
}

static void leave_tx(struct compound *c)
{
	if (c->tx)
		rpc_tx_forget(c->conn->session, c->tx);
	rpc_tx_put(c->conn->session, c->tx);
	c->tx = NULL;
	c->tx_atomic = c->tx_again = false;
	/* What was found inside is of no use any more. */
	c->current = c->saved = NULL;
	memset(c->after, 0, sizeof(c->after));
}

int op_tx_begin(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct vfs_tx_args args = { .isolation = (enum vfs_tx_isolation)op->isolation, .ttl_ms = op->ttl_ms };
	bool atomic = op->flags & WFSP_TX_ATOMIC;
	struct rpc_tx *t;
	int err = check_tree(c);

	if (!err && op->flags & ~WFSP_TX_ATOMIC)
		err = err_set(-EINVAL, "unknown flags %#x of a transaction", op->flags);
	if (!err)
		err = rpc_tx_begin(c->conn->session, c->current->tree, &args, !atomic, &t);
	if (err)
		return err;
	res->id = t->id;
	return enter_tx(c, t, true, atomic);
}

int op_tx_use(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct rpc_tx *t;
	int err = check_tree(c);

	(void)res;
	if (!err)
		err = rpc_tx_get(c->conn->session, c->current->tree, op->id, &t);
	return err ? err : enter_tx(c, t, false, false);
}

/* It was committed before, so that the current object is one outside. */
static int commit_again(struct compound *c, bool durable)
{
	int err = durable ? vfs_flush(c->current->h, 0) : 0;

	leave_tx(c);
	return err;
}

int op_tx_commit(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct vfs_answer answer;
	struct vfs_tx_info info;
	struct vfs_tag tag;
	int err;

	(void)res;
	if (!c->tx && !c->tx_again)
		return err_set(-EINVAL, "the compound is in no transaction");
	if (op->flags & ~WFSP_TX_DURABLE)
		return err_set(-EINVAL, "unknown flags %#x of a commit", op->flags);
	if (c->tx_again)
		return commit_again(c, op->flags & WFSP_TX_DURABLE);
	err = vfs_tx_commit(c->tx->tx, op->flags & WFSP_TX_DURABLE, compound_tx_answer(c, &tag, &answer));
	if (err) {
		/* The answer tells that it is one of a transaction; the session need not keep what is over. */
		vfs_tx_get_info(c->tx->tx, &info);
		if (info.state != VFS_TX_RUNNING)
			rpc_tx_forget(c->conn->session, c->tx);
		return err;
	}
	leave_tx(c);
	return 0;
}

int op_tx_abort(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	(void)op;
	(void)res;
	if (!c->tx)
		return err_set(-EINVAL, "the compound is in no transaction");
	/* It may be over already. */
	(void)vfs_tx_abort(c->tx->tx, -ECANCELED);
	leave_tx(c);
	return 0;
}

int op_tx_status(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct vfs_tx_info info;
	int err;

	if (!c->current->tree)
		return err_set(-EINVAL, "an open file's descriptor is in no transaction");
	err = vfs_tx_status(c->current->tree->root, op->id, &info);
	if (err)
		return err;
	res->tx = (struct wfsp_tx_status){ .state = info.state,
		                           .reason = info.reason == -EBUSY ? WFSP_ERR_CONFLICT
		                                                           : wfsp_status_from_errno(info.reason),
		                           .fsid = info.conflict.fsid,
		                           .fileid = info.conflict.object,
		                           .committed_ns = info.committed_ns };
	res->name.len_bytes = (uint32_t)strlen(info.conflict_name);
	memcpy(c->path, info.conflict_name, res->name.len_bytes);
	res->name.p = (const uint8_t *)c->path;
	return 0;
}

void compound_end_tx(struct compound *c)
{
	if (!c->tx)
		return;
	if (c->tx_atomic)
		(void)vfs_tx_abort(c->tx->tx, -ECANCELED);
	rpc_tx_put(c->conn->session, c->tx);
	c->tx = NULL;
}
