/* SPDX-License-Identifier: BSD-3-Clause */
/* Mounting and unmounting, and whether the volume may be changed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/err.h"
#include "core/blk/blk.h"
#include "core/fs/wfs2/wfs2_priv.h"

uint64_t wfs2_now(void)
{
	return sync_wall_ns();
}

int wfs2_check_writable(struct wfs2_fs *fs)
{
	if (!__atomic_load_n(&fs->read_only, __ATOMIC_ACQUIRE))
		return 0;
	return err_set(-EROFS, "device %s is read-only%s%s", blk_name(fs->dev), *fs->reason ? ": " : "", fs->reason);
}

int wfs2_fail(struct wfs2_fs *fs, int rc)
{
	sync_mutex_lock(&fs->lock);
	if (!fs->read_only) {
		err_text(err_get(), rc, 0, fs->reason, sizeof(fs->reason));
		__atomic_store_n(&fs->read_only, true, __ATOMIC_RELEASE);
	}
	sync_mutex_unlock(&fs->lock);
	return rc;
}

void wfs2_get_info(struct wfs2_fs *fs, struct wfs2_info *ret)
{
	sync_mutex_lock(&fs->lock);
	*ret = (struct wfs2_info){
		.block_count = fs->v.super.block_count,
		.free_blocks = fs->space.free_count,
		.file_count = fs->v.used_files,
		.file_max = fs->v.super.file_count,
		.read_only = fs->read_only,
	};
	for (uint32_t slot = 0; slot < fs->v.super.file_count; slot++)
		ret->free_blocks += fs->nodes[slot] ? fs->nodes[slot]->kept.count : 0;
	memcpy(ret->id, fs->v.super.id, sizeof(ret->id));
	memcpy(ret->label, fs->v.super.label, sizeof(ret->label));
	memcpy(ret->reason, fs->reason, sizeof(ret->reason));
	sync_mutex_unlock(&fs->lock);
}

/* The first thing that is not mended is why the volume is read-only. */
static void note_finding(void *ctx, const struct wfs2_finding *f)
{
	struct wfs2_fs *fs = ctx;

	if (!f->repaired && !*fs->reason)
		snprintf(fs->reason, sizeof(fs->reason), "damaged (%s): %.200s", wfs2_finding_name(f->kind), f->text);
}

static int alloc_tables(struct wfs2_fs *fs)
{
	const struct wfs2_super *s = &fs->v.super;
	uint32_t bitmap_bytes = s->bitmap_blocks * WFS2_BLOCK_BYTES;
	int rc = wfs2_space_init(&fs->space, fs->v.bitmap, bitmap_bytes, s->data_first, s->block_count - 1);

	fs->nodes = calloc(s->file_count, sizeof(struct wfs2_node *));
	fs->free_slots = calloc(s->file_count, sizeof(*fs->free_slots));
	fs->bounce = aligned_alloc(WFS2_BLOCK_BYTES, WFS2_BLOCK_BYTES);
	if (rc)
		return rc;
	if (!fs->nodes || !fs->free_slots || !fs->bounce)
		return err_set(-ENOMEM, "no memory for %u files", s->file_count);
	/* The first slot is on top. */
	for (uint32_t slot = s->file_count; slot-- > 0;) {
		if (!get_le16(wfs2_slot(&fs->v, slot) + SLOT_FLAGS))
			fs->free_slots[fs->free_slot_count++] = slot;
	}
	fs->charged_bytes = (size_t)bitmap_bytes * 2 + (size_t)s->file_count * (WFS2_SLOT_BYTES + 4 * sizeof(void *));
	if (fs->budget)
		budget_charge(fs->budget, fs->charged_bytes);
	else
		fs->charged_bytes = 0;
	return 0;
}

static int load(struct wfs2_fs *fs, bool read_only)
{
	struct wfs2_findings f = {
		.mend = 1u << WFS2_FINDING_LOST | 1u << WFS2_FINDING_RENAME,
		.found = note_finding,
		.ctx = fs,
	};
	int rc = wfs2_volume_read(fs->dev, &f, &fs->v);

	if (rc == 0)
		rc = wfs2_volume_scan(&fs->v, &f);
	fs->read_only = read_only || f.left || blk_caps(fs->dev)->read_only;
	if (rc == 0 && !fs->read_only)
		rc = wfs2_volume_write(&fs->v);
	return rc ? rc : alloc_tables(fs);
}

static void release(struct wfs2_fs *fs)
{
	wfs2_space_done(&fs->space);
	wfs2_volume_done(&fs->v);
	free(fs->nodes);
	free(fs->free_slots);
	free(fs->bounce);
	if (fs->budget) {
		budget_uncharge(fs->budget, fs->charged_bytes);
		budget_leave(fs->budget);
	}
	sync_cond_done(&fs->syncer_cond);
	sync_mutex_done(&fs->change_lock);
	sync_mutex_done(&fs->lock);
	free(fs);
}

int wfs2_mount(struct blk_dev *dev, const struct wfs2_mount_options *options, struct wfs2_fs **ret)
{
	struct wfs2_fs *fs = calloc(1, sizeof(*fs));
	int rc = 0;

	if (!fs)
		return err_set(-ENOMEM, "no memory to mount a volume");
	fs->dev = dev;
	fs->cache = options->cache;
	fs->sync_interval_ms = options->sync_interval_ms;
	sync_mutex_init(&fs->change_lock, SYNC_RANK_DEVICES, "wfs2 changes");
	sync_mutex_init(&fs->lock, SYNC_RANK_ALLOC, "wfs2");
	sync_cond_init(&fs->syncer_cond);
	CDS_INIT_LIST_HEAD(&fs->changed);
	CDS_INIT_LIST_HEAD(&fs->idle);
	if (options->budget) {
		fs->budget = budget_join(options->budget, "wfs2", 0, NULL, NULL);
		if (!fs->budget)
			rc = err_set(-ENOMEM, "no memory to mount a volume");
	}
	if (rc == 0)
		rc = load(fs, options->read_only);
	if (rc == 0 && fs->sync_interval_ms && !fs->read_only) {
		rc = sync_thread_start(&fs->syncer, "wfs2-sync", wfs2_syncer_run, fs);
		fs->has_syncer = rc == 0;
	}
	if (rc)
		release(fs);
	else
		*ret = fs;
	return rc;
}

int wfs2_unmount(struct wfs2_fs *fs)
{
	int rc;

	if (fs->has_syncer) {
		sync_mutex_lock(&fs->lock);
		fs->stopping = true;
		sync_cond_broadcast(&fs->syncer_cond);
		sync_mutex_unlock(&fs->lock);
		sync_thread_join(&fs->syncer);
	}
	rc = wfs2_sync(fs);
	/* What could not be written goes. */
	while (!cds_list_empty(&fs->changed)) {
		struct wfs2_node *n = cds_list_first_entry(&fs->changed, struct wfs2_node, changed_link);

		sync_mutex_lock(&fs->lock);
		cds_list_del(&n->changed_link);
		n->listed = false;
		sync_mutex_unlock(&fs->lock);
		wfs2_put(n);
	}
	wfs2_node_drop_idle(fs);
	for (uint32_t slot = 0; slot < fs->v.super.file_count; slot++)
		always(!fs->nodes[slot]);
	release(fs);
	return rc;
}
