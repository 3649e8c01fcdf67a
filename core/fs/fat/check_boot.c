/* SPDX-License-Identifier: BSD-3-Clause */
/* What stands outside of files: boot sector and its backup, copies of the FAT, FSInfo, the dirty bits. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/fat/check_priv.h"

#define PIECE_BYTES 65536u
#define BACKUP_SECTOR_USUAL 6u

static int decode(struct fat_check *c, const uint8_t *boot)
{
	const struct blk_caps *caps = blk_caps(c->medium.dev);

	return fat_bpb_decode(boot, caps->size_bytes, caps->align_bytes, &c->g);
}

/* The backup lies behind six sectors, of a size that only the boot sector could tell. */
static int restore(struct fat_check *c)
{
	uint8_t boot[BOOT_BYTES];
	struct err e;
	int rc = -EUCLEAN;

	err_take(&e);
	for (uint32_t sector = FAT_SECTOR_BYTES_MIN; rc && sector <= FAT_SECTOR_BYTES_MAX; sector *= 2) {
		uint64_t at = (uint64_t)BACKUP_SECTOR_USUAL * sector;

		if (!range_within(at, BOOT_BYTES, blk_caps(c->medium.dev)->size_bytes))
			break;
		rc = fat_medium_read(&c->medium, at, boot, sizeof(boot));
		if (rc == 0)
			rc = decode(c, boot);
		if (rc == 0 && (c->g.type != FAT_TYPE_32 || c->g.sector_bytes != sector))
			rc = -EUCLEAN;
	}
	err_restore(&e);
	if (rc)
		return e.code;
	if (fat_check_found(c, FAT_FINDING_BOOT, true, "%s; its backup is whole", e.frames[0].text))
		return fat_medium_write(&c->medium, 0, boot, sizeof(boot));
	return 0;
}

/* What a mount changes in the first one alone does not count. */
static bool differs(const struct fat_check *c, uint8_t *boot, uint8_t *backup)
{
	uint32_t ext = fat_bpb_extended(&c->g);

	backup[ext + BOOT_EXT_STATE] = boot[ext + BOOT_EXT_STATE] & (uint8_t)~BOOT_STATE_DIRTY;
	boot[ext + BOOT_EXT_STATE] = backup[ext + BOOT_EXT_STATE];
	return memcmp(boot, backup, BOOT_BYTES) != 0;
}

static int check_backup(struct fat_check *c, uint8_t *boot)
{
	uint64_t at = (uint64_t)c->g.backup_sector * c->g.sector_bytes;
	uint8_t backup[BOOT_BYTES];
	int rc;

	if (!at)
		return 0;
	rc = fat_medium_read(&c->medium, at, backup, sizeof(backup));
	if (rc || !differs(c, boot, backup) ||
	    !fat_check_found(c, FAT_FINDING_BACKUP, true, "the backup of the boot sector differs"))
		return rc;
	return fat_medium_write(&c->medium, at, boot, sizeof(backup));
}

int fat_check_boot(struct fat_check *c)
{
	uint8_t boot[BOOT_BYTES];
	int rc;

	if (blk_caps(c->medium.dev)->size_bytes < sizeof(boot))
		return err_set(-EUCLEAN, "too small for a FAT file system");
	rc = fat_medium_read(&c->medium, 0, boot, sizeof(boot));
	if (rc)
		return rc;
	rc = decode(c, boot);
	if (rc == -EUCLEAN)
		return restore(c);
	return rc ? rc : check_backup(c, boot);
}

/* Entries that are possible nowhere. */
static int count_impossible(struct fat_check *c, uint32_t copy, uint32_t *ret)
{
	struct fat_geometry g = c->g;
	struct fat_table t;
	uint32_t value;
	int rc;

	*ret = 0;
	g.fat_active = copy;
	g.fat_mirrored = false;
	rc = fat_table_init(&t, &c->medium, &g, NULL, PIECE_BYTES);
	for (uint32_t i = FAT_FIRST_CLUSTER; rc == 0 && i < g.cluster_count + FAT_FIRST_CLUSTER; i++) {
		rc = fat_table_get(&t, i, &value);
		if (rc == 0 && value != FAT_FREE && value != FAT_BAD && value < FAT_END_MIN &&
		    !fat_is_cluster(&g, value))
			(*ret)++;
	}
	fat_table_done(&t);
	return rc;
}

/* Compare the active copy with the others in pieces; @write: make them the same. *@ret_differ: bytes that differ. */
static int compare(struct fat_check *c, bool write, uint64_t *ret_differ)
{
	uint8_t *a = malloc(2 * PIECE_BYTES), *b = a + PIECE_BYTES;
	int rc = a ? 0 : err_set(-ENOMEM, "check: no memory");

	*ret_differ = 0;
	for (uint32_t copy = 0; rc == 0 && copy < c->g.fat_count; copy++) {
		for (uint64_t at = 0; rc == 0 && copy != c->g.fat_active && at < c->g.fat_bytes; at += PIECE_BYTES) {
			size_t len = (size_t)min_u64(PIECE_BYTES, c->g.fat_bytes - at);
			uint64_t to = c->g.fat_offset + copy * c->g.fat_bytes + at;

			rc = fat_medium_read(&c->medium, c->g.fat_offset + c->g.fat_active * c->g.fat_bytes + at, a,
			                     len);
			if (rc == 0)
				rc = fat_medium_read(&c->medium, to, b, len);
			if (rc || memcmp(a, b, len) == 0)
				continue;
			for (size_t i = 0; i < len; i++)
				*ret_differ += a[i] != b[i];
			if (write)
				rc = fat_medium_write(&c->medium, to, a, len);
		}
	}
	free(a);
	return rc;
}

/* Which copy is believed: the active one, unless another has fewer impossible entries. */
int fat_check_copies(struct fat_check *c)
{
	uint32_t best = c->g.fat_active, least, bad;
	uint64_t differ;
	int rc;

	if (!c->g.fat_mirrored || c->g.fat_count == 1)
		return 0;
	rc = compare(c, false, &differ);
	if (rc || !differ)
		return rc;
	rc = count_impossible(c, best, &least);
	for (uint32_t copy = 0; rc == 0 && copy < c->g.fat_count; copy++) {
		if (copy == c->g.fat_active)
			continue;
		rc = count_impossible(c, copy, &bad);
		if (rc == 0 && bad < least) {
			least = bad;
			best = copy;
		}
	}
	if (rc)
		return rc;
	c->copies_differ = fat_check_found(c, FAT_FINDING_COPIES, true,
	                                   "the copies of the FAT differ in %llu bytes; copy %u is believed",
	                                   (unsigned long long)differ, best);
	c->g.fat_active = best;
	return 0;
}

int fat_check_write_copies(struct fat_check *c)
{
	uint64_t differ;

	return c->copies_differ ? compare(c, true, &differ) : 0;
}

int fat_check_fsinfo(struct fat_check *c, bool write)
{
	uint64_t at = (uint64_t)c->g.fsinfo_sector * c->g.sector_bytes;
	uint32_t free_count = c->g.cluster_count - c->report->used_clusters - c->report->bad_clusters, told;
	uint8_t sector[BOOT_BYTES];
	bool marks;
	int rc;

	if (!at)
		return 0;
	rc = fat_medium_read(&c->medium, at, sector, sizeof(sector));
	if (rc)
		return rc;
	told = get_le32(sector + FSINFO_FREE_COUNT);
	marks = get_le32(sector + FSINFO_LEAD) == FSINFO_LEAD_VALUE &&
	        get_le32(sector + FSINFO_STRUCT) == FSINFO_STRUCT_VALUE &&
	        get_le32(sector + FSINFO_TRAIL) == FSINFO_TRAIL_VALUE;
	if (!write && !marks)
		(void)fat_check_found(c, FAT_FINDING_FSINFO, true, "FSInfo is damaged");
	else if (!write && told != free_count && told != FSINFO_UNKNOWN)
		(void)fat_check_found(c, FAT_FINDING_FSINFO, true, "FSInfo tells of %u free clusters, there are %u",
		                      told, free_count);
	if (!write || (marks && told == free_count))
		return 0;
	if (!marks)
		memset(sector, 0, sizeof(sector));
	put_le32(sector + FSINFO_LEAD, FSINFO_LEAD_VALUE);
	put_le32(sector + FSINFO_STRUCT, FSINFO_STRUCT_VALUE);
	put_le32(sector + FSINFO_TRAIL, FSINFO_TRAIL_VALUE);
	put_le32(sector + FSINFO_FREE_COUNT, free_count);
	put_le32(sector + FSINFO_NEXT_FREE, FAT_FIRST_CLUSTER);
	return fat_medium_write(&c->medium, at, sector, sizeof(sector));
}

/* The last write of a repair: until then the volume is marked. */
int fat_check_dirty(struct fat_check *c)
{
	uint8_t boot[BOOT_BYTES], *state = boot + fat_bpb_extended(&c->g) + BOOT_EXT_STATE;
	int rc = fat_medium_read(&c->medium, 0, boot, sizeof(boot));
	bool in_boot = c->g.has_extended && (*state & BOOT_STATE_DIRTY), in_table = !fat_table_is_clean(&c->table);

	if (rc || (!in_boot && !in_table) ||
	    !fat_check_found(c, FAT_FINDING_DIRTY, true, "the volume was not unmounted cleanly"))
		return rc;
	if (in_table)
		rc = fat_table_set_clean(&c->table, true);
	if (rc == 0)
		rc = fat_table_write(&c->table);
	if (rc == 0 && in_boot) {
		*state &= (uint8_t)~BOOT_STATE_DIRTY;
		rc = fat_medium_write(&c->medium, 0, boot, sizeof(boot));
	}
	return rc ? rc : fat_medium_flush(&c->medium);
}
