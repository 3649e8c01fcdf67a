/* SPDX-License-Identifier: BSD-3-Clause */
/* Random episodes: clients, machines of all kinds, and in every round something else that goes wrong. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/err.h"
#include "core/base/sync_sim.h"
#include "tests/sim/alloc.h"
#include "tests/sim/run.h"

enum trouble {
	TROUBLE_NONE,
	TROUBLE_CUT, /* at some write */
	TROUBLE_CUT_AT_END,
	TROUBLE_IO, /* one request fails */
	TROUBLE_IO_FOR_EVER, /* and all after it */
	TROUBLE_ALLOC,
	TROUBLE_KINDS
};

struct episode {
	uint64_t seed;
	uint64_t trace;
};

static struct machine_config random_machine(struct rng *r, uint64_t seed)
{
	static const unsigned ages_ms[] = { 20, 200, 1000, 5000 };
	static const uint64_t latencies_ns[] = { 0, 20000, 200000, 10000000 };
	struct machine_config c = { .seed = seed, .disk_bytes = 64 * MIB };

	c.disk_count = rng_one_in(r, 2) ? 1 : 2;
	c.mirror = c.disk_count > 1 && rng_one_in(r, 2);
	c.latency_ns_max = latencies_ns[rng_below(r, 4)];
	c.hang_one_in = rng_one_in(r, 8) ? 300 : 0;
	c.cache_bytes = rng_one_in(r, 2) ? 16 * MIB : 6 * MIB;
	c.txg_age_ms = ages_ms[rng_below(r, 4)];
	c.writeback_age_ms = ages_ms[rng_below(r, 4)];
	return c;
}

static enum trouble plan_trouble(struct model *mo, struct rng *r)
{
	enum trouble t = (enum trouble)rng_below(r, TROUBLE_KINDS);
	struct disk_power *p = &mo->m->power;

	p->writes = p->requests = 0;
	p->cut_at_write = p->fail_at_request = 0;
	if (t == TROUBLE_CUT) {
		p->cut_at_write = 1 + rng_below(r, 120);
	} else if (t == TROUBLE_IO || t == TROUBLE_IO_FOR_EVER) {
		p->fail_at_request = 1 + rng_below(r, 200);
		p->fail_count = t == TROUBLE_IO ? rng_below(r, 3) : UINT32_MAX;
		p->fail_error = rng_one_in(r, 3) ? -ENOSPC : -EIO;
		/* Of a mirror, one device at a time. */
		p->fail_only = mo->m->config.mirror ? mo->m->disks[rng_below(r, mo->m->config.disk_count)] : NULL;
	} else if (t == TROUBLE_ALLOC) {
		alloc_arm(1 + rng_below(r, 1500), rng_one_in(r, 2) ? 0 : rng_below(r, 20));
	}
	return t;
}

/* The way back may be cut off, too, more than once. */
static void come_back(struct model *mo, struct rng *r)
{
	for (unsigned tries = 0; tries < 3 && rng_one_in(r, 3); tries++) {
		bool there;

		mo->m->power.cut_at_write = 1 + rng_below(r, 25);
		there = run_import(mo);
		if (there && rng_one_in(r, 2))
			model_verify(mo);
		run_end(mo, (enum disk_keep)rng_below(r, DISK_KEEP_MODES), true);
	}
	if (run_import(mo))
		model_verify(mo);
}

static void episode(void *arg)
{
	struct episode *e = arg;
	struct rng r = rng_new(e->seed, 2);
	struct machine_config config = random_machine(&r, e->seed);
	unsigned rounds = 2 + (unsigned)rng_below(&r, 4);
	struct machine m;
	struct model *mo;

	run_make_base(&m, &mo, &config, (unsigned)rng_below(&r, MODEL_VOLUMES + 1));
	come_back(mo, &r);
	if (rng_one_in(&r, 5) && m.running)
		run_fill_pool(mo, 64 * 1024 + rng_below(&r, 2 * MIB));
	for (unsigned i = 0; i < rounds; i++) {
		struct op_mix mix = op_mix_random(&r, 1 + (unsigned)rng_below(&r, 3));
		enum trouble t = plan_trouble(mo, &r);
		bool cut = t == TROUBLE_CUT || t == TROUBLE_CUT_AT_END || rng_one_in(&r, 3);

		where->step = i + 1;
		if (t < TROUBLE_IO && rng_one_in(&r, 3) && run_is_whole_mirror(&m))
			run_clients_on_a_half(mo, &mix, rng_next(&r), 10 + (unsigned)rng_below(&r, 120),
			                      rng_below(&r, 20 * SYNC_NS_PER_MS));
		else
			run_clients(mo, &mix, rng_next(&r), 10 + (unsigned)rng_below(&r, 120));
		alloc_disarm();
		run_end(mo, (enum disk_keep)rng_below(&r, DISK_KEEP_MODES), cut);
		come_back(mo, &r);
	}
	run_end(mo, DISK_KEEP_NONE, false);
	tally->ops += mo->ops;
	tally->pages_compared += mo->reads_checked;
	model_free(mo);
	machine_done(&m);
}

void scenario_random(uint64_t seed, uint64_t only)
{
	struct episode e = { .seed = seed };

	(void)only;
	run_scheduled(seed, episode, &e);
}

/* The same seed twice is the same run. */
void scenario_repeat(uint64_t seed, uint64_t only)
{
	struct episode e = { .seed = seed };
	struct sim_stats first, second;

	(void)only;
	run_scheduled(seed, episode, &e);
	sim_get_stats(&first);
	run_scheduled(seed, episode, &e);
	sim_get_stats(&second);
	if (first.trace != second.trace || first.points != second.points)
		model_violation("the same seed gave two different runs: %llu and %llu points",
		                (unsigned long long)first.points, (unsigned long long)second.points);
}
