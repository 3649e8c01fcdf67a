/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The slots of sessions: the last answer in each is kept in memory, so that a request that is sent again is answered.
 * Where that is not there, because it went under pressure, or an earlier life of the server had the request, the file
 * systems are asked what was done (compound_again.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "server/rpc/session.h"

#define CONNECTIONS_MAX 64u /* of one client, with slots */
/* Bytes of answers that are kept. A client that comes to its bound, or brings its peer there, loses own ones; above the
 * bound for all, no more are kept. */
#define REPLY_BYTES_MAX ((size_t)8 << 20)
#define REPLY_BYTES_PEER_MAX ((size_t)24 << 20)
#define REPLY_BYTES_ALL_MAX ((size_t)64 << 20)
/* The first transaction of a compound has places of its own, behind those of all operations. */
#define PLACE_TX 256u
_Static_assert(WFSP_OPS_MAX <= PLACE_TX, "no operation has the place of a transaction's answer");

static void drop_reply(struct rpc_sessions *t, struct rpc_session *s, struct rpc_slot *slot) SYNC_REQUIRES(t->lock)
{
	if (slot->reply) {
		budget_uncharge(t->config.charge, slot->reply_len);
		t->reply_bytes -= slot->reply_len;
		s->reply_bytes -= slot->reply_len;
		s->account->reply_bytes -= slot->reply_len;
	}
	free(slot->reply);
	slot->reply = NULL;
}

void rpc_slots_free(struct rpc_sessions *t, struct rpc_session *s)
{
	while (s->tables) {
		struct rpc_slot_table *table = s->tables;

		s->tables = table->next;
		for (unsigned i = 0; i < WFSP_SLOTS; i++)
			drop_reply(t, s, &table->slots[i]);
		budget_uncharge(t->config.charge, sizeof(*table));
		free(table);
	}
}

static struct rpc_slot *find_slot(struct rpc_sessions *t, struct rpc_session *s, uint32_t connection, uint32_t slot)
        SYNC_REQUIRES(t->lock)
{
	struct rpc_slot_table **at = &s->tables, *table;

	while (*at && (*at)->connection != connection)
		at = &(*at)->next;
	table = *at;
	if (!table && s->table_count < CONNECTIONS_MAX) {
		table = calloc(1, sizeof(*table));
		if (table) {
			budget_charge(t->config.charge, sizeof(*table));
			table->connection = connection;
			*at = table;
			s->table_count++;
		}
	}
	return table ? &table->slots[slot - 1] : NULL;
}

/* May each of so many operations have a result in a file system? */
static bool take_places(struct rpc_sessions *t, struct rpc_session *s, struct rpc_slot *slot, uint32_t count)
        SYNC_REQUIRES(t->lock)
{
	uint32_t more = count > slot->places ? count - slot->places : 0;

	if (s->forgetting || s->place_count + more > RPC_PLACES_MAX ||
	    s->account->place_count + more > RPC_PLACES_PEER_MAX || t->place_count + more > RPC_PLACES_ALL_MAX)
		return false;
	slot->places = (uint8_t)(slot->places + more);
	s->place_count += more;
	s->account->place_count += more;
	t->place_count += more;
	rpc_left_press(t, s->account);
	return true;
}

static int copy_reply(const struct rpc_slot *slot, struct rpc_slot_use *ret)
{
	ret->reply = malloc(slot->reply_len);
	if (!ret->reply)
		return err_set(-ENOMEM, "no memory for an answer");
	memcpy(ret->reply, slot->reply, slot->reply_len);
	ret->reply_len = slot->reply_len;
	return 0;
}

int rpc_slot_begin(struct rpc_session *s, uint32_t connection, const struct wfsp_compound_args *a,
                   struct rpc_slot_use *ret)
{
	struct rpc_sessions *t;
	struct rpc_slot *slot;
	int err = 0;

	if (!s || a->slot < 1 || a->slot > WFSP_SLOTS)
		return err_set(-EINVAL, "%s", s ? "no such slot" : "a slot before HELLO");
	t = s->sessions;
	sync_mutex_lock(&t->lock);
	slot = find_slot(t, s, connection, a->slot);
	if (!slot) {
		err = err_set(-ENOMEM, "no memory for slots");
	} else if (slot->busy) {
		err = err_set(-EBUSY, "slot %u is in use", a->slot);
	} else if (slot->used && (int32_t)(a->sequence - slot->sequence) < 0) {
		err = err_set(-EPROTO, "slot %u: %u comes after %u", a->slot, a->sequence, slot->sequence);
	} else if (slot->used && slot->sequence == a->sequence && slot->reply) {
		ret->state = RPC_SLOT_AGAIN;
		err = copy_reply(slot, ret);
	} else {
		ret->state = !slot->used                     ? RPC_SLOT_UNKNOWN
		             : slot->sequence == a->sequence ? RPC_SLOT_FORGOTTEN
		                                             : RPC_SLOT_NEW;
		drop_reply(t, s, slot);
		slot->used = slot->busy = true;
		slot->sequence = a->sequence;
		ret->durable = take_places(t, s, slot, a->op_count);
		/* What was done before counts, not what could be kept now. */
		if (ret->state != RPC_SLOT_FORGOTTEN)
			slot->durable = ret->durable;
		ret->unkept = !slot->durable && ret->state == RPC_SLOT_FORGOTTEN;
	}
	sync_mutex_unlock(&t->lock);
	return err;
}

/* Of the session's own answers, some go until there is room for @len bytes more: in turns, so that those that have just
 * been given stay. */
static bool make_room(struct rpc_sessions *t, struct rpc_session *s, size_t len) SYNC_REQUIRES(t->lock)
{
	while (s->reply_bytes &&
	       (s->reply_bytes + len > REPLY_BYTES_MAX || s->account->reply_bytes + len > REPLY_BYTES_PEER_MAX)) {
		if (!s->hand)
			s->hand = s->tables;
		drop_reply(t, s, &s->hand->slots[s->hand_slot]);
		if (++s->hand_slot == WFSP_SLOTS) {
			s->hand_slot = 0;
			s->hand = s->hand->next;
		}
	}
	return s->account->reply_bytes + len <= REPLY_BYTES_PEER_MAX && t->reply_bytes + len <= REPLY_BYTES_ALL_MAX;
}

void rpc_slot_keep(struct rpc_session *s, uint32_t connection, uint32_t slot_number, const void *reply, size_t len)
{
	void *copy = malloc(len);
	struct rpc_sessions *t = s->sessions;
	struct rpc_slot *slot;

	if (copy)
		memcpy(copy, reply, len);
	sync_mutex_lock(&t->lock);
	slot = find_slot(t, s, connection, slot_number);
	always(slot && slot->busy);
	if (copy && !make_room(t, s, len)) {
		free(copy);
		copy = NULL;
	}
	slot->busy = false;
	slot->reply = copy;
	slot->reply_len = len;
	if (copy) {
		budget_charge(t->config.charge, len);
		t->reply_bytes += len;
		s->reply_bytes += len;
		s->account->reply_bytes += len;
	}
	sync_mutex_unlock(&t->lock);
}

void rpc_slot_undo(struct rpc_session *s, uint32_t connection, uint32_t slot_number, const struct rpc_slot_use *use)
{
	struct rpc_sessions *t = s->sessions;
	struct rpc_slot *slot;

	sync_mutex_lock(&t->lock);
	slot = find_slot(t, s, connection, slot_number);
	always(slot && slot->busy);
	slot->busy = false;
	/* What was done before, and forgotten, is not to be done again. */
	slot->used = use->state == RPC_SLOT_FORGOTTEN;
	sync_mutex_unlock(&t->lock);
}

bool rpc_slot_take_answer(struct rpc_session *s, uint32_t connection, uint32_t slot_number, size_t len)
{
	struct rpc_sessions *t = s->sessions;
	struct rpc_slot *slot;
	size_t more;
	bool taken;

	sync_mutex_lock(&t->lock);
	slot = find_slot(t, s, connection, slot_number);
	always(slot && slot->busy && len <= UINT32_MAX);
	more = len > slot->answer_bytes ? len - slot->answer_bytes : 0;
	taken = s->answer_bytes + more <= RPC_ANSWER_BYTES_MAX &&
	        s->account->answer_bytes + more <= RPC_ANSWER_BYTES_PEER_MAX &&
	        t->answer_bytes + more <= RPC_ANSWER_BYTES_ALL_MAX;
	if (taken) {
		slot->answer_bytes += (uint32_t)more;
		s->answer_bytes += more;
		s->account->answer_bytes += more;
		t->answer_bytes += more;
		rpc_left_press(t, s->account);
	}
	sync_mutex_unlock(&t->lock);
	return taken;
}

void rpc_slot_tx_tag(const struct rpc_session *s, uint32_t connection, const struct wfsp_compound_args *a,
                     struct vfs_tag *ret)
{
	rpc_slot_tag(s, connection, a, PLACE_TX, ret);
}

void rpc_slot_tag(const struct rpc_session *s, uint32_t connection, const struct wfsp_compound_args *a, uint32_t index,
                  struct vfs_tag *ret)
{
	memcpy(ret->client, s->key, sizeof(ret->client));
	ret->place = (uint64_t)connection << 32 | (uint64_t)a->slot << 16 | index;
	ret->sequence = a->sequence;
	ret->lifetime_s = s->sessions->config.lease_max_s;
}
