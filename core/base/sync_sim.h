/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulation's side of sync.h (sync_sim.c, linked with WFSD_SIM in place of sync_pthread.c): one scheduler that
 * runs one thread at a time, chooses the next one by a seed, and owns the time. A run is repeated exactly by its seed.
 *
 * Threads are pthreads that hand on a baton, not fibers on own stacks: the core keeps state in thread-local variables
 * (the error chain, the list of held locks), and the sanitizers know threads. A switch costs some microseconds;
 * switches are rare enough.
 *
 * A scheduling point is every taking and giving back of a lock, every wait, signal, sleep, and sim_point(). Time moves
 * by a fixed step at each of them, and to the next deadline when nobody can run.
 */
#ifndef WFSD_CORE_BASE_SYNC_SIM_H
#define WFSD_CORE_BASE_SYNC_SIM_H

#include <stdbool.h>
#include <stdint.h>

struct sim_config {
	uint64_t seed;
	unsigned switch_one_in; /* another thread is chosen at one in so many points; 1: at every one */
	unsigned spurious_one_in; /* a condition's waiter wakes without a signal at one in so many signals; 0: never */
	uint64_t points_max; /* a run that takes more has come to a standstill; 0: no limit */
};

/*
 * Run @fn as the first thread; returns when it does, by when it has joined all threads it started. One run at a time.
 * When nobody can run, or points_max is passed, what every thread waits for is printed and the process aborts.
 */
void sim_run(const struct sim_config *config, void (*fn)(void *arg), void *arg);

/* A scheduling point. Outside of a run: nothing. */
void sim_point(void);

struct sim_stats {
	uint64_t points, switches;
	uint64_t virtual_ns;
	uint64_t trace; /* a hash of every decision: equal for equal runs */
};
void sim_get_stats(struct sim_stats *ret);
/* Mix a number into the trace: what else is to be equal in equal runs. */
void sim_note(uint64_t value);

#endif
