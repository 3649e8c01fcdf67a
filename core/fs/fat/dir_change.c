/* SPDX-License-Identifier: BSD-3-Clause */
/* Names in and out of a loaded directory. The slots of a name are kept within 512 bytes where they fit, so that a name
 * reaches the device as a whole or not at all. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/fat/fat_priv.h"

#define DIR_GROW_SLOTS_MAX (DIR_BYTES_MAX / SLOT_BYTES)

/* Is there an entry with this short name? Long names count, too, so that a name never means two files. */
static bool short_is_taken(const struct fat_dir *d, const uint8_t *short_name, const struct fat_dir_entry *except)
{
	const struct fat_dir_entry *e;
	struct fat_name name;

	fat_name_from_short(short_name, 0, &name);
	e = fat_dir_find(d, &name);
	return e && e != except;
}

/* *@ret_slots: how many the name takes. */
static int choose_short_name(const struct fat_node *n, const struct fat_dir_entry *except, struct fat_dir_plan *p,
                             uint32_t *ret_slots)
{
	const struct fat_name *name = &p->entry->name;
	enum fat_short_fit fit = fat_name_to_short(name, p->short_name, &p->case_flags);
	uint8_t basis[SHORT_NAME_BYTES];

	*ret_slots = 1 + (fit == SHORT_EXACT ? 0 : fat_lfn_slot_count(name));
	if (fit != SHORT_LOSSY && !short_is_taken(n->dir, p->short_name, except))
		return 0;
	/* Somebody else's short name is what this name would be. */
	p->case_flags = 0;
	*ret_slots = 1 + fat_lfn_slot_count(name);
	memcpy(basis, p->short_name, sizeof(basis));
	for (unsigned attempt = 0; fat_name_numeric_tail(name, basis, attempt, p->short_name); attempt++) {
		if (!short_is_taken(n->dir, p->short_name, except))
			return 0;
	}
	return err_set(-ENOSPC, "no short name is left for a file");
}

static bool is_deleted(const struct fat_dir *d, uint32_t slot)
{
	return d->raw[(size_t)slot * SLOT_BYTES] == SLOT_DELETED;
}

/* A free run before the end. */
static bool find_deleted(const struct fat_node *n, uint32_t count, bool atomic, uint32_t *ret)
{
	struct fat_dir *d = n->dir;
	uint32_t run = 0;

	if (count > d->deleted || count >= d->run_missing[atomic])
		return false;
	while (d->first_deleted < d->end && !is_deleted(d, d->first_deleted))
		d->first_deleted++;
	for (uint32_t i = d->first_deleted; i < d->end; i++) {
		if (atomic && i % ATOMIC_SLOTS == 0)
			run = 0;
		run = is_deleted(d, i) ? run + 1 : 0;
		if (run == count) {
			*ret = i + 1 - count;
			return true;
		}
	}
	d->run_missing[1] = count < d->run_missing[1] ? count : d->run_missing[1];
	if (!atomic)
		d->run_missing[0] = count;
	return false;
}

/* Another cluster at the end, written with zeros at once: nothing leads there yet. */
static int extend(struct fat_node *n)
{
	struct fat_fs *fs = n->fs;
	uint32_t per_cluster = fs->g.cluster_bytes / SLOT_BYTES, run, cluster;
	uint32_t had = n->map.cluster_count;
	int rc;

	if (fat_node_is_fixed_root(n))
		return err_set(-ENOSPC, "the root directory is full (%u entries)", n->dir->slot_count);
	if (n->dir->slot_count + per_cluster > DIR_GROW_SLOTS_MAX)
		return err_set(-ENOSPC, "the directory is full (%u entries)", n->dir->slot_count);
	rc = fat_space_grow(n, had + 1);
	if (rc)
		return rc;
	cluster = fat_map_find(&n->map, had, &run);
	rc = fat_medium_zero(&fs->medium, fat_cluster_offset(&fs->g, cluster), fs->g.cluster_bytes);
	if (rc == 0)
		rc = fat_dir_resize(n, n->dir->slot_count + per_cluster);
	if (rc)
		(void)fat_space_cut(n, had);
	return rc;
}

int fat_dir_reserve(struct fat_node *n, uint32_t count, uint32_t *ret)
{
	struct fat_dir *d = n->dir;
	uint32_t pad = 0;

	if (count <= ATOMIC_SLOTS) {
		if (find_deleted(n, count, true, ret))
			return 0;
		pad = d->end % ATOMIC_SLOTS + count > ATOMIC_SLOTS ? ATOMIC_SLOTS - d->end % ATOMIC_SLOTS : 0;
	}
	/* A full fixed root directory gives up the nicety. */
	if (pad && fat_node_is_fixed_root(n) && d->end + pad + count > d->slot_count)
		pad = 0;
	if (d->end + pad + count > d->slot_count && find_deleted(n, count, false, ret))
		return 0;
	while (d->end + pad + count > d->slot_count) {
		int rc = extend(n);

		if (rc)
			return rc;
	}
	*ret = d->end + pad;
	return 0;
}

int fat_dir_plan_name(struct fat_node *n, const struct fat_name *name, const struct fat_dir_entry *except,
                      struct fat_dir_plan *ret)
{
	uint32_t slots, first;
	int rc = fat_name_check(name);

	if (rc == 0)
		rc = fat_dir_index_room(n->dir);
	if (rc)
		return rc;
	ret->entry = fat_dir_entry_new(name);
	if (!ret->entry)
		return -ENOMEM;
	rc = choose_short_name(n, except, ret, &slots);
	if (rc == 0)
		rc = fat_dir_reserve(n, slots, &first);
	if (rc) {
		fat_dir_plan_drop(ret);
		return rc;
	}
	ret->entry->first_slot = first;
	ret->entry->slot = first + slots - 1;
	return 0;
}

void fat_dir_plan_drop(struct fat_dir_plan *plan)
{
	free(plan->entry);
	plan->entry = NULL;
}

/* Slots between the old end and @first become free ones. */
static void move_end(struct fat_node *n, uint32_t first, uint32_t end)
{
	struct fat_dir *d = n->dir;

	if (d->garbage) {
		fat_dir_touch(n, d->end, d->slot_count - d->end);
		d->garbage = false;
	}
	for (uint32_t i = d->end; i < first; i++) {
		d->raw[(size_t)i * SLOT_BYTES] = SLOT_DELETED;
		if (!d->deleted++)
			d->first_deleted = i;
		fat_dir_touch(n, i, 1);
	}
	for (unsigned k = 0; k < 2 && first > d->end; k++)
		d->run_missing[k] = (uint32_t)max_u64(d->run_missing[k], first - d->end + 1);
	if (end > d->end)
		d->end = end;
}

uint8_t *fat_dir_take_slots(struct fat_node *n, uint32_t first, uint32_t count)
{
	struct fat_dir *d = n->dir;
	uint8_t *raw = d->raw + (size_t)first * SLOT_BYTES;

	if (first < d->end)
		d->deleted -= count;
	else
		move_end(n, first, first + count);
	memset(raw, 0, (size_t)count * SLOT_BYTES);
	fat_dir_touch(n, first, count);
	return raw;
}

/* As a directory's own time says, something in it changed. */
static void touch_time(struct fat_node *n)
{
	n->d.mtime_ns = fat_dirent_round_mtime(fat_fs_now());
	n->entry_changed = n->entry != NULL;
	fat_node_publish(n);
}

struct fat_dir_entry *fat_dir_insert(struct fat_node *n, struct fat_dir_plan *plan, struct fat_dirent *dirent,
                                     uint64_t object)
{
	struct fat_dir_entry *e = plan->entry;
	uint32_t count = e->slot - e->first_slot + 1;
	uint8_t *raw = fat_dir_take_slots(n, e->first_slot, count);

	memcpy(dirent->short_name, plan->short_name, SHORT_NAME_BYTES);
	dirent->case_flags = plan->case_flags;
	if (count > 1)
		fat_lfn_encode(&e->name, plan->short_name, raw);
	fat_dirent_encode(dirent, n->fs->g.type, n->fs->utc_offset_s, raw + (size_t)(count - 1) * SLOT_BYTES);
	e->object = object;
	e->born_sync = n->fs->sync_count;
	fat_dir_add_entry(n, e);
	touch_time(n);
	plan->entry = NULL;
	return e;
}

static void unchain(struct fat_dir_entry **bucket, struct fat_dir_entry *e, bool by_short)
{
	while (*bucket != e)
		bucket = by_short ? &(*bucket)->short_next : &(*bucket)->name_next;
	*bucket = by_short ? e->short_next : e->name_next;
}

void fat_dir_remove(struct fat_node *n, struct fat_dir_entry *e)
{
	struct fat_dir *d = n->dir;
	uint32_t count = e->slot - e->first_slot + 1;

	unchain(&d->by_name[e->name_hash & (d->bucket_count - 1)], e, false);
	unchain(&d->by_short[e->short_hash & (d->bucket_count - 1)], e, true);
	for (uint32_t i = e->first_slot; i <= e->slot; i++)
		d->raw[(size_t)i * SLOT_BYTES] = SLOT_DELETED;
	if (!d->deleted || e->first_slot < d->first_deleted)
		d->first_deleted = e->first_slot;
	d->deleted += count;
	d->run_missing[0] = d->run_missing[1] = UINT32_MAX;
	d->at[e->slot] = NULL;
	fat_dir_forget(e);
	d->entry_count--;
	fat_dir_touch(n, e->first_slot, count);
	touch_time(n);
	free(e);
}

void fat_dir_init_slots(const struct fat_node *n, uint32_t parent_cluster, uint8_t *slots)
{
	struct fat_dirent d = n->d;

	d.case_flags = 0;
	d.attr = FAT_ATTR_DIR;
	d.size_bytes = 0;
	memcpy(d.short_name, ".          ", SHORT_NAME_BYTES);
	fat_dirent_encode(&d, n->fs->g.type, n->fs->utc_offset_s, slots);
	memcpy(d.short_name, "..         ", SHORT_NAME_BYTES);
	d.cluster = parent_cluster;
	fat_dirent_encode(&d, n->fs->g.type, n->fs->utc_offset_s, slots + SLOT_BYTES);
}
