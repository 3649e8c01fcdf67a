/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wfs get: files and directories from a server to here. Small files travel in batches, holes stay holes. Names come
 * from a server: each is one component below the folder that the caller named, and links there are never followed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/err.h"
#include "server/ctl/pieces.h"

static int local_err(const char *what)
{
	return err_set(-errno, "%s", what);
}

static int write_whole(int fd, const uint8_t *p, size_t len, uint64_t at)
{
	while (len) {
		ssize_t n = pwrite(fd, p, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return local_err("it cannot be written");
		p += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/* An empty file in place of whatever has that name, but for @there itself. */
static int create_local(int dir_fd, const char *name, const struct wfs_attr *there)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600), err = 0;

	if (fd < 0)
		return local_err("it cannot be created here");
	if (transfer_is_itself(fd, there))
		err = err_set(-EINVAL, "it is the same file as its copy");
	else if (ftruncate(fd, 0) < 0)
		err = local_err("it cannot be emptied");
	if (err)
		close(fd);
	return err ? err : fd;
}

/* Mode and time, then close. */
static int finish_local(int fd, const struct wfs_attr *a, int err)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };

	wfs_time_from_ns(a->mtime_ns, &times[1]);
	/* Never setuid or setgid: the owner here is another one. */
	if (!err && (fchmod(fd, a->mode & 01777) < 0 || futimens(fd, times) < 0))
		err = local_err("its mode and time cannot be set");
	if (close(fd) < 0 && !err)
		err = local_err("it cannot be written");
	return err;
}

static int finish_dir(struct dir *d)
{
	int err = finish_local(d->fd, &d->attr, d->failed ? -EIO : 0);

	return d->failed ? 0 : err; /* that was said */
}

/* ---- Large files ---- */

struct large {
	struct pieces pieces;
	struct remote_entry e;
	int fd; /* -1: none */
	struct wfs_file *file;
};

static int get_piece(struct pieces *p, unsigned worker, uint64_t at, uint64_t end)
{
	struct large *l = (struct large *)p;
	struct transfer *t = p->dir->t;
	uint8_t *chunk = t->workers[worker].chunk;

	while (at < end) {
		size_t len;
		int err = wfs_pread_some(l->file, chunk, (size_t)(end - at), at, &len);

		if (!err)
			err = write_whole(l->fd, chunk, len, at);
		if (err)
			return err;
		if (!len)
			return err_set(-EIO, "it became shorter meanwhile");
		at += len;
		transfer_add(t, 0, len);
	}
	return 0;
}

static int finish_large(struct pieces *p, bool failed)
{
	struct large *l = (struct large *)p;
	int err = 0;

	if (!failed && ftruncate(l->fd, (off_t)l->e.attr.size_bytes) < 0)
		err = local_err("its size cannot be set");
	if (l->fd >= 0)
		err = finish_local(l->fd, &l->e.attr, failed ? -EIO : err);
	wfs_close(l->file);
	free(l);
	return err;
}

static int get_ranges(struct large *l, unsigned worker)
{
	uint64_t at = 0, end = 0;
	int err = 0;

	while (!err && at < l->e.attr.size_bytes) {
		err = transfer_next_data(l->pieces.dir->t, &l->e, &at, &end);
		if (!err)
			pieces_add(&l->pieces, worker, at, end);
		at = end;
	}
	return err;
}

static void large_job(void *arg, unsigned worker)
{
	struct large *l = arg;
	const struct dir *dir = l->pieces.dir;
	struct transfer *t = dir->t;
	int err = transfer_is_gone(t) ? transfer_no_server()
	                              : wfs_open_fh(t->w, NULL, &l->e.fh, WFS_ACCESS_READ, &l->file);

	if (!err) {
		l->fd = create_local(dir->fd, l->pieces.name, &l->e.attr);
		err = l->fd < 0 ? l->fd : get_ranges(l, worker);
	}
	pieces_end(&l->pieces, worker, err);
}

static int get_large(struct dir *dir, const struct remote_entry *e, const char *name, const char *path)
{
	struct large *l = malloc(sizeof(*l));
	int err;

	if (!l)
		return err_set(-ENOMEM, "no memory for a file");
	*l = (struct large){ .pieces = { .copy = get_piece, .finish = finish_large }, .e = *e, .fd = -1 };
	err = pieces_begin(&l->pieces, dir, name, path, large_job);
	if (err)
		free(l);
	return err;
}

static int get_link(struct transfer *t, const struct remote_entry *e, int dir_fd, const char *name)
{
	char target[WFS_PATH_BYTES_MAX + 1];
	int err = wfs_read_link(t->w, NULL, &e->fh, target);

	if (err)
		return err;
	if (symlinkat(target, dir_fd, name) < 0 &&
	    (errno != EEXIST || unlinkat(dir_fd, name, 0) < 0 || symlinkat(target, dir_fd, name) < 0))
		return local_err("the link cannot be made here");
	transfer_add(t, 1, 0);
	return 0;
}

/* ---- Small files ---- */

struct small {
	size_t len;
	struct wfs_attr attr;
};

/* Those of one directory that go together. */
struct batch {
	struct dir *dir;
	size_t count;
	uint64_t bytes;
	struct remote_entry e[TRANSFER_BATCH_FILES];
};

static void skip_small(const struct batch *s, size_t i)
{
	char *below = dir_below(s->dir, s->e[i].name);

	transfer_skip_err(s->dir->t, below ? below : s->dir->path);
	free(below);
}

static int save_small(const struct batch *s, size_t i, const uint8_t *data, const struct small *small)
{
	int fd = create_local(s->dir->fd, s->e[i].name, &small->attr);

	return fd < 0 ? fd : finish_local(fd, &small->attr, write_whole(fd, data, small->len, 0));
}

/* The files from @first on; which is to be the next one. */
static size_t get_some(const struct batch *s, const struct transfer_worker *worker, size_t first)
{
	struct small small[TRANSFER_BATCH_FILES];
	size_t at = 0, end;
	unsigned done = 0;

	wfs_batch_clear(worker->batch);
	for (size_t i = first; i < s->count; i++) {
		wfs_batch_put(worker->batch, &s->e[i].fh);
		wfs_batch_get_file(worker->batch, worker->chunk + at, (uint32_t)s->e[i].attr.size_bytes, &small[i].len,
		                   &small[i].attr, NULL);
		at += s->e[i].attr.size_bytes;
	}
	(void)wfs_batch_run(worker->batch, NULL, &done);
	/* The one that failed ends the batch; the next begins behind it. Its reason is still there now. */
	end = first + done / 2;
	if (end < s->count)
		skip_small(s, end);
	at = 0;
	for (size_t i = first; i < end && i < s->count; i++) {
		if (save_small(s, i, worker->chunk + at, &small[i]))
			skip_small(s, i);
		else
			transfer_add(s->dir->t, 1, small[i].len);
		at += s->e[i].attr.size_bytes;
	}
	return end + 1;
}

static void batch_job(void *arg, unsigned worker)
{
	struct batch *s = arg;
	struct transfer *t = s->dir->t;

	for (size_t i = 0; i < s->count && !transfer_is_gone(t);)
		i = get_some(s, &t->workers[worker], i);
	dir_unref(s->dir);
	free(s);
}

static void flush_batch(struct dir *dir, struct batch **s)
{
	if (*s)
		jobs_add(&dir->t->jobs, 0, batch_job, *s);
	*s = NULL;
}

/* *@s: the batch that is being filled, or NULL. */
static int add_small(struct dir *dir, struct batch **s, const struct remote_entry *e)
{
	if (*s && ((*s)->count == TRANSFER_BATCH_FILES || (*s)->bytes + e->attr.size_bytes > TRANSFER_BATCH_BYTES))
		flush_batch(dir, s);
	if (!*s) {
		*s = malloc(sizeof(**s));
		if (!*s)
			return err_set(-ENOMEM, "no memory for files");
		(*s)->dir = dir;
		(*s)->count = 0;
		(*s)->bytes = 0;
		dir_ref(dir);
	}
	(*s)->e[(*s)->count++] = *e;
	(*s)->bytes += e->attr.size_bytes;
	return 0;
}

/* ---- The walk ---- */

static int get_any(struct dir *dir, const struct remote_entry *e, const char *name, const char *path, unsigned depth);

static void get_below(struct dir *dir, struct batch **batch, const struct remote_entry *e, unsigned depth)
{
	bool small = e->attr.type == WFS_TYPE_FILE && e->attr.size_bytes <= TRANSFER_SMALL_BYTES;
	char *below = dir_below(dir, e->name);

	if (!below)
		transfer_skip_err(dir->t, dir->path);
	else if (!remote_is_name(e->name))
		transfer_skip(dir->t, below, "the server gave it a name that is none");
	else if (small ? add_small(dir, batch, e) : get_any(dir, e, e->name, below, depth + 1))
		transfer_skip_err(dir->t, below);
	free(below);
}

static int get_dir(struct dir *parent, const struct remote_entry *e, const char *name, const char *path, unsigned depth)
{
	struct remote_entry *entries = NULL;
	struct transfer *t = parent->t;
	struct batch *batch = NULL;
	struct dir *dir;
	size_t count = 0;
	int fd, err;

	if (mkdirat(parent->fd, name, 0700) < 0 && errno != EEXIST)
		return local_err("the directory cannot be made here");
	fd = openat(parent->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return local_err("what is here is not a directory");
	err = dir_new(t, path, &dir);
	if (err) {
		close(fd);
		return err;
	}
	dir->finish = finish_dir;
	dir->fd = fd;
	dir->attr = e->attr;
	if (remote_list(t->w, &e->fh, &entries, &count)) {
		transfer_skip_err(t, path);
		dir->failed = true;
	}
	for (size_t i = 0; i < count && !dir->failed && !transfer_is_gone(t); i++)
		get_below(dir, &batch, &entries[i], depth);
	flush_batch(dir, &batch);
	free(entries);
	transfer_add(t, 1, 0);
	dir_unref(dir);
	return 0;
}

static int get_any(struct dir *dir, const struct remote_entry *e, const char *name, const char *path, unsigned depth)
{
	if (depth > TRANSFER_DEPTH_MAX)
		return err_set(-ELOOP, "more than %u directories in each other", TRANSFER_DEPTH_MAX);
	switch (e->attr.type) {
	case WFS_TYPE_DIR:
		return get_dir(dir, e, name, path, depth);
	case WFS_TYPE_SYMLINK:
		return get_link(dir->t, e, dir->fd, name);
	case WFS_TYPE_FILE:
		return get_large(dir, e, name, path);
	default:
		return err_set(-EINVAL, "it is neither a file, a directory nor a symbolic link");
	}
}

static enum ctl_status get_one(struct ctl *c, const char *from, const char *to, bool into)
{
	struct remote_entry e = { 0 };
	struct transfer t = { 0 };
	struct dir *dir = NULL;
	const char *name, *slash;
	struct remote r;
	int dir_fd = AT_FDCWD;
	enum ctl_status status = remote_open(c, from, &r);

	if (status != CTL_OK)
		return status;
	slash = strrchr(r.path, '/');
	name = into ? (slash ? slash + 1 : r.path) : to;
	if (into) {
		dir_fd = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (!remote_is_name(name))
			name = "."; /* the export's top: its contents */
	}
	if (into && dir_fd < 0)
		status = command_fail(CTL_FAILED, "'%s': %s", to, strerror(errno));
	else if (transfer_init(&t, r.w, "fetching", c->args.jobs) || remote_find(&r, true, &e.fh, &e.attr) ||
	         dir_new(&t, from, &dir))
		status = remote_fail("cannot fetch", from);
	if (dir) {
		dir->fd = dir_fd;
		if (get_any(dir, &e, name, from, 0))
			status = remote_fail("cannot fetch", from);
		dir_unref(dir);
	}
	if (!transfer_done(&t))
		status = CTL_FAILED;
	if (dir_fd >= 0)
		close(dir_fd);
	remote_close(&r);
	return status;
}

enum ctl_status cmd_get(struct ctl *c)
{
	const char *to = c->operand_count > 1 ? c->operands[c->operand_count - 1] : ".";
	int sources = c->operand_count > 1 ? c->operand_count - 1 : 1;
	enum ctl_status status = CTL_OK;
	struct stat st;
	bool into = stat(to, &st) == 0 && S_ISDIR(st.st_mode);

	if (!into && sources > 1)
		return command_fail(CTL_FAILED, "'%s' is not a directory", to);
	for (int i = 0; i < sources; i++) {
		enum ctl_status one = get_one(c, c->operands[i], to, into);

		if (one != CTL_OK)
			status = one;
	}
	return status;
}
