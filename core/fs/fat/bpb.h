/* SPDX-License-Identifier: BSD-3-Clause */
/* The boot sector: decoding it into a geometry whose numbers are safe to compute with. Pure; any thread. */
#ifndef WFSD_CORE_FS_FAT_BPB_H
#define WFSD_CORE_FS_FAT_BPB_H

#include <stdbool.h>
#include <stdint.h>

#include "core/fs/fat/format.h"

enum fat_type {
	FAT_TYPE_12 = 12,
	FAT_TYPE_16 = 16,
	FAT_TYPE_32 = 32,
};

/* Offsets are in bytes from the start of the device; every area lies within it. */
struct fat_geometry {
	enum fat_type type;
	uint32_t sector_bytes; /* 512..4096, power of two */
	uint32_t cluster_bytes; /* sector_bytes..65536, power of two */
	uint32_t cluster_count; /* data clusters: 2..cluster_count + 1 */
	uint64_t total_bytes;
	uint64_t fat_offset; /* of the first copy */
	uint64_t fat_bytes; /* of one copy */
	uint32_t fat_count; /* 1.. */
	uint32_t fat_active; /* the copy that is read */
	bool fat_mirrored; /* all copies are written; otherwise only the active one */
	uint64_t root_offset, root_bytes; /* FAT12 and FAT16 */
	uint32_t root_cluster; /* FAT32 */
	uint64_t data_offset; /* of cluster 2 */
	uint32_t fsinfo_sector, backup_sector; /* FAT32; 0: none */
	uint32_t serial;
	uint8_t media;
	uint8_t state; /* BOOT_STATE_... */
	bool has_extended; /* serial, label and state are there */
	uint8_t label[SHORT_NAME_BYTES];
};

/*
 * Decode the first BOOT_BYTES of a device of @device_bytes. A volume may be longer than the device by less than
 * @slack_bytes (devices are rounded down to their alignment): then it has as many clusters as are there. 0; -EUCLEAN
 * with the field that is wrong: no FAT file system, or damaged.
 */
int fat_bpb_decode(const uint8_t boot[BOOT_BYTES], uint64_t device_bytes, uint32_t slack_bytes,
                   struct fat_geometry *ret);

/* Where the extended part begins. */
uint32_t fat_bpb_extended(const struct fat_geometry *g);

static inline bool fat_is_cluster(const struct fat_geometry *g, uint32_t cluster)
{
	return cluster >= FAT_FIRST_CLUSTER && cluster - FAT_FIRST_CLUSTER < g->cluster_count;
}

/* @cluster must be one. */
static inline uint64_t fat_cluster_offset(const struct fat_geometry *g, uint32_t cluster)
{
	return g->data_offset + (uint64_t)(cluster - FAT_FIRST_CLUSTER) * g->cluster_bytes;
}

#endif
