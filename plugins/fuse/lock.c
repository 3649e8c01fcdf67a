/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Locks: of byte ranges (fcntl) and of whole files (flock), kept by the server for all clients. For a lock that has to
 * wait the server keeps a place; it tells when the lock is granted (events.c), so that no thread waits. What has to be
 * asked of the server for those that wait (that one is interrupted; all of them again, when it was restarted) a thread
 * of its own does. A server that was restarted first waits for those who had locks: so does whoever wants one then, and
 * it is that thread which asks again, because those that serve requests may be needed for what is to be done before.
 *
 * Whole-file locks are locks of one byte beyond every file: the two kinds do not see each other, as on local files.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>

#include "plugins/fuse/mount.h"
#include "plugins/fuse/thread.h"
#include "protocol/client/wfs_watch.h"

#define OFFSET_MAX (UINT64_C(1) << 63) /* the end of what can be in a file */

/* A server that waits for others is asked again after this. */
#define RESTART_PAUSE_NS UINT64_C(50000000)

struct lock_wait {
	struct lock_wait *next;
	fuse_req_t req; /* NULL: nobody waits any more, but the server may not know that */
	struct node *node;
	struct wfs_file *file;
	struct wfs_fh fh; /* of the node, which may be gone when nobody waits */
	struct wfs_lock lock;
	bool may_wait; /* until others give it back */
	uint64_t id;
	uint64_t retry_ns; /* not 0: the server does not have it, it is to be asked again at that time */
	bool asking; /* a thread is asking the server for it */
	bool ended; /* meanwhile the server told how it ended */
	int result;
	bool interrupted, cancelled;
	bool again; /* the server has forgotten it */
	bool told; /* an event said how it ended */
	bool unwanted; /* it was granted when nobody waited any more: to be given back */
};

static void granted(struct node *n, const struct wfs_lock *lock)
{
	if (lock->type != WFS_LOCK_NONE && lock->offset < OFFSET_MAX)
		atomic_store(&n->locked, true);
}

/* It is on no list any more. */
static void finish(struct lock_wait *w, int err)
{
	if (!err)
		granted(w->node, &w->lock);
	if (!err && w->told)
		wfs_file_lock_granted(w->file, &w->lock);
	/* From here on interrupted() is not called any more, and is not under way either. */
	fuse_req_interrupt_func(w->req, NULL, NULL);
	reply_err(w->req, err == -ECANCELED ? -EINTR : err);
	free(w);
}

static void take_out(struct lock_queue *q, struct lock_wait *w)
{
	struct lock_wait **at = &q->first;

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
}

/* Ask the server, with the queue's lock held, which is given up meanwhile. True: it is over, and off the list. */
static bool ask(struct lock_queue *q, struct lock_wait *w, int *ret_err)
{
	int err;

	w->asking = true;
	pthread_mutex_unlock(&q->thread.lock);
	err = w->may_wait ? wfs_file_lock_wait(w->file, &w->lock, w->id) : wfs_file_lock(w->file, &w->lock);
	pthread_mutex_lock(&q->thread.lock);
	w->asking = false;
	w->retry_ns = !w->ended && err == -ERESTART ? node_now_ns() + RESTART_PAUSE_NS : 0;
	if (w->ended)
		err = w->result;
	else if (w->retry_ns || (w->may_wait && (err == -EINPROGRESS || err == -EEXIST)))
		return false;
	take_out(q, w);
	*ret_err = err;
	return true;
}

static void interrupted(fuse_req_t req, void *data)
{
	struct lock_queue *q = &mount_of(req)->locks;
	struct lock_wait *w = data;

	pthread_mutex_lock(&q->thread.lock);
	w->interrupted = true;
	pthread_cond_signal(&q->thread.changed);
	pthread_mutex_unlock(&q->thread.lock);
}

static void lock_or_wait(struct mount *m, struct lock_wait *w)
{
	struct lock_queue *q = &m->locks;
	int err = 0;
	bool over;

	pthread_mutex_lock(&q->thread.lock);
	w->id = ++q->last_id;
	w->next = q->first;
	q->first = w;
	over = ask(q, w, &err);
	/* From here on the event, or the thread below, may end it. */
	if (!over)
		w->asking = true;
	pthread_mutex_unlock(&q->thread.lock);
	if (!over) {
		fuse_req_interrupt_func(w->req, interrupted, w);
		pthread_mutex_lock(&q->thread.lock);
		w->asking = false;
		over = w->ended;
		if (over) {
			err = w->result;
			take_out(q, w);
		}
		pthread_cond_signal(&q->thread.changed);
		pthread_mutex_unlock(&q->thread.lock);
	}
	if (over)
		finish(w, err);
}

void lock_ended(struct mount *m, uint64_t id, int err)
{
	struct lock_queue *q = &m->locks;
	struct lock_wait *w;

	pthread_mutex_lock(&q->thread.lock);
	w = q->first;
	while (w && w->id != id)
		w = w->next;
	if (w)
		w->told = true;
	if (w && w->asking) {
		w->ended = true;
		w->result = err;
		w = NULL;
	} else if (w && !w->req && !err) {
		w->unwanted = true;
		pthread_cond_signal(&q->thread.changed);
		w = NULL;
	} else if (w) {
		take_out(q, w);
	}
	pthread_mutex_unlock(&q->thread.lock);
	if (w && w->req)
		finish(w, err);
	else
		free(w);
}

void lock_ask_again(struct mount *m)
{
	struct lock_queue *q = &m->locks;

	pthread_mutex_lock(&q->thread.lock);
	for (struct lock_wait **at = &q->first, *w; (w = *at);) {
		w->again = true;
		if (w->req || w->asking) {
			at = &w->next;
		} else {
			*at = w->next;
			free(w);
		}
	}
	pthread_cond_signal(&q->thread.changed);
	pthread_mutex_unlock(&q->thread.lock);
}

void lock_gone(struct mount *m)
{
	struct lock_queue *q = &m->locks;

	pthread_mutex_lock(&q->thread.lock);
	q->gone = true;
	pthread_cond_signal(&q->thread.changed);
	pthread_mutex_unlock(&q->thread.lock);
}

/* *ret_until: when there will be some at the latest, if there is none now; 0: not before something changes. */
static struct lock_wait *find_work(struct lock_queue *q, uint64_t *ret_until)
{
	uint64_t now = node_now_ns();

	*ret_until = 0;
	for (struct lock_wait *w = q->first; w; w = w->next) {
		if (w->asking)
			continue;
		if (w->again || w->unwanted || (w->interrupted && !w->cancelled) || (w->retry_ns && w->retry_ns <= now))
			return w;
		if (w->retry_ns && (!*ret_until || w->retry_ns < *ret_until))
			*ret_until = w->retry_ns;
	}
	return NULL;
}

static void ask_again(struct lock_queue *q, struct lock_wait *w)
{
	bool over = w->interrupted && w->retry_ns;
	int err = -EINTR;

	w->again = w->cancelled = false;
	if (over)
		take_out(q, w);
	else
		over = ask(q, w, &err);
	pthread_mutex_unlock(&q->thread.lock);
	if (over)
		finish(w, err);
	pthread_mutex_lock(&q->thread.lock);
}

/* The server cannot be told for so long that requests fail now: who was interrupted, or @all, do not wait any longer.
 */
static void give_up(struct lock_queue *q, bool all)
{
	for (struct lock_wait *w = q->first, *next; w; w = next) {
		fuse_req_t req = w->req;

		next = w->next;
		if (w->asking || !(all || w->interrupted) || !req || w->retry_ns)
			continue;
		w->req = NULL;
		w->cancelled = true;
		w->asking = true; /* so it stays on the list */
		pthread_mutex_unlock(&q->thread.lock);
		fuse_req_interrupt_func(req, NULL, NULL);
		reply_err(req, w->interrupted ? -EINTR : -ETIMEDOUT);
		pthread_mutex_lock(&q->thread.lock);
		w->asking = false;
		w->unwanted = w->ended && !w->result;
		next = w->next;
		if (w->again || (w->ended && w->result)) {
			take_out(q, w);
			free(w);
		}
	}
}

static void cancel(struct mount *m, struct lock_queue *q, struct lock_wait *w)
{
	uint64_t id = w->id;
	int err;

	w->cancelled = true;
	pthread_mutex_unlock(&q->thread.lock);
	err = wfs_lock_cancel(m->client, id);
	pthread_mutex_lock(&q->thread.lock);
	if (err == -ETIMEDOUT)
		give_up(q, false);
}

static void give_back(struct mount *m, struct lock_queue *q, struct lock_wait *w)
{
	take_out(q, w);
	pthread_mutex_unlock(&q->thread.lock);
	w->lock.type = WFS_LOCK_NONE;
	(void)wfs_lock(m->client, NULL, &w->fh, &w->lock);
	free(w);
	pthread_mutex_lock(&q->thread.lock);
}

static void *waiter(void *arg)
{
	struct mount *m = arg;
	struct lock_queue *q = &m->locks;
	uint64_t until;

	pthread_mutex_lock(&q->thread.lock);
	while (!q->thread.stop) {
		struct lock_wait *w;

		if (q->gone)
			give_up(q, true);
		q->gone = false;
		w = find_work(q, &until);
		if (!w && until)
			thread_wait_until(&q->thread.changed, &q->thread.lock, until);
		else if (!w)
			pthread_cond_wait(&q->thread.changed, &q->thread.lock);
		else if (w->unwanted)
			give_back(m, q, w);
		else if (w->again || w->retry_ns)
			ask_again(q, w);
		else
			cancel(m, q, w);
	}
	pthread_mutex_unlock(&q->thread.lock);
	return NULL;
}

int lock_queue_start(struct mount *m)
{
	return thread_worker_start(&m->locks.thread, waiter, m);
}

void lock_queue_stop(struct mount *m)
{
	struct lock_queue *q = &m->locks;

	if (!thread_worker_tell(&q->thread))
		return;
	thread_worker_join(&q->thread);
	while (q->first) {
		struct lock_wait *w = q->first;

		q->first = w->next;
		if (w->req)
			finish(w, -EINTR);
		else
			free(w);
	}
	/* Those who interrupt what has just ended used it until then. */
	thread_worker_done(&q->thread);
}

void lock_drop_ranges(struct mount *m, struct node *n, uint64_t owner)
{
	struct wfs_lock all = { .owner = owner, .type = WFS_LOCK_NONE, .len_bytes = OFFSET_MAX };

	if (atomic_load(&n->locked))
		(void)wfs_lock(m->client, NULL, &n->fh, &all);
}

void lock_drop_flock(struct mount *m, struct node *n, uint64_t owner)
{
	struct wfs_lock all = { .owner = owner, .type = WFS_LOCK_NONE, .offset = OFFSET_MAX, .len_bytes = 1 };

	(void)wfs_lock(m->client, NULL, &n->fh, &all);
}

/* For fcntl and flock: take it, give it back, or wait for it. How the file was opened counts, not its mode by now. */
static void lock_for(fuse_req_t req, struct open_file *of, const struct wfs_lock *lock, bool may_wait)
{
	struct mount *m = mount_of(req);
	struct wfs_file *file;
	struct lock_wait *w;
	int err;

	if (lock->type == WFS_LOCK_NONE) {
		reply_err(req, wfs_lock(m->client, NULL, &of->node->fh, lock));
		return;
	}
	err = open_file_get(m, of, &file);
	w = err ? NULL : malloc(sizeof(*w));
	if (!w) {
		reply_err(req, err ? err : -ENOMEM);
		return;
	}
	*w = (struct lock_wait){
		.req = req, .node = of->node, .file = file, .fh = of->node->fh, .lock = *lock, .may_wait = may_wait
	};
	lock_or_wait(m, w);
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

	(void)ino;
	if (err)
		reply_err(req, err);
	else
		lock_for(req, file_of(fi), &lock, sleep);
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

	(void)ino;
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
	lock_for(req, file_of(fi), &lock, !(op & LOCK_NB));
}

void lock_ops(struct fuse_lowlevel_ops *ops)
{
	ops->getlk = op_getlk;
	ops->setlk = op_setlk;
	ops->flock = op_flock;
}
