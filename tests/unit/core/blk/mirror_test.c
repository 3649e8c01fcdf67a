/* SPDX-License-Identifier: BSD-3-Clause */
/* Mirrors on simulated devices: reads with second chances, copies that fail, what a flush waits for, and filling. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/log.h"
#include "core/base/sync.h"
#include "core/blk/mirror.h"
#include "core/blk/sim.h"

#define SIZE (UINT64_C(1) << 20)
#define BLOCK 4096u

struct fixture {
	struct blk_dev *m, *copies[3];
	unsigned changes, records;
	int record_result;
};

static uint64_t on_mark(void *ctx)
{
	(void)ctx;
	return 42;
}

static void on_change(void *ctx)
{
	struct fixture *f = ctx;

	f->changes++;
}

static int on_record(void *ctx)
{
	struct fixture *f = ctx;

	f->records++;
	if (!f->record_result)
		mirror_set_recorded(f->m, mirror_change(f->m));
	return f->record_result;
}

static void fixture_init(struct fixture *f, unsigned count)
{
	struct mirror_events events = { .mark = on_mark, .changed = on_change, .record = on_record, .ctx = f };

	*f = (struct fixture){ 0 };
	log_set_level((enum log_level)0);
	assert_int_equal(mirror_new("m", SIZE, true, &events, &f->m), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(blk_sim_new("copy", SIZE, &f->copies[i]), 0);
	for (unsigned i = 0; i < count; i++)
		mirror_put(f->m, i, f->copies[i], MIRROR_ONLINE, 0);
}

static void fixture_done(struct fixture *f)
{
	blk_close(f->m);
	for (unsigned i = 0; i < 3; i++)
		blk_close(f->copies[i]);
	blk_thread_done();
}

static void *block_of(int byte)
{
	void *p = aligned_alloc(BLOCK, BLOCK);

	memset(p, byte, BLOCK);
	return p;
}

static int put(struct fixture *f, uint64_t offset, int byte, unsigned flags)
{
	void *p = block_of(byte);
	int rc = blk_write(f->m, offset, p, BLOCK, flags);

	free(p);
	return rc;
}

static int byte_on(struct blk_dev *dev, uint64_t offset)
{
	uint8_t b;

	blk_sim_peek(dev, offset, &b, 1);
	return b;
}

static void fail_from_now(struct blk_dev *dev, enum blk_op op)
{
	struct blk_sim_faults plan = { .fail_nth = { -1, -1, -1, -1, -1 }, .fail_from_nth = true };

	plan.fail_nth[op] = 0;
	blk_sim_set_faults(dev, &plan);
}

static struct mirror_copy copy_of(struct fixture *f, unsigned index)
{
	struct mirror_copy c;

	mirror_get(f->m, index, &c);
	return c;
}

static void expect_read(struct fixture *f, uint64_t offset, int byte)
{
	uint8_t *p = block_of(0xee);

	assert_int_equal(blk_read(f->m, offset, p, BLOCK), 0);
	assert_int_equal(p[0], byte);
	assert_int_equal(p[BLOCK - 1], byte);
	free(p);
}

static void test_write_goes_to_all_copies(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, 3);
	assert_int_equal(put(&f, 8192, 7, 0), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(byte_on(f.copies[i], 8192), 7);
	assert_int_equal(blk_flush(f.m), 0);
	assert_int_equal(f.records, 0);
	expect_read(&f, 8192, 7);
	assert_int_equal(blk_write(f.m, SIZE, f.m, BLOCK, 0), -EINVAL);
	fixture_done(&f);
}

static void test_unreadable_block_is_read_from_another_copy_and_repaired(void **state)
{
	struct blk_sim_faults plan = { .fail_nth = { 0, -1, -1, -1, -1 } };
	struct fixture f;

	(void)state;
	fixture_init(&f, 2);
	assert_int_equal(put(&f, 0, 7, 0), 0);
	blk_sim_set_faults(f.copies[0], &plan);
	expect_read(&f, 0, 7);
	assert_int_equal(copy_of(&f, 0).repairs, 1);
	assert_int_equal(copy_of(&f, 0).state, MIRROR_ONLINE);
	assert_int_equal(blk_sim_count(f.copies[0], BLK_WRITE), 2);
	fixture_done(&f);
}

static void test_read_fails_when_no_copy_can_be_read(void **state)
{
	struct fixture f;
	void *p = block_of(0);

	(void)state;
	fixture_init(&f, 2);
	fail_from_now(f.copies[0], BLK_READ);
	fail_from_now(f.copies[1], BLK_READ);
	assert_int_equal(blk_read(f.m, 0, p, BLOCK), -EIO);
	assert_int_equal(f.changes, 0);
	free(p);
	fixture_done(&f);
}

static void test_copy_that_fails_a_write_goes_away_and_nobody_notices(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, 2);
	fail_from_now(f.copies[1], BLK_WRITE);
	assert_int_equal(put(&f, 0, 7, 0), 0);
	assert_int_equal(copy_of(&f, 1).state, MIRROR_AWAY);
	assert_int_equal(copy_of(&f, 1).since, 42);
	assert_int_equal(f.changes, 1);
	assert_int_equal(f.records, 0);
	/* It may only be relied on once the record says that the copy is not whole. */
	assert_int_equal(blk_flush(f.m), 0);
	assert_int_equal(f.records, 1);
	assert_int_equal(blk_flush(f.m), 0);
	assert_int_equal(f.records, 1);
	blk_sim_set_faults(f.copies[1], NULL);
	for (uint64_t i = 0; i < 8; i++)
		expect_read(&f, 0, 7);
	assert_int_equal(put(&f, 0, 8, 0), 0);
	assert_int_equal(byte_on(f.copies[1], 0), 0);
	fixture_done(&f);
}

static void test_flush_fails_when_the_change_cannot_be_recorded(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, 2);
	f.record_result = -EIO;
	fail_from_now(f.copies[0], BLK_FLUSH);
	assert_int_equal(blk_flush(f.m), -EIO);
	assert_int_equal(copy_of(&f, 0).state, MIRROR_AWAY);
	assert_int_equal(put(&f, 0, 1, BLK_FUA), -EIO);
	f.record_result = 0;
	assert_int_equal(put(&f, 0, 1, BLK_FUA), 0);
	fixture_done(&f);
}

static void test_last_copy_keeps_its_errors(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, 2);
	blk_sim_unplug(f.copies[0]);
	blk_sim_unplug(f.copies[1]);
	assert_int_equal(put(&f, 0, 1, 0), -ENXIO);
	assert_int_equal(blk_flush(f.m), -ENXIO);
	assert_int_equal(copy_of(&f, 0).state, MIRROR_ONLINE);
	assert_int_equal(copy_of(&f, 1).state, MIRROR_ONLINE);
	blk_sim_replug(f.copies[1]);
	assert_int_equal(put(&f, 0, 1, 0), 0);
	assert_int_equal(copy_of(&f, 0).state, MIRROR_AWAY);
	assert_int_equal(mirror_set_away(f.m, 1), -EBUSY);
	fixture_done(&f);
}

static bool is_seven(void *ctx, const void *buf)
{
	(void)ctx;
	return *(const uint8_t *)buf == 7;
}

static void test_wrong_contents_are_replaced_by_good_ones(void **state)
{
	struct fixture f;
	uint8_t junk = 9, *p = block_of(0);

	(void)state;
	fixture_init(&f, 2);
	assert_int_equal(put(&f, 4096, 7, 0), 0);
	blk_sim_poke(f.copies[0], 4096, &junk, 1);
	assert_int_equal(mirror_read_verified(f.m, 4096, p, BLOCK, is_seven, NULL), 0);
	assert_int_equal(p[0], 7);
	assert_int_equal(byte_on(f.copies[0], 4096), 7);
	assert_int_equal(copy_of(&f, 0).checksum_errors, 1);
	assert_int_equal(copy_of(&f, 0).repairs, 1);
	blk_sim_poke(f.copies[0], 4096, &junk, 1);
	blk_sim_poke(f.copies[1], 4096, &junk, 1);
	assert_int_equal(mirror_read_verified(f.m, 4096, p, BLOCK, is_seven, NULL), -EUCLEAN);
	free(p);
	fixture_done(&f);
}

static void test_repair_tells_what_is_unreadable_from_what_is_wrong(void **state)
{
	uint8_t junk = 9, *p = block_of(0);
	struct fixture f;

	(void)state;
	fixture_init(&f, 2);
	assert_int_equal(put(&f, 4096, 7, 0), 0);
	blk_sim_break(f.copies[0], 4096, BLOCK, false);
	assert_int_equal(mirror_repair(f.m, 4096, p, BLOCK, is_seven, NULL), 0);
	assert_int_equal(p[0], 7);
	assert_int_equal(byte_on(f.copies[0], 4096), 7);
	assert_int_equal(copy_of(&f, 0).repairs, 1);
	assert_int_equal(copy_of(&f, 0).checksum_errors, 0);
	/* The good one may be the one that cannot be read, in either order. */
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(put(&f, 4096, 7, 0), 0);
		blk_sim_poke(f.copies[i], 4096, &junk, 1);
		blk_sim_break(f.copies[!i], 4096, BLOCK, false);
		assert_int_equal(mirror_repair(f.m, 4096, p, BLOCK, is_seven, NULL), -EIO);
	}
	assert_int_equal(put(&f, 4096, 9, 0), 0);
	assert_int_equal(mirror_repair(f.m, 4096, p, BLOCK, is_seven, NULL), -EUCLEAN);
	free(p);
	fixture_done(&f);
}

static void test_copy_being_filled_gets_writes_and_no_reads(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, 1);
	assert_int_equal(put(&f, 0, 1, 0), 0);
	mirror_put(f.m, 1, f.copies[1], MIRROR_FILLING, 5);
	assert_int_equal(put(&f, 4096, 2, 0), 0);
	assert_int_equal(byte_on(f.copies[1], 4096), 2);
	for (uint64_t i = 0; i < 8; i++)
		expect_read(&f, 0, 1);
	assert_int_equal(blk_sim_count(f.copies[1], BLK_READ), 0);
	assert_true(mirror_set_online(f.m, 1));
	blk_sim_unplug(f.copies[0]);
	expect_read(&f, 4096, 2);
	assert_int_equal(copy_of(&f, 0).state, MIRROR_AWAY);
	fixture_done(&f);
}

static void test_copy_that_fails_while_being_filled_holds_what_it_held_before(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, 1);
	mirror_put(f.m, 2, f.copies[2], MIRROR_FILLING, 5);
	fail_from_now(f.copies[2], BLK_WRITE);
	assert_int_equal(put(&f, 0, 1, 0), 0);
	assert_int_equal(copy_of(&f, 2).state, MIRROR_AWAY);
	assert_int_equal(copy_of(&f, 2).since, 5);
	assert_false(mirror_set_online(f.m, 2));
	assert_ptr_equal(mirror_take(f.m, 2, false), f.copies[2]);
	assert_int_equal(copy_of(&f, 2).state, MIRROR_EMPTY);
	fixture_done(&f);
}

static void test_batch_over_mirrors_and_plain_devices(void **state)
{
	struct fixture f;
	uint8_t *p = block_of(3), *q = block_of(0);
	struct iovec out = { p, BLOCK }, in = { q, BLOCK };
	struct blk_io ios[3] = {
		{ .op = BLK_WRITE, .offset = 0, .len_bytes = BLOCK, .iov = &out, .iov_count = 1 },
		{ .op = BLK_WRITE, .offset = 4096, .len_bytes = BLOCK, .iov = &out, .iov_count = 1 },
		{ .op = BLK_READ, .offset = 8192, .len_bytes = BLOCK, .iov = &in, .iov_count = 1 },
	};
	struct blk_batch b;

	(void)state;
	fixture_init(&f, 2);
	blk_batch_init(&b);
	blk_batch_add(&b, f.m, &ios[0]);
	blk_batch_add(&b, f.copies[2], &ios[1]);
	blk_batch_submit(&b);
	blk_batch_add(&b, f.m, &ios[2]);
	assert_int_equal(blk_batch_wait(&b), 0);
	assert_int_equal(byte_on(f.copies[1], 0), 3);
	assert_int_equal(byte_on(f.copies[2], 4096), 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(ios[i].result, 0);
	free(p);
	free(q);
	fixture_done(&f);
}

struct race {
	struct fixture *f;
	int stop; /* atomic */
};

static void writer(void *arg)
{
	struct race *r = arg;
	uint8_t *p = block_of(5);

	while (!__atomic_load_n(&r->stop, __ATOMIC_ACQUIRE)) {
		assert_int_equal(blk_write(r->f->m, 0, p, BLOCK, 0), 0);
		assert_int_equal(blk_read(r->f->m, 0, p, BLOCK), 0);
	}
	free(p);
	blk_thread_done();
}

static void test_copies_come_and_go_under_load(void **state)
{
	struct sync_thread threads[2];
	struct fixture f;
	struct race r = { .f = &f };

	(void)state;
	fixture_init(&f, 1);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(sync_thread_start(&threads[i], "writer", writer, &r), 0);
	for (unsigned i = 0; i < 50; i++) {
		uint64_t before;

		mirror_put(f.m, 1, f.copies[1], MIRROR_FILLING, 0);
		assert_true(mirror_set_online(f.m, 1));
		assert_int_equal(mirror_set_away(f.m, 1), 0);
		assert_ptr_equal(mirror_take(f.m, 1, false), f.copies[1]);
		/* Nobody uses it any more. */
		before = blk_sim_count(f.copies[1], BLK_WRITE);
		assert_int_equal(blk_flush(f.m), 0);
		assert_int_equal(blk_sim_count(f.copies[1], BLK_WRITE), before);
	}
	__atomic_store_n(&r.stop, 1, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < 2; i++)
		sync_thread_join(&threads[i]);
	fixture_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_write_goes_to_all_copies),
		cmocka_unit_test(test_unreadable_block_is_read_from_another_copy_and_repaired),
		cmocka_unit_test(test_read_fails_when_no_copy_can_be_read),
		cmocka_unit_test(test_copy_that_fails_a_write_goes_away_and_nobody_notices),
		cmocka_unit_test(test_flush_fails_when_the_change_cannot_be_recorded),
		cmocka_unit_test(test_last_copy_keeps_its_errors),
		cmocka_unit_test(test_wrong_contents_are_replaced_by_good_ones),
		cmocka_unit_test(test_repair_tells_what_is_unreadable_from_what_is_wrong),
		cmocka_unit_test(test_copy_being_filled_gets_writes_and_no_reads),
		cmocka_unit_test(test_copy_that_fails_while_being_filled_holds_what_it_held_before),
		cmocka_unit_test(test_batch_over_mirrors_and_plain_devices),
		cmocka_unit_test(test_copies_come_and_go_under_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
