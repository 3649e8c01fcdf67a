/* SPDX-License-Identifier: BSD-3-Clause */
/* Transactions: what callers ask for, handed on to the file system. */
#include <errno.h>

#include "core/base/err.h"
#include "core/base/nowait.h"
#include "core/vfs/vfs_priv.h"

int vfs_tx_begin(struct vfs_handle *any, const struct vfs_tx_args *args, struct vfs_tx **ret)
{
	struct vfs_stat st;
	int err;

	if (nowait_here())
		return -EAGAIN;
	if (!any->node->ops->tx_begin)
		return err_set(-EOPNOTSUPP, "the file system has no transactions");
	if (args->isolation != VFS_TX_SNAPSHOT && args->isolation != VFS_TX_SERIALIZABLE)
		return err_set(-EINVAL, "isolation %d does not exist", (int)args->isolation);
	err = handle_stat(any, &st);
	if (!err)
		err = access_check_writable(any, &st);
	return err ? err : any->node->ops->tx_begin(any->node, args, ret);
}

void vfs_tx_free(struct vfs_tx *tx)
{
	if (tx)
		tx->ops->free(tx);
}

int vfs_tx_handle(struct vfs_tx *tx, struct vfs_handle *h, struct vfs_handle **ret)
{
	struct place at = { .mount = h->mount };
	int err = nowait_here() ? -EAGAIN : tx->ops->node(tx, h->node, &at.node);

	if (err)
		return err;
	mount_ref(at.mount);
	return handle_new(h->vfs, &at, 0, h->by_root, ret);
}

int vfs_tx_commit(struct vfs_tx *tx, bool durable)
{
	return nowait_here() ? -EAGAIN : tx->ops->commit(tx, durable);
}

int vfs_tx_abort(struct vfs_tx *tx, int reason)
{
	return nowait_here() ? -EAGAIN : tx->ops->abort(tx, reason);
}

void vfs_tx_get_info(struct vfs_tx *tx, struct vfs_tx_info *ret)
{
	tx->ops->get_info(tx, ret);
}

int vfs_tx_status(struct vfs_handle *any, uint64_t id, struct vfs_tx_info *ret)
{
	if (nowait_here())
		return -EAGAIN;
	if (!any->node->ops->tx_status)
		return err_set(-EOPNOTSUPP, "the file system has no transactions");
	return any->node->ops->tx_status(any->node, id, ret);
}
