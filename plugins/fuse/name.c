/* SPDX-License-Identifier: BSD-3-Clause */
/* Names: looked up, made, linked, renamed, removed; and what the kernel forgets. One round trip each. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "plugins/fuse/mount.h"

/* Operations of a batch of remove_name() that are done once the name of a file, or of a directory, is removed. */
#define REMOVED 2u
#define DIR_REMOVED 5u
/* Likewise of make(). */
#define MADE 4u

/* With the attributes of the directory before that, when they tell something. */
static int look_up(struct mount *m, struct node *dir, const struct wfs_cred *cred, const char *name, struct wfs_fh *fh,
                   struct wfs_attr *attr)
{
	struct wfs_attr dir_attr;
	struct wfs_batch *b;
	unsigned done = 0;
	int err;

	if (!names_are_old(m, dir))
		return wfs_lookup(m->client, cred, &dir->fh, name, fh, attr);
	err = wfs_batch_new(m->client, &b);
	if (err)
		return err;
	(void)wfs_batch_put(b, &dir->fh);
	(void)wfs_batch_getattr(b, &dir_attr);
	(void)wfs_batch_lookup(b, name);
	(void)wfs_batch_get_fh(b, fh);
	(void)wfs_batch_getattr(b, attr);
	err = wfs_batch_run(b, cred, &done);
	wfs_batch_free(b);
	if (done >= 2)
		names_renew(m, dir, &dir_attr);
	return err;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mount *m = mount_of(req);
	struct node *dir = node_of(m, parent);
	struct fuse_entry_param none = { 0 };
	struct caller who;
	struct wfs_attr attr;
	struct wfs_fh fh;
	int err;

	if (names_lack(m, dir, name, &none.entry_timeout)) {
		(void)fuse_reply_entry(req, &none);
		return;
	}
	caller_get(req, &who);
	err = look_up(m, dir, &who.cred, name, &fh, &attr);
	if (err != -ENOENT || m->options->negative_timeout_s <= 0) {
		reply_entry(req, dir, name, who.seen, err, &attr, &fh);
		return;
	}
	tell_begin(m);
	none.entry_timeout = told_name_s(m, dir, name, who.seen, m->options->negative_timeout_s);
	(void)fuse_reply_entry(req, &none);
	tell_end(m);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	struct mount *m = mount_of(req);
	struct node *n = node_of(m, ino);

	if (n != m->root)
		node_forget(&m->nodes, n, count);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct mount *m = mount_of(req);

	for (size_t i = 0; i < count; i++) {
		struct node *n = node_of(m, forgets[i].ino);

		if (n != m->root)
			node_forget(&m->nodes, n, forgets[i].nlookup);
	}
	fuse_reply_none(req);
}

/* Does what is made in @dir inherit an ACL? The umask does not count then. */
static bool inherits_acl(struct mount *m, struct node *dir)
{
	struct seen seen = { TOLD_NEVER, atomic_load(&m->sequence) };
	size_t len;
	int err;

	if (node_now_ns() < atomic_load(&dir->no_default_acl_until_ns))
		return false;
	err = wfs_get_xattr(m->client, NULL, &dir->fh, "system.posix_acl_default", NULL, 0, &len);
	if (!err)
		return len > 0;
	tell_begin(m);
	learn_missing(m, dir, seen, &dir->no_default_acl_until_ns);
	tell_end(m);
	return false;
}

static uint32_t new_mode(fuse_req_t req, struct node *dir, mode_t mode)
{
	mode_t umask = fuse_req_ctx(req)->umask;

	if ((mode & umask & 0777) && !inherits_acl(mount_of(req), dir))
		mode &= ~umask;
	return mode & 07777;
}

/* A name of the directory was added (@added), or another change made, or perhaps: what is known of it after that. NULL:
 * nothing. */
static void dir_changed(struct mount *m, struct node *dir, uint64_t before, const char *added,
                        const struct wfs_attr *attr)
{
	names_changed(m, dir, added, attr);
	if (attr)
		attr_keep(m, dir, before, attr);
	else
		(void)node_touch(m, dir);
}

static void make(fuse_req_t req, fuse_ino_t parent, const char *name, const struct wfs_new *what)
{
	struct mount *m = mount_of(req);
	struct node *dir = node_of(m, parent), *n;
	struct fuse_entry_param entry;
	struct wfs_attr attr, dir_attr;
	struct wfs_batch *b;
	struct caller who;
	struct wfs_fh fh;
	unsigned done = 0;
	uint64_t before;
	int err = wfs_batch_new(m->client, &b);

	if (err) {
		reply_err(req, err);
		return;
	}
	caller_get(req, &who);
	before = node_touch(m, dir);
	(void)wfs_batch_put(b, &dir->fh);
	(void)wfs_batch_make(b, name, what);
	(void)wfs_batch_get_fh(b, &fh);
	(void)wfs_batch_getattr(b, &attr);
	(void)wfs_batch_put(b, &dir->fh);
	(void)wfs_batch_getattr(b, &dir_attr);
	err = wfs_batch_run(b, &who.cred, &done);
	wfs_batch_free(b);
	dir_changed(m, dir, before, name, err ? NULL : &dir_attr);
	/* What counts is whether it was made. */
	if (done < MADE) {
		reply_err(req, err);
		return;
	}
	tell_begin(m);
	err = entry_fill(m, dir, name, who.seen, &attr, &fh, &entry, &n);
	if (!err)
		names_begin(m, n, &attr);
	if (err)
		reply_err(req, err);
	else if (fuse_reply_entry(req, &entry) != 0)
		node_forget(&m->nodes, n, 1);
	tell_end(m);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct wfs_new what = { .mode = new_mode(req, node_of(mount_of(req), parent), mode) };

	switch (mode & S_IFMT) {
	case 0:
	case S_IFREG:
		what.type = WFS_TYPE_FILE;
		break;
	case S_IFIFO:
		what.type = WFS_TYPE_FIFO;
		break;
	case S_IFSOCK:
		what.type = WFS_TYPE_SOCKET;
		break;
	case S_IFCHR:
	case S_IFBLK:
		what.type = S_ISCHR(mode) ? WFS_TYPE_CHAR : WFS_TYPE_BLOCK;
		what.rdev = (uint64_t)major(rdev) << 32 | minor(rdev);
		break;
	default:
		reply_err(req, -EINVAL);
		return;
	}
	make(req, parent, name, &what);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct wfs_new what = { .type = WFS_TYPE_DIR, .mode = new_mode(req, node_of(mount_of(req), parent), mode) };

	make(req, parent, name, &what);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct wfs_new what = { .type = WFS_TYPE_SYMLINK, .mode = 0777, .target = target };

	make(req, parent, name, &what);
}

static void remove_name(fuse_req_t req, fuse_ino_t parent, const char *name, bool is_dir)
{
	struct mount *m = mount_of(req);
	struct node *dir = node_of(m, parent);
	struct wfs_batch *b;
	struct wfs_attr attr, removed;
	struct caller who;
	uint64_t before;
	unsigned done = 0;
	int err = wfs_batch_new(m->client, &b);

	if (err) {
		reply_err(req, err);
		return;
	}
	caller_get(req, &who);
	if (!is_dir)
		small_keep(m, dir, name);
	before = node_touch(m, dir);
	if (is_dir) {
		(void)wfs_batch_put(b, &dir->fh);
		(void)wfs_batch_lookup(b, name);
		(void)wfs_batch_getattr(b, &removed);
	}
	(void)wfs_batch_put(b, &dir->fh);
	(void)wfs_batch_unlink(b, name, is_dir);
	(void)wfs_batch_getattr(b, &attr);
	err = wfs_batch_run(b, &who.cred, &done);
	wfs_batch_free(b);
	dir_changed(m, dir, before, NULL, err ? NULL : &attr);
	if (is_dir && done >= DIR_REMOVED)
		attr_removed(m, &removed);
	/* What counts is whether the name was removed. */
	reply_err(req, done >= (is_dir ? DIR_REMOVED : REMOVED) ? 0 : err);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, false);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, true);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
                      unsigned flags)
{
	struct mount *m = mount_of(req);
	struct node *from = node_of(m, parent), *to = node_of(m, new_parent);
	unsigned wanted = 0;
	struct caller who;
	int err;

	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) {
		reply_err(req, -EINVAL);
		return;
	}
	if (flags & RENAME_NOREPLACE)
		wanted |= WFS_RENAME_NOREPLACE;
	if (flags & RENAME_EXCHANGE)
		wanted |= WFS_RENAME_EXCHANGE;
	caller_get(req, &who);
	if (!wanted)
		small_keep(m, to, new_name);
	names_changed(m, from, NULL, NULL);
	names_changed(m, to, NULL, NULL);
	node_touch(m, from);
	node_touch(m, to);
	err = wfs_rename(m->client, &who.cred, &from->fh, name, &to->fh, new_name, wanted);
	node_touch(m, from);
	node_touch(m, to);
	told_moved(m, to, new_name);
	if (flags & RENAME_EXCHANGE)
		told_moved(m, from, name);
	reply_err(req, err);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
	struct mount *m = mount_of(req);
	struct node *n = node_of(m, ino), *dir = node_of(m, new_parent);
	struct wfs_batch *b;
	struct wfs_attr attr;
	struct caller who;
	uint64_t before;
	int err = wfs_batch_new(m->client, &b);

	if (err) {
		reply_err(req, err);
		return;
	}
	caller_get(req, &who);
	names_changed(m, dir, NULL, NULL);
	before = node_touch(m, n);
	(void)wfs_batch_put(b, &n->fh);
	(void)wfs_batch_save(b);
	(void)wfs_batch_put(b, &dir->fh);
	(void)wfs_batch_link(b, new_name);
	(void)wfs_batch_restore(b);
	(void)wfs_batch_getattr(b, &attr);
	err = wfs_batch_run(b, &who.cred, NULL);
	wfs_batch_free(b);
	who.seen.own = node_touch_end(m, n, before);
	node_touch(m, dir);
	reply_entry(req, dir, new_name, who.seen, err, &attr, &n->fh);
}

/*
 * What was just opened shares what it may lose with the node's other files; @changed: by what has opened it. It may ask
 * the server, and so it is done before anybody tells the kernel. *ret, if any, is counted as told once.
 */
static int share(struct mount *m, const struct wfs_attr *attr, const struct wfs_fh *fh, struct wfs_file *file,
                 bool changed, struct node **ret)
{
	struct node *n = *ret = node_get(&m->nodes, attr, fh);
	struct wfs_ledger *ledger = n ? node_ledger(n) : NULL;
	uint64_t begin = wfs_change_begin(file);

	if (!ledger)
		return -ENOMEM;
	wfs_file_share(file, ledger, wfs_ledger_seen(ledger));
	if (changed)
		wfs_change_end(file, begin);
	return 0;
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct node *dir = node_of(m, parent), *n = NULL;
	unsigned flags =
	        (fi->flags & O_EXCL ? WFS_CREATE_EXCLUSIVE : 0) | (fi->flags & O_TRUNC ? WFS_CREATE_TRUNCATE : 0);
	unsigned access = file_access(m, fi->flags);
	struct fuse_entry_param entry;
	struct wfs_attr attr, dir_attr = { 0 };
	struct wfs_file *file;
	struct caller who;
	struct wfs_fh fh;
	uint64_t before;
	int created, err;

	caller_get(req, &who);
	before = node_touch(m, dir);
	err = wfs_create_in(m->client, &who.cred, &dir->fh, name, new_mode(req, dir, mode), flags, access, &file, &fh,
	                    &attr, &created, &dir_attr);
	dir_changed(m, dir, before, !err && created ? name : NULL, err || !dir_attr.link_count ? NULL : &dir_attr);
	if (!err && file_is_barred(access, fi->flags, attr.flags)) {
		wfs_close(file);
		err = -EPERM;
	}
	if (err) {
		reply_err(req, err);
		return;
	}
	err = share(m, &attr, &fh, file, !created && (fi->flags & O_TRUNC), &n);
	tell_begin(m);
	if (!err)
		err = entry_fill(m, dir, name, who.seen, &attr, &fh, &entry, &n);
	if (!err) {
		node_forget(&m->nodes, n, 1); /* it was counted twice */
		err = file_attach(m, n, file, access, fi);
	}
	if (err) {
		tell_end(m);
		wfs_close(file);
		if (n)
			node_forget(&m->nodes, n, 1);
		reply_err(req, err);
		return;
	}
	if (created) {
		atomic_store(&n->cached_change, attr.change);
		learn_missing(m, n, who.seen, &n->no_capability_until_ns);
		/*
		 * Nothing is in the kernel's cache, and what is written to it there would be dropped when the file is
		 * next opened. Past it, the kernel does not ask for the file's capabilities before the first write.
		 */
		file_of(fi)->direct = access == WFS_ACCESS_WRITE && !m->options->writeback;
		fi->direct_io = file_of(fi)->direct;
	}
	file_add_directly(m, fi, attr.flags);
	node_touch(m, n);
	err = fuse_reply_create(req, &entry, fi);
	tell_end(m);
	if (err) {
		wfs_close(file);
		file_detach(file_of(fi));
		node_forget(&m->nodes, n, 1);
	}
}

void name_ops(struct fuse_lowlevel_ops *ops)
{
	ops->lookup = op_lookup;
	ops->forget = op_forget;
	ops->forget_multi = op_forget_multi;
	ops->mknod = op_mknod;
	ops->mkdir = op_mkdir;
	ops->symlink = op_symlink;
	ops->unlink = op_unlink;
	ops->rmdir = op_rmdir;
	ops->rename = op_rename;
	ops->link = op_link;
	ops->create = op_create;
}
