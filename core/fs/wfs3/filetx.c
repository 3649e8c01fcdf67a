/* SPDX-License-Identifier: BSD-3-Clause */
/* Transactions on a file tree: their lives, what they hold, attributes of objects in them. */
#include "core/fs/wfs3/filetx.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/assert.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/nowait.h"
#include "core/fs/wfs3/members.h"

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

/* ---- how it ends ---- */

static void drop_object(struct filetx_object *x)
{
	for (unsigned i = 0; i < x->page_count; i++)
		free(x->pages[i].data);
	free(x->pages);
	while (x->xattrs) {
		struct filetx_xattr *a = x->xattrs;

		x->xattrs = a->next;
		free(a->name);
		free(a->value);
		free(a);
	}
	free(x->target);
	if (x->o)
		vfs_node_unref(&x->o->node);
	x->pages = NULL;
	x->page_count = 0;
	x->target = NULL;
	x->o = NULL;
}

void filetx_drop_overlay(struct filetx *tx)
{
	struct filetx_table *table = tx->ds->pool->transactions;

	for (struct filetx_object *x = tx->objects; x; x = x->next)
		drop_object(x);
	while (tx->names) {
		struct filetx_name *n = tx->names;

		tx->names = n->next;
		free(n);
	}
	memset(tx->name_buckets, 0, sizeof(tx->name_buckets));
	filetx_table_uncharge(table, tx->bytes);
	tx->bytes = 0;
	filetx_table_over(table);
	__atomic_sub_fetch(&tx->ds->tx_count, 1, __ATOMIC_SEQ_CST);
}

static int tell_reason(const struct filetx *tx)
{
	if (tx->state == VFS_TX_COMMITTED)
		return err_set(-ECANCELED, "transaction %" PRIu64 " was committed", tx->id);
	switch (tx->reason) {
	case -EBUSY:
		return err_set(-EBUSY, "transaction %" PRIu64 " conflicts about %s%s%sobject %" PRIu64, tx->id,
		               tx->conflict_name[0] ? "'" : "", tx->conflict_name, tx->conflict_name[0] ? "' in " : "",
		               tx->conflict.object);
	case -ETIMEDOUT:
		return err_set(-ETIMEDOUT, "the time of transaction %" PRIu64 " is over", tx->id);
	case -E2BIG:
		return err_set(-E2BIG, "transaction %" PRIu64 " is too large", tx->id);
	case -ENOMEM:
		return err_set(-ENOMEM, "there was no memory for transaction %" PRIu64, tx->id);
	default:
		return err_set(tx->reason, "transaction %" PRIu64 " was aborted", tx->id);
	}
}

int filetx_fail(struct filetx *tx, int reason)
{
	if (tx->state == VFS_TX_RUNNING) {
		tx->state = VFS_TX_ABORTED;
		tx->reason = reason;
		filetx_table_note(tx->ds->pool->transactions, tx);
		filetx_drop_overlay(tx);
	}
	return tell_reason(tx);
}

int filetx_conflict(struct filetx *tx, uint64_t object, const char *name, size_t name_len)
{
	if (tx->state == VFS_TX_RUNNING) {
		tx->conflict = (struct vfs_fid){ .fsid = filetree_fsid(tx->ds), .object = object };
		if (name)
			memcpy(tx->conflict_name, name, name_len);
	}
	return filetx_fail(tx, -EBUSY);
}

int filetx_charge(struct filetx *tx, size_t bytes)
{
	const struct wfs3_tx_limits *limits = filetx_limits(tx->ds->pool->transactions);

	if (tx->bytes + bytes > limits->bytes_max)
		return filetx_fail(tx, -E2BIG);
	if (!filetx_table_charge(tx->ds->pool->transactions, bytes))
		return filetx_fail(tx, -ENOMEM);
	tx->bytes += bytes;
	return 0;
}

int filetx_enter(struct filetx *tx)
{
	int rc = 0;

	if (!nowait_here())
		sync_mutex_lock(&tx->lock);
	else if (!sync_mutex_trylock(&tx->lock))
		return -EAGAIN;
	if (tx->state != VFS_TX_RUNNING)
		rc = tell_reason(tx);
	else if (sync_now_ns() > tx->deadline_ns)
		rc = filetx_fail(tx, -ETIMEDOUT);
	else if (++tx->op_count > filetx_limits(tx->ds->pool->transactions)->ops_max)
		rc = filetx_fail(tx, -E2BIG);
	if (rc)
		sync_mutex_unlock(&tx->lock);
	return rc;
}

void filetx_leave(struct filetx *tx)
{
	sync_mutex_unlock(&tx->lock);
}

void filetx_expire(struct filetx *tx)
{
	if (!sync_mutex_trylock(&tx->lock))
		return;
	if (tx->state == VFS_TX_RUNNING)
		(void)filetx_fail(tx, -ETIMEDOUT);
	sync_mutex_unlock(&tx->lock);
}

/* ---- objects ---- */

struct filetx_object *filetx_find(const struct filetx *tx, uint64_t number)
{
	struct filetx_object *x = tx->object_buckets[number % FILETX_BUCKETS];

	while (x && x->number != number)
		x = x->hash_next;
	return x;
}

int filetx_make(struct filetx *tx, uint64_t number, const struct inode *inode, struct filetx_object **ret)
{
	struct filetx_object *x, **bucket = &tx->object_buckets[number % FILETX_BUCKETS];
	int rc = filetx_charge(tx, sizeof(*x));

	if (rc)
		return rc;
	x = calloc(1, sizeof(*x));
	if (!x)
		return err_set(-ENOMEM, "no memory for an object of a transaction");
	vfs_node_init(&x->node, &filetx_node_ops, filetree_type(inode->mode));
	x->node.refs = 0;
	x->tx = tx;
	x->number = number;
	x->base = x->cur = *inode;
	x->hidden_from = UINT64_MAX;
	x->hash_next = *bucket;
	*bucket = x;
	x->next = tx->objects;
	tx->objects = x;
	*ret = x;
	return 0;
}

int filetx_get(struct filetx *tx, uint64_t number, struct filetx_object **ret)
{
	struct filetx_object *x = filetx_find(tx, number);
	struct inode inode;
	struct object *o;
	int rc;

	if (x) {
		if (!x->cur.link_count)
			return err_set(-ESTALE, "object %" PRIu64 " was removed", number);
		*ret = x;
		return 0;
	}
	rc = dataset_enter(tx->ds, 0);
	if (rc)
		return rc;
	rc = object_get(tx->ds, number, &o);
	if (rc) {
		dataset_exit(tx->ds);
		return rc;
	}
	/* Otherwise it could not commit, until somebody else wants the data. */
	if (LOAD(o->shift_unasked))
		rc = nowait_here() ? -EAGAIN : filetree_settle(o);
	dataset_exit(tx->ds);
	if (rc) {
		vfs_node_unref(&o->node);
		return rc;
	}
	if (!LOAD(o->inode.link_count))
		rc = err_set(-ESTALE, "object %" PRIu64 " has no name", number);
	object_get_inode(o, &inode);
	if (!rc)
		rc = filetx_make(tx, number, &inode, &x);
	if (rc) {
		vfs_node_unref(&o->node);
		return rc;
	}
	x->o = o;
	rc = filetx_see(x);
	/* It stands in the overlay, half seen: the transaction cannot go on with it. */
	if (rc)
		return filetx_fail(tx, rc);
	*ret = x;
	return 0;
}

int filetx_number(struct dataset *ds, uint64_t *ret)
{
	uint64_t txg = txg_enter(ds->pool), number;

	/* The next root knows that it was given out, whatever becomes of it. */
	number = __atomic_fetch_add(&ds->next_object, 1, __ATOMIC_RELAXED);
	txg_changed(ds->pool, ds, txg);
	txg_exit(ds->pool);
	if (number >= WFS3_OBJECT_MAX)
		return err_set(-ENOSPC, "dataset %" PRIu64 " has given out all numbers", ds->id);
	*ret = number;
	return 0;
}

struct vfs_node *filetx_ref(struct filetx_object *x)
{
	if (__atomic_fetch_add(&x->node.refs, 1, __ATOMIC_ACQ_REL) == 0)
		__atomic_add_fetch(&x->tx->refs, 1, __ATOMIC_RELAXED);
	return &x->node;
}

void filetx_unref(struct filetx *tx)
{
	if (__atomic_sub_fetch(&tx->refs, 1, __ATOMIC_ACQ_REL))
		return;
	while (tx->objects) {
		struct filetx_object *x = tx->objects;

		tx->objects = x->next;
		free(x);
	}
	sync_mutex_done(&tx->lock);
	vfs_node_unref(&tx->ds->self.node);
	free(tx);
}

static void node_release(struct vfs_node *n)
{
	filetx_unref(filetx_object(n)->tx);
}

/* ---- attributes ---- */

static int tx_stat(struct vfs_node *n, struct vfs_stat *ret)
{
	struct filetx_object *x = filetx_object(n);
	const struct inode *i = &x->cur;
	struct dataset *ds = x->tx->ds;
	int rc = filetx_enter(x->tx);

	if (rc)
		return rc;
	*ret = (struct vfs_stat){
		.type = n->type,
		.fsid = filetree_fsid(ds),
		.object = x->number,
		.size_bytes = i->size_bytes + (uint64_t)x->entries,
		.allocated_bytes = (i->blocks + x->page_count) * WFS3_BLOCK_BYTES,
		.change = i->change + x->changed + x->dir_changed,
		.atime_ns = (uint64_t)i->atime_ns,
		.mtime_ns = (uint64_t)i->mtime_ns,
		.ctime_ns = (uint64_t)i->ctime_ns,
		.btime_ns = (uint64_t)i->btime_ns,
		.mode = i->mode & 07777,
		.uid = i->uid,
		.gid = i->gid,
		.link_count = i->link_count + (uint32_t)x->subdirs,
		.flags = (uint32_t)(i->flags & ~FILETREE_FLAG_ACL),
		.project = i->project,
		.rdev = i->rdev,
		.block_bytes = WFS3_BLOCK_BYTES,
		.read_only = ds->pool->read_only,
		.grows = true,
		.has_acl = i->flags & FILETREE_FLAG_ACL,
	};
	filetx_leave(x->tx);
	return 0;
}

/* Is the object still there, inside? */
static int check_there(const struct filetx_object *x)
{
	return x->cur.link_count ? 0 : err_set(-ESTALE, "object %" PRIu64 " was removed", x->number);
}

static int set_attr(struct filetx_object *x, const struct vfs_set_attr *a)
{
	int64_t now_ns = (int64_t)sync_wall_ns();
	struct inode *i = &x->cur;
	int rc = check_there(x);

	if (!rc && a->valid & VFS_SET_FLAGS && a->flags & ~(VFS_FLAG_IMMUTABLE | VFS_FLAG_APPEND))
		rc = err_set(-EINVAL, "unknown flags %#x", a->flags);
	if (!rc && a->valid & VFS_SET_PROJECT && a->project)
		rc = members_add_feature(x->tx->ds->pool, WFS3_FEATURE_QUOTAS);
	if (!rc && a->valid & VFS_SET_SIZE && x->node.type != VFS_TYPE_FILE)
		rc = err_set(x->node.type == VFS_TYPE_DIR ? -EISDIR : -EINVAL, "only a file has a size");
	if (!rc && a->valid & VFS_SET_SIZE)
		rc = filetx_resize(x, a->size_bytes);
	if (!rc && a->valid & VFS_SET_ACL)
		rc = filetx_put_acl(x, VFS_ACL_ACCESS, a->access_acl, a->access_acl_len);
	if (rc)
		return rc;
	filetree_apply_attr(i, a, now_ns, &x->set);
	i->ctime_ns = now_ns;
	if (a->valid & VFS_SET_SIZE && !(a->valid & (VFS_SET_MTIME | VFS_SET_MTIME_NOW))) {
		i->mtime_ns = now_ns;
		x->set |= EDIT_MTIME;
	}
	x->changed = true;
	return 0;
}

static int tx_set_attr(struct vfs_node *n, const struct vfs_set_attr *attr)
{
	struct filetx_object *x = filetx_object(n);
	int rc = filetx_enter(x->tx);

	if (rc)
		return rc;
	rc = set_attr(x, attr);
	filetx_leave(x->tx);
	return rc;
}

static int tx_read_link(struct vfs_node *n, char *buf, size_t *ret_len)
{
	struct filetx_object *x = filetx_object(n);
	int rc = filetx_enter(x->tx);

	if (rc)
		return rc;
	if (x->o) {
		/* It never changes. */
		rc = filetree_read_link(&x->o->node, buf, ret_len);
	} else if (x->target) {
		*ret_len = x->cur.size_bytes;
		memcpy(buf, x->target, *ret_len);
	} else {
		rc = err_set(-EINVAL, "object %" PRIu64 " is no symbolic link", x->number);
	}
	filetx_leave(x->tx);
	return rc;
}

/* ---- places ---- */

static int tx_parent(struct vfs_node *dir, struct vfs_node **ret)
{
	struct filetx_object *x = filetx_object(dir), *parent;
	int rc = filetx_enter(x->tx);

	if (rc)
		return rc;
	if (x->number == WFS3_ROOT_OBJECT)
		rc = err_set(-EXDEV, "a transaction does not leave its file tree");
	else
		rc = filetx_get(x->tx, x->cur.parent, &parent);
	if (!rc)
		*ret = filetx_ref(parent);
	filetx_leave(x->tx);
	return rc == -ESTALE ? err_add(-ENOENT, "it was removed") : rc;
}

static int tx_by_object(struct vfs_node *any, uint64_t fsid, uint64_t number, struct vfs_node **ret)
{
	struct filetx *tx = filetx_object(any)->tx;
	struct filetx_object *x;
	int rc = filetx_enter(tx);

	if (rc)
		return rc;
	if (fsid != filetree_fsid(tx->ds))
		rc = err_set(-EXDEV, "a transaction stays in its file tree");
	else
		rc = filetx_get(tx, number, &x);
	if (!rc)
		*ret = filetx_ref(x);
	filetx_leave(tx);
	return rc;
}

static int tx_statfs(struct vfs_node *n, struct vfs_statfs *ret)
{
	return filetree_statfs_of(filetx_object(n)->tx->ds, ret);
}

static void tx_get_figures(struct vfs_node *n, struct vfs_figures *ret)
{
	dataset_get_figures(filetx_object(n)->tx->ds, ret);
}

static struct vfs_node *tx_outside(struct vfs_node *n)
{
	struct filetx_object *x = filetx_object(n);
	struct vfs_node *outside;

	sync_mutex_lock(&x->tx->lock);
	outside = x->o ? &x->o->node : NULL;
	sync_mutex_unlock(&x->tx->lock);
	return outside;
}

static int tx_flush(struct vfs_node *n, unsigned flags)
{
	(void)n;
	(void)flags;
	return err_set(-EOPNOTSUPP, "what is done in a transaction becomes durable with it");
}

/* ---- the transaction ---- */

static int tx_node(struct vfs_tx *t, struct vfs_node *outside, struct vfs_node **ret)
{
	struct filetx *tx = (struct filetx *)t;
	struct filetx_object *x;
	int rc;

	if (outside->ops != &filetree_node_ops || filetree_object(outside)->ds != tx->ds)
		return err_set(-EXDEV, "the object is not in the file tree of the transaction");
	rc = filetx_enter(tx);
	if (rc)
		return rc;
	rc = filetx_get(tx, filetree_object(outside)->number, &x);
	if (!rc)
		*ret = filetx_ref(x);
	filetx_leave(tx);
	return rc;
}

static int tx_abort(struct vfs_tx *t, int reason)
{
	struct filetx *tx = (struct filetx *)t;
	int rc = 0;

	sync_mutex_lock(&tx->lock);
	if (tx->state == VFS_TX_RUNNING)
		(void)filetx_fail(tx, reason);
	else
		rc = tell_reason(tx);
	sync_mutex_unlock(&tx->lock);
	return rc;
}

static void tx_get_info(struct vfs_tx *t, struct vfs_tx_info *ret)
{
	struct filetx *tx = (struct filetx *)t;

	sync_mutex_lock(&tx->lock);
	*ret = (struct vfs_tx_info){ .id = tx->id,
		                     .state = tx->state,
		                     .reason = tx->reason,
		                     .conflict = tx->conflict,
		                     .op_count = tx->op_count,
		                     .change_bytes = tx->bytes,
		                     .committed_ns = tx->committed_ns };
	memcpy(ret->conflict_name, tx->conflict_name, sizeof(ret->conflict_name));
	sync_mutex_unlock(&tx->lock);
}

static void tx_free(struct vfs_tx *t)
{
	struct filetx *tx = (struct filetx *)t;

	(void)tx_abort(t, -ECANCELED);
	filetx_table_remove(tx->ds->pool->transactions, tx);
	filetx_unref(tx);
}

static const struct vfs_tx_ops tx_ops = {
	.free = tx_free,
	.node = tx_node,
	.commit = filetx_commit,
	.abort = tx_abort,
	.get_info = tx_get_info,
};

int filetx_begin(struct vfs_node *any, const struct vfs_tx_args *args, struct vfs_tx **ret)
{
	struct dataset *ds = filetree_object(any)->ds;
	struct filetx_table *table = ds->pool->transactions;
	const struct wfs3_tx_limits *limits = filetx_limits(table);
	uint64_t ttl_ms = args->ttl_ms && args->ttl_ms < limits->age_max_ms ? args->ttl_ms : limits->age_max_ms;
	struct filetx *tx;
	int rc = pool_check_writable(ds->pool);

	/* An older version of this program does not know what a commit leaves in the log. */
	if (!rc && !__atomic_load_n(&ds->pool->has_transactions, __ATOMIC_ACQUIRE)) {
		rc = members_add_feature(ds->pool, WFS3_FEATURE_TRANSACTIONS);
		__atomic_store_n(&ds->pool->has_transactions, rc == 0, __ATOMIC_RELEASE);
	}
	if (rc)
		return rc;
	tx = calloc(1, sizeof(*tx));
	if (!tx)
		return err_set(-ENOMEM, "no memory for a transaction");
	rc = dataset_enter(ds, 0);
	if (!rc) {
		rc = filetx_number(ds, &tx->id);
		dataset_exit(ds);
	}
	if (rc) {
		free(tx);
		return rc;
	}
	tx->tx.ops = &tx_ops;
	tx->refs = 1;
	tx->ds = ds;
	vfs_node_ref(&ds->self.node);
	tx->isolation = args->isolation;
	tx->deadline_ns = sync_now_ns() + ttl_ms * SYNC_NS_PER_MS;
	tx->state = VFS_TX_RUNNING;
	sync_mutex_init(&tx->lock, SYNC_RANK_TX, "wfs3 transaction");
	sync_mutex_lock(&ds->items_lock);
	__atomic_add_fetch(&ds->tx_count, 1, __ATOMIC_SEQ_CST);
	tx->snapshot = __atomic_load_n(&ds->tx_clock, __ATOMIC_SEQ_CST);
	sync_mutex_unlock(&ds->items_lock);
	rc = filetx_table_add(table, tx);
	if (rc) {
		__atomic_sub_fetch(&ds->tx_count, 1, __ATOMIC_SEQ_CST);
		filetx_unref(tx);
		return rc;
	}
	*ret = &tx->tx;
	return 0;
}

const struct vfs_node_ops filetx_node_ops = {
	.release = node_release,
	.stat = tx_stat,
	.lookup = filetx_lookup,
	.readdir = filetx_readdir,
	.parent = tx_parent,
	.create = filetx_create,
	.link = filetx_link,
	.unlink = filetx_unlink,
	.rename = filetx_rename,
	.set_attr = tx_set_attr,
	.read_link = tx_read_link,
	.get_xattr = filetx_get_xattr,
	.set_xattr = filetx_set_xattr,
	.remove_xattr = filetx_remove_xattr,
	.list_xattr = filetx_list_xattr,
	.statfs = tx_statfs,
	.get_figures = tx_get_figures,
	.by_object = tx_by_object,
	.read = filetx_read,
	.write = filetx_write,
	.flush = tx_flush,
	.outside = tx_outside,
};
