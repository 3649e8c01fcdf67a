/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Giving back objects of a file tree that have no name any more, in steps, and what a crash left of that: each such
 * object has an item among the orphans until it is gone.
 */
#include <errno.h>
#include <inttypes.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/fs/wfs3/filetree.h"

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define DELETE_ITEMS 16u /* in one change */
#define WALK_ITEMS 32u /* of a tree that is deleted, in one stay inside the gate */

struct wfs3_key filetree_orphan_key(uint64_t object)
{
	return (struct wfs3_key){ .kind = WFS3_KIND_ORPHAN, .offset = object };
}

bool filetree_reap_later(struct object *o)
{
	struct pool *p = o->ds->pool;
	bool taken;

	sync_mutex_lock(&p->reap_lock);
	taken = p->reaping;
	if (taken) {
		cds_list_add_tail(&o->reap_link, &p->reap_objects);
		reaper_hand_over(p);
	}
	sync_mutex_unlock(&p->reap_lock);
	return taken;
}

/* ---- one object ---- */

/* Blocks, and the pages in memory. */
static int reap_data(struct object *o)
{
	uint64_t end = max_u64(LOAD(o->write_end), LOAD(o->inode.size_bytes));
	struct cache_file *file = __atomic_load_n(&o->file, __ATOMIC_ACQUIRE);
	struct object_stride stride = { 0 };
	uint64_t blocks = div_round_up_u64(end, WFS3_BLOCK_BYTES);
	int rc = 0;

	if (file && blocks) {
		rc = cache_punch_begin(file, 0, blocks * WFS3_BLOCK_BYTES, 0);
		if (rc)
			return rc;
		cache_punch_end(file, 0, blocks * WFS3_BLOCK_BYTES, false);
	}
	/* After an interrupted truncation there may be more behind the end. */
	for (uint64_t pos = 0; LOAD(o->inode.blocks) && pos < VFS_FILE_BYTES_MAX / WFS3_BLOCK_BYTES && !rc;) {
		uint64_t count = object_stride_next(&stride, o);

		if (pos >= blocks)
			count = VFS_FILE_BYTES_MAX / WFS3_BLOCK_BYTES - pos;
		rc = object_unmap(o, pos, count);
		pos += count;
	}
	return rc;
}

struct doomed {
	unsigned count;
	struct wfs3_key keys[DELETE_ITEMS];
};

static bool note_item(void *ctx, const struct wfs3_key *key, const void *value, size_t len)
{
	struct doomed *d = ctx;

	(void)value;
	(void)len;
	d->keys[d->count++] = *key;
	return d->count < DELETE_ITEMS;
}

/* Attributes and targets of links, some in each change. */
static int reap_items(struct object *o)
{
	struct wfs3_key from = xattr_key(o->number, 0, 0);
	struct wfs3_key to = filetree_target_key(o->number, UINT32_MAX), resume;
	int rc = 1;

	while (rc == 1) {
		struct doomed d = { 0 };
		struct edit e;
		int edited;

		rc = tree_scan(o->ds->tree, &from, &to, note_item, &d, &resume);
		if (rc == -EAGAIN) {
			rc = tree_fetch(o->ds->tree, &resume);
			from = resume;
			rc = rc ? rc : 1;
			continue;
		}
		from = resume;
		if (rc < 0 || !d.count)
			continue;
		edit_init(&e, o->ds);
		for (unsigned i = 0; i < d.count; i++)
			edit_delete(&e, &d.keys[i]);
		edited = edit_run(&e);
		rc = edited ? edited : rc;
	}
	return rc;
}

int filetree_reap(struct object *o)
{
	struct wfs3_key orphan = filetree_orphan_key(o->number);
	struct edit e;
	int rc = reap_data(o);

	if (!rc)
		rc = reap_items(o);
	if (rc)
		return err_add(rc, "give back object %" PRIu64 " of dataset %" PRIu64, o->number, o->ds->id);
	edit_init(&e, o->ds);
	edit_inode_gone(&e, o);
	edit_delete(&e, &orphan);
	e.object_delta = -1;
	rc = edit_run(&e);
	if (!rc)
		object_forget(o);
	return rc;
}

/* ---- what was left over ---- */

/* The next orphan from @number on, whatever its item says. -ENOENT. */
static int next_orphan(struct dataset *ds, uint64_t number, uint64_t *ret)
{
	struct wfs3_key from = filetree_orphan_key(number), to = filetree_orphan_key(UINT64_MAX), key, missing;
	uint8_t value[COLLAPSE_BYTES];
	size_t len;
	int rc;

	while ((rc = tree_next(ds->tree, &from, &to, &key, value, sizeof(value), &len, &missing)) == -EAGAIN) {
		rc = tree_fetch(ds->tree, &missing);
		if (rc)
			return rc;
	}
	/* One that makes no sense is its object's, and not in the way of the others. */
	if (rc == -ERANGE)
		rc = 0;
	if (!rc)
		*ret = key.offset;
	return rc;
}

static bool is_damage(int rc)
{
	return rc == -EUCLEAN || rc == -EIO;
}

/* Call @fn for each of the dataset's orphans. */
static int each_orphan(struct dataset *ds, int (*fn)(struct dataset *ds, uint64_t number))
{
	uint64_t number = 0;
	int rc;

	while ((rc = next_orphan(ds, number, &number)) == 0) {
		rc = fn(ds, number);
		if (rc || number == UINT64_MAX)
			return rc;
		number++;
	}
	return rc == -ENOENT ? 0 : rc;
}

static int reap_left_over(struct dataset *ds, uint64_t number)
{
	struct object *o;
	int rc = object_get_nameless(ds, number, &o);

	/* Somebody uses it, or has it in hand; or it has a name, and was finished by the import. */
	char text[256];

	if (rc == -ESTALE)
		return 0;
	if (rc == -EUCLEAN) {
		/* The others are given back all the same. */
		log_warning("wfs3", "pool=%s dataset=%" PRIu64 " object=%" PRIu64 ": it is not given back: %s",
		            ds->pool->name, ds->id, number, err_text(err_get(), rc, 0, text, sizeof(text)));
		return 0;
	}
	if (!rc && !filetree_reap_later(o))
		object_forget(o);
	return rc;
}

static int finish_one(struct dataset *ds, uint64_t number)
{
	struct object *o;
	int rc = object_get(ds, number, &o);
	char text[256];

	if (rc == -ESTALE)
		return 0;
	if (is_damage(rc)) {
		__atomic_store_n(&ds->orphans_unknown, true, __ATOMIC_RELEASE);
		log_warning("wfs3",
		            "pool=%s dataset=%" PRIu64 " object=%" PRIu64 ": a truncation cannot be finished: %s",
		            ds->pool->name, ds->id, number, err_text(err_get(), rc, 0, text, sizeof(text)));
		return 0;
	}
	if (!rc) {
		/* Such a file can still be read; it does not grow. */
		if (filetree_finish_truncation(o))
			log_warning("wfs3",
			            "pool=%s dataset=%" PRIu64 " object=%" PRIu64 ": a truncation cannot be finished",
			            ds->pool->name, ds->id, number);
		vfs_node_unref(&o->node);
	}
	return rc;
}

static bool is_live_tree(struct dataset *ds)
{
	bool live;

	sync_mutex_lock(&ds->pool->table_lock);
	live = ds->type == DATASET_TYPE_TREE && ds->state == DATASET_STATE_LIVE;
	sync_mutex_unlock(&ds->pool->table_lock);
	return live;
}

/* Damage in one tree does not keep the pool from being used. */
static int finish_dataset(void *ctx, struct dataset *ds)
{
	char text[256];
	int rc = 0;

	(void)ctx;
	if (!is_live_tree(ds))
		return 0;
	if (ds->pool->read_only)
		__atomic_store_n(&ds->orphans_unknown, true, __ATOMIC_RELEASE);
	else
		rc = each_orphan(ds, finish_one);
	if (is_damage(rc)) {
		__atomic_store_n(&ds->orphans_unknown, true, __ATOMIC_RELEASE);
		log_warning("wfs3", "pool=%s dataset=%" PRIu64 ": truncations cannot be finished: %s", ds->pool->name,
		            ds->id, err_text(err_get(), rc, 0, text, sizeof(text)));
		rc = 0;
	}
	/* Those that the recovery brought into memory. */
	if (!rc)
		rc = object_table_each(ds->pool->objects, ds, filetree_doubt);
	return rc;
}

int filetree_finish_all(struct pool *p)
{
	return dataset_each(p, finish_dataset, NULL);
}

static int reap_dataset_orphans(void *ctx, struct dataset *ds)
{
	int rc;

	(void)ctx;
	if (ds->orphans_found || !is_live_tree(ds))
		return 0;
	rc = each_orphan(ds, reap_left_over);
	ds->orphans_found = !rc;
	return rc;
}

/* NULL: there are no more, or @last is the next one. */
static struct object *next_handed_over(struct pool *p, const struct object *last)
{
	struct object *o = NULL;

	sync_mutex_lock(&p->reap_lock);
	if (!cds_list_empty(&p->reap_objects) && !p->reap_stop) {
		o = cds_list_first_entry(&p->reap_objects, struct object, reap_link);
		if (o == last)
			o = NULL;
		else
			cds_list_del(&o->reap_link);
	}
	sync_mutex_unlock(&p->reap_lock);
	return o;
}

static int reap_entered(struct object *o)
{
	struct dataset *ds = o->ds;
	int rc;

	vfs_node_ref(&ds->self.node);
	rc = filetree_reap(o);
	dataset_exit(ds);
	vfs_node_unref(&ds->self.node);
	return rc;
}

int filetree_reap_all(struct pool *p)
{
	int first = dataset_each(p, reap_dataset_orphans, NULL);
	struct object *o, *failed = NULL;
	struct admission none;

	/* One that cannot be given back goes behind the others, which can. */
	while ((o = next_handed_over(p, failed))) {
		int rc = admit_change(p, true, &none);

		if (!rc)
			rc = dataset_enter(o->ds, 0);
		if (rc == -ESTALE) {
			/* All of its tree goes. */
			object_forget(o);
			continue;
		}
		if (!rc)
			rc = reap_entered(o);
		if (!rc)
			continue;
		first = first ? first : rc;
		if (!filetree_reap_later(o))
			object_forget(o);
		else if (!failed)
			failed = o;
	}
	return first;
}

/* ---- a whole tree ---- */

struct walk {
	unsigned count;
	struct wfs3_key keys[WALK_ITEMS];
};

static bool note_any(void *ctx, const struct wfs3_key *key, const void *value, size_t len)
{
	struct walk *w = ctx;

	(void)value;
	(void)len;
	w->keys[w->count++] = *key;
	return w->count < WALK_ITEMS;
}

/* Inside the gate. */
static int drop_item(struct dataset *ds, uint64_t txg, const struct wfs3_key *key)
{
	struct cell_change c = { .cell_index = key->offset, .mask = UINT16_MAX };
	int64_t delta;
	int rc;

	if (key->kind == WFS3_KIND_CELL)
		return dataset_change_cell(ds, key->object, txg, &c, &delta);
	rc = tree_delete(ds->tree, txg, key);
	if (!rc)
		txg_changed(ds->pool, ds, txg);
	return rc == -ENOENT ? 0 : rc;
}

static int drop_items(struct dataset *ds, const struct walk *w)
{
	unsigned i = 0;
	int rc = 0;

	while (i < w->count && !rc) {
		uint64_t txg = txg_enter(ds->pool);

		while (i < w->count && !rc) {
			rc = drop_item(ds, txg, &w->keys[i]);
			i += rc == 0;
		}
		txg_exit(ds->pool);
		if (rc == -EUCLEAN)
			(void)pool_check_damage(ds->pool);
		if (rc == -EAGAIN)
			rc = tree_fetch(ds->tree, &w->keys[i]);
	}
	return rc;
}

int filetree_reap_dataset(struct dataset *ds, bool (*stopping)(struct pool *p))
{
	struct wfs3_key from = { 0 }, to = { UINT64_MAX, UINT8_MAX, UINT64_MAX }, resume;
	int rc = object_table_drop(ds->pool->objects, ds);
	struct admission none;

	rc = rc ? rc : 1;
	while (rc == 1) {
		struct walk w = { 0 };

		if (stopping(ds->pool))
			return -ECANCELED;
		rc = admit_change(ds->pool, true, &none);
		if (rc)
			return rc;
		rc = tree_scan(ds->tree, &from, &to, note_any, &w, &resume);
		if (rc == -EAGAIN) {
			rc = tree_fetch(ds->tree, &resume);
			from = resume;
			rc = rc ? rc : 1;
			continue;
		}
		from = resume;
		if (rc >= 0) {
			int drop_rc = drop_items(ds, &w);

			rc = drop_rc ? drop_rc : rc;
		}
	}
	return rc;
}
