/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file allocation table in memory: loaded in chunks on demand, kept up to a limit, written to all copies. The
 * caller serialises (the file system's lock). Calls may wait for the device.
 */
#ifndef WFSD_CORE_FS_FAT_TABLE_H
#define WFSD_CORE_FS_FAT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/fs/fat/bpb.h"
#include "core/fs/fat/medium.h"

struct budget_consumer;

#define TABLE_CHUNK_BYTES 16384u

struct fat_table_chunk {
	uint8_t *bytes; /* NULL: not loaded */
	uint32_t dirty; /* a bit for every 512 bytes */
	bool used; /* since the clock hand passed */
};

struct fat_table {
	struct fat_medium *m;
	const struct fat_geometry *g;
	struct budget_consumer *budget; /* may be NULL */
	struct fat_table_chunk *chunks;
	unsigned chunk_count, loaded, loaded_max, dirty_count, hand;
};

/* @limit_bytes: more than this is kept only while it is dirty. 0 or -ENOMEM. */
int fat_table_init(struct fat_table *t, struct fat_medium *m, const struct fat_geometry *g,
                   struct budget_consumer *budget, size_t limit_bytes);
/* What is dirty is lost. */
void fat_table_done(struct fat_table *t);

/*
 * @cluster: 0..cluster_count + 1. *@ret: FAT_FREE, FAT_BAD, at least FAT_END_MIN, or the number of the next cluster,
 * which is not checked. 0, or the device's error (every copy was tried), or -ENOMEM.
 */
int fat_table_get(struct fat_table *t, uint32_t cluster, uint32_t *ret);
/* Who is going to get all entries from @cluster on: bring in TABLE_AHEAD_BYTES with one request. Best effort. */
#define TABLE_AHEAD_BYTES (64 * TABLE_CHUNK_BYTES)
void fat_table_read_ahead(struct fat_table *t, uint32_t cluster);
int fat_table_set(struct fat_table *t, uint32_t cluster, uint32_t value);
/* Entry 1 tells whether the volume is clean; FAT12 has no such mark. */
int fat_table_set_clean(struct fat_table *t, bool clean);
bool fat_table_is_clean(struct fat_table *t);

bool fat_table_is_dirty(const struct fat_table *t);
/* So much is dirty that it should be written soon. */
bool fat_table_is_full(const struct fat_table *t);
/* Write what is dirty to every copy. Not durable before a flush. On an error everything stays dirty. */
int fat_table_write(struct fat_table *t);

#endif
