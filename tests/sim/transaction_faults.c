/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every request, and every allocation, of some transactions fails, one by one; or of the import after them and a crash.
 * Whoever is told that a transaction was not made finds that nothing of it was, at once and after whatever comes then;
 * quotas count what there is.
 */
#include <errno.h>

#include "core/blk/blk.h"
#include "tests/sim/alloc.h"
#include "tests/sim/transactions.h"

#define BASE_TRANSACTIONS 12u
#define TRANSACTIONS 3u

struct one {
	uint64_t seed;
	uint64_t fail_at_request, fail_count, fail_at_alloc, more_allocs;
	bool in_import;
	bool hit; /* it came to that */
};

/* With some files of all owners; made once in a process and for each kind, inside of its own run. */
struct base {
	struct machine machine;
	struct tx_work work;
	bool made;
};
static struct base bases[2]; /* the second has quotas */

static void make_base(void *arg)
{
	struct machine_config config = { .seed = 1,
		                         .disk_count = 1,
		                         .disk_bytes = 64 * MIB,
		                         .cache_bytes = 16 * MIB,
		                         .txg_age_ms = 1000,
		                         .writeback_age_ms = 1000 };
	struct base *b = arg;
	struct tx_client c = { .w = &b->work, .rng = rng_new(1, 60) };
	struct vfs_handle *top;
	uint64_t number;

	b->work.quotas = b == &bases[1];
	run_make_base(&b->machine, &b->work.mo, &config, 0);
	if (!run_import(b->work.mo))
		model_violation("a new pool could not be imported");
	tx_make_tree(&b->work);
	if (tx_open_top(&b->machine, &top))
		model_violation("a new tree could not be opened");
	for (unsigned i = 0; i < BASE_TRANSACTIONS; i++)
		(void)tx_transact(&c, top, i % 4 ? TX_CHANGE : TX_RAISE, false, &number);
	vfs_close(top);
	if (tx_check(&b->work, &b->work.floor) || !b->work.floor || !run_end(b->work.mo, DISK_KEEP_NONE, false))
		model_violation("a new tree could not be put away");
	b->made = true;
}

/* What may be found: the last one that was made, up to the last one that may have been. */
struct span {
	uint64_t least, most;
};

static void run_transactions(struct tx_work *w, struct span *found)
{
	struct tx_client c = { .w = w, .rng = rng_new(rng_next(&w->rng), 61) };
	bool waits = rng_one_in(&w->rng, 2);
	struct vfs_handle *top;

	if (tx_open_top(w->mo->m, &top))
		return;
	for (unsigned i = 0; i < TRANSACTIONS; i++) {
		bool durable = i % 2;
		uint64_t number;
		int rc = tx_transact(&c, top, i == 1 ? TX_RAISE : TX_CHANGE, durable, &number);

		/* One that was made, and cannot become durable, is told as an error, too. */
		if (number && (!rc || durable))
			found->most = number;
		if (number && !rc)
			found->least = number;
		if (number && !rc && durable)
			w->floor = number;
		if (rc != -EDQUOT || !w->quotas)
			model_result(w->mo, "a transaction", rc);
		model_result(w->mo, "something beside transactions", tx_beside(&c, top));
		/* Groups, too, end with something going wrong. */
		if (waits)
			sync_sleep_ns(1500 * SYNC_NS_PER_MS);
	}
	vfs_close(top);
}

static void compare(struct tx_work *w, uint64_t least, uint64_t most)
{
	uint64_t number = 0;
	int rc = tx_check(w, &number);

	if (rc)
		model_result(w->mo, "reading what was written", rc);
	else if (number < least || number > most)
		model_violation("the last transaction is %llu; it must be %llu to %llu", (unsigned long long)number,
		                (unsigned long long)least, (unsigned long long)most);
}

static void arm(struct machine *m, const struct one *o)
{
	m->power.requests = 0;
	m->power.fail_at_request = o->fail_at_request;
	m->power.fail_count = o->fail_count;
	m->power.fail_error = -EIO;
	if (o->fail_at_alloc)
		alloc_arm(o->fail_at_alloc, o->more_allocs);
}

/* Something goes wrong in it: it may fail, and that may go on with the pool. */
static void import_once(struct one *o, struct tx_work *w)
{
	arm(w->mo->m, o);
	(void)run_import(w->mo);
	o->hit = w->mo->m->power.failed || alloc_failures();
	alloc_disarm();
	run_end(w->mo, (enum disk_keep)(o->seed % DISK_KEEP_MODES), true);
}

static void run_one(void *arg)
{
	struct one *o = arg;
	const struct base *b = &bases[o->seed % 2];
	struct span found = { b->work.floor, b->work.floor };
	bool clean, cuts = o->in_import || o->seed % 4 > 1;
	struct tx_work w = b->work;
	struct machine m;

	w.rng = rng_new(o->seed, 62);
	machine_clone(&m, &b->machine, o->seed);
	w.mo = model_clone(b->work.mo, &m);
	if (!run_import(w.mo))
		model_violation("the pool could not be imported");
	if (!o->in_import)
		arm(&m, o);
	run_transactions(&w, &found);
	o->hit = m.power.failed || alloc_failures();
	alloc_disarm();
	compare(&w, found.least, found.most);
	clean = run_end(w.mo, (enum disk_keep)(o->seed % DISK_KEEP_MODES), cuts);
	if (o->in_import)
		import_once(o, &w);
	if (!run_import(w.mo))
		model_violation("the pool could not be imported again");
	compare(&w, clean ? found.least : w.floor, found.most);
	run_end(w.mo, DISK_KEEP_NONE, false);
	tally->ops += w.mo->ops;
	model_free(w.mo);
	machine_done(&m);
}

/* Steps 1, 2, ... until one does not come to its fault any more. */
static void every_step(struct one *o, uint64_t only, uint64_t *aim)
{
	if (!bases[o->seed % 2].made)
		run_scheduled(1, make_base, &bases[o->seed % 2]);
	for (uint64_t step = only ? only : 1;; step++) {
		where->step = step;
		*aim = step;
		o->hit = false;
		run_scheduled(o->seed, run_one, o);
		if (!o->hit || only)
			break;
	}
}

void scenario_tx_io(uint64_t seed, uint64_t only)
{
	struct one o = { .seed = seed, .fail_count = seed % 4 < 2 ? 0 : UINT32_MAX };

	every_step(&o, only, &o.fail_at_request);
}

void scenario_tx_alloc(uint64_t seed, uint64_t only)
{
	struct one o = { .seed = seed, .more_allocs = seed % 3 == 2 ? 8 : 0 };

	every_step(&o, only, &o.fail_at_alloc);
}

void scenario_tx_import(uint64_t seed, uint64_t only)
{
	struct one o = { .seed = seed, .in_import = true };

	o.fail_count = seed % 4 < 2 ? 0 : UINT32_MAX;
	o.more_allocs = seed % 4 < 2 ? 0 : 8;
	every_step(&o, only, seed % 3 ? &o.fail_at_alloc : &o.fail_at_request);
}
