/* SPDX-License-Identifier: BSD-3-Clause */
/* Changes of several items of a file tree as one. */
#include "core/fs/wfs3/edit.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/base/nowait.h"
#include "core/fs/wfs3/pool.h"

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define STORE(field, value) __atomic_store_n(&(field), value, __ATOMIC_RELAXED)

_Static_assert(TREE_BATCH_MAX + 1 <= WAL_ITEMS_MAX, "one record has it all");

void edit_init(struct edit *e, struct dataset *ds)
{
	e->ds = ds;
	e->now_ns = (int64_t)sync_wall_ns();
	e->object_delta = 0;
	e->inode_count = e->dirent_count = e->item_count = 0;
	e->truncates = e->collapses = e->replaces = e->tagged = false;
}

static struct edit_inode *find_inode(struct edit *e, struct object *o)
{
	struct edit_inode *ei;

	for (unsigned i = 0; i < e->inode_count; i++)
		if (e->inodes[i].o == o)
			return &e->inodes[i];
	always(e->inode_count < EDIT_INODES_MAX);
	ei = &e->inodes[e->inode_count++];
	ei->o = o;
	ei->set = 0;
	ei->gone = ei->is_new = false;
	object_get_inode(o, &ei->to);
	return ei;
}

struct inode *edit_inode(struct edit *e, struct object *o, unsigned set)
{
	struct edit_inode *ei = find_inode(e, o);

	ei->set |= set;
	return &ei->to;
}

void edit_inode_new(struct edit *e, struct object *o)
{
	find_inode(e, o)->is_new = true;
}

void edit_inode_gone(struct edit *e, struct object *o)
{
	find_inode(e, o)->gone = true;
}

static struct item_change *new_item(struct edit *e)
{
	always(e->item_count < EDIT_ITEMS_MAX);
	return &e->items[e->item_count++];
}

void edit_put(struct edit *e, const struct wfs3_key *key, const void *value, size_t len)
{
	*new_item(e) = (struct item_change){ .op = ITEM_PUT, .key = *key, .value = value, .len = len };
}

void edit_delete(struct edit *e, const struct wfs3_key *key)
{
	*new_item(e) = (struct item_change){ .op = ITEM_DELETE, .key = *key };
}

void edit_truncate(struct edit *e, const struct object *o, uint64_t first)
{
	e->truncates = true;
	e->truncate = (struct item_change){ .op = ITEM_TRUNCATE, .key = object_cell_key(o, first) };
}

void edit_collapse(struct edit *e)
{
	e->collapses = true;
}

void edit_replace(struct edit *e)
{
	e->replaces = true;
}

void edit_tag(struct edit *e, const struct vfs_tag *tag, uint64_t number)
{
	if (!tag)
		return;
	e->tagged = true;
	e->tag_key = result_key(tag->client, tag->place);
	result_encode_tag(tag, (uint64_t)e->now_ns / SYNC_NS_PER_S, number, e->tag_value);
}

int edit_read(struct dataset *ds, const struct wfs3_key *key, void *buf, size_t cap, size_t *ret_len)
{
	int rc;

	while ((rc = tree_get(ds->tree, key, buf, cap, ret_len)) == -EAGAIN) {
		rc = tree_fetch(ds->tree, key);
		if (rc)
			break;
	}
	return rc;
}

static int read_dirents(struct dataset *ds, const struct wfs3_key *key, uint8_t *buf, size_t *ret_len)
{
	int rc = edit_read(ds, key, buf, DIRENT_VALUE_MAX, ret_len);

	if (rc == -ENOENT) {
		*ret_len = 0;
		rc = 0;
	}
	return rc;
}

int edit_find(struct dataset *ds, uint64_t dir, const char *name, size_t name_len, uint64_t *ret_object,
              uint8_t *ret_type)
{
	struct wfs3_key key = dirent_key(dir, dirent_hash(ds->hash_key, name, name_len));
	uint8_t buf[DIRENT_VALUE_MAX];
	struct dirent d;
	size_t len;
	int rc = read_dirents(ds, &key, buf, &len);

	if (!rc)
		rc = dirent_find(buf, len, name, name_len, &d, NULL);
	if (rc < 0)
		return err_add(rc, "directory %" PRIu64 " of dataset %" PRIu64, dir, ds->id);
	if (rc) {
		*ret_object = d.object;
		*ret_type = d.type;
	}
	return rc;
}

int edit_entry(struct edit *e, uint64_t dir, const char *name, size_t name_len, uint64_t object, uint8_t type)
{
	struct wfs3_key key = dirent_key(dir, dirent_hash(e->ds->hash_key, name, name_len));
	struct dirent add = { .object = object, .type = type, .name_len = (uint8_t)name_len, .name = name };
	struct edit_dirent *ed = NULL;
	uint8_t old[DIRENT_VALUE_MAX];
	size_t len;
	int rc = 0;

	for (unsigned i = 0; i < e->dirent_count; i++)
		if (!wfs3_key_cmp(&e->dirents[i].key, &key))
			ed = &e->dirents[i];
	if (ed) {
		len = ed->len;
		memcpy(old, ed->value, len);
	} else {
		always(e->dirent_count < EDIT_DIRENTS_MAX);
		ed = &e->dirents[e->dirent_count];
		rc = read_dirents(e->ds, &key, old, &len);
	}
	if (!rc)
		rc = dirent_edit(old, len, name, name_len, object ? &add : NULL, ed->value);
	if (rc < 0)
		return err_add(rc, "directory %" PRIu64 " of dataset %" PRIu64, dir, e->ds->id);
	ed->key = key;
	ed->len = (size_t)rc;
	if (ed == &e->dirents[e->dirent_count])
		e->dirent_count++;
	return 0;
}

/* ---- making the change ---- */

/* All items of the change in one array; what data writers change meanwhile is taken as it is now. */
static unsigned collect(struct edit *e, struct item_change *all) SYNC_REQUIRES(e->ds->items_lock)
{
	unsigned n = 0;

	for (unsigned i = 0; i < e->inode_count; i++) {
		struct edit_inode *ei = &e->inodes[i];
		struct inode v;

		all[n] = (struct item_change){ .op = ITEM_DELETE, .key = object_inode_key(ei->o) };
		if (!ei->gone) {
			object_get_inode(ei->o, &v);
			v.mode = ei->set & EDIT_MODE ? ei->to.mode : v.mode;
			v.uid = ei->set & EDIT_UID ? ei->to.uid : v.uid;
			v.gid = ei->set & EDIT_GID ? ei->to.gid : v.gid;
			v.link_count = ei->set & EDIT_LINKS ? ei->to.link_count : v.link_count;
			v.flags = ei->set & EDIT_FLAGS ? ei->to.flags : v.flags;
			v.size_bytes = ei->set & EDIT_SIZE ? ei->to.size_bytes : v.size_bytes;
			v.atime_ns = ei->set & EDIT_ATIME ? ei->to.atime_ns : v.atime_ns;
			v.mtime_ns = ei->set & EDIT_MTIME ? ei->to.mtime_ns : v.mtime_ns;
			v.parent = ei->set & EDIT_PARENT ? ei->to.parent : v.parent;
			v.project = ei->set & EDIT_PROJECT ? ei->to.project : v.project;
			v.ctime_ns = e->now_ns;
			v.change++;
			ei->to = v;
			all[n].op = ITEM_PUT;
			all[n].value = ei->value;
			all[n].len = inode_encode(&v, ei->value);
		}
		n++;
	}
	/* What was appended before the size is set: behind that it may be gone. */
	for (unsigned i = 0; i < e->inode_count; i++) {
		struct object *o = e->inodes[i].o;

		if (!(e->inodes[i].set & EDIT_SIZE) || !o->append_count)
			continue;
		always(n + o->append_count + e->dirent_count + e->item_count < TREE_BATCH_MAX);
		n += object_append_items(o, UINT64_MAX, all + n);
	}
	for (unsigned i = 0; i < e->dirent_count; i++)
		all[n++] = (struct item_change){ .op = e->dirents[i].len ? ITEM_PUT : ITEM_DELETE,
			                         .key = e->dirents[i].key,
			                         .value = e->dirents[i].value,
			                         .len = e->dirents[i].len };
	for (unsigned i = 0; i < e->item_count; i++)
		all[n++] = e->items[i];
	if (e->tagged)
		all[n++] = (struct item_change){
			.op = ITEM_PUT, .key = e->tag_key, .value = e->tag_value, .len = sizeof(e->tag_value)
		};
	return n;
}

/* The tree has it: so have the objects. */
static void store(struct edit *e, struct edit_inode *ei, bool logged, uint64_t stamp) SYNC_REQUIRES(e->ds->items_lock)
{
	struct inode *i = &ei->o->inode;
	uint64_t change;

	if (ei->gone) {
		if (stamp)
			__atomic_store_n(&ei->o->stamp, stamp, __ATOMIC_SEQ_CST);
		ei->o->inode_gone = true;
		return;
	}
	if (ei->set & EDIT_MODE)
		STORE(i->mode, ei->to.mode);
	if (ei->set & EDIT_UID)
		STORE(i->uid, ei->to.uid);
	if (ei->set & EDIT_GID)
		STORE(i->gid, ei->to.gid);
	if (ei->set & EDIT_LINKS)
		STORE(i->link_count, ei->to.link_count);
	if (ei->set & EDIT_FLAGS)
		STORE(i->flags, ei->to.flags);
	if (ei->set & EDIT_SIZE) {
		STORE(i->size_bytes, ei->to.size_bytes);
		STORE(ei->o->write_end, ei->to.size_bytes);
		STORE(ei->o->stored_size, ei->to.size_bytes);
		object_append_stored(ei->o, UINT64_MAX);
	}
	if (ei->set & EDIT_ATIME)
		STORE(i->atime_ns, ei->to.atime_ns);
	if (ei->set & EDIT_MTIME)
		STORE(i->mtime_ns, ei->to.mtime_ns);
	if (ei->set & EDIT_PARENT)
		STORE(i->parent, ei->to.parent);
	if (ei->set & EDIT_PROJECT)
		STORE(i->project, ei->to.project);
	if (stamp)
		__atomic_store_n(&ei->o->stamp, stamp, __ATOMIC_SEQ_CST);
	STORE(i->ctime_ns, e->now_ns);
	change = __atomic_add_fetch(&i->change, 1, __ATOMIC_RELAXED);
	/* With data written meanwhile the counter is higher, and there is more to log. */
	if (logged && change == ei->to.change)
		STORE(ei->o->logged_change, change);
}

/* Does it concern what owners have? */
static bool moves_usage(const struct edit *e)
{
	for (unsigned i = 0; i < e->inode_count; i++)
		if (e->inodes[i].gone || e->inodes[i].is_new || e->inodes[i].set & EDIT_OWNERS)
			return true;
	return false;
}

/* May the owners have what the edit gives them? To be called after collect(). */
static int count_usage(const struct edit *e, struct quota_change *c) SYNC_REQUIRES(e->ds->items_lock)
{
	int rc = 0;

	for (unsigned i = 0; i < e->inode_count && !rc; i++) {
		const struct edit_inode *ei = &e->inodes[i];
		const struct inode *was = &ei->o->inode;
		int64_t blocks = (int64_t)LOAD(was->blocks);

		if (ei->is_new) {
			rc = quota_change_add(c, was, 1, blocks);
		} else if (ei->gone) {
			rc = quota_change_add(c, was, -1, -blocks);
		} else if (ei->set & EDIT_OWNERS) {
			rc = quota_change_add(c, was, -1, -blocks);
			if (!rc)
				rc = quota_change_add(c, &ei->to, 1, blocks);
		}
	}
	return rc ? rc : quota_change_check(c, e->object_delta);
}

/* Inside the gate. */
static void note_collapse(struct pool *p, uint64_t txg, bool logged)
{
	if (!logged)
		__atomic_store_n(&p->unlogged_collapse_txg, txg, __ATOMIC_RELAXED);
	__atomic_store_n(&p->newest_collapse_txg, txg, __ATOMIC_RELAXED);
	__atomic_add_fetch(&p->collapse_count, 1, __ATOMIC_RELEASE);
}

static int run_once(struct edit *e, uint64_t txg, struct wal_ticket *ticket, struct wfs3_key *ret_missing)
{
	struct item_change all[TREE_BATCH_MAX + 1];
	struct quota_change usage = { .q = NULL };
	struct dataset *ds = e->ds;
	unsigned count;
	int ret = 0;

	sync_mutex_lock(&e->ds->items_lock);
	count = collect(e, all);
	if (moves_usage(e)) {
		quota_change_begin(ds, &usage);
		ret = count_usage(e, &usage);
	}
	if (!ret)
		ret = tree_apply(ds->tree, txg, all, count, ret_missing);
	if (!ret) {
		struct wal_record r = { .type = WAL_ITEMS, .txg = txg, .dataset = ds->id, .items = all };
		uint64_t stamp = 0;
		bool logged;

		if (__atomic_load_n(&ds->tx_count, __ATOMIC_SEQ_CST))
			stamp = __atomic_add_fetch(&ds->tx_clock, 1, __ATOMIC_SEQ_CST);
		if (e->truncates)
			all[count++] = e->truncate;
		r.item_count = count;
		logged = wal_append(ds->pool->wal, ticket, &r);
		if (e->collapses)
			note_collapse(ds->pool, txg, logged);
		if (e->replaces)
			__atomic_store_n(&ds->pool->newest_replace_txg, txg, __ATOMIC_RELAXED);
		for (unsigned i = 0; i < e->inode_count; i++)
			store(e, &e->inodes[i], logged, stamp);
		ds->object_count += (uint64_t)(int64_t)e->object_delta;
		txg_changed(ds->pool, ds, txg);
		if (e->tagged)
			__atomic_store_n(&ds->has_results, true, __ATOMIC_RELEASE);
	}
	/* Not before the objects have their owners: what is mapped meanwhile counts for the same ones. */
	quota_change_end(&usage, !ret);
	sync_mutex_unlock(&e->ds->items_lock);
	return ret;
}

static size_t record_bytes(const struct edit *e)
{
	size_t n = WAL_RECORD_BYTES + e->inode_count * WAL_ITEM_BYTES(INODE_BYTES) + WAL_ITEM_BYTES(0) +
	           WAL_ITEM_BYTES(RESULT_BYTES) * (1 + OBJECT_APPENDS_MAX);

	for (unsigned i = 0; i < e->dirent_count; i++)
		n += WAL_ITEM_BYTES(e->dirents[i].len);
	for (unsigned i = 0; i < e->item_count; i++)
		n += WAL_ITEM_BYTES(e->items[i].len);
	return n;
}

/* Room in the log. False: there is none without waiting. */
static bool take_ticket(struct pool *p, size_t bytes, struct wal_ticket *ret)
{
	if (nowait_here())
		return wal_try_begin(p->wal, bytes, ret);
	wal_begin(p->wal, bytes, ret);
	return true;
}

int edit_run(struct edit *e)
{
	struct pool *p = e->ds->pool;
	size_t bytes = record_bytes(e);
	int ret = pool_check_writable(p);

	while (!ret) {
		struct wfs3_key missing;
		struct wal_ticket ticket;
		uint64_t txg;

		if (!take_ticket(p, bytes, &ticket)) {
			ret = -EAGAIN;
			break;
		}
		txg = txg_enter(p);
		ret = run_once(e, txg, &ticket, &missing);
		txg_exit(p);
		wal_end(p->wal, &ticket);
		if (ret != -EAGAIN)
			break;
		ret = tree_fetch(e->ds->tree, &missing);
	}
	dataset_note(e->ds, DATASET_CHANGE, ret, 0);
	return ret ? err_add(ret, "change file tree %" PRIu64, e->ds->id) : 0;
}
