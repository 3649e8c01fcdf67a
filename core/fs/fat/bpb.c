/* SPDX-License-Identifier: BSD-3-Clause */
/* Decoding the boot sector. Every field is checked here; nobody else reads it. */
#include "core/fs/fat/bpb.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/checked.h"
#include "core/base/err.h"

/* Sizes in sectors, as they stand. */
struct areas {
	uint32_t reserved, fat, root, total;
};

static int check_units(const uint8_t *boot, struct fat_geometry *g)
{
	uint32_t cluster_sectors = boot[BOOT_CLUSTER_SECTORS];

	g->sector_bytes = get_le16(boot + BOOT_SECTOR_BYTES);
	if (!is_pow2_u64(g->sector_bytes) || g->sector_bytes < FAT_SECTOR_BYTES_MIN ||
	    g->sector_bytes > FAT_SECTOR_BYTES_MAX)
		return err_set(-EUCLEAN, "boot sector: %u bytes per sector", g->sector_bytes);
	if (!is_pow2_u64(cluster_sectors))
		return err_set(-EUCLEAN, "boot sector: %u sectors per cluster", cluster_sectors);
	g->cluster_bytes = g->sector_bytes * cluster_sectors;
	if (g->cluster_bytes > FAT_CLUSTER_BYTES_MAX)
		return err_set(-EUCLEAN, "boot sector: clusters of %u bytes", g->cluster_bytes);
	g->media = boot[BOOT_MEDIA];
	if (g->media != 0xf0 && g->media < 0xf8)
		return err_set(-EUCLEAN, "boot sector: media type 0x%02x", g->media);
	return 0;
}

static int read_areas(const uint8_t *boot, struct fat_geometry *g, bool is_32, struct areas *ret)
{
	uint32_t root_entries = get_le16(boot + BOOT_ROOT_ENTRIES);

	*ret = (struct areas){
		.reserved = get_le16(boot + BOOT_RESERVED_SECTORS),
		.fat = get_le16(boot + BOOT_FAT_SECTORS_16),
		.total = get_le16(boot + BOOT_TOTAL_SECTORS_16),
	};
	if (is_32)
		ret->fat = get_le32(boot + BOOT32_FAT_SECTORS);
	if (!ret->total)
		ret->total = get_le32(boot + BOOT_TOTAL_SECTORS_32);
	g->fat_count = boot[BOOT_FAT_COUNT];
	if (!ret->reserved)
		return err_set(-EUCLEAN, "boot sector: no reserved sectors");
	if (!g->fat_count)
		return err_set(-EUCLEAN, "boot sector: no FAT");
	if (!ret->fat)
		return err_set(-EUCLEAN, "boot sector: a FAT of no sectors");
	if (is_32 && root_entries)
		return err_set(-EUCLEAN, "boot sector: FAT32 with a root directory of %u entries", root_entries);
	if (!is_32 && (!root_entries || root_entries % (g->sector_bytes / SLOT_BYTES)))
		return err_set(-EUCLEAN, "boot sector: a root directory of %u entries", root_entries);
	ret->root = root_entries / (g->sector_bytes / SLOT_BYTES);
	return 0;
}

/* Where everything lies, and how many clusters there are. */
static int place_areas(const struct areas *a, uint64_t device_bytes, uint32_t slack_bytes, struct fat_geometry *g)
{
	uint64_t data_sector = a->reserved + (uint64_t)a->fat * g->fat_count + a->root, clusters, present;

	if (data_sector >= a->total)
		return err_set(-EUCLEAN, "boot sector: FATs and root directory end at sector %" PRIu64 " of %u",
		               data_sector, a->total);
	g->total_bytes = (uint64_t)a->total * g->sector_bytes;
	if (g->total_bytes > device_bytes && g->total_bytes - device_bytes >= slack_bytes)
		return err_set(-EUCLEAN, "boot sector: a volume of %" PRIu64 " bytes on a device of %" PRIu64,
		               g->total_bytes, device_bytes);
	g->fat_offset = (uint64_t)a->reserved * g->sector_bytes;
	g->fat_bytes = (uint64_t)a->fat * g->sector_bytes;
	g->root_offset = g->fat_offset + g->fat_bytes * g->fat_count;
	g->root_bytes = (uint64_t)a->root * g->sector_bytes;
	g->data_offset = data_sector * g->sector_bytes;
	if (g->data_offset >= device_bytes)
		return err_set(-EUCLEAN, "boot sector: the data begins behind the end of the device");
	clusters = (g->total_bytes - g->data_offset) / g->cluster_bytes;
	present = (device_bytes - g->data_offset) / g->cluster_bytes;
	if (!clusters || !present)
		return err_set(-EUCLEAN, "boot sector: no clusters");
	if (clusters > FAT32_CLUSTERS_MAX)
		return err_set(-EUCLEAN, "boot sector: %" PRIu64 " clusters", clusters);
	g->cluster_count = (uint32_t)clusters;
	return 0;
}

static int choose_type(struct fat_geometry *g, bool is_32, uint64_t device_bytes)
{
	uint64_t entries, present = (device_bytes - g->data_offset) / g->cluster_bytes;

	if (is_32)
		g->type = FAT_TYPE_32;
	else if (g->cluster_count <= FAT12_CLUSTERS_MAX)
		g->type = FAT_TYPE_12;
	else if (g->cluster_count <= FAT16_CLUSTERS_MAX)
		g->type = FAT_TYPE_16;
	else
		return err_set(-EUCLEAN, "boot sector: %u clusters are too many for FAT16", g->cluster_count);
	/* Clusters that the FAT has no entry for, or that the device does not have, do not exist. */
	entries = g->fat_bytes * 8 / (unsigned)g->type;
	if (entries <= FAT_FIRST_CLUSTER)
		return err_set(-EUCLEAN, "boot sector: the FAT has no room for entries");
	if (entries - FAT_FIRST_CLUSTER < g->cluster_count)
		return err_set(-EUCLEAN, "boot sector: a FAT of %" PRIu64 " entries for %u clusters", entries,
		               g->cluster_count);
	g->cluster_count = (uint32_t)min_u64(g->cluster_count, present);
	return 0;
}

static int decode_32(const uint8_t *boot, const struct areas *a, struct fat_geometry *g)
{
	uint32_t flags = get_le16(boot + BOOT32_EXT_FLAGS);

	if (get_le16(boot + BOOT32_VERSION) != 0)
		return err_set(-EUCLEAN, "boot sector: FAT32 version 0x%04x", get_le16(boot + BOOT32_VERSION));
	if (flags & EXT_FLAGS_NO_MIRROR) {
		g->fat_mirrored = false;
		g->fat_active = flags & EXT_FLAGS_ACTIVE;
		if (g->fat_active >= g->fat_count)
			return err_set(-EUCLEAN, "boot sector: FAT %u of %u is the active one", g->fat_active,
			               g->fat_count);
	}
	g->root_cluster = get_le32(boot + BOOT32_ROOT_CLUSTER);
	if (!fat_is_cluster(g, g->root_cluster))
		return err_set(-EUCLEAN, "boot sector: the root directory begins at cluster %u", g->root_cluster);
	g->fsinfo_sector = get_le16(boot + BOOT32_FSINFO_SECTOR);
	g->backup_sector = get_le16(boot + BOOT32_BACKUP_SECTOR);
	/* Neither is needed to read the volume: what lies elsewhere counts as missing. */
	if (g->fsinfo_sector >= a->reserved)
		g->fsinfo_sector = 0;
	if (g->backup_sector >= a->reserved || g->backup_sector == g->fsinfo_sector)
		g->backup_sector = 0;
	return 0;
}

uint32_t fat_bpb_extended(const struct fat_geometry *g)
{
	return g->type == FAT_TYPE_32 ? BOOT_EXTENDED_32 : BOOT_EXTENDED_16;
}

static void decode_extended(const uint8_t *boot, struct fat_geometry *g)
{
	const uint8_t *ext = boot + fat_bpb_extended(g);

	g->has_extended = ext[BOOT_EXT_SIGNATURE] == BOOT_EXT_SIGNATURE_VALUE;
	memset(g->label, ' ', sizeof(g->label));
	if (!g->has_extended)
		return;
	g->state = ext[BOOT_EXT_STATE];
	g->serial = get_le32(ext + BOOT_EXT_SERIAL);
	memcpy(g->label, ext + BOOT_EXT_LABEL, sizeof(g->label));
}

int fat_bpb_decode(const uint8_t boot[BOOT_BYTES], uint64_t device_bytes, uint32_t slack_bytes,
                   struct fat_geometry *ret)
{
	struct fat_geometry g = { .fat_mirrored = true };
	bool is_32 = get_le16(boot + BOOT_FAT_SECTORS_16) == 0;
	struct areas a;
	int rc;

	if (get_le16(boot + BOOT_SIGNATURE) != BOOT_SIGNATURE_VALUE)
		return err_set(-EUCLEAN, "boot sector: no signature");
	rc = check_units(boot, &g);
	if (rc == 0)
		rc = read_areas(boot, &g, is_32, &a);
	if (rc == 0)
		rc = place_areas(&a, device_bytes, slack_bytes, &g);
	if (rc == 0)
		rc = choose_type(&g, is_32, device_bytes);
	if (rc == 0 && is_32)
		rc = decode_32(boot, &a, &g);
	if (rc)
		return rc;
	decode_extended(boot, &g);
	*ret = g;
	return 0;
}
