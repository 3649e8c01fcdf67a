/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making changes durable, in this order, with a flush of the device between the steps that need one:
 *
 *   1  file contents; FAT entries of clusters that were not in use
 *   2  links to them from clusters that were
 *   3  directory sectors (names, sizes, first clusters)
 *   4  ends of chains that were cut
 *   5  FAT entries of what was freed; FSInfo
 *
 * A step whose device writes fail makes the volume read-only, except for file contents: they stay in the cache, and
 * nothing of the other steps is done.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "core/cache/cache.h"
#include "core/fs/fat/fat_priv.h"

/* Bring the sizes, times and first clusters of changed nodes into their slots. */
static void encode_entries(struct fat_fs *fs)
{
	struct fat_node *n, *next;

	cds_list_for_each_entry_safe (n, next, &fs->changed, changed_link) {
		if (!n->entry_changed || n->deleted || !n->entry)
			continue;
		n->d.size_bytes = fat_node_is_dir(n) ? 0 : (uint32_t)n->size_bytes;
		fat_dirent_encode(&n->d, fs->g.type, fs->utc_offset_s,
		                  n->parent->dir->raw + (size_t)n->entry->slot * SLOT_BYTES);
		/* Puts the parent on the list, at its end. */
		fat_dir_touch(n->parent, n->entry->slot, 1);
		n->entry_changed = false;
	}
}

static int flush_contents(struct fat_fs *fs)
{
	struct fat_node *n;
	int rc = 0;

	cds_list_for_each_entry (n, &fs->changed, changed_link) {
		int one;

		n->flushed_seq = __atomic_load_n(&n->write_seq, __ATOMIC_SEQ_CST);
		one = n->data && !n->deleted ? cache_flush(n->data, 0, UINT64_MAX) : 0;

		rc = rc ? rc : one;
	}
	return rc;
}

static int write_links(struct fat_fs *fs)
{
	struct fat_node *n;
	int rc = 0;

	cds_list_for_each_entry (n, &fs->changed, changed_link) {
		uint32_t run, tail;

		if (n->cut || !n->synced_count || n->synced_count >= n->map.cluster_count)
			continue;
		tail = fat_map_find(&n->map, n->synced_count - 1, &run);
		rc = fat_table_set(&fs->table, tail, fat_map_find(&n->map, n->synced_count, &run));
		if (rc)
			return rc;
	}
	if (!fat_table_is_dirty(&fs->table))
		return 0;
	rc = fat_table_write(&fs->table);
	return rc ? rc : fat_medium_flush(&fs->medium);
}

static int write_directories(struct fat_fs *fs)
{
	struct fat_medium_batch b;
	struct fat_node *n;
	int rc;

	fat_medium_batch_init(&b, &fs->medium, BLK_WRITE);
	cds_list_for_each_entry (n, &fs->changed, changed_link) {
		if (n->dir && n->dir->any_dirty && !n->deleted)
			fat_dir_add_dirty(n, &b);
	}
	rc = fat_medium_batch_run(&b);
	return rc ? rc : fat_medium_flush(&fs->medium);
}

int fat_sync_directories(struct fat_fs *fs)
{
	int rc = write_directories(fs);

	return rc ? fat_fs_fail(fs, rc) : 0;
}

/* A chain that was cut ends before what comes behind is free. */
static int write_ends(struct fat_fs *fs)
{
	struct fat_node *n;
	uint32_t run;
	int rc = 0;

	cds_list_for_each_entry (n, &fs->changed, changed_link) {
		if (rc == 0 && n->cut)
			rc = fat_table_set(&fs->table, fat_map_find(&n->map, n->synced_count - 1, &run), FAT_END);
	}
	if (rc || !fat_table_is_dirty(&fs->table))
		return rc;
	rc = fat_table_write(&fs->table);
	return rc ? rc : fat_medium_flush(&fs->medium);
}

static int write_freed(struct fat_fs *fs)
{
	int rc = 0;

	for (uint32_t i = 0; i < fs->freed.count; i++) {
		for (uint32_t k = 0; rc == 0 && k < fs->freed.runs[i].count; k++)
			rc = fat_table_set(&fs->table, fs->freed.runs[i].first + k, FAT_FREE);
	}
	if (rc == 0)
		rc = fat_table_write(&fs->table);
	if (rc == 0)
		rc = fat_fs_write_fsinfo(fs);
	return rc ? rc : fat_medium_flush(&fs->medium);
}

/* Was something written to it that the flush may not have seen? */
static bool was_written(const struct fat_node *n)
{
	return __atomic_load_n(&n->writing, __ATOMIC_SEQ_CST) ||
	       __atomic_load_n(&n->write_seq, __ATOMIC_SEQ_CST) != n->flushed_seq;
}

/* Everything is on the device. */
static int settle(struct fat_fs *fs)
{
	struct fat_node *n, *next;
	int rc = 0;

	for (uint32_t i = 0; i < fs->freed.count; i++) {
		int one = fat_alloc_free(&fs->alloc, fs->freed.runs[i].first, fs->freed.runs[i].count);

		rc = rc ? rc : one;
	}
	free(fs->freed.runs);
	fs->freed = (struct fat_runs){ 0 };
	fs->sync_count++;
	cds_list_for_each_entry_safe (n, next, &fs->changed, changed_link) {
		n->synced_count = n->map.cluster_count;
		n->cut = false;
		if (n->dir)
			fat_dir_is_clean(n);
		if (was_written(n))
			continue;
		cds_list_del(&n->changed_link);
		n->listed = false;
		fs->changed_count--;
		fat_node_unref(n);
	}
	return rc;
}

int fat_sync_locked(struct fat_fs *fs)
{
	int rc;

	if (cds_list_empty(&fs->changed) && !fs->freed.count && !fat_table_is_dirty(&fs->table))
		return 0;
	if (fs->failed)
		return err_set(-EIO, "%s is read-only: %s", blk_name(fs->medium.dev), fs->reason);
	encode_entries(fs);
	rc = flush_contents(fs);
	if (rc)
		return rc;
	rc = fat_table_write(&fs->table);
	if (rc == 0)
		rc = fat_medium_flush(&fs->medium);
	if (rc == 0)
		rc = write_links(fs);
	if (rc == 0)
		rc = write_directories(fs);
	if (rc == 0)
		rc = write_ends(fs);
	if (rc == 0)
		rc = write_freed(fs);
	if (rc == 0)
		rc = settle(fs);
	return rc ? fat_fs_fail(fs, rc) : 0;
}

int fat_sync(struct fat_fs *fs)
{
	int rc;

	sync_mutex_lock(&fs->lock);
	rc = fat_sync_locked(fs);
	sync_mutex_unlock(&fs->lock);
	return rc;
}

int fat_flush(struct fat_node *n)
{
	/* Most of the writing is done before others have to wait. */
	int rc = n->data ? cache_flush(n->data, 0, UINT64_MAX) : 0;

	return rc ? rc : fat_sync(n->fs);
}

/* Contents that cannot be written are tried again; the first time it is told. */
static void sync_in_background(struct fat_fs *fs, bool *told)
{
	char text[ERR_TEXT_MAX];
	int rc = fs->failed ? 0 : fat_sync_locked(fs);

	if (rc && !fs->failed && !*told)
		log_warning("fat", "changes cannot be written: device=%s reason=\"%s\"", blk_name(fs->medium.dev),
		            err_text(err_get(), rc, 0, text, sizeof(text)));
	*told = rc != 0;
}

void fat_syncer_run(void *arg)
{
	struct fat_fs *fs = arg;
	bool told = false;

	sync_mutex_lock(&fs->lock);
	while (!fs->stopping) {
		uint64_t until = sync_now_ns() + fs->sync_interval_ms * SYNC_NS_PER_MS;

		(void)sync_cond_wait_until(&fs->syncer_cond, &fs->lock, until);
		if (!fs->stopping)
			sync_in_background(fs, &told);
	}
	sync_mutex_unlock(&fs->lock);
	blk_thread_done();
}
