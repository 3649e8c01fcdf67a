/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libwfs: the slots of a connection's session. What is sent in one is done once: sent again after a lost connection,
 * the server answers what it answered before. A slot has one call at a time, and each the next number.
 */
#include "core/base/assert.h"
#include "protocol/client/batch.h"

/* The lowest, so that the server keeps few answers. */
static void take_lowest(struct wfs_conn *c, uint32_t *ret_slot, uint32_t *ret_sequence) SYNC_REQUIRES(c->lock)
{
	unsigned i = (unsigned)__builtin_ctzll(~c->slots_busy);

	c->slots_busy |= UINT64_C(1) << i;
	*ret_slot = i + 1;
	*ret_sequence = ++c->slot_sequence[i];
}

void wfs_slot_take(struct wfs_conn *c, uint32_t *ret_slot, uint32_t *ret_sequence)
{
	sync_mutex_lock(&c->lock);
	while (c->slots_busy == UINT64_MAX)
		sync_cond_wait(&c->slot_free, &c->lock);
	take_lowest(c, ret_slot, ret_sequence);
	sync_mutex_unlock(&c->lock);
}

bool wfs_slot_try(struct wfs_conn *c, uint32_t *ret_slot, uint32_t *ret_sequence)
{
	bool free_one;

	sync_mutex_lock(&c->lock);
	free_one = c->slots_busy != UINT64_MAX;
	if (free_one)
		take_lowest(c, ret_slot, ret_sequence);
	sync_mutex_unlock(&c->lock);
	return free_one;
}

void wfs_slot_give(struct wfs_conn *c, uint32_t slot)
{
	sync_mutex_lock(&c->lock);
	always(slot >= 1 && slot <= WFSP_SLOTS && (c->slots_busy >> (slot - 1) & 1));
	c->slots_busy &= ~(UINT64_C(1) << (slot - 1));
	sync_cond_signal(&c->slot_free);
	sync_mutex_unlock(&c->lock);
}
