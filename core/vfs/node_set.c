/* SPDX-License-Identifier: BSD-3-Clause */
/* The nodes of a file system whose engine knows nothing of the VFS, see node_set.h. */
#include "core/vfs/node_set.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/err.h"

void node_set_init(struct node_set *s, const struct node_set_ops *ops, const struct vfs_node_ops *node_ops,
                   const char *name)
{
	*s = (struct node_set){ .ops = ops, .node_ops = node_ops };
	sync_mutex_init(&s->lock, SYNC_RANK_LEAF, name);
}

void node_set_done(struct node_set *s)
{
	sync_mutex_done(&s->lock);
}

static struct set_node *node_new(struct node_set *s, void *object, enum vfs_type type) SYNC_REQUIRES(s->lock)
{
	struct set_node *n = malloc(sizeof(*n));

	if (!n)
		return NULL;
	vfs_node_init(&n->node, s->node_ops, type);
	n->set = s;
	n->object = object;
	*s->ops->place(s, object) = n;
	(void)__atomic_add_fetch(&s->node_count, 1, __ATOMIC_RELAXED);
	return n;
}

int node_set_get(struct node_set *s, void *object, enum vfs_type type, struct vfs_node **ret)
{
	struct set_node *n;
	bool found;

	sync_mutex_lock(&s->lock);
	n = *s->ops->place(s, object);
	found = n && vfs_node_try_ref(&n->node);
	if (!found)
		n = node_new(s, object, type);
	sync_mutex_unlock(&s->lock);
	/* The node that was there has a reference of its own. */
	if (found || !n)
		s->ops->put(object);
	if (!n)
		return err_set(-ENOMEM, "a file: no memory");
	*ret = &n->node;
	return 0;
}

void node_set_release(struct vfs_node *node)
{
	struct set_node *n = (struct set_node *)node;
	struct node_set *s = n->set;
	void **place = s->ops->place(s, n->object);

	sync_mutex_lock(&s->lock);
	/* Another node may have taken its place since the last reference was given up. */
	if (*place == n)
		*place = NULL;
	sync_mutex_unlock(&s->lock);
	s->ops->put(n->object);
	free(n);
	if (__atomic_sub_fetch(&s->node_count, 1, __ATOMIC_ACQ_REL) == 0)
		s->ops->gone(s);
}

void node_set_kill(struct node_set *s)
{
	__atomic_store_n(&s->dead, 1, __ATOMIC_RELEASE);
}

int node_set_check(const struct vfs_node *n)
{
	if (__atomic_load_n(&node_set_of(n)->dead, __ATOMIC_ACQUIRE))
		return err_set(-ESTALE, "the volume was unmounted");
	return 0;
}
