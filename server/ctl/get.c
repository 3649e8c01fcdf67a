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
#include "server/ctl/transfer.h"

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

/* A new file in place of whatever has that name. */
static int create_local(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

	return fd < 0 ? local_err("it cannot be created here") : fd;
}

/* Mode and time, then close. */
static int finish_local(int fd, const struct wfs_attr *a, int err)
{
	int64_t part = (int64_t)a->mtime_ns % 1000000000; /* negative before 1970 */
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
		                     { .tv_sec = (int64_t)a->mtime_ns / 1000000000 - (part < 0),
		                       .tv_nsec = part < 0 ? part + 1000000000 : part } };

	/* Never setuid or setgid: the owner here is another one. */
	if (!err && (fchmod(fd, a->mode & 01777) < 0 || futimens(fd, times) < 0))
		err = local_err("its mode and time cannot be set");
	if (close(fd) < 0 && !err)
		err = local_err("it cannot be written");
	return err;
}

static int get_range(struct transfer *t, struct wfs_file *f, int fd, uint64_t at, uint64_t end)
{
	while (at < end) {
		size_t want = end - at < TRANSFER_CHUNK_BYTES ? (size_t)(end - at) : TRANSFER_CHUNK_BYTES, len;
		int err = wfs_pread_some(f, t->chunk, want, at, &len);

		if (!err)
			err = write_whole(fd, t->chunk, len, at);
		if (err)
			return err;
		if (!len)
			break; /* it was cut meanwhile */
		at += len;
		transfer_add(t, 0, len);
	}
	return 0;
}

static int get_large(struct transfer *t, const struct remote_entry *e, int dir_fd, const char *name)
{
	struct wfs_file *f;
	uint64_t at = 0, end;
	int fd, err = wfs_open_fh(t->w, NULL, &e->fh, WFS_ACCESS_READ, &f);

	if (err)
		return err;
	fd = create_local(dir_fd, name);
	if (fd < 0) {
		wfs_close(f);
		return fd;
	}
	while (!err && at < e->attr.size_bytes) {
		err = transfer_next_data(t, e, &at, &end);
		if (!err)
			err = get_range(t, f, fd, at, end);
		at = end;
	}
	if (!err && ftruncate(fd, (off_t)e->attr.size_bytes) < 0)
		err = local_err("its size cannot be set");
	wfs_close(f);
	transfer_add(t, 1, 0);
	return finish_local(fd, &e->attr, err);
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

struct small {
	size_t len;
	int eof;
	struct wfs_attr attr;
};

/* The files from @e on that fit into one batch; how many of them, at least one. */
static size_t get_batch(struct transfer *t, const struct remote_entry *e, size_t count, int dir_fd, const char *path)
{
	struct small small[TRANSFER_BATCH_FILES];
	size_t n = 0, at = 0;
	unsigned done = 0;

	wfs_batch_clear(t->batch);
	while (n < count && n < TRANSFER_BATCH_FILES && e[n].attr.type == WFS_TYPE_FILE &&
	       e[n].attr.size_bytes <= TRANSFER_SMALL_BYTES && at + TRANSFER_SMALL_BYTES <= TRANSFER_CHUNK_BYTES) {
		wfs_batch_put(t->batch, &e[n].fh);
		wfs_batch_get_file(t->batch, t->chunk + at, (uint32_t)e[n].attr.size_bytes, &small[n].len,
		                   &small[n].attr, &small[n].eof);
		at += e[n++].attr.size_bytes;
	}
	(void)wfs_batch_run(t->batch, NULL, &done);
	at = 0;
	for (size_t i = 0; i < n; i++) {
		char *below = NULL;
		int fd, err;

		if (i == done / 2) {
			/* The one that failed ends the batch; the next begins behind it. */
			if (asprintf(&below, "%s/%s", path, e[i].name) >= 0)
				transfer_skip_err(t, below);
			free(below);
			return i + 1;
		}
		fd = create_local(dir_fd, e[i].name);
		err = fd < 0 ? fd : write_whole(fd, t->chunk + at, small[i].len, 0);
		if (fd >= 0)
			err = finish_local(fd, &small[i].attr, err);
		if (err && asprintf(&below, "%s/%s", path, e[i].name) >= 0)
			transfer_skip_err(t, below);
		free(below);
		if (!err)
			transfer_add(t, 1, small[i].len);
		at += e[i].attr.size_bytes;
	}
	return n;
}

static int get_any(struct transfer *t, const struct remote_entry *e, int dir_fd, const char *name, const char *path,
                   unsigned depth);

/* A server may not name what lies elsewhere. */
static bool is_plain(const char *name)
{
	return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int get_dir(struct transfer *t, const struct remote_entry *e, int parent_fd, const char *name, const char *path,
                   unsigned depth)
{
	struct remote_entry *entries = NULL;
	size_t count = 0;
	int fd, err;

	if (mkdirat(parent_fd, name, 0700) < 0 && errno != EEXIST)
		return local_err("the directory cannot be made here");
	fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return local_err("what is here is not a directory");
	err = remote_list(t->w, &e->fh, &entries, &count);
	for (size_t i = 0; i < count && !err && !t->gone;) {
		const struct remote_entry *at = &entries[i];
		char *below;

		if (is_plain(at->name) && at->attr.type == WFS_TYPE_FILE &&
		    at->attr.size_bytes <= TRANSFER_SMALL_BYTES) {
			i += get_batch(t, at, count - i, fd, path);
			continue;
		}
		i++;
		if (asprintf(&below, "%s/%s", path, at->name) < 0)
			continue;
		if (!is_plain(at->name))
			transfer_skip(t, below, "the server gave it a name that is none");
		else if (get_any(t, at, fd, at->name, below, depth + 1))
			transfer_skip_err(t, below);
		free(below);
	}
	free(entries);
	transfer_add(t, 1, 0);
	return finish_local(fd, &e->attr, err);
}

static int get_any(struct transfer *t, const struct remote_entry *e, int dir_fd, const char *name, const char *path,
                   unsigned depth)
{
	if (depth > TRANSFER_DEPTH_MAX)
		return err_set(-ELOOP, "more than %u directories in each other", TRANSFER_DEPTH_MAX);
	switch (e->attr.type) {
	case WFS_TYPE_DIR:
		return get_dir(t, e, dir_fd, name, path, depth);
	case WFS_TYPE_SYMLINK:
		return get_link(t, e, dir_fd, name);
	case WFS_TYPE_FILE:
		return get_large(t, e, dir_fd, name);
	default:
		return err_set(-EINVAL, "it is neither a file, a directory nor a symbolic link");
	}
}

static enum ctl_status get_one(struct ctl *c, const char *from, const char *to, bool into)
{
	struct remote_entry e = { 0 };
	struct transfer t = { 0 };
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
		if (!is_plain(name))
			name = "."; /* the export's top: its contents */
	}
	if (into && dir_fd < 0)
		status = command_fail(CTL_FAILED, "'%s': %s", to, strerror(errno));
	else if (transfer_init(&t, r.w, "fetching") || remote_find(&r, true, &e.fh, &e.attr) ||
	         get_any(&t, &e, dir_fd, name, from, 0))
		status = remote_fail("cannot fetch", from);
	if (t.failed)
		status = CTL_FAILED;
	if (dir_fd >= 0)
		close(dir_fd);
	transfer_done(&t);
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
