/* SPDX-License-Identifier: BSD-3-Clause */
/* The JSON object of a check's report (API.md), for the admin socket and for the command line's own checks. */
#ifndef WFSD_SERVER_ADMIN_ENCODE_CHECK_H
#define WFSD_SERVER_ADMIN_ENCODE_CHECK_H

#include <jansson.h>

#include "core/vfs/vfs_check.h"

/* New reference; NULL when memory is short. */
json_t *encode_check(const struct pool_check_report *r);

#endif
