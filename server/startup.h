/* SPDX-License-Identifier: BSD-3-Clause */
/* Bringing back, at the start, what the configuration and the state file name: pools, mounts and exports. */
#ifndef WFSD_SERVER_STARTUP_H
#define WFSD_SERVER_STARTUP_H

#include "core/vfs/vfs_pool.h"

struct conf;
struct daemon_status;
struct export_table;
struct mount_table;
struct state;

/* Import all pools; what cannot be imported becomes a problem in @status, and the others are served. Blocks. */
void startup_pools(const struct pool_admin *pools, const struct conf *c, struct state *s, struct daemon_status *status);

/* Mount what is remembered, after the pools, on which some of it stands; what cannot be becomes a problem. Blocks. */
void startup_mounts(struct mount_table *t, struct state *s, struct daemon_status *status);

/* Exports of the configuration, then those of the state file. 0; errors of export_set_static(). */
int startup_exports(struct export_table *t, const struct conf *c, struct state *s, struct daemon_status *status);

/* At the end: commit and export every pool. 0, or the error of one that could not be committed (all are tried). */
int shutdown_pools(const struct pool_admin *pools);

#endif
