/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Watches: who is told of which change.
 *
 * Whoever changes something reports it when that is done. Watches on the directory or object itself are found by its
 * node; those on directories that hold a changed file by the file's number (watch_children.c); those on subtrees are
 * gone through one by one, and need the directories above the changed one when they are not on the whole mount. These
 * are looked up before the lock is taken, since that may read from a device.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/base/nowait.h"
#include "core/vfs/watch.h"

static _Thread_local uint64_t thread_origin, thread_peer;

void vfs_set_origin(uint64_t origin, uint64_t peer)
{
	thread_origin = origin;
	thread_peer = peer;
}

uint64_t watch_origin(void)
{
	return thread_origin;
}

uint64_t watch_peer(void)
{
	return thread_peer;
}

struct watch_hub *watch_hub_new(void)
{
	struct watch_hub *hub = calloc(1, sizeof(*hub));

	if (!hub)
		return NULL;
	sync_mutex_init(&hub->lock, SYNC_RANK_WATCH, "vfs watches");
	for (unsigned i = 0; i < WATCH_BUCKETS; i++) {
		CDS_INIT_LIST_HEAD(&hub->buckets[i]);
		CDS_INIT_LIST_HEAD(&hub->children[i]);
	}
	CDS_INIT_LIST_HEAD(&hub->far);
	hub->child_max = WATCH_CHILDREN_ALL_MAX;
	return hub;
}

void watch_hub_free(struct watch_hub *hub)
{
	if (!hub)
		return;
	always(!hub->count);
	sync_mutex_done(&hub->lock);
	free(hub);
}

static struct cds_list_head *bucket_of(struct watch_hub *hub, const struct vfs_node *n)
{
	/* Multiplicative hashing (Knuth, volume 3, section 6.4). */
	return &hub->buckets[((uintptr_t)n >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 54];
}

/* ---- telling ---- */

/* A directory above the changed one, or that itself. */
struct above {
	struct vfs_node *node; /* referenced */
	struct vfs_stat st;
};

struct report {
	struct vfs_change change;
	const struct vfs_mount_point *mount;
	struct vfs_node *node; /* the directory of a name, otherwise the object */
	uint64_t link_count; /* of the object, after the change */
	struct above *above; /* from @node's directory up; NULL: not looked up */
	unsigned above_count;
	bool above_cut; /* there are more */
};

static void tell(struct vfs_watch *w, const struct vfs_change *c)
{
	w->fn(w->ctx, c);
}

static bool wanted(const struct vfs_watch *w, const struct report *r)
{
	return w->mount == r->mount && w->spec.what & r->change.what &&
	       (!w->spec.skip_origin || w->spec.skip_origin != thread_origin);
}

/* By the mode alone: an ACL would have to be read. Who is not sure to be allowed is not. */
static bool allows(const struct vfs_watch *w, const struct vfs_stat *st, unsigned access)
{
	const struct vfs_cred cred = {
		.uid = w->uid, .gid = w->gid, .group_count = w->group_count, .groups = w->groups
	};

	if (cred.uid == 0)
		return true;
	if (st->has_acl && cred.uid != st->uid)
		return false;
	return access_by_mode(st, &cred, access);
}

/* What has a name in the directory, as of this change. */
static void learn_child(struct watch_hub *hub, struct vfs_watch *w, const struct report *r)
{
	if (!w->has_children || !r->change.object)
		return;
	if (r->change.what & (VFS_CHANGE_CREATED | VFS_CHANGE_MOVED_TO))
		watch_child_add(hub, w, r->change.fsid, r->change.object);
	else if (r->link_count <= (r->change.what == VFS_CHANGE_MOVED_FROM)) /* it has no other name here */
		watch_child_remove(hub, w, r->change.fsid, r->change.object);
}

static void tell_direct(struct watch_hub *hub, const struct report *r)
{
	struct vfs_watch *w;

	cds_list_for_each_entry (w, bucket_of(hub, r->node), link) {
		if (w->node != r->node)
			continue;
		if (r->change.dir)
			learn_child(hub, w, r);
		if (!w->spec.subtree && wanted(w, r))
			tell(w, &r->change);
	}
}

static void tell_holders(struct watch_hub *hub, const struct report *r)
{
	struct watch_child *c;

	if (r->change.dir)
		return;
	cds_list_for_each_entry (c, watch_children_at(hub, r->change.fsid, r->change.object), link)
		if (c->object == r->change.object && c->fsid == r->change.fsid && wanted(c->watch, r))
			tell(c->watch, &r->change);
}

/* A change of names, somewhere below @w's directory or not. */
static void tell_above(struct vfs_watch *w, const struct report *r)
{
	struct vfs_change c = r->change;
	bool may_know = true;

	for (unsigned i = 0; i < r->above_count; i++) {
		const struct above *a = &r->above[i];

		may_know = may_know && allows(w, &a->st, i ? VFS_ACCESS_EXEC : VFS_ACCESS_READ | VFS_ACCESS_EXEC);
		if (a->node != w->node)
			continue;
		if (!may_know)
			c.name_len = 0;
		tell(w, &c);
		return;
	}
	/* Nobody knows, then. */
	if (r->above_cut || !r->above_count) {
		c = (struct vfs_change){ .what = VFS_CHANGE_LOST };
		tell(w, &c);
	}
}

static void tell_far(struct watch_hub *hub, const struct report *r)
{
	struct vfs_watch *w;

	cds_list_for_each_entry (w, &hub->far, far_link) {
		bool all = w->node == w->mount->root;

		if (!wanted(w, r) || (!w->spec.subtree && (!w->full || r->change.dir)))
			continue;
		if (r->change.dir && (!all || w->uid))
			tell_above(w, r);
		else if (all || w->fsid == r->change.fsid)
			tell(w, &r->change);
	}
}

static void look_above(struct report *r)
{
	struct vfs_node *n = r->node, *parent;
	int err;

	r->above = malloc(WATCH_DEPTH_MAX * sizeof(*r->above));
	if (!r->above)
		return;
	vfs_node_ref(n);
	for (;;) {
		struct above *a = &r->above[r->above_count];

		if (n->ops->stat(n, &a->st))
			break;
		a->node = n;
		r->above_count++;
		if (n == r->mount->root)
			return;
		if (r->above_count == WATCH_DEPTH_MAX || !n->ops->parent) {
			r->above_cut = true;
			return;
		}
		err = n->ops->parent(n, &parent);
		if (err) {
			r->above_cut = err != -ENOENT;
			return;
		}
		n = parent;
	}
	r->above_cut = true;
	vfs_node_unref(n);
}

int watch_may_tell(struct vfs *v, const struct vfs_mount_point *m, struct vfs_node *dir)
{
	struct vfs_node *n = dir, *parent;
	int err = 0;

	if (!nowait_here() || !__atomic_load_n(&v->watches->walk_count, __ATOMIC_RELAXED))
		return 0;
	vfs_node_ref(n);
	for (unsigned depth = 0; n != m->root && depth < WATCH_DEPTH_MAX && n->ops->parent && !err; depth++) {
		err = n->ops->parent(n, &parent);
		if (!err) {
			vfs_node_unref(n);
			n = parent;
		}
	}
	vfs_node_unref(n);
	return err == -EAGAIN ? err : 0;
}

static void report(struct vfs *v, struct report *r)
{
	struct watch_hub *hub = v->watches;

	if (r->change.dir && __atomic_load_n(&hub->walk_count, __ATOMIC_RELAXED))
		look_above(r);
	sync_mutex_lock(&hub->lock);
	tell_direct(hub, r);
	tell_holders(hub, r);
	tell_far(hub, r);
	sync_mutex_unlock(&hub->lock);
	for (unsigned i = 0; i < r->above_count; i++)
		vfs_node_unref(r->above[i].node);
	free(r->above);
}

void watch_tell_name(struct vfs *v, const struct vfs_mount_point *m, unsigned what, struct vfs_node *dir,
                     const char *name, size_t name_len, struct vfs_node *object)
{
	struct report r = { .change = { .what = what, .name = name, .name_len = name_len }, .mount = m, .node = dir };
	struct vfs_stat st;

	/* What is done inside of a transaction is told when that is committed (tx.c). */
	if (dir->ops->outside || dir->ops->stat(dir, &st))
		return;
	r.change.fsid = st.fsid;
	r.change.dir = st.object;
	if (object && object->ops->stat(object, &st) == 0) {
		r.change.object = st.object;
		r.link_count = st.link_count;
	}
	report(v, &r);
}

void watch_tell_object(struct vfs *v, const struct vfs_mount_point *m, unsigned what, struct vfs_node *object)
{
	struct report r = { .change = { .what = what }, .mount = m, .node = object };
	struct vfs_stat st;

	if (object->ops->outside || object->ops->stat(object, &st))
		return;
	r.change.fsid = st.fsid;
	r.change.object = st.object;
	report(v, &r);
}

void watch_lost(struct vfs *v, const struct vfs_mount_point *m)
{
	const struct vfs_change lost = { .what = VFS_CHANGE_LOST };
	struct watch_hub *hub = v->watches;
	struct vfs_watch *w;

	sync_mutex_lock(&hub->lock);
	for (unsigned i = 0; i < WATCH_BUCKETS; i++)
		cds_list_for_each_entry (w, &hub->buckets[i], link)
			if (w->mount == m)
				tell(w, &lost);
	sync_mutex_unlock(&hub->lock);
}

/* ---- opening and closing ---- */

static void watch_free(struct vfs_watch *w)
{
	vfs_node_unref(w->node);
	free(w->groups);
	free(w);
}

static struct vfs_watch *watch_new(struct vfs_handle *h, const struct vfs_cred *cred, const struct vfs_stat *st,
                                   const struct vfs_watch_spec *spec)
{
	struct vfs_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	*w = (struct vfs_watch){ .vfs = h->vfs,
		                 .mount = h->mount,
		                 .fsid = st->fsid,
		                 .object = st->object,
		                 .spec = *spec,
		                 .uid = cred->uid,
		                 .gid = cred->gid,
		                 .group_count = cred->group_count };
	w->has_children =
	        !spec->subtree && st->type == VFS_TYPE_DIR && spec->what & (VFS_CHANGE_DATA | VFS_CHANGE_ATTR);
	w->is_far = spec->subtree || w->has_children;
	CDS_INIT_LIST_HEAD(&w->children);
	if (cred->group_count) {
		w->groups = malloc(cred->group_count * sizeof(w->groups[0]));
		if (!w->groups) {
			free(w);
			return NULL;
		}
		memcpy(w->groups, cred->groups, cred->group_count * sizeof(w->groups[0]));
	}
	vfs_node_ref(h->node);
	w->node = h->node;
	return w;
}

static bool walks(const struct vfs_watch *w)
{
	return w->spec.subtree && (w->node != w->mount->root || w->uid);
}

static void unhook(struct watch_hub *hub, struct vfs_watch *w)
{
	cds_list_del(&w->link);
	if (w->is_far)
		cds_list_del(&w->far_link);
	if (walks(w))
		__atomic_sub_fetch(&hub->walk_count, 1, __ATOMIC_RELAXED);
	__atomic_sub_fetch(&hub->count, 1, __ATOMIC_SEQ_CST);
	watch_children_drop(w);
}

static int hook(struct watch_hub *hub, struct vfs_handle *h, struct vfs_watch *w)
{
	int ret = 0;

	sync_mutex_lock(&hub->lock);
	/* An unmount sets the mark and ends the watches then. */
	if (__atomic_load_n(&h->mount->gone, __ATOMIC_SEQ_CST)) {
		ret = err_set(-ESTALE, "%s is not mounted any more", h->mount->path);
	} else if (hub->count == VFS_WATCHES_MAX) {
		ret = err_set(-EMFILE, "%u watches", hub->count);
	} else {
		__atomic_add_fetch(&hub->count, 1, __ATOMIC_SEQ_CST);
		if (walks(w))
			__atomic_add_fetch(&hub->walk_count, 1, __ATOMIC_RELAXED);
		cds_list_add(&w->link, bucket_of(hub, w->node));
		if (w->is_far)
			cds_list_add(&w->far_link, &hub->far);
	}
	sync_mutex_unlock(&hub->lock);
	return ret;
}

static bool add_listed(void *ctx, const struct vfs_dirent *e)
{
	struct vfs_watch *w = ctx;
	struct watch_hub *hub = w->vfs->watches;
	bool full;

	sync_mutex_lock(&hub->lock);
	if (w->node)
		watch_child_add(hub, w, w->fsid, e->object);
	full = w->full || !w->node;
	sync_mutex_unlock(&hub->lock);
	return !full;
}

static int check_spec(const struct vfs_watch_spec *spec, const struct vfs_stat *st)
{
	if (!spec->what || spec->what & ~VFS_CHANGE_ALL)
		return err_set(-EINVAL, "changes %#x cannot be watched for", spec->what);
	if (spec->subtree && st->type != VFS_TYPE_DIR)
		return err_set(-ENOTDIR, "only a directory has a subtree");
	return 0;
}

int vfs_watch_open(struct vfs_handle *h, const struct vfs_cred *cred, const struct vfs_watch_spec *spec,
                   vfs_watch_fn *fn, void *ctx, struct vfs_watch **ret)
{
	struct vfs_stat st;
	struct vfs_watch *w;
	int err = handle_stat(h, &st);

	if (!err)
		err = check_spec(spec, &st);
	if (!err)
		err = access_check(h->node, &st, cred, VFS_ACCESS_READ);
	if (err)
		return err;
	w = watch_new(h, cred, &st, spec);
	if (!w)
		return err_set(-ENOMEM, "no memory for a watch");
	w->fn = fn;
	w->ctx = ctx;
	err = hook(h->vfs->watches, h, w);
	if (err) {
		watch_free(w);
		return err;
	}
	/* What comes and goes meanwhile is learnt as it does. */
	if (w->has_children && h->node->ops->readdir)
		err = h->node->ops->readdir(h->node, 0, add_listed, w);
	if (err)
		vfs_watch_close(w);
	else
		*ret = w;
	return err;
}

void vfs_watch_close(struct vfs_watch *w)
{
	struct watch_hub *hub;

	if (!w)
		return;
	hub = w->vfs->watches;
	sync_mutex_lock(&hub->lock);
	if (w->node)
		unhook(hub, w);
	sync_mutex_unlock(&hub->lock);
	watch_free(w);
}

/* One of those on the mount, ended, its node the caller's; NULL: there is none. */
static struct vfs_node *end_one(struct watch_hub *hub, const struct vfs_mount_point *m, unsigned bucket)
{
	const struct vfs_change ended = { .what = VFS_CHANGE_ENDED };
	struct vfs_node *node = NULL;
	struct vfs_watch *w;

	sync_mutex_lock(&hub->lock);
	cds_list_for_each_entry (w, &hub->buckets[bucket], link) {
		if (w->mount == m) {
			unhook(hub, w);
			node = w->node;
			w->node = NULL;
			tell(w, &ended);
			break;
		}
	}
	sync_mutex_unlock(&hub->lock);
	return node;
}

void watch_drop_mount(struct watch_hub *hub, const struct vfs_mount_point *m)
{
	struct vfs_node *node;

	for (unsigned i = 0; i < WATCH_BUCKETS; i++)
		while ((node = end_one(hub, m, i)))
			vfs_node_unref(node);
}
