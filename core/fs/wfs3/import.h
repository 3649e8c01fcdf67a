/* SPDX-License-Identifier: BSD-3-Clause */
/* What the import of a pool found on its devices: shared by choosing a root (pool_import.c) and repairing what one copy
 * lacks of it (import_repair.c). */
#ifndef WFSD_CORE_FS_WFS3_IMPORT_H
#define WFSD_CORE_FS_WFS3_IMPORT_H

#include "core/blk/mirror.h"
#include "core/fs/wfs3/label.h"

struct pool;

/* Of one device. */
struct import_progress {
	uint64_t newest_txg;
	uint64_t bad_slots; /* bit mask */
};

/* Roots, newest first, each txg once. */
struct import_roots {
	struct root *roots;
	unsigned count;
	unsigned bad_count;
	uint64_t txg_max; /* that any slot seems to have held */
	struct import_progress (*progress)[MIRROR_COPIES_MAX]; /* by group and copy */
};

/*
 * A root was chosen and the pool is going to be written: bring labels, root slots and allocation state of all copies to
 * what the good ones say. What cannot be written is left as it is, or its device goes away. Durable with the next
 * flush. Blocks.
 */
void import_repair(struct pool *p, const struct import_roots *roots, const struct root *chosen);

#endif
