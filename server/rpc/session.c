/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sessions: what the server remembers of a client beyond its connections, for a time after the last of them is gone:
 * the last answer in each slot, so that a request that is sent again is not done again, and the owners of its locks.
 *
 * In memory: a restart of the server ends them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/budget.h"
#include "core/base/err.h"
#include "server/rpc/compound.h"

#define LEASE_NS (90 * SYNC_NS_PER_S)
#define CONNECTIONS_MAX 64u /* of one client, with slots */
#define SESSIONS_MAX 4096u /* beyond, those whose clients are away are forgotten early, the oldest first */
#define REPLY_BYTES_MAX ((size_t)64 << 20) /* of all sessions; likewise, and then no more are kept */
/* Whoever ever took a lock is remembered to the session's end, as nobody says that a process of the client is gone. */
#define OWNERS_MAX 16384u /* of a session */
#define OWNERS_ALL_MAX 262144u
#define OWNER_BUCKETS 64u

struct slot {
	uint32_t sequence;
	bool used, busy;
	void *reply; /* NULL: none is kept */
	size_t reply_len;
};

struct slot_table {
	struct slot_table *next;
	uint32_t connection;
	struct slot slots[WFSP_SLOTS];
};

struct owner {
	struct owner *next;
	uint64_t owner, number;
};

struct rpc_session {
	struct rpc_session *next;
	uint8_t client_id[WFSP_CLIENT_ID_BYTES];
	unsigned connections; /* that hold it */
	uint64_t left_ns; /* when the last one did */
	struct slot_table *tables;
	unsigned table_count;
	struct owner *owners[OWNER_BUCKETS];
	unsigned owner_count;
};

void rpc_sessions_init(struct rpc_sessions *t, struct vfs *vfs, struct budget_consumer *charge)
{
	sync_mutex_init(&t->lock, SYNC_RANK_HANDLE, "rpc sessions");
	t->vfs = vfs;
	t->charge = charge;
}

static void drop_reply(struct rpc_sessions *t, struct slot *s) SYNC_REQUIRES(t->lock)
{
	if (s->reply) {
		budget_uncharge(t->charge, s->reply_len);
		t->reply_bytes -= s->reply_len;
	}
	free(s->reply);
	s->reply = NULL;
}

/* Nobody else knows it any more. */
static void session_free(struct rpc_sessions *t, struct rpc_session *s)
{
	sync_mutex_lock(&t->lock);
	while (s->tables) {
		struct slot_table *table = s->tables;

		s->tables = table->next;
		for (unsigned i = 0; i < WFSP_SLOTS; i++)
			drop_reply(t, &table->slots[i]);
		budget_uncharge(t->charge, sizeof(*table));
		free(table);
	}
	t->owner_count -= s->owner_count;
	sync_mutex_unlock(&t->lock);
	budget_uncharge(t->charge, s->owner_count * sizeof(struct owner));
	for (unsigned i = 0; i < OWNER_BUCKETS; i++) {
		while (s->owners[i]) {
			struct owner *o = s->owners[i];

			s->owners[i] = o->next;
			vfs_unlock_owner(t->vfs, o->number);
			free(o);
		}
	}
	budget_uncharge(t->charge, sizeof(*s));
	free(s);
}

/* The one whose client has been away for longest, taken out of the list. NULL: none is away. */
static struct rpc_session *take_oldest(struct rpc_sessions *t) SYNC_REQUIRES(t->lock)
{
	struct rpc_session **oldest = NULL, *s;

	for (struct rpc_session **at = &t->first; *at; at = &(*at)->next) {
		if (!(*at)->connections && (!oldest || (*at)->left_ns < (*oldest)->left_ns))
			oldest = at;
	}
	if (!oldest)
		return NULL;
	s = *oldest;
	*oldest = s->next;
	t->count--;
	return s;
}

SYNC_NO_ANALYSIS void rpc_sessions_done(struct rpc_sessions *t)
{
	while (t->first) {
		struct rpc_session *s = t->first;

		always(!s->connections);
		t->first = s->next;
		session_free(t, s);
	}
	sync_mutex_done(&t->lock);
}

struct rpc_session *rpc_session_get(struct rpc_sessions *t, const uint8_t *client_id)
{
	struct rpc_session *s, *old = NULL;

	sync_mutex_lock(&t->lock);
	s = t->first;
	while (s && memcmp(s->client_id, client_id, sizeof(s->client_id)) != 0)
		s = s->next;
	if (!s) {
		s = calloc(1, sizeof(*s));
		if (s) {
			budget_charge(t->charge, sizeof(*s));
			memcpy(s->client_id, client_id, sizeof(s->client_id));
			s->next = t->first;
			t->first = s;
			t->count++;
		}
	}
	if (s) {
		s->connections++;
		if (t->count > SESSIONS_MAX)
			old = take_oldest(t);
	}
	sync_mutex_unlock(&t->lock);
	if (old)
		session_free(t, old);
	return s;
}

void rpc_session_put(struct rpc_sessions *t, struct rpc_session *s)
{
	sync_mutex_lock(&t->lock);
	always(s->connections > 0);
	if (--s->connections == 0)
		s->left_ns = sync_now_ns();
	sync_mutex_unlock(&t->lock);
}

void rpc_sessions_expire(struct rpc_sessions *t, uint64_t now_ns)
{
	struct rpc_session *dead = NULL, **at;

	sync_mutex_lock(&t->lock);
	at = &t->first;
	while (*at) {
		struct rpc_session *s = *at;

		/* One that holds nothing is not worth waiting for. */
		if (!s->connections && ((!s->tables && !s->owner_count) || now_ns - s->left_ns > LEASE_NS)) {
			*at = s->next;
			t->count--;
			s->next = dead;
			dead = s;
		} else {
			at = &s->next;
		}
	}
	sync_mutex_unlock(&t->lock);
	while (dead) {
		struct rpc_session *s = dead;

		dead = s->next;
		session_free(t, s);
	}
}

static struct slot *find_slot(struct rpc_sessions *t, struct rpc_session *s, uint32_t connection, uint32_t slot)
        SYNC_REQUIRES(t->lock)
{
	struct slot_table *table = s->tables;

	while (table && table->connection != connection)
		table = table->next;
	if (!table && s->table_count < CONNECTIONS_MAX) {
		table = calloc(1, sizeof(*table));
		if (table) {
			budget_charge(t->charge, sizeof(*table));
			table->connection = connection;
			table->next = s->tables;
			s->tables = table;
			s->table_count++;
		}
	}
	return table ? &table->slots[slot - 1] : NULL;
}

static int slot_again(const struct slot *s, void **ret_reply, size_t *ret_len)
{
	if (!s->reply)
		return err_set(-ENOMEM, "the answer of this slot could not be kept");
	*ret_reply = malloc(s->reply_len);
	if (!*ret_reply)
		return err_set(-ENOMEM, "no memory for an answer");
	memcpy(*ret_reply, s->reply, s->reply_len);
	*ret_len = s->reply_len;
	return 0;
}

int rpc_slot_begin(struct rpc_sessions *t, struct rpc_session *s, uint32_t connection, uint32_t slot, uint32_t sequence,
                   enum rpc_slot_state *ret, void **ret_reply, size_t *ret_len)
{
	struct slot *found;
	int err = 0;

	if (!s || slot < 1 || slot > WFSP_SLOTS)
		return err_set(-EINVAL, "%s", s ? "no such slot" : "a slot before HELLO");
	sync_mutex_lock(&t->lock);
	found = find_slot(t, s, connection, slot);
	if (!found) {
		err = err_set(-ENOMEM, "no memory for slots");
	} else if (found->busy) {
		err = err_set(-EBUSY, "slot %u is in use", slot);
	} else if (found->used && found->sequence == sequence) {
		*ret = RPC_SLOT_AGAIN;
		err = slot_again(found, ret_reply, ret_len);
	} else if (found->used && (int32_t)(sequence - found->sequence) < 0) {
		err = err_set(-EPROTO, "slot %u: %u comes after %u", slot, sequence, found->sequence);
	} else {
		drop_reply(t, found);
		found->used = found->busy = true;
		found->sequence = sequence;
		*ret = RPC_SLOT_NEW;
	}
	sync_mutex_unlock(&t->lock);
	return err;
}

void rpc_slot_keep(struct rpc_sessions *t, struct rpc_session *s, uint32_t connection, uint32_t slot, const void *reply,
                   size_t len)
{
	void *copy = reply ? malloc(len) : NULL;
	struct rpc_session *old = NULL;
	struct slot *found;

	if (copy)
		memcpy(copy, reply, len);
	sync_mutex_lock(&t->lock);
	if (t->reply_bytes + len > REPLY_BYTES_MAX) {
		old = take_oldest(t);
		free(copy);
		copy = NULL;
	}
	found = find_slot(t, s, connection, slot);
	always(found && found->busy);
	found->busy = false;
	found->used = reply != NULL;
	found->reply = copy;
	found->reply_len = len;
	if (copy) {
		budget_charge(t->charge, len);
		t->reply_bytes += len;
	}
	sync_mutex_unlock(&t->lock);
	if (old)
		session_free(t, old);
}

int rpc_session_owner(struct rpc_sessions *t, struct rpc_session *s, uint64_t owner, bool make, uint64_t *ret)
{
	struct owner **bucket, *o;
	int err = 0;

	if (!s)
		return err_set(-ENOLCK, "locks need a HELLO");
	sync_mutex_lock(&t->lock);
	bucket = &s->owners[(owner ^ owner >> 17 ^ owner >> 39) % OWNER_BUCKETS];
	o = *bucket;
	while (o && o->owner != owner)
		o = o->next;
	if (!o && make) {
		if (s->owner_count < OWNERS_MAX && t->owner_count < OWNERS_ALL_MAX)
			o = malloc(sizeof(*o));
		if (o) {
			budget_charge(t->charge, sizeof(*o));
			*o = (struct owner){ .next = *bucket, .owner = owner, .number = ++t->next_owner };
			*bucket = o;
			s->owner_count++;
			t->owner_count++;
		} else {
			err = err_set(-ENOLCK, "too many owners of locks");
		}
	}
	if (!err)
		*ret = o ? o->number : 0;
	sync_mutex_unlock(&t->lock);
	return err;
}
