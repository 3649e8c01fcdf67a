/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Space against a model of bitmaps: random allocation, commits, frees, cancels, power cuts in the middle of commits,
 * reloads of the newest root and of the one before it. A failure prints the seed.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/core/fs/wfs3/space_fixture.h"
#include "tests/unit/slow.h"

#define RUNS_MAX 4096

struct state {
	uint64_t txg; /* 0: none */
	struct space_root root;
	uint8_t *used;
};

struct model {
	struct fixture f;
	struct space *s;
	uint64_t seed;
	uint64_t open; /* txg */
	uint64_t txg_max; /* ever begun */
	struct state durable, before; /* the newest root and the one before it */
	uint8_t *used; /* newest state in memory */
	uint8_t *in_flight;
	struct space_run runs[RUNS_MAX]; /* referenced now */
	unsigned run_count;
	unsigned change_max; /* per txg */
	unsigned previous_loads; /* how often the root before the newest one was loaded while a commit was under way */
};

static void state_copy(struct model *m, struct state *to, const struct state *from)
{
	to->txg = from->txg;
	to->root = from->root;
	memcpy(to->used, from->used, fixture_blocks(&m->f));
}

static void mark(struct model *m, uint8_t *map, struct space_run run, uint8_t value)
{
	memset(map + fixture_index(&m->f, run.addr), value, run.block_count);
}

static void check_fresh(struct model *m, struct space_run run)
{
	for (uint32_t i = 0; i < run.block_count; i++) {
		uint32_t at = fixture_index(&m->f, run.addr) + i;

		assert_true(at < fixture_blocks(&m->f));
		assert_false(m->used[at] || m->in_flight[at] || m->durable.used[at] || m->before.used[at]);
	}
	assert_int_equal(run.addr >> m->f.region_shift, (run.addr + run.block_count - 1) >> m->f.region_shift);
}

static void step_alloc(struct model *m)
{
	uint32_t min = 1 + rnd_below(&m->seed, 8), want = min + rnd_below(&m->seed, 200);
	enum space_stream stream = rnd_below(&m->seed, 4) ? SPACE_STREAM_DATA : SPACE_STREAM_NODE;
	struct space_run run;
	int rc = space_alloc(m->s, stream, min, want, &run);

	if (rc) {
		assert_int_equal(rc, -ENOSPC);
		return;
	}
	assert_in_range(run.block_count, min, want);
	check_fresh(m, run);
	mark(m, m->in_flight, run, 1);
	if (rnd_below(&m->seed, 8) == 0 || m->run_count == RUNS_MAX) {
		space_cancel(m->s, run);
		mark(m, m->in_flight, run, 0);
		return;
	}
	mark(m, m->in_flight, run, 0);
	mark(m, m->used, run, 1);
	commit_one(m->s, m->open, run);
	m->runs[m->run_count++] = run;
}

static void step_free(struct model *m)
{
	unsigned i = m->run_count ? rnd_below(&m->seed, m->run_count) : 0;
	struct space_run *run = &m->runs[i], part;

	if (!m->run_count)
		return;
	/* The head of it, often all of it. */
	part = (struct space_run){ run->addr, 1 + rnd_below(&m->seed, run->block_count) };
	if (rnd_below(&m->seed, 2))
		part.block_count = run->block_count;
	free_one(m->s, m->open, part);
	mark(m, m->used, part, 0);
	run->addr += part.block_count;
	run->block_count -= part.block_count;
	if (!run->block_count)
		*run = m->runs[--m->run_count];
}

static void check_same(struct model *m, struct space *s, const struct state *want)
{
	struct space_stats t;
	uint64_t used = 0;

	for (uint32_t i = 0; i < fixture_blocks(&m->f); i++) {
		used += want->used[i];
		if (space_is_used(s, fixture_addr(&m->f, i)) != want->used[i])
			fail_msg("txg %llu: block %u should be %s", (unsigned long long)want->txg, i,
			         want->used[i] ? "used" : "free");
	}
	space_get_stats(s, &t);
	assert_int_equal(t.used_blocks, used);
	check_stats(s);
}

static void collect_runs(struct model *m)
{
	m->run_count = 0;
	for (uint32_t i = 0; i < fixture_blocks(&m->f); i++) {
		struct space_run *last = m->run_count ? &m->runs[m->run_count - 1] : NULL;

		if (!m->used[i])
			continue;
		if (last && last->addr + last->block_count == fixture_addr(&m->f, i) && i % m->f.region_blocks)
			last->block_count++;
		else if (m->run_count < RUNS_MAX)
			m->runs[m->run_count++] = (struct space_run){ fixture_addr(&m->f, i), 1 };
	}
}

/* Forget what is in memory and go on from a root; now and then from the one before the newest. */
static void reload(struct model *m, bool in_commit)
{
	struct space *older = NULL;
	int rc;

	space_free(m->s);
	m->s = NULL;
	if (m->before.txg) {
		rc = space_load(&m->f.config, m->before.txg, &m->before.root, &older);
		if (rc && !in_commit)
			fail_msg("root before the newest: %s", err_text(err_get(), rc, 1, (char[1024]){ 0 }, 1024));
		if (!rc) {
			check_same(m, older, &m->before);
			m->previous_loads += in_commit;
		}
	}
	if (older && rnd_below(&m->seed, 4) == 0) {
		m->s = older;
		state_copy(m, &m->durable, &m->before);
		m->before.txg = 0;
		memset(m->before.used, 0, fixture_blocks(&m->f));
	} else {
		space_free(older);
		rc = space_load(&m->f.config, m->durable.txg, &m->durable.root, &m->s);
		if (rc)
			fail_msg("newest root: %s", err_text(err_get(), rc, 1, (char[1024]){ 0 }, 1024));
		check_same(m, m->s, &m->durable);
	}
	memcpy(m->used, m->durable.used, fixture_blocks(&m->f));
	memset(m->in_flight, 0, fixture_blocks(&m->f));
	collect_runs(m);
	/* Usually a new number, sometimes one that was begun before. */
	m->open = rnd_below(&m->seed, 2) ? m->txg_max + 1 : m->durable.txg + 1;
	space_set_open_txg(m->s, m->open);
}

static void power_cut(struct model *m)
{
	static const uint64_t extremes[] = { 0, UINT64_MAX };
	uint64_t r = rnd(&m->seed);

	for (unsigned i = 0; i < m->f.config.device_count; i++) {
		blk_sim_set_faults(m->f.devs[i], NULL);
		blk_sim_power_cut(m->f.devs[i], r % 4 < 2 ? extremes[r % 2] : rnd(&m->seed));
	}
}

static void step_commit(struct model *m)
{
	struct blk_sim_faults faults = { .fail_nth = { -1, -1, -1, -1, -1 }, .fail_from_nth = true };
	uint64_t txg = m->open;
	struct space_root root;
	int rc;

	if (txg > m->txg_max)
		m->txg_max = txg;
	if (rnd_below(&m->seed, 6) == 0) {
		faults.fail_nth[BLK_WRITE] = rnd_below(&m->seed, 12);
		blk_sim_set_faults(m->f.devs[rnd_below(&m->seed, m->f.config.device_count)], &faults);
	}
	m->open++;
	space_set_open_txg(m->s, m->open);
	rc = space_write(m->s, txg, &root);
	if (rc || rnd_below(&m->seed, 8) == 0) {
		power_cut(m);
		reload(m, true);
		return;
	}
	for (unsigned i = 0; i < m->f.config.device_count; i++)
		blk_sim_set_faults(m->f.devs[i], NULL);
	fixture_flush(&m->f);
	state_copy(m, &m->before, &m->durable);
	m->durable.txg = txg;
	m->durable.root = root;
	memcpy(m->durable.used, m->used, fixture_blocks(&m->f));
	space_root_durable(m->s, txg);
	check_stats(m->s);
	if (rnd_below(&m->seed, 10) == 0) {
		power_cut(m);
		reload(m, false);
	}
}

static void model_init(struct model *m, uint64_t seed, unsigned devices, uint64_t ring_bytes, unsigned change_max)
{
	size_t blocks;

	*m = (struct model){ .seed = seed, .open = FIRST_TXG + 1, .txg_max = FIRST_TXG, .change_max = change_max };
	fixture_init(&m->f, devices, 64 * MIB, MIB, ring_bytes);
	blocks = fixture_blocks(&m->f);
	m->used = calloc(blocks, 1);
	m->in_flight = calloc(blocks, 1);
	m->durable.used = calloc(blocks, 1);
	m->before.used = calloc(blocks, 1);
	assert_int_equal(space_create(&m->f.config, FIRST_TXG, &m->s, &m->durable.root), 0);
	fixture_flush(&m->f);
	m->durable.txg = FIRST_TXG;
}

static void model_done(struct model *m)
{
	space_free(m->s);
	free(m->used);
	free(m->in_flight);
	free(m->durable.used);
	free(m->before.used);
	fixture_done(&m->f);
}

static unsigned run_model(uint64_t seed, unsigned devices, uint64_t ring_bytes, unsigned change_max, unsigned txgs)
{
	struct model *m = malloc(sizeof(*m));
	unsigned loads;

	print_message("seed %llu\n", (unsigned long long)seed);
	model_init(m, seed, devices, ring_bytes, change_max);
	for (unsigned i = 0; i < txgs; i++) {
		unsigned changes = rnd_below(&m->seed, change_max + 1);
		/* Phases of growth and of decline. */
		unsigned bias = i / 20 % 2 ? 3 : 7;

		for (unsigned j = 0; j < changes; j++)
			if (rnd_below(&m->seed, 10) < bias)
				step_alloc(m);
			else
				step_free(m);
		step_commit(m);
	}
	loads = m->previous_loads;
	model_done(m);
	free(m);
	return loads;
}

static void test_random_history_with_power_cuts_matches_model(void **state)
{
	unsigned loads = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 1 + FIXTURE_EFFORT; seed += test_slow())
		loads += run_model(seed, 1, 0, 60, 100);
	assert_true(loads > 0);
}

static void test_tiny_ring_matches_model(void **state)
{
	(void)state;
	for (uint64_t seed = 100; seed < 100 + FIXTURE_EFFORT; seed += test_slow())
		run_model(seed, 1, 16 << 10, 700, 60);
}

static void test_small_ring_wraps_and_matches_model(void **state)
{
	(void)state;
	for (uint64_t seed = 200; seed < 201 + FIXTURE_EFFORT / 2; seed += test_slow())
		run_model(seed, 1, 64 << 10, 30, 200);
}

static void test_two_devices_match_model(void **state)
{
	(void)state;
	for (uint64_t seed = 300; seed < 301 + FIXTURE_EFFORT / 3; seed += test_slow())
		run_model(seed, 2, 48 << 10, 100, 80);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_history_with_power_cuts_matches_model),
		cmocka_unit_test(test_tiny_ring_matches_model),
		cmocka_unit_test(test_small_ring_wraps_and_matches_model),
		cmocka_unit_test(test_two_devices_match_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
