/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of datasets of a pool, and the gate that every operation on one passes. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/err.h"
#include "core/base/nowait.h"
#include "core/fs/wfs3/members.h"
#include "core/fs/wfs3/pool.h"

static struct dataset *dataset_new(struct pool *p, uint64_t id, enum dataset_type type, const struct wfs3_ptr *root)
{
	struct dataset *ds = calloc(1, sizeof(*ds));

	if (!ds)
		return NULL;
	ds->in_flight = aligned_alloc(_Alignof(struct dataset_slot), DATASET_SLOTS * sizeof(*ds->in_flight));
	if (!ds->in_flight || tree_new(&p->env, id, root, &ds->tree)) {
		free(ds->in_flight);
		free(ds);
		return NULL;
	}
	memset(ds->in_flight, 0, DATASET_SLOTS * sizeof(*ds->in_flight));
	ds->pool = p;
	object_init(&ds->self, ds, WFS3_VOLUME_OBJECT, &volume_node_ops, VFS_TYPE_FILE);
	__atomic_add_fetch(&p->refs, 1, __ATOMIC_RELAXED);
	ds->id = id;
	ds->root = *root;
	ds->state = DATASET_STATE_LIVE;
	ds->type = type;
	ds->has_results = true; /* for all that is known */
	sync_mutex_init(&ds->rename_lock, SYNC_RANK_RENAME, "wfs3 rename");
	ds->next_object = WFS3_VOLUME_OBJECT + 1;
	sync_mutex_init(&ds->items_lock, SYNC_RANK_ITEMS, "wfs3 items");
	sync_mutex_init(&ds->tx_commit, SYNC_RANK_TX_COMMIT, "wfs3 transaction commit");
	sync_mutex_init(&ds->lock, SYNC_RANK_OBJECT, "wfs3 dataset");
	sync_mutex_init(&ds->quiet_lock, SYNC_RANK_QUIET, "wfs3 quiet dataset");
	sync_cond_init(&ds->gate_changed);
	return ds;
}

void dataset_release(struct vfs_node *n)
{
	struct dataset *ds = (struct dataset *)n;
	struct pool *p = ds->pool;

	object_done(&ds->self);
	tree_free(ds->tree);
	sync_mutex_done(&ds->items_lock);
	sync_mutex_done(&ds->rename_lock);
	sync_mutex_done(&ds->tx_commit);
	sync_mutex_done(&ds->lock);
	sync_mutex_done(&ds->quiet_lock);
	quota_free(ds->quota);
	sync_cond_done(&ds->gate_changed);
	free(ds->in_flight);
	free(ds);
	pool_unref(p);
}

int dataset_add_loaded(struct pool *p, const struct dataset_item *item)
{
	struct dataset *ds = dataset_new(p, item->id, item->type, &item->root);

	if (!ds)
		return err_set(-ENOMEM, "no memory for dataset %" PRIu64, item->id);
	ds->created_ns = item->created_ns;
	ds->used_blocks = item->used_blocks;
	ds->state = item->state;
	ds->next_object = item->next_object;
	ds->object_count = item->object_count;
	memcpy(ds->hash_key, item->hash_key, sizeof(ds->hash_key));
	memcpy(ds->name, item->name, sizeof(ds->name));
	cds_list_add_tail(&ds->link, &p->datasets);
	return 0;
}

static struct dataset *find_locked(struct pool *p, const char *name, size_t name_len) SYNC_REQUIRES(p->table_lock)
{
	struct dataset *ds;

	cds_list_for_each_entry (ds, &p->datasets, link)
		if (ds->state == DATASET_STATE_LIVE && strlen(ds->name) == name_len &&
		    !memcmp(ds->name, name, name_len))
			return ds;
	return NULL;
}

static int wrong_type(const struct dataset *ds)
{
	return err_set(-EINVAL, "%s/%s is a %s", ds->pool->name, ds->name,
	               ds->type == DATASET_TYPE_TREE ? "file tree" : "volume");
}

int dataset_find(struct pool *p, const char *name, size_t name_len, enum dataset_type type, struct dataset **ret)
{
	int err = 0;

	struct dataset *ds;

	sync_mutex_lock(&p->table_lock);
	ds = find_locked(p, name, name_len);
	if (!ds)
		err = err_set(-ENOENT, "pool %s has no '%.*s'", p->name, (int)name_len, name);
	else if (type && ds->type != type)
		err = wrong_type(ds);
	else
		vfs_node_ref(&ds->self.node);
	sync_mutex_unlock(&p->table_lock);
	if (!err)
		*ret = ds;
	return err;
}

struct dataset *dataset_find_live(struct pool *p, uint64_t id)
{
	struct dataset *ds, *found = NULL;

	sync_mutex_lock(&p->table_lock);
	cds_list_for_each_entry (ds, &p->datasets, link)
		if (ds->id == id && ds->state == DATASET_STATE_LIVE)
			found = ds;
	if (found)
		vfs_node_ref(&found->self.node);
	sync_mutex_unlock(&p->table_lock);
	return found;
}

int dataset_each(struct pool *p, int (*fn)(void *ctx, struct dataset *ds), void *ctx)
{
	struct dataset **all = NULL;
	struct dataset *ds;
	size_t count = 0, i = 0;
	int ret = 0;

	sync_mutex_lock(&p->table_lock);
	cds_list_for_each_entry (ds, &p->datasets, link)
		count++;
	if (count) {
		all = calloc(count, sizeof(struct dataset *));
		if (!all) {
			sync_mutex_unlock(&p->table_lock);
			return err_set(-ENOMEM, "no memory to list %zu datasets", count);
		}
	}
	cds_list_for_each_entry (ds, &p->datasets, link) {
		vfs_node_ref(&ds->self.node);
		all[i++] = ds;
	}
	sync_mutex_unlock(&p->table_lock);
	for (i = 0; i < count; i++) {
		if (!ret)
			ret = fn(ctx, all[i]);
		vfs_node_unref(&all[i]->self.node);
	}
	free(all);
	return ret;
}

static int load_inode(struct dataset *ds)
{
	struct wfs3_key key = { .object = WFS3_VOLUME_OBJECT, .kind = WFS3_KIND_INODE };
	uint8_t buf[INODE_BYTES];
	size_t len;
	int ret;

	for (;;) {
		ret = tree_get(ds->tree, &key, buf, sizeof(buf), &len);
		if (ret != -EAGAIN)
			break;
		ret = tree_fetch(ds->tree, &key);
		if (ret)
			break;
	}
	if (ret == -ENOENT || ret == -ERANGE)
		ret = err_set(-EUCLEAN, "no inode of the right size");
	if (!ret)
		ret = inode_decode(buf, len, &ds->self.inode);
	if (!ret && S_ISDIR(ds->self.inode.mode) != (ds->type == DATASET_TYPE_TREE))
		ret = err_set(-EUCLEAN, "object 1 is of a wrong type");
	return ret;
}

int dataset_load(struct dataset *ds)
{
	struct cache_file *file;
	int ret = 0;

	if (__atomic_load_n(&ds->loaded, __ATOMIC_ACQUIRE))
		return 0;
	sync_mutex_lock(&ds->lock);
	if (!ds->loaded) {
		ret = load_inode(ds);
		if (!ret && ds->type == DATASET_TYPE_VOLUME)
			ret = object_open_file(&ds->self, &file);
		if (!ret)
			__atomic_store_n(&ds->loaded, true, __ATOMIC_RELEASE);
	}
	sync_mutex_unlock(&ds->lock);
	return ret ? err_add(ret, "pool %s: load dataset %" PRIu64, ds->pool->name, ds->id) : 0;
}

void dataset_count_used(struct dataset *ds, unsigned added, unsigned dropped)
{
	uint64_t old = __atomic_load_n(&ds->used_blocks, __ATOMIC_RELAXED), new;

	do {
		new = old + added > dropped ? old + added - dropped : 0;
	} while (!__atomic_compare_exchange_n(&ds->used_blocks, &old, new, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
}

int dataset_enter(struct dataset *ds, unsigned flags)
{
	uint64_t *count = &ds->in_flight[sync_thread_slot() % DATASET_SLOTS].count;

	for (;;) {
		int gate;

		__atomic_add_fetch(count, 1, __ATOMIC_SEQ_CST);
		gate = __atomic_load_n(&ds->gate, __ATOMIC_SEQ_CST);
		if (__builtin_expect(gate == DATASET_GATE_OPEN, 1))
			return 0;
		__atomic_sub_fetch(count, 1, __ATOMIC_SEQ_CST);
		if (gate == DATASET_GATE_DEAD)
			return err_set(-ESTALE, "the volume was deleted or its pool exported");
		if (flags & VFS_NOWAIT || nowait_here())
			return -EAGAIN;
		sync_mutex_lock(&ds->lock);
		while (ds->gate == DATASET_GATE_QUIESCED)
			sync_cond_wait(&ds->gate_changed, &ds->lock);
		sync_mutex_unlock(&ds->lock);
	}
}

void dataset_exit(struct dataset *ds)
{
	/* May be another slot than dataset_enter()'s when the thread changed: the sum is what counts. */
	__atomic_sub_fetch(&ds->in_flight[sync_thread_slot() % DATASET_SLOTS].count, 1, __ATOMIC_SEQ_CST);
}

static uint64_t in_flight(struct dataset *ds)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < DATASET_SLOTS; i++)
		sum += __atomic_load_n(&ds->in_flight[i].count, __ATOMIC_SEQ_CST);
	return sum;
}

void dataset_quiesce(struct dataset *ds)
{
	__atomic_store_n(&ds->gate, DATASET_GATE_QUIESCED, __ATOMIC_SEQ_CST);
	/* Rare, and operations are short: looking again is simpler than a wake-up in every operation's exit. */
	while (in_flight(ds))
		sync_sleep_ns(SYNC_NS_PER_MS / 5);
}

void dataset_unquiesce(struct dataset *ds, enum dataset_gate gate)
{
	__atomic_store_n(&ds->gate, (int)gate, __ATOMIC_SEQ_CST);
	sync_cond_broadcast(&ds->gate_changed);
}

int dataset_make_quiet(struct dataset *ds)
{
	int ret = 0;

	sync_mutex_lock(&ds->lock);
	if (ds->gate == DATASET_GATE_DEAD)
		ret = err_set(-ESTALE, "the dataset was deleted or its pool exported");
	else
		dataset_quiesce(ds);
	sync_mutex_unlock(&ds->lock);
	return ret;
}

void dataset_end_quiet(struct dataset *ds)
{
	sync_mutex_lock(&ds->lock);
	dataset_unquiesce(ds, DATASET_GATE_OPEN);
	sync_mutex_unlock(&ds->lock);
}

/* The inode of a volume, or of the top directory of a file tree. */
static void first_inode(struct dataset *ds, uint64_t size_bytes)
{
	bool is_tree = ds->type == DATASET_TYPE_TREE;
	int64_t now_ns = (int64_t)ds->created_ns;

	ds->self.inode = (struct inode){ .mode = is_tree ? S_IFDIR | 0755 : S_IFREG | 0600,
		                         .link_count = is_tree ? 2 : 1,
		                         .size_bytes = size_bytes,
		                         .change = 1,
		                         .atime_ns = now_ns,
		                         .mtime_ns = now_ns,
		                         .ctime_ns = now_ns,
		                         .btime_ns = now_ns,
		                         .parent = is_tree ? WFS3_ROOT_OBJECT : 0 };
	ds->object_count = is_tree;
}

/* A new dataset with its inode, in memory and in the open group. */
static int create_in_memory(struct pool *p, enum dataset_type type, const char *name, uint64_t size_bytes,
                            struct dataset **ret_ds)
{
	static const struct wfs3_ptr empty;
	struct dataset *ds = dataset_new(p, p->next_dataset_id, type, &empty);
	uint64_t txg;
	int ret;

	if (!ds)
		return err_set(-ENOMEM, "no memory for a dataset");
	ret = type == DATASET_TYPE_TREE ? uuid_make(ds->hash_key) : 0;
	if (ret)
		goto out;
	snprintf(ds->name, sizeof(ds->name), "%s", name);
	ds->created_ns = sync_wall_ns();
	first_inode(ds, size_bytes);
	ds->created_txg = txg = txg_enter(p);
	ret = object_put_inode_in(&ds->self, txg, 0, NULL, NULL);
	if (!ret) {
		p->next_dataset_id++;
		cds_list_add_tail(&ds->link, &p->datasets);
		vfs_node_ref(&ds->self.node);
		txg_changed(p, ds, txg);
	}
	txg_exit(p);
out:
	if (ret)
		vfs_node_unref(&ds->self.node);
	else
		*ret_ds = ds;
	return ret;
}

int dataset_create(struct pool *p, enum dataset_type type, const char *name, uint64_t size_bytes)
{
	struct dataset *ds = NULL;
	int ret = pool_check_writable(p);

	/* An older version of this program must not take such a pool for one that it understands. */
	if (!ret && type == DATASET_TYPE_TREE)
		ret = members_add_feature(p, WFS3_FEATURE_TREES | WFS3_FEATURE_INLINE);
	if (ret)
		return ret;
	if (type == DATASET_TYPE_TREE)
		__atomic_store_n(&p->has_inline, true, __ATOMIC_RELAXED);
	sync_mutex_lock(&p->table_lock);
	if (find_locked(p, name, strlen(name)))
		ret = err_set(-EEXIST, "pool %s already has a '%s'", p->name, name);
	else if (p->next_dataset_id >= WFS3_DATASET_ID_MAX)
		ret = err_set(-ENOSPC, "pool %s has given out all numbers of datasets", p->name);
	else
		ret = create_in_memory(p, type, name, size_bytes, &ds);
	sync_mutex_unlock(&p->table_lock);
	if (ret)
		return ret;
	vfs_node_unref(&ds->self.node);
	return txg_sync(p);
}

int dataset_rename(struct pool *p, enum dataset_type type, const char *name, const char *new_name)
{
	struct dataset *ds;
	uint64_t txg;
	int ret = pool_check_writable(p);

	if (ret)
		return ret;
	sync_mutex_lock(&p->table_lock);
	ds = find_locked(p, name, strlen(name));
	if (!ds) {
		ret = err_set(-ENOENT, "pool %s has no '%s'", p->name, name);
	} else if (ds->type != type) {
		ret = wrong_type(ds);
	} else if (find_locked(p, new_name, strlen(new_name))) {
		ret = err_set(-EEXIST, "pool %s already has a '%s'", p->name, new_name);
	} else {
		txg = txg_enter(p);
		snprintf(ds->name, sizeof(ds->name), "%s", new_name);
		txg_changed(p, ds, txg);
		txg_exit(p);
	}
	sync_mutex_unlock(&p->table_lock);
	return ret ? ret : txg_sync(p);
}

/* Nameless from now on: no lookup finds it, and the reaper gives its blocks back. */
static void mark_deleting(struct pool *p, struct dataset *ds) SYNC_REQUIRES(p->table_lock)
{
	uint64_t txg = txg_enter(p);

	ds->state = DATASET_STATE_DELETING;
	ds->name[0] = 0;
	txg_changed(p, ds, txg);
	txg_exit(p);
}

/* A tree is in use as long as somebody has one of its objects. Nobody gets any while it is quiet. */
static int mark_if_unused(struct pool *p, struct dataset *ds, enum dataset_type type) SYNC_REQUIRES(p->table_lock)
{
	if (ds->state != DATASET_STATE_LIVE)
		return err_set(-ENOENT, "it was deleted");
	if (ds->type != type)
		return wrong_type(ds);
	if (__atomic_load_n(&ds->open_count, __ATOMIC_SEQ_CST) ||
	    (type == DATASET_TYPE_TREE && object_table_uses(p->objects, ds)))
		return err_set(-EBUSY, "%s/%s is in use", p->name, ds->name);
	mark_deleting(p, ds);
	return 0;
}

int dataset_delete(struct pool *p, enum dataset_type type, const char *name)
{
	bool is_tree = type == DATASET_TYPE_TREE;
	struct dataset *ds;
	int ret = pool_check_writable(p);

	if (!ret)
		ret = dataset_find(p, name, strlen(name), type, &ds);
	if (ret)
		return ret;
	sync_mutex_lock(&ds->quiet_lock);
	if (is_tree) {
		sync_mutex_lock(&ds->lock);
		dataset_quiesce(ds);
		sync_mutex_unlock(&ds->lock);
	}
	sync_mutex_lock(&p->table_lock);
	ret = mark_if_unused(p, ds, type);
	sync_mutex_unlock(&p->table_lock);
	if (is_tree) {
		sync_mutex_lock(&ds->lock);
		dataset_unquiesce(ds, ret ? DATASET_GATE_OPEN : DATASET_GATE_DEAD);
		sync_mutex_unlock(&ds->lock);
	}
	sync_mutex_unlock(&ds->quiet_lock);
	vfs_node_unref(&ds->self.node);
	if (ret)
		return ret;
	reaper_kick(p);
	return txg_sync(p);
}
