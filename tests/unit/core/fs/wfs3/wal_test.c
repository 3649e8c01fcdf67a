/* SPDX-License-Identifier: BSD-3-Clause */
/* The running log on a simulated device: what a sync promises, the ring's room, gaps, failures, power cuts. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/assert.h"
#include "core/base/budget.h"
#include "core/base/checksum.h"
#include "core/base/sync.h"
#include "core/blk/sim.h"
#include "core/fs/wfs3/wal_scan.h"

#define AREA_OFFSET (1u << 20)
#define AREA_BYTES (4u << 20)
#define START UINT64_C(12288)

struct rig {
	struct blk_dev *dev;
	struct budget *budget;
	struct wal_config config;
	struct wal *wal;
	uint64_t txg; /* open */
	unsigned commits_wanted;
	int flush_error;
};

static int flush_dev(void *ctx)
{
	struct rig *r = ctx;

	return r->flush_error ? r->flush_error : blk_flush(r->dev);
}

static uint64_t open_txg(void *ctx)
{
	return __atomic_load_n(&((struct rig *)ctx)->txg, __ATOMIC_RELAXED);
}

static void want_commit(void *ctx)
{
	__atomic_add_fetch(&((struct rig *)ctx)->commits_wanted, 1, __ATOMIC_RELAXED);
}

/* Group 9 is durable, group 10 open. */
static void setup(struct rig *r)
{
	*r = (struct rig){ .txg = 10 };
	assert_int_equal(blk_sim_new("log", 8u << 20, &r->dev), 0);
	r->budget = budget_new(64u << 20);
	r->config = (struct wal_config){ .copy_count = 1,
		                         .copies = { { r->dev, AREA_OFFSET } },
		                         .area_bytes = AREA_BYTES,
		                         .budget = r->budget,
		                         .flush = flush_dev,
		                         .open_txg = open_txg,
		                         .want_commit = want_commit,
		                         .ctx = r };
	memset(r->config.pool_uuid, 7, 16);
	assert_int_equal(wal_new(&r->config, &r->wal), 0);
	wal_start(r->wal, START, START, 2, 9);
}

static void teardown(struct rig *r)
{
	wal_free(r->wal);
	assert_int_equal(budget_used(r->budget), 0);
	budget_free(r->budget);
	blk_close(r->dev);
}

/* A change that says its number. */
static void change(struct rig *r, uint64_t number)
{
	struct wal_record rec = { .type = WAL_INODE, .txg = open_txg(r), .dataset = 1, .object = 1, .change = number };
	struct wal_ticket t;

	wal_begin(r->wal, WAL_INODE_BYTES, &t);
	(void)wal_append(r->wal, &t, &rec);
	wal_end(r->wal, &t);
}

static void data(struct rig *r, unsigned page_count, uint8_t fill)
{
	static uint8_t page[WFS3_BLOCK_BYTES];
	struct wal_record *rec = calloc(1, sizeof(*rec));
	struct wal_ticket t;

	memset(page, fill, sizeof(page));
	*rec = (struct wal_record){
		.type = WAL_DATA, .txg = open_txg(r), .dataset = 1, .object = 1, .page_count = page_count
	};
	for (unsigned i = 0; i < page_count; i++)
		rec->pages[i] = (struct wal_page){ i, crc32c(page, sizeof(page)), page };
	wal_begin(r->wal, WAL_DATA_BYTES(page_count), &t);
	(void)wal_append(r->wal, &t, rec);
	wal_end(r->wal, &t);
	free(rec);
}

/* Written, but without a barrier. */
static void write_out(struct rig *r)
{
	uint64_t closed;

	r->flush_error = -EIO;
	assert_int_equal(wal_sync(r->wal, &closed), -EIO);
	r->flush_error = 0;
}

static void sync_ok(struct rig *r, uint64_t closed_txg)
{
	uint64_t closed;

	assert_int_equal(wal_sync(r->wal, &closed), 0);
	assert_int_equal(closed, closed_txg);
}

struct seen {
	uint64_t changes[64];
	unsigned count; /* of changes */
	unsigned gaps, data;
	uint64_t gap_txg;
};

static int see(void *ctx, const struct wal_record *rec, uint64_t position, const uint8_t *batch)
{
	struct seen *s = ctx;

	(void)position;
	(void)batch;
	if (rec->type == WAL_GAP) {
		s->gaps++;
		s->gap_txg = rec->txg;
	} else if (rec->type == WAL_DATA) {
		s->data++;
		for (unsigned i = 0; i < rec->page_count; i++)
			assert_int_equal(crc32c(rec->pages[i].data, WFS3_BLOCK_BYTES), rec->pages[i].crc);
	} else {
		if (s->count < 64)
			s->changes[s->count] = rec->change;
		s->count++;
	}
	return 0;
}

static struct wal_span read_log(struct rig *r, uint64_t position, struct seen *ret)
{
	struct wal_span span;

	memset(ret, 0, sizeof(*ret));
	assert_int_equal(wal_scan(&r->config, position, 2, &span, see, ret), 0);
	return span;
}

static void test_synced_changes_survive_a_power_cut_in_order(void **state)
{
	struct rig r;
	struct seen s;

	(void)state;
	setup(&r);
	change(&r, 1);
	change(&r, 2);
	sync_ok(&r, 9);
	change(&r, 3);
	sync_ok(&r, 9);
	change(&r, 4);
	write_out(&r);
	blk_sim_power_cut(r.dev, 0);
	read_log(&r, START, &s);
	assert_int_equal(s.gaps, 1);
	assert_int_equal(s.gap_txg, 9);
	assert_int_equal(s.count, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(s.changes[i], i + 1);
	teardown(&r);
}

static void test_torn_last_batch_ends_the_log(void **state)
{
	struct seen s;

	(void)state;
	for (uint64_t seed = 1; seed < 40; seed++) {
		struct rig r;

		setup(&r);
		change(&r, 1);
		sync_ok(&r, 9);
		data(&r, 40, 1);
		change(&r, 2);
		write_out(&r);
		blk_sim_power_cut(r.dev, seed);
		read_log(&r, START, &s);
		assert_true(s.count == 1 || (s.count == 2 && s.data == 1));
		assert_int_equal(s.changes[0], 1);
		teardown(&r);
	}
}

static void test_sync_with_nothing_new_asks_no_device(void **state)
{
	struct rig r;
	uint64_t writes, flushes;

	(void)state;
	setup(&r);
	change(&r, 1);
	sync_ok(&r, 9);
	writes = blk_sim_count(r.dev, BLK_WRITE);
	flushes = blk_sim_count(r.dev, BLK_FLUSH);
	sync_ok(&r, 9);
	assert_int_equal(blk_sim_count(r.dev, BLK_WRITE), writes);
	assert_int_equal(blk_sim_count(r.dev, BLK_FLUSH), flushes);
	change(&r, 2);
	sync_ok(&r, 9);
	assert_int_equal(blk_sim_count(r.dev, BLK_WRITE), writes + 1);
	assert_int_equal(blk_sim_count(r.dev, BLK_FLUSH), flushes + 1);
	teardown(&r);
}

static void test_ring_goes_round_as_roots_move_on(void **state)
{
	struct rig r;
	struct seen s;
	uint64_t n = 0;
	uint64_t position = START;

	(void)state;
	setup(&r);
	for (unsigned round = 0; round < 60; round++) {
		for (unsigned i = 0; i < 5; i++) {
			data(&r, 20, (uint8_t)round);
			change(&r, ++n);
			sync_ok(&r, 9);
		}
		read_log(&r, position, &s);
		assert_true(s.count >= 5 && s.changes[s.count - 1] == n);
		position = wal_position(r.wal);
		wal_root_durable(r.wal, position);
	}
	assert_true(position > 5 * (uint64_t)AREA_BYTES);
	assert_int_equal(counter_read(&wal_get_stats(r.wal)->gaps), 0);
	teardown(&r);
}

static void test_commit_under_way_is_not_asked_for_again(void **state)
{
	struct rig r;
	uint64_t closed;
	unsigned wanted;

	(void)state;
	setup(&r);
	while (!r.commits_wanted) {
		data(&r, 32, 1);
		sync_ok(&r, 9);
	}
	(void)wal_release(r.wal, &closed);
	wanted = r.commits_wanted;
	data(&r, 32, 1);
	assert_int_equal(r.commits_wanted, wanted);
	teardown(&r);
}

static void test_full_ring_closes_the_log_until_the_next_group(void **state)
{
	struct rig r;
	struct seen s;
	uint64_t closed = 9, last_good = 0, n = 0, position;

	(void)state;
	setup(&r);
	while (closed == 9) {
		data(&r, 32, 1);
		change(&r, ++n);
		assert_int_equal(wal_sync(r.wal, &closed), 0);
		if (closed == 9)
			last_good = n;
	}
	assert_int_equal(closed, 10);
	assert_true(r.commits_wanted > 0);
	change(&r, 1000);
	sync_ok(&r, 10);
	/* Nothing that was synced is gone, and what came after the closing is not there. */
	read_log(&r, START, &s);
	assert_true(s.count >= last_good && s.count <= n);
	/* Group 10 is committed, and one more: the log goes on, behind a gap. */
	r.txg = 11;
	position = wal_position(r.wal);
	wal_root_durable(r.wal, position);
	wal_root_durable(r.wal, position);
	change(&r, 2000);
	sync_ok(&r, 10);
	read_log(&r, position, &s);
	assert_int_equal(s.gaps, 1);
	assert_int_equal(s.gap_txg, 10);
	assert_int_equal(s.count, 1);
	assert_int_equal(s.changes[0], 2000);
	teardown(&r);
}

static void test_failed_write_closes_the_log_and_loses_nothing_before(void **state)
{
	struct rig r;
	struct seen s;
	struct blk_sim_faults faults = { .fail_nth = { -1, -1, -1, -1, -1 } };
	uint64_t closed, position;

	(void)state;
	setup(&r);
	change(&r, 1);
	sync_ok(&r, 9);
	faults.fail_nth[BLK_WRITE] = 0;
	blk_sim_set_faults(r.dev, &faults);
	change(&r, 2);
	assert_int_equal(wal_sync(r.wal, &closed), 0);
	assert_int_equal(closed, 11); /* the commit of group 11 makes it durable */
	change(&r, 3);
	sync_ok(&r, 11);
	position = wal_position(r.wal);
	r.txg = 12;
	change(&r, 4);
	sync_ok(&r, 11);
	blk_sim_power_cut(r.dev, 0);
	/* For a root before group 11 the log ends at the failed batch, for the others it begins behind it. */
	read_log(&r, START, &s);
	assert_int_equal(s.gaps, 1);
	assert_int_equal(s.count, 1);
	assert_int_equal(s.changes[0], 1);
	read_log(&r, position, &s);
	assert_int_equal(s.gaps, 1);
	assert_int_equal(s.gap_txg, 11);
	assert_int_equal(s.count, 1);
	assert_int_equal(s.changes[0], 4);
	teardown(&r);
}

static void test_failed_barrier_is_reported(void **state)
{
	struct rig r;
	uint64_t closed;

	(void)state;
	setup(&r);
	change(&r, 1);
	r.flush_error = -EIO;
	assert_int_equal(wal_sync(r.wal, &closed), -EIO);
	/* What the devices dropped is gone: a barrier that succeeds later promises nothing to others who waited. */
	r.flush_error = 0;
	assert_int_equal(wal_sync(r.wal, &closed), -EIO);
	change(&r, 2);
	assert_int_equal(wal_sync(r.wal, &closed), -EIO);
	teardown(&r);
}

/* A write may be reported as failed and reach the device all the same. */
static void test_batch_that_was_given_up_is_never_read_after_the_commit(void **state)
{
	struct rig r, twin;
	struct seen s;
	struct blk_sim_faults faults = { .fail_nth = { -1, -1, -1, -1, -1 } };
	uint64_t closed;
	uint8_t landed[4096];

	(void)state;
	setup(&twin);
	change(&twin, 1);
	sync_ok(&twin, 9);
	change(&twin, 2);
	sync_ok(&twin, 9);
	blk_sim_peek(twin.dev, AREA_OFFSET + START + 4096, landed, sizeof(landed));
	teardown(&twin);
	setup(&r);
	change(&r, 1);
	sync_ok(&r, 9);
	faults.fail_nth[BLK_WRITE] = 0;
	blk_sim_set_faults(r.dev, &faults);
	change(&r, 2);
	assert_int_equal(wal_sync(r.wal, &closed), 0);
	assert_int_equal(closed, 11);
	blk_sim_poke(r.dev, AREA_OFFSET + START + 4096, landed, sizeof(landed));
	read_log(&r, START, &s);
	assert_int_equal(s.count, 2);
	read_log(&r, wal_position(r.wal), &s);
	assert_int_equal(s.count, 0);
	teardown(&r);
}

static void test_mirrored_log_is_read_from_the_whole_copy(void **state)
{
	struct rig r;
	struct seen s;
	struct blk_dev *other;
	uint8_t junk[512];

	(void)state;
	setup(&r);
	wal_free(r.wal);
	assert_int_equal(blk_sim_new("other", 8u << 20, &other), 0);
	r.config.copy_count = 2;
	r.config.copies[1] = (struct wal_area){ other, 2u << 20 };
	assert_int_equal(wal_new(&r.config, &r.wal), 0);
	wal_start(r.wal, START, START, 2, 9);
	for (unsigned i = 1; i <= 6; i++) {
		change(&r, i);
		sync_ok(&r, 9);
	}
	memset(junk, 0xaa, sizeof(junk));
	blk_sim_poke(r.dev, AREA_OFFSET + START + 4096, junk, sizeof(junk));
	blk_sim_poke(other, (2u << 20) + START + 3 * 4096, junk, sizeof(junk));
	read_log(&r, START, &s);
	assert_int_equal(s.count, 6);
	blk_sim_unplug(r.dev);
	read_log(&r, START, &s);
	assert_int_equal(s.count, 3);
	teardown(&r);
	blk_close(other);
}

struct in_order {
	struct rig *rig;
	struct wal_reader *reader;
	const struct wal_span *span;
	unsigned count; /* of pages, each of which says its number */
	unsigned early; /* handed over while the end was not known */
};

static int see_in_order(void *ctx, const struct wal_record *rec, uint64_t position, const uint8_t *batch)
{
	struct in_order *o = ctx;
	uint8_t page[WFS3_BLOCK_BYTES];

	if (rec->type != WAL_DATA)
		return 0;
	assert_int_equal(rec->pages[0].data[0], (uint8_t)++o->count);
	assert_int_equal(
	        wal_reader_page(o->reader, position + (uint64_t)(rec->pages[0].data - batch), rec->pages[0].crc, page),
	        0);
	assert_memory_equal(page, rec->pages[0].data, sizeof(page));
	o->early += position < o->span->durable;
	return o->count == 70 ? WAL_SCAN_STOP : 0;
}

/* Of a log that is larger than what a scan keeps in memory, the end is not durable. */
static void test_scan_of_a_long_log_hands_over_all_records_in_order(void **state)
{
	struct rig r;
	struct wal_span span, whole;
	struct in_order o = { .rig = &r, .span = &span };
	struct seen s = { 0 };

	(void)state;
	setup(&r);
	wal_free(r.wal);
	blk_close(r.dev);
	assert_int_equal(blk_sim_new("log", 64u << 20, &r.dev), 0);
	r.config.copies[0].dev = r.dev;
	r.config.area_bytes = 48u << 20;
	assert_int_equal(wal_new(&r.config, &r.wal), 0);
	wal_start(r.wal, START, START, 2, 9);
	for (unsigned i = 1; i <= 80; i++) {
		data(&r, 64, (uint8_t)i);
		if (i == 30 || i == 31)
			sync_ok(&r, 9);
	}
	write_out(&r);
	assert_int_equal(wal_reader_new(&r.config, START, &o.reader), 0);
	assert_int_equal(wal_scan(&r.config, START, 2, &span, see_in_order, &o), 0);
	assert_int_equal(o.count, 70);
	assert_true(o.early >= 30 && o.early < 40);
	wal_reader_free(o.reader);
	whole = read_log(&r, START, &s);
	assert_int_equal(s.data, 80);
	assert_int_equal(whole.end, span.end);
	assert_int_equal(whole.batch_count, span.batch_count);
	teardown(&r);
}

struct writer {
	struct rig *rig;
	struct sync_thread thread;
	uint64_t id;
};

static void write_and_sync(void *arg)
{
	struct writer *w = arg;
	uint64_t closed;

	for (uint64_t i = 1; i <= 60; i++) {
		change(w->rig, w->id << 32 | i);
		always(wal_sync(w->rig->wal, &closed) == 0);
	}
}

static int check_order(void *ctx, const struct wal_record *rec, uint64_t position, const uint8_t *batch)
{
	uint64_t *last = ctx;

	(void)position;
	(void)batch;
	if (rec->type == WAL_INODE) {
		uint64_t id = rec->change >> 32, i = rec->change & UINT32_MAX;

		assert_int_equal(i, last[id] + 1);
		last[id] = i;
	}
	return 0;
}

static void test_many_writers_share_barriers(void **state)
{
	struct rig r;
	struct writer writers[8];
	uint64_t last[8] = { 0 };
	struct wal_span span;

	(void)state;
	setup(&r);
	for (unsigned i = 0; i < 8; i++) {
		writers[i] = (struct writer){ .rig = &r, .id = i };
		assert_int_equal(sync_thread_start(&writers[i].thread, "writer", write_and_sync, &writers[i]), 0);
	}
	for (unsigned i = 0; i < 8; i++)
		sync_thread_join(&writers[i].thread);
	blk_sim_power_cut(r.dev, 0);
	assert_int_equal(wal_scan(&r.config, START, 2, &span, check_order, last), 0);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(last[i], 60);
	assert_true(counter_read(&wal_get_stats(r.wal)->barriers) <= 8 * 60);
	teardown(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_synced_changes_survive_a_power_cut_in_order),
		cmocka_unit_test(test_torn_last_batch_ends_the_log),
		cmocka_unit_test(test_sync_with_nothing_new_asks_no_device),
		cmocka_unit_test(test_ring_goes_round_as_roots_move_on),
		cmocka_unit_test(test_commit_under_way_is_not_asked_for_again),
		cmocka_unit_test(test_full_ring_closes_the_log_until_the_next_group),
		cmocka_unit_test(test_failed_write_closes_the_log_and_loses_nothing_before),
		cmocka_unit_test(test_failed_barrier_is_reported),
		cmocka_unit_test(test_batch_that_was_given_up_is_never_read_after_the_commit),
		cmocka_unit_test(test_mirrored_log_is_read_from_the_whole_copy),
		cmocka_unit_test(test_scan_of_a_long_log_hands_over_all_records_in_order),
		cmocka_unit_test(test_many_writers_share_barriers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
