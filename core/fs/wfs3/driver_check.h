/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to WFS v3: administrators' calls about checks (pool_driver); @ctx is the struct wfs3. */
#ifndef WFSD_CORE_FS_WFS3_DRIVER_CHECK_H
#define WFSD_CORE_FS_WFS3_DRIVER_CHECK_H

#include <stdbool.h>

struct pool_check_report;

int driver_check(void *ctx, const char *name, bool with_data);
int driver_check_get(void *ctx, const char *name, struct pool_check_report *ret_report);
int driver_check_stop(void *ctx, const char *name);

#endif
