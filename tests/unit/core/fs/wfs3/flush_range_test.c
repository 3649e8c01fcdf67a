/* SPDX-License-Identifier: BSD-3-Clause */
/* A part of a file is made durable: what is there after a crash, and who waits for what. */
#include "tests/unit/core/fs/wfs3/filetree_fixture.h"

#define PAGE 4096u
#define FILE_PAGES 200u /* more than a flush puts into the log */

static uint8_t before[FILE_PAGES * PAGE], after[FILE_PAGES * PAGE];

static void init(struct tree_fixture *t)
{
	tree_init(t, 64 * MIB);
	pattern(before, sizeof(before), 1);
	pattern(after, sizeof(after), 2);
}

/* A file with the older contents, which are durable. */
static struct vfs_node *make_durable(struct tree_fixture *t, size_t len)
{
	struct vfs_node *n = make_file(t->top, "f");

	assert_ok(node_write(n, 0, before, len, 0));
	assert_ok(n->ops->flush(n, 0));
	return n;
}

/* Nobody holds @n any more; the file as the crash left it is in @got. */
static uint64_t crash(struct tree_fixture *t, struct vfs_node *n, uint8_t *got, size_t len)
{
	uint64_t size_bytes;

	vfs_node_unref(n);
	tree_crash(t, 0);
	n = node_at(t->top, "f");
	size_bytes = node_stat(n).size_bytes;
	memset(got, 0xee, len);
	assert_ok(node_read(n, 0, got, (size_t)min_u64(len, size_bytes)));
	vfs_node_unref(n);
	return size_bytes;
}

static void finish(struct tree_fixture *t)
{
	tree_restart(t);
	tree_done(t);
}

/* Small ones go through the log, large ones do not. */
static void test_a_crash_leaves_the_range_new_and_the_rest_old(void **state)
{
	static const unsigned counts[] = { 1, 64, 65, 150 };
	static uint8_t got[sizeof(after)];

	(void)state;
	for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		size_t from = 20 * PAGE, end = from + counts[i] * PAGE;
		struct tree_fixture t;
		struct vfs_node *n;

		init(&t);
		n = make_durable(&t, sizeof(before));
		assert_ok(node_write(n, 0, after, sizeof(after), 0));
		assert_ok(n->ops->flush_range(n, from, end - from, 0));
		assert_int_equal(crash(&t, n, got, sizeof(got)), sizeof(got));
		assert_memory_equal(got + from, after + from, end - from);
		assert_memory_equal(got, before, from);
		assert_memory_equal(got + end, before + end, sizeof(got) - end);
		finish(&t);
	}
}

static void test_a_new_file_reaches_as_far_as_its_range(void **state)
{
	static uint8_t got[sizeof(after)];
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	init(&t);
	n = make_file(t.top, "f");
	assert_ok(node_write(n, 0, after, sizeof(after), 0));
	assert_ok(n->ops->flush_range(n, 10 * PAGE + 1, 9, 0));
	assert_int_equal(crash(&t, n, got, sizeof(got)), 11 * PAGE);
	assert_memory_equal(got + 10 * PAGE, after + 10 * PAGE, PAGE);
	assert_true(bytes_are_zero(got, 10 * PAGE));
	finish(&t);
}

static void test_a_range_at_the_end_of_a_file_keeps_its_size(void **state)
{
	static uint8_t got[sizeof(after)];
	static const uint64_t lengths[] = { 10, 100 * PAGE, UINT64_MAX - 3 * PAGE };

	(void)state;
	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct tree_fixture t;
		struct vfs_node *n;

		init(&t);
		n = make_file(t.top, "f");
		assert_ok(node_write(n, 0, after, 3 * PAGE + 10, 0));
		assert_ok(n->ops->flush_range(n, 3 * PAGE, lengths[i], 0));
		assert_int_equal(crash(&t, n, got, sizeof(got)), 3 * PAGE + 10);
		assert_memory_equal(got + 3 * PAGE, after + 3 * PAGE, 10);
		finish(&t);
	}
}

static void test_a_range_behind_the_end_leaves_a_new_file_as_it_was(void **state)
{
	struct tree_fixture t;
	struct vfs_node *n;
	uint8_t got[10];

	(void)state;
	init(&t);
	n = make_file(t.top, "f");
	assert_ok(node_write(n, 0, after, 2 * PAGE, 0));
	assert_ok(n->ops->flush_range(n, 2 * PAGE, PAGE, 0));
	assert_ok(n->ops->flush_range(n, UINT64_MAX, 0, 0));
	assert_int_equal(crash(&t, n, got, sizeof(got)), 0);
	finish(&t);
}

/* What a later flush finds to be done is not forgotten because of an earlier one of a part. */
static void test_a_flush_of_all_after_one_of_a_part_has_all(void **state)
{
	static uint8_t got[sizeof(after)];
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	init(&t);
	n = make_file(t.top, "f");
	assert_ok(node_write(n, 0, after, 50 * PAGE + 7, 0));
	assert_ok(n->ops->flush_range(n, 0, PAGE, 0));
	assert_ok(n->ops->flush(n, 0));
	assert_int_equal(crash(&t, n, got, sizeof(got)), 50 * PAGE + 7);
	assert_memory_equal(got, after, 50 * PAGE + 7);
	finish(&t);
}

/* Nothing shows behind the end when the file grows again. */
static void test_what_is_cut_off_after_a_range_was_flushed_stays_away(void **state)
{
	static uint8_t got[4 * PAGE];
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	init(&t);
	n = make_file(t.top, "f");
	assert_ok(node_write(n, 0, after, 3 * PAGE, 0));
	assert_ok(n->ops->flush_range(n, PAGE, 100, 0));
	assert_ok(node_truncate(n, PAGE + 50));
	assert_ok(node_truncate(n, 4 * PAGE));
	assert_ok(n->ops->flush_range(n, PAGE, 100, 0));
	assert_int_equal(crash(&t, n, got, sizeof(got)), 4 * PAGE);
	assert_memory_equal(got + PAGE, after + PAGE, 50);
	assert_true(bytes_are_zero(got + PAGE + 50, 3 * PAGE - 50));
	finish(&t);
}

static void test_a_part_of_a_volume_is_flushed_alone(void **state)
{
	static uint8_t got[3 * PAGE];
	struct iovec iov = { got, sizeof(got) };
	struct vfs_handle *h;
	struct fixture f;

	(void)state;
	fixture_init(&f, 1, 64 * MIB);
	assert_ok(pool_create(&f, "tank", 1));
	assert_ok(volume_create(&f, "vol", MIB));
	assert_ok(vfs_open(f.vfs, "/tank/vol", true, &h));
	pattern(got, sizeof(got), 3);
	assert_ok(vfs_write(h, &iov, 1, 0, 0));
	assert_ok(vfs_flush_range(h, PAGE, PAGE, 0));
	vfs_close(h);
	fixture_crash(&f, 0);
	assert_ok(pool_import(&f, 1));
	assert_ok(vfs_open(f.vfs, "/tank/vol", false, &h));
	memset(got, 0xee, sizeof(got));
	assert_ok(vfs_read(h, &iov, 1, 0, 0));
	pattern(after, sizeof(got), 3);
	assert_memory_equal(got + PAGE, after + PAGE, PAGE);
	assert_true(bytes_are_zero(got, PAGE));
	assert_true(bytes_are_zero(got + 2 * PAGE, PAGE));
	vfs_close(h);
	fixture_done(&f);
}

static void test_a_device_that_fails_is_told_of(void **state)
{
	struct blk_sim_faults faults = { .fail_nth = { -1, 0, 0, -1, -1 }, .fail_from_nth = true };
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	init(&t);
	n = make_durable(&t, 4 * PAGE);
	assert_ok(node_write(n, 0, after, 4 * PAGE, 0));
	log_set_level((enum log_level)0);
	blk_sim_set_faults(t.f.devs[0], &faults);
	assert_int_not_equal(n->ops->flush_range(n, PAGE, PAGE, 0), 0);
	blk_sim_set_faults(t.f.devs[0], NULL);
	/* It is not forgotten, either. */
	assert_int_not_equal(n->ops->flush_range(n, PAGE, PAGE, 0), 0);
	vfs_node_unref(n);
	tree_crash(&t, 0);
	tree_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_crash_leaves_the_range_new_and_the_rest_old),
		cmocka_unit_test(test_a_new_file_reaches_as_far_as_its_range),
		cmocka_unit_test(test_a_range_at_the_end_of_a_file_keeps_its_size),
		cmocka_unit_test(test_a_range_behind_the_end_leaves_a_new_file_as_it_was),
		cmocka_unit_test(test_a_flush_of_all_after_one_of_a_part_has_all),
		cmocka_unit_test(test_what_is_cut_off_after_a_range_was_flushed_stays_away),
		cmocka_unit_test(test_a_part_of_a_volume_is_flushed_alone),
		cmocka_unit_test(test_a_device_that_fails_is_told_of),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
