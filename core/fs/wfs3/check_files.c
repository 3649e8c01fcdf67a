/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checking a file tree. First each item by itself and what belongs to one object, as they come; then what they say of
 * each other: entries lead to objects, objects have the entries that their link counts say, every directory is in the
 * one that it names, and all are below the top. For that an object takes 32 bytes of memory and an entry 24.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/wfs3/cell.h"
#include "core/fs/wfs3/check_priv.h"
#include "core/fs/wfs3/check_quota.h"
#include "core/fs/wfs3/dirent.h"
#include "core/fs/wfs3/filetree.h"

#define NONE UINT64_MAX

/* An object that has an inode; in ascending order of numbers. */
struct known {
	uint64_t object;
	uint64_t parent; /* of a directory */
	uint32_t link_count;
	uint32_t subdirs; /* of a directory */
	uint8_t type; /* enum vfs_type */
	bool is_reached, is_seen;
};

struct entry {
	uint64_t object, dir;
	uint8_t type;
};

struct array {
	void *items;
	size_t count, room, size;
};

struct files {
	struct check *c;
	struct check_dataset *ds;
	const struct dataset_item *item;
	struct check_quota *quota;
	struct array known, entries, orphans;
	uint64_t object_max;

	/* The object whose items come */
	uint64_t object;
	struct inode inode;
	uint64_t blocks, entry_count, inline_bytes;
	bool has_inline, first_mapped;
	/* The extended attribute whose parts come */
	uint64_t xattr_hash;
	uint32_t xattr_left; /* bytes that are still to come */
	unsigned xattr_part;
};

static void *array_add(struct array *a)
{
	if (a->count == a->room) {
		size_t room = a->room ? 2 * a->room : 256;
		void *p = realloc(a->items, room * a->size);

		if (!p)
			return NULL;
		a->items = p;
		a->room = room;
	}
	return (char *)a->items + a->count++ * a->size;
}

static int no_memory(void)
{
	return err_set(-ENOMEM, "no memory to check a file tree");
}

static void bad(struct files *f, enum pool_finding_kind kind, uint64_t object, const char *why)
{
	check_in_object(check_damage(f->c, kind, "%s", why), f->ds, object, 0);
}

static int compare_numbers(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static bool is_orphan(const struct files *f, uint64_t object)
{
	return f->orphans.count &&
	       bsearch(&object, f->orphans.items, f->orphans.count, sizeof(uint64_t), compare_numbers);
}

static struct known *find(const struct files *f, uint64_t object)
{
	return f->known.count ? bsearch(&object, f->known.items, f->known.count, sizeof(struct known), compare_numbers)
	                      : NULL;
}

/* ---- items, as they come ---- */

/* Is the object (or the whole tree) being given back? That goes in steps: any of its items may be gone already. */
static bool is_going(const struct files *f)
{
	return f->ds->state != DATASET_STATE_LIVE || (!f->inode.link_count && is_orphan(f, f->object));
}

/* All items of an object were seen. */
static int end_object(struct files *f)
{
	const struct inode *i = &f->inode;
	int rc;

	/* Of a deleted tree, any part may be gone already. */
	if (!f->object || !f->ds->has_inode || f->ds->broken || f->ds->state != DATASET_STATE_LIVE)
		return 0;
	rc = check_quota_add(f->quota, i, f->blocks);
	if (i->has_inline != f->has_inline || (f->has_inline && f->first_mapped))
		bad(f, POOL_FINDING_INODE, f->object, "its contents are not where its inode says");
	if (f->blocks != i->blocks)
		bad(f, POOL_FINDING_COUNTER, f->object, "its inode has another number of blocks than are mapped");
	if (S_ISDIR(i->mode) && f->entry_count != i->size_bytes)
		bad(f, POOL_FINDING_COUNTER, f->object,
		    "the directory has another number of entries than its inode says");
	if (is_going(f))
		return rc;
	if (S_ISLNK(i->mode) && f->inline_bytes != i->size_bytes)
		bad(f, POOL_FINDING_INODE, f->object,
		    "the target of the symbolic link is not as long as its inode says");
	if (f->xattr_left)
		bad(f, POOL_FINDING_ITEM, f->object, "an extended attribute is not whole");
	return rc;
}

static int take_inode(struct files *f, const struct wfs3_key *key, const void *value, size_t len)
{
	char why[CHECK_WHY_BYTES];
	struct known *k;
	int rc = inode_decode(value, len, &f->inode);

	if (!rc && key->offset)
		rc = err_set(-EUCLEAN, "an inode in a wrong place");
	if (!rc && key->object == WFS3_ROOT_OBJECT && (!S_ISDIR(f->inode.mode) || f->inode.parent != WFS3_ROOT_OBJECT))
		rc = err_set(-EUCLEAN, "the top is no directory, or in another one");
	if (rc) {
		check_bad_item(f->c, f->ds, key, POOL_FINDING_INODE, check_why(rc, why));
		return 0;
	}
	f->ds->has_inode = true;
	f->ds->size_bytes = is_orphan(f, key->object) ? NONE : f->inode.size_bytes;
	if (f->c->scrub)
		return 0;
	k = array_add(&f->known);
	if (!k)
		return no_memory();
	*k = (struct known){ .object = key->object,
		             .parent = f->inode.parent,
		             .link_count = f->inode.link_count,
		             .type = (uint8_t)filetree_type(f->inode.mode) };
	return 0;
}

static void take_xattr(struct files *f, const struct wfs3_key *key, const void *value, size_t len)
{
	char why[CHECK_WHY_BYTES];
	struct xattr_head h;
	int rc = 0;

	if (is_going(f))
		return;
	if (f->xattr_left) {
		if (key->offset != f->xattr_hash + f->xattr_part || len != min_u64(f->xattr_left, XATTR_PART_BYTES)) {
			rc = err_set(-EUCLEAN, "a part of an extended attribute is missing");
			f->xattr_left = 0;
		} else {
			f->xattr_left -= (uint32_t)len;
			f->xattr_part++;
		}
	} else {
		rc = xattr_head_decode(value, len, &h);
		if (!rc && xattr_hash(f->item->hash_key, h.name, h.name_len) != key->offset)
			rc = err_set(-EUCLEAN, "an extended attribute in a wrong place");
		if (!rc) {
			f->xattr_hash = key->offset;
			f->xattr_part = 1;
			f->xattr_left = h.value_len - h.head_len;
		}
	}
	if (rc)
		check_bad_item(f->c, f->ds, key, POOL_FINDING_ITEM, check_why(rc, why));
}

static int take_entries(struct files *f, const struct wfs3_key *key, const void *value, size_t len)
{
	char why[CHECK_WHY_BYTES];
	struct dirent d;
	size_t pos = 0;
	int rc;

	while ((rc = dirent_next(value, len, &pos, &d)) > 0) {
		struct entry *e;

		if (dirent_hash(f->item->hash_key, d.name, d.name_len) != key->offset) {
			rc = err_set(-EUCLEAN, "a name in a wrong place");
			break;
		}
		f->entry_count++;
		e = array_add(&f->entries);
		if (!e)
			return no_memory();
		*e = (struct entry){ .object = d.object, .dir = key->object, .type = d.type };
	}
	if (!rc && !len)
		rc = err_set(-EUCLEAN, "an item without an entry");
	if (!rc && (!f->ds->has_inode || !S_ISDIR(f->inode.mode)))
		rc = err_set(-EUCLEAN, "an entry in something that is no directory");
	if (rc)
		check_bad_item(f->c, f->ds, key, POOL_FINDING_ENTRY, check_why(rc, why));
	return 0;
}

static int take_orphan(struct files *f, const struct wfs3_key *key, const void *value, size_t len)
{
	struct collapse c;
	uint64_t *p;

	if (key->object || !key->offset || (len && collapse_decode(value, len, &c))) {
		check_bad_item(f->c, f->ds, key, POOL_FINDING_ITEM, "an orphan in a wrong place");
		return 0;
	}
	p = array_add(&f->orphans);
	if (!p)
		return no_memory();
	*p = key->offset;
	return 0;
}

static int take_outcome(struct files *f, const struct wfs3_key *key, const void *value, size_t len)
{
	uint64_t time_ns;

	if (outcome_item_decode(value, len, &time_ns))
		check_bad_item(f->c, f->ds, key, POOL_FINDING_ITEM, "what remains of a transaction is malformed");
	return 0;
}

/* Of a file. Without the flag in its inode they are left over, and do not count. */
static void take_contents(struct files *f, const struct wfs3_key *key, size_t len)
{
	if (key->offset || !len || len > INLINE_BYTES_MAX)
		check_bad_item(f->c, f->ds, key, POOL_FINDING_ITEM, "contents of a small file in a wrong place");
	if (!f->inode.has_inline)
		return;
	if (len > f->ds->size_bytes)
		bad(f, POOL_FINDING_SIZE, f->object, "there are contents beyond its end");
	f->has_inline = true;
	f->blocks++;
	f->ds->mapped_blocks++;
}

static int take_cell(struct files *f, const struct wfs3_key *key, const void *value, size_t len, uint64_t node_birth)
{
	struct cell cell;
	unsigned mapped;
	int rc;

	if (check_is_enough(f->c, f->ds, key))
		return CHECK_ENOUGH;
	if (!f->c->scrub && f->ds->has_inode && !S_ISREG(f->inode.mode))
		check_bad_item(f->c, f->ds, key, POOL_FINDING_CELL, "a cell of something that is no file");
	rc = check_cell(f->c, f->ds, key, value, len, node_birth, &mapped);
	f->blocks += mapped;
	if (!key->offset && f->has_inline && !cell_decode(value, len, &cell))
		f->first_mapped = cell.blocks[0].addr;
	return rc;
}

/* Results of requests belong to no object. */
static void take_result(struct files *f, const struct wfs3_key *key, const void *value, size_t len)
{
	char why[CHECK_WHY_BYTES];
	struct result_item r;
	int rc = result_decode(key, value, len, &r);

	if (rc)
		check_bad_item(f->c, f->ds, key, POOL_FINDING_ITEM, check_why(rc, why));
}

static int take_item(void *ctx, const struct wfs3_key *key, const void *value, size_t len, uint64_t node_birth)
{
	struct files *f = ctx;
	int rc = 0;

	if (key->kind == WFS3_KIND_RESULT) {
		take_result(f, key, value, len);
		return 0;
	}
	if (key->object != f->object) {
		if (!f->c->scrub)
			rc = end_object(f);
		if (rc)
			return rc;
		f->object = key->object;
		f->ds->has_inode = false;
		f->ds->size_bytes = NONE;
		f->has_inline = f->first_mapped = false;
		f->blocks = f->entry_count = f->inline_bytes = f->xattr_left = 0;
		f->object_max = max_u64(f->object_max, key->object);
	}
	if (key->kind == WFS3_KIND_CELL && key->object)
		return take_cell(f, key, value, len, node_birth);
	if (f->c->scrub)
		return 0;
	if (key->kind == WFS3_KIND_ORPHAN)
		return take_orphan(f, key, value, len);
	if (key->kind == WFS3_KIND_OUTCOME && !key->object)
		return take_outcome(f, key, value, len);
	if (key->kind == WFS3_KIND_INODE && key->object)
		return take_inode(f, key, value, len);
	if (key->kind == WFS3_KIND_DIRENT && key->object)
		return take_entries(f, key, value, len);
	if (!f->ds->has_inode)
		check_bad_item(f->c, f->ds, key, POOL_FINDING_ITEM, "an item of an object that has no inode");
	else if (key->kind == WFS3_KIND_XATTR)
		take_xattr(f, key, value, len);
	else if (key->kind == WFS3_KIND_INLINE && S_ISLNK(f->inode.mode))
		f->inline_bytes += len;
	else if (key->kind == WFS3_KIND_INLINE && S_ISREG(f->inode.mode))
		take_contents(f, key, len);
	else
		check_bad_item(f->c, f->ds, key, POOL_FINDING_ITEM, "an item that such an object does not have");
	return 0;
}

/* ---- what items say of each other ---- */

static int compare_entries(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->object != y->object)
		return x->object < y->object ? -1 : 1;
	return x->dir < y->dir ? -1 : x->dir > y->dir;
}

static void check_links(struct files *f, struct known *k, const struct entry *entries, size_t count)
{
	bool is_dir = k->type == VFS_TYPE_DIR, is_top = k->object == WFS3_ROOT_OBJECT;
	uint64_t want = is_dir ? 2 + (uint64_t)k->subdirs : count;

	for (size_t i = 0; i < count; i++)
		if (entries[i].type != k->type)
			bad(f, POOL_FINDING_ENTRY, k->object, "an entry gives it another type than its inode");
	if (k->link_count == 0 && !count) {
		if (!is_orphan(f, k->object))
			bad(f, POOL_FINDING_LINKS, k->object, "it has no name, and is not being given back");
		return;
	}
	if (!count && !is_top) {
		bad(f, POOL_FINDING_LINKS, k->object, "no entry leads to it");
		return;
	}
	if (k->link_count != want)
		check_in_object(check_damage(f->c, POOL_FINDING_LINKS, "its link count is %u, but should be %" PRIu64,
		                             k->link_count, want),
		                f->ds, k->object, 0);
	if (is_dir && (count != !is_top || (count && entries[0].dir != k->parent)))
		bad(f, POOL_FINDING_LINKS, k->object, "the directory is not exactly where its inode says");
}

static void check_all_links(struct files *f)
{
	const struct entry *entries = f->entries.items;
	struct known *known = f->known.items;
	size_t k = 0, to;

	for (size_t i = 0; i < f->entries.count; i++) {
		struct known *dir = entries[i].type == VFS_TYPE_DIR ? find(f, entries[i].dir) : NULL;

		if (dir)
			dir->subdirs++;
	}
	for (size_t from = 0; from < f->entries.count || k < f->known.count;) {
		if (k == f->known.count || (from < f->entries.count && entries[from].object < known[k].object)) {
			check_in_object(check_damage(f->c, POOL_FINDING_ENTRY,
			                             "an entry in directory %" PRIu64
			                             " leads to it, but it does not exist",
			                             entries[from].dir),
			                f->ds, entries[from].object, 0);
			from++;
			continue;
		}
		for (to = from; to < f->entries.count && entries[to].object == known[k].object; to++)
			;
		check_links(f, &known[k], entries + from, to - from);
		from = to;
		k++;
	}
}

/* Up from a directory until something is known to be below the top; then all on the way are. */
static void check_reached(struct files *f, struct known *start)
{
	struct known *k = start;
	bool good;

	while (k && !k->is_reached && !k->is_seen && k->object != WFS3_ROOT_OBJECT && k->link_count) {
		k->is_seen = true;
		k = find(f, k->parent);
	}
	/* Those that are being given back, and what does not exist, was told of already. */
	good = !k || k->is_reached || k->object == WFS3_ROOT_OBJECT || !k->link_count;
	if (!good)
		bad(f, POOL_FINDING_LINKS, start->object, "the directory is not below the top");
	for (k = start; k && k->is_seen && !k->is_reached; k = find(f, k->parent))
		k->is_reached = true;
}

static void check_relations(struct files *f)
{
	struct known *known = f->known.items;
	const uint64_t *orphans = f->orphans.items;

	if (f->entries.count)
		qsort(f->entries.items, f->entries.count, sizeof(struct entry), compare_entries);
	check_all_links(f);
	for (size_t i = 0; i < f->known.count; i++)
		if (known[i].type == VFS_TYPE_DIR)
			check_reached(f, &known[i]);
	for (size_t i = 0; i < f->orphans.count; i++)
		if (!find(f, orphans[i]))
			bad(f, POOL_FINDING_ITEM, orphans[i], "it is to be given back, but does not exist");
	if (f->object_max >= f->item->next_object)
		check_in_dataset(check_damage(f->c, POOL_FINDING_COUNTER,
		                              "the next object would get number %" PRIu64 ", but %" PRIu64 " is in use",
		                              f->item->next_object, f->object_max),
		                 f->ds);
	if (f->item->object_count != f->known.count)
		check_in_dataset(check_damage(f->c, POOL_FINDING_COUNTER,
		                              "it has %zu objects, its record says %" PRIu64, f->known.count,
		                              f->item->object_count),
		                 f->ds);
}

int check_files(struct check *c, struct check_dataset *ds, const struct dataset_item *item, struct check_quota *quota)
{
	struct files f = { .c = c,
		           .ds = ds,
		           .item = item,
		           .quota = quota,
		           .known = { .size = sizeof(struct known) },
		           .entries = { .size = sizeof(struct entry) },
		           .orphans = { .size = sizeof(uint64_t) } };
	struct wfs3_key from;
	int rc = check_tree(c, ds, &item->root, check_resume_key(c, ds, &from) ? &from : NULL, take_item, &f);
	int data_rc = rc >= 0 && c->data ? check_data_finish(c, ds) : 0;

	if (!rc && !c->scrub)
		rc = end_object(&f);
	if (!rc && !c->scrub) {
		if (!ds->broken && ds->state == DATASET_STATE_LIVE)
			check_relations(&f);
		ds->has_inode = find(&f, WFS3_ROOT_OBJECT);
	}
	free(f.known.items);
	free(f.entries.items);
	free(f.orphans.items);
	return data_rc ? data_rc : rc;
}
