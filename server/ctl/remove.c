/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wfs rm. The names of a directory go in batches, several of them at the same time; the directory itself when all of
 * them are gone, by whoever took the last. Trees may be deeper than others that wfs walks, so that what cannot be
 * copied can still be removed: paths are put together only when something has to be said.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "server/ctl/transfer.h"

#define BATCH_NAMES 100u
#define DEPTH_MAX 16384u

struct doomed {
	struct transfer *t;
	struct doomed *parent; /* with a reference; NULL: the directory that stays */
	struct wfs_fh fh;
	unsigned refs; /* atomic */
	bool kept; /* atomic: something in it is left out */
	char name[]; /* in the parent, or the path of the one that stays */
};

struct batch {
	struct doomed *dir;
	unsigned count;
	char names[BATCH_NAMES][WFS_NAME_BYTES_MAX + 1];
};

static struct doomed *doomed_new(struct transfer *t, struct doomed *parent, const struct wfs_fh *fh, const char *name)
{
	struct doomed *d = malloc(sizeof(*d) + strlen(name) + 1);

	if (!d) {
		err_set(-ENOMEM, "no memory for a directory");
		return NULL;
	}
	*d = (struct doomed){ .t = t, .parent = parent, .fh = *fh, .refs = 1 };
	strcpy(d->name, name);
	if (parent)
		__atomic_fetch_add(&parent->refs, 1, __ATOMIC_RELAXED);
	return d;
}

/* malloc'ed; NULL: no memory. */
static char *path_of(const struct doomed *dir, const char *name)
{
	size_t len = strlen(name) + 1;
	char *path, *at;

	for (const struct doomed *d = dir; d; d = d->parent)
		len += strlen(d->name) + 1;
	path = malloc(len);
	if (!path)
		return NULL;
	at = path + len - strlen(name) - 1;
	strcpy(at, name);
	for (const struct doomed *d = dir; d; d = d->parent) {
		*--at = '/';
		at -= strlen(d->name);
		memcpy(at, d->name, strlen(d->name));
	}
	return path;
}

/* @why: NULL for what libwfs says. */
static void leave(struct doomed *dir, const char *name, const char *why)
{
	char *path = path_of(dir, name);

	if (why)
		transfer_skip(dir->t, path ? path : name, why);
	else
		transfer_skip_err(dir->t, path ? path : name);
	free(path);
	__atomic_store_n(&dir->kept, true, __ATOMIC_RELEASE);
}

/* Somebody else has removed it meanwhile, or what it was in. */
static bool is_gone(int err)
{
	return err == -ENOENT || err == -ESTALE;
}

/* Not by recursion: the last one may end them all. */
static void doomed_unref(struct doomed *d)
{
	while (d && __atomic_sub_fetch(&d->refs, 1, __ATOMIC_ACQ_REL) == 0) {
		struct doomed *parent = d->parent;
		int err;

		if (!parent) {
			/* It stays. */
		} else if (__atomic_load_n(&d->kept, __ATOMIC_ACQUIRE) || transfer_is_gone(d->t)) {
			__atomic_store_n(&parent->kept, true, __ATOMIC_RELEASE);
		} else {
			err = wfs_unlink(d->t->w, NULL, &parent->fh, d->name, 1);
			if (err && !(is_gone(err) && parent->parent))
				leave(parent, d->name, NULL);
			else
				transfer_add(d->t, 1, 0);
		}
		free(d);
		d = parent;
	}
}

/* Names from @first on; how many of them are gone. */
static unsigned remove_names(const struct batch *s, struct wfs_batch *b, unsigned first, int *ret_err)
{
	unsigned done = 0;

	wfs_batch_clear(b);
	wfs_batch_put(b, &s->dir->fh);
	for (unsigned i = first; i < s->count; i++)
		wfs_batch_unlink(b, s->names[i], 0);
	*ret_err = wfs_batch_run(b, NULL, &done);
	return done ? done - 1 : 0;
}

static void batch_job(void *arg, unsigned worker)
{
	struct batch *s = arg;
	struct transfer *t = s->dir->t;
	unsigned at = 0;

	while (at < s->count && !transfer_is_gone(t)) {
		int err;
		unsigned done = remove_names(s, t->workers[worker].batch, at, &err);

		transfer_add(t, done, 0);
		at += done;
		if (at == s->count)
			break;
		if (!is_gone(err))
			leave(s->dir, s->names[at], NULL);
		at++;
	}
	if (at < s->count)
		__atomic_store_n(&s->dir->kept, true, __ATOMIC_RELEASE);
	doomed_unref(s->dir);
	free(s);
}

static void flush_batch(struct transfer *t, struct batch **s)
{
	if (*s)
		jobs_add(&t->jobs, 0, batch_job, *s);
	*s = NULL;
}

static void add_name(struct doomed *d, struct batch **s, const char *name)
{
	if (*s && (*s)->count == BATCH_NAMES)
		flush_batch(d->t, s);
	if (!*s) {
		*s = malloc(sizeof(**s));
		if (!*s) {
			err_set(-ENOMEM, "no memory for names");
			leave(d, name, NULL);
			return;
		}
		(*s)->dir = d;
		(*s)->count = 0;
		__atomic_fetch_add(&d->refs, 1, __ATOMIC_RELAXED);
	}
	strcpy((*s)->names[(*s)->count++], name);
}

static void empty(struct doomed *d, unsigned depth);

static void remove_dir(struct doomed *parent, const struct wfs_fh *fh, const char *name, unsigned depth)
{
	struct doomed *d = NULL;

	if (depth > DEPTH_MAX)
		err_set(-ELOOP, "more than %u directories in each other", DEPTH_MAX);
	else
		d = doomed_new(parent->t, parent, fh, name);
	if (!d) {
		leave(parent, name, NULL);
		return;
	}
	empty(d, depth);
	doomed_unref(d);
}

static void empty(struct doomed *d, unsigned depth)
{
	struct remote_entry *entries = NULL;
	struct batch *batch = NULL;
	size_t count = 0;
	int err = remote_list(d->t->w, &d->fh, &entries, &count);

	if (err && !is_gone(err)) {
		leave(d->parent, d->name, NULL);
		__atomic_store_n(&d->kept, true, __ATOMIC_RELEASE);
	}
	/* Directories after the files: batches that are not full do not wait at every level. */
	for (size_t i = 0; i < count && !transfer_is_gone(d->t); i++) {
		if (!remote_is_name(entries[i].name))
			leave(d, entries[i].name, "the server gave it a name that is none");
		else if (entries[i].attr.type != WFS_TYPE_DIR)
			add_name(d, &batch, entries[i].name);
	}
	flush_batch(d->t, &batch);
	for (size_t i = 0; i < count && !transfer_is_gone(d->t); i++)
		if (entries[i].attr.type == WFS_TYPE_DIR && remote_is_name(entries[i].name))
			remove_dir(d, &entries[i].fh, entries[i].name, depth + 1);
	free(entries);
}

/* "a/b/c/" becomes "a/b". */
static void cut_name(char *path)
{
	size_t len = strlen(path);

	while (len && path[len - 1] == '/')
		len--;
	while (len && path[len - 1] != '/')
		len--;
	while (len && path[len - 1] == '/')
		len--;
	path[len] = '\0';
}

static enum ctl_status remove_all(struct ctl *c, struct wfs *w, const struct wfs_fh *dir, const struct wfs_fh *fh,
                                  const char *name)
{
	struct doomed *above = NULL;
	struct transfer t;
	enum ctl_status status = CTL_OK;

	if (transfer_init(&t, w, "removing", c->args.jobs) || !(above = doomed_new(&t, NULL, dir, c->operands[0]))) {
		status = remote_fail("cannot remove", c->operands[0]);
	} else {
		cut_name(above->name);
		remove_dir(above, fh, name, 0);
		doomed_unref(above);
	}
	return transfer_done(&t) ? status : CTL_FAILED;
}

enum ctl_status cmd_rm(struct ctl *c)
{
	bool all = c->args.given & ARGS_RECURSIVE;
	struct wfs_fh dir, fh;
	struct wfs_attr attr;
	const char *name;
	struct remote r;
	enum ctl_status status = remote_open(c, c->operands[0], &r);

	if (status != CTL_OK)
		return status;
	if (remote_parent(&r, &dir, &name) || wfs_lookup(r.w, NULL, &dir, name, &fh, &attr))
		status = remote_fail("cannot remove", c->operands[0]);
	else if (all && attr.type == WFS_TYPE_DIR)
		status = remove_all(c, r.w, &dir, &fh, name);
	else if (wfs_unlink(r.w, NULL, &dir, name, attr.type == WFS_TYPE_DIR))
		status = remote_fail("cannot remove", c->operands[0]);
	remote_close(&r);
	return status;
}
