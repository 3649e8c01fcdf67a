/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Advisory locks on byte ranges, as fcntl() of POSIX.1-2017 knows them, with a queue for those who wait. Everything is
 * under one lock: it is held for as long as a walk along one file's locks takes.
 *
 * Fairness: a request waits behind an earlier one that it conflicts with, unless its owner has a lock on the file
 * already (the earlier one may be waiting for that). Deadlock: before an owner begins to wait, it is followed whom it
 * would wait for, whom those wait for, and so on, over all files.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/random.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/vfs/lock_priv.h"

struct vfs_locks *locks_new(void)
{
	struct vfs_locks *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	sync_mutex_init(&l->lock, SYNC_RANK_LEAF, "vfs locks");
	/* Unknown to clients, who could choose ranges that make a list of a tree, and recursion deep. */
	if (getrandom(&l->random, sizeof(l->random), GRND_NONBLOCK) != sizeof(l->random) || !l->random)
		l->random = (uint32_t)sync_now_ns() | 1;
	l->held_max = LOCKS_MAX;
	l->wait_max = WAITS_MAX;
	for (unsigned i = 0; i < BUCKETS; i++) {
		CDS_INIT_LIST_HEAD(&l->files[i]);
		CDS_INIT_LIST_HEAD(&l->holdings[i]);
		CDS_INIT_LIST_HEAD(&l->owners[i]);
		CDS_INIT_LIST_HEAD(&l->waits[i]);
	}
	return l;
}

static void free_file(struct lock_file *f)
{
	vfs_node_unref(f->node);
	free(f);
}

void locks_free(struct vfs_locks *l)
{
	struct lock_file *f, *next_file;
	struct holding *h, *next;

	if (!l)
		return;
	for (unsigned i = 0; i < BUCKETS; i++)
		cds_list_for_each_entry_safe (h, next, &l->holdings[i], link)
			range_drop(l, h);
	for (unsigned i = 0; i < BUCKETS; i++)
		cds_list_for_each_entry_safe (f, next_file, &l->files[i], link)
			free_file(f);
	sync_mutex_done(&l->lock);
	free(l);
}

/* ---- files ---- */

static struct cds_list_head *bucket_of(struct vfs_locks *l, const struct vfs_node *n)
{
	return &l->files[lock_bucket((uintptr_t)n >> 4)];
}

static struct lock_file *find_file(struct vfs_locks *l, const struct vfs_node *n)
{
	struct lock_file *f;

	cds_list_for_each_entry (f, bucket_of(l, n), link)
		if (f->node == n)
			return f;
	return NULL;
}

static struct lock_file *make_file(struct vfs_locks *l, struct vfs_mount_point *m, struct vfs_node *n)
{
	struct lock_file *f = find_file(l, n);

	if (f)
		return f;
	f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	vfs_node_ref(n);
	f->node = n;
	f->mount = m;
	CDS_INIT_LIST_HEAD(&f->waits);
	cds_list_add(&f->link, bucket_of(l, n));
	return f;
}

/* To be freed by the caller, without the lock, when nothing is left of it; otherwise NULL. */
static struct lock_file *retire_file(struct lock_file *f)
{
	if (f->held || !cds_list_empty(&f->waits))
		return NULL;
	cds_list_del(&f->link);
	return f;
}

/* ---- waiting ---- */

/* Must @want wait, as one that came before @limit (NULL: the last) among those who wait? */
static bool blocked(struct vfs_locks *l, const struct lock_file *f, const struct range *want,
                    const struct lock_wait *limit)
{
	const struct lock_wait *w;

	if (range_conflict(f, want))
		return true;
	if (range_holding(l, f, want->owner))
		return false;
	cds_list_for_each_entry (w, &f->waits, link) {
		if (w == limit)
			break;
		if (conflict(&w->range, want))
			return true;
	}
	return false;
}

struct search {
	struct vfs_locks *locks;
	uint64_t owner; /* that is looked for */
};

/* What @want waits for is what blocked() looks at. */
static bool leads_to(struct search *s, const struct lock_file *f, const struct range *want,
                     const struct lock_wait *limit);

/* Does anything that @by waits for lead to the owner? */
static bool owner_leads_to(struct search *s, uint64_t by)
{
	struct lock_wait *w;

	if (by == s->owner)
		return true;
	cds_list_for_each_entry (w, &s->locks->waits[lock_bucket(by)], owner_link) {
		if (w->range.owner != by || w->seen)
			continue;
		w->seen = true;
		if (leads_to(s, w->file, &w->range, w))
			return true;
	}
	return false;
}

static bool holder_leads_to(void *ctx, const struct range *r)
{
	return owner_leads_to(ctx, r->owner);
}

/* Recursion is as deep as there are waits at most, since each is looked at once. */
static bool leads_to(struct search *s, const struct lock_file *f, const struct range *want,
                     const struct lock_wait *limit)
{
	const struct lock_wait *w;

	if (range_each_conflict(f, want, holder_leads_to, s))
		return true;
	if (range_holding(s->locks, f, want->owner))
		return false;
	cds_list_for_each_entry (w, &f->waits, link) {
		if (w == limit)
			break;
		if (conflict(&w->range, want) && owner_leads_to(s, w->range.owner))
			return true;
	}
	return false;
}

static bool would_deadlock(struct vfs_locks *l, const struct lock_file *f, const struct range *want)
{
	struct search s = { l, want->owner };
	struct lock_wait *w;

	for (unsigned i = 0; i < BUCKETS && l->wait_count; i++)
		cds_list_for_each_entry (w, &l->waits[i], owner_link)
			w->seen = false;
	return leads_to(&s, f, want, NULL);
}

static void end_wait(struct vfs_locks *l, struct lock_wait *w, int result, struct cds_list_head *told)
{
	cds_list_del(&w->link);
	cds_list_del(&w->owner_link);
	l->wait_count--;
	if (w->share)
		w->share->waiting--;
	w->result = result;
	cds_list_add_tail(&w->link, told);
}

/* Something was given up: who can have what it waits for? */
static void grant(struct vfs_locks *l, struct lock_file *f, struct cds_list_head *told)
{
	struct lock_wait *w, *next;

	cds_list_for_each_entry_safe (w, next, &f->waits, link) {
		if (blocked(l, f, &w->range, w))
			continue;
		range_take(l, f, w);
		end_wait(l, w, 0, told);
	}
}

static void free_wait(struct lock_wait *w)
{
	free(w->spare[0]);
	free(w->spare[1]);
	free(w->spare_holding);
	free(w);
}

static void tell(struct cds_list_head *told)
{
	struct lock_wait *w, *next;

	cds_list_for_each_entry_safe (w, next, told, link) {
		w->granted(w->ctx, w->result);
		free_wait(w);
	}
}

/* ---- calls ---- */

static int make_range(const struct vfs_lock *lock, struct range *ret)
{
	if ((lock->type != VFS_LOCK_SHARED && lock->type != VFS_LOCK_EXCLUSIVE) || !lock->len_bytes)
		return err_set(-EINVAL, "a lock of type %d on %" PRIu64 " bytes", (int)lock->type, lock->len_bytes);
	*ret = (struct range){ .owner = lock->owner, .start = lock->offset, .type = lock->type };
	if (lock->len_bytes == UINT64_MAX)
		ret->end = UINT64_MAX;
	else if (!checked_add(lock->offset, lock->len_bytes, &ret->end))
		return err_set(-EOVERFLOW, "the range of a lock overflows");
	return 0;
}

static struct lock_wait *new_wait(const struct range *want, struct vfs_lock_share *share, vfs_lock_granted_fn *granted,
                                  void *ctx)
{
	struct lock_wait *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	*w = (struct lock_wait){ .range = *want, .share = share, .granted = granted, .ctx = ctx };
	for (unsigned i = 0; i < 2; i++)
		w->spare[i] = malloc(sizeof(struct range));
	w->spare_holding = malloc(sizeof(struct holding));
	if (w->spare[0] && w->spare[1] && w->spare_holding)
		return w;
	free_wait(w);
	return NULL;
}

/* Room for one more, and for a range that is cut in two. */
static int check_held(const struct vfs_locks *l, const struct vfs_lock_share *share, unsigned more)
{
	if (l->held_count + 2 > l->held_max + more)
		return err_set(-ENOLCK, "%u locks are held", l->held_count);
	if (share && share->held + 2 > (l->held_max + more) / LOCK_SHARE_PART)
		return err_set(-ENOLCK, "a client has %u locks", share->held);
	return 0;
}

static int check_waiting(const struct vfs_locks *l, const struct vfs_lock_share *share)
{
	if (l->wait_count == l->wait_max)
		return err_set(-ENOLCK, "%u locks are waited for", l->wait_count);
	if (share && share->waiting == l->wait_max / LOCK_SHARE_PART)
		return err_set(-ENOLCK, "a client waits for %u locks", share->waiting);
	return 0;
}

static int lock_or_wait(struct vfs_locks *l, struct lock_file *f, struct lock_wait *w)
{
	int err = check_held(l, w->share, 0);

	if (err)
		return err;
	if (!blocked(l, f, &w->range, NULL)) {
		range_take(l, f, w);
		return 0;
	}
	if (!w->granted)
		return -EAGAIN;
	if (would_deadlock(l, f, &w->range))
		return err_set(-EDEADLK, "owner %" PRIu64 " would wait for itself", w->range.owner);
	err = check_waiting(l, w->share);
	if (err)
		return err;
	if (w->share)
		w->share->waiting++;
	w->file = f;
	cds_list_add_tail(&w->link, &f->waits);
	cds_list_add_tail(&w->owner_link, &l->waits[lock_bucket(w->range.owner)]);
	l->wait_count++;
	w->number = ++l->last_wait;
	return -EINPROGRESS;
}

static int lock_range(struct vfs_handle *h, const struct vfs_lock *lock, vfs_lock_granted_fn *granted, void *ctx,
                      uint64_t *ret_wait)
{
	struct vfs_locks *l = h->vfs->locks;
	struct lock_file *f, *empty = NULL;
	CDS_LIST_HEAD(told);
	struct lock_wait *w;
	struct range want;
	int ret = make_range(lock, &want);

	if (!ret && h->node->ops->outside)
		ret = err_set(-EOPNOTSUPP, "there are no locks in a transaction");
	if (ret)
		return ret;
	w = new_wait(&want, lock->share, granted, ctx);
	if (!w)
		return err_set(-ENOMEM, "no memory for a lock");
	sync_mutex_lock(&l->lock);
	/* An unmount sets the mark and drops the locks then. */
	if (__atomic_load_n(&h->mount->gone, __ATOMIC_SEQ_CST)) {
		f = NULL;
		ret = err_set(-ESTALE, "%s is not mounted any more", h->mount->path);
	} else {
		f = make_file(l, h->mount, h->node);
		ret = f ? lock_or_wait(l, f, w) : err_set(-ENOMEM, "no memory for a lock");
	}
	if (ret == -EINPROGRESS)
		*ret_wait = w->number;
	/* An exclusive lock may have become a shared one. */
	if (!ret)
		grant(l, f, &told);
	if (f)
		empty = retire_file(f);
	sync_mutex_unlock(&l->lock);
	if (ret != -EINPROGRESS)
		free_wait(w);
	tell(&told);
	if (empty)
		free_file(empty);
	return ret;
}

int vfs_lock(struct vfs_handle *h, const struct vfs_lock *lock, vfs_lock_granted_fn *granted, void *ctx,
             uint64_t *ret_wait)
{
	struct op_timer t = op_begin(h->vfs->stats, OP_LOCK);
	int ret = lock_range(h, lock, granted, ctx, ret_wait);

	(void)op_end(&t, ret == -EINPROGRESS ? 0 : ret, 0, 0); /* to wait is no failure */
	return ret;
}

static struct lock_wait *find_wait(struct vfs_locks *l, uint64_t number)
{
	struct lock_wait *w;

	for (unsigned i = 0; i < BUCKETS && l->wait_count; i++)
		cds_list_for_each_entry (w, &l->waits[i], owner_link)
			if (w->number == number)
				return w;
	return NULL;
}

void vfs_lock_cancel(struct vfs *v, uint64_t wait)
{
	struct vfs_locks *l = v->locks;
	struct lock_file *empty = NULL;
	CDS_LIST_HEAD(told);
	struct lock_wait *w;

	sync_mutex_lock(&l->lock);
	w = find_wait(l, wait);
	if (w) {
		end_wait(l, w, -ECANCELED, &told);
		grant(l, w->file, &told); /* those behind it */
		empty = retire_file(w->file);
	}
	sync_mutex_unlock(&l->lock);
	tell(&told);
	if (empty)
		free_file(empty);
}

int vfs_unlock(struct vfs_handle *h, uint64_t owner, uint64_t offset, uint64_t len)
{
	const struct vfs_lock lock = { .owner = owner, .type = VFS_LOCK_SHARED, .offset = offset, .len_bytes = len };
	struct vfs_locks *l = h->vfs->locks;
	struct lock_file *f, *empty = NULL;
	const struct holding *held;
	CDS_LIST_HEAD(told);
	struct range *spare, piece;
	int ret = make_range(&lock, &piece);

	if (ret)
		return ret;
	spare = malloc(sizeof(*spare));
	if (!spare)
		return err_set(-ENOMEM, "no memory to unlock a part of a range");
	sync_mutex_lock(&l->lock);
	f = find_file(l, h->node);
	held = f ? range_holding(l, f, owner) : NULL;
	if (held && range_splits(held, piece.start, piece.end))
		ret = check_held(l, held->share, LOCKS_RESERVE);
	if (held && !ret) {
		range_cut(l, f, owner, piece.start, piece.end, &spare);
		grant(l, f, &told);
		empty = retire_file(f);
	}
	sync_mutex_unlock(&l->lock);
	free(spare);
	tell(&told);
	if (empty)
		free_file(empty);
	return ret;
}

int vfs_lock_test(struct vfs_handle *h, const struct vfs_lock *lock, struct vfs_lock *ret_lock)
{
	struct vfs_locks *l = h->vfs->locks;
	const struct lock_file *f;
	const struct range *r;
	struct range want;
	int ret = make_range(lock, &want);

	if (ret)
		return ret;
	ret = -ENOENT;
	sync_mutex_lock(&l->lock);
	f = find_file(l, h->node);
	r = f ? range_conflict(f, &want) : NULL;
	if (r) {
		*ret_lock = (struct vfs_lock){ .owner = r->owner,
			                       .type = r->type,
			                       .offset = r->start,
			                       .len_bytes = r->end == UINT64_MAX ? UINT64_MAX : r->end - r->start };
		ret = 0;
	}
	sync_mutex_unlock(&l->lock);
	return ret;
}

/* Who waits there may have their turn; an empty file goes to @empty, where it may be already. */
static void settle(struct vfs_locks *l, struct lock_file *f, struct cds_list_head *told, struct cds_list_head *empty)
{
	grant(l, f, told);
	if (retire_file(f))
		cds_list_add(&f->link, empty);
}

void vfs_unlock_owner(struct vfs *v, uint64_t owner)
{
	struct vfs_locks *l = v->locks;
	struct lock_file *f, *next_file;
	struct lock_wait *w, *next_wait;
	struct holding *h, *next;
	CDS_LIST_HEAD(told);
	CDS_LIST_HEAD(empty);

	sync_mutex_lock(&l->lock);
	cds_list_for_each_entry_safe (w, next_wait, &l->waits[lock_bucket(owner)], owner_link)
		if (w->range.owner == owner)
			end_wait(l, w, -ECANCELED, &told);
	cds_list_for_each_entry_safe (h, next, &l->owners[lock_bucket(owner)], owner_link) {
		f = h->file;
		if (h->owner != owner)
			continue;
		range_drop(l, h);
		settle(l, f, &told, &empty);
	}
	/* Those that were granted since are among them; that does no harm. */
	cds_list_for_each_entry (w, &told, link)
		settle(l, w->file, &told, &empty);
	sync_mutex_unlock(&l->lock);
	tell(&told);
	cds_list_for_each_entry_safe (f, next_file, &empty, link)
		free_file(f);
}

void locks_drop_mount(struct vfs_locks *l, const struct vfs_mount_point *m)
{
	struct lock_file *f, *next;
	struct lock_wait *w, *next_wait;
	struct holding *h, *next_holding;
	CDS_LIST_HEAD(told);
	CDS_LIST_HEAD(empty);

	sync_mutex_lock(&l->lock);
	for (unsigned i = 0; i < BUCKETS; i++)
		cds_list_for_each_entry_safe (h, next_holding, &l->holdings[i], link)
			if (h->file->mount == m)
				range_drop(l, h);
	for (unsigned i = 0; i < BUCKETS; i++) {
		cds_list_for_each_entry_safe (f, next, &l->files[i], link) {
			if (f->mount != m)
				continue;
			cds_list_for_each_entry_safe (w, next_wait, &f->waits, link)
				end_wait(l, w, -ESTALE, &told);
			cds_list_del(&f->link);
			cds_list_add(&f->link, &empty);
		}
	}
	sync_mutex_unlock(&l->lock);
	tell(&told);
	cds_list_for_each_entry_safe (f, next, &empty, link)
		free_file(f);
}
