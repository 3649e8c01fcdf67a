/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the server tells: changes that others make, and locks that were waited for. One thread waits for it. As long as
 * it hears of all changes, the kernel is allowed to believe what it was told for long, and is told when something is
 * not true any more; otherwise it asks again after a short time, as if nobody told.
 *
 * An answer may have been on its way when the change was told. Therefore changes are counted before the kernel hears of
 * them, each request notes the count before it asks the server, and its answer is to be believed for long only if the
 * count is the same when it is given to the kernel; the two do not overlap (events->lock).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/fuse/small.h"
#include "plugins/fuse/thread.h"
#include "protocol/client/wfs_watch.h"

#define WATCH_ID 1u
#define WAIT_MS 20000u
#define PAUSE_MS 100u
#define AGAIN_MS 100u
#define NS_PER_S 1e9
#define NS_PER_MS UINT64_C(1000000)
/* When watching was refused: asked again after this, then after twice as long each time, up to the second. */
#define WATCH_PAUSE_FIRST_NS (1000 * NS_PER_MS)
#define WATCH_PAUSE_MAX_NS (60000 * NS_PER_MS)

void tell_begin(struct mount *m)
{
	pthread_rwlock_rdlock(&m->events.lock);
}

void untell_begin(struct mount *m)
{
	pthread_rwlock_wrlock(&m->events.lock);
}

void tell_end(struct mount *m)
{
	pthread_rwlock_unlock(&m->events.lock);
}

bool events_fresh(struct mount *m, struct seen seen)
{
	return m->events.coherent && atomic_load(&m->events.changes) == seen.told;
}

double events_believed_s(struct mount *m, struct seen seen, double otherwise_s)
{
	double long_s = m->options->coherent_timeout_s;

	return events_fresh(m, seen) && long_s > otherwise_s ? long_s : otherwise_s;
}

uint64_t events_believed_ns(struct mount *m, struct seen seen)
{
	return (uint64_t)(events_believed_s(m, seen, m->options->attr_timeout_s) * NS_PER_S);
}

/*
 * From now on answers that were asked for before are not believed for long, and what is known of the contents of these
 * nodes not at all.
 */
static void count_change(struct mount *m, struct node *const *nodes, size_t count)
{
	untell_begin(m);
	atomic_fetch_add(&m->events.changes, 1);
	for (size_t i = 0; i < count; i++)
		(void)node_touch(m, nodes[i]);
	tell_end(m);
}

static void set_coherent(struct mount *m, bool coherent)
{
	pthread_rwlock_wrlock(&m->events.lock);
	m->events.coherent = coherent;
	pthread_rwlock_unlock(&m->events.lock);
}

static fuse_ino_t ino_of(struct mount *m, struct node *n)
{
	return n == m->root ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)n;
}

static void forget(struct mount *m, struct node *n)
{
	if (n != m->root)
		node_forget(&m->nodes, n, 1);
}

static int tell_changed(struct mount *m, struct node *n, bool data)
{
	return fuse_lowlevel_notify_inval_inode(m->session, ino_of(m, n), data ? 0 : -1, 0);
}

static void tell_missed(struct mount *m)
{
	struct mount_events *v = &m->events;

	for (unsigned i = 0; i < v->missed_count; i++) {
		(void)tell_changed(m, v->missed[i].node, v->missed[i].data);
		forget(m, v->missed[i].node);
	}
	v->missed_count = 0;
}

/*
 * The kernel was told of the node and does not have it: it has just forgotten it, or whoever asked has not yet taken
 * the answer, and will believe it then. So it is told once more, a little later.
 */
static void note_missed(struct mount *m, struct node *n, bool data)
{
	struct mount_events *v = &m->events;

	if (v->missed_count == MISSED_MAX)
		tell_missed(m);
	v->missed[v->missed_count++] = (struct missed){ node_find(&m->nodes, n->fsid, n->file_id), data };
	v->missed_at_ns = node_now_ns() + AGAIN_MS * NS_PER_MS;
}

/* What is known of the counted node is old; with @data, what the kernel has of its contents, too. */
static void object_changed(struct mount *m, struct node *n, bool data)
{
	names_changed(m, n, NULL, NULL);
	atomic_store(&n->no_acl_until_ns, 0);
	atomic_store(&n->no_default_acl_until_ns, 0);
	atomic_store(&n->no_capability_until_ns, 0);
	atomic_store(&n->small_bytes, 0);
	if (tell_changed(m, n, data) == -ENOENT)
		note_missed(m, n, data);
}

static void change(struct mount *m, const struct wfs_event *e)
{
	struct node *n = node_find(&m->nodes, e->fsid, e->dir_id ? e->dir_id : e->file_id);

	count_change(m, &n, n != NULL);
	if (!n)
		return;
	if (!e->dir_id) {
		object_changed(m, n, e->what & WFS_CHANGE_DATA);
		forget(m, n);
		return;
	}
	object_changed(m, n, false);
	if (*e->name)
		(void)fuse_lowlevel_notify_inval_entry(m->session, ino_of(m, n), e->name, strlen(e->name));
	else
		told_forget_all(m);
	forget(m, n);
}

/*
 * False: no memory; the kernel may still believe something. Unless the server is @reached, pages and directories may be
 * locked by requests that nobody answers now, and what would wait for them is left for later.
 */
static bool everything_changed(struct mount *m, bool reached)
{
	struct node **all;
	size_t count;
	int err = node_all(&m->nodes, &all, &count);

	count_change(m, all, err ? 0 : count);
	small_cache_clear(m);
	if (reached)
		told_forget_all(m);
	else
		told_forget_at_once(m);
	if (err)
		return false;
	for (size_t i = 0; i < count; i++) {
		object_changed(m, all[i], reached);
		forget(m, all[i]);
	}
	free(all);
	return true;
}

/* The server may know nothing of what we have, and of what we wait for. */
static void begin_anew(struct mount *m)
{
	m->events.restarted = true;
	lock_ask_again(m);
}

static void on_event(void *ctx, const struct wfs_event *e)
{
	struct mount *m = ctx;

	switch (e->kind) {
	case WFS_EVENT_CHANGE:
		change(m, e);
		break;
	case WFS_EVENT_LOCK:
		lock_ended(m, e->id, e->err);
		break;
	case WFS_EVENT_LOST:
		m->events.lost = true;
		break;
	case WFS_EVENT_RECALL:
	case WFS_EVENT_BROKEN:
		break; /* it takes none */
	case WFS_EVENT_ENDED:
	case WFS_EVENT_RESET:
		m->events.watched = false;
		m->events.watch_at_ns = m->events.watch_pause_ns = 0;
		m->events.lost = true;
		if (e->kind == WFS_EVENT_RESET)
			begin_anew(m);
		break;
	}
}

/* False: it is to end. */
static bool pause_for_a_while(struct mount *m)
{
	struct mount_events *v = &m->events;
	uint64_t until = node_now_ns() + PAUSE_MS * NS_PER_MS;
	bool stop;

	pthread_mutex_lock(&v->thread.lock);
	if (!v->thread.stop)
		thread_wait_until(&v->thread.changed, &v->thread.lock, until);
	stop = v->thread.stop;
	pthread_mutex_unlock(&v->thread.lock);
	return !stop;
}

/* Unless it does: have the server tell. One that does not let us, or cannot now, is asked again later. */
static void watch(struct mount *m)
{
	struct mount_events *v = &m->events;
	int err;

	if (v->watched || m->options->coherent_timeout_s <= 0 || node_now_ns() < v->watch_at_ns)
		return;
	err = wfs_watch(m->client, NULL, &m->root->fh, WATCH_ID, WFS_CHANGE_ALL, WFS_WATCH_SUBTREE | WFS_WATCH_OTHERS);
	v->watched = !err || err == -EEXIST;
	if (v->watched) {
		v->watch_pause_ns = 0;
		/* An answer that is on its way may be older than the watch. */
		count_change(m, NULL, 0);
		return;
	}
	v->watch_pause_ns = v->watch_pause_ns ? 2 * v->watch_pause_ns : WATCH_PAUSE_FIRST_NS;
	if (v->watch_pause_ns > WATCH_PAUSE_MAX_NS)
		v->watch_pause_ns = WATCH_PAUSE_MAX_NS;
	v->watch_at_ns = node_now_ns() + v->watch_pause_ns;
}

/* For how long events are waited for. */
static unsigned wait_ms(struct mount *m)
{
	struct mount_events *v = &m->events;
	uint64_t now = node_now_ns(), until = v->watch_at_ns;

	if (v->missed_count)
		return AGAIN_MS;
	if (v->watched || m->options->coherent_timeout_s <= 0 || until >= now + WAIT_MS * NS_PER_MS)
		return WAIT_MS;
	return until <= now ? 0 : (unsigned)((until - now) / NS_PER_MS) + 1;
}

/* A server that has forgotten us may have been restarted: it gives our locks back to us, for a time. */
static bool reclaim_locks(struct mount *m)
{
	unsigned lost = 0;

	if (wfs_locks_keep(m->client, &lost))
		return false;
	if (lost)
		fuse_log(FUSE_LOG_WARNING, "wfs-fuse: %u locks were lost with a server that was restarted\n", lost);
	return true;
}

/*
 * Nobody tells us now. Others may have a connection already, and change what we know nothing of until we have one, too,
 * so what was told is not true any more from now on.
 */
static void out_of_reach(struct mount *m)
{
	struct mount_events *v = &m->events;
	bool was_coherent = v->coherent;

	set_coherent(m, false);
	if (!v->gone_ns)
		v->gone_ns = node_now_ns();
	/* Nobody waits longer for a lock than for anything else. */
	if (node_now_ns() - v->gone_ns >= m->options->timeout_s * UINT64_C(1000) * NS_PER_MS)
		lock_gone(m);
	if (!was_coherent)
		return;
	(void)everything_changed(m, false);
	v->lost = true;
}

static void *run_events(void *arg)
{
	struct mount *m = arg;
	struct mount_events *v = &m->events;
	bool reached = false;
	bool settled = false; /* it only remains to wait */
	int err;

	for (;;) {
		err = wfs_events(m->client, settled ? wait_ms(m) : 0, on_event, m);
		if (err == -ECANCELED)
			break;
		if (err) {
			out_of_reach(m);
		} else {
			v->gone_ns = 0;
			/* Until now nobody told us of a server that was restarted, and locks were asked for already. */
			if (!reached)
				begin_anew(m);
			reached = true;
			if (v->missed_count && node_now_ns() >= v->missed_at_ns)
				tell_missed(m);
			if (v->restarted && reclaim_locks(m))
				v->restarted = false;
			watch(m);
			if (v->lost)
				v->lost = !everything_changed(m, true);
			set_coherent(m, v->watched && !v->lost);
		}
		/* What was told before the connection was lost, or has not been handed out yet, is there at once. */
		settled = !err && !v->restarted && !v->lost;
		if (!settled && !pause_for_a_while(m))
			break;
	}
	return NULL;
}

int events_start(struct mount *m)
{
	return thread_worker_start(&m->events.thread, run_events, m);
}

void events_stop(struct mount *m)
{
	struct mount_events *v = &m->events;

	if (!thread_worker_tell(&v->thread))
		return;
	wfs_events_stop(m->client);
	thread_worker_join(&v->thread);
	thread_worker_done(&v->thread);
	/* Requests may still be answered, and nobody tells any more. */
	set_coherent(m, false);
}
