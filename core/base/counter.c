/* SPDX-License-Identifier: BSD-3-Clause */
/* Counting on hot paths: counters and histograms spread over per-thread slots. Rendering is in metrics.c. */
#include "core/base/metrics.h"

#include <string.h>

#include "core/base/sync.h"

void counter_add(struct counter *c, uint64_t n)
{
	__atomic_fetch_add(&c->slots[sync_thread_slot() % METRIC_SLOTS].v, n, __ATOMIC_RELAXED);
}

uint64_t counter_read(const struct counter *c)
{
	uint64_t sum = 0;

	for (int i = 0; i < METRIC_SLOTS; i++)
		sum += __atomic_load_n(&c->slots[i].v, __ATOMIC_RELAXED);
	return sum;
}

/* The smallest i with ns <= 2^i microseconds. */
static unsigned bucket_of(uint64_t ns)
{
	uint64_t us = ns ? (ns - 1) / 1000 : 0;
	unsigned i = us ? 64u - (unsigned)__builtin_clzll(us) : 0;

	return i < HISTOGRAM_BUCKETS ? i : HISTOGRAM_BUCKETS - 1;
}

void histogram_add(struct histogram *h, uint64_t ns)
{
	unsigned slot = sync_thread_slot() % METRIC_SLOTS;

	__atomic_fetch_add(&h->slots[slot].sum_ns, ns, __ATOMIC_RELAXED);
	__atomic_fetch_add(&h->slots[slot].buckets[bucket_of(ns)], 1, __ATOMIC_RELAXED);
}

void histogram_read(const struct histogram *h, struct histogram_view *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (int s = 0; s < METRIC_SLOTS; s++) {
		ret->sum_ns += __atomic_load_n(&h->slots[s].sum_ns, __ATOMIC_RELAXED);
		for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
			ret->buckets[i] += __atomic_load_n(&h->slots[s].buckets[i], __ATOMIC_RELAXED);
	}
	for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
		ret->count += ret->buckets[i];
}
