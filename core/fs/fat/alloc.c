/* SPDX-License-Identifier: BSD-3-Clause */
/* The bitmaps of free clusters, and of those that something leads to. */
#include "core/fs/fat/alloc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/fat/format.h"

#define GROUP_BITS 4096u
#define WORD_BITS 64u
#define RUNS_LOOKED_AT 32u

size_t fat_alloc_bytes(uint32_t cluster_count)
{
	return div_round_up_u64(cluster_count, WORD_BITS) * 2 * sizeof(uint64_t) +
	       div_round_up_u64(cluster_count, GROUP_BITS) * sizeof(uint16_t);
}

int fat_alloc_init(struct fat_alloc *a, uint32_t cluster_count)
{
	size_t words = div_round_up_u64(cluster_count, WORD_BITS);

	*a = (struct fat_alloc){ .count = cluster_count };
	a->used = malloc(words * sizeof(*a->used));
	a->led_to = calloc(words, sizeof(*a->led_to));
	a->group_free = calloc(div_round_up_u64(cluster_count, GROUP_BITS), sizeof(*a->group_free));
	if (!a->used || !a->led_to || !a->group_free) {
		fat_alloc_done(a);
		return err_set(-ENOMEM, "free clusters: no memory");
	}
	memset(a->used, 0xff, words * sizeof(*a->used));
	return 0;
}

void fat_alloc_done(struct fat_alloc *a)
{
	free(a->used);
	free(a->led_to);
	free(a->group_free);
	*a = (struct fat_alloc){ 0 };
}

static bool is_used(const struct fat_alloc *a, uint32_t i)
{
	return a->used[i / WORD_BITS] >> (i % WORD_BITS) & 1;
}

bool fat_alloc_is_free(const struct fat_alloc *a, uint32_t cluster)
{
	uint32_t i = cluster - FAT_FIRST_CLUSTER;

	return i < a->count && !is_used(a, i);
}

/* Turn over @count bits from @i on, which all are @from_used. */
static void turn(struct fat_alloc *a, uint32_t i, uint32_t count, bool from_used)
{
	always(i < a->count && count <= a->count - i);
	while (count) {
		unsigned bit = i % WORD_BITS;
		unsigned n = (unsigned)min_u64(WORD_BITS - bit, count);
		uint64_t mask = (n == WORD_BITS ? UINT64_MAX : (UINT64_C(1) << n) - 1) << bit;

		always((a->used[i / WORD_BITS] & mask) == (from_used ? mask : 0));
		a->used[i / WORD_BITS] ^= mask;
		if (from_used)
			a->group_free[i / GROUP_BITS] = (uint16_t)(a->group_free[i / GROUP_BITS] + n);
		else
			a->group_free[i / GROUP_BITS] = (uint16_t)(a->group_free[i / GROUP_BITS] - n);
		a->free_count = from_used ? a->free_count + n : a->free_count - n;
		i += n;
		count -= n;
	}
}

int fat_alloc_give(struct fat_alloc *a, uint32_t first, uint32_t count)
{
	uint32_t i = first - FAT_FIRST_CLUSTER;

	/* Of a damaged volume, two files may share clusters. */
	if (i >= a->count || count > a->count - i)
		return err_set(-EUCLEAN, "cluster %u is not there", first);
	for (uint32_t k = i; k < i + count; k++) {
		if (!is_used(a, k))
			return err_set(-EUCLEAN, "cluster %u is free, but a file has it", k + FAT_FIRST_CLUSTER);
	}
	turn(a, i, count, true);
	return 0;
}

int fat_alloc_free(struct fat_alloc *a, uint32_t first, uint32_t count)
{
	int rc = fat_alloc_give(a, first, count);

	for (uint32_t i = 0; rc == 0 && i < count; i++)
		fat_alloc_unlead(a, first + i);
	return rc;
}

bool fat_alloc_lead(struct fat_alloc *a, uint32_t cluster)
{
	uint32_t i = cluster - FAT_FIRST_CLUSTER;
	uint64_t bit = UINT64_C(1) << i % WORD_BITS;
	bool first;

	always(i < a->count);
	first = !(a->led_to[i / WORD_BITS] & bit);
	a->led_to[i / WORD_BITS] |= bit;
	return first;
}

void fat_alloc_unlead(struct fat_alloc *a, uint32_t cluster)
{
	uint32_t i = cluster - FAT_FIRST_CLUSTER;

	if (i < a->count)
		a->led_to[i / WORD_BITS] &= ~(UINT64_C(1) << i % WORD_BITS);
}

uint32_t fat_alloc_hold_led_to(struct fat_alloc *a)
{
	uint32_t held = 0;

	for (uint32_t w = 0; w < div_round_up_u64(a->count, WORD_BITS); w++) {
		for (uint64_t bits = a->led_to[w] & ~a->used[w]; bits; bits &= bits - 1) {
			turn(a, w * WORD_BITS + (uint32_t)__builtin_ctzll(bits), 1, false);
			held++;
		}
	}
	return held;
}

/* The first free bit at or after @i; a->count when there is none. */
static uint32_t find_free(const struct fat_alloc *a, uint32_t i)
{
	while (i < a->count) {
		uint64_t word;

		if (!a->group_free[i / GROUP_BITS]) {
			i = (i / GROUP_BITS + 1) * GROUP_BITS;
			continue;
		}
		word = ~a->used[i / WORD_BITS] & (UINT64_MAX << (i % WORD_BITS));
		if (word)
			return i / WORD_BITS * WORD_BITS + (uint32_t)__builtin_ctzll(word);
		i = (i / WORD_BITS + 1) * WORD_BITS;
	}
	return a->count;
}

/* How many bits are free from @i on, at most @max. Bits beyond the end are used. */
static uint32_t run_length(const struct fat_alloc *a, uint32_t i, uint32_t max)
{
	uint32_t n = 0;

	while (n < max && i + n < a->count) {
		unsigned bit = (i + n) % WORD_BITS;
		uint64_t word = a->used[(i + n) / WORD_BITS] >> bit;
		unsigned free_bits = word ? (unsigned)__builtin_ctzll(word) : WORD_BITS - bit;

		n += free_bits;
		if (word)
			break;
	}
	n = (uint32_t)min_u64(n, a->count - i);
	return n < max ? n : max;
}

/* Next fit: the first run that is long enough, or the longest of a few. */
static uint32_t search(const struct fat_alloc *a, uint32_t want, uint32_t *ret_count)
{
	uint32_t best = a->count, best_count = 0, at = a->next;
	bool wrapped = false;

	for (unsigned looked_at = 0; looked_at < RUNS_LOOKED_AT;) {
		uint32_t i = find_free(a, at), n;

		if (i >= a->count || (wrapped && i >= a->next)) {
			if (wrapped || a->next == 0)
				break;
			wrapped = true;
			at = 0;
			continue;
		}
		n = run_length(a, i, want);
		if (n > best_count) {
			best = i;
			best_count = n;
		}
		if (n == want)
			break;
		looked_at++;
		at = i + n;
	}
	*ret_count = best_count;
	return best;
}

bool fat_alloc_take(struct fat_alloc *a, uint32_t goal, uint32_t want, uint32_t *ret_first, uint32_t *ret_count)
{
	uint32_t i, n = 0;

	always(want > 0);
	if (goal && fat_alloc_is_free(a, goal)) {
		i = goal - FAT_FIRST_CLUSTER;
		n = run_length(a, i, want);
	} else {
		i = search(a, want, &n);
	}
	if (!n)
		return false;
	turn(a, i, n, false);
	a->next = i + n < a->count ? i + n : 0;
	*ret_first = i + FAT_FIRST_CLUSTER;
	*ret_count = n;
	return true;
}
