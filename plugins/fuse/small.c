/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Small files that are opened for reading: all of it is read then, and the server knows nothing of an open file, so
 * that opening, reading and closing are one round trip, or none when it was read before. When something may have
 * changed the file is opened after all; the server is told before its name is removed, too, because a file without a
 * name lives as long as it is open.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/fuse/small.h"

/* One open less. */
static void drop(struct mount *m, struct node *n)
{
	struct wfs_file *keeper = NULL;

	pthread_mutex_lock(&m->small_lock);
	if (--n->small_opens == 0) {
		keeper = n->keeper;
		n->keeper = NULL;
	}
	pthread_mutex_unlock(&m->small_lock);
	atomic_fetch_sub(&m->small_count, 1);
	close_later(m, keeper);
}

struct small *small_open(struct mount *m, struct node *n, const struct caller *who, uint64_t *ret_change)
{
	uint32_t cap = atomic_load(&n->small_bytes);
	struct small *s;

	if (!cap)
		return NULL;
	atomic_fetch_add(&m->small_count, 1);
	pthread_mutex_lock(&m->small_lock);
	n->small_opens++;
	pthread_mutex_unlock(&m->small_lock);
	s = small_cache_get(m, n, who);
	if (!s)
		s = ahead_read(m, n, who, cap);
	if (s)
		*ret_change = s->attr.change;
	else
		drop(m, n);
	return s;
}

void small_close(struct mount *m, struct node *n, struct small *s)
{
	drop(m, n);
	small_unref(s);
}

bool small_store(struct mount *m, struct node *n, const struct small *s)
{
	struct fuse_bufvec pages = FUSE_BUFVEC_INIT(s->len);
	bool stored = false;

	/* As long as the kernel believes; otherwise it has pages, or an end, that this does not replace. */
	if (!s->len || s->len != atomic_load(&n->small_bytes))
		return false;
	pages.buf[0].mem = (void *)(uintptr_t)s->data;
	/* In this order, as whoever creates a file attaches it while it tells of it. */
	tell_begin(m);
	pthread_mutex_lock(&m->open_lock);
	/* Pages that the kernel has just been told to drop, or has itself changed, must not come back. */
	if (atomic_load(&n->opens) == 1 && atomic_load(&n->touched) <= s->who.seen.own)
		stored = fuse_lowlevel_notify_store(m->session, (fuse_ino_t)(uintptr_t)n, 0, &pages, 0) == 0;
	pthread_mutex_unlock(&m->open_lock);
	tell_end(m);
	return stored;
}

int node_open(struct mount *m, struct node *n, const struct wfs_cred *cred, unsigned access, uint64_t seen,
              struct wfs_file **ret)
{
	struct wfs_ledger *ledger = node_ledger(n);

	return ledger ? wfs_open_fh_shared(m->client, cred, &n->fh, access, ledger, seen, ret) : -ENOMEM;
}

/* The file, opened once. That it may be read was seen when it was opened. */
int open_file_get(struct mount *m, struct open_file *of, struct wfs_file **ret)
{
	struct small *s = of->small;
	int err = 0;

	*ret = of->file;
	if (!s)
		return 0;
	pthread_mutex_lock(&s->lock);
	if (!of->file) {
		err = node_open(m, of->node, &s->who.cred, WFS_ACCESS_READ, of->seen, &of->file);
		if (err == -EACCES)
			err = node_open(m, of->node, NULL, WFS_ACCESS_READ, of->seen, &of->file);
	}
	*ret = of->file;
	pthread_mutex_unlock(&s->lock);
	return err;
}

int small_read(struct mount *m, struct open_file *of, void *buf, size_t size, uint64_t offset, size_t *ret_len)
{
	struct small *s = of->small;
	struct wfs_file *file;
	int err;

	if (atomic_load(&of->node->touched) > s->who.seen.own || node_now_ns() >= s->until_ns) {
		err = open_file_get(m, of, &file);
		/* Removed by another client: nobody can change what it was. */
		if (err != -ESTALE)
			return err ? err : wfs_pread_some(file, buf, size, offset, ret_len);
	}
	*ret_len = offset >= s->len ? 0 : s->len - offset < size ? s->len - (size_t)offset : size;
	if (*ret_len)
		memcpy(buf, s->data + offset, *ret_len);
	return 0;
}

bool small_attr(const struct small *s, struct wfs_attr *ret)
{
	if (!s)
		return false;
	*ret = s->attr;
	ret->link_count = 0;
	return true;
}

void small_keep(struct mount *m, struct node *dir, const char *name)
{
	struct wfs_file *keeper = NULL;
	struct wfs_attr attr;
	struct wfs_fh fh;
	struct node *n;
	bool wanted;

	if (!atomic_load(&m->small_count) || wfs_lookup(m->client, NULL, &dir->fh, name, &fh, &attr))
		return;
	n = node_find(&m->nodes, attr.fsid, attr.file_id);
	if (!n)
		return;
	pthread_mutex_lock(&m->small_lock);
	wanted = n->small_opens && !n->keeper;
	pthread_mutex_unlock(&m->small_lock);
	if (wanted && wfs_open_fh(m->client, NULL, &n->fh, WFS_ACCESS_READ, &keeper) == 0) {
		pthread_mutex_lock(&m->small_lock);
		if (n->small_opens && !n->keeper) {
			n->keeper = keeper;
			keeper = NULL;
		}
		pthread_mutex_unlock(&m->small_lock);
		wfs_close(keeper);
	}
	if (n != m->root)
		node_forget(&m->nodes, n, 1);
}
