/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Media that lie: bits that flip on a pool that is put away, writes that are lost or land elsewhere while it works.
 * Whatever is read afterwards must be right or an error. An import may refuse; when it takes an older root, it must say
 * so.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/base/err.h"
#include "tests/sim/alloc.h"
#include "tests/sim/run.h"

struct media {
	uint64_t seed;
};

/* Damage that comes with a working pool, in the middle of what clients do. */
static void lie_while_working(struct model *mo, struct rng *r, const struct op_mix *mix)
{
	struct disk *d = mo->m->disks[rng_below(r, mo->m->config.disk_count)];

	run_clients(mo, mix, rng_next(r), (unsigned)rng_below(r, 20));
	mo->damaged = true;
	if (rng_one_in(r, 2))
		disk_lose_next_write(d);
	else
		disk_misdirect_next_write(d);
	run_clients(mo, mix, rng_next(r), 1 + (unsigned)rng_below(r, 40));
}

static void flip_bits(struct model *mo, struct rng *r)
{
	unsigned count = 1 + (unsigned)rng_below(r, 4);

	mo->damaged = true;
	for (unsigned i = 0; i < count; i++)
		disk_flip_bit(mo->m->disks[rng_below(r, mo->m->config.disk_count)], r);
}

static bool says_something(struct model *mo)
{
	struct pool_info *info = exempt_alloc(sizeof(*info));
	int ret = mo->m->admin.driver->pool_get(mo->m->admin.ctx, POOL_NAME, info);
	bool says = !ret && info->reason[0];

	if (verbose && says)
		fprintf(stderr, "the import says: %s\n", info->reason);
	free(info);
	return says;
}

/* The check must end, whatever it finds. */
static void compare_damaged(struct model *mo)
{
	int damage = machine_check(mo->m, false);

	tally->checks++;
	if (verbose)
		fprintf(stderr, "the check found %d damages\n", damage);
	if (!run_import(mo))
		return;
	mo->stepped_back |= says_something(mo);
	model_verify(mo);
}

static void media(void *arg)
{
	const struct media *e = arg;
	struct rng r = rng_new(e->seed, 6);
	struct machine_config config = { .seed = e->seed,
		                         .disk_count = rng_one_in(&r, 3) ? 2 : 1,
		                         .disk_bytes = 64 * MIB,
		                         .latency_ns_max = 1000,
		                         .cache_bytes = 6 * MIB,
		                         .txg_age_ms = 200,
		                         .writeback_age_ms = 200 };
	struct op_mix mix = op_mix_random(&r, 1);
	struct machine m;
	struct model *mo;

	config.mirror = config.disk_count == 2 && rng_one_in(&r, 2);
	run_make_base(&m, &mo, &config, 2);
	if (run_import(mo)) {
		if (rng_one_in(&r, 3))
			lie_while_working(mo, &r, &mix);
		else
			run_clients(mo, &mix, rng_next(&r), (unsigned)rng_below(&r, 30));
	}
	/* The log's last batch cannot be told from one that a crash cut off: so the end is an orderly one. */
	if (!run_end(mo, DISK_KEEP_ALL, false))
		mo->stepped_back = true;
	if (!mo->damaged)
		flip_bits(mo, &r);
	compare_damaged(mo);
	tally->ops += mo->ops;
	tally->pages_compared += mo->reads_checked;
	model_free(mo);
	machine_done(&m);
}

void scenario_media(uint64_t seed, uint64_t only)
{
	struct media e = { .seed = seed };

	(void)only;
	run_scheduled(seed, media, &e);
}
