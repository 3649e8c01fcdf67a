/* SPDX-License-Identifier: BSD-3-Clause */
/* What a transaction's overlay becomes: items of the tree. Nothing is changed here. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/wfs3/filetx.h"

bool filetx_writes(const struct filetx_object *x)
{
	return x->o ? x->changed || x->dir_changed : x->cur.link_count > 0;
}

/* ---- inodes ---- */

static void set_fields(const struct filetx_object *x, struct inode *v)
{
	v->mode = x->set & EDIT_MODE ? x->cur.mode : v->mode;
	v->uid = x->set & EDIT_UID ? x->cur.uid : v->uid;
	v->gid = x->set & EDIT_GID ? x->cur.gid : v->gid;
	v->flags = x->set & EDIT_FLAGS ? x->cur.flags : v->flags;
	v->atime_ns = x->set & EDIT_ATIME ? x->cur.atime_ns : v->atime_ns;
	v->project = x->set & EDIT_PROJECT ? x->cur.project : v->project;
	v->parent = x->set & EDIT_PARENT ? x->cur.parent : v->parent;
}

void filetx_inode(struct filetx_object *x, int64_t now_ns, struct inode *ret)
{
	bool is_dir = x->node.type == VFS_TYPE_DIR;

	if (x->o)
		object_get_inode(x->o, ret);
	else
		*ret = x->cur;
	set_fields(x, ret);
	if (is_dir) {
		ret->size_bytes += (uint64_t)x->entries;
		ret->link_count = x->cur.link_count ? ret->link_count + (uint32_t)x->subdirs : 0;
	} else {
		ret->link_count = x->cur.link_count;
	}
	if (x->node.type == VFS_TYPE_FILE && x->cur.link_count && (x->set & EDIT_SIZE || x->page_count))
		ret->size_bytes = x->cur.size_bytes;
	if (x->set & EDIT_MTIME)
		ret->mtime_ns = x->cur.mtime_ns;
	else if (x->dir_changed)
		ret->mtime_ns = now_ns;
	ret->ctime_ns = now_ns;
	ret->change += x->name_changes ? x->name_changes : 1;
}

/* ---- the list ---- */

/* Memory for a value, which lives as long as the list. */
static uint8_t *new_value(struct filetx_items *it, size_t len)
{
	uint8_t *v;

	if (it->value_count == it->value_capacity) {
		unsigned capacity = it->value_capacity ? 2 * it->value_capacity : 16;
		uint8_t **values = realloc(it->values, capacity * sizeof(*values));

		if (!values)
			return NULL;
		it->values = values;
		it->value_capacity = capacity;
	}
	v = malloc(len + 1);
	if (v)
		it->values[it->value_count++] = v;
	return v;
}

static int no_memory(void)
{
	return err_set(-ENOMEM, "no memory to commit a transaction");
}

static int add(struct filetx_items *it, enum item_op op, struct wfs3_key key, const void *value, size_t len)
{
	if (it->count == it->capacity) {
		unsigned capacity = it->capacity ? 2 * it->capacity : 32;
		struct item_change *all = realloc(it->all, capacity * sizeof(*all));

		if (!all)
			return no_memory();
		it->all = all;
		it->capacity = capacity;
	}
	it->all[it->count++] = (struct item_change){ .op = op, .key = key, .value = value, .len = len };
	it->bytes += WAL_ITEM_BYTES(len);
	return 0;
}

void filetx_items_done(struct filetx_items *it)
{
	for (unsigned i = 0; i < it->value_count; i++)
		free(it->values[i]);
	free(it->values);
	free(it->all);
}

/* ---- objects ---- */

static int add_inode(struct filetx_items *it, struct filetx_object *x)
{
	x->value = new_value(it, INODE_BYTES);
	if (!x->value)
		return no_memory();
	return add(it, ITEM_PUT, (struct wfs3_key){ .object = x->number, .kind = WFS3_KIND_INODE }, x->value,
	           INODE_BYTES);
}

static int add_target(struct filetx_items *it, const struct filetx_object *x)
{
	int rc = 0;

	for (unsigned part = 0; (size_t)part * TREE_ITEM_BYTES_MAX < x->cur.size_bytes && !rc; part++) {
		size_t at = (size_t)part * TREE_ITEM_BYTES_MAX;

		rc = add(it, ITEM_PUT, filetree_target_key(x->number, part), x->target + at,
		         min_u64(TREE_ITEM_BYTES_MAX, x->cur.size_bytes - at));
	}
	return rc;
}

static int add_xattr(struct filetx_items *it, const struct filetx_object *x, const struct filetx_xattr *a)
{
	size_t name_len = strlen(a->name), from;
	uint64_t hash = xattr_hash(x->tx->ds->hash_key, a->name, name_len);
	unsigned parts = a->value ? xattr_parts(name_len, a->len) : 0, old_parts = 0;
	int rc = x->o ? filetree_xattr_items(x->o, a->name, &old_parts) : 0;

	if (!rc && a->value) {
		uint8_t *head = new_value(it, XATTR_PART_BYTES);

		if (!head)
			return no_memory();
		rc = add(it, ITEM_PUT, xattr_key(x->number, hash, 0), head,
		         xattr_head_encode(a->name, name_len, a->value, a->len, head));
		from = xattr_head_len(name_len, a->len);
		for (unsigned part = 1; part < parts && !rc; part++) {
			size_t n = min_u64(XATTR_PART_BYTES, a->len - from);

			rc = add(it, ITEM_PUT, xattr_key(x->number, hash, part), a->value + from, n);
			from += n;
		}
	}
	for (unsigned part = parts; part < old_parts && !rc; part++)
		rc = add(it, ITEM_DELETE, xattr_key(x->number, hash, part), NULL, 0);
	return rc;
}

static bool shrinks(const struct filetx_object *x)
{
	return x->o && x->node.type == VFS_TYPE_FILE && x->cur.link_count && x->cur.size_bytes < x->base.size_bytes;
}

static int add_object(struct filetx_items *it, struct filetx_object *x)
{
	bool removed = !x->cur.link_count;
	int rc = add_inode(it, x);

	if (!rc && x->target)
		rc = add_target(it, x);
	for (const struct filetx_xattr *a = x->xattrs; a && !rc && !removed; a = a->next)
		rc = add_xattr(it, x, a);
	if (!rc && (removed || (shrinks(x) && filetree_has_data(x->o))))
		rc = add(it, ITEM_PUT, filetree_orphan_key(x->number), "", 0);
	return rc;
}

/* ---- names ---- */

struct group {
	uint64_t dir, hash;
	const struct filetx_name *n;
};

static int by_place(const void *a, const void *b)
{
	const struct group *x = a, *y = b;

	if (x->dir != y->dir)
		return x->dir < y->dir ? -1 : 1;
	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	/* What goes makes room for what comes. */
	return (x->n->object != 0) - (y->n->object != 0);
}

/* Names whose hashes are equal share an item. */
static int add_entries(struct filetx_items *it, struct filetx *tx, const struct group *g, unsigned count)
{
	struct wfs3_key key = dirent_key(g->dir, g->hash);
	uint8_t *value = new_value(it, DIRENT_VALUE_MAX), old[DIRENT_VALUE_MAX];
	size_t len = 0;
	int rc = 0;

	if (!value)
		return no_memory();
	if (g->n->dir->o)
		rc = edit_read(tx->ds, &key, value, DIRENT_VALUE_MAX, &len);
	if (rc == -ENOENT)
		len = 0;
	else if (rc)
		return rc == -ERANGE ? err_set(-EUCLEAN, "an entry of %zu bytes", len) : rc;
	for (unsigned i = 0; i < count; i++) {
		const struct filetx_name *n = g[i].n;
		struct dirent d = { .object = n->object, .type = n->type, .name_len = n->name_len, .name = n->name };

		memcpy(old, value, len);
		rc = dirent_edit(old, len, n->name, n->name_len, n->object ? &d : NULL, value);
		if (rc < 0)
			return err_add(rc, "directory %" PRIu64 " of dataset %" PRIu64, g->dir, tx->ds->id);
		len = (size_t)rc;
	}
	return add(it, len ? ITEM_PUT : ITEM_DELETE, key, value, len);
}

static int add_names(struct filetx_items *it, struct filetx *tx)
{
	unsigned count = 0, n = 0;
	struct group *all;
	int rc = 0;

	for (const struct filetx_name *name = tx->names; name; name = name->next)
		count += name->object != name->base_object;
	if (!count)
		return 0;
	all = calloc(count, sizeof(*all));
	if (!all)
		return no_memory();
	for (const struct filetx_name *name = tx->names; name; name = name->next)
		if (name->object != name->base_object)
			all[n++] = (struct group){ .dir = name->dir->number,
				                   .hash = dirent_hash(tx->ds->hash_key, name->name, name->name_len),
				                   .n = name };
	qsort(all, count, sizeof(*all), by_place);
	for (unsigned from = 0, to; from < count && !rc; from = to) {
		for (to = from + 1; to < count && all[to].dir == all[from].dir && all[to].hash == all[from].hash;)
			to++;
		rc = add_entries(it, tx, &all[from], to - from);
	}
	free(all);
	return rc;
}

/* ---- all of it ---- */

static int add_outcomes(struct filetx_items *it, struct filetx *tx)
{
	struct wfs3_key forget[FILETX_FORGET_MAX];
	uint8_t *value = new_value(it, OUTCOME_ITEM_BYTES);
	int rc = value ? filetx_forget_outcomes(tx->ds, forget, &it->forgotten) : no_memory();

	if (rc)
		return rc;
	outcome_item_encode(tx->committed_ns, value);
	rc = add(it, ITEM_PUT, filetx_outcome_key(tx->id), value, OUTCOME_ITEM_BYTES);
	for (unsigned i = 0; i < it->forgotten && !rc; i++)
		rc = add(it, ITEM_DELETE, forget[i], NULL, 0);
	return rc;
}

_Static_assert(RESULT_BYTES + ANSWER_PART_BYTES <= TREE_ITEM_BYTES_MAX, "a part of an answer is an item");

static int add_result(struct filetx_items *it, const struct filetx *tx, struct result_item *r, uint64_t place)
{
	uint8_t *value = new_value(it, RESULT_BYTES + r->part_len);

	if (!value)
		return no_memory();
	result_encode(r, value);
	return add(it, ITEM_PUT, result_key(tx->answer->tag->client, place), value, RESULT_BYTES + r->part_len);
}

/* The answer to its request, in parts; without them when they make it too large for the log. */
static int add_answer(struct filetx_items *it, const struct filetx *tx)
{
	const struct vfs_answer *a = tx->answer;
	struct result_item r;
	size_t len = a ? a->len : 0, done = 0;
	uint64_t place;
	int rc = 0;

	if (!a)
		return 0;
	always(len <= VFS_ANSWER_MAX);
	if (it->bytes + len + VFS_ANSWER_PLACES * WAL_ITEM_BYTES(RESULT_BYTES) > wal_ticket_max(tx->ds->pool->wal))
		len = 0;
	place = a->tag->place;
	r = (struct result_item){ .sequence = a->tag->sequence,
		                  .kind = a->tag->kind,
		                  .number = len,
		                  .expires_s = tx->committed_ns / SYNC_NS_PER_S + a->tag->lifetime_s };
	memcpy(r.client, a->tag->client, sizeof(r.client));
	do {
		r.part = (const uint8_t *)a->p + done;
		r.part_len = min_u64(ANSWER_PART_BYTES, len - done);
		done += r.part_len;
		rc = add_result(it, tx, &r, place++);
	} while (done < len && !rc);
	return rc;
}

static int by_key(const void *a, const void *b)
{
	const struct item_change *x = a, *y = b;

	return wfs3_key_cmp(&x->key, &y->key);
}

int filetx_collect(struct filetx *tx, struct filetx_items *it)
{
	int rc = 0;

	*it = (struct filetx_items){ .bytes = WAL_UNIT_BYTES };
	for (struct filetx_object *x = tx->objects; x && !rc; x = x->next)
		if (filetx_writes(x))
			rc = add_object(it, x);
	if (!rc)
		rc = add_names(it, tx);
	if (!rc)
		rc = add_outcomes(it, tx);
	if (!rc)
		rc = add_answer(it, tx);
	if (rc)
		return rc;
	it->tree_count = it->count;
	qsort(it->all, it->count, sizeof(it->all[0]), by_key);
	for (struct filetx_object *x = tx->objects; x && !rc; x = x->next)
		if (filetx_writes(x) && shrinks(x))
			rc = add(it, ITEM_TRUNCATE,
			         object_cell_key(x->o, div_round_up_u64(x->cur.size_bytes, WFS3_BLOCK_BYTES)), NULL, 0);
	return rc;
}
