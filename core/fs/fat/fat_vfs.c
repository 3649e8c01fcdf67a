/* SPDX-License-Identifier: BSD-3-Clause */
/* The VFS's operations on a FAT volume, in terms of the engine (fat.h). */
#include "core/fs/fat/fat_vfs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/base/checksum.h"
#include "core/base/err.h"
#include "core/base/iov.h"
#include "core/base/sync.h"
#include "core/cache/cache.h"
#include "core/vfs/node_set.h"

#define WRITE_BITS 0222u
#define LIST_ENTRIES 64u

struct fat_vfs {
	struct node_set nodes; /* first; of the engine's struct fat_node */
	struct fat_fs *fs;
	struct fat_vfs_options options;
	uint64_t fsid;
};

static const struct vfs_node_ops fat_vfs_ops;

static struct fat_vfs *volume_of(const struct vfs_node *n)
{
	return (struct fat_vfs *)node_set_of(n);
}

static struct fat_node *fat_of(const struct vfs_node *n)
{
	return node_set_object(n);
}

static void **user_of(struct node_set *s, void *object)
{
	(void)s;
	return fat_node_user(object);
}

static void put(void *object)
{
	fat_node_put(object);
}

static void gone(struct node_set *s)
{
	struct fat_vfs *v = (struct fat_vfs *)s;
	int rc = fat_unmount(v->fs);

	if (v->options.gone)
		v->options.gone(v->options.ctx, rc);
	node_set_done(s);
	free(v);
}

static const struct node_set_ops set_ops = { .place = user_of, .put = put, .gone = gone };

/* Takes over the reference to @fat, also when it fails. */
static int wrap(struct fat_vfs *v, struct fat_node *fat, struct vfs_node **ret)
{
	struct fat_stat st;

	fat_stat(fat, &st);
	return node_set_get(&v->nodes, fat, st.is_dir ? VFS_TYPE_DIR : VFS_TYPE_FILE, ret);
}

static int op_stat(struct vfs_node *node, struct vfs_stat *ret)
{
	const struct fat_vfs_options *o = &volume_of(node)->options;
	struct fat_stat st;
	int rc = node_set_check(node);

	if (rc)
		return rc;
	fat_stat(fat_of(node), &st);
	*ret = (struct vfs_stat){
		.type = node->type,
		.fsid = volume_of(node)->fsid,
		.object = st.object,
		.size_bytes = st.size_bytes,
		.allocated_bytes = st.allocated_bytes,
		.change = st.change,
		.atime_ns = st.atime_ns,
		.mtime_ns = st.mtime_ns,
		.ctime_ns = st.mtime_ns, /* FAT has no other time of a change */
		.btime_ns = st.ctime_ns,
		.mode = st.is_dir ? o->dir_mode : o->file_mode,
		.uid = o->uid,
		.gid = o->gid,
		.link_count = st.is_dir ? 2 : 1,
		.block_bytes = CACHE_PAGE_BYTES,
		.grows = !st.is_dir,
	};
	if (!st.is_dir && (st.attr & FAT_ATTR_READ_ONLY))
		ret->mode &= ~WRITE_BITS;
	return 0;
}

static int op_lookup(struct vfs_node *dir, const char *name, size_t name_len, struct vfs_node **ret)
{
	struct fat_node *fat;
	int rc = node_set_check(dir);

	if (rc == 0)
		rc = fat_lookup(fat_of(dir), name, name_len, &fat);
	/* What cannot be a name here is the name of nothing. */
	if (rc == -EINVAL || rc == -ENAMETOOLONG)
		rc = err_set(-ENOENT, "no such file");
	return rc ? rc : wrap(volume_of(dir), fat, ret);
}

/* Entries are copied out, so that whoever is told may call back. */
struct listing {
	unsigned count;
	struct {
		char name[NAME_UTF8_MAX];
		size_t len;
		bool is_dir;
		uint64_t object, cookie;
	} entries[LIST_ENTRIES];
};

static bool list_item(void *ctx, const struct fat_dir_item *item)
{
	struct listing *l = ctx;

	/* A name too long for the VFS goes by its short form. */
	if (item->name_len > VFS_NAME_MAX) {
		l->entries[l->count].len = strlen(item->short_name);
		memcpy(l->entries[l->count].name, item->short_name, l->entries[l->count].len);
	} else {
		l->entries[l->count].len = item->name_len;
		memcpy(l->entries[l->count].name, item->name, item->name_len);
	}
	l->entries[l->count].is_dir = item->stat.is_dir;
	l->entries[l->count].object = item->stat.object;
	l->entries[l->count].cookie = item->next_cookie;
	return ++l->count < LIST_ENTRIES;
}

static int op_readdir(struct vfs_node *dir, uint64_t cookie, vfs_dir_fn *fn, void *ctx)
{
	struct listing *l = malloc(sizeof(*l));
	bool more = true;
	int rc = l ? node_set_check(dir) : err_set(-ENOMEM, "a directory: no memory");

	while (rc == 0 && more) {
		l->count = 0;
		rc = fat_readdir(fat_of(dir), cookie, list_item, l);
		more = rc == 0 && l->count == LIST_ENTRIES;
		for (unsigned i = 0; rc == 0 && i < l->count; i++) {
			struct vfs_dirent e = {
				.name = l->entries[i].name,
				.name_len = l->entries[i].len,
				.type = l->entries[i].is_dir ? VFS_TYPE_DIR : VFS_TYPE_FILE,
				.object = l->entries[i].object,
				.cookie = l->entries[i].cookie,
			};

			cookie = e.cookie;
			if (!fn(ctx, &e)) {
				more = false;
				break;
			}
		}
	}
	free(l);
	return rc;
}

static int op_parent(struct vfs_node *dir, struct vfs_node **ret)
{
	struct fat_node *fat;
	int rc = node_set_check(dir);

	if (rc == 0)
		rc = fat_parent(fat_of(dir), &fat);
	return rc ? rc : wrap(volume_of(dir), fat, ret);
}

static int op_create(struct vfs_node *dir, const char *name, size_t name_len, const struct vfs_new *attr,
                     struct vfs_node **ret)
{
	struct fat_set read_only = { .what = FAT_SET_ATTR, .attr = FAT_ATTR_READ_ONLY | FAT_ATTR_ARCHIVE };
	struct fat_node *fat;
	int rc = node_set_check(dir);

	if (rc)
		return rc;
	if (attr->type == VFS_TYPE_DIR)
		rc = fat_mkdir(fat_of(dir), name, name_len, &fat);
	else if (attr->type == VFS_TYPE_FILE)
		rc = fat_create(fat_of(dir), name, name_len, &fat);
	else
		rc = err_set(-EPERM, "FAT has only files and directories");
	if (rc)
		return rc;
	if (attr->type == VFS_TYPE_FILE && !(attr->mode & WRITE_BITS))
		rc = fat_setattr(fat, &read_only);
	if (rc) {
		fat_node_put(fat);
		return rc;
	}
	return wrap(volume_of(dir), fat, ret);
}

static int op_unlink(struct vfs_node *dir, const char *name, size_t name_len, bool want_dir,
                     const struct vfs_taker *taker, const struct vfs_tag *tag)
{
	int rc = node_set_check(dir);

	(void)taker;
	(void)tag;
	if (rc)
		return rc;
	return want_dir ? fat_rmdir(fat_of(dir), name, name_len) : fat_unlink(fat_of(dir), name, name_len);
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
	if (new_dir->ops != &fat_vfs_ops)
		return err_set(-EXDEV, "a file does not move between file systems");
	if (flags & ~VFS_RENAME_NOREPLACE)
		return err_set(-EINVAL, "FAT cannot exchange two names");
	return fat_rename(fat_of(dir), name, name_len, fat_of(new_dir), new_name, new_name_len,
	                  flags & VFS_RENAME_NOREPLACE);
}

static int op_set_attr(struct vfs_node *node, const struct vfs_set_attr *a)
{
	const struct fat_vfs_options *o = &volume_of(node)->options;
	struct fat_set set = { .mtime_ns = vfs_time_since_1970(a->mtime_ns),
		               .atime_ns = vfs_time_since_1970(a->atime_ns) };
	struct fat_stat st;
	int rc = node_set_check(node);

	if (rc)
		return rc;
	if (((a->valid & VFS_SET_UID) && a->uid != o->uid) || ((a->valid & VFS_SET_GID) && a->gid != o->gid))
		return err_set(-EPERM, "FAT keeps no owners");
	if ((a->valid & VFS_SET_FLAGS) && a->flags)
		return err_set(-EOPNOTSUPP, "FAT has no such flags");
	if (a->valid & VFS_SET_SIZE)
		rc = fat_truncate(fat_of(node), a->size_bytes);
	if (rc)
		return rc;
	fat_stat(fat_of(node), &st);
	set.attr = st.attr;
	if ((a->valid & VFS_SET_MODE) && !st.is_dir) {
		set.what |= FAT_SET_ATTR;
		set.attr =
		        (uint8_t)(a->mode & WRITE_BITS ? st.attr & ~FAT_ATTR_READ_ONLY : st.attr | FAT_ATTR_READ_ONLY);
	}
	if (a->valid & (VFS_SET_MTIME | VFS_SET_MTIME_NOW))
		set.what |= FAT_SET_MTIME;
	if (a->valid & (VFS_SET_ATIME | VFS_SET_ATIME_NOW))
		set.what |= FAT_SET_ATIME;
	if (a->valid & VFS_SET_MTIME_NOW)
		set.mtime_ns = sync_wall_ns();
	if (a->valid & VFS_SET_ATIME_NOW)
		set.atime_ns = sync_wall_ns();
	return set.what ? fat_setattr(fat_of(node), &set) : 0;
}

static int op_statfs(struct vfs_node *node, struct vfs_statfs *ret)
{
	struct fat_info info;
	int rc = node_set_check(node);

	if (rc)
		return rc;
	fat_get_info(volume_of(node)->fs, &info);
	*ret = (struct vfs_statfs){
		.fsid = volume_of(node)->fsid,
		.total_bytes = (uint64_t)info.cluster_count * info.cluster_bytes,
		.free_bytes = (uint64_t)info.free_clusters * info.cluster_bytes,
		.objects_free = UINT64_MAX,
		.block_bytes = info.cluster_bytes,
		.name_max = VFS_NAME_MAX,
		.read_only = info.read_only,
	};
	ret->available_bytes = ret->free_bytes;
	return 0;
}

static int op_by_object(struct vfs_node *any, uint64_t fsid, uint64_t object, struct vfs_node **ret)
{
	struct fat_node *fat;
	int rc = node_set_check(any);

	if (rc == 0 && fsid != volume_of(any)->fsid)
		rc = err_set(-ESTALE, "a file of another volume");
	if (rc == 0)
		rc = fat_by_object(volume_of(any)->fs, object, &fat);
	return rc ? rc : wrap(volume_of(any), fat, ret);
}

static unsigned engine_flags(unsigned flags)
{
	return (flags & VFS_NOWAIT ? FAT_NOWAIT : 0) | (flags & VFS_APPEND ? FAT_APPEND : 0) |
	       (flags & VFS_MAKES_ROOM ? FAT_MAKES_ROOM : 0);
}

static int op_read(struct vfs_node *node, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
	size_t got = 0;
	int rc = node_set_check(node);

	if (rc == 0)
		rc = fat_read(fat_of(node), iov, iov_count, offset, engine_flags(flags), &got);
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
	rc = cache_read_ref(fat_node_cache(fat_of(node)), offset, len, flags & VFS_NOWAIT ? CACHE_NOWAIT : 0, ref);
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

	if (rc == 0 && (flags & VFS_NOWAIT))
		return -EAGAIN;
	return rc ? rc : fat_flush(fat_of(node));
}

static int op_write(struct vfs_node *node, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
	int rc = node_set_check(node);

	if (rc == 0 && (flags & VFS_NOWAIT) && (flags & VFS_FUA))
		return -EAGAIN;
	if (rc == 0)
		rc = fat_write(fat_of(node), iov, iov_count, offset, engine_flags(flags));
	return rc == 0 && (flags & VFS_FUA) ? fat_flush(fat_of(node)) : rc;
}

static int op_prefetch(struct vfs_node *node, uint64_t offset, uint64_t len)
{
	int rc = node_set_check(node);

	return rc ? rc : cache_prefetch(fat_node_cache(fat_of(node)), offset, len);
}

static const struct vfs_node_ops fat_vfs_ops = {
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

int fat_vfs_new(struct fat_fs *fs, const struct fat_vfs_options *options, struct fat_vfs **ret,
                struct vfs_node **ret_root)
{
	struct fat_vfs *v = calloc(1, sizeof(*v));
	struct fat_info info;
	int rc;

	if (!v)
		return err_set(-ENOMEM, "a mount: no memory");
	fat_get_info(fs, &info);
	v->fs = fs;
	v->options = *options;
	node_set_init(&v->nodes, &set_ops, &fat_vfs_ops, "fat nodes");
	/* Of this volume, and of no other that is likely to be there. */
	v->fsid = hash128((uint32_t[]){ info.serial, info.cluster_count, info.cluster_bytes, (uint32_t)info.type },
	                  4 * sizeof(uint32_t))
	                  .lo |
	          1;
	rc = wrap(v, fat_root(fs), ret_root);
	if (rc) {
		node_set_done(&v->nodes);
		free(v);
		return rc;
	}
	*ret = v;
	return 0;
}

void fat_vfs_kill(struct fat_vfs *v)
{
	node_set_kill(&v->nodes);
}
