/* SPDX-License-Identifier: BSD-3-Clause */
/* Attributes: read and set; links read; figures of the file system; the flags that chattr(1) sets. */
#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "plugins/fuse/mount.h"

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct node *n = node_of(m, ino);
	struct seen kept = { TOLD_NEVER, atomic_load(&m->sequence) };
	struct wfs_attr attr;
	struct caller who;
	int err;

	if (attr_kept(m, n, &attr)) {
		reply_attr(req, n, kept, &attr);
		return;
	}
	caller_get(req, &who);
	err = wfs_getattr(m->client, &who.cred, &n->fh, &attr);
	if (err == -ESTALE && ((fi && small_attr(file_of(fi)->small, &attr)) || attr_of_removed(m, n, &attr)))
		err = 0;
	if (err)
		reply_err(req, err);
	else
		reply_attr(req, n, who.seen, &attr);
}

static void set_of(const struct stat *st, int what, struct wfs_set_attr *ret)
{
	*ret = (struct wfs_set_attr){ .mode = st->st_mode & 07777,
		                      .uid = st->st_uid,
		                      .gid = st->st_gid,
		                      .size_bytes = (uint64_t)st->st_size,
		                      .atime_ns = wfs_time_to_ns(&st->st_atim),
		                      .mtime_ns = wfs_time_to_ns(&st->st_mtim) };
	if (what & FUSE_SET_ATTR_MODE)
		ret->valid |= WFS_SET_MODE;
	if (what & FUSE_SET_ATTR_UID)
		ret->valid |= WFS_SET_UID;
	if (what & FUSE_SET_ATTR_GID)
		ret->valid |= WFS_SET_GID;
	if (what & FUSE_SET_ATTR_SIZE)
		ret->valid |= WFS_SET_SIZE;
	if (what & FUSE_SET_ATTR_ATIME_NOW)
		ret->valid |= WFS_SET_ATIME_NOW;
	else if (what & FUSE_SET_ATTR_ATIME)
		ret->valid |= WFS_SET_ATIME;
	if (what & FUSE_SET_ATTR_MTIME_NOW)
		ret->valid |= WFS_SET_MTIME_NOW;
	else if (what & FUSE_SET_ATTR_MTIME)
		ret->valid |= WFS_SET_MTIME;
}

/*
 * Before somebody writes, the kernel has setuid and setgid cleared, in his name though he may not be the owner. The
 * server does that with the write itself; the kernel only needs to hear that it is done. True: it was that.
 */
static bool is_clearing(struct mount *m, const struct caller *who, struct node *n, const struct wfs_set_attr *set,
                        struct wfs_attr *ret)
{
	if (set->valid != WFS_SET_MODE || wfs_getattr(m->client, &who->cred, &n->fh, ret))
		return false;
	if ((set->mode & ~ret->mode) || (ret->mode & ~set->mode & 01777))
		return false;
	/* He who may change the mode was refused for another reason; the kernel asks for root never, and also for him
	 * who adds to a file of his own, which is open then. */
	if (who->cred.uid == 0 ||
	    (who->cred.uid == ret->uid && !(ret->flags & WFS_FLAG_APPEND && atomic_load(&n->writers))))
		return false;
	ret->mode = set->mode;
	return true;
}

/*
 * Who has a file open for writing may not be its owner. When the kernel keeps what is written it tells the time of the
 * last write itself, in the name of that one; it lets nobody but the owner set times otherwise.
 */
static int tell_write_time(struct mount *m, const struct caller *who, struct node *n, const struct wfs_set_attr *set,
                           struct wfs_attr *ret)
{
	struct wfs_set_attr now = { .valid = WFS_SET_MTIME_NOW };
	int err = wfs_setattr(m->client, NULL, &n->fh, set, ret);

	return err == -EPERM ? wfs_setattr(m->client, &who->cred, &n->fh, &now, ret) : err;
}

static bool in_group(const struct wfs_cred *cred, uint32_t gid)
{
	bool in = cred->gid == gid;

	for (unsigned i = 0; i < cred->group_count; i++)
		in |= cred->groups[i] == gid;
	return in;
}

/* The kernel has seen to it that the caller may do that. */
static void apply_to_removed(const struct wfs_cred *cred, const struct wfs_set_attr *set, struct wfs_attr *attr)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	attr->ctime_ns = wfs_time_to_ns(&now);
	if (set->valid & WFS_SET_UID)
		attr->uid = set->uid;
	if (set->valid & WFS_SET_GID)
		attr->gid = set->gid;
	if (set->valid & WFS_SET_MODE)
		attr->mode = cred->uid && !in_group(cred, attr->gid) ? set->mode & ~(uint32_t)S_ISGID : set->mode;
	if (set->valid & (WFS_SET_ATIME | WFS_SET_ATIME_NOW))
		attr->atime_ns = set->valid & WFS_SET_ATIME ? set->atime_ns : attr->ctime_ns;
	if (set->valid & (WFS_SET_MTIME | WFS_SET_MTIME_NOW))
		attr->mtime_ns = set->valid & WFS_SET_MTIME ? set->mtime_ns : attr->ctime_ns;
}

/* Of what the server does not know any more. Two at once: the last one counts. */
static bool set_of_removed(struct mount *m, const struct wfs_cred *cred, struct node *n, const struct wfs_set_attr *set,
                           struct wfs_attr *ret)
{
	if (set->valid & WFS_SET_SIZE || !attr_of_removed(m, n, ret))
		return false;
	apply_to_removed(cred, set, ret);
	attr_remember(m, n, ret);
	return true;
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int what, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct node *n = node_of(m, ino);
	struct wfs_set_attr set;
	struct wfs_file *file = NULL; /* whose size is set */
	struct wfs_attr attr;
	struct caller who;
	uint64_t begin = 0, before;
	bool clears;
	int err;

	set_of(st, what, &set);
	/* Both only come together when setuid or setgid is to be cleared because of the size, perhaps by somebody who
	 * may write and is not the owner. The server does that itself. */
	clears = (set.valid & WFS_SET_SIZE) && (set.valid & WFS_SET_MODE);
	if (clears)
		set.valid &= ~WFS_SET_MODE;
	caller_get(req, &who);
	if (fi && (set.valid & WFS_SET_SIZE))
		file = file_of(fi)->file;
	if (file)
		begin = wfs_change_begin(file);
	before = node_touch(m, n);
	err = wfs_setattr(m->client, &who.cred, &n->fh, &set, &attr);
	/* Who has the file open for writing may set its size, whatever its mode says by now. */
	if (err == -EACCES && fi && (set.valid & WFS_SET_SIZE) && (file_of(fi)->access & WFS_ACCESS_WRITE)) {
		set.valid |= clears ? WFS_SET_MODE : 0; /* it does not for root */
		err = wfs_setattr(m->client, NULL, &n->fh, &set, &attr);
	}
	if (err == -EPERM && m->options->writeback && fi && set.valid == WFS_SET_MTIME &&
	    (file_of(fi)->access & WFS_ACCESS_WRITE))
		err = tell_write_time(m, &who, n, &set, &attr);
	if (!err && file)
		wfs_change_end(file, begin);
	if ((err == -EPERM && is_clearing(m, &who, n, &set, &attr)) ||
	    (err == -ESTALE && set_of_removed(m, &who.cred, n, &set, &attr)))
		err = 0;
	who.seen.own = node_touch_end(m, n, before);
	if (err)
		reply_err(req, err);
	else
		reply_attr(req, n, who.seen, &attr);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct mount *m = mount_of(req);
	char target[WFS_PATH_BYTES_MAX + 1];
	struct caller who;
	int err;

	caller_get(req, &who);
	err = wfs_read_link(m->client, &who.cred, &node_of(m, ino)->fh, target);
	if (err)
		reply_err(req, err);
	else
		(void)fuse_reply_readlink(req, target);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct mount *m = mount_of(req);
	struct wfs_statfs s;
	struct caller who;
	int err;

	caller_get(req, &who);
	err = wfs_statfs(m->client, &who.cred, &node_of(m, ino)->fh, &s);
	if (err)
		reply_err(req, err);
	else
		reply_statfs(req, &s);
}

/* chattr(1) speaks of flags, the kernel itself of xflags, to see what they were. */
static const struct {
	uint32_t ours, flag, xflag;
} flag_names[] = {
	{ WFS_FLAG_IMMUTABLE, FS_IMMUTABLE_FL, FS_XFLAG_IMMUTABLE },
	{ WFS_FLAG_APPEND, FS_APPEND_FL, FS_XFLAG_APPEND },
};
#define FLAG_COUNT (sizeof(flag_names) / sizeof(flag_names[0]))

static int get_flags(struct mount *m, const struct caller *who, struct node *n, uint32_t *ret_flags,
                     struct fsxattr *ret)
{
	struct wfs_attr attr;
	int err = wfs_getattr(m->client, &who->cred, &n->fh, &attr);

	if (err)
		return err;
	*ret_flags = 0;
	*ret = (struct fsxattr){ .fsx_projid = attr.project };
	/* What is made in a directory has its project. */
	if (attr.project && attr.type == WFS_TYPE_DIR) {
		*ret_flags |= FS_PROJINHERIT_FL;
		ret->fsx_xflags |= FS_XFLAG_PROJINHERIT;
	}
	for (size_t i = 0; i < FLAG_COUNT; i++) {
		if (attr.flags & flag_names[i].ours) {
			*ret_flags |= flag_names[i].flag;
			ret->fsx_xflags |= flag_names[i].xflag;
		}
	}
	return 0;
}

static int set_flags(struct mount *m, const struct caller *who, struct node *n, uint32_t flags)
{
	struct wfs_set_attr set = { .valid = WFS_SET_FLAGS };
	struct wfs_attr attr;
	int err;

	/* Always so, and not a flag of its own. */
	flags &= ~(uint32_t)FS_PROJINHERIT_FL;
	for (size_t i = 0; i < FLAG_COUNT; i++) {
		if (flags & flag_names[i].flag)
			set.flags |= flag_names[i].ours;
		flags &= ~flag_names[i].flag;
	}
	if (flags)
		return -EOPNOTSUPP;
	node_touch(m, n);
	err = wfs_setattr(m->client, &who->cred, &n->fh, &set, &attr);
	node_touch(m, n);
	return err;
}

/* The project is set; flags stay what they are, since chattr(1) sets them by the other way. */
static int set_xattr_struct(struct mount *m, const struct caller *who, struct node *n, const struct fsxattr *x)
{
	struct wfs_set_attr set = { .valid = WFS_SET_PROJECT, .project = x->fsx_projid };
	struct wfs_attr attr;
	int err;

	node_touch(m, n);
	err = wfs_setattr(m->client, &who->cred, &n->fh, &set, &attr);
	node_touch(m, n);
	return err;
}

static void reply_flags(fuse_req_t req, struct node *n, const struct caller *who, unsigned cmd)
{
	struct fsxattr x = { 0 };
	uint32_t flags;
	int err = get_flags(mount_of(req), who, n, &flags, &x);

	if (err)
		reply_err(req, err);
	else if (cmd == (unsigned)FS_IOC_GETFLAGS)
		(void)fuse_reply_ioctl(req, 0, &flags, sizeof(flags));
	else
		(void)fuse_reply_ioctl(req, 0, &x, sizeof(x));
}

static void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg, struct fuse_file_info *fi, unsigned mode,
                     const void *in, size_t in_bytes, size_t out_bytes)
{
	struct mount *m = mount_of(req);
	struct node *n = node_of(m, ino);
	struct caller who;
	struct fsxattr x;
	uint32_t flags;
	int err = -ENOTTY;

	(void)arg;
	(void)fi;
	(void)mode;
	caller_get(req, &who);
	if ((cmd == (unsigned)FS_IOC_GETFLAGS && out_bytes >= sizeof(flags)) ||
	    (cmd == (unsigned)FS_IOC_FSGETXATTR && out_bytes >= sizeof(struct fsxattr))) {
		reply_flags(req, n, &who, cmd);
		return;
	}
	if (cmd == (unsigned)FS_IOC_SETFLAGS && in_bytes >= sizeof(flags)) {
		memcpy(&flags, in, sizeof(flags));
		err = set_flags(m, &who, n, flags);
	} else if (cmd == (unsigned)FS_IOC_FSSETXATTR && in_bytes >= sizeof(x)) {
		memcpy(&x, in, sizeof(x));
		err = set_xattr_struct(m, &who, n, &x);
	}
	if (err)
		reply_err(req, err);
	else
		(void)fuse_reply_ioctl(req, 0, NULL, 0);
}

void attr_ops(struct fuse_lowlevel_ops *ops)
{
	ops->getattr = op_getattr;
	ops->setattr = op_setattr;
	ops->readlink = op_readlink;
	ops->statfs = op_statfs;
	ops->ioctl = op_ioctl;
}
