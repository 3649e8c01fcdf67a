/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What FAT12, FAT16 and FAT32 look like on a device: offsets and values. Sources: Microsoft, "FAT: General Overview of
 * On-Disk Format" 1.03 (fatgen103) and "Extensible Firmware Initiative FAT32 File System Specification". FORMAT.md says
 * what is read and written, and in which order. All numbers are little-endian.
 */
#ifndef WFSD_CORE_FS_FAT_FORMAT_H
#define WFSD_CORE_FS_FAT_FORMAT_H

#include <stdint.h>

/* Boot sector: the part that all types share. */
#define BOOT_JUMP 0
#define BOOT_OEM_NAME 3
#define BOOT_SECTOR_BYTES 11 /* u16 */
#define BOOT_CLUSTER_SECTORS 13 /* u8 */
#define BOOT_RESERVED_SECTORS 14 /* u16 */
#define BOOT_FAT_COUNT 16 /* u8 */
#define BOOT_ROOT_ENTRIES 17 /* u16, 0 on FAT32 */
#define BOOT_TOTAL_SECTORS_16 19 /* u16 */
#define BOOT_MEDIA 21 /* u8 */
#define BOOT_FAT_SECTORS_16 22 /* u16, 0 on FAT32 */
#define BOOT_TRACK_SECTORS 24 /* u16 */
#define BOOT_HEADS 26 /* u16 */
#define BOOT_HIDDEN_SECTORS 28 /* u32 */
#define BOOT_TOTAL_SECTORS_32 32 /* u32 */
/* FAT32 only. */
#define BOOT32_FAT_SECTORS 36 /* u32 */
#define BOOT32_EXT_FLAGS 40 /* u16 */
#define BOOT32_VERSION 42 /* u16, 0 */
#define BOOT32_ROOT_CLUSTER 44 /* u32 */
#define BOOT32_FSINFO_SECTOR 48 /* u16 */
#define BOOT32_BACKUP_SECTOR 50 /* u16 */
#define EXT_FLAGS_NO_MIRROR 0x80u
#define EXT_FLAGS_ACTIVE 0x0fu
/* The extended part starts here: FAT12 and FAT16, FAT32. */
#define BOOT_EXTENDED_16 36
#define BOOT_EXTENDED_32 64
#define BOOT_EXT_DRIVE 0 /* u8 */
#define BOOT_EXT_STATE 1 /* u8 */
#define BOOT_EXT_SIGNATURE 2 /* u8, 0x29: the following are there */
#define BOOT_EXT_SERIAL 3 /* u32 */
#define BOOT_EXT_LABEL 7 /* 11 bytes */
#define BOOT_EXT_TYPE 18 /* 8 bytes */
#define BOOT_EXT_SIGNATURE_VALUE 0x29u
#define BOOT_STATE_DIRTY 0x01u
#define BOOT_SIGNATURE 510 /* u16 */
#define BOOT_SIGNATURE_VALUE 0xaa55u
#define BOOT_BYTES 512

#define FSINFO_LEAD 0
#define FSINFO_LEAD_VALUE 0x41615252u
#define FSINFO_STRUCT 484
#define FSINFO_STRUCT_VALUE 0x61417272u
#define FSINFO_FREE_COUNT 488 /* u32 */
#define FSINFO_NEXT_FREE 492 /* u32 */
#define FSINFO_TRAIL 508
#define FSINFO_TRAIL_VALUE 0xaa550000u
#define FSINFO_UNKNOWN 0xffffffffu

/* Values of a FAT entry, as fat_table_get() gives them: the marks of all types are widened to those of FAT32. */
#define FAT_FREE 0u
#define FAT_BAD 0x0ffffff7u
#define FAT_END_MIN 0x0ffffff8u
#define FAT_END 0x0fffffffu
#define FAT_MASK 0x0fffffffu
#define FAT_FIRST_CLUSTER 2u
/* Entry 1: set while the volume is clean. */
#define FAT16_CLEAN 0x8000u
#define FAT32_CLEAN 0x08000000u

/* A volume with fewer clusters is FAT12, or FAT16; unless its boot sector has the form of FAT32. */
#define FAT12_CLUSTERS_MAX 4084u
#define FAT16_CLUSTERS_MAX 65524u
#define FAT32_CLUSTERS_MAX 0x0ffffff5u

#define FAT_SECTOR_BYTES_MIN 512u
#define FAT_SECTOR_BYTES_MAX 4096u
#define FAT_CLUSTER_BYTES_MAX 65536u
#define FAT_FILE_BYTES_MAX UINT32_MAX

/* Directory slots of 32 bytes. */
#define SLOT_BYTES 32u
#define SLOT_NAME 0 /* 11 bytes */
#define SLOT_ATTR 11 /* u8 */
#define SLOT_CASE 12 /* u8 */
#define SLOT_CTIME_CENTI 13 /* u8: units of 10 ms, 0..199 */
#define SLOT_CTIME 14 /* u16 */
#define SLOT_CDATE 16 /* u16 */
#define SLOT_ADATE 18 /* u16 */
#define SLOT_CLUSTER_HIGH 20 /* u16, FAT32 */
#define SLOT_MTIME 22 /* u16 */
#define SLOT_MDATE 24 /* u16 */
#define SLOT_CLUSTER_LOW 26 /* u16 */
#define SLOT_SIZE 28 /* u32 */
#define SLOT_END 0x00u /* first byte: nothing from here on */
#define SLOT_DELETED 0xe5u
#define SLOT_E5 0x05u /* stands for a name that begins with 0xe5 */
#define CASE_BASE_LOWER 0x08u
#define CASE_EXT_LOWER 0x10u
/* A part of a long name. */
#define LFN_ORDER 0 /* u8 */
#define LFN_UNITS_1 1 /* 5 */
#define LFN_TYPE 12 /* u8, 0 */
#define LFN_CHECKSUM 13 /* u8 */
#define LFN_UNITS_2 14 /* 6 */
#define LFN_CLUSTER 26 /* u16, 0 */
#define LFN_UNITS_3 28 /* 2 */
#define LFN_LAST 0x40u
#define LFN_SLOT_UNITS 13u
#define LFN_SLOTS_MAX 20u
#define LFN_UNITS_MAX 255u

#define ATTR_LONG_NAME 0x0fu
#define ATTR_LONG_NAME_MASK 0x3fu

#define SHORT_NAME_BYTES 11
#define DIR_BYTES_MAX (65536u * SLOT_BYTES)

#endif
