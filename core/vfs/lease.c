/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Leases: taken, recalled before somebody else uses the file, given back or broken.
 *
 *   taken --somebody else wants the file--> recalled --in time--> returned
 *                                               '--too late, or too many wait--> broken --> returned
 *
 * The time runs from when the holder is told; whoever comes later does not lengthen it. While somebody waits for a file
 * nobody else gets a lease on it that he would have to wait for again.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/base/nowait.h"
#include "core/vfs/lease.h"
#include "core/vfs/watch.h"

struct lease_table *lease_table_new(void)
{
	struct lease_table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	sync_mutex_init(&t->lock, SYNC_RANK_WATCH, "vfs leases");
	sync_cond_init(&t->returned);
	t->break_ns = VFS_LEASE_BREAK_NS;
	t->waiters_max = LEASE_WAITERS_DEFAULT;
	CDS_INIT_LIST_HEAD(&t->waiters);
	for (unsigned i = 0; i < LEASE_BUCKETS; i++)
		CDS_INIT_LIST_HEAD(&t->buckets[i]);
	return t;
}

void lease_table_free(struct lease_table *t)
{
	if (!t)
		return;
	always(!t->count);
	sync_cond_done(&t->returned);
	sync_mutex_done(&t->lock);
	free(t);
}

static struct cds_list_head *bucket_of(struct lease_table *t, const struct vfs_node *n)
{
	/* Multiplicative hashing (Knuth, volume 3, section 6.4). */
	return &t->buckets[((uintptr_t)n >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 54];
}

static bool goes_with(const struct vfs_lease *l, unsigned access)
{
	return l->type == VFS_LEASE_READ && !(access & VFS_ACCESS_WRITE);
}

/* One of others than @who that does not go with @access. */
static struct vfs_lease *in_the_way(struct lease_table *t, const struct vfs_node *n, unsigned access, uint64_t who)
{
	struct vfs_lease *l;

	cds_list_for_each_entry (l, bucket_of(t, n), link)
		if (l->node == n && (!who || l->holder != who) && !goes_with(l, access))
			return l;
	return NULL;
}

static void recall(struct lease_table *t, struct vfs_lease *l)
{
	if (l->recalled)
		return;
	l->recalled = true;
	l->until_ns = sync_now_ns() + t->break_ns;
	l->fn(l->ctx, VFS_LEASE_RECALLED);
}

/* Out of the table; the node is the caller's. */
static struct vfs_node *unhook(struct lease_table *t, struct vfs_lease *l)
{
	struct vfs_node *n = l->node;

	l->node = NULL;
	cds_list_del(&l->link);
	__atomic_sub_fetch(&t->count, 1, __ATOMIC_SEQ_CST);
	sync_cond_broadcast(&t->returned);
	return n;
}

static struct vfs_node *break_it(struct lease_table *t, struct vfs_lease *l)
{
	l->fn(l->ctx, VFS_LEASE_BROKEN);
	return unhook(t, l);
}

/* A thread that waits serves nobody else: there are so many at most, and half of them for one peer, whatever its
 * clients are. */
static bool may_wait(const struct lease_table *t, uint64_t peer)
{
	const struct lease_waiter *w;
	unsigned same = 0;

	if (t->waiter_count >= t->waiters_max)
		return false;
	cds_list_for_each_entry (w, &t->waiters, link)
		same += w->peer == peer;
	return !peer || same < (t->waiters_max + 1) / 2;
}

/* Until the lease is back or its time is over. Another one may be in the way then. */
static void wait_for(struct lease_table *t, const struct vfs_lease *l, unsigned access, uint64_t who)
        SYNC_REQUIRES(t->lock)
{
	struct lease_waiter w = { .node = l->node, .access = access, .who = who, .peer = watch_peer() };
	uint64_t until = l->until_ns;

	cds_list_add(&w.link, &t->waiters);
	t->waiter_count++;
	(void)sync_cond_wait_until(&t->returned, &t->lock, until);
	t->waiter_count--;
	cds_list_del(&w.link);
}

/* Would somebody who waits for the file have to wait for this lease, too? */
static bool is_waited_for(const struct lease_table *t, const struct vfs_node *n, const struct vfs_lease *l)
{
	const struct lease_waiter *w;

	cds_list_for_each_entry (w, &t->waiters, link)
		if (w->node == n && w->who != l->holder && !goes_with(l, w->access))
			return true;
	return false;
}

void vfs_set_lease_waiters(struct vfs *v, unsigned max)
{
	struct lease_table *t = v->leases;

	sync_mutex_lock(&t->lock);
	t->waiters_max = max;
	sync_mutex_unlock(&t->lock);
}

/* What is done inside of a transaction is done to the object outside. */
static const struct vfs_node *leased(struct vfs_node *n)
{
	return n->ops->outside ? n->ops->outside(n) : n;
}

int lease_settle_all(struct vfs *v, struct vfs_node *node, unsigned access, bool nowait)
{
	const struct vfs_node *n = leased(node);
	struct lease_table *t = v->leases;
	uint64_t who = watch_origin();
	struct vfs_lease *l;
	int ret = 0;

	sync_mutex_lock(&t->lock);
	while (!ret && (l = in_the_way(t, n, access, who))) {
		recall(t, l);
		if (nowait || nowait_here()) {
			ret = -EAGAIN;
		} else if (sync_now_ns() < l->until_ns && may_wait(t, watch_peer())) {
			wait_for(t, l, access, who);
		} else {
			struct vfs_node *its = break_it(t, l);

			sync_mutex_unlock(&t->lock);
			vfs_node_unref(its);
			sync_mutex_lock(&t->lock);
		}
	}
	sync_mutex_unlock(&t->lock);
	return ret;
}

static int take(struct vfs_handle *h, struct vfs_lease *l)
{
	unsigned access = l->type == VFS_LEASE_WRITE ? VFS_ACCESS_WRITE : VFS_ACCESS_READ;
	struct lease_table *t = h->vfs->leases;
	struct vfs_lease *other;
	int ret = 0;

	sync_mutex_lock(&t->lock);
	other = in_the_way(t, h->node, access, l->holder);
	/* An unmount sets the mark and breaks the leases then. */
	if (__atomic_load_n(&h->mount->gone, __ATOMIC_SEQ_CST)) {
		ret = err_set(-ESTALE, "%s is not mounted any more", h->mount->path);
	} else if (other) {
		recall(t, other);
		ret = err_set(-EAGAIN, "somebody else has a lease on the file");
	} else if (is_waited_for(t, h->node, l)) {
		ret = err_set(-EAGAIN, "somebody else waits for the file");
	} else if (t->count == VFS_LEASES_MAX) {
		ret = err_set(-ENOLCK, "%u leases", t->count);
	} else {
		vfs_node_ref(h->node);
		l->node = h->node;
		cds_list_add(&l->link, bucket_of(t, h->node));
		__atomic_add_fetch(&t->count, 1, __ATOMIC_SEQ_CST);
	}
	sync_mutex_unlock(&t->lock);
	return ret;
}

int vfs_lease_take(struct vfs_handle *h, uint64_t holder, enum vfs_lease_type type, vfs_lease_fn *fn, void *ctx,
                   struct vfs_lease **ret)
{
	struct vfs_lease *l;
	int err;

	if (h->node->type != VFS_TYPE_FILE || h->node->ops->outside ||
	    (type != VFS_LEASE_READ && type != VFS_LEASE_WRITE) || !holder)
		return err_set(-EINVAL, "a lease of type %d on something of type %d", (int)type, (int)h->node->type);
	l = calloc(1, sizeof(*l));
	if (!l)
		return err_set(-ENOMEM, "no memory for a lease");
	*l = (struct vfs_lease){
		.vfs = h->vfs, .mount = h->mount, .type = type, .holder = holder, .fn = fn, .ctx = ctx
	};
	err = take(h, l);
	if (err)
		free(l);
	else
		*ret = l;
	return err;
}

void vfs_lease_return(struct vfs_lease *l)
{
	struct vfs_node *n = NULL;
	struct lease_table *t;

	if (!l)
		return;
	t = l->vfs->leases;
	sync_mutex_lock(&t->lock);
	if (l->node)
		n = unhook(t, l);
	sync_mutex_unlock(&t->lock);
	vfs_node_unref(n);
	free(l);
}

/* One of those on the mount, broken; its node is the caller's. NULL: there is none. */
static struct vfs_node *break_one(struct lease_table *t, const struct vfs_mount_point *m, unsigned bucket)
{
	struct vfs_node *node = NULL;
	struct vfs_lease *l;

	sync_mutex_lock(&t->lock);
	cds_list_for_each_entry (l, &t->buckets[bucket], link) {
		if (l->mount == m) {
			node = break_it(t, l);
			break;
		}
	}
	sync_mutex_unlock(&t->lock);
	return node;
}

void lease_drop_mount(struct lease_table *t, const struct vfs_mount_point *m)
{
	struct vfs_node *node;

	for (unsigned i = 0; i < LEASE_BUCKETS; i++)
		while ((node = break_one(t, m, i)))
			vfs_node_unref(node);
}
