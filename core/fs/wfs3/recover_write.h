/* SPDX-License-Identifier: BSD-3-Clause */
/* The end of a recovery: pages whose contents only the log has get a place. FORMAT.md, "Recovery", step 3. */
#ifndef WFSD_CORE_FS_WFS3_RECOVER_WRITE_H
#define WFSD_CORE_FS_WFS3_RECOVER_WRITE_H

#include <stdint.h>

#include "core/fs/wfs3/wal_scan.h"

struct pool;
struct recover_pages;

#define RECOVER_PIECE_PAGES 1024u
#define RECOVER_THREADS 2u
/* Memory that it takes, for buffers. */
#define RECOVER_WRITE_BYTES (RECOVER_THREADS * (WAL_READER_BYTES + RECOVER_PIECE_PAGES * (size_t)WFS3_BLOCK_BYTES))

/*
 * Write back all of @pages, whose contents are read from the log that begins at @start; counts them in p->recovery.
 * @pages is sorted by it. On a second thread, too, where there are many. 0, -EIO, -ENOSPC, -ENOMEM. Blocks.
 */
int recover_write(struct pool *p, const struct wal_config *log, uint64_t start, struct recover_pages *pages);

#endif
