/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Growing and cutting chains, so that whatever of it reaches the device before a crash, no chain of a file that is on
 * the device ever leads into a cluster that is free or somebody else's. Therefore a link from a cluster that was there
 * at the last sync is not put into the FAT here, but by the sync, after the clusters it leads to; and what is cut off
 * stays in the FAT, and used, until the directory entries have been written.
 */
#include <errno.h>

#include "core/base/assert.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/fat/fat_priv.h"

#define RESERVE_BYTES_MAX (8u << 20)

void fat_space_release(struct fat_node *n)
{
	struct fat_fs *fs = n->fs;

	if (!n->reserved.count)
		return;
	fat_alloc_give(&fs->alloc, n->reserved.first, n->reserved.count);
	n->reserved = (struct fat_run){ 0 };
	cds_list_del(&n->reserved_link);
}

static void release_all(struct fat_fs *fs)
{
	while (!cds_list_empty(&fs->reserving))
		fat_space_release(cds_list_entry(fs->reserving.next, struct fat_node, reserved_link));
}

static void keep_reserved(struct fat_node *n, uint32_t first, uint32_t count)
{
	if (count && !n->reserved.count)
		cds_list_add_tail(&n->reserved_link, &n->fs->reserving);
	else if (!count && n->reserved.count)
		cds_list_del(&n->reserved_link);
	n->reserved = (struct fat_run){ count ? first : 0, count };
}

/* A file that grows again gets more than it asks for, as much again as it has. */
static uint32_t reservation(const struct fat_node *n)
{
	uint32_t most = RESERVE_BYTES_MAX / n->fs->g.cluster_bytes;

	if (fat_node_is_dir(n) || n->fs->alloc.free_count / 16 < most)
		return 0;
	return n->map.cluster_count < most ? n->map.cluster_count : most;
}

static uint32_t tail_of(const struct fat_node *n)
{
	uint32_t run;

	return n->map.cluster_count ? fat_map_find(&n->map, n->map.cluster_count - 1, &run) : 0;
}

/* Up to @want clusters, marked as used in the bitmap. */
static int take(struct fat_node *n, uint32_t want, uint32_t *ret_first, uint32_t *ret_count)
{
	struct fat_fs *fs = n->fs;
	uint32_t tail = tail_of(n), goal = tail ? tail + 1 : 0, extra = reservation(n);
	uint32_t first, count;

	if (n->reserved.count) {
		first = n->reserved.first;
		count = n->reserved.count;
	} else if (!fat_alloc_take(&fs->alloc, goal, want + extra, &first, &count)) {
		release_all(fs);
		if (!fat_alloc_take(&fs->alloc, goal, want, &first, &count))
			return -ENOSPC;
	}
	*ret_first = first;
	*ret_count = count < want ? count : want;
	keep_reserved(n, first + *ret_count, count - *ret_count);
	return 0;
}

/* Put a run into the FAT, ended, and behind the node's chain. */
static int link_run(struct fat_node *n, uint32_t first, uint32_t count)
{
	struct fat_fs *fs = n->fs;
	uint32_t tail = tail_of(n), index = n->map.cluster_count;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < count; i++)
		rc = fat_table_set(&fs->table, first + i, i + 1 < count ? first + i + 1 : FAT_END);
	if (rc == 0 && tail && index > n->synced_count)
		rc = fat_table_set(&fs->table, tail, first);
	if (rc)
		return rc;
	sync_mutex_lock(&n->map_lock);
	rc = fat_map_append(&n->map, first, count);
	sync_mutex_unlock(&n->map_lock);
	return rc;
}

/* Clusters that nothing on the device leads to. */
static int give_now(struct fat_fs *fs, uint32_t first, uint32_t count)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < count; i++)
		rc = fat_table_set(&fs->table, first + i, FAT_FREE);
	if (rc == 0)
		rc = fat_alloc_free(&fs->alloc, first, count);
	return rc;
}

/* The clusters of the map from @from to @end, one run after the other: for good, or with the next sync. */
static int drop(struct fat_node *n, uint32_t from, uint32_t end, bool now)
{
	int rc = 0;

	while (rc == 0 && from < end) {
		uint32_t run, cluster = fat_map_find(&n->map, from, &run);

		if (run > end - from)
			run = end - from;
		rc = now ? give_now(n->fs, cluster, run) : fat_runs_add(&n->fs->freed, cluster, run);
		from += run;
	}
	return rc;
}

int fat_space_cut(struct fat_node *n, uint32_t count)
{
	struct fat_fs *fs = n->fs;
	uint32_t had = n->map.cluster_count, run;
	int rc;

	if (count >= had)
		return 0;
	fat_node_changed(n);
	fat_space_release(n);
	rc = drop(n, count > n->synced_count ? count : n->synced_count, had, true);
	if (rc == 0 && count < n->synced_count)
		rc = drop(n, count, n->synced_count, false);
	sync_mutex_lock(&n->map_lock);
	fat_map_cut(&n->map, count);
	sync_mutex_unlock(&n->map_lock);
	if (count < n->synced_count) {
		n->synced_count = count;
		n->cut = count > 0;
	} else if (rc == 0 && count > n->synced_count) {
		rc = fat_table_set(&fs->table, fat_map_find(&n->map, count - 1, &run), FAT_END);
	}
	if (count == 0 && !fat_node_is_dir(n)) {
		n->d.cluster = 0;
		n->entry_changed = true;
	}
	return rc ? fat_fs_fail(fs, rc) : 0;
}

/* Are there enough, counting what is only reserved, and with a sync what waits to become free? */
static int make_room(struct fat_node *n, uint32_t want)
{
	struct fat_fs *fs = n->fs;
	uint64_t reserved = 0;
	struct fat_node *other;

	if (want <= fs->alloc.free_count)
		return 0;
	cds_list_for_each_entry (other, &fs->reserving, reserved_link)
		reserved += other->reserved.count;
	if (want > fs->alloc.free_count + reserved && fs->freed.cluster_count) {
		int rc = fat_sync_locked(fs);

		if (rc)
			return rc;
	}
	if (want > fs->alloc.free_count + reserved)
		return err_set(-ENOSPC, "%s: the volume is full", blk_name(fs->medium.dev));
	if (want > fs->alloc.free_count + n->reserved.count)
		release_all(fs);
	return 0;
}

int fat_space_grow(struct fat_node *n, uint32_t count)
{
	struct fat_fs *fs = n->fs;
	uint32_t had = n->map.cluster_count;
	int rc = 0;

	if (count <= had)
		return 0;
	/* A chain that is still longer on the device is ended there before it goes elsewhere. */
	if (n->cut)
		rc = fat_sync_locked(fs);
	if (rc == 0)
		rc = make_room(n, count - had);
	if (rc)
		return rc;
	fat_node_changed(n);
	while (rc == 0 && n->map.cluster_count < count) {
		uint32_t first, got;

		rc = take(n, count - n->map.cluster_count, &first, &got);
		always(rc == 0);
		rc = link_run(n, first, got);
		if (rc && fat_alloc_give(&fs->alloc, first, got) == 0)
			(void)fat_space_cut(n, had);
	}
	if (rc)
		return fat_fs_fail(fs, rc);
	if (!had && count) {
		uint32_t run;

		n->d.cluster = fat_map_find(&n->map, 0, &run);
		n->entry_changed = true;
	}
	return 0;
}
