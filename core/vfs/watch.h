/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to the VFS: reporting changes to watches. Everything here is called after the change was made, without locks,
 * and costs one load when nobody watches.
 */
#ifndef WFSD_CORE_VFS_WATCH_H
#define WFSD_CORE_VFS_WATCH_H

#include "core/vfs/vfs_priv.h"
#include "core/vfs/vfs_watch.h"

#define WATCH_BUCKETS 1024u
/* Directories above a changed one that are looked at; below more, a subtree's watch only hears that it lost something.
 */
#define WATCH_DEPTH_MAX 256u
/* Objects with a name in a watched directory that are remembered; with more, it hears of all in the file system. */
#define WATCH_CHILDREN_MAX 65536u
#define WATCH_CHILDREN_ALL_MAX 262144u /* of all watches; likewise */

struct watch_child {
	struct cds_list_head link; /* bucket */
	struct cds_list_head of_watch;
	struct vfs_watch *watch;
	uint64_t fsid, object;
};

struct vfs_watch {
	struct cds_list_head link; /* bucket by node */
	struct cds_list_head far_link; /* list of those that a change elsewhere may concern: subtrees, full ones */
	bool is_far;
	struct vfs *vfs;
	const struct vfs_mount_point *mount; /* is in use, or its watches are being ended */
	struct vfs_node *node; /* referenced; NULL: ended */
	uint64_t fsid, object;
	struct vfs_watch_spec spec;
	uint32_t uid, gid;
	unsigned group_count;
	uint32_t *groups;
	struct cds_list_head children;
	unsigned child_count;
	bool has_children, full;
	vfs_watch_fn *fn;
	void *ctx;
};

struct watch_hub {
	unsigned count; /* atomic; changes under the lock */
	unsigned walk_count; /* of those, whose subtree is found by walking up (atomic, likewise) */
	struct sync_mutex lock; /* SYNC_RANK_WATCH */
	struct cds_list_head buckets[WATCH_BUCKETS];
	struct cds_list_head children[WATCH_BUCKETS];
	unsigned child_count, child_max; /* WATCH_CHILDREN_ALL_MAX, and less in tests */
	struct cds_list_head far;
};

struct watch_hub *watch_hub_new(void); /* NULL: memory */
void watch_hub_free(struct watch_hub *hub); /* NULL is fine; nobody watches any more */
/* The mount is gone: its watches are told, and hear nothing more. */
void watch_drop_mount(struct watch_hub *hub, const struct vfs_mount_point *m);

/* For whom this thread makes changes; 0: nobody in particular. */
uint64_t watch_origin(void);
uint64_t watch_peer(void);

/* Is anybody watching? */
static inline bool watch_any(const struct vfs *v)
{
	return __atomic_load_n(&v->watches->count, __ATOMIC_RELAXED) != 0;
}

/* One of VFS_CHANGE_NAMES. @object: what the name stands, or stood, for; NULL: not known. */
void watch_tell_name(struct vfs *v, const struct vfs_mount_point *m, unsigned what, struct vfs_node *dir,
                     const char *name, size_t name_len, struct vfs_node *object);
/* VFS_CHANGE_DATA or VFS_CHANGE_ATTR. */
void watch_tell_object(struct vfs *v, const struct vfs_mount_point *m, unsigned what, struct vfs_node *object);

/* Before a change of names in @dir: -EAGAIN when this thread must not wait and telling of it would have to. */
int watch_may_tell(struct vfs *v, const struct vfs_mount_point *m, struct vfs_node *dir);

/* Something in the mount changed, it is not known what. */
void watch_lost(struct vfs *v, const struct vfs_mount_point *m);

static inline void watch_name(struct vfs *v, const struct vfs_mount_point *m, unsigned what, struct vfs_node *dir,
                              const char *name, size_t name_len, struct vfs_node *object)
{
	if (watch_any(v))
		watch_tell_name(v, m, what, dir, name, name_len, object);
}

static inline void watch_object(struct vfs *v, const struct vfs_mount_point *m, unsigned what, struct vfs_node *object)
{
	if (watch_any(v))
		watch_tell_object(v, m, what, object);
}

/* watch_children.c: what has a name in a watched directory. Under the hub's lock. */
void watch_child_add(struct watch_hub *hub, struct vfs_watch *w, uint64_t fsid, uint64_t object);
void watch_child_remove(struct watch_hub *hub, struct vfs_watch *w, uint64_t fsid, uint64_t object);
void watch_children_drop(struct vfs_watch *w);
struct cds_list_head *watch_children_at(struct watch_hub *hub, uint64_t fsid, uint64_t object);

#endif
