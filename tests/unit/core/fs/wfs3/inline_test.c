/* SPDX-License-Identifier: BSD-3-Clause */
/* Contents of small files beside their inodes: what goes there, what leaves it, and that nothing is lost on the way. */
#include "tests/unit/core/fs/wfs3/filetree_fixture.h"

#define BLOCK 4096u

static uint8_t data[4 * BLOCK];

static void fill(unsigned seed)
{
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(1 + (i * 7 + seed) % 250);
}

static struct object *written(struct tree_fixture *t, const char *name, size_t len, struct vfs_node **ret)
{
	*ret = make_file(t->top, name);
	assert_ok(node_write(*ret, 0, data, len, 0));
	assert_ok(object_flush(NULL, filetree_object(*ret)));
	return filetree_object(*ret);
}

/* After everything in memory is gone. */
static void expect(struct tree_fixture *t, const char *name, const uint8_t *want, size_t len)
{
	uint8_t got[sizeof(data)];
	struct vfs_node *n;

	tree_restart(t);
	n = node_at(t->top, name);
	assert_int_equal(node_stat(n).size_bytes, len);
	assert_ok(node_read(n, 0, got, len));
	assert_memory_equal(got, want, len);
	vfs_node_unref(n);
}

static void test_small_files_have_no_blocks_and_large_ones_do(void **state)
{
	struct tree_fixture t;
	struct vfs_node *n;
	struct object *o;

	(void)state;
	fill(1);
	tree_init(&t, 64 * MIB);
	o = written(&t, "small", 2048, &n);
	assert_true(o->inode.has_inline);
	assert_int_equal(node_stat(n).allocated_bytes, BLOCK);
	assert_int_equal(o->ds->used_blocks, 1);
	vfs_node_unref(n);
	o = written(&t, "large", 2049, &n);
	assert_false(o->inode.has_inline);
	assert_int_equal(o->ds->used_blocks, 2);
	vfs_node_unref(n);
	expect(&t, "small", data, 2048);
	expect(&t, "large", data, 2049);
	tree_done(&t);
}

static void test_a_file_that_grows_leaves_and_one_that_shrinks_stays_in_its_block(void **state)
{
	struct tree_fixture t;
	struct vfs_node *n;
	struct object *o;

	(void)state;
	fill(2);
	tree_init(&t, 64 * MIB);
	o = written(&t, "f", 100, &n);
	assert_ok(node_write(n, 100, data + 100, 3000, 0));
	assert_ok(object_flush(NULL, o));
	assert_false(o->inode.has_inline);
	assert_int_equal(o->inode.blocks, 1);
	vfs_node_unref(n);
	expect(&t, "f", data, 3100);
	n = node_at(t.top, "f");
	assert_ok(node_truncate(n, 50));
	assert_ok(object_flush(NULL, filetree_object(n)));
	assert_false(filetree_object(n)->inode.has_inline);
	vfs_node_unref(n);
	expect(&t, "f", data, 50);
	tree_done(&t);
}

static void test_blocks_behind_leave_the_first_one_where_it_is(void **state)
{
	static uint8_t want[3 * BLOCK];
	struct vfs_extent e[4];
	struct tree_fixture t;
	struct vfs_node *n;
	struct object *o;
	unsigned count;

	(void)state;
	fill(3);
	tree_init(&t, 64 * MIB);
	o = written(&t, "f", 1000, &n);
	assert_ok(node_write(n, 2 * BLOCK, data, BLOCK, 0));
	assert_ok(object_flush(NULL, o));
	assert_true(o->inode.has_inline);
	assert_int_equal(o->inode.blocks, 2);
	assert_ok(n->ops->extents(n, 0, 3 * BLOCK, 0, e, 4, &count));
	assert_int_equal(count, 3);
	assert_false(e[0].hole);
	assert_int_equal(e[0].len_bytes, BLOCK);
	assert_true(e[1].hole);
	vfs_node_unref(n);
	memset(want, 0, sizeof(want));
	memcpy(want, data, 1000);
	memcpy(want + 2 * BLOCK, data, BLOCK);
	expect(&t, "f", want, 3 * BLOCK);
	n = node_at(t.top, "f");
	assert_ok(node_write(n, 0, data, BLOCK, 0));
	assert_ok(object_flush(NULL, filetree_object(n)));
	assert_false(filetree_object(n)->inode.has_inline);
	vfs_node_unref(n);
	memcpy(want, data, BLOCK);
	expect(&t, "f", want, 3 * BLOCK);
	tree_done(&t);
}

static void test_what_is_punched_truncated_or_removed_is_gone(void **state)
{
	static const uint8_t zeros[500];
	struct tree_fixture t;
	struct vfs_node *n;
	struct object *o;

	(void)state;
	fill(4);
	tree_init(&t, 64 * MIB);
	o = written(&t, "a", 500, &n);
	assert_ok(node_truncate(n, BLOCK));
	assert_ok(n->ops->discard(n, 0, BLOCK, 0));
	assert_false(o->inode.has_inline);
	assert_int_equal(o->ds->used_blocks, 0);
	assert_ok(node_truncate(n, 500));
	vfs_node_unref(n);
	expect(&t, "a", zeros, 500);
	o = written(&t, "b", 500, &n);
	assert_ok(node_truncate(n, 0));
	assert_int_equal(o->inode.blocks, 0);
	assert_ok(node_truncate(n, 500));
	vfs_node_unref(n);
	expect(&t, "b", zeros, 500);
	o = written(&t, "c", 500, &n);
	assert_int_equal(o->ds->used_blocks, 1);
	vfs_node_unref(n);
	assert_ok(remove_name(t.top, "c", false));
	tree_restart(&t);
	tree_done(&t);
}

static void test_flushed_contents_survive_power_cuts(void **state)
{
	struct tree_fixture t;

	(void)state;
	tree_init(&t, 64 * MIB);
	for (unsigned i = 0; i < 60; i++) {
		size_t len = i * 131 % 3000 + 1, first = i % 3 ? 0 : 700;
		uint8_t got[sizeof(data)];
		struct vfs_node *n;

		fill(i);
		n = lookup_error(t.top, "f") ? make_file(t.top, "f") : node_at(t.top, "f");
		assert_ok(node_truncate(n, i % 2 ? 0 : len / 2));
		assert_ok(node_write(n, 0, data, len, 0));
		if (first < len)
			assert_ok(node_write(n, first, data + first, len - first, 0));
		/* Through the log, through write-back, or both. */
		if (i % 4)
			assert_ok(object_flush(NULL, filetree_object(n)));
		if (i % 8 == 5)
			assert_ok(node_write(n, 0, data, len, 0));
		assert_ok(n->ops->flush(n, 0));
		if (i % 5 == 0)
			assert_ok(txg_force(t.pool, 1));
		vfs_node_unref(n);
		tree_crash(&t, i);
		n = node_at(t.top, "f");
		assert_int_equal(node_stat(n).size_bytes, len);
		assert_ok(node_read(n, 0, got, len));
		assert_memory_equal(got, data, len);
		vfs_node_unref(n);
		expect(&t, "f", data, len);
	}
	tree_done(&t);
}

struct reader {
	struct object *o;
	bool stop;
	uint64_t bad, looks;
};

static void look_on(void *arg)
{
	struct reader *r = arg;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		struct inode i;

		object_get_inode(r->o, &i);
		r->bad += i.has_inline && !i.blocks;
		r->looks++;
	}
}

/* Others put it into the tree and the log meanwhile, which is decoded after a crash. */
static void test_inode_is_valid_at_every_moment_while_contents_come_and_go(void **state)
{
	struct sync_thread thread;
	struct tree_fixture t;
	struct vfs_node *n;
	struct reader r = { 0 };

	(void)state;
	fill(1);
	tree_init(&t, 64 * MIB);
	r.o = written(&t, "small", 100, &n);
	assert_ok(sync_thread_start(&thread, "looks on", look_on, &r));
	for (unsigned i = 0; i < 500000; i++) {
		uint64_t txg = txg_enter(t.pool);

		object_drop_inline(r.o, txg);
		object_set_inline(r.o);
		txg_exit(t.pool);
	}
	__atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
	sync_thread_join(&thread);
	assert_true(r.looks > 0);
	assert_int_equal(r.bad, 0);
	assert_ok(node_truncate(n, 0));
	vfs_node_unref(n);
	tree_done(&t);
}

/* A device that fails for a moment is not damage: neither what is said, nor what is done about it. */
static void test_contents_that_cannot_be_read_are_an_error_of_the_device(void **state)
{
	const struct blk_sim_faults faults = { .fail_nth = { [BLK_READ] = 0,
		                                             [BLK_WRITE] = -1,
		                                             [BLK_FLUSH] = -1,
		                                             [BLK_DISCARD] = -1,
		                                             [BLK_WRITE_ZEROES] = -1 },
		                               .fail_from_nth = true };
	static uint8_t attribute[60000];
	struct tree_fixture t;
	uint8_t got[100];
	struct vfs_node *n;

	(void)state;
	fill(3);
	tree_init(&t, 64 * MIB);
	(void)written(&t, "small", sizeof(got), &n);
	/* It stands between the inode and the contents, which so are in another node. */
	assert_ok(n->ops->set_xattr(n, "user.large", attribute, sizeof(attribute), 0, NULL));
	vfs_node_unref(n);
	tree_restart(&t);
	n = node_at(t.top, "small");
	blk_sim_set_faults(t.f.devs[0], &faults);
	assert_int_equal(node_read(n, 0, got, sizeof(got)), -EIO);
	blk_sim_set_faults(t.f.devs[0], NULL);
	assert_ok(node_read(n, 0, got, sizeof(got)));
	assert_memory_equal(got, data, sizeof(got));
	vfs_node_unref(n);
	tree_done(&t);
}

static bool is_there(struct tree_fixture *t, uint64_t number)
{
	struct wfs3_key key = { .object = number, .kind = WFS3_KIND_INODE };
	uint8_t buf[INODE_BYTES];
	size_t len;

	return edit_read(filetree_object(t->top)->ds, &key, buf, sizeof(buf), &len) != -ENOENT;
}

/* Attributes between the inode and the contents: in recovery these are in a leaf that is not in memory. */
static void test_contents_far_from_their_inode_go_with_it_in_recovery(void **state)
{
	static uint8_t value[60000];
	struct tree_fixture t;
	struct vfs_node *n;
	struct object *o;
	uint64_t number;

	(void)state;
	fill(6);
	tree_init(&t, 64 * MIB);
	o = written(&t, "f", 1000, &n);
	assert_true(o->inode.has_inline);
	number = o->number;
	assert_ok(n->ops->set_xattr(n, "user.long", value, sizeof(value), 0, NULL));
	vfs_node_unref(n);
	/* The leaf is in memory when it is removed, so that the log tells nothing of it but that the block is a hole.
	 */
	expect(&t, "f", data, 1000);
	assert_ok(remove_name(t.top, "f", false));
	/* All of it is given back, and that is in the log only. */
	while (is_there(&t, number))
		sync_sleep_ns(SYNC_NS_PER_MS);
	assert_ok(t.top->ops->flush(t.top, 0));
	tree_crash(&t, 1);
	tree_restart(&t);
	tree_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_small_files_have_no_blocks_and_large_ones_do),
		cmocka_unit_test(test_a_file_that_grows_leaves_and_one_that_shrinks_stays_in_its_block),
		cmocka_unit_test(test_blocks_behind_leave_the_first_one_where_it_is),
		cmocka_unit_test(test_what_is_punched_truncated_or_removed_is_gone),
		cmocka_unit_test(test_flushed_contents_survive_power_cuts),
		cmocka_unit_test(test_inode_is_valid_at_every_moment_while_contents_come_and_go),
		cmocka_unit_test(test_contents_that_cannot_be_read_are_an_error_of_the_device),
		cmocka_unit_test(test_contents_far_from_their_inode_go_with_it_in_recovery),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
