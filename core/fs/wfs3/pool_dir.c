/* SPDX-License-Identifier: BSD-3-Clause */
/* The directory of a pool: its volumes and file trees, by name. */
#include <errno.h>
#include <string.h>

#include "core/fs/wfs3/pool.h"

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
	int err = dataset_find(to_pool(n), name, name_len, &ds);

	if (err)
		return err;
	err = dataset_load(ds);
	if (err) {
		vfs_node_unref(&ds->self.node);
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

static void dir_release(struct vfs_node *n)
{
	pool_unref(to_pool(n));
}

const struct vfs_node_ops pool_dir_ops = {
	.release = dir_release,
	.stat = dir_stat,
	.lookup = dir_lookup,
	.readdir = dir_readdir,
};
