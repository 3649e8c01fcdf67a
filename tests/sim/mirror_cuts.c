/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices that are attached, replaced, pulled, brought back and detached, with a power cut at every write of it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/err.h"
#include "tests/sim/alloc.h"
#include "tests/sim/run.h"

#define BLOCK DISK_BLOCK_BYTES
#define STEPS_MAX 12u
#define FILL_NS (3 * SYNC_NS_PER_S) /* enough for a device to be filled */

enum step {
	STEP_END,
	STEP_WRITE, /* and flush */
	STEP_ATTACH,
	STEP_REPLACE,
	STEP_DETACH, /* the first device */
	STEP_PULL_SECOND,
	STEP_ONLINE_SECOND, /* after it was plugged in again */
	STEP_PULL_FIRST,
	STEP_WAIT,
};

static const uint8_t scripts[][STEPS_MAX] = {
	{ STEP_WRITE, STEP_ATTACH, STEP_WRITE, STEP_WAIT, STEP_WRITE },
	{ STEP_ATTACH, STEP_WAIT, STEP_WRITE, STEP_DETACH, STEP_WRITE, STEP_WRITE },
	{ STEP_WRITE, STEP_REPLACE, STEP_WRITE, STEP_WAIT, STEP_WRITE },
	{ STEP_ATTACH, STEP_WAIT, STEP_PULL_SECOND, STEP_WRITE, STEP_ONLINE_SECOND, STEP_WRITE, STEP_WAIT,
	  STEP_PULL_FIRST, STEP_WRITE },
};
#define SCRIPTS (sizeof(scripts) / sizeof(scripts[0]))

static struct machine base_machine;
static struct model *base_model;

struct mirror_case {
	uint64_t seed, cut_at_write;
	bool hit;
};

static void make_base(void *arg)
{
	/* One device has the pool, the other one is new. */
	struct machine_config config = { .seed = 3,
		                         .disk_count = 2,
		                         .spare_count = 1,
		                         .disk_bytes = 64 * MIB,
		                         .latency_ns_max = 100000,
		                         .cache_bytes = 16 * MIB,
		                         .txg_age_ms = 500,
		                         .writeback_age_ms = 100 };

	(void)arg;
	run_make_base(&base_machine, &base_model, &config, 2);
}

static void write_and_flush(struct model *mo, uint64_t seed, unsigned step)
{
	for (unsigned v = 0; v < 2 && !mo->m->power.off; v++) {
		struct op op = { .kind = OP_WRITE,
			         .volume = v,
			         .offset = (seed + step) % 20 * BLOCK,
			         .len_bytes = (1 + step % 3) * BLOCK,
			         .fill = seed * 64 + step * 2 + v + 1 };

		(void)op_run(mo, &op);
		op = (struct op){ .kind = OP_FLUSH, .volume = v };
		(void)op_run(mo, &op);
	}
}

static void do_step(struct model *mo, enum step what, uint64_t seed, unsigned step)
{
	struct machine *m = mo->m;
	const struct pool_driver *d = m->admin.driver;

	switch (what) {
	case STEP_WRITE:
		write_and_flush(mo, seed, step);
		break;
	case STEP_ATTACH:
	case STEP_REPLACE:
		model_result(mo, "attaching",
		             d->pool_attach(m->admin.ctx, POOL_NAME, "sim0", "sim1", false, what == STEP_REPLACE));
		break;
	case STEP_DETACH:
		model_result(mo, "detaching", d->pool_detach(m->admin.ctx, POOL_NAME, "sim0"));
		break;
	case STEP_PULL_FIRST:
	case STEP_PULL_SECOND:
		disk_unplug(m->disks[what == STEP_PULL_SECOND], true);
		break;
	case STEP_ONLINE_SECOND:
		disk_unplug(m->disks[1], false);
		model_result(mo, "bringing back", d->pool_online(m->admin.ctx, POOL_NAME, "sim1"));
		break;
	case STEP_WAIT:
		sync_sleep_ns(FILL_NS);
		break;
	case STEP_END:
		break;
	}
}

/* Each half of a whole mirror holds everything, by itself. */
static void look_at_halves(struct model *mo)
{
	for (unsigned i = 0; i < 2; i++) {
		model_result(mo, "starting", machine_start(mo->m));
		disk_unplug(mo->m->disks[!i], true);
		model_result(mo, "importing one half", machine_import(mo->m, true));
		model_verify(mo);
		model_result(mo, "exporting one half", machine_export(mo->m));
		machine_stop(mo->m);
		disk_unplug(mo->m->disks[!i], false);
	}
}

static void run_case(void *arg)
{
	struct mirror_case *c = arg;
	const uint8_t *script = scripts[c->seed % SCRIPTS];
	struct machine m;
	struct model *mo;
	bool whole;

	machine_clone(&m, &base_machine, c->seed);
	mo = model_clone(base_model, &m);
	/* The check knows the devices of one moment; which are the pool's depends on where the cut was. */
	mo->stale = true;
	if (run_import(mo)) {
		m.power.writes = 0;
		m.power.cut_at_write = c->cut_at_write;
		for (unsigned i = 0; i < STEPS_MAX && script[i] != STEP_END && !m.power.off; i++)
			do_step(mo, (enum step)script[i], c->seed, i);
		c->hit = m.power.off;
		run_end(mo, (enum disk_keep)((c->seed + c->cut_at_write) % DISK_KEEP_MODES), true);
	}
	if (run_import(mo)) {
		model_verify(mo);
		sync_sleep_ns(FILL_NS);
		write_and_flush(mo, c->seed, STEPS_MAX);
		whole = run_is_whole_mirror(&m);
		if (run_end(mo, DISK_KEEP_NONE, false) && whole)
			look_at_halves(mo);
	}
	run_compare(mo);
	tally->ops += mo->ops;
	tally->pages_compared += mo->reads_checked;
	model_free(mo);
	machine_done(&m);
}

void scenario_mirror_cuts(uint64_t seed, uint64_t only)
{
	struct mirror_case c = { .seed = seed };

	for (uint64_t step = only ? only : 1;; step++) {
		where->step = step;
		if (!base_model)
			run_scheduled(1, make_base, NULL);
		c.cut_at_write = step;
		c.hit = false;
		run_scheduled(seed * 1000 + step, run_case, &c);
		if (!c.hit || only)
			break;
	}
}
