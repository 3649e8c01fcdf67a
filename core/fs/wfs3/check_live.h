/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to WFS v3: checking a pool in memory as one of its roots left it. */
#ifndef WFSD_CORE_FS_WFS3_CHECK_LIVE_H
#define WFSD_CORE_FS_WFS3_CHECK_LIVE_H

#include "core/fs/wfs3/check.h"
#include "core/fs/wfs3/label.h"

struct pool;

struct check_live {
	struct pool *pool;
	struct root root; /* only txg, pool_tree, next_dataset_id and used_blocks count */
	uint64_t *disk; /* the allocation state of @root; NULL: not known */
};

/* Like check_devices(). Nothing that @live->root reaches is reused meanwhile (space_pin()), and the pool's devices stay
 * open. */
int check_live(const struct check_live *live, const struct check_config *config, struct pool_check_report *ret);

#endif
