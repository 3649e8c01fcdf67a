/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Walking along paths (POSIX.1-2017, 4.13 "Pathname Resolution"). A step never holds a lock; what it goes through may
 * be renamed meanwhile, and the walk then ends where the names led at each moment.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/vfs/vfs_priv.h"

const struct vfs_cred vfs_cred_root = { .uid = 0, .gid = 0 };

static void top_place(struct vfs *v, struct place *ret)
{
	place_copy(ret, &(struct place){ .mount = v->top, .node = &v->top_node });
}

/* The parent, in the file system that the mount covers when @at is the root of one. */
static int parent_of(struct vfs *v, const struct place *at, struct place *ret)
{
	int err;

	for (; at->node == at->mount->root; at = &at->mount->covered) {
		if (at->node == &v->top_node) {
			place_copy(ret, at);
			return 0;
		}
		if (!at->mount->covered.node) {
			top_place(v, ret);
			return 0;
		}
	}
	if (!at->node->ops->parent)
		return err_set(-EOPNOTSUPP, "the file system has no parents of directories");
	err = node_may_wait(at->node);
	if (!err)
		err = at->node->ops->parent(at->node, &ret->node);
	if (err)
		return err;
	mount_ref(at->mount);
	ret->mount = at->mount;
	return 0;
}

static bool is_at(const struct place *at, const struct place *limit)
{
	return at->node == limit->node && (at->mount == limit->mount || at->node == at->mount->root);
}

/* Directories that lie deeper have no path from the limit. */
#define CLIMB_MAX (VFS_PATH_MAX / 2)

/* Is the directory @limit, or somewhere below it? A handle may be on one that was moved out: then -ESTALE. */
static int check_below(struct vfs *v, const struct place *at, const struct place *limit)
{
	struct place here, up;
	int ret = 0;

	place_copy(&here, at);
	for (unsigned steps = 0; !is_at(&here, limit); steps++) {
		/* Nothing leaves a file system. */
		if (here.mount == limit->mount && limit->node == limit->mount->root)
			break;
		if (here.node == &v->top_node || steps == CLIMB_MAX)
			ret = err_set(-ESTALE, "a directory is not below the root of the walk any more");
		else
			ret = parent_of(v, &here, &up);
		if (ret)
			break;
		place_drop(&here);
		here = up;
	}
	place_drop(&here);
	return ret;
}

/* The parent, which is looked at after it was found, so that what is moved meanwhile leads nowhere either. */
static int step_up(struct vfs *v, const struct place *at, const struct place *limit, struct place *ret)
{
	int err;

	if (limit && is_at(at, limit)) {
		place_copy(ret, at);
		return 0;
	}
	err = parent_of(v, at, ret);
	if (!err && limit) {
		err = check_below(v, ret, limit);
		if (err)
			place_drop(ret);
	}
	return err;
}

static int step_down(struct vfs *v, const struct place *at, const char *name, size_t len, struct place *ret)
{
	int err;

	if (len > VFS_NAME_MAX)
		return err_set(-ENAMETOOLONG, "a name of %zu bytes is longer than %d", len, VFS_NAME_MAX);
	if (at->node == &v->top_node)
		return mount_find(v, name, len, ret);
	err = node_may_wait(at->node);
	if (!err)
		err = at->node->ops->lookup(at->node, name, len, &ret->node);
	if (err)
		return err;
	/* A transaction does not lead to another file system. */
	if (ret->node->ops->outside && mount_check_uncovered(v, at->mount, ret->node)) {
		vfs_node_unref(ret->node);
		return err_set(-EXDEV, "something is mounted over '%.*s'", (int)len, name);
	}
	mount_ref(at->mount);
	ret->mount = at->mount;
	mount_cross(v, ret);
	return 0;
}

int walk_step(struct vfs *v, struct place *at, const struct place *limit, const struct vfs_cred *cred, const char *name,
              size_t len)
{
	struct place next;
	struct vfs_stat st;
	int ret;

	if (at->node->type != VFS_TYPE_DIR)
		return err_set(-ENOTDIR, "'%.*s' is looked up in something that is not a directory", (int)len, name);
	ret = at->node->ops->stat(at->node, &st);
	if (!ret)
		ret = access_check(at->node, &st, cred, VFS_ACCESS_EXEC);
	if (ret || (len == 1 && name[0] == '.'))
		return ret;
	if (len == 2 && name[0] == '.' && name[1] == '.')
		ret = step_up(v, at, limit, &next);
	else
		ret = step_down(v, at, name, len, &next);
	if (ret)
		return ret;
	place_drop(at);
	*at = next;
	return 0;
}

/* ---- paths of users ---- */

struct walk {
	struct vfs *vfs;
	const struct vfs_cred *cred;
	struct place root; /* nothing leads above it; or none */
	struct place at;
	char *rest; /* VFS_PATH_MAX bytes: what is still to be walked */
	char *spare; /* likewise */
	unsigned links; /* followed */
};

static void go_to_root(struct walk *w)
{
	if (w->at.node)
		place_drop(&w->at);
	if (w->root.node)
		place_copy(&w->at, &w->root);
	else
		top_place(w->vfs, &w->at);
}

/* @w->at is a symbolic link that was found in @dir, which it takes over: its target goes before @rest, which is empty
 * or begins with '/'. */
static int follow(struct walk *w, struct place *dir, const char *rest)
{
	size_t len, rest_len = strlen(rest);
	char *target = w->spare;
	int ret;

	if (++w->links > VFS_SYMLINKS_MAX)
		ret = err_set(-ELOOP, "more than %u symbolic links", VFS_SYMLINKS_MAX);
	else if (!w->at.node->ops->read_link)
		ret = err_set(-EOPNOTSUPP, "the file system has no symbolic links");
	else
		ret = node_may_wait(w->at.node);
	if (!ret)
		ret = w->at.node->ops->read_link(w->at.node, target, &len);
	if (!ret && (!len || len + rest_len >= VFS_PATH_MAX))
		ret = err_set(len ? -ENAMETOOLONG : -ENOENT, "the target of a symbolic link has %zu bytes", len);
	if (ret) {
		place_drop(dir);
		return ret;
	}
	memcpy(target + len, rest, rest_len + 1);
	w->spare = w->rest;
	w->rest = target;
	place_drop(&w->at);
	w->at = *dir;
	if (target[0] == '/')
		go_to_root(w);
	return 0;
}

/* One component of @w->rest; *@pos is where it begins, then where the next one does. */
static int walk_component(struct walk *w, size_t *pos, unsigned flags)
{
	const char *name = w->rest + *pos;
	size_t len = strcspn(name, "/");
	const char *after = name + len;
	struct place dir;
	bool last;
	int ret;

	while (*after == '/')
		after++;
	last = !*after;
	place_copy(&dir, &w->at);
	ret = walk_step(w->vfs, &w->at, w->root.node ? &w->root : NULL, w->cred, name, len);
	if (!ret && w->at.node->type == VFS_TYPE_SYMLINK && (!last || name[len] == '/' || flags & VFS_WALK_FOLLOW)) {
		ret = follow(w, &dir, name + len);
		*pos = 0;
		return ret;
	}
	place_drop(&dir);
	if (!ret && last && name[len] == '/' && w->at.node->type != VFS_TYPE_DIR)
		ret = err_set(-ENOTDIR, "what stands before the last '/' is not a directory");
	*pos = (size_t)(after - w->rest);
	return ret;
}

/* The drive is a root of its own, and '\' is as good as '/'. */
static int start_at_drive(struct walk *w)
{
	char letter = w->rest[0];

	memmove(w->rest, w->rest + 2, strlen(w->rest + 2) + 1);
	drive_slashes(w->rest);
	return mount_find_drive(w->vfs, letter, &w->root);
}

static int start(struct walk *w, const struct vfs_handle *root, const struct vfs_handle *base)
{
	int ret = 0;

	if (root)
		place_copy(&w->root, &(struct place){ .mount = root->mount, .node = root->node });
	else if (!base && drive_is_named(w->rest))
		ret = start_at_drive(w);
	if (ret)
		return ret;
	if (base && w->rest[0] != '/')
		place_copy(&w->at, &(struct place){ .mount = base->mount, .node = base->node });
	else
		go_to_root(w);
	return 0;
}

static int walk_path(struct vfs *v, const struct vfs_cred *cred, struct vfs_handle *root, struct vfs_handle *base,
                     const char *path, unsigned flags, struct vfs_handle **ret_handle)
{
	struct walk w = { .vfs = v, .cred = cred };
	size_t pos = 0, len = strnlen(path, VFS_PATH_MAX);
	char *bufs;
	int ret;

	if (len == VFS_PATH_MAX)
		return err_set(-ENAMETOOLONG, "the path is longer than %d bytes", VFS_PATH_MAX - 1);
	if (!len)
		return err_set(-ENOENT, "the path is empty");
	bufs = malloc((size_t)2 * VFS_PATH_MAX);
	if (!bufs)
		return err_set(-ENOMEM, "no memory to walk along a path");
	w.rest = bufs;
	w.spare = bufs + VFS_PATH_MAX;
	memcpy(w.rest, path, len + 1);
	ret = start(&w, root, base);
	while (!ret) {
		pos += strspn(w.rest + pos, "/");
		if (!w.rest[pos])
			break;
		ret = walk_component(&w, &pos, flags);
	}
	free(bufs);
	place_drop(&w.root);
	if (!ret)
		return handle_new(v, &w.at, 0, cred->uid == 0, ret_handle);
	place_drop(&w.at);
	return err_add(ret, "path '%s'", path);
}

int vfs_walk(struct vfs *v, const struct vfs_cred *cred, struct vfs_handle *root, struct vfs_handle *base,
             const char *path, unsigned flags, struct vfs_handle **ret_handle)
{
	struct op_timer t = op_begin(v->stats, OP_LOOKUP);

	return op_end(&t, walk_path(v, cred, root, base, path, flags, ret_handle), 0, 0);
}

static int look_up(struct vfs_handle *dir, const struct vfs_cred *cred, const char *name, size_t name_len,
                   struct vfs_handle **ret_handle)
{
	struct place at;
	int ret;

	if (!name_len || memchr(name, '/', name_len) || memchr(name, 0, name_len))
		return err_set(-EINVAL, "'%.*s' is not a name", (int)name_len, name);
	place_copy(&at, &(struct place){ .mount = dir->mount, .node = dir->node });
	ret = walk_step(dir->vfs, &at, NULL, cred, name, name_len);
	if (ret) {
		place_drop(&at);
		return ret;
	}
	return handle_new(dir->vfs, &at, 0, cred->uid == 0, ret_handle);
}

int vfs_lookup(struct vfs_handle *dir, const struct vfs_cred *cred, const char *name, size_t name_len,
               struct vfs_handle **ret_handle)
{
	struct op_timer t = op_begin(dir->vfs->stats, OP_LOOKUP);

	return op_end(&t, look_up(dir, cred, name, name_len, ret_handle), 0, 0);
}

/* ---- paths of administrators ---- */

int walk_plain(struct vfs *v, const char *path, struct place *ret)
{
	const char *name = path;
	int err = 0;

	if (strnlen(path, VFS_PATH_MAX) == VFS_PATH_MAX)
		return err_set(-ENAMETOOLONG, "the path is longer than %d bytes", VFS_PATH_MAX - 1);
	if (path[0] != '/')
		return err_set(-EINVAL, "path '%s' is not absolute", path);
	top_place(v, ret);
	while (!err && *name && name[1]) {
		size_t len = strcspn(++name, "/");

		err = vfs_check_name(name, len);
		if (!err)
			err = walk_step(v, ret, NULL, &vfs_cred_root, name, len);
		name += len;
		/* "/a/" names nothing. */
		if (!err && *name && !name[1])
			err = vfs_check_name(name + 1, 0);
	}
	if (err) {
		place_drop(ret);
		return err_add(err, "path '%s'", path);
	}
	return 0;
}
