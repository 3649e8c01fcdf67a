/* SPDX-License-Identifier: BSD-3-Clause */
/* Slots and bitmap to the device. */
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/err.h"
#include "core/blk/blk.h"
#include "core/fs/wfs2/wfs2_priv.h"

/* The file system's lock is held: nobody searches in between. */
static void take_over(struct wfs2_fs *fs, uint32_t slot, const uint8_t *bytes)
{
	uint8_t *old = wfs2_slot(&fs->v, slot);

	if (get_le16(old + SLOT_FLAGS))
		wfs2_index_remove(&fs->v.index, fs->v.table, slot);
	memcpy(old, bytes, WFS2_SLOT_BYTES);
	if (get_le16(old + SLOT_FLAGS))
		wfs2_index_add(&fs->v.index, fs->v.table, slot);
}

int wfs2_write_slot(struct wfs2_fs *fs, uint32_t slot, const struct wfs2_entry *e)
{
	uint32_t block = slot / WFS2_SLOTS_PER_BLOCK;
	uint8_t *bytes = fs->bounce + slot % WFS2_SLOTS_PER_BLOCK * WFS2_SLOT_BYTES;
	int rc;

	/* The other slots of the block are written as they are on the device. */
	memcpy(fs->bounce, fs->v.table + (uint64_t)block * WFS2_BLOCK_BYTES, WFS2_BLOCK_BYTES);
	wfs2_entry_encode(e, bytes);
	rc = blk_write(fs->dev, ((uint64_t)fs->v.super.table_first + block) * WFS2_BLOCK_BYTES, fs->bounce,
	               WFS2_BLOCK_BYTES, BLK_FUA);
	if (rc)
		return wfs2_fail(fs, err_add(rc, "slot %u of the file table", slot));
	sync_mutex_lock(&fs->lock);
	take_over(fs, slot, bytes);
	sync_mutex_unlock(&fs->lock);
	return 0;
}

int wfs2_write_bitmap(struct wfs2_fs *fs)
{
	for (uint32_t i = 0; i < fs->v.super.bitmap_blocks; i++) {
		bool dirty;
		int rc;

		sync_mutex_lock(&fs->lock);
		dirty = fs->v.bitmap_dirty[i];
		if (dirty)
			memcpy(fs->bounce, fs->v.bitmap + (uint64_t)i * WFS2_BLOCK_BYTES, WFS2_BLOCK_BYTES);
		fs->v.bitmap_dirty[i] = 0;
		sync_mutex_unlock(&fs->lock);
		if (!dirty)
			continue;
		rc = wfs2_block_write(fs->dev, (uint64_t)fs->v.super.bitmap_first + i, fs->bounce);
		if (rc)
			return wfs2_fail(fs, err_add(rc, "block %u of the bitmap", i));
	}
	return 0;
}
