/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What sessions that have ended left in file systems: results of their changes, and answers of their transactions, for
 * clients that come back. They count to the bounds of their peer, and of all, until they have expired, or are dropped,
 * one session's after the other by a worker, because there is too much: first what no client may ask for any more, as
 * its lease is over, then the oldest. So whoever makes session after session fills no file system, and takes the room
 * of its own peer only.
 *
 * A client that comes back takes over what it left. While that is being dropped, what the client does is kept in memory
 * only: the file system would drop it with the rest.
 */
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "server/rpc/session.h"

#define LEFT_PEER_MAX 4096u /* sessions */
#define LEFT_ALL_MAX 16384u

struct rpc_left {
	struct rpc_left *next;
	uint8_t key[VFS_CLIENT_KEY_BYTES];
	uint64_t lease_until_ns; /* the client had come back by then */
	uint64_t until_ns; /* then all of it has expired */
	unsigned place_count;
	size_t answer_bytes;
};

/* From three quarters of a bound on, so that those who are there find room. */
#define IS_MUCH(value, max) ((value) > (max) / 4 * 3)

static bool is_much_of(const struct rpc_account *a)
{
	return a->left_count > LEFT_PEER_MAX || IS_MUCH(a->place_count, RPC_PLACES_PEER_MAX) ||
	       IS_MUCH(a->answer_bytes, RPC_ANSWER_BYTES_PEER_MAX);
}

static bool is_much_of_all(const struct rpc_sessions *t) SYNC_REQUIRES(t->lock)
{
	return t->left_count > LEFT_ALL_MAX || IS_MUCH(t->place_count, RPC_PLACES_ALL_MAX) ||
	       IS_MUCH(t->answer_bytes, RPC_ANSWER_BYTES_ALL_MAX);
}

/* In thousandths of what a peer may have of each. */
static uint64_t weight(const struct rpc_account *a)
{
	return a->left_count * UINT64_C(1000) / LEFT_PEER_MAX + a->place_count * UINT64_C(1000) / RPC_PLACES_PEER_MAX +
	       a->answer_bytes * UINT64_C(1000) / RPC_ANSWER_BYTES_PEER_MAX;
}

/* Of peers that have equally much: as with the sessions of one. */
static bool goes_before(const struct rpc_account *a, const struct rpc_account *b, uint64_t now_ns)
{
	const struct rpc_left *x = a->left_first, *y = b->left_first;
	bool over_x = x->lease_until_ns <= now_ns, over_y = y->lease_until_ns <= now_ns;

	if (weight(a) != weight(b))
		return weight(a) > weight(b);
	return over_x != over_y ? over_x : x->until_ns < y->until_ns;
}

/* Of which peer something is to be dropped now; NULL: of none. */
static struct rpc_account *due(const struct rpc_sessions *t, uint64_t now_ns) SYNC_REQUIRES(t->lock)
{
	struct rpc_account *heaviest = NULL;

	for (struct rpc_account *a = t->accounts; a; a = a->next) {
		if (!a->left_first)
			continue;
		if (is_much_of(a) || a->left_first->until_ns <= now_ns)
			return a;
		if (!heaviest || goes_before(a, heaviest, now_ns))
			heaviest = a;
	}
	return is_much_of_all(t) ? heaviest : NULL;
}

/* Out of the list; it is still counted. */
static struct rpc_left *take(struct rpc_account *a, struct rpc_left **at)
{
	struct rpc_left *l = *at;

	*at = l->next;
	if (a->left_end == &l->next)
		a->left_end = at;
	return l;
}

/* What the client with that key left; NULL: nothing, or it is being dropped. */
static struct rpc_left *take_of_key(struct rpc_account *a, const uint8_t *key)
{
	struct rpc_left **at = &a->left_first;

	while (*at && memcmp((*at)->key, key, sizeof((*at)->key)) != 0)
		at = &(*at)->next;
	return *at ? take(a, at) : NULL;
}

static struct rpc_left *take_first(struct rpc_account *a, uint64_t now_ns)
{
	struct rpc_left **at = &a->left_first;

	while (*at && (*at)->lease_until_ns > now_ns)
		at = &(*at)->next;
	return take(a, *at ? at : &a->left_first);
}

static void left_free(struct rpc_sessions *t, struct rpc_left *l)
{
	budget_uncharge(t->config.charge, sizeof(*l));
	free(l);
}

/* Its results are not there any more. */
static void give_back(struct rpc_sessions *t, struct rpc_account *a, const struct rpc_left *l) SYNC_REQUIRES(t->lock)
{
	t->place_count -= l->place_count;
	a->place_count -= l->place_count;
	t->answer_bytes -= l->answer_bytes;
	a->answer_bytes -= l->answer_bytes;
}

/* Of the client that left it; NULL: he is not there. */
static struct rpc_session *find_heir(const struct rpc_sessions *t, const struct rpc_left *l) SYNC_REQUIRES(t->lock)
{
	struct rpc_session *s = t->first;

	while (s && memcmp(s->key, l->key, sizeof(s->key)) != 0)
		s = s->next;
	return s;
}

static void forgotten(struct rpc_sessions *t, struct rpc_account *a, struct rpc_left *l) SYNC_REQUIRES(t->lock)
{
	struct rpc_session *heir;

	t->left_count--;
	a->left_count--;
	give_back(t, a, l);
	heir = find_heir(t, l);
	if (heir)
		heir->forgetting = false;
	rpc_account_drop(t, a);
	left_free(t, l);
}

/* One session's, and again as long as there is any: others' work comes in between. */
static void drop_one(struct work *w)
{
	struct rpc_sessions *t = (struct rpc_sessions *)((uint8_t *)w - offsetof(struct rpc_sessions, left_work));
	struct rpc_account *a;
	struct rpc_left *l;
	char text[256];
	int err;

	sync_mutex_lock(&t->lock);
	a = t->ending ? NULL : due(t, sync_now_ns());
	if (a) {
		l = take_first(a, sync_now_ns());
		/* The file system knows no sessions, but clients: it would drop what he does now, too. */
		always(!find_heir(t, l));
		t->left_key = l->key;
		sync_mutex_unlock(&t->lock);
		err = vfs_forget_results(t->config.vfs, l->key);
		if (err)
			log_info("rpc", "results of a session that has ended stay until they expire: %s",
			         err_text(err_get(), err, 0, text, sizeof(text)));
		sync_mutex_lock(&t->lock);
		t->left_key = NULL;
		forgotten(t, a, l);
		workers_queue(t->config.workers, WORKER_LANE_ADMIN, &t->left_work);
	} else {
		t->left_busy = false;
		sync_cond_broadcast(&t->retired);
	}
	sync_mutex_unlock(&t->lock);
}

static void start(struct rpc_sessions *t) SYNC_REQUIRES(t->lock)
{
	if (t->left_busy || t->ending)
		return;
	t->left_busy = true;
	t->left_work.run = drop_one;
	workers_queue(t->config.workers, WORKER_LANE_ADMIN, &t->left_work);
}

void rpc_left_press(struct rpc_sessions *t, const struct rpc_account *a)
{
	if ((a->left_first && is_much_of(a)) || (t->left_count && is_much_of_all(t)))
		start(t);
}

struct rpc_left *rpc_left_new(struct rpc_sessions *t)
{
	struct rpc_left *l = calloc(1, sizeof(*l));

	if (l)
		budget_charge(t->config.charge, sizeof(*l));
	return l;
}

/* The client's, who is there, from an earlier session. */
static void take_over(struct rpc_session *s, const struct rpc_left *l)
{
	s->old_place_count += l->place_count;
	s->old_answer_bytes += l->answer_bytes;
	s->old_until_ns = max_u64(s->old_until_ns, l->until_ns);
}

/* Two sessions of a client may wait for their ends together. What both left is one: it is dropped, or taken over, as
 * one. */
static void merge_older(struct rpc_sessions *t, struct rpc_account *a, struct rpc_left *l) SYNC_REQUIRES(t->lock)
{
	struct rpc_left *older = take_of_key(a, l->key);

	if (!older)
		return;
	l->lease_until_ns = max_u64(l->lease_until_ns, older->lease_until_ns);
	l->until_ns = max_u64(l->until_ns, older->until_ns);
	l->place_count += older->place_count;
	l->answer_bytes += older->answer_bytes;
	a->left_count--;
	t->left_count--;
	left_free(t, older);
}

void rpc_left_add(struct rpc_sessions *t, struct rpc_session *s)
{
	struct rpc_account *a = s->account;
	struct rpc_session *heir;
	struct rpc_left *l = s->left;

	s->left = NULL;
	memcpy(l->key, s->key, sizeof(l->key));
	l->next = NULL;
	l->lease_until_ns = s->left_ns + s->lease_ns;
	l->until_ns = sync_now_ns() + t->config.lease_max_s * SYNC_NS_PER_S;
	l->place_count = s->place_count + s->old_place_count;
	l->answer_bytes = s->answer_bytes + s->old_answer_bytes;
	if (!l->place_count || t->ending) {
		give_back(t, a, l);
		left_free(t, l);
		return;
	}
	/* He came back before the end was done. */
	heir = find_heir(t, l);
	if (heir) {
		take_over(heir, l);
		left_free(t, l);
		return;
	}
	merge_older(t, a, l);
	if (!a->left_first)
		a->left_end = &a->left_first;
	*a->left_end = l;
	a->left_end = &l->next;
	a->left_count++;
	t->left_count++;
	rpc_left_press(t, a);
}

void rpc_left_take_over(struct rpc_sessions *t, struct rpc_session *s)
{
	struct rpc_account *a = s->account;
	struct rpc_left *l = take_of_key(a, s->key);

	s->forgetting = t->left_key && memcmp(t->left_key, s->key, sizeof(s->key)) == 0;
	if (!l)
		return;
	take_over(s, l);
	a->left_count--;
	t->left_count--;
	left_free(t, l);
}

void rpc_left_expire(struct rpc_sessions *t)
{
	uint64_t now_ns = sync_now_ns();

	for (struct rpc_session *s = t->first; s; s = s->next) {
		struct rpc_left old = { .place_count = s->old_place_count, .answer_bytes = s->old_answer_bytes };

		if (!old.place_count || s->old_until_ns > now_ns)
			continue;
		give_back(t, s->account, &old);
		s->old_place_count = 0;
		s->old_answer_bytes = 0;
	}
	if (t->left_count && due(t, now_ns))
		start(t);
}

void rpc_left_end(struct rpc_sessions *t)
{
	struct rpc_account *a = t->accounts, *next;

	always(!t->left_busy && t->ending);
	for (; a; a = next) {
		next = a->next;
		while (a->left_first) {
			struct rpc_left *l = take(a, &a->left_first);

			t->left_count--;
			a->left_count--;
			give_back(t, a, l);
			left_free(t, l);
		}
		rpc_account_drop(t, a);
	}
}
