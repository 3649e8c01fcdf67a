/* SPDX-License-Identifier: BSD-3-Clause */
/* What every object in memory has: locks, and a file of the cache once it is needed. */
#include "core/fs/wfs3/object.h"

#include <errno.h>

#include "core/base/err.h"
#include "core/fs/wfs3/pool.h"

void object_init(struct object *o, struct dataset *ds, uint64_t number, const struct vfs_node_ops *ops,
                 enum vfs_type type)
{
	vfs_node_init(&o->node, ops, type);
	o->ds = ds;
	o->number = number;
	o->stamp = __atomic_load_n(&ds->evicted_stamp, __ATOMIC_RELAXED);
	sync_mutex_init(&o->lock, SYNC_RANK_OBJECT, "wfs3 object");
	sync_mutex_init(&o->size_lock, SYNC_RANK_LEAF, "wfs3 object size");
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
	object_append_stored(o, UINT64_MAX);
	sync_mutex_done(&o->lock);
	sync_mutex_done(&o->size_lock);
	sync_rwlock_done(&o->io_lock);
}

int object_open_file(struct object *o, struct cache_file **ret)
{
	static const struct cache_file_ops ops = {
		.zero_behind_end = true, .fill = object_fill, .writeback = object_writeback, .log = object_log
	};
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

int object_ref_new(struct object *o, struct object_ref **ret)
{
	struct bufpool *pool = o->ds->pool->w->refs;
	struct object_ref *ref = bufpool_get(pool);

	if (!ref)
		return err_set(-ENOMEM, "no memory for a reference");
	ref->pool = pool;
	*ret = ref;
	return 0;
}

void object_ref_drop(struct object_ref *ref)
{
	bufpool_put(ref->pool, ref);
}

void object_ref_free(struct object_ref *ref)
{
	cache_ref_release(&ref->cache);
	bufpool_put(ref->pool, ref);
}
