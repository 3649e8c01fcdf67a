/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Extended attributes, POSIX ACLs among them. The kernel asks for an ACL with most checks of permissions, and for the
 * capabilities of a file before it is written: what is known to be missing is answered at once. One is of the mount,
 * and not on the server: which file it is there.
 */
#include <errno.h>
#include <linux/xattr.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/fuse/mount.h"

#define VALUE_BYTES_MAX 65536u
#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"
#define CAPABILITY "security.capability"

/* Until when it is known to have no such attribute; NULL for those that nothing is remembered of. */
static _Atomic uint64_t *missing_until(struct node *n, const char *name)
{
	if (strcmp(name, ACL_ACCESS) == 0)
		return &n->no_acl_until_ns;
	if (strcmp(name, ACL_DEFAULT) == 0)
		return &n->no_default_acl_until_ns;
	if (strcmp(name, CAPABILITY) == 0)
		return &n->no_capability_until_ns;
	return NULL;
}

static void reply_file(fuse_req_t req, const struct node *n, size_t size)
{
	char text[64];
	size_t len = (size_t)snprintf(text, sizeof(text), WFS_FILE_FORMAT, (unsigned long long)n->fsid,
	                              (unsigned long long)n->file_id);

	if (!size)
		(void)fuse_reply_xattr(req, len);
	else if (size < len)
		reply_err(req, -ERANGE);
	else
		(void)fuse_reply_buf(req, text, len);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct mount *m = mount_of(req);
	struct node *n = node_of(m, ino);
	_Atomic uint64_t *missing = missing_until(n, name);
	struct caller who;
	char *buf = NULL;
	size_t len;
	int err;

	if (strcmp(name, WFS_FILE_XATTR) == 0) {
		reply_file(req, n, size);
		return;
	}
	if (missing && node_now_ns() < atomic_load(missing)) {
		reply_err(req, -ENODATA);
		return;
	}
	if (size > VALUE_BYTES_MAX)
		size = VALUE_BYTES_MAX;
	if (size)
		buf = malloc(size);
	caller_get(req, &who);
	err = size && !buf ? -ENOMEM : wfs_get_xattr(m->client, &who.cred, &n->fh, name, buf, size, &len);
	if (err == -ENODATA && missing) {
		tell_begin(m);
		learn_missing(m, n, who.seen, missing);
		tell_end(m);
	}
	if (err)
		reply_err(req, err);
	else if (size)
		(void)fuse_reply_buf(req, buf, len);
	else
		(void)fuse_reply_xattr(req, len);
	free(buf);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	struct mount *m = mount_of(req);
	struct node *n = node_of(m, ino);
	_Atomic uint64_t *missing = missing_until(n, name);
	unsigned wanted =
	        (flags & XATTR_CREATE ? WFS_XATTR_CREATE : 0) | (flags & XATTR_REPLACE ? WFS_XATTR_REPLACE : 0);
	struct caller who;
	int err;

	caller_get(req, &who);
	node_touch(m, n);
	err = wfs_set_xattr(m->client, &who.cred, &n->fh, name, value, size, wanted);
	if (missing) {
		/* Who was answered that it is missing has noted that by now, or sees that the node was touched. */
		untell_begin(m);
		node_touch(m, n);
		atomic_store(missing, 0);
		tell_end(m);
	} else {
		node_touch(m, n);
	}
	reply_err(req, err);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct mount *m = mount_of(req);
	struct node *n = node_of(m, ino);
	struct caller who;
	int err;

	caller_get(req, &who);
	node_touch(m, n);
	err = wfs_remove_xattr(m->client, &who.cred, &n->fh, name);
	node_touch(m, n);
	reply_err(req, err);
}

/* Names, each with its NUL; more than fit are only counted. */
struct names {
	char *buf;
	size_t size, len;
};

static void take_name(void *ctx, const char *name, size_t len)
{
	struct names *names = ctx;

	if (names->len + len + 1 <= names->size) {
		memcpy(names->buf + names->len, name, len);
		names->buf[names->len + len] = '\0';
	}
	names->len += len + 1;
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct mount *m = mount_of(req);
	struct names names = { .size = size > VALUE_BYTES_MAX ? VALUE_BYTES_MAX : size };
	struct caller who;
	int err = 0;

	if (names.size) {
		names.buf = malloc(names.size);
		err = names.buf ? 0 : -ENOMEM;
	}
	caller_get(req, &who);
	if (!err)
		err = wfs_list_xattr(m->client, &who.cred, &node_of(m, ino)->fh, take_name, &names);
	if (!err && size && names.len > names.size)
		err = -ERANGE;
	if (err)
		reply_err(req, err);
	else if (size)
		(void)fuse_reply_buf(req, names.buf, names.len);
	else
		(void)fuse_reply_xattr(req, names.len);
	free(names.buf);
}

void xattr_ops(struct fuse_lowlevel_ops *ops)
{
	ops->getxattr = op_getxattr;
	ops->setxattr = op_setxattr;
	ops->removexattr = op_removexattr;
	ops->listxattr = op_listxattr;
}
