/* SPDX-License-Identifier: BSD-3-Clause */
/* The directory of a pool: its volumes and file trees, by name. */
#include <errno.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/nowait.h"
#include "core/fs/wfs3/filetree.h"

static struct pool *to_pool(struct vfs_node *n)
{
	return (struct pool *)(void *)((char *)n - offsetof(struct pool, dir));
}

static int dir_stat(struct vfs_node *n, struct vfs_stat *ret)
{
	*ret = (struct vfs_stat){ .type = VFS_TYPE_DIR,
		                  .mode = 0755,
		                  .link_count = 2,
		                  .fsid = to_pool(n)->fsid,
		                  .block_bytes = WFS3_BLOCK_BYTES,
		                  .read_only = to_pool(n)->read_only };
	return 0;
}

static int dir_lookup(struct vfs_node *n, const char *name, size_t name_len, struct vfs_node **ret)
{
	struct dataset *ds;
	int err = dataset_find(to_pool(n), name, name_len, 0, &ds);

	if (err)
		return err;
	err = dataset_load(ds);
	if (err) {
		vfs_node_unref(&ds->self.node);
		return err;
	}
	if (ds->type == DATASET_TYPE_TREE) {
		struct object *top;

		err = object_get(ds, WFS3_ROOT_OBJECT, &top);
		vfs_node_unref(&ds->self.node);
		if (!err)
			*ret = &top->node;
		return err;
	}
	*ret = &ds->self.node;
	return 0;
}

struct dir_list {
	uint64_t cookie;
	vfs_dir_fn *fn;
	void *ctx;
};

static int dir_list_one(void *ctx, struct dataset *ds)
{
	struct dir_list *l = ctx;
	char name[WFS3_DATASET_NAME_MAX + 1];
	struct vfs_dirent e = { .name = name, .type = VFS_TYPE_FILE, .object = ds->id, .cookie = ds->id };

	if (ds->id <= l->cookie)
		return 0;
	sync_mutex_lock(&ds->pool->table_lock);
	memcpy(name, ds->name, sizeof(name));
	sync_mutex_unlock(&ds->pool->table_lock);
	e.name_len = strlen(name);
	if (ds->type == DATASET_TYPE_TREE)
		e.type = VFS_TYPE_DIR;
	if (!e.name_len)
		return 0;
	return l->fn(l->ctx, &e) ? 0 : -ECANCELED;
}

/* In the order of their numbers, which is the order of the table. */
static int dir_readdir(struct vfs_node *n, uint64_t cookie, vfs_dir_fn *fn, void *ctx)
{
	struct dir_list l = { .cookie = cookie, .fn = fn, .ctx = ctx };
	int ret = dataset_each(to_pool(n), dir_list_one, &l);

	return ret == -ECANCELED ? 0 : ret;
}

struct wanted {
	uint64_t fsid, object;
	struct vfs_node *found;
};

static int look_in(void *ctx, struct dataset *ds)
{
	struct wanted *w = ctx;
	struct object *o;
	int rc;

	if (ds->type == DATASET_TYPE_VOLUME) {
		if (w->fsid != ds->pool->fsid || w->object != ds->id)
			return 0;
		rc = nowait_here() ? -EAGAIN : dataset_load(ds);
		if (rc)
			return rc;
		vfs_node_ref(&ds->self.node);
		w->found = &ds->self.node;
		return -ECANCELED;
	}
	if (w->fsid != filetree_fsid(ds))
		return 0;
	rc = dataset_enter(ds, 0);
	if (rc)
		return rc;
	rc = w->object ? object_get(ds, w->object, &o) : -ESTALE;
	dataset_exit(ds);
	if (rc)
		return rc;
	w->found = &o->node;
	return -ECANCELED;
}

int pool_find_object(struct pool *p, uint64_t fsid, uint64_t object, struct vfs_node **ret)
{
	struct wanted w = { .fsid = fsid, .object = object };
	int rc;

	if (fsid == p->fsid && !object) {
		vfs_node_ref(&p->dir);
		*ret = &p->dir;
		return 0;
	}
	rc = dataset_each(p, look_in, &w);
	if (w.found) {
		*ret = w.found;
		return 0;
	}
	return rc ? rc : err_set(-ESTALE, "pool %s has no such object", p->name);
}

static int dir_by_object(struct vfs_node *any, uint64_t fsid, uint64_t object, struct vfs_node **ret)
{
	return pool_find_object(to_pool(any), fsid, object, ret);
}

struct forget {
	const uint8_t *client;
	int ret; /* the first error */
};

static int forget_one(void *ctx, struct dataset *ds)
{
	struct forget *f = ctx;
	int err = ds->type == DATASET_TYPE_TREE ? filetree_forget_results(ds, f->client) : 0;

	/* One that is deleted has none. */
	if (err != -ESTALE)
		f->ret = f->ret ? f->ret : err;
	return 0;
}

static int dir_forget_results(struct vfs_node *any, const uint8_t *client)
{
	struct forget f = { .client = client };
	int err = 0;

	/* Otherwise they stay, as everything does. */
	if (!pool_check_writable(to_pool(any)))
		err = dataset_each(to_pool(any), forget_one, &f);
	return f.ret ? f.ret : err;
}

static void dir_release(struct vfs_node *n)
{
	pool_unref(to_pool(n));
}

const struct vfs_node_ops pool_dir_ops = {
	.release = dir_release,
	.stat = dir_stat,
	.lookup = dir_lookup,
	.readdir = dir_readdir,
	.by_object = dir_by_object,
	.forget_results = dir_forget_results,
};
