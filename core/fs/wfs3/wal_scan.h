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

/* Memory that each of the two takes while it runs. */
#define WAL_SCAN_BYTES (2 * (size_t)WAL_BATCH_BYTES_MAX)

/*
 * Called for each record in order; @position is its batch's, @serial numbers the records of a scan from 1. 0: go on;
 * WAL_SCAN_STOP: stop; negative: stop with that error.
 */
#define WAL_SCAN_STOP 1
typedef int wal_scan_fn(void *ctx, const struct wal_record *r, uint64_t position, uint64_t serial);

/*
 * Find the end of the log that begins at @position in @epoch: the longest chain of valid batches. Of @config only the
 * copies, their size and the pool are used; a batch that is bad in one copy is taken from another. 0, -ENOMEM, or -EIO
 * when no copy can be read (what is damaged ends the log, what cannot be read may be missing). Blocks.
 */
int wal_find_end(const struct wal_config *config, uint64_t position, uint64_t epoch, struct wal_span *ret);
/* Call @fn for each record of the span. -EUCLEAN: a record is bad although its batch is whole; -EIO. Blocks. */
int wal_scan(const struct wal_config *config, uint64_t epoch, const struct wal_span *span, wal_scan_fn *fn, void *ctx);

#endif
