/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Allocation failures on demand. The linker sends every malloc(), calloc(), realloc(), aligned_alloc() and strdup() of
 * the core through here (--wrap); the simulator's own memory comes from exempt_*() and does not count.
 */
#ifndef WFSD_TESTS_SIM_ALLOC_H
#define WFSD_TESTS_SIM_ALLOC_H

#include <stddef.h>
#include <stdint.h>

/* From now on, count; the @nth (1..) allocation and @more after it fail. 0: none fails. */
void alloc_arm(uint64_t nth, uint64_t more);
/* Stop counting. Returns how many there were. */
uint64_t alloc_disarm(void);
/* How many failed since the last alloc_arm(). */
uint64_t alloc_failures(void);

/* Zeroed; never fail (the process ends). Freed with free(). */
void *exempt_alloc(size_t bytes);
void *exempt_realloc(void *p, size_t bytes);

/* getrandom() of the core gives numbers from a seed. */
void random_seed(uint64_t seed);

#endif
