/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Everything, one by one: every sequence of up to three operations; a power cut at every write of a script, of what
 * follows it and of the import; every request and every allocation of a script failing.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/wfs3/label.h"
#include "tests/sim/alloc.h"
#include "tests/sim/run.h"

#define SCRIPT_OPS_MAX 12u
#define BLOCK DISK_BLOCK_BYTES
#define SEQUENCE_LENGTH_MAX 3u

struct script {
	struct op ops[SCRIPT_OPS_MAX];
	unsigned count;
};

/* One case: a script on a copy of the base, with one thing going wrong. */
struct one {
	struct script script;
	uint64_t seed;
	enum disk_keep keep;
	bool end_with_cut;
	uint64_t cut_at_write, import_cut_at_write;
	uint64_t fail_at_request, fail_count;
	int fail_error;
	uint64_t fail_at_alloc, more_allocs;
	bool wrap; /* from the base whose log is about to go around */
	bool hit; /* it came to that */
};

/* The base: made once in a process, inside of its own run. */
static struct machine base_machine;
static struct model *base_model;

static void make_base(void *arg)
{
	struct machine_config config = { .seed = 1,
		                         .disk_count = 1,
		                         .disk_bytes = 64 * MIB,
		                         .latency_ns_max = 100000,
		                         .cache_bytes = 16 * MIB,
		                         .txg_age_ms = 500,
		                         .writeback_age_ms = 500 };

	(void)arg;
	run_make_base(&base_machine, &base_model, &config, 2);
}

/* The same, but the log stands so shortly before the end of its ring that a script goes around it. */
static struct machine wrap_machine;
static struct model *wrap_model;
#define RING_LEFT_BYTES (10 * BLOCK)

static uint64_t ring_left(struct machine *m)
{
	struct root_list *list = exempt_alloc(sizeof(*list));
	char note[LABEL_NOTE_BYTES];
	struct label l;
	uint64_t left;

	if (label_read(disk_dev(m->disks[0]), &l, note) || root_read_all(disk_dev(m->disks[0]), &l, list) ||
	    !list->count)
		model_violation("a pool that was exported has no root");
	left = l.layout.log_bytes - list->roots[0].log_position % l.layout.log_bytes;
	free(list);
	return left;
}

static void make_wrap_base(void *arg)
{
	uint64_t left;

	(void)arg;
	machine_clone(&wrap_machine, &base_machine, 1);
	wrap_model = model_clone(base_model, &wrap_machine);
	while ((left = ring_left(&wrap_machine)) > RING_LEFT_BYTES) {
		uint64_t pages = min_u64((left - RING_LEFT_BYTES) / BLOCK, 25);
		struct op op = { .kind = OP_WRITE, .len_bytes = (pages > 1 ? pages - 1 : 1) * BLOCK, .fill = left };

		if (!run_import(wrap_model))
			break;
		op_run(wrap_model, &op);
		op = (struct op){ .kind = OP_FLUSH };
		op_run(wrap_model, &op);
		run_end(wrap_model, DISK_KEEP_NONE, false);
	}
}

static void plan(struct model *mo, const struct one *o)
{
	struct disk_power *p = &mo->m->power;

	p->writes = p->requests = 0;
	p->cut_at_write = o->cut_at_write;
	p->fail_at_request = o->fail_at_request;
	p->fail_count = o->fail_count;
	p->fail_error = o->fail_error;
	if (o->fail_at_alloc)
		alloc_arm(o->fail_at_alloc, o->more_allocs);
}

static void run_script(struct model *mo, const struct script *s)
{
	char text[128];

	for (unsigned i = 0; i < s->count && !mo->m->power.off; i++) {
		int ret = op_run(mo, &s->ops[i]);

		if (verbose)
			fprintf(stderr, "%12.6f %s = %d\n", (double)sync_now_ns() / 1e9,
			        op_text(&s->ops[i], text, sizeof(text)), ret);
	}
}

static void run_one(void *arg)
{
	struct one *o = arg;
	struct machine m;
	struct model *mo;

	machine_clone(&m, o->wrap ? &wrap_machine : &base_machine, o->seed);
	/* Write-back between commits, and commits before write-back. */
	m.config.txg_age_ms = o->seed % 2 ? 500 : 4000;
	m.config.writeback_age_ms = o->seed % 3 ? 100 : 500;
	mo = model_clone(o->wrap ? wrap_model : base_model, &m);
	if (run_import(mo)) {
		plan(mo, o);
		run_script(mo, &o->script);
		o->hit = m.power.off || m.power.failed || alloc_failures();
		alloc_disarm();
		run_end(mo, o->keep, o->end_with_cut);
	}
	if (o->import_cut_at_write) {
		m.power.cut_at_write = o->import_cut_at_write;
		run_import(mo);
		o->hit = m.power.off;
		run_end(mo, o->keep, true);
	}
	run_compare(mo);
	tally->ops += mo->ops;
	tally->pages_compared += mo->reads_checked;
	model_free(mo);
	machine_done(&m);
}

static void do_one(struct one *o)
{
	if (!base_model)
		run_scheduled(1, make_base, NULL);
	if (o->wrap && !wrap_model)
		run_scheduled(1, make_wrap_base, NULL);
	run_scheduled(o->seed, run_one, o);
}

/* ---- sequences ---- */

static const struct op alphabet[] = {
	{ .kind = OP_WRITE, .volume = 0, .offset = 0, .len_bytes = 3 * BLOCK, .fill = 1 },
	{ .kind = OP_WRITE, .volume = 0, .offset = BLOCK + 512, .len_bytes = 1024, .fill = 2 },
	{ .kind = OP_WRITE, .volume = 1, .offset = 0, .len_bytes = BLOCK, .fill = 3 },
	{ .kind = OP_WRITE, .volume = 0, .offset = BLOCK, .len_bytes = BLOCK, .fua = true, .fill = 4 },
	{ .kind = OP_DISCARD, .volume = 0, .offset = 0, .len_bytes = 2 * BLOCK },
	{ .kind = OP_ZERO, .volume = 0, .offset = BLOCK - 512, .len_bytes = BLOCK },
	{ .kind = OP_FLUSH, .volume = 0 },
	{ .kind = OP_FLUSH_RANGE, .volume = 0, .offset = BLOCK, .len_bytes = BLOCK },
	{ .kind = OP_RESIZE, .volume = 0, .len_bytes = 2 * BLOCK },
	{ .kind = OP_RESIZE, .volume = 0, .len_bytes = 100 * BLOCK },
	{ .kind = OP_RENAME, .volume = 0 },
	{ .kind = OP_DELETE, .volume = 0 },
	{ .kind = OP_CREATE, .volume = 0, .len_bytes = 8 * BLOCK },
	{ .kind = OP_WAIT, .len_bytes = 1200 * SYNC_NS_PER_MS },
};
#define ALPHABET (sizeof(alphabet) / sizeof(alphabet[0]))

uint64_t sequence_count(void)
{
	return ALPHABET + ALPHABET * ALPHABET + ALPHABET * ALPHABET * ALPHABET;
}

/* Sequence number 1.. */
static struct script sequence(uint64_t number)
{
	struct script s = { 0 };
	uint64_t of_length = ALPHABET;

	number--;
	for (s.count = 1; number >= of_length; s.count++) {
		number -= of_length;
		of_length *= ALPHABET;
	}
	for (unsigned i = 0; i < s.count; i++) {
		s.ops[i] = alphabet[number % ALPHABET];
		if (s.ops[i].fill)
			s.ops[i].fill += 16 * (i + 1);
		number /= ALPHABET;
	}
	return s;
}

/* Every sequence, then a flush of all volumes, then a power cut. */
void scenario_sequences(uint64_t seed, uint64_t only)
{
	struct one o = { .script = sequence(seed), .seed = seed, .end_with_cut = true };

	(void)only;
	o.keep = (enum disk_keep)(seed % DISK_KEEP_MODES);
	for (unsigned v = 0; v < 2; v++)
		o.script.ops[o.script.count++] = (struct op){ .kind = OP_FLUSH, .volume = v };
	do_one(&o);
}

/* ---- scripts ---- */

static struct script random_script(uint64_t seed)
{
	struct rng r = rng_new(seed, 9);
	struct op_mix mix = op_mix_random(&r, 1);
	struct script s = { .count = 6 };

	mix.weights[OP_SYNC] += 6;
	mix.weights[OP_WAIT] += 10;
	mix.group_pages = seed % 3 ? 3 : 40;
	for (unsigned i = 0; i < s.count; i++) {
		s.ops[i] = op_random(&r, &mix, 0);
		/* Small scripts meet each other on few pages. */
		if (s.ops[i].kind < OP_RESIZE)
			s.ops[i].offset %= 20 * BLOCK;
		s.ops[i].volume %= 2;
	}
	s.ops[s.count++] = (struct op){ .kind = OP_FLUSH, .volume = 0 };
	s.ops[s.count++] = (struct op){ .kind = OP_WAIT, .len_bytes = 1500 * SYNC_NS_PER_MS };
	s.ops[s.count++] = (struct op){ .kind = OP_WRITE, .volume = 1, .len_bytes = 2 * BLOCK, .fill = seed };
	return s;
}

/* Steps 1, 2, ... until one does not come to its fault any more. */
static void every_step(struct one *o, uint64_t seed, uint64_t only, uint64_t *aim)
{
	for (uint64_t step = only ? only : 1;; step++) {
		where->step = step;
		*aim = step;
		o->seed = seed;
		o->keep = (enum disk_keep)((seed + step) % DISK_KEEP_MODES);
		o->hit = false;
		do_one(o);
		if (!o->hit || only)
			break;
	}
}

void scenario_cuts(uint64_t seed, uint64_t only)
{
	struct one o = { .script = random_script(seed), .end_with_cut = true };

	every_step(&o, seed, only, &o.cut_at_write);
}

void scenario_wrap_cuts(uint64_t seed, uint64_t only)
{
	struct one o = { .script = random_script(seed), .end_with_cut = true, .wrap = true };

	/* Whatever the script does, this goes around. */
	o.script.ops[0] = (struct op){ .kind = OP_WRITE, .len_bytes = 12 * BLOCK, .fill = seed };
	o.script.ops[1] = (struct op){ .kind = OP_FLUSH };
	every_step(&o, seed, only, &o.cut_at_write);
}

void scenario_import_cuts(uint64_t seed, uint64_t only)
{
	struct one o = { .script = random_script(seed), .end_with_cut = true };

	every_step(&o, seed, only, &o.import_cut_at_write);
}

void scenario_io_failures(uint64_t seed, uint64_t only)
{
	struct one o = { .script = random_script(seed) };

	o.fail_error = seed % 4 == 3 ? -ENOSPC : -EIO;
	o.fail_count = seed % 2 ? 0 : UINT32_MAX;
	o.end_with_cut = seed % 4 < 2;
	every_step(&o, seed, only, &o.fail_at_request);
}

void scenario_alloc_failures(uint64_t seed, uint64_t only)
{
	struct one o = { .script = random_script(seed) };

	o.more_allocs = seed % 3 == 2 ? 8 : 0;
	o.end_with_cut = seed % 2;
	every_step(&o, seed, only, &o.fail_at_alloc);
}
