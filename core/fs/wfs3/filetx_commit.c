/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The commit of a transaction. What can wait or fail is done first: memory, pages, their contents in the log (parts,
 * which count for nothing by themselves). Then, in one stay in the commit gate and under the tree's items lock, what
 * was seen is validated, the log gets the unit that makes the parts count, and all items change as one. The pages
 * follow before anybody can read or write back what they replace, and before the group can end (pool->tx_gate): so
 * neither the log nor a root ever has a part of a transaction.
 *
 * A log that is closed keeps nobody waiting: like every other change, a transaction is then missing in the log, and a
 * flush waits for the root of its group, which has all of it (txg_settle_transactions()).
 *
 * Locks, outermost first: the transaction, pool->tx_gate, ds->tx_commit, ds->rename_lock if directories move, the
 * objects that change by ascending number, the data of those whose contents change.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/checked.h"
#include "core/base/checksum.h"
#include "core/base/err.h"
#include "core/base/mutate.h"
#include "core/fs/wfs3/filetx_commit.h"
#include "core/fs/wfs3/members.h"

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define STORE(field, value) __atomic_store_n(&(field), value, __ATOMIC_RELAXED)
#define FETCHES_MAX 100000u
#define LOCKED_MAX 1500u /* objects that were there before and change */
#define LOG_SHARE 4u /* of the log's area, for one transaction */

/* ---- what comes before any lock ---- */

static int by_number(const void *a, const void *b)
{
	const struct filetx_object *const *x = a, *const *y = b;

	return (*x)->number < (*y)->number ? -1 : (*x)->number > (*y)->number;
}

static int list_objects(struct filetx_commit *c)
{
	unsigned count = 0, there = 0;

	for (const struct filetx_name *n = c->tx->names; n; n = n->next)
		n->dir->name_changes += n->object != n->base_object;
	for (struct filetx_object *x = c->tx->objects; x; x = x->next)
		count += filetx_writes(x);
	c->objects = calloc(count + 1, sizeof(struct filetx_object *));
	if (!c->objects)
		return err_set(-ENOMEM, "no memory to commit a transaction");
	for (struct filetx_object *x = c->tx->objects; x; x = x->next) {
		if (!filetx_writes(x))
			continue;
		there += x->o != NULL;
		c->moves_dirs |= x->node.type == VFS_TYPE_DIR && x->set & EDIT_PARENT;
		c->objects[c->object_count++] = x;
	}
	qsort(c->objects, count, sizeof(c->objects[0]), by_number);
	return there > LOCKED_MAX ? filetx_fail(c->tx, -E2BIG) : 0;
}

static bool persists(const struct filetx_object *x)
{
	struct cache_file *file;

	if (!x->o || x->node.type != VFS_TYPE_FILE || !x->cur.link_count)
		return false;
	file = __atomic_load_n(&x->o->file, __ATOMIC_ACQUIRE);
	return LOAD(x->o->stored_size) != LOAD(x->o->inode.size_bytes) || (file && cache_file_dirty_bytes(file));
}

/* What was written outside before comes into the log before what is written here, and before its new name. */
static int complete(struct filetx_commit *c)
{
	uint64_t log_bytes = c->ds->pool->devices[0].label.layout.log_bytes;

	for (unsigned i = 0; i < c->object_count; i++) {
		struct filetx_object *x = c->objects[i];
		int rc = persists(x) ? object_persist(x->o, 0, UINT64_MAX) : 0;

		if (!rc && x->o && filetx_has_data(x))
			rc = object_append_settle(x->o);
		if (!rc && filetx_has_data(x))
			rc = filetx_complete_pages(x);
		if (rc)
			return rc;
		c->page_count += filetx_has_data(x) ? x->page_count : 0;
	}
	return WAL_PART_BYTES(c->page_count) > log_bytes / LOG_SHARE ? filetx_fail(c->tx, -E2BIG) : 0;
}

/* ---- locks ---- */

static void lock_all(struct filetx_commit *c) SYNC_NO_ANALYSIS;
static void lock_all(struct filetx_commit *c)
{
	if (!MUTATE(TX_GROUP_BETWEEN))
		sync_rwlock_rdlock(&c->ds->pool->tx_gate);
	sync_mutex_lock(&c->ds->tx_commit);
	if (c->moves_dirs)
		sync_mutex_lock(&c->ds->rename_lock);
	for (unsigned i = 0; i < c->object_count; i++)
		if (c->objects[i]->o)
			sync_mutex_lock(&c->objects[i]->o->lock);
	for (unsigned i = 0; i < c->object_count; i++)
		if (c->objects[i]->o && filetx_has_data(c->objects[i]))
			sync_rwlock_wrlock(&c->objects[i]->o->io_lock);
}

static void unlock_all(struct filetx_commit *c) SYNC_NO_ANALYSIS;
static void unlock_all(struct filetx_commit *c)
{
	for (unsigned i = c->object_count; i-- > 0;)
		if (c->objects[i]->o && filetx_has_data(c->objects[i]))
			sync_rwlock_wrunlock(&c->objects[i]->o->io_lock);
	for (unsigned i = c->object_count; i-- > 0;)
		if (c->objects[i]->o)
			sync_mutex_unlock(&c->objects[i]->o->lock);
	if (c->moves_dirs)
		sync_mutex_unlock(&c->ds->rename_lock);
	sync_mutex_unlock(&c->ds->tx_commit);
	if (!MUTATE(TX_GROUP_BETWEEN))
		sync_rwlock_rdunlock(&c->ds->pool->tx_gate);
}

/* ---- what is made ready with the locks ---- */

/* No directory has become a part of itself by what moved outside: the parents are those that were seen. */
static int check_parents(struct filetx_commit *c)
{
	for (unsigned i = 0; i < c->object_count && c->moves_dirs; i++) {
		const struct filetx_object *x = c->objects[i];

		if (x->node.type != VFS_TYPE_DIR || !(x->set & EDIT_PARENT) || !x->cur.link_count)
			continue;
		while (x && x->number != WFS3_ROOT_OBJECT) {
			if (x->o && LOAD(x->o->inode.parent) != x->base.parent)
				return filetx_note_conflict(c->tx, x->number, NULL);
			x = filetx_find(c->tx, x->cur.parent);
		}
	}
	return 0;
}

static int check_object(struct filetx *tx, const struct filetx_object *x)
{
	/* A range is being taken out of it, which the transaction has not seen. */
	if (x->o && LOAD(x->o->shifting))
		return filetx_note_conflict(tx, x->number, NULL);
	if (x->o && filetx_has_data(x) && x->o->behind_end && x->cur.size_bytes > x->base.size_bytes)
		return err_set(-EIO, "what is behind the end of object %" PRIu64 " could not be dropped", x->number);
	return 0;
}

static int ready_pages(struct filetx_object *x)
{
	struct object *o = x->o ? x->o : x->made;
	struct cache_new_page *pages;
	struct cache_file *file;
	int rc;

	if (!filetx_has_data(x) || !x->page_count)
		return 0;
	pages = calloc(x->page_count, sizeof(*pages));
	x->crcs = calloc(x->page_count, sizeof(*x->crcs));
	rc = pages && x->crcs ? object_open_file(o, &file)
	                      : err_set(-ENOMEM, "no memory for the pages of a transaction");
	for (unsigned i = 0; i < x->page_count && !rc; i++) {
		const uint8_t *data = x->pages[i].data;

		x->crcs[i] = data ? crc32c(data, WFS3_BLOCK_BYTES) : CRC32C_ZERO_4K;
		pages[i] = (struct cache_new_page){ .index = x->pages[i].index, .data = data, .crc = x->crcs[i] };
	}
	if (!rc)
		rc = cache_replace_begin(file, pages, x->page_count, &x->replacement);
	free(pages);
	return rc;
}

/* In the table, but found by nobody. */
static int make_object(struct filetx_commit *c, struct filetx_object *x)
{
	struct inode i;

	filetx_inode(x, c->now_ns, &i);
	return object_create(c->ds, x->number, &i, &x->made);
}

static int ready_object(struct filetx_commit *c, struct filetx_object *x)
{
	int rc = check_object(c->tx, x);

	if (!rc && !x->o)
		rc = make_object(c, x);
	return rc ? rc : ready_pages(x);
}

/* False: the log is closed, for the rest of the group. */
static bool log_part(struct filetx_commit *c, const struct filetx_object *x, unsigned from, unsigned to)
{
	struct wal_record r = { .type = WAL_PART, .dataset = c->ds->id, .object = x->number, .unit = c->unit };
	struct pool *p = c->ds->pool;
	struct wal_ticket ticket;
	bool taken;

	for (unsigned i = from; i < to; i++) {
		const uint8_t *data = x->pages[i].data;
		bool zero = !data || (x->crcs[i] == CRC32C_ZERO_4K && bytes_are_zero(data, WFS3_BLOCK_BYTES));

		r.pages[r.page_count++] =
		        (struct wal_page){ .index = x->pages[i].index, .crc = x->crcs[i], .data = zero ? NULL : data };
	}
	wal_begin(p->wal, WAL_PART_BYTES(r.page_count), &ticket);
	r.txg = txg_enter(p);
	taken = (MUTATE(TX_PART_LOST) && from) || wal_append(p->wal, &ticket, &r);
	txg_exit(p);
	wal_end(p->wal, &ticket);
	return taken;
}

static void log_parts(struct filetx_commit *c)
{
	bool logged = true;

	for (unsigned i = 0; i < c->object_count && logged; i++) {
		const struct filetx_object *x = c->objects[i];
		unsigned count = filetx_has_data(x) ? x->page_count : 0;

		for (unsigned from = 0; from < count && logged; from += CACHE_LOG_PAGES_MAX)
			logged = log_part(c, x, from, (unsigned)min_u64(count, from + CACHE_LOG_PAGES_MAX));
	}
}

/* ---- the moment ---- */

static void append_unit(void *ctx)
{
	struct filetx_commit *c = ctx;
	struct wal_record r = { .type = WAL_UNIT,
		                .txg = c->txg,
		                .dataset = c->ds->id,
		                .unit = c->unit,
		                .unit_pages = c->page_count,
		                .item_count = c->items.count,
		                .items = c->items.all };

	/* Where a part is missing the log is closed for the unit, too: the group cannot have ended since. */
	(void)wal_append(c->ds->pool->wal, c->ticket, &r);
}

/* The tree has it: so has the object. */
static void store(struct filetx_commit *c, struct filetx_object *x, uint64_t stamp)
{
	struct inode *i, v;

	if (x->made)
		__atomic_store_n(&x->made->stamp, stamp, __ATOMIC_SEQ_CST);
	if (!x->o)
		return;
	i = &x->o->inode;
	filetx_inode(x, c->now_ns, &v);
	STORE(i->mode, v.mode);
	STORE(i->uid, v.uid);
	STORE(i->gid, v.gid);
	STORE(i->link_count, v.link_count);
	STORE(i->flags, v.flags);
	STORE(i->atime_ns, v.atime_ns);
	STORE(i->mtime_ns, v.mtime_ns);
	STORE(i->ctime_ns, v.ctime_ns);
	STORE(i->parent, v.parent);
	STORE(i->project, v.project);
	if (filetx_has_data(x) || x->node.type != VFS_TYPE_FILE) {
		STORE(i->size_bytes, v.size_bytes);
		STORE(x->o->write_end, v.size_bytes);
		STORE(x->o->stored_size, v.size_bytes);
	}
	__atomic_store_n(&x->o->stamp, stamp, __ATOMIC_SEQ_CST);
	if (__atomic_add_fetch(&i->change, x->name_changes ? x->name_changes : 1, __ATOMIC_RELAXED) == v.change)
		STORE(x->o->logged_change, v.change);
}

/* The values of all inodes; and what they mean for their owners. */
static int fill_inodes(struct filetx_commit *c, struct quota_change *usage)
{
	int created = 0, rc = 0;

	for (unsigned i = 0; i < c->object_count && !rc; i++) {
		struct filetx_object *x = c->objects[i];
		struct inode v;

		filetx_inode(x, c->now_ns, &v);
		inode_encode(&v, x->value);
		created += !x->o;
		if (!x->o) {
			rc = quota_change_add(usage, &v, 1, 0);
		} else if (x->set & EDIT_OWNERS) {
			rc = quota_change_add(usage, &x->o->inode, -1, -(int64_t)v.blocks);
			if (!rc)
				rc = quota_change_add(usage, &v, 1, (int64_t)v.blocks);
		}
	}
	return rc ? rc : quota_change_check(usage, created);
}

/* Results of appends wait for the size that is set here: they were settled, so somebody has appended since. */
static int check_appends(struct filetx_commit *c)
{
	for (unsigned i = 0; i < c->object_count; i++)
		if (c->objects[i]->o && filetx_has_data(c->objects[i]) && c->objects[i]->o->append_count)
			return filetx_note_conflict(c->tx, c->objects[i]->number, NULL);
	return 0;
}

static int apply_counted(struct filetx_commit *c, struct quota_change *usage, struct wfs3_key *ret_missing)
{
	struct dataset *ds = c->ds;
	uint64_t stamp;
	int rc = fill_inodes(c, usage);

	if (rc)
		return rc;
	rc = tree_apply_many(ds->tree, c->txg, c->items.all, c->items.tree_count, append_unit, c, ret_missing);
	if (rc)
		return rc;
	stamp = __atomic_add_fetch(&ds->tx_clock, 1, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < c->object_count; i++) {
		ds->object_count += !c->objects[i]->o;
		store(c, c->objects[i], stamp);
	}
	ds->outcome_count += 1 - c->items.forgotten;
	if (c->tx->answer)
		__atomic_store_n(&ds->has_results, true, __ATOMIC_RELEASE);
	txg_changed(ds->pool, ds, c->txg);
	return 0;
}

static int apply(struct filetx_commit *c, struct wfs3_key *ret_missing)
{
	struct quota_change usage;
	bool reads = c->tx->isolation == VFS_TX_SERIALIZABLE && !MUTATE(TX_READS_UNSEEN);
	int rc = MUTATE(TX_WRITES_UNSEEN) ? 0 : filetx_validate(c->tx, reads, ret_missing);

	if (!rc)
		rc = check_appends(c);
	if (rc)
		return rc;
	quota_change_begin(c->ds, &usage);
	rc = apply_counted(c, &usage, ret_missing);
	/* Not before the objects have their owners: what is mapped meanwhile counts for the same ones. */
	quota_change_end(&usage, !rc);
	return rc;
}

static int apply_in_gate(struct filetx_commit *c)
{
	struct pool *p = c->ds->pool;
	int rc;

	for (unsigned tries = 0;; tries++) {
		struct wfs3_key missing;
		struct wal_ticket ticket;

		wal_begin(p->wal, c->items.bytes, &ticket);
		c->ticket = &ticket;
		c->txg = txg_enter(p);
		sync_mutex_lock(&c->ds->items_lock);
		rc = apply(c, &missing);
		sync_mutex_unlock(&c->ds->items_lock);
		if (!rc)
			__atomic_store_n(&p->newest_tx_txg, c->txg, __ATOMIC_RELAXED);
		txg_exit(p);
		wal_end(p->wal, &ticket);
		if (rc != -EAGAIN)
			return rc;
		rc = tries < FETCHES_MAX ? tree_fetch(c->ds->tree, &missing)
		                         : err_set(-ENOMEM, "no memory for the leaves that a transaction changes");
		if (rc)
			return rc;
	}
}

/* ---- afterwards ---- */

/* The pages are in the cache before anybody else can look: their places were kept. */
static void install(struct filetx_object *x)
{
	struct object *o = x->o ? x->o : x->made;

	if (x->replacement) {
		__atomic_store_n(&o->tx_pages, true, __ATOMIC_RELAXED);
		__atomic_store_n(&o->ds->pool->tx_pages, true, __ATOMIC_RELAXED);
		object_list(o);
		cache_replace_commit(x->replacement);
		x->replacement = NULL;
	}
	if (x->o && filetx_has_data(x) && x->cur.size_bytes < x->base.size_bytes)
		filetree_drop_tail(o, x->cur.size_bytes, x->base.size_bytes, true);
	else if (filetx_has_data(x) && o->file)
		cache_file_resize(o->file, x->cur.size_bytes);
	if (x->made) {
		object_publish(x->made, true);
		vfs_node_unref(&x->made->node);
		x->made = NULL;
	} else if (!x->cur.link_count) {
		object_lost_name(x->o);
	}
}

static void give_up(struct filetx_object *x)
{
	if (MUTATE(TX_ABORT_STAYS) && x->replacement)
		cache_replace_commit(x->replacement);
	else
		cache_replace_abort(x->replacement);
	x->replacement = NULL;
	if (x->made)
		object_forget(x->made);
	x->made = NULL;
}

static int commit_admitted(struct filetx_commit *c)
{
	int rc = filetx_number(c->ds, &c->unit);

	if (rc)
		return rc;
	c->now_ns = (int64_t)sync_wall_ns();
	c->tx->committed_ns = (uint64_t)c->now_ns;
	lock_all(c);
	rc = check_parents(c);
	if (!rc)
		rc = filetx_collect(c->tx, &c->items);
	if (!rc && c->items.bytes > wal_ticket_max(c->ds->pool->wal))
		rc = -E2BIG;
	for (unsigned i = 0; i < c->object_count && !rc; i++)
		rc = ready_object(c, c->objects[i]);
	if (!rc) {
		log_parts(c);
		rc = apply_in_gate(c);
	}
	for (unsigned i = 0; i < c->object_count; i++) {
		if (rc)
			give_up(c->objects[i]);
		else
			install(c->objects[i]);
		free(c->objects[i]->crcs);
		c->objects[i]->crcs = NULL;
	}
	unlock_all(c);
	filetx_items_done(&c->items);
	return rc;
}

/* Leaves for what is neither data nor about objects. */
static unsigned other_leaves(const struct vfs_answer *a)
{
	return 4 + (a ? 1 + (unsigned)(a->len / ANSWER_PART_BYTES) : 0);
}

/* Does it make no sense to wait for room in the cache? */
static int wait_failed(void *ctx)
{
	const struct filetx_commit *c = ctx;

	if (__atomic_load_n(&c->ds->pool->failed, __ATOMIC_ACQUIRE))
		return -EIO;
	return sync_now_ns() > c->tx->deadline_ns ? -ETIMEDOUT : 0;
}

/* With room for what is written: in memory, in the pool, and for its owners. */
static int commit_prepared(struct filetx_commit *c)
{
	struct pool *p = c->ds->pool;
	struct admission adm;
	int rc = filetx_list_owners(c);

	/* Not with the locks: whoever ends a group would wait, and everybody else for him. */
	if (!rc && c->page_count)
		rc = cache_wait_room(p->w->config.cache, &c->ds->tx_pace_ns, c->page_count, wait_failed, c);
	if (!rc)
		rc = filetx_take_quotas(c);
	if (!rc) {
		rc = admit_transaction(p, c->page_count, c->object_count + other_leaves(c->tx->answer), &adm);
		if (!rc) {
			rc = commit_admitted(c);
			admit_done(p, &adm);
		}
	}
	filetx_give_quotas_back(c);
	return rc;
}

/* All that is another way outside now. */
static void tell_changes(const struct filetx *tx, vfs_tx_change_fn *fn, void *ctx)
{
	for (const struct filetx_name *n = tx->names; n; n = n->next)
		if (n->object != n->base_object)
			fn(ctx, &(struct vfs_tx_change){ .dir = n->dir->number,
			                                 .name = n->name,
			                                 .name_len = n->name_len,
			                                 .before = n->base_object,
			                                 .after = n->object });
	for (const struct filetx_object *x = tx->objects; x; x = x->next)
		if (x->changed && x->o)
			fn(ctx, &(struct vfs_tx_change){ .object = x->number });
}

/* An older version of this program does not know what stands behind the result of a request. */
static int allow_answers(struct pool *p)
{
	int rc = 0;

	if (!__atomic_load_n(&p->has_answers, __ATOMIC_ACQUIRE)) {
		rc = members_add_feature(p, WFS3_FEATURE_ANSWERS);
		__atomic_store_n(&p->has_answers, rc == 0, __ATOMIC_RELEASE);
	}
	return rc;
}

static int commit_entered(struct filetx *tx, vfs_tx_change_fn *fn, void *ctx)
{
	struct filetx_commit c = { .tx = tx, .ds = tx->ds };
	int rc = pool_check_writable(tx->ds->pool);

	if (!rc && tx->answer)
		rc = allow_answers(tx->ds->pool);
	if (!rc)
		rc = list_objects(&c);
	/* Nothing to be written: what was seen is all there was. */
	if (!rc && c.object_count)
		rc = complete(&c);
	if (!rc && c.object_count)
		rc = commit_prepared(&c);
	free(c.objects);
	if (rc)
		return tx->state == VFS_TX_RUNNING ? filetx_fail(tx, rc) : rc;
	tx->state = VFS_TX_COMMITTED;
	if (fn)
		tell_changes(tx, fn, ctx);
	filetx_drop_overlay(tx);
	return 0;
}

int filetx_commit(struct vfs_tx *t, bool durable, const struct vfs_answer *answer, vfs_tx_change_fn *fn, void *ctx)
{
	struct filetx *tx = (struct filetx *)t;
	int rc = filetx_enter(tx);

	if (rc)
		return rc;
	tx->answer = answer;
	rc = dataset_enter(tx->ds, 0);
	if (!rc) {
		rc = commit_entered(tx, fn, ctx);
		dataset_note(tx->ds, DATASET_CHANGE, rc, 0);
		if (!rc && durable)
			rc = txg_sync_log(tx->ds);
		dataset_exit(tx->ds);
	}
	tx->answer = NULL;
	filetx_leave(tx);
	return rc;
}
