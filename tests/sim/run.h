/* SPDX-License-Identifier: BSD-3-Clause */
/* Pieces that scenarios are made of: work, the end of a machine, its return, and the comparison. */
#ifndef WFSD_TESTS_SIM_RUN_H
#define WFSD_TESTS_SIM_RUN_H

#include "tests/sim/ops.h"
#include "tests/sim/scenario.h"

/* Run @fn in one run of the scheduler, with its own seed. */
void run_scheduled(uint64_t seed, void (*fn)(void *arg), void *arg);

/* A new machine with a pool and some volumes, exported: what cases start from. Inside of a run. */
void run_make_base(struct machine *m, struct model **ret, const struct machine_config *config, unsigned volumes);

/* Fill the pool with a volume of its own, and leave about @free_bytes. */
void run_fill_pool(struct model *mo, uint64_t free_bytes);

/* Clients at work, each @op_count operations of @mix, until the power is off or an error comes back. */
void run_clients(struct model *mo, const struct op_mix *mix, uint64_t seed, unsigned op_count);

/* The same, and after @delay_ns one half of a mirror is gone; it is back when this returns (the core must be started
 * anew). */
void run_clients_on_a_half(struct model *mo, const struct op_mix *mix, uint64_t seed, unsigned op_count,
                           uint64_t delay_ns);

/* Are both halves of a mirror there and whole? */
bool run_is_whole_mirror(struct machine *m);

/* Start the core and import; errors that nothing explains are violations. True: the pool is there. */
bool run_import(struct model *mo);

/*
 * The end: with the power still on, an export; then the core stops, the power comes back, and everything that was to go
 * wrong is forgotten. The pool is checked where it lies. Returns true after an export.
 */
bool run_end(struct model *mo, enum disk_keep keep, bool cut_now);

/* Import and compare; then everything must still be there after an orderly export, and the check must be clean. */
void run_compare(struct model *mo);

#endif
