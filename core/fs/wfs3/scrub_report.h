/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to scrubbing: the findings of its parts, put together. */
#ifndef WFSD_CORE_FS_WFS3_SCRUB_REPORT_H
#define WFSD_CORE_FS_WFS3_SCRUB_REPORT_H

#include "core/vfs/vfs_check.h"

/* What is still damaged, and what was repaired. */
void scrub_report_count(const struct pool_check_report *part, uint64_t *ret_damage, uint64_t *ret_repaired);
/* Add the findings and counts of @part, as far as there is room and memory for findings. */
void scrub_report_merge(struct pool_check_report *all, const struct pool_check_report *part);
/* To the log: the first findings of a part. */
void scrub_report_tell(const char *pool, const struct pool_check_report *part);

#endif
