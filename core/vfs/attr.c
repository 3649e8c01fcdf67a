/* SPDX-License-Identifier: BSD-3-Clause */
/* Attributes of an object, other handles on it, and its place for clients to keep. */
#include <errno.h>
#include <stdlib.h>

#include "core/base/err.h"
#include "core/vfs/attr_lock.h"
#include "core/vfs/lease.h"
#include "core/vfs/watch.h"

#define SET_OWNER_ONLY (VFS_SET_MODE | VFS_SET_ATIME | VFS_SET_MTIME)
#define SET_NOW (VFS_SET_ATIME_NOW | VFS_SET_MTIME_NOW)
#define SET_ALL                                                                                                        \
	(VFS_SET_MODE | VFS_SET_UID | VFS_SET_GID | VFS_SET_SIZE | VFS_SET_ATIME | VFS_SET_MTIME | SET_NOW |           \
	 VFS_SET_FLAGS | VFS_SET_PROJECT)

static int check_values(const struct vfs_set_attr *a, const struct vfs_stat *st)
{
	if (a->valid & ~(unsigned)SET_ALL ||
	    (a->valid & VFS_SET_FLAGS && a->flags & ~(VFS_FLAG_IMMUTABLE | VFS_FLAG_APPEND)) ||
	    (a->valid & VFS_SET_MODE && a->mode & ~UINT32_C(07777)) ||
	    (a->valid & VFS_SET_ATIME && a->valid & VFS_SET_ATIME_NOW) ||
	    (a->valid & VFS_SET_MTIME && a->valid & VFS_SET_MTIME_NOW))
		return err_set(-EINVAL, "attributes %#x are not what can be set", a->valid);
	if (a->valid & VFS_SET_SIZE && st->type == VFS_TYPE_DIR)
		return err_set(-EISDIR, "a directory's size cannot be set");
	if (a->valid & VFS_SET_SIZE && (st->type != VFS_TYPE_FILE || !st->grows))
		return err_set(-EINVAL, "its size cannot be set");
	if (a->valid & VFS_SET_SIZE && a->size_bytes > VFS_FILE_BYTES_MAX)
		return err_set(-EFBIG, "a file cannot have that size");
	if (a->valid & VFS_SET_MODE && st->type == VFS_TYPE_SYMLINK)
		return err_set(-EOPNOTSUPP, "a symbolic link has no permissions");
	return 0;
}

/* Flags of the object that forbid the change, whoever asks. */
static int check_flags(const struct vfs_set_attr *a, const struct vfs_stat *st)
{
	bool frozen = st->flags & (VFS_FLAG_IMMUTABLE | VFS_FLAG_APPEND);

	if ((frozen && a->valid & ~(unsigned)(VFS_SET_FLAGS | SET_NOW)) ||
	    (st->flags & VFS_FLAG_IMMUTABLE && a->valid & SET_NOW))
		return err_set(-EPERM, "the object is immutable, or append-only");
	return 0;
}

static int check_owner(const struct vfs_set_attr *a, const struct vfs_stat *st, const struct vfs_cred *cred)
{
	bool owner = cred->uid == st->uid;

	if (cred->uid == 0)
		return 0;
	if (a->valid & SET_OWNER_ONLY && !owner)
		return err_set(-EPERM, "uid %u is not its owner", cred->uid);
	/* Programs that change other flags of a file set all of them. */
	if (a->valid & VFS_SET_FLAGS && (!owner || a->flags != st->flags))
		return err_set(-EPERM, "uid %u may not change the flags", cred->uid);
	/* Whoever could change it would pass by its quota. */
	if (a->valid & VFS_SET_PROJECT)
		return err_set(-EPERM, "uid %u may not change the project", cred->uid);
	if (a->valid & VFS_SET_UID && (!owner || a->uid != st->uid))
		return err_set(-EPERM, "uid %u may not give it away", cred->uid);
	if (a->valid & VFS_SET_GID && (!owner || (a->gid != st->gid && !access_in_group(cred, a->gid))))
		return err_set(-EPERM, "uid %u may not give it to group %u", cred->uid, a->gid);
	return 0;
}

static int check_set(struct vfs_handle *h, const struct vfs_cred *cred, const struct vfs_set_attr *a,
                     const struct vfs_stat *st)
{
	bool now = a->valid & SET_NOW && cred->uid && cred->uid != st->uid;
	bool size = a->valid & VFS_SET_SIZE && !(h->access & VFS_ACCESS_WRITE);
	int ret = check_values(a, st);

	if (!ret)
		ret = access_check_writable(h, st);
	if (!ret)
		ret = check_flags(a, st);
	if (!ret)
		ret = check_owner(a, st, cred);
	if (!ret && (now || size))
		ret = access_check(h->node, st, cred, VFS_ACCESS_WRITE);
	return ret;
}

/* What the change entails for the bits that lend identities (POSIX.1-2017, chmod(), chown(), ftruncate()). */
static void keep_bits_safe(const struct vfs_cred *cred, const struct vfs_stat *st, struct vfs_set_attr *a)
{
	/* Of directories, too, as Linux has it. */
	if (a->valid & VFS_SET_MODE && cred->uid && !access_in_group(cred, a->valid & VFS_SET_GID ? a->gid : st->gid))
		a->mode &= ~UINT32_C(02000);
	if (a->valid & VFS_SET_MODE || st->type == VFS_TYPE_DIR)
		return;
	if (a->valid & (VFS_SET_UID | VFS_SET_GID) || (a->valid & VFS_SET_SIZE && cred->uid))
		a->valid |= VFS_SET_KILL_SUID;
}

/* Who has a lease may change attributes before it comes back: that is waited for without the lock, and before that it
 * is seen whether the change is allowed at all. */
static int settle_size(struct vfs_handle *h, const struct vfs_cred *cred, const struct vfs_set_attr *a)
{
	struct vfs_stat st;
	int ret;

	if (!(a->valid & VFS_SET_SIZE) || !lease_any(h->vfs))
		return 0;
	ret = handle_stat(h, &st);
	if (!ret)
		ret = check_set(h, cred, a, &st);
	if (!ret)
		ret = node_may_wait(h->node);
	return ret ? ret : lease_settle(h->vfs, h->node, VFS_ACCESS_WRITE, false);
}

/* With the lock on the object's attributes. */
static int check_and_set(struct vfs_handle *h, const struct vfs_cred *cred, struct vfs_set_attr *a)
{
	struct vfs_stat st;
	int ret = handle_stat(h, &st);

	if (!ret)
		ret = check_set(h, cred, a, &st);
	if (!ret && !h->node->ops->set_attr)
		ret = err_set(-EOPNOTSUPP, "the file system cannot do that");
	if (!ret)
		ret = node_may_wait(h->node);
	if (ret || !a->valid)
		return ret;
	keep_bits_safe(cred, &st, a);
	a->tag = cred->tag;
	return h->node->ops->set_attr(h->node, a);
}

static int set_attr(struct vfs_handle *h, const struct vfs_cred *cred, const struct vfs_set_attr *attr,
                    struct vfs_stat *ret_stat)
{
	struct sync_mutex *lock = attr_lock_of(h->vfs, h->node);
	struct vfs_set_attr a = *attr;
	int ret = settle_size(h, cred, &a);

	if (ret)
		return ret;
	if (!attr_lock(lock))
		return -EAGAIN;
	ret = check_and_set(h, cred, &a);
	sync_mutex_unlock(lock);
	if (!ret && a.valid & VFS_SET_SIZE)
		lease_changed(h->vfs, h->node);
	if (!ret && a.valid)
		watch_object(h->vfs, h->mount, VFS_CHANGE_ATTR | (a.valid & VFS_SET_SIZE ? VFS_CHANGE_DATA : 0),
		             h->node);
	if (!ret && ret_stat)
		ret = handle_stat(h, ret_stat);
	return ret;
}

int vfs_set_attr(struct vfs_handle *h, const struct vfs_cred *cred, const struct vfs_set_attr *attr,
                 struct vfs_stat *ret_stat)
{
	struct op_timer t = op_begin(h->vfs->stats, OP_SET_ATTR);

	return op_end(&t, set_attr(h, cred, attr, ret_stat), 0, 0);
}

int vfs_read_link(struct vfs_handle *h, char *buf, size_t *ret_len)
{
	int ret;

	if (h->node->type != VFS_TYPE_SYMLINK || !h->node->ops->read_link)
		return err_set(-EINVAL, "it is not a symbolic link");
	ret = node_may_wait(h->node);
	if (!ret)
		ret = h->node->ops->read_link(h->node, buf, ret_len);
	if (!ret)
		buf[*ret_len] = 0;
	return ret;
}

int vfs_statfs(struct vfs_handle *h, struct vfs_statfs *ret)
{
	int err;

	if (!h->node->ops->statfs)
		return err_set(-EOPNOTSUPP, "the file system does not tell");
	err = h->node->ops->statfs(h->node, ret);
	if (!err)
		ret->read_only |= h->mount->read_only;
	return err;
}

int vfs_get_figures(struct vfs_handle *h, struct vfs_figures *ret)
{
	if (!h->node->ops->get_figures)
		return err_set(-EOPNOTSUPP, "the file system does not count what is done in it");
	h->node->ops->get_figures(h->node, ret);
	return 0;
}

int vfs_take_room(struct vfs_handle *h, uint64_t len, struct vfs_room *ret)
{
	*ret = (struct vfs_room){ 0 };
	if (!h->node->ops->take_room)
		return -EOPNOTSUPP;
	return h->node->ops->take_room(h->node, len, ret);
}

void vfs_give_room_back(struct vfs_room *r)
{
	if (r->give_back)
		r->give_back(r);
	*r = (struct vfs_room){ 0 };
}

int vfs_recall(struct vfs_handle *h, const struct vfs_tag *tag, struct vfs_result *ret)
{
	if (!h->node->ops->recall)
		return err_set(-EOPNOTSUPP, "the file system keeps no results");
	return h->node->ops->recall(h->node, tag, ret);
}

int vfs_forget_results(struct vfs *v, const uint8_t client[VFS_CLIENT_KEY_BYTES])
{
	struct place at;
	uint64_t id = 0;
	int err, ret = 0;

	while (mount_next(v, &id, &at)) {
		err = at.node->ops->forget_results ? at.node->ops->forget_results(at.node, client) : 0;
		ret = ret ? ret : err;
		place_drop(&at);
	}
	return ret;
}

int vfs_open_handle(struct vfs_handle *h, const struct vfs_cred *cred, unsigned access, struct vfs_handle **ret)
{
	struct place at;
	struct vfs_stat st;
	int err = node_may_wait(h->node);

	if (!err && cred) {
		err = handle_stat(h, &st);
		if (!err)
			err = access_check(h->node, &st, cred, access);
	}
	if (err)
		return err;
	place_copy(&at, &(struct place){ .mount = h->mount, .node = h->node });
	return handle_new(h->vfs, &at, access, cred ? cred->uid == 0 : h->by_root, ret);
}

int vfs_get_fid(struct vfs_handle *h, struct vfs_fid *ret)
{
	struct vfs_stat st;
	int err = handle_stat(h, &st);

	if (!err)
		*ret = (struct vfs_fid){ .fsid = st.fsid, .object = st.object };
	return err;
}

/* In the mount of @at, which is replaced. */
static int find_fid(struct place *at, const struct vfs_fid *fid)
{
	struct vfs_node *node;
	int err;

	if (!at->node->ops->by_object)
		return err_set(-ESTALE, "the file system does not find objects by number");
	err = node_may_wait(at->node);
	if (!err)
		err = at->node->ops->by_object(at->node, fid->fsid, fid->object, &node);
	if (err)
		return err;
	vfs_node_unref(at->node);
	at->node = node;
	return 0;
}

int vfs_open_fid(struct vfs_handle *beside, const struct vfs_fid *fid, struct vfs_handle **ret)
{
	struct place at;
	uint64_t id = 0;
	int err;

	place_copy(&at, &(struct place){ .mount = beside->mount, .node = beside->node });
	err = find_fid(&at, fid);
	while (err == -ESTALE) {
		place_drop(&at);
		if (!mount_next_over(beside->vfs, beside->mount, &id, &at))
			return err;
		err = find_fid(&at, fid);
	}
	if (err) {
		place_drop(&at);
		return err;
	}
	return handle_new(beside->vfs, &at, 0, false, ret);
}
