/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a transaction has seen of the tree outside, and whether it is still so (filetx.h). Items and stamps change
 * together under the tree's items lock, so whoever holds it sees a moment between two changes; what is written to files
 * is stamped before it begins, and drained where it is read.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/mutate.h"
#include "core/fs/wfs3/filetx.h"

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define STAMP(o) __atomic_load_n(&(o)->stamp, __ATOMIC_SEQ_CST)

/* What a name means in the tree, with ds->items_lock. 0; -EAGAIN: *@ret_missing is not in memory. */
static int name_now(struct dataset *ds, uint64_t dir, const char *name, size_t name_len, uint64_t *ret_object,
                    uint8_t *ret_type, struct wfs3_key *ret_missing)
{
	uint8_t buf[DIRENT_VALUE_MAX];
	struct dirent d;
	size_t len = 0;
	int rc;

	*ret_missing = dirent_key(dir, dirent_hash(ds->hash_key, name, name_len));
	*ret_object = 0;
	*ret_type = 0;
	rc = tree_get(ds->tree, ret_missing, buf, sizeof(buf), &len);
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	rc = dirent_find(buf, len, name, name_len, &d, NULL);
	if (rc < 0)
		return err_add(rc, "directory %" PRIu64 " of dataset %" PRIu64, dir, ds->id);
	if (rc) {
		*ret_object = d.object;
		*ret_type = d.type;
	}
	return 0;
}

/* ---- is it still so? ---- */

/* A directory in which names came or went is still the same, unless they were looked at as a whole. */
static bool same_dir(const struct filetx_object *x)
{
	const struct inode *i = &x->o->inode;

	return x->node.type == VFS_TYPE_DIR && !x->strict && LOAD(i->mode) == x->base.mode &&
	       LOAD(i->uid) == x->base.uid && LOAD(i->gid) == x->base.gid && LOAD(i->flags) == x->base.flags &&
	       LOAD(i->project) == x->base.project && LOAD(i->parent) == x->base.parent && LOAD(i->link_count);
}

int filetx_note_conflict(struct filetx *tx, uint64_t object, const struct filetx_name *n)
{
	tx->conflict = (struct vfs_fid){ .fsid = filetree_fsid(tx->ds), .object = object };
	if (n)
		memcpy(tx->conflict_name, n->name, n->name_len);
	return -EBUSY;
}

static int validate_object(struct filetx_object *x)
{
	uint64_t stamp = STAMP(x->o);

	if (stamp == x->stamp)
		return 0;
	if (!same_dir(x))
		return filetx_note_conflict(x->tx, x->number, NULL);
	x->stamp = stamp;
	return 0;
}

static int validate_name(struct filetx *tx, struct filetx_name *n, struct wfs3_key *ret_missing)
{
	uint64_t stamp = STAMP(n->dir->o), object;
	uint8_t type;
	int rc;

	if (stamp == n->stamp)
		return 0;
	rc = name_now(tx->ds, n->dir->number, n->name, n->name_len, &object, &type, ret_missing);
	if (!rc && object != n->base_object)
		rc = filetx_note_conflict(tx, n->dir->number, n);
	if (!rc)
		n->stamp = stamp;
	return rc;
}

int filetx_validate(struct filetx *tx, bool all, struct wfs3_key *ret_missing)
{
	int rc = 0;

	for (struct filetx_object *x = tx->objects; x && !rc; x = x->next)
		if (x->o && (all || x->changed || x->dir_changed))
			rc = validate_object(x);
	for (struct filetx_name *n = tx->names; n && !rc; n = n->next)
		if (n->dir->o && (all || n->object != n->base_object))
			rc = validate_name(tx, n, ret_missing);
	return rc;
}

/* Something with this stamp is going to be read. With ds->items_lock; as filetx_validate(). */
static int reach(struct filetx *tx, uint64_t stamp, struct wfs3_key *ret_missing)
{
	uint64_t now;
	int rc;

	if (stamp <= tx->snapshot || MUTATE(TX_MOMENTS_MIXED))
		return 0;
	now = __atomic_load_n(&tx->ds->tx_clock, __ATOMIC_SEQ_CST);
	rc = filetx_validate(tx, true, ret_missing);
	if (!rc)
		tx->snapshot = now;
	return rc;
}

/* ---- seeing ---- */

void filetx_drain(struct object *o)
{
	sync_rwlock_wrlock(&o->io_lock);
	sync_rwlock_wrunlock(&o->io_lock);
}

/* With the data's writers kept away, so that the size is that of what was written. */
static int see_once(struct filetx_object *x, struct wfs3_key *ret_missing) SYNC_NO_ANALYSIS;
static int see_once(struct filetx_object *x, struct wfs3_key *ret_missing)
{
	struct filetx *tx = x->tx;
	struct object *o = x->o;
	bool is_file = x->node.type == VFS_TYPE_FILE;
	uint64_t stamp;
	int rc;

	if (is_file)
		sync_rwlock_wrlock(&o->io_lock);
	sync_mutex_lock(&tx->ds->items_lock);
	stamp = x->stamp = STAMP(o);
	object_get_inode(o, &x->base);
	x->base.size_bytes = LOAD(o->inode.size_bytes);
	rc = reach(tx, stamp, ret_missing);
	sync_mutex_unlock(&tx->ds->items_lock);
	if (is_file)
		sync_rwlock_wrunlock(&o->io_lock);
	return rc;
}

int filetx_see(struct filetx_object *x)
{
	struct filetx *tx = x->tx;
	struct wfs3_key missing;
	int rc = dataset_enter(tx->ds, 0);

	if (rc)
		return rc;
	while ((rc = see_once(x, &missing)) == -EAGAIN) {
		rc = tree_fetch(tx->ds->tree, &missing);
		if (rc)
			break;
	}
	dataset_exit(tx->ds);
	if (rc == -EBUSY)
		return filetx_fail(tx, rc);
	if (!rc && !x->base.link_count)
		rc = filetx_conflict(tx, x->number, NULL, 0);
	if (!rc)
		x->cur = x->base;
	return rc;
}

static int see_whole_once(struct filetx_object *x, struct wfs3_key *ret_missing)
{
	struct filetx *tx = x->tx;
	struct object *o = x->o;
	uint64_t stamp;
	int rc = 0;

	sync_mutex_lock(&tx->ds->items_lock);
	stamp = STAMP(o);
	if (!same_dir(x))
		rc = filetx_note_conflict(tx, x->number, NULL);
	if (!rc)
		rc = reach(tx, stamp, ret_missing);
	if (!rc) {
		x->stamp = stamp;
		x->strict = true;
		x->base.size_bytes = x->cur.size_bytes = LOAD(o->inode.size_bytes);
		x->base.link_count = x->cur.link_count = LOAD(o->inode.link_count);
	}
	sync_mutex_unlock(&tx->ds->items_lock);
	return rc;
}

int filetx_see_whole(struct filetx_object *x)
{
	struct filetx *tx = x->tx;
	struct wfs3_key missing;
	int rc;

	if (!x->o || x->strict || x->node.type != VFS_TYPE_DIR)
		return 0;
	rc = dataset_enter(tx->ds, 0);
	if (rc)
		return rc;
	while ((rc = see_whole_once(x, &missing)) == -EAGAIN) {
		rc = tree_fetch(tx->ds->tree, &missing);
		if (rc)
			break;
	}
	dataset_exit(tx->ds);
	return rc == -EBUSY ? filetx_fail(tx, rc) : rc;
}

int filetx_check_seen(struct filetx_object *x)
{
	return STAMP(x->o) == x->stamp ? 0 : filetx_conflict(x->tx, x->number, NULL, 0);
}

static struct filetx_name *find_name(struct filetx_object *dir, uint64_t hash, const char *name, size_t name_len)
{
	struct filetx_name *n = dir->tx->name_buckets[hash % FILETX_BUCKETS];

	while (n && (n->dir != dir || n->name_len != name_len || memcmp(n->name, name, name_len)))
		n = n->hash_next;
	return n;
}

/* What it means outside. */
static int read_name(struct filetx_name *n)
{
	struct filetx *tx = n->dir->tx;
	struct dataset *ds = tx->ds;
	int rc = dataset_enter(ds, 0);

	if (rc)
		return rc;
	do {
		struct wfs3_key missing;

		sync_mutex_lock(&ds->items_lock);
		n->stamp = STAMP(n->dir->o);
		rc = name_now(ds, n->dir->number, n->name, n->name_len, &n->base_object, &n->base_type, &missing);
		if (!rc)
			rc = reach(tx, n->stamp, &missing);
		sync_mutex_unlock(&ds->items_lock);
		if (rc == -EAGAIN) {
			rc = tree_fetch(ds->tree, &missing);
			rc = rc ? rc : -EAGAIN;
		}
	} while (rc == -EAGAIN);
	dataset_exit(ds);
	return rc == -EBUSY ? filetx_fail(tx, rc) : rc;
}

int filetx_name(struct filetx_object *dir, const char *name, size_t name_len, struct filetx_name **ret)
{
	struct filetx *tx = dir->tx;
	uint64_t hash = dirent_hash(tx->ds->hash_key, name, name_len);
	struct filetx_name *n = find_name(dir, hash, name, name_len), **bucket;
	int rc;

	if (n) {
		*ret = n;
		return 0;
	}
	if (!name_len || name_len > DIRENT_NAME_MAX)
		return err_set(-ENAMETOOLONG, "a name of %zu bytes", name_len);
	rc = filetx_charge(tx, sizeof(*n) + name_len + 1);
	if (rc)
		return rc;
	n = calloc(1, sizeof(*n) + name_len + 1);
	if (!n)
		return err_set(-ENOMEM, "no memory for a name of a transaction");
	n->dir = dir;
	n->name_len = (uint8_t)name_len;
	memcpy(n->name, name, name_len);
	rc = dir->o ? read_name(n) : 0;
	if (rc) {
		free(n);
		return rc;
	}
	n->object = n->base_object;
	n->type = n->base_type;
	bucket = &tx->name_buckets[hash % FILETX_BUCKETS];
	n->hash_next = *bucket;
	*bucket = n;
	n->next = tx->names;
	tx->names = n;
	*ret = n;
	return 0;
}
