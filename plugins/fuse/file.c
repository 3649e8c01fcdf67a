/* SPDX-License-Identifier: BSD-3-Clause */
/* Open files: opened, read, written, made durable, closed. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "plugins/fuse/mount.h"

#define FOR_EXEC 040 /* the kernel's FMODE_EXEC, which comes with the flags of open */

unsigned file_access(const struct mount *m, int flags)
{
	switch (flags & O_ACCMODE) {
	case O_RDONLY:
		return WFS_ACCESS_READ;
	case O_WRONLY:
		/* A page that is written in part is read first, when the kernel keeps what is written. */
		return WFS_ACCESS_WRITE | (m->options->writeback ? WFS_ACCESS_READ : 0);
	default:
		return WFS_ACCESS_READ | WFS_ACCESS_WRITE;
	}
}

bool file_is_barred(unsigned access, int flags, uint32_t attr_flags)
{
	return access & WFS_ACCESS_WRITE && !(flags & O_APPEND) && attr_flags & WFS_FLAG_APPEND;
}

int file_attach(struct mount *m, struct node *n, struct wfs_file *file, unsigned access, struct fuse_file_info *fi)
{
	struct open_file *of = malloc(sizeof(*of));

	if (!of)
		return -ENOMEM;
	*of = (struct open_file){ .node = n, .file = file, .access = access, .seen = node_losses_seen(n) };
	fi->fh = (uint64_t)(uintptr_t)of;
	/* Closing it gives up locks, which the server would have to know of; and what was written to memory goes out,
	 * if it can be written to. */
	fi->noflush = m->options->local_locks && (fi->flags & O_ACCMODE) != O_RDWR;
	pthread_mutex_lock(&m->open_lock);
	atomic_fetch_add(&n->opens, 1);
	if (access & WFS_ACCESS_WRITE)
		atomic_fetch_add(&n->writers, 1);
	pthread_mutex_unlock(&m->open_lock);
	return 0;
}

void file_add_directly(const struct mount *m, struct fuse_file_info *fi, uint32_t attr_flags)
{
	struct open_file *of = file_of(fi);

	if (!m->options->writeback || !(of->access & WFS_ACCESS_WRITE) || !(attr_flags & WFS_FLAG_APPEND))
		return;
	of->direct = true;
	fi->direct_io = true;
}

void file_detach(struct open_file *of)
{
	if (of->access & WFS_ACCESS_WRITE)
		atomic_fetch_sub(&of->node->writers, 1);
	atomic_fetch_sub(&of->node->opens, 1);
	free(of);
}

/* The file is emptied, as it was opened to be; a crash of the server that takes that back is one of its losses. */
static int truncate_opened(struct mount *m, struct node *n, const struct caller *who, struct wfs_file *file,
                           uint64_t *ret_change)
{
	struct wfs_set_attr set = { .valid = WFS_SET_SIZE };
	uint64_t begin = wfs_change_begin(file);
	struct wfs_attr attr;
	int err;

	node_touch(m, n);
	err = wfs_setattr(m->client, &who->cred, &n->fh, &set, &attr);
	node_touch(m, n);
	if (err)
		return err;
	wfs_change_end(file, begin);
	*ret_change = attr.change;
	return 0;
}

/* A program may be run by those who may not read it. */
static int open_program(struct mount *m, struct node *n, const struct caller *who, struct wfs_file **ret)
{
	unsigned allowed;
	int err = wfs_access(m->client, &who->cred, &n->fh, WFS_ACCESS_EXEC, &allowed);

	if (!err && !allowed)
		err = -EACCES;
	return err ? err : node_open(m, n, NULL, WFS_ACCESS_READ, node_losses_seen(n), ret);
}

/*
 * A file is about to be opened, with that change counter. If others have changed it, what the kernel believes of its
 * size is old, unless it is told of that anyway; it asks again then. Returns whether the kernel's pages are good:
 * nobody changed the file since a time when they were.
 */
static bool opened_at(struct mount *m, struct node *n, fuse_ino_t ino, const struct caller *who, uint64_t change)
{
	uint64_t told = atomic_exchange(&n->attr_change, change);
	bool ours = atomic_load(&n->touched) > atomic_load(&n->attr_own);

	if (ours) {
		tell_begin(m);
		ours = events_fresh(m, seen_of(m, n->fsid, who->seen));
		tell_end(m);
	}
	if (told && told != change && !ours)
		(void)fuse_lowlevel_notify_inval_inode(m->session, ino, -1, 0);
	return atomic_exchange(&n->cached_change, change) == change;
}

/* False: it is not to be opened by its contents. */
static bool open_small(fuse_req_t req, struct node *n, fuse_ino_t ino, const struct caller *who,
                       struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct open_file *of;
	struct small *small;
	uint64_t change;

	if ((fi->flags & (O_ACCMODE | O_TRUNC | O_DIRECT)) != O_RDONLY || m->options->writeback)
		return false;
	small = small_open(m, n, who, &change);
	if (!small)
		return false;
	if (file_attach(m, n, NULL, WFS_ACCESS_READ, fi)) {
		small_close(m, n, small);
		return false;
	}
	of = file_of(fi);
	of->small = small;
	fi->keep_cache = opened_at(m, n, ino, who, change) || small_store(m, n, small);
	if (fuse_reply_open(req, fi) != 0) {
		small_close(m, n, small);
		file_detach(of);
	}
	return true;
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct node *n = node_of(m, ino);
	unsigned access = file_access(m, fi->flags);
	struct wfs_file_info info;
	struct wfs_file *file = NULL;
	struct caller who;
	int err;

	caller_get(req, &who);
	if (open_small(req, n, ino, &who, fi))
		return;
	err = node_open(m, n, &who.cred, access, node_losses_seen(n), &file);
	if (err == -EACCES && (fi->flags & FOR_EXEC))
		err = open_program(m, n, &who, &file);
	if (!err) {
		wfs_get_info(file, &info);
		err = file_is_barred(access, fi->flags, info.flags) ? -EPERM : 0;
	}
	/* What cannot be opened keeps its data. */
	if (!err && (fi->flags & O_TRUNC))
		err = truncate_opened(m, n, &who, file, &info.change);
	if (!err)
		err = file_attach(m, n, file, access, fi);
	if (err) {
		wfs_close(file);
		reply_err(req, err);
		return;
	}
	file_add_directly(m, fi, info.flags);
	fi->keep_cache = opened_at(m, n, ino, &who, info.change);
	if (fuse_reply_open(req, fi) != 0) {
		wfs_close(file);
		file_detach(file_of(fi));
	}
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct open_file *of = file_of(fi);
	int err = -ENOMEM;
	size_t len;
	void *buf;

	(void)ino;
	if (size > MOUNT_IO_BYTES_MAX)
		size = MOUNT_IO_BYTES_MAX;
	buf = malloc(size ? size : 1);
	if (buf)
		err = of->small ? small_read(mount_of(req), of, buf, size, (uint64_t)offset, &len)
		                : wfs_pread_some(of->file, buf, size, (uint64_t)offset, &len);
	if (err)
		reply_err(req, err);
	else
		(void)fuse_reply_buf(req, buf, len);
	free(buf);
}

/*
 * What the kernel sees to itself before it writes to its cache: a file that is written has no capabilities any more.
 * (That it is not setuid or setgid any more is the server's business.)
 */
static int drop_capability(struct mount *m, struct node *n)
{
	struct seen seen = { atomic_load(&m->events.changes), atomic_load(&m->sequence) };
	size_t len;
	int err;

	if (node_now_ns() < atomic_load(&n->no_capability_until_ns))
		return 0;
	/* Everybody may look whether there is one; not everybody may remove what there is not. */
	err = wfs_get_xattr(m->client, NULL, &n->fh, "security.capability", NULL, 0, &len);
	if (!err)
		err = wfs_remove_xattr(m->client, NULL, &n->fh, "security.capability");
	if (err && err != -ENODATA && err != -EOPNOTSUPP)
		return err;
	tell_begin(m);
	learn_missing(m, n, seen, &n->no_capability_until_ns);
	tell_end(m);
	return 0;
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t offset,
                     struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct open_file *of = file_of(fi);
	struct node *n = of->node;
	bool at_end = (fi->flags & O_APPEND) && !fi->writepage && (!m->options->writeback || of->direct);
	bool moved = false;
	/* Otherwise the kernel asks for that itself, after the write. */
	bool durable = of->direct && (fi->flags & O_DSYNC);
	uint64_t size_after;
	int err = of->direct ? drop_capability(m, n) : 0;

	node_touch(m, n);
	/* The kernel believes the end to be at @offset. */
	if (!err && at_end) {
		err = wfs_append(of->file, buf, size, &size_after);
		moved = !err && size_after != (uint64_t)offset + size;
		if (!err && durable)
			err = wfs_flush(of->file);
	} else if (!err) {
		err = wfs_pwrite(of->file, buf, size, (uint64_t)offset, m->options->durable || durable ? WFS_FUA : 0);
	}
	node_touch(m, n);
	/*
	 * Another client has written there, too: the pages that the kernel keeps of it are wrong. It drops them when it
	 * next asks for the size, which is not what it believes, or opens the file. It is not told here: a thread that
	 * serves requests must not wait for pages that other requests have locked. After the reply the node may be
	 * gone.
	 */
	if (moved)
		atomic_store(&n->cached_change, 0);
	/* The mode that the kernel believes is that from before. */
	if (of->direct && atomic_load(&n->setid))
		(void)fuse_lowlevel_notify_inval_inode(m->session, ino, -1, 0);
	if (err)
		reply_err(req, err);
	else
		(void)fuse_reply_write(req, size);
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	lock_drop_ranges(mount_of(req), file_of(fi)->node, fi->lock_owner);
	reply_err(req, 0);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct open_file *of = file_of(fi);

	(void)ino;
	if (fi->flock_release)
		lock_drop_flock(mount_of(req), of->node, fi->lock_owner);
	close_later(mount_of(req), of->file);
	if (of->small)
		small_close(mount_of(req), of->node, of->small);
	file_detach(of);
	reply_err(req, 0);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct open_file *of = file_of(fi);
	struct wfs_file *file;
	int err;

	(void)ino;
	(void)data_only;
	/* Whoever has written to it has opened it, and so it has a ledger. */
	if (of->small && !atomic_load(&of->node->ledger)) {
		reply_err(req, wfs_sync(m->client, NULL, &of->node->fh));
		return;
	}
	err = open_file_get(m, of, &file);
	reply_err(req, err ? err : wfs_flush(file));
}

void file_ops(struct fuse_lowlevel_ops *ops)
{
	ops->open = op_open;
	ops->read = op_read;
	ops->write = op_write;
	ops->flush = op_flush;
	ops->release = op_release;
	ops->fsync = op_fsync;
}
