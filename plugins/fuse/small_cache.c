/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is kept of small files that nobody has open: the last ones that were read, up to some megabytes. They are only
 * good as long as the server tells of all changes: a change that was told, or made by this mount, has touched the node
 * since the server was asked.
 */
#include <stdlib.h>
#include <string.h>

#include "plugins/fuse/small.h"

struct small *small_new(struct mount *m, const struct caller *who, size_t size)
{
	struct small *s = malloc(sizeof(*s) + size);

	if (!s)
		return NULL;
	*s = (struct small){ .who = *who, .until_ns = node_now_ns() + m->attr_timeout_ns, .refs = 1, .size = size };
	s->who.cred.groups = s->who.groups;
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

void small_unref(struct small *s)
{
	if (atomic_fetch_sub(&s->refs, 1) > 1)
		return;
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* With the cache's lock held. The reference is the caller's then. */
static struct small *take_out(struct small_cache *c, struct small *s)
{
	if (s->newer)
		s->newer->older = s->older;
	else
		c->newest = s->older;
	if (s->older)
		s->older->newer = s->newer;
	else
		c->oldest = s->newer;
	c->bytes -= sizeof(*s) + s->size;
	s->node->kept_small = NULL;
	s->node = NULL;
	s->newer = s->older = NULL;
	return s;
}

static void put_in(struct small_cache *c, struct node *n, struct small *s)
{
	s->node = n;
	n->kept_small = s;
	s->older = c->newest;
	if (c->newest)
		c->newest->newer = s;
	else
		c->oldest = s;
	c->newest = s;
	c->bytes += sizeof(*s) + s->size;
}

/* The kernel forgets the node. */
static void node_gone(void *ctx, struct node *n)
{
	struct small_cache *c = ctx;

	pthread_mutex_lock(&c->lock);
	if (n->kept_small)
		small_unref(take_out(c, n->kept_small));
	pthread_mutex_unlock(&c->lock);
}

void small_cache_init(struct mount *m)
{
	pthread_mutex_init(&m->kept.lock, NULL);
	m->nodes.gone = node_gone;
	m->nodes.gone_ctx = &m->kept;
}

void small_cache_clear(struct mount *m)
{
	struct small_cache *c = &m->kept;

	pthread_mutex_lock(&c->lock);
	while (c->newest)
		small_unref(take_out(c, c->newest));
	pthread_mutex_unlock(&c->lock);
}

void small_cache_done(struct mount *m)
{
	small_cache_clear(m);
	m->nodes.gone = NULL;
	pthread_mutex_destroy(&m->kept.lock);
}

/* With the cache's lock held, between tell_begin() and tell_end(). */
static bool is_good(const struct mount *m, const struct node *n, const struct small *s)
{
	return m->events.coherent && atomic_load(&n->touched) <= s->who.seen.own && node_now_ns() < s->until_ns;
}

static bool same_cred(const struct wfs_cred *a, const struct wfs_cred *b)
{
	return a->uid == b->uid && a->gid == b->gid && a->group_count == b->group_count &&
	       (!a->group_count || memcmp(a->groups, b->groups, a->group_count * sizeof(a->groups[0])) == 0);
}

struct small *small_cache_get(struct mount *m, struct node *n, const struct caller *who)
{
	struct small_cache *c = &m->kept;
	struct small *s;

	tell_begin(m);
	pthread_mutex_lock(&c->lock);
	s = n->kept_small;
	if (s && !is_good(m, n, s)) {
		small_unref(take_out(c, s));
		s = NULL;
	}
	if (s && !same_cred(&s->who.cred, &who->cred))
		s = NULL;
	if (s) {
		put_in(c, n, take_out(c, s));
		atomic_fetch_add(&s->refs, 1);
	}
	pthread_mutex_unlock(&c->lock);
	tell_end(m);
	return s;
}

bool small_cache_has(struct mount *m, struct node *n)
{
	bool has;

	tell_begin(m);
	pthread_mutex_lock(&m->kept.lock);
	has = n->kept_small && is_good(m, n, n->kept_small);
	pthread_mutex_unlock(&m->kept.lock);
	tell_end(m);
	return has;
}

void small_cache_put(struct mount *m, struct node *n, struct small *s)
{
	struct small_cache *c = &m->kept;

	tell_begin(m);
	if (events_fresh(m, seen_of(m, n->fsid, s->who.seen))) {
		s->until_ns = node_now_ns() + events_believed_ns(m, s->who.seen);
		pthread_mutex_lock(&c->lock);
		if (n->kept_small)
			small_unref(take_out(c, n->kept_small));
		put_in(c, n, s);
		atomic_fetch_add(&s->refs, 1);
		while (c->bytes > SMALL_KEPT_BYTES_MAX)
			small_unref(take_out(c, c->oldest));
		pthread_mutex_unlock(&c->lock);
	}
	tell_end(m);
}
