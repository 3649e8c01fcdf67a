/* SPDX-License-Identifier: BSD-3-Clause */
/* Making a FAT file system. The data area is aligned to clusters and to 4 KiB, so that no request to a device needs a
 * detour. */
#include "core/fs/fat/mkfs.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/fat/dirent.h"
#include "core/fs/fat/medium.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define ALIGN_BYTES 4096u
#define ALIGN_FROM_BYTES (4 * MIB) /* smaller ones have no room to waste */
#define RESERVED_32 32u
#define BACKUP_SECTOR 6u
#define FSINFO_SECTOR 1u
#define ROOT_ENTRIES 512u
#define ROOT_ENTRIES_FLOPPY 224u

struct layout {
	unsigned type;
	uint32_t sector, cluster; /* bytes */
	uint32_t reserved, fat, root, total; /* sectors */
	uint32_t root_entries;
	uint32_t clusters;
};

static uint32_t clusters_min(unsigned type)
{
	return type == 12 ? 1 : type == 16 ? FAT12_CLUSTERS_MAX + 1 : FAT16_CLUSTERS_MAX + 1;
}

static uint32_t clusters_max(unsigned type)
{
	return type == 12 ? FAT12_CLUSTERS_MAX : type == 16 ? FAT16_CLUSTERS_MAX : FAT32_CLUSTERS_MAX;
}

/* Place everything for this type and cluster size. False: it does not fit. */
static bool lay_out(struct layout *l, unsigned type, uint32_t cluster, uint64_t size)
{
	uint32_t align = cluster > ALIGN_BYTES ? cluster : ALIGN_BYTES, before;
	uint64_t total = size / l->sector, data;

	l->type = type;
	l->cluster = cluster;
	l->total = (uint32_t)min_u64(total, UINT32_MAX);
	l->reserved = type == 32 ? RESERVED_32 : 1;
	l->root_entries = type == 32 ? 0 : ROOT_ENTRIES;
	if (type == 12 && size < ALIGN_FROM_BYTES && l->sector == FAT_SECTOR_BYTES_MIN)
		l->root_entries = ROOT_ENTRIES_FLOPPY;
	l->root = l->root_entries * SLOT_BYTES / l->sector;
	if (l->total <= l->reserved + l->root)
		return false;
	/* As if FATs took no room: a little more than is needed. */
	data = (uint64_t)(l->total - l->reserved - l->root) * l->sector / cluster;
	l->fat = (uint32_t)div_round_up_u64(div_round_up_u64((data + FAT_FIRST_CLUSTER) * type, 8), l->sector);
	before = l->reserved + 2 * l->fat + l->root;
	if (size >= ALIGN_FROM_BYTES)
		l->reserved += (uint32_t)(round_up_u64((uint64_t)before * l->sector, align) / l->sector - before);
	before = l->reserved + 2 * l->fat + l->root;
	if (before >= l->total || l->reserved > UINT16_MAX)
		return false;
	l->clusters = (uint32_t)((uint64_t)(l->total - before) * l->sector / cluster);
	return l->clusters >= clusters_min(type) && l->clusters <= clusters_max(type);
}

/* As Windows and others choose. */
static uint32_t usual_cluster(const struct layout *l, unsigned type, uint64_t size)
{
	uint32_t bytes = 512;

	if (type == 32)
		bytes = size <= 260 * MIB  ? 512
		        : size <= 8 * GIB  ? 4096
		        : size <= 16 * GIB ? 8192
		        : size <= 32 * GIB ? 16384
		                           : 32768;
	else if (type == 16 && size > 16 * MIB)
		bytes = 2048;
	return bytes > l->sector ? bytes : l->sector;
}

static int choose(struct layout *l, const struct fat_mkfs_options *o, uint64_t size)
{
	unsigned type = o->type ? o->type : size < 16 * MIB ? 12 : size < 512 * MIB ? 16 : 32;
	uint32_t cluster = o->cluster_bytes ? o->cluster_bytes : usual_cluster(l, type, size);
	uint32_t most = o->cluster_bytes ? cluster : FAT_CLUSTER_BYTES_MAX;

	if (!is_pow2_u64(cluster) || cluster < l->sector || cluster > FAT_CLUSTER_BYTES_MAX ||
	    cluster / l->sector > 128)
		return err_set(-EINVAL, "clusters have a power of two of bytes, from a sector (%u) to %u", l->sector,
		               (uint32_t)min_u64(FAT_CLUSTER_BYTES_MAX, 128 * l->sector));
	for (uint32_t c = cluster; c <= most && c / l->sector <= 128; c *= 2) {
		if (lay_out(l, type, c, size))
			return 0;
	}
	/* Asked for no cluster size: a smaller one makes more clusters. */
	for (uint32_t c = cluster / 2; !o->cluster_bytes && c >= l->sector; c /= 2) {
		if (lay_out(l, type, c, size))
			return 0;
	}
	return err_set(-EINVAL, "%" PRIu64 " bytes do not make a FAT%u volume%s", size, type,
	               o->cluster_bytes ? " with clusters of that size" : "");
}

static void build_boot(const struct layout *l, const struct fat_mkfs_options *o, const uint8_t *label, uint8_t *boot)
{
	static const uint8_t halt[] = { 0xf4, 0xeb, 0xfd };
	uint8_t *ext = boot + (l->type == 32 ? BOOT_EXTENDED_32 : BOOT_EXTENDED_16);
	uint8_t code = (uint8_t)(ext + BOOT_EXT_TYPE + 8 - boot);
	char type[16] = "FAT12   ";

	memset(boot, 0, BOOT_BYTES);
	boot[BOOT_JUMP] = 0xeb;
	boot[BOOT_JUMP + 1] = (uint8_t)(code - 2);
	boot[BOOT_JUMP + 2] = 0x90;
	memcpy(boot + code, halt, sizeof(halt));
	memcpy(boot + BOOT_OEM_NAME, "WFSD    ", 8);
	put_le16(boot + BOOT_SECTOR_BYTES, (uint16_t)l->sector);
	boot[BOOT_CLUSTER_SECTORS] = (uint8_t)(l->cluster / l->sector);
	put_le16(boot + BOOT_RESERVED_SECTORS, (uint16_t)l->reserved);
	boot[BOOT_FAT_COUNT] = 2;
	put_le16(boot + BOOT_ROOT_ENTRIES, (uint16_t)l->root_entries);
	if (l->total <= UINT16_MAX && l->type != 32)
		put_le16(boot + BOOT_TOTAL_SECTORS_16, (uint16_t)l->total);
	else
		put_le32(boot + BOOT_TOTAL_SECTORS_32, l->total);
	boot[BOOT_MEDIA] = 0xf8;
	put_le16(boot + BOOT_TRACK_SECTORS, 63);
	put_le16(boot + BOOT_HEADS, 255);
	if (l->type == 32) {
		put_le32(boot + BOOT32_FAT_SECTORS, l->fat);
		put_le32(boot + BOOT32_ROOT_CLUSTER, FAT_FIRST_CLUSTER);
		put_le16(boot + BOOT32_FSINFO_SECTOR, FSINFO_SECTOR);
		put_le16(boot + BOOT32_BACKUP_SECTOR, BACKUP_SECTOR);
	} else {
		put_le16(boot + BOOT_FAT_SECTORS_16, (uint16_t)l->fat);
	}
	ext[BOOT_EXT_DRIVE] = 0x80;
	ext[BOOT_EXT_SIGNATURE] = BOOT_EXT_SIGNATURE_VALUE;
	put_le32(ext + BOOT_EXT_SERIAL, o->serial);
	memcpy(ext + BOOT_EXT_LABEL, label, SHORT_NAME_BYTES);
	type[3] = (char)('0' + l->type / 10);
	type[4] = (char)('0' + l->type % 10);
	memcpy(ext + BOOT_EXT_TYPE, type, 8);
	put_le16(boot + BOOT_SIGNATURE, BOOT_SIGNATURE_VALUE);
}

static int write_fats(struct fat_medium *m, const struct layout *l)
{
	uint8_t head[12];
	int rc = 0;

	memset(head, 0xff, sizeof(head));
	head[0] = 0xf8;
	if (l->type == 32) {
		put_le32(head, 0x0ffffff8);
		put_le32(head + 4, FAT_END);
		put_le32(head + 8, FAT_END); /* the root directory */
	}
	for (unsigned copy = 0; rc == 0 && copy < 2; copy++)
		rc = fat_medium_write(m, ((uint64_t)l->reserved + (uint64_t)copy * l->fat) * l->sector, head,
		                      l->type == 32 ? 12 : l->type / 4);
	return rc;
}

static int write_fsinfo(struct fat_medium *m, const struct layout *l)
{
	uint8_t info[BOOT_BYTES] = { 0 };
	int rc;

	put_le32(info + FSINFO_LEAD, FSINFO_LEAD_VALUE);
	put_le32(info + FSINFO_STRUCT, FSINFO_STRUCT_VALUE);
	put_le32(info + FSINFO_FREE_COUNT, l->clusters - 1);
	put_le32(info + FSINFO_NEXT_FREE, FAT_FIRST_CLUSTER + 1);
	put_le32(info + FSINFO_TRAIL, FSINFO_TRAIL_VALUE);
	rc = fat_medium_write(m, (uint64_t)FSINFO_SECTOR * l->sector, info, sizeof(info));
	if (rc == 0)
		rc = fat_medium_write(m, (uint64_t)(BACKUP_SECTOR + FSINFO_SECTOR) * l->sector, info, sizeof(info));
	return rc;
}

static int write_label(struct fat_medium *m, const struct layout *l, const struct fat_mkfs_options *o,
                       const uint8_t *label)
{
	struct fat_dirent d = { .attr = FAT_ATTR_VOLUME, .mtime_ns = o->now_ns };
	uint8_t slot[SLOT_BYTES] = { 0 };

	memcpy(d.short_name, label, SHORT_NAME_BYTES);
	d.ctime_ns = d.atime_ns = d.mtime_ns;
	fat_dirent_encode(&d, (enum fat_type)l->type, 0, slot);
	return fat_medium_write(m, ((uint64_t)l->reserved + 2 * (uint64_t)l->fat) * l->sector, slot, sizeof(slot));
}

/* The boot sector comes last: a device that was left half-way has no file system. */
static int write_all(struct fat_medium *m, const struct layout *l, const struct fat_mkfs_options *o,
                     const uint8_t *label)
{
	uint64_t head = ((uint64_t)l->reserved + 2 * (uint64_t)l->fat + l->root) * l->sector;
	uint8_t boot[BOOT_BYTES];
	int rc = fat_medium_zero(m, 0, head + (l->type == 32 ? l->cluster : 0));

	build_boot(l, o, label, boot);
	if (rc == 0)
		rc = write_fats(m, l);
	if (rc == 0 && l->type == 32)
		rc = write_fsinfo(m, l);
	if (rc == 0 && l->type == 32)
		rc = fat_medium_write(m, (uint64_t)BACKUP_SECTOR * l->sector, boot, sizeof(boot));
	if (rc == 0 && o->label)
		rc = write_label(m, l, o, label);
	if (rc == 0)
		rc = fat_medium_flush(m);
	if (rc == 0)
		rc = fat_medium_write(m, 0, boot, sizeof(boot));
	return rc ? rc : fat_medium_flush(m);
}

int fat_mkfs(struct blk_dev *dev, const struct fat_mkfs_options *options)
{
	const struct blk_caps *caps = blk_caps(dev);
	struct layout l = { .sector = options->sector_bytes };
	uint8_t label[SHORT_NAME_BYTES] = "NO NAME   ";
	struct fat_medium m;
	int rc = 0;

	label[SHORT_NAME_BYTES - 1] = ' ';
	if (options->label)
		rc = fat_name_to_label(options->label, label);
	if (rc)
		return rc;
	if (!l.sector)
		l.sector = caps->transport == BLK_TRANSPORT_FILE ? FAT_SECTOR_BYTES_MIN : caps->logical_block_bytes;
	if (options->type && options->type != 12 && options->type != 16 && options->type != 32)
		return err_set(-EINVAL, "the types are 12, 16 and 32");
	if (!is_pow2_u64(l.sector) || l.sector < FAT_SECTOR_BYTES_MIN || l.sector > FAT_SECTOR_BYTES_MAX)
		return err_set(-EINVAL, "sectors have 512, 1024, 2048 or 4096 bytes");
	rc = choose(&l, options, caps->size_bytes);
	if (rc)
		return rc;
	fat_medium_init(&m, dev);
	rc = write_all(&m, &l, options, label);
	fat_medium_done(&m);
	return rc;
}
