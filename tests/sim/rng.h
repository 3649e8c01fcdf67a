/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers from a seed, for workloads and faults. */
#ifndef WFSD_TESTS_SIM_RNG_H
#define WFSD_TESTS_SIM_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
	uint64_t state;
};

static inline uint64_t rng_next(struct rng *r)
{
	uint64_t x = r->state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static inline struct rng rng_new(uint64_t seed, uint64_t purpose)
{
	struct rng r = { .state = seed };

	r.state = rng_next(&r) ^ purpose * UINT64_C(0xd1342543de82ef95);
	return r;
}

/* 0 .. @n - 1 */
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
	return rng_next(r) % n;
}

static inline bool rng_one_in(struct rng *r, uint64_t n)
{
	return rng_next(r) % n == 0;
}

#endif
