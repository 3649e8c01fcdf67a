/* SPDX-License-Identifier: BSD-3-Clause */
/* Checking that every block is used once or is free, and that the allocation state says the same. */
#include <inttypes.h>

#include "core/fs/wfs3/check_priv.h"

static uint64_t addr_of(const struct check *c, uint64_t index)
{
	return index + (UINT64_C(1) << c->locator->region_shift);
}

void check_use(struct check *c, const struct check_dataset *ds, uint64_t addr, uint32_t block_count, const char *what,
               uint64_t object, uint64_t offset)
{
	uint64_t first = check_index(c, addr);
	uint32_t shared = 0, unallocated = 0, shared_at = 0, unallocated_at = 0;
	struct pool_finding *f;

	if (c->scrub) {
		c->report->done_blocks += block_count;
		return;
	}
	for (uint32_t i = block_count; i-- > 0;) {
		uint64_t bit = first + i;

		if (check_bit(c->seen, bit)) {
			shared++;
			shared_at = i;
		} else {
			c->report->done_blocks++;
		}
		c->seen[bit / 64] |= UINT64_C(1) << bit % 64;
		if (c->disk && !check_bit(c->disk, bit)) {
			unallocated++;
			unallocated_at = i;
		}
	}
	if (shared) {
		f = check_damage(c, POOL_FINDING_SHARED, "%s lies where something else lies, too", what);
		check_in_object(f, ds, object, offset);
		check_at_address(c, f, addr + shared_at, shared);
	}
	if (unallocated) {
		f = check_damage(c, POOL_FINDING_NOT_ALLOCATED, "%s lies in blocks that count as free", what);
		check_in_object(f, ds, object, offset);
		check_at_address(c, f, addr + unallocated_at, unallocated);
	}
}

static void found_leak(struct check *c, uint64_t first, uint64_t count)
{
	struct pool_finding *f = check_damage(c, POOL_FINDING_LEAK, "nothing uses %" PRIu64 " allocated block%s", count,
	                                      count == 1 ? "" : "s");

	check_at_address(c, f, addr_of(c, first), count);
}

/* Runs of blocks that are allocated and were not seen. */
static void find_leaks(struct check *c)
{
	uint64_t run_first = 0, run_count = 0;

	for (uint64_t w = 0; w < (uint64_t)c->locator->region_count * c->locator->region_words; w++) {
		uint64_t lost = c->disk[w] & ~c->seen[w];

		while (lost) {
			uint64_t bit = w * 64 + (uint64_t)__builtin_ctzll(lost);

			lost &= lost - 1;
			if (run_count && run_first + run_count == bit) {
				run_count++;
				continue;
			}
			if (run_count)
				found_leak(c, run_first, run_count);
			run_first = bit;
			run_count = 1;
		}
	}
	if (run_count)
		found_leak(c, run_first, run_count);
}

int check_usage(struct check *c)
{
	const struct space *s = c->locator;
	uint64_t used = 0;

	if (s && c->live && !c->disk) {
		check_note(c, POOL_FINDING_ALLOCATION,
		           "blocks were not compared with the allocation state: the pool has failed");
		c->report->partial = true;
	}
	if (!s || !c->disk)
		return 0;
	for (uint64_t w = 0; w < (uint64_t)s->region_count * s->region_words; w++)
		used += (unsigned)__builtin_popcountll(c->disk[w]);
	if (used != c->root.space.used_blocks)
		check_damage(c, POOL_FINDING_COUNTER,
		             "%" PRIu64 " blocks are allocated, the root of the pool says %" PRIu64, used,
		             c->root.space.used_blocks);
	if (!c->report->partial)
		find_leaks(c);
	return 0;
}
