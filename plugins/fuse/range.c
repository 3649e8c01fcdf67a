/* SPDX-License-Identifier: BSD-3-Clause */
/* Ranges of files: allocated, punched, zeroed, copied by the server, searched for data and holes. */
#include <errno.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plugins/fuse/mount.h"

#define MODIFY_ATTEMPTS_MAX 100

/*
 * The file is at least that long then, without ever cutting off what another client adds meanwhile, and modified,
 * though nothing of its data is: it has new times, and lends nobody its owner any more. The server sees to the latter
 * by itself for who makes a file longer as himself (@cred). *@attr is what it looked like, and then what it looks like.
 */
static int modify(struct mount *m, const struct caller *who, const struct wfs_cred *cred, struct node *n,
                  uint64_t size_bytes, struct wfs_attr *attr)
{
	struct wfs_set_attr set = { .size_bytes = size_bytes };
	struct wfs_batch *b;
	int err = wfs_batch_new(m->client, &b);

	if (err)
		return err;
	for (int i = 0; i < MODIFY_ATTEMPTS_MAX; i++) {
		bool longer = attr->size_bytes < size_bytes;
		uint32_t lends = S_ISUID | (attr->mode & S_IXGRP ? S_ISGID : 0u);
		bool clears = attr->mode & lends && who->cred.uid && !(longer && cred);

		set.valid = (longer ? WFS_SET_SIZE : WFS_SET_MTIME_NOW) | (clears ? WFS_SET_MODE : 0);
		set.mode = attr->mode & 07777 & ~lends;
		wfs_batch_clear(b);
		(void)wfs_batch_put(b, &n->fh);
		if (longer || clears)
			(void)wfs_batch_guard(b, attr->change);
		(void)wfs_batch_setattr(b, &set, attr);
		/* He has it open for writing, which is enough to clear these, and may not be its owner. */
		err = wfs_batch_run(b, clears ? NULL : cred, NULL);
		if (err != -EREMCHG || wfs_getattr(m->client, cred, &n->fh, attr))
			break;
	}
	wfs_batch_free(b);
	return err;
}

/* Copy on write: space cannot be set aside for one file, but a full file system is told of now. */
static int see_room(struct mount *m, const struct wfs_cred *cred, struct node *n, uint64_t len_bytes)
{
	struct wfs_statfs s;
	int err = wfs_statfs(m->client, cred, &n->fh, &s);

	return err ? err : s.available_bytes < len_bytes ? -ENOSPC : 0;
}

static int allocate(struct mount *m, const struct caller *who, const struct wfs_cred *cred, struct node *n, int mode,
                    uint64_t offset, uint64_t len)
{
	bool zero = mode & FALLOC_FL_ZERO_RANGE, punch = mode & FALLOC_FL_PUNCH_HOLE;
	uint64_t end = offset + len, size_bytes = mode & FALLOC_FL_KEEP_SIZE ? 0 : end;
	struct wfs_attr attr;
	bool empties;
	int err = 0;

	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		return -EOPNOTSUPP;
	if (!punch)
		err = see_room(m, cred, n, len);
	if (!err)
		err = wfs_getattr(m->client, cred, &n->fh, &attr);
	if (err)
		return err;
	empties = (zero || punch) && offset < attr.size_bytes;
	/* Whoever clears data as himself modifies the file by that. */
	if (!empties || !cred || attr.size_bytes < size_bytes)
		err = modify(m, who, cred, n, size_bytes, &attr);
	if (err || !empties || offset >= attr.size_bytes)
		return err;
	if (end > attr.size_bytes)
		end = attr.size_bytes;
	return wfs_allocate(m->client, cred, &n->fh, punch ? WFS_ALLOCATE_PUNCH : WFS_ALLOCATE_ZERO, offset,
	                    end - offset);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t len, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct node *n = node_of(m, ino);
	struct wfs_file *file = file_of(fi)->file; /* open for writing: the kernel sees to that */
	uint64_t begin = wfs_change_begin(file);
	struct caller who;
	int err;

	caller_get(req, &who);
	node_touch(m, n);
	err = allocate(m, &who, &who.cred, n, mode, (uint64_t)offset, (uint64_t)len);
	/* The open file is what counts, not its mode by now. */
	if (err == -EACCES && (file_of(fi)->access & WFS_ACCESS_WRITE))
		err = allocate(m, &who, NULL, n, mode, (uint64_t)offset, (uint64_t)len);
	if (!err)
		wfs_change_end(file, begin);
	node_touch(m, n);
	reply_err(req, err);
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t offset_in, struct fuse_file_info *fi_in,
                               fuse_ino_t ino_out, off_t offset_out, struct fuse_file_info *fi_out, size_t len,
                               int flags)
{
	struct mount *m = mount_of(req);
	struct node *from = node_of(m, ino_in), *to = node_of(m, ino_out);
	struct wfs_file *file = file_of(fi_out)->file; /* open for writing: the kernel sees to that */
	uint64_t begin = wfs_change_begin(file), done = 0;
	struct caller who;
	int err;

	(void)flags;
	caller_get(req, &who);
	node_touch(m, to);
	err = wfs_copy(m->client, &who.cred, &from->fh, (uint64_t)offset_in, &to->fh, (uint64_t)offset_out, len, &done);
	if (err == -EACCES && (file_of(fi_in)->access & WFS_ACCESS_READ) &&
	    (file_of(fi_out)->access & WFS_ACCESS_WRITE))
		err = wfs_copy(m->client, NULL, &from->fh, (uint64_t)offset_in, &to->fh, (uint64_t)offset_out, len,
		               &done);
	if (!err)
		wfs_change_end(file, begin);
	node_touch(m, to);
	if (err)
		reply_err(req, err);
	else
		(void)fuse_reply_write(req, done);
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct node *n = node_of(m, ino);
	unsigned what = whence == SEEK_HOLE ? WFS_SEEK_HOLE : WFS_SEEK_DATA;
	struct caller who;
	uint64_t found;
	int err;

	if (whence != SEEK_HOLE && whence != SEEK_DATA) {
		reply_err(req, -EINVAL);
		return;
	}
	caller_get(req, &who);
	err = wfs_seek(m->client, &who.cred, &n->fh, (uint64_t)offset, what, &found);
	if (err == -EACCES && file_of(fi)->access)
		err = wfs_seek(m->client, NULL, &n->fh, (uint64_t)offset, what, &found);
	if (err)
		reply_err(req, err);
	else
		(void)fuse_reply_lseek(req, (off_t)found);
}

void range_ops(struct fuse_lowlevel_ops *ops)
{
	ops->fallocate = op_fallocate;
	ops->copy_file_range = op_copy_file_range;
	ops->lseek = op_lseek;
}
