/* SPDX-License-Identifier: BSD-3-Clause */
/* Mounting what the state file names, and giving it its drive letters. */
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
/* Give the drive letters that are remembered to what is mounted. What is not there becomes a problem, until it comes.
 */
void restore_drives(struct mount_table *t, struct state *state, struct daemon_status *status);

#endif
