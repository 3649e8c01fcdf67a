/* SPDX-License-Identifier: BSD-3-Clause */
/* Mounting what the state file names. */
#ifndef WFSD_SERVER_ADMIN_RESTORE_H
#define WFSD_SERVER_ADMIN_RESTORE_H

#include <stdbool.h>

struct daemon_status;
struct mount_table;
struct state;

/*
 * Mount everything that is remembered, or, with @again, what could not be mounted before: something that it stands on
 * may have come. What cannot be mounted becomes a problem, or stays one. Any thread; blocks.
 */
void restore_mounts(struct mount_table *t, struct state *state, struct daemon_status *status, bool again);

#endif
