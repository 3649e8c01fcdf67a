/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The names that the kernel may believe for long, and how it is told to ask for all of them again. Linux 6.16 and later
 * can be told so with one word. Before that it has to be told name by name, and so they are remembered for as long as
 * they are believed.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "plugins/fuse/mount.h"

#define NS_PER_S 1e9
/* More are not believed for long. */
#define TOLD_MAX 262144u

/* Notices of Linux's protocol that libfuse 3 does not know, or not in all versions in the same way. */
#define NOTIFY_INVAL_ENTRY 3
#define NOTIFY_INC_EPOCH 8
#define EXPIRE_ONLY 1u /* the name is looked up again; before Linux 6.2 it is forgotten at once instead */

struct told_name {
	struct told_name *next;
	uint64_t fsid, dir_id;
	uint64_t until_ns;
	char name[];
};

struct notice {
	uint32_t len_bytes;
	int32_t code;
	uint64_t unique; /* 0: it is a notice */
};

struct entry_notice {
	struct notice head;
	uint64_t parent;
	uint32_t name_bytes;
	uint32_t flags;
};

static bool raise_epoch(struct mount *m)
{
	struct notice notice = { .len_bytes = sizeof(notice), .code = NOTIFY_INC_EPOCH };
	struct iovec iov = { &notice, sizeof(notice) };

	return writev(fuse_session_fd(m->session), &iov, 1) == (ssize_t)sizeof(notice);
}

static void expire(struct mount *m, fuse_ino_t dir, const char *name)
{
	size_t name_bytes = strlen(name);
	struct entry_notice notice = { .parent = dir, .name_bytes = (uint32_t)name_bytes, .flags = EXPIRE_ONLY };
	struct iovec iov[2] = { { &notice, sizeof(notice) }, { (void *)(uintptr_t)name, name_bytes + 1 } };

	notice.head.len_bytes = (uint32_t)(sizeof(notice) + name_bytes + 1);
	notice.head.code = NOTIFY_INVAL_ENTRY;
	/* ENOENT: the kernel does not have it any more. */
	if (writev(fuse_session_fd(m->session), iov, 2) < 0)
		return;
}

void told_init(struct mount *m)
{
	pthread_mutex_init(&m->told.lock, NULL);
	m->told.last = &m->told.first;
	m->told.by_name = !raise_epoch(m);
}

static void free_all(struct told_name *t)
{
	while (t) {
		struct told_name *next = t->next;

		free(t);
		t = next;
	}
}

void told_done(struct mount *m)
{
	free_all(m->told.first);
	pthread_mutex_destroy(&m->told.lock);
}

/* Those that are not believed any more. They stand in the order in which that ends. */
static struct told_name *take_old(struct told_names *t, uint64_t now)
{
	struct told_name *old = t->first, **at = &t->first;

	while (*at && (*at)->until_ns <= now) {
		at = &(*at)->next;
		t->count--;
	}
	if (at == &t->first)
		return NULL;
	t->first = *at;
	*at = NULL;
	if (!t->first)
		t->last = &t->first;
	return old;
}

static bool remember(struct mount *m, const struct node *dir, const char *name, unsigned count_max)
{
	uint64_t now = node_now_ns();
	size_t size = strlen(name) + 1;
	struct told_name *new = malloc(sizeof(*new) + size), *old;
	struct told_names *t = &m->told;
	bool room;

	if (!new)
		return false;
	*new = (struct told_name){ .fsid = dir->fsid,
		                   .dir_id = dir->file_id,
		                   .until_ns = now + (uint64_t)(m->options->coherent_timeout_s * NS_PER_S) };
	memcpy(new->name, name, size);
	pthread_mutex_lock(&t->lock);
	old = take_old(t, now);
	room = t->count < count_max;
	if (room) {
		*t->last = new;
		t->last = &new->next;
		t->count++;
	}
	pthread_mutex_unlock(&t->lock);
	if (!room)
		free(new);
	free_all(old);
	return room;
}

double told_name_s(struct mount *m, const struct node *dir, const char *name, struct seen seen, double otherwise_s)
{
	double believed_s = name ? events_believed_s(m, seen_of(m, dir->fsid, seen), otherwise_s) : otherwise_s;

	if (believed_s > otherwise_s && m->told.by_name && !remember(m, dir, name, TOLD_MAX))
		return otherwise_s;
	return believed_s;
}

void told_moved(struct mount *m, const struct node *dir, const char *name)
{
	/* The kernel takes the time along that it believes in the name. */
	if (m->told.by_name)
		(void)remember(m, dir, name, UINT_MAX);
}

static fuse_ino_t ino_of(struct mount *m, struct node *n)
{
	return n == m->root ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)n;
}

void told_expire_names(struct mount *m)
{
	struct told_names *t = &m->told;
	struct told_name *all;

	pthread_mutex_lock(&t->lock);
	all = t->first;
	t->first = NULL;
	t->last = &t->first;
	t->count = 0;
	pthread_mutex_unlock(&t->lock);
	for (struct told_name *at = all; at; at = at->next) {
		struct node *dir = node_find(&m->nodes, at->fsid, at->dir_id);

		/* Otherwise the kernel has forgotten it, with all names in it. */
		if (dir) {
			expire(m, ino_of(m, dir), at->name);
			if (dir != m->root)
				node_forget(&m->nodes, dir, 1);
		}
	}
	free_all(all);
}

void told_forget_at_once(struct mount *m)
{
	(void)raise_epoch(m);
}

void told_forget_all(struct mount *m)
{
	if (!raise_epoch(m))
		told_expire_names(m);
}
