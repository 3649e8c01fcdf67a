/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to WFS v3: administrators' calls about checks and scrubs (pool_driver); @ctx is the struct wfs3. */
#ifndef WFSD_CORE_FS_WFS3_DRIVER_CHECK_H
#define WFSD_CORE_FS_WFS3_DRIVER_CHECK_H

#include <stdbool.h>

#include "core/vfs/vfs_pool.h"

int driver_check(void *ctx, const char *name, bool with_data);
int driver_check_get(void *ctx, const char *name, struct pool_check_report *ret_report);
int driver_check_stop(void *ctx, const char *name);
int driver_scrub(void *ctx, const char *name, enum pool_scrub_verb verb);
int driver_scrub_get(void *ctx, const char *name, struct pool_check_report *ret_report);

#endif
