/* SPDX-License-Identifier: BSD-3-Clause */
/* Replies to the kernel, and who it asks for. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "plugins/fuse/mount.h"

#define NS_PER_S UINT64_C(1000000000)
#define KEPT_NS_MAX (NS_PER_S / 10)

void caller_get(fuse_req_t req, struct caller *ret)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct mount *m = mount_of(req);
	gid_t groups[WFS_GROUPS_MAX];
	int count = 0;

	_Static_assert(sizeof(gid_t) == sizeof(uint32_t), "groups are handed on as they come");
	ret->seen = (struct seen){ atomic_load(&m->events.changes), atomic_load(&m->sequence) };
	ret->cred = (struct wfs_cred){ .uid = ctx->uid, .gid = ctx->gid, .groups = ret->groups };
	/* They are read from /proc, which takes as long as a request; root needs none. */
	if (ctx->uid != 0)
		count = fuse_req_getgroups(req, WFS_GROUPS_MAX, groups);
	if (count > (int)WFS_GROUPS_MAX)
		count = WFS_GROUPS_MAX;
	if (count > 0) {
		memcpy(ret->groups, groups, (size_t)count * sizeof(groups[0]));
		ret->cred.group_count = (unsigned)count;
	}
}

uint64_t node_touch(struct mount *m, struct node *n)
{
	uint64_t now = atomic_fetch_add(&m->sequence, 1) + 1, before = atomic_load(&n->touched);

	/* Of two that do so at the same time the later one counts. */
	while (before < now && !atomic_compare_exchange_weak(&n->touched, &before, now))
		;
	atomic_store(&n->small_bytes, 0);
	return now;
}

uint64_t node_touch_end(struct mount *m, struct node *n, uint64_t before)
{
	uint64_t now = atomic_fetch_add(&m->sequence, 1) + 1;

	if (atomic_compare_exchange_strong(&n->touched, &before, now))
		return now;
	(void)node_touch(m, n);
	return 0;
}

void attr_keep(struct mount *m, struct node *dir, uint64_t before, const struct wfs_attr *attr)
{
	uint64_t window_ns = m->attr_timeout_ns < KEPT_NS_MAX ? m->attr_timeout_ns : KEPT_NS_MAX;

	pthread_mutex_lock(&m->small_lock);
	if (atomic_load(&dir->touched) == before) {
		dir->kept = *attr;
		dir->kept_at = node_touch(m, dir);
		dir->kept_until_ns = node_now_ns() + window_ns;
	} else {
		(void)node_touch(m, dir);
	}
	pthread_mutex_unlock(&m->small_lock);
}

bool attr_kept(struct mount *m, struct node *dir, struct wfs_attr *ret)
{
	bool good;

	pthread_mutex_lock(&m->small_lock);
	good = dir->kept_at && atomic_load(&dir->touched) == dir->kept_at && node_now_ns() < dir->kept_until_ns;
	if (good)
		*ret = dir->kept;
	pthread_mutex_unlock(&m->small_lock);
	return good;
}

void attr_remember(struct mount *m, struct node *n, const struct wfs_attr *attr)
{
	pthread_mutex_lock(&m->small_lock);
	n->kept = *attr;
	n->kept.link_count = 0;
	n->kept_at = 0;
	n->remembered = true;
	pthread_mutex_unlock(&m->small_lock);
}

void attr_removed(struct mount *m, const struct wfs_attr *attr)
{
	struct node *n = node_find(&m->nodes, attr->fsid, attr->file_id);

	if (!n)
		return;
	attr_remember(m, n, attr);
	node_forget(&m->nodes, n, 1);
}

bool attr_of_removed(struct mount *m, struct node *n, struct wfs_attr *ret)
{
	bool remembered;

	pthread_mutex_lock(&m->small_lock);
	remembered = n->remembered;
	if (remembered)
		*ret = n->kept;
	pthread_mutex_unlock(&m->small_lock);
	return remembered;
}

mode_t mode_of_type(enum wfs_type type)
{
	switch (type) {
	case WFS_TYPE_FILE:
		return S_IFREG;
	case WFS_TYPE_DIR:
		return S_IFDIR;
	case WFS_TYPE_SYMLINK:
		return S_IFLNK;
	case WFS_TYPE_FIFO:
		return S_IFIFO;
	case WFS_TYPE_CHAR:
		return S_IFCHR;
	case WFS_TYPE_BLOCK:
		return S_IFBLK;
	case WFS_TYPE_SOCKET:
		return S_IFSOCK;
	}
	return 0;
}

ino_t number_of(const struct mount *m, uint64_t fsid, uint64_t file_id)
{
	/* Another file system below the export: its numbers are moved out of the way. */
	return fsid == m->root->fsid ? file_id : file_id ^ (fsid | 1) * UINT64_C(0x9e3779b97f4a7c15);
}

/*
 * What a file with data occupies, in units of 512 bytes. Never nothing: what is still to be written by the server has
 * no blocks yet, and tar takes a file without blocks for one without data.
 */
static blkcnt_t blocks_of(const struct wfs_attr *attr)
{
	uint64_t count = attr->allocated_bytes / 512 + (attr->allocated_bytes % 512 != 0);

	return (blkcnt_t)(count || attr->type != WFS_TYPE_FILE ? count : attr->size_bytes != 0);
}

void stat_fill(const struct mount *m, const struct wfs_attr *attr, struct stat *ret)
{
	*ret = (struct stat){ .st_ino = number_of(m, attr->fsid, attr->file_id),
		              .st_mode = mode_of_type(attr->type) | (attr->mode & 07777),
		              .st_nlink = attr->link_count,
		              .st_uid = attr->uid,
		              .st_gid = attr->gid,
		              .st_rdev = makedev((unsigned)(attr->rdev >> 32), (unsigned)attr->rdev),
		              .st_size = (off_t)attr->size_bytes,
		              .st_blksize = attr->block_preferred_bytes ? (int)attr->block_preferred_bytes : 4096,
		              .st_blocks = blocks_of(attr) };
	wfs_time_from_ns(attr->atime_ns, &ret->st_atim);
	wfs_time_from_ns(attr->mtime_ns, &ret->st_mtim);
	wfs_time_from_ns(attr->ctime_ns, &ret->st_ctim);
}

void learn_missing(struct mount *m, struct node *n, struct seen seen, _Atomic uint64_t *until)
{
	if (atomic_load(&n->touched) <= seen.own)
		atomic_store(until, node_now_ns() + events_believed_ns(m, seen_of(m, n->fsid, seen)));
}

/* What an answer from the server tells for a while, unless it is older than a change of this mount. */
static void learn(struct mount *m, struct node *n, struct seen seen, const struct wfs_attr *attr)
{
	bool small = attr->type == WFS_TYPE_FILE && attr->size_bytes <= SMALL_BYTES_MAX;

	if (attr->mode & (S_ISUID | S_ISGID))
		atomic_store(&n->setid, true);
	else if (atomic_load(&n->touched) <= seen.own)
		atomic_store(&n->setid, false);
	if (attr->has_acl)
		atomic_store(&n->no_acl_until_ns, 0);
	else
		learn_missing(m, n, seen, &n->no_acl_until_ns);
	atomic_store(&n->attr_change, attr->change);
	atomic_store(&n->attr_own, seen.own);
	if (attr->type != WFS_TYPE_FILE && attr->type != WFS_TYPE_DIR)
		attr_remember(m, n, attr);
	if (atomic_load(&n->touched) <= seen.own)
		atomic_store(&n->small_bytes, small ? (uint32_t)attr->size_bytes : 0);
}

void reply_err(fuse_req_t req, int err)
{
	(void)fuse_reply_err(req, -err);
}

void reply_attr(fuse_req_t req, struct node *n, struct seen seen, const struct wfs_attr *attr)
{
	struct mount *m = mount_of(req);
	struct stat st;

	stat_fill(m, attr, &st);
	tell_begin(m);
	learn(m, n, seen, attr);
	(void)fuse_reply_attr(req, &st, events_believed_s(m, seen_of(m, n->fsid, seen), m->options->attr_timeout_s));
	tell_end(m);
}

int entry_fill(struct mount *m, struct node *dir, const char *name, struct seen seen, const struct wfs_attr *attr,
               const struct wfs_fh *fh, struct fuse_entry_param *ret, struct node **ret_node)
{
	struct node *n = node_get(&m->nodes, attr, fh);

	if (!n)
		return -ENOMEM;
	seen = seen_of(m, n->fsid, seen);
	learn(m, n, seen, attr);
	atomic_store(&n->parent_id, dir->file_id);
	/* Numbers of objects are never used again, so they tell the lives of a node's address apart. */
	*ret = (struct fuse_entry_param){ .ino = n == m->root ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)n,
		                          .generation = n->file_id,
		                          .attr_timeout = events_believed_s(m, seen, m->options->attr_timeout_s),
		                          .entry_timeout =
		                                  told_name_s(m, dir, name, seen, m->options->entry_timeout_s) };
	stat_fill(m, attr, &ret->attr);
	*ret_node = n;
	return 0;
}

void reply_entry(fuse_req_t req, struct node *dir, const char *name, struct seen seen, int err,
                 const struct wfs_attr *attr, const struct wfs_fh *fh)
{
	struct mount *m = mount_of(req);
	struct fuse_entry_param entry;
	struct node *n;

	if (err) {
		reply_err(req, err);
		return;
	}
	tell_begin(m);
	err = entry_fill(m, dir, name, seen, attr, fh, &entry, &n);
	if (err)
		reply_err(req, err);
	else if (fuse_reply_entry(req, &entry) != 0)
		node_forget(&m->nodes, n, 1);
	tell_end(m);
}

void reply_statfs(fuse_req_t req, const struct wfs_statfs *s)
{
	uint64_t unit = s->block_bytes ? s->block_bytes : 4096;
	/* Without a limit it is the room that ends. */
	uint64_t left = s->objects_free < UINT64_MAX - s->objects ? s->objects_free : s->free_bytes / unit;
	struct statvfs st = { .f_bsize = unit,
		              .f_frsize = unit,
		              .f_blocks = s->total_bytes / unit,
		              .f_bfree = s->free_bytes / unit,
		              .f_bavail = s->available_bytes / unit,
		              .f_files = s->objects + left,
		              .f_ffree = left,
		              .f_favail = left,
		              .f_fsid = s->fsid,
		              .f_flag = s->read_only ? ST_RDONLY : 0,
		              .f_namemax = s->name_max };

	(void)fuse_reply_statfs(req, &st);
}
