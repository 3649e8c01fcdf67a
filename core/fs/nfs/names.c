/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names: looked up at the server every time, linked, removed and renamed there. The server knows nothing of open files,
 * so one that is open gets a temporary name instead of being removed, and is removed when it was closed.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nfsc/libnfs-raw-nfs.h>

#include "core/base/err.h"
#include "core/fs/nfs/nfs_priv.h"

#define TEMPORARY_BYTES 40u

/* A name as libnfs wants it: terminated. The VFS has checked its length; NULs cannot be sent. */
struct name_arg {
	char text[VFS_NAME_MAX + 1];
};

static int name_arg(struct name_arg *ret, const char *what, size_t len)
{
	if (len > VFS_NAME_MAX || memchr(what, 0, len))
		return err_set(-EINVAL, "a name that cannot be sent");
	memcpy(ret->text, what, len);
	ret->text[len] = 0;
	return 0;
}

static diropargs3 entry_arg(const struct nfs_handle *dir, struct name_arg *what)
{
	return (diropargs3){ .dir = nfs_handle_arg(dir), .name = what->text };
}

static int take_lookup(void *ctx, const void *res)
{
	const LOOKUP3resok *r = &((const LOOKUP3res *)res)->LOOKUP3res_u.resok;
	struct nfs_told *t = ctx;
	int rc = nfs_handle_decode(&r->object, &t->fh);

	t->has_handle = rc == 0;
	return rc ? rc : nfs_told_attr(t, &r->obj_attributes);
}

int nfs_lookup_call(struct nfs_node *dir, const char *what, size_t len, struct nfs_told *ret)
{
	struct name_arg text;
	LOOKUP3args args;
	struct nfs_call c = { .proc = NFS_LOOKUP, .args = &args, .take = take_lookup, .ctx = ret };
	int rc = name_arg(&text, what, len);

	if (rc)
		return rc;
	args.what = entry_arg(&dir->fh, &text);
	return nfs_call_run(dir->im->net, &c);
}

int nfs_dir_lookup(struct vfs_node *dir, const char *what, size_t len, struct vfs_node **ret)
{
	struct nfs_node *d = nfs_node_of(dir), *n;
	uint64_t asked_ns = sync_now_ns();
	struct nfs_told told;
	int rc = nfs_check_alive(d->im);

	if (rc == 0)
		rc = nfs_lookup_call(d, what, len, &told);
	if (rc == 0)
		rc = nfs_node_get_told(d->im, &told, asked_ns, &n);
	if (rc == 0)
		*ret = &n->node;
	return rc;
}

int nfs_dir_parent(struct vfs_node *dir, struct vfs_node **ret)
{
	struct nfs_node *d = nfs_node_of(dir);
	const struct nfs_handle *top = &d->im->root_fh;

	if (d->fh.len == top->len && memcmp(d->fh.bytes, top->bytes, top->len) == 0)
		return err_set(-ENOENT, "the top of the share");
	return nfs_dir_lookup(dir, "..", 2, ret);
}

static int take_link(void *ctx, const void *res)
{
	return nfs_told_attr(ctx, &((const LINK3res *)res)->LINK3res_u.resok.file_attributes);
}

int nfs_dir_link(struct vfs_node *dir, const char *what, size_t len, struct vfs_node *target, const struct vfs_tag *tag)
{
	struct nfs_node *d = nfs_node_of(dir), *n = nfs_node_of(target);
	struct nfs_told told = { .has_attr = false };
	struct name_arg text;
	LINK3args args;
	struct nfs_call c = { .proc = NFS_LINK, .args = &args, .take = take_link, .ctx = &told, .once = true };
	int rc = nfs_check_alive(d->im);

	(void)tag;
	if (rc == 0 && (target->ops != &nfs_node_ops || n->im != d->im))
		rc = err_set(-EXDEV, "a file of another file system");
	if (rc == 0)
		rc = name_arg(&text, what, len);
	if (rc)
		return rc;
	args = (LINK3args){ .file = nfs_handle_arg(&n->fh), .link = entry_arg(&d->fh, &text) };
	rc = nfs_call_run(d->im->net, &c);
	if (rc == 0 && told.has_attr)
		nfs_node_take_own_attr(n, &told.attr);
	return rc;
}

static int remove_call(struct nfs_import *im, const struct nfs_handle *dir, struct name_arg *what, bool is_dir)
{
	REMOVE3args args = { .object = entry_arg(dir, what) };
	RMDIR3args dir_args = { .object = entry_arg(dir, what) };
	struct nfs_call c = { .proc = is_dir ? NFS_RMDIR : NFS_REMOVE, .once = true };

	c.args = is_dir ? (void *)&dir_args : (void *)&args;
	return nfs_call_run(im->net, &c);
}

static int rename_call(struct nfs_import *im, const struct nfs_handle *dir, struct name_arg *what,
                       const struct nfs_handle *new_dir, struct name_arg *new_name)
{
	RENAME3args args = { .from = entry_arg(dir, what), .to = entry_arg(new_dir, new_name) };
	struct nfs_call c = { .proc = NFS_RENAME, .args = &args, .once = true };

	return nfs_call_run(im->net, &c);
}

static bool is_open(struct nfs_node *n)
{
	bool open;

	sync_mutex_lock(&n->lock);
	open = n->opens > 0;
	sync_mutex_unlock(&n->lock);
	return open && n->node.type == VFS_TYPE_FILE;
}

/* Give an open file a temporary name, under which it is removed at the end. */
static int hide(struct nfs_node *d, struct name_arg *what, struct nfs_node *n)
{
	struct nfs_import *im = d->im;
	struct name_arg temporary;
	char *kept;
	int rc;

	(void)snprintf(temporary.text, TEMPORARY_BYTES, ".nfs%016" PRIx64 "%08" PRIx64, n->object,
	               __atomic_fetch_add(&im->temporary, 1, __ATOMIC_RELAXED) & UINT32_MAX);
	kept = strdup(temporary.text);
	if (!kept)
		return err_set(-ENOMEM, "no memory for a name");
	rc = rename_call(im, &d->fh, what, &d->fh, &temporary);
	if (rc) {
		free(kept);
		return rc;
	}
	sync_mutex_lock(&im->table_lock);
	if (!n->remove_name) {
		n->remove_name = kept;
		n->remove_dir = d->fh;
		kept = NULL;
	}
	sync_mutex_unlock(&im->table_lock);
	/* It had two names, and the other one was removed before. */
	rc = kept ? remove_call(im, &d->fh, &temporary, false) : 0;
	free(kept);
	return rc;
}

void nfs_remove_temporary(struct nfs_node *n)
{
	struct nfs_handle dir;
	struct name_arg what;
	char *kept;

	sync_mutex_lock(&n->im->table_lock);
	kept = n->remove_name;
	dir = n->remove_dir;
	n->remove_name = NULL;
	sync_mutex_unlock(&n->im->table_lock);
	if (kept && name_arg(&what, kept, strlen(kept)) == 0 && remove_call(n->im, &dir, &what, false) == 0)
		nfs_node_lose(n);
	free(kept);
}

/* The node of an entry when there is one, referenced; NULL: there is no such entry. */
static int entry_node(struct nfs_node *d, const char *what, size_t len, struct nfs_node **ret)
{
	struct vfs_node *node = NULL;
	int rc = nfs_dir_lookup(&d->node, what, len, &node);

	*ret = rc ? NULL : nfs_node_of(node);
	return rc == -ENOENT ? 0 : rc;
}

int nfs_dir_unlink(struct vfs_node *dir, const char *what, size_t len, bool want_dir, const struct vfs_taker *taker,
                   const struct vfs_tag *tag)
{
	struct nfs_node *d = nfs_node_of(dir), *n = NULL;
	struct name_arg text;
	int rc = nfs_check_alive(d->im);

	(void)taker;
	(void)tag;
	if (rc == 0)
		rc = name_arg(&text, what, len);
	if (rc == 0)
		rc = entry_node(d, what, len, &n);
	if (rc)
		return rc;
	if (!n)
		return err_set(-ENOENT, "no such file");
	if (want_dir && n->node.type != VFS_TYPE_DIR)
		rc = err_set(-ENOTDIR, "not a directory");
	else if (!want_dir && n->node.type == VFS_TYPE_DIR)
		rc = err_set(-EISDIR, "a directory");
	else if (is_open(n))
		rc = hide(d, &text, n);
	else
		rc = remove_call(d->im, &d->fh, &text, want_dir);
	if (rc == 0 && !is_open(n))
		(void)nfs_node_refresh(n); /* the number of its links; or it is gone */
	vfs_node_unref(&n->node);
	return rc;
}

/* What a rename is about to replace, open, must not go away. */
static int make_way(struct nfs_node *d, const char *what, size_t len, const struct nfs_node *moved, unsigned flags)
{
	struct name_arg text;
	struct nfs_node *n;
	int rc = name_arg(&text, what, len);

	if (rc == 0)
		rc = entry_node(d, what, len, &n);
	if (rc || !n)
		return rc;
	if (flags & VFS_RENAME_NOREPLACE)
		rc = err_set(-EEXIST, "there is something with the new name");
	else if (n != moved && is_open(n))
		rc = hide(d, &text, n);
	vfs_node_unref(&n->node);
	return rc;
}

int nfs_dir_rename(struct vfs_node *dir, const char *what, size_t len, struct vfs_node *new_dir, const char *new_name,
                   size_t new_len, unsigned flags, const struct vfs_taker *takers, const struct vfs_tag *tag)
{
	struct nfs_node *d = nfs_node_of(dir), *to = nfs_node_of(new_dir), *n = NULL;
	struct name_arg text, new_text;
	int rc = nfs_check_alive(d->im);

	(void)takers;
	(void)tag;
	if (rc == 0 && (new_dir->ops != &nfs_node_ops || to->im != d->im))
		rc = err_set(-EXDEV, "a file does not move between file systems");
	if (rc == 0 && (flags & ~VFS_RENAME_NOREPLACE))
		rc = err_set(-EINVAL, "the protocol cannot exchange two names");
	if (rc == 0)
		rc = name_arg(&text, what, len);
	if (rc == 0)
		rc = name_arg(&new_text, new_name, new_len);
	if (rc == 0)
		rc = entry_node(d, what, len, &n);
	if (rc)
		return rc;
	if (!n)
		return err_set(-ENOENT, "no such file");
	rc = make_way(to, new_name, new_len, n, flags);
	/* Whoever finds the new name finds the new contents. */
	if (rc == 0 && n->node.type == VFS_TYPE_FILE)
		rc = nfs_file_flush(&n->node, 0);
	if (rc == 0)
		rc = rename_call(d->im, &d->fh, &text, &to->fh, &new_text);
	vfs_node_unref(&n->node);
	return rc;
}

static int take_target(void *ctx, const void *res)
{
	const READLINK3resok *r = &((const READLINK3res *)res)->READLINK3res_u.resok;
	size_t len = strnlen(r->data, VFS_PATH_MAX);

	if (!len || len >= VFS_PATH_MAX)
		return -EBADMSG;
	memcpy(ctx, r->data, len + 1);
	return 0;
}

int nfs_node_read_link(struct vfs_node *node, char *buf, size_t *ret_len)
{
	struct nfs_node *n = nfs_node_of(node);
	READLINK3args args = { .symlink = nfs_handle_arg(&n->fh) };
	struct nfs_call c = { .proc = NFS_READLINK, .args = &args, .take = take_target, .ctx = buf };
	int rc = nfs_check_alive(n->im);

	if (rc == 0)
		rc = nfs_call_run(n->im->net, &c);
	if (rc == 0)
		*ret_len = strlen(buf);
	return rc;
}
