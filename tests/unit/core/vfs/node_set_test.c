/* SPDX-License-Identifier: BSD-3-Clause */
/* Nodes of an engine's objects: one for each object, and what happens with the last of them; zeros that are written. */
#include "core/vfs/node_set.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/nowait.h"

#define OBJECTS 2u
#define BYTES ((uint64_t)256 << 10)

struct object {
	unsigned refs; /* atomic */
	void *user;
};

struct engine {
	struct node_set nodes; /* first */
	struct object objects[OBJECTS];
	unsigned gone; /* how often */
	unsigned refs_when_gone;
};

static void **place(struct node_set *s, void *object)
{
	(void)s;
	return &((struct object *)object)->user;
}

static void put(void *object)
{
	assert_true(__atomic_fetch_sub(&((struct object *)object)->refs, 1, __ATOMIC_ACQ_REL) > 0);
}

static void gone(struct node_set *s)
{
	struct engine *e = (struct engine *)s;

	for (unsigned i = 0; i < OBJECTS; i++)
		e->refs_when_gone += __atomic_load_n(&e->objects[i].refs, __ATOMIC_ACQUIRE);
	e->gone++;
}

static const struct node_set_ops set_ops = { .place = place, .put = put, .gone = gone };
static const struct vfs_node_ops node_ops = { .release = node_set_release };

static struct vfs_node *find(struct engine *e, unsigned i)
{
	struct vfs_node *n = NULL;

	(void)__atomic_add_fetch(&e->objects[i].refs, 1, __ATOMIC_RELAXED);
	assert_int_equal(node_set_get(&e->nodes, &e->objects[i], VFS_TYPE_FILE, &n), 0);
	return n;
}

static void setup(struct engine *e)
{
	*e = (struct engine){ 0 };
	node_set_init(&e->nodes, &set_ops, &node_ops, "test nodes");
}

static void test_an_object_that_is_found_again_has_the_node_that_it_has(void **state)
{
	struct vfs_node *a, *b, *other;
	struct engine e;

	(void)state;
	setup(&e);
	a = find(&e, 0);
	b = find(&e, 0);
	other = find(&e, 1);
	assert_ptr_equal(a, b);
	assert_ptr_not_equal(a, other);
	assert_ptr_equal(node_set_object(a), &e.objects[0]);
	assert_ptr_equal(node_set_of(other), &e.nodes);
	assert_int_equal(a->type, VFS_TYPE_FILE);
	/* One reference for the node, however often it was found. */
	assert_int_equal(e.objects[0].refs, 1);
	vfs_node_unref(a);
	assert_int_equal(e.objects[0].refs, 1);
	vfs_node_unref(b);
	assert_int_equal(e.objects[0].refs, 0);
	assert_null(e.objects[0].user);
	a = find(&e, 0);
	assert_int_equal(e.objects[0].refs, 1);
	vfs_node_unref(a);
	vfs_node_unref(other);
	node_set_done(&e.nodes);
}

static void test_the_engine_is_closed_with_the_last_node_and_after_its_reference(void **state)
{
	struct vfs_node *a, *b;
	struct engine e;

	(void)state;
	setup(&e);
	a = find(&e, 0);
	b = find(&e, 1);
	vfs_node_unref(a);
	assert_int_equal(e.gone, 0);
	vfs_node_unref(b);
	assert_int_equal(e.gone, 1);
	assert_int_equal(e.refs_when_gone, 0);
	node_set_done(&e.nodes);
}

static void test_nodes_of_what_was_unmounted_by_force_are_stale(void **state)
{
	struct vfs_node *n;
	struct engine e;

	(void)state;
	setup(&e);
	n = find(&e, 0);
	assert_int_equal(node_set_check(n), 0);
	node_set_kill(&e.nodes);
	assert_int_equal(node_set_check(n), -ESTALE);
	assert_int_equal(e.gone, 0);
	vfs_node_unref(n);
	assert_int_equal(e.gone, 1);
	node_set_done(&e.nodes);
}

/* A node that is being given up, and one for the same object that was found at that moment. */
static void test_a_node_that_goes_late_leaves_the_next_one_in_its_place(void **state)
{
	struct vfs_node *late, *next;
	struct engine e;

	(void)state;
	setup(&e);
	late = find(&e, 0);
	/* The last reference is gone, and release is not called yet. */
	__atomic_store_n(&late->refs, 0, __ATOMIC_RELEASE);
	next = find(&e, 0);
	assert_ptr_not_equal(next, late);
	assert_int_equal(e.objects[0].refs, 2);
	node_set_release(late);
	assert_ptr_equal(e.objects[0].user, next);
	assert_int_equal(e.objects[0].refs, 1);
	assert_int_equal(e.gone, 0);
	vfs_node_unref(next);
	assert_int_equal(e.gone, 1);
	node_set_done(&e.nodes);
}

#define FINDERS 3u
#define FINDS 5000u

static void find_often(void *arg)
{
	struct engine *e = arg;

	for (unsigned i = 0; i < FINDS; i++) {
		struct vfs_node *a = find(e, 0), *b = find(e, 0);

		assert_ptr_equal(a, b);
		vfs_node_unref(a);
		vfs_node_unref(b);
	}
}

static void test_a_node_comes_and_goes_under_many(void **state)
{
	struct sync_thread threads[FINDERS];
	struct vfs_node *top;
	struct engine e;

	(void)state;
	setup(&e);
	top = find(&e, 1);
	for (unsigned i = 0; i < FINDERS; i++)
		assert_int_equal(sync_thread_start(&threads[i], "finder", find_often, &e), 0);
	for (unsigned i = 0; i < FINDERS; i++)
		sync_thread_join(&threads[i]);
	assert_int_equal(e.objects[0].refs, 0);
	assert_null(e.objects[0].user);
	assert_int_equal(e.gone, 0);
	vfs_node_unref(top);
	assert_int_equal(e.gone, 1);
	node_set_done(&e.nodes);
}

struct file {
	struct vfs_node node; /* first */
	uint8_t bytes[BYTES];
	unsigned writes, flushes;
	unsigned fail_at; /* this write fails, from 1; 0: none */
};

static int file_write(struct vfs_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
	struct file *f = (struct file *)n;

	assert_int_equal(iov_count, 1);
	assert_int_equal(flags, 0);
	assert_true(offset + iov->iov_len <= BYTES);
	if (++f->writes == f->fail_at)
		return -ENOSPC;
	memcpy(f->bytes + offset, iov->iov_base, iov->iov_len);
	return 0;
}

static int file_flush(struct vfs_node *n, unsigned flags)
{
	assert_int_equal(flags, 0);
	((struct file *)n)->flushes++;
	return 0;
}

static struct file *file_new(const struct vfs_node_ops *ops)
{
	struct file *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	vfs_node_init(&f->node, ops, VFS_TYPE_FILE);
	memset(f->bytes, 'x', BYTES);
	return f;
}

static const struct vfs_node_ops file_ops = { .write = file_write, .flush = file_flush };
static const struct vfs_node_ops remote_ops = { .write = file_write, .flush = file_flush, .remote = true };

static void test_zeros_are_written_over_exactly_the_range(void **state)
{
	const uint64_t from = 777, len = 200001;
	struct file *f = file_new(&file_ops);

	(void)state;
	assert_int_equal(vfs_node_zero(&f->node, from, len, 0), 0);
	for (uint64_t i = 0; i < BYTES; i++)
		assert_int_equal(f->bytes[i], i >= from && i < from + len ? 0 : 'x');
	assert_int_equal(f->flushes, 0);
	assert_int_equal(vfs_node_zero(&f->node, 0, 1, VFS_FUA), 0);
	assert_int_equal(f->bytes[0], 0);
	assert_int_equal(f->flushes, 1);
	free(f);
}

static void test_a_write_of_zeros_that_fails_ends_it_and_nothing_is_flushed(void **state)
{
	struct file *f = file_new(&file_ops);

	(void)state;
	f->fail_at = 2;
	assert_int_equal(vfs_node_zero(&f->node, 0, BYTES, VFS_FUA), -ENOSPC);
	assert_int_equal(f->writes, 2);
	assert_int_equal(f->flushes, 0);
	free(f);
}

static void test_zeros_are_neither_fast_nor_written_by_who_must_not_wait(void **state)
{
	struct file *f = file_new(&file_ops), *remote = file_new(&remote_ops);

	(void)state;
	(void)nowait_take_remote();
	assert_int_equal(vfs_node_zero(&f->node, 0, 1, VFS_FAST), -EOPNOTSUPP);
	assert_int_equal(vfs_node_zero(&f->node, 0, 1, VFS_NOWAIT), -EAGAIN);
	assert_false(nowait_take_remote());
	assert_int_equal(vfs_node_zero(&remote->node, 0, 1, VFS_NOWAIT), -EAGAIN);
	assert_true(nowait_take_remote());
	assert_int_equal(f->writes + remote->writes, 0);
	free(remote);
	free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_object_that_is_found_again_has_the_node_that_it_has),
		cmocka_unit_test(test_the_engine_is_closed_with_the_last_node_and_after_its_reference),
		cmocka_unit_test(test_nodes_of_what_was_unmounted_by_force_are_stale),
		cmocka_unit_test(test_a_node_that_goes_late_leaves_the_next_one_in_its_place),
		cmocka_unit_test(test_a_node_comes_and_goes_under_many),
		cmocka_unit_test(test_zeros_are_written_over_exactly_the_range),
		cmocka_unit_test(test_a_write_of_zeros_that_fails_ends_it_and_nothing_is_flushed),
		cmocka_unit_test(test_zeros_are_neither_fast_nor_written_by_who_must_not_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
