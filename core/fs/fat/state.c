/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether the volume may be changed, and the marks on it that say so: dirty bits, and FSInfo. */
#include <errno.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/fs/fat/fat_priv.h"

#define CHANGED_MAX 4096u /* nodes with changes */

static int read_only_error(const struct fat_fs *fs)
{
	if (fs->failed)
		return err_set(-EROFS, "%s is read-only: %s", blk_name(fs->medium.dev), fs->reason);
	return err_set(-EROFS, "%s is mounted read-only", blk_name(fs->medium.dev));
}

int fat_fs_fail(struct fat_fs *fs, int rc)
{
	if (!fs->failed) {
		err_text(err_get(), rc, 0, fs->reason, sizeof(fs->reason));
		fs->failed = true;
		fs->read_only = true;
		log_error("fat", "read-only from now on: device=%s reason=\"%s\"", blk_name(fs->medium.dev),
		          fs->reason);
	}
	return rc;
}

int fat_fs_found_damage(struct fat_fs *fs, int rc)
{
	struct err e;

	err_take(&e);
	if (!fs->read_only)
		(void)fat_sync_locked(fs);
	err_restore(&e);
	return fat_fs_fail(fs, rc);
}

static int write_boot_state(struct fat_fs *fs, bool dirty)
{
	uint8_t sector[BOOT_BYTES], *state = sector + fat_bpb_extended(&fs->g) + BOOT_EXT_STATE;
	int rc;

	if (!fs->g.has_extended)
		return 0;
	rc = fat_medium_read(&fs->medium, 0, sector, sizeof(sector));
	if (rc)
		return rc;
	*state = (uint8_t)(dirty ? *state | BOOT_STATE_DIRTY : *state & ~BOOT_STATE_DIRTY);
	return fat_medium_write(&fs->medium, 0, sector, sizeof(sector));
}

int fat_fs_write_boot_label(struct fat_fs *fs, const uint8_t label[SHORT_NAME_BYTES])
{
	uint64_t backup = (uint64_t)fs->g.backup_sector * fs->g.sector_bytes;
	uint8_t sector[BOOT_BYTES];
	int rc = 0;

	if (!fs->g.has_extended)
		return 0;
	for (unsigned copy = 0; rc == 0 && copy < (backup ? 2u : 1u); copy++) {
		rc = fat_medium_read(&fs->medium, copy * backup, sector, sizeof(sector));
		if (rc == 0) {
			memcpy(sector + fat_bpb_extended(&fs->g) + BOOT_EXT_LABEL, label, SHORT_NAME_BYTES);
			rc = fat_medium_write(&fs->medium, copy * backup, sector, sizeof(sector));
		}
	}
	return rc;
}

int fat_fs_write_dirty_mark(struct fat_fs *fs, bool dirty)
{
	int rc = fat_table_set_clean(&fs->table, !dirty);

	if (rc == 0)
		rc = fat_table_write(&fs->table);
	if (rc == 0)
		rc = write_boot_state(fs, dirty);
	if (rc == 0)
		rc = fat_medium_flush(&fs->medium);
	return rc;
}

static bool is_time_to_sync(const struct fat_fs *fs)
{
	return fs->changed_count > CHANGED_MAX || fat_table_is_full(&fs->table);
}

bool fat_fs_begin_waits(const struct fat_fs *fs)
{
	return !fs->read_only && (!fs->marked_dirty || is_time_to_sync(fs));
}

int fat_fs_begin_change(struct fat_fs *fs)
{
	int rc;

	if (fs->read_only)
		return read_only_error(fs);
	if (is_time_to_sync(fs)) {
		rc = fat_sync_locked(fs);
		if (rc)
			return rc;
	}
	if (fs->marked_dirty)
		return 0;
	rc = fat_fs_write_dirty_mark(fs, true);
	if (rc)
		return fat_fs_fail(fs, rc);
	fs->marked_dirty = true;
	return 0;
}

int fat_fs_write_fsinfo(struct fat_fs *fs)
{
	uint8_t sector[BOOT_BYTES];
	uint64_t at = (uint64_t)fs->g.fsinfo_sector * fs->g.sector_bytes;
	/* What was freed is written as free by now. */
	uint64_t free_count = (uint64_t)fs->alloc.free_count + fs->freed.cluster_count + fs->held_count;
	struct fat_node *n;
	int rc;

	if (!fs->g.fsinfo_sector)
		return 0;
	cds_list_for_each_entry (n, &fs->reserving, reserved_link)
		free_count += n->reserved.count;
	rc = fat_medium_read(&fs->medium, at, sector, sizeof(sector));
	if (rc)
		return rc;
	put_le32(sector + FSINFO_LEAD, FSINFO_LEAD_VALUE);
	put_le32(sector + FSINFO_STRUCT, FSINFO_STRUCT_VALUE);
	put_le32(sector + FSINFO_FREE_COUNT, (uint32_t)free_count);
	put_le32(sector + FSINFO_NEXT_FREE, fs->alloc.next + FAT_FIRST_CLUSTER);
	put_le32(sector + FSINFO_TRAIL, FSINFO_TRAIL_VALUE);
	return fat_medium_write(&fs->medium, at, sector, sizeof(sector));
}
