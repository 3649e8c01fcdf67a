/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Directories: opened, read with attributes, made durable. The kernel asks for a page of entries at a time; the server
 * is asked for many at once, and what it answered is handed out in pieces. The attributes of what this mount has
 * changed meanwhile are left out, and all of them when that is the directory itself.
 */
#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/fuse/mount.h"

#define FETCH_BYTES (256u << 10)
#define NS_PER_S 1e9
/* The kernel's offsets: "." and "..", then the server's cookies, moved up. */
#define OFFSET_DOT 0u
#define OFFSET_DOT_DOT 1u
#define OFFSET_FIRST 2u
#define COOKIE_MAX ((uint64_t)INT64_MAX - OFFSET_FIRST)

struct entry {
	uint64_t next_offset;
	uint64_t file_id;
	size_t name; /* in the names */
	enum wfs_type type;
	bool has_attr;
	struct wfs_attr attr;
	struct wfs_fh fh;
};

struct open_dir {
	struct node *node;
	struct caller who; /* who opened it */
	pthread_mutex_t lock; /* of everything below */
	struct entry *entries;
	size_t count, size, pos;
	char *names;
	size_t names_len, names_size;
	bool has_attrs;
	bool eof; /* nothing behind the last entry */
	uint64_t offset; /* that entries[pos] is at */
	struct seen seen; /* before they were fetched */
	int err; /* while they are fetched */
};

static struct open_dir *dir_of(const struct fuse_file_info *fi)
{
	return (struct open_dir *)(uintptr_t)fi->fh;
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct open_dir *d = calloc(1, sizeof(*d));

	if (!d) {
		reply_err(req, -ENOMEM);
		return;
	}
	d->node = node_of(mount_of(req), ino);
	caller_get(req, &d->who);
	pthread_mutex_init(&d->lock, NULL);
	fi->fh = (uint64_t)(uintptr_t)d;
	(void)fuse_reply_open(req, fi);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct open_dir *d = dir_of(fi);

	(void)ino;
	pthread_mutex_destroy(&d->lock);
	free(d->entries);
	free(d->names);
	free(d);
	reply_err(req, 0);
}

/* Room for one more of @unit bytes behind @used. */
static void *with_room(void *p, size_t used, size_t more, size_t *size, size_t unit)
{
	size_t wanted = *size ? *size : 64;

	while (wanted < used + more)
		wanted *= 2;
	if (wanted == *size)
		return p;
	p = realloc(p, wanted * unit);
	if (p)
		*size = wanted;
	return p;
}

static int take_entry(void *ctx, const struct wfs_dirent *e)
{
	struct open_dir *d = ctx;
	struct entry *to = with_room(d->entries, d->count, 1, &d->size, sizeof(*to));
	char *names;

	if (to)
		d->entries = to;
	names = with_room(d->names, d->names_len, e->name_len + 1, &d->names_size, 1);
	if (names)
		d->names = names;
	d->err = !to || !names ? -ENOMEM : e->cookie > COOKIE_MAX ? -EOVERFLOW : 0;
	if (d->err)
		return 0;
	to += d->count++;
	*to = (struct entry){ .next_offset = e->cookie + OFFSET_FIRST,
		              .file_id = e->file_id,
		              .name = d->names_len,
		              .type = e->type,
		              .has_attr = e->attr && e->fh };
	if (to->has_attr) {
		to->attr = *e->attr;
		to->fh = *e->fh;
	}
	memcpy(d->names + d->names_len, e->name, e->name_len);
	d->names_len += e->name_len;
	d->names[d->names_len++] = '\0';
	return 1;
}

/* Entries from @offset on, unless they are there already. */
static int fetch(struct mount *m, struct open_dir *d, uint64_t offset, bool with_attrs)
{
	int eof = 0, err;

	if (d->count && offset == d->offset && (d->has_attrs || !with_attrs) && (d->pos < d->count || d->eof))
		return 0;
	d->count = d->pos = d->names_len = 0;
	d->err = 0;
	d->offset = offset;
	d->has_attrs = with_attrs;
	d->seen = (struct seen){ atomic_load(&m->events.changes), atomic_load(&m->sequence) };
	err = wfs_readdir(m->client, &d->who.cred, &d->node->fh, offset - OFFSET_FIRST,
	                  with_attrs ? WFS_READDIR_ATTR | WFS_READDIR_FH : 0, FETCH_BYTES, take_entry, d, &eof);
	if (!err)
		err = d->err;
	if (err)
		d->count = 0;
	d->eof = eof;
	return err;
}

/* A reply as it grows. */
struct page {
	fuse_req_t req;
	char *buf;
	size_t size, used;
	bool plus;
	struct seen seen; /* before its first entries were fetched */
};

/* False: it does not fit. Without @node the kernel only gets the name, type and number in @e->attr. */
static bool put(struct page *p, const char *name, const struct fuse_entry_param *e, uint64_t next_offset)
{
	char *to = p->buf + p->used;
	size_t room = p->size - p->used, n;

	n = p->plus ? fuse_add_direntry_plus(p->req, to, room, name, e, (off_t)next_offset)
	            : fuse_add_direntry(p->req, to, room, name, &e->attr, (off_t)next_offset);
	if (n > room)
		return false;
	p->used += n;
	return true;
}

static bool put_dots(struct mount *m, struct node *dir, struct page *p, uint64_t *offset)
{
	uint64_t parent = atomic_load(&dir->parent_id);
	struct fuse_entry_param e = { .attr.st_mode = S_IFDIR };

	if (*offset == OFFSET_DOT) {
		e.attr.st_ino = number_of(m, dir->fsid, dir->file_id);
		if (!put(p, ".", &e, OFFSET_DOT_DOT))
			return false;
		*offset = OFFSET_DOT_DOT;
	}
	if (*offset == OFFSET_DOT_DOT) {
		e.attr.st_ino = number_of(m, dir->fsid, dir == m->root || !parent ? dir->file_id : parent);
		if (!put(p, "..", &e, OFFSET_FIRST))
			return false;
		*offset = OFFSET_FIRST;
	}
	return true;
}

static bool put_entry(struct mount *m, struct open_dir *d, struct page *p, const struct entry *from)
{
	const char *name = d->names + from->name;
	struct fuse_entry_param e = { .attr.st_ino = number_of(m, d->node->fsid, from->file_id),
		                      .attr.st_mode = mode_of_type(from->type) };
	struct node *n = NULL;

	if (p->plus && p->size - p->used < fuse_add_direntry_plus(p->req, NULL, 0, name, NULL, 0))
		return false;
	/* A name that was removed or renamed meanwhile must not be brought back. */
	if (p->plus && from->has_attr && atomic_load(&d->node->touched) <= d->seen.own &&
	    !node_touched_since(&m->nodes, from->attr.fsid, from->attr.file_id, d->seen.own) &&
	    entry_fill(m, d->node, name, d->seen, &from->attr, &from->fh, &e, &n) == 0 &&
	    put(p, name, &e, from->next_offset)) {
		if (from + 1 < d->entries + d->count)
			atomic_store(&n->next_listed, from[1].file_id);
		return true;
	}
	if (n)
		node_forget(&m->nodes, n, 1);
	return put(p, name, &e, from->next_offset);
}

/* Under the directory's lock. */
static int fill(struct mount *m, struct open_dir *d, struct page *p, uint64_t offset)
{
	int err;

	if (offset < OFFSET_FIRST && !put_dots(m, d->node, p, &offset))
		return 0;
	err = fetch(m, d, offset, p->plus);
	p->seen = d->seen;
	while (!err && d->pos < d->count) {
		const struct entry *e = &d->entries[d->pos];
		bool fits;

		tell_begin(m);
		fits = put_entry(m, d, p, e);
		tell_end(m);
		if (!fits)
			return 0;
		d->offset = e->next_offset;
		d->pos++;
		/* Half a page is left for the next reply rather than waited for. */
		if (d->pos == d->count && !d->eof && p->used < p->size / 2)
			err = fetch(m, d, d->offset, p->plus);
	}
	return p->used ? 0 : err;
}

static void shorten(uint64_t *s, uint32_t *ns, double most_s)
{
	if ((double)*s + *ns / NS_PER_S <= most_s)
		return;
	*s = (uint64_t)most_s;
	*ns = (uint32_t)((most_s - (double)*s) * NS_PER_S);
}

/* Something was told since the page was begun: the kernel is to believe nothing of it for long. */
static void shorten_all(const struct mount *m, struct page *p)
{
	struct fuse_direntplus *e;

	for (size_t at = 0; at < p->used; at += FUSE_DIRENTPLUS_SIZE(e)) {
		e = (struct fuse_direntplus *)(void *)(p->buf + at);
		shorten(&e->entry_out.entry_valid, &e->entry_out.entry_valid_nsec, m->options->entry_timeout_s);
		shorten(&e->entry_out.attr_valid, &e->entry_out.attr_valid_nsec, m->options->attr_timeout_s);
	}
}

static void reply_page(struct mount *m, struct page *p)
{
	tell_begin(m);
	if (p->plus && !events_fresh(m, p->seen))
		shorten_all(m, p);
	(void)fuse_reply_buf(p->req, p->buf, p->used);
	tell_end(m);
}

static void read_dir(fuse_req_t req, size_t size, off_t offset, struct fuse_file_info *fi, bool plus)
{
	struct open_dir *d = dir_of(fi);
	struct page page = { .req = req, .buf = malloc(size), .size = size, .plus = plus };
	int err = -ENOMEM;

	if (page.buf) {
		pthread_mutex_lock(&d->lock);
		err = fill(mount_of(req), d, &page, (uint64_t)offset);
		pthread_mutex_unlock(&d->lock);
	}
	if (err)
		reply_err(req, err);
	else
		reply_page(mount_of(req), &page);
	free(page.buf);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	(void)ino;
	read_dir(req, size, offset, fi, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	(void)ino;
	read_dir(req, size, offset, fi, true);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct node *n = node_of(m, ino);
	struct wfs_attr removed;
	struct caller who;
	int err;

	(void)data_only;
	(void)fi;
	caller_get(req, &who);
	err = wfs_sync(m->client, &who.cred, &n->fh);
	reply_err(req, err == -ESTALE && attr_of_removed(m, n, &removed) ? 0 : err);
}

void dir_ops(struct fuse_lowlevel_ops *ops)
{
	ops->opendir = op_opendir;
	ops->releasedir = op_releasedir;
	ops->readdir = op_readdir;
	ops->readdirplus = op_readdirplus;
	ops->fsyncdir = op_fsyncdir;
}
