/* SPDX-License-Identifier: BSD-3-Clause */
/* A machine: disks that stay, and the production core on them, which comes and goes. */
#ifndef WFSD_TESTS_SIM_MACHINE_H
#define WFSD_TESTS_SIM_MACHINE_H

#include "core/cache/cache.h"
#include "core/fs/wfs3/wfs3.h"
#include "tests/sim/disk.h"

#define MACHINE_DISKS 4u
#define MIB (UINT64_C(1) << 20)
#define POOL_NAME "tank"

struct machine_config {
	uint64_t seed;
	unsigned disk_count;
	unsigned spare_count; /* the last ones of them, which a new pool does not have */
	bool mirror; /* all disks are one group; else each is its own */
	uint64_t disk_bytes;
	uint64_t latency_ns_max;
	unsigned hang_one_in;
	size_t cache_bytes;
	unsigned txg_age_ms, writeback_age_ms;
};

struct machine {
	struct machine_config config;
	struct disk_power power;
	struct disk *disks[MACHINE_DISKS];
	bool opened[MACHINE_DISKS];
	bool running;
	struct budget *budget;
	struct cache *cache;
	struct vfs *vfs;
	struct wfs3 *w;
	struct pool_admin admin;
};

/* New disks, nothing runs. */
void machine_init(struct machine *m, const struct machine_config *config);
/* The same disks as @from, which does not run, with the power on. */
void machine_clone(struct machine *m, const struct machine *from, uint64_t seed);
void machine_done(struct machine *m); /* stops it first */

/* The core's start. 0 or -ENOMEM. */
int machine_start(struct machine *m);
/* An orderly stop; with the power off, a crash: nothing that it still tries reaches the disks. */
void machine_stop(struct machine *m);
/* After a stop: the power comes back. */
void machine_power_on(struct machine *m, enum disk_keep keep);

int machine_create_pool(struct machine *m);
int machine_import(struct machine *m, bool read_only);
int machine_export(struct machine *m);

/* Check the pool from its disks, which nobody uses. Returns the number of findings that are damage; the first is
 * printed when @print. Negative: it could not be checked. */
int machine_check(struct machine *m, bool print);

#endif
