/* SPDX-License-Identifier: BSD-3-Clause */
/* Space from many threads at once: writers, readers that pin, and one that commits. For the thread sanitizer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/base/sync.h"
#include "tests/unit/core/fs/wfs3/space_fixture.h"

#define WRITERS 3
#define READERS 2
#define HELD_MAX 64
#define ROUNDS 10000
#define COMMITS 150

static struct fixture fixture;
static struct space *space;
static struct sync_rwlock gate;
static uint64_t open_txg; /* under the gate */
static _Atomic unsigned writers_left;
/* Per block: the thread that owns it + 1. Given out twice at a time means a broken allocator. */
static _Atomic uint8_t *owner;

struct writer {
	struct sync_thread thread;
	unsigned id;
	struct space_run held[HELD_MAX];
	unsigned held_count;
};

static void own(struct space_run run, uint8_t from, uint8_t to)
{
	for (uint32_t i = 0; i < run.block_count; i++) {
		uint8_t was = atomic_exchange(&owner[fixture_index(&fixture, run.addr + i)], to);

		assert_int_equal(was, from);
	}
}

static void write_round(struct writer *w, uint64_t *seed)
{
	uint8_t me = (uint8_t)(w->id + 1);
	struct space_run run;

	if (w->held_count == HELD_MAX || (w->held_count && rnd_below(seed, 2))) {
		unsigned i = rnd_below(seed, w->held_count);

		run = w->held[i];
		w->held[i] = w->held[--w->held_count];
		assert_int_equal(space_reserve(space, 1), 0);
		sync_rwlock_rdlock(&gate);
		own(run, me, 0);
		assert_int_equal(space_free_runs(space, open_txg, &run, 1), 0);
		sync_rwlock_rdunlock(&gate);
		return;
	}
	if (space_alloc(space, w->id ? SPACE_STREAM_DATA : SPACE_STREAM_NODE, 1, 1 + rnd_below(seed, 60), &run))
		return;
	own(run, 0, me);
	if (rnd_below(seed, 6) == 0) {
		own(run, me, 0);
		space_cancel(space, run);
		return;
	}
	assert_int_equal(space_reserve(space, 2), 0);
	sync_rwlock_rdlock(&gate);
	space_commit_run(space, open_txg, run);
	sync_rwlock_rdunlock(&gate);
	space_unreserve(space, 1);
	w->held[w->held_count++] = run;
}

static void writer_main(void *arg)
{
	struct writer *w = arg;
	uint64_t seed = w->id;

	for (unsigned i = 0; i < ROUNDS; i++)
		write_round(w, &seed);
	atomic_fetch_sub(&writers_left, 1);
}

static void reader_main(void *arg)
{
	uint64_t seed = (uintptr_t)arg;

	while (atomic_load(&writers_left)) {
		struct space_pin pins[4];
		struct space_stats t;
		unsigned n = 1 + rnd_below(&seed, 4);

		for (unsigned i = 0; i < n; i++)
			space_pin(space, &pins[i]);
		(void)space_is_used(space, fixture_addr(&fixture, rnd_below(&seed, fixture_blocks(&fixture))));
		space_get_stats(space, &t);
		assert_int_equal(t.total_blocks, t.used_blocks + t.in_flight_blocks + t.pending_blocks + t.free_blocks);
		while (n--)
			space_unpin(space, pins[n]);
	}
}

static struct space_root commit(uint64_t *ret_txg)
{
	struct space_root root = { 0 };
	uint64_t txg;

	sync_rwlock_wrlock(&gate);
	txg = open_txg++;
	space_set_open_txg(space, open_txg);
	sync_rwlock_wrunlock(&gate);
	assert_int_equal(space_write(space, txg, &root), 0);
	fixture_flush(&fixture);
	space_root_durable(space, txg);
	*ret_txg = txg;
	return root;
}

static void test_threads_never_get_the_same_block(void **state)
{
	struct writer *writers = calloc(WRITERS, sizeof(*writers));
	struct sync_thread readers[READERS];
	struct space_root root;
	struct space *loaded;
	uint64_t txg;

	(void)state;
	sync_rwlock_init(&gate, SYNC_RANK_GATE, "gate");
	fixture_init(&fixture, 1, 64 * MIB, MIB, 64 << 10);
	owner = calloc(fixture_blocks(&fixture), sizeof(*owner));
	assert_int_equal(space_create(&fixture.config, FIRST_TXG, &space, &root), 0);
	open_txg = FIRST_TXG + 1;
	atomic_store(&writers_left, WRITERS);
	for (unsigned i = 0; i < WRITERS; i++) {
		writers[i].id = i;
		assert_int_equal(sync_thread_start(&writers[i].thread, "writer", writer_main, &writers[i]), 0);
	}
	for (uintptr_t i = 0; i < READERS; i++)
		assert_int_equal(sync_thread_start(&readers[i], "reader", reader_main, (void *)i), 0);
	for (unsigned i = 0; i < COMMITS || atomic_load(&writers_left); i++)
		root = commit(&txg);
	for (unsigned i = 0; i < READERS; i++)
		sync_thread_join(&readers[i]);
	for (unsigned i = 0; i < WRITERS; i++)
		sync_thread_join(&writers[i].thread);
	root = commit(&txg);
	assert_int_equal(space_load(&fixture.config, txg, &root, &loaded), 0);
	for (uint32_t i = 0; i < fixture_blocks(&fixture); i++)
		assert_int_equal(space_is_used(loaded, fixture_addr(&fixture, i)), atomic_load(&owner[i]) != 0);
	space_free(loaded);
	space_free(space);
	fixture_done(&fixture);
	free(owner);
	free(writers);
	sync_rwlock_done(&gate);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads_never_get_the_same_block),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
