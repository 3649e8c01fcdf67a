/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sessions: what the server remembers of a client beyond its connections, for a time after the last of them is gone:
 * the last answer in each slot (slots.c), so that a request that is sent again is not done again, and the owners of its
 * locks.
 *
 * A session is its client's id together with who is at the other end: nobody else comes to it by knowing the id. What
 * is in memory ends with the server; file systems that keep results know the session by its key, which is the same
 * after a restart. Sessions of clients that are away are bounded for each peer, so that one does not push out those of
 * another.
 */
#include "server/rpc/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "server/rpc/grace.h"
#include "server/rpc/notice.h"

#define AWAY_ALL_MAX 4096u /* beyond, those whose clients are away are forgotten early, the oldest first */
#define AWAY_MAX 256u /* of one peer; likewise */
/* Whoever ever took a lock is remembered to the session's end, as nobody says that a process of the client is gone. */
#define OWNERS_MAX 16384u /* of a session */
#define OWNERS_PEER_MAX 65536u
#define OWNERS_ALL_MAX 262144u
/* Sessions of a peer with such: a quarter of those that are recorded (grace.c). */
#define HOLDERS_PEER_MAX (RPC_HOLDERS_MAX / 4)

void rpc_sessions_init(struct rpc_sessions *t, const struct rpc_sessions_config *config)
{
	sync_mutex_init(&t->lock, SYNC_RANK_HANDLE, "rpc sessions");
	sync_cond_init(&t->retired);
	t->config = *config;
	if (!t->config.lease_max_s)
		t->config.lease_max_s = RPC_LEASE_MAX_S_DEFAULT;
}

/* ---- the end of a session ---- */

/* Nobody else knows it any more. Giving up locks may take long. */
static void session_free(struct work *w)
{
	struct rpc_session *s = (struct rpc_session *)((uint8_t *)w - offsetof(struct rpc_session, work));
	struct rpc_sessions *t = s->sessions;

	for (unsigned i = 0; i < RPC_OWNER_BUCKETS; i++) {
		while (s->owners[i]) {
			struct rpc_owner *o = s->owners[i];

			s->owners[i] = o->next;
			vfs_unlock_owner(t->config.vfs, o->number);
			free(o);
			budget_uncharge(t->config.charge, sizeof(*o));
		}
	}
	rpc_notices_end(s->notices);
	if (s->owner_count && t->config.grace)
		rpc_grace_forget(t->config.grace, s->key, s->origin);
	rpc_txs_end(s);
	sync_mutex_lock(&t->lock);
	rpc_slots_free(t, s);
	rpc_left_add(t, s);
	t->owner_count -= s->owner_count;
	s->account->owner_count -= s->owner_count;
	s->account->holder_count -= s->owner_count != 0;
	s->account->transaction_count -= s->transaction_count;
	s->account->session_count--;
	rpc_account_drop(t, s->account);
	budget_uncharge(t->config.charge, sizeof(*s));
	free(s);
	t->retiring--;
	sync_cond_broadcast(&t->retired);
	sync_mutex_unlock(&t->lock);
}

/* Take it out of the list at *@at, and have a worker end it. */
static void retire(struct rpc_sessions *t, struct rpc_session **at) SYNC_REQUIRES(t->lock)
{
	struct rpc_session *s = *at;

	*at = s->next;
	t->count--;
	s->account->away_count--;
	t->away_count--;
	t->retiring++;
	s->work.run = session_free;
	workers_queue(t->config.workers, WORKER_LANE_ADMIN, &s->work);
}

/* The one whose client has been away for longest, of one peer or (NULL) of all. */
static struct rpc_session **oldest_away(struct rpc_sessions *t, const struct rpc_account *a) SYNC_REQUIRES(t->lock)
{
	struct rpc_session **oldest = NULL;

	for (struct rpc_session **at = &t->first; *at; at = &(*at)->next) {
		if (!(*at)->connections && (!a || (*at)->account == a) &&
		    (!oldest || (*at)->left_ns < (*oldest)->left_ns))
			oldest = at;
	}
	return oldest;
}

/* There is one more of this peer. */
static void make_room(struct rpc_sessions *t, const struct rpc_account *a) SYNC_REQUIRES(t->lock)
{
	struct rpc_session **at = NULL;

	if (a->away_count > AWAY_MAX || t->away_count > AWAY_ALL_MAX)
		at = oldest_away(t, a);
	if (!at && t->away_count > AWAY_ALL_MAX)
		at = oldest_away(t, NULL);
	if (at)
		retire(t, at);
}

void rpc_sessions_end(struct rpc_sessions *t)
{
	sync_mutex_lock(&t->lock);
	t->ending = true;
	while (t->first) {
		always(!t->first->connections);
		retire(t, &t->first);
	}
	while (t->retiring || t->left_busy)
		sync_cond_wait(&t->retired, &t->lock);
	rpc_left_end(t);
	sync_mutex_unlock(&t->lock);
}

SYNC_NO_ANALYSIS void rpc_sessions_done(struct rpc_sessions *t)
{
	always(!t->first && !t->retiring);
	sync_cond_done(&t->retired);
	sync_mutex_done(&t->lock);
}

void rpc_sessions_expire(struct rpc_sessions *t)
{
	struct rpc_session **at;
	uint64_t now_ns;

	sync_mutex_lock(&t->lock);
	/* Not before anybody has left. */
	now_ns = sync_now_ns();
	at = &t->first;
	while (*at) {
		struct rpc_session *s = *at;

		/* One that holds nothing is not worth waiting for. */
		if (!s->connections && ((!s->tables && !s->owner_count && !s->notices && !s->transaction_count) ||
		                        now_ns - s->left_ns > s->lease_ns))
			retire(t, at);
		else
			at = &s->next;
	}
	rpc_left_expire(t);
	sync_mutex_unlock(&t->lock);
}

/* ---- its life ---- */

static struct rpc_session *session_new(struct rpc_sessions *t, const struct rpc_peer *peer, const uint8_t *key)
        SYNC_REQUIRES(t->lock)
{
	struct rpc_account *a = rpc_account_find(t, peer);
	struct rpc_session *s = a ? calloc(1, sizeof(*s)) : NULL;

	if (s)
		s->left = rpc_left_new(t);
	if (!s || !s->left) {
		if (a)
			rpc_account_drop(t, a);
		free(s);
		return NULL;
	}
	budget_charge(t->config.charge, sizeof(*s));
	s->sessions = t;
	s->account = a;
	a->session_count++;
	/* Until it is counted as connected. */
	a->away_count++;
	t->away_count++;
	memcpy(s->key, key, sizeof(s->key));
	s->origin = ++t->next_origin;
	rpc_left_take_over(t, s);
	s->next = t->first;
	t->first = s;
	t->count++;
	return s;
}

uint32_t rpc_lease_s(const struct rpc_sessions *t, uint32_t wanted_s)
{
	uint32_t max = t->config.lease_max_s;

	if (!wanted_s)
		wanted_s = RPC_LEASE_S_DEFAULT;
	return wanted_s < max ? wanted_s : max;
}

struct rpc_session *rpc_session_get(struct rpc_sessions *t, const uint8_t *client_id, const struct rpc_peer *peer,
                                    uint32_t wanted_s)
{
	uint8_t key[VFS_CLIENT_KEY_BYTES];
	struct rpc_session *s;

	rpc_session_key_of(t, peer, client_id, key);
	sync_mutex_lock(&t->lock);
	s = t->first;
	while (s && memcmp(s->key, key, sizeof(key)) != 0)
		s = s->next;
	if (!s)
		s = session_new(t, peer, key);
	if (s) {
		if (!s->connections++) {
			s->account->away_count--;
			t->away_count--;
		}
		s->lease_ns = rpc_lease_s(t, wanted_s) * SYNC_NS_PER_S;
		make_room(t, s->account);
	}
	sync_mutex_unlock(&t->lock);
	return s;
}

void rpc_session_put(struct rpc_session *s)
{
	struct rpc_sessions *t = s->sessions;

	sync_mutex_lock(&t->lock);
	always(s->connections > 0);
	if (--s->connections == 0) {
		s->left_ns = sync_now_ns();
		s->account->away_count++;
		t->away_count++;
		make_room(t, s->account);
	}
	sync_mutex_unlock(&t->lock);
}

/* ---- owners of locks ---- */

/* One more owner. */
static bool may_own(const struct rpc_sessions *t, const struct rpc_session *s) SYNC_REQUIRES(t->lock)
{
	return s->owner_count < OWNERS_MAX && s->account->owner_count < OWNERS_PEER_MAX &&
	       t->owner_count < OWNERS_ALL_MAX && (s->owner_count || s->account->holder_count < HOLDERS_PEER_MAX);
}

int rpc_session_owner(struct rpc_sessions *t, struct rpc_session *s, uint64_t owner, bool make, uint64_t *ret)
{
	struct rpc_owner **bucket, *o;
	int err = 0;

	if (!s)
		return err_set(-ENOLCK, "locks need a HELLO");
	sync_mutex_lock(&t->lock);
	bucket = &s->owners[(owner ^ owner >> 17 ^ owner >> 39) % RPC_OWNER_BUCKETS];
	o = *bucket;
	while (o && o->owner != owner)
		o = o->next;
	if (!o && make) {
		if (may_own(t, s))
			o = malloc(sizeof(*o));
		if (o) {
			budget_charge(t->config.charge, sizeof(*o));
			*o = (struct rpc_owner){ .next = *bucket, .owner = owner, .number = ++t->next_owner };
			*bucket = o;
			s->account->holder_count += s->owner_count == 0;
			s->owner_count++;
			s->account->owner_count++;
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

struct vfs_lock_share *rpc_session_lock_share(struct rpc_session *s)
{
	return &s->account->locks;
}

const uint8_t *rpc_session_key(const struct rpc_session *s)
{
	return s->key;
}

struct rpc_done *rpc_session_done(struct rpc_session *s)
{
	return &s->done;
}

uint64_t rpc_session_origin(const struct rpc_session *s)
{
	return s->origin;
}

struct rpc_notices *rpc_session_notices(struct rpc_server *server, struct rpc_session *s, bool make)
{
	struct rpc_notices *n, *spare = NULL;

	if (!s)
		return NULL;
	n = __atomic_load_n(&s->notices, __ATOMIC_ACQUIRE);
	if (n || !make)
		return n;
	spare = rpc_notices_new(server, &s->account->notices);
	sync_mutex_lock(&server->sessions.lock);
	n = s->notices;
	if (!n && spare) {
		n = spare;
		spare = NULL;
		__atomic_store_n(&s->notices, n, __ATOMIC_RELEASE);
	}
	sync_mutex_unlock(&server->sessions.lock);
	rpc_notices_end(spare);
	return n;
}
