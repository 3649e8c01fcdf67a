/* SPDX-License-Identifier: BSD-3-Clause */
/* Changes of the namespace: creating, linking, removing, renaming; and listing directories. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/vfs/watch.h"

static int check_new_name(const char *name, size_t len)
{
	if (!len || (len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.'))
		return err_set(-EINVAL, "'%.*s' cannot be given as a name", (int)len, name);
	if (len > VFS_NAME_MAX)
		return err_set(-ENAMETOOLONG, "a name of %zu bytes is longer than %d", len, VFS_NAME_MAX);
	if (memchr(name, '/', len) || memchr(name, 0, len))
		return err_set(-EINVAL, "a name must not hold '/' or NUL");
	return 0;
}

static int unsupported(void)
{
	return err_set(-EOPNOTSUPP, "the file system cannot do that");
}

/* Before its names change: -EAGAIN when this thread must not wait, and would have to. */
static int names_may_wait(struct vfs_handle *dir)
{
	int ret = node_may_wait(dir->node);

	return ret ? ret : watch_may_tell(dir->vfs, dir->mount, dir->node);
}

/* A handle on a new object, whose reference it takes over. */
static int handle_of(struct vfs_handle *dir, struct vfs_node *node, unsigned access, const struct vfs_cred *cred,
                     struct vfs_handle **ret)
{
	struct place at = { .mount = dir->mount, .node = node };

	mount_ref(dir->mount);
	return handle_new(dir->vfs, &at, access, cred->uid == 0, ret);
}

/* ---- creating ---- */

static int check_new(const struct vfs_new *attr)
{
	bool is_link = attr->type == VFS_TYPE_SYMLINK;

	if (attr->type < VFS_TYPE_FILE || attr->type > VFS_TYPE_SOCKET || attr->mode & ~UINT32_C(07777))
		return err_set(-EINVAL, "type %d or mode %#o does not exist", (int)attr->type, attr->mode);
	if (is_link &&
	    (!attr->target_len || attr->target_len >= VFS_PATH_MAX || memchr(attr->target, 0, attr->target_len)))
		return err_set(attr->target_len >= VFS_PATH_MAX ? -ENAMETOOLONG : -EINVAL,
		               "a symbolic link cannot have a target of %zu bytes", attr->target_len);
	return 0;
}

/* The directory's default ACL (POSIX 1003.1e, 23.3): NULL when it has none. */
static int default_acl(struct vfs_handle *dir, void **ret, size_t *ret_len)
{
	int err = xattr_read_acl(dir->node, VFS_ACL_DEFAULT, ret, ret_len);

	return err == -ENODATA ? 0 : err;
}

/* What the object inherits: @acl is the directory's default ACL, and *ret_copy, the caller's, the object's own one. */
static int inherit(struct vfs_new *new, const void *acl, size_t len, void **ret_copy)
{
	bool minimal;
	uint32_t mode;
	int ret;

	*ret_copy = malloc(len);
	if (!*ret_copy)
		return err_set(-ENOMEM, "no memory for an ACL");
	memcpy(*ret_copy, acl, len);
	new->mode = acl_inherit(*ret_copy, len, new->mode);
	ret = acl_validate(*ret_copy, len, &mode, &minimal);
	if (ret)
		return err_add(-EIO, "the directory's default ACL is damaged");
	if (!minimal) {
		new->access_acl = *ret_copy;
		new->access_acl_len = len;
	}
	if (new->type == VFS_TYPE_DIR) {
		new->default_acl = acl;
		new->default_acl_len = len;
	}
	return 0;
}

/* Owner, group, mode and ACLs as the directory says; then the object, all of it at once. */
static int create_node(struct vfs_handle *dir, const struct vfs_stat *dir_st, const struct vfs_cred *cred,
                       const char *name, size_t name_len, const struct vfs_new *attr, struct vfs_node **ret)
{
	void *acl = NULL, *own = NULL;
	struct vfs_new new = *attr;
	size_t acl_len = 0;
	int err = names_may_wait(dir);

	if (err)
		return err;
	new.access_acl = new.default_acl = NULL;
	new.uid = cred->uid;
	new.tag = cred->tag;
	new.gid = cred->gid;
	if (dir_st->mode & 02000) {
		new.gid = dir_st->gid;
		if (attr->type == VFS_TYPE_DIR)
			new.mode |= 02000;
	}
	if (attr->type == VFS_TYPE_SYMLINK)
		new.mode = 0777;
	else
		err = default_acl(dir, &acl, &acl_len);
	if (!err && acl)
		err = inherit(&new, acl, acl_len, &own);
	if (!err && name)
		err = dir->node->ops->create(dir->node, name, name_len, &new, ret);
	else if (!err)
		err = dir->node->ops->create_nameless(dir->node, &new, ret);
	free(own);
	free(acl);
	return err;
}

static int create(struct vfs_handle *dir, const struct vfs_cred *cred, const char *name, size_t name_len,
                  const struct vfs_new *attr, unsigned access, struct vfs_handle **ret_handle,
                  struct vfs_stat *ret_stat)
{
	struct vfs_stat dir_st;
	struct vfs_node *node;
	int ret = check_new_name(name, name_len);

	if (!ret)
		ret = check_new(attr);
	if (!ret && cred->uid && (attr->type == VFS_TYPE_CHAR || attr->type == VFS_TYPE_BLOCK))
		ret = err_set(-EPERM, "only root makes device nodes");
	if (!ret)
		ret = access_check_dir_change(dir, cred, false, &dir_st);
	if (!ret && !dir->node->ops->create)
		ret = unsupported();
	if (!ret)
		ret = create_node(dir, &dir_st, cred, name, name_len, attr, &node);
	if (ret)
		return err_add(ret, "create '%.*s'", (int)name_len, name);
	watch_name(dir->vfs, dir->mount, VFS_CHANGE_CREATED, dir->node, name, name_len, node);
	ret = handle_of(dir, node, attr->type == VFS_TYPE_FILE ? access : 0, cred, ret_handle);
	if (!ret && ret_stat) {
		ret = handle_stat(*ret_handle, ret_stat);
		if (ret)
			vfs_close(*ret_handle);
	}
	return ret;
}

int vfs_create(struct vfs_handle *dir, const struct vfs_cred *cred, const char *name, size_t name_len,
               const struct vfs_new *attr, unsigned access, struct vfs_handle **ret_handle, struct vfs_stat *ret_stat)
{
	struct op_timer t = op_begin(dir->vfs->stats, OP_CREATE);

	return op_end(&t, create(dir, cred, name, name_len, attr, access, ret_handle, ret_stat), 0, 0);
}

static int create_nameless(struct vfs_handle *dir, const struct vfs_cred *cred, uint32_t mode,
                           struct vfs_handle **ret_handle)
{
	const struct vfs_new attr = { .type = VFS_TYPE_FILE, .mode = mode };
	struct vfs_stat dir_st;
	struct vfs_node *node;
	int ret = check_new(&attr);

	if (!ret)
		ret = access_check_dir_change(dir, cred, false, &dir_st);
	if (!ret && !dir->node->ops->create_nameless)
		ret = unsupported();
	if (!ret)
		ret = create_node(dir, &dir_st, cred, NULL, 0, &attr, &node);
	if (ret)
		return err_add(ret, "create a file without a name");
	return handle_of(dir, node, VFS_ACCESS_READ | VFS_ACCESS_WRITE, cred, ret_handle);
}

int vfs_create_nameless(struct vfs_handle *dir, const struct vfs_cred *cred, uint32_t mode,
                        struct vfs_handle **ret_handle)
{
	struct op_timer t = op_begin(dir->vfs->stats, OP_CREATE);

	return op_end(&t, create_nameless(dir, cred, mode, ret_handle), 0, 0);
}

/* ---- linking, removing, renaming ---- */

static int link_name(struct vfs_handle *dir, const struct vfs_cred *cred, const char *name, size_t name_len,
                     struct vfs_handle *target)
{
	struct vfs_stat dir_st, st;
	int ret = check_new_name(name, name_len);

	if (!ret)
		ret = access_check_dir_change(dir, cred, false, &dir_st);
	if (!ret)
		ret = handle_stat(target, &st);
	if (!ret && dir->mount != target->mount)
		ret = err_set(-EXDEV, "directory and object are on different mounts");
	if (!ret && st.type == VFS_TYPE_DIR)
		ret = err_set(-EPERM, "a directory has one name only");
	if (!ret && st.flags & (VFS_FLAG_IMMUTABLE | VFS_FLAG_APPEND))
		ret = err_set(-EPERM, "the object is immutable, or append-only");
	if (!ret && !dir->node->ops->link)
		ret = unsupported();
	if (!ret)
		ret = names_may_wait(dir);
	if (!ret)
		ret = dir->node->ops->link(dir->node, name, name_len, target->node, cred->tag);
	if (!ret) {
		watch_name(dir->vfs, dir->mount, VFS_CHANGE_CREATED, dir->node, name, name_len, target->node);
		watch_object(dir->vfs, dir->mount, VFS_CHANGE_ATTR, target->node);
	}
	return ret ? err_add(ret, "link '%.*s'", (int)name_len, name) : 0;
}

int vfs_link(struct vfs_handle *dir, const struct vfs_cred *cred, const char *name, size_t name_len,
             struct vfs_handle *target)
{
	struct op_timer t = op_begin(dir->vfs->stats, OP_LINK);

	return op_end(&t, link_name(dir, cred, name, name_len, target), 0, 0);
}

static int remove_name(struct vfs_handle *dir, const struct vfs_cred *cred, const char *name, size_t name_len,
                       bool want_dir)
{
	struct vfs_stat dir_st;
	struct vfs_node *victim = NULL;
	struct vfs_taker taker;
	int ret = check_new_name(name, name_len);

	if (!ret)
		ret = access_check_dir_change(dir, cred, true, &dir_st);
	if (!ret && !dir->node->ops->unlink)
		ret = unsupported();
	if (!ret)
		ret = names_may_wait(dir);
	if (!ret)
		ret = dir->node->ops->lookup(dir->node, name, name_len, &victim);
	if (!ret) {
		taker = access_taker(&dir_st, cred);
		ret = access_check_victim(&taker, victim);
	}
	if (!ret)
		ret = mount_check_uncovered(dir->vfs, dir->mount, victim);
	if (!ret)
		ret = dir->node->ops->unlink(dir->node, name, name_len, want_dir, &taker, cred->tag);
	if (!ret) {
		watch_name(dir->vfs, dir->mount, VFS_CHANGE_REMOVED, dir->node, name, name_len, victim);
		watch_object(dir->vfs, dir->mount, VFS_CHANGE_ATTR, victim);
	}
	vfs_node_unref(victim);
	return ret ? err_add(ret, "remove '%.*s'", (int)name_len, name) : 0;
}

int vfs_unlink(struct vfs_handle *dir, const struct vfs_cred *cred, const char *name, size_t name_len, bool want_dir)
{
	struct op_timer t = op_begin(dir->vfs->stats, OP_REMOVE);

	return op_end(&t, remove_name(dir, cred, name, name_len, want_dir), 0, 0);
}

/* The moved object: a directory that gets another parent is itself changed (its ".."). */
static int check_moved(const struct vfs_cred *cred, struct vfs_node *moved, bool same_dir)
{
	struct vfs_stat st;
	int ret;

	if (same_dir || moved->type != VFS_TYPE_DIR)
		return 0;
	ret = moved->ops->stat(moved, &st);
	return ret ? ret : access_check(moved, &st, cred, VFS_ACCESS_WRITE);
}

/* What leaves @dir under that name: *ret_node, referenced. With @optional there need be nothing. */
static int check_leaving(struct vfs_handle *dir, const struct vfs_taker *taker, const struct vfs_cred *cred,
                         const char *name, size_t name_len, bool same_dir, bool optional, struct vfs_node **ret_node)
{
	struct vfs_node *node;
	int ret = dir->node->ops->lookup(dir->node, name, name_len, &node);

	if (ret)
		return ret == -ENOENT && optional ? 0 : ret;
	ret = access_check_victim(taker, node);
	if (!ret)
		ret = mount_check_uncovered(dir->vfs, dir->mount, node);
	if (!ret && !optional)
		ret = check_moved(cred, node, same_dir);
	if (ret)
		vfs_node_unref(node);
	else
		*ret_node = node;
	return ret;
}

struct rename {
	struct vfs_handle *dir, *new_dir;
	const char *name, *new_name;
	size_t name_len, new_name_len;
	unsigned flags;
	struct vfs_node *moved, *replaced; /* as seen before; referenced */
	struct vfs_taker takers[2]; /* of what has the name, and the new one */
};

static void tell_rename(const struct rename *r)
{
	struct vfs *v = r->dir->vfs;
	struct vfs_mount_point *m = r->dir->mount;

	if (!watch_any(v))
		return;
	watch_name(v, m, VFS_CHANGE_MOVED_FROM, r->dir->node, r->name, r->name_len, r->moved);
	watch_name(v, m, VFS_CHANGE_MOVED_TO, r->new_dir->node, r->new_name, r->new_name_len, r->moved);
	watch_object(v, m, VFS_CHANGE_ATTR, r->moved);
	if (r->flags & VFS_RENAME_EXCHANGE)
		watch_name(v, m, VFS_CHANGE_MOVED_TO, r->dir->node, r->name, r->name_len, r->replaced);
	if (r->replaced)
		watch_object(v, m, VFS_CHANGE_ATTR, r->replaced);
}

/* A directory that takes new names only loses none by a rename over it. */
static int rename_checked(const struct rename *r, bool keeps_names, const struct vfs_tag *tag)
{
	unsigned flags = r->flags | (keeps_names ? VFS_RENAME_NOREPLACE : 0);
	int ret = r->dir->node->ops->rename(r->dir->node, r->name, r->name_len, r->new_dir->node, r->new_name,
	                                    r->new_name_len, flags, r->takers, tag);

	if (ret == -EEXIST && keeps_names && !(r->flags & VFS_RENAME_NOREPLACE))
		ret = err_set(-EPERM, "the directory takes new names only");
	return ret;
}

static int rename_name(struct vfs_handle *dir, const struct vfs_cred *cred, const char *name, size_t name_len,
                       struct vfs_handle *new_dir, const char *new_name, size_t new_name_len, unsigned flags)
{
	const unsigned both = VFS_RENAME_NOREPLACE | VFS_RENAME_EXCHANGE;
	struct rename r = { dir, new_dir, name, new_name, name_len, new_name_len, flags, NULL, NULL, { { 0 } } };
	bool same_dir = dir->node == new_dir->node;
	struct vfs_stat st, new_st;
	int ret = check_new_name(name, name_len);

	if (!ret)
		ret = check_new_name(new_name, new_name_len);
	if (!ret && (flags & ~both || flags == both))
		ret = err_set(-EINVAL, "flags %#x of a rename", flags);
	if (!ret)
		ret = access_check_dir_change(dir, cred, true, &st);
	if (!ret)
		ret = access_check_dir_change(new_dir, cred, flags & VFS_RENAME_EXCHANGE, &new_st);
	if (!ret && dir->mount != new_dir->mount)
		ret = err_set(-EXDEV, "the directories are on different mounts");
	if (!ret && !dir->node->ops->rename)
		ret = unsupported();
	if (!ret)
		ret = names_may_wait(dir);
	if (!ret)
		ret = names_may_wait(new_dir);
	if (!ret) {
		r.takers[0] = access_taker(&st, cred);
		r.takers[1] = access_taker(&new_st, cred);
		ret = check_leaving(dir, &r.takers[0], cred, name, name_len, same_dir, false, &r.moved);
	}
	if (!ret)
		ret = check_leaving(new_dir, &r.takers[1], cred, new_name, new_name_len, same_dir,
		                    !(flags & VFS_RENAME_EXCHANGE), &r.replaced);
	if (!ret)
		ret = rename_checked(&r, new_st.flags & VFS_FLAG_APPEND, cred->tag);
	if (!ret)
		tell_rename(&r);
	vfs_node_unref(r.moved);
	vfs_node_unref(r.replaced);
	return ret ? err_add(ret, "rename '%.*s' to '%.*s'", (int)name_len, name, (int)new_name_len, new_name) : 0;
}

int vfs_rename(struct vfs_handle *dir, const struct vfs_cred *cred, const char *name, size_t name_len,
               struct vfs_handle *new_dir, const char *new_name, size_t new_name_len, unsigned flags)
{
	struct op_timer t = op_begin(dir->vfs->stats, OP_RENAME);

	return op_end(&t, rename_name(dir, cred, name, name_len, new_dir, new_name, new_name_len, flags), 0, 0);
}

/* ---- listing ---- */

static int list(struct vfs_handle *dir, const struct vfs_cred *cred, uint64_t cookie, vfs_dir_fn *fn, void *ctx)
{
	struct vfs_stat st;
	int ret;

	if (dir->node->type != VFS_TYPE_DIR)
		return err_set(-ENOTDIR, "it is not a directory");
	ret = handle_stat(dir, &st);
	if (!ret)
		ret = access_check(dir->node, &st, cred, VFS_ACCESS_READ);
	if (!ret)
		ret = node_may_wait(dir->node);
	return ret ? ret : dir->node->ops->readdir(dir->node, cookie, fn, ctx);
}

int vfs_readdir(struct vfs_handle *dir, const struct vfs_cred *cred, uint64_t cookie, vfs_dir_fn *fn, void *ctx)
{
	struct op_timer t = op_begin(dir->vfs->stats, OP_LIST);

	return op_end(&t, list(dir, cred, cookie, fn, ctx), 0, 0);
}
