/* SPDX-License-Identifier: BSD-3-Clause */
/* Recovery: after a power cut each block holds what was flushed last, or something written since; nothing else. */
#include "core/base/assert.h"
#include "tests/unit/core/fs/wfs3/pool_fixture.h"
#include "tests/unit/slow.h"

#define BLOCKS 1024u
#define BLOCK 4096u
#define VERSIONS_MAX 64u
#define LOG_OFFSET MIB /* of a device of 128 MiB: FORMAT.md, "Devices" */
#define LOG_BYTES (4 * MIB)

/* What a block may hold after a crash: versions[0] was durable, the others were written since. */
struct model_block {
	unsigned count;
	uint32_t versions[VERSIONS_MAX];
};

struct world {
	struct fixture f;
	struct vfs_handle *h;
	struct model_block blocks[BLOCKS];
	uint32_t version;
	unsigned seed;
	unsigned volumes;
};

static unsigned rnd(struct world *w, unsigned n)
{
	return (unsigned)rand_r(&w->seed) % n;
}

static void fill_block(uint8_t *buf, unsigned block, uint32_t version)
{
	if (version)
		pattern(buf, BLOCK, (uint64_t)version << 32 | block);
	else
		memset(buf, 0, BLOCK);
}

static void settle(struct model_block *b)
{
	b->versions[0] = b->versions[b->count - 1];
	b->count = 1;
}

static void note(struct world *w, unsigned block, uint32_t version)
{
	struct model_block *b = &w->blocks[block];

	if (b->count == VERSIONS_MAX) {
		assert_ok(vfs_flush(w->h, 0));
		for (unsigned i = 0; i < BLOCKS; i++)
			settle(&w->blocks[i]);
	}
	b->versions[b->count++] = version;
}

static void open_volume(struct world *w)
{
	assert_ok(vfs_open(w->f.vfs, "/tank/vm1", true, &w->h));
}

static void begin(struct world *w, unsigned seed)
{
	memset(w, 0, sizeof(*w));
	w->seed = seed;
	fixture_init(&w->f, 1, 128 * MIB);
	assert_ok(pool_create(&w->f, "tank", 1));
	assert_ok(volume_create(&w->f, "vm1", (uint64_t)BLOCKS * BLOCK));
	for (unsigned i = 0; i < BLOCKS; i++)
		w->blocks[i].count = 1;
	open_volume(w);
}

static void end(struct world *w)
{
	vfs_close(w->h);
	fixture_done(&w->f);
}

static void write_blocks(struct world *w, unsigned first, unsigned count, unsigned flags)
{
	uint8_t *buf = malloc((size_t)count * BLOCK);

	assert_non_null(buf);
	for (unsigned i = 0; i < count; i++) {
		w->version++;
		fill_block(buf + (size_t)i * BLOCK, first + i, w->version);
		note(w, first + i, w->version);
	}
	assert_ok(write_at(w->h, (uint64_t)first * BLOCK, buf, (size_t)count * BLOCK, flags));
	for (unsigned i = 0; i < count && flags & VFS_FUA; i++)
		settle(&w->blocks[first + i]);
	free(buf);
}

static void discard(struct world *w, unsigned first, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		note(w, first + i, 0);
	assert_ok(vfs_discard(w->h, (uint64_t)first * BLOCK, (uint64_t)count * BLOCK, 0));
}

static void flush(struct world *w)
{
	assert_ok(vfs_flush(w->h, 0));
	for (unsigned i = 0; i < BLOCKS; i++)
		settle(&w->blocks[i]);
}

static void step(struct world *w)
{
	unsigned what = rnd(w, 100);
	unsigned first = rnd(w, BLOCKS), count = 1 + rnd(w, 4);

	if (first + count > BLOCKS)
		first = BLOCKS - count;
	if (what < 50) {
		write_blocks(w, first, count, 0);
	} else if (what < 65) {
		write_blocks(w, first, count, VFS_FUA);
	} else if (what < 70) {
		count = 60 + rnd(w, 100);
		write_blocks(w, first < BLOCKS - count ? first : 0, count, rnd(w, 2) ? VFS_FUA : 0);
	} else if (what < 80) {
		discard(w, first, count);
	} else if (what < 98) {
		flush(w);
	} else {
		char name[32];

		/* A commit. */
		snprintf(name, sizeof(name), "other%u", w->volumes++);
		assert_ok(volume_create(&w->f, name, MIB));
	}
}

/* What is there after an import is what the next crash must leave. */
static void verify(struct world *w)
{
	uint8_t got[BLOCK], want[BLOCK];

	for (unsigned i = 0; i < BLOCKS; i++) {
		struct model_block *b = &w->blocks[i];
		unsigned v;

		assert_ok(read_at(w->h, (uint64_t)i * BLOCK, got, BLOCK));
		for (v = b->count; v-- > 0;) {
			fill_block(want, i, b->versions[v]);
			if (!memcmp(got, want, BLOCK))
				break;
		}
		if (v == UINT32_MAX)
			fail_msg("block %u holds none of its %u versions", i, b->count);
		b->versions[0] = b->versions[v];
		b->count = 1;
	}
}

static void crash(struct world *w, uint64_t cut)
{
	vfs_close(w->h);
	fixture_crash(&w->f, cut);
	assert_ok(pool_import(&w->f, 1));
	assert_string_equal(pool_info(&w->f, "tank").reason, "");
	open_volume(w);
}

static void test_random_operations_and_power_cuts_keep_what_was_flushed(void **state)
{
	struct world *w = malloc(sizeof(*w));

	(void)state;
	for (unsigned seed = 1; seed <= 12; seed += test_slow()) {
		begin(w, seed);
		for (unsigned round = 0; round < 8; round++) {
			unsigned steps = 1 + rnd(w, 150);

			for (unsigned i = 0; i < steps; i++)
				step(w);
			crash(w, rnd(w, 4) ? 1 + rnd(w, 1000000) : rnd(w, 2) ? 0 : UINT64_MAX);
			verify(w);
			if (rnd(w, 2)) {
				crash(w, 1 + rnd(w, 1000));
				verify(w);
			}
		}
		end(w);
	}
	free(w);
}

static void test_log_that_goes_round_many_times_keeps_what_was_flushed(void **state)
{
	struct world *w = malloc(sizeof(*w));

	(void)state;
	begin(w, 99);
	for (unsigned round = 0; round < 4; round += test_slow()) {
		/* Each flush takes a block and a header: 4 MiB of log are full after 500. */
		for (unsigned i = 0; i < 1500; i++)
			write_blocks(w, rnd(w, BLOCKS), 1, VFS_FUA);
		crash(w, 1 + rnd(w, 1000));
		verify(w);
	}
	end(w);
	free(w);
}

static void test_crash_before_anything_was_written_is_recovered(void **state)
{
	struct world *w = malloc(sizeof(*w));

	(void)state;
	begin(w, 1);
	for (unsigned i = 0; i < 5; i++) {
		crash(w, i);
		verify(w);
	}
	end(w);
	free(w);
}

static void test_flush_of_a_few_pages_costs_one_write_and_one_barrier(void **state)
{
	struct world *w = malloc(sizeof(*w));
	uint64_t writes, flushes;

	(void)state;
	begin(w, 1);
	write_blocks(w, 5, 1, VFS_FUA);
	writes = blk_sim_count(w->f.devs[0], BLK_WRITE);
	flushes = blk_sim_count(w->f.devs[0], BLK_FLUSH);
	for (unsigned i = 0; i < 10; i++) {
		write_blocks(w, i * 7, 3, 0);
		flush(w);
	}
	assert_int_equal(blk_sim_count(w->f.devs[0], BLK_WRITE) - writes, 10);
	assert_int_equal(blk_sim_count(w->f.devs[0], BLK_FLUSH) - flushes, 10);
	end(w);
	free(w);
}

static void test_records_whose_data_never_became_durable_end_the_log(void **state)
{
	struct world *w = malloc(sizeof(*w));
	struct blk_sim_faults faults = { .fail_nth = { -1, -1, 0, -1, -1 }, .fail_from_nth = true, .error = -EIO };
	uint8_t *log = malloc(LOG_BYTES);

	(void)state;
	begin(w, 1);
	write_blocks(w, 0, 200, VFS_FUA);
	write_blocks(w, 7, 1, VFS_FUA);
	write_blocks(w, 100, 150, 0);
	log_set_level((enum log_level)0);
	blk_sim_set_faults(w->f.devs[0], &faults);
	assert_int_equal(vfs_flush(w->h, 0), -EIO);
	blk_sim_set_faults(w->f.devs[0], NULL);
	/* Of what the failed barrier was for, the log alone gets through. */
	blk_sim_peek(w->f.devs[0], LOG_OFFSET, log, LOG_BYTES);
	vfs_close(w->h);
	fixture_crash(&w->f, 0);
	blk_sim_poke(w->f.devs[0], LOG_OFFSET, log, LOG_BYTES);
	assert_ok(pool_import(&w->f, 1));
	open_volume(w);
	verify(w);
	end(w);
	free(log);
	free(w);
}

/* Where this version of a block stands on the device. */
static uint64_t find_block(struct world *w, unsigned block, uint32_t version)
{
	uint8_t want[BLOCK], got[BLOCK];
	uint64_t found = 0;

	fill_block(want, block, version);
	for (uint64_t at = 8 * MIB; at < 127 * MIB; at += BLOCK) {
		blk_sim_peek(w->f.devs[0], at, got, BLOCK);
		if (!memcmp(got, want, BLOCK))
			found = at;
	}
	assert_int_not_equal(found, 0);
	return found;
}

/* It was promised, and may be there: the log must not end before it. */
static void test_unreadable_data_is_an_error_of_the_import_and_not_the_end_of_the_log(void **state)
{
	struct world *w = malloc(sizeof(*w));
	_Alignas(BLOCK) uint8_t block[BLOCK];
	uint64_t at;
	char *name;

	(void)state;
	begin(w, 1);
	write_blocks(w, 100, 150, 0);
	flush(w);
	vfs_close(w->h);
	fixture_crash(&w->f, 0);
	at = find_block(w, 130, w->blocks[130].versions[0]);
	blk_sim_peek(w->f.devs[0], at, block, BLOCK);
	blk_sim_break(w->f.devs[0], at, BLOCK, false);
	log_set_level((enum log_level)0);
	assert_int_equal(pool_import(&w->f, 1), -EIO);
	assert_int_equal(pool_import(&w->f, 1), -EIO);
	/* Read-only, the log stays as it is. */
	assert_ok(w->f.admin.driver->pool_import(w->f.admin.ctx, fixture_paths, 1, true, &name));
	free(name);
	assert_ok(pool_export(&w->f, "tank", false));
	assert_ok(blk_write(w->f.devs[0], at, block, BLOCK, BLK_FUA));
	assert_ok(pool_import(&w->f, 1));
	open_volume(w);
	verify(w);
	end(w);
	free(w);
}

static void test_failing_log_writes_lose_nothing_that_was_flushed(void **state)
{
	struct world *w = malloc(sizeof(*w));
	struct blk_sim_faults faults = { .fail_nth = { -1, 0, -1, -1, -1 }, .error = -EIO };

	(void)state;
	for (unsigned seed = 1; seed <= 10; seed += test_slow()) {
		begin(w, seed);
		log_set_level((enum log_level)0);
		for (unsigned i = 0; i < 60; i++) {
			write_blocks(w, rnd(w, BLOCKS - 8), 1 + rnd(w, 8), 0);
			if (i % 5 == 0)
				blk_sim_set_faults(w->f.devs[0], &faults);
			flush(w);
			blk_sim_set_faults(w->f.devs[0], NULL);
			write_blocks(w, rnd(w, BLOCKS), 1, VFS_FUA);
		}
		crash(w, seed);
		verify(w);
		end(w);
	}
	free(w);
}

/* The change counter tells clients whether what they cached is still right. */
static void test_change_counter_that_was_flushed_does_not_go_back(void **state)
{
	struct world *w = malloc(sizeof(*w));
	struct vfs_stat before, after;

	(void)state;
	begin(w, 1);
	write_blocks(w, 0, 100, VFS_FUA);
	discard(w, 5, 10);
	flush(w);
	assert_ok(vfs_stat(w->h, &before));
	assert_ok(volume_create(&w->f, "other", MIB)); /* a commit */
	crash(w, 0);
	assert_ok(vfs_stat(w->h, &after));
	assert_true(after.change >= before.change);
	verify(w);
	end(w);
	free(w);
}

#define FULL_LOG_ROUNDS 20u
#define WRITERS 3u
#define RANGES 4u
#define RANGE_BLOCKS 60u

struct writer {
	struct world *w;
	struct sync_thread thread;
	unsigned first; /* block */
	unsigned seed;
	uint32_t tried[RANGES], flushed[RANGES]; /* versions */
};

static void write_until_it_fails(void *arg)
{
	struct writer *me = arg;
	uint8_t *buf = malloc((size_t)RANGE_BLOCKS * BLOCK);
	int ret = 0;

	always(buf);
	while (!ret) {
		unsigned r = (unsigned)rand_r(&me->seed) % RANGES, first = me->first + r * RANGE_BLOCKS;
		bool fua = rand_r(&me->seed) % 4;

		me->tried[r]++;
		for (unsigned i = 0; i < RANGE_BLOCKS; i++)
			fill_block(buf + (size_t)i * BLOCK, first + i, me->tried[r]);
		ret = write_at(me->w->h, (uint64_t)first * BLOCK, buf, (size_t)RANGE_BLOCKS * BLOCK, fua ? VFS_FUA : 0);
		if (!ret && fua)
			me->flushed[r] = me->tried[r];
	}
	free(buf);
	blk_thread_done();
}

static void verify_range(struct world *w, const struct writer *me, unsigned r)
{
	uint8_t got[BLOCK], want[BLOCK];

	for (unsigned i = 0; i < RANGE_BLOCKS; i++) {
		unsigned block = me->first + r * RANGE_BLOCKS + i;
		uint32_t v = me->tried[r] + 1;

		assert_ok(read_at(w->h, (uint64_t)block * BLOCK, got, BLOCK));
		do {
			fill_block(want, block, --v);
		} while (v > 0 && memcmp(got, want, BLOCK));
		if (v < me->flushed[r] || memcmp(got, want, BLOCK))
			fail_msg("block %u has version %u, of %u the last flushed was %u", block, v, me->tried[r],
			         me->flushed[r]);
	}
}

static void test_full_log_between_writers_and_commits_keeps_what_was_flushed(void **state)
{
	struct world *w = malloc(sizeof(*w));
	struct writer writers[WRITERS];
	uint64_t writes;

	(void)state;
	for (unsigned round = 1; round <= FULL_LOG_ROUNDS; round += test_slow()) {
		begin(w, round);
		for (unsigned i = 0; i < WRITERS; i++) {
			writers[i] =
			        (struct writer){ .w = w, .first = i * RANGES * RANGE_BLOCKS, .seed = round * 8 + i };
			assert_int_equal(
			        sync_thread_start(&writers[i].thread, "writer", write_until_it_fails, &writers[i]), 0);
		}
		writes = blk_sim_count(w->f.devs[0], BLK_WRITE) + 500 + 37 * round;
		while (blk_sim_count(w->f.devs[0], BLK_WRITE) < writes)
			sync_sleep_ns(SYNC_NS_PER_MS / 5);
		log_set_level((enum log_level)0);
		blk_sim_unplug(w->f.devs[0]);
		for (unsigned i = 0; i < WRITERS; i++)
			sync_thread_join(&writers[i].thread);
		crash(w, round % 3);
		for (unsigned i = 0; i < WRITERS; i++)
			for (unsigned r = 0; r < RANGES; r++)
				verify_range(w, &writers[i], r);
		end(w);
	}
	free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flush_of_a_few_pages_costs_one_write_and_one_barrier),
		cmocka_unit_test(test_crash_before_anything_was_written_is_recovered),
		cmocka_unit_test(test_log_that_goes_round_many_times_keeps_what_was_flushed),
		cmocka_unit_test(test_records_whose_data_never_became_durable_end_the_log),
		cmocka_unit_test(test_unreadable_data_is_an_error_of_the_import_and_not_the_end_of_the_log),
		cmocka_unit_test(test_failing_log_writes_lose_nothing_that_was_flushed),
		cmocka_unit_test(test_change_counter_that_was_flushed_does_not_go_back),
		cmocka_unit_test(test_full_log_between_writers_and_commits_keeps_what_was_flushed),
		cmocka_unit_test(test_random_operations_and_power_cuts_keep_what_was_flushed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
