/* SPDX-License-Identifier: BSD-3-Clause */
/* A session's leases: taken and given back by the client's numbers; what becomes of them is told by notices. */
#include <errno.h>
#include <stdlib.h>

#include "core/base/err.h"
#include "server/rpc/notice_priv.h"

struct lease {
	struct lease *next;
	uint64_t id;
	struct rpc_notices *notices;
	struct vfs_lease *vfs; /* NULL: being taken */
};

/* Without memory the holder is not told, and the lease is broken when its time is over. */
static void on_lease(void *ctx, enum vfs_lease_event event)
{
	struct lease *l = ctx;
	struct notice x = { .id = l->id,
		            .kind = event == VFS_LEASE_RECALLED ? WFSP_NOTICE_RECALL : WFSP_NOTICE_BROKEN };

	sync_mutex_lock(&l->notices->lock);
	(void)rpc_notices_push(l->notices, &x, NULL);
	sync_mutex_unlock(&l->notices->lock);
}

static struct lease **find_lease(struct rpc_notices *n, uint64_t id) SYNC_REQUIRES(n->lock)
{
	struct lease **at = &n->leases;

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	return at;
}

/* Into the list. */
static int lease_enter(struct rpc_notices *n, struct lease *l)
{
	int err = 0;

	sync_mutex_lock(&n->lock);
	if (*find_lease(n, l->id))
		err = err_set(-EEXIST, "lease %llu is there already", (unsigned long long)l->id);
	else if (n->lease_count == RPC_LEASES_MAX)
		err = err_set(-ENOLCK, "%u leases of a client", RPC_LEASES_MAX);
	else
		err = rpc_notices_room(n);
	if (!err && !rpc_share_take(&n->peer->leases, RPC_LEASES_PEER_MAX))
		err = err_set(-ENOLCK, "%u leases of a peer", RPC_LEASES_PEER_MAX);
	if (!err) {
		l->next = n->leases;
		n->leases = l;
		n->lease_count++;
	}
	sync_mutex_unlock(&n->lock);
	return err;
}

/* One is not in the list any more. */
static void count_gone(struct rpc_notices *n) SYNC_REQUIRES(n->lock)
{
	n->lease_count--;
	rpc_share_give(&n->peer->leases);
}

int rpc_lease_add(struct rpc_notices *n, struct vfs_handle *h, uint64_t holder, enum vfs_lease_type type, uint64_t id)
{
	struct lease *l = calloc(1, sizeof(*l));
	struct vfs_lease *vfs = NULL;
	int err;

	if (!l)
		return err_set(-ENOMEM, "no memory for a lease");
	*l = (struct lease){ .id = id, .notices = n };
	err = lease_enter(n, l);
	if (err) {
		free(l);
		return err;
	}
	err = vfs_lease_take(h, holder, type, on_lease, l, &vfs);
	sync_mutex_lock(&n->lock);
	if (err) {
		*find_lease(n, id) = l->next;
		count_gone(n);
	} else {
		l->vfs = vfs;
	}
	sync_mutex_unlock(&n->lock);
	if (err)
		free(l);
	return err;
}

/* The one with that number, or (NULL) the first, out of the list. NULL: none, or it is being taken. */
static struct lease *take_lease(struct rpc_notices *n, const uint64_t *id)
{
	struct lease **at, *l;

	sync_mutex_lock(&n->lock);
	at = id ? find_lease(n, *id) : &n->leases;
	l = *at && (*at)->vfs ? *at : NULL;
	if (l) {
		*at = l->next;
		count_gone(n);
	}
	sync_mutex_unlock(&n->lock);
	return l;
}

static void lease_free(struct lease *l)
{
	vfs_lease_return(l->vfs);
	free(l);
}

int rpc_lease_remove(struct rpc_notices *n, uint64_t id)
{
	struct lease *l = take_lease(n, &id);

	if (!l)
		return err_set(-ENOENT, "there is no lease %llu", (unsigned long long)id);
	lease_free(l);
	return 0;
}

void rpc_leases_end(struct rpc_notices *n)
{
	struct lease *l;

	while ((l = take_lease(n, NULL)))
		lease_free(l);
}
