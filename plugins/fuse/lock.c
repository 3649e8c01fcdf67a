/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Locks: of byte ranges (fcntl) and of whole files (flock), kept by the server for all clients. A lock that has to wait
 * is asked for again and again by one thread, at growing intervals; the threads that serve the kernel never wait.
 *
 * Whole-file locks are locks of one byte beyond every file: the two kinds do not see each other, as on local files.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>

#include "plugins/fuse/mount.h"

#define RETRY_MS_MIN 2u
#define RETRY_MS_MAX 200u
#define NS_PER_MS UINT64_C(1000000)
#define OFFSET_MAX (UINT64_C(1) << 63) /* the end of what can be in a file */

struct lock_wait {
	struct lock_wait *next;
	fuse_req_t req;
	struct node *node;
	struct caller who;
	struct wfs_lock lock;
	uint64_t retry_ns;
	unsigned interval_ms;
};

static int take(struct mount *m, struct node *n, const struct wfs_cred *cred, const struct wfs_lock *lock)
{
	int err = wfs_lock(m->client, cred, &n->fh, lock);

	if (!err && lock->type != WFS_LOCK_NONE && lock->offset < OFFSET_MAX)
		atomic_store(&n->locked, true);
	return err;
}

/* What waits may have its turn. */
static void hurry(struct mount *m)
{
	struct lock_queue *q = &m->locks;

	pthread_mutex_lock(&q->lock);
	if (q->waiting) {
		q->hurry = true;
		pthread_cond_signal(&q->changed);
	}
	pthread_mutex_unlock(&q->lock);
}

static void interrupted(fuse_req_t req, void *data)
{
	struct lock_queue *q = data;

	(void)req;
	pthread_mutex_lock(&q->lock);
	q->hurry = true;
	pthread_cond_signal(&q->changed);
	pthread_mutex_unlock(&q->lock);
}

static void wait_for(struct mount *m, struct lock_wait *w)
{
	struct lock_queue *q = &m->locks;

	w->interval_ms = RETRY_MS_MIN;
	w->retry_ns = node_now_ns() + RETRY_MS_MIN * NS_PER_MS;
	fuse_req_interrupt_func(w->req, interrupted, q);
	pthread_mutex_lock(&q->lock);
	w->next = q->first;
	q->first = w;
	q->waiting++;
	pthread_cond_signal(&q->changed);
	pthread_mutex_unlock(&q->lock);
}

/* True: it waits no longer. Not under the queue's lock. */
static bool try_again(struct mount *m, struct lock_wait *w)
{
	int err = -EINTR;

	if (!fuse_req_interrupted(w->req))
		err = take(m, w->node, &w->who.cred, &w->lock);
	if (err == -EAGAIN) {
		w->interval_ms = w->interval_ms * 2 < RETRY_MS_MAX ? w->interval_ms * 2 : RETRY_MS_MAX;
		w->retry_ns = node_now_ns() + w->interval_ms * NS_PER_MS;
		return false;
	}
	reply_err(w->req, err);
	free(w);
	return true;
}

/* Wait until something is due, with the queue's lock held. Returns what is, taken off the queue. */
static struct lock_wait *next_due(struct lock_queue *q)
{
	uint64_t now = node_now_ns(), first = UINT64_MAX;
	struct lock_wait *due = NULL, **p = &q->first;
	struct timespec until;

	while (*p) {
		struct lock_wait *w = *p;

		if (q->hurry || w->retry_ns <= now) {
			*p = w->next;
			w->next = due;
			due = w;
		} else {
			first = w->retry_ns < first ? w->retry_ns : first;
			p = &w->next;
		}
	}
	q->hurry = false;
	if (due || q->stop)
		return due;
	if (first == UINT64_MAX) {
		pthread_cond_wait(&q->changed, &q->lock);
	} else {
		until = (struct timespec){ .tv_sec = (time_t)(first / 1000000000u),
			                   .tv_nsec = (long)(first % 1000000000u) };
		pthread_cond_timedwait(&q->changed, &q->lock, &until);
	}
	return NULL;
}

static void *waiter(void *arg)
{
	struct mount *m = arg;
	struct lock_queue *q = &m->locks;

	pthread_mutex_lock(&q->lock);
	while (!q->stop) {
		struct lock_wait *due = next_due(q), *again = NULL;
		unsigned done = 0;

		pthread_mutex_unlock(&q->lock);
		while (due) {
			struct lock_wait *w = due;

			due = w->next;
			if (try_again(m, w)) {
				done++;
			} else {
				w->next = again;
				again = w;
			}
		}
		pthread_mutex_lock(&q->lock);
		q->waiting -= done;
		while (again) {
			struct lock_wait *w = again;

			again = w->next;
			w->next = q->first;
			q->first = w;
		}
	}
	pthread_mutex_unlock(&q->lock);
	return NULL;
}

int lock_queue_start(struct mount *m)
{
	struct lock_queue *q = &m->locks;
	pthread_condattr_t attr;
	sigset_t all, before;
	int err;

	pthread_mutex_init(&q->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&q->changed, &attr);
	pthread_condattr_destroy(&attr);
	/* Signals are for the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&q->thread, NULL, waiter, m);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	q->started = !err;
	return -err;
}

void lock_queue_stop(struct mount *m)
{
	struct lock_queue *q = &m->locks;

	if (!q->started)
		return;
	pthread_mutex_lock(&q->lock);
	q->stop = true;
	pthread_cond_signal(&q->changed);
	pthread_mutex_unlock(&q->lock);
	pthread_join(q->thread, NULL);
	while (q->first) {
		struct lock_wait *w = q->first;

		q->first = w->next;
		reply_err(w->req, -EINTR);
		free(w);
	}
	pthread_cond_destroy(&q->changed);
	pthread_mutex_destroy(&q->lock);
}

void lock_drop_ranges(struct mount *m, struct node *n, uint64_t owner)
{
	struct wfs_lock all = { .owner = owner, .type = WFS_LOCK_NONE, .len_bytes = OFFSET_MAX };

	if (!atomic_load(&n->locked))
		return;
	(void)take(m, n, NULL, &all);
	hurry(m);
}

void lock_drop_flock(struct mount *m, struct node *n, uint64_t owner)
{
	struct wfs_lock all = { .owner = owner, .type = WFS_LOCK_NONE, .offset = OFFSET_MAX, .len_bytes = 1 };

	(void)take(m, n, NULL, &all);
	hurry(m);
}

/* For fcntl and flock: take it, give it back, or wait for it. */
static void lock_for(fuse_req_t req, struct node *n, const struct wfs_lock *lock, bool may_wait)
{
	struct mount *m = mount_of(req);
	struct lock_wait *w = malloc(sizeof(*w));
	int err;

	if (!w) {
		reply_err(req, -ENOMEM);
		return;
	}
	*w = (struct lock_wait){ .req = req, .node = n, .lock = *lock };
	caller_get(req, &w->who);
	err = take(m, n, &w->who.cred, lock);
	if (err == -EAGAIN && may_wait) {
		wait_for(m, w);
		return;
	}
	free(w);
	/* Going from exclusive to shared lets others in, too. */
	if (!err && lock->type != WFS_LOCK_EXCLUSIVE)
		hurry(m);
	reply_err(req, err);
}

static int range_of(const struct flock *from, uint64_t owner, struct wfs_lock *ret)
{
	*ret = (struct wfs_lock){ .owner = owner,
		                  .offset = (uint64_t)from->l_start,
		                  .len_bytes = (uint64_t)from->l_len };
	if (from->l_start < 0 || from->l_len < 0)
		return -EINVAL;
	if (!from->l_len || ret->len_bytes > OFFSET_MAX - ret->offset)
		ret->len_bytes = OFFSET_MAX - ret->offset;
	ret->type = from->l_type == F_WRLCK   ? WFS_LOCK_EXCLUSIVE
	            : from->l_type == F_RDLCK ? WFS_LOCK_SHARED
	                                      : WFS_LOCK_NONE;
	return 0;
}

static void op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *flock, int sleep)
{
	struct wfs_lock lock;
	int err = range_of(flock, fi->lock_owner, &lock);

	if (err)
		reply_err(req, err);
	else
		lock_for(req, node_of(mount_of(req), ino), &lock, sleep);
}

static void op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *flock)
{
	struct mount *m = mount_of(req);
	struct wfs_lock lock, other;
	struct caller who;
	int err = range_of(flock, fi->lock_owner, &lock);

	caller_get(req, &who);
	if (!err)
		err = wfs_lock_test(m->client, &who.cred, &node_of(m, ino)->fh, &lock, &other);
	if (err) {
		reply_err(req, err);
		return;
	}
	/* Who it is, is known to the server only. */
	*flock = (struct flock){ .l_type = F_UNLCK, .l_whence = SEEK_SET };
	if (other.type != WFS_LOCK_NONE) {
		flock->l_type = other.type == WFS_LOCK_SHARED ? F_RDLCK : F_WRLCK;
		flock->l_start = (off_t)other.offset;
		flock->l_len = other.len_bytes >= OFFSET_MAX - other.offset ? 0 : (off_t)other.len_bytes;
	}
	(void)fuse_reply_lock(req, flock);
}

static void op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op)
{
	struct wfs_lock lock = { .owner = fi->lock_owner, .offset = OFFSET_MAX, .len_bytes = 1 };

	switch (op & ~LOCK_NB) {
	case LOCK_SH:
		lock.type = WFS_LOCK_SHARED;
		break;
	case LOCK_EX:
		lock.type = WFS_LOCK_EXCLUSIVE;
		break;
	default:
		lock.type = WFS_LOCK_NONE;
		break;
	}
	lock_for(req, node_of(mount_of(req), ino), &lock, !(op & LOCK_NB));
}

void lock_ops(struct fuse_lowlevel_ops *ops)
{
	ops->getlk = op_getlk;
	ops->setlk = op_setlk;
	ops->flock = op_flock;
}
