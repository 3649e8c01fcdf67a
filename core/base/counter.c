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

static void add_slot(struct histogram_view *ret, const uint64_t *sum_ns, const uint64_t buckets[HISTOGRAM_BUCKETS])
{
	ret->sum_ns += __atomic_load_n(sum_ns, __ATOMIC_RELAXED);
	for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		uint64_t n = __atomic_load_n(&buckets[i], __ATOMIC_RELAXED);

		ret->buckets[i] += n;
		ret->count += n;
	}
}

void histogram_read(const struct histogram *h, struct histogram_view *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (int s = 0; s < METRIC_SLOTS; s++)
		add_slot(ret, &h->slots[s].sum_ns, h->slots[s].buckets);
}

void histogram_small_add(struct histogram_small *h, uint64_t ns)
{
	__atomic_fetch_add(&h->sum_ns, ns, __ATOMIC_RELAXED);
	__atomic_fetch_add(&h->buckets[bucket_of(ns)], 1, __ATOMIC_RELAXED);
}

void histogram_small_read(const struct histogram_small *h, struct histogram_view *ret)
{
	memset(ret, 0, sizeof(*ret));
	add_slot(ret, &h->sum_ns, h->buckets);
}

uint64_t histogram_percentile_us(const struct histogram_view *v, unsigned percent)
{
	/* Rounded up, without overflow: the whole hundreds, and what is left of them. */
	uint64_t want = v->count / 100 * percent + (v->count % 100 * percent + 99) / 100, sum = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS && want; i++) {
		sum += v->buckets[i];
		if (sum >= want)
			return UINT64_C(1) << i;
	}
	return 0;
}
