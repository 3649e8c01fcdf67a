/* SPDX-License-Identifier: BSD-3-Clause */
/* A connection's open handles: a table that grows up to a bound. Ids carry a serial number, so old ones never match. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "server/rpc/internal.h"
#include "server/rpc/share.h"

_Static_assert(EXPORT_NAME_MAX == WFSP_NAME_MAX, "names of exports travel whole");

#define SLOT_BITS 16
#define SLOTS_FIRST 8u

_Static_assert(RPC_HANDLES_MAX <= 1u << SLOT_BITS, "every place has a number");

SYNC_NO_ANALYSIS void rpc_handles_init(struct rpc_handles *t, unsigned *all_count)
{
	t->all_count = all_count;
	t->peer_count = NULL;
	t->said_hello = false;
	sync_mutex_init(&t->lock, SYNC_RANK_LEAF, "rpc handles");
}

void rpc_handles_set_peer(struct rpc_handles *t, unsigned *count)
{
	sync_mutex_lock(&t->lock);
	t->peer_count = count;
	sync_mutex_unlock(&t->lock);
}

void rpc_handles_hello(struct rpc_handles *t)
{
	sync_mutex_lock(&t->lock);
	t->said_hello = true;
	sync_mutex_unlock(&t->lock);
}

static void count_open(struct rpc_handles *t, int change)
{
	__atomic_store_n(&t->open_count, t->open_count + (unsigned)change, __ATOMIC_RELAXED);
}

static bool reserve(struct rpc_handles *t, unsigned max) SYNC_REQUIRES(t->lock)
{
	if (t->closed || t->open_count >= max)
		return false;
	count_open(t, 1);
	return true;
}

bool rpc_handles_reserve(struct rpc_handles *t)
{
	bool ok;

	sync_mutex_lock(&t->lock);
	ok = reserve(t, RPC_EXPORTS_OPEN_MAX);
	sync_mutex_unlock(&t->lock);
	return ok;
}

static void unreserve(struct rpc_handles *t) SYNC_REQUIRES(t->lock)
{
	always(t->open_count > 0);
	count_open(t, -1);
}

void rpc_handles_unreserve(struct rpc_handles *t)
{
	sync_mutex_lock(&t->lock);
	unreserve(t);
	sync_mutex_unlock(&t->lock);
}

static int grow(struct rpc_handles *t) SYNC_REQUIRES(t->lock)
{
	unsigned count = t->slot_count ? t->slot_count * 2 : SLOTS_FIRST;
	struct rpc_handle **slots = realloc(t->slots, count * sizeof(struct rpc_handle *));

	if (!slots)
		return err_set(-ENOMEM, "no memory for a handle");
	memset(slots + t->slot_count, 0, (count - t->slot_count) * sizeof(struct rpc_handle *));
	t->slots = slots;
	t->slot_count = count;
	return 0;
}

/* It counts to what its peer, and all together, have open. */
static int count_in(struct rpc_handles *t) SYNC_REQUIRES(t->lock)
{
	if (!rpc_share_take(t->peer_count, RPC_HANDLES_PEER_MAX))
		return err_set(-EMFILE, "%u files are open on all connections of a peer", RPC_HANDLES_PEER_MAX);
	if (!rpc_share_take(t->all_count, RPC_HANDLES_ALL_MAX)) {
		rpc_share_give(t->peer_count);
		return err_set(-EMFILE, "%u files are open on all connections", RPC_HANDLES_ALL_MAX);
	}
	return 0;
}

static void count_out(const struct rpc_handles *t) SYNC_REQUIRES(t->lock)
{
	rpc_share_give(t->peer_count);
	rpc_share_give(t->all_count);
}

/* Into the reserved place; gives that back on errors. */
static int enter(struct rpc_handles *t, struct rpc_handle *h) SYNC_REQUIRES(t->lock)
{
	unsigned slot = t->free_from;
	int err;

	if (t->closed)
		return err_set(-ESHUTDOWN, "the connection is gone");
	while (slot < t->slot_count && t->slots[slot])
		slot++;
	err = slot == t->slot_count ? grow(t) : 0;
	if (!err)
		err = count_in(t);
	if (err) {
		unreserve(t);
		return err;
	}
	t->free_from = slot + 1;
	h->id = ++t->next_serial << SLOT_BITS | slot;
	t->slots[slot] = h;
	return 0;
}

int rpc_handles_add(struct rpc_handles *t, struct vfs_handle *vfs, struct rpc_export_stats *stats,
                    struct wfsp_open_ok *ok)
{
	size_t name_len = strlen(ok->name);
	struct rpc_handle *h = calloc(1, sizeof(*h) + name_len + 1);
	int err;

	if (!h) {
		rpc_handles_unreserve(t);
		return err_set(-ENOMEM, "no memory for a handle");
	}
	h->vfs = vfs;
	h->stats = stats;
	h->refs = 1;
	h->fsid = ok->attr.fsid;
	h->read_only = ok->attr.read_only;
	memcpy(h->export_name, ok->name, name_len + 1);
	sync_mutex_lock(&t->lock);
	err = enter(t, h);
	ok->handle = h->id;
	sync_mutex_unlock(&t->lock);
	if (err)
		free(h);
	return err;
}

int rpc_handles_add_file(struct rpc_handles *t, struct vfs_handle *vfs, struct rpc_export_stats *stats, uint64_t fsid,
                         unsigned access, uint64_t *ret_id)
{
	struct rpc_handle *h = calloc(1, sizeof(*h) + 1);
	unsigned max;
	int err;

	if (!h)
		return err_set(-ENOMEM, "no memory for a handle");
	h->vfs = vfs;
	h->stats = stats;
	h->refs = 1;
	h->fsid = fsid;
	h->in_tree = true;
	h->access = access;
	sync_mutex_lock(&t->lock);
	max = t->said_hello ? RPC_HANDLES_MAX : RPC_EXPORTS_OPEN_MAX;
	err = reserve(t, max) ? enter(t, h) : err_set(-EMFILE, "%u files open on this connection", max);
	*ret_id = h->id;
	sync_mutex_unlock(&t->lock);
	if (err)
		free(h);
	return err;
}

static struct rpc_handle **find(struct rpc_handles *t, uint64_t id) SYNC_REQUIRES(t->lock)
{
	unsigned slot = id & ((1u << SLOT_BITS) - 1);

	if (slot >= t->slot_count || !t->slots[slot] || t->slots[slot]->id != id)
		return NULL;
	return &t->slots[slot];
}

struct rpc_handle *rpc_handles_get(struct rpc_handles *t, uint64_t id)
{
	struct rpc_handle **at, *h;

	sync_mutex_lock(&t->lock);
	at = find(t, id);
	h = at ? *at : NULL;
	if (h)
		__atomic_add_fetch(&h->refs, 1, __ATOMIC_RELAXED);
	sync_mutex_unlock(&t->lock);
	return h;
}

void rpc_handle_unref(struct export_table *exports, struct rpc_handle *h)
{
	if (__atomic_sub_fetch(&h->refs, 1, __ATOMIC_ACQ_REL))
		return;
	if (h->in_tree)
		vfs_close(h->vfs);
	else
		export_close(exports, h->export_name, h->vfs);
	free(h);
}

bool rpc_handles_remove(struct rpc_handles *t, struct export_table *exports, uint64_t id)
{
	struct rpc_handle **at, *h = NULL;

	sync_mutex_lock(&t->lock);
	at = find(t, id);
	if (at) {
		h = *at;
		*at = NULL;
		if ((unsigned)(at - t->slots) < t->free_from)
			t->free_from = (unsigned)(at - t->slots);
		unreserve(t);
		count_out(t);
	}
	sync_mutex_unlock(&t->lock);
	if (h)
		rpc_handle_unref(exports, h);
	return h != NULL;
}

void rpc_handles_done(struct rpc_handles *t, struct export_table *exports)
{
	struct rpc_handle **slots;
	unsigned count;

	sync_mutex_lock(&t->lock);
	slots = t->slots;
	count = t->slot_count;
	t->slots = NULL;
	t->slot_count = 0;
	t->closed = true;
	count_open(t, -(int)t->open_count);
	for (unsigned i = 0; i < count; i++)
		if (slots[i])
			count_out(t);
	sync_mutex_unlock(&t->lock);
	for (unsigned i = 0; i < count; i++)
		if (slots[i])
			rpc_handle_unref(exports, slots[i]);
	free(slots);
}
