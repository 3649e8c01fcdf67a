/* SPDX-License-Identifier: BSD-3-Clause */
/* Transactions: what callers ask for, handed on to the file system. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/nowait.h"
#include "core/vfs/watch.h"

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
	if (!err)
		err = any->node->ops->tx_begin(any->node, args, ret);
	if (err)
		return err;
	mount_ref(any->mount);
	(*ret)->vfs = any->vfs;
	(*ret)->mount = any->mount;
	(*ret)->fsid = st.fsid;
	return 0;
}

void vfs_tx_free(struct vfs_tx *tx)
{
	struct vfs_mount_point *m = tx ? tx->mount : NULL;

	if (tx)
		tx->ops->free(tx);
	mount_unref(m);
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

/* What is to be told to watches when the transaction is committed. */
struct change {
	struct change *next;
	struct vfs_tx_change c;
	char name[];
};

struct changes {
	struct change *first, **last;
	bool failed; /* no memory: some are missing */
};

static void note(void *ctx, const struct vfs_tx_change *c)
{
	struct changes *all = ctx;
	struct change *one = malloc(sizeof(*one) + c->name_len);

	if (!one) {
		all->failed = true;
		return;
	}
	*one = (struct change){ .c = *c };
	if (c->name_len)
		memcpy(one->name, c->name, c->name_len);
	*all->last = one;
	all->last = &one->next;
}

/* Outside, by its number: NULL when it is gone by now. */
static struct vfs_node *node_of(const struct vfs_tx *tx, uint64_t object)
{
	struct vfs_node *root = tx->mount->root, *n;

	return object && root->ops->by_object && root->ops->by_object(root, tx->fsid, object, &n) == 0 ? n : NULL;
}

static void tell_name(const struct vfs_tx *tx, const struct change *one)
{
	const struct vfs_tx_change *c = &one->c;
	struct vfs_node *dir = node_of(tx, c->dir), *before = node_of(tx, c->before), *after = node_of(tx, c->after);

	if (dir && c->after)
		watch_name(tx->vfs, tx->mount, c->before ? VFS_CHANGE_MOVED_TO : VFS_CHANGE_CREATED, dir, one->name,
		           c->name_len, after);
	else if (dir)
		watch_name(tx->vfs, tx->mount, VFS_CHANGE_REMOVED, dir, one->name, c->name_len, before);
	if (before)
		watch_object(tx->vfs, tx->mount, VFS_CHANGE_ATTR, before);
	vfs_node_unref(dir);
	vfs_node_unref(before);
	vfs_node_unref(after);
}

static void tell_all(const struct vfs_tx *tx, struct changes *all)
{
	while (all->first) {
		struct change *one = all->first;
		struct vfs_node *n = one->c.name_len ? NULL : node_of(tx, one->c.object);

		all->first = one->next;
		if (one->c.name_len)
			tell_name(tx, one);
		else if (n)
			watch_object(tx->vfs, tx->mount, VFS_CHANGE_DATA | VFS_CHANGE_ATTR, n);
		vfs_node_unref(n);
		free(one);
	}
	if (all->failed)
		watch_lost(tx->vfs, tx->mount);
}

int vfs_tx_commit(struct vfs_tx *tx, bool durable, const struct vfs_answer *answer)
{
	struct changes all = { .last = &all.first };
	int err;

	if (nowait_here())
		return -EAGAIN;
	err = tx->ops->commit(tx, durable, answer, watch_any(tx->vfs) ? note : NULL, &all);
	/* Also when only making it durable failed. */
	tell_all(tx, &all);
	return err;
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
