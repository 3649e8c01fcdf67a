/* SPDX-License-Identifier: BSD-3-Clause */
/* The frame of copies between here and a server, and wfs cat and wfs cp. */
#include "server/ctl/transfer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "core/base/err.h"
#include "server/ctl/size.h"

int transfer_init(struct transfer *t, struct wfs *w, const char *what, unsigned workers)
{
	int err = 0;

	*t = (struct transfer){ .w = w };
	sync_mutex_init(&t->lock, SYNC_RANK_LEAF, "transfer");
	progress_init(&t->progress, what);
	for (unsigned i = 0; i < workers && !err; i++) {
		t->workers[i].chunk = malloc(TRANSFER_CHUNK_BYTES);
		err = t->workers[i].chunk ? wfs_batch_new(w, &t->workers[i].batch)
		                          : err_set(-ENOMEM, "no memory for a copy");
	}
	jobs_init(&t->jobs, workers);
	return err;
}

bool transfer_done(struct transfer *t)
{
	if (!t->w)
		return true;
	jobs_done(&t->jobs);
	progress_done(&t->progress);
	for (unsigned i = 0; i < JOBS_WORKERS_MAX; i++) {
		wfs_batch_free(t->workers[i].batch);
		free(t->workers[i].chunk);
	}
	sync_mutex_done(&t->lock);
	return !t->failed;
}

void transfer_add(struct transfer *t, uint64_t files, uint64_t bytes)
{
	sync_mutex_lock(&t->lock);
	t->file_count += files;
	t->bytes += bytes;
	progress_bytes(&t->progress, t->file_count, t->bytes);
	sync_mutex_unlock(&t->lock);
}

bool transfer_is_gone(struct transfer *t)
{
	bool gone;

	sync_mutex_lock(&t->lock);
	gone = t->gone;
	sync_mutex_unlock(&t->lock);
	return gone;
}

int transfer_no_server(void)
{
	return err_set(-ETIMEDOUT, "there is no server");
}

bool transfer_is_mounted(int fd)
{
	return fgetxattr(fd, WFS_FILE_XATTR, NULL, 0) > 0;
}

bool transfer_is_itself(int fd, const struct wfs_attr *there)
{
	char here[64], wanted[64];
	ssize_t len = fgetxattr(fd, WFS_FILE_XATTR, here, sizeof(here));
	int wanted_len = snprintf(wanted, sizeof(wanted), WFS_FILE_FORMAT, (unsigned long long)there->fsid,
	                          (unsigned long long)there->file_id);

	return len == wanted_len && memcmp(here, wanted, (size_t)len) == 0;
}

int transfer_next_data(struct transfer *t, const struct remote_entry *e, uint64_t *at, uint64_t *end)
{
	const uint64_t size = e->attr.size_bytes, from = *at;
	int err = wfs_seek(t->w, NULL, &e->fh, from, WFS_SEEK_DATA, at);

	if (err == -ENXIO || (!err && *at >= size)) {
		*at = *end = size;
		return 0;
	}
	if (!err && *at < from)
		*at = from;
	if (!err)
		err = wfs_seek(t->w, NULL, &e->fh, *at, WFS_SEEK_HOLE, end);
	/* Data that became a hole in between are data, so that whoever asks always comes further. */
	if (!err && (*end <= *at || *end > size))
		*end = size;
	return err;
}

static void skip_locked(struct transfer *t, const char *path, const char *why) SYNC_REQUIRES(t->lock)
{
	progress_done(&t->progress);
	command_fail(CTL_FAILED, "'%s' is left out: %s", path, why);
	t->failed = true;
}

void transfer_skip(struct transfer *t, const char *path, const char *why)
{
	sync_mutex_lock(&t->lock);
	skip_locked(t, path, why);
	sync_mutex_unlock(&t->lock);
}

void transfer_skip_err(struct transfer *t, const char *path)
{
	bool no_server = err_get()->code == -ETIMEDOUT;
	char text[512];

	wfs_error_text(text, sizeof(text));
	sync_mutex_lock(&t->lock);
	/* Who was under way beside the first one learns it, too. */
	if (!no_server || !t->gone)
		skip_locked(t, path, text);
	t->gone |= no_server;
	sync_mutex_unlock(&t->lock);
}

static int print_file(struct transfer *t, const struct wfs_fh *fh)
{
	struct wfs_file *f;
	uint64_t at = 0;
	size_t len;
	int err = wfs_open_fh(t->w, NULL, fh, WFS_ACCESS_READ, &f);

	if (err)
		return err;
	do {
		err = wfs_pread_some(f, t->workers[0].chunk, TRANSFER_CHUNK_BYTES, at, &len);
		if (err)
			break;
		if (fwrite(t->workers[0].chunk, 1, len, stdout) != len)
			err = err_set(-EIO, "cannot write the output");
		at += len;
	} while (!err && len == TRANSFER_CHUNK_BYTES);
	wfs_close(f);
	return err;
}

enum ctl_status cmd_cat(struct ctl *c)
{
	struct transfer t;
	struct wfs_fh fh;
	struct remote r;
	enum ctl_status status = remote_open(c, c->operands[0], &r);

	if (status != CTL_OK)
		return status;
	if (transfer_init(&t, r.w, NULL, 1) || remote_find(&r, true, &fh, NULL) || print_file(&t, &fh))
		status = remote_fail("cannot read", c->operands[0]);
	transfer_done(&t);
	remote_close(&r);
	return status;
}

/* ---- cp: the server copies ---- */

#define COPY_BYTES (64u << 20) /* at once */

static int copy_range(struct transfer *t, const struct remote_entry *e, const struct wfs_fh *to, uint64_t at,
                      uint64_t end)
{
	while (at < end) {
		uint64_t want = end - at < COPY_BYTES ? end - at : COPY_BYTES, len;
		int err = wfs_copy(t->w, NULL, &e->fh, at, to, at, want, &len);

		if (err)
			return err;
		if (!len || len > want)
			return err_set(-EIO, "it became shorter meanwhile");
		at += len;
		transfer_add(t, 0, len);
	}
	return 0;
}

static int copy_data(struct transfer *t, const struct remote_entry *e, const struct wfs_fh *to)
{
	struct wfs_set_attr set = { .valid = WFS_SET_SIZE | WFS_SET_MODE | WFS_SET_MTIME,
		                    .mode = e->attr.mode,
		                    .size_bytes = e->attr.size_bytes,
		                    .mtime_ns = e->attr.mtime_ns };
	uint64_t at = 0, end = 0;
	int err = 0;

	while (!err && at < e->attr.size_bytes) {
		err = transfer_next_data(t, e, &at, &end);
		if (!err)
			err = copy_range(t, e, to, at, end);
		at = end;
	}
	return err ? err : wfs_setattr(t->w, NULL, to, &set, NULL);
}

static bool is_same(const struct wfs_attr *a, const struct wfs_attr *b)
{
	return a->fsid == b->fsid && a->file_id == b->file_id;
}

/* A file in place of what has the name, which must not be the source, by this name or another: that would be emptied.
 */
static int copy_file(struct transfer *t, const struct remote_entry *e, const struct wfs_fh *dir, const char *name)
{
	struct wfs_attr there;
	struct wfs_file *f;
	struct wfs_fh to;
	int err = wfs_lookup(t->w, NULL, dir, name, &to, &there);

	if (!err && is_same(&there, &e->attr))
		return err_set(-EINVAL, "it is the same file as its copy");
	if (err && err != -ENOENT)
		return err;
	err = wfs_create(t->w, NULL, dir, name, e->attr.mode, WFS_CREATE_TRUNCATE, WFS_ACCESS_WRITE, &f, &to, NULL,
	                 NULL);
	if (err)
		return err;
	wfs_close(f);
	err = copy_data(t, e, &to);
	transfer_add(t, 1, 0);
	return err;
}

/* A file of a directory that is copied. */
struct copy {
	struct transfer *t;
	struct remote_entry e;
	struct wfs_fh dir;
	char *path;
};

static void copy_job(void *arg, unsigned worker)
{
	struct copy *c = arg;

	(void)worker;
	if (!transfer_is_gone(c->t) && copy_file(c->t, &c->e, &c->dir, c->e.name))
		transfer_skip_err(c->t, c->path);
	free(c->path);
	free(c);
}

static int copy_entry(struct transfer *t, const struct remote_entry *e, const struct wfs_fh *dir, const char *name,
                      bool recursive, const char *path, unsigned depth);

/* Takes @path, which is malloc'ed. */
static int copy_below(struct transfer *t, const struct remote_entry *e, const struct wfs_fh *to, char *path,
                      unsigned depth)
{
	struct copy *c;

	if (e->attr.type != WFS_TYPE_FILE) {
		if (copy_entry(t, e, to, e->name, true, path, depth))
			transfer_skip_err(t, path);
		free(path);
		return 0;
	}
	c = malloc(sizeof(*c));
	if (!c) {
		free(path);
		return err_set(-ENOMEM, "no memory for a copy");
	}
	*c = (struct copy){ .t = t, .e = *e, .dir = *to, .path = path };
	jobs_add(&t->jobs, 0, copy_job, c);
	return 0;
}

static int copy_dir(struct transfer *t, const struct remote_entry *e, const struct wfs_fh *to, const char *path,
                    unsigned depth)
{
	struct remote_entry *entries = NULL;
	size_t count = 0;
	int err = remote_list(t->w, &e->fh, &entries, &count);

	for (size_t i = 0; i < count && !err && !transfer_is_gone(t); i++) {
		char *below;

		if (asprintf(&below, "%s/%s", path, entries[i].name) < 0)
			err = err_set(-ENOMEM, "no memory for a path");
		else
			err = copy_below(t, &entries[i], to, below, depth + 1);
	}
	free(entries);
	return err;
}

static int copy_entry(struct transfer *t, const struct remote_entry *e, const struct wfs_fh *dir, const char *name,
                      bool recursive, const char *path, unsigned depth)
{
	struct wfs_new what = { .type = e->attr.type, .mode = e->attr.mode, .rdev = e->attr.rdev };
	char target[WFS_PATH_BYTES_MAX + 1];
	struct wfs_attr there;
	struct wfs_fh to;
	int err;

	if (depth > TRANSFER_DEPTH_MAX)
		return err_set(-ELOOP, "more than %u directories in each other", TRANSFER_DEPTH_MAX);
	if (e->attr.type == WFS_TYPE_FILE)
		return copy_file(t, e, dir, name);
	if (e->attr.type == WFS_TYPE_DIR && !recursive)
		return err_set(-EISDIR, "it is a directory: say --recursive");
	if (depth && is_same(&t->copy, &e->attr))
		return err_set(-EINVAL, "it is the copy itself");
	if (e->attr.type == WFS_TYPE_SYMLINK) {
		err = wfs_read_link(t->w, NULL, &e->fh, target);
		if (err)
			return err;
		what.target = target;
	}
	err = wfs_make(t->w, NULL, dir, name, &what, &to, &there);
	if (err == -EEXIST && e->attr.type == WFS_TYPE_DIR) {
		err = wfs_lookup(t->w, NULL, dir, name, &to, &there);
		if (!err && there.type != WFS_TYPE_DIR)
			err = err_set(-ENOTDIR, "what is there is not a directory");
		if (!err && is_same(&there, &e->attr))
			err = err_set(-EINVAL, "it is the same directory as its copy");
	}
	transfer_add(t, 1, 0);
	if (err || e->attr.type != WFS_TYPE_DIR)
		return err;
	if (!depth)
		t->copy = there;
	return copy_dir(t, e, &to, path, depth);
}

/* Where a copy goes: into a directory that is there, under its own name, or under the name given. */
static int target_of(const struct remote *to, const char *own_name, struct wfs_fh *ret_dir, const char **ret_name)
{
	struct wfs_attr attr;

	if (remote_find(to, true, ret_dir, &attr) == 0 && attr.type == WFS_TYPE_DIR) {
		*ret_name = own_name;
		return *own_name ? 0 : err_set(-EINVAL, "an export has no name of its own to be copied under");
	}
	return remote_parent(to, ret_dir, ret_name);
}

static const char *last_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

enum ctl_status cmd_cp(struct ctl *c)
{
	struct remote from = { 0 }, to = { 0 };
	struct remote_entry e = { 0 };
	struct transfer t = { 0 };
	struct wfs_fh dir;
	const char *name;
	enum ctl_status status = remote_open(c, c->operands[0], &from);

	if (status == CTL_OK)
		status = remote_open(c, c->operands[1], &to);
	if (status != CTL_OK)
		goto out;
	/* By the connection of the target: both are on one server, or the handle is unknown there. */
	if (transfer_init(&t, to.w, "copying", c->args.jobs) || remote_find(&from, false, &e.fh, &e.attr) ||
	    target_of(&to, last_name(from.path), &dir, &name) ||
	    copy_entry(&t, &e, &dir, name, c->args.given & ARGS_RECURSIVE, c->operands[0], 0))
		status = remote_fail("cannot copy", c->operands[0]);
	if (!transfer_done(&t))
		status = CTL_FAILED;
out:
	remote_close(&from);
	remote_close(&to);
	return status;
}
