/* SPDX-License-Identifier: BSD-3-Clause */
/* What every object in memory has: locks, and a file of the cache once it is needed. */
#include "core/fs/wfs3/object.h"

#include "core/fs/wfs3/pool.h"

void object_init(struct object *o, struct dataset *ds, uint64_t number, const struct vfs_node_ops *ops,
                 enum vfs_type type)
{
	vfs_node_init(&o->node, ops, type);
	o->ds = ds;
	o->number = number;
	sync_mutex_init(&o->lock, SYNC_RANK_OBJECT, "wfs3 object");
	sync_rwlock_init(&o->io_lock, SYNC_RANK_OBJECT_IO, "wfs3 object data");
}

void object_done(struct object *o)
{
	struct pool *p = o->ds->pool;

	sync_mutex_lock(&p->dirty_lock);
	if (o->listed)
		cds_list_del(&o->dirty_link);
	o->listed = false;
	sync_mutex_unlock(&p->dirty_lock);
	cache_file_free(o->file);
	sync_mutex_done(&o->lock);
	sync_rwlock_done(&o->io_lock);
}

int object_open_file(struct object *o, struct cache_file **ret)
{
	static const struct cache_file_ops ops = { .fill = object_fill,
		                                   .writeback = object_writeback,
		                                   .log = object_log };
	struct cache_file *file = __atomic_load_n(&o->file, __ATOMIC_ACQUIRE), *other = NULL;
	int rc;

	if (file) {
		*ret = file;
		return 0;
	}
	rc = cache_file_new(o->ds->pool->w->config.cache, &ops, o,
	                    __atomic_load_n(&o->inode.size_bytes, __ATOMIC_RELAXED), &file);
	if (rc)
		return rc;
	if (!__atomic_compare_exchange_n(&o->file, &other, file, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
		cache_file_free(file);
		file = other;
	}
	*ret = file;
	return 0;
}
