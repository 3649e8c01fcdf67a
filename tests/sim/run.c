/* SPDX-License-Identifier: BSD-3-Clause */
/* The pieces of a scenario: see run.h. */
#include "tests/sim/run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/err.h"
#include "core/base/sync_sim.h"
#include "tests/sim/alloc.h"

#define CLIENTS_MAX 4u
#define POINTS_MAX 5000000u

void run_scheduled(uint64_t seed, void (*fn)(void *arg), void *arg)
{
	static const unsigned switches[] = { 1, 2, 4, 8, 16, 64, 256 };
	struct rng r = rng_new(seed, 1);
	struct sim_config config = { .seed = seed,
		                     .switch_one_in = switches[rng_below(&r, sizeof(switches) / sizeof(switches[0]))],
		                     .spurious_one_in = rng_one_in(&r, 2) ? 16 : 0,
		                     .points_max = POINTS_MAX };
	struct sim_stats stats;

	random_seed(seed);
	sim_run(&config, fn, arg);
	sim_get_stats(&stats);
	tally->switches += stats.switches;
	tally->virtual_ns += stats.virtual_ns;
	tally->cases++;
}

static void print_pool(struct machine *m)
{
	static const char *const states[] = { "online", "filling", "away" };
	struct pool_info *info = exempt_alloc(sizeof(*info));

	/* Asked for in any case: it must not make a difference who looks. */
	if (!m->admin.driver->pool_get(m->admin.ctx, POOL_NAME, info) && verbose) {
		fprintf(stderr, "%12.6f imported, \"%s\"", (double)sync_now_ns() / 1e9, info->reason);
		for (unsigned i = 0; i < info->device_count; i++)
			fprintf(stderr, "; %s in group %u is %s", info->devices[i].path, info->devices[i].group,
			        states[info->devices[i].state]);
		fprintf(stderr, "\n");
	}
	free(info);
}

bool run_is_whole_mirror(struct machine *m)
{
	struct pool_info *info = exempt_alloc(sizeof(*info));
	bool whole = m->running && !m->admin.driver->pool_get(m->admin.ctx, POOL_NAME, info) &&
	             info->device_count == 2 && info->devices[1].group == info->devices[0].group;

	for (unsigned i = 0; i < 2 && whole; i++)
		whole = info->devices[i].state == POOL_DEVICE_ONLINE;
	free(info);
	return whole;
}

bool run_import(struct model *mo)
{
	int ret;

	tally->imports++;
	ret = machine_start(mo->m);
	model_result(mo, "starting", ret);
	if (ret)
		return false;
	ret = machine_import(mo->m, false);
	model_result(mo, "importing", ret);
	if (ret)
		machine_stop(mo->m);
	else
		print_pool(mo->m);
	return !ret;
}

static void check(struct model *mo, const char *when)
{
	int damage;

	if (mo->damaged || mo->stale)
		return;
	tally->checks++;
	damage = machine_check(mo->m, true);
	if (damage < 0)
		model_violation("the pool could not be checked %s", when);
	if (damage)
		model_violation("the check of the pool %s found %d damages", when, damage);
}

bool run_end(struct model *mo, enum disk_keep keep, bool cut_now)
{
	struct machine *m = mo->m;
	bool clean = false;
	int ret;

	if (cut_now && !m->power.off) {
		m->power.off = true;
		m->power.cuts++;
	}
	if (m->running && !m->power.off) {
		ret = machine_export(m);
		model_room_result(mo, "exporting", ret);
		clean = !ret;
	}
	machine_stop(m);
	tally->cuts += m->power.cuts;
	tally->io_failures += m->power.failed;
	m->power.cuts = m->power.failed = 0;
	tally->alloc_failures += alloc_failures();
	alloc_arm(0, 0);
	alloc_disarm();
	if (clean)
		model_all_durable(mo);
	machine_power_on(m, clean ? DISK_KEEP_NONE : keep);
	check(mo, clean ? "after an export" : "after a crash");
	return clean;
}

void run_compare(struct model *mo)
{
	if (!run_import(mo))
		return;
	model_verify(mo);
	if (!run_end(mo, DISK_KEEP_NONE, false) && !mo->damaged)
		model_violation("the pool could not be exported");
}

/* ---- clients ---- */

struct client {
	struct model *mo;
	const struct op_mix *mix;
	struct rng rng;
	unsigned number, op_count;
	struct sync_thread thread;
};

static void client_main(void *arg)
{
	struct client *c = arg;
	char text[128];

	for (unsigned i = 0; i < c->op_count && !c->mo->m->power.off; i++) {
		struct op op = op_random(&c->rng, c->mix, c->number);
		int ret = op_run(c->mo, &op);

		if (verbose)
			fprintf(stderr, "%12.6f client %u: %s = %d\n", (double)sync_now_ns() / 1e9, c->number,
			        op_text(&op, text, sizeof(text)), ret);
		/* A client that goes on after an error finds a pool that is read-only at worst. */
		if (ret && rng_one_in(&c->rng, 4))
			break;
	}
	blk_thread_done();
}

void run_clients(struct model *mo, const struct op_mix *mix, uint64_t seed, unsigned op_count)
{
	struct client clients[CLIENTS_MAX];

	for (unsigned i = 0; i < mix->client_count; i++) {
		clients[i] = (struct client){
			.mo = mo, .mix = mix, .rng = rng_new(seed, 100 + i), .number = i, .op_count = op_count
		};
		if (sync_thread_start(&clients[i].thread, "client", client_main, &clients[i]))
			abort();
	}
	for (unsigned i = 0; i < mix->client_count; i++)
		sync_thread_join(&clients[i].thread);
}

struct puller {
	struct disk *disk;
	uint64_t delay_ns;
};

static void pull(void *arg)
{
	struct puller *p = arg;

	sync_sleep_ns(p->delay_ns);
	disk_unplug(p->disk, true);
}

void run_clients_on_a_half(struct model *mo, const struct op_mix *mix, uint64_t seed, unsigned op_count,
                           uint64_t delay_ns)
{
	struct rng r = rng_new(seed, 9);
	struct puller p = { .disk = mo->m->disks[rng_below(&r, mo->m->config.disk_count)], .delay_ns = delay_ns };
	struct sync_thread thread;

	if (sync_thread_start(&thread, "puller", pull, &p))
		abort();
	mo->stale = true;
	run_clients(mo, mix, seed, op_count);
	sync_thread_join(&thread);
}

/* ---- a base to start from ---- */

void run_fill_pool(struct model *mo, uint64_t free_bytes)
{
	const struct pool_driver *d = mo->m->admin.driver;
	struct pool_info *info = exempt_alloc(sizeof(*info));
	uint8_t *data = exempt_alloc(MIB);
	struct iovec iov = { data, MIB };
	struct vfs_handle *h = NULL;
	struct rng r = rng_new(free_bytes, 8);
	int ret = d->volume_create(mo->m->admin.ctx, POOL_NAME, MODEL_FILLER, 1024 * MIB);

	mo->tight = true;
	if (!ret)
		ret = vfs_open(mo->m->vfs, "/" POOL_NAME "/" MODEL_FILLER, true, &h);
	for (size_t i = 0; i < MIB; i += 512)
		data[i] = (uint8_t)(1 + rng_below(&r, 255));
	for (uint64_t at = 0; !ret; at += MIB) {
		ret = d->pool_get(mo->m->admin.ctx, POOL_NAME, info);
		if (!ret && info->available_bytes < free_bytes + MIB)
			break;
		if (!ret)
			ret = vfs_write(h, &iov, 1, at, 0);
	}
	model_room_result(mo, "filling the pool", ret);
	vfs_close(h);
	free(data);
	free(info);
}

void run_make_base(struct machine *m, struct model **ret, const struct machine_config *config, unsigned volumes)
{
	struct model *mo;

	machine_init(m, config);
	mo = model_new(m);
	model_result(mo, "starting", machine_start(m));
	model_result(mo, "creating the pool", machine_create_pool(m));
	for (unsigned i = 0; i < volumes; i++) {
		struct op op = { .kind = OP_CREATE, .volume = i, .len_bytes = 64 * DISK_BLOCK_BYTES };

		op_run(mo, &op);
		op = (struct op){ .kind = OP_WRITE, .volume = i, .len_bytes = 24 * DISK_BLOCK_BYTES, .fill = 1000 + i };
		op_run(mo, &op);
	}
	run_end(mo, DISK_KEEP_NONE, false);
	*ret = mo;
}
