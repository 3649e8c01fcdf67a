/* SPDX-License-Identifier: BSD-3-Clause */
/* Mounting, unmounting, and what is known about a volume as a whole. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/fat/fat_priv.h"

#define TABLE_BYTES_UNBOUNDED ((size_t)64 << 20)
#define TABLE_BUDGET_SHARE 8u

/* The budget asks from any thread: the next operation forgets what is idle. */
static size_t shrink(void *ctx, size_t bytes)
{
	struct fat_fs *fs = ctx;

	(void)bytes;
	__atomic_store_n(&fs->pressure, 1, __ATOMIC_RELAXED);
	return 0;
}

static int read_boot(struct fat_fs *fs)
{
	const struct blk_caps *caps = blk_caps(fs->medium.dev);
	uint8_t boot[BOOT_BYTES];
	int rc;

	if (caps->size_bytes < sizeof(boot))
		return err_set(-EUCLEAN, "too small for a FAT file system");
	rc = fat_medium_read(&fs->medium, 0, boot, sizeof(boot));
	return rc ? rc : fat_bpb_decode(boot, caps->size_bytes, caps->align_bytes, &fs->g);
}

/*
 * Read the whole FAT once, and note what is free, and what chains lead to. Clusters of two chains must not be written
 * or freed. Lost chains that a power cut left may lead to free clusters: nobody gets these, or the next mount would
 * find them in two chains.
 */
static int load_free(struct fat_fs *fs)
{
	uint32_t end = fs->g.cluster_count + FAT_FIRST_CLUSTER, run = 0, shared = 0, ahead = 0;
	int rc = fat_alloc_init(&fs->alloc, fs->g.cluster_count);

	if (rc)
		return rc;
	if (fs->budget)
		budget_charge(fs->budget, fat_alloc_bytes(fs->g.cluster_count));
	for (uint32_t c = FAT_FIRST_CLUSTER; c <= end; c++) {
		uint32_t value = FAT_END;

		if (c >= ahead && c < end) {
			fat_table_read_ahead(&fs->table, ahead);
			ahead += TABLE_AHEAD_BYTES * 8 / (unsigned)fs->g.type;
		}
		if (c < end) {
			rc = fat_table_get(&fs->table, c, &value);
			if (rc)
				return rc;
		}
		if (fat_is_cluster(&fs->g, value) && !fat_alloc_lead(&fs->alloc, value))
			shared = value;
		if (value == FAT_FREE) {
			run++;
		} else if (run) {
			rc = fat_alloc_give(&fs->alloc, c - run, run);
			if (rc)
				return rc;
			run = 0;
		}
	}
	fs->held_count = fat_alloc_hold_led_to(&fs->alloc);
	if (shared)
		(void)fat_fs_fail(fs, err_set(-EUCLEAN, "two chains lead to cluster %u", shared));
	return 0;
}

static void find_label(struct fat_fs *fs)
{
	const struct fat_dir *d = fs->root->dir;

	for (uint32_t i = 0; i < d->end; i++) {
		const uint8_t *slot = d->raw + (size_t)i * SLOT_BYTES;
		size_t len = SHORT_NAME_BYTES;

		if (slot[0] == SLOT_DELETED || fat_slot_is_long(slot) || !(slot[SLOT_ATTR] & FAT_ATTR_VOLUME))
			continue;
		while (len && slot[len - 1] == ' ')
			len--;
		memcpy(fs->label, slot, len);
		fs->label[len] = '\0';
		if (fs->label[0] == (char)SLOT_E5)
			fs->label[0] = (char)SLOT_DELETED;
		return;
	}
}

static int load(struct fat_fs *fs, const struct fat_mount_options *o)
{
	size_t limit = o->budget ? budget_limit(o->budget) / TABLE_BUDGET_SHARE : TABLE_BYTES_UNBOUNDED;
	int rc = fat_table_init(&fs->table, &fs->medium, &fs->g, fs->budget, limit);

	if (rc)
		return rc;
	rc = load_free(fs);
	if (rc)
		return rc;
	fs->was_dirty = (fs->g.state & BOOT_STATE_DIRTY) || !fat_table_is_clean(&fs->table);
	/* Whoever finds a mark leaves it: only a check may say that all is well. */
	fs->marked_dirty = fs->was_dirty;
	rc = fat_node_new_root(fs);
	if (rc)
		return rc;
	find_label(fs);
	return 0;
}

static void destroy(struct fat_fs *fs) SYNC_NO_ANALYSIS
{
	struct fat_node *root = fs->root;

	/* What could not be written is lost. */
	fs->failed = true;
	while (!cds_list_empty(&fs->changed)) {
		struct fat_node *n = cds_list_entry(fs->changed.next, struct fat_node, changed_link);

		cds_list_del(&n->changed_link);
		n->listed = false;
		fat_node_unref(n);
	}
	if (root) {
		fs->root = NULL;
		fat_node_unref(root);
		fat_node_trim(fs, true);
	}
	free(fs->freed.runs);
	if (fs->budget && fs->alloc.used)
		budget_uncharge(fs->budget, fat_alloc_bytes(fs->g.cluster_count));
	fat_alloc_done(&fs->alloc);
	fat_table_done(&fs->table);
	if (fs->budget)
		budget_leave(fs->budget);
	sync_cond_done(&fs->syncer_cond);
	sync_mutex_done(&fs->lock);
	fat_medium_done(&fs->medium);
	free(fs);
}

int fat_mount(struct blk_dev *dev, const struct fat_mount_options *options, struct fat_fs **ret)
{
	struct fat_fs *fs = calloc(1, sizeof(*fs));
	int rc;

	if (!fs)
		return err_set(-ENOMEM, "%s: no memory", blk_name(dev));
	fat_medium_init(&fs->medium, dev);
	sync_mutex_init(&fs->lock, SYNC_RANK_OBJECT, "fat");
	sync_cond_init(&fs->syncer_cond);
	CDS_INIT_LIST_HEAD(&fs->changed);
	CDS_INIT_LIST_HEAD(&fs->idle);
	CDS_INIT_LIST_HEAD(&fs->reserving);
	fs->cache = options->cache;
	fs->utc_offset_s = options->utc_offset_minutes * 60;
	fs->read_only = options->read_only || blk_caps(dev)->read_only;
	/* Numbers of an earlier mount do not come back. */
	fs->next_object = fat_fs_now();
	fs->sync_count = 1;
	rc = read_boot(fs);
	if (rc == 0 && options->budget) {
		fs->budget = budget_join(options->budget, "fat", 0, shrink, fs);
		rc = fs->budget ? 0 : err_set(-ENOMEM, "no place in the memory budget");
	}
	if (rc == 0) {
		sync_mutex_lock(&fs->lock);
		rc = load(fs, options);
		sync_mutex_unlock(&fs->lock);
	}
	if (rc == 0 && options->sync_interval_ms && !fs->read_only) {
		fs->sync_interval_ms = options->sync_interval_ms;
		rc = sync_thread_start(&fs->syncer, "fat-sync", fat_syncer_run, fs);
		if (rc) {
			fs->sync_interval_ms = 0;
			rc = err_set(rc, "no thread");
		}
	}
	if (rc) {
		rc = err_add(rc, "%s: cannot be mounted", blk_name(dev));
		destroy(fs);
		return rc;
	}
	*ret = fs;
	return 0;
}

static void stop_syncer(struct fat_fs *fs)
{
	if (!fs->sync_interval_ms)
		return;
	sync_mutex_lock(&fs->lock);
	fs->stopping = true;
	sync_cond_broadcast(&fs->syncer_cond);
	sync_mutex_unlock(&fs->lock);
	sync_thread_join(&fs->syncer);
}

int fat_unmount(struct fat_fs *fs)
{
	int rc = 0;

	stop_syncer(fs);
	sync_mutex_lock(&fs->lock);
	if (!fs->read_only || fs->failed) {
		rc = fat_sync_locked(fs);
		/* What deleted files had is free only now. */
		if (rc == 0)
			rc = fat_sync_locked(fs);
	}
	if (rc == 0 && fs->marked_dirty && !fs->was_dirty && !fs->failed)
		rc = fat_fs_write_dirty_mark(fs, false);
	sync_mutex_unlock(&fs->lock);
	if (rc) {
		struct err e;

		err_take(&e);
		destroy(fs);
		err_restore(&e);
		return rc;
	}
	destroy(fs);
	return 0;
}

void fat_get_info(struct fat_fs *fs, struct fat_info *ret)
{
	struct fat_node *n;

	sync_mutex_lock(&fs->lock);
	*ret = (struct fat_info){
		.type = fs->g.type,
		.sector_bytes = fs->g.sector_bytes,
		.cluster_bytes = fs->g.cluster_bytes,
		.cluster_count = fs->g.cluster_count,
		.free_clusters = fs->alloc.free_count + fs->freed.cluster_count,
		.serial = fs->g.serial,
		.was_dirty = fs->was_dirty,
		.read_only = fs->read_only,
	};
	cds_list_for_each_entry (n, &fs->reserving, reserved_link)
		ret->free_clusters += n->reserved.count;
	memcpy(ret->label, fs->label, sizeof(ret->label));
	snprintf(ret->reason, sizeof(ret->reason), "%s", fs->reason);
	sync_mutex_unlock(&fs->lock);
}

static int put_label(struct fat_fs *fs, const uint8_t label[SHORT_NAME_BYTES])
{
	struct fat_node *root = fs->root;
	struct fat_dirent d = { .attr = FAT_ATTR_VOLUME };
	uint32_t at;
	int rc;

	for (at = 0; at < root->dir->end; at++) {
		const uint8_t *slot = root->dir->raw + (size_t)at * SLOT_BYTES;

		if (slot[0] != SLOT_DELETED && !fat_slot_is_long(slot) && (slot[SLOT_ATTR] & FAT_ATTR_VOLUME))
			break;
	}
	if (at == root->dir->end) {
		rc = fat_dir_reserve(root, 1, &at);
		if (rc)
			return rc;
		(void)fat_dir_take_slots(root, at, 1);
	}
	memcpy(d.short_name, label, SHORT_NAME_BYTES);
	d.ctime_ns = d.atime_ns = d.mtime_ns = fat_fs_now();
	fat_dirent_encode(&d, fs->g.type, fs->utc_offset_s, root->dir->raw + (size_t)at * SLOT_BYTES);
	fat_dir_touch(root, at, 1);
	rc = fat_sync_locked(fs);
	if (rc == 0)
		rc = fat_fs_write_boot_label(fs, label);
	if (rc == 0)
		rc = fat_medium_flush(&fs->medium);
	return rc;
}

int fat_set_label(struct fat_fs *fs, const char *label)
{
	uint8_t bytes[SHORT_NAME_BYTES];
	int rc = fat_name_to_label(label, bytes);

	if (rc)
		return rc;
	sync_mutex_lock(&fs->lock);
	rc = fat_fs_begin_change(fs);
	if (rc == 0)
		rc = put_label(fs, bytes);
	if (rc == 0)
		find_label(fs);
	sync_mutex_unlock(&fs->lock);
	return rc;
}
