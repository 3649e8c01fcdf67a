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
#include "server/ctl/transfer.h"

/* A small file that waits for its batch. */
struct small {
	char *path; /* malloc'ed, the name behind it */
	const char *name;
	uint8_t *data;
	uint32_t len;
	struct wfs_set_attr set;
};

/* Those of one directory. */
struct pending {
	struct transfer *t;
	const struct wfs_fh *dir;
	unsigned count;
	uint64_t bytes;
	struct small files[TRANSFER_BATCH_FILES];
};

static uint64_t mtime_of(const struct stat *st)
{
	return (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec;
}

#define OPS_OF_FILE 3u

/* Files from @first on, as one batch; how many of them are done. */
static unsigned send_batch(struct pending *p, unsigned first, int *ret_err)
{
	struct wfs_batch *b = p->t->batch;
	unsigned done = 0;

	wfs_batch_clear(b);
	for (unsigned i = first; i < p->count; i++) {
		const struct small *f = &p->files[i];

		wfs_batch_put(b, p->dir);
		wfs_batch_put_file(b, f->name, f->set.mode & 0777, 0, f->data, f->len, NULL);
		wfs_batch_setattr(b, &f->set, NULL);
	}
	*ret_err = wfs_batch_run(b, NULL, &done);
	return done / OPS_OF_FILE;
}

/* What cannot be sent is left out, with what is behind it tried again. */
static void flush_pending(struct pending *p)
{
	unsigned at = 0;

	while (at < p->count && !p->t->gone) {
		int err;
		unsigned done = send_batch(p, at, &err);

		for (unsigned i = at; i < at + done; i++)
			transfer_add(p->t, 1, p->files[i].len);
		at += done;
		if (err && at < p->count)
			transfer_skip_err(p->t, p->files[at++].path);
	}
	for (unsigned i = 0; i < p->count; i++) {
		free(p->files[i].data);
		free(p->files[i].path);
	}
	p->count = 0;
	p->bytes = 0;
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
	struct small f = {
		.len = (uint32_t)st->st_size,
		.set = { .valid = WFS_SET_MODE | WFS_SET_MTIME, .mode = st->st_mode & 07777, .mtime_ns = mtime_of(st) }
	};

	if (p->count == TRANSFER_BATCH_FILES || p->bytes + f.len > TRANSFER_BATCH_BYTES)
		flush_pending(p);
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
	p->files[p->count++] = f;
	p->bytes += f.len;
	return 0;
}

static int put_range(struct transfer *t, struct wfs_file *f, int fd, uint64_t at, uint64_t end)
{
	while (at < end) {
		size_t want = end - at < TRANSFER_CHUNK_BYTES ? (size_t)(end - at) : TRANSFER_CHUNK_BYTES;
		ssize_t n = pread(fd, t->chunk, want, (off_t)at);
		int err;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(-errno, "it cannot be read");
		if (n == 0)
			return 0; /* it was cut meanwhile */
		err = wfs_pwrite(f, t->chunk, (size_t)n, at, 0);
		if (err)
			return err;
		at += (uint64_t)n;
		transfer_add(t, 0, (uint64_t)n);
	}
	return 0;
}

static int put_large(struct transfer *t, int fd, const struct stat *st, const struct wfs_fh *dir, const char *name)
{
	struct wfs_set_attr set = { .valid = WFS_SET_SIZE | WFS_SET_MODE | WFS_SET_MTIME,
		                    .mode = st->st_mode & 07777,
		                    .size_bytes = (uint64_t)st->st_size,
		                    .mtime_ns = mtime_of(st) };
	struct wfs_file *f;
	struct wfs_fh fh;
	off_t at = 0;
	int err = wfs_create(t->w, NULL, dir, name, st->st_mode & 0777, WFS_CREATE_TRUNCATE, WFS_ACCESS_WRITE, &f, &fh,
	                     NULL, NULL);

	if (err)
		return err;
	while (!err && at < st->st_size) {
		off_t data = lseek(fd, at, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO)
			break; /* a hole to the end */
		if (data < 0)
			data = at;
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			hole = st->st_size;
		err = put_range(t, f, fd, (uint64_t)data, (uint64_t)hole);
		at = hole;
	}
	wfs_close(f);
	transfer_add(t, 1, 0);
	return err ? err : wfs_setattr(t->w, NULL, &fh, &set, NULL);
}

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

static int put_dir(struct transfer *t, const char *path, const struct stat *st, const struct wfs_fh *parent,
                   const char *name, unsigned depth)
{
	struct wfs_new what = { .type = WFS_TYPE_DIR, .mode = st->st_mode & 07777 };
	struct pending p = { .t = t };
	struct wfs_attr there;
	const struct dirent *e;
	struct wfs_fh dir;
	DIR *d = opendir(path);
	int err;

	if (!d)
		return err_set(-errno, "the directory cannot be read");
	err = wfs_make(t->w, NULL, parent, name, &what, &dir, NULL);
	if (err == -EEXIST) {
		err = wfs_lookup(t->w, NULL, parent, name, &dir, &there);
		if (!err && there.type != WFS_TYPE_DIR)
			err = err_set(-ENOTDIR, "what is there is not a directory");
	}
	p.dir = &dir;
	/* Directories after the files: a batch belongs to one directory. */
	for (int dirs = 0; dirs < 2 && !err; dirs++) {
		rewinddir(d);
		while (!t->gone && (e = readdir(d))) {
			char *below;

			if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
			    (e->d_type == DT_DIR) != (dirs == 1))
				continue;
			if (asprintf(&below, "%s/%s", path, e->d_name) < 0)
				continue;
			if (put_any(&p, below, e->d_name, depth + 1))
				transfer_skip_err(t, below);
			free(below);
		}
		flush_pending(&p);
	}
	closedir(d);
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
		return put_dir(p->t, path, &st, p->dir, name, depth);
	}
	if (S_ISLNK(st.st_mode))
		return put_link(p->t, path, p->dir, name);
	if (!S_ISREG(st.st_mode))
		return err_set(-EINVAL, "it is neither a file, a directory nor a symbolic link");
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0) {
		err = err_set(-errno, "it cannot be opened");
	} else if (S_ISREG(st.st_mode) && st.st_size <= TRANSFER_SMALL_BYTES) {
		err = put_small(p, fd, &st, name, path);
	} else {
		err = put_large(p->t, fd, &st, p->dir, name);
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
	else if (transfer_init(&t, r.w, "sending") || (!into && remote_parent(&r, &dir, &name)))
		status = remote_fail("cannot use", c->operands[last]);
	for (int i = 0; i < last && status == CTL_OK && !t.gone; i++) {
		struct pending p = { .t = &t, .dir = &dir };
		char *own = own_name(c->operands[i]);

		if (!own || put_any(&p, c->operands[i], into ? own : name, 0))
			transfer_skip_err(&t, c->operands[i]);
		flush_pending(&p);
		free(own);
	}
	if (t.failed)
		status = CTL_FAILED;
	transfer_done(&t);
	remote_close(&r);
	return status;
}
