/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The nodes of one mounted file system whose engine knows nothing of the VFS (core/fs/fat, core/fs/wfs2).
 *
 * Such an engine has objects of its own, reference counted, each with a place for a pointer of whoever uses the engine.
 * There a set keeps the object's node: an object that is found again has the node that it has already. A node holds a
 * reference to its object. With the last node the set is gone, whoever gave it up: that is when the engine is closed.
 *
 * A file system embeds a set, and its nodes are those of the set. All of this may be called from any thread, and
 * nothing but ops->put and ops->gone may block.
 */
#ifndef WFSD_CORE_VFS_NODE_SET_H
#define WFSD_CORE_VFS_NODE_SET_H

#include "core/base/sync.h"
#include "core/vfs/vfs_ops.h"

struct node_set;

struct node_set_ops {
	/* The place for the pointer: NULL at first, and there as long as the object is referenced. Must not block. */
	void **(*place)(struct node_set *s, void *object);
	void (*put)(void *object); /* gives up a reference */
	/* The last node is gone, and so is its reference. The set is the caller's again: node_set_done(). */
	void (*gone)(struct node_set *s);
};

struct node_set {
	const struct node_set_ops *ops;
	const struct vfs_node_ops *node_ops;
	uint64_t node_count; /* atomic */
	int dead; /* atomic */
	struct sync_mutex lock; /* what is in the places of the objects */
};

struct set_node {
	struct vfs_node node; /* first */
	struct node_set *set;
	void *object; /* referenced */
};

/* @node_ops: of all its nodes; release is node_set_release. @name: of the lock, a literal. done: there are no nodes. */
void node_set_init(struct node_set *s, const struct node_set_ops *ops, const struct vfs_node_ops *node_ops,
                   const char *name);
void node_set_done(struct node_set *s);

/*
 * The one node of @object, which is of @type. Takes over the caller's reference to @object, also when it fails; *ret is
 * referenced. -ENOMEM. The caller has a node of the set meanwhile, or nobody has one yet.
 */
int node_set_get(struct node_set *s, void *object, enum vfs_type type, struct vfs_node **ret);
/* For vfs_node_ops. */
void node_set_release(struct vfs_node *n);

/* The file system was unmounted by force: node_set_check() of its nodes is -ESTALE from now on. */
void node_set_kill(struct node_set *s);
/* 0 or -ESTALE, with context. */
int node_set_check(const struct vfs_node *n);

static inline struct node_set *node_set_of(const struct vfs_node *n)
{
	return ((const struct set_node *)n)->set;
}

static inline void *node_set_object(const struct vfs_node *n)
{
	return ((const struct set_node *)n)->object;
}

#endif
