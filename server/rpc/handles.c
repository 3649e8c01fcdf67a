/* SPDX-License-Identifier: BSD-3-Clause */
/* A connection's open handles: a table that grows up to a bound. Ids carry a serial number, so old ones never match. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "server/rpc/internal.h"

_Static_assert(EXPORT_NAME_MAX == WFSP_NAME_MAX, "names of exports travel whole");

#define SLOT_BITS 16
#define SLOTS_FIRST 8u

static void count_open(struct rpc_handles *t, int change)
{
	__atomic_store_n(&t->open_count, t->open_count + (unsigned)change, __ATOMIC_RELAXED);
}

bool rpc_handles_reserve(struct rpc_handles *t)
{
	if (t->open_count >= RPC_HANDLES_MAX)
		return false;
	count_open(t, 1);
	return true;
}

void rpc_handles_unreserve(struct rpc_handles *t)
{
	always(t->open_count > 0);
	count_open(t, -1);
}

static int grow(struct rpc_handles *t)
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

int rpc_handles_add(struct rpc_handles *t, struct vfs_handle *vfs, struct wfsp_open_ok *ok)
{
	struct rpc_handle *h = calloc(1, sizeof(*h));
	unsigned slot = 0;

	if (!h) {
		rpc_handles_unreserve(t);
		return err_set(-ENOMEM, "no memory for a handle");
	}
	while (slot < t->slot_count && t->slots[slot])
		slot++;
	if (slot == t->slot_count && grow(t)) {
		free(h);
		rpc_handles_unreserve(t);
		return -ENOMEM;
	}
	h->vfs = vfs;
	h->refs = 1;
	h->id = ++t->next_serial << SLOT_BITS | slot;
	h->fsid = ok->attr.fsid;
	h->read_only = ok->attr.read_only;
	memcpy(h->export_name, ok->name, sizeof(h->export_name));
	t->slots[slot] = h;
	ok->handle = h->id;
	return 0;
}

static struct rpc_handle **find(struct rpc_handles *t, uint64_t id)
{
	unsigned slot = id & ((1u << SLOT_BITS) - 1);

	if (slot >= t->slot_count || !t->slots[slot] || t->slots[slot]->id != id)
		return NULL;
	return &t->slots[slot];
}

struct rpc_handle *rpc_handles_get(struct rpc_handles *t, uint64_t id)
{
	struct rpc_handle **at = find(t, id);

	if (!at)
		return NULL;
	(*at)->refs++;
	return *at;
}

void rpc_handle_unref(struct export_table *exports, struct rpc_handle *h)
{
	if (--h->refs)
		return;
	export_close(exports, h->export_name, h->vfs);
	free(h);
}

bool rpc_handles_remove(struct rpc_handles *t, struct export_table *exports, uint64_t id)
{
	struct rpc_handle **at = find(t, id);
	struct rpc_handle *h;

	if (!at)
		return false;
	h = *at;
	*at = NULL;
	count_open(t, -1);
	rpc_handle_unref(exports, h);
	return true;
}

void rpc_handles_done(struct rpc_handles *t, struct export_table *exports)
{
	for (unsigned i = 0; i < t->slot_count; i++) {
		if (t->slots[i])
			rpc_handle_unref(exports, t->slots[i]);
	}
	free(t->slots);
	t->slots = NULL;
	t->slot_count = 0;
	count_open(t, -(int)t->open_count);
}
