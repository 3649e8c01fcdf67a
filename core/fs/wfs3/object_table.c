/* SPDX-License-Identifier: BSD-3-Clause */
/* Objects of file trees in memory: a table by dataset and number, in shards, and their lives (object.h). Those that
 * nobody uses are kept by the clock algorithm while there is room. */
#include "core/fs/wfs3/object.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "core/base/assert.h"
#include "core/base/budget.h"
#include "core/base/err.h"
#include "core/base/nowait.h"
#include "core/fs/wfs3/filetree.h"
#include "core/fs/wfs3/pool.h"

#define SHARDS 16u
#define BUCKETS_MIN 64u
#define NOWAIT_EXCESS 64u /* objects above the limit of a shard that threads which must not wait may add */
#define EVICT_LOOKS 8u /* objects looked at for each one that comes in */

struct shard {
	struct sync_mutex lock; /* SYNC_RANK_OBJECT_TABLE */
	struct object **buckets;
	size_t bucket_count; /* power of two */
	size_t count;
	uint64_t forgotten; /* objects that left: what was read before may be gone, or have been changed since */
	struct cds_list_head clock; /* the hand is at its head */
};

struct object_table {
	struct budget_consumer *consumer;
	size_t shard_max; /* objects of one shard */
	struct shard shards[SHARDS];
};

static uint64_t hash(const struct dataset *ds, uint64_t number)
{
	/* Multiplicative hashing; the factor is 2^64 divided by the golden ratio. */
	return (number ^ ds->id << 40) * UINT64_C(0x9e3779b97f4a7c15);
}

static struct shard *shard_of(struct object_table *t, const struct dataset *ds, uint64_t number)
{
	return &t->shards[hash(ds, number) >> 60];
}

static struct object **bucket_of(struct shard *s, const struct dataset *ds, uint64_t number)
{
	return &s->buckets[hash(ds, number) >> 20 & (s->bucket_count - 1)];
}

int object_table_new(struct budget *b, size_t max_bytes, struct object_table **ret)
{
	struct object_table *t = calloc(1, sizeof(*t));
	bool good = t;

	if (!t)
		return err_set(-ENOMEM, "no memory for a table of objects");
	t->consumer = budget_join(b, "objects", 0, NULL, NULL);
	t->shard_max = max_bytes / sizeof(struct object) / SHARDS + 1;
	for (unsigned i = 0; i < SHARDS; i++) {
		struct shard *s = &t->shards[i];

		sync_mutex_init(&s->lock, SYNC_RANK_OBJECT_TABLE, "objects");
		CDS_INIT_LIST_HEAD(&s->clock);
		s->bucket_count = BUCKETS_MIN;
		s->buckets = calloc(BUCKETS_MIN, sizeof(struct object *));
		good = good && s->buckets;
	}
	if (!good || !t->consumer) {
		object_table_free(t);
		return err_set(-ENOMEM, "no memory for a table of objects");
	}
	*ret = t;
	return 0;
}

void object_table_free(struct object_table *t)
{
	if (!t)
		return;
	for (unsigned i = 0; i < SHARDS; i++) {
		always(!t->shards[i].count);
		sync_mutex_done(&t->shards[i].lock);
		free(t->shards[i].buckets);
	}
	if (t->consumer)
		budget_leave(t->consumer);
	free(t);
}

static void object_free(struct object *o)
{
	struct dataset *ds = o->ds;

	object_done(o);
	free(o);
	vfs_node_unref(&ds->self.node);
}

/* ---- inside a shard ---- */

static struct object *find(struct shard *s, const struct dataset *ds, uint64_t number)
{
	struct object *o = *bucket_of(s, ds, number);

	while (o && (o->number != number || o->ds != ds))
		o = o->hash_next;
	return o;
}

static void grow(struct shard *s)
{
	size_t old_count = s->bucket_count;
	struct object **old = s->buckets, **bigger = calloc(2 * old_count, sizeof(struct object *));

	/* Without memory the chains become longer. */
	if (!bigger)
		return;
	s->buckets = bigger;
	s->bucket_count = 2 * old_count;
	for (size_t i = 0; i < old_count; i++)
		while (old[i]) {
			struct object *o = old[i], **b;

			old[i] = o->hash_next;
			b = bucket_of(s, o->ds, o->number);
			o->hash_next = *b;
			*b = o;
		}
	free(old);
}

static void insert(struct shard *s, struct object *o)
{
	struct object **b;

	if (s->count >= s->bucket_count)
		grow(s);
	b = bucket_of(s, o->ds, o->number);
	o->hash_next = *b;
	*b = o;
	cds_list_add_tail(&o->clock_link, &s->clock);
	s->count++;
}

static void take_out(struct shard *s, struct object *o)
{
	struct object **link = bucket_of(s, o->ds, o->number);

	while (*link != o)
		link = &(*link)->hash_next;
	*link = o->hash_next;
	cds_list_del(&o->clock_link);
	s->count--;
}

static void set_state(struct object *o, enum object_state state)
{
	__atomic_store_n(&o->state, state, __ATOMIC_RELEASE);
}

/* If nobody but the table has it, and nothing is lost. Who makes it dirty lists it before giving it up. */
static bool evict(struct shard *s, struct object *o)
{
	struct pool *p = o->ds->pool;
	uint64_t one = 1;
	bool mine;

	if (o->state != OBJECT_LIVE || !o->table_ref || o->used || object_stays(o) ||
	    (nowait_here() && !object_is_small(o)))
		return false;
	sync_mutex_lock(&p->dirty_lock);
	mine = !o->listed &&
	       __atomic_compare_exchange_n(&o->node.refs, &one, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
	sync_mutex_unlock(&p->dirty_lock);
	if (!mine)
		return false;
	set_state(o, OBJECT_DEAD);
	object_stamp_evicted(o);
	take_out(s, o);
	s->forgotten++;
	return true;
}

/* The table takes a reference. */
static void take_ref(struct object *o)
{
	vfs_node_ref(&o->node);
	o->table_ref = true;
}

/* Threads that must not wait leave it to others to forget large files, and must not bring in ever more. */
static bool too_many(const struct object_table *t, const struct shard *s)
{
	return nowait_here() && s->count > t->shard_max + NOWAIT_EXCESS;
}

/* Make room. *@ret_gone is a list by hash_next of what is to be freed. */
static void trim(struct object_table *t, struct shard *s, struct object **ret_gone)
{
	*ret_gone = NULL;
	for (unsigned i = 0; i < EVICT_LOOKS && s->count > t->shard_max; i++) {
		struct object *o = cds_list_first_entry(&s->clock, struct object, clock_link);

		if (evict(s, o)) {
			o->hash_next = *ret_gone;
			*ret_gone = o;
			continue;
		}
		o->used = false;
		cds_list_del(&o->clock_link);
		cds_list_add_tail(&o->clock_link, &s->clock);
	}
}

static void free_gone(struct object_table *t, struct object *gone)
{
	while (gone) {
		struct object *next = gone->hash_next;

		budget_uncharge(t->consumer, sizeof(*gone));
		object_free(gone);
		gone = next;
	}
}

/* ---- objects come in ---- */

static struct object *make(struct dataset *ds, uint64_t number, const struct inode *inode)
{
	struct object *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	object_init(o, ds, number, &filetree_node_ops, filetree_type(inode->mode));
	vfs_node_ref(&ds->self.node);
	o->inode = *inode;
	o->write_end = o->stored_size = inode->size_bytes;
	o->logged_change = inode->change;
	return o;
}

/* One that was read from the tree, unless another thread was faster, or it may have been deleted since. -EAGAIN. */
static int admit(struct object_table *t, struct object *o, uint64_t forgotten, bool nameless)
{
	struct shard *s = shard_of(t, o->ds, o->number);
	struct object *gone = NULL;
	int rc = 0;

	sync_mutex_lock(&s->lock);
	if (s->forgotten != forgotten || find(s, o->ds, o->number) || too_many(t, s)) {
		rc = -EAGAIN;
	} else {
		set_state(o, nameless ? OBJECT_REAPING : OBJECT_LIVE);
		if (!nameless)
			take_ref(o);
		insert(s, o);
		trim(t, s, &gone);
	}
	sync_mutex_unlock(&s->lock);
	if (!rc)
		budget_charge(t->consumer, sizeof(*o));
	free_gone(t, gone);
	return rc;
}

static int load(struct dataset *ds, uint64_t number, uint64_t forgotten, bool nameless, struct object **ret)
{
	struct inode inode;
	struct object *o;
	int rc = object_read_inode(ds, number, &inode);

	if (rc)
		return rc;
	if ((inode.link_count == 0) != nameless)
		return err_set(-ESTALE, "object %" PRIu64 " of dataset %" PRIu64 " is being deleted", number, ds->id);
	o = make(ds, number, &inode);
	if (!o)
		return err_set(-ENOMEM, "no memory for an object");
	filetree_doubt(o);
	rc = admit(ds->pool->objects, o, forgotten, nameless);
	if (rc)
		object_free(o);
	else
		*ret = o;
	return rc;
}

/* False: the last reference has just been given up, and whoever did that has it now. */
static bool try_ref(struct object *o)
{
	uint64_t refs = __atomic_load_n(&o->node.refs, __ATOMIC_RELAXED);

	while (refs &&
	       !__atomic_compare_exchange_n(&o->node.refs, &refs, refs + 1, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		;
	return refs;
}

/* 1: it is there, referenced; 0: not in memory. */
static int look(struct shard *s, struct dataset *ds, uint64_t number, struct object **ret, uint64_t *ret_forgotten)
{
	struct object *o;
	int rc = 0;

	sync_mutex_lock(&s->lock);
	*ret_forgotten = s->forgotten;
	o = find(s, ds, number);
	if (o) {
		rc = -ESTALE;
		/* A nameless one may be on its way out: it has no reference then. */
		if (o->state == OBJECT_LIVE && try_ref(o)) {
			o->used = true;
			*ret = o;
			rc = 1;
		}
	}
	sync_mutex_unlock(&s->lock);
	return rc;
}

static int get(struct dataset *ds, uint64_t number, bool nameless, struct object **ret)
{
	struct shard *s = shard_of(ds->pool->objects, ds, number);
	uint64_t forgotten;
	int rc;

	do {
		rc = look(s, ds, number, ret, &forgotten);
		if (rc > 0 && nameless) {
			/* It is in use: its last user gives it back. */
			vfs_node_unref(&(*ret)->node);
			rc = -ESTALE;
		}
		if (rc > 0)
			return 0;
		if (rc < 0)
			return err_set(rc, "object %" PRIu64 " of dataset %" PRIu64 " is not there", number, ds->id);
		rc = load(ds, number, forgotten, nameless, ret);
	} while (rc == -EAGAIN && !nowait_here());
	return rc;
}

int object_get(struct dataset *ds, uint64_t number, struct object **ret)
{
	return get(ds, number, false, ret);
}

int object_get_nameless(struct dataset *ds, uint64_t number, struct object **ret)
{
	return get(ds, number, true, ret);
}

int object_create(struct dataset *ds, uint64_t number, const struct inode *inode, struct object **ret)
{
	struct object_table *t = ds->pool->objects;
	struct shard *s = shard_of(t, ds, number);
	struct object *o = make(ds, number, inode), *gone;

	if (!o)
		return err_set(-ENOMEM, "no memory for an object");
	o->logged_change = 0;
	sync_mutex_lock(&s->lock);
	if (too_many(t, s)) {
		sync_mutex_unlock(&s->lock);
		object_free(o);
		return -EAGAIN;
	}
	/* The number comes from the dataset's record: it may be wrong. */
	if (find(s, ds, number)) {
		sync_mutex_unlock(&s->lock);
		object_free(o);
		return err_set(-EUCLEAN, "dataset %" PRIu64 " has an object %" PRIu64 " already", ds->id, number);
	}
	insert(s, o);
	trim(t, s, &gone);
	sync_mutex_unlock(&s->lock);
	budget_charge(t->consumer, sizeof(*o));
	free_gone(t, gone);
	*ret = o;
	return 0;
}

void object_publish(struct object *o, bool has_name)
{
	struct shard *s = shard_of(o->ds->pool->objects, o->ds, o->number);

	sync_mutex_lock(&s->lock);
	if (has_name)
		take_ref(o);
	set_state(o, OBJECT_LIVE);
	sync_mutex_unlock(&s->lock);
}

/* ---- objects go ---- */

void object_forget(struct object *o)
{
	struct object_table *t = o->ds->pool->objects;
	struct shard *s = shard_of(t, o->ds, o->number);

	sync_mutex_lock(&s->lock);
	always(o->state != OBJECT_DEAD);
	set_state(o, OBJECT_DEAD);
	take_out(s, o);
	s->forgotten++;
	sync_mutex_unlock(&s->lock);
	budget_uncharge(t->consumer, sizeof(*o));
	vfs_node_unref(&o->node);
}

bool object_claim(struct object *o)
{
	struct shard *s = shard_of(o->ds->pool->objects, o->ds, o->number);
	uint64_t two = 2;
	bool mine = false;

	sync_mutex_lock(&s->lock);
	if (o->state == OBJECT_LIVE)
		mine = __atomic_compare_exchange_n(&o->node.refs, &two, 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
	if (mine) {
		o->table_ref = false;
		set_state(o, OBJECT_REAPING);
	}
	sync_mutex_unlock(&s->lock);
	return mine;
}

void object_lost_name(struct object *o)
{
	struct shard *s = shard_of(o->ds->pool->objects, o->ds, o->number);
	bool had_ref;

	sync_mutex_lock(&s->lock);
	had_ref = o->table_ref;
	o->table_ref = false;
	sync_mutex_unlock(&s->lock);
	/* The caller's is not the last one. */
	if (had_ref)
		vfs_node_unref(&o->node);
}

void object_got_name(struct object *o)
{
	struct shard *s = shard_of(o->ds->pool->objects, o->ds, o->number);

	sync_mutex_lock(&s->lock);
	/* A table that was dropped meanwhile does not get it back. */
	if (o->state == OBJECT_LIVE)
		take_ref(o);
	sync_mutex_unlock(&s->lock);
}

void object_release(struct vfs_node *n)
{
	struct object *o = (struct object *)n;
	struct pool *p = o->ds->pool;
	struct shard *s = shard_of(p->objects, o->ds, o->number);
	bool nameless;

	if (__atomic_load_n(&o->state, __ATOMIC_ACQUIRE) == OBJECT_DEAD) {
		object_free(o);
		return;
	}
	/* The last user of a nameless object: it is the reaper's now. */
	sync_mutex_lock(&s->lock);
	nameless = o->state == OBJECT_LIVE;
	if (nameless) {
		__atomic_store_n(&o->node.refs, 1, __ATOMIC_RELEASE);
		set_state(o, OBJECT_REAPING);
	}
	sync_mutex_unlock(&s->lock);
	if (!nameless) {
		/* The table was emptied meanwhile. */
		object_free(o);
	} else if (!filetree_reap_later(o)) {
		object_forget(o);
	}
}

/* ---- all of them ---- */

void object_table_empty(struct object_table *t)
{
	for (unsigned i = 0; i < SHARDS; i++) {
		struct shard *s = &t->shards[i];

		sync_mutex_lock(&s->lock);
		while (!cds_list_empty(&s->clock)) {
			struct object *o = cds_list_first_entry(&s->clock, struct object, clock_link);
			bool has_ref = o->table_ref;

			o->table_ref = false;
			set_state(o, OBJECT_DEAD);
			take_out(s, o);
			s->forgotten++;
			budget_uncharge(t->consumer, sizeof(*o));
			sync_mutex_unlock(&s->lock);
			if (has_ref)
				vfs_node_unref(&o->node);
			sync_mutex_lock(&s->lock);
		}
		sync_mutex_unlock(&s->lock);
	}
	budget_leave(t->consumer);
	t->consumer = NULL;
}

bool object_table_uses(struct object_table *t, const struct dataset *ds)
{
	bool uses = false;

	for (unsigned i = 0; i < SHARDS && !uses; i++) {
		struct shard *s = &t->shards[i];
		struct object *o;

		sync_mutex_lock(&s->lock);
		cds_list_for_each_entry (o, &s->clock, clock_link)
			uses |= o->ds == ds && o->state == OBJECT_LIVE &&
			        __atomic_load_n(&o->node.refs, __ATOMIC_ACQUIRE) > (o->table_ref ? 1u : 0u);
		sync_mutex_unlock(&s->lock);
	}
	return uses;
}

int object_table_each(struct object_table *t, const struct dataset *ds, void (*fn)(struct object *o))
{
	for (unsigned i = 0; i < SHARDS; i++) {
		struct shard *s = &t->shards[i];
		struct object **all, *o;
		size_t count = 0;

		sync_mutex_lock(&s->lock);
		all = calloc(s->count + 1, sizeof(struct object *));
		if (!all) {
			sync_mutex_unlock(&s->lock);
			return err_set(-ENOMEM, "no memory to list objects");
		}
		cds_list_for_each_entry (o, &s->clock, clock_link)
			if (o->ds == ds && try_ref(o))
				all[count++] = o;
		sync_mutex_unlock(&s->lock);
		for (size_t k = 0; k < count; k++) {
			fn(all[k]);
			vfs_node_unref(&all[k]->node);
		}
		free(all);
	}
	return 0;
}

/* Nothing of it is to be written any more. */
static void abandon(struct object *o)
{
	struct cache_file *file = __atomic_load_n(&o->file, __ATOMIC_ACQUIRE);

	sync_mutex_lock(&o->ds->items_lock);
	o->inode_gone = true;
	sync_mutex_unlock(&o->ds->items_lock);
	/* Pages that are on their way are waited for, the others dropped. */
	if (file && !cache_punch_begin(file, 0, VFS_FILE_BYTES_MAX, 0))
		cache_punch_end(file, 0, VFS_FILE_BYTES_MAX, false);
}

int object_table_drop(struct object_table *t, const struct dataset *ds)
{
	int rc = object_table_each(t, ds, abandon);

	for (unsigned i = 0; i < SHARDS && !rc; i++) {
		struct shard *s = &t->shards[i];
		struct object *o, *next, *gone = NULL;

		sync_mutex_lock(&s->lock);
		cds_list_for_each_entry_safe (o, next, &s->clock, clock_link) {
			if (o->ds != ds || o->state != OBJECT_LIVE)
				continue;
			set_state(o, OBJECT_DEAD);
			take_out(s, o);
			s->forgotten++;
			budget_uncharge(t->consumer, sizeof(*o));
			/* A nameless one is freed by its last user. */
			if (!o->table_ref)
				continue;
			o->table_ref = false;
			o->hash_next = gone;
			gone = o;
		}
		sync_mutex_unlock(&s->lock);
		while (gone) {
			struct object *after = gone->hash_next;

			vfs_node_unref(&gone->node);
			gone = after;
		}
	}
	return rc;
}
