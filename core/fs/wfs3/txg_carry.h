/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages that only the log has, and that cannot be written back, when the log is to be released: they go into it once
 * more, as the first records of the next group, so that the root need not keep all of the log for their sake.
 *
 *      tx_gate: carry_collect -> commit gate: carry_copy, next group opens, carry_append -> wal_sync -> root
 *
 * The committing thread only.
 */
#ifndef WFSD_CORE_FS_WFS3_TXG_CARRY_H
#define WFSD_CORE_FS_WFS3_TXG_CARRY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/fs/wfs3/wal.h"

struct object;
struct pool;

struct carry_page {
	struct object *o; /* referenced */
	uint64_t index;
	uint32_t crc;
	bool held; /* by the log, still; its contents are in the buffer */
};

/* Zeroed: nothing is carried. */
struct carry {
	unsigned count;
	struct carry_page pages[WAL_CARRY_PAGES_MAX]; /* by object, ascending */
	uint8_t *contents;
	struct wal_ticket ticket;
	bool has_ticket;
	bool refused; /* by the log, when it was appended */
	bool batch_lost; /* by the log, after it was asked for the position, and unseen before the group ended */
	bool delicate; /* the group that ends must not be left an older part of the log when this fails */
};

/*
 * After the log was asked for a position: write back what stands before it, and note what cannot be. 0: nothing else
 * before the position is needed; an error: the root has to keep the log. To be ended by carry_done() in any case.
 * pool->tx_gate is held exclusively. Blocks.
 */
int carry_collect(struct pool *p, struct carry *c);
/* With the commit gate held exclusively. False: not now, it is to be collected again. */
bool carry_copy(struct carry *c);
/* Likewise, right after @txg was opened. wal_sync() then tells whether it is durable. */
void carry_append(struct pool *p, struct carry *c, uint64_t txg);
void carry_done(struct pool *p, struct carry *c);

#endif
