/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs put: files and directories from here to a server. Small files travel in batches, holes stay holes. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/err.h"
#include "server/ctl/pieces.h"

static int finish_dir(struct dir *d)
{
	return transfer_is_gone(d->t) ? 0 : wfs_setattr(d->t->w, NULL, &d->fh, &d->set, NULL);
}

/* ---- Small files ---- */

/* One that waits for its batch. */
struct small {
	char *path; /* malloc'ed, the name behind it */
	const char *name;
	uint8_t *data;
	uint32_t len;
	struct wfs_set_attr set;
};

/* Those of one directory. */
struct batch {
	struct dir *dir;
	unsigned count;
	uint64_t bytes;
	struct small files[TRANSFER_BATCH_FILES];
};

/* Where the walk is: in a directory, with a batch that is being filled, or NULL. */
struct pending {
	struct transfer *t;
	struct dir *dir;
	struct batch *batch;
};

#define OPS_OF_FILE 3u

/* Files from @first on, as one batch; how many of them are done. */
static unsigned send_batch(const struct batch *s, struct wfs_batch *b, unsigned first, int *ret_err)
{
	unsigned done = 0;

	wfs_batch_clear(b);
	for (unsigned i = first; i < s->count; i++) {
		const struct small *f = &s->files[i];

		wfs_batch_put(b, &s->dir->fh);
		wfs_batch_put_file(b, f->name, f->set.mode & 0777, 0, f->data, f->len, NULL);
		wfs_batch_setattr(b, &f->set, NULL);
	}
	*ret_err = wfs_batch_run(b, NULL, &done);
	return done / OPS_OF_FILE;
}

/* What cannot be sent is left out, with what is behind it tried again. */
static void batch_job(void *arg, unsigned worker)
{
	struct batch *b = arg;
	struct transfer *t = b->dir->t;
	unsigned at = 0;

	while (at < b->count && !transfer_is_gone(t)) {
		int err;
		unsigned done = send_batch(b, t->workers[worker].batch, at, &err);

		for (unsigned i = at; i < at + done; i++)
			transfer_add(t, 1, b->files[i].len);
		at += done;
		if (err && at < b->count)
			transfer_skip_err(t, b->files[at++].path);
	}
	for (unsigned i = 0; i < b->count; i++) {
		free(b->files[i].data);
		free(b->files[i].path);
	}
	dir_unref(b->dir);
	free(b);
}

static void flush_pending(struct pending *p)
{
	if (p->batch)
		jobs_add(&p->t->jobs, 0, batch_job, p->batch);
	p->batch = NULL;
}

/* One that has room for @len more. */
static int have_batch(struct pending *p, uint32_t len)
{
	if (p->batch && (p->batch->count == TRANSFER_BATCH_FILES || p->batch->bytes + len > TRANSFER_BATCH_BYTES))
		flush_pending(p);
	if (p->batch)
		return 0;
	p->batch = malloc(sizeof(*p->batch));
	if (!p->batch)
		return err_set(-ENOMEM, "no memory for files");
	p->batch->dir = p->dir;
	p->batch->count = 0;
	p->batch->bytes = 0;
	dir_ref(p->dir);
	return 0;
}

static int read_whole(int fd, uint8_t *buf, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = read(fd, buf + done, size - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EAGAIN;
		done += (size_t)n;
	}
	return 0;
}

static int put_small(struct pending *p, int fd, const struct stat *st, const char *name, const char *path)
{
	struct small f = { .len = (uint32_t)st->st_size,
		           .set = { .valid = WFS_SET_MODE | WFS_SET_MTIME,
		                    .mode = st->st_mode & 07777,
		                    .mtime_ns = wfs_time_to_ns(&st->st_mtim) } };

	if (have_batch(p, f.len))
		return err_get()->code;
	f.data = malloc(f.len + 1);
	/* The name is kept with the path, and may be another than the path's last. */
	f.path = malloc(strlen(path) + strlen(name) + 2);
	if (!f.data || !f.path || read_whole(fd, f.data, f.len)) {
		int err = f.data && f.path ? err_set(-EIO, "it cannot be read, or has just been cut")
		                           : err_set(-ENOMEM, "no memory for a file");

		free(f.data);
		free(f.path);
		return err;
	}
	strcpy(f.path, path);
	f.name = strcpy(f.path + strlen(path) + 1, name);
	p->batch->files[p->batch->count++] = f;
	p->batch->bytes += f.len;
	return 0;
}

/* ---- Large files ---- */

struct large {
	struct pieces pieces;
	int fd;
	struct stat st;
	struct wfs_file *file;
	struct wfs_fh fh;
};

static int put_piece(struct pieces *p, unsigned worker, uint64_t at, uint64_t end)
{
	struct large *l = (struct large *)p;
	struct transfer *t = p->dir->t;
	uint8_t *chunk = t->workers[worker].chunk;

	while (at < end) {
		ssize_t n = pread(l->fd, chunk, (size_t)(end - at), (off_t)at);
		int err;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(-errno, "it cannot be read");
		if (n == 0)
			return err_set(-EIO, "it became shorter meanwhile");
		err = wfs_pwrite(l->file, chunk, (size_t)n, at, 0);
		if (err)
			return err;
		at += (uint64_t)n;
		transfer_add(t, 0, (uint64_t)n);
	}
	return 0;
}

static int finish_large(struct pieces *p, bool failed)
{
	struct large *l = (struct large *)p;
	struct wfs_set_attr set = { .valid = WFS_SET_SIZE | WFS_SET_MODE | WFS_SET_MTIME,
		                    .mode = l->st.st_mode & 07777,
		                    .size_bytes = (uint64_t)l->st.st_size,
		                    .mtime_ns = wfs_time_to_ns(&l->st.st_mtim) };
	int err = 0;

	wfs_close(l->file);
	if (!failed)
		err = wfs_setattr(p->dir->t->w, NULL, &l->fh, &set, NULL);
	close(l->fd);
	free(l);
	return err;
}

/* Which ranges have data. */
static void put_ranges(struct large *l, unsigned worker)
{
	off_t at = 0, size = l->st.st_size;

	while (at < size) {
		off_t data = lseek(l->fd, at, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO)
			break; /* a hole to the end */
		if (data < 0)
			data = at;
		hole = lseek(l->fd, data, SEEK_HOLE);
		if (hole < 0)
			hole = size;
		pieces_add(&l->pieces, worker, (uint64_t)data, (uint64_t)hole);
		at = hole;
	}
}

static int create_remote(struct large *l)
{
	const struct dir *dir = l->pieces.dir;
	struct wfs *w = dir->t->w;
	struct wfs_attr there;

	if (transfer_is_mounted(l->fd)) {
		int err = wfs_lookup(w, NULL, &dir->fh, l->pieces.name, &l->fh, &there);

		if (!err && transfer_is_itself(l->fd, &there))
			err = err_set(-EINVAL, "it is the same file as its copy");
		if (err && err != -ENOENT)
			return err;
	}
	return wfs_create(w, NULL, &dir->fh, l->pieces.name, l->st.st_mode & 0777, WFS_CREATE_TRUNCATE,
	                  WFS_ACCESS_WRITE, &l->file, &l->fh, NULL, NULL);
}

static void large_job(void *arg, unsigned worker)
{
	struct large *l = arg;
	int err = transfer_is_gone(l->pieces.dir->t) ? transfer_no_server() : create_remote(l);

	if (!err)
		put_ranges(l, worker);
	pieces_end(&l->pieces, worker, err);
}

/* Takes @fd, unless it fails. */
static int put_large(struct pending *p, int fd, const struct stat *st, const char *name, const char *path)
{
	struct large *l = malloc(sizeof(*l));
	int err;

	if (!l)
		return err_set(-ENOMEM, "no memory for a file");
	*l = (struct large){ .pieces = { .copy = put_piece, .finish = finish_large }, .fd = fd, .st = *st };
	err = pieces_begin(&l->pieces, p->dir, name, path, large_job);
	if (err)
		free(l);
	return err;
}

/* ---- The walk ---- */

static int put_link(struct transfer *t, const char *path, const struct wfs_fh *dir, const char *name)
{
	struct wfs_new what = { .type = WFS_TYPE_SYMLINK, .mode = 0777 };
	char target[WFS_PATH_BYTES_MAX + 1];
	ssize_t len = readlink(path, target, sizeof(target));
	int err;

	if (len < 0 || (size_t)len == sizeof(target))
		return err_set(len < 0 ? -errno : -ENAMETOOLONG, "the link cannot be read");
	target[len] = '\0';
	what.target = target;
	err = wfs_make(t->w, NULL, dir, name, &what, NULL, NULL);
	if (err == -EEXIST && wfs_unlink(t->w, NULL, dir, name, 0) == 0)
		err = wfs_make(t->w, NULL, dir, name, &what, NULL, NULL);
	if (!err)
		transfer_add(t, 1, 0);
	return err;
}

static int put_any(struct pending *p, const char *path, const char *name, unsigned depth);

/* Of a new one the mode is kept back: its owner could not fill it with every mode. */
static int make_dir(struct transfer *t, const char *path, const struct stat *st, const struct wfs_fh *parent,
                    const char *name, struct dir **ret)
{
	struct wfs_new what = { .type = WFS_TYPE_DIR, .mode = 0700 };
	struct wfs_attr there;
	struct dir *d;
	int err = dir_new(t, path, &d);

	if (err)
		return err;
	err = wfs_make(t->w, NULL, parent, name, &what, &d->fh, &there);
	if (!err) {
		d->finish = finish_dir; /* one that was there stays as it is */
		d->set = (struct wfs_set_attr){ .valid = WFS_SET_MODE | WFS_SET_MTIME,
			                        /* setgid may come from the one above */
			                        .mode = (st->st_mode & 07777) | (there.mode & S_ISGID),
			                        .mtime_ns = wfs_time_to_ns(&st->st_mtim) };
	} else if (err == -EEXIST) {
		err = wfs_lookup(t->w, NULL, parent, name, &d->fh, &there);
		if (!err && there.type != WFS_TYPE_DIR)
			err = err_set(-ENOTDIR, "what is there is not a directory");
	}
	if (err) {
		dir_unref(d);
		return err;
	}
	*ret = d;
	return 0;
}

static void put_below(struct pending *p, const char *name, unsigned depth)
{
	char *below;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return;
	below = dir_below(p->dir, name);
	if (!below || put_any(p, below, name, depth + 1))
		transfer_skip_err(p->t, below ? below : p->dir->path);
	free(below);
}

static int put_dir(struct transfer *t, const char *path, const struct stat *st, const struct wfs_fh *parent,
                   const char *name, unsigned depth)
{
	struct pending p = { .t = t };
	const struct dirent *e;
	DIR *d = opendir(path);
	int err;

	if (!d)
		return err_set(-errno, "the directory cannot be read");
	err = make_dir(t, path, st, parent, name, &p.dir);
	/* Directories after the files: a batch belongs to one directory. */
	for (int dirs = 0; dirs < 2 && !err; dirs++) {
		rewinddir(d);
		while (!transfer_is_gone(t) && (errno = 0, e = readdir(d)))
			if ((e->d_type == DT_DIR) == (dirs == 1))
				put_below(&p, e->d_name, depth);
		if (errno && !transfer_is_gone(t))
			transfer_skip(t, path, strerror(errno));
		flush_pending(&p);
	}
	closedir(d);
	if (!err)
		dir_unref(p.dir);
	transfer_add(t, 1, 0);
	return err;
}

static int put_any(struct pending *p, const char *path, const char *name, unsigned depth)
{
	struct stat st;
	int fd, err;

	if (depth > TRANSFER_DEPTH_MAX)
		return err_set(-ELOOP, "more than %u directories in each other", TRANSFER_DEPTH_MAX);
	if (lstat(path, &st) < 0)
		return err_set(-errno, "it cannot be looked at");
	if (S_ISDIR(st.st_mode)) {
		flush_pending(p);
		return put_dir(p->t, path, &st, &p->dir->fh, name, depth);
	}
	if (S_ISLNK(st.st_mode))
		return put_link(p->t, path, &p->dir->fh, name);
	if (!S_ISREG(st.st_mode))
		return err_set(-EINVAL, "it is neither a file, a directory nor a symbolic link");
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0) {
		err = err_set(-errno, "it cannot be opened");
	} else if (S_ISREG(st.st_mode) && st.st_size <= TRANSFER_SMALL_BYTES) {
		err = put_small(p, fd, &st, name, path);
	} else {
		err = put_large(p, fd, &st, name, path);
		fd = err ? fd : -1;
	}
	if (fd >= 0)
		close(fd);
	return err;
}

/* A path's last name: "dir/" is "dir". malloc'ed. */
static char *own_name(const char *path)
{
	size_t len = strlen(path);
	const char *start;

	while (len > 1 && path[len - 1] == '/')
		len--;
	start = memrchr(path, '/', len);
	start = start && (size_t)(start - path) + 1 < len ? start + 1 : path;
	return strndup(start, len - (size_t)(start - path));
}

enum ctl_status cmd_put(struct ctl *c)
{
	int last = c->operand_count - 1;
	struct transfer t = { 0 };
	struct pending p = { .t = &t };
	struct wfs_attr attr;
	struct wfs_fh dir;
	const char *name = NULL;
	struct remote r;
	enum ctl_status status = remote_open(c, c->operands[last], &r);
	bool into = false;

	if (status != CTL_OK)
		return status;
	into = remote_find(&r, true, &dir, &attr) == 0 && attr.type == WFS_TYPE_DIR;
	if (!into && last > 1)
		status = command_fail(CTL_FAILED, "'%s' is not a directory", c->operands[last]);
	else if (transfer_init(&t, r.w, "sending", c->args.jobs) || (!into && remote_parent(&r, &dir, &name)) ||
	         dir_new(&t, c->operands[last], &p.dir))
		status = remote_fail("cannot use", c->operands[last]);
	if (p.dir)
		p.dir->fh = dir;
	for (int i = 0; i < last && status == CTL_OK && !transfer_is_gone(&t); i++) {
		char *own = own_name(c->operands[i]);

		if (!own || put_any(&p, c->operands[i], into ? own : name, 0))
			transfer_skip_err(&t, c->operands[i]);
		flush_pending(&p);
		free(own);
		/* The next may have the same name: the last of them stays, whole. */
		jobs_wait(&t.jobs);
	}
	if (p.dir)
		dir_unref(p.dir);
	if (!transfer_done(&t))
		status = CTL_FAILED;
	remote_close(&r);
	return status;
}
