/* SPDX-License-Identifier: BSD-3-Clause */
/* The VFS's operations on a WFS v2 volume, in terms of the engine (wfs2.h). */
#include "core/fs/wfs2/wfs2_vfs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/iov.h"
#include "core/base/sync.h"
#include "core/cache/cache.h"
#include "core/vfs/node_set.h"

#define WRITE_BITS 0222u
#define ROOT_OBJECT 1u

struct wfs2_vfs {
	struct node_set nodes; /* first; of the engine's struct wfs2_node, and of the one directory */
	struct wfs2_fs *fs;
	struct wfs2_vfs_options options;
	uint64_t fsid;
	uint64_t dir_change; /* atomic: changes of the name space while it is mounted */
	void *root; /* the node of the one directory, which is no object of the engine: it is NULL here */
};

static const struct vfs_node_ops wfs2_vfs_ops;

static struct wfs2_vfs *volume_of(const struct vfs_node *n)
{
	return (struct wfs2_vfs *)node_set_of(n);
}

/* NULL: the one directory. */
static struct wfs2_node *file_of(const struct vfs_node *n)
{
	return node_set_object(n);
}

static void **user_of(struct node_set *s, void *object)
{
	return object ? wfs2_node_user(object) : &((struct wfs2_vfs *)s)->root;
}

static void put(void *object)
{
	wfs2_put(object);
}

static void gone(struct node_set *s)
{
	struct wfs2_vfs *v = (struct wfs2_vfs *)s;
	int rc = wfs2_unmount(v->fs);

	if (v->options.gone)
		v->options.gone(v->options.ctx, rc);
	node_set_done(s);
	free(v);
}

static const struct node_set_ops set_ops = { .place = user_of, .put = put, .gone = gone };

/* Takes over the reference to @file, also when it fails. */
static int wrap(struct wfs2_vfs *v, struct wfs2_node *file, struct vfs_node **ret)
{
	return node_set_get(&v->nodes, file, file ? VFS_TYPE_FILE : VFS_TYPE_DIR, ret);
}

static int op_stat(struct vfs_node *node, struct vfs_stat *ret)
{
	const struct wfs2_vfs_options *o = &volume_of(node)->options;
	struct wfs2_stat st = { .object = ROOT_OBJECT };
	int rc = node_set_check(node);

	if (rc)
		return rc;
	if (file_of(node))
		wfs2_stat(file_of(node), &st);
	else
		st.change = __atomic_load_n(&volume_of(node)->dir_change, __ATOMIC_RELAXED);
	*ret = (struct vfs_stat){
		.type = node->type,
		.fsid = volume_of(node)->fsid,
		.object = st.object,
		.size_bytes = st.size_bytes,
		.allocated_bytes = st.allocated_bytes,
		.change = st.change,
		.atime_ns = st.modified_ns, /* there is one time of use only */
		.mtime_ns = st.modified_ns,
		.ctime_ns = st.modified_ns,
		.btime_ns = st.created_ns,
		.mode = file_of(node) ? o->file_mode : o->dir_mode,
		.uid = o->uid,
		.gid = o->gid,
		.link_count = file_of(node) ? 1 : 2,
		.block_bytes = WFS2_BLOCK_BYTES,
		.grows = file_of(node) != NULL,
	};
	if (st.read_only)
		ret->mode &= ~WRITE_BITS;
	return 0;
}

static int op_lookup(struct vfs_node *dir, const char *name, size_t name_len, struct vfs_node **ret)
{
	struct wfs2_node *file;
	int rc = node_set_check(dir);

	if (rc == 0)
		rc = wfs2_lookup(volume_of(dir)->fs, name, name_len, &file);
	return rc ? rc : wrap(volume_of(dir), file, ret);
}

struct listing {
	vfs_dir_fn *fn;
	void *ctx;
};

static bool list_item(void *ctx, const struct wfs2_dir_item *item)
{
	struct listing *l = ctx;
	struct vfs_dirent e = {
		.name = item->name,
		.name_len = item->name_len,
		.type = VFS_TYPE_FILE,
		.object = item->stat.object,
		.cookie = item->next_cookie,
	};

	return l->fn(l->ctx, &e);
}

static int op_readdir(struct vfs_node *dir, uint64_t cookie, vfs_dir_fn *fn, void *ctx)
{
	struct listing l = { fn, ctx };
	int rc = node_set_check(dir);

	return rc ? rc : wfs2_list(volume_of(dir)->fs, cookie, list_item, &l);
}

static int op_parent(struct vfs_node *dir, struct vfs_node **ret)
{
	(void)dir;
	(void)ret;
	return err_set(-ENOENT, "the top of a volume");
}

static int names_changed(const struct vfs_node *dir, int rc)
{
	if (rc == 0)
		(void)__atomic_add_fetch(&volume_of(dir)->dir_change, 1, __ATOMIC_RELAXED);
	return rc;
}

static int op_create(struct vfs_node *dir, const char *name, size_t name_len, const struct vfs_new *attr,
                     struct vfs_node **ret)
{
	struct wfs2_node *file;
	bool read_only = true;
	int rc = node_set_check(dir);

	if (rc)
		return rc;
	if (attr->type != VFS_TYPE_FILE)
		return err_set(-EPERM, "WFS v2 has only files");
	rc = names_changed(dir, wfs2_create(volume_of(dir)->fs, name, name_len, &file));
	if (rc)
		return rc;
	if (!(attr->mode & WRITE_BITS))
		rc = wfs2_set_attr(file, &read_only, NULL);
	if (rc) {
		wfs2_put(file);
		return rc;
	}
	return wrap(volume_of(dir), file, ret);
}

static int op_unlink(struct vfs_node *dir, const char *name, size_t name_len, bool want_dir,
                     const struct vfs_taker *taker, const struct vfs_tag *tag)
{
	struct wfs2_node *file;
	int rc = node_set_check(dir);

	(void)taker;
	(void)tag;
	if (rc)
		return rc;
	if (want_dir) {
		rc = wfs2_lookup(volume_of(dir)->fs, name, name_len, &file);
		if (rc)
			return rc;
		wfs2_put(file);
		return err_set(-ENOTDIR, "WFS v2 has no directories");
	}
	return names_changed(dir, wfs2_unlink(volume_of(dir)->fs, name, name_len));
}

static int op_rename(struct vfs_node *dir, const char *name, size_t name_len, struct vfs_node *new_dir,
                     const char *new_name, size_t new_name_len, unsigned flags, const struct vfs_taker *takers,
                     const struct vfs_tag *tag)
{
	int rc = node_set_check(dir);

	(void)takers;
	(void)tag;
	if (rc)
		return rc;
	if (new_dir->ops != &wfs2_vfs_ops || volume_of(new_dir) != volume_of(dir))
		return err_set(-EXDEV, "a file does not move between file systems");
	if (flags & ~VFS_RENAME_NOREPLACE)
		return err_set(-EINVAL, "WFS v2 cannot exchange two names");
	return names_changed(dir, wfs2_rename(volume_of(dir)->fs, name, name_len, new_name, new_name_len,
	                                      flags & VFS_RENAME_NOREPLACE));
}

static int op_set_attr(struct vfs_node *node, const struct vfs_set_attr *a)
{
	const struct wfs2_vfs_options *o = &volume_of(node)->options;
	uint64_t mtime_ns = a->valid & VFS_SET_MTIME_NOW ? sync_wall_ns() : vfs_time_since_1970(a->mtime_ns);
	bool read_only = !(a->mode & WRITE_BITS);
	const uint64_t *set_mtime = a->valid & (VFS_SET_MTIME | VFS_SET_MTIME_NOW) ? &mtime_ns : NULL;
	const bool *set_read_only = a->valid & VFS_SET_MODE ? &read_only : NULL;
	int rc = node_set_check(node);

	if (rc)
		return rc;
	if (((a->valid & VFS_SET_UID) && a->uid != o->uid) || ((a->valid & VFS_SET_GID) && a->gid != o->gid))
		return err_set(-EPERM, "WFS v2 keeps no owners");
	if ((a->valid & VFS_SET_FLAGS) && a->flags)
		return err_set(-EOPNOTSUPP, "WFS v2 has no such flags");
	if (!file_of(node))
		return a->valid & VFS_SET_SIZE ? err_set(-EISDIR, "a directory has no size") : 0;
	if (a->valid & VFS_SET_SIZE)
		rc = wfs2_truncate(file_of(node), a->size_bytes);
	if (rc == 0 && (set_mtime || set_read_only))
		rc = wfs2_set_attr(file_of(node), set_read_only, set_mtime);
	return rc;
}

static int op_statfs(struct vfs_node *node, struct vfs_statfs *ret)
{
	struct wfs2_info info;
	int rc = node_set_check(node);

	if (rc)
		return rc;
	wfs2_get_info(volume_of(node)->fs, &info);
	*ret = (struct vfs_statfs){
		.fsid = volume_of(node)->fsid,
		.total_bytes = (uint64_t)info.block_count * WFS2_BLOCK_BYTES,
		.free_bytes = (uint64_t)info.free_blocks * WFS2_BLOCK_BYTES,
		.object_count = info.file_count,
		.objects_free = info.file_max - info.file_count,
		.block_bytes = WFS2_BLOCK_BYTES,
		.name_max = WFS2_NAME_MAX,
		.read_only = info.read_only,
	};
	ret->available_bytes = ret->free_bytes;
	return 0;
}

static int op_by_object(struct vfs_node *any, uint64_t fsid, uint64_t object, struct vfs_node **ret)
{
	struct wfs2_node *file = NULL;
	int rc = node_set_check(any);

	if (rc == 0 && fsid != volume_of(any)->fsid)
		rc = err_set(-ESTALE, "a file of another volume");
	if (rc == 0 && object != ROOT_OBJECT)
		rc = wfs2_by_object(volume_of(any)->fs, object, &file);
	return rc ? rc : wrap(volume_of(any), file, ret);
}

static int op_read(struct vfs_node *node, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
	size_t got = 0;
	int rc = node_set_check(node);

	if (rc == 0)
		rc = wfs2_read(file_of(node), iov, iov_count, offset, flags & VFS_NOWAIT ? WFS2_NOWAIT : 0, &got);
	/* What lies behind an end that moved meanwhile reads as zeros. */
	if (rc == 0)
		iov_zero_from(iov, iov_count, got);
	return rc;
}

static void release_ref(struct vfs_ref *r)
{
	cache_ref_release(r->priv);
	free(r->priv);
}

static int op_read_ref(struct vfs_node *node, uint64_t offset, size_t len, unsigned flags, struct vfs_ref *ret)
{
	struct cache_ref *ref;
	int rc = node_set_check(node);

	if (rc)
		return rc;
	ref = malloc(sizeof(*ref));
	if (!ref)
		return err_set(-ENOMEM, "a read: no memory");
	rc = cache_read_ref(wfs2_node_cache(file_of(node)), offset, len, flags & VFS_NOWAIT ? CACHE_NOWAIT : 0, ref);
	if (rc) {
		free(ref);
		return rc;
	}
	*ret = (struct vfs_ref){ .iov = ref->iov, .iov_count = ref->iov_count, .release = release_ref, .priv = ref };
	return 0;
}

static int op_flush(struct vfs_node *node, unsigned flags)
{
	int rc = node_set_check(node);

	if (rc || !file_of(node))
		return rc; /* names are durable at once */
	return flags & VFS_NOWAIT ? -EAGAIN : wfs2_flush(file_of(node));
}

static int op_write(struct vfs_node *node, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
	int rc = node_set_check(node);

	if (rc == 0 && (flags & VFS_NOWAIT) && (flags & VFS_FUA))
		return -EAGAIN;
	if (rc == 0)
		rc = wfs2_write(file_of(node), iov, iov_count, offset,
		                (flags & VFS_NOWAIT ? WFS2_NOWAIT : 0) | (flags & VFS_APPEND ? WFS2_APPEND : 0) |
		                        (flags & VFS_MAKES_ROOM ? WFS2_MAKES_ROOM : 0));
	return rc == 0 && (flags & VFS_FUA) ? wfs2_flush(file_of(node)) : rc;
}

static int op_prefetch(struct vfs_node *node, uint64_t offset, uint64_t len)
{
	int rc = node_set_check(node);

	return rc ? rc : cache_prefetch(wfs2_node_cache(file_of(node)), offset, len);
}

static const struct vfs_node_ops wfs2_vfs_ops = {
	.release = node_set_release,
	.stat = op_stat,
	.lookup = op_lookup,
	.readdir = op_readdir,
	.parent = op_parent,
	.create = op_create,
	.unlink = op_unlink,
	.rename = op_rename,
	.set_attr = op_set_attr,
	.statfs = op_statfs,
	.by_object = op_by_object,
	.read = op_read,
	.read_ref = op_read_ref,
	.write = op_write,
	.flush = op_flush,
	.zero = vfs_node_zero,
	.prefetch = op_prefetch,
};

int wfs2_vfs_new(struct wfs2_fs *fs, const struct wfs2_vfs_options *options, struct wfs2_vfs **ret,
                 struct vfs_node **ret_root)
{
	struct wfs2_vfs *v = calloc(1, sizeof(*v));
	struct wfs2_info info;
	int rc;

	if (!v)
		return err_set(-ENOMEM, "a mount: no memory");
	wfs2_get_info(fs, &info);
	v->fs = fs;
	v->options = *options;
	node_set_init(&v->nodes, &set_ops, &wfs2_vfs_ops, "wfs2 nodes");
	v->fsid = get_le64(info.id) | 1;
	v->dir_change = sync_wall_ns(); /* more than any count of an earlier mount */
	rc = wrap(v, NULL, ret_root);
	if (rc) {
		node_set_done(&v->nodes);
		free(v);
		return rc;
	}
	*ret = v;
	return 0;
}

void wfs2_vfs_kill(struct wfs2_vfs *v)
{
	node_set_kill(&v->nodes);
}
