/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to WFS v3: checking a pool in memory as one of its roots left it. */
#ifndef WFSD_CORE_FS_WFS3_CHECK_LIVE_H
#define WFSD_CORE_FS_WFS3_CHECK_LIVE_H

#include "core/fs/wfs3/check.h"
#include "core/fs/wfs3/label.h"

struct pool;

/* Where a scrub is: everything of datasets before this one, and of its cells before this one, was looked at. */
struct check_cursor {
	uint64_t dataset, object, cell;
};

struct check_live {
	struct pool *pool;
	bool wants_disk;
	struct root root; /* only txg, pool_tree, next_dataset_id and used_blocks count */
	uint64_t *disk; /* the allocation state of @root; NULL: not known, or not wanted */
};

/* Fill @root, and with @wants_disk @disk, which the caller frees. For txg_run_between(), with a struct check_live; or
 * in any thread, when the pool does not commit. 0 or -ENOMEM. */
int check_take_root(void *live);
/* Like check_devices(). Nothing that @live->root reaches is reused meanwhile (space_pin()), and the pool's devices stay
 * open. */
int check_live(const struct check_live *live, const struct check_config *config, struct pool_check_report *ret);

/*
 * A part of a scrub: from @cursor on, until about @block_count blocks of data were read and verified in all copies, and
 * the nodes on the way. Bad copies are repaired from good ones; what could not be is damage, the rest has "repaired".
 * 0: it came to the end; 1: there is more, at *@cursor; negative like check_devices(). Otherwise like check_live().
 */
int check_scrub(const struct check_live *live, const struct check_config *config, struct check_cursor *cursor,
                uint64_t block_count, struct pool_check_report *ret);

#endif
