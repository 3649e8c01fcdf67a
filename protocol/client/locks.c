/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libwfs: which locks the client has, so that it can have them again from a server that was restarted. Each lock knows
 * the start of the server that granted it.
 */
#include "protocol/client/locks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"

#define HELD_MAX 65536u /* what is beyond is lost with the server */

struct held_lock {
	struct held_lock *next;
	uint64_t boot; /* 0: not known */
	struct wfs_fh fh;
	struct wfs_lock lock;
	bool has_cred;
	struct wfs_cred cred;
	uint32_t groups[RPC_GIDS_MAX];
};

void wfs_locks_init(struct wfs_locks *l)
{
	sync_rwlock_init(&l->gate, SYNC_RANK_CONNECTION, "wfs locks, reclaiming");
	sync_mutex_init(&l->lock, SYNC_RANK_SERVER, "wfs locks");
}

SYNC_NO_ANALYSIS void wfs_locks_done(struct wfs_locks *l)
{
	while (l->first) {
		struct held_lock *h = l->first;

		l->first = h->next;
		free(h);
	}
	sync_mutex_done(&l->lock);
	sync_rwlock_done(&l->gate);
}

static uint64_t end_of(const struct wfs_lock *l)
{
	return l->len_bytes > UINT64_MAX - l->offset ? UINT64_MAX : l->offset + l->len_bytes;
}

static void set_range(struct wfs_lock *l, uint64_t from, uint64_t to)
{
	l->offset = from;
	l->len_bytes = to == UINT64_MAX ? UINT64_MAX : to - from;
}

static bool same_file(const struct wfs_fh *a, const struct wfs_fh *b)
{
	return a->len_bytes == b->len_bytes && memcmp(a->bytes, b->bytes, a->len_bytes) == 0;
}

static void add(struct wfs_locks *l, struct held_lock *h) SYNC_REQUIRES(l->lock)
{
	h->next = l->first;
	l->first = h;
	l->count++;
}

/* The owner has nothing in that range any more. @spare: for what is left behind it of one that reaches over it. */
static void cut(struct wfs_locks *l, const struct wfs_fh *fh, const struct wfs_lock *range, struct held_lock **spare)
        SYNC_REQUIRES(l->lock)
{
	uint64_t from = range->offset, to = end_of(range);

	for (struct held_lock **at = &l->first; *at;) {
		struct held_lock *h = *at;
		uint64_t start = h->lock.offset, end = end_of(&h->lock);

		if (h->lock.owner != range->owner || start >= to || end <= from || !same_file(&h->fh, fh)) {
			at = &h->next;
			continue;
		}
		if (start < from && end > to && *spare) {
			struct held_lock *rest = *spare;

			*spare = NULL;
			*rest = *h;
			rest->cred.groups = rest->groups;
			set_range(&rest->lock, to, end);
			add(l, rest);
			if (at == &l->first)
				at = &rest->next;
		}
		if (start < from) {
			set_range(&h->lock, start, from);
			at = &h->next;
		} else if (end > to) {
			set_range(&h->lock, to, end);
			at = &h->next;
		} else {
			*at = h->next;
			free(h);
			l->count--;
		}
	}
}

static void set_cred(struct held_lock *h, const struct wfs_cred *cred)
{
	h->has_cred = cred;
	if (!cred)
		return;
	h->cred = *cred;
	h->cred.group_count = cred->group_count < RPC_GIDS_MAX ? cred->group_count : RPC_GIDS_MAX;
	if (h->cred.group_count)
		memcpy(h->groups, cred->groups, h->cred.group_count * sizeof(h->groups[0]));
	h->cred.groups = h->groups;
}

void wfs_locks_ask(struct wfs *w, const struct wfs_lock *lock)
{
	if (lock->type == WFS_LOCK_NONE)
		return;
	sync_mutex_lock(&w->locks.lock);
	w->locks.asked = true;
	sync_mutex_unlock(&w->locks.lock);
}

void wfs_locks_note(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, const struct wfs_lock *lock,
                    uint64_t boot)
{
	struct held_lock *h = calloc(1, sizeof(*h)), *spare = calloc(1, sizeof(*spare));
	struct wfs_locks *l = &w->locks;

	sync_mutex_lock(&l->lock);
	cut(l, fh, lock, &spare);
	if (h && lock->type != WFS_LOCK_NONE && l->count < HELD_MAX) {
		h->boot = boot;
		h->fh = *fh;
		h->lock = *lock;
		set_cred(h, cred);
		add(l, h);
		h = NULL;
	}
	sync_mutex_unlock(&l->lock);
	free(h);
	free(spare);
}

static int run(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, const struct wfs_lock *lock,
               bool reclaim, uint64_t *ret_boot)
{
	struct batch_outcome outcome;
	struct wfs_batch b;
	bool durable;
	int err;

	wfs_batch_init(&b, w);
	(void)wfs_batch_put(&b, fh);
	(void)(reclaim ? wfs_batch_reclaim(&b, lock) : wfs_batch_lock(&b, lock));
	err = wfs_batch_run_any(&b, cred, NULL, &outcome);
	wfs_batch_done(&b);
	if (!err && wfs_conn_boot(outcome.conn, outcome.generation, 0, ret_boot, &durable))
		*ret_boot = 0;
	return err;
}

int wfs_lock(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, const struct wfs_lock *lock)
{
	uint64_t boot = 0;
	int err;

	sync_rwlock_rdlock(&w->locks.gate);
	wfs_locks_ask(w, lock);
	err = run(w, cred, fh, lock, false, &boot);
	if (!err)
		wfs_locks_note(w, cred, fh, lock, boot);
	sync_rwlock_rdunlock(&w->locks.gate);
	return err;
}

/* ---- a server that was restarted ---- */

/* Who is there now? */
static int current_boot(struct wfs *w, uint64_t *ret)
{
	struct wfs_conn *c = wfs_pick_conn(w);
	struct wfs_call call;
	uint64_t generation;
	unsigned attempts;
	bool durable;
	int err;

	wfs_call_init(&call, WFSP_NULL);
	err = wfs_call_retry(c, &call, &generation, &attempts);
	wfs_call_done(&call);
	return err ? err : wfs_conn_boot(c, generation, 0, ret, &durable);
}

/* 0: it is there again; 1: it is, but somebody may have had it in between, or has it. */
static int reclaim_one(struct wfs *w, struct held_lock *h)
{
	const struct wfs_cred *cred = h->has_cred ? &h->cred : NULL;
	int err = run(w, cred, &h->fh, &h->lock, true, &h->boot), lost = 0;

	if (err == -ESTALE) {
		/* It is too late. From now on it is one as before, unless somebody else has it. */
		lost = h->boot != 0;
		err = run(w, cred, &h->fh, &h->lock, false, &h->boot);
	}
	if (err == -EAGAIN || err == -ESTALE || err == -EACCES || err == -EPERM) {
		h->lock.type = WFS_LOCK_NONE;
		return 1;
	}
	return err ? err : lost;
}

static void drop_lost(struct wfs_locks *l)
{
	sync_mutex_lock(&l->lock);
	for (struct held_lock **at = &l->first; *at;) {
		struct held_lock *h = *at;

		if (h->lock.type != WFS_LOCK_NONE) {
			at = &h->next;
			continue;
		}
		*at = h->next;
		free(h);
		l->count--;
	}
	sync_mutex_unlock(&l->lock);
}

static int say_reclaimed(struct wfs *w)
{
	struct wfs_batch b;
	int err;

	wfs_batch_init(&b, w);
	(void)wfs_batch_reclaimed(&b);
	err = wfs_batch_run(&b, NULL, NULL);
	wfs_batch_done(&b);
	return err;
}

/* Nobody changes the list meanwhile: that needs the gate. */
static int reclaim_all(struct wfs *w, uint64_t boot, unsigned *ret_lost) SYNC_NO_ANALYSIS;
static int reclaim_all(struct wfs *w, uint64_t boot, unsigned *ret_lost)
{
	for (struct held_lock *h = w->locks.first; h; h = h->next) {
		int rc = h->boot == boot ? 0 : reclaim_one(w, h);

		if (rc < 0)
			return rc;
		*ret_lost += (unsigned)rc;
	}
	drop_lost(&w->locks);
	return say_reclaimed(w);
}

int wfs_locks_keep(struct wfs *w, unsigned *ret_lost)
{
	uint64_t boot, known;
	bool asked;
	int err;

	*ret_lost = 0;
	sync_mutex_lock(&w->locks.lock);
	asked = w->locks.asked;
	known = w->locks.boot;
	sync_mutex_unlock(&w->locks.lock);
	/* Who has none any more, or was refused, or was not answered, says so, too: the server waits for all who ever
	 * asked. */
	if (!asked)
		return 0;
	err = current_boot(w, &boot);
	if (err || known == boot)
		return err;
	sync_rwlock_wrlock(&w->locks.gate);
	err = reclaim_all(w, boot, ret_lost);
	if (!err) {
		sync_mutex_lock(&w->locks.lock);
		w->locks.boot = boot;
		sync_mutex_unlock(&w->locks.lock);
	}
	sync_rwlock_wrunlock(&w->locks.gate);
	return err;
}
