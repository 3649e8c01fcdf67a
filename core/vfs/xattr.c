/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Extended attributes: the rules of their name spaces (xattr(7)), and POSIX ACLs, which are kept as such and go
 * together with the permission bits.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/vfs/attr_lock.h"
#include "core/vfs/watch.h"

enum space {
	SPACE_USER,
	SPACE_TRUSTED,
	SPACE_SECURITY,
	SPACE_ACL,
};

static bool begins_with(const char *name, const char *prefix)
{
	size_t len = strlen(prefix);

	return !strncmp(name, prefix, len) && name[len];
}

static int space_of(const char *name, enum space *ret)
{
	if (strnlen(name, VFS_XATTR_NAME_MAX + 1) > VFS_XATTR_NAME_MAX)
		return err_set(-ERANGE, "the name of an extended attribute is longer than %u", VFS_XATTR_NAME_MAX);
	if (begins_with(name, "user."))
		*ret = SPACE_USER;
	else if (begins_with(name, "trusted."))
		*ret = SPACE_TRUSTED;
	else if (begins_with(name, "security."))
		*ret = SPACE_SECURITY;
	else if (!strcmp(name, VFS_ACL_ACCESS) || !strcmp(name, VFS_ACL_DEFAULT))
		*ret = SPACE_ACL;
	else if (!strcmp(name, "user.") || !strcmp(name, "trusted.") || !strcmp(name, "security."))
		return err_set(-EINVAL, "'%s' is a name space and no name of an extended attribute", name);
	else
		return err_set(-EOPNOTSUPP, "'%s' is in no name space of extended attributes", name);
	return 0;
}

static int check_get(struct vfs_handle *h, const struct vfs_cred *cred, enum space space, const struct vfs_stat *st)
{
	if (space == SPACE_TRUSTED && cred->uid)
		return err_set(-ENODATA, "only root sees trusted attributes");
	if (space != SPACE_USER)
		return 0;
	if (st->type != VFS_TYPE_FILE && st->type != VFS_TYPE_DIR)
		return err_set(-ENODATA, "only files and directories have user attributes");
	return access_check(h->node, st, cred, VFS_ACCESS_READ);
}

static int check_set(struct vfs_handle *h, const struct vfs_cred *cred, enum space space, const struct vfs_stat *st)
{
	int ret = access_check_writable(h, st);

	if (ret)
		return ret;
	if (st->flags & (VFS_FLAG_IMMUTABLE | VFS_FLAG_APPEND))
		return err_set(-EPERM, "the object is immutable, or append-only");
	if (space == SPACE_USER) {
		bool sticky = st->type == VFS_TYPE_DIR && st->mode & 01000;

		if ((st->type != VFS_TYPE_FILE && st->type != VFS_TYPE_DIR) ||
		    (sticky && cred->uid && cred->uid != st->uid))
			return err_set(-EPERM, "the object cannot have user attributes of uid %u", cred->uid);
		return access_check(h->node, st, cred, VFS_ACCESS_WRITE);
	}
	if (space == SPACE_ACL && st->type == VFS_TYPE_SYMLINK)
		return err_set(-EOPNOTSUPP, "a symbolic link has no ACL");
	if (cred->uid && (space != SPACE_ACL || cred->uid != st->uid))
		return err_set(-EPERM, "uid %u may not change that attribute", cred->uid);
	return 0;
}

int xattr_read_acl(struct vfs_node *n, const char *name, void **ret, size_t *ret_len)
{
	void *buf;
	int err;

	*ret = NULL;
	if (!n->ops->get_xattr)
		return -ENODATA;
	err = node_may_wait(n);
	if (err)
		return err;
	buf = malloc(ACL_BYTES_MAX);
	if (!buf)
		return err_set(-ENOMEM, "no memory for an ACL");
	err = n->ops->get_xattr(n, name, buf, ACL_BYTES_MAX, ret_len);
	if (err) {
		free(buf);
		return err == -ERANGE ? err_set(-EIO, "an ACL is too long") : err;
	}
	*ret = buf;
	return 0;
}

/* The permission bits are what counts for the owner, the mask and the others: a chmod() changes nothing else. */
static void show_mode(void *acl, size_t len, uint32_t mode)
{
	bool minimal;
	uint32_t stored;

	if (!acl_validate(acl, len, &stored, &minimal))
		acl_set_mode(acl, len, mode);
}

typedef int check_fn(struct vfs_handle *h, const struct vfs_cred *cred, enum space space, const struct vfs_stat *st);

/* May @cred do it, and can the file system, now? */
static int may(struct vfs_handle *h, const struct vfs_cred *cred, enum space space, check_fn *check, bool can,
               struct vfs_stat *ret_st)
{
	int err = handle_stat(h, ret_st);

	if (!err)
		err = check(h, cred, space, ret_st);
	if (!err && !can)
		err = err_set(-EOPNOTSUPP, "the file system has no extended attributes");
	return err ? err : node_may_wait(h->node);
}

static int get(struct vfs_handle *h, const struct vfs_cred *cred, const char *name, void *buf, size_t cap,
               size_t *ret_len)
{
	struct vfs_stat st;
	enum space space;
	int ret = space_of(name, &space);

	if (!ret)
		ret = may(h, cred, space, check_get, h->node->ops->get_xattr, &st);
	if (!ret)
		ret = h->node->ops->get_xattr(h->node, name, buf, cap, ret_len);
	if (!ret && cap && space == SPACE_ACL && !strcmp(name, VFS_ACL_ACCESS))
		show_mode(buf, *ret_len, st.mode);
	return ret;
}

int vfs_get_xattr(struct vfs_handle *h, const struct vfs_cred *cred, const char *name, void *buf, size_t cap,
                  size_t *ret_len)
{
	struct op_timer t = op_begin(h->vfs->stats, OP_GET_XATTR);

	return op_end(&t, get(h, cred, name, buf, cap, ret_len), 0, 0);
}

/* The access ACL: its entries for owner, mask and others become permission bits, and it is kept only when it says more.
 */
static int set_access_acl(struct vfs_handle *h, const struct vfs_cred *cred, const void *value, size_t len,
                          const struct vfs_stat *st)
{
	struct vfs_set_attr set = { .valid = VFS_SET_MODE | VFS_SET_ACL, .tag = cred->tag };
	struct vfs_node *n = h->node;
	bool minimal;
	uint32_t mode;
	int ret = acl_validate(value, len, &mode, &minimal);

	if (ret)
		return ret;
	set.mode = (st->mode & 07000) | mode;
	if (cred->uid && !access_in_group(cred, st->gid))
		set.mode &= ~UINT32_C(02000);
	if (!minimal) {
		set.access_acl = value;
		set.access_acl_len = len;
	}
	return n->ops->set_attr(n, &set);
}

static int set_acl(struct vfs_handle *h, const struct vfs_cred *cred, const char *name, const void *value, size_t len,
                   const struct vfs_stat *st)
{
	bool minimal;
	uint32_t mode;
	int ret;

	if (!h->node->ops->remove_xattr || !h->node->ops->set_attr)
		return err_set(-EOPNOTSUPP, "the file system has no ACLs");
	if (!strcmp(name, VFS_ACL_ACCESS))
		return set_access_acl(h, cred, value, len, st);
	if (st->type != VFS_TYPE_DIR)
		return err_set(-EACCES, "only directories have a default ACL");
	ret = acl_validate(value, len, &mode, &minimal);
	return ret ? ret : h->node->ops->set_xattr(h->node, name, value, len, 0, cred->tag);
}

/* With the lock on the object's attributes. */
static int check_and_set(struct vfs_handle *h, const struct vfs_cred *cred, enum space space, const char *name,
                         const void *value, size_t len, unsigned flags)
{
	struct vfs_stat st;
	int ret = may(h, cred, space, check_set, h->node->ops->set_xattr, &st);

	/* An ACL and the mode are two changes. */
	if (!ret && space == SPACE_ACL && nowait_here())
		ret = -EAGAIN;
	if (ret)
		return ret;
	return space == SPACE_ACL ? set_acl(h, cred, name, value, len, &st)
	                          : h->node->ops->set_xattr(h->node, name, value, len, flags, cred->tag);
}

static int set(struct vfs_handle *h, const struct vfs_cred *cred, const char *name, const void *value, size_t len,
               unsigned flags)
{
	struct sync_mutex *lock = attr_lock_of(h->vfs, h->node);
	enum space space;
	int ret = space_of(name, &space);

	if (!ret &&
	    (flags & ~(VFS_XATTR_CREATE | VFS_XATTR_REPLACE) || flags == (VFS_XATTR_CREATE | VFS_XATTR_REPLACE)))
		ret = err_set(-EINVAL, "flags %#x of an extended attribute", flags);
	if (!ret && len > VFS_XATTR_BYTES_MAX)
		ret = err_set(-E2BIG, "an extended attribute of %zu bytes is longer than %u", len, VFS_XATTR_BYTES_MAX);
	if (ret)
		return ret;
	if (!attr_lock(lock))
		return -EAGAIN;
	ret = check_and_set(h, cred, space, name, value, len, flags);
	sync_mutex_unlock(lock);
	if (!ret)
		watch_object(h->vfs, h->mount, VFS_CHANGE_ATTR, h->node);
	return ret;
}

int vfs_set_xattr(struct vfs_handle *h, const struct vfs_cred *cred, const char *name, const void *value, size_t len,
                  unsigned flags)
{
	struct op_timer t = op_begin(h->vfs->stats, OP_SET_XATTR);

	return op_end(&t, set(h, cred, name, value, len, flags), 0, 0);
}

static int remove_one(struct vfs_handle *h, const struct vfs_cred *cred, const char *name)
{
	struct sync_mutex *lock = attr_lock_of(h->vfs, h->node);
	struct vfs_stat st;
	enum space space;
	int ret = space_of(name, &space);

	if (ret)
		return ret;
	if (!attr_lock(lock))
		return -EAGAIN;
	ret = may(h, cred, space, check_set, h->node->ops->remove_xattr, &st);
	if (!ret)
		ret = h->node->ops->remove_xattr(h->node, name, cred->tag);
	sync_mutex_unlock(lock);
	/* As Linux has it: afterwards there is no ACL. */
	if (ret == -ENODATA && space == SPACE_ACL)
		return 0;
	if (!ret)
		watch_object(h->vfs, h->mount, VFS_CHANGE_ATTR, h->node);
	return ret;
}

int vfs_remove_xattr(struct vfs_handle *h, const struct vfs_cred *cred, const char *name)
{
	struct op_timer t = op_begin(h->vfs->stats, OP_SET_XATTR);

	return op_end(&t, remove_one(h, cred, name), 0, 0);
}

struct list {
	bool root;
	vfs_xattr_fn *fn;
	void *ctx;
};

static bool list_one(void *ctx, const char *name, size_t len)
{
	struct list *l = ctx;

	if (!l->root && len > 8 && !memcmp(name, "trusted.", 8))
		return true;
	return l->fn(l->ctx, name, len);
}

int vfs_list_xattr(struct vfs_handle *h, const struct vfs_cred *cred, vfs_xattr_fn *fn, void *ctx)
{
	struct list l = { .root = cred->uid == 0, .fn = fn, .ctx = ctx };

	if (nowait_here() && !h->node->ops->nowait)
		return -EAGAIN;
	return h->node->ops->list_xattr ? h->node->ops->list_xattr(h->node, list_one, &l) : 0;
}
