/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A session's notices: a queue, numbered, from which the client takes and says with its next call how far it came; so
 * what is lost with a connection is told again on the next one. The queue is bounded: a watch that does not fit says
 * once that it has lost something, and is silent until the client has been told that.
 */
#include "server/rpc/notice_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "core/base/assert.h"
#include "core/base/budget.h"
#include "core/base/err.h"
#include "protocol/wfs_notice.h"

_Static_assert(WFSP_CHANGE_CREATED == VFS_CHANGE_CREATED && WFSP_CHANGE_REMOVED == VFS_CHANGE_REMOVED &&
                       WFSP_CHANGE_MOVED_FROM == VFS_CHANGE_MOVED_FROM && WFSP_CHANGE_MOVED_TO == VFS_CHANGE_MOVED_TO &&
                       WFSP_CHANGE_DATA == VFS_CHANGE_DATA && WFSP_CHANGE_ATTR == VFS_CHANGE_ATTR,
               "changes travel as they are");

/* So far a new change is compared with those that wait: one file written in small pieces is one notice. */
#define MERGE_LOOK_BACK 8u

struct watch {
	struct watch *next;
	uint64_t id;
	struct rpc_notices *notices;
	struct vfs_watch *vfs; /* NULL: being opened */
	unsigned queued;
	bool lost; /* said so, and the client has not heard it yet */
};

struct wait {
	struct wait *next;
	uint64_t id;
	struct rpc_notices *notices;
	uint64_t number; /* the VFS's, once it waits */
	bool waits; /* the number is known */
	bool done; /* told already */
};

struct rpc_notices *rpc_notices_new(struct rpc_server *s, struct rpc_notice_share *peer)
{
	struct rpc_notices *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	if (getrandom(&n->channel, sizeof(n->channel), 0) != (ssize_t)sizeof(n->channel) || !n->channel) {
		free(n);
		return NULL;
	}
	n->refs = 1;
	n->server = s;
	n->peer = peer;
	sync_mutex_init(&n->lock, SYNC_RANK_NOTICES, "rpc notices");
	budget_charge(s->charge, sizeof(*n));
	return n;
}

static size_t bytes_of(const struct notice *x)
{
	return sizeof(*x) + x->name_len;
}

size_t rpc_notices_bytes(const struct rpc_notices *n)
{
	return __atomic_load_n(&n->bytes, __ATOMIC_RELAXED);
}

/* The queue is longer by @len, or shorter by that. */
static void count_bytes(struct rpc_notices *n, size_t len, bool more) SYNC_REQUIRES(n->lock)
{
	size_t by = more ? len : 0 - len;

	__atomic_store_n(&n->bytes, n->bytes + by, __ATOMIC_RELAXED);
	__atomic_add_fetch(&n->server->notice_bytes, by, __ATOMIC_RELAXED);
	if (n->peer)
		__atomic_add_fetch(&n->peer->queued_bytes, by, __ATOMIC_RELAXED);
	if (more)
		budget_charge(n->server->charge, len);
	else
		budget_uncharge(n->server->charge, len);
}

/* Several that come at once may go beyond by one each. */
static bool has_bytes(const struct rpc_notices *n, size_t len)
{
	return n->bytes + len <= RPC_NOTICES_BYTES_MAX &&
	       __atomic_load_n(&n->server->notice_bytes, __ATOMIC_RELAXED) + len <= RPC_NOTICES_BYTES_ALL_MAX &&
	       (!n->peer ||
	        __atomic_load_n(&n->peer->queued_bytes, __ATOMIC_RELAXED) + len <= RPC_NOTICES_BYTES_PEER_MAX);
}

/* Out of the queue. */
static void forget(struct rpc_notices *n, struct notice *x) SYNC_REQUIRES(n->lock)
{
	*(x->prev ? &x->prev->next : &n->first) = x->next;
	*(x->next ? &x->next->prev : &n->last) = x->prev;
	n->count--;
	n->other_count -= x->kind != WFSP_NOTICE_CHANGE;
	if (x->watch)
		x->watch->queued--;
	count_bytes(n, bytes_of(x), false);
	free(x);
}

static SYNC_NO_ANALYSIS void unref(struct rpc_notices *n)
{
	if (__atomic_sub_fetch(&n->refs, 1, __ATOMIC_ACQ_REL))
		return;
	always(!n->watches && !n->waits && !n->leases && !n->held);
	while (n->first)
		forget(n, n->first);
	budget_uncharge(n->server->charge, sizeof(*n));
	sync_mutex_done(&n->lock);
	free(n);
}

/* ---- the queue ---- */

/* Something is there: the held call, if there is one, comes back. */
static void wake(struct rpc_notices *n) SYNC_REQUIRES(n->lock)
{
	struct rpc_op *op = n->held;

	n->held = NULL;
	if (op)
		rpc_conn_done_push(op);
}

bool rpc_notices_push(struct rpc_notices *n, const struct notice *what, const char *name)
{
	struct notice *x = malloc(bytes_of(what));

	if (!x)
		return false;
	*x = *what;
	if (x->name_len)
		memcpy(x->name, name, x->name_len);
	x->number = ++n->last_number;
	x->next = NULL;
	x->prev = n->last;
	*(n->last ? &n->last->next : &n->first) = x;
	n->last = x;
	n->count++;
	n->other_count += x->kind != WFSP_NOTICE_CHANGE;
	if (x->watch)
		x->watch->queued++;
	count_bytes(n, bytes_of(x), true);
	counter_add(&n->server->stats.notices, 1);
	wake(n);
	return true;
}

int rpc_notices_room(const struct rpc_notices *n)
{
	if (n->other_count < RPC_NOTICES_OTHERS_MAX && has_bytes(n, 0))
		return 0;
	return err_set(-ENOLCK, "%u notices (%zu bytes) wait to be taken", n->count, n->bytes);
}

/* The watch has lost something. What said so before, and was perhaps not heard, is said by this. */
static void push_lost(struct rpc_notices *n, struct watch *w) SYNC_REQUIRES(n->lock)
{
	struct notice x = { .watch = w, .id = w->id, .kind = WFSP_NOTICE_LOST };
	struct notice *old = n->first;

	while (old && !(old->watch == w && old->kind == WFSP_NOTICE_LOST))
		old = old->next;
	w->lost = rpc_notices_push(n, &x, NULL);
	if (w->lost && old)
		forget(n, old);
	counter_add(&n->server->stats.notices_lost, 1);
}

static bool merged(struct rpc_notices *n, const struct watch *w, const struct vfs_change *c) SYNC_REQUIRES(n->lock)
{
	struct notice *x = n->last;

	if (c->dir)
		return false;
	for (unsigned i = 0; i < MERGE_LOOK_BACK && x && x->number > n->sent_number; i++, x = x->prev) {
		if (x->watch == w && x->kind == WFSP_NOTICE_CHANGE && !x->dir && x->object == c->object &&
		    x->fsid == c->fsid) {
			x->what |= c->what;
			return true;
		}
	}
	return false;
}

/* A watch's ENDED and LOST are always let in: there is at most one of each in the queue. */
static void on_change(void *ctx, const struct vfs_change *c)
{
	struct watch *w = ctx;
	struct rpc_notices *n = w->notices;
	struct notice x = { .watch = w,
		            .id = w->id,
		            .kind = WFSP_NOTICE_CHANGE,
		            .what = c->what,
		            .fsid = c->fsid,
		            .dir = c->dir,
		            .object = c->object,
		            .name_len = c->name_len };

	sync_mutex_lock(&n->lock);
	if (c->what == VFS_CHANGE_ENDED) {
		x.kind = WFSP_NOTICE_ENDED;
		x.what = 0;
		(void)rpc_notices_push(n, &x, NULL);
	} else if (!w->lost && !merged(n, w, c)) {
		bool fits = w->queued < RPC_WATCH_NOTICES_MAX && n->count < RPC_NOTICES_QUEUED_MAX &&
		            has_bytes(n, bytes_of(&x));

		if (c->what == VFS_CHANGE_LOST || !fits || !rpc_notices_push(n, &x, c->name))
			push_lost(n, w);
	}
	sync_mutex_unlock(&n->lock);
}

bool rpc_notices_hold(struct rpc_notices *n, struct rpc_op *op)
{
	const struct wfsp_notices_args *a = &op->args.notices;
	uint32_t wait_ms = a->wait_ms < RPC_NOTICES_WAIT_MS_MAX ? a->wait_ms : RPC_NOTICES_WAIT_MS_MAX;
	bool hold = false;

	sync_mutex_lock(&n->lock);
	if (a->channel == n->channel) {
		while (n->first && n->first->number <= a->after && n->first->number <= n->sent_number)
			forget(n, n->first);
		hold = !n->first && wait_ms;
	}
	if (hold) {
		/* Its client has another connection by now, or made a mistake. */
		wake(n);
		n->held = op;
		n->held_until_ns = sync_now_ns() + wait_ms * SYNC_NS_PER_MS;
	}
	sync_mutex_unlock(&n->lock);
	return hold;
}

int rpc_notices_take(struct rpc_notices *n, struct rpc_op *op)
{
	struct wfsp_notices_ok ok = { .channel = n->channel };
	size_t bytes = WFSP_NOTICES_BYTES_MAX;
	struct wr w, head;
	int err = rpc_buf_get(op->conn->server, bytes, &op->buf);

	if (err)
		return err;
	head = wr_init(op->buf.p, bytes);
	w = head;
	wfsp_put_notices_ok(&w, &ok);
	sync_mutex_lock(&n->lock);
	for (const struct notice *x = n->first; x && ok.count < WFSP_NOTICES_MAX; x = x->next) {
		struct wfsp_notice v = { .number = x->number,
			                 .kind = x->kind,
			                 .id = x->id,
			                 .what = x->what,
			                 .fsid = x->fsid,
			                 .dir = x->dir,
			                 .fileid = x->object,
			                 .name = { (const uint8_t *)x->name, (uint32_t)x->name_len } };

		wfsp_put_notice(&w, &v);
		ok.count++;
		/* What happens from now on, the client cannot see when it looks anew because of this. */
		if (x->kind == WFSP_NOTICE_LOST && x->watch)
			x->watch->lost = false;
		if (x->number > n->sent_number)
			n->sent_number = x->number;
	}
	sync_mutex_unlock(&n->lock);
	always(!w.bad);
	wfsp_put_notices_ok(&head, &ok);
	op->payload_len = w.pos;
	return 0;
}

struct rpc_op *rpc_notices_drop(struct rpc_notices *n, const struct rpc_conn *c)
{
	struct rpc_op *op = NULL;

	sync_mutex_lock(&n->lock);
	if (n->held && n->held->conn == c) {
		op = n->held;
		n->held = NULL;
	}
	sync_mutex_unlock(&n->lock);
	return op;
}

void rpc_notices_expire(struct rpc_notices *n, uint64_t now_ns)
{
	sync_mutex_lock(&n->lock);
	if (n->held && now_ns >= n->held_until_ns)
		wake(n);
	sync_mutex_unlock(&n->lock);
}

/* ---- watches ---- */

static struct watch **find_watch(struct rpc_notices *n, uint64_t id) SYNC_REQUIRES(n->lock)
{
	struct watch **at = &n->watches;

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	return at;
}

/* Nothing comes from it any more. */
static void watch_free(struct rpc_notices *n, struct watch *w)
{
	vfs_watch_close(w->vfs);
	sync_mutex_lock(&n->lock);
	for (struct notice *x = n->first; x && w->queued; x = x->next) {
		if (x->watch == w) {
			x->watch = NULL;
			w->queued--;
		}
	}
	sync_mutex_unlock(&n->lock);
	budget_uncharge(n->server->charge, sizeof(*w));
	free(w);
}

/* A watch is not in the list any more. */
static void count_gone(struct rpc_notices *n) SYNC_REQUIRES(n->lock)
{
	n->watch_count--;
	rpc_share_give(&n->peer->watches);
}

int rpc_watch_add(struct rpc_notices *n, struct vfs_handle *h, const struct vfs_cred *cred,
                  const struct vfs_watch_spec *spec, uint64_t id)
{
	struct watch *w = calloc(1, sizeof(*w));
	struct vfs_watch *vfs;
	int err = 0;

	if (!w)
		return err_set(-ENOMEM, "no memory for a watch");
	budget_charge(n->server->charge, sizeof(*w));
	w->id = id;
	w->notices = n;
	sync_mutex_lock(&n->lock);
	err = rpc_notices_room(n);
	if (!err && *find_watch(n, id))
		err = err_set(-EEXIST, "watch %llu is there already", (unsigned long long)id);
	else if (!err && n->watch_count == RPC_WATCHES_MAX)
		err = err_set(-EMFILE, "%u watches of a client", RPC_WATCHES_MAX);
	else if (!err && !rpc_share_take(&n->peer->watches, RPC_WATCHES_PEER_MAX))
		err = err_set(-EMFILE, "%u watches of a peer", RPC_WATCHES_PEER_MAX);
	if (!err) {
		w->next = n->watches;
		n->watches = w;
		n->watch_count++;
	}
	sync_mutex_unlock(&n->lock);
	if (err) {
		watch_free(n, w);
		return err;
	}
	err = vfs_watch_open(h, cred, spec, on_change, w, &vfs);
	sync_mutex_lock(&n->lock);
	if (err) {
		*find_watch(n, id) = w->next;
		count_gone(n);
	} else {
		w->vfs = vfs;
	}
	sync_mutex_unlock(&n->lock);
	if (err)
		watch_free(n, w);
	return err;
}

int rpc_watch_remove(struct rpc_notices *n, uint64_t id)
{
	struct watch **at, *w;

	sync_mutex_lock(&n->lock);
	at = find_watch(n, id);
	w = *at && (*at)->vfs ? *at : NULL;
	if (w) {
		*at = w->next;
		count_gone(n);
	}
	sync_mutex_unlock(&n->lock);
	if (!w)
		return err_set(-ENOENT, "there is no watch %llu", (unsigned long long)id);
	watch_free(n, w);
	return 0;
}

/* ---- locks that wait ---- */

static void unlink_wait(struct rpc_notices *n, struct wait *w) SYNC_REQUIRES(n->lock)
{
	struct wait **at = &n->waits;

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	n->wait_count--;
}

/* Granted, or why not. */
static void on_granted(void *ctx, int result)
{
	struct wait *w = ctx;
	struct rpc_notices *n = w->notices;
	struct notice x = { .id = w->id, .kind = WFSP_NOTICE_LOCK, .what = wfsp_status_from_errno(result) };
	bool last;

	sync_mutex_lock(&n->lock);
	/* Without memory the client, which asks again after a time, finds the lock its own. */
	(void)rpc_notices_push(n, &x, NULL);
	w->done = true;
	last = w->waits;
	if (last)
		unlink_wait(n, w);
	sync_mutex_unlock(&n->lock);
	if (last)
		free(w);
	unref(n);
}

static int wait_new(struct rpc_notices *n, uint64_t id, struct wait **ret)
{
	struct wait *w = calloc(1, sizeof(*w));
	int err = 0;

	if (!w)
		return err_set(-ENOMEM, "no memory for a lock");
	*w = (struct wait){ .id = id, .notices = n };
	sync_mutex_lock(&n->lock);
	for (const struct wait *o = n->waits; o && !err; o = o->next)
		if (o->id == id)
			err = err_set(-EEXIST, "lock %llu is waited for already", (unsigned long long)id);
	if (!err)
		err = rpc_notices_room(n);
	if (!err && n->wait_count == RPC_LOCK_WAITS_MAX)
		err = err_set(-ENOLCK, "%u locks of a client are waited for", RPC_LOCK_WAITS_MAX);
	if (!err) {
		w->next = n->waits;
		n->waits = w;
		n->wait_count++;
		__atomic_add_fetch(&n->refs, 1, __ATOMIC_RELAXED);
	}
	sync_mutex_unlock(&n->lock);
	if (err)
		free(w);
	else
		*ret = w;
	return err;
}

int rpc_lock_wait(struct rpc_notices *n, struct vfs_handle *h, const struct vfs_lock *lock, uint64_t id,
                  bool *ret_granted)
{
	uint64_t number = 0;
	struct wait *w;
	bool waits, gone;
	int err = wait_new(n, id, &w);

	if (err)
		return err;
	err = vfs_lock(h, lock, on_granted, w, &number);
	waits = err == -EINPROGRESS;
	sync_mutex_lock(&n->lock);
	w->waits = waits;
	w->number = number;
	gone = !waits || w->done;
	if (gone)
		unlink_wait(n, w);
	sync_mutex_unlock(&n->lock);
	if (gone)
		free(w);
	if (!waits)
		unref(n); /* the session has it, too */
	*ret_granted = !err;
	return waits ? 0 : err;
}

void rpc_lock_cancel(struct rpc_notices *n, uint64_t id)
{
	uint64_t number = 0;
	struct wait *w;

	sync_mutex_lock(&n->lock);
	w = n->waits;
	while (w && w->id != id)
		w = w->next;
	if (w && w->waits)
		number = w->number;
	sync_mutex_unlock(&n->lock);
	if (number)
		vfs_lock_cancel(n->server->vfs, number);
}

static struct watch *take_watch(struct rpc_notices *n)
{
	struct watch *w;

	sync_mutex_lock(&n->lock);
	w = n->watches;
	if (w) {
		n->watches = w->next;
		count_gone(n);
	}
	sync_mutex_unlock(&n->lock);
	return w;
}

void rpc_notices_end(struct rpc_notices *n)
{
	struct watch *w;

	if (!n)
		return;
	while ((w = take_watch(n)))
		watch_free(n, w);
	rpc_leases_end(n);
	sync_mutex_lock(&n->lock);
	__atomic_sub_fetch(&n->peer->queued_bytes, n->bytes, __ATOMIC_RELAXED);
	n->peer = NULL;
	sync_mutex_unlock(&n->lock);
	unref(n);
}
