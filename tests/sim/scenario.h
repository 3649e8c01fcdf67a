/* SPDX-License-Identifier: BSD-3-Clause */
/* Scenarios: what is run, cut, failed and compared. Each case is named by a scenario, a seed and a step. */
#ifndef WFSD_TESTS_SIM_SCENARIO_H
#define WFSD_TESTS_SIM_SCENARIO_H

#include <stdbool.h>
#include <stdint.h>

/* What was done; shared by the processes of a run. */
struct tally {
	uint64_t cases, ops, cuts, io_failures, alloc_failures, imports, checks, pages_compared, switches;
	uint64_t virtual_ns;
};

/* Where a process is, so that a failure can be named. */
struct where {
	char scenario[16];
	uint64_t seed, step;
};

struct scenario {
	const char *name;
	const char *what;
	/*
	 * Run the cases of a seed: all steps, or only step @only (from 1; 0: all).
	 */
	void (*run)(uint64_t seed, uint64_t only);
	uint64_t fixed_count; /* seeds 1.. that are always run; 0: as many as there is time for */
};

extern const struct scenario scenarios[];
extern const unsigned scenario_count;

extern struct tally *tally;
extern struct where *where;
extern bool verbose;

/* random.c, trees.c, transactions.c, transaction_faults.c, enumerate.c, mirror_cuts.c */
void scenario_random(uint64_t seed, uint64_t only);
void scenario_trees(uint64_t seed, uint64_t only);
void scenario_transactions(uint64_t seed, uint64_t only);
void scenario_tx_large(uint64_t seed, uint64_t only);
void scenario_tx_io(uint64_t seed, uint64_t only);
void scenario_tx_alloc(uint64_t seed, uint64_t only);
void scenario_tx_import(uint64_t seed, uint64_t only);
void scenario_sequences(uint64_t seed, uint64_t only);
void scenario_cuts(uint64_t seed, uint64_t only);
void scenario_wrap_cuts(uint64_t seed, uint64_t only);
void scenario_import_cuts(uint64_t seed, uint64_t only);
void scenario_mirror_cuts(uint64_t seed, uint64_t only);
void scenario_io_failures(uint64_t seed, uint64_t only);
void scenario_alloc_failures(uint64_t seed, uint64_t only);
void scenario_media(uint64_t seed, uint64_t only);
void scenario_repeat(uint64_t seed, uint64_t only);
uint64_t sequence_count(void);

#endif
