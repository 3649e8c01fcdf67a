/* SPDX-License-Identifier: BSD-3-Clause */
/* The operations of a COMPOUND whose results come later, as notices: watches, locks that wait, leases. */
#include <errno.h>

#include "core/base/err.h"
#include "server/rpc/notice.h"

_Static_assert((int)WFSP_LEASE_READ == (int)VFS_LEASE_READ && (int)WFSP_LEASE_WRITE == (int)VFS_LEASE_WRITE,
               "leases travel as they are");

static int notices_of(const struct compound *c, struct rpc_notices **ret)
{
	if (!c->conn->session)
		return err_set(-EINVAL, "notices need a HELLO");
	*ret = rpc_session_notices(c->conn->server, c->conn->session, true);
	return *ret ? 0 : err_set(-ENOMEM, "no memory for notices");
}

int op_watch(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct vfs_watch_spec spec = { .what = op->what, .subtree = op->flags & WFSP_WATCH_SUBTREE };
	const struct vfs_cred *cred;
	struct rpc_notices *n;
	int err = compound_cred(c, &cred);

	(void)res;
	if (err)
		return err;
	if (op->flags & ~(WFSP_WATCH_SUBTREE | WFSP_WATCH_OTHERS))
		return err_set(-EINVAL, "unknown flags %#x of WATCH", op->flags);
	/* Whoever wants to hear of all that others do believes what he knows until he hears. */
	if (op->flags & WFSP_WATCH_OTHERS && spec.subtree && vfs_is_remote(c->current->h))
		return err_set(-EOPNOTSUPP, "what others change on another server is not told");
	if (op->flags & WFSP_WATCH_OTHERS)
		spec.skip_origin = c->conn->origin;
	err = notices_of(c, &n);
	return err ? err : rpc_watch_add(n, c->current->h, cred, &spec, op->id);
}

int op_unwatch(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct rpc_notices *n;
	int err = notices_of(c, &n);

	(void)res;
	return err ? err : rpc_watch_remove(n, op->id);
}

int op_lock_wait(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct rpc_notices *n;
	struct vfs_lock lock;
	struct vfs_handle *h;
	int err = compound_lock(c, &op->lock, false, &lock, &h);

	if (!err)
		err = notices_of(c, &n);
	return err ? err : rpc_lock_wait(n, h, &lock, op->id, &res->granted);
}

int op_lock_cancel(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct rpc_notices *n;
	int err = notices_of(c, &n);

	(void)res;
	if (!err)
		rpc_lock_cancel(n, op->id);
	return err;
}

int op_lease(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct rpc_notices *n;
	struct vfs_handle *h;
	int err = 0;

	(void)res;
	if (op->type != WFSP_LEASE_READ && op->type != WFSP_LEASE_WRITE)
		return err_set(-EINVAL, "a lease of type %u", op->type);
	/* Who may not use the data must not keep others from it. */
	err = compound_io(c, c->current, op->type == WFSP_LEASE_WRITE ? VFS_ACCESS_WRITE : VFS_ACCESS_READ, &h);
	if (!err)
		err = notices_of(c, &n);
	return err ? err : rpc_lease_add(n, h, c->conn->origin, (enum vfs_lease_type)op->type, op->id);
}

int op_lease_return(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct rpc_notices *n;
	int err = notices_of(c, &n);

	(void)res;
	return err ? err : rpc_lease_remove(n, op->id);
}
