/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to WFS v3: file trees. What the files of a tree offer to the VFS (vfs_node_ops), by subject:
 *
 *   filetree.c          any object: attributes, places     filetree_dir.c      names: look up, list, create
 *   filetree_file.c     data                               filetree_remove.c   names go: unlink, link, rename
 *   filetree_truncate.c size                               filetree_xattr.c    extended attributes
 *   filetree_reap.c     giving back what has no name       filetree_result.c   results of requests
 *
 * Locks, outermost first: the dataset's rename lock (directories that move), objects by ascending number, an object's
 * data, then those of pool.h.
 */
#ifndef WFSD_CORE_FS_WFS3_FILETREE_H
#define WFSD_CORE_FS_WFS3_FILETREE_H

#include "core/fs/wfs3/edit.h"
#include "core/fs/wfs3/pool.h"

/* Of the inode's flags: it has an ACL (its attribute "system.posix_acl_access"). The others are VFS_FLAG_*. */
#define FILETREE_FLAG_ACL UINT64_C(4)

extern const struct vfs_node_ops filetree_node_ops;
enum vfs_type filetree_type(uint32_t mode);
/* S_IFMT bits of a type. */
uint32_t filetree_format(enum vfs_type type);

static inline struct object *filetree_object(struct vfs_node *n)
{
	return (struct object *)n;
}

/* Begin and end of every operation that changes names or attributes: 0, -EROFS, -EIO, -ESTALE, and, unless it gives
 * space back, -ENOSPC. Blocks. */
struct filetree_op {
	struct dataset *ds;
	bool admitted;
	struct admission adm;
};
int filetree_begin(struct dataset *ds, bool gives_back, struct filetree_op *ret) SYNC_NO_ANALYSIS;
void filetree_end(struct filetree_op *op) SYNC_NO_ANALYSIS;

/* Lock each of them once, in the order of their numbers; NULLs are passed over. At most 4. 0; -EAGAIN, none is locked:
 * another thread has one of them, and this one must not wait. */
int filetree_lock(struct object *const objects[], unsigned count) SYNC_NO_ANALYSIS;
void filetree_unlock(struct object *const objects[], unsigned count) SYNC_NO_ANALYSIS;
/* The same for one. */
int filetree_lock_one(struct object *o) SYNC_NO_ANALYSIS;
void filetree_unlock_one(struct object *o) SYNC_NO_ANALYSIS;
/* Is it a directory that still exists? -ENOTDIR, -ENOENT. Its lock is held. */
int filetree_check_dir(const struct object *dir);

/* Another one than the pool's and those of its other trees. */
static inline uint64_t filetree_fsid(const struct dataset *ds)
{
	return ds->pool->fsid ^ ds->id * UINT64_C(0x9e3779b97f4a7c15);
}

/* What a change of attributes does to an inode; *@set gets EDIT_* bits. Sizes are the caller's. */
void filetree_apply_attr(struct inode *i, const struct vfs_set_attr *attr, int64_t now_ns, unsigned *set);
int filetree_statfs_of(struct dataset *ds, struct vfs_statfs *ret);

/* filetree_dir.c */
int filetree_lookup(struct vfs_node *dir, const char *name, size_t name_len, struct vfs_node **ret);
int filetree_readdir(struct vfs_node *dir, uint64_t cookie, vfs_dir_fn *fn, void *ctx);
int filetree_create(struct vfs_node *dir, const char *name, size_t name_len, const struct vfs_new *attr,
                    struct vfs_node **ret);
/* May such an object be made? -EINVAL, -ENAMETOOLONG. */
int filetree_check_new(const struct vfs_new *attr, bool nameless);
int filetree_create_nameless(struct vfs_node *dir, const struct vfs_new *attr, struct vfs_node **ret);
int filetree_read_link(struct vfs_node *n, char *buf, size_t *ret_len);
struct wfs3_key filetree_target_key(uint64_t object, unsigned part);
#define FILETREE_TARGET_PARTS 2u

/* filetree_remove.c */
int filetree_link(struct vfs_node *dir, const char *name, size_t name_len, struct vfs_node *target,
                  const struct vfs_tag *tag);
int filetree_unlink(struct vfs_node *dir, const char *name, size_t name_len, bool want_dir,
                    const struct vfs_taker *taker, const struct vfs_tag *tag);
int filetree_rename(struct vfs_node *dir, const char *name, size_t name_len, struct vfs_node *new_dir,
                    const char *new_name, size_t new_name_len, unsigned flags, const struct vfs_taker *takers,
                    const struct vfs_tag *tag);

/* An object that is about to lose its last name, within an edit: whether it goes with it, or later. */
struct filetree_victim {
	struct object *o; /* locked, referenced; NULL: none */
	bool loses_last; /* name */
	bool claimed, at_once;
};
/* Add the loss of a name to @e. Blocks. */
int filetree_victim_edit(struct edit *e, struct filetree_victim *v);
/* The edit has been made, or failed; without locks. The caller's reference is gone. */
void filetree_victim_done(struct filetree_victim *v, bool made);

/* filetree_file.c */
int filetree_read(struct vfs_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags);
int filetree_read_ref(struct vfs_node *n, uint64_t offset, size_t len, unsigned flags, struct vfs_ref *ret);
int filetree_take_room(struct vfs_node *n, uint64_t len, struct vfs_room *ret);
int filetree_write(struct vfs_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags);
int filetree_append(struct vfs_node *n, const struct iovec *iov, int iov_count, unsigned flags,
                    const struct vfs_tag *tag);
int filetree_flush(struct vfs_node *n, unsigned flags);
int filetree_flush_range(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags);
int filetree_discard(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags);
int filetree_zero(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags);
int filetree_extents(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags, struct vfs_extent *ret,
                     unsigned max, unsigned *ret_count);
int filetree_prefetch(struct vfs_node *n, uint64_t offset, uint64_t len);

/* filetree_collapse.c */
/* As vfs_collapse(): whole cells. */
int filetree_collapse(struct vfs_node *n, uint64_t offset, uint64_t len, const struct vfs_tag *tag);
/* It is going to be done, also after a crash, and the file has its new size. o->lock and io_lock are held, exclusively.
 */
int filetree_collapse_begin(struct object *o, uint64_t offset, uint64_t len, const struct vfs_tag *tag);
/* If ds->orphans_unknown: a range may be being taken out, which the tree is still to be asked for. Nobody uses the
 * data. */
void filetree_doubt(struct object *o);
/* Then ask, so that o->shifting is what it says, and o->behind_end is set for a truncation that is not finished.
 * o->lock is held. -EUCLEAN, -EIO, -EAGAIN: it is not known. Blocks. */
int filetree_ask(struct object *o);
/* A range that is being taken out is, before anybody sees the data. -EIO: it is, and the pool is read-only. No locks
 * are held. Blocks. */
int filetree_settle(struct object *o);
/* The same with o->lock and io_lock, exclusively. */
int filetree_settle_locked(struct object *o);

/* filetree_truncate.c */
/* Make the change of attributes @e, which sets the size to @size_bytes, too. o->lock is held. Blocks. */
int filetree_resize(struct object *o, struct edit *e, uint64_t size_bytes);
/* The same with o->io_lock held exclusively. */
int filetree_resize_locked(struct object *o, struct edit *e, uint64_t size_bytes);
/*
 * The object became shorter, and is in the tree: drop what is behind its end, and then the item among the orphans that
 * says so, if it has one. io_lock is held exclusively. What cannot be dropped is dropped later.
 */
void filetree_drop_tail(struct object *o, uint64_t size_bytes, uint64_t old_bytes, bool has_orphan);
/* Does it hold anything that has to be dropped when it becomes shorter? */
bool filetree_has_data(struct object *o);
/* What a crash left undone, of an object that has an item among the orphans. Blocks. */
int filetree_finish_truncation(struct object *o);
/* A write that extended the file failed half way: nothing remains behind the end. Blocks. */
void filetree_trim(struct object *o, uint64_t until);

/* filetree_result.c */
int filetree_recall(struct vfs_node *any, const struct vfs_tag *tag, struct vfs_result *ret);
/* Drop those of the tree that have expired, in steps. @stopping tells when to stop. Blocks. */
int filetree_drop_results(struct dataset *ds, bool (*stopping)(struct pool *p));
/* Drop those of the client, in steps, but for those of appends that wait for their data. Blocks. */
int filetree_forget_results(struct dataset *ds, const uint8_t client[VFS_CLIENT_KEY_BYTES]);

/* filetree_xattr.c */
int filetree_get_xattr(struct vfs_node *n, const char *name, void *buf, size_t cap, size_t *ret_len);
int filetree_set_xattr(struct vfs_node *n, const char *name, const void *value, size_t len, unsigned flags,
                       const struct vfs_tag *tag);
int filetree_remove_xattr(struct vfs_node *n, const char *name, const struct vfs_tag *tag);
/* Add to the edit of a new object: it has an ACL. @head, of XATTR_PART_BYTES, and @acl stay until the edit is made. */
void filetree_new_acl(struct edit *e, const struct object *o, const char *name, const void *acl, size_t len,
                      uint8_t *head);
/* Add to an edit: the access ACL becomes @acl; NULL: none. @head as above. -ENOSPC, -EIO. Blocks. */
int filetree_edit_acl(struct edit *e, struct object *o, const void *acl, size_t len, uint8_t *head);
int filetree_list_xattr(struct vfs_node *n, vfs_xattr_fn *fn, void *ctx);
/* 1 it has any, 0 not. Blocks. */
int filetree_has_xattrs(struct object *o);
/* Has another attribute the place that this one would have? Blocks. */
bool filetree_xattr_clashes(struct object *o, const char *name);
/* The number of items of an attribute; 0: there is none. o->lock is held. Blocks. */
int filetree_xattr_items(struct object *o, const char *name, unsigned *ret);

/* filetree_reap.c */
struct wfs3_key filetree_orphan_key(uint64_t object);
/* Hand over a claimed object. False: nobody gives anything back any more. No locks of objects are held. */
bool filetree_reap_later(struct object *o);
/* Give back all of a claimed object, and forget it. Blocks. */
int filetree_reap(struct object *o);
/* The reaper's turn: what was handed over, and once what the last life of the pool left. Blocks. */
int filetree_reap_all(struct pool *p);
/* Truncations, and ranges that are being taken out, that a crash interrupted, before anybody uses the pool. What cannot
 * be read, or not be changed, is seen to when a file is used. Blocks. */
int filetree_finish_all(struct pool *p);
/* All items and blocks of a tree that is deleted, in steps. @stopping tells when to stop. Blocks. */
int filetree_reap_dataset(struct dataset *ds, bool (*stopping)(struct pool *p));

#endif
