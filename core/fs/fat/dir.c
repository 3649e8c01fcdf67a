/* SPDX-License-Identifier: BSD-3-Clause */
/* Directories in memory: their bytes, and an index of the names by hash. Changing them is in dir_change.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/fat/fat_priv.h"

#define BUCKETS_MIN 16u
#define CHARGE_BYTES 4096u

static size_t entry_bytes(const struct fat_dir_entry *e)
{
	return offsetof(struct fat_dir_entry, name.units) + e->name.count * sizeof(uint16_t);
}

/* Tell the budget, in whole pages, what it takes. */
static void charge(struct fat_node *n)
{
	struct fat_dir *d = n->dir;
	size_t bytes = d->slot_count * (SLOT_BYTES + sizeof(struct fat_dir_entry *)) + d->entry_bytes;

	bytes = round_up_u64(bytes, CHARGE_BYTES);
	if (n->fs->budget && bytes > d->charged_bytes)
		budget_charge(n->fs->budget, bytes - d->charged_bytes);
	else if (n->fs->budget && bytes < d->charged_bytes)
		budget_uncharge(n->fs->budget, d->charged_bytes - bytes);
	d->charged_bytes = bytes;
}

static void forget_object(struct fat_dir_entry *e)
{
	struct fat_dir_entry **at = &e->dir->fs->objects[e->object % FAT_OBJECT_BUCKETS];

	while (*at != e)
		at = &(*at)->object_next;
	*at = e->object_next;
}

void fat_dir_forget(struct fat_dir_entry *e)
{
	forget_object(e);
	e->dir->dir->entry_bytes -= entry_bytes(e);
	charge(e->dir);
}

static void index_object(struct fat_dir_entry *e)
{
	struct fat_dir_entry **objects = &e->dir->fs->objects[e->object % FAT_OBJECT_BUCKETS];

	e->object_next = *objects;
	*objects = e;
}

void fat_dir_renumber(struct fat_dir_entry *e, uint64_t object)
{
	forget_object(e);
	e->object = object;
	index_object(e);
}

static uint32_t first_cluster(const struct fat_node *dir, const struct fat_dir_entry *e)
{
	struct fat_dirent d;

	fat_dir_entry_decode(dir, e, &d);
	return d.cluster;
}

static void forget_entry(struct fat_node *dir, struct fat_dir_entry *e)
{
	forget_object(e);
	if (!e->shared)
		fat_alloc_unlead(&dir->fs->alloc, first_cluster(dir, e));
}

void fat_dir_unload(struct fat_node *n)
{
	struct fat_dir *d = n->dir;

	if (!d)
		return;
	for (uint32_t i = 0; d->at && i < d->slot_count; i++) {
		if (d->at[i])
			forget_entry(n, d->at[i]);
		free(d->at[i]);
	}
	if (n->fs->budget)
		budget_uncharge(n->fs->budget, d->charged_bytes);
	free(d->at);
	free(d->by_name);
	free(d->by_short);
	free(d->raw);
	free(d->dirty);
	free(d);
	n->dir = NULL;
}

uint64_t fat_dir_slot_offset(const struct fat_node *n, uint32_t slot)
{
	const struct fat_geometry *g = &n->fs->g;
	uint64_t at = (uint64_t)slot * SLOT_BYTES;
	uint32_t run;

	if (fat_node_is_fixed_root(n))
		return g->root_offset + at;
	return fat_cluster_offset(g, fat_map_find(&n->map, (uint32_t)(at / g->cluster_bytes), &run)) +
	       at % g->cluster_bytes;
}

/* On -ENOMEM nothing has changed but spare room. */
int fat_dir_resize(struct fat_node *n, uint32_t slot_count)
{
	struct fat_dir *d = n->dir;
	uint32_t per_sector = fat_slots_per_sector(n->fs), old = d->slot_count;
	uint8_t *raw = realloc(d->raw, (size_t)slot_count * SLOT_BYTES), *dirty;
	struct fat_dir_entry **at;

	if (raw)
		d->raw = raw;
	at = realloc(d->at, slot_count * sizeof(struct fat_dir_entry *));
	if (at)
		d->at = at;
	dirty = realloc(d->dirty, slot_count / per_sector);
	if (dirty)
		d->dirty = dirty;
	if (!raw || !at || !dirty)
		return err_set(-ENOMEM, "a directory of %u entries: no memory", slot_count);
	memset(d->raw + (size_t)old * SLOT_BYTES, 0, (size_t)(slot_count - old) * SLOT_BYTES);
	memset(d->at + old, 0, (slot_count - old) * sizeof(struct fat_dir_entry *));
	memset(d->dirty + old / per_sector, 0, (slot_count - old) / per_sector);
	d->slot_count = slot_count;
	charge(n);
	return 0;
}

static int rehash(struct fat_dir *d, uint32_t buckets)
{
	struct fat_dir_entry **by_name = calloc(buckets, sizeof(struct fat_dir_entry *));
	struct fat_dir_entry **by_short = calloc(buckets, sizeof(struct fat_dir_entry *));

	if (!by_name || !by_short) {
		free(by_name);
		free(by_short);
		return err_set(-ENOMEM, "index of a directory: no memory");
	}
	for (uint32_t i = 0; i < d->slot_count; i++) {
		struct fat_dir_entry *e = d->at[i];

		if (!e)
			continue;
		e->name_next = by_name[e->name_hash & (buckets - 1)];
		by_name[e->name_hash & (buckets - 1)] = e;
		e->short_next = by_short[e->short_hash & (buckets - 1)];
		by_short[e->short_hash & (buckets - 1)] = e;
	}
	free(d->by_name);
	free(d->by_short);
	d->by_name = by_name;
	d->by_short = by_short;
	d->bucket_count = buckets;
	return 0;
}

struct fat_dir_entry *fat_dir_entry_new(const struct fat_name *name)
{
	struct fat_dir_entry *e = malloc(offsetof(struct fat_dir_entry, name.units) + name->count * sizeof(uint16_t));

	if (!e) {
		(void)err_set(-ENOMEM, "index of a directory: no memory");
		return NULL;
	}
	memset(e, 0, offsetof(struct fat_dir_entry, name));
	e->name_hash = fat_name_hash(name);
	e->name.count = name->count;
	memcpy(e->name.units, name->units, name->count * sizeof(uint16_t));
	return e;
}

int fat_dir_index_room(struct fat_dir *d)
{
	if (d->entry_count < d->bucket_count)
		return 0;
	return rehash(d, d->bucket_count ? d->bucket_count * 2 : BUCKETS_MIN);
}

void fat_dir_add_entry(struct fat_node *n, struct fat_dir_entry *e)
{
	struct fat_dir *d = n->dir;
	struct fat_name short_name;
	uint32_t mask = d->bucket_count - 1;

	fat_name_from_short(d->raw + (size_t)e->slot * SLOT_BYTES, 0, &short_name);
	e->short_hash = fat_name_hash(&short_name);
	e->name_next = d->by_name[e->name_hash & mask];
	d->by_name[e->name_hash & mask] = e;
	e->short_next = d->by_short[e->short_hash & mask];
	d->by_short[e->short_hash & mask] = e;
	d->at[e->slot] = e;
	d->entry_count++;
	e->dir = n;
	index_object(e);
	d->entry_bytes += entry_bytes(e);
	charge(n);
}

/* Of two entries with one name, which only damage brings about, the first one counts, as for every other driver. */
static struct fat_dir_entry *earlier(struct fat_dir_entry *a, struct fat_dir_entry *b)
{
	return a && a->slot < b->slot ? a : b;
}

struct fat_dir_entry *fat_dir_find(const struct fat_dir *d, const struct fat_name *name)
{
	uint32_t hash = fat_name_hash(name);
	struct fat_dir_entry *e, *found = NULL;

	if (!d->bucket_count)
		return NULL;
	for (e = d->by_name[hash & (d->bucket_count - 1)]; e; e = e->name_next) {
		if (e->name_hash == hash && fat_name_equal(&e->name, name))
			found = earlier(found, e);
	}
	if (found)
		return found;
	for (e = d->by_short[hash & (d->bucket_count - 1)]; e; e = e->short_next) {
		struct fat_name short_name;

		if (e->short_hash != hash)
			continue;
		fat_name_from_short(d->raw + (size_t)e->slot * SLOT_BYTES, 0, &short_name);
		if (fat_name_equal(&short_name, name))
			found = earlier(found, e);
	}
	return found;
}

void fat_dir_entry_decode(const struct fat_node *dir, const struct fat_dir_entry *e, struct fat_dirent *ret)
{
	fat_dirent_decode(dir->dir->raw + (size_t)e->slot * SLOT_BYTES, dir->fs->g.type, dir->fs->utc_offset_s, ret);
}

/* Is it one of "." and ".." at the start of every directory but the root? */
static bool is_dots(const struct fat_node *n, const uint8_t *slot, uint32_t at)
{
	return n != n->fs->root && at < 2 && slot[0] == '.' &&
	       memcmp(slot, at ? "..         " : ".          ", 11) == 0;
}

/* Damaged names could lead elsewhere, or break what prints them. */
static bool can_be_said(const struct fat_name *name)
{
	char text[NAME_UTF8_MAX];
	size_t len;

	for (unsigned i = 0; i < name->count; i++) {
		if (name->units[i] < 0x20 || name->units[i] == 0x7f || name->units[i] == '/')
			return false;
	}
	return name->count && fat_name_to_utf8(name, text, &len) && strcmp(text, ".") != 0 && strcmp(text, "..") != 0;
}

/* Two names for a chain, or one for clusters that are free: none of it may be written, or given to others. */
static void note_first_cluster(struct fat_node *n, struct fat_dir_entry *e)
{
	struct fat_fs *fs = n->fs;
	uint32_t cluster = first_cluster(n, e);

	if (!fat_is_cluster(&fs->g, cluster))
		return;
	if (fat_alloc_is_free(&fs->alloc, cluster)) {
		(void)fat_fs_found_damage(fs, err_set(-EUCLEAN, "a name leads to cluster %u, which is free", cluster));
	} else if (!fat_alloc_lead(&fs->alloc, cluster)) {
		e->shared = true;
		(void)fat_fs_found_damage(
		        fs, err_set(-EUCLEAN, "something else, too, leads to cluster %u of a file", cluster));
	}
}

static int index_slot(struct fat_node *n, uint32_t at)
{
	struct fat_dir *d = n->dir;
	const uint8_t *slot = d->raw + (size_t)at * SLOT_BYTES;
	struct fat_name name;
	struct fat_dir_entry *e;
	unsigned parts;

	if (slot[0] == SLOT_DELETED) {
		d->deleted++;
		if (d->deleted == 1)
			d->first_deleted = at;
		return 0;
	}
	if (fat_slot_is_long(slot) || (slot[SLOT_ATTR] & FAT_ATTR_VOLUME) || is_dots(n, slot, at))
		return 0;
	parts = fat_lfn_decode(d->raw, at, &name);
	/* A long name that nobody could ask for: the file goes by its short name. */
	if (!parts || !can_be_said(&name))
		fat_name_from_short(slot, slot[SLOT_CASE], &name);
	if (!can_be_said(&name)) {
		d->hidden_count++;
		return 0;
	}
	if (fat_dir_index_room(d))
		return -ENOMEM;
	e = fat_dir_entry_new(&name);
	if (!e)
		return -ENOMEM;
	e->first_slot = at - parts;
	e->slot = at;
	e->object = n->fs->next_object++;
	fat_dir_add_entry(n, e);
	note_first_cluster(n, e);
	return 0;
}

static int index_slots(struct fat_node *n)
{
	struct fat_dir *d = n->dir;
	int rc = 0;

	d->end = d->slot_count;
	for (uint32_t i = 0; rc == 0 && i < d->end; i++) {
		if (d->raw[(size_t)i * SLOT_BYTES] == SLOT_END)
			d->end = i;
		else
			rc = index_slot(n, i);
	}
	/* What is behind the end means nothing, and must not come back when the end moves. */
	for (size_t i = (size_t)d->end * SLOT_BYTES; i < (size_t)d->slot_count * SLOT_BYTES && !d->garbage; i++)
		d->garbage = d->raw[i] != 0;
	if (d->garbage)
		memset(d->raw + (size_t)d->end * SLOT_BYTES, 0, (size_t)(d->slot_count - d->end) * SLOT_BYTES);
	return rc;
}

static int read_slots(struct fat_node *n)
{
	struct fat_fs *fs = n->fs;
	uint32_t per_cluster = fs->g.cluster_bytes / SLOT_BYTES, run;
	struct fat_medium_batch b;

	if (fat_node_is_fixed_root(n))
		return fat_medium_read(&fs->medium, fs->g.root_offset, n->dir->raw, (size_t)fs->g.root_bytes);
	fat_medium_batch_init(&b, &fs->medium, BLK_READ);
	for (uint32_t i = 0; i < n->map.cluster_count; i += run) {
		uint32_t cluster = fat_map_find(&n->map, i, &run);

		fat_medium_batch_add(&b, fat_cluster_offset(&fs->g, cluster),
		                     n->dir->raw + (size_t)i * per_cluster * SLOT_BYTES,
		                     (size_t)run * fs->g.cluster_bytes);
	}
	return fat_medium_batch_run(&b);
}

int fat_dir_load(struct fat_node *n)
{
	struct fat_fs *fs = n->fs;
	uint32_t slots;
	int rc = 0;

	always(fat_node_is_dir(n));
	if (n->dir)
		return 0;
	if (fat_node_is_fixed_root(n))
		slots = (uint32_t)(fs->g.root_bytes / SLOT_BYTES);
	else
		slots = n->map.cluster_count * (fs->g.cluster_bytes / SLOT_BYTES);
	n->dir = calloc(1, sizeof(*n->dir));
	if (!n->dir)
		return err_set(-ENOMEM, "a directory: no memory");
	n->dir->run_missing[0] = n->dir->run_missing[1] = UINT32_MAX;
	rc = slots ? fat_dir_resize(n, slots) : err_set(-EUCLEAN, "a directory has no clusters");
	if (rc == 0)
		rc = read_slots(n);
	if (rc == 0)
		rc = index_slots(n);
	if (rc)
		fat_dir_unload(n);
	return rc == -EUCLEAN ? fat_fs_found_damage(fs, rc) : rc;
}

void fat_dir_touch(struct fat_node *n, uint32_t first_slot, uint32_t slot_count)
{
	struct fat_dir *d = n->dir;
	uint32_t per_sector = fat_slots_per_sector(n->fs);

	for (uint32_t s = first_slot / per_sector; s <= (first_slot + slot_count - 1) / per_sector; s++)
		d->dirty[s] = 1;
	d->any_dirty = true;
	fat_node_changed(n);
}

bool fat_dir_is_atomic(uint32_t first_slot, uint32_t last_slot)
{
	return first_slot / ATOMIC_SLOTS == last_slot / ATOMIC_SLOTS;
}

void fat_dir_add_dirty(struct fat_node *n, struct fat_medium_batch *b)
{
	struct fat_dir *d = n->dir;
	uint32_t per_sector = fat_slots_per_sector(n->fs);

	for (uint32_t s = 0; s < d->slot_count / per_sector; s++) {
		if (d->dirty[s])
			fat_medium_batch_add(b, fat_dir_slot_offset(n, s * per_sector),
			                     d->raw + (size_t)s * n->fs->g.sector_bytes, n->fs->g.sector_bytes);
	}
}

void fat_dir_is_clean(struct fat_node *n)
{
	memset(n->dir->dirty, 0, n->dir->slot_count / fat_slots_per_sector(n->fs));
	n->dir->any_dirty = false;
}
