/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading the log from the devices: where it ends, and its records in order. FORMAT.md, "Log", "Recovery". */
#ifndef WFSD_CORE_FS_WFS3_WAL_SCAN_H
#define WFSD_CORE_FS_WFS3_WAL_SCAN_H

#include <stdint.h>

#include "core/fs/wfs3/wal.h"

struct wal_span {
	uint64_t start, end; /* positions: whole, chained batches */
	uint64_t durable; /* what records before this position point to was durable */
	uint64_t batch_count;
};

/* Memory that a scan takes while it runs, and a reader. */
#define WAL_SCAN_BYTES (3 * (size_t)WAL_BATCH_BYTES_MAX)
#define WAL_READER_BYTES (1u << 20)

/*
 * Called for each record in order. @batch is the batch it stands in, which begins at @position; the record's pages
 * point into it. 0: go on; WAL_SCAN_STOP: no more records; negative: stop with that error.
 */
#define WAL_SCAN_STOP 1
typedef int wal_scan_fn(void *ctx, const struct wal_record *r, uint64_t position, const uint8_t *batch);

/*
 * Find the end of the log that begins at @position in @epoch, the longest chain of valid batches, and call @fn for each
 * record. A record is handed over as soon as a later batch says that it is durable (so the log need not be read twice),
 * the others when the end is known: in @fn, "position < @ret->durable" is what it will be. After WAL_SCAN_STOP the end
 * is looked for all the same. Of @config only the copies, their size and the pool are used; a batch that is bad in one
 * copy is taken from another. 0; -ENOMEM; -EIO when no copy can be read (what is damaged ends the log, what cannot be
 * read may be missing); -EUCLEAN when a record is bad although its batch is whole. Blocks.
 */
int wal_scan(const struct wal_config *config, uint64_t position, uint64_t epoch, struct wal_span *ret, wal_scan_fn *fn,
             void *ctx);

/* Reads single pages of a log that was scanned from @start on. For one thread. */
struct wal_reader;
/* 0 or -ENOMEM. @config must outlive it. */
int wal_reader_new(const struct wal_config *config, uint64_t start, struct wal_reader **ret);
void wal_reader_free(struct wal_reader *r); /* NULL is fine */
/* The 4096 bytes at @position, from a copy where they have that CRC32C. Ascending positions are read ahead. -EIO.
 * Blocks. */
int wal_reader_page(struct wal_reader *r, uint64_t position, uint32_t crc, void *buf);

#endif
